# SPDX-License-Identifier: Apache-2.0
"""Decontamination beside the published algorithm: time, memory, and the same rows.

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

Memory is the largest sum of the proportional set sizes (PSS) of a command and all its processes, looked at every
200 ms: pages that processes share count once, those of mapped Arrow files too, which the kernel may drop. The files
are below TMPDIR: 3 GB for 2 million rows.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

NUM_BENCHMARKS = 5
NUM_ITEMS = 500
NUM_PROCESSES = 2
COMMON = """the of and to a in is that for be are with how many what find let such where if all number each has at from
value sum integer real positive given two three x y n k"""
LATEX = [
    r"$x^2+1$",
    r"$\frac{a}{b}$",
    r"\left(x+1\right)^2",
    "$n$",
    "$x_{12}$",
    r"\(y \le 3\)",
    r"$\sqrt{2}$",
    "$10^9+7$",
]
FOREIGN_SHARE, THOUSANDS_SHARE = 0.1, 0.05  # of the rows; both are read one by one, which takes longer
FOREIGN = ("é", "naïve", "π", "≤", "“quoted”", "–", "数")


def vocabulary(rng: np.random.Generator) -> pa.Array:
    """Return words; those in front are drawn more often."""
    letters = list("etaoinshrdlucmfwypvb")
    mixed = [*COMMON.split(), *("".join(rng.choice(letters, length)) for length in rng.integers(2, 12, 20_000))]
    for place, latex in enumerate(LATEX):
        mixed.insert(30 + 12 * place, latex)
    return pa.array(mixed)


def make_texts(rng: np.random.Generator, words: pa.Array, count: int) -> pa.Array:
    """Return texts of 40 to 80 words with a distribution like that of a language."""
    offsets = np.append(0, np.cumsum(rng.integers(40, 81, count))).astype(np.int32)
    places = np.minimum(rng.zipf(1.25, offsets[-1]) - 1, len(words) - 1)
    spread = rng.integers(0, len(words), offsets[-1])  # Zipf's tail is longer than the vocabulary
    places = np.where(places == len(words) - 1, spread, places)
    lists = pa.ListArray.from_arrays(pa.array(offsets), words.take(pa.array(places)))
    return pc.call_function("binary_join", [lists, pa.scalar(" ")])


def make_files(folder: Path, num_rows: int) -> tuple[Path, list[Path]]:
    """Write rows and benchmarks as parquet; return their paths."""
    rng = np.random.default_rng(num_rows)
    words = vocabulary(rng)
    items = make_texts(rng, words, NUM_BENCHMARKS * NUM_ITEMS)
    benchmarks = [folder / f"benchmark_{number}.parquet" for number in range(NUM_BENCHMARKS)]
    for number, path in enumerate(benchmarks):
        pq.write_table(pa.table({"problem": items.slice(number * NUM_ITEMS, NUM_ITEMS)}), path)
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


def ngrams(text: str, n: int = 8) -> set[str]:
    """Return the n-grams of a text's words in lower case."""
    words = text.lower().split()
    return {" ".join(words[start : start + n]) for start in range(len(words) - n + 1)}


def published(rows: str, output: str, benchmarks: list[str]) -> None:
    """Run the published algorithm."""
    datasets.disable_progress_bars()
    data = datasets.load_dataset("parquet", data_files=rows, split="train")
    for column in benchmarks:
        items = datasets.load_dataset("parquet", data_files=column, split="train")["problem"]
        lookup = set().union(*map(ngrams, items))

        def flag(row: dict[str, Any], column: str = column, lookup: set[str] = lookup) -> dict[str, bool]:
            return {column: not lookup.isdisjoint(ngrams(row["problem"]))}

        data = data.map(flag, num_proc=NUM_PROCESSES)
    for column in benchmarks:
        data = data.filter(lambda row, column=column: not row[column], num_proc=NUM_PROCESSES)
    data.remove_columns(benchmarks).to_parquet(output)


def measure(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Run a command; return its seconds, the CPU seconds of all its processes, and its MiB."""
    source = str(Path(__file__).parents[1] / "src")
    environment = os.environ | {
        "HF_DATASETS_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": source,
    }
    peak, began, before = 0, time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            with suppress(psutil.Error):  # a worker that has just ended
                everything = [watched, *watched.children(recursive=True)]
                peak = max(peak, sum(one.memory_full_info().pss for one in everything))
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
    if process.returncode:
        raise SystemExit(f"{command} failed with exit status {process.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - began, cpu, peak / 2**20


def table_lines(num_rows: int, num_rounds: int, folder: Path) -> list[str]:
    """Return what one size costs, a line of the table for each contestant."""
    rows, benchmarks = make_files(folder, num_rows)
    command = [str(Path(__file__).with_name("decontaminate.py")), "--dataset", str(rows), "--cleanup", "--overwrite"]
    command += [word for file in benchmarks for word in ("--benchmark_file", f"{file}:problem")]
    output = folder / "published.parquet"
    commands = {
        "published": [__file__, "--published", str(rows), str(output), *map(str, benchmarks)],
        "exact": [*command, "--output_dir", str(folder / "exact"), "--normalization", "none"],
        "normalised": [*command, "--output_dir", str(folder / "normalised")],
    }
    lines, kept, cpu_s = [], {}, {}
    for name, words in commands.items():
        runs = [measure(words, folder) for _ in range(1 if name == "published" else num_rounds)]
        seconds, cpu_s[name], memory_mib = map(statistics.median, zip(*runs, strict=True))
        kept[name] = pq.read_table(output if name == "published" else folder / name / "data", columns=["id"])["id"]
        lines.append(
            f"| {num_rows:,} | {name} | {seconds:.1f} | {cpu_s[name]:.1f} | {cpu_s['published'] / cpu_s[name]:.1f} | "
            f"{memory_mib:.0f} | {num_rows - len(kept[name])} |"
        )
        print(lines[-1], file=sys.stderr)
    if kept["exact"].to_pylist() != kept["published"].to_pylist():
        raise SystemExit("exact mode keeps other rows than the published algorithm")
    return lines


def main() -> None:
    """Run all sizes and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[200_000, 2_000_000], metavar="ROWS")
    parser.add_argument("--rounds", type=int, default=3, help="runs of decontaminate.py, of the other 1 (default: 3)")
    parser.add_argument("--table", type=Path, help="also write the table to this Markdown file")
    parser.add_argument("--published", nargs="+", metavar="FILE", help=argparse.SUPPRESS)  # how `published` is called
    args = parser.parse_args()
    if args.published:
        published(args.published[0], args.published[1], args.published[2:])
        return
    lines = [
        "# Decontamination benchmark",
        "",
        f"Made by `python scripts/bench_decontaminate.py {' '.join(sys.argv[1:])}`; {os.cpu_count()} cores, Python "
        f"{sys.version.split()[0]}, pyarrow {pa.__version__}, numpy {np.__version__}. {NUM_BENCHMARKS} benchmarks of "
        f"{NUM_ITEMS} items; {FOREIGN_SHARE:.0%} of the rows have a character that is not ASCII, "
        f"{THOUSANDS_SHARE:.0%} a number like 1,000. Medians of {args.rounds} runs of decontaminate.py, one of the "
        "published algorithm, which keeps the same rows as exact mode.",
        "",
        "| rows | | seconds | CPU seconds | times fewer | MiB (PSS) | rows removed |",
        "|--:|---|--:|--:|--:|--:|--:|",
    ]
    for num_rows in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            lines += table_lines(num_rows, args.rounds, Path(folder))
    text = "\n".join(lines) + "\n"
    print(text)
    if args.table is not None:
        args.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
