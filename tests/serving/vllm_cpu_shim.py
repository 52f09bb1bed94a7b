# SPDX-License-Identifier: Apache-2.0
"""Run a training script with a colocated vLLM on a CPU, and record what vLLM knows of the policy's weights.

    python tests/serving/vllm_cpu_shim.py RECORD TEXT src/open_r1/grpo.py ARGUMENT...

For tests only, since it reaches into vLLM and TRL:

1. On a CPU vLLM packs the weights of its linear layers when it loads a model, and computes with the packed copy:
   weights that are loaded later are refused or have no effect. Here the layers compute with the weights themselves,
   as on a GPU.
2. Around each weight sync, the log-probabilities of the tokens of TEXT are taken from vLLM and from the policy, and
   appended to RECORD as one JSON line: {"before": [float], "after": [float], "policy": [float]}.
3. vLLM compiles nothing, which would take a minute.
"""

import json
import runpy
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch


def keep_weights_in_place() -> None:
    """Let linear layers of vLLM on a CPU compute with `layer.weight`, whatever is loaded into it later."""
    from vllm.model_executor.layers import utils

    def compute_with_weight(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = compute_with_weight


def record_syncs(path: Path, text: str) -> None:
    """Append to `path` what vLLM and the policy say about `text` at every weight sync."""
    from trl.generation.vllm_generation import VLLMGeneration

    sync_weights = VLLMGeneration.sync_weights

    def recorded(generation: VLLMGeneration) -> None:
        ids = generation.processing_class(text)["input_ids"]
        before = logprobs_of_vllm(generation.llm, ids)
        sync_weights(generation)
        entry = {
            "before": before,
            "after": logprobs_of_vllm(generation.llm, ids),
            "policy": logprobs_of_policy(generation.model, ids),
        }
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    VLLMGeneration.sync_weights = recorded


def compile_nothing() -> None:
    """Let TRL start vLLM in eager mode."""
    import vllm
    from trl.generation import vllm_generation

    vllm_generation.LLM = partial(vllm.LLM, enforce_eager=True)


def logprobs_of_vllm(llm: Any, ids: list[int]) -> list[float]:
    """Return the log-probability of every token but the first."""
    from vllm import SamplingParams

    sampling = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
    (output,) = llm.generate([{"prompt_token_ids": ids}], sampling, use_tqdm=False)
    return [table[token].logprob for token, table in zip(ids[1:], output.prompt_logprobs[1:], strict=True)]


def logprobs_of_policy(model: torch.nn.Module, ids: list[int]) -> list[float]:
    """Return the same as the model that is trained says it, without the dropout of LoRA."""
    is_training = model.training
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].float()
    model.train(is_training)
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()


if __name__ == "__main__":
    record, text, script, *words = sys.argv[1:]
    keep_weights_in_place()
    compile_nothing()
    record_syncs(Path(record), text)
    sys.argv = [script, *words]
    runpy.run_path(script, run_name="__main__")
