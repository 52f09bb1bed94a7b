# SPDX-License-Identifier: Apache-2.0
"""The engine of our own: requests by the project's client, each answer in a journal as soon as it is there.

<benchmark>/generations.jsonl    every answer; kill -9 at any moment, and the same command goes on
            asking.jsonl         who gave them, and how fast, of each run
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import Any

from open_r1.data.benchmarks import Benchmark
from open_r1.evaluation.asking_log import note_servers, note_speed, read_speed
from open_r1.evaluation.engines import Asked, Question, Speed
from open_r1.evaluation.problems import Problems, load_problems
from open_r1.evaluation.results import ANSWERS_NAME, RESULTS_NAME
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.generation.client import ChatClient
from open_r1.generation.engine import Outcome, Totals, run, run_requests
from open_r1.generation.journal import Journal
from open_r1.generation.journal_header import differing, has_generations, read_settings
from open_r1.generation.progress import progress
from open_r1.generation.publishing import Results

logger = logging.getLogger(__name__)

JOURNAL_NAME = "generations.jsonl"


class DirectEngine:
    """Asks by itself; see `engines.Engine`."""

    name = "direct"

    def check(self, settings: EvaluationSettings) -> None:
        """Take all settings."""

    def versions(self) -> Mapping[str, str]:
        """Return nothing: there is only our own code."""
        return {}

    def load(self, benchmark: Benchmark, settings: EvaluationSettings) -> Problems:
        """Read a benchmark, with our prompts."""
        return load_problems(benchmark, settings)

    @contextmanager
    def ask(self, question: Question) -> Iterator[Asked]:
        """Ask for what the journal doesn't have yet.

        Raises:
            JournalError: The journal is of other settings, or in use.
            ServersDownError: No server answers any more.
            TooManyErrorsError: Requests fail one after the other.
        """
        with Journal(question.folder / JOURNAL_NAME, question.asked, is_final=has_text) as journal:
            outcome = None
            requests = question.problems.requests(question.num_samples)
            if any((request.key, request.index) not in journal.finished for request in requests):
                note_servers(question.folder, question.served_by, question.commit)
                started = time.perf_counter()
                outcome = run(_ask(question, journal))
                note_speed(question.folder, speed_of(outcome.totals, time.perf_counter() - started))
                if outcome.stopped_by is not None:
                    yield Asked(None, outcome)
                    return
            with closing(Results(journal)) as results:
                yield Asked(JournalRecords(question.problems, results), outcome, read_speed(question.folder))

    def put_aside(self, folder: Path, asked: Mapping[str, Any], *, is_finished: bool) -> None:
        """Rename a folder whose answers are of other settings, or finished."""
        put_journal_aside(folder, asked, is_finished=is_finished)


def put_journal_aside(folder: Path, asked: Mapping[str, Any], *, is_finished: bool, name: str = JOURNAL_NAME) -> None:
    """Rename a folder whose journal is of other settings, or finished; or gone, where results are there without it.

    Args:
        folder: The folder.
        asked: All settings that decide what comes into the journal.
        is_finished: Whether it is put aside where settings are the same, too.
        name: Of the journal's file.

    Raises:
        JournalError: Another process is at it.
    """
    path = folder / name
    if has_generations(path):
        reasons = differing(read_settings(path) or {}, asked)
        reasons = reasons or (["--overwrite asks for that"] if is_finished else [])
    else:
        left = [found for found in (RESULTS_NAME, ANSWERS_NAME) if (folder / found).exists()]
        reasons = [f"it has {', '.join(left)} without their {path.name}"] if left else []
    if reasons:
        is_there = path.exists() and path.stat().st_size > 0
        with Journal(path, None) if is_there else nullcontext():  # refuses where another process is at it
            free = _rename_aside(folder)
        logger.warning("%s is begun anew: %s. What it held is in %s.", folder, "; ".join(reasons), free)


def _rename_aside(folder: Path) -> Path:
    """Give a folder the first free name of `<name>.1`, `<name>.2`, ..., and return it."""
    free = next(name for i in count(1) if not (name := folder.with_name(f"{folder.name}.{i}")).exists())
    folder.rename(free)
    return free


def build_engine() -> DirectEngine:
    """Return the engine."""
    return DirectEngine()


class JournalRecords:
    """Records of a journal by the number of the row."""

    def __init__(self, problems: Problems, results: Results) -> None:
        self._problems, self._results = problems, results

    def get(self, row: int, index: int) -> dict[str, Any] | None:
        """Return an answer, or None."""
        key, _, _ = self._problems.prompts.get(row)
        return self._results.get(key, index)


def build_client(question: Question) -> ChatClient:
    """Return a client that asks the question's servers."""
    settings = question.settings
    return ChatClient(
        question.addresses,
        question.sampling,
        model=question.served.name,
        api_key=settings.api_key,
        patience=settings.patience,
    )


async def _ask(question: Question, journal: Journal) -> Outcome:
    problems, settings = question.problems, question.settings
    client, totals = build_client(question), Totals()
    logger.info(
        "%s: asking %s for %d answers to %d problems; %d are there.",
        problems.benchmark.name,
        client.model,
        question.total,
        len(problems.golds),
        len(journal.finished),
    )
    async with client, progress(totals, question.total):
        return await run_requests(
            problems.requests(question.num_samples),
            client,
            journal,
            max_concurrent=settings.max_concurrent,
            totals=totals,
            grace_s=settings.grace_s,
            retry_flag="the same command",
        )


def speed_of(totals: Totals, seconds: float) -> Speed | None:
    """Return how fast answers came; None: none came, or the server doesn't count tokens."""
    answers = totals.done - totals.failed
    return Speed(totals.completion_tokens, seconds, answers) if totals.completion_tokens and seconds > 0 else None


def has_text(record: Mapping[str, Any]) -> bool:
    """Whether a request needn't be sent again."""
    return record["text"] is not None
