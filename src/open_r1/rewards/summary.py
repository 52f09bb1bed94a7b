# SPDX-License-Identifier: Apache-2.0
"""`summary_only(<reward>)`: judge what follows the reasoning, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from open_r1.rewards.base import (
    DEFAULT_CONTEXT,
    THINK_CLOSE,
    THINK_OPEN,
    Completion,
    LogExtra,
    LogMetric,
    Message,
    Reward,
    RewardContext,
    completion_text,
)

_PREFIX = "summary_only_"


def summary_of(completion: Completion, context: RewardContext = DEFAULT_CONTEXT) -> Completion:
    r"""Return a completion without its reasoning, in the shape it came in: text, or messages.

    The summary is what follows the last `</think>`; "" where reasoning was opened (by the prompt too) and never
    closed; the whole text where there are no think tags. Of messages, each one by the assistant is cut.

    >>> summary_of("<think>\n6 * 7\n</think>\nIt is 42."), summary_of("<think>\n6 * 7"), summary_of("It is 42.")
    ('\nIt is 42.', '', 'It is 42.')
    """
    if isinstance(completion, str):
        return _summary_of_text(completion_text(completion, context))
    return [_summary_message(message, context) for message in completion]


def _summary_of_text(text: str) -> str:
    _, closing, after = text.rpartition(THINK_CLOSE)
    return after if closing or THINK_OPEN not in text else ""


def _summary_message(message: Message, context: RewardContext) -> Message:
    if message.get("role", "assistant") != "assistant":
        return message
    kept = {key: value for key, value in message.items() if key not in ("reasoning_content", "thinking")}
    return {**kept, "content": _summary_of_text(completion_text([message], context))}


@dataclass(frozen=True)
class SummaryOnlyReward:
    """Return what the inner reward gives the summaries (`summary_of`).

    Range and None as the inner reward has them. It doesn't get `completion_ids`, which hold the reasoning. What it
    logs is named `summary_only_<name>`, so that it stays apart from the same reward on the whole completion.
    Source: DeepSeek-R1 (arXiv 2501.12948, section 2.3.4), which judges helpfulness by the final summary only.
    """

    reward: Reward
    context: RewardContext = DEFAULT_CONTEXT

    @property
    def __name__(self) -> str:
        """Metric key."""
        return f"{_PREFIX}{self.reward.__name__}"

    def __call__(
        self,
        completions: Sequence[Completion],
        *,
        completion_ids: object = None,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **columns: object,
    ) -> list[float | None]:
        def log_column(name: str, values: list) -> None:
            if log_extra is not None:
                log_extra(f"{_PREFIX}{name}", values)

        def log_number(name: str, value: float) -> None:
            if log_metric is not None:
                log_metric(f"{_PREFIX}{name}", value)

        summaries = [summary_of(completion, self.context) for completion in completions]
        return self.reward(completions=summaries, log_extra=log_column, log_metric=log_number, **columns)
