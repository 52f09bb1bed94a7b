# SPDX-License-Identifier: Apache-2.0
"""Flags of `scripts/run_benchmarks.py` that `slurm/evaluate.slurm` hands on, and what is refused of their values.

A job that could only refuse them would wait in the queue to say so.
"""

import argparse
import math
from collections.abc import Callable


def number(kind: type[int] | type[float], low: float, high: float = math.inf) -> Callable[[str], str]:
    """Return what refuses a text that is no number from `low` to `high`, and leaves others as they are."""

    def check(text: str) -> str:
        try:
            is_right = low <= kind(text) <= high
        except ValueError:
            is_right = False
        if not is_right:
            what = "a whole number" if kind is int else "a number"
            upper = "" if high == math.inf else f", {high:g} at most"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}, {low:g} at least{upper}")
        return text

    return check


def one_of(*words: str) -> Callable[[str], str]:
    """Return what refuses a text that is none of these words."""

    def check(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(words)}")
        return text

    return check


HANDED_ON: dict[str, Callable[[str], str]] = {
    "model_name": str, "data": str, "prompt_column": str, "solution_column": str, "split": str,
    "kind": one_of("auto", "math", "choices", "code"), "engine": one_of("direct", "inspect", "lighteval"),
    "limit": number(int, 1), "output_dir": str, "num_samples": number(int, 1), "temperature": number(float, 0, 2),
    "top_p": number(float, 1e-9, 1), "top_k": number(int, -1), "min_p": number(float, 0, 1),
    "max_tokens": number(int, 1), "seed": number(int, -math.inf), "prompt_template": str,
    "max_concurrent": number(int, 1), "retries": number(int, 0), "timeout": number(float, 0),
    "patience": number(float, 0), "code_provider": one_of("local", "piston", "e2b", "morph", "router"),
    "sandbox_router_url": str, "sandbox_router_token_env": str, "sandbox_python": str,
    "sandbox_patience_s": number(float, 1e-9),
    "parallel_code_exec_per_proc": number(int, 1), "code_test_timeout_s": number(float, 1e-9),
    "code_memory_mb": number(int, 1),
}  # fmt: skip
