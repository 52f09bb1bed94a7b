# SPDX-License-Identifier: Apache-2.0
"""Rewards around rewards: for rows of a domain (`reward_domains`), for the summary alone (`summary_only`), renamed.

A wrapper is async where its reward is, so that the trainer awaits all async rewards together; `run_reward` calls any.
"""

import asyncio
import inspect
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

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
    did_you_mean,
    require_rows,
)

DOMAIN_COLUMN = "domain"
_SUMMARY_PREFIX = "summary_only_"


def is_async(reward: Reward) -> bool:
    """Whether a reward must be awaited, by TRL's rule: it or its `__call__` is an `async def`."""
    while isinstance(reward, partial):
        reward = reward.func
    return inspect.iscoroutinefunction(reward) or inspect.iscoroutinefunction(reward.__call__)


def run_reward(reward: Reward, **columns: object) -> list[float | None]:
    """Return the values of a reward, having waited for those of an async one.

    All async rewards of a process share one event loop, so that their clients live on from call to call.
    """
    values: Any = reward(**columns)
    if not inspect.isawaitable(values):
        return values
    return asyncio.run_coroutine_threadsafe(_await(values), _event_loop(os.getpid())).result()


async def _await(values: Any) -> Any:
    return await values


@lru_cache(maxsize=1)
def _event_loop(process_id: int) -> asyncio.AbstractEventLoop:
    """Start the loop in a thread; a forked process, in which no thread goes on, starts its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name=f"rewards-{process_id}", daemon=True).start()
    return loop


@dataclass
class WrappedReward:
    """A reward around another one, async where that one is.

    A subclass says in `judge`, once for both, what it makes of the other's values.
    """

    reward: Reward

    @property
    def __name__(self) -> str:
        """Metric key."""
        return self.reward.__name__

    @property
    def __call__(self) -> Callable[..., Any]:
        # A property, since TRL looks at `reward.__call__` to tell whether it must await the reward.
        return self.judge if is_async(self.reward) else self._judge_now

    async def judge(self, completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        """Return the values for the arguments that TRL passes."""
        return await self.ask(completions=completions, **columns)

    async def ask(self, **columns: object) -> list[float | None]:
        """Return the values of the reward inside."""
        if not is_async(self.reward):
            return run_reward(self.reward, **columns)
        values: Any = self.reward(**columns)
        return await values

    def _judge_now(self, *args: Any, **columns: Any) -> list[float | None]:
        # Around a plain reward the coroutine has nothing to wait for: its first step is its last.
        try:
            self.judge(*args, **columns).send(None)
        except StopIteration as done:
            return done.value
        raise RuntimeError(f"{self.__name__} waits for more than the reward inside, which isn't async.")


@dataclass
class NamedReward(WrappedReward):
    """A reward under another metric key, where two would have the same."""

    name: str

    @property
    def __name__(self) -> str:
        """Metric key."""
        return self.name


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


@dataclass
class SummaryOnlyReward(WrappedReward):
    """Return what the inner reward gives the summaries (`summary_of`).

    Range and None as the inner reward has them. It doesn't get `completion_ids`, which hold the reasoning. What it
    logs is named `summary_only_<name>`, so that it stays apart from the same reward on the whole completion.
    Source: DeepSeek-R1 (arXiv 2501.12948, section 2.3.4), which judges helpfulness by the final summary only.
    """

    context: RewardContext = DEFAULT_CONTEXT

    @property
    def __name__(self) -> str:
        """Metric key."""
        return f"{_SUMMARY_PREFIX}{self.reward.__name__}"

    async def judge(
        self,
        completions: Sequence[Completion],
        *,
        completion_ids: object = None,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **columns: object,
    ) -> list[float | None]:
        """Return the values of the summaries."""

        def log_column(name: str, values: list) -> None:
            if log_extra is not None:
                log_extra(f"{_SUMMARY_PREFIX}{name}", values)

        def log_number(name: str, value: float) -> None:
            if log_metric is not None:
                log_metric(f"{_SUMMARY_PREFIX}{name}", value)

        summaries = [summary_of(completion, self.context) for completion in completions]
        return await self.ask(completions=summaries, log_extra=log_column, log_metric=log_number, **columns)


@dataclass
class DomainReward(WrappedReward):
    """Return what the inner reward gives the rows of its domains, and None for the others.

    Range as the inner reward has it; None also where the inner reward gives it. The inner reward sees its rows alone:
    of every column, `prompts` and `completion_ids` too. Columns it logs are filled up with None, numbers it logs are
    over its rows. Rows of one prompt share a domain, so groups stay whole.
    Source: the mixed rewards of DeepSeek-R1 (arXiv 2501.12948, section 2.3.4).
    """

    domains: tuple[str, ...]
    # TRL keeps the last values of a column until new ones come: what was logged once is logged in every call.
    _logged: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    async def judge(
        self,
        completions: Sequence[Completion],
        *,
        domain: Sequence[object] | None = None,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **columns: object,
    ) -> list[float | None]:
        """Return the values of the rows of the domains, None for the others."""
        num_rows = len(completions)
        if domain is None:
            raise ValueError(
                f"{self.__name__} judges rows of {list(self.domains)}: pass the column {DOMAIN_COLUMN!r}."
            )
        require_rows(self.__name__, num_rows, domain=domain)
        rows = [row for row, name in enumerate(domain) if name in self.domains]
        columns_here: dict[str, list] = {}
        values: list[float | None] = []
        if rows:
            values = await self.ask(
                completions=_take(completions, rows, num_rows),
                domain=_take(domain, rows, num_rows),
                log_extra=columns_here.__setitem__,
                log_metric=log_metric,
                **{name: _take(column, rows, num_rows) for name, column in columns.items()},
            )
            self._logged |= columns_here.keys()
        if log_extra is not None:
            for name in sorted(self._logged):
                log_extra(name, _scatter(columns_here.get(name, [None] * len(rows)), rows, num_rows))
        return _scatter(values, rows, num_rows)


def _take(column: object, rows: Sequence[int], num_rows: int) -> object:
    """Return these rows of a column; what is no column (`trainer_state`) passes through."""
    is_column = isinstance(column, Sequence) and not isinstance(column, str) and len(column) == num_rows
    return [column[row] for row in rows] if is_column else column


def _scatter(values: Sequence, rows: Sequence[int], num_rows: int) -> list:
    scattered: list = [None] * num_rows
    for row, value in zip(rows, values, strict=True):
        scattered[row] = value
    return scattered


def domains_by_reward(
    names: Sequence[str], reward_domains: Mapping[str, Sequence[str]] | None
) -> dict[str, list[str]]:
    """Turn `reward_domains` of a recipe (domain -> rewards) round: reward -> domains. Others judge every row.

    >>> domains_by_reward(["accuracy", "format", "countdown"], {"math": ["accuracy"], "puzzle": ["countdown"]})
    {'accuracy': ['math'], 'countdown': ['puzzle']}

    Raises:
        ValueError: It is no mapping of domains to lists of names, or a name isn't in `reward_funcs`.
    """
    if reward_domains is None:
        return {}
    if not isinstance(reward_domains, Mapping):
        raise ValueError(f"`reward_domains` must be a mapping {{domain: [reward, ...]}}, got {reward_domains!r}.")
    found: dict[str, list[str]] = {}
    for domain, listed in reward_domains.items():
        if not isinstance(domain, str):
            raise ValueError(f"The domain {domain!r} in `reward_domains` must be text: put it in quotes.")
        if isinstance(listed, str) or not isinstance(listed, Sequence) or not listed:
            raise ValueError(f"`reward_domains.{domain}` must be a list of names in `reward_funcs`, got {listed!r}.")
        for name in listed:
            if name not in names:
                raise ValueError(
                    f"`reward_domains.{domain}` lists {name!r}, which is not in `reward_funcs` {list(names)}."
                    f"{did_you_mean(name, names)}"
                )
            domains = found.setdefault(name, [])
            if domain not in domains:
                domains.append(domain)
    return found
