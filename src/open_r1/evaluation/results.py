# SPDX-License-Identifier: Apache-2.0
"""What a run on a benchmark has shown, in files of its folder; `results.json` comes last, whole or not at all.

    answers.parquet       a row per answer: problem (the last message), context (a hash of the messages before it,
                          "" where there are none), solution, answer, extracted, verdict, finish_reason, num_tokens
    results.json          {"benchmark": "aime24", "metrics": {"avg@64": 0.31, "avg@64_low": 0.22,
                          "avg@64_high": 0.41, "pass@1": 0.31, ..., "maj@64": ..., "truncated": 0.02, ...},
                          "counts": {"problems": 30, "requested": 1920, "returned": 1920, "problems_lost": 0, ...},
                          "is_complete": true, "notes": [], "errors": {"HTTP 400: ...": 3},
                          "speed": {...}, "settings": {...}, "date": "2026-01-31T12:00:00+00:00",
                          "commit": ..., "commits": [...], "answers": {"rows": 1920, "hash": "..."}, ...}

`commit` is that of the code that has judged, `commits` those of all code that has asked or judged; `answers` is what
`answers.parquet` was: a run that is killed between the two files leaves answers that aren't those of the figures.

What the metrics are: `tally`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from open_r1.data.card import package_versions, plain_json
from open_r1.evaluation.judging import Answer
from open_r1.evaluation.problems import Problems
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.generation.journal import differing

RESULTS_NAME, ANSWERS_NAME = "results.json", "answers.parquet"
_PARTS = ("settings", "counts", "metrics")
_HASH_BYTES = 1 << 22
_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("index", pa.int64()),
        ("problem", pa.large_string()),
        ("context", pa.string()),
        ("solution", pa.large_string()),
        ("answer", pa.large_string()),
        ("verdict", pa.string()),
        ("finish_reason", pa.string()),
        ("num_tokens", pa.int64()),
        ("error", pa.string()),
        ("extracted", pa.large_string()),
    ]
)


@dataclass(frozen=True)
class Described:
    """Settings in the results that two runs needn't share; all others decide the answers, or the figures.

    Attributes:
        dataset: The data, by `config` and `split`; what they hold is the setting `source`.
        config: Of the data set.
        split: Of the data set.
        served_as: Name of the model at its servers.
        max_model_len: Their context in tokens; None: they don't tell.
        servers: Those of --url.
        served_with: Their arguments, as the user says.
        served_by: What served the model, of all runs (`serving.describe_servers`).
        chat_template_hash: None: nothing here tells it.
        prompt_hash: Of template and system prompt.
    """

    dataset: str
    config: str | None
    split: str
    served_as: str
    max_model_len: int | None
    servers: Sequence[str]
    served_with: Sequence[str]
    served_by: Sequence[Mapping[str, Any]]
    chat_template_hash: str | None
    prompt_hash: str


class AnswersFile:
    """`answers.parquet`, under another name until it is whole.

    All is written before it takes the place of an earlier one, the results too, where there are any.
    """

    def __init__(self, folder: Path, problems: Problems) -> None:
        self._path, self._part = folder / ANSWERS_NAME, folder / f".{ANSWERS_NAME}.part"
        self._problems, self._folder = problems, folder
        self._num_rows = 0
        self._results_part: Path | None = None

    def __enter__(self) -> Self:
        self._writer = pq.ParquetWriter(self._part, _SCHEMA, compression="zstd")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        if error is None:
            self._part.replace(self._path)
            if self._results_part is not None:
                self._results_part.replace(self._folder / RESULTS_NAME)
        else:
            self._part.unlink(missing_ok=True)

    def write(self, answers: Sequence[Answer]) -> None:
        """Add answers."""
        rows = []
        for answer in answers:
            context, problem = self._problems.question_of(answer.row)
            rows.append(
                {
                    "row": answer.row,
                    "index": answer.index,
                    "problem": problem,
                    "context": context,
                    "solution": self._problems.golds[answer.row],
                    "answer": answer.text,
                    "verdict": answer.verdict,
                    "finish_reason": answer.finish_reason,
                    "num_tokens": answer.num_tokens,
                    "error": answer.error,
                    "extracted": answer.extracted,
                }
            )
        self._writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
        self._num_rows += len(rows)

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Take the results, `results.json` at the end, and return them with what tells these answers; none follow."""
        self._writer.close()
        whole = {**results, "answers": {"rows": self._num_rows, "hash": _hash_of(self._part)}}
        self._results_part = _write_part(self._folder, whole)
        return whole


