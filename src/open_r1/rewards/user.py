# SPDX-License-Identifier: Apache-2.0
"""Reward functions of the user: `package.module:function` or `path/to/file.py:function` in a recipe.

    def brevity(completions, **columns):
        return [-len(completion[0]["content"]) for completion in completions]

The code runs in the training process with the user's rights. A function has TRL's calling convention
`(completions, **columns) -> list[float | None]`, plain or `async def`; the trainer awaits those together.
"""

import faulthandler
import inspect
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from typing import Any, NoReturn

from open_r1.configs.rewards import RewardArguments
from open_r1.data.user_code import load_function, raised_at
from open_r1.rewards.base import Completion, Reward
from open_r1.rewards.wrappers import Ask, wrap

# What the trainer passes beside the columns of the data.
_GIVEN_BY_TRAINER = (
    *("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments"),
)
_GRACE_S = 5.0
_exit = os._exit  # a training replaces it (`run_script`)


def load_user_function(place: str) -> tuple[Callable[..., Any], str]:
    """Load `package.module:function` or `path/to/file.py:function`; return the function and its absolute place.

    Raises:
        ValueError: There is no such file, module or function, its import fails, or it doesn't take every column.
    """
    function, place = load_function(place, role="reward", setting="reward_funcs")
    if not any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(function).parameters.values()
    ):
        raise ValueError(
            f"The reward {place!r} must end in **columns, since the trainer passes every column of the data by "
            "keyword: def reward(completions, **columns)."
        )
    return function, place


def load_user_reward(place: str, timeout_s: float = RewardArguments.reward_timeout_s) -> Reward:
    """Return the function at a place as a reward whose results are checked.

    Range: any finite number, of any type that `float()` takes (numpy, tensors); None where the function says so, NaN
    for a row that it failed to judge (`UNSCORABLE`).

    Args:
        place: As of `load_user_function`, which says what it raises.
        timeout_s: `reward_timeout_s`.
    """
    function, place = load_user_function(place)
    name = f"The reward {place!r} in reward_funcs"

    async def judge(ask: Ask, completions: Sequence[Completion], **columns: object) -> list[float | None]:
        with _guarded(name, timeout_s):
            values = await ask(completions=completions, **columns)
        return _checked(values, len(completions), name)

    return wrap(function, judge)


def _checked(values: Any, num_rows: int, name: str) -> list[float | None]:
    wanted = f"{name} must return one finite number or None for each of its {num_rows} completions, got"
    if isinstance(values, str | Mapping | Set):
        raise TypeError(f"{wanted} {values!r:.200}.")
    try:
        numbers = [None if value is None else float(value) for value in values]
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # the last one: a tensor of several numbers
        raise TypeError(f"{wanted} {values!r:.200}.") from error
    if len(numbers) != num_rows or any(number is not None and math.isinf(number) for number in numbers):
        raise ValueError(f"{wanted} {len(numbers)} values, {numbers!r:.200}.")
    return numbers


@contextmanager
def _guarded(name: str, timeout_s: float) -> Iterator[None]:
    """End the run with an error where a reward leaves the program or doesn't return."""
    watch = threading.Timer(timeout_s, _end, [f"{name} took more than {timeout_s:g} s (`reward_timeout_s`)."])
    watch.daemon = True
    watch.start()
    # Where C code keeps Python from running, as `re` does, this one still ends the process.
    faulthandler.dump_traceback_later(timeout_s + _GRACE_S, exit=True, file=2)
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(f"{name} has called exit ({error.code}).") from error
    except Exception as error:
        error.add_note(f"{name} raised this: {raised_at(error)}")
        raise
    finally:
        watch.cancel()
        faulthandler.cancel_dump_traceback_later()


def _end(reason: str) -> NoReturn:
    sys.stderr.write(f"{reason}\n")
    sys.stderr.flush()
    faulthandler.dump_traceback(2)
    _exit(1)


def required_columns(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the parameters without default that must come from the data.

    >>> def brevity(completions, solution, *, level="hard", **columns): ...
    >>> required_columns(brevity)
    ('solution',)
    """
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in named and parameter.default is parameter.empty and name not in _GIVEN_BY_TRAINER
    )


def reads_tokens(function: Callable[..., Any]) -> bool:
    """Whether the function can't do without `completion_ids`."""
    parameter = inspect.signature(function).parameters.get("completion_ids")
    return parameter is not None and parameter.default is parameter.empty
