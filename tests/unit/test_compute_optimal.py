# SPDX-License-Identifier: Apache-2.0
"""`scripts/compute_optimal.py` on made-up runs of which the best settings are known."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from open_r1.test_time.methods import Setting
from scripts.compute_optimal import main

PLAIN, SEARCH, BEST = Setting("cot"), Setting("beam_search", {"n": 4}), Setting("best_of_n", {"n": 4})
ORACLE = Setting("best_of_n", {"n": 4, "scorer": "oracle"})
# Share of right attempts: search helps hard problems, best of n the easy ones.
RATES = {PLAIN.label: (0.0, 0.8), SEARCH.label: (0.6, 0.5), BEST.label: (0.1, 0.95), ORACLE.label: (1.0, 1.0)}


def write_run(folder, settings, repeats=20, rates=RATES):
    generator = np.random.default_rng(0)
    rows = [
        {"setting": setting.label, "row": row, "repeat": repeat, "score": float(score),
         "total_tokens": 400 if setting.values else 100}
        for row in range(40)
        for setting in settings
        for repeat, score in enumerate(generator.random(repeats) < rates[setting.label][row % 2])
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "answers.parquet")


def table_of(folder, capsys):
    assert main([str(folder)]) == 0
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    return {(int(row[0]), row[1], row[3] == "as by bin"): row for row in rows}


def test_the_best_setting_of_each_bin_and_budget_is_found(tmp_path, capsys):
    write_run(tmp_path, [PLAIN, SEARCH, BEST, ORACLE])
    table = table_of(tmp_path, capsys)
    named = {(budget, name): row[3] for (budget, name, is_by_bin), row in table.items() if not is_by_bin}
    assert (named[128, "hard"], named[128, "easy"]) == ("cot", "cot")
    assert (named[512, "hard"], named[512, "easy"]) == (SEARCH.label, BEST.label)
    by_bin, fixed = (float(table[512, "all", is_by_bin][4].split()[0]) for is_by_bin in (True, False))
    assert by_bin == pytest.approx((0.6 + 0.95) / 2, abs=0.05)
    assert fixed < 0.6


def test_the_best_of_many_alike_is_no_better_than_they_are(tmp_path, capsys):
    settings = [PLAIN, *(Setting("best_of_n", {"n": 2, "k": k}) for k in range(40))]
    write_run(tmp_path, settings, repeats=2, rates={setting.label: (0.5, 0.5) for setting in settings})
    assert float(table_of(tmp_path, capsys)[512, "all", False][4].split()[0]) == pytest.approx(0.5, abs=0.08)


def test_difficulty_needs_repeated_plain_samples(tmp_path, capsys):
    write_run(tmp_path, [SEARCH, BEST])
    assert main([str(tmp_path)]) == 1
    write_run(tmp_path, [PLAIN, BEST], repeats=1)
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("--num_repeats") == 2
