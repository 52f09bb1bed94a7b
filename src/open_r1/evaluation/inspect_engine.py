# SPDX-License-Identifier: Apache-2.0
"""The engine of inspect-ai: it goes through the problems, scores by our judge, and keeps logs to look at.

    <benchmark>-inspect/generations.jsonl    every answer as soon as it is there, as of the direct engine
                        inspect/*.eval       inspect view --log-dir <benchmark>-inspect/inspect
                        answers.parquet, results.json

1. A run that was killed goes on from the journal: inspect's own logs lack the samples of its last seconds. The log is
   then made of all answers, old and new; those of the runs that ended early are removed.
"""

import hashlib
import importlib.util
import json
import logging
import math
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from open_r1.data.benchmarks import Benchmark
from open_r1.data.card import plain_json
from open_r1.evaluation.asking_log import note_servers, note_speed, read_speed
from open_r1.evaluation.direct import (
    JOURNAL_NAME,
    JournalRecords,
    build_client,
    has_text,
    put_journal_aside,
    speed_of,
)
from open_r1.evaluation.engines import Asked, Question
from open_r1.evaluation.inspect_asking import Asking
from open_r1.evaluation.judging import judge_of
from open_r1.evaluation.problems import Problems, load_problems
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.generation.engine import Outcome, allow_open_files, run
from open_r1.generation.journal import Journal
from open_r1.generation.progress import progress
from open_r1.generation.publishing import Results

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

    from open_r1.evaluation.inspect_logs import Logged

logger = logging.getLogger(__name__)

_SMALL_FLUSH, _NUM_FLUSHES = 10, 20


class InspectError(RuntimeError):
    """inspect-ai has ended without a log of all answers."""


class InspectEngine:
    """Asks through inspect-ai; see `engines.Engine`."""

    name = "inspect"

    def check(self, settings: EvaluationSettings) -> None:
        """Take all settings, where the package is there."""
        if importlib.util.find_spec("inspect_ai") is None:
            raise ImportError("The engine `inspect` needs inspect-ai: pip install 'open-r1[eval]'.")

    def versions(self) -> Mapping[str, str]:
        """Return the version of inspect-ai."""
        return {"inspect-ai": version("inspect-ai")}

    def load(self, benchmark: Benchmark, settings: EvaluationSettings) -> Problems:
        """Read a benchmark, with our prompts."""
        return load_problems(benchmark, settings)

    @contextmanager
    def ask(self, question: Question) -> Iterator[Asked]:
        """Ask for what the journal doesn't have yet, and have inspect score all of it.

        Raises:
            JournalError: The journal is of other settings, or in use; the disk is full.
            ServersDownError: No server answers any more.
            TooManyErrorsError: Requests fail one after the other.
            InspectError: inspect has ended early by itself.
        """
        from open_r1.evaluation.inspect_logs import LOGS_NAME, confined, finished_log, remove_unfinished

        logs, identity = question.folder / LOGS_NAME, _identity(question)
        with Journal(question.folder / JOURNAL_NAME, question.asked, is_final=has_text) as journal:
            outcome, logged = None, None
            if _has_gaps(question, journal):
                note_servers(question.folder, question.served_by, question.commit)
            else:
                logged = finished_log(logs, identity, question.total, question.total)
            if logged is None:
                with confined(question.folder), _told_of_full_disks(logs):
                    asking, header = run(_evaluate(question, journal, identity))
                outcome = Outcome(asking.totals, asking.stopped_by, asking.cut_off) if asking.totals.done else None
                note_speed(question.folder, speed_of(asking.totals, asking.seconds))
                if header is None:
                    yield Asked(None, Outcome(asking.totals, asking.stopped_by, asking.cut_off))
                    return
                logged = finished_log(logs, identity, question.total) if header.status == "success" else None
                if logged is None:
                    raise InspectError(_why(header, logs))
                remove_unfinished(logs, logged.path)
            logger.info("Look at the answers by: inspect view --log-dir %s", shlex.quote(str(logs)))
            with closing(Results(journal)) as results:
                records = InspectRecords(JournalRecords(question.problems, results), logged)
                yield Asked(records, outcome, read_speed(question.folder), logged.metrics)

    def put_aside(self, folder: Path, asked: Mapping[str, Any], *, is_finished: bool) -> None:
        """Rename a folder whose answers are of other settings, or finished."""
        put_journal_aside(folder, asked, is_finished=is_finished)


