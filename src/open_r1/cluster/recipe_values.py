# SPDX-License-Identifier: Apache-2.0
"""Values of a recipe, and of the words that override it, that a launcher reads before a training starts.

The trainer reads the same two (`open_r1.arguments`), so server, launcher and trainer agree. This reads them
without torch; names that matter to the trainer alone are left to it.

1. Values are read from YAML and from words. Upstream searched both for text, so quotes, comments and `=` misled it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_r1.recipes import as_word, load_recipe, to_bool, with_names_of_today

TASKS = ("sft", "grpo", "distill")


def _vllm_mode(word: str) -> str:
    if word not in ("colocate", "server"):
        raise ValueError("it must be colocate or server")
    return word


# Name of a setting -> what reads its word, and the default of transformers or TRL.
_SETTINGS: dict[str, tuple[Callable[[str], Any], Any]] = {
    "model_name_or_path": (str, None),
    "model_revision": (str, "main"),
    "dtype": (str, "float32"),
    "trust_remote_code": (to_bool, False),
    "output_dir": (str, "trainer_output"),
    "per_device_train_batch_size": (int, 8),
    "gradient_accumulation_steps": (int, 1),
    "steps_per_generation": (int, None),
    "generation_batch_size": (int, None),
    "num_generations": (int, 8),
    "num_generations_eval": (int, None),
    "per_device_eval_batch_size": (int, 8),
    "eval_strategy": (str.lower, "no"),  # YAML reads a bare `no` as false
    "use_cpu": (to_bool, False),
    "bf16": (to_bool, None),
    "ddp_backend": (str, None),
    "use_vllm": (to_bool, False),
    "vllm_mode": (_vllm_mode, "colocate"),
    "vllm_model_impl": (str, "vllm"),
    "vllm_max_model_length": (int, None),
    "max_length": (int, 1024),
    "max_prompt_length": (int, None),
    "max_completion_length": (int, 512),
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
        read, default = _SETTINGS[name]
        for values, source in ((self.overrides, "the arguments"), (self.recipe, "the recipe")):
            if name in values:
                try:
                    return _read(values[name], read, default)
                except ValueError as error:
                    raise ValueError(f"`{name}` in {source} is {values[name]!r}: {error}.") from error
        return default

    def __contains__(self, name: str) -> bool:
        """Return whether the recipe or the command line sets this name, whatever it is."""
        return name in self.overrides or name in self.recipe

    @property
    def uses_server(self) -> bool:
        """Whether a vLLM server answers the training."""
        return self["use_vllm"] and self["vllm_mode"] == "server"

    @property
    def starts_server(self) -> bool:
        """Whether the job starts that server: none that runs elsewhere is named."""
        return self.uses_server and not {"vllm_server_base_url", "vllm_server_host"} & {*self.overrides, *self.recipe}


def _read(value: Any, read: Callable[[str], Any], default: Any) -> Any:
    if value is None and (default is None or read is str):
        return None
    if read is str and not isinstance(value, str):
        raise ValueError("it must be text, in quotes if YAML takes it for something else")
    return read(as_word(value))


def read_values(path: Path, words: Sequence[str] = ()) -> RecipeValues:
    """Return the values of a run, each of the right type.

    Args:
        path: The recipe.
        words: Arguments of the training script that come over it.

    Raises:
        ValueError: The recipe or a word cannot be read, or a value that launchers know has the wrong type.
    """
    recipe = with_names_of_today(load_recipe(path), f"the recipe {path}")
    values = RecipeValues(recipe, with_names_of_today(read_overrides(words), "the arguments"))
    for name in _SETTINGS:
        values[name]  # raises now
    return values


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
        raise ValueError(f"--model {model} has no recipe for {task}. There are: {models}")
    configs = sorted(recipe.stem.removeprefix("config_") for recipe in path.parent.glob("config_*.yaml"))
    raise ValueError(f"--config {config}: {path} doesn't exist. There are: {configs}")


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
    raise ValueError(f"--accelerator {accelerator}: {path} doesn't exist. There are {names}; a path works too")
