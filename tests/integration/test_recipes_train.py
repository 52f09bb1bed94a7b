# SPDX-License-Identifier: Apache-2.0
"""Every recipe trains two steps on the CPU with stand-ins for model and data (scripts/smoke_recipe.py)."""

import json
import math
from pathlib import Path

import pytest
import yaml

from open_r1.data.sources import load_source
from open_r1.recipes import load_recipe
from scripts.smoke_recipe import find_recipes, name_of, replace_data, shorten_task, shrink_recipe, smoke, task_of
from scripts.stand_ins import tokenizer_like


@pytest.mark.parametrize("path", find_recipes(), ids=name_of)
def test_recipe_trains(path, tmp_path):
    run = smoke(path, tmp_path)
    assert run.failure == ""
    assert math.isfinite(run.loss)
    assert state_of(tmp_path)["global_step"] == 2
    recipe = load_recipe(path)
    saved = "adapter_model.safetensors" if recipe["use_peft"] else "model.safetensors"
    assert (tmp_path / "run" / saved).is_file()
    rewards = recipe.get("reward_funcs", [])
    benchmarks = [] if path.parent.name == "grpo" else recipe.get("eval_benchmarks", [])
    assert {f"{name}_reward" for name in rewards if name.isidentifier()} <= run.rewards.keys()
    assert len(run.rewards) == len(rewards) + len(benchmarks)


def state_of(folder: Path) -> dict:
    return json.loads((folder / "run" / "trainer_state.json").read_text(encoding="utf-8"))


def test_no_recipe_of_a_training_is_left_out():
    folder = find_recipes()[0].parents[2]
    trainings = {path for path in folder.rglob("*.yaml") if "output_dir" in load_recipe(path)}
    others = {"curation", "dataset_filtering", "accelerate_configs"}
    assert {path for path in trainings if not others & set(path.parts)} == set(find_recipes())


OWN_REWARD = "def likes(completions, level, **columns): return [float(len(text)) for text in level]\n"
OWN = {
    "model_name_or_path": "meta-llama/Llama-3.1-8B-Instruct",
    "torch_dtype": "bfloat16",  # an old name
    "attn_implementation": "flash_attention_2",
    "use_peft": True,
    "load_in_4bit": True,
    "dataset_name": "someone/puzzles",
    "dataset_config": "hard",
    "dataset_train_split": "train[:90%]",
    "dataset_test_split": "train[90%:]",
    "dataset_prompt_column": "question",
    "dataset_solution_column": "gold",
    "reward_funcs": ["accuracy", "binary_code"],
    "code_provider": "e2b",
    "per_device_train_batch_size": 16,
    "num_generations": 16,
    "steps_per_generation": 8,
    "use_vllm": True,
    "vllm_mode": "server",
    "generation_kwargs": {"stop": ["User:"]},
    "use_liger_loss": True,  # another one
    "fp16": True,
    "tf32": True,
    "optim": "paged_adamw_8bit",
    "eval_strategy": "steps",
    "eval_steps": 50,
    "eval_benchmarks": ["aime24"],
    "save_strategy": "steps",
    "save_steps": 50,
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_aime24/avg@4",
    "report_to": "wandb",
    "push_to_hub": True,
    "callbacks": ["push_to_hub_revision"],
    "benchmarks": ["aime24"],
    "output_dir": "data/mine",
}


def test_own_recipe_for_gpus_and_services_trains(tmp_path):
    own_reward = tmp_path / "mine.py"
    own_reward.write_text(OWN_REWARD, encoding="utf-8")
    recipe = OWN | {"reward_funcs": [*OWN["reward_funcs"], f"{own_reward}:likes"]}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    run = smoke(path, tmp_path / "kept", ["--max_steps", "3", "--temperature", "0.5"])
    assert run.failure == ""
    assert run.rewards.keys() == {"accuracy_reward", "binary_code_reward", "likes"}
    assert run.rewards["likes"] > 0
    assert state_of(tmp_path / "kept")["global_step"] == 3
    assert (tmp_path / "kept" / "run" / "adapter_model.safetensors").is_file()


SFT = {"model_name_or_path": "data/stage1", "output_dir": "data/stage2", "dataset_name": "data/limo"}