def build_engine() -> InspectEngine:
    """Return the engine."""
    return InspectEngine()


class InspectRecords:
    """Records of the journal with the scores of inspect's log."""

    def __init__(self, records: JournalRecords, logged: "Logged") -> None:
        self._records, self._logged = records, logged

    def get(self, row: int, index: int) -> dict[str, Any] | None:
        """Return an answer, or None."""
        record, score = self._records.get(row, index), self._logged.scores.get((row, index))
        is_known = score is not None and not math.isnan(score)
        return None if record is None else {**record, "engine_score": score if is_known else None}


def _identity(question: Question) -> dict[str, Any]:
    """What the scores in a log depend on beside the answers, as JSON holds it."""
    golds = json.dumps(list(question.problems.golds.items())).encode("utf-8", "surrogatepass")
    return {
        "golds": hashlib.sha256(golds).hexdigest(),
        "num_samples": question.num_samples,
        "commit": question.commit,
        "version": version("open-r1"),
        "judged_by": plain_json(question.problems.judged_by),
    }


def _has_gaps(question: Question, journal: Journal) -> bool:
    requests = question.problems.requests(question.num_samples)
    return any((request.key, request.index) not in journal.finished for request in requests)


async def _evaluate(
    question: Question, journal: Journal, identity: Mapping[str, Any]
) -> tuple[Asking, "EvalLog | None"]:
    """Run inspect; return what was asked, and the header of its log (None: a signal has ended it early)."""
    from inspect_ai import eval_async
    from inspect_ai.model import GenerateConfig, Model

    from open_r1.evaluation.inspect_logs import IDENTITY, LOGS_NAME
    from open_r1.evaluation.inspect_model import AskedModel
    from open_r1.evaluation.inspect_tasks import build_task

    problems, max_concurrent = question.problems, question.settings.max_concurrent
    allow_open_files(max_concurrent)
    logger.info(
        "%s: inspect asks %s for %d answers to %d problems; %d are there.",
        problems.benchmark.name,
        question.served.name,
        question.total,
        len(problems.golds),
        len(journal.finished),
    )
    client = build_client(question)
    with closing(Results(journal)) as earlier:
        asking = Asking(question, client, journal, earlier)
        model = AskedModel(question.served.name, asking=asking)
        task = build_task(
            problems,
            judge_of(problems, question.folder),
            num_samples=question.num_samples,
            sampling=question.sampling,
            metadata={IDENTITY: dict(identity), "settings": plain_json(question.asked)},
            text_of=lambda state: model.take_text(int(state.sample_id), state.epoch - 1),
        )
        async with client, progress(asking.totals, question.total):
            logs = await asking.drive(
                eval_async(
                    task,
                    model=Model(model, GenerateConfig()),
                    log_dir=str(question.folder / LOGS_NAME),
                    log_format="eval",
                    log_level="notset",
                    log_realtime=False,
                    log_header_only=True,
                    score_display=False,
                    log_model_api=False,
                    ctl_server=False,
                    fail_on_error=False,
                    adaptive_connections=False,
                    # While answers wait to be judged, others are asked for.
                    max_connections=max_concurrent,
                    max_samples=2 * max_concurrent,
                    # The log is copied as a whole each time, and may be read while it grows.
                    log_buffer=max(_SMALL_FLUSH, question.total // _NUM_FLUSHES),
                )
            )
    return asking, logs[0] if logs else None


@contextmanager
def _told_of_full_disks(logs: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InspectError(
            f"inspect-ai can't write its log into {logs}: {error.strerror or error}. Answers are kept: make room, and "
            "the same command goes on."
        ) from error


def _why(header: "EvalLog", logs: Path) -> str:
    error = f": {header.error.message}" if header.error is not None else f" (status {header.status})"
    return (
        f"inspect-ai ended without all samples in its log{error}. A full disk is the usual reason, that of {logs} or "
        f"of temporary files ({tempfile.gettempdir()}). Answers are kept, and the same command goes on."
    )
