# SPDX-License-Identifier: Apache-2.0
"""Packed rows have the gradients of TRL's padded ones, and old log-probs are those of the update to the last bit."""

import shutil
from itertools import chain

import pytest
import torch
from peft import LoraConfig
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from open_r1.training.losses import reinforce
from open_r1.training.packing import deal, num_packs
from open_r1.training.trainer import SUMS_OVER_ROWS, lengths_of
from tests.integration.given_rollouts import (
    NUM_MICRO_BATCHES,
    BareTrainer,
    OwnTrainer,
    build_given,
    gradients_of,
    make_rollouts,
)
from tests.integration.tiny import are_identical, build_tiny, build_tokenizer, weights_of

LOSSES = (*SUMS_OVER_ROWS, "bnpo")
SIZES = {"vocab_size": 103, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "pad_token_id": 0}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
MODELS = {
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, num_attention_heads=2, num_key_value_heads=1)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS)),
    "dynamic": lambda: LlamaForCausalLM(
        LlamaConfig(**SIZES, **HEADS, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4})
    ),
    # A window of 8 tokens in the first layer.
    "gemma": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SIZES, **HEADS, sliding_window=8, layer_types=["sliding_attention", "full_attention"])
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=103, n_embd=16, n_layer=2, n_head=2, n_positions=64, resid_pdrop=0, embd_pdrop=0,
                   attn_pdrop=0)
    ),
    "experts": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **HEADS, **EXPERTS, router_aux_loss_coef=0.5)),
    "recurrent": lambda: Qwen3NextForCausalLM(
        Qwen3NextConfig(**SIZES, **HEADS, **EXPERTS, shared_expert_intermediate_size=16, linear_num_value_heads=2,
                        linear_num_key_heads=2, linear_key_head_dim=8, linear_value_head_dim=8,
                        layer_types=["linear_attention", "full_attention"])
    ),
}  # fmt: skip


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


@pytest.fixture
def build_pair(tmp_path):
    """Returns TRL's trainer and ours of another tiny model."""

    def build(name: str, **settings):
        torch.manual_seed(0)
        torch.set_num_threads(1)
        model = MODELS[name]()
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.data.normal_(std=0.3)  # else a context changes next to nothing
        model.save_pretrained(tmp_path / "model")
        build_tokenizer().save_pretrained(tmp_path / "model")
        return [build_given(kind, tmp_path / "model", tmp_path, **settings) for kind in (BareTrainer, OwnTrainer)]

    return build


def assert_equal_gradients(trainers, rollouts):
    expected, found = (gradients_of(trainer, rollouts) for trainer in trainers)
    assert any(gradient.norm() > 0 for gradient in expected) == bool(rollouts["completion_mask"].any())
    for one, other in zip(found, expected, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()


def with_equal_prompts(rollouts):
    """Return rollouts without padding on the left: TRL counts it as positions, which GPT-2 learns one by one."""
    return rollouts | {"prompt_mask": torch.ones_like(rollouts["prompt_mask"])}


def tokens_of(trainer):
    return [sum(lengths_of(batch)) for batch in trainer._buffered_inputs]


def spread(tokens, window=NUM_MICRO_BATCHES):
    windows = [tokens[start : start + window] for start in range(0, len(tokens), window)]
    return max(max(each) - min(each) for each in windows)


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
    bare, own = (tokens_of(trainer) for trainer in trainers)
    assert spread(own) < spread(bare) if loss in SUMS_OVER_ROWS else own == bare


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
        {"arguments": {"pack": False}},
    ],
    ids=lambda change: next(iter(change.get("arguments", change))),
)
def test_gradients_with_other_parts_of_the_loss(pair, change, monkeypatch):
    trainers = pair(**change, loss_type="dapo")
    monkeypatch.delitem(vars(trainers[1]), "is_packed", raising=False)
    assert_equal_gradients(trainers, make_rollouts())
    vars(trainers[1]).pop("is_packed")
    is_balanced = {*change, *change.get("arguments", {})} & {
        "off_policy_mask_threshold", "delta", "use_bias_correction_kl"
    }  # fmt: skip
    bare, own = (tokens_of(trainer) for trainer in trainers)
    assert spread(own) < spread(bare) if is_balanced else own == bare


@pytest.mark.parametrize(("accumulated", "window"), [(1, 1), (2, 2), (4, 4), (8, 4), (3, None)])
def test_rows_stay_in_their_optimizer_step(pair, accumulated, window):
    trainers = pair({"gradient_accumulation_steps": accumulated}, loss_type="grpo")
    assert_equal_gradients(trainers, make_rollouts())
    bare, own = (tokens_of(trainer) for trainer in trainers)
    assert spread(own, window) < spread(bare, window) if window in (2, 4) else own == bare


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("most_tokens", [1, 25, 1000])
def test_micro_batches_are_split_by_tokens(pair, monkeypatch, loss, most_tokens):
    bare, own = pair({"max_tokens_per_micro_batch": most_tokens}, loss_type=loss)
    assert own.is_packed  # found before the calls are counted
    seen = []
    forward = own._log_probs_of_pack
    monkeypatch.setattr(own, "_log_probs_of_pack", lambda model, ids, mask, *others, **options: (
        seen.append((len(ids), int(mask.sum()))), forward(model, ids, mask, *others, **options))[1])  # fmt: skip
    assert_equal_gradients([bare, own], make_rollouts())
    if loss == "bnpo" or most_tokens == 1000:
        assert len(seen) == NUM_MICRO_BATCHES
    else:
        assert all(rows == 1 or tokens <= most_tokens for rows, tokens in seen)
        assert len(seen) == 16 if most_tokens == 1 else NUM_MICRO_BATCHES < len(seen) < 16


