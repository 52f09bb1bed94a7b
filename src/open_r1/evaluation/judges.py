# SPDX-License-Identifier: Apache-2.0
"""Judges of answers: the verifier, programs against the tests of their row, rewards; and the verdicts on disk.

    <benchmark>/verdicts.jsonl    {"key": <hash>, "verdict": "wrong", "score": 0.0, "note": "AC, WA"}

| kind            | judge                                                                           |
|-----------------|---------------------------------------------------------------------------------|
| math, choices   | the verifier, as rewards ask it; the gold of choices is a letter                 |
| code            | the tests of the row, in a sandbox                                               |
| any, `--judge`  | a reward: a name of the table (`ioi_code`), or the user's `file.py:function`     |

| verdict      | when                                                                                    |
|--------------|-----------------------------------------------------------------------------------------|
| right, wrong | as the verifier says; a program passes all tests; a reward of 1, of 0                   |
| partial      | a reward in between, which is the score                                                 |
| timeout      | a program takes more CPU seconds than the limit                                         |
| crash        | it doesn't compile, ends by an error, or takes more memory or output than the limit     |
| no_answer    | no final answer, or no closed block of code in the row's language behind the reasoning  |
| unverifiable | gold, or tests, can't be used: no score                                                 |
| lost         | the sandbox failed, twice: no score, and not kept                                       |

Running thousands of programs takes hours: their verdicts are on disk as soon as they are there, and after kill -9 the
same command judges what is left. Equal programs of a row are judged once. Where the verifier abstains (no_answer,
unverifiable), a model may give a second verdict (`rewards.second_judge`).
"""

import hashlib
import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_r1.evaluation.prompts import Problems
from open_r1.generation.messages import Reply
from open_r1.grading.programs import find_program
from open_r1.rewards import get_reward_funcs, is_unscorable, is_user_function, run_reward
from open_r1.rewards.program_rewards import NO_PROGRAM, code_sandbox, sandbox_of
from open_r1.rewards.rubric import JudgeModel
from open_r1.rewards.second_judge import JUDGE_NAME, JudgingError, KeptLines, SecondJudge
from open_r1.rewards.verifier import Verdict, fingerprint_verifier, verify_all
from open_r1.rewards.verifier.extract import find_answer
from open_r1.sandbox import SandboxError
from open_r1.sandbox.providers import SandboxSettings

logger = logging.getLogger(__name__)

VERDICTS_NAME = "verdicts.jsonl"
LOST, TIMEOUT, CRASH, PARTIAL = "lost", "timeout", "crash", "partial"
_BATCH_ANSWERS = 1024
# So many programs of one turn, all of them lost, are an outage: the rest would only wait for it.
_OUTAGE = 8
_TURN = 4  # answers of a turn for each that is judged at a time
RepliesOf = Callable[[int, int], Reply | None]  # by row and index


@dataclass(frozen=True)
class Judgement:
    """A judge's word on one answer.

    Attributes:
        verdict: See the module.
        score: 1.0 right, 0.0 not, a reward as it is; NaN where nobody can say.
        extracted: The final answer found in the text; None: there is none, or it is a program.
        note: More of the verdict, as `AC x3, WA` of a program; "": there is no more.
    """

    verdict: str
    score: float
    extracted: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Answer:
    """One answer, or a request for one that failed.

    Attributes:
        row: Number of the problem's row.
        index: Which of its answers.
        text: None: the request failed.
        finish_reason: As the server gave it.
        num_tokens: Its length as the server counts; None: it doesn't.
        error: Why there is no text.
        verdict: As of a `Judgement`; None where there is no text.
        score: Likewise; NaN: nobody can say.
        extracted: Likewise.
        note: Likewise.
    """

    row: int
    index: int
    text: str | None
    finish_reason: str = "stop"
    num_tokens: int | None = None
    error: str | None = None
    verdict: str | None = None
    score: float = math.nan
    extracted: str | None = None
    note: str = ""


def judgement_of(verdict: Verdict | str, extracted: str | None = None, note: str = "") -> Judgement:
    """Return a judgement with the score of its verdict: 1.0 for right, 0.0 for not, NaN where nobody can say."""
    name = verdict.value if isinstance(verdict, Verdict) else verdict
    reward = 0.0 if name in (TIMEOUT, CRASH) else None if name == LOST else Verdict(name).reward
    return Judgement(name, math.nan if reward is None else reward, extracted, note)


