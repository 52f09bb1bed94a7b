# SPDX-License-Identifier: Apache-2.0
"""`--check_only` and the plan of a run: its formulas, its numbers, and that it writes nothing."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config
from trl import ModelConfig

from open_r1 import grpo, sft
from open_r1.arguments import RecipeParser, load_recipe
from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.configs.launch import Launch, current_launch, planned_launch
from open_r1.preflight.plan import activation_bytes, bytes_a_parameter, make_schedule, state_bytes
from scripts.smoke_recipe import RECIPES, replace_data
from scripts.stand_ins import tokenizer_like
from tests.integration.tiny import build_tiny, write_rows

GB = 1e9
ZERO3, FSDP = "recipes/accelerate_configs/zero3.yaml", "recipes/accelerate_configs/fsdp.yaml"
GROUPS = (
    (sft.main, SFTScriptArguments, SFTConfig),
    (grpo.main, GRPOScriptArguments, GRPOConfig),
)
SHAPES = {
    "32B": {
        "hidden_size": 5120, "intermediate_size": 27648, "num_hidden_layers": 64, "num_attention_heads": 40,
        "num_key_value_heads": 8, "vocab_size": 152064,
    },
    "1.5B": {
        "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
    },
}  # fmt: skip
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "vocab_size": 128,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


def save_config(folder, config_class=Qwen2Config, **shape):
    """Write a model that has no weights: a check needs its configuration alone."""
    tokenizer_like("Qwen/Qwen2.5").save_pretrained(folder)
    config_class(max_position_embeddings=32768, dtype="bfloat16", **shape).save_pretrained(folder)
    return folder


def localize(path, folder, shape):
    """Return a recipe of ours with its header, whose model and data are here."""
    recipe = load_recipe(path)
    recipe |= {"model_name_or_path": str(save_config(folder / "model", **shape)), "output_dir": str(folder / "run")}
    recipe |= replace_data(recipe, path.parent.name, folder / "data")
    header = "".join(f"{line}\n" for line in path.read_text(encoding="utf-8").splitlines()[:6])
    (folder / "recipe.yaml").write_text(header + yaml.safe_dump(recipe), encoding="utf-8")
    return folder / "recipe.yaml"


def check(kind, words):
    main, *classes = GROUPS[kind == "grpo"]
    return main(*RecipeParser((*classes, ModelConfig)).parse(["--check_only", *map(str, words)]))


@pytest.mark.parametrize(("stage", "size"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_model_states_are_those_of_the_zero_paper(stage, size):
    parts = state_bytes(7_500_000_000, 7_500_000_000, Launch(num_processes=64, zero_stage=stage))
    assert sum(parts.values()) / GB == pytest.approx(size, abs=0.05)


@pytest.mark.parametrize("config_class", [LlamaConfig, Qwen2Config, Qwen3Config])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_are_what_autograd_saves(config_class, dtype, tmp_path):
    config = config_class(**SMALL, num_key_value_heads=2, head_dim=8)
    config.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    saved = {}

    def keep(tensor):
        saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    ids = torch.randint(0, 128, (2, 96))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = model.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    counted = sum(tensor.untyped_storage().nbytes() for key, tensor in saved.items() if key not in weights)

    assert states.last_hidden_state.shape == (2, 96, 64)
    # Qwen3's norms of queries and keys aren't in the formula.
    assert activation_bytes(config, 192, dtype.itemsize, is_checkpointed=False) == pytest.approx(counted, rel=0.2)


@pytest.mark.parametrize(
    ("settings", "model_settings", "launch", "expected"),
    [
        ({}, {}, "", (2 + 4, 4, 8)),  # autocast keeps weights that it has cast
        ({"bf16": False}, {}, "", (4, 4, 8)),
        ({}, {}, ZERO3, (2, 2, 12)),
        ({}, {}, FSDP, (4, 4, 8)),
        ({"optim": "adamw_8bit"}, {"use_peft": True, "load_in_4bit": True}, "", (0.5625, 4, 2)),
    ],
    ids=["fp32 in bf16", "fp32", "ZeRO", "FSDP", "QLoRA"],
)
def test_bytes_of_a_parameter(settings, model_settings, launch, expected, tmp_path):
    settings = {"bf16": True, "check_only": True, "check_launch": launch, **settings}
    args = SFTConfig(output_dir=str(tmp_path), use_cpu=True, **settings)
    assert bytes_a_parameter(args, ModelConfig(**model_settings), torch.float32) == expected


def schedule(config, num_rows, mean, longest, launch="", **settings):
    settings |= {"check_only": True, "check_launch": launch, "output_dir": "never_written"}
    return make_schedule(config(use_cpu=True, bf16=False, **settings), num_rows, mean, longest)


def test_schedule_of_sft():
    found = schedule(
        SFTConfig, 1001, 300.0, 700, "--num_processes 4", per_device_train_batch_size=2, num_train_epochs=3,
        gradient_accumulation_steps=8, max_length=512,
    )  # fmt: skip
    # 1,001 rows are 501 batches of 2, 126 for each process, 15.75 steps.
    assert (found["batch"], found["steps_an_epoch"], found["steps"]) == (64, 16, 48)
    assert (found["length"], found["tokens"]) == (512, 64 * 300)


def test_schedule_of_packed_rows_counts_full_ones():
    found = schedule(
        SFTConfig, 1000, 256.0, 700, per_device_train_batch_size=1, num_train_epochs=1, packing=True, max_length=1024
    )
    assert (found["rows"], found["steps"], found["length"], found["tokens"]) == (250, 250, 1024, 1024)


def test_context_parallelism_shares_a_row_among_processes():
    launch = "recipes/accelerate_configs/fsdp_cp.yaml --num_processes 16"  # eight of them to a row
    assert schedule(SFTConfig, 100, 10.0, 10, launch, per_device_train_batch_size=1)["batch"] == 2


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, 25),
        ({"steps_per_generation": 8}, 24),  # 100 prompts are 12 whole generations of 8
        ({"num_iterations": 2}, 50),
        ({"max_steps": 7}, 7),
        ({"num_train_epochs": 1.5}, 38),
    ],
    ids=["plain", "two updates a generation", "two iterations", "max_steps", "one and a half epochs"],
)
def test_schedule_of_grpo(settings, steps):
    chosen = {
        "per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "num_generations": 8,
        "max_completion_length": 100, "num_train_epochs": 1, **settings,
    }  # fmt: skip
    found = schedule(GRPOConfig, 100, 20.0, 50, **chosen)
    assert (found["batch"], found["groups"]) == (32, 4)
    assert (found["steps"], found["length"], found["tokens"]) == (steps, 150, 32 * 120)
    assert schedule(GRPOConfig, 100, 20.0, 50, **chosen, dynamic_sampling_rounds=2)["tokens"] == 3 * 32 * 120


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_a_training_does_the_steps_that_were_planned(kind, tiny, tmp_path, capfd):
    settings = {"max_steps": -1, "num_train_epochs": 1.5, "save_steps": 100, "gradient_accumulation_steps": 2}
    settings |= {} if kind == "sft" else {"num_iterations": 2, "steps_per_generation": 4}
    check(kind, tiny.argv(kind, tmp_path, **settings))
    planned = re.search(r"^Steps: (\d+), ", capfd.readouterr().out, re.MULTILINE)
    tiny.train(kind, tmp_path, **settings)
    out = capfd.readouterr().out
    state = json.loads((tmp_path / "trainer_state.json").read_text(encoding="utf-8"))
    assert planned and int(planned[1]) == state["global_step"]
    lines = [line.split(":")[0] for line in out.splitlines()]
    assert [name for name in ("Run", "Steps", "Tokens", "Memory") if name in lines] == lines[:4]


@pytest.mark.parametrize(
    ("name", "shape", "words", "launch"),
    [
        ("OlympicCoder-32B/sft/config_v00.00.yaml", "32B", [], "128 processes, FSDP"),
        (
            "OlympicCoder-32B/sft/config_v00.00.yaml",
            "32B",
            ["--check_launch", f"{ZERO3} --num_processes 4"],
            "4 processes, ZeRO-3",
        ),
        ("DeepSeek-R1-Zero/grpo/config_qwen2.5_32b.yaml", "32B", [], "32 processes, ZeRO-3"),
        ("Qwen2.5-1.5B-Instruct/grpo/config_lora.yaml", "1.5B", [], "1 process, nothing split"),
    ],
    ids=["sft", "fewer GPUs", "grpo with vLLM", "LoRA"],
)
def test_recipe_is_checked_without_its_gpus(name, shape, words, launch, tmp_path, capfd):
    recipe = localize(RECIPES / name, tmp_path, SHAPES[shape])
    assert check(Path(name).parts[1], ["--config", recipe, *words]) == {}
    lines = capfd.readouterr().out.splitlines()
    assert launch in lines[0]
    assert ("100.00% trained" in lines[0]) == (shape == "32B")
    assert any(line.startswith("Not checked here") for line in lines)
    assert {path.name for path in tmp_path.iterdir()} == {"model", "data", "recipe.yaml"}


def test_full_training_in_bf16_is_judged_by_the_planned_launch(tiny, tmp_path):
    words = tiny.argv("sft", tmp_path / "run", dtype="bfloat16")
    with pytest.raises(ValueError, match="dtype"):
        check("sft", words)
    zero2 = RECIPES / "accelerate_configs" / "zero2.yaml"
    assert check("sft", [*words, "--check_launch", zero2]) == {}


def test_golds_that_cannot_be_judged_are_counted_by_kind(tiny, tmp_path, capfd, caplog):
    golds = [str(number) if number % 4 else "\\frac{" for number in range(16)]
    rows = [{"problem": f"What is {number} + 0?", "solution": gold} for number, gold in enumerate(golds)]
    write_rows(tmp_path / "data" / "train.jsonl", rows)
    words = tiny.argv("grpo", tmp_path / "run", dataset_name=tmp_path / "data", reward_funcs=["accuracy", "format"])
    check("grpo", words)
    assert [record for record in caplog.records if "formula 4" in record.message]
    assert "Reward accuracy: judges 12 of 16 rows tried; not formula 4: '\\\\frac{'" in capfd.readouterr().out


def test_launch_of_a_check_starts_no_training(tmp_path):
    with pytest.raises(ValueError, match="check_only"):
        SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, check_launch="zero3.yaml")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("recipes/accelerate_configs/zero3.yaml", (8, 3, False, 1)),
        (
            "recipes/accelerate_configs/zero2.yaml --num_processes 3 --mixed_precision $X",
            (3, 2, False, 1),
        ),
        ("recipes/accelerate_configs/fsdp_cp.yaml", (8, 3, True, 8)),
        ("recipes/accelerate_configs/ddp.yaml", (8, 0, False, 1)),
        ("recipes/accelerate_configs/zero3.yaml --num-processes 32", (32, 3, False, 1)),
        ("--num_machines 4 --num_processes=32 --config-file=recipes/accelerate_configs/zero2.yaml", (32, 2, False, 1)),
        ("recipes/accelerate_configs/zero2.yaml --zero_stage 0", (8, 0, False, 1)),
        ("", (1, 0, False, 1)),
    ],
)
def test_planned_launch_is_that_of_the_config_file(words, expected, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # files of the repository are found from anywhere
    launch = planned_launch(words)
    assert (launch.num_processes, launch.zero_stage, launch.is_fsdp, launch.num_per_sequence) == expected


@pytest.mark.parametrize(
    "words", ["no/such/file.yaml", "zero3.yaml --num_procesess 8", "--use_deepspeed", "--num_processes"]
)
def test_launch_that_is_not_understood_is_refused(words):
    with pytest.raises(ValueError, match="check_launch"):
        planned_launch(words)


def test_current_launch_reads_what_accelerate_sets(monkeypatch, tmp_path):
    (tmp_path / "ds.json").write_text(json.dumps({"zero_optimization": {"stage": 1}}), encoding="utf-8")
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    assert (current_launch().num_processes, current_launch().zero_stage) == (16, 3)
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(tmp_path / "ds.json"))
    assert current_launch().zero_stage == 1
