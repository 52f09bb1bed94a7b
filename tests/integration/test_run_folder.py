# SPDX-License-Identifier: Apache-2.0
"""One run a folder: a second one is refused while the first lives, and nothing that is finished is trained over."""

import json
import multiprocessing
import os
import shutil
import signal
import socket
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from filelock import FileLock
from transformers import Trainer

from open_r1.manifest import missing_from, write_manifest
from open_r1.training.checkpoints import claim, list_checkpoints
from tests.integration.fork_driver import ForkDriver
from tests.integration.tiny import are_identical, build_tiny, log_history, weights_of
from tests.waiting import wait_until

SIGNAL = {"reward_funcs": ["cosine", "format"], "cosine_max_len": 24, "max_completion_length": 24}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def driver():
    driver = ForkDriver({})
    yield driver
    driver.close()


def test_second_run_is_refused_by_name_until_the_first_is_killed(driver, tiny, tmp_path):
    output, log = tmp_path / "out", tmp_path / "log"
    argv = tiny.argv("sft", output, max_steps=400, save_steps=1, save_total_limit=2)
    first = driver.start("sft", argv, tmp_path / "first")
    wait_until(lambda: len(list_checkpoints(output)) > 1 or first.has_ended())
    assert driver.start("sft", argv, log).wait() == 1
    assert f"{first.pid} on {socket.gethostname()}" in log.read_text()
    assert driver.start("sft", [*argv, "--check_only"], tmp_path / "check").wait() == 0
    assert not first.has_ended()
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    last = list_checkpoints(output)[-1].name
    resumed = driver.start("sft", tiny.argv("sft", output, max_steps=int(last.split("-")[1]) + 1), log)
    assert resumed.wait() == 0, log.read_text()[-2000:]
    assert f"Resuming from {output / 'checkpoint-'}" in log.read_text()


def hold(folder: Path, ready, done) -> None:
    with FileLock(folder / ".run.lock"):
        ready.set()
        done.wait(60)


@pytest.fixture
def held(tmp_path):
    """A folder that another process has locked."""
    fork = multiprocessing.get_context("fork")
    ready, done = fork.Event(), fork.Event()
    process = fork.Process(target=hold, args=(tmp_path, ready, done))
    process.start()
    assert ready.wait(60)
    yield tmp_path
    done.set()
    process.join()


