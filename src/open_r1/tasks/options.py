# SPDX-License-Identifier: Apache-2.0
"""Options of a task in the one string that a recipe has for them, `dataset_config`."""

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar

Options = TypeVar("Options")


def parse_config(config: str | None, where: str) -> tuple[list[str], dict[str, Any]]:
    """Return the bare words and the options of a config.

    Args:
        config: A JSON object, or words and `name=value` with commas between; a value is a number or text.
        where: Name of the task, for messages.

    Raises:
        ValueError: It is neither, or sets an option twice.

    >>> parse_config("3to4, num_train=500, prompt=task", "tasks/x")
    (['3to4'], {'num_train': 500, 'prompt': 'task'})
    >>> parse_config('{"operators": [1, 2]}', "tasks/x")
    ([], {'operators': [1, 2]})
    """
    text = (config or "").strip()
    if text.startswith("{"):
        try:
            options = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"The config {config!r} of {where} is not valid JSON: {error}.") from error
        return [], options
    words: list[str] = []
    options = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            words.append(name)
        elif name in options:
            raise ValueError(f"The config {config!r} of {where} sets {name} twice.")
        else:
            with suppress(json.JSONDecodeError):
                value = json.loads(value)
            options[name] = value
    return words, options


def read_options(
    config: str | None, default: Options, presets: Mapping[str, Mapping[str, Any]], where: str
) -> Options:
    """Return the options of a config, numbers from 1 on and texts, as an instance of the dataclass of `default`.

    Args:
        config: As in `parse_config`, with at most one bare word, the name of a preset; options after it win.
        default: What holds where nothing is said.
        presets: Options by the name of a preset.
        where: Name of the task, for messages.

    Raises:
        ValueError: There is no such preset or option, or a value is of another kind; the message lists what there is.
    """
    words, options = parse_config(config, where)
    fields = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}  # type: ignore[arg-type]
    known = f"{where} has the configs {', '.join(presets)} and the options {', '.join(fields)}"
    if len(words) > 1 or set(words) - set(presets) or (config is not None and not words and not options):
        raise ValueError(f"Unknown config {config!r}: {known}.")
    settings = {**(presets[words[0]] if words else {}), **options}
    for name, value in settings.items():
        if name not in fields:
            raise ValueError(f"Unknown option {name!r} in the config {config!r}: {known}.")
        if type(value) is not type(fields[name]) or (isinstance(value, int) and value < 1):
            kind = "a whole number of at least 1" if isinstance(fields[name], int) else "text"
            raise ValueError(f"The option {name} of {where} is {value!r}, but it must be {kind}.")
    return dataclasses.replace(default, **settings)  # type: ignore[type-var]
