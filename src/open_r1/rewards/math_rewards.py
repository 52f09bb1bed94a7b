# SPDX-License-Identifier: Apache-2.0
"""Reward for a right final answer.

Different from upstream Open R1 (see `verifier` and `verifier.extract`):
1. An answer block without a box counts, and so does "the answer is 42".
2. The last of several boxes counts; a box inside the reasoning doesn't.
3. Golds without dollar signs are read as math.
4. A formula of the prompt is no answer to it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from open_r1.rewards.base import (
    DEFAULT_CONTEXT,
    Completion,
    LogExtra,
    LogMetric,
    RewardContext,
    completion_texts,
    prompt_text,
    require_rows,
)
from open_r1.rewards.verifier import JudgedAnswer, judge_all, log_verdicts


def judge_answers(
    name: str,
    completions: Sequence[Completion],
    solution: Sequence[object],
    context: RewardContext,
    /,
    *,
    prompts: Sequence[Completion] | None = None,
    log_extra: LogExtra | None = None,
    log_metric: LogMetric | None = None,
    **columns: object,
) -> list[float | None]:
    """Return 1.0 for a right answer and 0.0 for any other; log the verdicts as the reward `name`.

    None where the solution can't be parsed.
    """
    require_rows(name, len(completions), solution=solution)
    asked = None if prompts is None else [prompt_text(prompt) for prompt in prompts]
    judgements = _judge_all(context.verifier)(solution, completion_texts(completions, context), asked)
    log_verdicts(name, judgements, log_extra, log_metric)
    return [judgement.verdict.reward for judgement in judgements]


def _judge_all(verifier: str) -> Callable[..., list[JudgedAnswer]]:
    if verifier == "open_r1":
        return judge_all
    if verifier == "math_verify":
        from open_r1.rewards import math_verify  # brings sympy, which takes a second

        return math_verify.judge_all
    raise ValueError(f"verifier is {verifier!r}; it must be open_r1 or math_verify.")


def accuracy_reward(
    completions: Sequence[Completion],
    solution: Sequence[object],
    *,
    context: RewardContext = DEFAULT_CONTEXT,
    **columns: Any,
) -> list[float | None]:
    r"""Return 1.0 where the final answer equals the solution, else 0.0.

    Range {0, 1}; None where the solution can't be parsed. An answer that repeats a formula of its prompt earns 0.
    Each row's verdict, and how its gold and its answer were read, go to the columns `accuracy_reward/verdict`,
    `gold_read` and `answer_read`, the rates of all verdicts to the metrics `accuracy_reward/<verdict>`.
    Source: the accuracy reward of DeepSeek-R1 (arXiv 2501.12948, section 2.2.2).

    >>> accuracy_reward([r"It is \boxed{\frac{63}{400}}", "<answer>\n41\n</answer>"], [r"\frac{63}{400}", "42"])
    [1.0, 0.0]
    """
    return judge_answers("accuracy_reward", completions, solution, context, **columns)
