# SPDX-License-Identifier: Apache-2.0
"""Every recipe trains two steps on the CPU: its settings, with a tiny model, few rows, short texts."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
import trl
import yaml
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl import ModelConfig

from open_r1 import grpo, sft
from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.utils.arguments import RecipeParser, load_recipe
from tests.integration.byte_tokenizer import byte_tokenizer
from tests.integration.program_rows import ROW_OF

ROOT = Path(__file__).resolve().parents[2]
# Those of trainings: scripts/curate.py and scripts/compute_pass_rate.py read the ones of these folders.
OF_DATA = {"curation", "dataset_filtering"}
RECIPES = sorted(path for path in (ROOT / "recipes").glob("**/config_*.yaml") if path.parent.name not in OF_DATA)
FULL_SIZE = [path for path in RECIPES if "demo" not in path.relative_to(ROOT / "recipes").parts]
SCRIPTS = {"sft": (sft.main, SFTScriptArguments, SFTConfig), "grpo": (grpo.main, GRPOScriptArguments, GRPOConfig)}

SMALLER = {
    "use_cpu": True,
    "attn_implementation": "sdpa",
    "use_liger_kernel": False,
    "max_steps": 2,
    "gradient_accumulation_steps": 1,
    "save_strategy": "no",
}
SMALLER_FOR = {
    "sft": {"dataset_num_proc": 1, "max_length": 1024, "per_device_train_batch_size": 2},
    "grpo": {
        "use_vllm": False,
        "max_completion_length": 8,
        "max_prompt_length": 2000,
        "num_generations": 4,
        "per_device_train_batch_size": 4,
    },
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A Qwen2 of two narrow layers, with Qwen's template and the EOS of its base models."""
    folder = tmp_path_factory.mktemp("model")
    template = Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja"
    tokenizer = byte_tokenizer(template.read_text(encoding="utf-8"), "<|endoftext|>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32768,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Rows with the columns of OpenR1-Math-220k and of SimpleRL-Zoo."""
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for number in range(64):
            question, answer = f"What is {number}+{number}?", str(2 * number)
            reply = f"<think>\n{number} twice\n</think>\n\n\\boxed{{{answer}}}"
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
            row = {"problem": question, "question": question, "answer": answer, "solution": f"It is {answer}."}
            stream.write(json.dumps(row | {"messages": messages}) + "\n")
    return path


def data_of_programs(recipe: dict, folder: Path) -> Path | None:
    """Write rows for the reward of a recipe that runs programs; None for other recipes."""
    rows = [ROW_OF[name] for name in recipe.get("reward_funcs", []) if name in ROW_OF]
    if not rows:
        return None
    path = folder / "programs.jsonl"
    path.write_text("".join(json.dumps(rows[0]) + "\n" for _ in range(16)), encoding="utf-8")
    return path


def smaller_task(config: str) -> str:
    return re.sub(r"num_(train|test)=\d+", r"num_\1=64", config)


@pytest.mark.parametrize("path", FULL_SIZE, ids=lambda path: str(path.relative_to(ROOT / "recipes")))
def test_recipe_trains(path, model, data, tmp_path):
    task = "sft" if "sft" in path.relative_to(ROOT).parts else "grpo"
    recipe = load_recipe(path)
    if "steps_per_generation" in recipe:  # as many updates of what is generated at a time as in the recipe
        recipe["steps_per_generation"] //= recipe["gradient_accumulation_steps"]
    recipe |= SMALLER | SMALLER_FOR[task]
    recipe |= {"model_name_or_path": str(model), "output_dir": str(tmp_path / "run")}
    if recipe.get("dataset_name", "").startswith("tasks/"):  # made on the fly, with columns of its own
        recipe["dataset_config"] = smaller_task(recipe["dataset_config"])
    elif "reward_domains" in recipe:
        for entry in recipe["dataset_mixture"]["datasets"]:
            is_task = entry["id"].startswith("tasks/")
            entry |= {"config": smaller_task(entry["config"])} if is_task else {"id": str(data), "config": None}
    else:
        recipe["dataset_name"] = str(data_of_programs(recipe, tmp_path) or data)
        for key in ("dataset_mixture", "dataset_config"):
            recipe.pop(key, None)
    small = tmp_path / "recipe.yaml"
    small.write_text(yaml.safe_dump(recipe), encoding="utf-8")

    main, script_class, config_class = SCRIPTS[task]
    metrics = main(*RecipeParser((script_class, config_class, ModelConfig)).parse(["--config", str(small)]))

    assert math.isfinite(metrics["train_loss"])
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text(encoding="utf-8"))
    assert state["global_step"] == 2
    saved = "adapter_model.safetensors" if recipe["use_peft"] else "model.safetensors"
    assert (tmp_path / "run" / saved).is_file()
    if task == "grpo":
        logged = {key for entry in state["log_history"] for key in entry}
        assert {f"rewards/{name}_reward/mean" for name in recipe["reward_funcs"]} <= logged
