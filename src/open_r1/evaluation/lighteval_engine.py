# SPDX-License-Identifier: Apache-2.0
"""The engine that asks lighteval's prompts, and has lighteval score the answers, in an environment of its own.

    <benchmark>-lighteval/generations.jsonl      every answer as soon as it is there, as of the direct engine
                          lighteval/results/     what lighteval writes: figures
                          lighteval/details/     and answers, as it shows them
                          lighteval.log          what it says

A local file becomes a task of lighteval's with our prompt and its metric. `lighteval_runner.py` is what runs there.

1. The answers are asked for by our client: each is a request with a seed of its own, is kept when it comes, and has
   its finish reason. lighteval's client has one seed for all, and finds answers again by the name of the model.
2. Programs (LiveCodeBench) are judged in our sandbox alone: lighteval runs them on the machine as they are. With
   OPEN_R1_LIGHTEVAL_RUNS_PROGRAMS=1 it does.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from open_r1.data.benchmarks import Benchmark
from open_r1.evaluation.direct import DirectEngine, put_journal_aside
from open_r1.evaluation.engines import Asked, Question, Records
from open_r1.evaluation.lighteval_environment import Lighteval
from open_r1.evaluation.lighteval_scores import Answered, ScoredRecords, in_its_words, score_answers
from open_r1.evaluation.lighteval_tasks import load_task
from open_r1.evaluation.problems import Problems
from open_r1.evaluation.settings import EvaluationSettings, label_of

logger = logging.getLogger(__name__)

PROGRAMS_VARIABLE = "OPEN_R1_LIGHTEVAL_RUNS_PROGRAMS"
LOG_NAME = "lighteval.log"
_FOLDER = "lighteval"


class LightevalEngine:
    """Asks what lighteval asks; see `engines.Engine`."""

    name = "lighteval"

    def __init__(self) -> None:
        self._lighteval = Lighteval()

    def check(self, settings: EvaluationSettings) -> None:
        """Make lighteval's environment where it isn't made yet.

        Raises:
            LightevalError: It can't be made.
            FileNotFoundError: The repository isn't there.
        """
        self._lighteval.prepare()

    def versions(self) -> Mapping[str, str]:
        """Return the versions in lighteval's environment, once it has run."""
        return self._lighteval.versions

    def load(self, benchmark: Benchmark, settings: EvaluationSettings) -> Problems:
        """Read a benchmark, with the prompts of lighteval's task; of a local file with ours.

        Raises:
            ValueError: It can't be loaded, lighteval has no such task, or settings have no effect with it.
            LightevalError: lighteval can't load its data.
        """
        return load_task(benchmark, settings, self._lighteval)

    @contextmanager
    def ask(self, question: Question) -> Iterator[Asked]:
        """Ask for what the journal doesn't have yet, and have lighteval score all of it.

        Raises:
            JournalError: The journal is of other settings, or in use.
            ServersDownError: No server answers any more.
            TooManyErrorsError: Requests fail one after the other.
            LightevalError: lighteval has failed at scoring; the answers are kept.
        """
        with DirectEngine().ask(question) as asked:
            if asked.records is None or not may_score(question.problems):
                yield asked
                return
            yield self._scored(question, asked, asked.records)

    def put_aside(self, folder: Path, asked: Mapping[str, Any], *, is_finished: bool) -> None:
        """Rename a folder whose answers are of other settings, or finished."""
        put_journal_aside(folder, asked, is_finished=is_finished)

    def _scored(self, question: Question, asked: Asked, records: Records) -> Asked:
        problems, settings, folder = question.problems, question.settings, question.folder
        answered = _answered(question, records)
        if not answered:
            return asked
        logger.info("%s: lighteval scores the answers to %d problems.", problems.benchmark.name, len(answered))
        scores = score_answers(
            self._lighteval,
            problems.benchmark,
            answered,
            model=settings.model_name or label_of(settings.model or question.served.name),
            sampling=in_its_words(question.sampling),
            system_prompt=settings.system_prompt,
            folder=folder / _FOLDER,
            log_path=folder / LOG_NAME,
        )
        return replace(asked, records=ScoredRecords(records, scores), metrics=scores.metrics)


def build_engine() -> LightevalEngine:
    """Return the engine."""
    return LightevalEngine()


def may_score(problems: Problems) -> bool:
    """Return whether lighteval scores answers itself: programs, which it runs as they are, where it's told to."""
    if problems.benchmark.kind != "code" or os.environ.get(PROGRAMS_VARIABLE) == "1":
        return True
    logger.warning(
        "%s: lighteval's own scorer is left out, since it runs the model's programs on this machine outside of any "
        "sandbox; the figures are those of our sandbox. %s=1 lets it.",
        problems.benchmark.name,
        PROGRAMS_VARIABLE,
    )
    return False


def _answered(question: Question, records: Records) -> list[Answered]:
    """The problems that have answers."""
    found = []
    for row, gold in question.problems.golds.items():
        drawn = {index: records.get(row, index) for index in range(question.num_samples)}
        texts = {index: record["text"] for index, record in drawn.items() if record and record["text"] is not None}
        if texts:
            found.append(Answered(row, question.problems.prompts.get(row)[1], gold, texts))
    return found
