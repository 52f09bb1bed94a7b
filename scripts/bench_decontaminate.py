# SPDX-License-Identifier: Apache-2.0
"""Our decontamination beside the published algorithm: time by part, memory, and the same rows.

    python scripts/bench_decontaminate.py --table assets/benchmarks/decontamination.md   # make bench_decontaminate
    python scripts/bench_decontaminate.py --sizes 20000 --rounds 1

Made-up rows of about 60 words (LaTeX in half of them, 10 % not in ASCII, 5 % with a number like 1,000) against 5
benchmarks of 500 items; one row in 500 holds an item, half of these with other case and white space. All read local
parquet and write local parquet
without the contaminated rows; each is one command, timed from outside, start-up included.

published    the rule of s1 and Open R1, written from their description: sets of 8-word strings, a pass of
             `datasets.map` for each benchmark with two processes, then a filter for each
exact        scripts/decontaminate.py --normalization none; must keep exactly the rows that `published` keeps
normalised   scripts/decontaminate.py

Memory is the largest sum of the resident memory of a command and all its processes, looked at every 50 ms; pages that
processes share count once for each.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

NUM_BENCHMARKS = 5
NUM_ITEMS = 500
NUM_PROCESSES = 2
PARTS = ("start-up", "reading", "matching", "writing")
CONTESTANTS = ("published", "exact", "normalised")
GOALS = {200_000: {"exact": 8, "normalised": 4}, 2_000_000: {"exact": 20, "normalised": 10}}
COMMON = """the of and to a in is that for be are with how many what find let such where if all number each has at from
value sum integer real positive given two three x y n k"""
LATEX = (
    "$x^2+1$",
    "$\\frac{a}{b}$",
    "\\left(x+1\\right)^2",
    "$n$",
    "$x_{12}$",
    "\\(y \\le 3\\)",
    "$\\sqrt{2}$",
    "$10^9+7$",
)
FOREIGN_SHARE, THOUSANDS_SHARE = 0.1, 0.05  # of the rows; both are read one by one, which takes longer
FOREIGN = ("é", "naïve", "π", "≤", "“quoted”", "–", "数")


def parse_command_line() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=int,
        default=[200_000, 2_000_000],
        metavar="ROWS",
        help="numbers of rows (default: 200000 2000000)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of ours; the published one runs once (default: 3)")
    parser.add_argument(
        "--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), help="default: all"
    )
    parser.add_argument(
        "--folder", type=Path, help="scratch folder on a disk (default: the system's); 3 GB for 2 million"
    )
    parser.add_argument("--table", type=Path, help="also write the table to this Markdown file")
    parser.add_argument("--published", nargs="+", metavar="FILE", help=argparse.SUPPRESS)  # how `published` is called
    args = parser.parse_args()
    if args.rounds < 1 or min(args.sizes) < 1000:
        parser.error("--rounds must be at least 1 and --sizes at least 1000")
    return args


def vocabulary(rng: np.random.Generator) -> pa.Array:
    """Return words; those in front are drawn more often."""
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    lengths = rng.integers(2, 12, 20_000)
    words = ["".join(rng.choice(letters[:20], length)) for length in lengths]
    mixed = [*COMMON.split(), *words]
    for place, latex in enumerate(LATEX):
        mixed.insert(30 + 12 * place, latex)
    return pa.array(mixed)


def make_texts(rng: np.random.Generator, words: pa.Array, count: int) -> pa.Array:
    """Return texts of 40 to 80 words with a distribution like that of a language."""
    offsets = np.append(0, np.cumsum(rng.integers(40, 81, count))).astype(np.int32)
    places = np.minimum(rng.zipf(1.25, offsets[-1]) - 1, len(words) - 1) if count else np.zeros(0, np.int64)
    spread = rng.integers(0, len(words), offsets[-1])  # Zipf's tail is longer than the vocabulary
    places = np.where(places == len(words) - 1, spread, places)
    lists = pa.ListArray.from_arrays(pa.array(offsets), words.take(pa.array(places)))
    return pc.call_function("binary_join", [lists, pa.scalar(" ")])


def make_files(folder: Path, num_rows: int) -> tuple[Path, list[Path]]:
    """Write rows and benchmarks as parquet; return their paths."""
    rng = np.random.default_rng(num_rows)
    words = vocabulary(rng)
    benchmarks = []
    items = make_texts(rng, words, NUM_BENCHMARKS * NUM_ITEMS)
    for number in range(NUM_BENCHMARKS):
        benchmarks.append(folder / f"benchmark_{number}.parquet")
        pq.write_table(pa.table({"problem": items.slice(number * NUM_ITEMS, NUM_ITEMS)}), benchmarks[-1])
    rows = folder / "rows.parquet"
    schema = pa.schema([("id", pa.int64()), ("problem", pa.string()), ("answer", pa.string())])
    known = items.to_pylist()
    with pq.ParquetWriter(rows, schema) as writer:
        for begin in range(0, num_rows, 20_000):
            count = min(20_000, num_rows - begin)
            texts = make_texts(rng, words, count).to_pylist()
            for row in np.flatnonzero(rng.random(count) < FOREIGN_SHARE).tolist():
                texts[row] += " " + FOREIGN[row % len(FOREIGN)]
            for row in np.flatnonzero(rng.random(count) < THOUSANDS_SHARE).tolist():
                texts[row] += f" {row + 1000:,}"
            for row in np.flatnonzero(rng.random(count) < 0.002).tolist():
                item = known[int(rng.integers(len(known)))]
                texts[row] = f"{texts[row][:80]} {item if row % 2 else item.upper().replace(' ', '  ')}"
            ids = np.arange(begin, begin + count)
            writer.write_table(pa.table([pa.array(ids), pa.array(texts), pa.array((ids % 997).astype(str))], schema))
    return rows, benchmarks


def published(rows: str, output: str, benchmarks: list[str]) -> None:
    """Run the published algorithm and print the seconds of its parts."""
    times = [time.perf_counter()]
    import datasets

    datasets.disable_progress_bars()
    times.append(time.perf_counter())
    data = datasets.load_dataset("parquet", data_files=rows, split="train")
    times.append(time.perf_counter())
    columns = []
    for benchmark in benchmarks:
        column = f"contaminated_{Path(benchmark).stem}"
        items = datasets.load_dataset("parquet", data_files=benchmark, split="train")["problem"]
        lookup = set().union(*(ngrams(item) for item in items))
        data = data.map(Flagging(column, lookup), num_proc=NUM_PROCESSES)
        columns.append(column)
    times.append(time.perf_counter())
    for column in columns:
        data = data.filter(lambda row, column=column: not row[column], num_proc=NUM_PROCESSES)
    data.remove_columns(columns).to_parquet(output)
    times.append(time.perf_counter())
    print(json.dumps(dict(zip(PARTS, (end - start for start, end in pairwise(times)), strict=True))))


@dataclass
class Flagging:
    """Adds the column that says whether a row shares an n-gram with a benchmark."""

    column: str
    lookup: set[str]

    def __call__(self, row: dict[str, Any]) -> dict[str, bool]:
        return {self.column: not self.lookup.isdisjoint(ngrams(row["problem"]))}


def ngrams(text: str, n: int = 8) -> set[str]:
    """Return the n-grams of a text's words in lower case."""
    words = " ".join(text.lower().strip().split()).split()
    return {" ".join(words[start : start + n]) for start in range(len(words) - n + 1)}


