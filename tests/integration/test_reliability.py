# SPDX-License-Identifier: Apache-2.0
"""What a machine does to a training: kill -9 at any moment, a full disk, no network. The same command goes on.

The trainings are real runs of the entry scripts in processes of their own, forked from one that has imported them.
"""

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from open_r1.manifest import MANIFEST_NAME, STAGING_NAME, missing_from
from open_r1.training.checkpoints import list_checkpoints
from tests.integration.fork_driver import ForkDriver, Run
from tests.integration.tiny import Tiny, are_identical, build_tiny, log_history, weights_of
from tests.waiting import wait_until

# A learning signal comes from the lengths of the completions, which vary even with random weights.
SIGNAL = {
    "reward_funcs": ["cosine", "format"],
    "cosine_max_len": 24,
    "max_completion_length": 24,
    "log_completions": True,
}
CASES = {
    "sft": ("sft", {"per_device_train_batch_size": 8, "num_train_epochs": 2, "max_steps": -1}),
    "grpo": ("grpo", {**SIGNAL, "per_device_train_batch_size": 8, "max_steps": 10}),
    # One generation serves two optimizer steps, twice over.
    "grpo_reuse": (
        "grpo",
        {
            **SIGNAL,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "steps_per_generation": 4,
            "num_iterations": 2,
            "max_steps": 10,
        },
    ),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    # Wide enough (3 MB a checkpoint) for a save to take a good part of the time.
    return build_tiny(tmp_path_factory.mktemp("tiny"), hidden_size=128)


@dataclass
class Nowhere:
    """A port that stands for the hub and for every proxy; what connects to it is noted and turned away."""

    url: str
    requests: list[str]


@pytest.fixture(scope="module")
def nowhere() -> Iterator[Nowhere]:
    requests: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def turn_away() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return  # the server was closed
                with connection:
                    requests.append(connection.recv(200).decode(errors="replace"))

        threading.Thread(target=turn_away, daemon=True).start()
        yield Nowhere(f"http://127.0.0.1:{server.getsockname()[1]}", requests)
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def driver(tmp_path_factory, nowhere) -> Iterator[ForkDriver]:
    names = ["HF_ENDPOINT", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"]
    settings = {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path_factory.mktemp("home")), "NO_PROXY": "", "no_proxy": ""}
    driver = ForkDriver({**dict.fromkeys(names, nowhere.url), **settings})
    yield driver
    driver.close()


def settings_of(case: str) -> tuple[str, dict]:
    kind, settings = CASES[case]
    return kind, {"save_steps": 1, "save_total_limit": 2, "learning_rate": 1e-3, **settings}


def run(driver: ForkDriver, kind: str, argv: list[str], log: Path) -> None:
    assert driver.start(kind, argv, log).wait() == 0, log.read_text()[-3000:]


@pytest.mark.parametrize(("case", "num_kills", "seed"), [("sft", 6, 1), ("grpo", 6, 2), ("grpo_reuse", 8, 3)])
def test_killed_training_ends_with_the_same_weights(driver, tiny, tmp_path, case, num_kills, seed):
    kind, settings = settings_of(case)
    reference = tmp_path / "reference"
    started = time.monotonic()
    run(driver, kind, tiny.argv(kind, reference, **settings), tmp_path / "reference.log")
    duration_s = time.monotonic() - started

    chance = random.Random(seed)
    landed: list[str] = []
    while not is_enough(landed, num_kills):
        output, log = tmp_path / f"killed-{len(landed)}", tmp_path / f"killed-{len(landed)}.log"
        argv = tiny.argv(kind, output, **settings)
        while not is_enough(landed, num_kills):
            before = time.time()
            training = driver.start(kind, argv, log)
            moment = moment_inside_a_save(output, training) if len(landed) % 2 else moment_after(chance, duration_s)
            if not training.kill_when(moment):
                break  # it was done first: this course is compared, and another one started
            landed.append(where_it_was(output, before))
        run(driver, kind, argv, log)
        assert_same_course(reference, output)
        shutil.rmtree(output)
    print(f"{case}: {duration_s:.1f} s undisturbed; killed {landed}")
    assert landed.count("inside a save") >= 2, landed


def test_checkpoints_of_a_run_that_was_killed_behind_its_last_save_are_deleted(driver, tiny, tmp_path):
    kind, settings = settings_of("sft")
    output, log = tmp_path / "output", tmp_path / "log"
    argv = tiny.argv(kind, output, **settings)
    run(driver, kind, argv, log)
    kept = list_checkpoints(output)
    (output / MANIFEST_NAME).unlink()
    shutil.copytree(kept[0], output / "checkpoint-1")
    (output / "checkpoint-2").mkdir()  # the deletion of another was cut short
    run(driver, kind, argv, log)
    assert len(kept) == 2 and list_checkpoints(output) == kept


def is_enough(landed: list[str], num_kills: int) -> bool:
    """Whether no more kills are needed: on a busy machine a kill comes after the save that it was meant for."""
    return len(landed) >= num_kills and (landed.count("inside a save") >= 2 or len(landed) >= 5 * num_kills)


def moment_after(chance: random.Random, duration_s: float) -> Callable[[], bool]:
    deadline = time.monotonic() + chance.uniform(0.1, 0.9) * duration_s
    return lambda: time.monotonic() >= deadline


def moment_inside_a_save(output: Path, training: Run) -> Callable[[], bool]:
    """Return a predicate that is true once the training is stopped while a checkpoint that is new is being written.

    A save may be over between a look and a signal: stopped, the training stays where it was seen, or goes on to the
    next save.
    """
    before = {path.name for path in list_checkpoints(output)}

    def is_inside() -> bool:
        return any(
            path.name not in before and not (path / MANIFEST_NAME).exists() for path in list_checkpoints(output)
        )

    def is_stopped_inside() -> bool:
        if not is_inside():
            return False
        os.kill(training.pid, signal.SIGSTOP)
        wait_until(training.stands_still)
        is_inside_still = is_inside()
        if not is_inside_still:
            os.kill(training.pid, signal.SIGCONT)
        return is_inside_still

    return is_stopped_inside


def where_it_was(output: Path, started: float) -> str:
    if (output / STAGING_NAME).exists():
        return "inside the publishing of the model"
    for checkpoint in list_checkpoints(output):
        is_written_now = any(path.stat().st_mtime >= started for path in [checkpoint, *checkpoint.iterdir()])
        if is_written_now and missing_from(checkpoint) is not None:
            return "inside a save"
    return "elsewhere"


def assert_same_course(reference: Path, output: Path) -> None:
    assert are_identical(weights_of(reference), weights_of(output))
    assert missing_from(output) is None
    assert losses_of(reference) == losses_of(output)
    assert [path.name for path in list_checkpoints(output)] == [path.name for path in list_checkpoints(reference)]
    assert rollouts_of(output) == rollouts_of(reference)


def losses_of(output: Path) -> list[tuple[int, float]]:
    return [(entry["step"], entry["loss"]) for entry in log_history(output) if "loss" in entry]


def rollouts_of(output: Path) -> dict[str, list[str]]:
    """Return the texts of every recorded batch, by file."""
    files = sorted((output / "rollouts").glob("*.parquet"))
    return {path.name: pd.read_parquet(path)["completion"].tolist() for path in files}


def test_kill_while_the_model_is_published_leaves_no_model_that_looks_whole(driver, tiny, tmp_path):
    settings = {"max_steps": 2, "learning_rate": 1e-3}
    run(driver, "sft", tiny.argv("sft", tmp_path / "reference", **settings), tmp_path / "reference.log")
    for attempt in range(20):
        output, log = tmp_path / f"killed-{attempt}", tmp_path / f"killed-{attempt}.log"
        argv = tiny.argv("sft", output, **settings)
        was_killed = driver.start("sft", argv, log).kill_when((output / STAGING_NAME).exists)
        if was_killed and missing_from(output) is not None:
            break
    else:
        pytest.fail("Publishing was over before each of twenty kills.")

    next_log = tmp_path / "next.log"
    next_stage = tiny.argv("sft", tmp_path / "next", model_name_or_path=output)
    assert driver.start("sft", next_stage, next_log).wait() == 1
    assert "is incomplete" in next_log.read_text()

    run(driver, "sft", argv, log)
    assert are_identical(weights_of(tmp_path / "reference"), weights_of(output))
    assert missing_from(output) is None
    assert not (output / STAGING_NAME).exists()


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk], check=False)
    if mounted.returncode != 0:
        # The same with a limit on the size of files is tested everywhere.
        (pytest.fail if "CI" in os.environ else pytest.skip)("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_full_disk_ends_with_a_message_and_the_same_command_goes_on(driver, tiny, tmp_path, small_disk):
    settings = {"max_steps": 8, "save_steps": 1, "learning_rate": 1e-3}
    run(driver, "sft", tiny.argv("sft", tmp_path / "reference", **settings), tmp_path / "reference.log")
    argv, log = tiny.argv("sft", small_disk / "output", **settings), tmp_path / "log"

    assert driver.start("sft", argv, log).wait() == 1
    said = log.read_text()
    assert "could not be saved" in said
    assert re.search(r" [0-2] MB are free on that disk", said)
    last = list_checkpoints(small_disk / "output")[-1]
    assert missing_from(last) is not None

    subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    run(driver, "sft", argv, log)
    assert f"Skipping {last}" in log.read_text()
    assert are_identical(weights_of(tmp_path / "reference"), weights_of(small_disk / "output"))


@pytest.mark.parametrize("save_strategy", ["steps", "no"])
def test_file_that_cannot_be_written_ends_with_a_message(driver, tiny, tmp_path, save_strategy):
    settings = {"max_steps": 2, "learning_rate": 1e-3, "save_strategy": save_strategy}
    argv, log = tiny.argv("sft", tmp_path / "output", **settings), tmp_path / "log"

    assert driver.start("sft", argv, log, file_limit=200_000).wait() == 1
    last_line = log.read_text().strip().splitlines()[-1]
    assert "could not be saved" in last_line
    assert "the same command resumes" in last_line
    assert missing_from(tmp_path / "output") is not None

    run(driver, "sft", argv, log)
    assert missing_from(tmp_path / "output") is None


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_nothing_connects_to_the_network(driver, tiny, tmp_path, nowhere, kind):
    run(driver, kind, tiny.argv(kind, tmp_path / "output", do_eval=True), tmp_path / "log")
    assert nowhere.requests == []
