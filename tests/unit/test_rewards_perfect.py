# SPDX-License-Identifier: Apache-2.0
"""The perfect reply: what it looks like for which rewards, and what they give it."""

import pytest

from open_r1.configs.rewards import RewardArguments
from open_r1.rewards import LAYOUTS, REWARDS, RewardContext, get_reward_funcs, get_reward_spec, perfect_reply
from open_r1.rewards.base import DEFAULT_CONTEXT
from tests.unit.test_rewards_table import EOS, ROW_OF_PROGRAMS, TASK_OF, arguments, bounds_of, row_of

PREFIXES = ["", "<think>\n", "<think>", "<thi"]
ON_LINES, NO_TAGS = LAYOUTS.values()


def scores_of(
    script_args: RewardArguments, row: dict, context: RewardContext = DEFAULT_CONTEXT, layout: str = ON_LINES
) -> dict[str, tuple[float | None, float | None]]:
    """Return what each reward gives the perfect reply to a row, and the least that it must."""
    reply = perfect_reply(script_args, row, context, layout)
    columns = {name: [value] for name, value in row.items()}
    rewards = get_reward_funcs(script_args, context)
    values = [reward(completions=[reply], completion_ids=[[EOS]], **columns)[0] for reward in rewards]
    names = script_args.reward_funcs
    specs = map(get_reward_spec, names)
    return {n: (v, spec.least(script_args)) for n, v, spec in zip(names, values, specs, strict=True)}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    "solution", ["42", r"$\frac12$", r"so \boxed{x^2}", "7 * 6 = 42\n#### 42", 42, r"\{1, 2\}", "B"]
)
def test_perfect_reply_reaches_every_reward(prefix: str, solution: object):
    context = RewardContext(completion_prefix=prefix, eos_token_ids=(EOS,))
    others = {"think_format", "rubric", *TASK_OF, *ROW_OF_PROGRAMS}  # these want other tags, other data, or a server
    names = [name for name in REWARDS if name not in others]
    scores = scores_of(arguments(*names), {"solution": solution}, context)
    assert [name for name, (value, least) in scores.items() if least is not None and value < least - 1e-6] == []
    proven = {name: value for name, (value, least) in scores.items() if least is not None}
    ones = ("accuracy", "format", "tag_count", "reasoning_steps", "cosine", "code_format", "soft_format")
    assert proven == pytest.approx({**dict.fromkeys(ones, 1.0), "demystify_cosine": 2.0}, abs=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS.values())
@pytest.mark.parametrize("prefix", ["<think>\n\n</think>\n\n", "Let me think.\n<think>\n", "<think> "])
def test_template_may_forbid_the_format_in_every_layout(prefix: str, layout: str):
    scores = scores_of(
        arguments("accuracy", "format"), {"solution": "4"}, RewardContext(completion_prefix=prefix), layout
    )
    assert scores == {"accuracy": (1.0, 1.0), "format": (0.0, 1.0)}


def test_program_stands_in_the_reply_only_where_asked_for():
    assert "```cpp\n" in perfect_reply(arguments("code_format", code_language="cpp"), {"solution": "4"})
    assert "```" not in perfect_reply(arguments("format"), {"solution": "4"})


LAYOUTS_OF = {
    # rewards, their settings, and the layouts that satisfy all of them
    ("format", "accuracy"): ({}, [ON_LINES]),
    ("soft_format", "accuracy"): ({}, [ON_LINES]),
    ("think_format", "accuracy", "reasoning_steps"): ({}, [NO_TAGS]),
    ("format", "think_format"): ({}, []),
    ("countdown", "format"): ({}, [ON_LINES]),
    ("countdown", "soft_format", "tag_count"): ({}, [ON_LINES]),
}


@pytest.mark.parametrize("names", LAYOUTS_OF)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_layouts_that_satisfy_all_rewards(names: tuple[str, ...], prefix: str):
    settings, expected = LAYOUTS_OF[names]
    script_args, context = arguments(*names, **settings), RewardContext(completion_prefix=prefix)
    row = row_of(names[0]) or {"solution": "4"}
    found = [
        layout
        for layout in LAYOUTS.values()
        if all(value >= least - 1e-6 for value, least in scores_of(script_args, row, context, layout).values())
    ]
    assert found == expected


@pytest.mark.parametrize("options", [{}, {"countdown_mode": "mini_r1"}])
@pytest.mark.parametrize("name", TASK_OF)
def test_perfect_reply_solves_the_puzzle(name: str, options: dict):
    script_args = arguments(name, "format", "soft_format", **options)
    scores = scores_of(script_args, row_of(name))
    assert scores[name] == (bounds_of(name, script_args)[1],) * 2
    assert scores["format"] == scores["soft_format"] == (1.0, 1.0)


def test_reply_is_for_the_rewards_of_its_domain():
    script_args = arguments(
        "accuracy", "knights_knaves", reward_domains={"math": ["accuracy"], "kk": ["knights_knaves"]}
    )
    row = {"solution": "4", "solution_text_format": "Zoey is a knight"}
    assert "boxed{4}" in perfect_reply(script_args, {**row, "domain": "math"})
    assert "\nZoey is a knight\n" in perfect_reply(script_args, {**row, "domain": "kk"})


def test_layout_reward_on_the_summary_alone_cannot_be_earned():
    assert scores_of(arguments("summary_only(format)"), {"solution": "4"}) == {"summary_only(format)": (0.0, 1.0)}
