# SPDX-License-Identifier: Apache-2.0
"""A training that stalls says where, and ends so that a job is queued again."""

import json
import os
import subprocess
import sys

from open_r1.training.stopping import STOP_FILE_VARIABLE, answer_path
from tests.integration.tiny import build_tiny

STALL = """
import time
from transformers import TrainerCallback

class Stall(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 2:
            wait_for_the_others()

def wait_for_the_others():
    time.sleep(300)
"""


def test_stalled_training_prints_its_stacks_and_has_its_job_queued_again(tmp_path):
    tiny = build_tiny(tmp_path / "tiny")
    (tmp_path / "stall.py").write_text(STALL)
    words = tiny.argv("sft", tmp_path / "run", callbacks=f"{tmp_path}/stall.py:Stall", stall_timeout_s=8)
    run = subprocess.run(
        [sys.executable, "src/open_r1/sft.py", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, STOP_FILE_VARIABLE: str(tmp_path / "stop")},
    )
    assert run.returncode == 75, run.stderr
    assert "stall_timeout_s" in run.stderr
    assert "in wait_for_the_others" in run.stderr
    assert json.loads(answer_path(tmp_path / "stop").read_text()) == {"step": 2, "stalled_s": 8.0}