def test_advantages_per_token_go_with_their_rows(pair):
    rollouts = make_rollouts()
    rollouts["advantages"] = torch.randn(16, 14, generator=torch.Generator().manual_seed(1))
    assert_equal_gradients(pair(loss_type="grpo"), rollouts)


@pytest.mark.parametrize("is_declared", [True, False])
def test_own_loss_is_balanced_where_it_says_that_rows_are_independent(pair, monkeypatch, is_declared):
    def own_loss(*arguments):
        return reinforce(*arguments)

    own_loss.is_row_separable = is_declared
    bare, own = pair(loss_type="dapo")
    monkeypatch.setattr(own, "own_loss", own_loss)
    for trainer in (bare, own):
        gradients_of(trainer, make_rollouts())
    assert (tokens_of(own) != tokens_of(bare)) == is_declared


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_other_models_equal_those_of_trl(build_pair, name, implementation):
    pair = build_pair(name)
    for trainer in pair:
        trainer.model.set_attn_implementation(implementation)
    rollouts = make_rollouts()
    assert_equal_gradients(pair, with_equal_prompts(rollouts) if name == "gpt2" else rollouts)
    assert pair[1].is_packed == (name != "recurrent")


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_gradients_of_adapters_equal_those_of_trl(tiny, tmp_path, rate):
    config = LoraConfig(target_modules=["q_proj", "down_proj"], lora_dropout=rate, init_lora_weights=False)
    pair = []
    for kind in (BareTrainer, OwnTrainer):
        torch.manual_seed(0)
        pair.append(build_given(kind, tiny.model, tmp_path, peft_config=config))
    assert pair[1].is_packed
    if not rate:
        assert_equal_gradients(pair, make_rollouts())


def test_ratio_is_one_in_bf16(build_pair):
    # Two optimizer steps of two micro-batches each per generation: TRL needs old log-probs.
    settings = {"gradient_accumulation_steps": 2, "steps_per_generation": 4, "max_tokens_per_micro_batch": 40}
    trainer = build_pair("qwen2", **settings)[1]
    trainer.model.bfloat16()
    rows = make_rollouts(num_truncated=0)
    ids, mask = (torch.cat([rows[f"prompt_{part}"], rows[f"completion_{part}"]], dim=1) for part in ("ids", "mask"))

    def generate(_):
        with torch.no_grad():
            for name in ("old", "ref"):
                rows[f"{name}_per_token_logps"], *_ = trainer._get_per_token_logps_and_entropies(
                    trainer.model, ids, mask, 14, batch_size=4
                )
        return dict(rows)

    trainer._generate_and_score_completions = generate
    log_probs = []
    compute = trainer._log_probs_of_pack

    def note(*arguments, **options):
        log_probs.append(found := compute(*arguments, **options))
        return found

    for trainer._step in range(4):
        inputs = trainer._prepare_inputs([])
        trainer._log_probs_of_pack, log_probs = note, []
        trainer.compute_loss(trainer.model, inputs)
        packs = trainer._packs_of(list(range(4)), lengths_of(inputs))
        found = torch.cat([pack[0] for pack in log_probs])
        for name in ("old", "ref"):
            assert torch.equal(inputs[f"{name}_per_token_logps"][list(chain(*packs))], found)
        assert len(packs) > 1
        trainer._log_probs_of_pack = compute


@pytest.mark.parametrize("num_truncated", [0, 3, 16])
def test_log_probs_before_the_update_equal_those_of_trl(pair, num_truncated):
    trainers = pair()
    rows = make_rollouts(num_truncated=num_truncated)
    ids, mask = (torch.cat([rows[f"prompt_{part}"], rows[f"completion_{part}"]], dim=1) for part in ("ids", "mask"))
    with torch.no_grad():
        expected, found = (
            trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 14, batch_size=4, num_images=None)[0]
            for trainer in trainers
        )
    assert torch.equal(found == 0, expected == 0)
    assert torch.allclose(found, expected, atol=1e-5)


def test_rows_are_dealt_evenly():
    lengths = [9, 1, 1, 1, 5, 5, 4, 4]
    parts = deal(range(8), lengths, 4, 2)
    assert sorted(row for part in parts for row in part) == list(range(8))
    assert [len(part) for part in parts] == [2, 2, 2, 2]
    assert max(sum(lengths[row] for row in part) for part in parts) == 10


@pytest.mark.parametrize(("most_tokens", "expected"), [(30, 1), (15, 2), (14, 3), (9, 4), (1, 8)])
def test_packs_fit_their_budget(most_tokens, expected):
    assert num_packs(range(8), [9, 1, 1, 1, 5, 5, 4, 4], most_tokens) == expected


def test_resume_in_the_middle_of_a_generation_batch_is_exact(tiny, tmp_path):
    # A generation batch serves two optimizer steps of two micro-batches; the checkpoint lies between them.
    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 4}
    settings |= {"max_steps": 3, "save_steps": 1, "max_completion_length": 90, "reward_funcs": ["cosine"]}
    settings |= {"cosine_max_len": 90, "beta": 0.04, "max_tokens_per_micro_batch": 150}
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    tiny.train("grpo", whole, **settings)
    shutil.copytree(whole / "checkpoint-1", resumed / "checkpoint-1")
    tiny.train("grpo", resumed, **settings, resume_from_checkpoint=resumed / "checkpoint-1")
    assert are_identical(weights_of(whole), weights_of(resumed))
