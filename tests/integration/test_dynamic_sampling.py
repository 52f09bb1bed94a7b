# SPDX-License-Identifier: Apache-2.0
"""Dynamic sampling: groups whose rewards are all equal are replaced, and what is missing doesn't count."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer, Qwen3MoeConfig, Qwen3MoeForCausalLM

from open_r1.arguments import RecipeParser
from open_r1.configs import GRPOConfig, GRPOScriptArguments, ModelConfig
from open_r1.data.training_rows import get_dataset
from open_r1.models import get_model, get_tokenizer
from open_r1.preflight import choose_dynamic_sampling_metric
from open_r1.rewards import RewardContext, get_reward_funcs
from open_r1.rewards.rows import prepare_prompts
from open_r1.training.run import is_refusal
from open_r1.training.trainer import GRPOTrainer
from tests.integration.tiny import Tiny, are_identical, build_tiny, log_history, weights_of

# With random weights the lengths of completions vary, and so does this reward of theirs.
SETTINGS: dict[str, Any] = {
    "max_completion_length": 24,
    "learning_rate": 1e-3,
    "max_steps": 3,
    "log_completions": True,
}
GROUP = 4
# A problem `a+b` with an odd sum teaches something.
REWARDS = """
def always(completions, **columns):
    return [float(len(completion[0]["content"])) for completion in completions]

def of_odd_sums(completions, solution, **columns):
    return [int(s) % 2 * value for s, value in zip(solution, always(completions))]

def of_few_sums(completions, solution, **columns):
    return [(int(s) % 4 == 1) * value for s, value in zip(solution, always(completions))]

def never(completions, **columns):
    return [0.25] * len(completions)

def hardly_judged(completions, solution, **columns):
    rewards = of_odd_sums(completions, solution)
    return [value if row % 4 < 2 else float("nan") for row, value in enumerate(rewards)]

def outage(completions, **columns):
    return [float("nan")] * len(completions)

def logged_in_refills(completions, solution, log_extra, **columns):
    if len(completions) < 8:
        log_extra("verdict", ["seen"] * len(completions))
    return of_odd_sums(completions, solution)

def outage_in_refills(completions, solution, **columns):
    is_whole_batch = len(completions) == 8
    return of_odd_sums(completions, solution) if is_whole_batch else outage(completions)
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def train(tiny, tmp_path):
    """Return the function that trains by a reward of `REWARDS`, and returns the folder."""
    rewards = tmp_path / "rewards.py"
    rewards.write_text(REWARDS, encoding="utf-8")

    def run(reward: str, name: str = "run", **settings: Any) -> Path:
        tiny.train("grpo", tmp_path / name, reward_funcs=[f"{rewards}:{reward}"], **{**SETTINGS, **settings})
        return tmp_path / name

    return run


def steps(output: Path) -> list[dict[str, Any]]:
    return [entry for entry in log_history(output) if "loss" in entry]


def rounds(output: Path) -> Iterator[tuple[int, int, pd.DataFrame]]:
    """Give step, number and rows of every round of generation."""
    for path in sorted((output / "rollouts").glob("train-*.parquet")):
        step, number = map(int, path.stem.split("-")[1:])
        yield step, number, pd.read_parquet(path)


def test_nothing_changes_where_no_group_is_dropped(train):
    plain, dynamic = train("always", "plain"), train("always", "dynamic", dynamic_sampling_rounds=2)
    assert are_identical(weights_of(plain), weights_of(dynamic))
    for entry in steps(dynamic):
        assert {name: entry[f"dynamic_sampling/{name}"] for name in ("rounds", "dropped_groups", "wasted_tokens")} == {
            "rounds": 0,
            "dropped_groups": 0,
            "wasted_tokens": 0,
        }
    assert [entry["loss"] for entry in steps(plain)] == [entry["loss"] for entry in steps(dynamic)]


