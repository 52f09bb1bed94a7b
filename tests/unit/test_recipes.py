# SPDX-License-Identifier: Apache-2.0
"""Recipes as files: complete, consistent in themselves, honest in their headers. Parsing them is in integration/."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from open_r1.rewards import get_reward_spec, is_user_function

ROOT = Path(__file__).resolve().parents[2]
# Those of trainings: scripts/curate.py and scripts/compute_pass_rate.py read the ones of these folders.
OF_DATA = {"curation", "dataset_filtering"}
RECIPES = sorted(path for path in (ROOT / "recipes").glob("**/config_*.yaml") if path.parent.name not in OF_DATA)
FULL_SIZE = [path for path in RECIPES if "demo" not in path.relative_to(ROOT / "recipes").parts]
FILTERING = sorted((ROOT / "recipes" / "dataset_filtering").glob("*.yaml"))
ACCELERATE = sorted((ROOT / "recipes" / "accelerate_configs").glob("*.yaml"))

HEADER = ["Trains", "Hardware", "Hours", "Expect", "Command", "Source"]
REQUIRED = {
    *("model_name_or_path", "dtype", "attn_implementation", "dataset_train_split", "output_dir"),
    *("learning_rate", "lr_scheduler_type", "warmup_steps", "num_train_epochs", "max_steps", "optim", "weight_decay"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "max_grad_norm", "adam_beta1", "adam_beta2"),
    *("gradient_checkpointing", "seed", "eval_strategy", "save_strategy", "report_to", "push_to_hub"),
}
REQUIRED_SFT = {"max_length", "packing", "loss_type"}
REQUIRED_DISTILL = {
    *("teacher_model_name_or_path", "dataset_prompt_column", "max_prompt_length", "beta", "max_completion_length"),
    *("temperature", "top_p", "top_k", "use_vllm"),
}
REQUIRED_GRPO = {
    *("dataset_prompt_column", "dataset_solution_column", "max_prompt_length", "reward_funcs", "reward_weights"),
    *("beta", "scale_rewards", "epsilon", "epsilon_high", "num_iterations", "importance_sampling_level"),
    *("mask_truncated_completions", "num_generations", "max_completion_length", "temperature", "top_p", "top_k"),
    *("use_vllm", "loss_type"),
}
# What matters only at full size, where models and data come from the hub and a GPU does the arithmetic.
REQUIRED_FULL_SIZE = {
    *("model_revision", "dataset_revision", "use_peft", "bf16", "gradient_checkpointing_kwargs", "use_liger_kernel"),
    *("hub_model_id", "hub_model_revision", "hub_strategy", "save_total_limit"),
}
TAGS = ["<think>", "</think>", "<answer>", "</answer>"]
TAGGED = {"format", "soft_format", "tag_count", "code_format", "countdown", "knights_knaves"}


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML allows a key twice and keeps the last value; a recipe must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        assert not twice, f"keys given twice: {twice}"
        return super().construct_mapping(node, deep)


def load(path: Path) -> dict:
    return yaml.load(path.read_text(encoding="utf-8"), UniqueKeyLoader)


def header_of(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()[:6]
    return {label.strip("# "): text.strip() for label, _, text in (line.partition(":") for line in lines)}


def num_processes(path: Path) -> int:
    """Processes that the command in the header starts."""
    words = shlex.split(header_of(path)["Command"].removeprefix("(on each node) "))
    if "accelerate" not in words:
        return 1
    if "--num_processes" in words:
        return int(words[words.index("--num_processes") + 1])
    return load(ROOT / words[words.index("--config_file") + 1])["num_processes"]


def task_of(path: Path) -> str:
    return path.parent.name if path.parent.name in ("sft", "distill") else "grpo"


def by_path(path: Path) -> str:
    return str(path.relative_to(ROOT / "recipes"))


every_recipe = pytest.mark.parametrize("path", RECIPES, ids=by_path)
full_size_recipe = pytest.mark.parametrize("path", FULL_SIZE, ids=by_path)
grpo_recipe = pytest.mark.parametrize("path", [path for path in RECIPES if task_of(path) == "grpo"], ids=by_path)


@every_recipe
def test_header_has_six_lines_and_its_command_runs_the_file(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(line.startswith("# ") for line in lines[:6])
    assert not lines[6].startswith("#")
    header = header_of(path)
    assert list(header) == HEADER
    assert all(header.values())
    words = header["Command"].split()
    assert words[-1] == str(path.relative_to(ROOT)) or str(path.relative_to(ROOT)) in words
    assert f"src/open_r1/{task_of(path)}.py" in words
    if "--config_file" in words:
        assert (ROOT / words[words.index("--config_file") + 1]).is_file()


def needs_of(path: Path) -> set[str]:
    """What a recipe needs beside the core: extras, flash-attn."""
    recipe, command = load(path), header_of(path)["Command"]
    needs = set()
    if re.search(r"/zero[23]\.yaml", command) or re.search("8bit|bnb", recipe.get("optim", "")):
        needs.add("train")
    if recipe.get("use_liger_kernel") or recipe.get("load_in_4bit") or recipe.get("load_in_8bit"):
        needs.add("train")
    if recipe.get("use_vllm") or "compute_pass_rate.py" in command:
        needs.add("vllm")
    if recipe.get("attn_implementation") == "flash_attention_2":
        needs.add("flash-attn")
    return needs


def named_needs(hardware: str) -> set[str] | None:
    """What the line of the hardware names at its end; None where it names nothing."""
    found = re.search(r"; needs: make install(?: EXTRAS=([a-z_,]+))?(?: and (flash-attn))?$", hardware)
    return None if found is None else {name for name in f"{found[1]},{found[2]}".split(",") if name != "None"}


def test_hardware_line_ends_with_what_to_install():
    wrong = []
    for path in (*FULL_SIZE, *FILTERING):
        named = named_needs(header_of(path)["Hardware"])
        if named is None or needs_of(path) - named:
            wrong.append(f"{by_path(path)}: {sorted(needs_of(path))}")
    assert wrong == [], "\n".join(wrong)


@every_recipe
def test_every_key_that_changes_learning_is_written(path):
    recipe = load(path)
    required = REQUIRED | {"sft": REQUIRED_SFT, "grpo": REQUIRED_GRPO, "distill": REQUIRED_DISTILL}[task_of(path)]
    if path in FULL_SIZE:
        required |= REQUIRED_FULL_SIZE
    if "dataset_mixture" in recipe:
        required -= {"dataset_revision"}
        assert all("revision" in entry for entry in recipe["dataset_mixture"]["datasets"])
    assert required - set(recipe) == set()
    assert ("dataset_name" in recipe) != ("dataset_mixture" in recipe)


@every_recipe
def test_nothing_leaves_the_machine_by_default(path):
    recipe = load(path)
    assert recipe["push_to_hub"] is False
    assert recipe["report_to"] in ("none", "tensorboard")
    assert recipe.get("callbacks", []) == []


@every_recipe
def test_strategies_are_quoted_words(path):
    recipe = load(path)
    # Unquoted, YAML reads `no` as false.
    assert isinstance(recipe["eval_strategy"], str)
    assert isinstance(recipe["save_strategy"], str)


@every_recipe
def test_chat_template_exists(path):
    template = load(path).get("chat_template")
    assert template is None or (ROOT / template).is_file()


@every_recipe
def test_arithmetic_of_the_batch_comment_is_right(path):
    recipe = load(path)
    text = path.read_text(encoding="utf-8")
    comment = re.search(r"# (\d+) process(?:es)? x (\d+) x (\d+) = (\d+) ", text)
    if comment is None and path not in FULL_SIZE:
        return
    processes, per_device, accumulation, product = map(int, comment.groups())
    assert processes == num_processes(path)
    assert per_device == recipe["per_device_train_batch_size"]
    assert accumulation == recipe["gradient_accumulation_steps"]
    assert product == processes * per_device * accumulation
    groups = re.search(r"completions = (\d+) prompts x (\d+) a step", text)
    if groups is not None:
        assert int(groups[2]) == recipe["num_generations"]
        assert int(groups[1]) * int(groups[2]) == product


@grpo_recipe
def test_each_process_generates_whole_groups(path):
    recipe = load(path)
    completions = recipe["per_device_train_batch_size"] * recipe.get(
        "steps_per_generation", recipe["gradient_accumulation_steps"]
    )
    groups = [stage["num_generations"] for stage in (recipe, *recipe.get("stages", [])) if "num_generations" in stage]
    assert [group for group in groups if completions % group] == []


@grpo_recipe
def test_rewards_are_known_and_each_has_a_weight(path):
    recipe = load(path)
    assert all(get_reward_spec(name) for name in recipe["reward_funcs"])
    assert len(recipe["reward_weights"]) == len(recipe["reward_funcs"])


@grpo_recipe
def test_layout_weighs_far_less_than_being_right(path):
    recipe = load(path)
    weights = dict(zip(recipe["reward_funcs"], recipe["reward_weights"], strict=True))
    layout = sum(weights.get(name, 0.0) for name in ("format", "tag_count", "code_format"))
    judges = {"accuracy", "demystify_cosine", "code", "ioi_code", "cf_code"}
    judges |= {"countdown", "knights_knaves", "reasoning_gym"}
    judged = [weight for name, weight in weights.items() if name in judges]
    # Only where no reward of the table judges, a function beside the recipe does.
    own = [weight for name, weight in weights.items() if is_user_function(name)]
    assert layout <= 0.25 * max(judged or own)


@grpo_recipe
def test_recipes_with_programs_say_where_and_how_these_run(path):
    recipe = load(path)
    names = set(recipe["reward_funcs"])
    keys = {"parallel_code_exec_per_proc"} if any(get_reward_spec(name).programs for name in names) else set()
    keys |= {"code_provider", "code_test_timeout_s", "code_memory_mb"} if names & {"code", "binary_code"} else set()
    keys |= {"ioi_provider", "code_eval_test_batch_size"} if "ioi_code" in names else set()
    keys |= {"cf_provider", "code_eval_scoring_mode", "patch_code"} if "cf_code" in names else set()
    budget = {"code_max_timeouts", "code_total_cpu_s", "code_max_tests"}
    keys |= budget if names & {"code", "binary_code", "cf_code"} else set()
    assert keys <= set(recipe)
    assert {recipe[key] for key in keys if key.endswith("_provider")} <= {"local"}  # no key, no service


@pytest.mark.parametrize("path", [path for path in FULL_SIZE if task_of(path) == "grpo"], ids=by_path)
def test_system_prompt_asks_for_what_the_rewards_check(path):
    recipe = load(path)
    prompt = recipe["system_prompt"]
    if TAGGED & set(recipe["reward_funcs"]):
        assert [line for line in prompt.splitlines() if line in TAGS] == TAGS
    if {"accuracy", "demystify_cosine"} & set(recipe["reward_funcs"]):
        assert "\\boxed{" in (prompt.split("<answer>")[-1] if TAGS[2] in prompt else prompt)


@grpo_recipe
def test_vllm_is_placed_and_holds_prompt_and_completion(path):
    recipe = load(path)
    if recipe["use_vllm"]:
        assert recipe["vllm_mode"] == "colocate"
        stages = [recipe, *recipe.get("stages", [])]
        longest = max(stage.get("max_completion_length", 0) for stage in stages)
        assert recipe["vllm_max_model_length"] == recipe["max_prompt_length"] + longest


@full_size_recipe
def test_whole_models_in_bf16_are_trained_with_an_fp32_copy(path):
    # DDP and a single process keep none: steps of 1e-6 would be lost in the rounding of bf16.
    recipe = load(path)
    command = header_of(path)["Command"]
    is_fp32_on_cpu = recipe["dtype"] == "float32" and recipe.get("use_cpu", False)
    keeps_copy = any(f"/{name}.yaml" in command for name in ("zero2", "zero3", "fsdp"))
    assert recipe["use_peft"] or keeps_copy or is_fp32_on_cpu


@full_size_recipe
def test_table_of_recipes_lists_it(path):
    table = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    assert f"| `{by_path(path)}` |" in table


def test_table_of_recipes_lists_nothing_else():
    table = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([^`]+/config_[^`]+)` \|", table, re.MULTILINE)
    assert [name for name in listed if not (ROOT / "recipes" / name).is_file()] == []


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda path: path.stem)
def test_accelerate_config_is_not_one_process_in_disguise(path):
    # accelerate sends MULTI_CPU, and everything with use_cpu, to a launcher that starts one process without a word.
    config = load(path)
    assert config["distributed_type"] != "MULTI_CPU"
    assert config["use_cpu"] is (path.stem == "cpu")
    assert config["num_processes"] == (1 if path.stem in ("cpu", "single_gpu") else 8)
    assert config["mixed_precision"] == ("no" if path.stem == "cpu" else "bf16")


def test_accelerate_configs_have_the_names_users_know():
    assert {path.stem for path in ACCELERATE} == {"cpu", "ddp", "fsdp", "fsdp_cp", "single_gpu", "zero2", "zero3"}
