# SPDX-License-Identifier: Apache-2.0
r"""Rewards for the puzzles of `open_r1.tasks`: Countdown, knights and knaves, `tasks/reasoning_gym/<name>`.

Different from the published code of TinyZero, Mini-R1, Logic-RL and reasoning-gym:
1. Arithmetic is read by `ast` into exact fractions. Theirs calls `eval` behind a pattern that lets `**` and `//`
   through: `95**87**66` hangs the trainer. Here both operators, and decimal points, make an answer wrong.
2. `countdown_reward` is robust: the answer may have line breaks, a box, other signs for the operations and `= target`
   behind it. TinyZero's code reads the last line alone, Mini-R1's the first block without line breaks.
3. A row that lacks the columns of a reward, or has null in them, gets None: it belongs to another reward.
4. Answers that could hang a scorer of reasoning-gym, take it over or cheat it are kept from it
   (`tasks/reasoning_gym_scoring.py`). A scorer that fails on an answer makes the answer wrong instead of ending the
   run; the share of such rows is logged.
All search takes time linear in the text, whatever it holds.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from open_r1.rewards.base import (
    DEFAULT_CONTEXT,
    THINK_CLOSE,
    Completion,
    LogExtra,
    LogMetric,
    RewardContext,
    completion_texts,
    last_answer_block,
)
from open_r1.rewards.format_rewards import SOFT_LAYOUT, TAGS, split_layout, texts_from_think_tag
from open_r1.tasks import countdown
from open_r1.tasks.reasoning_gym_items import require_library
from open_r1.tasks.reasoning_gym_scoring import read_entry, score_answer

logger = logging.getLogger(__name__)

COUNTDOWN_MODES = ("tinyzero", "mini_r1")
MAX_ANSWER_CHARS = 2_000

_BOX_OPEN = r"\boxed{"
_SIGNS = str.maketrans("×·÷−–[]（）", "**/--()()", "$")
_COMMANDS = {r"\times": "*", r"\cdot": "*", r"\div": "/", r"\left": "", r"\right": ""}
_PERSON = re.compile(r"\b([A-Za-z]+)\b.*?\b(knight|knave)\b", re.IGNORECASE)


def find_answer(text: str) -> str | None:
    r"""Return what the last answer block after the reasoning holds, stripped and without a box around all of it.

    >>> find_answer("<think>\nx\n</think>\n<answer>\n\\boxed{(1 + 2) * 3}\n</answer>"), find_answer("(1 + 2) * 3")
    ('(1 + 2) * 3', None)
    """
    answer = last_answer_block(text.rpartition(THINK_CLOSE)[2])
    if answer is not None and answer.startswith(_BOX_OPEN) and answer.endswith("}"):
        answer = answer[len(_BOX_OPEN) : -1].strip()
    return answer


def log_outcomes(
    name: str,
    kinds: Sequence[str],
    outcomes: Sequence[str | None],
    /,
    *,
    log_extra: LogExtra | None = None,
    log_metric: LogMetric | None = None,
    **columns: object,
) -> None:
    """Log the outcome of every row, and of the rows judged the share of each kind."""
    if log_extra is not None:
        log_extra(f"{name}/outcome", list(outcomes))
    judged = [outcome for outcome in outcomes if outcome is not None]
    if log_metric is not None and judged:
        for kind in kinds:
            log_metric(f"{name}/{kind}", judged.count(kind) / len(judged))


def _is_solution(answer: str, nums: Sequence[int], target: int) -> bool:
    if len(answer) > MAX_ANSWER_CHARS:
        return False
    answer = answer.translate(_SIGNS)
    for command, sign in _COMMANDS.items():
        answer = answer.replace(command, sign)
    expression, equals, value = answer.partition("=")
    return (not equals or value.strip() == str(target)) and countdown.check(expression, nums, target)


@dataclass(frozen=True)
class CountdownReward:
    r"""Return the reward of TinyZero or of Mini-R1 for an expression that must reach a target.

    With an answer `right` when its exact value is `target` and it uses every number of `nums` exactly once:

    | mode     | no answer | wrong answer | right answer | in addition          | range              |
    |----------|-----------|--------------|--------------|----------------------|--------------------|
    | tinyzero | 0         | 0.1          | 1            |                      | {0, 0.1, 1}        |
    | mini_r1  | 0         | 0            | 1            | 1 for the layout     | {0, 1, 2}          |

    Mini-R1 has two rewards, format and equation, which TRL adds up; this is their sum. None where `target` or `nums`
    is missing. The answer is that of `find_answer` and the layout that of `soft_format_reward`.
    Sources: TinyZero (verl/utils/reward_score/countdown.py), Mini-R1 (scripts/run_r1_grpo.py).

    >>> text = "<think>\n7 + 19 = 26\n</think>\n<answer>\n55 + 36 - 7 - 19 = 65\n</answer>"
    >>> row = {"target": [65], "nums": [[19, 36, 55, 7]]}
    >>> CountdownReward()([text], **row), CountdownReward("mini_r1")([text], **row)
    ([1.0], [2.0])
    """

    mode: str = "tinyzero"
    context: RewardContext = DEFAULT_CONTEXT

    __name__ = "countdown_reward"

    def __post_init__(self) -> None:
        if self.mode not in COUNTDOWN_MODES:
            raise ValueError(f"countdown_mode must be one of {', '.join(COUNTDOWN_MODES)}, got {self.mode!r}.")

    def __call__(
        self,
        completions: Sequence[Completion],
        *,
        target: Sequence[int | None] | None = None,
        nums: Sequence[Sequence[int] | None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        texts = texts_from_think_tag(completions, self.context)
        targets = [None] * len(texts) if target is None else target
        numbers = [None] * len(texts) if nums is None else nums
        outcomes = [
            None if goal is None or given is None else self._judge(text, given, goal)
            for text, given, goal in zip(texts, numbers, targets, strict=True)
        ]
        log_outcomes(self.__name__, ("right", "wrong", "no_answer"), outcomes, **columns)
        return [
            None if outcome is None else self._reward(outcome, text)
            for outcome, text in zip(outcomes, texts, strict=True)
        ]

    def _judge(self, text: str, nums: Sequence[int], target: int) -> str:
        answer = find_answer(text)
        if answer is None:
            return "no_answer"
        return "right" if _is_solution(answer, nums, target) else "wrong"

    def _reward(self, outcome: str, text: str) -> float:
        if self.mode == "tinyzero":
            return {"right": 1.0, "wrong": 0.1, "no_answer": 0.0}[outcome]
        return float(split_layout(text, SOFT_LAYOUT) is not None) + float(outcome == "right")


def knights_knaves_reward(
    completions: Sequence[Completion],
    *,
    solution_text_format: Sequence[str | None] | None = None,
    context: RewardContext = DEFAULT_CONTEXT,
    **columns: Any,
) -> list[float | None]:
    r"""Return the reward of Logic-RL for knights and knaves: format plus answer.

    | completion                                                    | format | answer | sum  |
    |---------------------------------------------------------------|--------|--------|------|
    | in the layout, everybody right                                | +1     | +2     | 3    |
    | in the layout, a kind for everybody, not all of them right    | +1     | -1.5   | -0.5 |
    | in the layout, the answer can't be read                       | +1     | -2     | -1   |
    | not in the layout                                             | -1     | -2     | -3   |

    Layout: each of the four tags exactly once, in order; a think tag opened by the template counts (`context`). An
    answer can be read when "knight" and "knave" occur in it as often as there are people, and "<name> is a knight" or
    "<name> is a knave" for each.
    Range {-3, -1, -0.5, 3}; None where `solution_text_format` is missing or names nobody.
    Source: Logic-RL (arXiv 2502.14768; verl/utils/reward_score/kk.py).

    >>> text = "<think>\nNoah lies.\n</think>\n<answer>\n(1) Zoey is a knight\n(2) Noah is a knave\n</answer>"
    >>> gold = "(1) Zoey is a knight\n(2) Noah is a knave"
    >>> texts = [text, text.replace("knave", "knight"), "Noah is a knave"]
    >>> knights_knaves_reward(texts, solution_text_format=[gold] * 3)
    [3.0, -0.5, -3.0]
    """
    texts = completion_texts(completions, context)
    golds = [None] * len(texts) if solution_text_format is None else solution_text_format
    outcomes = []
    for text, gold in zip(texts, golds, strict=True):
        kinds = read_kinds(gold) if gold else {}
        outcomes.append(_judge_kinds(text, kinds) if kinds else None)
    rewards = {"right": 3.0, "wrong": -0.5, "unreadable": -1.0, "bad_format": -3.0}
    log_outcomes("knights_knaves_reward", tuple(rewards), outcomes, **columns)
    return [None if outcome is None else rewards[outcome] for outcome in outcomes]


def read_kinds(solution: str) -> dict[str, str]:
    r"""Return the kind of every person in a solution with a person a line.

    >>> read_kinds("(1) Zoey is a knight\n(2) Noah is a knave")
    {'Zoey': 'knight', 'Noah': 'knave'}
    """
    matches = map(_PERSON.search, solution.splitlines())
    return {match.group(1): match.group(2).lower() for match in matches if match}


def _judge_kinds(text: str, kinds: dict[str, str]) -> str:
    places = [text.find(tag) for tag in TAGS]
    if any(text.count(tag) != 1 for tag in TAGS) or places != sorted(places):
        return "bad_format"
    answer = find_answer(text) or ""
    lowered = answer.lower()
    if len(answer) > MAX_ANSWER_CHARS or lowered.count("knight") + lowered.count("knave") != len(kinds):
        return "unreadable"
    is_right = True
    for name, kind in kinds.items():
        match = re.search(rf"\b{re.escape(name)}\b\s+is\s+a\s+\b(knight|knave)\b", answer, re.IGNORECASE)
        if match is None:
            return "unreadable"
        is_right &= match.group(1).lower() == kind
    return "right" if is_right else "wrong"


def reasoning_gym_reward(
    completions: Sequence[Completion],
    *,
    reasoning_gym_entry: Sequence[str | None] | None = None,
    context: RewardContext = DEFAULT_CONTEXT,
    **columns: Any,
) -> list[float | None]:
    r"""Return the score that the reasoning-gym library gives the answer to a row of `tasks/reasoning_gym/<name>`.

    The answer is that of `find_answer`; without one the reward is 0. Many tasks give part of the score for part of the
    answer. An answer on which the library's scorer fails, or that `reasoning_gym_scoring` keeps from it, is wrong: 0.
    Range [0, 1]; None where `reasoning_gym_entry` is missing. Needs the extra `puzzles`.
    Source: reasoning-gym 0.1.25 (arXiv 2505.24760).

    >>> from open_r1.tasks.reasoning_gym_items import make_items
    >>> item = next(make_items("chain_sum", {}, seed=0))
    >>> texts = [f"<answer>{item['solution']}</answer>", "<answer>no idea</answer>"]
    >>> reasoning_gym_reward([*texts, texts[0]], reasoning_gym_entry=[item["entry"], item["entry"], None])
    [1.0, 0.0, None]
    """
    texts = completion_texts(completions, context)
    entries = [None] * len(texts) if reasoning_gym_entry is None else reasoning_gym_entry
    judged = [_score_entry(text, entry) if entry else (None, None) for text, entry in zip(texts, entries, strict=True)]
    outcomes, rewards = [outcome for outcome, _ in judged], [reward for _, reward in judged]
    log_outcomes("reasoning_gym_reward", ("scored", "no_answer", "scorer_failed"), outcomes, **columns)
    return rewards


def _score_entry(text: str, entry: str) -> tuple[str, float]:
    require_library()
    task = read_entry(entry)["task"]
    if (answer := find_answer(text)) is None:
        return "no_answer", 0.0
    try:
        score = score_answer(entry, answer)
    except Exception as error:  # noqa: BLE001 - the scorers raise what they like on answers they did not expect
        logger.info("The scorer of reasoning_gym/%s failed on %.80r: %r", task, answer, error)
        return "scorer_failed", 0.0
    # A NaN would stand for a failure of ours; `min` and `max` pass it on.
    return ("scored", min(1.0, max(0.0, score))) if score == score else ("scorer_failed", 0.0)
