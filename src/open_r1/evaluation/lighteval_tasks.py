# SPDX-License-Identifier: Apache-2.0
"""Benchmarks as lighteval asks them: its prompts on the rows that are read here too."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from open_r1.data.benchmarks import Benchmark
from open_r1.evaluation.lighteval_environment import Lighteval, LightevalError
from open_r1.evaluation.problems import Problems, load_problems
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.generation.prompts import Prompts, PromptSettings
from open_r1.generation.requests import Message


def load_task(benchmark: Benchmark, settings: EvaluationSettings, lighteval: Lighteval) -> Problems:
    """Read a benchmark, with the prompts of lighteval's task; of a local file with ours.

    Raises:
        ValueError: It can't be loaded, lighteval has no such task, or settings have no effect with it.
        LightevalError: lighteval can't load its data.
    """
    if not benchmark.is_local:
        refuse_task(benchmark, settings)
    problems, task = load_problems(benchmark, settings), task_of(benchmark)
    try:
        if benchmark.is_local:
            refuse_task(problems.benchmark, settings)
            return problems
        done = lighteval.run("prompts", {"task": task, "system_prompt": settings.system_prompt})
        ask_instead(problems, done.lines)
    except BaseException as error:
        problems.close()
        if isinstance(error, LightevalError):
            raise LightevalError(
                f"lighteval can't load its task {task}: {error}. Its data ({benchmark.dataset}) is on the hub; "
                "offline, give a local copy by --data, which is asked with our prompts."
            ) from error
        raise
    return problems


def refuse_task(benchmark: Benchmark, settings: EvaluationSettings) -> None:
    """Refuse what lighteval can't ask or score.

    Args:
        benchmark: Of the kind that its columns say.
        settings: Of the run.

    Raises:
        ValueError: lighteval has no such task or metric, or settings have no effect with it.
    """
    if benchmark.is_local and benchmark.kind == "code":
        raise ValueError(
            f"{benchmark.name} has tests of programs, for which lighteval has no metric beyond "
            "LiveCodeBench; take --engine direct or inspect."
        )
    if benchmark.is_local:
        return
    if not benchmark.lighteval:
        raise ValueError(f"lighteval has no task for the benchmark {benchmark.name}; name another --engine.")
    if settings.template is not None:
        raise ValueError(
            f"The engine lighteval asks {benchmark.name} with lighteval's own prompt, so a prompt template has no "
            "effect: leave it out, or take --engine direct."
        )


def task_of(benchmark: Benchmark) -> str:
    """Return the task of a benchmark as lighteval 0.13 spells it: name, and solved examples in the prompt.

    >>> from open_r1.data.benchmarks import SUPPORTED_BENCHMARKS
    >>> task_of(SUPPORTED_BENCHMARKS["gpqa"])
    'gpqa:diamond|0'
    """
    return f"{benchmark.lighteval}|0"


def ask_instead(problems: Problems, lines: Sequence[Mapping[str, Any]]) -> None:
    """Put lighteval's conversations, and golds of choices, in place of ours.

    Args:
        problems: Rows as they are read here.
        lines: `id` (number of the row), `messages` and `gold` of each problem of lighteval's task.

    Raises:
        ValueError: Its problems aren't those of our rows.
    """
    benchmark, by_row = problems.benchmark, {int(line["id"]): line for line in lines}
    end = max(problems.golds) + 1
    for row, value in enumerate(problems.source.rows([benchmark.prompt_column], end=end)):
        text = " ".join(str(value[benchmark.prompt_column]).split())
        if row not in problems.golds:
            continue
        if row not in by_row or text not in " ".join(by_row[row]["messages"][-1]["content"].split()):
            raise ValueError(
                f"Row {row} of {benchmark.dataset} isn't problem {row} of lighteval's task "
                f"{task_of(benchmark)}: the two have read different data."
            )
    prompts = Prompts(Path(tempfile.gettempdir()))
    column = benchmark.prompt_column
    conversations = [by_row[row]["messages"] if row in problems.golds else None for row in range(end)]
    problems.prompts.close()
    problems.prompts = prompts
    prompts.read(_Conversations(problems.source.name, column, conversations), PromptSettings(column), end)
    if benchmark.kind == "choices":
        problems.golds = {row: by_row[row]["gold"] for row in problems.golds}
    whole = json.dumps([[row, by_row[row]["messages"], by_row[row]["gold"]] for row in problems.golds])
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    problems.decided = {"template": None, "lighteval_task": task_of(benchmark), "lighteval_prompts": digest}


class _Conversations:
    """Rows with a conversation each, as `Prompts` reads them."""

    def __init__(self, name: str, column: str, conversations: Sequence[list[Message] | None]) -> None:
        self.name, self._column, self._conversations = name, column, conversations

    def rows(self, columns: list[str] | None = None, *, end: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the rows before `end`."""
        for messages in self._conversations[:end]:
            yield {self._column: messages}
