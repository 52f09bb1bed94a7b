#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Merge a LoRA adapter into its base model, so that it loads everywhere as a plain model.

    python scripts/merge_lora.py --adapter data/run --output_dir data/merged

The base is the one that the adapter names. It is loaded unquantised, also for an adapter trained with QLoRA. Tokenizer
and chat template come from the adapter's folder. Before the result gets its name it is loaded again, and its logits on
one prompt are compared with those of base plus adapter. Runs on the CPU and needs no network for local folders; it
takes memory for one copy of the model.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, PeftType, TaskType
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerBase
from transformers.utils import GENERATION_CONFIG_NAME

from open_r1.manifest import STAGING_NAME
from open_r1.models import end_token_ids, find_model, fit_embeddings
from open_r1.training.checkpoints import publish

# Largest change of a logit, as a share of the largest logit, that rounding of the merged weights explains.
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
PROMPT = "What is the sum of 17 and 25? Explain each step."


def main(argv: list[str] | None = None) -> int:
    """Merge as the command line says; return the exit status."""
    args = build_parser().parse_args(argv)
    adapter, output_dir = Path(args.adapter).expanduser(), Path(args.output_dir).expanduser()
    try:
        base = find_base(adapter, args.base_model, trust_remote_code=args.trust_remote_code)
        if output_dir.exists() and any(output_dir.iterdir()) and not (output_dir / STAGING_NAME).exists():
            raise ValueError(f"--output_dir {output_dir} is not empty: choose a new folder or remove it.")
        merge(adapter, base, output_dir, getattr(torch, args.dtype) if args.dtype else None)
    except (ValueError, OSError) as error:
        print(f"merge_lora.py: {error}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description="Merge a LoRA adapter into its base model and save a plain model.")
    add = parser.add_argument
    add("--adapter", required=True, help="folder of the adapter: a finished run or a checkpoint")
    add("--output_dir", required=True, help="new folder for the merged model")
    add("--base_model", help="folder or hub name of the base; default: the one the adapter names")
    dtypes = ["bfloat16", "float16", "float32"]
    add("--dtype", choices=dtypes, help="of the merged weights; default: that of the base model")
    add("--trust_remote_code", action="store_true", help="run code that comes with the base model")
    return parser


def find_base(adapter: Path, override: str | None, *, trust_remote_code: bool) -> dict[str, Any]:
    """Return the arguments with which the base model loads: `override`, or what the adapter names.

    Raises:
        ValueError: The folder holds no finished LoRA adapter of a language model, or the base is not there, not
            whole, or stored quantised.
    """
    if not (adapter / "adapter_config.json").is_file():
        raise ValueError(
            f"{adapter} holds no adapter (no adapter_config.json). Fetch one from the hub with `hf download NAME "
            "--local-dir FOLDER`."
        )
    config = PeftConfig.from_pretrained(find_model(str(adapter)))
    if config.peft_type != PeftType.LORA or config.task_type not in (None, TaskType.CAUSAL_LM):
        raise ValueError(
            f"{adapter} is an adapter of type {config.peft_type} for {config.task_type}; only LoRA (with DoRA and "
            "rsLoRA) of causal language models can be merged here."
        )
    name = override or config.base_model_name_or_path
    base = {"revision": "main" if override else config.revision or "main", "trust_remote_code": trust_remote_code}
    try:
        base["pretrained_model_name_or_path"] = find_model(name)
        stored = AutoConfig.from_pretrained(**base).to_dict()
    except (ValueError, OSError) as error:
        raise ValueError(f"The base model {name} cannot be read: give --base_model. {error}") from error
    if "quantization_config" in stored:
        method = stored["quantization_config"].get("quant_method")
        raise ValueError(
            f"The base model {name} is stored quantised ({method}), and merging needs full precision: give the "
            "unquantised model that it was made from as --base_model."
        )
    return base


def merge(adapter: Path, base: dict[str, Any], output_dir: Path, dtype: torch.dtype | None) -> None:
    """Merge, save, load again, compare, and give the result its place; `dtype` None is that of the base.

    Raises:
        ValueError: The adapter is of another base, or the saved model does not compute what base plus adapter compute.
    """
    source = {"pretrained_model_name_or_path": adapter} if (adapter / "tokenizer_config.json").is_file() else {}
    tokenizer = AutoTokenizer.from_pretrained(**{**base, **source})
    model = AutoModelForCausalLM.from_pretrained(**base, dtype=dtype or "auto")
    saved_as: torch.dtype = model.dtype
    fit_embeddings(model, tokenizer)
    try:
        model = PeftModel.from_pretrained(model, str(adapter)).to(saved_as).eval()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"The adapter does not fit the base: give the right --base_model. {error}") from error
    wanted = prompt_logits(model, tokenizer)
    model = model.merge_and_unload(safe_merge=True)
    has_own = (adapter / GENERATION_CONFIG_NAME).is_file()  # of a finished run: the end tokens of its training
    generation_config = GenerationConfig.from_pretrained(adapter) if has_own else model.generation_config
    model.generation_config.eos_token_id = list(end_token_ids(tokenizer, generation_config))
    model.config.use_cache = True

    staging = output_dir / STAGING_NAME
    shutil.rmtree(staging, ignore_errors=True)
    model.save_pretrained(staging)
    tokenizer.save_pretrained(staging)
    del model  # frees its memory for the copy that is read back
    merged = {**base, "pretrained_model_name_or_path": staging}
    found = prompt_logits(AutoModelForCausalLM.from_pretrained(**merged, dtype=saved_as).eval(), tokenizer)

    difference, largest = (found - wanted).abs().max().item(), wanted.abs().max().item()
    print(
        f"Logits of the merged model against base + adapter, in {str(saved_as).removeprefix('torch.')}: max abs "
        f"diff {difference:.3g} (largest {largest:.3g})"
    )
    if not difference <= TOLERANCES[saved_as] * largest:  # nan is not
        raise ValueError(
            f"The merged model differs by more than rounding to {saved_as} explains, so it stays unpublished in "
            f"{staging}. Was the adapter trained on {base['pretrained_model_name_or_path']}?"
        )
    publish(staging, output_dir)
    print(f"Merged {adapter} into {base['pretrained_model_name_or_path']}: {output_dir}")


def prompt_logits(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Return the logits of every position of one fixed prompt, as float32."""
    text = PROMPT
    if tokenizer.chat_template is not None:
        message = [{"role": "user", "content": PROMPT}]
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] or [tokenizer.eos_token_id]
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0].float()


if __name__ == "__main__":
    sys.exit(main())
