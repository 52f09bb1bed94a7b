# SPDX-License-Identifier: Apache-2.0
"""Losses and advantages of one's own equal TRL's where they say the same, and TRL's own losses train."""

import itertools
import math
import re
from collections import defaultdict

import pandas as pd
import pytest
import torch
import trl
from transformers import AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

from open_r1.configs import GRPOConfig
from open_r1.training.losses import ADVANTAGES, LOSSES, advantages_of, load_advantage, load_loss, row_separable
from open_r1.training.trainer import GRPOTrainer
from tests.conftest import ROOT
from tests.integration.test_training_grpo import SIGNAL, build_trainer, recorded, reward_of
from tests.integration.tiny import Tiny, are_identical, build_tiny, log_history, weights_of

B, T = 4, 6
CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
# Several updates for each generation, so that ratios are not 1.
SHORT = {**SIGNAL, "max_steps": 3, "num_iterations": 2, "save_strategy": "no"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def documented(tmp_path_factory) -> dict[str, str]:
    """The places of the loss and the advantage that docs/training.md shows."""
    folder = tmp_path_factory.mktemp("documented")
    guide = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    section = guide.partition("\n## A loss or an advantage")[2].partition("\n## ")[0]
    places = {}
    for code in re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
        function = re.search(r"^def (\w+)", code, re.MULTILINE)[1]
        setting = "loss" if function == "clipped" else "advantage"
        path = folder / f"my_{setting}.py"
        path.write_text(code, encoding="utf-8")
        assert f"`{setting}: {path.name}:{function}`" in section
        places[setting] = f"{path}:{function}"
    return places


@pytest.fixture(scope="module")
def trainer(tiny, tmp_path_factory):
    """A trainer whose loss the tests compute; they set what would come from a recipe."""
    output = tmp_path_factory.mktemp("trainer")
    trainer = build_trainer(
        GRPOTrainer, tiny, output, [reward_of("graded", [0.0] * 8)], beta=0.1, use_bias_correction_kl=False
    )
    trainer.current_gradient_accumulation_steps = 3
    trainer.args.steps_per_generation = 2
    trainer.model.train()
    return trainer


def micro_batch(trainer, *, has_reference: bool = True) -> dict[str, torch.Tensor]:
    """Return what a micro-batch may hold: tokens of tools, a row without any token, log-probs of three policies."""
    source = torch.Generator().manual_seed(0)
    ids = torch.randint(10, 100, (B, 5 + T), generator=source)
    lengths = torch.tensor([T, 4, 2, 0])
    mask = (torch.arange(T) < lengths[:, None]).long()
    inputs = {
        "prompt_ids": ids[:, :5], "prompt_mask": torch.ones(B, 5, dtype=torch.long),
        "completion_ids": ids[:, 5:], "completion_mask": mask,
        "tool_mask": torch.ones(B, T, dtype=torch.long).index_fill(1, torch.tensor([1]), 0),
        "advantages": torch.tensor([1.0, -0.5, 0.25, -2.0]),
        "num_items_in_batch": torch.tensor(21),
        "importance_sampling_ratio": 0.5 + torch.rand(B, T, generator=source),
    }  # fmt: skip
    with torch.no_grad():
        attention = torch.cat([inputs["prompt_mask"], mask], 1)
        log_probs = trainer._get_per_token_logps_and_entropies(trainer.model, ids, attention, T)[0]
    if not trainer.use_vllm:
        del inputs["importance_sampling_ratio"]
    names = ["old_per_token_logps", *(["ref_per_token_logps"] if has_reference else []), "sampling_per_token_logps"]
    return inputs | {name: log_probs + 0.3 * torch.randn(B, T, generator=source) for name in names}


def computed(trainer, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict, dict]:
    """Return the loss of a micro-batch, its gradients and what was logged."""
    trainer.model.zero_grad()
    trainer._metrics["train"] = defaultdict(list)
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in trainer.model.named_parameters()}, trainer._metrics["train"]


