# SPDX-License-Identifier: Apache-2.0
"""Micro-batches with less padding have the gradients of TRL's, whether rows are dealt to them by length or not."""

import shutil
from itertools import chain

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    Llama4TextConfig,
    LlamaConfig,
    Ministral3Config,
    Qwen3Config,
)

from open_r1.training.losses import reinforce
from open_r1.training.micro_batches import SUMS_OVER_ROWS, cut_padding, has_dropout, is_width_free, lengths_tokens
from tests.integration.given_rollouts import (
    NUM_MICRO_BATCHES,
    BareTrainer,
    OwnTrainer,
    build_given,
    gradients_of,
    make_rollouts,
)
from tests.integration.tiny import are_identical, build_tiny, weights_of

LOSSES = (*SUMS_OVER_ROWS, "bnpo")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    torch.set_num_threads(1)
    return build_tiny(tmp_path_factory.mktemp("tiny"), hidden_size=16)


@pytest.fixture(scope="module")
def trainers(tiny, tmp_path_factory):
    """TRL's trainer and ours, with the same weights."""
    return [build_given(kind, tiny.model, tmp_path_factory.mktemp("out")) for kind in (BareTrainer, OwnTrainer)]


@pytest.fixture
def pair(trainers, monkeypatch):
    """Sets attributes of both trainers, or of their arguments, for one test."""

    def change(arguments: dict | None = None, **attributes):
        for trainer in trainers:
            for name, value in attributes.items():
                monkeypatch.setattr(trainer, name, value)
            for name, value in (arguments or {}).items():
                monkeypatch.setattr(trainer.args, name, value)
            monkeypatch.setattr(
                trainer, "current_gradient_accumulation_steps", trainer.args.gradient_accumulation_steps
            )
        return trainers

    return change


def assert_equal_gradients(trainers, rollouts):
    expected, found = (gradients_of(trainer, rollouts) for trainer in trainers)
    assert any(gradient.norm() > 0 for gradient in expected) == bool(rollouts["completion_mask"].any())
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()


def columns_of(trainer):
    return [batch["prompt_ids"].size(1) + batch["completion_ids"].size(1) for batch in trainer._buffered_inputs]


def is_dealt(trainer, window=NUM_MICRO_BATCHES):
    lengths = [lengths_tokens(batch).tolist() for batch in trainer._buffered_inputs]
    windows = [list(chain(*lengths[start : start + window])) for start in range(0, len(lengths), window)]
    return all(found == sorted(found, reverse=True) for found in windows)


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("importance", [None, "token", "sequence"])
@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_equal_those_of_trl(pair, loss, beta, importance, level):
    trainers = pair(
        loss_type=loss,
        beta=beta,
        importance_sampling_level=level,
        use_vllm=importance is not None,
        vllm_importance_sampling_correction=importance is not None,
    )
    assert_equal_gradients(trainers, make_rollouts(importance=importance))
    bare, own = trainers
    assert is_dealt(own) == (loss != "bnpo")
    assert sum(columns_of(own)) < sum(columns_of(bare)) * (0.95 if loss == "bnpo" else 0.8)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("num_truncated", [0, 16])
def test_gradients_without_tools_and_with_all_rows_truncated(pair, loss, num_truncated):
    trainers = pair(loss_type=loss)
    assert_equal_gradients(trainers, make_rollouts(num_truncated=num_truncated, has_tool_mask=False))
    bare, own = trainers
    names = ["entropy", "kl"] + (
        ["clip_ratio/high_max"] if loss in ("grpo", "bnpo", "dr_grpo", "dapo", "luspo") else []
    )
    if num_truncated == 16:
        for name in names:
            assert own._metrics["train"][name][-1] == pytest.approx(bare._metrics["train"][name][-1], nan_ok=True)


@pytest.mark.parametrize(
    "change",
    [
        {"off_policy_mask_threshold": 0.01},
        {"top_entropy_quantile": 0.5},
        {"_entropy_bonus_enabled": True, "entropy_coef": 0.1},
        {"arguments": {"delta": 1.2}},
        {"arguments": {"use_bias_correction_kl": False}},
        {"arguments": {"deal_by_length": False}},
    ],
    ids=lambda change: next(iter(change.get("arguments", change))),
)
def test_gradients_with_other_parts_of_the_loss(pair, change):
    trainers = pair(**change, loss_type="dapo")
    assert_equal_gradients(trainers, make_rollouts())
    assert is_dealt(trainers[1]) == bool({*change, *change.get("arguments", {})} & {
        "off_policy_mask_threshold", "delta", "use_bias_correction_kl"
    })  # fmt: skip


@pytest.mark.parametrize(("accumulated", "window"), [(1, 1), (2, 2), (4, 4), (8, 4), (3, None)])
def test_rows_stay_in_their_optimizer_step(pair, accumulated, window):
    trainers = pair({"gradient_accumulation_steps": accumulated}, loss_type="grpo")
    assert_equal_gradients(trainers, make_rollouts())
    assert is_dealt(trainers[1], window or 1) == (window is not None)


def test_advantages_per_token_go_with_their_rows(pair):
    rollouts = make_rollouts()
    rollouts["advantages"] = torch.randn(16, 14, generator=torch.Generator().manual_seed(1))
    assert_equal_gradients(pair(loss_type="grpo"), rollouts)


