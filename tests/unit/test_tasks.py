# SPDX-License-Identifier: Apache-2.0
"""Procedural tasks: repeatable, disjoint, right; and our rewards agree with every worked answer."""

import itertools
import random
import re

import pytest

from open_r1.rewards import accuracy_reward, format_reward, tag_count_reward
from open_r1.tasks import list_tasks, load_task, running_sums

CONFIGS = ("base", "zero_base", "cold_start", "rl", "calls")


@pytest.fixture(scope="module")
def data() -> dict[tuple[str, int], dict]:
    return {(config, seed): load_task("running_sums", config, seed) for config in CONFIGS for seed in (0, 1)}


def expressions_of(rows: list[dict]) -> set[str]:
    """The problems of some rows, found in their text alone."""
    problems = set()
    for row in rows:
        turns = row.get("messages") or row.get("prompt")
        text = turns[0]["content"] if turns else row.get("text") or row["problem"]
        problems |= set(re.findall(r"Compute (\d(?:[+-]\d)+)", text))
    return problems


def completions_of(rows: list[dict]) -> list[list[dict]]:
    return [row["completion"] for row in rows]


def test_the_table_lists_the_tasks():
    assert [name for name in list_tasks() if "/" not in name] == ["countdown", "knights_knaves", "running_sums"]


@pytest.mark.parametrize("name", ["", "sums", "tasks/running_sums", "Running_Sums"])
def test_an_unknown_task_is_refused_with_the_list(name):
    with pytest.raises(ValueError, match="running_sums"):
        load_task(name)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("running_sum", "running_sums"), ("chain_sum", "reasoning_gym/chain_sum"), ("count-down", "countdown")],
)
def test_an_unknown_task_is_refused_with_the_nearest(name: str, meant: str):
    with pytest.raises(ValueError, match=f"Did you mean .*{meant}"):
        load_task(name)


@pytest.mark.parametrize("config", ["", "default", "RL", "test"])
def test_an_unknown_config_is_refused_with_the_list(config):
    with pytest.raises(ValueError, match="base, zero_base, cold_start, rl"):
        load_task("running_sums", config)


def test_no_config_means_rl():
    assert load_task("running_sums") == load_task("running_sums", "rl", 0)


@pytest.mark.parametrize("config", CONFIGS)
def test_seeds_differ(config, data):
    assert data[config, 0]["train"] != data[config, 1]["train"]


def test_test_rows_are_the_same_in_every_config_and_enough(data):
    for seed in (0, 1):
        problems = [row["problem"] for row in data["rl", seed]["test"]]
        prompts = [row["prompt"][0]["content"] for row in data["cold_start", seed]["test"]]
        assert problems == prompts
        assert len(set(problems)) == len(problems) >= 400


def test_training_rows_of_any_seed_are_disjoint_from_held_out_rows_of_any_seed(data):
    train = {key: expressions_of(splits["train"]) for key, splits in data.items()}
    held_out = {
        split: expressions_of([*data["rl", 0][split], *data["rl", 1][split]]) for split in ("test", "validation")
    }
    assert all(len(problems) > 1000 for problems in train.values())
    assert all(len(problems) > 500 for problems in held_out.values())
    for problems in train.values():
        assert not problems & held_out["test"]
        assert not problems & held_out["validation"]
    assert not held_out["test"] & held_out["validation"]


def test_rl_problems_are_disjoint_from_all_texts(data):
    rl = expressions_of([*data["rl", 0]["train"], *data["rl", 1]["train"]])
    for (config, _), splits in data.items():
        if config != "rl":
            assert not rl & expressions_of(splits["train"])


@pytest.mark.parametrize("num_terms", [3, 4, 5])
def test_problems_of_one_length_are_rl_problems(num_terms):
    splits = load_task("running_sums", f"rl_{num_terms}", 0)
    problems = expressions_of(splits["train"])
    assert list(splits) == ["train"] and len(problems) == len(splits["train"]) == 384
    assert {len(running_sums.split_terms(problem)) for problem in problems} == {num_terms}
    assert {running_sums.pool_of(problem) for problem in problems} == {"rl"}


