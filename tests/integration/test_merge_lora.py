# SPDX-License-Identifier: Apache-2.0
"""Merging a LoRA adapter into its base: same logits, whole files, clear refusals."""

import json

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from open_r1.manifest import MANIFEST_NAME, STAGING_NAME, missing_from
from scripts.merge_lora import main
from scripts.stand_ins import byte_tokenizer

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def build_base(folder, vocab_size, **changes):
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        initializer_range=0.3,
        **changes,
    )
    model = Qwen3ForCausalLM(config)
    model.save_pretrained(folder)
    return model


def save_adapter(model, folder, target_modules="all-linear", **options):
    # init_lora_weights=False gives B random values too, so that the adapter changes the model.
    config = peft.LoraConfig(
        r=4, lora_alpha=8, init_lora_weights=False, task_type="CAUSAL_LM", target_modules=target_modules, **options
    )
    torch.manual_seed(1)
    adapted = peft.get_peft_model(model, config).eval()
    adapted.save_pretrained(folder)
    return adapted


def logits(model):
    with torch.inference_mode():
        return model(input_ids=torch.arange(40).reshape(2, 20)).logits


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer(TEMPLATE, eos_token="<|im_end|>")


@pytest.fixture
def run(tmp_path, tokenizer):
    """A base, and an adapter with tokenizer as a training leaves it; yields the adapted model."""
    model = build_base(tmp_path / "base", len(tokenizer))
    model.name_or_path = model.config._name_or_path = str(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "run")
    return save_adapter(model, tmp_path / "run")


def merge(tmp_path, *options, adapter="run", output="merged"):
    return main(["--adapter", str(tmp_path / adapter), "--output_dir", str(tmp_path / output), *options])


def test_merged_model_equals_base_plus_adapter(run, tmp_path, tokenizer, capsys):
    assert merge(tmp_path, "--dtype", "float32") == 0

    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert (logits(merged) - logits(run)).abs().max() <= 1e-5 * logits(run).abs().max()
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    assert (logits(merged) - logits(base)).abs().max() > 0.1, "the adapter had no effect"
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    assert merged.generation_config.eos_token_id == [tokenizer.eos_token_id]
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template == TEMPLATE
    assert missing_from(tmp_path / "merged") is None
    assert "max abs diff" in capsys.readouterr().out


def test_end_tokens_of_the_base_stay_beside_that_of_a_checkpoint(run, tmp_path, tokenizer):
    GenerationConfig(eos_token_id=[5, 7]).save_pretrained(tmp_path / "base")
    assert merge(tmp_path, "--dtype", "float32") == 0
    assert GenerationConfig.from_pretrained(tmp_path / "merged").eos_token_id == [tokenizer.eos_token_id, 5, 7]


@pytest.mark.parametrize(
    ("dtype", "options", "merged"),
    [
        ("bfloat16", (), "bfloat16"),
        ("float32", (), "float32"),
        ("float32", ("--dtype", "bfloat16"), "bfloat16"),
    ],
)
def test_dtype_is_that_of_the_base_or_the_one_named(run, tmp_path, capsys, dtype, options, merged):
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=dtype)
    base.save_pretrained(tmp_path / "base")
    assert merge(tmp_path, *options) == 0
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == merged
    assert f"base + adapter, in {merged}: max abs diff" in capsys.readouterr().out


def test_dora_and_rslora_merge(tmp_path, tokenizer):
    model = build_base(tmp_path / "base", len(tokenizer))
    tokenizer.save_pretrained(tmp_path / "run")
    adapted = save_adapter(model, tmp_path / "run", use_dora=True, use_rslora=True)
    assert merge(tmp_path, "--dtype", "float32", "--base_model", str(tmp_path / "base")) == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert (logits(merged) - logits(adapted)).abs().max() <= 1e-5 * logits(adapted).abs().max()


def test_embedding_grown_in_training_is_merged(tmp_path, tokenizer):
    build_base(tmp_path / "base", len(tokenizer) - 3)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.save_pretrained(tmp_path / "run")
    adapted = save_adapter(model, tmp_path / "run")
    assert merge(tmp_path, "--dtype", "float32") == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert merged.config.vocab_size == len(tokenizer)
    assert (logits(merged) - logits(adapted)).abs().max() <= 1e-5 * logits(adapted).abs().max()


def test_merge_that_changes_the_model_is_not_published(tmp_path, tokenizer, capsys):
    # The output layer shares its weights with the embedding: merged into it, the adapter changes the input as well.
    model = build_base(tmp_path / "base", len(tokenizer), tie_word_embeddings=True)
    tokenizer.save_pretrained(tmp_path / "run")
    save_adapter(model, tmp_path / "run", target_modules=["lm_head"])
    assert merge(tmp_path, "--dtype", "float32", "--base_model", str(tmp_path / "base")) == 1
    assert STAGING_NAME in capsys.readouterr().err
    assert not (tmp_path / "merged" / "config.json").exists()


def test_merge_that_was_cut_short_runs_again(run, tmp_path):
    staging = tmp_path / "merged" / STAGING_NAME
    staging.mkdir(parents=True)
    (staging / "model.safetensors").write_bytes(b"half")
    assert merge(tmp_path) == 0
    assert not staging.exists()


def leave_unfinished(folder):
    def leave(tmp_path):
        (tmp_path / folder / MANIFEST_NAME).write_text('{"files": {"model.safetensors": 1}}')

    return leave


def quantise_base(tmp_path):
    path = tmp_path / "base" / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    path.write_text(json.dumps(config))


def change_adapter(**changes):
    def change(tmp_path):
        path = tmp_path / "run" / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def swap_base(tmp_path):
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    small = Qwen3ForCausalLM(Qwen3Config(**{**config, "intermediate_size": 16}))
    small.save_pretrained(tmp_path / "base")


def fill_output(tmp_path):
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "thesis.tex").write_text("mine")


@pytest.mark.parametrize(
    ("break_it", "options", "named"),
    [
        (None, {"adapter": "nowhere"}, "nowhere"),
        (None, {"adapter": "base"}, "adapter_config.json"),
        (None, {"output": "run"}, "--output_dir"),
        (None, {"output": "base"}, "--output_dir"),
        (fill_output, {}, "--output_dir"),
        (leave_unfinished("run"), {}, "/run is incomplete"),
        (leave_unfinished("base"), {}, "/base is incomplete"),
        (quantise_base, {}, "bitsandbytes"),
        (change_adapter(peft_type="LOHA"), {}, "LOHA"),
        (change_adapter(task_type="SEQ_CLS"), {}, "SEQ_CLS"),
        (change_adapter(base_model_name_or_path=None), {}, "--base_model"),
        (change_adapter(base_model_name_or_path="/gone/base"), {}, "/gone/base"),
        (swap_base, {}, "--base_model"),
    ],
)
def test_refusal_says_why_and_writes_nothing(run, tmp_path, capsys, break_it, options, named):
    if break_it is not None:
        break_it(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert merge(tmp_path, **options) == 1
    assert named in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
