# SPDX-License-Identifier: Apache-2.0
"""The ideal completion: what it looks like for which rewards, and what it proves."""

from pathlib import Path

import pytest

from open_r1.rewards import REWARDS, RewardContext, conflicting_layouts, ideal_completion, score_ideal
from tests.unit.test_rewards_table import EOS, ROW_OF_PROGRAMS, TASK_OF, arguments, bounds_of, row_of

PREFIXES = ["", "<think>\n", "<think>", "<thi"]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    "solution", ["42", r"$\frac12$", r"so \boxed{x^2}", "7 * 6 = 42\n#### 42", 42, r"\{1, 2\}", "B"]
)
def test_ideal_completion_reaches_every_reward(prefix: str, solution: object):
    context = RewardContext(completion_prefix=prefix, eos_token_ids=(EOS,))
    others = {"think_format", *TASK_OF, *ROW_OF_PROGRAMS}  # these want other tags, or other data
    names = [name for name in REWARDS if name not in others]
    scores = score_ideal(arguments(*names), {"problem": "p", "prompt": "p", "solution": solution}, context)
    assert [score.name for score in scores] == names
    assert [score.name for score in scores if not score.is_reached] == []
    proven = {score.name: score.reward for score in scores if score.expected is not None}
    wanted = {
        "accuracy": 1.0,
        "format": 1.0,
        "tag_count": 1.0,
        "reasoning_steps": 1.0,
        "cosine": 1.0,
        "demystify_cosine": 2.0,
        "code_format": 1.0,
        "soft_format": 1.0,
    }
    assert proven == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("prefix", ["<think>\n\n</think>\n\n", "Let me think.\n<think>\n", "<think> "])
def test_ideal_completion_fails_where_the_template_forbids_the_layout(prefix: str):
    scores = score_ideal(arguments("accuracy", "format"), {"solution": "4"}, RewardContext(completion_prefix=prefix))
    assert [score.is_reached for score in scores] == [True, False]


def test_ideal_completion_has_a_program_only_where_asked_for():
    assert "```cpp\n" in ideal_completion(["code_format"], "4", arguments(code_language="cpp"))
    assert "```" not in ideal_completion(["format"], "4", arguments())


def test_a_solution_that_cannot_be_judged_proves_nothing():
    (score,) = score_ideal(arguments("accuracy"), {"solution": r"\frac{1}{"})
    assert (score.reward, score.expected, score.is_reached) == (None, None, True)


def test_a_missing_column_is_named_with_those_there():
    with pytest.raises(ValueError, match="'accuracy' needs"):
        score_ideal(arguments("format", "accuracy"), {"problem": "p", "answer": "4"})


@pytest.mark.parametrize("prefix", PREFIXES)
def test_ideal_completion_has_no_answer_tags_where_they_are_forbidden(prefix: str):
    context = RewardContext(completion_prefix=prefix)
    scores = score_ideal(arguments("think_format", "accuracy", "reasoning_steps"), {"solution": "4"}, context)
    assert [(score.reward, score.is_reached) for score in scores] == [(1.0, True)] * 3


def test_rewards_that_want_different_layouts_are_named():
    names = ["format", "accuracy", "think_format", "soft_format"]
    assert conflicting_layouts(names, arguments(*names)) == {
        "format": "answer tags on lines of their own",
        "think_format": "no answer tags",
        "soft_format": "answer tags on lines of their own or answer tags on the line of the answer",
    }
    assert conflicting_layouts(["think_format", "accuracy"], arguments()) == {}
    assert conflicting_layouts(["countdown", "format"], arguments()) == {}
    assert conflicting_layouts(["countdown", "format"], arguments(countdown_strict=True)).keys() == {
        "countdown",
        "format",
    }
    scores = score_ideal(arguments(*names), {"solution": "4"})
    assert [score.name for score in scores if not score.is_reached] == ["think_format"]


def test_ideal_completion_is_scored_by_the_rewards_of_its_domain():
    script_args = arguments(
        "accuracy",
        "format",
        "think_format",
        "length",
        reward_domains={"math": ["accuracy", "format"], "chat": ["think_format"]},
    )
    for domain, names in {"math": ["accuracy", "format"], "chat": ["think_format"], "code": [], None: []}.items():
        scores = score_ideal(script_args, {"solution": "4", "domain": domain})
        assert [score.name for score in scores] == [*names, "length"]
        assert all(score.is_reached for score in scores)


def test_column_that_only_another_domain_needs_may_be_missing():
    script_args = arguments("accuracy", "format", reward_domains={"math": ["accuracy"]})
    assert [score.name for score in score_ideal(script_args, {"problem": "p", "domain": "chat"})] == ["format"]


def test_layout_reward_on_the_summary_alone_cannot_be_earned():
    (score,) = score_ideal(arguments("summary_only(format)"), {"solution": "4"})
    assert (score.reward, score.expected, score.is_reached) == (0.0, 1.0, False)


def test_rewards_from_outside_are_not_tried_on_the_ideal_completion(tmp_path: Path):
    path = tmp_path / "own.py"
    path.write_text("def strict(completions, **columns): raise AssertionError")
    scores = score_ideal(arguments("org/model", f"{path}:strict", f"summary_only({path}:strict)"), {"solution": "4"})
    assert [(score.reward, score.expected, score.is_reached) for score in scores] == [(None, None, True)] * 3


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("name", "options", "beside"),
    [
        ("countdown", {}, ["format", "tag_count", "reasoning_steps"]),
        ("countdown", {"countdown_mode": "mini_r1"}, ["format"]),
        ("countdown", {"countdown_strict": True}, ["soft_format"]),
        ("countdown", {"countdown_strict": True, "countdown_mode": "mini_r1"}, ["soft_format"]),
        ("knights_knaves", {}, ["format", "soft_format"]),
        ("reasoning_gym", {}, ["accuracy", "format", "soft_format"]),
    ],
)
def test_ideal_completion_solves_the_puzzle(name: str, options: dict, beside: list[str], prefix: str):
    context = RewardContext(completion_prefix=prefix)
    script_args = arguments(name, *beside, **options)
    scores = score_ideal(script_args, row_of(name), context)
    assert [score.name for score in scores if not score.is_reached] == []
    assert scores[0].reward == scores[0].expected == bounds_of(name, script_args)[1]


def test_puzzle_without_a_known_solution_proves_nothing():
    row = {"target": 65, "nums": [19, 36, 55, 7]}  # as in the published data
    (score,) = score_ideal(arguments("countdown"), row)
    assert (score.expected, score.is_reached) == (None, True)
    assert "no right answer in solution" in score.reason
