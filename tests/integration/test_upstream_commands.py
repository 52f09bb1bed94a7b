# SPDX-License-Identifier: Apache-2.0
"""Commands and recipes written for Open R1 go on working: parsed to the right values, each old name warned of once.

The command lines are those that Open R1's documentation shows; the recipes are its published settings, old names
included.
"""

import logging
import shlex
from pathlib import Path

import pytest
import yaml
from accelerate.commands.launch import launch_command_parser
from trl import ModelConfig

from open_r1.arguments import RecipeParser
from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {"sft": (SFTScriptArguments, SFTConfig), "grpo": (GRPOScriptArguments, GRPOConfig)}
# This machine may have no GPU; the commands were written for ones that have.
ON_ANY_MACHINE = ["--use_cpu", "true"]


class Parsed:
    """The three argument objects of a run, and the warnings that came with them."""

    def __init__(self, objects: tuple, warnings: list[str]) -> None:
        self.script, self.training, self.model = objects
        self.warnings = warnings


@pytest.fixture
def run(caplog, monkeypatch):
    """Parses the words behind `src/open_r1/<task>.py`."""
    monkeypatch.chdir(ROOT)

    def parse(task: str, words: list[str]) -> Parsed:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="open_r1"):
            objects = RecipeParser((*CLASSES[task], ModelConfig)).parse([*words, *ON_ANY_MACHINE])
        return Parsed(objects, list(caplog.messages))

    return parse


@pytest.fixture
def launch(run):
    """Parses a whole command line: first accelerate's part, then what it hands to the script."""

    def parse(command: str) -> Parsed:
        words = shlex.split(command.replace("\\\n", " "))
        assert words[:2] == ["accelerate", "launch"]
        launched = launch_command_parser().parse_args(words[2:])
        assert Path(launched.config_file).is_file()
        script = Path(launched.training_script)
        assert script.parent == Path("src/open_r1")
        return run(script.stem, launched.training_script_args)

    return parse


@pytest.fixture
def run_recipe(run, tmp_path):
    """Parses a recipe given as YAML text."""

    def parse(task: str, text: str, *overrides: str) -> Parsed:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return run(task, ["--config", str(path), *overrides])

    return parse


def assert_warned_once(parsed: Parsed, *names: str) -> None:
    assert len(parsed.warnings) == len(names), parsed.warnings
    for name in names:
        assert sum(f"`{name}`" in message for message in parsed.warnings) == 1, parsed.warnings


# Supervised fine-tuning


def test_sft_command_with_all_settings_on_the_line(launch):
    parsed = launch(
        """accelerate launch --config_file=recipes/accelerate_configs/zero3.yaml src/open_r1/sft.py \
        --model_name_or_path Qwen/Qwen2.5-1.5B-Instruct --dataset_name open-r1/OpenR1-Math-220k \
        --learning_rate 1.0e-5 --num_train_epochs 1 --packing --max_seq_length 16384 \
        --per_device_train_batch_size 16 --gradient_checkpointing --bf16 \
        --output_dir data/Qwen2.5-1.5B-Open-R1-Distill"""
    )
    assert_warned_once(parsed, "max_seq_length")
    assert parsed.model.model_name_or_path == "Qwen/Qwen2.5-1.5B-Instruct"
    assert parsed.script.dataset_name == "open-r1/OpenR1-Math-220k"
    assert parsed.training.learning_rate == 1e-5
    assert parsed.training.num_train_epochs == 1
    assert parsed.training.packing is True
    assert parsed.training.max_length == 16384
    assert parsed.training.per_device_train_batch_size == 16
    assert parsed.training.gradient_checkpointing is True
    assert parsed.training.bf16 is True
    assert parsed.training.output_dir == "data/Qwen2.5-1.5B-Open-R1-Distill"


