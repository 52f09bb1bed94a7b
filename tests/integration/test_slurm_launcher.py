# SPDX-License-Identifier: Apache-2.0
"""The launcher of a training on one node, when Slurm sends SIGTERM to every process of the job."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120
# A rank that takes its time to save once it is told to end, as the trainer does.
RANK = """
import os, pathlib, signal, sys, time
folder, rank = pathlib.Path(sys.argv[1]), os.environ.get("RANK", "0")
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
begun = folder / f"begun-{rank}.tmp"
begun.write_text(str(os.getpid()))
begun.rename(folder / f"begun-{rank}")
while not told:
    time.sleep(0.02)
(folder / f"told-{rank}").touch()
while not (folder / "go on").exists():
    time.sleep(0.02)
(folder / f"saved-{rank}").touch()
"""


def wait_for(*paths: Path) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not all(path.exists() for path in paths):
        assert time.monotonic() < end, f"not there: {[str(path) for path in paths if not path.exists()]}"
        time.sleep(0.05)


@pytest.mark.parametrize(("accelerator", "count"), [("cpu", 1), ("ddp", 2)])
def test_ranks_are_left_to_save_when_all_processes_are_told_to_end(tmp_path, accelerator, count):
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    config = ROOT / "recipes" / "accelerate_configs" / f"{accelerator}.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config, "--num_machines", "1",
              "--num_processes", str(count), "--main_process_port", "0", "--mixed_precision", "no",
              "--max_restarts", "0", script, tmp_path]  # fmt: skip
    variables = {
        **os.environ,
        "OPEN_R1_STOP_FILE": str(tmp_path / "stop"),
        "PET_SIGNALS_TO_HANDLE": "SIGINT,SIGHUP,SIGQUIT",  # as slurm/train.slurm says
        "CUDA_VISIBLE_DEVICES": "",
    }
    launcher = subprocess.Popen(
        [ROOT / "slurm" / "on_node.sh", *launch],
        env=variables,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        ranks = range(count)
        wait_for(*(tmp_path / f"begun-{rank}" for rank in ranks))
        os.killpg(launcher.pid, signal.SIGTERM)
        for rank in ranks:  # a launcher of several puts each into a session of its own
            os.kill(int((tmp_path / f"begun-{rank}").read_text()), signal.SIGTERM)
        wait_for(*(tmp_path / f"told-{rank}" for rank in ranks))
        assert launcher.poll() is None
        (tmp_path / "go on").touch()
        output, _ = launcher.communicate(timeout=TIMEOUT_S)
        assert launcher.returncode == 0, output
        assert all((tmp_path / f"saved-{rank}").exists() for rank in ranks)
    finally:
        if launcher.poll() is None:
            os.killpg(launcher.pid, signal.SIGKILL)
