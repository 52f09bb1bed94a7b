# SPDX-License-Identifier: Apache-2.0
"""Judges programs by the tests of their rows, in a sandbox, and keeps each verdict as soon as it is there.

    <benchmark>/programs.jsonl    {"key": <hash of all that decides it>, "verdict": "wrong", "note": "AC x3, WA, -"}

A verdict is of program, tests, limits and sandbox. A program is right when it passes all tests; the first that it
fails ends its run. Judging thousands of them takes hours: kill -9 at any moment, and the same command judges what is
left. Equal programs of a row are judged once.

| verdict         | when                                                                                 |
|-----------------|--------------------------------------------------------------------------------------|
| right           | all tests are passed                                                                 |
| wrong           | another output or result than expected                                               |
| timeout         | more CPU seconds than the limit                                                      |
| crash           | it doesn't compile, ends by an error, or takes more memory or output than the limit  |
| no_answer       | no closed block of code in the row's language behind the reasoning                   |
| unverifiable | the tests can't be used: no score                                                    |
| lost            | the sandbox failed, twice: no score, and not kept                                    |
"""

import asyncio
import hashlib
import json
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from open_r1.evaluation.judgement import CRASH, LOST, TIMEOUT, Judgement, JudgingError, judgement_of
from open_r1.evaluation.problems import Problems
from open_r1.evaluation.program_rows import TestsFile
from open_r1.grading.cases import ProgramTests
from open_r1.grading.programs import find_program, judge_all, judge_program
from open_r1.grading.verdict import Result, TestResult, TestVerdict, missing_module, verdict_line
from open_r1.rewards.verifier import Verdict
from open_r1.sandbox import Sandbox, SandboxError

logger = logging.getLogger(__name__)

KEPT_NAME = "programs.jsonl"
_TELL_S = 30.0
_ROWS_IN_MEMORY = 4
# So many programs of one turn, all of them lost, are an outage: the rest would only wait for it.
_OUTAGE = 8
_OF_TEST = {
    TestVerdict.ACCEPTED: Verdict.RIGHT,
    TestVerdict.WRONG_ANSWER: Verdict.WRONG,
    TestVerdict.TIME_LIMIT: TIMEOUT,
}
_LACKS = re.compile(r"; no module (\w+)$")
# Programs that are judged between two looks at whether the sandbox is there, for each that is judged at a time.
_TURN = 16
# Programs that are to be judged, each with its row, and why others have no verdict: by their keys.
_Wanted = dict[str, tuple[int, str]]
_Lost = dict[str, Exception | None]


