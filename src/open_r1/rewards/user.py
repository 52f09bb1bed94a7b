# SPDX-License-Identifier: Apache-2.0
"""Rewards of the user's own: `package.module:function` or `path/to/file.py:function` in a recipe.

The code runs in the training process with the user's rights. A function has TRL's calling convention
`(completions, **columns) -> list[float | None]`, plain or `async def`; the trainer awaits those together.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from open_r1.data.user_code import load_function
from open_r1.rewards.base import Completion
from open_r1.rewards.wrappers import WrappedReward

# What the trainer passes beside the columns of the data.
_GIVEN_BY_TRAINER = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")


@dataclass
class UserReward(WrappedReward):
    """A function of the user's, loaded from its place and with its results checked.

    Range: any finite number, of any type that `float()` takes (numpy, tensors); None where the function says so, NaN
    for a row that it failed to judge (`UNSCORABLE`).
    Pickled by its place, so a copy in another process loads the code there.
    """

    place: str

    def __reduce__(self) -> tuple[Callable[[str], "UserReward"], tuple[str]]:
        return load_user_reward, (self.place,)

    async def judge(self, completions: Sequence[Completion], **columns: object) -> list[float | None]:
        """Return the function's values as numbers, or None."""
        try:
            values = await self.ask(completions=completions, **columns)
        except Exception as error:
            error.add_note(f"This was raised by the reward {self.place!r} in reward_funcs.")
            raise
        return self._checked(values, len(completions))

    def _checked(self, values: Any, num_rows: int) -> list[float | None]:
        wanted = f"The reward {self.place!r} must return one number or None for each of its {num_rows} completions"
        try:
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


def _as_number(value: Any) -> float | None:
    """Return a value that is one number, in whatever library's type, as a float; None for any other, and infinity."""
    if isinstance(value, str | bytes | bytearray):  # float() would read them
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last one: a tensor of several numbers
        return None
    return None if math.isinf(number) else number


def load_user_reward(place: str) -> UserReward:
    """Load `package.module:function` or `path/to/file.py:function`; a relative path starts in the working folder.

    Raises:
        ValueError: There is no such file, module or function, its import fails, or it can't be called as a reward.
    """
    function, place = load_function(place, role="reward", setting="reward_funcs")
    _check_signature(function, place)
    return UserReward(function, place)


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
