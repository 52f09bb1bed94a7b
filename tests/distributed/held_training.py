# SPDX-License-Identifier: Apache-2.0
"""`sft.py` or `grpo.py`, as HELD_SCRIPT says, that never begins the step HELD_BEFORE: it waits there to be killed."""

import os
import time

from transformers import TrainerCallback

from open_r1 import grpo, sft
from open_r1.arguments import parse_args
from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.training.callbacks import CALLBACKS


class Hold(TrainerCallback):
    """Waits before a step, in every process."""

    def __init__(self):
        self.step = int(os.environ.get("HELD_BEFORE", "0"))

    def on_step_begin(self, args, state, control, **kwargs):
        while state.global_step + 1 == self.step:
            time.sleep(0.05)


if __name__ == "__main__":
    CALLBACKS["hold"] = Hold
    if os.environ["HELD_SCRIPT"] == "sft":
        sft.main(*parse_args(SFTScriptArguments, SFTConfig))
    else:
        grpo.main(*parse_args(GRPOScriptArguments, GRPOConfig))
