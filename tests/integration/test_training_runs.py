# SPDX-License-Identifier: Apache-2.0
"""Runs of sft.py and grpo.py from start to end: what they leave on disk, where they go on, what stops them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from open_r1.manifest import missing_from
from open_r1.training.checkpoints import list_checkpoints
from scripts.merge_lora import main as merge_lora
from tests.integration.tiny import (
    CHATML,
    Tiny,
    addition_row,
    are_identical,
    build_tiny,
    log_history,
    weights_of,
    write_rows,
)

KINDS = ["sft", "grpo"]
LORA = {"use_peft": True, "lora_r": 4, "lora_target_modules": "all-linear"}
# With random weights the lengths of completions vary, and so does this reward.
SIGNAL = {
    "sft": {"learning_rate": 1e-3},
    "grpo": {
        "reward_funcs": ["cosine", "format"],
        "cosine_max_len": 24,
        "max_completion_length": 24,
        "learning_rate": 1e-3,
    },
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", params=KINDS)
def finished(request, tiny, tmp_path_factory) -> tuple[str, Path]:
    """A finished run of each kind, with evaluation; tests only read it."""
    output = tmp_path_factory.mktemp(request.param) / "a-run"
    tiny.train(request.param, output, **SIGNAL[request.param], do_eval=True)
    return request.param, output


def test_saved_model_loads_and_knows_where_to_stop(finished):
    _, output = finished
    assert missing_from(output) is None
    model = AutoModelForCausalLM.from_pretrained(output)
    tokenizer = AutoTokenizer.from_pretrained(output)
    assert model.generation_config.eos_token_id == [tokenizer.eos_token_id] == [tokenizer.vocab["<|im_end|>"]]
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert model.config.use_cache
    assert tokenizer.chat_template == CHATML
    inputs = tokenizer("1+1", return_tensors="pt", return_token_type_ids=False)
    assert model.generate(**inputs, max_new_tokens=2).shape[1] <= 5


@pytest.mark.parametrize(("kind", "settings"), [("sft", {}), ("grpo", {}), ("sft", LORA)], ids=["sft", "grpo", "LoRA"])
def test_published_model_ends_at_every_token_that_ended_its_training(tiny, tmp_path, kind, settings):
    shutil.copytree(tiny.model, tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tiny.model)
    ends = [tokenizer.vocab["<|im_end|>"], tokenizer.vocab["<|endoftext|>"]]
    published = {"eos_token_id": ends} | ({"temperature": 0.9} if settings else {})  # without do_sample, as Llama 2's
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(published))
    output = tmp_path / "run"
    tiny.train(kind, output, **settings, model_name_or_path=tmp_path / "model", max_steps=1)
    assert GenerationConfig.from_pretrained(output).eos_token_id == ends
    if settings:
        GenerationConfig().save_pretrained(tmp_path / "model")  # the adapter knows it by itself
        assert merge_lora(["--adapter", str(output), "--output_dir", str(tmp_path / "merged")]) == 0
        assert GenerationConfig.from_pretrained(tmp_path / "merged").eos_token_id == ends


def test_run_is_recorded(finished, tiny):
    kind, output = finished
    (run,) = json.loads((output / "run_manifest.json").read_text())["runs"]
    assert run["settings"]["learning_rate"] == 1e-3
    assert run["settings"]["model_name_or_path"] == str(tiny.model)
    assert run["versions"]["trl"]
    results = json.loads((output / "all_results.json").read_text())
    assert results["train_samples"] == 48 and results["eval_samples"] == 6
    assert "train_loss" in results and "eval_loss" in results
    if kind == "grpo":
        assert "eval_cosine_scaled_reward/avg@4" in json.loads((output / "eval_results.json").read_text())


def test_model_card_is_written_without_a_network(finished):
    kind, output = finished
    card = (output / "README.md").read_text()
    assert "# Model Card for a-run" in card
    assert f"- {kind}\n" in card and "- open-r1\n" in card
    assert "48 rows, evaluated on 6 rows of `test`" in card and "\nlearning_rate: 0.001\n" in card
    assert "- command: `python " in card and "- versions: torch " in card
    assert kind == "sft" or ("cosine_scaled" in card and "- score: eval_cosine_scaled_reward/avg@4 " in card)


@pytest.mark.parametrize("kind", KINDS)
def test_end_of_the_last_epoch_is_the_end(tiny, tmp_path, kind):
    settings = {**SIGNAL[kind], "max_steps": -1, "num_train_epochs": 1, "save_strategy": "epoch"}
    data = write_rows(tmp_path / "data" / "train.jsonl", [addition_row(a, 1) for a in range(8)])
    tiny.train(kind, tmp_path / "output", **settings, dataset_name=data)
    weights = weights_of(tmp_path / "output")
    (last,) = list_checkpoints(tmp_path / "output")
    tiny.train(kind, tmp_path / "output", **settings, dataset_name=data)
    assert are_identical(weights, weights_of(tmp_path / "output"))
    assert list_checkpoints(tmp_path / "output") == [last]


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_a_resumed_run_are_those_of_its_own_part(tiny, tmp_path, kind):
    tiny.train(kind, tmp_path, **SIGNAL[kind])
    shutil.rmtree(tmp_path / "checkpoint-4")
    (tmp_path / "manifest.json").unlink()
    metrics = tiny.train(kind, tmp_path, **SIGNAL[kind])
    logged = [entry for entry in log_history(tmp_path) if "loss" in entry]
    losses = {entry["step"]: entry["loss"] for entry in logged}
    assert sorted(losses) == [1, 2, 3, 4]
    tokens = [entry["num_tokens"] for entry in logged]
    assert tokens == sorted(tokens) and tokens[3] - tokens[2] < tokens[2]
    assert metrics["train_loss"] == pytest.approx((losses[3] + losses[4]) / 2, rel=1e-3)
    # It's rounded to three places, of which a slow machine leaves few.
    assert metrics["train_steps_per_second"] == pytest.approx(2 / metrics["train_runtime"], rel=0.01, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_lora_trains_resumes_exactly_and_loads(tiny, tmp_path, kind):
    settings = {**SIGNAL[kind], **LORA, "learning_rate": 1e-2, "do_eval": True}
    tiny.train(kind, tmp_path / "whole", **settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed", ignore=shutil.ignore_patterns("checkpoint-4"))
    tiny.train(kind, tmp_path / "resumed", **settings)
    name = "adapter_model.safetensors"
    assert are_identical(weights_of(tmp_path / "whole", name), weights_of(tmp_path / "resumed", name))
    assert not (tmp_path / "whole" / "model.safetensors").exists()
    assert missing_from(tmp_path / "whole") is None  # the model card is written after the manifest

    base = AutoModelForCausalLM.from_pretrained(tiny.model)
    ids = torch.tensor([[5, 20, 30]])
    plain = base(ids).logits.detach()
    adapted = PeftModel.from_pretrained(base, tmp_path / "whole")(ids).logits.detach()
    assert not torch.allclose(plain, adapted)


def test_without_a_word_a_run_goes_on_from_its_last_whole_checkpoint(tiny, tmp_path, caplog):
    tiny.train("sft", tmp_path, save_steps=1)
    whole = weights_of(tmp_path)
    (tmp_path / "manifest.json").unlink()  # not finished
    (tmp_path / "checkpoint-4" / "manifest.json").unlink()
    optimizer = tmp_path / "checkpoint-3" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-1])
    caplog.clear()
    tiny.train("sft", tmp_path, save_steps=1)
    assert f"Skipping {tmp_path / 'checkpoint-4'}: it has no manifest.json" in caplog.text
    assert f"Skipping {tmp_path / 'checkpoint-3'}: optimizer.pt has" in caplog.text
    assert f"Resuming from {tmp_path / 'checkpoint-2'}" in caplog.text
    assert are_identical(whole, weights_of(tmp_path))


def test_resuming_can_be_demanded(tiny, tmp_path, caplog):
    tiny.train("sft", tmp_path)
    tiny.train("sft", tmp_path, max_steps=5, resume_from_checkpoint="True")
    assert f"Resuming from {tmp_path / 'checkpoint-4'}" in caplog.text


def test_going_back_to_an_earlier_checkpoint_gives_up_the_later_ones(tiny, tmp_path):
    settings = {"save_steps": 1, "save_total_limit": 2, "max_steps": 6}
    tiny.train("sft", tmp_path, **settings)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-5", "checkpoint-6"]
    whole = weights_of(tmp_path)
    tiny.train("sft", tmp_path, **settings, resume_from_checkpoint=tmp_path / "checkpoint-5")
    assert [path.name for path in list_checkpoints(tmp_path / "superseded-1")] == ["checkpoint-6"]
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-5", "checkpoint-6"]
    assert are_identical(whole, weights_of(tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_run_resumed_in_its_second_epoch_sees_the_same_rows(tiny, tmp_path, kind):
    data = write_rows(tmp_path / "data" / "train.jsonl", [addition_row(a, 1) for a in range(8)])
    settings = {**SIGNAL[kind], "dataset_name": data, "num_train_epochs": 3, "max_steps": -1, "save_steps": 1}
    tiny.train(kind, tmp_path / "whole", **settings)
    num_steps = len(list_checkpoints(tmp_path / "whole"))
    for step in (num_steps // 3, num_steps // 2):  # at the end of the first epoch, in the middle of the second
        output = tmp_path / f"resumed-{step}"
        shutil.copytree(tmp_path / "whole", output)
        for checkpoint in list_checkpoints(output)[step:]:
            shutil.rmtree(checkpoint)
        tiny.train(kind, output, **settings)
        assert are_identical(weights_of(tmp_path / "whole"), weights_of(output))


def test_checkpoint_of_the_model_alone_is_not_resumed(tiny, tmp_path):
    settings = {"save_only_model": True}
    tiny.train("sft", tmp_path, **settings)
    with pytest.raises(ValueError, match="save_only_model"):
        tiny.train("sft", tmp_path, **settings, max_steps=5)


def test_results_that_a_kill_has_cut_do_not_stop_the_next_run(tiny, tmp_path):
    tiny.train("sft", tmp_path, do_eval=True)
    for name in ("all_results.json", "train_results.json", "run_manifest.json"):
        (tmp_path / name).write_text('{"epoch')
    tiny.train("sft", tmp_path, do_eval=True)
    for name in ("all_results.json", "train_results.json", "run_manifest.json"):
        json.loads((tmp_path / name).read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_diverging_run_stops_and_saves_nothing_broken(tiny, tmp_path, kind):
    settings = {**SIGNAL[kind], "learning_rate": 1e30, "max_grad_norm": 0, "save_steps": 1}
    with pytest.raises(FloatingPointError, match="Lower `learning_rate`"):
        tiny.train(kind, tmp_path, **settings)
    for checkpoint in list_checkpoints(tmp_path):
        assert all(torch.isfinite(weight).all() for weight in weights_of(checkpoint).values())
    assert missing_from(tmp_path) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_model_with_broken_weights_is_not_trained(tiny, tmp_path, kind):
    model = AutoModelForCausalLM.from_pretrained(tiny.model)
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = torch.nan
    shutil.copytree(tiny.model, tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(FloatingPointError, match=r"NaN|nan"):
        tiny.train(kind, tmp_path / "output", **SIGNAL[kind], model_name_or_path=tmp_path / "model")
    assert list_checkpoints(tmp_path / "output") == []


@pytest.mark.parametrize("row", ["messages", "prompt", "text"])
def test_rows_of_every_form_train(tiny, tmp_path, row):
    messages = addition_row(1, 2)["messages"]
    rows = {
        "messages": {"messages": messages},
        "prompt": {"prompt": messages[:1], "completion": messages[1:]},
        "text": {"text": "1+2=3"},
    }
    data = write_rows(tmp_path / "data" / "train.jsonl", [rows[row]] * 8)
    tiny.train("sft", tmp_path / "output", dataset_name=data, max_steps=1)


def test_messages_are_used_where_a_bare_prompt_stands_beside_them(tiny, tmp_path):
    row = addition_row(1, 2)
    other = {"messages": row["messages"]}
    both = {"prompt": "something else", "completion": "else", **other}
    weights = []
    for number, form in enumerate((other, both)):
        data = write_rows(tmp_path / f"data-{number}" / "train.jsonl", [form] * 8)
        tiny.train("sft", tmp_path / f"output-{number}", dataset_name=data, max_steps=1)
        weights.append(weights_of(tmp_path / f"output-{number}"))
    assert are_identical(*weights)


def test_tokens_per_second_of_sft_are_logged(tiny, tmp_path):
    tiny.train("sft", tmp_path)
    assert all(entry["tokens_per_second"] > 0 for entry in log_history(tmp_path) if "loss" in entry)
