# SPDX-License-Identifier: Apache-2.0
"""Recipes that Open R1 published, old names included, parse to the right values with one warning for each old name.

Its commands: `test_migration.py`. Old names one by one: `test_old_names.py`.
"""

import pytest
import yaml

from tests.conftest import ROOT

GRPO_DEMO = """
model_name_or_path: Qwen/Qwen2.5-1.5B-Instruct
model_revision: main
torch_dtype: bfloat16
attn_implementation: flash_attention_2
dataset_name: open-r1/OpenR1-Math-220k
dataset_prompt_column: problem
system_prompt: "Think first, then answer."
bf16: true
use_vllm: true
do_eval: false
gradient_accumulation_steps: 4
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: false
hub_model_id: Qwen2.5-1.5B-Open-R1-GRPO
hub_strategy: every_save
learning_rate: 2.0e-05
log_completions: true
log_level: info
logging_first_step: true
logging_steps: 1
logging_strategy: steps
lr_scheduler_type: cosine
max_prompt_length: 512
max_completion_length: 1024
max_steps: -1
num_generations: 16
num_train_epochs: 1
output_dir: data/Qwen2.5-1.5B-Open-R1-GRPO
overwrite_output_dir: true
per_device_eval_batch_size: 16
per_device_train_batch_size: 16
push_to_hub: true
report_to:
- wandb
reward_funcs:
- accuracy
- format
- tag_count
reward_weights:
- 1.0
- 1.0
- 1.0
save_strategy: "epoch"
save_total_limit: 1
seed: 42
warmup_ratio: 0.1
"""

CODEFORCES = """
model_name_or_path: Qwen/Qwen2.5-Coder-7B-Instruct
model_revision: main
torch_dtype: bfloat16
attn_implementation: flash_attention_2
dataset_name: open-r1/codeforces
dataset_prompt_column: prompt
dataset_config: verifiable-prompts
dataset_test_split: test
dataset_train_split: train
system_prompt: "Think first, then answer."
callbacks:
- push_to_hub_revision
benchmarks:
- lcb_v4
beta: 0.0
loss_type: dr_grpo
scale_rewards: false
bf16: true
do_eval: false
eval_strategy: "no"
use_vllm: true
vllm_device: auto
vllm_gpu_memory_utilization: 0.7
do_train: true
gradient_accumulation_steps: 32
num_train_epochs: 4
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: false
hub_model_id: open-r1/Qwen2.5-Coder-7B-Instruct-Codeforces-GRPO
hub_model_revision: v01.00
hub_strategy: every_save
learning_rate: 1.0e-06
log_completions: true
logging_steps: 1
lr_scheduler_type: constant_with_warmup
max_grad_norm: 0.2
max_prompt_length: 2000
max_completion_length: 8192
num_generations: 16
optim: adamw_torch
output_dir: data/codeforces
overwrite_output_dir: true
per_device_train_batch_size: 4
push_to_hub: true
report_to:
- wandb
reward_funcs:
- cf_code
- code_format
reward_weights:
- 1.0
- 0.1
save_strategy: "steps"
save_steps: 0.05
save_total_limit: 1
seed: 42
temperature: 0.7
wandb_entity: huggingface
wandb_project: open-r1
warmup_ratio: 0.1
mask_truncated_completions: true
code_eval_test_batch_size: -1
code_eval_scoring_mode: weighted_sum
"""

