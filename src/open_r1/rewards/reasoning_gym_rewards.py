# SPDX-License-Identifier: Apache-2.0
"""The reward for rows of `tasks/reasoning_gym/<name>`: the library's own score of the answer.

Different from calling the library's scorers:
1. Answers that could hang a scorer, take it over or cheat it are kept from it (`tasks/reasoning_gym_scoring.py`).
2. A scorer that fails on an answer makes the answer wrong instead of ending the run; the share of such rows is logged.
"""

import logging
from collections.abc import Sequence

from open_r1.rewards.base import DEFAULT_CONTEXT, Completion, LogExtra, LogMetric, RewardContext, completion_texts
from open_r1.rewards.puzzle_rewards import find_answer, log_outcomes
from open_r1.tasks.reasoning_gym_items import require_library
from open_r1.tasks.reasoning_gym_scoring import read_entry, score_answer

logger = logging.getLogger(__name__)


def reasoning_gym_reward(
    completions: Sequence[Completion],
    *,
    reasoning_gym_entry: Sequence[str | None] | None = None,
    context: RewardContext = DEFAULT_CONTEXT,
    log_extra: LogExtra | None = None,
    log_metric: LogMetric | None = None,
    **kwargs: object,
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
    outcomes: list[str | None] = []
    rewards: list[float | None] = []
    for text, entry in zip(texts, entries, strict=True):
        outcome, reward = _score_entry(text, entry) if entry else (None, None)
        outcomes.append(outcome)
        rewards.append(reward)
    log_outcomes("reasoning_gym_reward", ("scored", "no_answer", "scorer_failed"), outcomes, log_extra, log_metric)
    return rewards


def _score_entry(text: str, entry: str) -> tuple[str, float]:
    require_library()
    task, _, _ = read_entry(entry)
    answer = find_answer(text)
    if answer is None:
        return "no_answer", 0.0
    try:
        score = score_answer(entry, answer)
    except Exception as error:  # noqa: BLE001 - the scorers raise what they like on answers they did not expect
        logger.info("The scorer of reasoning_gym/%s failed on %r: %r", task, answer[:80], error)
        return "scorer_failed", 0.0
    # A NaN would stand for a failure of ours; `min` and `max` pass it on.
    return ("scored", min(1.0, max(0.0, score))) if score == score else ("scorer_failed", 0.0)
