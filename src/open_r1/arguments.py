# SPDX-License-Identifier: Apache-2.0
"""Command lines and recipes: YAML by `--config`, then overrides; old names translated, unknown ones refused.

1. Names of Open R1 and of older TRL releases that have an exact equivalent today are translated with one warning.
2. Names without one stop the run and say the way out.
3. Anything else that no argument class knows is refused, from YAML and from the command line with the same message.

`--help` lists the settings by group, `--help reward` those whose name or description has the word.
"""

import argparse
import difflib
import logging
import os
import re
import sys
import textwrap
import types
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from dotenv import load_dotenv
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from trl import ModelConfig, TrlParser

from open_r1.recipes import (
    REMOVED,
    TRANSLATIONS,
    as_word,
    launch_words,
    load_recipe,
    translate,
    with_names_of_today,
)

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
# Declared as text, but a truth value is allowed too.
_READ_AS_TRUTH_VALUE_TOO = ("resume_from_checkpoint", "scale_rewards")
# Values of settings that the libraries declare as text, and refuse, or take for another one, when hours are spent. A
# name with a slash is a kernel of the hub for `attn_implementation`.
CLOSED_VALUES: dict[str, tuple[str, ...]] = {
    "loss_type": ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"),
    "importance_sampling_level": ("token", "sequence"),
    "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    "vllm_mode": ("colocate", "server"),
    "vllm_importance_sampling_mode": ("sequence_mask", "sequence_truncate", "token_mask", "token_truncate"),
    "attn_implementation": ("eager", "paged|eager", *ALL_ATTENTION_FUNCTIONS.valid_keys()),
    "report_to": ("none", "all", *INTEGRATION_TO_CALLBACK),
}  # fmt: skip
# Groups of --help: a setting belongs to the first whose pattern fits `class.name`, with the class that declares it.
HELP_GROUPS = {
    "Run": r"(?:RunConfig|CheckParameters)\.|\w+\.(?:output_dir|resume_|num_train_epochs|max_steps|seed|save_"
    r"|report_to|learning_rate|lr_s|warmup_|per_device_train|gradient_|optim$|weight_decay|max_grad|bf16$|log_level$"
    r"|logging_s)",
    "Model": r"ModelConfig\.",
    "Data": r"ScriptArguments\.|\w+\.(?:dataset_|max_prompt_length|shuffle_dataset|max_length|truncation_"
    r"|packing|eos_t)",
    "Rewards": r"(?:Reward\w+|CodeExecution\w+)\.|\w+\.reward_weights",
    "Generation": r"\w+Config\.(?:use_vllm|use_transformers|transformers_|vllm_|temperature|top_[pk]|min_p|stop_|repet"
    r"|num_gen|max_comp|generation_|cache_|chat_t|ds3_|max_tool|log_comp|num_comp)",
    "Evaluation": r"EvaluationParameters\.|\w+\.(?:do_eval|eval_|per_device_eval|metric_for|load_best)",
    "Algorithm": r"(?:GRPO|SFT|Distillation|Distill)Config\.",
    "Everything else of transformers": "",
}
_SET_BY_LAUNCHERS = {"WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"}


