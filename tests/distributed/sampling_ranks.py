# SPDX-License-Identifier: Apache-2.0
"""What each of two processes does that hold a half of a model's weights: samples requests of its own.

Writes its answers as JSON into the folder given behind that of the model, one file a rank.
"""

import json
import sys
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM, AutoTokenizer

from open_r1.generation.messages import Request, Sampling
from open_r1.generation.transformers_here import Sampler

MAX_TOKENS = [[3, 40, 7], [9]]  # of the requests of each rank: other batches, other lengths


def requests_of(rank: int, tokenizer) -> list[Request]:
    prompts = [tokenizer(f"{rank}+{number}")["input_ids"] for number in range(len(MAX_TOKENS[rank]))]
    return [
        Request("", 0, prompt_ids=prompt, sampling=Sampling(max_tokens=limit, seed=0, extra_body={"ignore_eos": True}))
        for prompt, limit in zip(prompts, MAX_TOKENS[rank], strict=True)
    ]


if __name__ == "__main__":
    folder, output = map(Path, sys.argv[1:3])
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    mesh = distributed.device_mesh.init_device_mesh("cpu", (2,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    answers = Sampler(model, tokenizer, max_batch_size=2).sample(requests_of(rank, tokenizer))
    (output / f"{rank}.json").write_text(json.dumps([answer.token_ids for answer in answers]), encoding="utf-8")
    distributed.destroy_process_group()
