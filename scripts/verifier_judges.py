# SPDX-License-Identifier: Apache-2.0
"""The judges that `bench_verifier.py` compares, each in a process of its own that can be killed.

    python scripts/verifier_judges.py ours       # the far side: a request a line in, a reply a line out

A request is {"pairs": [[gold, completion], ...], "in_thread": bool}, judged in one call as a batch; its reply is
{"verdicts": [...], "wall_s": float}, or {"error": str} where the judge raised. Verdicts are "right", "wrong",
"abstain" (the gold can't be judged) and "lost" (the judge hung, died, raised, or said that it had no verdict).
"""

import json
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A judge may eat this much address space before it gets a MemoryError, so that no row takes the machine down.
MEMORY_LIMIT_GB = 8
START_LIMIT_S = 120.0

Pairs = Sequence[tuple[str, str]]
Judge = Callable[[Pairs], list[str]]


def load_ours() -> Judge:
    """Return `open_r1.rewards.accuracy_reward`, which calls `verify_all`."""
    from open_r1.rewards import accuracy_reward

    return lambda pairs: verdicts_of(accuracy_reward, pairs)


def load_trl() -> Judge:
    """Return TRL's `accuracy_reward`."""
    from trl.rewards import accuracy_reward

    return lambda pairs: verdicts_of(accuracy_reward, pairs)


def verdicts_of(reward: Callable[..., list[float | None]], pairs: Pairs) -> list[str]:
    """Return the verdicts that the values of an accuracy reward stand for; NaN is a row without a verdict."""
    completions = [[{"role": "assistant", "content": completion}] for _, completion in pairs]
    names = {None: "abstain", 1.0: "right", 0.0: "wrong"}
    return [names.get(value, "lost") for value in reward(completions, solution=[gold for gold, _ in pairs])]


def load_math_verify(wrap: Callable[[str], str] = str) -> Judge:
    """Return `verify(parse(wrap(gold)), parse(completion))` of math-verify with its defaults.

    A gold of which nothing can be parsed is an abstention. An exception or a time limit of its own is no right answer.
    """
    from math_verify import parse, verify
    from math_verify.errors import TimeoutException

    def judge_pair(gold: str, completion: str) -> str:
        try:
            parsed = parse(wrap(gold))
            if not parsed:
                return "abstain"
            return "right" if verify(parsed, parse(completion)) else "wrong"
        except (Exception, TimeoutException):  # noqa: BLE001 - whatever it raises, the answer is not judged right
            return "wrong"

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
}


@dataclass(frozen=True)
class Reply:
    """What a judge said about a batch: a verdict a pair, wall seconds of the call, and the error if it raised."""

    verdicts: list[str]
    wall_s: float
    error: str | None = None


class JudgeProcess:
    """One judge in a process of its own, started again after it had to be killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def ask(self, pairs: Pairs, deadline_s: float, *, in_thread: bool = False) -> Reply:
        """Return the judge's reply; past the deadline the process is killed and every pair is lost."""
        process = self.start()
        assert process.stdin is not None
        started = time.perf_counter()
        reply: dict[str, Any]
        try:
            process.stdin.write(json.dumps({"pairs": list(pairs), "in_thread": in_thread}) + "\n")
            process.stdin.flush()
            line = self._lines.get(timeout=deadline_s)
            reply = json.loads(line) if line else {"error": "the process died"}
        except queue.Empty:
            reply = {"error": f"no reply in {deadline_s:g} s"}
        except BrokenPipeError:
            reply = {"error": "the process died"}
        if "error" in reply:
            self.close()
            return Reply(["lost"] * len(pairs), time.perf_counter() - started, reply["error"])
        return Reply(reply["verdicts"], reply["wall_s"])

    def start(self) -> subprocess.Popen[str]:
        """Return the running process, which has imported its judge."""
        if self._process is not None:
            return self._process
        command = [sys.executable, str(Path(__file__).resolve()), self.name]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._lines = queue.Queue()
        threading.Thread(target=read_lines, args=(self._process.stdout, self._lines), daemon=True).start()
        if self._lines.get(timeout=START_LIMIT_S) != "ready\n":
            self.close()
            raise RuntimeError(f"The judge {self.name} did not start; run `{' '.join(command)}` to see why.")
        return self._process

    def close(self) -> None:
        """Kill the process and everything in its session."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):  # it had died by itself
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what was not read by then is lost with it
            self._process.stdin.close()
        self._process = None

    def __enter__(self) -> "JudgeProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_lines(stream: Any, lines: "queue.Queue[str]") -> None:
    """Put every line of a stream into the queue, and an empty one at its end."""
    with stream:
        for line in stream:
            lines.put(line)
    lines.put("")


def answer_request(judge: Judge, request: dict[str, Any]) -> dict[str, Any]:
    """Return the reply to one request, judged on the main thread or on another one."""
    replies: list[dict[str, Any]] = []

    def judge_all() -> None:
        started = time.perf_counter()
        try:
            verdicts = judge(request["pairs"])
            replies.append({"verdicts": verdicts, "wall_s": time.perf_counter() - started})
        except Exception as error:  # noqa: BLE001 - a judge that raises has lost its rows; the benchmark goes on
            replies.append({"error": f"{type(error).__name__}: {str(error)[:200]}"})

    if request["in_thread"]:
        thread = threading.Thread(target=judge_all)
        thread.start()
        thread.join()
    else:
        judge_all()
    return replies[0]


def main() -> None:
    """Answer requests until the input ends."""
    # What a judge prints must not come between the replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    limit = MEMORY_LIMIT_GB * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    judge = JUDGES[sys.argv[1]]()
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer_request(judge, json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    main()