def test_sft_command_with_config_eos_and_liger(launch):
    parsed = launch(
        """accelerate launch --config_file=recipes/accelerate_configs/zero3.yaml src/open_r1/sft.py \
        --model_name_or_path open-r1/Qwen2.5-Math-7B-RoPE-300k --dataset_name open-r1/Mixture-of-Thoughts \
        --dataset_config all --eos_token '<|im_end|>' --learning_rate 4.0e-5 --num_train_epochs 5 \
        --max_seq_length 32768 --per_device_train_batch_size 2 --gradient_checkpointing --bf16 --use_liger_kernel \
        --output_dir data/OpenR1-Distill-7B"""
    )
    assert_warned_once(parsed, "max_seq_length")
    assert parsed.script.dataset_config == "all"
    assert parsed.training.eos_token == "<|im_end|>"
    assert parsed.training.max_length == 32768
    assert parsed.training.use_liger_kernel is True


def test_sft_recipe_with_overrides_by_equals_sign(launch):
    parsed = launch(
        """accelerate launch --config_file recipes/accelerate_configs/zero3.yaml src/open_r1/sft.py \
        --config recipes/OpenR1-Distill-7B/sft/config_distill.yaml \
        --per_device_train_batch_size=1 --num_train_epochs=5 --hub_model_id my-org/my-model --run_name second-try"""
    )
    assert parsed.warnings == []
    assert parsed.training.per_device_train_batch_size == 1
    assert parsed.training.gradient_accumulation_steps == 8
    assert parsed.training.hub_model_id == "my-org/my-model"
    assert parsed.training.run_name == "second-try"


def test_fewer_processes_are_told_to_accelerate(launch):
    parsed = launch(
        """accelerate launch --num_processes=7 --config_file recipes/accelerate_configs/zero2.yaml \
        src/open_r1/sft.py --config recipes/OlympicCoder-7B/sft/config_v00.00.yaml --output_dir data/other"""
    )
    assert parsed.training.output_dir == "data/other"


def test_base_model_gets_eos_and_template_text(run):
    template = (ROOT / "recipes" / "templates" / "chatml.jinja").read_text(encoding="utf-8")
    parsed = run(
        "sft",
        [
            "--model_name_or_path",
            "meta-llama/Llama-3.2-1B",
            "--dataset_name",
            "open-r1/Mixture-of-Thoughts",
            "--dataset_config",
            "all",
            "--output_dir",
            "data/Llama-3.2-1B-Open-R1-Distill",
            "--eos_token",
            "<|im_end|>",
            "--chat_template",
            template,
        ],
    )
    assert parsed.training.chat_template == template
    assert parsed.training.eos_token == "<|im_end|>"


def test_template_may_be_a_path(run):
    path = "recipes/templates/open_r1_distill.jinja"
    parsed = run("sft", ["--dataset_name", "a/b", "--output_dir", "data/x", "--chat_template", path])
    assert parsed.training.chat_template == path


def test_tracking_and_hub_flags(run):
    parsed = run(
        "sft",
        shlex.split(
            "--config recipes/OpenR1-Distill-7B/sft/config_distill.yaml --push_to_hub --hub_strategy every_save "
            "--report_to wandb --wandb_entity huggingface --wandb_project open-r1 --wandb_run_group distill "
            "--hub_model_revision v01.00 --push_to_hub_revision --overwrite_hub_revision --benchmarks math_500 aime24"
        ),
    )
    assert parsed.training.push_to_hub is True
    assert parsed.training.hub_strategy.value == "every_save"
    assert parsed.training.report_to == ["wandb"]
    assert parsed.training.wandb_entity == "huggingface"
    assert parsed.training.wandb_project == "open-r1"
    assert parsed.training.wandb_run_group == "distill"
    assert parsed.training.hub_model_revision == "v01.00"
    assert parsed.training.push_to_hub_revision is True
    assert parsed.training.overwrite_hub_revision is True
    assert parsed.training.benchmarks == ["math_500", "aime24"]
    assert "push_to_hub_revision" in parsed.training.callbacks


# The data mixture


MIXTURE = """
dataset_mixture:
  datasets:
    - id: dataset1
      config: config_name1
      split: split1
      columns:
        - col1
        - col2
      weight: 0.25
    - id: dataset2
      config: config_name2
      split: split2
      columns:
        - col1
        - col2
      weight: 0.5
  seed: 42
  test_split_size: 0.1
output_dir: data/mixture
"""


