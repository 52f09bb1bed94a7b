# SPDX-License-Identifier: Apache-2.0
"""`metric_for_best_model` of a test split: what evaluations measure is taken, else it's refused before training."""

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from trl.trainer import grpo_trainer, sft_trainer

from open_r1.arguments import RecipeParser
from open_r1.configs import GRPOConfig, GRPOScriptArguments, ModelConfig, SFTConfig, SFTScriptArguments
from open_r1.evaluation.estimators import summarize
from open_r1.preflight.best_metric import SplitMetrics, split_metrics
from open_r1.training import trainer
from tests.integration.tiny import Tiny, build_tiny

CLASSES = {"sft": (SFTScriptArguments, SFTConfig), "grpo": (GRPOScriptArguments, GRPOConfig)}
REWARDS = {"sft": ["accuracy_reward"], "grpo": ["format_reward", "accuracy_reward"]}
EVALUATION = {"eval_strategy": "steps", "eval_steps": 2, "max_steps": 2, "do_eval": True, "eval_greedy": True}
SETTINGS = {
    "sft": {
        **EVALUATION,
        "eval_reward_funcs": "accuracy",
        "dataset_prompt_column": "problem",
        "eval_max_completion_length": 8,
        "eval_num_generations": 2,
    },
    "grpo": {**EVALUATION, "reward_funcs": ["format", "accuracy"], "num_generations_eval": 2},
}
REFUSED = {
    "loss misspelt": ("sft", {}, "eval_lossy", "Did you mean eval_loss or "),
    "reward misspelt": ("sft", {}, "acuracy_reward/avg@2", "Did you mean eval_accuracy_reward/avg@2 "),
    "another k": ("sft", {}, "accuracy_reward/avg@8", "Did you mean eval_accuracy_reward/avg@2 "),
    "greedy answers that nobody asks for": (
        "sft",
        {"eval_greedy": False},
        "accuracy_reward/greedy",
        "there are eval_loss, eval_accuracy_reward/avg@2",
    ),
    "what rewards log in GRPO alone": ("sft", {}, "accuracy_reward/right", "and what TRL logs."),
    "no rewards": ("sft", {"eval_reward_funcs": None}, "completions/truncated", "there are eval_loss, and what TRL"),
    "reward of GRPO misspelt": ("grpo", {}, "rewards/acuracy_reward/mean", "mean eval_rewards/accuracy_reward/mean"),
    "another k of GRPO": ("grpo", {}, "accuracy_reward/avg@4", "Did you mean eval_accuracy_reward/avg@2 "),
    "greedy answers that nobody asks of GRPO": (
        "grpo",
        {"eval_greedy": False},
        "accuracy_reward/greedy",
        "there are eval_",
    ),
    "name of no family": ("grpo", {}, "rewardd", "Did you mean eval_reward "),
}
ACCEPTED = {
    "what TRL logs": ("sft", {}, "mean_token_accuracy"),
    "memory": ("sft", {"skip_memory_metrics": False}, "mem_cpu_alloc_delta"),
    "outcome of a reward": ("grpo", {}, "accuracy_reward/right"),
    "what the sandbox logs": ("grpo", {}, "sandbox/error_rate"),
    "what a function of the user's logs": ("grpo", {"reward_funcs": "OWN"}, "my_figure"),
    "reward of the user's own": ("grpo", {"reward_funcs": "OWN"}, "rewards/my_reward/mean"),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def weightless(tmp_path) -> Tiny:
    built = build_tiny(tmp_path / "weightless")
    (built.model / "model.safetensors").unlink()
    return built


def settings_of(kind: str, changes: dict, folder: Path) -> dict:
    own = folder / "own.py"
    own.write_text("def my_reward(completions, **columns):\n    return [0.0] * len(completions)\n")
    filled = {name: f"{own}:my_reward" if value == "OWN" else value for name, value in changes.items()}
    return {**SETTINGS[kind], **filled}


def metrics_of(kind: str, tiny: Tiny, folder: Path) -> SplitMetrics:
    argv = tiny.argv(kind, folder, **SETTINGS[kind])
    script_args, training_args, _ = RecipeParser((*CLASSES[kind], ModelConfig)).parse(argv)
    return split_metrics(script_args, training_args, REWARDS[kind])


@pytest.mark.parametrize("kind", CLASSES)
def test_all_that_an_evaluation_logs_is_known(tiny, tmp_path, kind):
    tiny.train(kind, tmp_path, **SETTINGS[kind])
    (state,) = tmp_path.glob("checkpoint-2/trainer_state.json")
    logged = {name for entry in json.loads(state.read_text())["log_history"] for name in entry}
    names = {name.removeprefix("eval_") for name in logged if name.startswith("eval_")}
    assert {"loss", "accuracy_reward/avg@2", "accuracy_reward/greedy", "num_problems"} <= names
    found = metrics_of(kind, tiny, tmp_path)
    assert not {name for name in names if name not in found}


@pytest.mark.parametrize(("kind", "module"), [("sft", sft_trainer), ("grpo", grpo_trainer), ("grpo", trainer)])
def test_all_that_trainers_may_log_is_known(tiny, tmp_path, kind, module):
    names = re.findall(r'_metrics\[(?:mode|"train" if .*)\]\["([^"]+)"\]', inspect.getsource(module))
    found = metrics_of(kind, tiny, tmp_path)
    assert names
    assert not {name for name in names if name not in found}


@pytest.mark.parametrize(("kind", "changes", "name", "message"), REFUSED.values(), ids=REFUSED)
def test_metric_that_no_evaluation_measures_is_refused(weightless, tmp_path, kind, changes, name, message):
    settings = settings_of(kind, changes, tmp_path)
    with pytest.raises(ValueError, match=f"`metric_for_best_model: {name}` is nothing that") as error:
        weightless.train(kind, tmp_path / "out", **settings, metric_for_best_model=name)
    assert message in str(error.value)


@pytest.mark.parametrize(("kind", "changes", "name"), ACCEPTED.values(), ids=ACCEPTED)
def test_metric_that_may_be_measured_is_taken(weightless, tmp_path, kind, changes, name):
    settings = settings_of(kind, changes, tmp_path)
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        weightless.train(kind, tmp_path / "out", **settings, metric_for_best_model=name)


@pytest.mark.parametrize("kind", CLASSES)
def test_evaluation_that_could_judge_nothing_ends_no_training_and_is_not_the_best(
    tiny, tmp_path, kind, monkeypatch, caplog
):
    calls = []

    def first_is_lost(records, *rest):
        calls.append(len(records))
        lost = [replace(entry, rewards=dict.fromkeys(entry.rewards)) for entry in records]
        return summarize(lost if len(calls) == 1 else records, *rest)

    monkeypatch.setattr(trainer, "summarize", first_is_lost)
    settings = SETTINGS[kind] | {"max_steps": 4, "save_steps": 2, "load_best_model_at_end": True}
    tiny.train(kind, tmp_path, **settings, metric_for_best_model="accuracy_reward/pass@2")
    assert "Nothing could be judged of `metric_for_best_model: accuracy_reward/pass@2` at step 2" in caplog.text
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    assert (state["best_global_step"], state["best_metric"]) == (4, 0.0)
