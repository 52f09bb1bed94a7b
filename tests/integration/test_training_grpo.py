# SPDX-License-Identifier: Apache-2.0
"""What our GRPO trainer adds to TRL's: rows that could not be judged, rollouts on disk, timers, evaluation apart."""

import logging
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
import torch
import trl
from transformers import GenerationConfig
from trl.trainer import grpo_trainer

from open_r1.arguments import RecipeParser
from open_r1.configs import GRPOConfig, GRPOScriptArguments, ModelConfig
from open_r1.configs.rewards import RewardArguments
from open_r1.data.training_rows import get_dataset
from open_r1.evaluation.benchmarks import local_benchmark
from open_r1.evaluation.prompts import load_problems
from open_r1.evaluation.training import BenchmarkSet, PolicyEvaluation
from open_r1.models import get_model, get_tokenizer
from open_r1.reward_models import load_reward_model
from open_r1.rewards import UNSCORABLE, get_reward_funcs
from open_r1.rewards.rows import prepare_prompts
from open_r1.training.trainer import GRPOTrainer
from tests.integration.tiny import (
    Tiny,
    are_identical,
    build_reward_model,
    build_tiny,
    log_history,
    weights_of,
)

# With random weights the lengths of completions vary, and so does this reward.
SIGNAL = {
    "reward_funcs": ["cosine", "format"],
    "cosine_max_len": 24,
    "max_completion_length": 24,
    "learning_rate": 1e-3,
    "log_completions": True,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


def build_trainer(
    trainer_class: type[trl.GRPOTrainer], tiny: Tiny, output: Path, rewards: list[Callable], **settings
) -> trl.GRPOTrainer:
    """Return a trainer with rewards of a test, set up as `grpo.py` does."""
    argv = tiny.argv("grpo", output, log_completions=True, **settings)
    script_args, training_args, model_args = RecipeParser((GRPOScriptArguments, GRPOConfig, ModelConfig)).parse(argv)
    script_args.reward_funcs = []
    tokenizer = get_tokenizer(model_args, training_args)
    dataset = get_dataset(script_args)
    rows = {split: prepare_prompts(dataset, split, "a test", tokenizer, script_args, None, None) for split in dataset}
    return trainer_class(
        model=get_model(model_args, training_args, tokenizer),
        reward_funcs=rewards,
        args=training_args,
        train_dataset=rows["train"],
        eval_dataset=rows["test"],
        processing_class=tokenizer,
    )


def reward_of(name: str, *batches: list[float | None]) -> Callable:
    """Return a reward that gives these values, the last batch again and again."""
    left = list(batches)

    def reward(completions: list, **columns: object) -> list[float | None]:
        return left.pop(0) if len(left) > 1 else left[0]

    reward.__name__ = name
    return reward


def recorded(output: Path, pattern: str = "train-*") -> pd.DataFrame:
    files = sorted((output / "rollouts").glob(f"{pattern}.parquet"))
    return pd.concat([pd.read_parquet(path).assign(file=path.name) for path in files], ignore_index=True)


def advantages(rewards: list[float]) -> list[float]:
    mean, deviation = statistics.mean(rewards), statistics.stdev(rewards)
    return [(reward - mean) / (deviation + 1e-4) for reward in rewards]


# Rows of two groups of four. The grader fails on the last row of the first group, in which format gives 0.25.
GRADED = [1.0, 0.0, 1.0, UNSCORABLE, 1.0, 0.0, 0.0, 0.0]
FORMAT = [0.25, 0.25, 0.0, 0.25, 0.0, 0.25, 0.0, 0.25]


def test_row_that_could_not_be_judged_carries_no_advantage(tiny, tmp_path):
    rewards = [reward_of("graded", GRADED), reward_of("format", FORMAT)]
    trainer = build_trainer(GRPOTrainer, tiny, tmp_path, rewards, max_steps=1)
    trainer.train()
    rows = recorded(tmp_path)
    expected = [*advantages([1.25, 0.25, 1.0]), 0.0, *advantages([1.0, 0.25, 0.0, 0.25])]
    assert rows["advantage"].tolist() == pytest.approx(expected, abs=1e-4)
    assert rows[["graded", "format"]].isna().all(axis=1).tolist() == [False] * 3 + [True] + [False] * 4
    assert trainer.state.log_history[0]["rewards/unscorable"] == 1 / 8


def test_trl_alone_would_punish_the_row(tiny, tmp_path):
    missing = [None if reward != reward else reward for reward in GRADED]
    rewards = [reward_of("graded", missing), reward_of("format", FORMAT)]
    build_trainer(trl.GRPOTrainer, tiny, tmp_path, rewards, max_steps=1).train()
    rows = pd.read_parquet(tmp_path / "completions" / "completions_00001.parquet")
    assert rows["advantage"].tolist()[3] == pytest.approx(advantages([1.25, 0.25, 1.0, 0.25])[3], abs=1e-4)
    assert rows["advantage"].tolist()[3] < -0.8


def test_reward_that_does_not_apply_means_what_it_means_in_trl(tiny, tmp_path):
    missing = [None if reward != reward else reward for reward in GRADED]
    found = []
    for trainer_class in (GRPOTrainer, trl.GRPOTrainer):
        output = tmp_path / trainer_class.__module__
        rewards = [reward_of("graded", missing), reward_of("format", FORMAT)]
        build_trainer(trainer_class, tiny, output, rewards, max_steps=1).train()
        is_ours = trainer_class is GRPOTrainer
        rows = recorded(output) if is_ours else pd.read_parquet(output / "completions" / "completions_00001.parquet")
        found.append(rows["advantage"].tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("aggregation", "scale"),
    [("sum_then_normalize", "batch"), ("sum_then_normalize", "none"), ("normalize_then_sum", "group")],
)
def test_unscorable_row_is_neutral_in_every_aggregation(tiny, tmp_path, aggregation, scale):
    settings = {"max_steps": 1, "multi_objective_aggregation": aggregation, "scale_rewards": scale}
    rewards = [reward_of("graded", GRADED), reward_of("format", FORMAT)]
    build_trainer(GRPOTrainer, tiny, tmp_path, rewards, **settings).train()
    rows = recorded(tmp_path)
    assert rows["advantage"][3] == 0.0
    assert (rows["advantage"].drop(3) != 0.0).any()
    assert rows["advantage"].notna().all()


def test_failure_of_a_reward_that_is_only_watched_takes_nothing_away(tiny, tmp_path):
    rewards = [reward_of("watched", [UNSCORABLE] * 8), reward_of("format", FORMAT)]
    build_trainer(GRPOTrainer, tiny, tmp_path, rewards, max_steps=3, reward_weights=[0.0, 1.0]).train()
    expected = advantages(FORMAT[:4]) + advantages(FORMAT[4:])
    assert recorded(tmp_path)["advantage"].tolist()[:8] == pytest.approx(expected, abs=1e-4)


MEETING = """
import asyncio

called = set()

async def meet(name):
    called.add(name)
    while len(called) < 2:
        await asyncio.sleep(0.01)

async def graded(completions, **columns):
    await asyncio.wait_for(meet("graded"), 20)
    return [1.0, 0.0, 1.0, float("nan"), 1.0, 0.0, 0.0, 0.0]

async def format(completions, **columns):
    await asyncio.wait_for(meet("format"), 20)
    return [0.25, 0.25, 0.0, 0.25, 0.0, 0.25, 0.0, 0.25]
"""


def test_async_rewards_of_the_user_are_awaited_together(tiny, tmp_path):
    (tmp_path / "own.py").write_text(MEETING)
    names = [f"{tmp_path}/own.py:graded", f"summary_only({tmp_path}/own.py:format)"]
    build_trainer(
        GRPOTrainer, tiny, tmp_path, get_reward_funcs(RewardArguments(reward_funcs=names)), max_steps=1
    ).train()
    rows = recorded(tmp_path)
    expected = [*advantages([1.25, 0.25, 1.0]), 0.0, *advantages([1.0, 0.25, 0.0, 0.25])]
    assert rows["advantage"].tolist() == pytest.approx(expected, abs=1e-4)
    assert rows[["graded", "summary_only_format"]].isna().all(axis=1).tolist() == [False] * 3 + [True] + [False] * 4


def test_two_batches_without_a_verdict_stop_the_run(tiny, tmp_path):
    trainer = build_trainer(GRPOTrainer, tiny, tmp_path, [reward_of("graded", [UNSCORABLE] * 8)])
    with pytest.raises(RuntimeError, match=r"last two batches .* is down"):
        trainer.train()
    assert trainer.state.global_step == 1


def test_rows_that_are_too_long_for_a_reward_model_are_no_outage(tiny, tmp_path, caplog):
    short = build_reward_model(tmp_path / "short", max_position_embeddings=8)
    settings = {**SIGNAL, "reward_funcs": ["cosine", str(short)], "max_steps": 3}
    tiny.train("grpo", tmp_path / "run", **settings)
    rows = recorded(tmp_path / "run")
    assert (rows["short/verdict"] == "too_long").all()
    assert rows["short"].isna().all() and (rows["advantage"] == 0).all()
    assert [entry["rewards/unscorable"] for entry in log_history(tmp_path / "run")[:3]] == [1.0] * 3
    assert sum("too long" in record.getMessage() for record in caplog.records) == 3


def test_outage_beside_rows_that_are_too_long_is_one(tiny, tmp_path):
    short = load_reward_model(
        str(build_reward_model(tmp_path / "short", max_position_embeddings=8)), GRPOConfig(use_cpu=True, bf16=False)
    )
    rewards = [short, reward_of("graded", [UNSCORABLE] * 8)]
    with pytest.raises(RuntimeError, match="is down"):
        build_trainer(GRPOTrainer, tiny, tmp_path / "run", rewards).train()


@pytest.mark.parametrize(
    ("said", "is_divergence"),
    [
        ("probability tensor contains either `inf`, `nan` or element < 0", True),
        ("CUDA error: device-side assert triggered", False),  # of NaN, but also of a token id beyond the embedding
        ("CUDA out of memory", False),
    ],
)
def test_only_what_must_be_nan_is_called_a_divergence(tiny, tmp_path, monkeypatch, said, is_divergence):
    def fail(*args: object) -> None:
        raise torch.AcceleratorError(said)

    monkeypatch.setattr(trl.GRPOTrainer, "_generate", fail)
    trainer = build_trainer(GRPOTrainer, tiny, tmp_path, [reward_of("format", FORMAT)])
    with pytest.raises(FloatingPointError if is_divergence else torch.AcceleratorError):
        trainer.train()


def test_one_batch_without_a_verdict_changes_nothing_but_the_schedule(tiny, tmp_path):
    failed = [UNSCORABLE] * 8
    trainer = build_trainer(GRPOTrainer, tiny, tmp_path, [reward_of("graded", failed, FORMAT, failed, FORMAT)])
    trainer.train()
    assert trainer.state.global_step == 4
    assert recorded(tmp_path)["advantage"].tolist()[:8] == [0.0] * 8


class ScriptedVllm:
    """In the place of TRL's `VLLMGeneration`: gives the same completions again and again."""

    completion_ids: ClassVar[list[list[int]]] = [[]]

    def __init__(self, generation_kwargs: dict | None, **settings: object) -> None:
        vars(self).update(settings, generation_kwargs=generation_kwargs or {})

    def sync_weights(self) -> None:
        """Needs none."""

    def generate(self, prompts: list[list[int]], **settings: object) -> tuple:
        found = [list(self.completion_ids[row % len(self.completion_ids)]) for row in range(len(prompts))]
        return prompts, found, [[[-1.0] for _ in ids] for ids in found], None


@pytest.fixture
def vllm(monkeypatch):
    monkeypatch.setattr(grpo_trainer, "VLLMGeneration", ScriptedVllm)
    return {"use_vllm": True}


@pytest.mark.parametrize("mode", ["colocate", "server"])
@pytest.mark.parametrize(
    ("given", "own_ids", "others"),
    [
        (None, [], {}),
        ({"seed": 3, "stop_token_ids": [9], "stop": "x"}, [9], {"seed": 3, "stop": "x"}),
    ],
)
def test_vllm_is_given_the_trainers_end_tokens(tiny, tmp_path, vllm, mode, given, own_ids, others):
    settings = vllm | {"vllm_mode": mode, "vllm_importance_sampling_correction": False, "generation_kwargs": given}
    trainer = build_trainer(GRPOTrainer, tiny, tmp_path, [reward_of("graded", GRADED)], **settings)
    ends = [trainer.processing_class.eos_token_id, *own_ids]
    assert trainer.vllm_generation.generation_kwargs == {**others, "stop_token_ids": ends}
    assert trainer.eos_token_ids == ends
    trainer.publish_model()
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == ends


def test_evaluation_by_vllm_ends_answers_where_rollouts_end(tiny, tmp_path, vllm, monkeypatch):
    seen, generate = [], ScriptedVllm.generate

    def recorded(self, prompts: list[list[int]], **settings: object) -> tuple:
        seen.append(self.generation_kwargs)
        return generate(self, prompts, **settings)

    settings = vllm | {
        "vllm_importance_sampling_correction": False,
        "generation_kwargs": {"stop_token_ids": [9], "stop": "x"},
    }
    trainer = build_trainer(GRPOTrainer, tiny, tmp_path, [reward_of("graded", GRADED)], **settings)
    tokenizer = trainer.processing_class
    (tmp_path / "sums.jsonl").write_text('{"problem": "1+1", "solution": "2"}')
    problems = load_problems(local_benchmark(tmp_path / "sums.jsonl"))
    monkeypatch.setattr(ScriptedVllm, "generate", recorded)
    monkeypatch.setattr(ScriptedVllm, "completion_ids", [[*tokenizer("ok")["input_ids"], 9]])
    asked = BenchmarkSet(problems, {0: tokenizer("1 + 1")["input_ids"]}, tmp_path)
    PolicyEvaluation([asked], tokenizer, num_samples=2, max_tokens=8, batch_size=2).measure(trainer, step=1)
    answers = pd.read_parquet(tmp_path / "sums" / "step-000001.parquet")
    assert answers["answer"].tolist() == ["ok"] * 2
    assert answers["num_tokens"].tolist() == [len(tokenizer("ok")["input_ids"]) + 1] * 2
    assert seen == [{"stop": "x", "stop_token_ids": trainer.eos_token_ids}]


def learned_from(trainer: trl.GRPOTrainer) -> list[list[int]]:
    """Train; return what the loss was taken over, a list of token ids for each completion."""
    found, compute_loss = [], trainer._compute_loss

    def recorded_loss(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        masks = inputs["completion_mask"] * inputs["tool_mask"]
        found.extend(ids[mask.bool()].tolist() for ids, mask in zip(inputs["completion_ids"], masks, strict=True))
        return compute_loss(model, inputs)

    trainer._compute_loss = recorded_loss
    trainer.train()
    return found


def test_completion_that_vllm_ends_at_a_stop_text_is_whole(tiny, tmp_path, vllm, monkeypatch):
    seen = []

    def length(completions: list, completion_ids: list, **columns: object) -> list[float]:
        seen.append(([completion[0]["content"] for completion in completions], completion_ids))
        return [float(len(ids)) for ids in completion_ids]

    settings = vllm | {"stop_strings": ["Us:", "<|im_start|>"], "generation_kwargs": {"stop": ["x"]}}
    settings |= {"max_steps": 1, "mask_truncated_completions": True, "max_completion_length": 4}
    trainer = build_trainer(GRPOTrainer, tiny, tmp_path, [length], **settings)
    stopping = trainer.vllm_generation.generation_kwargs
    assert (stopping["stop"], stopping["skip_special_tokens"]) == (["x", "Us:", "<|im_start|>"], False)

    drawn = trainer.processing_class(["ok<|im_end|>", "aUs:", "<|im_start|>", "long"])["input_ids"]
    monkeypatch.setattr(ScriptedVllm, "completion_ids", drawn)
    assert sorted(learned_from(trainer)) == sorted([*drawn[:3], []] * 2)
    ((texts, completion_ids),) = seen
    assert texts == ["ok", "aUs:", "", "long"] * 2
    assert [ids[-1] in trainer.eos_token_ids for ids in completion_ids] == [True, True, True, False] * 2
    rows = recorded(tmp_path)
    assert rows["is_truncated"].tolist() == [False, False, False, True] * 2
    assert rows["num_tokens"].tolist() == [3, 5, 2, 4] * 2
    assert trainer.state.log_history[0]["completions/clipped_ratio"] == 0.25


def test_transformers_ends_completions_at_stop_texts(tiny, tmp_path):
    stop = ("A", "B", "8", "<|im_start|>")
    settings = {"stop_strings": stop, "max_completion_length": 64, "mask_truncated_completions": True, "max_steps": 2}
    trainer = build_trainer(GRPOTrainer, tiny, tmp_path, [reward_of("graded", GRADED)], **settings)
    texts = trainer.processing_class.batch_decode(learned_from(trainer))
    ends = (*stop, "<|im_end|>")
    assert {end for end in ends if any(text.endswith(end) for text in texts)} == set(ends)
    rows = recorded(tmp_path)
    assert sum(text == "" for text in texts) == rows["is_truncated"].sum()
    assert all(text == "" or text.endswith(ends) for text in texts)
    assert not any(end in text.removesuffix(end) for text in texts for end in ends)
    ratios = [entry["completions/clipped_ratio"] for entry in trainer.state.log_history if "loss" in entry]
    assert ratios == [group["is_truncated"].mean() for _, group in rows.groupby("step")]


def test_every_batch_of_rollouts_is_kept(tiny, tmp_path):
    tiny.train("grpo", tmp_path, **SIGNAL, logging_steps=4)
    rows = recorded(tmp_path)
    assert rows["file"].value_counts().to_dict() == {f"train-00000{step}-0.parquet": 8 for step in range(1, 5)}
    assert rows.columns.tolist() == [
        "prompt",
        "completion",
        "solution",
        "num_tokens",
        "is_truncated",
        "is_greedy",
        "cosine_scaled_reward",
        "format_reward",
        "cosine_scaled_reward/verdict",
        "cosine_scaled_reward/gold_read",
        "cosine_scaled_reward/answer_read",
        "advantage",
        "step",
        "file",
    ]
    assert [len(group) for _, group in rows.groupby(["step", rows["prompt"].astype(str)])] == [4] * 8
    assert rows["num_tokens"].between(1, 24).all()
    assert (rows["num_tokens"][rows["is_truncated"]] == 24).all()


def test_no_rollouts_are_kept_unless_asked(tiny, tmp_path):
    tiny.train("grpo", tmp_path, max_steps=1)
    assert not (tmp_path / "rollouts").exists()


def test_generations_of_one_step_get_files_of_their_own(tiny, tmp_path):
    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "steps_per_generation": 1}
    tiny.train("grpo", tmp_path, **SIGNAL, **settings, max_steps=2)
    assert sorted(set(recorded(tmp_path)["file"])) == [
        f"train-00000{step}-{number}.parquet" for step in (1, 2) for number in range(2)
    ]


def test_times_of_a_step_add_up_and_tokens_are_counted(tiny, tmp_path):
    tiny.train("grpo", tmp_path, **SIGNAL)
    steps = [entry for entry in log_history(tmp_path) if "loss" in entry]
    assert len(steps) == 4
    for entry in steps:
        parts = [entry[f"time/{name}_s"] for name in ("generate", "reward", "update")]
        assert min(parts) > 0
        assert sum(parts) >= entry["step_time"] - 2e-3
    # Between TRL's look at the clock and ours the machine may do something else, though not in most steps.
    beyond = [
        sum(entry[f"time/{name}_s"] for name in ("generate", "reward", "update")) - entry["step_time"]
        for entry in steps
    ]
    assert statistics.median_low(beyond) <= 2e-3
    tokens = [entry["num_tokens"] for entry in steps]
    for before, entry in zip(tokens, steps[1:], strict=False):
        assert 0 < entry["tokens_per_second"] <= (entry["num_tokens"] - before) / entry["step_time"] * 1.01


def test_tokens_per_second_leave_evaluation_and_saving_out(tiny, tmp_path):
    tiny.train(
        "grpo", tmp_path, **SIGNAL, eval_strategy="steps", eval_steps=1, eval_on_start=True, save_steps=1, max_steps=9
    )
    steps = [entry for entry in log_history(tmp_path) if "loss" in entry]
    tokens = [0, *(entry["num_tokens"] for entry in steps)]
    # The time between two logs holds the step and, without evaluation and saving, little else.
    shares = [
        entry["tokens_per_second"] * entry["step_time"] / (after - before)
        for before, after, entry in zip(tokens, tokens[1:], steps, strict=False)
    ]
    assert min(shares) > 0 and max(shares) <= 1.01
    assert statistics.median(shares) > 0.5


def test_evaluation_leaves_the_training_alone(tiny, tmp_path):
    tiny.train("grpo", tmp_path / "alone", **SIGNAL)
    evaluation = {"do_eval": True, "eval_strategy": "steps", "eval_steps": 1, "eval_on_start": True}
    tiny.train("grpo", tmp_path / "evaluated", **SIGNAL, **evaluation, eval_greedy=True)
    assert are_identical(weights_of(tmp_path / "alone"), weights_of(tmp_path / "evaluated"))
    assert not are_identical(weights_of(tmp_path / "alone"), weights_of(tiny.model))


def test_averages_are_those_of_the_recorded_completions(tiny, tmp_path):
    metrics = tiny.train("grpo", tmp_path, **SIGNAL, do_eval=True, eval_greedy=True)
    rows = recorded(tmp_path, "eval-000004-*")
    sampled, greedy = rows[~rows["is_greedy"]], rows[rows["is_greedy"]]
    assert (len(sampled), len(greedy)) == (24, 6)
    for name in ("cosine_scaled_reward", "format_reward"):
        assert metrics[f"eval_{name}/avg@4"] == pytest.approx(sampled[name].mean())
        assert metrics[f"eval_rewards/{name}/mean"] == pytest.approx(sampled[name].mean())
        assert metrics[f"eval_{name}/greedy"] == pytest.approx(greedy[name].mean())
    assert metrics["eval_completions/mean_length"] == pytest.approx(sampled["num_tokens"].mean())
    assert metrics["eval_num_problems"] == 6


def test_evaluation_repeats_itself_and_greedy_decoding_is_greedy(tiny, tmp_path):
    def length(completions: list, **columns: object) -> list[float]:
        return [float(len(completion[0]["content"])) for completion in completions]

    trainer = build_trainer(GRPOTrainer, tiny, tmp_path, [length], eval_greedy=True)
    first = trainer.evaluate()
    rows = recorded(tmp_path, "eval-*")
    torch.rand(3)
    second = trainer.evaluate()
    again = recorded(tmp_path, "eval-*")  # the files of the first evaluation are replaced
    assert rows["completion"].tolist() == again["completion"].tolist()
    assert first["eval_length/avg@4"] == second["eval_length/avg@4"]

    row = rows[rows["is_greedy"]].iloc[0]
    tokenizer = trainer.processing_class
    inputs = tokenizer.apply_chat_template(
        list(row["prompt"]), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = trainer.model.generate(**inputs, do_sample=False, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(ids, skip_special_tokens=True) == row["completion"]


def test_reference_of_the_kl_term_is_the_model_that_was_named_also_after_a_resume(tiny, tmp_path, caplog):
    settings = {**SIGNAL, "beta": 0.1, "save_steps": 2}
    tiny.train("grpo", tmp_path / "whole", **settings)
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed", ignore=shutil.ignore_patterns("checkpoint-4"))
    tiny.train("grpo", tmp_path / "resumed", **settings)
    assert are_identical(weights_of(tmp_path / "whole"), weights_of(tmp_path / "resumed"))
    # TRL warns that it ignores them, and loads the reference with them.
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [message for message in warned if "model_init_kwargs" in message] == []
    kl = [entry["kl"] for entry in log_history(tmp_path / "whole") if "kl" in entry]
    assert kl[0] == pytest.approx(0, abs=1e-6) and kl[-1] > 1e-6
