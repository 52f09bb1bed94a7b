# SPDX-License-Identifier: Apache-2.0
"""Starts trainings as a user does: `accelerate launch` with a config of the repository, two CPU processes at most."""

import contextlib
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

ROOT = Path(__file__).resolve().parents[2]
ACCELERATE = Path(sys.executable).parent / "accelerate"
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


def launch_command(config: str, script: str, *arguments: object, options: Sequence[str] = ()) -> list[str]:
    """Return the command line that runs a script in fp32; `options` are the launcher's own.

    Args:
        config: Name of a config in `recipes/accelerate_configs`, or the path of one.
        script: Path of the script, from the root of the repository.
        *arguments: Of the script.
        options: Of the launcher.
    """
    path = config if config.endswith(".yaml") else f"recipes/accelerate_configs/{config}.yaml"
    port = ["--main_process_port", free_port()]
    launcher = [ACCELERATE, "launch", "--config_file", path, "--mixed_precision", "no", *port]
    return [str(word) for word in (*launcher, *options, script, *arguments)]


def train(
    config: str,
    script: str,
    recipe: Path,
    output_dir: Path,
    *arguments: object,
    kill_when: Callable[[], bool] | None = None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Trains with two processes (`cpu`: one) and asserts that it ends well, or that it was killed in time."""
    variables, needed = ON_CPU[config]
    words = launch_command(
        *(config, script, "--config", recipe, "--output_dir", output_dir, *needed, *arguments),
        options=["--num_processes", "1" if config == "cpu" else "2"],
    )
    ended = run(words, kill_when=kill_when, **variables, **(env or {}))
    expected = 0 if kill_when is None else -signal.SIGKILL
    assert ended.exit_code == expected, f"{' '.join(words)} ended with {ended.exit_code}:\n{ended.output[-6000:]}"
    return ended


def run(words: Sequence[str], *, kill_when: Callable[[], bool] | None = None, **variables: str) -> Ended:
    """Runs a command to its end, or kills all its processes as soon as `kill_when` is true (asked every 5 ms).

    Raises:
        TimeoutError: It still runs after `TIMEOUT_S`; it is killed first.
    """
    deadline = time.monotonic() + TIMEOUT_S
    with tempfile.TemporaryFile() as stream:
        process = subprocess.Popen(words, cwd=ROOT, env=environment(variables), stdout=stream, stderr=stream)
        try:
            while process.poll() is None and time.monotonic() < deadline:
                if kill_when is not None and kill_when():
                    break
                time.sleep(0.005)
        finally:
            kill_tree(process)
        stream.seek(0)
        output = stream.read().decode(errors="replace")
    if time.monotonic() >= deadline:
        raise TimeoutError(f"still running after {TIMEOUT_S} s: {' '.join(words)}\n{output[-6000:]}")
    return Ended(process.returncode, output)


def kill_tree(process: subprocess.Popen) -> None:
    """Kills a process and all its descendants with SIGKILL, and waits for them; does nothing when it has ended."""
    if process.poll() is None:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        # Stopped first, so that the launcher cannot start, tidy up or report anything meanwhile.
        for send in (psutil.Process.suspend, psutil.Process.kill):
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    send(member)
        psutil.wait_procs(family[1:], timeout=30)
    process.wait()


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of a user without GPUs and without a network, plus `variables`."""
    of_launchers = ("ACCELERATE_", "FSDP_", "WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_", "DS_ACCELERATOR")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(of_launchers)}
    fixed = {
        "CUDA_VISIBLE_DEVICES": "",  # the same tests on a machine that has GPUs
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": str(ROOT / "src"),
    }
    return {**clean, **fixed, **variables}
