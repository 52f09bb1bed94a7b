# SPDX-License-Identifier: Apache-2.0
"""Wrappers of rewards: rows of some domains alone (`reward_domains`), the summary alone (`summary_only`).

    only_domains(accuracy_reward, ["math"])(completions=["4", "Hi"], domain=["math", "chat"], ...)  ->  [1.0, None]

A wrapper is async where its reward is, so that the trainer awaits all async rewards together; `run_reward` calls any.
"""

import asyncio
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from open_r1.rewards.base import (
    DEFAULT_CONTEXT,
    THINK_CLOSE,
    THINK_OPEN,
    Completion,
    LogExtra,
    LogMetric,
    Reward,
    RewardContext,
    completion_text,
    did_you_mean,
    require_rows,
)

Ask = Callable[..., Awaitable[list[float | None]]]  # a reward inside a wrapper

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
    """Start the loop in a thread; a forked process, which inherits no threads, starts one too."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name=f"rewards-{process_id}", daemon=True).start()
    return loop


def wrap(reward: Reward, judge: Ask, name: str | None = None) -> Reward:
    """Return a reward around another one, async where that one is.

    Args:
        reward: The one inside.
        judge: Coroutine function `(ask, **columns)` that returns the values for the arguments which TRL passes;
            `await ask(**columns)` returns those of the reward inside, and is all that it may wait for.
        name: Metric key; None: as before.
    """

    async def ask(**columns: object) -> list[float | None]:
        values: Any = reward(**columns) if is_async(reward) else run_reward(reward, **columns)
        return await values if inspect.isawaitable(values) else values

    async def judge_later(**columns: object) -> list[float | None]:
        return await judge(ask, **columns)

    def judge_now(**columns: object) -> list[float | None]:
        # Around a plain reward the coroutine has nothing to wait for: its first step is its last.
        try:
            judge_later(**columns).send(None)
        except StopIteration as done:
            return done.value
        raise RuntimeError(f"{reward.__name__} isn't async, but its wrapper waits for something else.")

    wrapped: Any = judge_later if is_async(reward) else judge_now
    wrapped.__name__ = reward.__name__ if name is None else name
    return wrapped


def summary_of(completion: Completion, context: RewardContext = DEFAULT_CONTEXT) -> Completion:
    r"""Return a completion without its reasoning, in the shape it came in: text, or messages.

    The summary is what follows the last `</think>`; "" where reasoning was opened (by the prompt too) and never
    closed; the whole text where there are no think tags. Of messages, each one by the assistant is cut.

    >>> summary_of("<think>\n6 * 7\n</think>\nIt is 42."), summary_of("<think>\n6 * 7"), summary_of("It is 42.")
    ('\nIt is 42.', '', 'It is 42.')
    """

    def cut(text: str) -> str:
        _, closing, after = text.rpartition(THINK_CLOSE)
        return after if closing or THINK_OPEN not in text else ""

    if isinstance(completion, str):
        return cut(completion_text(completion, context))
    return [
        {key: value for key, value in message.items() if key not in ("reasoning_content", "thinking")}
        | {"content": cut(completion_text([message], context))}
        if message.get("role", "assistant") == "assistant"
        else message
        for message in completion
    ]


def summary_only(reward: Reward, context: RewardContext = DEFAULT_CONTEXT) -> Reward:
    """Return a reward that judges the summaries (`summary_of`).

    Range and None as the inner reward has them. It doesn't get `completion_ids`, which hold the reasoning. What it
    logs is named `summary_only_<name>`, so that it stays apart from the same reward on the whole completion.
    Source: DeepSeek-R1 (arXiv 2501.12948, section 2.3.4), which judges helpfulness by the final summary only.
    """

    def prefixed(log: Callable[..., None] | None) -> Callable[..., None]:
        return lambda name, value: None if log is None else log(f"{_SUMMARY_PREFIX}{name}", value)

    async def judge(
        ask: Ask,
        completions: Sequence[Completion],
        completion_ids: object = None,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **columns: object,
    ) -> list[float | None]:
        summaries = [summary_of(completion, context) for completion in completions]
        logs = {"log_extra": prefixed(log_extra), "log_metric": prefixed(log_metric)}
        return await ask(completions=summaries, **logs, **columns)

    return wrap(reward, judge, f"{_SUMMARY_PREFIX}{reward.__name__}")


def only_domains(reward: Reward, domains: Sequence[str]) -> Reward:
    """Return a reward that judges the rows of these domains and gives None for the others.

    Range as the inner reward has it; None also where the inner reward gives it. The inner reward sees its rows alone:
    of every column, `prompts` and `completion_ids` too. Columns it logs are filled up with None, numbers it logs are
    over its rows. Rows of one prompt share a domain, so groups stay whole.
    Source: the mixed rewards of DeepSeek-R1 (arXiv 2501.12948, section 2.3.4).
    """
    # TRL keeps the last values of a column until new ones come: what was logged once is logged in every call.
    logged: set[str] = set()

    async def judge(
        ask: Ask,
        completions: Sequence[Completion],
        domain: Sequence[object] | None = None,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **columns: object,
    ) -> list[float | None]:
        num_rows = len(completions)
        if domain is None:
            raise ValueError(f"{reward.__name__} judges rows of {list(domains)}: pass the column {DOMAIN_COLUMN!r}.")
        require_rows(reward.__name__, num_rows, domain=domain)
        rows = [row for row, name in enumerate(domain) if name in domains]

        def scatter(values: Sequence) -> list:
            by_row = dict(zip(rows, values, strict=True))
            return [by_row.get(row) for row in range(num_rows)]

        logged_here: dict[str, list] = {}
        values: list[float | None] = []
        if rows:
            given = {"completions": completions, DOMAIN_COLUMN: domain, **columns}
            given = {name: _take(column, rows, num_rows) for name, column in given.items()}
            values = await ask(log_extra=logged_here.__setitem__, log_metric=log_metric, **given)
            logged.update(logged_here)
        if log_extra is not None:
            for name in sorted(logged):
                log_extra(name, scatter(logged_here.get(name, [None] * len(rows))))
        return scatter(values)

    return wrap(reward, judge)


def _take(column: object, rows: Sequence[int], num_rows: int) -> object:
    """Return these rows of a column; what is no column (`trainer_state`) passes through."""
    is_column = isinstance(column, Sequence) and not isinstance(column, str) and len(column) == num_rows
    return [column[row] for row in rows] if is_column else column


def domains_by_reward(
    names: Sequence[str], reward_domains: Mapping[str, Sequence[str]] | None
) -> dict[str, list[str]]:
    """Turn `reward_domains` of a recipe (domain -> rewards) round: reward -> domains. Others judge every row.

    >>> domains_by_reward(["accuracy", "format", "countdown"], {"math": ["accuracy"], "puzzle": ["countdown"]})
    {'accuracy': ['math'], 'countdown': ['puzzle']}

    Raises:
        ValueError: A name isn't in `reward_funcs`.
    """
    found: dict[str, list[str]] = {}
    for domain, listed in (reward_domains or {}).items():
        for name in listed:
            if name not in names:
                raise ValueError(
                    f"`reward_domains.{domain}` lists {name!r}, which is not in `reward_funcs` {list(names)}."
                    f"{did_you_mean(name, names)}"
                )
            found[name] = list(dict.fromkeys([*found.get(name, []), domain]))
    return found