@pytest.mark.parametrize(
    ("changes", "columns"),
    [
        ({}, {"messages"}),
        ({"dataset_layout": "limo"}, {"messages"}),
        ({"dataset_text_field": "rendered"}, {"rendered"}),
        ({"completion_only_loss": True}, {"prompt", "completion"}),
    ],
)
def test_rows_of_sft_have_the_columns_that_the_recipe_reads(changes, columns, tmp_path):
    settings = replace_data(SFT | changes, "sft", tmp_path / "data")
    assert set(load_source(settings["dataset_name"])["train"].column_names) == columns


def test_mixture_keeps_its_form_and_gets_rows_for_the_rewards_of_each_domain(tmp_path):
    entries = [
        {
            "id": "org/math",
            "config": "main",
            "split": "test[:5]",
            "columns": ["ask", "gold"],
            "weight": 0.01,
            "domain": "math",
        },
        {"id": "data/programs", "domain": "code", "layout": "open_r1_code", "num_rows": 60000},
        {"id": "tasks/countdown", "config": "3to4,num_train=8000,prompt=task", "domain": "puzzle"},
    ]
    recipe = {
        "dataset_mixture": {"datasets": entries, "seed": 7, "test_split_size": 0.1},
        "dataset_prompt_column": "ask",
        "dataset_solution_column": "gold",
        "reward_funcs": ["accuracy", "code", "countdown", "soft_format"],
        "reward_domains": {"math": ["accuracy"], "code": ["code"], "puzzle": ["countdown"]},
    }
    mixture = replace_data(recipe, "grpo", tmp_path / "data")["dataset_mixture"]
    assert (mixture["seed"], mixture["test_split_size"]) == (7, 0.1)
    math_rows, programs, puzzles = mixture["datasets"]
    assert (math_rows["split"], math_rows["columns"], math_rows["weight"]) == ("test", ["ask", "gold"], 1.0)
    assert {"ask", "gold"} <= set(load_source(math_rows["id"])["test"].column_names)
    assert programs["num_rows"] == load_source(programs["id"])["train"].num_rows
    assert {"ask", "verification_info"} <= set(load_source(programs["id"])["train"].column_names)
    assert (puzzles["id"], puzzles["split"]) == ("tasks/countdown", "train[:32]")
    assert load_source(puzzles["id"], puzzles["config"])["train"].num_rows == 32


@pytest.mark.parametrize(
    ("name", "config", "short"),
    [
        ("countdown", None, "num_train=32,num_test=2"),
        ("knights_knaves", "5ppl,num_test=9,prompt=task", '5ppl,num_test=2,prompt="task",num_train=32'),
        ("running_sums", "rl", "rl"),
        ("none", "such", "such"),
    ],
)
def test_task_is_shortened_where_it_takes_a_number_of_rows(name, config, short):
    assert shorten_task(name, config, seed=0) == short


@pytest.mark.parametrize(
    ("path", "recipe", "task"),
    [
        ("mine/sft/config.yaml", {"num_generations": 4}, "sft"),
        ("mine.yaml", {"output_dir": "x", "max_seq_length": 5}, "sft"),
        ("mine.yaml", {"output_dir": "x", "beta": 0.1}, "grpo"),
    ],
)
def test_script_is_told_by_the_folder_or_the_settings(path, recipe, task):
    assert task_of(Path(path), recipe) == task


@pytest.mark.parametrize(
    ("name", "opens_think", "has_template"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", True, True),
        ("Qwen/Qwen2.5-7B", False, True),
        ("meta-llama/Llama-3.1-8B", False, False),
        ("meta-llama/Llama-3.2-3B-Instruct", False, True),
        ("Qwen/Qwen3-4B", False, True),
        ("google/gemma-3-1b-it", False, True),
    ],
)
def test_tokenizer_has_the_kind_of_template_that_the_name_promises(name, opens_think, has_template):
    tokenizer = tokenizer_like(name)
    assert (tokenizer.chat_template is not None) == has_template
    if has_template:
        ask = [{"role": "user", "content": "question"}]
        prompt = tokenizer.apply_chat_template(ask, add_generation_prompt=True, tokenize=False)
        assert prompt.endswith("<think>\n") == opens_think


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_weights_are_in_float32(name, tmp_path):
    assert shrink_recipe({name: "bfloat16", "output_dir": "x"}, "sft", tmp_path).items() >= {("dtype", "float32")}
    assert "torch_dtype" not in shrink_recipe({name: "bfloat16", "output_dir": "x"}, "sft", tmp_path)


def test_what_is_wrong_in_a_recipe_stays_wrong(tmp_path):
    assert shrink_recipe({"learning_rat": 1, "output_dir": "x"}, "grpo", tmp_path)["learning_rat"] == 1
