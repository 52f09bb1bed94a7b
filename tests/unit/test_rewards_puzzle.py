# SPDX-License-Identifier: Apache-2.0
"""Rewards for puzzles: hostile answers first, then the published tables of TinyZero, Mini-R1 and Logic-RL."""

import time

import pytest

from open_r1.rewards.base import RewardContext
from open_r1.rewards.puzzle_rewards import CountdownReward, find_answer, knights_knaves_reward, reasoning_gym_reward
from open_r1.tasks import arithmetic
from open_r1.tasks.reasoning_gym_items import make_items

NUMS, TARGET = [19, 36, 55, 7], 65
RIGHT = "55 + 36 - 7 - 19"
GOLD = "(1) Zoey is a knight\n(2) Noah is a knave\n(3) Ella is a knight"
PREFILLED = RewardContext(completion_prefix="Let me solve this step by step.\n<think>")


def in_tags(answer: str, between: str = "\n") -> str:
    return f"<think>some thoughts</think>{between}<answer>{answer}</answer>"


def countdown(text: str, mode: str = "tinyzero", *, context: RewardContext | None = None) -> float:
    reward = CountdownReward(mode, context=context or RewardContext())
    return reward([[{"role": "assistant", "content": text}]], target=[TARGET], nums=[NUMS])[0]


HOSTILE = [
    "95**87**66",
    "9**9**9**9",
    "7//2",
    "1/0",
    "19/(36-36)+55+7",
    "(" * 100_000,
    "-" * 100_000 + "1",
    "(" * 200 + "1" + ")" * 200,
    "9" * 100_000,
    "*".join(["9" * 17] * 27),
    "1e999999999",
    "0x41",
    "1_9",
    "1.0",
    "\x00",
    "\ud800",
    "１９",
    "__import__('os').system('true')",
    "[1 for _ in iter(int, 1)]",
    "lambda: 1",
    "=" * 10_000,
]


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda answer: repr(answer)[:25])
def test_hostile_arithmetic_is_wrong_at_once(answer: str):
    start = time.process_time()
    assert countdown(in_tags(answer)) == 0.1
    assert time.process_time() - start < 0.2


@pytest.mark.parametrize(
    "text",
    [tag * 50_000 for tag in ("<think>", "</think>", "<answer>", "</answer>")] + ["<answer>" * 50_000 + "\n</answer>"],
    ids=lambda text: text[:9],
)
def test_repeated_tags_cost_linear_time(text: str):
    start = time.process_time()
    for mode in ("tinyzero", "mini_r1"):
        countdown(text, mode)
    knights_knaves_reward([text, in_tags(text)], solution_text_format=[GOLD] * 2)
    assert time.process_time() - start < 1


def test_towers_of_powers_cost_no_more_than_other_text():
    start = time.process_time()
    for _ in range(1000):
        with pytest.raises(arithmetic.NotArithmetic):
            arithmetic.read_arithmetic("95**87**66")
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("text", "value", "numbers"),
    [
        ("1 + 2 * 3", 7, (1, 2, 3)),
        ("(1 + 2) * 3", 9, (1, 2, 3)),
        ("-(3 - 5)", 2, (3, 5)),
        ("1 / 3 * 3", 1, (1, 3, 3)),
        ("1\n+\n2", 3, (1, 2)),
        ("1 - -1", 2, (1, 1)),
    ],
)
def test_arithmetic_is_exact(text: str, value: int, numbers: tuple[int, ...]):
    read = arithmetic.read_arithmetic(text)
    assert (read.value, read.numbers) == (value, numbers)


