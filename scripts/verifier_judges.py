# SPDX-License-Identifier: Apache-2.0
"""The judges that `bench_verifier.py` compares, each in a process of its own that is killed past a deadline.

Verdicts are "right", "wrong", "abstain" (the gold can't be judged) and "lost" (the judge hung, died or raised).
"""

import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as DeadlineError
from dataclasses import dataclass
from typing import Any

from pebble import ProcessExpired, ProcessPool

# A judge may eat this much address space before it gets a MemoryError, so that no row takes the machine down.
MEMORY_LIMIT_GB = 8

Pairs = Sequence[tuple[str, str]]
Judge = Callable[[Pairs], list[str]]


def load_ours() -> Judge:
    """Return `open_r1.rewards.accuracy_reward`."""
    from open_r1.rewards import accuracy_reward

    return lambda pairs: verdicts_of(accuracy_reward, pairs)


def load_trl() -> Judge:
    """Return TRL's `accuracy_reward`."""
    from trl.rewards import accuracy_reward

    return lambda pairs: verdicts_of(accuracy_reward, pairs)


def verdicts_of(reward: Callable[..., list[float | None]], pairs: Pairs) -> list[str]:
    """Return the verdicts that the values of an accuracy reward stand for."""
    completions = [[{"role": "assistant", "content": completion}] for _, completion in pairs]
    names = {None: "abstain", 1.0: "right", 0.0: "wrong"}
    return [names[value] for value in reward(completions, solution=[gold for gold, _ in pairs])]


def load_math_verify(wrap: Callable[[str], str] = str, *, as_upstream: bool = False) -> Judge:
    """Return `verify(parse(wrap(gold)), parse(completion))` of math-verify, by its defaults or as Open R1 calls it.

    A gold of which nothing can be parsed is an abstention. An exception or a time limit of its own is no right answer;
    Open R1 abstains where comparing raises.
    """
    from math_verify import LatexExtractionConfig, parse, verify
    from math_verify.errors import TimeoutException
    from math_verify.parser import NormalizationConfig

    boxes_first = LatexExtractionConfig(
        normalization_config=NormalizationConfig(units=True), boxed_match_priority=0, try_extract_without_anchor=False
    )
    first: dict[str, Any] = {"extraction_mode": "first_match"} if as_upstream else {}
    of_a_completion: dict[str, Any] = {**first, "extraction_config": [boxes_first]} if as_upstream else {}

    def judge_pair(gold: str, completion: str) -> str:
        try:
            parsed = parse(wrap(gold), **first)
            if not parsed:
                return "abstain"
            return "right" if verify(parsed, parse(completion, **of_a_completion)) else "wrong"
        except (Exception, TimeoutException):  # noqa: BLE001 - whatever it raises, the answer is not judged right
            return "abstain" if as_upstream else "wrong"

    return lambda pairs: [judge_pair(gold, completion) for gold, completion in pairs]


def wrapped(gold: str) -> str:
    """Return the gold between dollar signs, unless it has some or a box: math-verify reads LaTeX only there."""
    is_marked = any(mark in gold for mark in ("$", r"\(", r"\[", r"\boxed", "####"))
    return gold if is_marked or not gold.strip() else f"${gold}$"


JUDGES: dict[str, Callable[[], Judge]] = {
    "ours": load_ours,
    "math-verify": load_math_verify,
    "math-verify-wrapped": lambda: load_math_verify(wrapped),
    "trl": load_trl,
    "upstream": lambda: load_math_verify(as_upstream=True),
}


@dataclass(frozen=True)
class Reply:
    """What a judge said about a batch: a verdict a pair, wall seconds of the call, and why it was lost."""

    verdicts: list[str]
    wall_s: float
    error: str | None = None


class JudgeProcess:
    """One judge in a process of its own, which has imported it, and which is started again after it was killed."""

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(1, context=context, initializer=load_judge, initargs=(name,))

    def ask(self, pairs: Pairs, deadline_s: float, *, in_thread: bool = False) -> Reply:
        """Return the judge's reply; past the deadline the process is killed and every pair is lost."""
        start = time.perf_counter()
        try:
            return self._pool.schedule(judge_all, (pairs, in_thread), timeout=deadline_s).result()
        except DeadlineError:
            error = f"no reply in {deadline_s:g} s"
        except ProcessExpired:
            error = "the process died"
        return Reply(["lost"] * len(pairs), time.perf_counter() - start, error)

    def __enter__(self) -> "JudgeProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.stop()
        self._pool.join()


_judge: Judge


def load_judge(name: str) -> None:
    """Import a judge in its process, whose memory is limited and which prints nothing."""
    global _judge
    limit = MEMORY_LIMIT_GB * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _judge = JUDGES[name]()


def judge_all(pairs: Pairs, in_thread: bool) -> Reply:
    """Return the reply to a batch, judged on the main thread or on another one."""
    replies: list[Reply] = []

    def judge() -> None:
        start = time.perf_counter()
        try:
            verdicts, error = _judge(pairs), None
        except Exception as raised:  # noqa: BLE001 - a judge that raises has lost its rows; the benchmark goes on
            verdicts, error = ["lost"] * len(pairs), f"{type(raised).__name__}: {str(raised)[:200]}"
        replies.append(Reply(verdicts, time.perf_counter() - start, error))

    if in_thread:
        thread = threading.Thread(target=judge)
        thread.start()
        thread.join()
    else:
        judge()
    return replies[0]