@dataclass
class Measured:
    """One run: seconds in all and by part, MiB, and the rows that were kept."""

    seconds: float
    parts: dict[str, float]
    memory_mib: float
    kept: np.ndarray


def run_contestant(name: str, rows: Path, benchmarks: list[Path], folder: Path) -> Measured:
    """Run one contestant as a command, and read what it wrote."""
    scripts = Path(__file__).parent
    if name == "published":
        output = folder / "published.parquet"
        command = [sys.executable, __file__, "--published", str(rows), str(output), *map(str, benchmarks)]
    else:
        output = folder / name
        normalization = "none" if name == "exact" else "default"
        command = [
            sys.executable,
            str(scripts / "decontaminate.py"),
            "--dataset",
            str(rows),
            "--cleanup",
            "--overwrite",
            "--output_dir",
            str(output),
            "--normalization",
            normalization,
            *(word for file in benchmarks for word in ("--benchmark_file", f"{file}:problem")),
        ]
    environment = os.environ | {"HF_DATASETS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    source = str(scripts.parent / "src")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    began = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        watcher = MemoryWatcher(process.pid)
        watcher.start()
        printed = process.communicate()[0]
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{name} failed with exit status {process.returncode}")
    files = [output] if output.is_file() else sorted((output / "data").glob("*.parquet"))
    kept = np.concatenate([pq.read_table(file, columns=["id"])["id"].to_numpy() for file in files])
    return Measured(seconds, parts_of(printed.splitlines()[-1]), watcher.peak_mib, kept)


def parts_of(line: str) -> dict[str, float]:
    """Return the seconds of the parts from the last line that a command printed."""
    if line.startswith("{"):
        return json.loads(line)
    return {part: float(re.search(rf"{part} ([\d.]+)", line)[1]) for part in PARTS}  # type: ignore[index]


class MemoryWatcher(threading.Thread):
    """Looks at the resident memory of a process and its descendants until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self.peak_mib = 0.0

    def run(self) -> None:
        """Watch."""
        while True:
            total = 0
            try:
                for process in [self._process, *self._process.children(recursive=True)]:
                    try:
                        total += process.memory_info().rss
                    except psutil.NoSuchProcess:
                        continue  # a worker that has just ended
            except psutil.NoSuchProcess:
                return
            self.peak_mib = max(self.peak_mib, total / 2**20)
            if not total:
                return
            time.sleep(0.05)


def size_section(args: argparse.Namespace, num_rows: int, folder: Path) -> list[str]:
    """Return what one size costs as Markdown lines."""
    rows, benchmarks = make_files(folder, num_rows)
    text_mib = rows.stat().st_size / 2**20
    lines = [
        f"## {num_rows:,} rows",
        "",
        f"{text_mib:.0f} MiB of parquet.",
        "",
        "| | seconds | speed-up | reach | " + " | ".join(PARTS) + " | MiB | rows removed |",
        "|---" + "|--:" * (len(PARTS) + 5) + "|",
    ]
    baseline: Measured | None = None
    for name in args.contestants:
        runs = [
            run_contestant(name, rows, benchmarks, folder) for _ in range(1 if name == "published" else args.rounds)
        ]
        median = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
        baseline = median if name == "published" else baseline
        if name == "exact" and baseline is not None and not np.array_equal(median.kept, baseline.kept):
            raise SystemExit("exact mode keeps other rows than the published algorithm")
        speed_up = f"{baseline.seconds / median.seconds:.1f}" if baseline and name != "published" else ""
        goal = GOALS.get(num_rows, {}).get(name)
        seconds = f"{median.seconds:.2f}" + (f" ({runs_range(runs)})" if len(runs) > 1 else "")
        cells = [
            name,
            seconds,
            speed_up,
            f">= {goal}" if goal else "",
            *(f"{median.parts[part]:.2f}" for part in PARTS),
            f"{max(run.memory_mib for run in runs):.0f}",
            f"{num_rows - len(median.kept)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], file=sys.stderr)
    return [*lines, ""]


def runs_range(runs: list[Measured]) -> str:
    """Return the fastest and the slowest run."""
    return f"{min(run.seconds for run in runs):.2f}-{max(run.seconds for run in runs):.2f}"


def main() -> None:
    """Run all sizes and print Markdown."""
    args = parse_command_line()
    if args.published:
        published(args.published[0], args.published[1], args.published[2:])
        return
    lines = [
        "# Decontamination benchmark",
        "",
        f"Made by `python scripts/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}`; "
        f"{len(os.sched_getaffinity(0))} cores, Python {sys.version.split()[0]}, pyarrow {pa.__version__}, numpy "
        f"{np.__version__}. {NUM_BENCHMARKS} benchmarks of {NUM_ITEMS} items; {FOREIGN_SHARE:.0%} of the rows have a "
        f"character that is not ASCII, {THOUSANDS_SHARE:.0%} a number like 1,000. Ours: median of {args.rounds} runs "
        "(fastest-slowest), of whose parts reading, matching and writing overlap; exact mode keeps the same rows as "
        "the published algorithm.",
        "",
    ]
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for num_rows in args.sizes:
            place = Path(folder) / str(num_rows)
            place.mkdir()
            lines += size_section(args, num_rows, place)
    text = "\n".join(lines)
    print(text)
    if args.table is not None:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