# Of each text: TinyZero, Mini-R1.
COUNTDOWN_TABLE = [
    (in_tags(RIGHT), 1.0, 2.0),
    (in_tags("19 + 36 + 55 + 7"), 0.1, 1.0),  # another value
    (in_tags("55 + 36 - 7 - 20"), 0.1, 1.0),  # another number
    (in_tags("55 + 10"), 0.1, 1.0),  # not all numbers
    (in_tags("55 + 36 - 7 - 19 + 19 - 19"), 0.1, 1.0),  # a number twice
    (in_tags("65"), 0.1, 1.0),
    (in_tags("no solution"), 0.1, 1.0),
    (in_tags(""), 0.1, 0.0),
    (in_tags("(19 + 36 + 55 + 7) ** 0"), 0.1, 1.0),
    ("just 55 + 36 - 7 - 19", 0.0, 0.0),
    ("<think>only thoughts</think>", 0.0, 0.0),
    ("", 0.0, 0.0),
    (f"<answer>{RIGHT}</answer>", 1.0, 1.0),  # no thoughts
    (in_tags(RIGHT) + "\n", 1.0, 2.0),
    (in_tags(RIGHT) + "\n\n", 1.0, 2.0),
    (in_tags(f"\n{RIGHT}\n"), 1.0, 2.0),
    (f"<answer> <answer>\n<answer>{RIGHT}</answer>", 1.0, 1.0),
    (f"<answer>\n</answer><answer>{RIGHT}</answer>", 1.0, 1.0),
    (in_tags(RIGHT, between=" "), 1.0, 2.0),
    (in_tags(RIGHT, between="\n\n"), 1.0, 2.0),
    (in_tags(RIGHT) + " Done.", 1.0, 1.0),
    ("Sure! " + in_tags(RIGHT), 1.0, 1.0),
    (in_tags("1 + 1") + f" <answer>{RIGHT}</answer>", 1.0, 1.0),  # the last counts
    (in_tags(RIGHT) + " <answer>1 + 1</answer>", 0.1, 0.0),
    (in_tags(f"{RIGHT} = 65"), 1.0, 2.0),
    (in_tags(f"{RIGHT} = 66"), 0.1, 1.0),
    (in_tags(rf"\boxed{{{RIGHT}}}"), 1.0, 2.0),
    (in_tags(r"$[55 + 36] − 7 \times 1 - 19$"), 0.1, 1.0),
    (in_tags("$[55 + 36] − 7 - 19$"), 1.0, 2.0),
    (in_tags("（55 + 36）- 7 - 19"), 1.0, 2.0),
    (f"<think><answer>{RIGHT}</answer></think>", 0.0, 0.0),  # only in the reasoning
    (f"<think>a <think> b</think>\n<answer>{RIGHT}</answer>", 1.0, 1.0),
]


@pytest.mark.parametrize(("text", "tiny", "mini"), COUNTDOWN_TABLE)
def test_countdown_has_the_values_of_both_modes(text: str, tiny: float, mini: float):
    assert countdown(text, "tinyzero") == tiny
    assert countdown(text, "mini_r1") == mini


@pytest.mark.parametrize("mode", ["tinyzero", "mini_r1"])
def test_countdown_counts_the_think_tag_that_the_prompt_opened(mode: str):
    best = 1.0 if mode == "tinyzero" else 2.0
    assert countdown(in_tags(RIGHT).removeprefix("<think>"), mode, context=PREFILLED) == best


def test_countdown_takes_fractions_on_the_way_but_no_rounding():
    reward = CountdownReward()
    texts = [in_tags("1 / 3 * 9"), in_tags("100000 / 99999 * 3")]
    assert reward(texts, target=[3, 3], nums=[[1, 3, 9], [100000, 99999, 3]]) == [1.0, 0.1]


def test_countdown_leaves_rows_of_other_tasks_alone():
    texts = [in_tags(RIGHT)] * 3
    assert CountdownReward()(texts, target=[TARGET, None, TARGET], nums=[NUMS, NUMS, None]) == [1.0, None, None]
    assert CountdownReward()(texts, solution=["65"] * 3) == [None] * 3


def test_countdown_refuses_an_unknown_mode_with_the_list():
    with pytest.raises(ValueError, match="tinyzero, mini_r1"):
        CountdownReward("tiny_zero")


def test_countdown_logs_shares_of_the_rows_judged():
    extra, metrics = {}, {}
    texts = [in_tags(RIGHT), in_tags("1"), "nothing", in_tags(RIGHT)]
    CountdownReward()(
        texts,
        target=[TARGET, TARGET, TARGET, None],
        nums=[NUMS] * 4,
        log_extra=extra.__setitem__,
        log_metric=metrics.__setitem__,
    )
    assert extra == {"countdown_reward/outcome": ["right", "wrong", "no_answer", None]}
    assert metrics == {f"countdown_reward/{kind}": pytest.approx(1 / 3) for kind in ("right", "wrong", "no_answer")}


