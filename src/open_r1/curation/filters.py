# SPDX-License-Identifier: Apache-2.0
"""The filters that look at one completion at a time, as generators: only a chunk of texts is in memory at once."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from open_r1.curation.completions import Completion, Problem, read_problem
from open_r1.curation.difficulty import OWN_GENERATIONS
from open_r1.curation.funnel import Attempt, Funnel
from open_r1.curation.inputs import Inputs
from open_r1.curation.quality import close_prefilled_think, fault_of, is_failed
from open_r1.curation.rates import RateFilter
from open_r1.curation.rule_score import count_words, measure_care
from open_r1.curation.selection import Kept
from open_r1.curation.settings import CurateSettings
from open_r1.curation.verdicts import CHUNK, Judge
from open_r1.rewards.prose import reasoning_of
from open_r1.rewards.verifier import Verdict

CLEAN, READ, SPLIT, WHOLE = "not flagged as contaminated", "rows", "completions of the rows", "whole"
EASY, HARD, CORRECT, READABLE = "not too easy (small model)", "pass rate (strong model)", "correct", "readable"
SHORT, DISTINCT = "short enough", "distinct in its problem"


class Filters:
    """The steps from rows to the completions that pass, and what they count.

    Args:
        settings: What is asked for.
        funnel: Where everything is counted.
        rates: Filters by pass rates, of `easy` and `hard`.
        judge: Gives verdicts; None where none are asked for.

    Attributes:
        num_asked: Completions that each row was asked for, by its number; counted with `hard_pass_rate: generations`.
        num_judged: Those that neither failed nor went without a verdict, whole or not.
        num_right: Correct ones among them.
        num_repeated: Rows whose problem an earlier row has, where that matters: a problem is a row.
    """

    def __init__(
        self, settings: CurateSettings, funnel: Funnel, rates: dict[str, RateFilter], judge: Judge | None
    ) -> None:
        self.settings = settings
        self.funnel = funnel
        self.rates = rates
        self.judge = judge
        self.num_asked: Counter[int] = Counter()
        self.num_judged: Counter[int] = Counter()
        self.num_right: Counter[int] = Counter()
        self.num_repeated = 0
        self._questions: set[int] = set()
        self._needs_rate = settings.hard_pass_rate == OWN_GENERATIONS
        self._count_tokens = load_tokenizer(settings.tokenizer)

    def run(self, inputs: Inputs) -> Iterator[Kept]:
        """Yield the completions that pass, in order."""
        self.funnel.begin(READ, SPLIT)
        attempts = self._read(inputs)
        if self._needs_rate:
            attempts = self._counted(attempts)
        attempts = self.funnel.sift(WHOLE, attempts, self._fault_of_whole)
        for step, name in ((EASY, "easy"), (HARD, "hard")):
            if name in self.rates:
                attempts = self._within(step, attempts, self.rates[name])
        attempts = self._correct(attempts)
        readable = self.settings.readability_filter()
        if readable is not None:
            attempts = self.funnel.sift(
                READABLE, attempts, lambda _, completion: readable.fault_of(close_prefilled_think(completion.text))
            )
        if self.settings.max_tokens is not None:
            attempts = self.funnel.sift(SHORT, attempts, self._fault_of_length)
        for problem, completion in self._distinct(attempts):
            yield self._measure(problem, completion)

    def _read(self, inputs: Inputs) -> Iterator[Attempt]:
        for number, part, row in inputs.rows("filtering"):
            flag = part.flag_of(row)
            if flag is not None:
                self.funnel.drop(CLEAN, flag)
                continue
            if CLEAN in self.funnel:
                self.funnel.keep(CLEAN, number)
            problem = read_problem(row, number, part.columns)
            if isinstance(problem, str):
                self.funnel.drop(READ, problem)
                continue
            self._note_question(problem)
            self.funnel.keep(READ, number)
            self.funnel.keep(SPLIT, number, len(problem.completions))
            for completion in problem.completions:
                yield problem, completion

    def _note_question(self, problem: Problem) -> None:
        if self._needs_rate or self.settings.max_per_problem is not None:
            known = len(self._questions)
            self._questions.add(hash(problem.question))
            self.num_repeated += known == len(self._questions)

    def own_rate(self, row: int) -> float | None:
        """Return the share of a row's completions that is correct; None where none was judged.

        Where some failed, it is rounded to whole completions of all: 3 right ones of 31 count as 3 of 32.
        """
        if not self.num_judged[row]:
            return None
        num_asked = self.num_asked[row]
        return round(self.num_right[row] / self.num_judged[row] * num_asked) / num_asked

    def _counted(self, attempts: Iterable[Attempt]) -> Iterator[Attempt]:
        """Count what own pass rates are made of: they are about correctness, so malformed completions count too."""
        if self.settings.correct_by == "verifier":
            attempts = self._judged(attempts)
        for problem, completion in attempts:
            is_right = None if is_failed(completion.text, completion.finish_reason) else self._is_right(completion)
            self.num_asked[problem.row] += 1
            if is_right is not None:
                self.num_judged[problem.row] += 1
                self.num_right[problem.row] += is_right
            yield problem, completion

    def _is_right(self, completion: Completion) -> bool | None:
        """Return whether a completion is correct, None where nobody can tell."""
        if self.settings.correct_by == "column":
            fault = self._fault_of_flag(completion)
            return None if fault == "no_verdict" else fault is None
        return None if completion.verdict == Verdict.UNVERIFIABLE else completion.verdict == Verdict.RIGHT

    def _fault_of_whole(self, problem: Problem, completion: Completion) -> str | None:
        needs_reasoning = self.settings.reasoning == "require"
        return fault_of(completion.text, completion.finish_reason, needs_reasoning=needs_reasoning)

    def _within(self, step: str, attempts: Iterable[Attempt], rates: RateFilter) -> Iterator[Attempt]:
        return self.funnel.sift(step, attempts, lambda problem, _: rates.fault_of(problem.row))

    def _correct(self, attempts: Iterable[Attempt]) -> Iterator[Attempt]:
        if self.settings.correct_by == "none":
            return iter(attempts)
        if self.settings.correct_by == "column":
            return self.funnel.sift(CORRECT, attempts, self._take_flag)
        judged = attempts if self._needs_rate else self._judged(attempts)
        return self.funnel.sift(CORRECT, judged, self._fault_of_verdict)

    def _judged(self, attempts: Iterable[Attempt]) -> Iterator[Attempt]:
        assert self.judge is not None
        for chunk in _chunks(attempts):
            texts = [(problem, completion) for problem, completion in chunk if self._may_be_judged(completion)]
            verdicts = self.judge.judge(
                [(completion.row, completion.index) for _, completion in texts],
                [problem.gold for problem, _ in texts],
                [close_prefilled_think(completion.text) for _, completion in texts],
                [problem.text for problem, _ in texts],
            )
            for (_, completion), verdict in zip(texts, verdicts, strict=True):
                completion.verdict = verdict
            yield from chunk

    def _may_be_judged(self, completion: Completion) -> bool:
        """Return whether there is a text, of a problem that known pass rates leave."""
        is_left = all(rates.fault_of(completion.row) is None for rates in self.rates.values())
        return is_left and isinstance(completion.text, str) and completion.finish_reason != "error"

    def _fault_of_verdict(self, problem: Problem, completion: Completion) -> str | None:
        if completion.verdict == Verdict.RIGHT:
            return None
        if completion.verdict == Verdict.UNVERIFIABLE and self.settings.keep_unverifiable:
            return None
        return completion.verdict

    def _take_flag(self, problem: Problem, completion: Completion) -> str | None:
        fault = self._fault_of_flag(completion)
        completion.verdict = completion.verdict if fault else "column"
        return fault

    def _fault_of_flag(self, completion: Completion) -> str | None:
        flag = completion.flag
        if flag is None or flag != flag:
            return "no_verdict"
        if not isinstance(flag, bool | int | float):
            raise ValueError(
                f"--correct_column holds {flag!r} in row {completion.row}: it must be a boolean or a number for each "
                "completion."
            )
        return "wrong" if flag < self.settings.correct_min else None

    def _fault_of_length(self, problem: Problem, completion: Completion) -> str | None:
        assert self.settings.max_tokens is not None
        num_tokens = self._num_tokens(completion)
        if num_tokens is None:
            raise ValueError(
                f"--max_tokens: row {problem.row} has no count of tokens (`api_metadata`) for completion "
                f"{completion.index}: name a --tokenizer."
            )
        return "too_long" if num_tokens > self.settings.max_tokens else None

    def _distinct(self, attempts: Iterable[Attempt]) -> Iterator[Attempt]:
        """Drop completions that another one of the same problem repeats word by word."""
        row, seen = -1, set()

        def fault_of(problem: Problem, completion: Completion) -> str | None:
            nonlocal row, seen
            if problem.row != row:
                row, seen = problem.row, set()
            text = " ".join(completion.text.split())
            if text in seen:
                return "repeated"
            seen.add(text)
            return None

        return self.funnel.sift(DISTINCT, attempts, fault_of)

    def _measure(self, problem: Problem, completion: Completion) -> Kept:
        is_ranked = self.settings.order == "rule_score"
        return Kept(
            row=problem.row,
            index=completion.index,
            length=count_words(completion.text),
            score=measure_care(reasoning_of(completion.text)).score if is_ranked else 0.0,
            domain=sys.intern(problem.domain),
            verdict=sys.intern(str(completion.verdict)),
            num_tokens=self._num_tokens(completion),
        )

    def _num_tokens(self, completion: Completion) -> int | None:
        if self._count_tokens is not None:
            return self._count_tokens(completion.text)
        return completion.num_tokens


def _chunks(attempts: Iterable[Attempt]) -> Iterator[list[Attempt]]:
    """Yield up to `CHUNK` attempts at a time."""
    iterator = iter(attempts)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def load_tokenizer(name: str | None) -> Callable[[str], int] | None:
    """Return a function that counts the tokens of a text, or None where no tokenizer is named.

    Args:
        name: A `tokenizer.json`, or the folder of a model with one.

    Raises:
        ValueError: There is no such file, or it can't be read.
    """
    if name is None:
        return None
    from tokenizers import Tokenizer

    path = Path(name).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"--tokenizer: there is no file {path}; name a tokenizer.json, or a folder with one.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises bare Exceptions for files it can't read
        raise ValueError(f"--tokenizer: {path} can't be read: {error}") from error
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