def test_pools_have_their_shares():
    rng = random.Random(0)
    pools = [running_sums.pool_of(running_sums.draw_expression(rng, 5)) for _ in range(4000)]
    assert set(pools) == set(running_sums.POOLS)
    for pool in set(pools):
        assert pools.count(pool) / 4000 == pytest.approx(running_sums.POOLS.count(pool) / 20, abs=0.03)


def test_the_best_constant_answer_is_poor(data):
    solutions = [row["solution"] for row in data["rl", 0]["test"]]
    assert max(map(solutions.count, solutions)) / len(solutions) < 0.15


@pytest.mark.parametrize("step_size", [1, 2, None])
def test_rewards_give_every_worked_answer_full_marks(step_size, data):
    rows = data["rl", 0]["test"]
    texts = [running_sums.write_completion(row["problem"].removeprefix("Compute "), step_size) for row in rows]
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    assert accuracy_reward(completions, solution=[row["solution"] for row in rows]) == [1.0] * len(rows)
    assert format_reward(completions) == [1.0] * len(rows)
    assert tag_count_reward(completions) == [1.0] * len(rows)


def test_three_of_ten_answers_call_the_calculator_on_their_sum(data):
    rows = data["calls", 0]["train"]
    called = [row["messages"] for row in rows if len(row["messages"]) == 4]
    assert len(called) / len(rows) == pytest.approx(0.3, abs=0.03)
    for question, call, result, answer in called:
        arguments = call["tool_calls"][0]["function"]["arguments"]
        assert question["content"] == f"Compute {arguments['expression']}"
        assert result["content"] == str(running_sums.solve(arguments["expression"]))
        assert answer["content"] == f"\\boxed{{{result['content']}}}"


def test_rewards_give_every_cold_start_row_full_marks(data):
    rows = data["cold_start", 0]["train"]
    assert len(rows) >= 1000
    completions = completions_of(rows)
    assert set(accuracy_reward(completions, solution=[row["solution"] for row in rows])) == {1.0}
    assert set(format_reward(completions)) == {1.0}


def test_a_wrong_worked_answer_gets_no_accuracy():
    text = running_sums.write_completion("7+9-8").replace("{8}", "{9}")
    assert accuracy_reward([[{"role": "assistant", "content": text}]], solution=["8"]) == [0.0]


@pytest.mark.parametrize(
    ("expression", "step_size", "trace"),
    [
        ("7+9-8+4", 1, "7+9=16-8=8+4=12"),
        ("7+9-8+4", 2, "7+9-8=8+4=12"),
        ("7+9-8+4-2", 2, "7+9-8=8+4-2=10"),
        ("7+9-8+4", None, "12"),
    ],
)
def test_trace_writes_the_total_after_so_many_operations(expression, step_size, trace):
    assert running_sums.write_trace(expression, step_size) == trace


def test_draws_are_within_range_and_right():
    rng = random.Random(3)
    for _ in range(500):
        expression = running_sums.draw_expression(rng, rng.choice((3, 5, 6)))
        terms = [int(term) for term in running_sums.split_terms(expression)]
        totals = list(itertools.accumulate(terms))
        assert all(0 <= total <= running_sums.MAX_VALUE for total in totals)
        assert running_sums.solve(f"Compute {expression}") == totals[-1] == eval(expression)
        assert len({abs(term) for term in terms}) == len(terms)


@pytest.mark.parametrize("problem", ["", "Compute ", "7*9", "Compute compute 7+9", "7+", "7++9", "-7+9", "7 + 9"])
def test_solve_refuses_what_is_no_running_sum(problem):
    with pytest.raises(ValueError, match="Not a running sum"):
        running_sums.solve(problem)


def test_base_texts_hold_neither_tags_nor_chats(data):
    for row in data["base", 0]["train"]:
        assert not re.search(r"[<>|]", row["text"])


def test_zero_base_texts_hold_tags_but_no_chats(data):
    texts = [row["text"] for row in data["zero_base", 0]["train"]]
    assert not any("<|" in text or "assistant" in text for text in texts)
    assert sum("<think>\n" in text and "\n</answer>" in text for text in texts) > len(texts) / 4
