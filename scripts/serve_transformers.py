#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Serve a model of transformers behind an OpenAI-compatible address of this machine, until Ctrl-C.

    python scripts/serve_transformers.py --model_id data/demo/grpo --port 8000

For machines without vLLM: what --url of run_benchmarks.py and test_time_compute.py, and inspect-ai, can ask. It is
slow beside vLLM, takes no key, and listens on 127.0.0.1 alone.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence

from open_r1.data.flags import FlagParser, log_to_stderr, respelled
from open_r1.evaluation.listening import check_port
from open_r1.evaluation.model_names import check_model_name

DTYPES = ("auto", "float32", "bfloat16", "float16")
CHECK_EVERY_S = 1.0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    add = parser.add_argument
    add("--model_id", metavar="MODEL", required=True, help="folder, or name on the hub")
    add("--model_revision", default="main", help="branch, tag or commit on the hub (default: %(default)s)")
    add("--port", type=int, default=8000, help="0 takes one that is free (default: %(default)s)")
    add("--trust_remote_code", action="store_true", help="run code from the model's repository (default: it isn't)")
    add("--dtype", choices=DTYPES, help="of the weights (default: bfloat16 on a GPU, float32 on a CPU)")
    add("--max_model_len", type=int, metavar="TOKENS", help="prompt and answer together (default: the model's)")
    add("--max_batch_size", type=int, metavar="N", help="answers at a time (default: 64 on a GPU, 16 on a CPU)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve as the command line says; return the exit status: 0 after Ctrl-C or SIGTERM."""
    args = build_parser().parse_args(respelled(sys.argv[1:] if argv is None else argv, "_"))
    log_to_stderr()
    try:
        check_model_name(args.model_id)
        check_port(args.port)  # before torch is imported
        return serve(args)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def serve(args: argparse.Namespace) -> int:
    """Serve until a signal comes, which may be while the model loads; return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        from open_r1.evaluation.identity import check_is_there

        check_is_there(args.model_id, args.model_revision)  # before torch is imported, which takes seconds
        from open_r1.evaluation.transformers_server import TransformersServer

        with TransformersServer(
            args.model_id,
            revision=args.model_revision,
            trust_remote_code=args.trust_remote_code,
            dtype=args.dtype,
            max_batch_size=args.max_batch_size,
            port=args.port,
            max_model_len=args.max_model_len,
        ) as server:
            print(f"{server.model} is at {server.url}; Ctrl-C ends it.", flush=True)
            while True:
                server.check()
                time.sleep(CHECK_EVERY_S)
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
