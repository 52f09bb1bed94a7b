# SPDX-License-Identifier: Apache-2.0
"""Stands in for vLLM where a test is about the evaluation of a model, not about the model.

It reads the model's files, as vLLM does, and says that every answer is 3. With a number as its first argument the
first attempt of a job answers so many requests and leaves all others waiting, with --every_attempt each attempt does.
Like vLLM it refuses requests without the key that the job has given it.
"""

import argparse
import itertools
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Answers(BaseHTTPRequestHandler):
    """What `scripts/run_benchmarks.py` asks for."""

    model = ""
    most_answers = sys.maxsize
    numbers = itertools.count()

    def do_GET(self) -> None:
        if not self._refuses():
            self._send({"data": [{"id": self.model, "max_model_len": 2048}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self._refuses():
            return
        if self.path == "/v1/completions":  # of the job, which looks whether it completes anything
            self._send({"choices": [{"text": ""}]})
            return
        if next(self.numbers) >= self.most_answers:
            threading.Event().wait()
        message = {"role": "assistant", "content": "It is \\boxed{3}."}
        self._send({"choices": [{"message": message, "finish_reason": "stop"}], "usage": {"completion_tokens": 4}})

    def _refuses(self) -> bool:
        key = os.environ["VLLM_API_KEY"]
        assert len(key) >= 32
        if self.path.startswith("/v1") and self.headers["Authorization"] != f"Bearer {key}":
            self._send({"error": "Unauthorized"}, 401)
            return True
        return False

    def _send(self, answer: dict, status: int = 200) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--every_attempt", action="store_true")
    parser.add_argument("most_answers", type=int)
    parser.add_argument("words", nargs=2, metavar="serve MODEL")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments, _ = parser.parse_known_args()
    Answers.model = arguments.words[1]
    if arguments.every_attempt or os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
        Answers.most_answers = arguments.most_answers
    num_bytes = sum(len(path.read_bytes()) for path in Path(Answers.model).glob("*.safetensors"))
    assert num_bytes, f"no weights in {Answers.model}"
    print(f"read {num_bytes} bytes of {Answers.model}", flush=True)
    ThreadingHTTPServer((arguments.host, arguments.port), Answers).serve_forever()


if __name__ == "__main__":
    main()
