# SPDX-License-Identifier: Apache-2.0
"""YAML recipes, and the old names of settings. Needs no torch.

1. A key that is written twice is refused; plain YAML takes the last one silently.
2. `1e-5` is a number, as everywhere else but in YAML 1.1, which asks for `1.0e-5`.
3. Names of settings that Open R1 and older TRL releases had are in `TRANSLATIONS` and `REMOVED`.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

logger = logging.getLogger(__name__)


class _RecipeLoader(yaml.SafeLoader):
    """YAML with unique keys and with numbers such as 1e-5."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
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
    if not isinstance(recipe, dict) or not all(isinstance(key, str) for key in recipe):
        raise ValueError(f"The recipe {path} must be a mapping of names to values.")
    return recipe


def launch_words(path: str | Path) -> str | None:
    """Return what the `Command` line in a recipe's header gives to `accelerate launch`.

    "" where the command needs no launcher, None where no line says it.
    """
    text = Path(path).expanduser().read_text(encoding="utf-8")
    command = re.search(r"^# Command:(.*)$", text, re.MULTILINE)
    if command is None:
        return None
    launch = re.search(r"accelerate launch (.*?)\s*\S+\.py\b", command[1])
    return launch[1] if launch else ""


def as_word(value: Any) -> str:
    """Return a scalar of a recipe as one writes it on a command line.

    Example:
        >>> as_word(1000.0), as_word(1e-5), as_word(True)
        ('1000', '1e-05', 'True')
    """
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def to_bool(word: Any) -> bool:
    """Return the truth value that a word of the command line or of a recipe stands for.

    Raises:
        ValueError: It stands for none.
    """
    text = str(word).strip().lower()
    if text in ("true", "t", "yes", "y", "1"):
        return True
    if text in ("false", "f", "no", "n", "0"):
        return False
    raise ValueError(f"is {word!r}, but it must be true or false")


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


def _warmup_ratio(value: Any) -> float:
    if not 0 <= (ratio := float(value)) < 1:
        raise ValueError(f"is {value}, but it is a share of the steps, in [0, 1)")
    return ratio


TRANSLATIONS: dict[str, Translation] = {
    "vllm_device": Translation(None, "vLLM runs on the GPUs that train, or on others with `vllm_mode: server`"),
    "max_seq_length": Translation("max_length"),
    "torch_dtype": Translation("dtype"),
    "warmup_ratio": Translation("warmup_steps", "a value below 1 is a share of the steps", _warmup_ratio),
    "provider_type": Translation("code_provider"),
    "wandb_log_unique_prompts": Translation("log_unique_prompts"),
    "vllm_guided_decoding_regex": Translation("vllm_structured_outputs_regex"),
    "use_liger_loss": Translation("use_liger_kernel"),
    "evaluation_strategy": Translation("eval_strategy"),
    "overwrite_output_dir": Translation(
        None, "a run resumes from the last complete checkpoint; `resume_from_checkpoint: false` starts afresh"
    ),
}

REMOVED: dict[str, str] = {
    "logging_dir": "set the environment variable TENSORBOARD_LOGGING_DIR instead (also under `env:` in a recipe)",
    "fsdp_min_num_params": "set the wrapping policy in the accelerate config (recipes/accelerate_configs/fsdp.yaml)",
    "vllm_dtype": "vLLM takes the dtype of the model: set `dtype`",
    "vllm_enable_prefix_caching": "prefix caching is always on in vLLM: leave the setting out",
    "vllm_max_model_len": "set `vllm_max_model_length`",
    "no_cuda": "set `use_cpu: true`",
    "group_by_length": "set `train_sampling_strategy: group_by_length`",
    "save_safetensors": "weights are always saved as safetensors: leave the setting out",
    "gradient_checkpointing_use_reentrant": "set `gradient_checkpointing_kwargs: {use_reentrant: ...}`",
    "deal_by_length": "set `pack`",
    "verifier_timeout_s": "the verifier counts steps instead of seconds: leave the setting out",
    "include_tokens_per_second": "tokens per second are always logged (`tokens_per_second`)",
}


def translate(name: str, value: Any) -> tuple[str | None, Any]:
    """Return today's name (None: it has no effect any more) and value of a setting with an old name, and warn.

    Raises:
        ValueError: The value has no equivalent today.
    """
    translation = TRANSLATIONS[name]
    try:
        new_value = translation.convert(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}`: {error}.") from error
    reason = f" ({translation.reason})" if translation.reason else ""
    if translation.name is None:
        logger.warning("`%s` has no effect any more and is ignored%s.", name, reason)
    else:
        logger.warning("`%s` is now called `%s`%s: please change it.", name, translation.name, reason)
    return translation.name, new_value


def with_names_of_today(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the settings with underscores in their names, and old names translated.

    Raises:
        ValueError: Two names mean the same setting, or an old value has no equivalent today.
    """
    today: dict[str, Any] = {}
    for key, value in settings.items():
        name: str | None = key.replace("-", "_")
        if name in TRANSLATIONS:
            name, value = translate(name, value)
        if name in today:
            raise ValueError(f"`{name}` is in {source} twice, under an old name or with dashes too: keep one of them.")
        if name is not None:
            today[name] = value
    return today
