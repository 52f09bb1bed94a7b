# SPDX-License-Identifier: Apache-2.0
"""Countdown: solvable by construction, repeatable, disjoint, and as quick as promised."""

import time

import pytest

from open_r1.rewards.puzzle_rewards import CountdownReward
from open_r1.tasks import countdown, load_task
from open_r1.tasks.countdown import CountdownOptions, check, pool_of

SMALL = "num_train=600,num_test=60"


@pytest.fixture(scope="module")
def data() -> dict[tuple[str, int], dict[str, list[dict]]]:
    return {
        (config, seed): load_task("countdown", f"{config},{SMALL}", seed)
        for config in ("3to4", "3", "4")
        for seed in (0, 1)
    }


def keys(rows: list[dict]) -> set[tuple]:
    return {(row["target"], *sorted(row["nums"])) for row in rows}


def test_rows_have_the_published_columns_and_ours(data):
    for splits in data.values():
        row = splits["train"][0]
        assert list(row) == ["problem", "target", "nums", "solution", "domain"]
        assert type(row["target"]) is int
        assert all(type(number) is int for number in row["nums"])
        assert row["domain"] == "countdown"
        assert str(row["nums"]) in row["problem"]
        assert f" {row['target']}." in row["problem"]


def test_every_row_has_its_solution(data):
    for splits in data.values():
        for row in [*splits["train"], *splits["test"]]:
            assert check(row["solution"], row["nums"], row["target"])


@pytest.mark.parametrize(("mode", "best"), [("tinyzero", 1.0), ("mini_r1", 2.0)])
def test_rewards_give_every_solution_full_marks(mode: str, best: float, data):
    rows = data["3to4", 0]["test"]
    texts = [f"<think>hm</think>\n<answer> {row['solution']} </answer>" for row in rows]
    columns = {name: [row[name] for row in rows] for name in ("target", "nums")}
    assert CountdownReward(mode)(texts, **columns) == [best] * len(rows)


def test_numbers_and_targets_are_in_range(data):
    for (config, _), splits in data.items():
        for row in [*splits["train"], *splits["test"]]:
            assert len(row["nums"]) in {"3to4": (3, 4), "3": (3,), "4": (4,)}[config]
            assert all(1 <= number <= 99 for number in row["nums"])
            assert 10 <= row["target"] <= 100


def test_all_operations_occur_and_both_lengths_are_frequent(data):
    rows = data["3to4", 0]["train"]
    for operator in "+-*/(":
        assert sum(operator in row["solution"] for row in rows) > 0.02 * len(rows)
    assert 0.25 < sum(len(row["nums"]) == 3 for row in rows) / len(rows) < 0.75


def test_training_rows_are_disjoint_from_test_rows_of_every_seed_and_config(data):
    train = set().union(*(keys(splits["train"]) for splits in data.values()))
    test = set().union(*(keys(splits["test"]) for splits in data.values()))
    assert len(train) > 3000
    assert len(test) > 300
    assert not train & test


def test_no_problem_occurs_twice_in_a_split(data):
    for splits in data.values():
        for rows in splits.values():
            assert len(keys(rows)) == len(rows)


def test_order_of_the_numbers_does_not_change_the_pool():
    assert {pool_of(nums, 24) for nums in ([1, 2, 3], [3, 2, 1], [2, 1, 3])} == {pool_of([1, 2, 3], 24)}


def test_thousands_of_rows_take_seconds():
    start = time.process_time()
    splits = load_task("countdown", "num_train=5000")
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 5_000, "test": 1_024}
    assert time.process_time() - start < 10


def test_prompt_asks_for_tags_unless_the_recipe_does():
    tags, task = (
        load_task("countdown", f"prompt={prompt},num_train=1,num_test=1")["train"][0]["problem"]
        for prompt in ("tags", "task")
    )
    assert all(tag in tags for tag in ("<think>", "</think>", "<answer>", "</answer>"))
    assert "<" not in task
    assert tags.startswith(task)


@pytest.mark.parametrize("prompt", countdown.PROMPTS)
def test_every_prompt_holds_numbers_and_target(prompt: str):
    row = load_task("countdown", f"prompt={prompt},num_train=1,num_test=1")["train"][0]
    assert str(row["nums"]) in row["problem"]
    assert str(row["target"]) in row["problem"]


def test_task_in_chinese_says_the_task_without_latin_letters_or_tags():
    problem = load_task("countdown", "prompt=task_zh,num_train=1,num_test=1")["train"][0]["problem"]
    assert not any(letter.isascii() and letter.isalpha() for letter in problem)


@pytest.mark.parametrize(
    ("expression", "is_right"),
    [
        ("55 + 36 - 7 - 19", True),
        ("(55+36)-(7+19)", True),
        ("-(19 - 55) + 36 - 7", True),
        ("55 + 36\n\t- 7 - 19", True),
        ("55) + 36 - (7 + 19", False),
        ("55 + 36 - 7 - 19 + 0", False),
        ("55 + 36 - 26", False),
        ("65", False),
        ("", False),
        ("55 + 36 - 7 - 19 = 65", False),
        ("55 + 36 -- 7 - 19 - 7 - 7", False),
        ("95**87**66", False),
        ("55 + 36 - 7 // 1 - 19", False),
        ("55 + 36 - 7 - 19 + 1/(7-7)", False),
        ("(" * 100_000, False),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_check(expression: str, is_right: bool):
    assert check(expression, [19, 36, 55, 7], 65) is is_right


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("", "3to4, 3, 4"),
        ("5", "3to4, 3, 4"),
        ("3to4,4", "3to4, 3, 4"),
        ("num_rows=5", "num_rows.*min_numbers, max_numbers"),
        ("num_train=0", "at least 1"),
        ("num_train=1.5", "whole number"),
        ("num_train=true", "whole number"),
        ("num_train=9,num_train=8", "twice"),
        ("prompt=none", "tags, task, task_zh"),
        ("min_numbers=5", "min_numbers <= max_numbers"),
        ("min_number=0", "at least 1"),
        ("min_target=0", "at least 1"),
        ("{]", "not valid JSON"),
        ("3,max_number=4,num_train=5000", "found .* not 5000"),
    ],
)
def test_wrong_configs_are_refused_with_what_there_is(config: str, message: str):
    with pytest.raises(ValueError, match=message):
        load_task("countdown", config)


@pytest.mark.parametrize("config", ["3,num_train=5,num_test=2", '{"max_numbers": 3, "num_train": 5, "num_test": 2}'])
def test_options_are_pairs_or_json(config: str):
    assert load_task("countdown", config) == load_task(
        "countdown", "num_train=5,num_test=2,min_numbers=3,max_numbers=3"
    )


def test_defaults_are_those_of_the_preset():
    assert countdown.PRESETS["3to4"].items() <= vars(CountdownOptions()).items()
