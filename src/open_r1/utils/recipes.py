# SPDX-License-Identifier: Apache-2.0
"""Reading a YAML recipe, and fitting its values to the types of the arguments.

1. A key that is written twice is refused; plain YAML takes the last one silently.
2. `1e-5` is a number, as everywhere else but in YAML 1.1, which asks for `1.0e-5`.
3. Values of the wrong type are refused here. The argument parser checks those of the command line only.
"""

import re
import types
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml


class _RecipeLoader(yaml.SafeLoader):
    """YAML with unique keys and with numbers such as 1e-5."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} stands there twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_RecipeLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def load_recipe(path: str | Path) -> dict[str, Any]:
    """Read a YAML recipe into a flat mapping.

    Raises:
        ValueError: The file does not exist, is not YAML, names a key twice, or holds no mapping of names.
    """
    try:
        recipe = yaml.load(Path(path).expanduser().read_text(encoding="utf-8"), _RecipeLoader)
    except OSError as error:
        raise ValueError(f"Cannot read the recipe {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"The recipe {path} is not valid YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"The recipe {path} must be a mapping of names to values.")
    for key in recipe:
        if not isinstance(key, str):
            raise ValueError(f"The recipe {path} has the key {key!r}, which is no name: put it in quotes.")
    return recipe


def fit_value(value: Any, hint: Any) -> Any:
    """Return a value of a recipe in the type that its argument has.

    Text that spells a number or a truth value, a whole float for an integer and a single value for a list are fitted.

    Args:
        value: What YAML made of it.
        hint: Type of the argument.

    Raises:
        ValueError: The value does not fit. The message says what is allowed.
    """
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:  # first without conversion: `int | str` keeps text as text
        if _is_exactly(value, option):
            return [fit_value(entry, *get_args(option)) for entry in value] if get_origin(option) is list else value
    for option in options:
        try:
            return _convert(value, option)
        except (TypeError, ValueError, OverflowError):
            continue
    hint_text = " or ".join(dict.fromkeys(_name_of(option) for option in options))
    quotes = " (put it in quotes)" if str in options and not isinstance(value, (dict, list)) else ""
    raise ValueError(f"is {'null' if value is None else repr(value)}, but it must be {hint_text}{quotes}")


def _is_exactly(value: Any, option: Any) -> bool:
    origin = get_origin(option)
    if option is Any:
        return True
    if origin is Literal:
        return any(value is choice or (value == choice and type(value) is type(choice)) for choice in get_args(option))
    if option is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    kind = origin or option
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(kind, type) or issubclass(kind, Enum):
        return False
    return isinstance(value, kind)


def _convert(value: Any, option: Any) -> Any:
    """Convert a value losslessly, or raise TypeError or ValueError."""
    if option is bool:
        words = {
            "true": True,
            "yes": True,
            "on": True,
            "1": True,
            "false": False,
            "no": False,
            "off": False,
            "0": False,
        }
        if str(value).strip().lower() in words and not isinstance(value, float):
            return words[str(value).strip().lower()]
    elif option is int and not isinstance(value, bool):
        number = float(value)
        if number.is_integer():
            return int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdigit() else int(number)
    elif option is float and not isinstance(value, bool):
        return float(value)
    elif get_origin(option) is list and not isinstance(value, (dict, list, type(None))):
        return [fit_value(value, *get_args(option))]
    raise ValueError(value)


def _name_of(option: Any) -> str:
    if get_origin(option) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(option))
    if get_origin(option) is list:
        return f"a list of {_name_of(*get_args(option))}"
    kind = get_origin(option) or option
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of " + ", ".join(repr(choice.value) for choice in kind)
    names = {
        type(None): "null",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        dict: "a mapping",
    }
    return names[kind] if kind in names else str(option)