@pytest.mark.parametrize("is_declared", [True, False])
def test_own_loss_is_dealt_where_it_says_that_rows_are_independent(trainers, monkeypatch, is_declared):
    def own_loss(*arguments):
        return reinforce(*arguments)

    own_loss.is_row_separable = is_declared
    monkeypatch.setattr(trainers[1], "own_loss", own_loss)
    gradients_of(trainers[1], make_rollouts())
    assert is_dealt(trainers[1]) == is_declared


def test_images_stay_as_trl_made_them(trainers):
    rollouts = make_rollouts() | {"pixel_values": torch.zeros(16, 3, 2, 2), "num_images": [1] * 16}
    for trainer in trainers:
        trainer.rollouts, trainer._buffered_inputs, trainer._step = rollouts, None, 0
        torch.manual_seed(0)
        trainer._prepare_inputs([])
    for expected, found in zip(*(trainer._buffered_inputs for trainer in trainers), strict=True):
        assert all(torch.equal(found[name], expected[name]) for name in ("completion_ids", "advantages"))


@pytest.mark.parametrize(("multiple", "columns"), [(None, (3, 5)), (4, (4, 8)), (16, (11, 14))])
def test_columns_of_padding_go(multiple, columns):
    prompt_mask, completion_mask = torch.zeros(2, 11, dtype=torch.long), torch.zeros(2, 14, dtype=torch.long)
    prompt_mask[0, 8:], completion_mask[1, :5] = 1, 1
    batch = {
        "prompt_ids": prompt_mask,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_mask,
        "completion_mask": completion_mask,
        "advantages": torch.ones(2),
        "importance_sampling_ratio": torch.ones(2, 1),
        "num_items_in_batch": torch.tensor(5),
    }
    found = cut_padding(batch, multiple)
    assert (found["prompt_ids"].size(1), found["completion_mask"].size(1)) == columns
    assert found["prompt_mask"].sum() == 3 and found["completion_mask"].sum() == 5
    assert [tuple(found[name].shape) for name in ("advantages", "importance_sampling_ratio")] == [(2,), (2, 1)]


@pytest.mark.parametrize("num_truncated", [0, 3, 16])
@pytest.mark.parametrize("multiple", [None, 4])
def test_log_probs_before_the_update_equal_those_of_trl(pair, num_truncated, multiple):
    trainers = pair({"pad_to_multiple_of": multiple})
    rows = make_rollouts(num_truncated=num_truncated)
    ids, mask = (torch.cat([rows[f"prompt_{part}"], rows[f"completion_{part}"]], dim=1) for part in ("ids", "mask"))
    with torch.no_grad():
        expected, found = (
            trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 14, batch_size=4, num_images=None)[0]
            for trainer in trainers
        )
    assert torch.equal(found == 0, expected == 0)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_metrics_are_means_over_tokens(pair, level):
    bare, own = pair(loss_type="grpo", importance_sampling_level=level)
    rollouts = make_rollouts()
    for trainer in (bare, own):
        trainer._metrics["train"].clear()
        own._num_loss_tokens.clear()
    gradients_of(own, rollouts)
    own.log(logs := {})
    bare.compute_loss(bare.model, rollouts)  # one batch of all rows
    names = ("entropy", "kl", "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean")
    for name in names:
        assert logs[name] == pytest.approx(bare._metrics["train"][name][0], rel=1e-4), name
    assert logs["clip_ratio/region_mean"] > 0 or level == "sequence"
    assert own._num_loss_tokens == []


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (Qwen3Config(), True),
        (Gemma3TextConfig(), True),
        (LlamaConfig(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}), False),
        (GPT2Config(), False),
        (Ministral3Config(), False),
        (Llama4TextConfig(attn_temperature_tuning=True), False),
    ],
)
def test_models_that_see_padding_are_told_apart(config, expected):
    assert is_width_free(config) is expected


def test_dropout_of_the_attention_is_found(trainers, monkeypatch):
    model = trainers[1].model
    assert not has_dropout(model)
    monkeypatch.setattr(model.config, "attention_dropout", 0.1)
    assert has_dropout(model)


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_dropout_of_lora_is_found(tiny, rate):
    model = AutoModelForCausalLM.from_pretrained(tiny.model)
    model = get_peft_model(model, LoraConfig(lora_dropout=rate, target_modules=["q_proj"]))
    assert is_width_free(model.config)
    assert has_dropout(model) == (rate > 0)


def test_resume_in_the_middle_of_a_generation_batch_is_exact(tiny, tmp_path):
    # A generation batch serves two optimizer steps of two micro-batches; the checkpoint lies between them.
    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 4}
    settings |= {"max_steps": 3, "save_steps": 1, "max_completion_length": 90, "reward_funcs": ["cosine"]}
    settings |= {"cosine_max_len": 90, "beta": 0.04}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    tiny.train("grpo", whole, **settings)
    buffered = torch.load(whole / "checkpoint-1" / "rollout_state_0.pt", weights_only=True)["buffered_inputs"]
    widths = [batch["completion_ids"].size(1) for batch in buffered]
    assert widths[0] > widths[1] and widths[2] > widths[3]
    shutil.copytree(whole / "checkpoint-1", resumed / "checkpoint-1")
    tiny.train("grpo", resumed, **settings, resume_from_checkpoint=resumed / "checkpoint-1")
    assert are_identical(weights_of(whole), weights_of(resumed))
