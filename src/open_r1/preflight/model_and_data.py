# SPDX-License-Identifier: Apache-2.0
"""Checks of model and data: what a training could not learn from, or should not."""

import logging
import re
from typing import Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from trl import ModelConfig

from open_r1.configs.training import (
    DistillConfig,
    GRPOConfig,
    ScriptArguments,
    SFTConfig,
    TrainingConfig,
    TrainingScriptArguments,
)
from open_r1.data.sources import flag_columns
from open_r1.evaluation.training import PolicyEvaluation, load_eval_benchmarks
from open_r1.models import (
    dtype_asked_for,
    find_model,
    get_tokenizer,
    load_config,
    refuse_frozen_tokens,
    refuse_lost_steps,
)
from open_r1.preflight.eval_benchmarks import check_eval_benchmarks

logger = logging.getLogger(__name__)


def check_model(
    script_args: TrainingScriptArguments, training_args: TrainingConfig, model_args: ModelConfig
) -> tuple[PreTrainedTokenizerBase, PolicyEvaluation | None]:
    """Refuse a model that couldn't learn or answer `eval_benchmarks`; return its tokenizer and the benchmarks.

    Raises:
        ValueError: See the message.
    """
    check_weight_dtype(training_args, model_args)
    tokenizer = get_tokenizer(model_args, training_args)
    check_vocabulary(tokenizer, training_args, model_args)
    benchmarks = load_eval_benchmarks(script_args, training_args, tokenizer)
    check_eval_benchmarks(benchmarks, training_args, model_args)
    return tokenizer, benchmarks


def check_weight_dtype(training_args: TrainingConfig, model_args: ModelConfig) -> None:
    """Refuse a training that would lose most of its steps (`refuse_lost_steps`).

    Where neither the arguments nor the model's config say the dtype, `get_model` looks at the weights.

    Raises:
        ValueError: See above.
    """
    dtype = dtype_asked_for(training_args, model_args) or load_config(training_args, model_args).dtype
    if dtype is not None:
        refuse_lost_steps(dtype, training_args, model_args)


def check_vocabulary(
    tokenizer: PreTrainedTokenizerBase, training_args: TrainingConfig, model_args: ModelConfig
) -> None:
    """Refuse tokens that are new to the model where they could not be learned, or not be compared.

    The policy's embedding grows with the tokenizer (`fit_embeddings`). LoRA freezes it, and TRL loads the reference
    of a KL penalty as it was, as vLLM does the model that generates.

    Raises:
        ValueError: See above.
    """
    rows = load_config(training_args, model_args).get_text_config().to_dict().get("vocab_size")
    if rows is None or len(tokenizer) <= rows:
        return
    found = f"The chat template brings tokens that the model does not know yet ({len(tokenizer)} tokens, {rows} rows)"
    if not isinstance(training_args, SFTConfig) and training_args.use_vllm:
        raise ValueError(
            f"{found}, and neither does vLLM, whose embedding doesn't grow. Take a chat template whose tokens the "
            "model knows, run SFT with this template first and train what it saves, or set `use_vllm: false`."
        )
    refuse_frozen_tokens(model_args, found)
    if isinstance(training_args, GRPOConfig) and training_args.beta != 0 and not model_args.use_peft:
        raise ValueError(
            f"{found}, and `beta: {training_args.beta}` compares with a reference model that does not know them "
            "either. Run SFT with this template first, or set `beta: 0`."
        )


def check_teacher(tokenizer: PreTrainedTokenizerBase, training_args: DistillConfig) -> None:
    """Refuse a teacher whose tokens aren't those of the student: what it says of them would mean nothing.

    Raises:
        ValueError: See above.
    """
    name = find_model(training_args.teacher_model_name_or_path)
    options = {
        "revision": training_args.teacher_model_revision,
        "trust_remote_code": training_args.trust_remote_code,
    }
    known = AutoTokenizer.from_pretrained(name, **options).get_vocab()
    differing = [token for token, number in tokenizer.get_vocab().items() if known.get(token) != number]
    if differing:
        raise ValueError(
            f"The teacher {name} and the student have different tokens: {len(differing)}, such as {differing[0]!r}. "
            "Distillation compares distributions over the same tokens: take a teacher of the student's family."
        )


