# SPDX-License-Identifier: Apache-2.0
"""A training that is stopped by a file goes on by the same command and ends as if nothing had happened."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import TrainerCallback

from open_r1.manifest import missing_from
from open_r1.training import callbacks
from open_r1.training.checkpoints import Start, find_start, list_checkpoints
from open_r1.training.stopping import STOP_FILE_VARIABLE, answer_path
from tests.integration.tiny import Tiny, are_identical, build_tiny, log_history, weights_of

# What a log entry says of time, not of the training.
CLOCKS = ("runtime", "per_second", "time/", "step_time")
SETTINGS = {
    "sft": {"learning_rate": 1e-3, "max_steps": 6, "gradient_accumulation_steps": 2, "save_steps": 4},
    # One generation serves two optimizer steps, twice: a stop after an odd step falls between them.
    "grpo": {
        "reward_funcs": ["cosine", "format"],
        "cosine_max_len": 24,
        "max_completion_length": 24,
        "learning_rate": 1e-3,
        "max_steps": 8,
        "save_steps": 20,
        "steps_per_generation": 2,
        "num_iterations": 2,
        "beta": 0.1,
    },
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """Uninterrupted runs by kind."""
    folder = tmp_path_factory.mktemp("whole")
    for kind, settings in SETTINGS.items():
        tiny.train(kind, folder / kind, **settings)
    return folder


class Interruption(TrainerCallback):
    """What happens outside while a step runs."""

    def __init__(self, act, step: int) -> None:
        self.act, self.step = act, step

    def on_substep_end(self, args, state, control, **kwargs) -> None:
        if args.gradient_accumulation_steps > 1 and state.global_step == self.step - 1:
            self.act()

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        if args.gradient_accumulation_steps == 1 and state.global_step == self.step - 1:
            self.act()


@pytest.fixture
def stop_file(tmp_path, monkeypatch) -> Path:
    (tmp_path / "attempt").mkdir()
    path = tmp_path / "attempt" / "stop"
    monkeypatch.setenv(STOP_FILE_VARIABLE, str(path))
    return path


@pytest.fixture
def interrupt(monkeypatch, stop_file):
    """Let the stop file appear (or something else happen) while a step runs; returns the settings that do it."""

    def at(step: int, act=None):
        interruption = Interruption(act or stop_file.touch, step)
        monkeypatch.setitem(callbacks.CALLBACKS, "interruption", lambda: interruption)
        return {"callbacks": ["interruption"]}

    return at


def training_logs(folder: Path) -> list[dict]:
    return [
        {name: value for name, value in entry.items() if not any(clock in name for clock in CLOCKS)}
        for entry in log_history(folder)
        if "train_loss" not in entry
    ]


def answer(stop_file: Path) -> dict:
    return json.loads(answer_path(stop_file).read_text(encoding="utf-8"))


@pytest.mark.parametrize(("kind", "step"), [("sft", 3), ("sft", 4), ("grpo", 3), ("grpo", 6)])
def test_stopped_and_resumed_run_is_the_uninterrupted_one(tiny, whole, tmp_path, interrupt, stop_file, kind, step):
    output = tmp_path / "output"
    assert tiny.train(kind, output, **SETTINGS[kind], **interrupt(step)) == {}
    assert answer(stop_file) == {"step": step, "checkpoint": str(output / f"checkpoint-{step}")}
    assert [path.name for path in list_checkpoints(output)] == [f"checkpoint-{step}"]
    assert missing_from(output / f"checkpoint-{step}") is None
    assert not stop_file.exists()
    assert not {"model.safetensors", "train_results.json"} & {path.name for path in output.iterdir()}

    tiny.train(kind, output, **SETTINGS[kind])
    assert not answer_path(stop_file).exists()
    assert are_identical(weights_of(output), weights_of(whole / kind))
    assert training_logs(output) == training_logs(whole / kind)
    assert missing_from(output) is None


def test_termination_asks_for_the_same(tiny, whole, tmp_path, interrupt, stop_file):
    before = signal.getsignal(signal.SIGTERM)
    terminate = interrupt(2, lambda: os.kill(os.getpid(), signal.SIGTERM))
    tiny.train("sft", tmp_path / "output", **SETTINGS["sft"], **terminate)
    assert signal.getsignal(signal.SIGTERM) == before
    assert answer(stop_file)["step"] == 2
    tiny.train("sft", tmp_path / "output", **SETTINGS["sft"])
    assert are_identical(weights_of(tmp_path / "output"), weights_of(whole / "sft"))


def test_last_step_is_the_end_all_the_same(tiny, whole, tmp_path, interrupt, stop_file):
    metrics = tiny.train("sft", tmp_path / "output", **SETTINGS["sft"], **interrupt(6))
    assert metrics["train_loss"] > 0
    assert not answer_path(stop_file).exists()
    assert not stop_file.exists()
    assert are_identical(weights_of(tmp_path / "output"), weights_of(whole / "sft"))


def test_file_that_is_there_before_the_first_step_stops_after_it(tiny, tmp_path, stop_file):
    stop_file.touch()
    answer_path(stop_file).write_text('{"step": 99}')  # of an earlier attempt
    tiny.train("sft", tmp_path / "output", **SETTINGS["sft"])
    assert answer(stop_file)["step"] == 1


@pytest.mark.parametrize("settings", [{"save_strategy": "no"}, {"save_only_model": True}])
def test_run_that_saves_nothing_to_go_on_from_does_so_when_it_is_stopped(tiny, whole, tmp_path, interrupt, settings):
    tiny.train("sft", tmp_path / "output", **SETTINGS["sft"], **interrupt(3), **settings)
    tiny.train("sft", tmp_path / "output", **SETTINGS["sft"], **settings)
    assert are_identical(weights_of(tmp_path / "output"), weights_of(whole / "sft"))


@pytest.mark.parametrize("strategy", ["steps", "epoch", "best"])
def test_evaluation_that_is_due_is_left_to_the_resumed_run(tiny, tmp_path, interrupt, stop_file, strategy):
    settings = {
        "learning_rate": 1e-3,
        "max_steps": -1,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 16,
        "eval_strategy": "epoch" if strategy == "epoch" else "steps",
        "eval_steps": 3,
        "save_steps": 3,
        "save_strategy": strategy,
        "metric_for_best_model": "loss",
        "load_best_model_at_end": True,
    }
    tiny.train("sft", tmp_path / "whole", **settings)
    tiny.train("sft", tmp_path / "output", **settings, **interrupt(3))  # the last step of the first epoch
    state = json.loads((tmp_path / "output" / "checkpoint-3" / "trainer_state.json").read_text())
    assert [entry["step"] for entry in state["log_history"]] == [1, 2, 3]
    assert answer(stop_file)["step"] == 3
    tiny.train("sft", tmp_path / "output", **settings)
    assert training_logs(tmp_path / "output") == training_logs(tmp_path / "whole")
    assert are_identical(weights_of(tmp_path / "output"), weights_of(tmp_path / "whole"))


def test_end_of_an_epoch_that_was_cut_short_does_nothing(tiny, tmp_path, interrupt, stop_file):
    settings = {
        "max_steps": -1,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 16,
        "save_strategy": "epoch",
        "eval_strategy": "epoch",
        "logging_strategy": "epoch",
    }
    tiny.train("sft", tmp_path / "output", **settings, **interrupt(2))
    state = json.loads((tmp_path / "output" / "checkpoint-2" / "trainer_state.json").read_text())
    assert [entry["step"] for entry in state["log_history"]] == [2]
    tiny.train("sft", tmp_path / "output", **settings)
    assert [entry["step"] for entry in training_logs(tmp_path / "output")] == [2, 3, 3, 6, 6]


def test_losses_since_the_last_log_are_not_lost(tiny, whole, tmp_path, interrupt):
    settings = {**SETTINGS["sft"], "logging_steps": 3}
    tiny.train("sft", tmp_path / "output", **settings, **interrupt(2))
    tiny.train("sft", tmp_path / "output", **settings)
    losses = {entry["step"]: entry["loss"] for entry in training_logs(tmp_path / "output")}
    each = {entry["step"]: entry["loss"] for entry in training_logs(whole / "sft")}
    assert losses == pytest.approx({2: (each[1] + each[2]) / 2, 3: each[3], 6: (each[4] + each[5] + each[6]) / 3})


@pytest.mark.parametrize("word", ["false", "checkpoint-2"])
def test_requeued_job_goes_on_where_its_first_attempt_would_begin_anew(tiny, tmp_path, interrupt, monkeypatch, word):
    output = tmp_path / "output"
    settings = {**SETTINGS["sft"], "save_steps": 2}
    tiny.train("sft", output, **settings)  # an earlier run
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    wanted = {"resume_from_checkpoint": str(output / word) if word != "false" else word}
    tiny.train("sft", output, **settings, **interrupt(3), **wanted)
    assert (output / "superseded-1" / "checkpoint-6").is_dir()
    assert [path.name for path in list_checkpoints(output)][-1] == "checkpoint-3"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    tiny.train("sft", output, **settings, **wanted)
    assert not (output / "superseded-2").exists()
    assert [path.name for path in list_checkpoints(output)][-1] == "checkpoint-6"


def test_requeued_job_that_has_saved_nothing_begins_again_at_the_checkpoint_it_was_given(
    tiny, tmp_path, interrupt, monkeypatch
):
    settings = {**SETTINGS["sft"], "save_steps": 2}
    tiny.train("sft", tmp_path / "other", **settings, **interrupt(3))
    given, output = tmp_path / "other" / "checkpoint-3", tmp_path / "output"
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    output.mkdir()
    (output / "run_manifest.json").write_text('{"runs": [{"settings": {}, "slurm_job": "77"}]}')  # and nothing else
    arguments = SimpleNamespace(output_dir=str(output), resume_from_checkpoint=str(given))
    assert find_start(arguments) == Start(given)