SFT_DISTILL = """
model_name_or_path: open-r1/Qwen2.5-Math-7B-RoPE-300k
model_revision: main
torch_dtype: bfloat16
attn_implementation: flash_attention_2
chat_template: "{% for message in messages %}{{ message.content }}<|im_end|>{% endfor %}"
dataset_name: open-r1/Mixture-of-Thoughts
dataset_config: all
dataset_num_proc: 12
eos_token: <|im_end|>
bf16: true
do_eval: false
eval_strategy: 'no'
gradient_accumulation_steps: 8
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: false
hub_model_id: OpenR1-Distill-7B
hub_strategy: every_save
learning_rate: 4.0e-05
log_level: info
logging_steps: 1
logging_strategy: steps
lr_scheduler_type: cosine_with_min_lr
lr_scheduler_kwargs:
  min_lr_rate: 0.1
packing: false
max_grad_norm: 0.2
max_length: 32768
max_steps: -1
num_train_epochs: 5
output_dir: data/OpenR1-Distill-7B
overwrite_output_dir: true
per_device_eval_batch_size: 1
per_device_train_batch_size: 2
push_to_hub: true
report_to:
- wandb
save_strategy: epoch
save_total_limit: 1
seed: 42
use_liger_kernel: true
warmup_ratio: 0.03
"""
CASES = [
    (
        "grpo",
        GRPO_DEMO,
        {"torch_dtype", "overwrite_output_dir", "warmup_ratio"},
        {
            "dtype": "bfloat16",
            "attn_implementation": "flash_attention_2",
            "warmup_steps": 0.1,
            "learning_rate": 2e-5,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
            "num_generations": 16,
            "reward_weights": [1.0, 1.0, 1.0],
            "report_to": ["wandb"],
            "push_to_hub": True,
            "system_prompt": "Think first, then answer.",
            "max_prompt_length": 512,
            "dataset_prompt_column": "problem",
            "use_vllm": True,  # by default on the GPUs that train
            "vllm_mode": "colocate",
        },
    ),
    (
        "grpo",
        CODEFORCES,
        {"torch_dtype", "vllm_device", "overwrite_output_dir", "warmup_ratio"},
        {
            "scale_rewards": "none",
            "loss_type": "dr_grpo",
            "beta": 0.0,
            "mask_truncated_completions": True,
            "save_steps": 0.05,
            "callbacks": ["push_to_hub_revision"],
            "benchmarks": ["lcb_v4"],
            "hub_model_revision": "v01.00",
            "eval_strategy": "no",
            "code_eval_test_batch_size": -1,
            "code_eval_scoring_mode": "weighted_sum",
            "dataset_config": "verifiable-prompts",
        },
    ),
    (
        "sft",
        SFT_DISTILL,
        {"torch_dtype", "overwrite_output_dir", "warmup_ratio"},
        {
            "chat_template": "{% for message in messages %}{{ message.content }}<|im_end|>{% endfor %}",
            "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
            "warmup_steps": 0.03,
            "max_length": 32768,
            "dataset_num_proc": 12,
            "use_liger_kernel": True,
        },
    ),
]


@pytest.mark.parametrize(("task", "text", "warned", "values"), CASES, ids=["grpo", "codeforces", "sft"])
def test_published_recipe_keeps_its_meaning(parse, task, text, warned, values):
    found = parse(text, task=task)
    assert {name: found[name] for name in values} == values
    assert len(found["warnings"]) == len(warned)
    assert all(any(f"`{name}`" in message for message in found["warnings"]) for name in warned)


PATHS = [
    "recipes/OpenR1-Distill-7B/sft/config_distill.yaml",
    "recipes/Qwen2.5-1.5B-Instruct/sft/config_demo.yaml",
    "recipes/DeepSeek-R1-Distill-Qwen-1.5B/grpo/config_demo.yaml",
    "recipes/Qwen2.5-1.5B-Instruct/grpo/config_demo.yaml",
    "recipes/Qwen2.5-1.5B-Instruct/grpo/config_demo_code.yaml",
    "recipes/Qwen2.5-1.5B-Instruct/grpo/config_demo_code_ioi.yaml",
    "recipes/Qwen2.5-Coder-7B-Instruct/grpo/config_codeforces.yaml",
    "recipes/Qwen2.5-Math-7B/grpo/config_simple_rl.yaml",
    "recipes/OlympicCoder-7B/sft/config_v00.00.yaml",
    "recipes/OlympicCoder-32B/sft/config_v00.00.yaml",
]


@pytest.mark.parametrize("path", PATHS)
def test_recipes_lie_where_users_look_for_them(path):
    assert isinstance(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")), dict)


def test_shaped_rewards_and_routers_keep_their_settings(parse):
    values = {
        "code_provider": "morph", "parallel_code_exec_per_proc": 4, "e2b_router_url": "1.2.3.4:8000",
        "morph_router_url": "1.2.3.4:8001", "ioi_provider": "piston", "code_language": "cpp",
        "reward_funcs": ["cosine", "ioi_code"], "cosine_max_len": 2000, "repetition_max_penalty": -1.0,
        "soft_punish_cache": 4096,
    }  # fmt: skip
    found = parse(yaml.safe_dump(values | {"output_dir": "x"}))
    assert {name: found[name] for name in values} == values and found["warnings"] == []