class _OldName(argparse.Action):
    """An option of the command line under an old name: sets the one of today."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        name, value = translate(self.option_strings[0][2:], values)
        if name is not None:
            setattr(namespace, name, parser.read_value(name, value))


class RecipeParser(TrlParser):
    """`TrlParser` that translates old names, refuses unknown ones, and reads recipe and command line alike."""

    def __init__(self, dataclass_types: Sequence[type], **kwargs: Any) -> None:
        self._hints: dict[str, Any] = {}
        self._classes: dict[str, str] = {}  # which declares a setting
        self._help_word = ""
        for dataclass_type in dataclass_types:
            hints = get_type_hints(dataclass_type)
            for base in reversed(dataclass_type.__mro__):
                self._classes |= dict.fromkeys(vars(base).get("__annotations__", ()), base.__name__)
            self._hints |= {field.name: hints[field.name] for field in fields(dataclass_type) if field.init}
        # Abbreviations would let a typo set a neighbouring argument.
        super().__init__(dataclass_types, allow_abbrev=False, **kwargs)
        for action in self._actions:
            kinds = _kinds_of(self._hints.get(action.dest))
            if kinds == {bool, type(None)} and action.nargs is None:
                action.nargs, action.const = "?", True  # `--bf16` works like every other flag
            elif kinds == {dict, type(None)} or action.dest == "stages":
                action.type = _refuse_word
            elif action.choices is None:  # SFT's `loss_type` has some
                action.choices = CLOSED_VALUES.get(action.dest)
        self.add_argument("--config", metavar="PATH", help="YAML recipe; the command line wins over it.")
        for name, translation in TRANSLATIONS.items():
            if translation.name is None or translation.name in self._hints:
                self.add_argument(
                    *(f"--{name}", f"--{name.replace('_', '-')}"),
                    dest=translation.name or name,
                    action=_OldName,
                    nargs="?",  # some were flags
                    const="true",
                    default=argparse.SUPPRESS,
                    help=argparse.SUPPRESS,
                )

    def parse(self, argv: Sequence[str] | None = None) -> tuple[Any, ...]:
        """Parse a command line into one object per dataclass.

        Args:
            argv: Words after the program's name; `sys.argv[1:]` when None.

        Raises:
            ValueError: An unknown or removed name, a value of the wrong type, or an unreadable recipe.
        """
        argv = list(sys.argv[1:] if argv is None else argv)
        if (asked := next((word for word in ("-h", "--help") if word in argv), None)) is not None:
            self._help_word = "".join(argv[argv.index(asked) + 1 :][:1]).lower().strip("-")
            self.print_help()
            self.exit()
        given = self._names_given(argv)
        namespace, rest = self.parse_known_args(argv)
        if rest:
            raise ValueError(f"Unexpected words on the command line: {rest}")
        settings = {} if namespace.config is None else self._read_recipe(namespace.config)
        if "dataset_name" in given:
            settings.pop("dataset_mixture", None)  # the command line wins, also over the other way to name data
        if namespace.check_only and namespace.config and not _SET_BY_LAUNCHERS & os.environ.keys():
            settings.setdefault("check_launch", launch_words(namespace.config))
        for name in settings.keys() - given:
            setattr(namespace, name, settings[name])
        values = vars(namespace)
        return tuple(
            dataclass_type(**{field.name: values[field.name] for field in fields(dataclass_type) if field.init})
            for dataclass_type in self.dataclass_types
        )

    def format_help(self) -> str:
        """Return the settings by group, a sentence each; with a word behind `--help`, all of those that have it."""
        groups: dict[str, list[str]] = {title: [] for title in HELP_GROUPS}
        for action in self._actions:
            if action.help == argparse.SUPPRESS or action.option_strings[0].startswith(("-h", "--no_")):
                continue
            place = f"{self._classes.get(action.dest, 'RunConfig')}.{action.dest}"
            if self._help_word in f"{action.dest} {action.help}".lower():
                title = next(title for title, pattern in HELP_GROUPS.items() if re.match(pattern, place))
                groups[title].append(_help_of(action, is_whole=bool(self._help_word)))
        found = [f"{title}\n\n" + "\n".join(entries) for title, entries in groups.items() if entries]
        usage = (
            f"usage: {self.prog} [--config RECIPE] [--NAME VALUE ...]\n\n{self.description or ''}\n\n"
            "--help WORD tells all about the settings whose name or description has the word."
        )
        return "\n\n".join([usage, *found]) + "\n"

    def error(self, message: str) -> NoReturn:
        """Raise what argparse finds wrong, so that every mistake takes the same way out."""
        raise ValueError(message)

    def _names_given(self, argv: Sequence[str]) -> set[str]:
        """Return the names that the command line sets, all of them known."""
        options = [word.split("=", 1)[0] for word in argv if word.startswith("--")]
        known = [option for option in options if option in self._option_string_actions]
        self._refuse_unknown([option[2:] for option in options if option not in known], "command line")
        return {self._option_string_actions[option].dest for option in known}

    def _read_recipe(self, path: str) -> dict[str, Any]:
        """Return the settings of a recipe under the names of today, and set the variables of its `env`."""
        settings = with_names_of_today(load_recipe(path), "the recipe")
        variables = settings.pop("env", None) or {}
        self._refuse_unknown([name for name in settings if name not in self._hints], "recipe")
        _export(variables)
        return {name: self.read_value(name, value) for name, value in settings.items()}

    def _refuse_unknown(self, names: list[str], source: str) -> None:
        if not names:
            return
        lines = []
        for name in names:
            old = name.replace("-", "_")
            close = difflib.get_close_matches(old, self._hints, n=1)
            hint = REMOVED.get(old) or (f"did you mean `{close[0]}`?" if close else "see --help for all names")
            lines.append(f"  {name}: {hint}")
        raise ValueError(f"Unknown arguments in the {source}:\n" + "\n".join(lines))

    def read_value(self, name: str, value: Any) -> Any:
        """Return a value of a recipe as argparse reads the word for it; lists, mappings and null have none.

        Raises:
            ValueError: It does not fit the argument.
        """
        action, kinds = self._option_string_actions[f"--{name}"], _kinds_of(self._hints[name])
        if name == "stages" and isinstance(value, list):
            return [self._read_stage(stage) if isinstance(stage, dict) else stage for stage in value]
        if value is False and "no" in (action.choices or ()):
            logger.warning("`%s: no` is read by YAML as false; it counts as 'no' here: put it in quotes.", name)
            value = "no"
        if isinstance(value, list) and list in kinds:
            return [self._read_scalar(action, entry) for entry in value]
        if type(value) in kinds and (value is None or action.choices is None):
            return value
        if isinstance(value, bool) and name in _READ_AS_TRUTH_VALUE_TOO:
            return value
        value = self._read_scalar(action, value)
        return [value] if action.nargs == "+" else value

    def _read_stage(self, stage: dict[str, Any]) -> dict[str, Any]:
        """Return a stage with its values read as the recipe's; `build_stages` refuses keys that it can't have."""
        settings = with_names_of_today(stage, "a stage")
        return {
            name: self.read_value(name, value) if name in self._hints else value for name, value in settings.items()
        }

    def _read_scalar(self, action: argparse.Action, value: Any) -> Any:
        if value is None or isinstance(value, dict | list) or (action.type is str and not isinstance(value, str)):
            hint = self._hints[action.dest]
            allowed = hint.__name__ if isinstance(hint, type) else hint
            raise ValueError(f"`{action.dest}` is {value!r}, but it must be {allowed} (text: put it in quotes).")
        try:
            read = self._get_value(action, as_word(value))
            self._check_value(action, read)
        except argparse.ArgumentError as error:
            raise ValueError(f"`{action.dest}`: {error.message}") from error
        return read

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if not (action.dest == "attn_implementation" and "/" in str(value)):
            super()._check_value(action, value)


def _help_of(action: argparse.Action, *, is_whole: bool) -> str:
    """Return a setting as --help shows it: name, default, and the first sentence, or all of it and its values."""
    text = " ".join((action.help or "").split())
    if not is_whole:
        text = re.split(r"(?<=[.:;]) (?=[A-Z`'-])", text, maxsplit=1)[0]
    values = f" {{{','.join(map(str, action.choices))}}}" if is_whole and action.choices else ""
    default = "" if action.default in (None, "") else f"  (default: {action.default})"
    return f"  --{action.dest}{values}{default}\n{textwrap.indent(textwrap.fill(text, 110), '      ')}"


def _kinds_of(hint: Any) -> set[Any]:
    """Return the types of the values that a type hint allows; a whole number may stand for any number."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = {get_origin(option) or option for option in options}
    for option in options:
        kinds |= {type(choice) for choice in get_args(option)} if get_origin(option) is Literal else set()
    return kinds | {int} if float in kinds else kinds


def _refuse_word(word: str) -> NoReturn:
    raise argparse.ArgumentTypeError("can only be given in a recipe: it is a nested mapping")


def _export(variables: Any) -> None:
    if not isinstance(variables, dict) or not all(
        isinstance(value, str | int | float) for value in variables.values()
    ):
        raise ValueError(f"`env` of a recipe maps names of variables to text or numbers, got: {variables!r}")
    os.environ.update({str(name): str(value) for name, value in variables.items()})
    _warn_if_late([str(name) for name in variables])


def _warn_if_late(names: Iterable[str]) -> None:
    late = sorted(name for name in names if name in _READ_AT_IMPORT)
    if late:
        logger.warning(
            "%s: libraries read this when they are imported; a recipe or .env sets it too late. Set it in the shell.",
            ", ".join(late),
        )


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
