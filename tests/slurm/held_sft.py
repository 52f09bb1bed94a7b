# SPDX-License-Identifier: Apache-2.0
"""`sft.py` that waits in chosen steps, so that a test can do something to it there.

`HELD_AT="3,7"`: in the first attempt of the job it waits in step 3, in the second in step 7, until the stop file is
there.
"""

import os
import time
from pathlib import Path

from transformers import TrainerCallback

from open_r1 import sft
from open_r1.arguments import parse_args
from open_r1.configs import SFTConfig, SFTScriptArguments
from open_r1.training.callbacks import CALLBACKS


class Hold(TrainerCallback):
    """Waits in a step."""

    def __init__(self):
        attempt = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        steps = [int(word) for word in os.environ.get("HELD_AT", "").split(",") if word]
        self.step = steps[attempt] if attempt < len(steps) else None
        self.stop_file = Path(os.environ["OPEN_R1_STOP_FILE"])

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step + 1 != self.step or not state.is_world_process_zero:
            return
        print(f"held in step {self.step} as process {os.getpid()}", flush=True)
        while not self.stop_file.exists():
            time.sleep(0.05)


if __name__ == "__main__":
    CALLBACKS["hold"] = Hold
    sft.main(*parse_args(SFTScriptArguments, SFTConfig))
