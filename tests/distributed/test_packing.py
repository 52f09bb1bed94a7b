# SPDX-License-Identifier: Apache-2.0
"""Two processes pack rows, each its own, and split micro-batches by tokens: the optimizer steps are those of TRL."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.distributed.launching import NEEDS_DEEPSPEED, ON_CPU, launch_forked, launch_words
from tests.integration.tiny import build_tiny

pytestmark = pytest.mark.distributed


@pytest.mark.parametrize(
    "config", ["ddp", *(pytest.param(name, marks=NEEDS_DEEPSPEED) for name in ("zero2", "zero3"))]
)
def test_optimizer_steps_equal_those_of_trl(config, tmp_path):
    model = build_tiny(tmp_path, hidden_size=16).model
    variables, _ = ON_CPU[config]
    flags = ["use_cpu"] if config == "ddp" else []
    for kind in ("bare", "own"):
        arguments = ("tests/distributed/given_training.py", kind, model, tmp_path / kind, *flags)
        words = launch_words(config, *arguments, options=["--num_processes", "2"])
        ended = launch_forked(words, **variables)
        assert ended.exit_code == 0, ended.output[-6000:]
    start = dict(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).named_parameters())
    for step in (1, 2):
        bare, own = (
            torch.load(tmp_path / kind / "parameters" / f"{step}-0.pt", weights_only=True)["parameters"]
            for kind in ("bare", "own")
        )
        moved, apart = ([torch.norm(bare[name] - other[name]) for name in bare] for other in (start, own))
        assert 0 < torch.stack(apart).norm() < 1e-4 * torch.stack(moved).norm()
        start = bare
