# SPDX-License-Identifier: Apache-2.0
"""`metric_for_best_model` of a test split: what it can't be ends the run at its first evaluation, not silently."""

import json

import pytest

from open_r1.evaluation.metrics import reward_metrics
from open_r1.training import trainer
from tests.integration.tiny import Tiny, build_tiny

EVALUATION = {"eval_strategy": "steps", "eval_steps": 2, "max_steps": 2, "do_eval": True, "eval_greedy": True}
SETTINGS = {**EVALUATION, "reward_funcs": ["format", "accuracy"], "num_generations_eval": 2}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "eval_lossy"),
        ({}, "acuracy_reward/avg@2"),
        ({}, "accuracy_reward/avg@8"),
        ({"eval_greedy": False}, "accuracy_reward/greedy"),
    ],
)
def test_metric_that_no_evaluation_measures_ends_the_run_at_the_first_one(tiny, tmp_path, changes, name):
    with pytest.raises(KeyError, match=name) as error:
        tiny.train("grpo", tmp_path, **SETTINGS | changes, metric_for_best_model=name)
    assert "eval_accuracy_reward/avg@2" in str(error.value), "it doesn't say what there is"


def test_metric_that_a_reward_logs_can_choose_the_best_model(tiny, tmp_path):
    tiny.train("grpo", tmp_path, **SETTINGS, metric_for_best_model="accuracy_reward/right")
    assert json.loads((tmp_path / "trainer_state.json").read_text())["best_global_step"] == 2


def test_evaluation_that_could_judge_nothing_ends_no_training_and_is_not_the_best(tiny, tmp_path, monkeypatch):
    calls = []

    def first_is_lost(rows, rewards, *rest):
        calls.append(len(rows))
        lost = [{**row, **dict.fromkeys(rewards)} for row in rows]
        return reward_metrics(lost if len(calls) == 1 else rows, rewards, *rest)

    monkeypatch.setattr(trainer, "reward_metrics", first_is_lost)
    settings = SETTINGS | {"max_steps": 4, "save_steps": 2, "load_best_model_at_end": True}
    tiny.train("grpo", tmp_path, **settings, metric_for_best_model="accuracy_reward/pass@2")
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    assert (state["best_global_step"], state["best_metric"]) == (4, 0.0)
