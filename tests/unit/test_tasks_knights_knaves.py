# SPDX-License-Identifier: Apache-2.0
"""Knights and knaves: exactly one solution, found here by other means; repeatable, disjoint, quick."""

import itertools
import json
import random

import pytest

from open_r1.rewards.puzzle_rewards import knights_knaves_reward, read_kinds
from open_r1.tasks import knights_knaves, load_task
from open_r1.tasks.knights_knaves import canonical, draw_statement, pool_of, solve, write_statement

SIZES = range(2, 9)


@pytest.fixture(scope="module")
def data() -> dict[tuple[str, int], dict[str, list[dict]]]:
    configs = [f"{size}ppl,num_train=100,num_test=12" for size in SIZES] + ["3to7,num_train=500,num_test=60"]
    return {(config, seed): load_task("knights_knaves", config, seed) for config in configs for seed in (0, 1)}


def rows_of(data: dict, split: str) -> list[dict]:
    return [row for splits in data.values() for row in splits[split]]


def as_puzzle(row: dict) -> tuple:
    def tuples(value: object) -> object:
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    return tuples(json.loads(row["statements"]))


def is_true(statement: tuple, world: tuple[bool, ...]) -> bool:
    """Whether a statement is true, written as one would say it: not the bits of the module."""
    kind, *parts = statement
    if kind in ("knight", "knave"):
        return world[parts[0]] is (kind == "knight")
    if kind in ("same", "different"):
        return (world[parts[0]] == world[parts[1]]) is (kind == "same")
    truths = [is_true(part, world) for part in parts]
    return {
        "not": lambda: not truths[0],
        "and": lambda: all(truths),
        "or": lambda: any(truths),
        "if": lambda: truths[1] if truths[0] else True,
        "iff": lambda: truths[0] == truths[1],
    }[kind]()


def test_every_puzzle_has_one_solution_and_it_is_the_one_of_the_row(data):
    for row in rows_of(data, "test"):
        puzzle = as_puzzle(row)
        worlds = itertools.product((False, True), repeat=len(puzzle))
        fitting = [
            world
            for world in worlds
            if all(is_true(claim, world) is world[speaker] for speaker, claim in enumerate(puzzle))
        ]
        assert fitting == solve(puzzle)
        assert [kind == "knight" for kind in read_kinds(row["solution"]).values()] == list(fitting[0])


def test_rows_have_the_published_columns_and_ours(data):
    for (config, _), splits in data.items():
        for row in splits["test"]:
            assert list(row) == [
                *("problem", "quiz", "names", "statements", "solution_text_format", "solution", "domain")
            ]
            assert row["domain"] == "knights_knaves"
            assert row["problem"].startswith(row["quiz"])
            assert row["solution"] == row["solution_text_format"]
            assert list(read_kinds(row["solution"])) == row["names"]
            assert all(f'{name} says: "' in row["quiz"] for name in row["names"])
            assert config.startswith("3to7") or len(row["names"]) == int(config[0])


def test_sizes_are_equally_frequent(data):
    sizes = [len(row["names"]) for row in data["3to7,num_train=500,num_test=60", 0]["train"]]
    assert {size: sizes.count(size) for size in set(sizes)} == dict.fromkeys(range(3, 8), 100)


def test_reward_gives_every_solution_full_marks(data):
    rows = rows_of(data, "test")
    texts = [f"<think>hm</think>\n<answer> {row['solution']} </answer>" for row in rows]
    golds = [row["solution_text_format"] for row in rows]
    assert knights_knaves_reward(texts, solution_text_format=golds) == [3.0] * len(rows)


def test_training_rows_are_disjoint_from_test_rows_of_every_seed_and_config(data):
    train = {canonical(as_puzzle(row)) for row in rows_of(data, "train")}
    test = {canonical(as_puzzle(row)) for row in rows_of(data, "test")}
    assert len(train) > 1500
    assert len(test) > 200
    assert not train & test


def test_no_puzzle_occurs_twice_in_a_split(data):
    for splits in data.values():
        for rows in splits.values():
            assert len({canonical(as_puzzle(row)) for row in rows}) == len(rows)