# The published table: format +1 or -1, answer +2, -1.5 or -2.
LOGIC_RL_TABLE = [
    (in_tags(GOLD), 3.0),
    (in_tags(GOLD, between=" and so "), 3.0),
    ("Well. " + in_tags(GOLD) + " That is all.", 3.0),
    (in_tags("Zoey is a Knight, Noah IS A knave and Ella is a\nknight."), 3.0),
    (in_tags(GOLD.replace("Noah is a knave", "Noah is a knight")), -0.5),
    (in_tags(GOLD.replace("knight", "knave")), -0.5),
    (in_tags(""), -1.0),
    (in_tags("TBD"), -1.0),
    (in_tags("Zoey is a knight, Noah is a knave"), -1.0),  # nobody said what Ella is
    (in_tags(f"{GOLD}\nZoey is a knave"), -1.0),  # one kind too many
    (in_tags("Zoey is a knight, Noah is a knave, the third is a knight"), -1.0),
    (in_tags(GOLD.replace("Zoey is a knight", "Zoey is not a knight")), -1.0),
    (in_tags(GOLD.replace("is a", "=")), -1.0),
    (in_tags("knight " * 50_000), -1.0),
    (GOLD, -3.0),
    ("", -3.0),
    (f"<answer>{GOLD}</answer>", -3.0),
    (f"<think>thoughts</think>{GOLD}", -3.0),
    (f"<answer>{GOLD}</answer><think>thoughts</think>", -3.0),  # thoughts after the answer
    (in_tags(GOLD) + "<answer>", -3.0),
    (in_tags(GOLD) * 2, -3.0),
    (f"<think><answer>{GOLD}</answer></think>", -3.0),
]


@pytest.mark.parametrize(("text", "reward"), LOGIC_RL_TABLE, ids=lambda value: repr(value)[:40])
def test_knights_knaves_as_published(text: str, reward: float):
    assert knights_knaves_reward([[{"role": "assistant", "content": text}]], solution_text_format=[GOLD]) == [reward]


def test_knights_knaves_counts_the_think_tag_that_the_prompt_opened():
    text = in_tags(GOLD).removeprefix("<think>")
    assert knights_knaves_reward([text], solution_text_format=[GOLD]) == [-3.0]
    assert knights_knaves_reward([text], solution_text_format=[GOLD], context=PREFILLED) == [3.0]


def test_knights_knaves_leaves_rows_of_other_tasks_alone():
    assert knights_knaves_reward([in_tags(GOLD)] * 3, solution_text_format=[GOLD, None, ""]) == [3.0, None, None]
    assert knights_knaves_reward([in_tags(GOLD)]) == [None]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (in_tags(" 1 "), "1"),
        (in_tags("1") + in_tags("2"), "2"),
        (in_tags(r"\boxed{\frac{1}{2}}"), r"\frac{1}{2}"),
        (in_tags(r"so \boxed{1}"), r"so \boxed{1}"),
        ("<think><answer>1</answer>", "1"),
        ("<think><answer>1</answer></think>", None),
        ("</answer>1<answer>", None),
        ("", None),
    ],
)
def test_the_answer_is_the_last_block_after_the_reasoning(text: str, answer: str | None):
    assert find_answer(text) == answer


@pytest.fixture(scope="module")
def entry() -> str:
    return next(make_items("chain_sum", {}, seed=0))["entry"]


def test_reasoning_gym_without_an_answer_block_is_zero(entry: str):
    assert reasoning_gym_reward(["7", "<think>\n<answer>7</answer>\n</think>"], reasoning_gym_entry=[entry] * 2) == [
        0.0,
        0.0,
    ]


def test_reasoning_gym_leaves_rows_of_other_tasks_alone(entry: str):
    assert reasoning_gym_reward(["7"] * 2, reasoning_gym_entry=[None, ""]) == [None, None]
    assert reasoning_gym_reward(["7"]) == [None]


def test_an_entry_that_is_none_of_ours_is_an_error():
    for entry in (
        "gcd",
        "{}",
        '{"task": "gcd"}',
        '{"task": "nope", "options": {}, "question": 1, "answer": 1, "metadata": 1}',
    ):
        with pytest.raises(ValueError, match="reasoning_gym_entry"):
            reasoning_gym_reward([in_tags("1")], reasoning_gym_entry=[entry])


def test_a_scorer_that_fails_on_an_answer_makes_it_wrong_and_is_counted():
    entry = next(make_items("prime_factorization", {}, seed=0))["entry"]
    metrics = {}
    rewards = reasoning_gym_reward(
        [in_tags("two times three"), "none"], reasoning_gym_entry=[entry] * 2, log_metric=metrics.__setitem__
    )
    assert rewards == [0.0, 0.0]
    assert metrics["reasoning_gym_reward/scorer_failed"] == metrics["reasoning_gym_reward/no_answer"] == 0.5