def test_rounds_draw_as_many_prompts_as_groups_are_missing(train):
    output = train("of_odd_sums", dynamic_sampling_rounds=3, per_device_train_batch_size=16)
    missing, found, drawn = 0, [], 0
    for _, number, rows in rounds(output):
        groups = rows.groupby(rows.index // GROUP)
        assert (groups["solution"].nunique() == 1).all()
        if number == 0:
            missing = 4
        else:
            drawn += len(groups)
            found.append(tuple(rows["solution"]))
        assert len(groups) == missing
        missing -= int((groups["of_odd_sums"].nunique() > 1).sum())
    assert drawn > 4 and len(set(found)) == len(found)
    last = {step: number for step, number, _ in rounds(output)}
    assert [entry["dynamic_sampling/rounds"] for entry in steps(output)] == list(last.values())


@pytest.mark.parametrize(("metric", "is_dropped"), [("of_odd_sums", True), ("reward", False), (None, False)])
def test_groups_are_dropped_by_the_metric_that_is_named(tiny, train, tmp_path, metric, is_dropped):
    rewards = [f"{tmp_path}/rewards.py:{name}" for name in ("always", "of_odd_sums")]
    settings = {**SETTINGS, "dynamic_sampling_rounds": 1, "dynamic_sampling_metric": metric}
    tiny.train("grpo", tmp_path / "run", reward_funcs=rewards, **settings)
    dropped = [entry["dynamic_sampling/dropped_groups"] for entry in steps(tmp_path / "run")]
    assert (max(dropped) > 0) == is_dropped
    for step, number, rows in rounds(tmp_path / "run"):
        equal = (rows.groupby(rows.index // GROUP)["of_odd_sums"].nunique() == 1).sum()
        has_refill = (tmp_path / "run" / "rollouts" / f"train-{step:06d}-1.parquet").is_file()
        assert number == 1 or not is_dropped or has_refill == (equal > 0)


@pytest.mark.parametrize(
    ("names", "weights", "named", "metric"),
    [
        (["format", "cosine", "accuracy"], None, None, "accuracy_reward"),
        (["format", "cosine"], None, None, "reward"),
        (["accuracy", "format", "summary_only(accuracy)"], ["0", "1", "1"], None, "summary_only_accuracy_reward"),
        (["format", "accuracy"], None, "format_reward", "format_reward"),
    ],
)
def test_groups_are_dropped_by_the_first_reward_that_judges_answers(tiny, tmp_path, names, weights, named, metric):
    settings = {"dynamic_sampling_rounds": 1, "dynamic_sampling_metric": named}
    argv = tiny.argv("grpo", tmp_path, reward_funcs=names, reward_weights=weights, **settings)
    arguments = RecipeParser((GRPOScriptArguments, GRPOConfig, ModelConfig)).parse(argv)
    rewards = get_reward_funcs(arguments[0], RewardContext(eos_token_ids=(0,)))
    choose_dynamic_sampling_metric(*arguments[:2], rewards)
    assert arguments[1].dynamic_sampling_metric == metric


def test_figures_are_those_of_the_first_round_and_tokens_those_of_all(train):
    output = train("of_odd_sums", dynamic_sampling_rounds=2)
    entries, tokens = steps(output), 0
    for step, entry in enumerate(entries, start=1):
        of_step = [rows for at, _, rows in rounds(output) if at == step]
        first, every = of_step[0], pd.concat(of_step, ignore_index=True)
        assert entry["reward"] == pytest.approx(first["of_odd_sums"].mean())
        assert entry["completions/mean_length"] == pytest.approx(first["num_tokens"].mean())
        is_dull = every.groupby(every.index // GROUP)["of_odd_sums"].nunique() == 1
        assert entry["dynamic_sampling/dropped_groups"] == pytest.approx(is_dull.mean())
        assert entry["dynamic_sampling/rounds"] == len(of_step) - 1
        assert entry["time/generate_s"] > 0
        tokens += every["num_tokens"].sum()
    prompt_tokens = sum(len(rows) for _, _, rows in rounds(output))  # at least one each
    assert entries[-1]["num_tokens"] > tokens + prompt_tokens


def test_table_of_completions_is_that_of_the_first_round(train):
    output = train("logged_in_refills", dynamic_sampling_rounds=2, max_steps=2)
    assert steps(output)[0]["dynamic_sampling/rounds"] > 0


def test_wasted_tokens_are_those_of_groups_that_are_not_learned_from(train):
    output = train("of_odd_sums", dynamic_sampling_rounds=1, max_steps=4)
    for step, entry in enumerate(steps(output), start=1):
        every = pd.concat([rows for at, _, rows in rounds(output) if at == step], ignore_index=True)
        # With one process no good group is to spare.
        group = every.index // GROUP
        is_dull = every.groupby(group)["of_odd_sums"].transform("nunique") == 1
        expected = every["num_tokens"][is_dull].sum() / every["num_tokens"].sum()
        assert entry["dynamic_sampling/wasted_tokens"] == pytest.approx(expected)


def test_batch_without_a_lesson_changes_nothing_and_says_so(tiny, train, caplog):
    output = train("never", dynamic_sampling_rounds=1, max_steps=2, beta=0.1)
    assert are_identical(weights_of(tiny.model), weights_of(output))
    for entry in steps(output):
        assert (entry["loss"], entry["grad_norm"], entry["dynamic_sampling/missing_groups"]) == (0, 0, 1)
        assert entry["dynamic_sampling/wasted_tokens"] == 1
        assert "NaN" not in json.dumps(entry)
    assert sum("dynamic_sampling_rounds" in record.getMessage() for record in caplog.records) == 2


def test_unscorable_rows_are_no_reason_to_keep_a_group(train):
    output = train("hardly_judged", dynamic_sampling_rounds=2)
    for entry in steps(output):
        assert 0 < entry["dynamic_sampling/dropped_groups"] < 1
    assert [entry["rewards/unscorable"] for entry in steps(output)] == [0.5] * 3


def test_outage_stops_a_run_at_the_second_batch_whatever_its_refills(train, tmp_path):
    train("outage_in_refills", "refills", dynamic_sampling_rounds=3)
    with pytest.raises(RuntimeError, match="is down"):
        train("outage", dynamic_sampling_rounds=3)
    numbers = [(step, number) for step, number, _ in rounds(tmp_path / "run")]
    assert numbers == [(1, 0), (1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize("settings", [{}, {"steps_per_generation": 4, "gradient_accumulation_steps": 2}])
def test_resumed_run_ends_like_an_uninterrupted_one(train, settings):
    settings |= {"dynamic_sampling_rounds": 2, "max_steps": 4, "save_steps": 1}
    whole = train("of_odd_sums", "whole", **settings)
    resumed = whole.parent / "resumed"
    shutil.copytree(
        whole, resumed, ignore=shutil.ignore_patterns("checkpoint-4", "model.safetensors", "manifest.json")
    )
    shutil.copytree(whole / "checkpoint-3", resumed / "checkpoint-3", dirs_exist_ok=True)
    train("of_odd_sums", "resumed", **settings)
    assert are_identical(weights_of(whole), weights_of(resumed))
    drawn = [[(step, number, *rows["completion"]) for step, number, rows in rounds(at)] for at in (whole, resumed)]
    assert drawn[0] == drawn[1]
    state = torch.load(whole / "checkpoint-4" / "rollout_state_0.pt", weights_only=True)
    assert state["refills"] > 0


def build_trainer(tiny: Tiny, output: Path, **settings: Any) -> GRPOTrainer:
    """Return a trainer whose reward alternates, group by group, between a lesson and none."""

    def every_other_group(completions: list, **columns: object) -> list[float]:
        return [float(row % GROUP) if row // GROUP % 2 else 0.0 for row in range(len(completions))]

    argv = tiny.argv("grpo", output, **{**SETTINGS, **settings})
    script_args, training_args, model_args = RecipeParser((GRPOScriptArguments, GRPOConfig, ModelConfig)).parse(argv)
    script_args.reward_funcs = []
    tokenizer = get_tokenizer(model_args, training_args)
    rows = prepare_prompts(get_dataset(script_args), "train", "a test", tokenizer, script_args, None, None)
    return GRPOTrainer(
        model=get_model(model_args, training_args, tokenizer),
        reward_funcs=[every_other_group],
        args=training_args,
        train_dataset=rows,
        processing_class=tokenizer,
    )


def gradients(trainer: GRPOTrainer, batches: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return the gradients of a window of micro-batches."""
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = len(batches)
    for inputs in batches:
        trainer.compute_loss(trainer.model, inputs).backward()
    return {name: weight.grad.clone() for name, weight in trainer.model.named_parameters()}


@pytest.mark.parametrize("importance", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", ["grpo", "sapo", "dr_grpo", "luspo", "dapo", "cispo", "vespo"])
def test_gradient_is_that_of_the_groups_that_were_kept(tiny, tmp_path, loss_type, importance):
    settings = {"loss_type": loss_type, "importance_sampling_level": importance, "beta": 0.1, "learning_rate": 0.0}
    settings |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "report_to": "none"}
    trainer = build_trainer(tiny, tmp_path, dynamic_sampling_rounds=1, mask_truncated_completions=True, **settings)
    trainer.model.train()
    drawn = next(iter(trainer.get_train_dataloader()))
    inputs = trainer._generate_and_score_completions(drawn)
    # The second and fourth group had a lesson, and of the two prompts of the refill the second.
    is_empty = inputs["completion_mask"].sum(dim=1) == 0
    assert inputs["advantages"].view(4, GROUP).abs().sum(dim=1).gt(0).tolist() == [True, True, False, True]
    assert is_empty[8:12].all()

    whole = {name: value if value.ndim == 0 else value.clone() for name, value in inputs.items()}
    micro_batches = [
        {name: value if value.ndim == 0 else value[start : start + 4] for name, value in whole.items()}
        for start in range(0, 16, 4)
    ]
    kept = torch.tensor([row for row in range(16) if row // GROUP != 2])
    alone = {name: value if value.ndim == 0 else value[kept] for name, value in whole.items() if name != "loss_scale"}
    found = gradients(trainer, micro_batches)
    trainer.args.steps_per_generation = 1
    expected = gradients(trainer, [alone])
    scale = max(tensor.abs().max() for tensor in expected.values())
    assert scale > 0
    assert max((found[name] - tensor).abs().max() for name, tensor in expected.items()) < 1e-5 * scale


def test_experts_are_balanced_no_more_where_groups_are_missing(tiny, train, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny.model)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 1, "moe_intermediate_size": 16}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    config = Qwen3MoeConfig(**sizes, **heads, num_experts=4, num_experts_per_tok=2, pad_token_id=0)
    Qwen3MoeForCausalLM(config).save_pretrained(tmp_path / "experts")
    tokenizer.save_pretrained(tmp_path / "experts")
    settings = {"model_name_or_path": tmp_path / "experts", "router_aux_loss_coef": 0.5, "loss_type": "grpo"}
    output = train("never", **settings, dynamic_sampling_rounds=1, max_steps=2)
    for entry in steps(output):
        assert entry["loss"] == pytest.approx(0.5 * entry["aux_loss"], abs=1e-4)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo"])
def test_packed_rows_teach_the_same(train, loss_type):
    settings = {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 8,
        "loss_type": loss_type,
        "beta": 0.1,
    }
    settings |= {"max_steps": 2, "dynamic_sampling_rounds": 1, "optim": "sgd", "learning_rate": 0.1}
    packed = train("of_few_sums", "packed", **settings, max_tokens_per_micro_batch=15)
    padded = train("of_few_sums", "padded", **settings, pack=False)
    assert 0 < max(entry["dynamic_sampling/missing_groups"] for entry in steps(packed)) < 1
    weights, expected = weights_of(packed), weights_of(padded)
    assert max((weights[name] - tensor).abs().max() for name, tensor in expected.items()) < 1e-6


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"scale_rewards": "batch"}, "scale_rewards"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "multi_objective_aggregation"),
        ({"loss_type": "bnpo"}, "loss_type"),
        ({"entropy_coef": 0.01}, "entropy_coef"),
        ({"use_adaptive_entropy": True}, "use_adaptive_entropy"),
        ({"dynamic_sampling_metric": "acuracy_reward"}, "dynamic_sampling_metric.*'always'"),
    ],
)
def test_settings_in_which_dropped_groups_would_count_are_refused(train, settings, named):
    with pytest.raises(ValueError, match=named) as refused:
        train("always", **{"dynamic_sampling_rounds": 1, **settings})
    assert is_refusal(refused.value)
