# SPDX-License-Identifier: Apache-2.0
"""Callbacks that a recipe names, also classes of the user's own, and the line that shows how a training goes."""

from pathlib import Path

import pytest
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments

from open_r1.configs import SFTConfig
from open_r1.training.callbacks import (
    CompactProgressCallback,
    PushToHubRevisionCallback,
    describe_benchmarks,
    get_callbacks,
)
from tests.integration.tiny import build_tiny

TRAINING = Path(__file__).resolve().parents[2] / "docs" / "training.md"
SHOWN = (
    TRAINING.read_text(encoding="utf-8")
    .partition("\n## A callback")[2]
    .partition("```python\n")[2]
    .partition("```")[0]
)
CODE = f"""{SHOWN}
class Patient(TrainerCallback):
    def __init__(self, patience):
        self.patience = patience

class Bystander:
    pass

def on_save(args, state, control):
    pass
"""

FIGURES = {
    "eval_sums/avg@4": 0.4321,
    "eval_sums/avg@4_low": 0.38,
    "eval_sums/avg@4_high": 0.48,
    "eval_sums/pass@4": 0.7,
    "eval_sums/maj@4": 0.5,
    "eval_sums/truncated": 0.0,
}


def test_a_line_has_the_interval_and_the_other_figures():
    line = "eval_sums/avg@4 0.432 [0.38, 0.48], pass@4 0.7, maj@4 0.5, truncated 0"
    assert describe_benchmarks({"loss": 1.0, **FIGURES}) == [line]


def test_what_is_no_benchmark_gives_no_line():
    assert describe_benchmarks({"loss": 1.0, "eval_loss": 2.0, "eval_rewards/accuracy_reward/mean": 0.5}) == []


def test_missing_figures_are_left_out():
    logs = {"eval_a/avg@1": 1.0, "eval_b/avg@2": 0.5}
    assert describe_benchmarks(logs) == ["eval_a/avg@1 1", "eval_b/avg@2 0.5"]


def test_evaluations_are_lines_above_the_bar(tmp_path, capsys):
    args = TrainingArguments(str(tmp_path), metric_for_best_model="eval_sums/avg@4", report_to="none", use_cpu=True)
    state, control, callback = TrainerState(max_steps=20, global_step=10), TrainerControl(), CompactProgressCallback()
    callback.on_train_begin(args, state, control)
    callback.on_log(args, state, control, logs=FIGURES)
    callback.on_train_end(args, state, control)
    printed = capsys.readouterr().out
    assert "step 10: eval_sums/avg@4 0.432 [0.38, 0.48]" in printed


@pytest.fixture
def code(tmp_path):
    path = tmp_path / "own callbacks" / "my_callbacks.py"
    path.parent.mkdir()
    path.write_text(CODE)
    return path


def callbacks_of(tmp_path, *names):
    return get_callbacks(SFTConfig(output_dir=str(tmp_path), callbacks=list(names), use_cpu=True, report_to="none"))


def test_a_training_calls_the_users_own_callback(code, tmp_path):
    build_tiny(tmp_path / "tiny").train("sft", tmp_path / "run", callbacks=[f"{code}:StepWriter"], max_steps=2)
    assert (tmp_path / "run" / "steps.txt").read_text() == "1 2 "


def test_callbacks_of_modules_and_of_the_table_stand_beside_each_other(code, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(code.parent))
    first, second, third = callbacks_of(
        tmp_path, "my_callbacks:StepWriter", "push_to_hub_revision", "transformers:EarlyStoppingCallback"
    )
    assert type(first).__name__ == "StepWriter"
    assert isinstance(second, PushToHubRevisionCallback)
    assert isinstance(third, EarlyStoppingCallback)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("early", "'early'.*push_to_hub_revision"),
        ("{folder}/nowhere.py:StepWriter", "no file .*nowhere.py"),
        ("{file}:StepReader", "'StepReader'.*Patient, StepWriter"),
        ("{file}:Bystander", "TrainerCallback"),
        ("{file}:on_save", "TrainerCallback"),
        ("{file}", "path/to/file.py:class"),
        ("no_such_package:StepWriter", "No module named 'no_such_package'"),
    ],
)
def test_what_is_no_callback_is_refused(code, tmp_path, name, said):
    with pytest.raises(ValueError, match=said):
        callbacks_of(tmp_path, name.format(file=code, folder=code.parent))