class VerifierJudge:
    """Asks the verifier, and a model where that abstains; gold answers are those of the rows."""

    def __init__(self, problems: Problems, second: SecondJudge | None = None) -> None:
        self._problems, self.second = problems, second

    def check(self) -> dict[str, Any]:
        """Return which verifier and model judge: after one has changed, answers are judged again."""
        return {"verifier": fingerprint_verifier(), **({} if self.second is None else self.second.settings())}

    def judge(self, rows: Sequence[int], texts: Sequence[str]) -> list[Judgement]:
        """Return a judgement of each text.

        Raises:
            JudgingError: The server of the second judge is gone.
        """
        asked = [self._problems.by_row[row] for row in rows]
        golds, questions = [problem.gold for problem in asked], [problem.messages[-1]["content"] for problem in asked]
        verdicts = verify_all(golds, texts, questions)
        second = verdicts if self.second is None else self.second.review(verdicts, questions, golds, texts)
        return [
            judgement_of(
                verdict, find_answer(text).text, "" if verdict == own else f"second verdict; the first: {own}"
            )
            for own, verdict, text in zip(verdicts, second, texts, strict=True)
        ]


class RewardJudge:
    """Asks a reward: one of a recipe's table, or the user's function `(completions, **columns) -> list[float | None]`.

    Args:
        problems: With `judge`.
        folder: Where verdicts are kept; None: in memory.
        is_anew: Take none that an earlier run has kept.

    Raises:
        ValueError: There is no such reward.
    """

    def __init__(self, problems: Problems, folder: Path | None = None, *, is_anew: bool = False) -> None:
        if problems.judge is None:
            raise ValueError(f"{problems.benchmark.name} is judged by the verifier, not by a reward.")
        self._problems, self._arguments = problems, problems.judge
        (self._name,) = self._arguments.reward_funcs
        (self._reward,) = get_reward_funcs(self._arguments)
        self._kept = KeptLines(None if folder is None else folder / VERDICTS_NAME, is_anew=is_anew)
        self._sandbox: SandboxSettings | None = None
        if problems.languages:
            provider = {"ioi_code": self._arguments.ioi_provider, "cf_code": self._arguments.cf_provider}.get(
                self._name
            )
            self._sandbox = sandbox_of(self._arguments, provider) if provider else code_sandbox(self._arguments)

    def settings(self) -> dict[str, Any]:
        """Return what decides verdicts: reward, a hash of the user's file, sandbox, limits."""
        path = Path(self._name.rpartition(":")[0]).expanduser()
        is_file = is_user_function(self._name) and path.is_file()
        found: dict[str, Any] = {"judge": self._name, "judge_hash": _hash(path.read_text()) if is_file else None}
        if self._sandbox is not None:
            found["sandbox"] = {"provider": self._sandbox.provider, "python": self._sandbox.python}
            found["test_timeout_s"] = self._arguments.code_test_timeout_s
            found["test_memory_mb"] = self._arguments.code_memory_mb
        return found

    def check(self) -> dict[str, Any]:
        """Refuse a sandbox that isn't there or lacks a language; return what decides verdicts.

        Raises:
            ValueError: See the message.
        """
        if self._sandbox is not None:
            name = self._problems.benchmark.name
            try:
                said = self._sandbox.check(sorted(self._problems.languages))
            except SandboxError as error:
                raise ValueError(f"{name} is judged by running programs, but the sandbox fails: {error}") from error
            logger.info("%s: programs are judged by %s.", name, said)
        return self.settings()

    def judge(self, rows: Sequence[int], texts: Sequence[str]) -> list[Judgement]:
        """Return a judgement of each text.

        Raises:
            JudgingError: The sandbox is gone; the verdicts until then are kept.
        """
        settings = json.dumps(self.settings(), sort_keys=True)
        pairs = list(zip(rows, texts, strict=True))
        keys = [_hash(json.dumps([settings, self._problems.by_row[row].gold, text])) for row, text in pairs]
        for _ in range(2):  # what the sandbox has lost is judged once more
            due = {key: pair for key, pair in zip(keys, pairs, strict=True) if self._kept.get(key) is None}
            self._judge(due)
        found = [self._kept.get(key) or {"verdict": LOST, "score": None, "note": ""} for key in keys]
        return [
            Judgement(one["verdict"], math.nan if one["score"] is None else one["score"], note=one["note"])
            for one in found
        ]

    def _judge(self, due: Mapping[str, tuple[int, str]]) -> None:
        size = max(_OUTAGE, _TURN * (1 if self._sandbox is None else self._sandbox.num_places))
        names, name = list(due), self._problems.benchmark.name
        for start in range(0, len(names), size):
            keys = names[start : start + size]
            judgements = self._ask([due[key] for key in keys])
            for key, judgement in zip(keys, judgements, strict=True):
                if judgement.verdict != LOST:
                    score = None if math.isnan(judgement.score) else judgement.score
                    self._kept.put(key, verdict=judgement.verdict, score=score, note=judgement.note)
            if len(keys) >= _OUTAGE and all(judgement.verdict == LOST for judgement in judgements):
                raise JudgingError(
                    f"{name}: {len(keys)} answers, one after the other, could not be judged: the sandbox, or the "
                    "service, of the judge is gone. All answers are kept: the same command judges them."
                )
            logger.info("%s: %d of %d answers are judged.", name, min(start + size, len(names)), len(names))

    def _ask(self, pairs: Sequence[tuple[int, str]]) -> list[Judgement]:
        rows = {row: self._problems.columns_of(row) for row in {row for row, _ in pairs}}
        texts = [_with_ending(text, rows[row].get("ending")) for row, text in pairs]
        columns = {name: [rows[row].get(name) for row, _ in pairs] for name in rows[pairs[0][0]]}
        columns |= {"prompts": [list(self._problems.by_row[row].messages) for row, _ in pairs]}
        notes: dict[str, list[str | None]] = {}
        values = run_reward(
            self._reward,
            completions=[[{"role": "assistant", "content": text}] for text in texts],
            log_extra=notes.__setitem__,
            log_metric=lambda name, value: None,
            **{name: values for name, values in columns.items() if name not in ("prompt", "completion", "ending")},
        )
        lines = next((notes[name] for name in notes if name.endswith("/verdicts")), [None] * len(pairs))
        return [_judgement_by_reward(value, line or "") for value, line in zip(values, lines, strict=True)]