def assert_equals_trls(trainer, own, inputs: dict[str, torch.Tensor]) -> None:
    trainer.own_loss = None
    expected = computed(trainer, inputs)
    trainer.own_loss = own
    found = computed(trainer, inputs)
    assert torch.equal(found[0], expected[0])
    scale = max(gradient.abs().max() for gradient in expected[1].values())
    # The weights of the KL divergence are computed twice, so that gradients are added up in another order.
    noise = 1e-6 * scale if trainer.beta else 0.0
    assert scale > 0 and max((found[1][name] - expected[1][name]).abs().max() for name in found[1]) <= noise
    names = {"entropy", "kl", "aux_loss"} & expected[2].keys()
    assert names and all(found[2][name] == expected[2][name] for name in names)


@row_separable
def soft(log_probs, old_log_probs, ref_log_probs, advantages, mask, settings):
    ratios, advantages = torch.exp(log_probs - old_log_probs), advantages[:, None]
    heat = torch.where(advantages > 0, settings.sapo_temperature_pos, settings.sapo_temperature_neg)
    return -(torch.sigmoid(heat * (ratios - 1)) * 4 / heat) * advantages


@row_separable
def truncated(log_probs, old_log_probs, ref_log_probs, advantages, mask, settings):
    ratios = torch.exp(log_probs - old_log_probs)
    return -ratios.clamp(max=settings.epsilon).detach() * advantages[:, None] * log_probs


@row_separable
def shaped(log_probs, old_log_probs, ref_log_probs, advantages, mask, settings):
    weights = trl.GRPOTrainer.get_gamma_weights(advantages[:, None], log_probs - old_log_probs, mask, None)
    return -weights * advantages[:, None] * log_probs


@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("loss_type", [*CLIPPED, "sapo", "cispo", "vespo"])
def test_own_loss_equals_the_one_of_trl(trainer, documented, monkeypatch, loss_type, beta):
    own = {"sapo": soft, "cispo": truncated, "vespo": shaped}.get(loss_type) or load_loss(documented["loss"])
    monkeypatch.setattr(trainer, "beta", beta)
    monkeypatch.setattr(trainer, "loss_type", loss_type)
    assert_equals_trls(trainer, own, micro_batch(trainer, has_reference=beta > 0))


EXTRAS = {
    "top_entropy_quantile": 0.5,
    "use_vllm": True,
    "importance_sampling_level": "sequence",
}


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "luspo"])
@pytest.mark.parametrize("names", [*((name,) for name in EXTRAS), tuple(EXTRAS)], ids=" ".join)
def test_what_trl_puts_around_a_loss_is_put_around_an_own_one(trainer, documented, monkeypatch, loss_type, names):
    monkeypatch.setattr(trainer, "loss_type", loss_type)
    for name in names:
        for owner in (trainer, trainer.args):
            if hasattr(owner, name):
                monkeypatch.setattr(owner, name, EXTRAS[name])
    assert_equals_trls(trainer, load_loss(documented["loss"]), micro_batch(trainer))


def test_first_update_of_a_generation_has_no_older_policy(trainer, documented):
    inputs = micro_batch(trainer)
    del inputs["old_per_token_logps"]
    assert_equals_trls(trainer, load_loss(documented["loss"]), inputs)


def test_experts_keep_their_balance(tiny, tmp_path, documented):
    tokenizer = AutoTokenizer.from_pretrained(tiny.model)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 1, "moe_intermediate_size": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    config = Qwen3MoeConfig(**sizes, **heads, num_experts=4, num_experts_per_tok=2, pad_token_id=0)
    Qwen3MoeForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    settings = {"model_name_or_path": tmp_path / "model", "router_aux_loss_coef": 0.5}
    trainer = build_trainer(GRPOTrainer, tiny, tmp_path / "run", [reward_of("graded", [0.0] * 8)], **settings)
    trainer.current_gradient_accumulation_steps = 3
    trainer.model.train()
    assert_equals_trls(trainer, load_loss(documented["loss"]), micro_batch(trainer, has_reference=False))
    assert trainer._metrics["train"]["aux_loss"]