def empty_model(training_args: TrainingConfig, model_args: ModelConfig) -> PreTrainedModel:
    """Return a model on the meta device, where it takes no memory.

    Raises:
        ValueError: transformers has no such architecture (its code comes with the model).
    """
    config = load_config(training_args, model_args)
    # NOTE: not `from_config`, which would split the model among the processes under ZeRO-3.
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if model_class is None:
        raise ValueError(f"transformers has no causal language model of the type {config.model_type!r}.")
    with torch.device("meta"):
        return model_class(config if isinstance(config, model_class.config_class) else config.get_text_config())


def check_lora_targets(model: PreTrainedModel, model_args: ModelConfig) -> None:
    """Refuse modules of LoRA that the model doesn't have: PEFT passes over one that matches nothing beside others.

    Raises:
        ValueError: See above.
    """
    targets, saved = model_args.lora_target_modules, model_args.lora_modules_to_save or []
    modules = dict(model.named_modules())
    # TRL makes text of a list of one, which PEFT takes for a pattern of whole names.
    patterns = [targets] if isinstance(targets, str) and targets != "all-linear" else []
    names = [*(targets or []), *saved] if isinstance(targets, list) else saved
    missing = [name for name in names if not any(f".{module}".endswith(f".{name}") for module in modules)]
    missing += [pattern for pattern in patterns if not any(re.fullmatch(pattern, module) for module in modules)]
    if missing:
        kinds = {name.rpartition(".")[2] for name, module in modules.items() if hasattr(module, "weight")}
        advice = f" A single one is a pattern: write '.*{missing[0]}'." if patterns else ""
        raise ValueError(
            f"`lora_target_modules` or `lora_modules_to_save` name {missing}, which {model_args.model_name_or_path} "
            f"doesn't have. Its modules: {sorted(kinds)}.{advice}"
        )


def check_num_prompts(dataset: Dataset, training_args: GRPOConfig | DistillConfig) -> None:
    """Refuse fewer prompts than one generation takes: TRL drops incomplete batches, so nothing would be trained.

    Raises:
        ValueError: There are fewer.
    """
    args = training_args
    batch, how = args.per_device_train_batch_size * args.world_size * args.gradient_accumulation_steps, ""
    if isinstance(args, GRPOConfig):
        batch = (args.generation_batch_size or 0) // (args.num_generations or 1)
        how = f" (generation_batch_size {args.generation_batch_size} / num_generations {args.num_generations})"
    if len(dataset) < batch:
        raise ValueError(
            f"The training split has {len(dataset)} prompts, but one generation takes {batch}{how}, so nothing would "
            "be trained. Lower `per_device_train_batch_size` or `gradient_accumulation_steps`, or give more."
        )


def warn_of_contaminated(dataset: DatasetDict, args: ScriptArguments) -> None:
    """Warn when the training split has rows that are flagged as contaminated.

    Args:
        dataset: What `get_dataset` gave.
        args: Which split is trained on.
    """
    rows = dataset.get(args.dataset_train_split)
    flags = [] if rows is None else flag_columns(rows.features.arrow_schema)
    if rows is None or not flags:
        return
    table = rows.select_columns(flags).with_format("arrow")[:]
    count = int(np.any([column.fill_null(False).to_numpy() for column in table.columns], axis=0).sum())
    if count:
        logger.warning(
            "%d of %d rows of split %r (%s) share text with a benchmark. Take them out by scripts/decontaminate.py "
            "--cleanup or scripts/curate.py; benchmarks mean nothing otherwise.",
            count,
            len(rows),
            args.dataset_train_split,
            ", ".join(flags),
        )
