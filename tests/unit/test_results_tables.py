# SPDX-License-Identifier: Apache-2.0
"""The tables of results are made from their data, and take up whole runs of ours alone."""

import json
import shutil
from pathlib import Path

import pytest

from scripts import make_results_tables as tables

COMMAND = "make evaluate MODEL=me/model TASK=aime24"
BENCHMARKS = [{"name": "aime24", "k": 64, "problems": 30}]
RESULTS = {
    "benchmark": "aime24",
    "is_complete": True,
    "notes": [],
    "metrics": {"avg@64": 0.30312, "avg@64_low": 0.2, "avg@64_high": 0.4151, "pass@64": 0.8},
    "settings": {
        **tables.SETTINGS,
        "model": "me/model",
        "limit": None,
        "revision": "v2",
        "model_commit": "c0ffee",
        "model_fingerprint": None,
        "context_tokens": None,
        "kind": "math",
        "template": tables.TEMPLATES["math"],
    },
    "counts": {"problems": 30, "rows_left_out": 0, "problems_lost": 0},
    "commit": "abc",
}


def write(folder: Path, **changes: object) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps({**RESULTS, **changes}))
    return path


def test_tables_are_what_the_data_gives():
    assert (tables.ROOT / "docs" / "results.md").read_text("utf-8") == tables.page(tables.read_data())


def test_run_of_ours_has_its_interval_and_command(tmp_path):
    figure = tables.figure_of(write(tmp_path), COMMAND, BENCHMARKS)
    data = tables.read_data()
    data["ours"].append(figure)
    assert "| model | - / - / 30.3 [20.0, 41.5] | - / - |" in tables.page(data)
    line = "| me/model | AIME 2024 | 64 | 30.3 [20.0, 41.5] | "
    assert f"{line}`{COMMAND}`, commit abc; model: v2, c0ffee |" in tables.page(data)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"benchmark": "sums"}, "sums"),
        ({"is_complete": False}, "is_complete is False"),
        ({"settings": {**RESULTS["settings"], "limit": 10}}, "limit is 10"),
        ({"settings": {**RESULTS["settings"], "temperature": 1.0}}, "temperature is 1.0"),
        ({"settings": {**RESULTS["settings"], "max_tokens": None}}, "max_tokens is None"),
        ({"settings": {**RESULTS["settings"], "template": "{prompt}"}}, "template is"),
        ({"counts": {"problems": 30, "rows_left_out": 3, "problems_lost": 0}}, "left out or lost is 3"),
        ({"counts": {"problems": 1, "rows_left_out": 0, "problems_lost": 0}}, "problems is 1, not 30"),
        ({"metrics": {"avg@1": 0.3, "avg@1_low": 0.2, "avg@1_high": 0.4}}, "answers a problem is 1, not 64"),
    ],
)
def test_part_of_a_benchmark_or_another_setting_is_no_figure(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        tables.figure_of(write(tmp_path, **changes), COMMAND, BENCHMARKS)


def test_context_that_limits_answers_to_as_much_is_the_tables_limit(tmp_path):
    settings = {**RESULTS["settings"], "max_tokens": None, "context_tokens": 32768}
    assert tables.figure_of(write(tmp_path, settings=settings), COMMAND, BENCHMARKS)["percent"] == 30.3


def test_runs_of_two_revisions_stand_beside_each_other(tmp_path):
    ours = []
    for commit in ("c0ffee", "facade"):
        path = write(tmp_path, settings={**RESULTS["settings"], "model_commit": commit})
        ours = tables.with_figure(ours, tables.figure_of(path, COMMAND, BENCHMARKS))
    assert [one["weights"] for one in ours] == ["c0ffee", "facade"]


def test_run_that_is_added_again_replaces_itself(tmp_path, monkeypatch):
    shutil.copytree(tables.ROOT / "assets", tmp_path / "assets")
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "DATA", tmp_path / "assets" / "results.json")
    before = tables.read_data()["ours"]
    for commit, command in (("abc", COMMAND), ("abc", f"{COMMAND} SEED=1"), ("def", COMMAND)):
        assert tables.main(["--add", str(write(tmp_path, commit=commit)), "--command", command]) == 0
    added = tables.read_data()["ours"][len(before) :]
    assert [(one["commit"], one["command"]) for one in added] == [("abc", f"{COMMAND} SEED=1"), ("def", COMMAND)]


def test_command_with_a_pipe_is_one_cell(tmp_path):
    data = tables.read_data()
    data["ours"] = [tables.figure_of(write(tmp_path), f"{COMMAND} |\n tee log", BENCHMARKS)]
    assert rf"| `{COMMAND} \| tee log`, commit abc; model: v2, c0ffee |" in tables.page(data)


def test_run_without_its_command_is_refused(tmp_path, capsys):
    assert tables.main(["--add", str(write(tmp_path))]) == 1
    assert "--command" in capsys.readouterr().err
