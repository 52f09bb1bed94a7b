# SPDX-License-Identifier: Apache-2.0
"""Reading a YAML recipe, fitting its values to the types of the arguments, and old names. Needs no torch.

1. A key that is written twice is refused; plain YAML takes the last one silently.
2. `1e-5` is a number, as everywhere else but in YAML 1.1, which asks for `1.0e-5`.
3. Values of the wrong type are refused here. The argument parser checks those of the command line only.
4. Names of settings that Open R1 and older TRL releases had are in `TRANSLATIONS` and `REMOVED`.
"""

import re
import types
from collections.abc import Callable
from dataclasses import dataclass
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
    raise ValueError(f"is {value!r}, but it must be true or false")


def _warmup_ratio(value: Any) -> float:
    try:
        ratio = float(value)
    except (TypeError, ValueError):
        ratio = -1.0
    if not 0 <= ratio < 1:
        raise ValueError(f"is {value}, but it is a share of the steps, in [0, 1)")
    return ratio


def _only_auto(value: Any) -> None:
    if str(value) != "auto":
        raise ValueError(
            f"is {value}, which has no equivalent: vLLM now runs on the training GPUs (`vllm_mode: colocate`) or "
            "as a server on other ones (`vllm_mode: server`)"
        )


def _only_true(value: Any) -> None:
    if not _is_true(value):
        raise ValueError("is false, which has no equivalent: weights are always saved as safetensors")


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
FLAGS = {
    "overwrite_output_dir",
    "use_liger_loss",
    "no_cuda",
    "group_by_length",
    "wandb_log_unique_prompts",
    "save_safetensors",
    "gradient_checkpointing_use_reentrant",
}

REMOVED: dict[str, str] = {
    "logging_dir": "set the environment variable TENSORBOARD_LOGGING_DIR instead (also under `env:` in a recipe)",
    "fsdp_min_num_params": "set the wrapping policy in the accelerate config (recipes/accelerate_configs/fsdp.yaml)",
    "vllm_dtype": "vLLM takes the dtype of the model: set `dtype`",
    "vllm_enable_prefix_caching": "prefix caching is always on in vLLM: leave the setting out",
    "vllm_max_model_len": "set `vllm_max_model_length`",
    "include_tokens_per_second": "tokens per second are always logged (`tokens_per_second`)",
}
