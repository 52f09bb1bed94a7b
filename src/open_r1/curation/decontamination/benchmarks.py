# SPDX-License-Identifier: Apache-2.0
"""Benchmarks to check against: five known ones from the hub, and local files.

LiveCodeBench comes from a copy in parquet: the original needs a loading script, which `datasets` runs no more.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_r1.curation.decontamination.index import Benchmark
from open_r1.curation.decontamination.texts import Oddities, is_textual, not_utf8, to_strings, to_texts
from open_r1.data.sources import open_source

_COLUMNS = ("problem", "question", "Question", "question_content", "problem_statement", "prompt", "text")


@dataclass(frozen=True)
class KnownBenchmark:
    """Where a benchmark is on the hub, and the column with its problems."""

    dataset: str
    config: str | None
    split: str
    column: str


KNOWN_BENCHMARKS = {
    "aime_2024": KnownBenchmark("HuggingFaceH4/aime_2024", None, "train", "problem"),
    "aime_2025": KnownBenchmark("yentinglin/aime_2025", None, "train", "problem"),
    "math_500": KnownBenchmark("HuggingFaceH4/MATH-500", None, "test", "problem"),
    "gpqa": KnownBenchmark("Idavidrein/gpqa", "gpqa_diamond", "train", "Question"),
    "lcb": KnownBenchmark("lighteval/code_generation_lite", "v4_v5", "test", "question_content"),
}


@dataclass(frozen=True)
class LoadedBenchmark:
    """A benchmark with where it came from: source, config, split, column, a hash of its texts, rows without text."""

    benchmark: Benchmark
    source: str
    config: str | None
    split: str
    column: str
    fingerprint: str
    oddities: Oddities

    def settings(self) -> dict[str, Any]:
        """Return what a card says of it."""
        return {
            "name": self.benchmark.name,
            "source": self.source,
            "config": self.config,
            "split": self.split,
            "column": self.column,
            "items": len(self.benchmark.texts),
            "fingerprint": self.fingerprint,
        }


def load_benchmarks(names: Sequence[str] | None, files: Sequence[str]) -> list[LoadedBenchmark]:
    """Return the benchmarks, known ones first.

    Args:
        names: Known benchmarks. None: all, or none when there are files.
        files: Local files or folders as `[name=]path[:column]`. One with the name of a known benchmark stands for it.

    Raises:
        ValueError: A name is unknown or given twice, or a benchmark can't be loaded; the message says what to do.
    """
    given = [_parse_file(text) for text in files]
    wanted = list(KNOWN_BENCHMARKS) if names is None and not given else list(names or [])
    unknown = sorted(set(wanted) - set(KNOWN_BENCHMARKS))
    if unknown:
        raise ValueError(f"unknown benchmarks {unknown}; known are {list(KNOWN_BENCHMARKS)}. Others: --benchmark_file")
    local = [name for name, _, _ in given]
    twice = sorted({name for name in local if local.count(name) > 1})
    if twice:
        raise ValueError(f"two benchmark files are named {twice}: name them with --benchmark_file name=path:column")
    loaded = [_load_known(name) for name in dict.fromkeys(wanted) if name not in local]
    return loaded + [_load_file(name, path, column) for name, path, column in given]


def _parse_file(text: str) -> tuple[str, str, str | None]:
    """Return name, path and column of `[name=]path[:column]`."""
    name, path = None, text
    match = re.fullmatch(r"([\w.\-]+)=(.+)", text)
    if match and not Path(text).expanduser().exists():
        name, path = match[1], match[2]
    column = None
    if not Path(path).expanduser().exists() and ":" in path:
        path, column = path.rsplit(":", 1)
    if not Path(path).expanduser().exists():
        raise ValueError(f"--benchmark_file {text!r}: there is no file or folder {path!r} (in {Path.cwd()})")
    stem = Path(path).name.split(".")[0] if Path(path).is_file() else Path(path).resolve().name
    return re.sub(r"\W+", "_", name or stem), path, column


def _load_known(name: str) -> LoadedBenchmark:
    known = KNOWN_BENCHMARKS[name]
    try:
        return _load(name, known.dataset, known.config, known.split, known.column)
    except ValueError as error:
        raise ValueError(
            f"The benchmark {name} ({known.dataset}) could not be loaded: {error} Offline, or without access to it, "
            f"give a local copy with --benchmark_file {name}=<file>:{known.column}, or choose others with "
            f"--benchmarks {' '.join(other for other in KNOWN_BENCHMARKS if other != name)}"
        ) from error


def _load_file(name: str, path: str, column: str | None) -> LoadedBenchmark:
    split = "train"
    try:
        return _load(name, path, None, split, column)
    except ValueError as error:
        if "no split" not in str(error):
            raise
    return _load(name, path, None, "test", column)


def _load(name: str, source: str, config: str | None, split: str, column: str | None) -> LoadedBenchmark:
    opened = open_source(source, config=config, split=split)
    if column is None:
        column = next((known for known in _COLUMNS if known in opened.column_names), None)
        if column is None:
            raise ValueError(
                f"--benchmark_file {source!r} has none of the columns {list(_COLUMNS)}; name one of "
                f"{opened.column_names}: --benchmark_file {source}:<column>"
            )
    opened.require([column], f"--benchmark_file {source}:<column>")
    if not is_textual(opened.schema.field(column).type):
        raise ValueError(f"column {column!r} of {source!r} holds no text but {opened.schema.field(column).type}")
    oddities, texts, digest = Oddities(), [], hashlib.sha256()
    for batch in opened.batches([column]):
        found = Oddities()
        raw = to_texts(batch.column(column), found)
        values = to_strings(raw)
        found.add("not UTF-8", not_utf8(raw))
        oddities.merge(found, len(texts))
        texts.extend(values)
    for text in texts:
        digest.update(f"{len(text)}:{text}".encode("utf-8", "surrogatepass"))
    if not any(text.strip() for text in texts):
        raise ValueError(f"column {column!r} of the benchmark {source!r} holds no text at all")
    return LoadedBenchmark(Benchmark(name, texts), source, config, split, column, digest.hexdigest()[:16], oddities)