def test_data_mixture(run_recipe):
    mixture = run_recipe("sft", MIXTURE).script.dataset_mixture
    first, second = mixture.datasets
    assert (first.id, first.config, first.split, first.columns, first.weight) == (
        "dataset1",
        "config_name1",
        "split1",
        ["col1", "col2"],
        0.25,
    )
    assert second.weight == 0.5
    assert mixture.seed == 42
    assert mixture.test_split_size == 0.1


def test_mixture_defaults(run_recipe):
    mixture = run_recipe("grpo", "dataset_mixture: {datasets: [{id: a}]}\noutput_dir: x\n").script.dataset_mixture
    assert (mixture.datasets[0].split, mixture.datasets[0].config, mixture.datasets[0].columns) == (
        "train",
        None,
        None,
    )
    assert mixture.datasets[0].weight == 1.0
    assert (mixture.seed, mixture.test_split_size) == (0, None)


def test_mixture_with_different_columns_is_taken(run_recipe):
    # Upstream refuses it. Puzzles of different kinds need it; what a row lacks is null.
    text = "dataset_mixture: {datasets: [{id: a, columns: [x]}, {id: b, columns: [y]}]}\noutput_dir: x\n"
    mixture = run_recipe("sft", text).script.dataset_mixture
    assert [entry.columns for entry in mixture.datasets] == [["x"], ["y"]]


def test_no_data_is_refused(run):
    with pytest.raises(ValueError, match="`dataset_mixture`"):
        run("sft", ["--output_dir", "data/x"])


# GRPO


def test_grpo_on_one_node(launch):
    parsed = launch(
        """accelerate launch --config_file recipes/accelerate_configs/zero2.yaml src/open_r1/grpo.py \
        --config recipes/DeepSeek-R1-Distill-Qwen-1.5B/grpo/config_demo.yaml --vllm_mode colocate"""
    )
    assert parsed.warnings == []
    assert parsed.training.vllm_mode == "colocate"
    assert parsed.training.use_vllm is True
    assert parsed.script.reward_funcs == ["accuracy", "format", "tag_count"]


def test_grpo_with_a_server_on_another_node(run):
    parsed = run(
        "grpo",
        shlex.split(
            "--config recipes/Qwen2.5-1.5B-Instruct/grpo/config_demo.yaml --vllm_mode server "
            "--vllm_server_host=ip-10-0-0-7 --gradient_accumulation_steps=8"
        ),
    )
    assert parsed.training.vllm_mode == "server"
    assert parsed.training.vllm_server_host == "ip-10-0-0-7"
    assert parsed.training.gradient_accumulation_steps == 8


def test_grpo_with_tracking_names(launch):
    parsed = launch(
        """accelerate launch --config_file recipes/accelerate_configs/zero3.yaml --num_processes=7 \
        src/open_r1/grpo.py --config recipes/Qwen2.5-1.5B-Instruct/grpo/config_demo.yaml \
        --wandb_entity=huggingface --wandb_project=open-r1 --run_name=Qwen2.5-1.5B-GRPO"""
    )
    assert parsed.training.wandb_project == "open-r1"
    assert parsed.training.run_name == "Qwen2.5-1.5B-GRPO"


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


def test_recipe_of_the_grpo_demo(run_recipe):
    parsed = run_recipe("grpo", GRPO_DEMO)
    assert_warned_once(parsed, "torch_dtype", "overwrite_output_dir", "warmup_ratio")
    assert parsed.model.dtype == "bfloat16"
    assert parsed.model.attn_implementation == "flash_attention_2"
    assert parsed.training.warmup_steps == 0.1
    assert parsed.training.learning_rate == 2e-5
    assert parsed.training.gradient_checkpointing_kwargs == {"use_reentrant": False}
    assert parsed.training.num_generations == 16
    assert parsed.training.reward_weights == [1.0, 1.0, 1.0]
    assert parsed.training.report_to == ["wandb"]
    assert parsed.training.push_to_hub is True
    assert parsed.training.system_prompt == "Think first, then answer."
    assert parsed.script.max_prompt_length == 512
    assert parsed.script.dataset_prompt_column == "problem"
    # Names that have not changed keep the meaning they had: vLLM is used, by TRL's default now on the training GPUs.
    assert parsed.training.vllm_mode == "colocate"


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