def test_loss_of_an_evaluation_is_not_accumulated(trainer, documented):
    trainer.model.eval()
    inputs, found = micro_batch(trainer), []
    for trainer.own_loss in (None, load_loss(documented["loss"])):
        found.append(trainer._compute_loss(trainer.model, inputs).item())
    trainer.model.train()
    assert found[0] == found[1]


def test_loss_may_log_metrics(trainer):
    def measured(log_probs, old_log_probs, ref_log_probs, advantages, mask, settings):
        return -log_probs * advantages[:, None], {"long": (torch.arange(T) >= 4).expand_as(mask)}

    trainer.own_loss = measured
    # Of 12 tokens in completions of 6, 4 and 2 tokens the second of each is a tool's; 2 lie behind the fourth.
    assert computed(trainer, micro_batch(trainer))[2]["long"] == [pytest.approx(2 / 9)]


def test_reinforce_is_the_policy_gradient_on_policy(trainer, monkeypatch):
    """Where the policy is still the one that sampled, ratios are 1 and only their gradients are left."""
    monkeypatch.setattr(trainer, "loss_type", "grpo")
    monkeypatch.setattr(trainer, "beta", 0.0)
    inputs = micro_batch(trainer, has_reference=False)
    del inputs["old_per_token_logps"]
    trainer.own_loss = None
    expected = computed(trainer, inputs)[1]
    for name in LOSSES:
        trainer.own_loss = load_loss(name)
        found = computed(trainer, inputs)[1]
        assert max((found[key] - expected[key]).abs().max() for key in expected) < 1e-6


NAN = math.nan


def test_rloo_compares_with_the_other_completions():
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, NAN, 0.5], [1.0, NAN, NAN, NAN], [2.0] * 4])
    expected = [[1.0, -1 / 3, -1 / 3, -1 / 3], [0.75, -0.75, NAN, 0.0], [NAN] * 4, [0.0] * 4]
    torch.testing.assert_close(ADVANTAGES["rloo"](rewards, None), torch.tensor(expected), equal_nan=True)


@pytest.mark.parametrize(
    ("loss_type", "level"),
    [*itertools.product([*CLIPPED, "sapo", "cispo"], ["token"]), ("vespo", "token"), ("grpo", "sequence")],
)
def test_losses_of_trl_train(tiny, tmp_path, loss_type, level):
    tiny.train("grpo", tmp_path, **SHORT, loss_type=loss_type, importance_sampling_level=level)
    losses = [entry["loss"] for entry in log_history(tmp_path) if "loss" in entry]
    assert len(losses) == 3 and all(map(math.isfinite, losses))
    assert not are_identical(weights_of(tmp_path), weights_of(tiny.model))


def test_only_a_loss_that_says_so_is_separable(tmp_path, documented):
    (tmp_path / "own.py").write_text(OWN)
    assert [load_loss(place).is_row_separable for place in (documented["loss"], "reinforce")] == [True] * 2
    assert load_loss(f"{tmp_path}/own.py:fine").is_row_separable is False


def test_training_by_the_documented_loss_is_the_one_of_trl(tiny, tmp_path, documented):
    settings = {**SHORT, "beta": 0.0}
    settings |= {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4}
    tiny.train("grpo", tmp_path / "trl", **settings)
    tiny.train("grpo", tmp_path / "own", **settings, loss=documented["loss"])
    assert are_identical(weights_of(tmp_path / "own"), weights_of(tmp_path / "trl"))
    names = ("loss", "grad_norm", "entropy")
    found, expected = (
        [[entry[name] for name in names] for entry in log_history(tmp_path / run) if "loss" in entry]
        for run in ("own", "trl")
    )
    assert found == expected


