# SPDX-License-Identifier: Apache-2.0
"""Rewards made of rewards: the router by domain and `summary_only`."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from open_r1.rewards import RewardContext, get_reward_funcs, names_for_domain
from open_r1.rewards.wrappers import only_domains, summary_of, summary_only
from tests.unit.test_rewards_table import EOS, arguments

OPENED = RewardContext(completion_prefix="<think>\n")


def seen_reward(completions: list, **columns: object) -> list[float | None]:
    """Note what was passed, and log it as rewards do."""
    SEEN.append({"completions": completions, **columns})
    columns["log_extra"]("seen/row", list(range(len(completions))))
    columns["log_metric"]("seen/rows", float(len(completions)))
    return [float(number) for number in range(len(completions))]


SEEN: list[dict] = []


def call(reward: Callable, **columns: object) -> SimpleNamespace:
    """Call a reward as the trainer does, and return its values, what it saw and what it logged."""
    SEEN.clear()
    extra: dict[str, list] = {}
    metrics: dict[str, float] = {}
    values = reward(log_extra=extra.__setitem__, log_metric=metrics.__setitem__, **columns)
    return SimpleNamespace(values=values, seen=list(SEEN), extra=extra, metrics=metrics)


# ---- router


def test_rows_of_other_domains_are_not_judged():
    result = call(only_domains(seen_reward, ("b",)), completions=["1", "2", "3"], domain=["a", "b", "b"])
    assert result.values == [None, 0.0, 1.0]


@pytest.mark.parametrize("columns", [{}, {"domain": ["a"]}])
def test_column_of_the_domains_must_be_there(columns: dict):
    with pytest.raises(ValueError, match=r"seen_reward.*'domain'"):
        call(only_domains(seen_reward, ("a",)), completions=["1", "2"], **columns)


def test_every_column_is_cut_to_the_rows_of_the_domain():
    state = SimpleNamespace(global_step=3)
    result = call(
        only_domains(seen_reward, ("a", "c")),
        prompts=["p", "q", "r"],
        completions=["1", "2", "3"],
        completion_ids=[[1], [2, 2], [3]],
        domain=["a", "b", "c"],
        solution=("x", "y", None),
        trainer_state=state,
    )
    seen = {name: value for name, value in result.seen[0].items() if not name.startswith("log_")}
    assert seen == {
        "prompts": ["p", "r"],
        "completions": ["1", "3"],
        "completion_ids": [[1], [3]],
        "domain": ["a", "c"],
        "solution": ["x", None],
        "trainer_state": state,
    }


def test_logged_columns_are_filled_up_and_numbers_are_over_the_rows_judged():
    result = call(only_domains(seen_reward, ("b",)), completions=["1", "2", "3"], domain=["b", "a", "b"])
    assert result.extra == {"seen/row": [0, None, 1]}
    assert result.metrics == {"seen/rows": 2.0}


def test_batch_without_rows_of_the_domain_calls_nobody_and_still_logs_the_columns():
    reward = only_domains(seen_reward, ("b",))
    first = call(reward, completions=["1"], domain=["a"])
    assert (first.values, first.seen, first.extra) == ([None], [], {})
    call(reward, completions=["1"], domain=["b"])
    # TRL would go on showing the values of the batch before.
    later = call(reward, completions=["1", "2"], domain=["a", None])
    assert (later.values, later.seen, later.extra) == ([None, None], [], {"seen/row": [None, None]})


def test_groups_stay_whole():
    script_args = arguments("length", reward_domains={"math": ["length"]})
    (reward,) = get_reward_funcs(script_args, RewardContext(num_generations=2))
    values = reward(
        prompts=["p", "p", "q", "q", "p", "p"],
        completions=[r"\boxed{2}"] * 6,
        completion_ids=[[0] * length for length in (10, 20, 99, 99, 30, 40)],
        solution=["2"] * 6,
        domain=["math", "math", "chat", "chat", "math", "math"],
    )
    assert values == [0.5, -0.5, None, None, 0.5, -0.5]


def test_rewards_that_are_not_listed_judge_every_row():
    script_args = arguments("accuracy", "format", reward_domains={"math": ["accuracy"], "proof": ["accuracy"]})
    routed, every = get_reward_funcs(script_args)
    columns = {"completions": [r"\boxed{4}"], "solution": ["4"], "domain": ["chat"]}
    assert (routed.__name__, routed(**columns), every(**columns)) == ("accuracy_reward", [None], [0.0])
    assert names_for_domain(script_args, "math") == names_for_domain(script_args, "proof") == ["accuracy", "format"]
    assert names_for_domain(script_args, "chat") == names_for_domain(script_args, None) == ["format"]


@pytest.mark.parametrize(
    ("reward_domains", "named"),
    [
        ({"math": ["acuracy"]}, "'acuracy'.*Did you mean 'accuracy'"),
        ({"math": ["length"]}, "'length'"),
    ],
    ids=repr,
)
def test_malformed_domains_are_refused(reward_domains: object, named: str):
    with pytest.raises(ValueError, match=f"reward_domains.*{named}"):
        get_reward_funcs(arguments("accuracy", "format", reward_domains=reward_domains))


# ---- summary_only

SUMMARIES = {
    "after the reasoning": ("<think>\n6 * 7\n</think>\nIt is 42.", "\nIt is 42."),
    "after the last of two": ("<think>a</think>b<think>c</think>d", "d"),
    "reasoning that never ends": ("<think>\n6 * 7 is \\boxed{42}", ""),
    "no reasoning": ("It is \\boxed{42}.", "It is \\boxed{42}."),
    "nothing": ("", ""),
    "nothing behind the reasoning": ("<think>a</think>", ""),
    "closed and opened again": ("<think>a</think>b<think>c", "b<think>c"),
    "closed only": ("a</think>b", "b"),
}


@pytest.mark.parametrize("case", SUMMARIES)
def test_summary_is_what_follows_the_reasoning(case: str):
    text, summary = SUMMARIES[case]
    assert summary_of(text) == summary
    assert summary_of([{"role": "assistant", "content": text}]) == [{"role": "assistant", "content": summary}]


@pytest.mark.parametrize(("text", "summary"), [("6 * 7\n</think>\n42", "\n42"), ("6 * 7 is \\boxed{42}", "")])
def test_reasoning_that_the_prompt_opens_is_cut_off(text: str, summary: str):
    assert summary_of(text, OPENED) == summary


def test_reasoning_that_a_template_moved_out_of_the_content_is_cut_off():
    message = {"role": "assistant", "reasoning_content": "6 * 7", "content": "42"}
    assert summary_of([message]) == [{"role": "assistant", "content": "\n42"}]


def test_every_turn_of_the_assistant_is_cut_and_the_others_stay():
    tool = {"role": "tool", "content": "<think>42</think>"}
    messages = [
        {"role": "assistant", "content": "<think>use it</think>", "tool_calls": [{"name": "multiply"}]},
        tool,
        {"role": "assistant", "content": "<think>so</think>42"},
    ]
    first, second, third = summary_of(messages)
    assert first == {"role": "assistant", "content": "", "tool_calls": [{"name": "multiply"}]}
    assert second == tool
    assert third == {"role": "assistant", "content": "42"}
    assert messages[2]["content"] == "<think>so</think>42"


def test_answer_in_the_reasoning_alone_counts_for_nothing():
    (reward,) = get_reward_funcs(arguments("summary_only(accuracy)"), OPENED)
    texts = ["so \\boxed{42}\n</think>\nDone.", "6 * 7\n</think>\n\\boxed{42}", "so \\boxed{42}"]
    assert reward(completions=texts, solution=["42"] * 3) == [0.0, 1.0, 0.0]


def test_inner_reward_does_not_see_what_the_prompt_opened():
    context = RewardContext(completion_prefix="<think>\n")
    (reward,) = get_reward_funcs(arguments("summary_only(reasoning_steps)"), context)
    assert reward(completions=["First, Second, Finally,\n</think>\nIt is 4."]) == [0.0]


def test_what_it_logs_stays_apart_and_ids_are_not_passed():
    reward = summary_only(seen_reward)
    result = call(reward, completions=["<think>a</think>b"], completion_ids=[[1, 2, 3]], prompts=["p"])
    assert reward.__name__ == "summary_only_seen_reward"
    assert result.extra == {"summary_only_seen/row": [0]}
    assert result.metrics == {"summary_only_seen/rows": 1.0}
    assert result.seen[0]["completions"] == ["b"]
    assert "completion_ids" not in result.seen[0]


def test_same_reward_on_the_whole_and_on_the_summary():
    rewards = get_reward_funcs(arguments("accuracy", "summary_only(accuracy)", "summary_only( format )"))
    assert [reward.__name__ for reward in rewards] == [
        "accuracy_reward",
        "summary_only_accuracy_reward",
        "summary_only_format_reward",
    ]
    assert rewards[1](completions=["<think>a</think>\\boxed{4}"], solution=["4"]) == [1.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("summary_only(summary_only(accuracy))", r"write summary_only\(accuracy\)"),
        ("summary_only(acuracy)", "'acuracy'.*Did you mean 'accuracy'"),
        ("summary_only()", "Unknown reward ''"),
        ("summary_only", "Unknown reward 'summary_only'"),
        *((f"summary_only({name})", name) for name in ("length", "soft_overlong_punishment", "token_repetition")),
    ],
)
def test_summary_of_what_cannot_be_judged_by_it_is_refused(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        get_reward_funcs(arguments(name), RewardContext(eos_token_ids=(EOS,)))
