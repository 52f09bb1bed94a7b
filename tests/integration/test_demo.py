# SPDX-License-Identifier: Apache-2.0
"""The demo, shortened: the real command, all its stages, and a reward that rises."""

import json
import os
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from scripts.run_benchmarks import main

REPOSITORY = Path(__file__).resolve().parents[2]
SHORTER = {
    "base": {"max_steps": 500},
    "sft": {"max_steps": 200, "dataset_test_split": "test[:40]"},
    "grpo": {"max_steps": 30, "dataset_test_split": "test[:40]", "per_device_eval_batch_size": 320},
}


def run_demo(output_dir, *words):
    """Run the demo as a user types it; return what it printed."""
    command = [sys.executable, "scripts/demo.py", "--output_dir", output_dir, "--seed", "11", *words]
    result = subprocess.run(
        command,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        env={**os.environ, "PYTHONPATH": "src", "COLUMNS": "160"},
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Output folder and printed text of a shortened demo."""
    output_dir = tmp_path_factory.mktemp("a demo") / "out"
    return output_dir, run_demo(output_dir, *shorter_words())


def shorter_words():
    words = [f"{stage}:{name}={value}" for stage, settings in SHORTER.items() for name, value in settings.items()]
    return [part for word in words for part in ("--override", word)]


def history(stage_dir):
    return json.loads((stage_dir / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]


def test_reward_rises(demo):
    rewards = [line["reward"] for line in history(demo[0] / "grpo") if "reward" in line]
    assert len(rewards) == SHORTER["grpo"]["max_steps"]
    assert statistics.mean(rewards[-8:]) > statistics.mean(rewards[:8]) + 0.05


def test_results_are_written_and_shown(demo):
    output_dir, printed = demo
    metrics = json.loads((output_dir / "metrics.json").read_text(encoding="utf-8"))
    assert [stage["title"] for stage in metrics["stages"]] == ["base text", "cold-start SFT", "GRPO"]
    assert metrics["stages"][-1]["end"]["eval_num_problems"] == 40
    assert (output_dir / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "before" in printed and "after" in printed and "GRPO" in printed


def test_its_last_line_is_a_command_that_evaluates_its_model(demo, tmp_path):
    output_dir, printed = demo
    command = printed.strip().splitlines()[-1].partition(": ")[2]
    dry = subprocess.run(
        ["make", "--dry-run", *shlex.split(command)[1:]], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    words = shlex.split(dry[dry.index("scripts/run_benchmarks.py") :].replace("\\\n", " "))[1:]
    assert words[words.index("--model_id") + 1] == str(output_dir / "grpo")
    assert main([*words, "--output_dir", str(tmp_path), "--limit", "4", "--num_samples", "1"]) == 0


def test_evaluation_is_that_of_the_kept_completions(demo):
    output_dir, _ = demo
    rows = pd.concat([pd.read_parquet(path) for path in (output_dir / "grpo/rollouts").glob("eval-*.parquet")])
    result = json.loads((output_dir / "grpo/eval_results.json").read_text(encoding="utf-8"))
    rows = rows[rows["step"] == rows["step"].max()]  # the cold start was evaluated before the first step
    for name, is_greedy in (("avg@8", False), ("greedy", True)):
        kept = rows[rows["is_greedy"] == is_greedy]["accuracy_reward"].mean()
        assert kept == pytest.approx(result[f"eval_accuracy_reward/{name}"], abs=1e-6)


def test_an_interrupted_demo_goes_on_behind_its_finished_stages(demo):
    output_dir, _ = demo
    before = (output_dir / "base/model.safetensors").stat().st_mtime
    (output_dir / "metrics.json").unlink()  # as if it had been killed at the very end
    run_demo(output_dir, *shorter_words())
    assert (output_dir / "metrics.json").is_file()
    assert (output_dir / "base/model.safetensors").stat().st_mtime == before


def test_a_demo_with_other_settings_starts_afresh(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    from demo import open_output_dir

    output_dir = tmp_path / "demo"
    open_output_dir(output_dir, {"seed": 0})
    (output_dir / "base").mkdir()
    open_output_dir(output_dir, {"seed": 0})  # interrupted: goes on
    assert (output_dir / "base").is_dir()
    open_output_dir(output_dir, {"seed": 3})
    assert not (output_dir / "base").exists()
    assert (tmp_path / "demo-previous/base").is_dir()
    (output_dir / "metrics.json").touch()  # finished
    open_output_dir(output_dir, {"seed": 3})
    assert not (output_dir / "metrics.json").exists()


def test_time_to_accuracy_counts_all_stages_until_the_first_evaluation_that_reached_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    from demo_seeds import AVERAGE, time_to_accuracy

    histories = {
        "sft": [{"step": 1, "cpu_s": 2.0}, {"step": 9, "cpu_s": 10.0}],
        "grpo": [
            {"step": 5, "cpu_s": 3.0, "num_tokens": 100},
            {"step": 5, "cpu_s": 3.0, AVERAGE: 0.84},
            {"step": 10, "cpu_s": 7.0, "num_tokens": 200},
            {"step": 10, "cpu_s": 7.0, AVERAGE: 0.86},
            {"step": 20, "cpu_s": 9.0, "num_tokens": 400},
        ],
    }
    for name, lines in histories.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "trainer_state.json").write_text(json.dumps({"log_history": lines}))
    found = time_to_accuracy([tmp_path / "sft", tmp_path / "grpo"])
    assert found == {"cpu_s": 19.0, "until_cpu_s": 17.0, "until_step": 10, "until_tokens": 200}


def test_clock_leaves_evaluations_out_and_ends_them_at_the_target(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    import demo_seeds
    from transformers import TrainerControl, TrainerState

    now = iter([0.0, 1.0, 4.0, 6.0, 7.0])
    monkeypatch.setattr(demo_seeds.time, "process_time", lambda: next(now))
    state, control = TrainerState(log_history=[{}]), TrainerControl(should_evaluate=True)
    clock = demo_seeds.CpuClock()
    clock.on_train_begin(None, state, control)
    clock.on_step_end(None, state, control)
    assert control.should_evaluate
    clock.on_evaluate(None, state, control, metrics={demo_seeds.AVERAGE: 0.9})
    clock.on_step_end(None, state, control)
    assert not control.should_evaluate
    clock.on_log(None, state, control)
    assert state.log_history[-1]["cpu_s"] == 5.0