def check_writable(folder: Path) -> None:
    """Make a folder, and refuse one that nothing can be written into.

    Raises:
        ValueError: See above.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"Nothing can be written into {folder} ({reason}); name another --output_dir.") from error


def write_results(folder: Path, results: Mapping[str, Any]) -> None:
    """Write `results.json` with the date and versions of what made it; a killed process leaves the former one."""
    _write_part(folder, results).replace(folder / RESULTS_NAME)


def _write_part(folder: Path, results: Mapping[str, Any]) -> Path:
    date = datetime.now(UTC).isoformat(timespec="seconds")
    value = {**results, "date": date, "versions": package_versions()}
    part = folder / f".{RESULTS_NAME}.part"
    with part.open("w", encoding="utf-8") as file:
        json.dump(plain_json(value), file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    return part


def _hash_of(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_HASH_BYTES):
            digest.update(block)
    return digest.hexdigest()


def check_answers(folder: Path, results: Mapping[str, Any]) -> None:
    """Refuse `answers.parquet` that isn't the one of the results; those of an earlier version don't tell.

    Raises:
        ValueError: It is of another run, or has changed.
    """
    if "answers" not in results:
        return
    of_the_results = results["answers"]
    known = of_the_results.get("hash") if isinstance(of_the_results, Mapping) else None
    if known != _hash_of(folder / ANSWERS_NAME):
        raise ValueError(
            f"{folder / ANSWERS_NAME} isn't what {RESULTS_NAME} beside it tells of: a run was killed "
            "while it wrote them, or one was copied alone. Repeat the run's command."
        )


def read_results(folder: Path) -> dict[str, Any] | None:
    """Return what is in `results.json`; None: there is none, or it is another program's."""
    try:
        value = json.loads((folder / RESULTS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(value, dict) and all(isinstance(value.get(name), dict) for name in _PARTS)
    return value if is_ours else None


def finished_results(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the results of a run that has these settings, no more and no fewer; None: it isn't done.

    Results of which some requests or judgements failed aren't done: the same command tries these again. Nor are those
    beside answers that aren't theirs, since the run that wrote them was killed.

    Args:
        folder: Of the benchmark.
        settings: All that decide the answers and the figures; those of `Described` may be any.
    """
    found = read_results(folder)
    if found is None or found["counts"].get("failed") or found["counts"].get("lost"):
        return None
    described = {entry.name for entry in fields(Described)}
    known = {name: value for name, value in found["settings"].items() if name not in described}
    if differing(known, settings):
        return None
    if (folder / ANSWERS_NAME).is_file():
        try:
            check_answers(folder, found)
        except ValueError:
            return None
    return found


def refuse_other_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse settings that differ from those of the results in a folder; without results, nothing.

    Args:
        folder: Of the benchmark.
        settings: Some that decide the answers; what else is in the results isn't compared.

    Raises:
        ValueError: One or more differ; the message names them.
    """
    found = read_results(folder)
    if found is None:
        return
    changed = differing({name: found["settings"].get(name) for name in settings}, settings)
    if changed:
        raise ValueError(
            f"{folder} has results of other settings: {'; '.join(changed)}. Name another --output_dir, "
            "or put those aside by --overwrite."
        )


def is_fewer(folder: Path, problems: Problems, settings: EvaluationSettings) -> bool:
    """Whether a folder has results of more answers, or problems, than are asked for.

    Raises:
        ValueError: It does, and they aren't to be put aside.
    """
    before = read_results(folder)
    if before is None:
        return False
    pairs = [
        (before["settings"].get("num_samples"), settings.samples_of(problems.benchmark), "answers a problem"),
        (before["counts"].get("problems"), len(problems.golds), "problems"),
    ]
    fewer = [f"{now} {name}, and there were {then}" for then, now, name in pairs if type(then) is int and now < then]
    if fewer and not settings.overwrite:
        raise ValueError(
            f"{folder} has results of more than is asked for now: {'; '.join(fewer)}. Ask for as many, "
            "name another --output_dir, or put those aside by --overwrite."
        )
    return bool(fewer)
