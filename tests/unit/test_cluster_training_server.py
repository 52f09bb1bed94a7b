# SPDX-License-Identifier: Apache-2.0
"""Words of --vllm-args: they come last and would win, so those that the job gives are refused, however spelled."""

import re

import pytest

from open_r1.cluster.training_server import read_server_words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--port 9", "--port in --vllm-args is set by --port"),
        ("--tensor_parallel_size=2", "is set by --tp"),
        ("--tensor-par 2", "--tensor-par in --vllm-args is set by --tp"),
        ("--seed 1 -tp 2", "-tp in --vllm-args is set by --tp"),
        ("--seed 1 -dpl2", "-dpl2 in --vllm-args is set by --dp"),
        ("--max-num-seqs 4 --host 0.0.0.0", "is set by the job itself"),
        ("--rev abc", "is set by --args"),
        ("--model foo", "is set by --args"),
        ("--uds /tmp/socket", "is set by --port"),
        ("--logprobs-mode raw_logprobs", "is set by the job itself"),
        ("--max-logprobs 5", "is set by the job itself"),
        ("--weight-transfer-config.backend ipc", "is set by the job itself"),
        ("--api-key x", "the trainer sends no key"),
        ("--root-path /x", "--root-path can't stand in --vllm-args: servers are asked without a path"),
        ("more", "'more' belongs to no argument"),
        ("--a 'b", "not split into words"),
    ],
)
def test_words_that_the_job_gives_or_no_server_can_have_are_refused(words, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        read_server_words(words)


@pytest.mark.parametrize("words", ["--enforce-eager --seed 1 -O3", "--model-impl vllm --dp-sync-interval 2", ""])
def test_other_words_are_for_vllm(words):
    assert read_server_words(words) == tuple(words.split())
