# SPDX-License-Identifier: Apache-2.0
"""The line of a training shows what benchmarks measure, and which checkpoint is the best."""

from transformers import TrainerControl, TrainerState, TrainingArguments

from open_r1.training.callbacks import CompactProgressCallback, describe_benchmarks

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


def test_evaluations_and_the_best_checkpoint_are_printed(tmp_path, capsys):
    args = TrainingArguments(str(tmp_path), metric_for_best_model="eval_sums/avg@4", report_to="none", use_cpu=True)
    state, control, callback = TrainerState(max_steps=20, global_step=10), TrainerControl(), CompactProgressCallback()
    callback.on_train_begin(args, state, control)
    callback.on_log(args, state, control, logs=FIGURES)
    state.best_model_checkpoint, state.best_metric = "data/run/checkpoint-10", 0.4321
    callback.on_train_end(args, state, control)
    printed = capsys.readouterr().out
    assert "step 10: eval_sums/avg@4 0.432 [0.38, 0.48]" in printed
    assert "best: data/run/checkpoint-10, eval_sums/avg@4 0.4321" in printed


def test_a_file_has_few_drawings_of_the_bar_and_the_last_numbers(tmp_path, capsys):
    args = TrainingArguments(str(tmp_path), report_to="none", use_cpu=True)
    state, control, callback = TrainerState(max_steps=500), TrainerControl(), CompactProgressCallback()
    callback.on_train_begin(args, state, control)
    for step in range(1, 501):
        state.global_step = step
        callback.on_log(args, state, control, logs={"reward": step / 1000})
        callback.on_step_end(args, state, control)
    callback.on_train_end(args, state, control)
    drawn = capsys.readouterr().err
    assert drawn.count("\r") < 10
    assert "500/500" in drawn and "reward=0.5" in drawn
