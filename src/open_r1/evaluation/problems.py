# SPDX-License-Identifier: Apache-2.0
"""The problems of a benchmark: conversations to send, and what answers to each are judged by."""

import hashlib
import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from open_r1.data.benchmarks import Benchmark, fitted
from open_r1.data.sources import RowSource, open_source
from open_r1.evaluation.choices import lettered
from open_r1.evaluation.program_rows import COLUMNS, TestsFile, form_of
from open_r1.evaluation.settings import TEMPLATES, EvaluationSettings
from open_r1.generation.messages import Message, Request, Sampling
from open_r1.generation.prompts import PromptError, Prompts, PromptSettings, check_template, fill_template
from open_r1.sandbox import Limits
from open_r1.sandbox.providers import SandboxSettings

logger = logging.getLogger(__name__)

# Rows with tests of programs can be a hundred megabytes each.
_BATCH_ROWS = 8


@dataclass
class Problems:
    """The rows of a benchmark that can be asked.

    Attributes:
        benchmark: Where they come from; its kind and columns are those of the rows.
        source: Its rows.
        prompts: Their conversations.
        golds: By the row's number, of the rows that are asked: gold answer, letter, or fingerprint of the tests.
        skipped: Why a row isn't asked, by its number.
        tests: Tests of programs; None: answers are no programs.
        sandbox: Where programs run.
        limits: Of each test.
        judged_by: Settings of the verdicts that the judge tells (`Judge.check`), as which sandbox it has.
        system_prompt: First message of each conversation that the run adds; None: it adds none.
    """

    benchmark: Benchmark
    source: RowSource
    prompts: Prompts
    golds: dict[int, str]
    skipped: dict[int, str] = field(default_factory=dict)
    tests: TestsFile | None = None
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    limits: Limits = field(default_factory=Limits)
    judged_by: dict[str, Any] = field(default_factory=dict)
    system_prompt: str | None = None

    def requests(self, num_samples: int, sampling: Sampling | None = None) -> Iterator[Request]:
        """Yield a request for each answer."""
        return self.prompts.requests(list(self.golds), num_samples, sampling)

    def question_of(self, row: int) -> tuple[str, str]:
        """Return what tells problems apart: a hash of the messages before the last, and the last one's text.

        The hash is "" where nothing goes before but the run's own system prompt, with which nothing else is asked.
        Spaces don't count in it.
        """
        _, messages, _ = self.prompts.get(row)
        before = [[message["role"], " ".join(message["content"].split())] for message in messages[:-1]]
        if self.system_prompt is not None and before[:1] == [["system", " ".join(self.system_prompt.split())]]:
            del before[0]
        whole = json.dumps(before, ensure_ascii=False).encode("utf-8", "surrogatepass")
        return hashlib.sha256(whole).hexdigest()[:16] if before else "", messages[-1]["content"]

    def notes(self) -> list[str]:
        """Return what of the data isn't asked; empty: all of it is."""
        found = []
        if self.skipped:
            first = min(self.skipped)
            found.append(
                f"{len(self.skipped)} of {len(self.skipped) + len(self.golds)} rows are left out, so these "
                f"are no figures of the whole; the first is row {first}: {self.skipped[first]}"
            )
        return found

    def close(self) -> None:
        """Delete the temporary files."""
        if self.tests is not None:
            self.tests.close()


def load_problems(benchmark: Benchmark, settings: EvaluationSettings) -> Problems:
    """Read a benchmark.

    Raises:
        ValueError: It can't be loaded, has no such columns, or no row that could be asked and judged.
    """
    try:
        source = open_source(benchmark.dataset, config=benchmark.config, split=benchmark.split)
    except (ValueError, OSError) as error:
        hint = "" if benchmark.is_local else " Offline, or without access to it, give a local copy by --data."
        where = f"{benchmark.name} ({benchmark.dataset})"
        raise ValueError(f"The benchmark {where} can't be loaded: {error}{hint}") from error
    benchmark = fitted(benchmark, source.column_names)
    num_rows = source.num_rows if settings.limit is None else min(settings.limit, source.num_rows)
    if not num_rows:
        raise ValueError(f"The benchmark {benchmark.name} ({benchmark.dataset}) has no rows.")
    problems = Problems(
        benchmark,
        source,
        Prompts((), {}.__getitem__, PromptSettings(benchmark.prompt_column), source.name),
        {},
        tests=TestsFile() if benchmark.kind == "code" else None,
        sandbox=settings.sandbox,
        limits=settings.limits,
        system_prompt=settings.system_prompt,
    )
    try:
        (_read_math if benchmark.kind == "math" else _read_written)(problems, settings, num_rows)
        _tell_skipped(problems)
    except BaseException:
        problems.close()
        raise
    return problems