def test_recipe_of_codeforces(run_recipe):
    parsed = run_recipe("grpo", CODEFORCES)
    assert_warned_once(parsed, "torch_dtype", "vllm_device", "overwrite_output_dir", "warmup_ratio")
    assert parsed.training.scale_rewards == "none"
    assert parsed.training.loss_type == "dr_grpo"
    assert parsed.training.beta == 0.0
    assert parsed.training.mask_truncated_completions is True
    assert parsed.training.save_steps == 0.05
    assert parsed.training.callbacks == ["push_to_hub_revision"]
    assert parsed.training.benchmarks == ["lcb_v4"]
    assert parsed.training.hub_model_revision == "v01.00"
    assert parsed.training.eval_strategy.value == "no"
    assert parsed.script.code_eval_test_batch_size == -1
    assert parsed.script.code_eval_scoring_mode == "weighted_sum"
    assert parsed.script.dataset_config == "verifiable-prompts"


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


def test_recipe_of_the_distillation(run_recipe):
    parsed = run_recipe("sft", SFT_DISTILL)
    assert_warned_once(parsed, "torch_dtype", "overwrite_output_dir", "warmup_ratio")
    assert parsed.training.chat_template.startswith("{% for message")
    assert parsed.training.lr_scheduler_kwargs == {"min_lr_rate": 0.1}
    assert parsed.training.warmup_steps == 0.03
    assert parsed.training.max_length == 32768
    assert parsed.training.dataset_num_proc == 12
    assert parsed.training.use_liger_kernel is True


@pytest.mark.parametrize(
    "path",
    [
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
    ],
)
def test_recipes_lie_where_users_look_for_them(path):
    assert isinstance(yaml.safe_load((ROOT / path).read_text(encoding="utf-8")), dict)


# Code rewards


@pytest.mark.parametrize(("key", "value"), [("provider_type", "e2b"), ("provider_type", "morph")])
def test_code_provider_by_its_documented_name(run_recipe, key, value):
    parsed = run_recipe("grpo", f"dataset_name: a/b\noutput_dir: x\n{key}: {value}\n")
    assert_warned_once(parsed, "provider_type")
    assert parsed.script.code_provider == value


def test_router_addresses(run_recipe):
    parsed = run_recipe(
        "grpo",
        (
            "dataset_name: a/b\noutput_dir: x\ncode_provider: morph\nparallel_code_exec_per_proc: 4\n"
            "e2b_router_url: 1.2.3.4:8000\nmorph_router_url: 1.2.3.4:8001\n"
        ),
    )
    assert parsed.warnings == []
    assert parsed.script.e2b_router_url == "1.2.3.4:8000"
    assert parsed.script.morph_router_url == "1.2.3.4:8001"
    assert parsed.script.parallel_code_exec_per_proc == 4


def test_ioi_settings(run_recipe):
    parsed = run_recipe(
        "grpo",
        (
            "dataset_name: open-r1/ioi\noutput_dir: x\nioi_provider: piston\ncode_language: cpp\n"
            "code_eval_test_batch_size: 3\nreward_funcs: [ioi_code, code_format, format]\n"
            "reward_weights: [1.0, 0.1, 0.1]\n"
        ),
    )
    assert parsed.script.ioi_provider == "piston"
    assert parsed.script.code_language == "cpp"
    assert parsed.script.reward_funcs == ["ioi_code", "code_format", "format"]


