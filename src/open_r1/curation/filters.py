# SPDX-License-Identifier: Apache-2.0
"""The filters that look at one completion at a time, as generators: only a chunk of texts is in memory at once."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from open_r1.curation.completions import Completion, Problem, read_problem
from open_r1.curation.funnel import Attempt, Funnel
from open_r1.curation.inputs import Inputs
from open_r1.curation.quality import close_prefilled_think, fault_of
from open_r1.curation.rates import RateFilter
from open_r1.curation.rule_score import count_words, measure_care
from open_r1.curation.selection import Kept
from open_r1.curation.settings import CurateSettings
from open_r1.curation.verdicts import CHUNK, LOST, Judge
from open_r1.rewards.prose import reasoning_of
from open_r1.rewards.verifier import Verdict

READ, SPLIT, WHOLE = "rows", "completions of the rows", "whole"
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
        attempts: Completions of each row, by its number, that neither failed nor were lost in judging: what its own
            pass rate is a share of.
        rights: Correct ones among them.
    """

    def __init__(
        self, settings: CurateSettings, funnel: Funnel, rates: dict[str, RateFilter], judge: Judge | None
    ) -> None:
        self.settings = settings
        self.funnel = funnel
        self.rates = rates
        self.judge = judge
        self.attempts: Counter[int] = Counter()
        self.rights: Counter[int] = Counter()
        self._count_tokens = load_tokenizer(settings.tokenizer)

    def run(self, inputs: Inputs) -> Iterator[Kept]:
        """Yield the completions that pass, in order."""
        self.funnel.begin(READ, SPLIT)
        attempts = self.funnel.sift(WHOLE, self._read(inputs), self._fault_of_whole)
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
            problem = read_problem(row, number, part.columns)
            if isinstance(problem, str):
                self.funnel.drop(READ, problem)
                continue
            self.funnel.keep(READ, number)
            self.funnel.keep(SPLIT, number, len(problem.completions))
            for completion in problem.completions:
                yield problem, completion

    def _fault_of_whole(self, problem: Problem, completion: Completion) -> str | None:
        needs_reasoning = self.settings.reasoning == "require"
        fault = fault_of(completion.text, completion.finish_reason, needs_reasoning=needs_reasoning)
        if fault != "failed":
            self.attempts[problem.row] += 1
        return fault

    def _within(self, step: str, attempts: Iterable[Attempt], rates: RateFilter) -> Iterator[Attempt]:
        return self.funnel.sift(step, attempts, lambda problem, _: rates.fault_of(problem.row))

    def _correct(self, attempts: Iterable[Attempt]) -> Iterator[Attempt]:
        if self.settings.correct_by == "none":
            return iter(attempts)
        if self.settings.correct_by == "column":
            return self.funnel.sift(CORRECT, attempts, self._fault_of_flag)
        return self.funnel.sift(CORRECT, self._judged(attempts), self._fault_of_verdict)

    def _judged(self, attempts: Iterable[Attempt]) -> Iterator[Attempt]:
        assert self.judge is not None
        for chunk in _chunks(attempts):
            verdicts = self.judge.judge(
                [(completion.row, completion.index) for _, completion in chunk],
                [problem.gold for problem, _ in chunk],
                [close_prefilled_think(completion.text) for _, completion in chunk],
            )
            for (_, completion), verdict in zip(chunk, verdicts, strict=True):
                completion.verdict = verdict
            yield from chunk

    def _fault_of_verdict(self, problem: Problem, completion: Completion) -> str | None:
        if completion.verdict == Verdict.RIGHT:
            self.rights[problem.row] += 1
            return None
        if completion.verdict == Verdict.UNPARSABLE_GOLD and self.settings.keep_unparsable_gold:
            return None
        if completion.verdict == LOST:
            self.attempts[problem.row] -= 1
        return completion.verdict

    def _fault_of_flag(self, problem: Problem, completion: Completion) -> str | None:
        flag = completion.flag
        if flag is None or flag != flag:
            return "no_verdict"
        if not isinstance(flag, bool | int | float):
            raise ValueError(
                f"--correct_column holds {flag!r} in row {problem.row}: it must be a boolean or a number for each "
                "completion."
            )
        if flag < self.settings.correct_min:
            return "wrong"
        completion.verdict = "column"
        self.rights[problem.row] += 1
        return None

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
        num_tokens = self._num_tokens(completion)
        return Kept(
            row=problem.row,
            index=completion.index,
            length=count_words(completion.text) if num_tokens is None else num_tokens,
            score=measure_care(reasoning_of(completion.text)).score if is_ranked else 0.0,
            domain=sys.intern(problem.domain),
            verdict=sys.intern(str(completion.verdict)),
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
