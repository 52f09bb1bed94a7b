# SPDX-License-Identifier: Apache-2.0
"""The report of a training says what its folders hold."""

import argparse
import json
import re
from pathlib import Path

import pytest

from open_r1.data.card import DataCard
from open_r1.data.folder import DatasetFolder
from scripts.learning_report import draw, report

PNG = b"\x89PNG"


def write_rates(folder: Path, rewards: dict[str, list[float]]) -> None:
    rows = [
        {
            "problem": problem,
            "solution": "7",
            "pass_rate": sum(values) / len(values),
            "pass_rate_rewards": values,
            "pass_rate_generations": [f"It is {7 if value else 8}" for value in values],
        }
        for problem, values in rewards.items()
    ]
    with DatasetFolder(folder, DataCard("rates", {})) as data:
        data.write(rows)


@pytest.fixture
def folders(tmp_path: Path) -> argparse.Namespace:
    write_rates(tmp_path / "before" / "sums", {f"{number} + 1 =": [0.0, 0.0] for number in range(8)})
    write_rates(tmp_path / "after" / "sums", {f"{number} + 1 =": [1.0, 0.0] for number in range(8)})
    training = tmp_path / "training"
    training.mkdir()
    step = {
        "frac_reward_zero_std": 0.25,
        "completions/mean_length": 9.0,
        "entropy": 1.0,
        "time/generate_s": 1.0,
        "tokens_per_second": 100.0,
        "step_time": 2.0,
    }
    history = [step | {"reward": number / 10} for number in range(8)]
    (training / "trainer_state.json").write_text(json.dumps({"log_history": history}), encoding="utf-8")
    return argparse.Namespace(
        trainings=[training],
        before=tmp_path / "before",
        after=[tmp_path / "after"],
        form=re.compile("is 7"),
    )


def test_report_has_accuracies_gain_form_steps_and_completions(folders: argparse.Namespace):
    lines = report(folders)
    values = [re.findall(r"[-+]?\d+\.\d+", line) for line in lines if line.startswith("| sums")]
    assert [row[0] for row in values[:2]] == ["0.000", "0.500"]
    assert values[1][3] == "+0.500"
    assert values[2:] == [["0.00"], ["0.50", "1.00"]]
    assert [line for line in lines if "| 0.20 | 0.05 | 0.25 | 0.45 | 0.65 |" in line]
    assert lines[-3] == "| 0 + 1 = 7 | It is 8 (0) | It is 7 (1) |"


def test_other_problems_are_refused(folders: argparse.Namespace, tmp_path: Path):
    write_rates(tmp_path / "other" / "sums", {"9 + 9 =": [1.0]})
    folders.after = [tmp_path / "other"]
    with pytest.raises(ValueError, match="different problems"):
        report(folders)


def test_picture_is_drawn(folders: argparse.Namespace, tmp_path: Path):
    draw(folders.trainings, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(PNG)
