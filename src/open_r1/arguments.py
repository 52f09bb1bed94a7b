# SPDX-License-Identifier: Apache-2.0
"""Read recipes and command lines: YAML by `--config`, then overrides; old names translated, unknown ones refused.

1. Names of Open R1 and of older TRL releases that have an exact equivalent today are translated with one warning.
2. Names without one stop the run and say the way out.
3. Anything else that no argument class knows is refused, from YAML and from the command line with the same message.
"""

import difflib
import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from dotenv import load_dotenv
from trl import ModelConfig, TrlParser

from open_r1.recipes import FLAGS, REMOVED, TRANSLATIONS, fit_value, load_recipe

logger = logging.getLogger(__name__)

# Libraries read these once, before a recipe can be read.
_READ_AT_IMPORT = {
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_HUB_DISABLE_TELEMETRY",
    "PYTHONPATH",
    "PYTHONHASHSEED",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
}


class RecipeParser(TrlParser):
    """`TrlParser` that translates old names first and refuses unknown ones from both sources alike."""

    def __init__(self, dataclass_types: Sequence[type], **kwargs: Any) -> None:
        self._types: dict[str, Any] = {}
        for dataclass_type in dataclass_types:
            hints = get_type_hints(dataclass_type)
            self._types |= {field.name: hints[field.name] for field in fields(dataclass_type) if field.init}
        # Abbreviations would let a typo set a neighbouring argument.
        super().__init__(dataclass_types, allow_abbrev=False, **kwargs)
        for action in self._actions:
            if self._types.get(action.dest) == bool | None and action.nargs is None:
                action.nargs, action.const = "?", True  # `--bf16` works like every other flag

    def parse(self, argv: Sequence[str] | None = None) -> tuple[Any, ...]:
        """Parse a command line into one object per dataclass.

        Args:
            argv: Words after the program's name; `sys.argv[1:]` when None.

        Raises:
            ValueError: An unknown, removed or doubly given name, a value of the wrong type, or an unreadable recipe.
        """
        argv, recipe = self._split_recipe(list(sys.argv[1:] if argv is None else argv))
        argv = self._translate_command_line(argv)
        self._check_command_line(argv)
        if recipe is not None:
            settings = self._translate_recipe(recipe)
            if any(word.split("=", 1)[0].replace("-", "_") == "__dataset_name" for word in argv):
                settings.pop("dataset_mixture", None)  # the command line wins, also over the other way to name data
            self._refuse_unknown([name for name in settings if name not in self._types and name != "env"], "recipe")
            _export(settings.pop("env", None) or {})
            self.set_defaults_with_config(**{name: self._fit(name, value) for name, value in settings.items()})
        # A file <script>.args beside the script would add arguments that nobody sees.
        *outputs, rest = self.parse_args_into_dataclasses(
            args=argv, return_remaining_strings=True, look_for_args_file=False
        )
        if rest:
            raise ValueError(f"Words on the command line that belong to no argument: {rest}")
        return tuple(outputs)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse finds wrong, so that every mistake takes the same way out."""
        raise ValueError(message)

    def _split_recipe(self, argv: list[str]) -> tuple[list[str], dict[str, Any] | None]:
        words: list[str] = []
        path = None
        rest = iter(argv)
        for word in rest:
            if word == "--config" or word.startswith("--config="):
                if path is not None:
                    raise ValueError("`--config` is given twice: a run has one recipe.")
                path = word.partition("=")[2] or next(rest, None)
                if not path:
                    raise ValueError("`--config` needs the path of a recipe.")
            else:
                words.append(word)
        return words, None if path is None else load_recipe(path)

    def _translate_command_line(self, argv: list[str]) -> list[str]:
        words: list[str] = []
        position = 0
        while position < len(argv):
            word = argv[position]
            position += 1
            name, has_value, value = word[2:].partition("=")
            name = name.replace("-", "_")
            if not word.startswith("--") or name in self._types or name not in TRANSLATIONS:
                words.append(word)
                continue
            if not has_value:
                has_next = position < len(argv) and not argv[position].startswith("--")
                if has_next:
                    value = argv[position]
                    position += 1
                elif name in FLAGS:
                    value = "true"
                else:
                    raise ValueError(f"`--{name}` needs a value.")
            new_name, new_value = _translate(name, value)
            if new_name is not None:
                words += [f"--{new_name}", json.dumps(new_value) if isinstance(new_value, dict) else str(new_value)]
        return words

    def _translate_recipe(self, recipe: dict[str, Any]) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        for key, value in recipe.items():
            new_key, new_value = key.replace("-", "_"), value
            if new_key not in self._types and new_key in TRANSLATIONS:
                new_key, new_value = _translate(new_key, value)
            if new_key is None:
                continue
            if new_key in settings or (new_key != key and new_key in recipe):
                raise ValueError(f"The recipe sets `{new_key}` twice (`{key}` is its old name): keep one of them.")
            settings[new_key] = new_value
        return settings

    def _check_command_line(self, argv: list[str]) -> None:
        options = [word.split("=", 1)[0] for word in argv if word.startswith("--")]
        known = [option for option in options if option in self._option_string_actions]
        self._refuse_unknown([option[2:] for option in options if option not in known], "command line")
        names = [self._option_string_actions[option].dest for option in known]
        for name in ("dataset_mixture", "reward_domains"):
            if name in names:
                raise ValueError(f"`{name}` can only be given in a recipe: it is a nested mapping.")
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"Given twice on the command line (old names count too): {doubled}. Keep one of each.")

    def _refuse_unknown(self, names: list[str], source: str) -> None:
        if not names:
            return
        lines = []
        for name in names:
            old = name.replace("-", "_")
            close = difflib.get_close_matches(old, self._types, n=1)
            hint = REMOVED.get(old) or (f"did you mean `{close[0]}`?" if close else "see --help for all names")
            lines.append(f"  {name}: {hint}")
        raise ValueError(f"Unknown arguments in the {source}:\n" + "\n".join(lines))

    def _fit(self, name: str, value: Any) -> Any:
        """Fit a value of the recipe to its argument."""
        if value is False and name in ("eval_strategy", "save_strategy", "logging_strategy"):
            logger.warning("`%s: no` is read by YAML as false and taken for 'no': put it in quotes.", name)
            return "no"
        if isinstance(value, bool) and name in ("resume_from_checkpoint", "scale_rewards"):
            return value  # declared as text, but read as a truth value too
        try:
            value = fit_value(value, self._types[name])
        except ValueError as error:
            raise ValueError(f"`{name}` in the recipe {error}.") from error
        choices = next(action.choices for action in self._actions if action.dest == name)
        if choices is not None and value is not None and value not in choices:
            raise ValueError(f"`{name}` in the recipe is {value!r}, but it must be one of {list(choices)}.")
        return value


def _export(variables: Any) -> None:
    if not isinstance(variables, dict):
        raise ValueError(f"`env` of a recipe is a mapping of environment variables, got: {variables!r}")
    for name, value in variables.items():
        if not isinstance(value, (str, int, float)):
            raise ValueError(f"`env.{name}` of the recipe is {value!r}, but it must be text or a number.")
    os.environ.update({str(name): str(value) for name, value in variables.items()})
    _warn_if_late([str(name) for name in variables])


def _warn_if_late(names: Iterable[str]) -> None:
    late = sorted(name for name in names if name in _READ_AT_IMPORT)
    if late:
        logger.warning(
            "%s: libraries read this when they are imported; a recipe or .env sets it too late. Set it in the shell.",
            ", ".join(late),
        )


def _translate(name: str, value: Any) -> tuple[str | None, Any]:
    translation = TRANSLATIONS[name]
    try:
        new_value = translation.convert(value)
    except ValueError as error:
        raise ValueError(f"`{name}` {error}.") from error
    reason = f" ({translation.reason})" if translation.reason else ""
    if translation.name is None:
        logger.warning("`%s` has no effect any more and is ignored%s.", name, reason)
    else:
        logger.warning("`%s` is now called `%s`%s: please change it.", name, translation.name, reason)
    return translation.name, new_value


def parse_args(script_class: type, config_class: type, argv: Sequence[str] | None = None, **kwargs: Any) -> tuple:
    """Parse the three argument groups of a training script.

    Reads `.env` of the working folder first (it never overrides the environment). A mistake in the arguments ends
    the program with exit status 2 and its message, as command-line programs do; `RecipeParser.parse` raises instead.

    Args:
        script_class: `SFTScriptArguments` or `GRPOScriptArguments`.
        config_class: `SFTConfig` or `GRPOConfig`.
        argv: Words after the program's name; `sys.argv[1:]` when None.
        **kwargs: Passed to the parser (for example `description`).

    Returns:
        `(script_args, training_args, model_args)`.
    """
    parser = RecipeParser((script_class, config_class, ModelConfig), **kwargs)
    try:
        before = set(os.environ)
        load_dotenv(Path.cwd() / ".env", override=False)
        _warn_if_late(set(os.environ) - before)
        return parser.parse(argv)
    except ValueError as error:
        # The message alone: the usage text of 250 arguments would bury it.
        parser.exit(2, f"{parser.prog}: error: {error}\nAll names are listed by --help.\n")