def best_of(rewards: pd.Series) -> list[float]:
    is_best = rewards == rewards.max()
    return [best / is_best.sum() - 1 / len(rewards) for best in is_best]


def test_documented_advantage_is_learned_from_and_recorded(tiny, tmp_path, documented):
    settings = {**SIGNAL, "save_strategy": "no", "do_eval": True, "eval_greedy": True, "loss": "reinforce"}
    tiny.train("grpo", tmp_path, **settings, advantage=documented["advantage"])
    assert not are_identical(weights_of(tmp_path), weights_of(tiny.model))
    for pattern, group_size in (("train-*", 4), ("eval-*", 4)):
        rows = recorded(tmp_path, pattern)
        rows = rows[~rows["is_greedy"]]
        rewards = (rows["cosine_scaled_reward"] + rows["format_reward"]).astype("float32")
        expected = [best_of(rewards[start : start + group_size]) for start in range(0, len(rows), group_size)]
        assert rows["advantage"].tolist() == pytest.approx(list(itertools.chain(*expected)), abs=1e-6)


@pytest.mark.parametrize("advantage", [1.0, NAN])
def test_rewards_and_advantages_that_are_nan_carry_none(advantage):
    rewards, settings = torch.tensor([[1.0, NAN]]), GRPOConfig(advantage="own", use_cpu=True, bf16=False)
    found = advantages_of(lambda rewards_PG, settings: torch.full_like(rewards_PG, advantage), rewards, settings)
    assert found.tolist() == [[1.0 if advantage == 1.0 else 0.0, 0.0]]


def test_advantage_of_a_row_that_could_not_be_judged_is_0(tiny, tmp_path):
    rewards = [reward_of("graded", [1.0, 0.0, 1.0, NAN, 1.0, 0.0, 0.0, 0.0]), reward_of("other", [0.5] * 8)]
    trainer = build_trainer(GRPOTrainer, tiny, tmp_path, rewards, max_steps=2, reward_weights=[2.0, 1.0])
    trainer.own_advantage = load_advantage("rloo")
    trainer.train()
    expected = [1.0, -2.0, 1.0, 0.0, 2.0, -2 / 3, -2 / 3, -2 / 3]
    assert recorded(tmp_path)["advantage"].tolist() == pytest.approx(expected * 2, abs=1e-6)
    assert list(trainer._logs["advantages"]) == pytest.approx(expected, abs=1e-6)


OWN = """
def fine(log_probs, old, ref, advantages, mask, settings): return -log_probs * advantages[:, None]
def good(rewards, settings): return rewards
"""
REFUSED = {
    "unknown loss": ({"loss": "ppo"}, ["`loss: ppo`", "reinforce"]),
    "loss that is not there": ({"loss": "OWN:missing"}, ["'missing'", "fine"]),
    "file of a loss that is not there": ({"loss": "nowhere.py:loss"}, ["nowhere.py"]),
    "loss beside a mask by its ratios": (
        {"loss": "OWN:fine", "off_policy_mask_threshold": 0.1},
        ["off_policy_mask_threshold"],
    ),
    "loss beside a KL divergence by its ratios": ({"loss": "reinforce", "beta": 0.1}, ["use_bias_correction_kl"]),
    "unknown advantage": ({"advantage": "gae"}, ["`advantage: gae`", "rloo"]),
    "advantage of normalized rewards": (
        {"advantage": "OWN:good", "multi_objective_aggregation": "normalize_then_sum"},
        ["multi_objective_aggregation"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_before_the_model_loads(tiny, tmp_path, case):
    (tmp_path / "own.py").write_text(OWN)
    given, named = REFUSED[case]
    settings = {name: str(value).replace("OWN:", f"{tmp_path}/own.py:") for name, value in given.items()}
    with pytest.raises(ValueError, match="(?s)" + ".*".join(named)):
        tiny.train("grpo", tmp_path / "output", **settings, check_only=True)
    assert not (tmp_path / "output").exists()