def test_no_constant_answer_is_often_right(data):
    rows = data["3to7,num_train=500,num_test=60", 0]["train"]
    kinds = [tuple(read_kinds(row["solution"]).values()) for row in rows]
    assert max(kinds.count(kind) for kind in kinds) / len(kinds) < 0.15


def test_names_and_their_order_do_not_change_the_pool_of_few_people():
    puzzle = (("knave", 1), ("same", 0, 2), ("if", ("knight", 0), ("knave", 2)))
    turned = (("if", ("knight", 1), ("knave", 0)), ("knave", 2), ("same", 0, 1))  # 0 -> 1, 1 -> 2, 2 -> 0
    assert canonical(puzzle) == canonical(turned)
    assert pool_of(puzzle) == pool_of(turned)
    assert canonical((("and", ("knight", 0), ("knave", 1)),) * 4) == canonical(
        (("and", ("knave", 1), ("knight", 0)),) * 4
    )
    assert canonical((("if", ("knight", 0), ("knave", 1)),) * 4) != canonical(
        (("if", ("knave", 1), ("knight", 0)),) * 4
    )


@pytest.mark.parametrize(
    ("puzzle", "solutions"),
    [
        ((("knave", 1), ("same", 0, 1)), [(True, False)]),
        ((("knight", 1), ("knight", 0)), [(False, False), (True, True)]),
        ((("knave", 1), ("knight", 0)), []),
        ((("knight", 1), ("knave", 2), ("and", ("knight", 0), ("knave", 1))), [(True, True, False)]),
    ],
)
def test_solve_finds_all_solutions(puzzle: tuple, solutions: list):
    assert solve(puzzle) == solutions


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        (("knight", 1), "Noah is a knight"),
        (("not", ("knave", 1)), "Noah is not a knave"),
        (("and", ("knave", 0), ("knight", 1)), "I am a knave and Noah is a knight"),
        (("or", ("knave", 0), ("knight", 1)), "I am a knave or Noah is a knight"),
        (("if", ("knave", 2), ("knight", 1)), "if Ella is a knave, then Noah is a knight"),
        (("iff", ("knave", 2), ("knight", 1)), "Ella is a knave if and only if Noah is a knight"),
        (("same", 0, 2), "Zoey and Ella are of the same kind"),
        (("different", 1, 2), "Noah and Ella are of different kinds"),
        (("not", ("or", ("knave", 2), ("knave", 1))), "it is not true that Ella is a knave or Noah is a knave"),
    ],
)
def test_statements_in_english(statement: tuple, text: str):
    assert write_statement(statement, ["Zoey", "Noah", "Ella"], 0) == text


def test_all_kinds_of_statements_are_drawn():
    rng = random.Random(0)
    kinds = {draw_statement(rng, 0, 3)[0] for _ in range(300)}
    assert kinds == {"knight", "knave", "and", "or", "if", "iff", "same", "different", "not"}


def test_nobody_says_what_is_always_true_or_always_false(data):
    for row in rows_of(data, "test"):
        for statement in as_puzzle(row):
            worlds = itertools.product((False, True), repeat=len(row["names"]))
            assert len({is_true(statement, world) for world in worlds}) == 2


@pytest.mark.parametrize("config", knights_knaves.PRESETS)
def test_every_preset_can_be_met(config: str):
    assert load_task("knights_knaves", config)["train"]


def test_prompt_asks_for_tags_unless_the_recipe_does():
    for prompt, has_tags in (("tags", True), ("task", False)):
        problem = load_task("knights_knaves", f"prompt={prompt},num_train=1,num_test=1")["train"][0]["problem"]
        assert ("<answer>" in problem) is has_tags
        assert "(1) Ann is a knight" in problem


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("9ppl", "3to7, 2ppl"),
        ("", "3to7, 2ppl"),
        ("max_people=9", "max_people <= 8"),
        ("min_people=1", "2 <= min_people"),
        ("num_test=0", "at least 1"),
        ("prompt=x", "prompt=tags"),
        ("2ppl,num_train=5000", "few with 2 people"),
    ],
)
def test_wrong_configs_are_refused_with_what_there_is(config: str, message: str):
    with pytest.raises(ValueError, match=message):
        load_task("knights_knaves", config)