@pytest.mark.parametrize(
    ("owner", "job", "attempt", "is_taken"),
    [
        ({"job": "77", "attempt": "0"}, "77", "1", True),  # the earlier attempt of a job, whose host has died
        ({"job": "77", "attempt": "1"}, "77", "1", False),  # two runs of one job
        ({"job": "76", "attempt": "0"}, "77", "1", False),
        ({"job": None, "attempt": "0"}, None, "0", False),
    ],
)
def test_requeued_job_takes_over_what_its_earlier_attempt_has_locked(held, monkeypatch, owner, job, attempt, is_taken):
    (held / ".run.json").write_text(json.dumps({"host": "node-1", "pid": 42, **owner}))
    for name, value in (("SLURM_JOB_ID", job), ("SLURM_RESTART_COUNT", attempt)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    if is_taken:
        claim(held).release()
        assert json.loads((held / ".run.json").read_text())["pid"] == os.getpid()
    else:
        with pytest.raises(ValueError, match="42 on node-1"):
            claim(held)


def test_folder_that_cannot_be_written_is_named(tmp_path):
    tmp_path.joinpath(".run.json").mkdir()
    with pytest.raises(ValueError, match="`output_dir` is"):
        claim(tmp_path)


@pytest.mark.parametrize("save_strategy", ["no", "steps"])
def test_finished_run_is_not_repeated(tiny, tmp_path, caplog, save_strategy):
    settings = {"save_strategy": save_strategy, "do_eval": True}
    metrics = tiny.train("sft", tmp_path, **settings)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = tiny.train("sft", tmp_path, **settings)
    assert "Finished earlier" in caplog.text
    assert again["train_loss"] == metrics["train_loss"] and again["eval_loss"] == metrics["eval_loss"]
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed <= {".run.json", ".run.lock"}
    if save_strategy == "steps":  # more steps go on from the last checkpoint
        with patch.object(Trainer, "_issue_warnings_after_load") as warn:
            tiny.train("sft", tmp_path, **settings, max_steps=6)
        assert warn.call_args.args[0].missing_keys == []  # nothing is said of tied weights
        assert log_history(tmp_path)[-1]["step"] == 6
        return
    with pytest.raises(ValueError, match="resume_from_checkpoint"):
        tiny.train("sft", tmp_path, **settings, max_steps=6)
    tmp_path.joinpath("manifest.json").unlink()  # as whoever edits a saved model does
    weights = weights_of(tmp_path)
    with pytest.raises(ValueError, match="resume_from_checkpoint"):
        tiny.train("sft", tmp_path, **settings, max_steps=6)
    assert are_identical(weights_of(tmp_path), weights)


def test_fresh_start_archives_model_rollouts_and_logs(tiny, tmp_path):
    settings = {**SIGNAL, "log_completions": True, "save_strategy": "no"}
    tiny.train("grpo", tmp_path, **settings)
    (tmp_path / "notes.txt").write_text("not of the run")
    model = weights_of(tmp_path)
    tiny.train("grpo", tmp_path, **settings, max_steps=2, resume_from_checkpoint="false")
    archived = tmp_path / "superseded-1"
    assert missing_from(archived) is None and are_identical(weights_of(archived), model)
    assert len(list((archived / "rollouts").iterdir())) == 4 and len(list((tmp_path / "rollouts").iterdir())) == 2
    assert {"README.md", "trainer_state.json", "train_results.json"} <= {path.name for path in archived.iterdir()}
    assert (tmp_path / "notes.txt").is_file()
    assert missing_from(tmp_path) is None and not are_identical(weights_of(tmp_path), model)


# Two generations of four micro-batches, each for two optimizer steps; a checkpoint after the third step.
GEOMETRY = {
    **SIGNAL,
    "max_steps": 4,
    "save_steps": 1,
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "steps_per_generation": 4,
}
HALVED = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "steps_per_generation": 8}


@pytest.fixture(scope="module")
def stopped(tiny, tmp_path_factory):
    """A run that ends amid its second generation."""
    folder = tmp_path_factory.mktemp("stopped")
    tiny.train("grpo", folder, **GEOMETRY)
    shutil.rmtree(folder / "checkpoint-4")
    (folder / "manifest.json").unlink()
    return folder


@pytest.mark.parametrize(
    ("settings", "is_dropped"),
    [
        ({}, False),
        (HALVED, True),
        ({"gradient_accumulation_steps": 4}, True),
        ({"steps_per_generation": 2}, True),
        ({"num_iterations": 2}, True),
    ],
)
def test_run_with_other_batches_resumes_at_the_next_generation(tiny, stopped, tmp_path, caplog, settings, is_dropped):
    output = tmp_path / "out"
    shutil.copytree(stopped, output)
    tiny.train("grpo", output, **GEOMETRY | settings | {"max_steps": 6})
    assert ("rollouts in use are dropped" in caplog.text) == is_dropped
    assert [entry["step"] for entry in log_history(output) if "loss" in entry] == list(range(1, 7))
    assert missing_from(output) is None


def test_run_of_more_processes_is_resumed_by_fewer(tiny, stopped, tmp_path, caplog):
    output = tmp_path / "out"
    shutil.copytree(stopped, output)
    state = torch.load(output / "checkpoint-3" / "rollout_state_0.pt", weights_only=True)
    state["shape"][0] = 2
    for rank in range(2):
        torch.save(state, output / "checkpoint-3" / f"rollout_state_{rank}.pt")
    (output / "checkpoint-3" / "manifest.json").unlink()
    write_manifest(output / "checkpoint-3")
    tiny.train("grpo", output, **GEOMETRY | {"max_steps": 6})
    assert "rollouts in use are dropped" in caplog.text
