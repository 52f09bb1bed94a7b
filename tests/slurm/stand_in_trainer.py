# SPDX-License-Identifier: Apache-2.0
"""Stands in for grpo.py where vLLM has no GPU to receive weights: `--script` of train.slurm, with the same arguments.

Asks the server once for a completion, then ends as `--run_name` says: "done", "fail" (status 3), or "stay".
"""

import argparse
import json
import signal
import sys
import urllib.request


def ask(url: str, model: str) -> str:
    """Return a completion. Nothing is asked twice: the job has awaited the server."""
    body = {"model": model, "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
    request = urllib.request.Request(
        url, json.dumps(body).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)["choices"][0]["text"]


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("config", "vllm_server_host", "vllm_server_port", "vllm_group_port", "model_name_or_path"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--run_name", default="done")
    arguments, _ = parser.parse_known_args()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # launchers ignore it, so that trainers can save
    url = f"http://{arguments.vllm_server_host}:{arguments.vllm_server_port}/v1/completions"
    print(f"asked {url}: {ask(url, arguments.model_name_or_path)!r}", flush=True)
    if arguments.run_name == "stay":
        signal.pause()
    return 3 if arguments.run_name == "fail" else 0


if __name__ == "__main__":
    sys.exit(main())
