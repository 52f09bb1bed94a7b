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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from dotenv import load_dotenv
from trl import ModelConfig, TrlParser

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Translation:
    """What today's libraries call an old name.

    Args:
        name: The name of today; None when the setting has no effect any more and is left out.
        reason: What the warning says besides the two names.
        convert: Turns the old value into the new one; may raise ValueError with a message for the user.
    """

    name: str | None
    reason: str = ""
    convert: Callable[[Any], Any] = lambda value: value


def _is_true(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", "none", "null", ""):
        return False
    raise ValueError(f"expected true or false, got {value!r}")


def _warmup_ratio(value: Any) -> float:
    ratio = float(value)
    if not 0 <= ratio < 1:
        raise ValueError(f"`warmup_ratio` is {value}, but it is a share of the steps, in [0, 1).")
    return ratio


def _only_auto(value: Any) -> None:
    if str(value) != "auto":
        raise ValueError(
            f"`vllm_device: {value}` has no equivalent: vLLM now runs on the training GPUs (`vllm_mode: colocate`) or "
            "as a server on other ones (`vllm_mode: server`)."
        )


def _only_true(value: Any) -> None:
    if not _is_true(value):
        raise ValueError("`save_safetensors: false` has no equivalent: weights are always saved as safetensors.")


def _reentrant(value: Any) -> dict[str, bool]:
    return {"use_reentrant": _is_true(value)}


def _sampling_strategy(value: Any) -> str:
    return "group_by_length" if _is_true(value) else "random"


TRANSLATIONS: dict[str, Translation] = {
    "max_seq_length": Translation("max_length"),
    "torch_dtype": Translation("dtype"),
    "warmup_ratio": Translation("warmup_steps", "a value below 1 is a share of the steps", _warmup_ratio),
    "provider_type": Translation("code_provider"),
    "wandb_log_unique_prompts": Translation("log_unique_prompts"),
    "vllm_guided_decoding_regex": Translation("vllm_structured_outputs_regex"),
    "use_liger_loss": Translation("use_liger_kernel"),
    "evaluation_strategy": Translation("eval_strategy"),
    "no_cuda": Translation("use_cpu"),
    "group_by_length": Translation("train_sampling_strategy", "", _sampling_strategy),
    "gradient_checkpointing_use_reentrant": Translation("gradient_checkpointing_kwargs", "", _reentrant),
    "overwrite_output_dir": Translation(
        None, "a run goes on from the last complete checkpoint; `resume_from_checkpoint: false` starts afresh"
    ),
    "vllm_device": Translation(None, "use `vllm_mode` to choose where vLLM runs", _only_auto),
    "save_safetensors": Translation(None, "weights are always saved as safetensors", _only_true),
}

# Old flags that the command line may carry without a value.
_FLAGS = {"overwrite_output_dir", "use_liger_loss", "no_cuda", "group_by_length", "wandb_log_unique_prompts",
          "save_safetensors", "gradient_checkpointing_use_reentrant"}  # fmt: skip

REMOVED: dict[str, str] = {
    "logging_dir": "set the environment variable TENSORBOARD_LOGGING_DIR instead (also under `env:` in a recipe)",
    "fsdp_min_num_params": "set the wrapping policy in the accelerate config (recipes/accelerate_configs/fsdp.yaml)",
    "vllm_dtype": "vLLM takes the dtype of the model: set `dtype`",
    "vllm_enable_prefix_caching": "prefix caching is always on in vLLM: leave the setting out",
    "vllm_max_model_len": "set `vllm_max_model_length`",
    "include_tokens_per_second": "tokens per second are always logged (`tokens_per_second`)",
}


class RecipeParser(TrlParser):
    """`TrlParser` that translates old names first and refuses unknown ones from both sources alike."""

    def __init__(self, dataclass_types: Sequence[type], **kwargs: Any) -> None:
        # Abbreviations would let a typo set a neighbouring argument.
        super().__init__(dataclass_types, allow_abbrev=False, **kwargs)
        self._known = {action.dest for action in self._actions} | {"config", "env"}

    def parse(self, argv: Sequence[str] | None = None) -> tuple[Any, ...]:
        """Parse a command line into one object per dataclass.

        Args:
            argv: Words after the program's name; `sys.argv[1:]` when None.

        Raises:
            ValueError: An unknown, removed or doubly given name, a value of the wrong type, or an unreadable recipe.
        """
        argv, recipe = self._split_recipe(list(sys.argv[1:] if argv is None else argv))
        argv = self._translate_command_line(argv)
        self._refuse_unknown([word[2:].split("=", 1)[0] for word in argv if word.startswith("--")], "command line")
        if any(word.split("=", 1)[0].replace("-", "_") == "__dataset_mixture" for word in argv):
            raise ValueError("`dataset_mixture` can only be given in a recipe: it is a nested mapping.")
        if recipe is None:
            return self.parse_args_into_dataclasses(args=argv)
        settings = self._translate_recipe(recipe)
        self._refuse_unknown(settings, "recipe")
        self._export(settings.pop("env", None) or {})
        self.set_defaults_with_config(**settings)
        return self.parse_args_into_dataclasses(args=argv)

    def error(self, message: str) -> NoReturn:
        """End the program with the message alone: the usage text of 250 arguments would bury it."""
        self.exit(2, f"{self.prog}: error: {message}\nAll names are listed by --help.\n")

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
            if not word.startswith("--") or name in self._known or name not in TRANSLATIONS:
                words.append(word)
                continue
            if not has_value:
                has_next = position < len(argv) and not argv[position].startswith("--")
                if has_next:
                    value = argv[position]
                    position += 1
                elif name in _FLAGS:
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
            new_key, new_value = key, value
            if key not in self._known and key in TRANSLATIONS:
                new_key, new_value = _translate(key, value)
            if new_key is None:
                continue
            if new_key in settings or (new_key != key and new_key in recipe):
                raise ValueError(f"The recipe sets `{new_key}` twice (`{key}` is its old name): keep one of them.")
            settings[new_key] = new_value
        return settings

    def _refuse_unknown(self, names: Any, source: str) -> None:
        unknown = [name for name in names if name.replace("-", "_").removeprefix("no_") not in self._known
                   and name.replace("-", "_") not in self._known]  # fmt: skip
        if not unknown:
            return
        lines = []
        for name in unknown:
            old = name.replace("-", "_")
            close = difflib.get_close_matches(old, self._known, n=1)
            hint = REMOVED.get(old) or (f"did you mean `{close[0]}`?" if close else "see --help for all names")
            lines.append(f"  {name}: {hint}")
        raise ValueError(f"Unknown arguments in the {source}:\n" + "\n".join(lines))

    @staticmethod
    def _export(variables: Any) -> None:
        if not isinstance(variables, dict):
            raise ValueError(f"`env` of a recipe is a mapping of environment variables, got: {variables!r}")
        os.environ.update({name: str(value) for name, value in variables.items()})


def _translate(name: str, value: Any) -> tuple[str | None, Any]:
    translation = TRANSLATIONS[name]
    new_value = translation.convert(value)
    reason = f" ({translation.reason})" if translation.reason else ""
    if translation.name is None:
        logger.warning("`%s` has no effect any more and is ignored%s.", name, reason)
    else:
        logger.warning("`%s` is now called `%s`%s: please change it.", name, translation.name, reason)
    return translation.name, new_value


def load_recipe(path: str | Path) -> dict[str, Any]:
    """Read a YAML recipe into a flat mapping.

    Raises:
        ValueError: The file does not exist, is not YAML, or holds no mapping.
    """
    try:
        recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"Cannot read the recipe {path}: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"The recipe {path} is not valid YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise ValueError(f"The recipe {path} must be a mapping of names to values.")
    return recipe


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
    load_dotenv(Path.cwd() / ".env", override=False)
    parser = RecipeParser((script_class, config_class, ModelConfig), **kwargs)
    try:
        return parser.parse(argv)
    except ValueError as error:
        parser.error(str(error))
