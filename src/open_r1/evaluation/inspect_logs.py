# SPDX-License-Identifier: Apache-2.0
"""inspect-ai's logs of our runs, and what inspect would otherwise do to the process and the home folder.

<benchmark>-inspect/inspect/*.eval    for `inspect view --log-dir`
                    .inspect/         inspect's own traces
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

from inspect_ai.log import EvalLog, list_eval_logs, read_eval_log, read_eval_log_sample_summaries
from inspect_ai.util import display_type

logger = logging.getLogger(__name__)

LOGS_NAME, _DATA_NAME = "inspect", ".inspect"
IDENTITY = "run"  # key of a log's metadata: what its scores depend on


@dataclass(frozen=True)
class Logged:
    """What a finished log says.

    Attributes:
        path: The log.
        scores: By row and index; of answers alone that were judged.
        metrics: By name.
    """

    path: Path
    scores: Mapping[tuple[int, int], float]
    metrics: Mapping[str, float]


@contextmanager
def confined(folder: Path) -> Iterator[None]:
    """Keep inspect within a folder, off the terminal and out of our log while it runs.

    It follows no INSPECT_* variable meanwhile: hooks, telemetry, other folders and limits that these name would make
    runs of the same command differ.
    """
    before = {name: value for name, value in os.environ.items() if name.startswith("INSPECT_")}
    data_home, root = os.environ.get("XDG_DATA_HOME"), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for name in before:
        del os.environ[name]
    ours = {
        "XDG_DATA_HOME": str((folder / _DATA_NAME).resolve()),
        "INSPECT_DISPLAY": "none",
        "INSPECT_TRACE_LEVEL": "ERROR",
    }
    os.environ |= ours
    try:
        display_type()  # takes what the variable says, once a process
        yield
    finally:
        for name in ours:
            del os.environ[name]
        os.environ |= before if data_home is None else {**before, "XDG_DATA_HOME": data_home}
        root.handlers[:] = handlers
        root.setLevel(level)


def finished_log(folder: Path, identity: Mapping[str, object], num_samples: int, num_scored: int = 0) -> Logged | None:
    """Return the newest log that holds all samples of a run; None: there is none.

    Args:
        folder: Of logs.
        identity: What the scores depend on.
        num_samples: Samples that there are to be, those that failed among them.
        num_scored: Samples that must have a score.
    """
    for path in _logs(folder):
        header = _read_header(path)
        if header is None or header.status != "success" or (header.eval.metadata or {}).get(IDENTITY) != identity:
            continue
        summaries = read_eval_log_sample_summaries(str(path))
        scores = {
            (int(found.id), found.epoch - 1): score for found in summaries for score in (found.scores or {}).values()
        }
        if len(summaries) < num_samples or len(scores) < num_scored:
            continue
        reduced = header.results.scores if header.results is not None else []
        metrics = {name: float(entry.value) for score in reduced for name, entry in score.metrics.items()}
        return Logged(path, {place: score.as_float() for place, score in scores.items()}, metrics)
    return None


def remove_unfinished(folder: Path, finished: Path) -> None:
    """Remove logs of runs that ended early: the journal has what they hold, and so has the finished log."""
    for path in _logs(folder):
        header = _read_header(path)
        if path != finished and header is not None and header.status != "success":
            path.unlink()


def _logs(folder: Path) -> list[Path]:
    """Paths of logs, the newest first."""
    if not folder.is_dir():
        return []
    found = list_eval_logs(str(folder.resolve()), formats=["eval"], recursive=False)
    return [Path(entry.name.removeprefix("file://")) for entry in found]


def _read_header(path: Path) -> EvalLog | None:
    """Return a log without its samples; None: it is damaged."""
    try:
        return read_eval_log(str(path), header_only=True)
    except (BadZipFile, ValueError, KeyError, OSError) as error:
        logger.warning("The log %s can't be read (%s): one is made anew from the journal.", path, error)
        return None