class ProgramJudge:
    """Runs the programs of answers; see the module.

    Args:
        problems: With tests.
        folder: Where verdicts are kept; None: in memory alone.
    """

    def __init__(self, problems: Problems, folder: Path | None = None) -> None:
        if problems.tests is None:
            raise ValueError(f"The rows of {problems.benchmark.name} have no tests of programs.")
        self._problems, self._tests = problems, problems.tests
        self._read = _reader(problems.tests)
        self._kept = KeptVerdicts(None if folder is None else folder / KEPT_NAME)
        self._judged: set[str] = set()
        self._told: set[str] = set()

    def check(self) -> dict[str, Any]:
        """Refuse a sandbox that isn't there or lacks a language; return which one it is.

        Raises:
            ValueError: See the message.
        """
        try:
            said = self._problems.sandbox.check(sorted(set(self._tests.languages.values())))
        except SandboxError as error:
            raise ValueError(
                f"{self._problems.benchmark.name} is judged by running programs, and the sandbox can't: {error}"
            ) from error
        logger.info("%s: programs are judged by %s.", self._problems.benchmark.name, said)
        return {"sandbox": self._sandbox()}

    def _sandbox(self) -> dict[str, Any]:
        return {"provider": self._problems.sandbox.provider, "python": self._problems.sandbox.python}

    def judge(self, rows: Sequence[int], texts: Sequence[str]) -> list[Judgement]:
        """Return a judgement of each text.

        Raises:
            JudgingError: The sandbox is gone; the verdicts until then are kept.
            ValueError: It can't be built.
        """
        sandbox = self._sandbox()
        keys: list[str | None] = []
        wanted: _Wanted = {}
        for row, text in zip(rows, texts, strict=True):
            program = find_program(text, self._tests.languages[row])
            key = None if program is None else self._key_of(row, program, sandbox)
            keys.append(key)
            if key is not None and program is not None and self._kept.get(key) is None:
                wanted[key] = (row, program)
        progress = _Progress(self._problems.benchmark.name, len(wanted))
        lost = self._judge_in_turns(wanted, progress)
        lost = self._judge_in_turns({key: wanted[key] for key in lost}, progress)
        if lost:
            logger.warning(
                "%s: the sandbox failed for %d of %d programs, which are no wrong answers; the first time: %s",
                self._problems.benchmark.name,
                len(lost),
                len(wanted),
                next(iter(lost.values())),
            )
        self._judged.update(key for key in keys if key is not None)
        return [judgement_of(Verdict.NO_ANSWER) if key is None else self._judgement_of(key) for key in keys]

    def notes(self) -> list[str]:
        """Return which modules programs have lacked."""
        lacks = (_LACKS.search(self._judgement_of(key).note) for key in self._judged)
        missing = Counter(found[1] for found in lacks if found is not None)
        if not missing:
            return []
        names = ", ".join(f"{name} ({count})" for name, count in missing.most_common(5))
        return [
            f"{missing.total()} of {len(self._judged)} programs crashed since the sandbox's Python lacks what "
            f"they import: {names}. They count as wrong; another sandbox may judge otherwise"
        ]

    def _judgement_of(self, key: str) -> Judgement:
        return self._kept.get(key) or judgement_of(LOST)

    def _key_of(self, row: int, program: str, sandbox: dict[str, Any]) -> str:
        limits = self._problems.limits
        parts = [
            self._problems.golds[row],
            self._tests.languages[row],
            limits.cpu_s,
            limits.memory_mb,
            program,
            sandbox,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _judge_in_turns(self, wanted: _Wanted, progress: "_Progress") -> _Lost:
        """Judge programs, keep the verdicts, and return why others have none; end where the sandbox is gone."""
        lost: _Lost = {}
        size = max(_OUTAGE, _TURN * self._problems.sandbox.num_places)
        keys = list(wanted)
        for start in range(0, len(keys), size):
            chosen = keys[start : start + size]
            found = self._judge({key: wanted[key] for key in chosen}, progress)
            if len(chosen) >= _OUTAGE and len(found) == len(chosen):
                raise JudgingError(
                    f"The sandbox has failed for {len(chosen)} programs, one after the other, the first time: "
                    f"{next(iter(found.values()))} All answers are kept: the same command judges them."
                )
            lost |= found
        return lost

    def _judge(self, wanted: _Wanted, progress: "_Progress") -> _Lost:
        keys = {(row, program): key for key, (row, program) in wanted.items()}

        async def judge(program: str, row: int, sandbox: Sandbox) -> Result:
            tests = await asyncio.to_thread(self._read, row)
            results = await judge_program(
                program, tests, sandbox, limits=self._problems.limits, batch_size=1, stops_early=True
            )
            failed = (result.verdict for result in results if result.verdict is not TestVerdict.ACCEPTED)
            verdict = _OF_TEST.get(next(failed, TestVerdict.ACCEPTED), CRASH)
            self._kept.put(keys[row, program], judgement_of(verdict, note=_note_of(results)))
            progress.count()
            return Result(float(verdict is Verdict.RIGHT), tuple(results))

        submissions = [(program, row) for row, program in wanted.values()]
        judged = judge_all(submissions, judge, self._problems.sandbox)
        return self._without_verdict(dict(zip(wanted, judged, strict=True)))

    def _without_verdict(self, judged: dict[str, Result]) -> _Lost:
        """Return the errors of those that are lost; tests that can't be used are a verdict too."""
        for key, found in judged.items():
            if found.reward is None and not found.is_lost:
                if str(found.error) not in self._told:  # once a row, not for each of its programs
                    self._told.add(str(found.error))
                    logger.warning("%s: tests can't be used: %s", self._problems.benchmark.name, found.error)
                self._kept.put(key, judgement_of(Verdict.UNVERIFIABLE, note=str(found.error)[:200]))
        return {key: found.error for key, found in judged.items() if found.is_lost}


def _note_of(results: Sequence[TestResult]) -> str:
    """Return the verdicts of the tests in a line, with the module that the program lacked."""
    name = missing_module(results)
    return verdict_line(results) + (f"; no module {name}" if name is not None else "")


class _Progress:
    """Logs now and then how many programs are judged."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._num_judged = name, total, 0
        self._begun = self._told = time.monotonic()

    def count(self) -> None:
        """Count one."""
        self._num_judged, now = self._num_judged + 1, time.monotonic()
        if now - self._told > _TELL_S:
            self._told = now
            logger.info(
                "%s: %d of %d programs are judged, in %.0f s.",
                self._name,
                self._num_judged,
                self._total,
                now - self._begun,
            )


def _reader(tests: TestsFile) -> Callable[[int], ProgramTests]:
    lock = threading.Lock()
    read = lru_cache(maxsize=_ROWS_IN_MEMORY)(tests.get)

    def read_alone(row: int) -> ProgramTests:
        try:
            with lock:  # programs of one row begin together: its tests are read once
                return read(row)
        except ValueError as error:  # of any kind: that of a reply which can't be read would mean the sandbox
            raise ValueError(f"row {row}: {error}") from error

    return read_alone


class KeptVerdicts:
    """Verdicts by key, in a file that grows by a line each."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._lock = path, threading.Lock()
        self._found: dict[str, Judgement] = {} if path is None else dict(_read_kept(path))
        if self._found:
            logger.info("%s has the verdicts of %d programs; remove it to judge them anew.", path, len(self._found))

    def get(self, key: str) -> Judgement | None:
        """Return a verdict, or None."""
        return self._found.get(key)

    def put(self, key: str, judgement: Judgement) -> None:
        """Keep a verdict."""
        line = json.dumps({"key": key, "verdict": judgement.verdict, "note": judgement.note})
        with self._lock:
            self._found[key] = judgement
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a", encoding="utf-8") as file:
                    # A line that a killed process has left half-written ends here.
                    file.write(f"\n{line}\n")


def _read_kept(path: Path) -> Iterable[tuple[str, Judgement]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                found = json.loads(line)
                yield found["key"], judgement_of(Verdict(found["verdict"]), note=str(found["note"]))
            except (ValueError, TypeError, KeyError):
                continue  # blank, or half of a line
