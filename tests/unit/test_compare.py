# SPDX-License-Identifier: Apache-2.0
"""Comparison of runs: files that can't be read, what is noise, what differs, and the table."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from open_r1.evaluation.compare import as_text, overview_of
from open_r1.evaluation.judges import judgement_of
from open_r1.evaluation.metrics import avg_at_k
from open_r1.evaluation.run import write_json
from scripts.compare_evals import main

SETTINGS = {
    "model": "me/a",
    "revision": "main",
    "model_fingerprint": None,
    "model_commit": None,
    "source": ["f00d"],
    "limit": None,
    "temperature": 0.6,
    "max_tokens": 32768,
    "template": "Solve.\n{prompt}",
    "serve_args": [],
    "served_with": ["vllm", "serve"],
    "versions_of_engine": {"vllm": "0.30.0"},
}
RIGHT, WRONG = "right", "wrong"


@pytest.fixture
def write_run(tmp_path):
    """Return what writes a run: verdicts by problem, and what differs from `SETTINGS`."""

    def write_run(name, verdicts, *, benchmark="math", results=(), problems=None, **settings):
        folder = tmp_path / "runs" / name / benchmark
        folder.mkdir(parents=True)
        settings = SETTINGS | {"num_samples": min(map(len, verdicts))} | settings
        interval = avg_at_k([[float(verdict == RIGHT) for verdict in row] for row in verdicts])
        k = settings["num_samples"]
        metrics = {
            f"avg@{k}": interval.mean,
            f"avg@{k}_low": interval.low,
            f"avg@{k}_high": interval.high,
            f"pass@{k}": 1.0,
            "truncated": 0.125,
            "no_answer": 0.0,
            "mean_length_tokens": 1234.5,
        }
        problems = problems or [f"Compute {n}" for n in range(len(verdicts))]
        rows = [
            {"problem": problem, "solution": problem[-1], "score": judgement_of(verdict).score}
            for problem, row in zip(problems, verdicts, strict=True)
            for verdict in row
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "answers.parquet")
        write_json(
            folder / "results.json",
            {
                "benchmark": benchmark,
                "is_complete": True,
                "notes": [],
                "metrics": metrics,
                "counts": {"failed": 0},
                "settings": settings,
                "date": "2026-01-31T12:00:00+00:00",
                **dict(results),
            },
        )
        return folder

    return write_run


def many(num_right, count=40):
    return [[RIGHT]] * num_right + [[WRONG]] * (count - num_right)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.json", '{"benchmark": "math", "metr'),
        ("results.json", '{"benchmark": "m", "settings": {}, "counts": {}, "metrics": {}}'),
        ("results_2026-01-01T00-00-00.json", '{"results": {}}'),
        (None, ""),
    ],
)
def test_places_that_hold_no_results_are_refused(tmp_path, name, content, capsys):
    place = tmp_path / "gone"
    if name:
        (tmp_path / name).write_text(content)
        place = tmp_path / name if name == "results.json" else tmp_path
    assert main([str(place)]) == 1
    assert "results.json" in capsys.readouterr().err


@pytest.mark.parametrize("content", ['{"bench', '{"accuracy": 0.5}'])
def test_a_file_of_another_program_or_a_torn_one_hides_no_run(write_run, tmp_path, caplog, content):
    write_run("a", many(3))
    other = write_run("b", many(3)) / "results.json"
    other.write_text(content)
    assert len(overview_of([tmp_path / "runs"]).runs) == 1
    assert str(other) in caplog.text
    for named in (other, other.parent):
        with pytest.raises(ValueError, match=str(other.parent)):
            overview_of([tmp_path / "runs", named])


@pytest.mark.parametrize("content", [b"PAR1 torn", None])
def test_answers_that_cannot_be_read_or_are_of_others_are_refused(write_run, tmp_path, content, capsys):
    first = write_run("a", many(3))
    path = write_run("b", many(3)) / "answers.parquet"
    if content is None:
        pq.write_table(pa.table({"text": ["x"]}), path)  # another program's
    else:
        path.write_bytes(content)
    assert main([str(tmp_path), "--baseline", str(first)]) == 1
    assert str(path) in capsys.readouterr().err
    assert main([str(tmp_path)]) == 0
    assert str(path) in capsys.readouterr().out


def test_runs_that_cannot_be_compared_are_refused(write_run, tmp_path):
    first = write_run("base/one", many(1, 2))
    with pytest.raises(ValueError, match="no other run"):
        overview_of([first], first)
    write_run("b", many(1, 2), problems=["Other 1", "Other 2"])
    with pytest.raises(ValueError, match="in common"):
        overview_of([tmp_path], first)
    lost = write_run("c", [["lost"]] * 2, benchmark="lost")
    write_run("d", many(1, 2), benchmark="lost")
    with pytest.raises(ValueError, match=str(lost)):
        overview_of([tmp_path], lost)
    write_run("base/two", many(2, 2))
    with pytest.raises(ValueError, match="2 runs on math"):
        overview_of([tmp_path], tmp_path / "runs" / "base")


def compared(tmp_path, baseline=None):
    overview = overview_of([tmp_path], baseline)
    (comparison,) = overview.comparisons
    return comparison, as_text(overview)


def test_a_small_difference_is_noise(write_run, tmp_path):
    write_run("a", many(20))
    write_run("b", [[RIGHT]] * 18 + [[WRONG]] * 2 + [[RIGHT]] * 5 + [[WRONG]] * 15, model="me/b")
    comparison, text = compared(tmp_path)
    assert comparison.is_noise
    assert comparison.difference.mean == pytest.approx(0.075)
    assert (comparison.difference.num_better, comparison.difference.num_equal) == (5, 33)
    assert "math: #2 against #1: +7.5 points" in text
    assert "noise" in text


def test_fewer_than_six_differing_problems_are_too_few_to_compare(write_run, tmp_path):
    write_run("a", many(20))
    write_run("b", many(25), model="me/b")
    comparison, text = compared(tmp_path)
    assert comparison.is_noise
    assert "+12.5 points: too few to compare" in text


def test_a_large_difference_is_more_than_chance(write_run, tmp_path):
    write_run("a", many(10))
    write_run("b", many(30), model="me/b")
    comparison, text = compared(tmp_path)
    assert not comparison.is_noise
    assert comparison.difference.p_value < 1e-4
    assert "more than chance" in text
    assert "20 better, 0 worse, 20 alike" in text


def test_problems_are_matched_by_text_and_solution_wherever_they_stand(write_run, tmp_path):
    write_run("a", [[RIGHT], [WRONG], [WRONG]], problems=["Compute  1", "Compute 2", "Compute 3"])
    write_run(
        "b",
        [[RIGHT], [RIGHT], [WRONG]],
        problems=["Compute 4", "Compute 2", "Compute 1"],
        template="Think.\n{prompt}\nBox it.",
    )
    comparison, text = compared(tmp_path)
    assert (comparison.difference.num_problems, comparison.difference.num_worse) == (2, 1)
    assert comparison.difference.num_better == 1
    assert "only one of the two has: 1 and 1" in text


def test_a_problem_that_stands_there_twice_counts_once(write_run, tmp_path):
    twice = ["Compute 1", "Compute 1", "Compute 2"]
    write_run("a", [[WRONG], [WRONG], [RIGHT]], problems=twice)
    write_run("b", [[RIGHT], [WRONG], [RIGHT]], problems=twice, model="me/b")
    comparison, _ = compared(tmp_path)
    assert (comparison.difference.num_problems, comparison.difference.mean) == (2, 0.25)


def test_answers_that_nobody_could_judge_are_left_out(write_run, tmp_path):
    write_run("a", [[RIGHT, "lost"], [WRONG, WRONG], ["unverifiable"] * 2])
    write_run("b", [[RIGHT, RIGHT], [RIGHT, WRONG], [WRONG, WRONG]], model="me/b")
    comparison, text = compared(tmp_path)
    assert (comparison.difference.num_problems, comparison.difference.mean) == (2, 0.25)
    assert "left out are 1 problems" in text


def test_other_k_and_incomplete_runs_are_said(write_run, tmp_path):
    write_run("a", [[RIGHT] * 4] * 3)
    write_run("b", [[RIGHT] * 2] * 3, results={"is_complete": False, "counts": {"failed": 6}, "notes": ["6 failed"]})
    _, text = compared(tmp_path)
    assert "num_samples: 4 (#1), 2 (#2)" in text
    assert "2 !" in text
    assert "#2: 6 failed" in text


def test_several_comparisons_are_corrected_together(write_run, tmp_path):
    for benchmark in ("aime", "math"):
        write_run("a", many(10), benchmark=benchmark)
        write_run("b", many(16), benchmark=benchmark, model="me/b")
    overview = overview_of([tmp_path], tmp_path / "runs" / "a")
    assert [entry.difference.p_value for entry in overview.comparisons] == [2 / 64, 2 / 64]
    assert [entry.holm_p_value for entry in overview.comparisons] == [4 / 64, 4 / 64]
    assert all(entry.is_noise for entry in overview.comparisons)
    assert "p = 0.0312 (0.0625 by Holm)" in as_text(overview)


def test_settings_that_differ_are_said_and_records_are_not(write_run, tmp_path):
    write_run("a", many(20), temperature=0.6, served_with=["x"])
    write_run("b", many(22), temperature=1.0, served_with=["y"], template="Go, now:\n{prompt}")
    text = as_text(overview_of([tmp_path]))
    assert "math: the runs differ by temperature: 0.6 (#1), 1.0 (#2); template: " in text
    assert "served_with" not in text


@pytest.mark.parametrize("settings", [{"source": ["beef"]}, {"limit": 20}])
def test_different_problems_are_flagged(write_run, tmp_path, settings):
    write_run("a", many(20))
    write_run("b", many(20), **settings)
    assert "WARNING" in as_text(overview_of([tmp_path]))


def test_the_table_names_each_run_once(write_run, tmp_path):
    folder = write_run("a", many(20), revision="v1")
    overview = overview_of([tmp_path, folder, folder / "results.json"])
    lines = as_text(overview).splitlines()
    assert len(lines) == 2
    assert lines[0].split()[:5] == ["#", "model", "benchmark", "k", "avg@k"]
    assert lines[1].startswith("1  me/a@v1  math       1  50.0 [")
    assert "12.5 %" in lines[1]
    assert "1,234" in lines[1]
