# SPDX-License-Identifier: Apache-2.0
"""`grpo.py` with one more callback: every process writes down the parameters that it holds after each step.

For each step a process writes `parameters/<step>-<rank>.pt`: the hash of what it holds, and the parameters whole.
Under ZeRO-3 a process holds a part; the whole is gathered and every process hashes what it got.
"""

import hashlib
from contextlib import nullcontext
from pathlib import Path

import torch
from transformers import TrainerCallback

from open_r1 import grpo
from open_r1.configs import GRPOConfig, GRPOScriptArguments
from open_r1.training.callbacks import CALLBACKS
from open_r1.training.run import run_script


class RecordParameters(TrainerCallback):
    """Writes the parameters down after each optimizer step."""

    def on_step_end(self, args, state, control, *, model, **kwargs):
        parameters = dict(model.named_parameters())
        with whole(list(parameters.values())):
            copies = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        digest = hashlib.sha256()
        for name, copy in sorted(copies.items()):
            digest.update(name.encode() + copy.numpy().tobytes())
        folder = Path(args.output_dir) / "parameters"
        folder.mkdir(parents=True, exist_ok=True)
        record = {"hash": digest.hexdigest(), "parameters": copies}
        torch.save(record, folder / f"{state.global_step}-{args.process_index}.pt")


def whole(parameters):
    """Gathers parameters that ZeRO-3 has split; the others are whole already."""
    if not hasattr(parameters[0], "ds_id"):
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters(parameters)


if __name__ == "__main__":
    CALLBACKS["record_parameters"] = RecordParameters
    run_script(grpo.main, GRPOScriptArguments, GRPOConfig, __doc__)
