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

from pebble import ProcessExpired, ProcessPool

# A judge may eat this much address space before it gets a MemoryError, so that no row takes the machine down.
MEMORY_LIMIT_GB = 8

# Gold, completion, and the question where the judge may know it.
Pair = tuple[str, str, str | None]
Pairs = Sequence[Pair]
Judge = Callable[[Pairs], list[str]]


def load_ours() -> Judge:
    """Return `open_r1.rewards.accuracy_reward`."""
    from open_r1.rewards import accuracy_reward

    return lambda pairs: verdicts_of(accuracy_reward, pairs, prompts=[prompt or "" for _, _, prompt in pairs])


def load_trl(wrap: Callable[[str], str]) -> Judge:
    """Return TRL's `accuracy_reward`."""
    from trl.rewards import accuracy_reward

    return lambda pairs: verdicts_of(accuracy_reward, [(wrap(gold), text, None) for gold, text, _ in pairs])


def verdicts_of(reward: Callable[..., list[float | None]], pairs: Pairs, **columns: object) -> list[str]:
    """Return the verdicts that the values of an accuracy reward stand for."""
    completions = [[{"role": "assistant", "content": completion}] for _, completion, _ in pairs]
    names = {None: "abstain", 1.0: "right", 0.0: "wrong"}
    return [names[value] for value in reward(completions, solution=[gold for gold, _, _ in pairs], **columns)]


def load_math_verify() -> Judge:
    """Return `verify(parse(gold), parse(completion))` of math-verify; a gold that it can't parse is an abstention."""
    from math_verify import parse, verify
    from math_verify.errors import TimeoutException

    def judge_pair(gold: str, completion: str) -> str:
        try:
            parsed = parse(wrapped(gold))
            return "abstain" if not parsed else "right" if verify(parsed, parse(completion)) else "wrong"
        except (Exception, TimeoutException):  # noqa: BLE001 - whatever it raises, the answer is not judged right
            return "wrong"

    return lambda pairs: [judge_pair(gold, completion) for gold, completion, _ in pairs]


def wrapped(gold: str) -> str:
    """Return the gold between dollar signs, unless it has some or a box: math-verify reads LaTeX only there."""
    is_marked = any(mark in gold for mark in ("$", r"\(", r"\[", r"\boxed", "####"))
    return gold if is_marked or not gold.strip() else f"${gold}$"


JUDGES: dict[str, tuple[str, Callable[[], Judge]]] = {
    "ours": ("this verifier", load_ours),
    "math-verify": ("math-verify, golds in $", load_math_verify),
    "trl": ("TRL, golds in $", lambda: load_trl(wrapped)),
    "trl-bare": ("TRL, golds as they are", lambda: load_trl(str)),
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
    _judge = JUDGES[name][1]()


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
