# SPDX-License-Identifier: Apache-2.0
"""Rows of reasoning-gym as they are loaded, by processes of their own: repeatable, disjoint, as many as asked for."""

import pytest

from open_r1.configs import ScriptArguments
from open_r1.data.training_rows import get_dataset
from open_r1.tasks import load_task, reasoning_gym_items
from open_r1.tasks.reasoning_gym_items import pool_of


@pytest.fixture(scope="module")
def gcd() -> dict[int, dict[str, list[dict]]]:
    return {seed: load_task("reasoning_gym/gcd", "num_train=200,num_test=30", seed) for seed in (0, 1)}


def test_loading_gives_the_rows_asked_for(gcd):
    for splits in gcd.values():
        assert {split: len(rows) for split, rows in splits.items()} == {"train": 200, "test": 30}
        assert set(splits["train"][0]) == {"problem", "solution", "reasoning_gym_entry", "domain"}
        assert {row["domain"] for row in splits["train"]} == {"reasoning_gym"}


def test_train_and_test_are_disjoint_over_seeds_and_without_repetition(gcd):
    train = [row["problem"] for splits in gcd.values() for row in splits["train"]]
    test = [row["problem"] for splits in gcd.values() for row in splits["test"]]
    assert not set(train) & set(test)
    assert {pool_of(problem) for problem in test} == {"test"}
    assert len(set(train)) > 390  # neighbouring seeds share no items


# The one draws from sets of strings, the other from the generator of the process.
@pytest.mark.parametrize("task", ["ransom_note", "list_functions"])
def test_rows_are_those_of_any_other_process(task: str):
    config = "num_train=20,num_test=3"
    assert load_task(f"reasoning_gym/{task}", config) == load_task(f"reasoning_gym/{task}", config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("min_nums=3", "min_nums"),
        ("min_numbers=9,max_numbers=3", "max_numbers must be >= min_numbers"),
    ],
)
def test_options_that_the_library_refuses_are_refused_with_its_reason(config: str, message: str):
    with pytest.raises(ValueError, match=message):
        load_task("reasoning_gym/gcd", config)


def test_a_task_that_runs_out_of_questions_says_so(caplog):
    rows = load_task("reasoning_gym/coin_flip", "num_train=2000,num_test=10,min_trials=3,max_trials=4")
    assert 10 < len(rows["train"]) < 2000
    assert f"only {len(rows['train'])} different rows for its train split" in caplog.text


def test_options_with_which_the_library_searches_without_end_are_refused(monkeypatch):
    monkeypatch.setattr(reasoning_gym_items, "LOAD_LIMIT_S", 10)
    with pytest.raises(ValueError, match="puzzle24"):
        load_task("reasoning_gym/puzzle24", "min_value=1,max_value=1")  # four ones never make 24


def test_a_process_that_dies_says_what_it_wrote_last(monkeypatch):
    monkeypatch.setattr(reasoning_gym_items.sys, "executable", "/bin/false")
    with pytest.raises(ValueError, match="exit 1"):
        load_task("reasoning_gym/gcd")


def test_a_recipe_names_a_task_of_the_library_like_any_data_set():
    args = ScriptArguments(
        dataset_name="tasks/reasoning_gym/graph_color",
        dataset_config='{"num_train": 12, "num_test": 2, "num_colors": 4}',
    )
    dataset = get_dataset(args)
    assert {split: len(rows) for split, rows in dataset.items()} == {"train": 12, "test": 2}
    assert dataset["train"].column_names == ["problem", "solution", "reasoning_gym_entry", "domain"]


def test_an_item_that_the_library_fails_to_make_is_left_out():
    rows = load_task("reasoning_gym/maze", "num_train=1000,num_test=100", seed=0)
    assert {split: len(part) for split, part in rows.items()} == {"train": 1000, "test": 100}
