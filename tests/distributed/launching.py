# SPDX-License-Identifier: Apache-2.0
"""Trainings by `accelerate launch` with a config of the repository, two CPU processes at most.

A launch takes 25 s, nearly all of it for imports in three processes. So only a few are started as a user does; the
others are forked from one process that has imported everything (`forked_launch.py`).
"""

import contextlib
import functools
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from open_r1.generation.servers import free_port
from tests.integration.fork_driver import ForkDriver

ROOT = Path(__file__).resolve().parents[2]
ACCELERATE = Path(sys.executable).parent / "accelerate"
PYTHONPATH = f"{ROOT / 'src'}:{ROOT}"
TIMEOUT_S = 1200
NEEDS_DEEPSPEED = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="needs the extra deepspeed: make test_distributed"
)
# What each config needs to run without a GPU: environment, and arguments of the script.
ON_CPU = {
    "cpu": ({}, ["--use_cpu", "true"]),
    "ddp": ({}, ["--use_cpu", "true"]),
    "zero2": ({"DS_ACCELERATOR": "cpu"}, ["--ddp_backend", "gloo"]),
    "zero3": ({"DS_ACCELERATOR": "cpu"}, ["--ddp_backend", "gloo"]),
}


@dataclass(frozen=True)
class Ended:
    """What is left of a launch: exit status (negative: killed by that signal) and all that it printed."""

    exit_code: int
    output: str


@functools.cache
def driver() -> ForkDriver:
    """The process that has imported everything; `conftest.py` ends it."""
    modules = ["open_r1.grpo", "open_r1.sft", "accelerate.commands.launch", "torch.distributed.run"]
    has_deepspeed = importlib.util.find_spec("deepspeed") is not None
    variables = {"DS_ACCELERATOR": "cpu", "PYTHONPATH": PYTHONPATH}
    return ForkDriver(variables, [*modules, *(["deepspeed"] if has_deepspeed else [])])


def launch_words(config: str, script: str, *arguments: object, options: Sequence[str] = ()) -> list[str]:
    """Return what stands behind `accelerate launch` to run a script in fp32; `options` are the launcher's own.

    Args:
        config: Name of a config in `recipes/accelerate_configs`.
        script: Path of the script, from the root of the repository.
        *arguments: Of the script.
        options: Of the launcher.
    """
    own = ["--config_file", f"recipes/accelerate_configs/{config}.yaml", "--mixed_precision", "no"]
    port = ["--main_process_port", free_port()]
    return [str(word) for word in (*own, *port, *options, script, *arguments)]


def train(
    config: str,
    script: str,
    recipe: Path,
    output_dir: Path,
    *arguments: object,
    kill_when: Callable[[], bool] | None = None,
    env: Mapping[str, str] | None = None,
    is_forked: bool = True,
) -> Ended:
    """Trains with two processes (`cpu`: one) and asserts that it ends well, or that it was killed in time."""
    variables, needed = ON_CPU[config]
    words = launch_words(
        *(config, script, "--config", recipe, "--output_dir", output_dir, *needed, *arguments),
        options=["--num_processes", "1" if config == "cpu" else "2"],
    )
    start = launch_forked if is_forked else launch
    ended = start(words, kill_when=kill_when, **variables, **(env or {}))
    expected = 0 if kill_when is None else -signal.SIGKILL
    assert ended.exit_code == expected, f"{' '.join(words)} ended with {ended.exit_code}:\n{ended.output[-6000:]}"
    return ended


def launch(words: Sequence[str], *, kill_when: Callable[[], bool] | None = None, **variables: str) -> Ended:
    """Runs `accelerate launch` to its end, or kills all its processes as soon as `kill_when` is true.

    Raises:
        TimeoutError: It still runs after `TIMEOUT_S`; it is killed first.
    """
    with tempfile.TemporaryFile() as stream:
        command, env = [ACCELERATE, "launch", *words], environment(variables)
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=stream, stderr=stream)
        await_end(words, process.pid, lambda: process.poll() is not None, kill_when)
        process.wait()
        stream.seek(0)
        return Ended(process.returncode, stream.read().decode(errors="replace"))


def launch_forked(
    words: Sequence[str],
    *,
    launcher: str = "accelerate",
    kill_when: Callable[[], bool] | None = None,
    **variables: str,
) -> Ended:
    """Does the same without imports; `launcher` may be "torchrun"."""
    with tempfile.NamedTemporaryFile() as stream:
        argv = ["tests/distributed/forked_launch.py", launcher, *words]
        process = driver().start_program(argv, Path(stream.name), env=environment(variables))
        await_end(words, process.pid, process.has_ended, kill_when)
        return Ended(process.wait(), stream.read().decode(errors="replace"))


def await_end(
    words: Sequence[str], pid: int, has_ended: Callable[[], bool], kill_when: Callable[[], bool] | None
) -> None:
    """Waits until a process has ended, or kills it with all its descendants as soon as it is time."""
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while not has_ended() and not (kill_when is not None and kill_when()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"still running after {TIMEOUT_S} s: {' '.join(words)}")
            time.sleep(0.005)
    finally:
        if not has_ended():
            kill_tree(pid)


def kill_tree(pid: int) -> None:
    """Kills a process and all its descendants with SIGKILL, and waits for the latter."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    # Stopped first, so that the launcher cannot start, tidy up or report anything meanwhile.
    for send in (psutil.Process.suspend, psutil.Process.kill):
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                send(member)
    psutil.wait_procs(family[1:], timeout=30)


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of a user without GPUs and without a network, plus `variables`."""
    of_launchers = ("ACCELERATE_", "FSDP_", "WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_", "DS_ACCELERATOR")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(of_launchers)}
    fixed = {
        "CUDA_VISIBLE_DEVICES": "",  # the same tests on a machine that has GPUs
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": PYTHONPATH,
    }
    return {**clean, **fixed, **variables}