def _read_math(problems: Problems, settings: EvaluationSettings, num_rows: int) -> None:
    benchmark, source = problems.benchmark, problems.source
    shape = PromptSettings(benchmark.prompt_column, template=settings.template, system_prompt=settings.system_prompt)
    columns = [benchmark.prompt_column]
    read = source.dataset.select_columns(columns).__getitem__
    problems.prompts = Prompts(source.rows(columns, end=num_rows), read, shape, source.name)
    problems.skipped = dict(problems.prompts.bad)
    for number, row in enumerate(source.rows([benchmark.solution_column], end=num_rows)):
        gold = _gold_of(row[benchmark.solution_column])
        if gold is None:
            problems.skipped.setdefault(number, f"{benchmark.solution_column} holds no answer")
        elif number not in problems.skipped:
            problems.golds[number] = gold


def _read_written(problems: Problems, settings: EvaluationSettings, num_rows: int) -> None:
    """Read rows of which the prompt is made of several columns."""
    if settings.template is not None:
        check_template(settings.template)
    written = _WrittenRows(problems, settings)
    shape = PromptSettings(problems.benchmark.prompt_column, system_prompt=settings.system_prompt)
    try:
        rows = list(written.rows(end=num_rows))
        problems.prompts = Prompts(rows, rows.__getitem__, shape, written.name)
    except ValueError as error:
        if not written.bad:
            raise
        first = min(written.bad)
        name = problems.benchmark.name
        raise ValueError(f"No row of {name} can be asked and judged; row {first}: {written.bad[first]}.") from error
    problems.skipped = {**problems.prompts.bad, **written.bad}
    problems.golds = {row: gold for row, gold in written.golds.items() if row not in problems.skipped}


class _WrittenRows:
    """Rows whose prompt is a conversation that is written here; notes their golds, and those that can't be asked."""

    def __init__(self, problems: Problems, settings: EvaluationSettings) -> None:
        self._problems, self._template = problems, settings.template
        self.name = problems.source.name
        self.golds: dict[int, str] = {}
        self.bad: dict[int, str] = {}

    def rows(self, columns: list[str] | None = None, *, end: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the rows before `end`, of their columns the prompt alone; None where there is none."""
        benchmark, source = self._problems.benchmark, self._problems.source
        wanted = [*benchmark.columns, *(COLUMNS if benchmark.kind == "code" else ())]
        names = [name for name in dict.fromkeys(wanted) if name in source.column_names]
        batches = source.batches(names, batch_rows=_BATCH_ROWS, end=end)
        for number, row in enumerate(row for batch in batches for row in batch.to_pylist()):
            prompt = None
            try:
                prompt, self.golds[number] = self._write(number, row)
            except PromptError as error:
                self.bad[number] = str(error)
            yield {benchmark.prompt_column: prompt}

    def _write(self, number: int, row: Mapping[str, Any]) -> tuple[list[Message], str]:
        """Return conversation and gold of a row."""
        benchmark, tests = self._problems.benchmark, self._problems.tests
        if tests is None:
            text, gold = lettered(row, benchmark)
            return self._messages_of(text), gold
        problem, form = row[benchmark.prompt_column], form_of(row)
        if isinstance(problem, list):
            if self._template is not None:
                raise PromptError("a conversation, which takes no prompt template")
            return problem, tests.add(number, row)
        if not isinstance(problem, str) or not problem.strip():
            raise PromptError(f"{benchmark.prompt_column} is no text, or an empty one")
        return self._messages_of(f"{problem.strip()}\n\n{form}"), tests.add(number, row)

    def _messages_of(self, text: str) -> list[Message]:
        template = self._template or TEMPLATES[self._problems.benchmark.kind]
        return [{"role": "user", "content": fill_template(template, text)}]


def _gold_of(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):  # how tables and JSON of Python write a missing one
        return None
    return str(value) if str(value).strip() else None


def _tell_skipped(problems: Problems) -> None:
    name = problems.benchmark.name
    if problems.skipped and not problems.golds:
        first = min(problems.skipped)
        raise ValueError(f"No row of {name} can be asked and judged; row {first}: {problems.skipped[first]}.")
    for note in problems.notes():
        logger.warning("%s: %s.", name, note)
