# SPDX-License-Identifier: Apache-2.0
"""The page of a run: what is read of folders, which alarms it raises, and that texts of strangers stay texts."""

import base64
import gzip
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from open_r1.report.alarms import alarms_of
from open_r1.report.page import write_report
from open_r1.report.runs import Run, read_run, read_runs
from scripts.show_run import main

ROOT = Path(__file__).parents[2]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def rollout(step, index, *, completion="<think>\n1\n</think>\n\\boxed{1}", right=True):
    return {
        "prompt": [{"role": "user", "content": f"{step}+{index // 4}"}],
        "completion": completion,
        "solution": "1",
        "num_tokens": 20 + index,
        "is_truncated": False,
        "accuracy_reward": float(right),
        "accuracy_reward/verdict": "right" if right else "wrong",
        "accuracy_reward/gold_read": "1",
        "accuracy_reward/answer_read": "1",
        "advantage": 0.5,
        "step": step,
    }


@pytest.fixture
def folder(tmp_path):
    run = tmp_path / "run"
    (run / "rollouts").mkdir(parents=True)
    log = [{"step": step, "reward": step / 40, "epoch": 1.0} for step in range(1, 41)]
    (run / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    manifest = {"settings": {"learning_rate": 1e-6}, "versions": {"torch": "2.13.0"}, "commit": "abc"}
    (run / "run_manifest.json").write_text(json.dumps({"runs": [manifest]}))
    for step in (1, 2):
        rows = [rollout(step, index, right=index % 2 == 0) for index in range(8)]
        pd.DataFrame(rows).to_parquet(run / "rollouts" / f"train-{step:06d}-0.parquet")
    return run


def packed(page: str, name: str):
    text = re.search(rf'<script id="{name}" type="text/plain">([^<]*)</script>', page)[1]
    return json.loads(gzip.decompress(base64.b64decode(text)))


def test_training_is_read_with_its_groups(folder):
    run = read_run(folder)
    assert run.curves["reward"][-1] == [40, 1.0]
    assert run.facts == {"commit": "abc", "torch": "2.13.0"}
    assert [row["group"] for row in run.rollouts] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    first = run.rollouts[0]
    assert (first["step"], first["mode"], first["prompt"], first["gold"]) == (1, "train", "1+0", "1")
    assert (first["verdict"], first["rewards"], first["advantage"]) == ("right", {"accuracy_reward": 1.0}, 0.5)


def test_training_that_has_saved_nothing_has_the_curves_of_its_rollouts(folder):
    (folder / "trainer_state.json").unlink()
    curves = read_run(folder).curves
    assert curves["rewards/accuracy_reward/mean"] == [[1, 0.5], [2, 0.5]]
    assert curves["completions/mean_length"] == [[1, 23.5], [2, 23.5]]


def test_folder_of_several_runs_has_a_page_of_all(folder):
    assert [run.name for run in read_runs([folder.parent])] == ["run"]
    (folder.parent / "empty").mkdir()
    assert main([str(folder.parent / "empty")]) == 1


def test_texts_of_strangers_stay_texts(folder):
    rows = [rollout(3, index, completion=HOSTILE) for index in range(4)]
    pd.DataFrame(rows).to_parquet(folder / "rollouts" / "train-000003-0.parquet")
    assert main([str(folder)]) == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "alert(" not in page
    assert packed(page, "completions")[-1]["completion"] == HOSTILE
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write", page.partition('id="data"')[2])
    assert "default-src 'none'" in page
    assert packed(page, "data")["runs"][0]["settings"] == {"learning_rate": 1e-6}
    assert len(page) < 6e6


def test_page_of_many_rollouts_is_cut_by_groups(tmp_path, monkeypatch):
    monkeypatch.setattr("open_r1.report.runs.MOST_ROLLOUTS", 100)
    (tmp_path / "rollouts").mkdir()
    rows = [rollout(1, index) for index in range(400)]
    pd.DataFrame(rows).to_parquet(tmp_path / "rollouts" / "train-000001-0.parquet")
    kept = read_run(tmp_path).rollouts
    assert len(kept) == 100
    assert all(sum(row["group"] == group for row in kept) == 4 for group in {row["group"] for row in kept})


def line(start, end):
    return [[step, start + (end - start) * step / 40] for step in range(41)]


@pytest.mark.parametrize(
    ("curves", "section"),
    [
        ({"reward": line(0.2, 0.9), "accuracy_reward/right": line(0.3, 0.3)}, "reward-rises-accuracy-does-not"),
        ({"reward": line(0.2, 0.9), "accuracy_reward/right": line(0.3, 0.6)}, None),
        ({"completions/mean_length": line(100, 400)}, "completions-grow-or-shrink"),
        ({"completions/mean_length": line(400, 100)}, "completions-grow-or-shrink"),
        ({"entropy": line(1.0, -0.3)}, "entropy-collapses"),
        ({"kl": line(0.0, 3.0)}, "kl-grows"),
        ({"frac_reward_zero_std": line(0.9, 0.9)}, "all-groups-equal"),
        ({"completions/clipped_ratio": line(0.0, 0.5)}, "completions-never-stop"),
        ({"rewards/unscorable": line(0.0, 0.1)}, "rewards-are-nan"),
        ({"accuracy_reward/echo": line(0.0, 0.1)}, "reward-rises-accuracy-does-not"),
        ({"reward": line(0.2, 0.9)}, None),
        ({"kl": [[1, 50.0]]}, None),
    ],
)
def test_alarm_names_its_section(curves, section):
    alarms = alarms_of(Run("run", curves=curves))
    assert [alarm.section for alarm in alarms] == ([] if section is None else [section])


def test_completions_that_repeat_are_an_alarm():
    texts = ["so we add one. " * 200] * 3 + [" ".join(map(str, range(1000)))] * 3
    run = Run("run", rollouts=[{"completion": text} for text in texts])
    assert [alarm.section for alarm in alarms_of(run)] == ["completions-repeat"]


def test_sections_of_alarms_are_in_the_document():
    source = (ROOT / "src/open_r1/report/alarms.py").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    named = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source))
    assert named and named <= anchors


def test_terminal_shows_the_worst_and_the_best(folder, capsys):
    assert main([str(folder), "--terminal", "--groups", "1"]) == 0
    out = capsys.readouterr().out
    assert "lowest rewards" in out and "highest rewards" in out and "gold: 1" in out


def test_runs_are_drawn_over_each_other(folder, tmp_path):
    runs = read_runs([folder, folder])
    write_report(runs, tmp_path / "both.html", refresh_s=15)
    page = (tmp_path / "both.html").read_text(encoding="utf-8")
    assert len(packed(page, "data")["runs"]) == 2
    assert '<meta http-equiv="refresh" content="15">' in page
