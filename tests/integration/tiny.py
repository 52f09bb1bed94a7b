# SPDX-License-Identifier: Apache-2.0
"""A model, a tokenizer and data so small that a whole training takes a second or two on one core."""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
)

from open_r1 import distill, grpo, sft
from open_r1.arguments import RecipeParser
from open_r1.configs import (
    DistillConfig,
    DistillScriptArguments,
    GRPOConfig,
    GRPOScriptArguments,
    ModelConfig,
    SFTConfig,
    SFTScriptArguments,
)

SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TAGS = ["<think>", "</think>", "<answer>", "</answer>"]
CHATML = (
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTEXT_TOKENS = 256

_COMMON: dict[str, Any] = {
    "dtype": "float32",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "save_steps": 2,
    "max_steps": 4,
    "disable_tqdm": True,
    "report": False,
}
_SETTINGS: dict[str, dict[str, Any]] = {
    "sft": {**_COMMON, "per_device_train_batch_size": 4, "max_length": 128},
    "grpo": {
        **_COMMON,
        "dataset_prompt_column": "problem",
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "per_device_eval_batch_size": 16,
        "num_generations_eval": 4,
        "max_completion_length": 8,
        "reward_funcs": ["format", "tag_count", "repetition_penalty", "accuracy"],
    },
    "distill": {
        **_COMMON,
        "dataset_prompt_column": "problem",
        "per_device_train_batch_size": 8,
        "max_completion_length": 8,
        "beta": 0.0,
    },
}
_SCRIPTS = {
    "sft": (sft.main, SFTScriptArguments, SFTConfig),
    "grpo": (grpo.main, GRPOScriptArguments, GRPOConfig),
    "distill": (distill.main, DistillScriptArguments, DistillConfig),
}


@dataclass(frozen=True)
class Tiny:
    """Folders of a tiny model and its data.

    Attributes:
        model: Model with tokenizer.
        data: `train.jsonl` (48 rows) and `test.jsonl` (6 rows) with problem, solution and messages.
    """

    model: Path
    data: Path

    def argv(self, kind: str, output_dir: Path, **settings: Any) -> list[str]:
        """Return the command line of a short run; `settings` come over the defaults, None leaves one out."""
        chosen = {
            "model_name_or_path": self.model,
            "dataset_name": self.data,
            "output_dir": output_dir,
            **_SETTINGS[kind],
            **settings,
        }
        words: list[str] = []
        for name, value in chosen.items():
            if value is not None:
                values = value if isinstance(value, (list, tuple)) else [value]
                words += [f"--{name}", *(json.dumps(v) if isinstance(v, dict) else str(v) for v in values)]
        return words

    def train(self, kind: str, output_dir: Path, **settings: Any) -> dict[str, float]:
        """Run `sft.py`, `grpo.py` or `distill.py` in this process."""
        torch.set_num_threads(1)
        main, *classes = _SCRIPTS[kind]
        return main(*RecipeParser((*classes, ModelConfig)).parse(self.argv(kind, output_dir, **settings)))


def build_tiny(folder: Path, *, hidden_size: int = 32) -> Tiny:
    """Write a tiny Qwen3 with random weights, its tokenizer and additions of two digits below `folder`."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = addition_rows(54)
    write_rows(folder / "data" / "train.jsonl", rows[:48])
    write_rows(folder / "data" / "test.jsonl", rows[48:])
    return Tiny(folder / "model", folder / "data")


def build_reward_model(
    folder: Path, kind: type[PreTrainedModel] = Qwen3ForSequenceClassification, **settings: Any
) -> Path:
    """Write a tiny reward model with random weights."""
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = Qwen3Config(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "max_position_embeddings": CONTEXT_TOKENS,
            "num_labels": 1,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            **settings,
        }
    )
    kind(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_tokenizer(chat_template: str = CHATML) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a character, plus the tags of the rewards."""
    characters = [*(chr(code) for code in range(32, 127)), "\n"]
    vocab = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *TAGS, *characters, "<unk>"])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    backend.add_tokens([AddedToken(token, special=False) for token in TAGS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token="<unk>"
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def addition_rows(num_rows: int) -> list[dict[str, Any]]:
    """Return distinct additions with a worked answer."""
    pairs = random.Random(0).sample([(a, b) for a in range(10) for b in range(10)], num_rows)
    return [addition_row(a, b) for a, b in pairs]


def addition_row(a: int, b: int) -> dict[str, Any]:
    """Return one row: problem, solution, and the same as messages."""
    answer = f"<think>\n{a}+{b}={a + b}\n</think>\n<answer>\n\\boxed{{{a + b}}}\n</answer>"
    messages = [{"role": "user", "content": f"{a}+{b}"}, {"role": "assistant", "content": answer}]
    return {"problem": f"{a}+{b}", "solution": str(a + b), "messages": messages}


def write_domains(folder: Path) -> Path:
    """Write rows of two domains; those without a gold answer are judged by taste."""
    rows = [
        {**row, "domain": ("math", "chat")[number % 2], "solution": (row["solution"], None)[number % 2]}
        for number, row in enumerate(addition_rows(54))
    ]
    write_rows(folder / "train.jsonl", rows[:48])
    write_rows(folder / "test.jsonl", rows[48:])
    return folder


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write rows as JSON lines and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def weights_of(folder: Path, name: str = "model.safetensors") -> dict[str, torch.Tensor]:
    """Return the tensors of a saved model."""
    return load_file(folder / name)


def are_identical(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Whether two models agree to the last bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def log_history(output_dir: Path) -> list[dict[str, Any]]:
    """Return what a run logged."""
    return json.loads((output_dir / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