def test_parameters_of_shaped_rewards(run_recipe):
    parsed = run_recipe(
        "grpo",
        (
            "dataset_name: a/b\noutput_dir: x\nreward_funcs: [cosine, repetition_penalty, soft_overlong_punishment]\n"
            "cosine_min_value_wrong: -1.0\ncosine_max_value_wrong: -0.5\ncosine_min_value_correct: 0.5\n"
            "cosine_max_value_correct: 1.0\ncosine_max_len: 2000\nrepetition_n_grams: 3\n"
            "repetition_max_penalty: -1.0\nmax_completion_len: 16384\nsoft_punish_cache: 4096\n"
        ),
    )
    assert parsed.script.cosine_max_len == 2000
    assert parsed.script.repetition_max_penalty == -1.0
    assert parsed.script.soft_punish_cache == 4096


# Old names one by one, on the command line


@pytest.mark.parametrize(
    ("task", "words", "owner", "name", "value"),
    [
        ("sft", ["--max_seq_length", "4096"], "training", "max_length", 4096),
        ("sft", ["--max_seq_length=4096"], "training", "max_length", 4096),
        ("sft", ["--torch_dtype", "bfloat16"], "model", "dtype", "bfloat16"),
        ("sft", ["--warmup_ratio", "0.1"], "training", "warmup_steps", 0.1),
        ("grpo", ["--wandb_log_unique_prompts", "true"], "training", "log_unique_prompts", True),
        ("grpo", ["--wandb_log_unique_prompts"], "training", "log_unique_prompts", True),
        ("grpo", ["--vllm_guided_decoding_regex", "a+"], "training", "vllm_structured_outputs_regex", "a+"),
        ("grpo", ["--provider_type", "morph"], "script", "code_provider", "morph"),
        ("sft", ["--overwrite_output_dir"], "training", "output_dir", "data/x"),
        ("sft", ["--overwrite_output_dir", "true"], "training", "output_dir", "data/x"),
        ("grpo", ["--vllm_device", "auto"], "training", "vllm_mode", "colocate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_old_name_on_the_command_line(run, task, words, owner, name, value):
    parsed = run(task, ["--dataset_name", "a/b", "--output_dir", "data/x", *words])
    assert_warned_once(parsed, words[0].removeprefix("--").split("=")[0])
    assert getattr(getattr(parsed, owner), name) == value


def test_max_prompt_length_is_ours_and_silent(run):
    parsed = run("grpo", ["--dataset_name", "a/b", "--output_dir", "data/x", "--max_prompt_length", "512"])
    assert parsed.warnings == []
    assert parsed.script.max_prompt_length == 512


@pytest.mark.parametrize("words", [["--learning_rat", "1e-5"], ["--vllm_device", "cuda:7"], ["--warmup_ratio", "3"]])
def test_what_has_no_equivalent_is_refused(run, words):
    with pytest.raises(ValueError, match=words[0].removeprefix("--")):
        run("grpo", ["--dataset_name", "a/b", "--output_dir", "data/x", *words])


def test_a_key_that_nobody_knows_is_refused_from_a_recipe(run_recipe):
    with pytest.raises(ValueError, match="`learning_rate`"):
        run_recipe("sft", "dataset_name: a/b\noutput_dir: x\nlearning_rat: 1.0e-5\n")


def test_old_and_new_name_together_are_refused(run_recipe):
    with pytest.raises(ValueError, match="max_length"):
        run_recipe("sft", "dataset_name: a/b\noutput_dir: x\nmax_length: 1024\nmax_seq_length: 2048\n")


# Options that fsdp_cp.yaml asks for


def test_options_of_context_parallelism(launch):
    parsed = launch(
        """accelerate launch --config_file recipes/accelerate_configs/fsdp_cp.yaml src/open_r1/sft.py \
        --config recipes/OpenR1-Distill-7B/sft/config_distill.yaml --attn_implementation sdpa --packing false \
        --per_device_train_batch_size 1 --pad_to_multiple_of 16 --max_length 131072"""
    )
    assert parsed.model.attn_implementation == "sdpa"
    assert parsed.training.packing is False
    assert parsed.training.pad_to_multiple_of == 16
    assert parsed.training.max_length == 131072
