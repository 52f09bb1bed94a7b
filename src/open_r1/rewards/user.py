# SPDX-License-Identifier: Apache-2.0
"""Rewards of the user's own: `package.module:function` or `path/to/file.py:function` in a recipe.

The code runs in the training process with the user's rights. A function has TRL's calling convention
`(completions, **columns) -> list[float | None]`, plain or `async def`; the trainer awaits those together.
"""

import asyncio
import faulthandler
import inspect
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from open_r1.configs.rewards import RewardArguments
from open_r1.data.user_code import load_function
from open_r1.rewards.base import Completion
from open_r1.rewards.wrappers import WrappedReward, is_async

# What the trainer passes beside the columns of the data.
_GIVEN_BY_TRAINER = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
_GRACE_S = 5.0
_exit = os._exit  # a training replaces it (`run_script`)


@dataclass
class UserReward(WrappedReward):
    """A function of the user's, loaded from its place and with its results checked.

    Range: any finite number, of any type that `float()` takes (numpy, tensors); None where the function says so, NaN
    for a row that it failed to judge (`UNSCORABLE`).
    Pickled by its place, so a copy in another process loads the code there.
    """

    place: str
    timeout_s: float

    def __reduce__(self) -> tuple[Callable[[str, float], "UserReward"], tuple[str, float]]:
        return load_user_reward, (self.place, self.timeout_s)

    async def judge(self, completions: Sequence[Completion], **columns: object) -> list[float | None]:
        """Return the function's values as numbers, or None."""
        name = f"The reward {self.place!r} in reward_funcs"
        with _guarded(name, self.timeout_s):
            values = await self.ask(completions=completions, **columns)
        if is_async(self.reward) and getattr(asyncio.get_running_loop(), "_stopping", False):
            _end(f"{name} has stopped the event loop.")  # an error would reach nobody
        return self._checked(values, len(completions))

    def _checked(self, values: Any, num_rows: int) -> list[float | None]:
        wanted = f"The reward {self.place!r} must return one number or None for each of its {num_rows} completions"
        try:
            if isinstance(values, str | Mapping | Set):
                raise TypeError
            found = list(values)
        except TypeError as error:
            raise TypeError(f"{wanted}, got {values!r:.200}.") from error
        if len(found) != num_rows:
            raise ValueError(f"{wanted}, got {len(found)} values.")
        numbers = [None if value is None else _as_number(value) for value in found]
        for row, (value, number) in enumerate(zip(found, numbers, strict=True)):
            if value is not None and number is None:
                raise TypeError(f"{wanted}, but the value of row {row} is {value!r:.200} ({type(value).__name__}).")
        return numbers


@contextmanager
def _guarded(name: str, timeout_s: float) -> Iterator[None]:
    """End the run with an error where a reward leaves the program, doesn't return, or returns in a forked process."""
    process_id = os.getpid()
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
        error.add_note(f"{name} has raised this.")
        raise
    finally:
        if os.getpid() != process_id:
            _end(f"{name} has forked; the new process, which would be a second trainer, ends here.")
        watch.cancel()
        faulthandler.cancel_dump_traceback_later()


def _end(reason: str) -> NoReturn:
    sys.stderr.write(f"{reason}\n")
    sys.stderr.flush()
    faulthandler.dump_traceback(2)
    _exit(1)


def _as_number(value: Any) -> float | None:
    """Return a value that is one number, in whatever library's type, as a float; None for any other, and infinity."""
    if isinstance(value, str | bytes | bytearray):  # float() would read them
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last one: a tensor of several numbers
        return None
    return None if math.isinf(number) else number


def load_user_reward(place: str, timeout_s: float = RewardArguments.reward_timeout_s) -> UserReward:
    """Load `package.module:function` or `path/to/file.py:function`; a relative path starts in the working folder.

    Args:
        place: Of the function.
        timeout_s: `reward_timeout_s`.

    Raises:
        ValueError: There is no such file, module or function, its import fails, or it can't be called as a reward.
    """
    function, place = load_function(place, role="reward", setting="reward_funcs")
    _check_signature(function, place)
    return UserReward(function, place, timeout_s)


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


def _check_signature(function: Callable[..., Any], place: str) -> None:
    parameters = inspect.signature(function).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    names = {parameter.name for parameter in parameters}
    if inspect.Parameter.VAR_KEYWORD not in kinds or inspect.Parameter.POSITIONAL_ONLY in kinds:
        raise ValueError(
            f"The reward {place!r} must take its arguments by keyword and end in **columns, since the trainer passes "
            f"every column of the data: def {getattr(function, '__name__', 'reward')}(completions, **columns)."
        )
    if not hasattr(function, "__name__"):
        raise ValueError(f"The reward {place!r} has no __name__, by which its metrics would go: name a function.")
    if "completions" not in names:
        raise ValueError(f"The reward {place!r} doesn't take `completions`, so it has nothing to judge.")
