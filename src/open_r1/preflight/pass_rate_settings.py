# SPDX-License-Identifier: Apache-2.0
"""What a pass-rate run depends on: settings that decide completions and rewards, and the source of its rows."""

import hashlib
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase
from trl import ModelConfig

from open_r1.configs import GRPOConfig, GRPOScriptArguments
from open_r1.configs.rewards import CodeExecutionParameters, RewardParameters
from open_r1.data.card import Parent
from open_r1.data.sources import open_source
from open_r1.rewards import RewardContext

SAMPLING_SETTINGS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_completion_length", "seed")
# What completions depend on, and rewards besides: names in a card.
ASKED_SETTINGS = (
    "model",
    "model_revision",
    "chat_template_sha256",
    "chat_template_kwargs",
    "system_prompt",
    "dataset_layout",
    "prompt_column",
    "source",
    *SAMPLING_SETTINGS,
    "generation_kwargs",
)
JUDGED_SETTINGS = ("reward_funcs", "reward_files", "reward_parameters", "solution_column", "completion_prefix")
# Where and how fast programs run; their verdicts don't depend on it.
_ELSEWHERE = {
    "sandbox_router_url",
    "e2b_router_url",
    "morph_router_url",
    "sandbox_router_token_env",
    "sandbox_patience_s",
    "parallel_code_exec_per_proc",
}


def asked_settings(
    script_args: GRPOScriptArguments,
    training_args: GRPOConfig,
    model_args: ModelConfig,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """Return what completions depend on, besides the source's rows."""
    template = hashlib.sha256(str(tokenizer.chat_template).encode()).hexdigest()[:16]
    return {
        "model": model_args.model_name_or_path,
        "model_revision": model_args.model_revision,
        "chat_template_sha256": template,
        "system_prompt": training_args.system_prompt,
        "dataset_layout": script_args.dataset_layout,
        "prompt_column": script_args.dataset_prompt_column,
        **{name: vars(training_args)[name] for name in SAMPLING_SETTINGS},
        "generation_kwargs": training_args.generation_kwargs or None,
        "chat_template_kwargs": training_args.chat_template_kwargs or None,
    }


def judged_settings(script_args: GRPOScriptArguments, context: RewardContext) -> dict[str, Any]:
    """Return what the rewards' values depend on, besides rows and completions."""
    kinds = (RewardParameters, CodeExecutionParameters)
    names = [entry.name for kind in kinds for entry in fields(kind) if entry.name not in _ELSEWHERE]
    files = {}
    for name in script_args.reward_funcs:
        path = Path(name.removeprefix("summary_only(").rpartition(":")[0])
        if path.suffix == ".py" and path.is_file():
            files[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return {
        "reward_funcs": script_args.reward_funcs,
        "reward_files": files,
        "reward_parameters": {name: vars(script_args)[name] for name in names},
        "solution_column": script_args.dataset_solution_column,
        "completion_prefix": context.completion_prefix,
    }


def parents_of(script_args: GRPOScriptArguments) -> list[Parent]:
    """Return where the rows come from, with fingerprints of what is there now."""
    mixture: Any = script_args.dataset_mixture
    if mixture is None:
        sources = [
            (
                script_args.dataset_name,
                script_args.dataset_config,
                script_args.dataset_train_split,
                script_args.dataset_revision,
            )
        ]
    else:
        sources = [(entry.id, entry.config, entry.split, entry.revision) for entry in mixture.datasets]
    parents = []
    for name, config, split, revision in sources:
        source = open_source(
            str(name), config=config, split=str(split), revision=revision, seed=script_args.dataset_seed
        )
        parents.append(source.parent())
    if mixture is not None:  # weights and seed decide which rows are taken, and their order
        text = hashlib.sha256(repr(asdict(mixture)).encode()).hexdigest()[:16]
        parents = [replace(parent, fingerprint=f"{parent.fingerprint}-{text}") for parent in parents]
    return parents