Judge = VerifierJudge | RewardJudge


def judge_of(
    problems: Problems, folder: Path | None = None, *, is_anew: bool = False, second: JudgeModel | None = None
) -> Judge:
    """Return the judge of answers to these problems.

    Args:
        problems: Rows and golds.
        folder: Where verdicts that are costly are kept; None: in memory.
        is_anew: Take none of those that an earlier run has kept.
        second: Gives second verdicts where the verifier abstains.
    """
    if problems.judge is not None:
        return RewardJudge(problems, folder, is_anew=is_anew)
    path = None if folder is None else folder / JUDGE_NAME
    return VerifierJudge(problems, None if second is None else SecondJudge(second, path, is_anew=is_anew))


def _with_ending(text: str, ending: str | None) -> str:
    """Return an answer whose program has more at its end."""
    program = None if ending is None else find_program(text, "python")
    return text if program is None else f"```python\n{program}\n{ending}\n```"


def _judgement_by_reward(value: float | None, note: str) -> Judgement:
    """Return what a reward and the verdicts of tests (`AC x3, WA, -`) mean."""
    if value is None or is_unscorable(value):
        return judgement_of(Verdict.UNVERIFIABLE if value is None else LOST)
    failed = next((name for name in re.findall(r"[A-Z]{2,3}", note) if name != "AC"), "WA")
    if value == 0.0 and note == NO_PROGRAM:
        return judgement_of(Verdict.NO_ANSWER)
    wrong = {"WA": Verdict.WRONG.value, "TLE": TIMEOUT}.get(failed, CRASH)
    return Judgement({1.0: Verdict.RIGHT.value, 0.0: wrong}.get(value, PARTIAL), float(value), note=note)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def judged_answers(
    problems: Problems, reply_of: RepliesOf, num_samples: int, judge: Judge
) -> Iterator[dict[int, list[Answer]]]:
    """Yield the answers of many problems at a time, by row, in the order of the rows; a problem's in theirs.

    Args:
        problems: What was asked.
        reply_of: What came; None: nothing has.
        num_samples: Answers a problem at most.
        judge: As of `judge_of`.
    """
    asked = list(problems.by_row)
    size = max(1, _BATCH_ANSWERS // num_samples)
    for start in range(0, len(asked), size):
        rows = asked[start : start + size]
        found = [(row, index, reply_of(row, index)) for row in rows for index in range(num_samples)]
        texts = [(row, reply.text) for row, _, reply in found if reply is not None and reply.text is not None]
        judgements = iter(judge.judge([row for row, _ in texts], [text for _, text in texts]))
        answers: dict[int, list[Answer]] = {row: [] for row in rows}
        for row, index, reply in found:
            if reply is not None:
                judged = {} if reply.text is None else vars(next(judgements))
                length = reply.usage.get("completion_tokens")
                answers[row].append(Answer(row, index, reply.text, reply.finish_reason, length, reply.error, **judged))
        yield answers
