# SPDX-License-Identifier: Apache-2.0
"""Sampling by processes that hold parts of the weights: each has requests of its own, in other numbers and lengths."""

import json

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from open_r1.generation.transformers_here import Sampler
from tests.distributed.launching import launch_forked
from tests.distributed.sampling_ranks import requests_of
from tests.integration.tiny import build_tiny

pytestmark = pytest.mark.distributed


def test_processes_that_share_the_weights_answer_as_one_that_has_them_all(tmp_path):
    folder = build_tiny(tmp_path).model
    script = ("tests/distributed/sampling_ranks.py", str(folder), str(tmp_path))
    ended = launch_forked(["--standalone", "--nproc_per_node", "2", *script], launcher="torchrun")
    assert ended.exit_code == 0, ended.output
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sampler = Sampler(AutoModelForCausalLM.from_pretrained(folder), tokenizer, 4)
    for rank in range(2):
        expected = [answer.token_ids for answer in sampler.sample(requests_of(rank, tokenizer))]
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected
