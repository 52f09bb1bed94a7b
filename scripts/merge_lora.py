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
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from open_r1.data.manifest import MANIFEST_NAME, STAGING_NAME, missing_from
from open_r1.models import fit_embeddings
from open_r1.training.checkpoints import publish

# Largest change of a logit, as a share of the largest logit, that rounding of the merged weights explains.
TOLERANCES = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}
PROMPT = "What is the sum of 17 and 25? Explain each step."


def main(argv: list[str] | None = None) -> int:
    """Merge as the command line says; return the exit status."""
    args = build_parser().parse_args(argv)
    adapter, output_dir = Path(args.adapter).expanduser(), Path(args.output_dir).expanduser()
    try:
        base = find_base(read_adapter(adapter), args.base_model, trust_remote_code=args.trust_remote_code)
        check_output(output_dir, adapter, base)
        merge(adapter, base, output_dir, getattr(torch, args.dtype) if args.dtype else None)
    except (ValueError, OSError) as error:
        print(f"merge_lora.py: {error}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description="Merge a LoRA adapter into its base model and save a plain model.")
    parser.add_argument("--adapter", required=True, help="folder of the adapter: a finished run or a checkpoint")
    parser.add_argument("--output_dir", required=True, help="new folder for the merged model")
    parser.add_argument("--base_model", help="folder or hub name of the base; default: the one the adapter names")
    dtypes = ["bfloat16", "float16", "float32"]
    parser.add_argument("--dtype", choices=dtypes, help="of the merged weights; default: that of the base model")
    parser.add_argument("--trust_remote_code", action="store_true", help="run code that comes with the base model")
    return parser


def read_adapter(adapter: Path) -> PeftConfig:
    """Return the adapter's configuration.

    Raises:
        ValueError: The folder holds no finished LoRA adapter of a language model.
    """
    if not adapter.is_dir():
        raise ValueError(
            f"--adapter is {adapter}, but there is no such folder. Fetch one from the hub with "
            "`hf download NAME --local-dir FOLDER` first."
        )
    if not (adapter / "adapter_config.json").is_file():
        what = "a whole model" if (adapter / "config.json").is_file() else "no adapter"
        raise ValueError(f"{adapter} holds {what} (no adapter_config.json): there is nothing to merge.")
    if (adapter / MANIFEST_NAME).is_file() or (adapter / STAGING_NAME).exists():
        reason = missing_from(adapter)
        if reason is not None:
            raise ValueError(f"The adapter in {adapter} is not whole: {reason}. Run its training to the end.")
    config = PeftConfig.from_pretrained(str(adapter))
    if config.peft_type != PeftType.LORA or config.task_type not in (None, TaskType.CAUSAL_LM):
        raise ValueError(
            f"{adapter} is an adapter of type {config.peft_type} for {config.task_type}; only LoRA "
            "(with DoRA and rsLoRA) of causal language models can be merged here."
        )
    return config


def find_base(config: PeftConfig, override: str | None, *, trust_remote_code: bool) -> dict[str, Any]:
    """Return the arguments with which the base model loads: `override`, or what the adapter names.

    Raises:
        ValueError: It is not there, or is stored quantised.
    """
    name = override or config.base_model_name_or_path
    if not name:
        raise ValueError("The adapter names no base model: give --base_model.")
    folder = Path(name).expanduser()
    if folder.is_dir():
        name = str(folder)
    elif folder.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise ValueError(
            f"The base model should be in {name}, but {Path.cwd()} has no such folder: give --base_model."
        )
    base = {
        "pretrained_model_name_or_path": name,
        "revision": "main" if override else config.revision or "main",
        "trust_remote_code": trust_remote_code,
    }
    try:
        stored = AutoConfig.from_pretrained(**base).to_dict()
    except OSError as error:
        raise ValueError(f"The base model {name} cannot be read: give --base_model. {error}") from error
    if "quantization_config" in stored:
        method = stored["quantization_config"].get("quant_method")
        raise ValueError(
            f"The base model {name} is stored quantised ({method}), and merging needs full precision: give the "
            "unquantised model that it was made from as --base_model."
        )
    return base


def check_output(output_dir: Path, adapter: Path, base: dict[str, Any]) -> None:
    """Refuse to write over the adapter, the base or anything else; a merge that was cut short may be run again.

    Raises:
        ValueError: The folder is taken.
    """
    for name, folder in (("adapter", adapter), ("base model", Path(base["pretrained_model_name_or_path"]))):
        if output_dir.resolve() == folder.resolve():
            raise ValueError(f"--output_dir is the folder of the {name}: choose a new one.")
    if output_dir.exists() and not output_dir.is_dir():
        raise ValueError(f"--output_dir {output_dir} is a file.")
    if output_dir.is_dir() and any(output_dir.iterdir()) and not (output_dir / STAGING_NAME).exists():
        raise ValueError(f"--output_dir {output_dir} is not empty: choose a new folder or remove it.")


def merge(adapter: Path, base: dict[str, Any], output_dir: Path, dtype: torch.dtype | None) -> None:
    """Merge, save, load again, compare, and give the result its place; `dtype` None is that of the base.

    Raises:
        ValueError: The saved model does not compute what base plus adapter compute.
    """
    name = base["pretrained_model_name_or_path"]
    source = adapter if (adapter / "tokenizer_config.json").is_file() else name
    tokenizer = AutoTokenizer.from_pretrained(**{**base, "pretrained_model_name_or_path": source})
    model = AutoModelForCausalLM.from_pretrained(**base, dtype=dtype or "auto")
    saved_as: torch.dtype = model.dtype
    fit_embeddings(model, tokenizer)
    try:
        model = PeftModel.from_pretrained(model, str(adapter)).to(saved_as).eval()
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"The adapter does not fit the base model {name}: give the right --base_model. {error}"
        ) from error
    wanted = prompt_logits(model, tokenizer)
    model = model.merge_and_unload(safe_merge=True)
    stop_at_end_of_turn(model, tokenizer)

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
    if not difference <= TOLERANCES[saved_as] * largest:
        raise ValueError(
            f"The merged model differs by more than rounding to {saved_as} explains, so it stays unpublished in "
            f"{staging}. Was the adapter trained on {name}?"
        )
    publish(staging, output_dir)
    print(f"Merged {adapter} into {name}: {output_dir}")


def prompt_logits(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """Return the logits of every position of one fixed prompt, as float32."""
    text = PROMPT
    if tokenizer.chat_template is not None:
        message = [{"role": "user", "content": PROMPT}]
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] or [tokenizer.eos_token_id]
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0].float()


def stop_at_end_of_turn(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make generation stop at the token that ended a turn in training."""
    known = model.generation_config.eos_token_id
    if tokenizer.eos_token_id not in (known if isinstance(known, list) else [known]):
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.config.use_cache = True


if __name__ == "__main__":
    sys.exit(main())
