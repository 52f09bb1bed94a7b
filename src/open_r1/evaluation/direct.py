# SPDX-License-Identifier: Apache-2.0
"""Answers to a benchmark from servers, each in a journal as soon as it is there.

<benchmark>/generations.jsonl    every answer; after kill -9 the same command resumes
            asking.jsonl         who gave them, and how fast, of each run
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from open_r1.evaluation.asking_log import Speed, note_servers, note_speed, read_speed
from open_r1.evaluation.judging import RecordOf
from open_r1.evaluation.problems import Problems
from open_r1.evaluation.results import ANSWERS_NAME, RESULTS_NAME
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.generation.client import Client, ServedModel
from open_r1.generation.driver import Outcome, run
from open_r1.generation.driver import ask as ask_all
from open_r1.generation.journal import Journal, differing, free_name, read_settings
from open_r1.generation.messages import Sampling

if TYPE_CHECKING:
    from open_r1.generation.transformers_here import TransformersHere

logger = logging.getLogger(__name__)

JOURNAL_NAME = "generations.jsonl"


@dataclass(frozen=True)
class Question:
    """What is asked of one benchmark.

    Attributes:
        problems: Its rows; `problems.golds` has the numbers of those that are asked.
        settings: As they were given; `sampling` and `num_samples` are what they come to.
        served: The model.
        addresses: URLs of its servers.
        here: The model in this process, where there are none.
        sampling: How answers are drawn; of answer i the seed is `sampling.seed + i`.
        num_samples: Answers a problem.
        folder: Of the benchmark's results; may be missing.
        asked: All settings that decide the answers: what is in `folder` must be of the same.
        served_by: What the servers say of themselves (`serving.describe_servers`).
        commit: Of the code that asks; None: it isn't known.
    """

    problems: Problems
    settings: EvaluationSettings
    served: ServedModel
    addresses: Sequence[str]
    sampling: Sampling
    num_samples: int
    folder: Path
    asked: Mapping[str, Any]
    here: "TransformersHere | None" = None
    served_by: Sequence[Mapping[str, Any]] = ()
    commit: str | None = None

    @property
    def total(self) -> int:
        """Answers that there are to be."""
        return len(self.problems.golds) * self.num_samples


@dataclass(frozen=True)
class Asked:
    """What came.

    Attributes:
        record_of: Returns the record of an answer, by row and index (None: there is none), until the context is left;
            None where a signal has ended the run (`outcome` says which).
        outcome: What was asked for; None: nothing was left to ask.
        speed: Of the asking, over all runs; None: nothing was measured, or the server doesn't count tokens.
    """

    record_of: RecordOf | None
    outcome: Outcome | None = None
    speed: Speed | None = None


@contextmanager
def ask(question: Question) -> Iterator[Asked]:
    """Ask for what the journal doesn't have yet; the answers can be read until the context is left.

    Raises:
        JournalError: The journal is of other settings, or in use.
        ServersDownError: No server answers any more, or requests fail one after the other.
    """
    problems = question.problems
    with Journal(question.folder / JOURNAL_NAME, question.asked, is_final=_has_text) as journal:
        outcome = None
        requests = problems.requests(question.num_samples, question.sampling)
        if any((request.key, request.index) not in journal for request in requests):
            note_servers(question.folder, question.served_by, question.commit)
            started = time.perf_counter()
            outcome = run(_ask(question, journal))
            note_speed(question.folder, _speed_of(outcome, time.perf_counter() - started))
            if outcome.stopped_by is not None:
                yield Asked(None, outcome)
                return

        def record_of(row: int, index: int) -> dict[str, Any] | None:
            key, _, _ = problems.prompts.get(row)
            return journal.get((key, index))

        yield Asked(record_of, outcome, read_speed(question.folder))


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
    begun = read_settings(path)
    if begun is not None:
        reasons = differing(begun, asked)
        reasons = reasons or (["--overwrite asks for that"] if is_finished else [])
    else:
        left = [found for found in (RESULTS_NAME, ANSWERS_NAME) if (folder / found).exists()]
        reasons = [f"it has {', '.join(left)} without their {path.name}"] if left else []
    if reasons:
        is_there = path.exists() and path.stat().st_size > 0
        with Journal(path, None) if is_there else nullcontext():  # refuses where another process is at it
            folder.rename(free := free_name(folder))
        logger.warning("%s is begun anew: %s. What it held is in %s.", folder, "; ".join(reasons), free)


async def _ask(question: Question, journal: Journal) -> Outcome:
    problems, settings = question.problems, question.settings
    logger.info(
        "%s: asking %s for %d answers to %d problems; %d are there.",
        problems.benchmark.name,
        question.served.name,
        question.total,
        len(problems.golds),
        len(journal),
    )
    async with _client_of(question) if question.here is None else nullcontext(question.here) as client:
        return await ask_all(
            problems.requests(question.num_samples, question.sampling),
            client.ask_one,
            journal,
            max_concurrent=settings.max_concurrent,
            total=question.total,
            grace_s=settings.grace_s,
        )


def _client_of(question: Question) -> Client:
    settings = question.settings
    return Client(
        question.addresses,
        model=question.served.name,
        api_key=settings.api_key,
        patience=settings.patience,
    )


def _speed_of(outcome: Outcome, seconds: float) -> Speed | None:
    """Return how fast answers came; None: none came, or the server doesn't count tokens."""
    answers, tokens = outcome.done - outcome.failed, outcome.completion_tokens
    return Speed(tokens, seconds, answers) if tokens and seconds > 0 else None


def _has_text(record: Mapping[str, Any]) -> bool:
    """Whether a request needn't be sent again."""
    return record["text"] is not None
