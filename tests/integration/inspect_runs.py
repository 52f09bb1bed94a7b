# SPDX-License-Identifier: Apache-2.0
"""What the tests of the inspect engine share, beside `benchmark_runs.py`: its command line, its results, its logs."""

import pyarrow.parquet as pq

from tests.integration import benchmark_runs
from tests.integration.benchmark_runs import write_problems


def write_sums(folder, count=4):
    return write_problems(folder / "sums.jsonl", count)


def words(folder, address, *more, engine="inspect", data="sums.jsonl"):
    """The command line, for servers at an address."""
    return [
        "--url",
        address,
        "--data",
        str(folder / data),
        "--output_dir",
        str(folder / "out"),
        "--engine",
        engine,
        *map(str, more),
    ]


def started(folder, address, *more, **environment):
    """The command as a process of its own."""
    return benchmark_runs.started(words(folder, address, *more), **environment)


def folder_of(folder, engine="inspect", name="sums"):
    return benchmark_runs.folder_of(folder, name=name, engine=engine)


def results_of(folder, engine="inspect", name="sums"):
    return benchmark_runs.results_of(folder, name=name, engine=engine)


def answers_of(folder, **where):
    return pq.read_table(folder_of(folder, **where) / "answers.parquet").to_pylist()


def logs_of(folder, name="sums"):
    return sorted((folder_of(folder, name=name) / "inspect").glob("*.eval"))


def kept(folder):
    """Answers in the journal."""
    journal = folder_of(folder) / "generations.jsonl"
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0
