# SPDX-License-Identifier: Apache-2.0
"""What a launcher has to know of a training before it starts: values of the recipe, and of the words that override it.

The trainer reads the same two (`open_r1.arguments`), so server, launcher and trainer agree. This reads them
without torch; names that matter to the trainer alone are left to it.

1. Values are read from YAML and from words. Upstream searched both for text, so quotes, comments and `=` misled it.
"""

import difflib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from open_r1.data.secret_names import shell_line
from open_r1.recipes import FLAGS, TRANSLATIONS, fit_value, load_recipe

TASKS = ("sft", "grpo")

# Name of a setting -> its type, and the default of transformers or TRL.
_SETTINGS: dict[str, tuple[Any, Any]] = {
    "model_name_or_path": (str | None, None),
    "model_revision": (str, "main"),
    "dtype": (str | None, "float32"),
    "trust_remote_code": (bool, False),
    "output_dir": (str, "trainer_output"),
    "per_device_train_batch_size": (int, 8),
    "gradient_accumulation_steps": (int, 1),
    "steps_per_generation": (int | None, None),
    "generation_batch_size": (int | None, None),
    "num_generations": (int, 8),
    "num_generations_eval": (int | None, None),
    "per_device_eval_batch_size": (int, 8),
    "eval_strategy": (str | bool, "no"),  # YAML reads a bare `no` as false
    "use_cpu": (bool, False),
    "bf16": (bool | None, None),
    "ddp_backend": (str | None, None),
    "use_vllm": (bool, False),
    "vllm_mode": (Literal["colocate", "server"], "colocate"),
    "vllm_model_impl": (str, "vllm"),
    "vllm_max_model_length": (int | None, None),
    "vllm_gpu_memory_utilization": (float, 0.3),
    "vllm_tensor_parallel_size": (int, 1),
}


@dataclass(frozen=True)
class RecipeValues:
    """The values of a run. Names are those of today, with underscores.

    Args:
        recipe: What the file says.
        overrides: What the command line says; it wins.
    """

    recipe: Mapping[str, Any]
    overrides: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Return the value of a setting that launchers know, or its default.

        Raises:
            ValueError: The value has the wrong type.
        """
        hint, default = _SETTINGS[name]
        for values, source in ((self.overrides, "the arguments"), (self.recipe, "the recipe")):
            if name in values:
                try:
                    return fit_value(values[name], hint)
                except ValueError as error:
                    raise ValueError(f"`{name}` in {source} {error}.") from error
        return default

    def __contains__(self, name: str) -> bool:
        """Return whether the recipe or the command line sets this name, whatever it is."""
        return name in self.overrides or name in self.recipe

    @property
    def uses_server(self) -> bool:
        """Whether vLLM runs as a server beside the training."""
        return self["use_vllm"] and self["vllm_mode"] == "server"


def read_values(path: Path, words: Sequence[str] = ()) -> RecipeValues:
    """Return the values of a run, each of the right type.

    Args:
        path: The recipe.
        words: Arguments of the training script that come over it.

    Raises:
        ValueError: The recipe or a word cannot be read, or a value that launchers know has the wrong type.
    """
    recipe = _with_names_of_today(load_recipe(path), f"the recipe {path}")
    values = RecipeValues(recipe, _with_names_of_today(read_overrides(words), "the arguments"))
    for name in _SETTINGS:
        values[name]  # raises now
    return values


def split_words(text: str) -> tuple[str, ...]:
    r"""Return the words of `--args`, split as a shell would.

    Raises:
        ValueError: A quote is not closed.

    Example:
        >>> split_words("--learning_rate 1e-6 --model_init_kwargs '{\"a\": 1}'")
        ('--learning_rate', '1e-6', '--model_init_kwargs', '{"a": 1}')
    """
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"{shell_line([text])} is not split into words: {str(error).lower()}") from error


def read_overrides(words: Sequence[str]) -> dict[str, Any]:
    """Return the settings that words such as `--name value`, `--name=value` and `--name` stand for, as text.

    Several values of a name become a list; a name alone is True, as for every flag of the trainers.

    Raises:
        ValueError: A word belongs to no name, a name is there twice, or is `config`, which the launcher gives.
    """
    settings: dict[str, Any] = {}
    name = None
    for word in words:
        if not word.startswith("--"):
            if name is None:
                raise ValueError(f"{word!r} belongs to no argument: names start with `--`")
            earlier = settings[name]
            settings[name] = (
                word if earlier is True else [*(earlier if isinstance(earlier, list) else [earlier]), word]
            )
            continue
        option, sign, value = word[2:].partition("=")
        name = option.replace("-", "_")
        if not name.isidentifier():
            raise ValueError(f"{word!r} is no argument of a training script: `--name value` or `--name=value`")
        if name == "config":
            raise ValueError("`--config` can't be among the arguments: say --recipe PATH, or --model and --config")
        if name in settings:
            raise ValueError(f"`--{name}` is among the arguments twice: keep one of them")
        settings[name] = value if sign else True
        if sign:
            name = None
    return settings


def _with_names_of_today(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the settings under the names that the libraries have for them today; the trainer warns of old ones."""
    today: dict[str, Any] = {}
    for key, given in settings.items():
        name, value = key.replace("-", "_"), given
        if name in TRANSLATIONS and name not in _SETTINGS:
            if value is True and name not in FLAGS and source == "the arguments":
                raise ValueError(f"`--{name}` among the arguments needs a value")
            try:
                value = TRANSLATIONS[name].convert(value)
            except ValueError as error:
                raise ValueError(f"`{name}` in {source} {error}.") from error
            new_name = TRANSLATIONS[name].name
            if new_name is None:
                continue
            name = new_name
        if name in today:
            raise ValueError(f"`{name}` is in {source} twice (`{key}` means the same): keep one of them")
        today[name] = value
    return today


def find_recipe(root: Path, model: str, task: str, config: str) -> Path:
    """Return recipes/<model>/<task>/config_<config>.yaml.

    Raises:
        ValueError: There is none. The message lists what there is.
    """
    recipes = root / "recipes"
    path = recipes / model / task / f"config_{config}.yaml"
    if path.is_file():
        return path
    models = sorted({recipe.parents[1].name for recipe in recipes.glob(f"*/{task}/config_*.yaml")})
    if model not in models:
        raise ValueError(f"--model {model} has no recipe for {task}.{_nearest(model, models)} There are: {models}")
    configs = sorted(recipe.stem.removeprefix("config_") for recipe in path.parent.glob("config_*.yaml"))
    raise ValueError(f"--config {config}: {path} doesn't exist.{_nearest(config, configs)} There are: {configs}")


def find_accelerate_config(root: Path, accelerator: str) -> Path:
    """Return recipes/accelerate_configs/<accelerator>.yaml.

    Raises:
        ValueError: There is none. The message lists what there is.
    """
    folder = root / "recipes" / "accelerate_configs"
    path = folder / f"{accelerator}.yaml"
    if path.is_file():
        return path
    names = sorted(config.stem for config in folder.glob("*.yaml"))
    near = _nearest(accelerator, names)
    raise ValueError(f"--accelerator {accelerator}: {path} doesn't exist.{near} There are {names}; a path works too")


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {close[0]}?" if close else ""
