# SPDX-License-Identifier: Apache-2.0
"""Train recipes two steps on a CPU, each with a tiny model and a few rows in place of its own.

    python scripts/smoke_recipe.py                                        # every training recipe in recipes/
    python scripts/smoke_recipe.py recipes/demo/sft/config_base.yaml my_recipe.yaml
    python scripts/smoke_recipe.py my_recipe.yaml --dataset_name my_rows.jsonl --reward_funcs accuracy

Takes 2 to 10 s a recipe, all in one process; nothing is downloaded or sent. Settings behind the recipes override them,
and what is replaced here too. The exit status is 1 when a recipe failed; the others are trained all the same. Paths in
a recipe start in the working folder, as in a training.

Covered: the real training scripts; the names of all settings, and the values of those that stay; the preflight, so
    that a right answer in the recipe's template and layout earns every reward; programs in the local sandbox; LoRA,
    packing, losses, schedules, evaluations, the first two stages of a curriculum, checkpoints, the saved model.
Replaced: the model, by a Qwen2 of two layers whose tokenizer has the kind of template and the special tokens that the
    model's name promises; data sets and `eval_benchmarks`, by rows with the columns that the settings and rewards ask
    for (`tasks/...` stay, shortened); reward models, by classifiers as small; lengths, batches, group sizes; `dtype`
    and `bf16`, by float32, since no ZeRO keeps a copy of 16-bit weights here and most CPUs only imitate them; what
    needs a GPU, by its nearest form on a CPU; sandboxes elsewhere, by the local one.
Not covered: whether published models and data are what the recipe takes them for (templates, columns, layouts); memory
    and time; vLLM, flash-attention, Liger, quantisation, 8-bit optimizers; several processes; trackers, pushes to the
    hub, jobs of `benchmarks`.
"""

import argparse
import json
import math
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

# Read at import. With more threads, so small a model is no faster, and far slower on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pandas as pd
import yaml
from datasets import Dataset, DatasetDict
from stand_ins import build_conversation, build_row, save_model_like
from trl import ModelConfig

from open_r1 import distill, grpo, sft
from open_r1.arguments import RecipeParser
from open_r1.configs import (
    DistillConfig,
    DistillScriptArguments,
    GRPOConfig,
    GRPOScriptArguments,
    SFTConfig,
    SFTScriptArguments,
)
from open_r1.data.layouts import check_name
from open_r1.data.sources import TASK_PREFIX
from open_r1.data.user_code import is_user_place
from open_r1.evaluation.benchmarks import find_benchmarks
from open_r1.recipes import TRANSLATIONS, load_recipe
from open_r1.tasks import load_task
from open_r1.tasks.options import parse_config

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
SCRIPTS = {
    "sft": (sft.main, SFTScriptArguments, SFTConfig),
    "grpo": (grpo.main, GRPOScriptArguments, GRPOConfig),
    "distill": (distill.main, DistillScriptArguments, DistillConfig),
}
NUM_ROWS, NUM_TEST_ROWS = 32, 2
OWN_FLAGS = ("--keep", "--help", "-h")

# These take their defaults.
LEFT_OUT = {
    *("model_revision", "dataset_config", "dataset_revision", "dataset_layout", "attn_implementation", "optim"),
    *("use_vllm", "use_liger_kernel", "load_in_4bit", "load_in_8bit", "fp16", "tf32", "torch_compile"),
    *("deepspeed", "fsdp", "fsdp_config", "dataset_num_proc", "dataloader_num_workers"),
    *("generation_batch_size", "steps_per_generation", "auto_find_batch_size", "resume_from_checkpoint"),
    *("push_to_hub", "push_to_hub_revision", "benchmarks"),
    *("code_provider", "ioi_provider", "cf_provider", "sandbox_router_url", "e2b_router_url", "morph_router_url"),
}
SMALLER: dict[str, Any] = {
    "use_cpu": True,
    "dtype": "float32",
    "bf16": False,
    "max_steps": 2,
    "gradient_accumulation_steps": 1,
    "per_device_eval_batch_size": 4,
    "logging_strategy": "steps",
    "logging_steps": 1,
    "save_steps": 2,
    "eval_steps": 2,
    "report_to": "none",
    "disable_tqdm": True,
    "report": False,
}
SMALLER_FOR: dict[str, dict[str, Any]] = {
    "sft": {"per_device_train_batch_size": 2, "max_length": 1024},
    "grpo": {
        "per_device_train_batch_size": 8,  # four prompts
        "num_generations": 2,
        "num_generations_eval": 2,
        "max_prompt_length": 4096,  # a token is a byte
        "max_completion_length": 8,
    },
    "distill": {"per_device_train_batch_size": 4, "max_prompt_length": 4096, "max_completion_length": 8},
}
SMALLER_STAGE: dict[str, Any] = {"num_generations": 4, "max_completion_length": 12, "until": {"steps": 1}}
# Names of what is logged of a reward; benchmarks and the rewards of an SFT evaluation share theirs.
_OF_EVALUATION, _OF_GRPO = re.compile(r"eval_(.+)/avg@\d+"), re.compile(r"rewards/(.+)/mean")
REWARD_METRIC = {"sft": _OF_EVALUATION, "grpo": _OF_GRPO, "distill": _OF_EVALUATION}
CALLBACKS_OUTSIDE = {"push_to_hub_revision", "evaluate_checkpoint"}


class SmokeRun(NamedTuple):
    """What came of a recipe.

    Attributes:
        loss: Mean of the steps.
        rewards: Mean over the steps by metric key; NaN where a reward judged no completion.
        failure: Why it failed, in one line; "" when it did not.
    """

    loss: float = math.nan
    rewards: Mapping[str, float] = {}
    failure: str = ""

    def __str__(self) -> str:
        values = {key: "-" if math.isnan(value) else f"{value:.2f}" for key, value in self.rewards.items()}
        means = ", ".join(f"{key.removesuffix('_reward')} {value}" for key, value in values.items())
        return f"FAILED  {self.failure}" if self.failure else f"{self.loss:8.4f}  {means}"


def find_recipes() -> list[Path]:
    """Return all recipes of trainings in recipes/."""
    return sorted(path for path in RECIPES.rglob("*.yaml") if path.parent.name in SCRIPTS)


def name_of(path: Path) -> str:
    """Return the name of a recipe in the table and below `--keep`."""
    path = path.resolve()
    return str(path.relative_to(RECIPES) if path.is_relative_to(RECIPES) else path)


def task_of(path: Path, recipe: Mapping[str, Any]) -> str:
    """Return which script a recipe is for: as its folder says, else the one that knows more of its settings."""
    folder = path.resolve().parent.name
    used = {name_today(key) for key in recipe}
    known = {task: {entry.name for one in classes for entry in fields(one)} for task, (_, *classes) in SCRIPTS.items()}
    return folder if folder in SCRIPTS else max(SCRIPTS, key=lambda task: len(known[task] & used))


def name_today(key: str) -> str:
    """Return what a setting is called today."""
    name = key.replace("-", "_")
    translation = TRANSLATIONS.get(name)
    return name if translation is None or translation.name is None else translation.name


def shrink_recipe(recipe: Mapping[str, Any], task: str, folder: Path) -> dict[str, Any]:
    """Return the recipe with stand-ins, which are written to the folder, and with sizes for a CPU."""
    smaller = SMALLER | SMALLER_FOR[task]
    small = {key: value for key, value in recipe.items() if name_today(key) not in LEFT_OUT | smaller.keys()}
    small |= smaller | {"output_dir": str(folder / "run")}
    if "model_name_or_path" in recipe:
        save_model_like(str(recipe["model_name_or_path"]), folder / "model")
        small["model_name_or_path"] = str(folder / "model")
    if "teacher_model_name_or_path" in recipe:
        small |= {"teacher_model_name_or_path": str(folder / "model"), "teacher_model_revision": None}
    if recipe.get("use_vllm"):
        small.pop("generation_kwargs", None)  # names of vLLM's
    if "callbacks" in recipe:
        small["callbacks"] = [name for name in _as_list(recipe["callbacks"]) if name not in CALLBACKS_OUTSIDE]
    if recipe.get("eval_benchmarks"):
        small |= {"eval_benchmarks_limit": NUM_TEST_ROWS, "eval_benchmarks_max_tokens": 8}
        small["eval_benchmarks"] = replace_benchmarks(recipe, folder / "benchmarks")
    if recipe.get("eval_benchmarks_steps") is not None:
        small["eval_benchmarks_steps"] = 2
    small |= replace_reward_models(recipe, folder / "reward_models")
    if "stages" in recipe:
        small["stages"] = shrink_stages(recipe, folder / "stages")
    return small | replace_data(recipe, task, folder / "data")


def replace_reward_models(recipe: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the settings that name rewards, with a stand-in in the folder for each reward model."""
    found = {key: recipe[key] for key in ("reward_funcs", "reward_domains") if recipe.get(key)}
    text = json.dumps(found)
    names = [name for key in found.keys() - {"reward_domains"} for name in _as_list(found[key])]
    for name in {name.removeprefix("summary_only(").removesuffix(")") for name in names}:
        if "/" in name and not is_user_place(name):
            path = folder / name.replace("/", "--").replace("@", "--")
            save_model_like(name, path, is_reward_model=True)
            text = text.replace(name, str(path))
    return json.loads(text)


def shrink_stages(recipe: Mapping[str, Any], folder: Path) -> list[Any]:
    """Return the stages with sizes for a CPU, each of a step, and stand-ins for the data that they name."""
    shrunk: list[Any] = []
    for number, stage in enumerate(recipe["stages"], start=1):
        small = {key: SMALLER_STAGE.get(key, value) for key, value in stage.items()}
        recipe = {**recipe, **stage}
        if any(key.startswith("dataset_") for key in stage):
            data = replace_data(recipe, "grpo", folder / str(number))
            small |= {key: value for key, value in data.items() if key != "dataset_test_split"}
        shrunk.append(small)
    return shrunk


def replace_benchmarks(recipe: Mapping[str, Any], folder: Path) -> list[str]:
    """Return `eval_benchmarks` with a file of the same name for each benchmark that is no local file."""
    columns = {
        "prompt_column": recipe.get("eval_benchmarks_prompt_column", "problem"),
        "solution_column": recipe.get("eval_benchmarks_solution_column", "solution"),
    }
    rows = [build_row(number, ["accuracy"], **columns) for number in range(NUM_TEST_ROWS)]
    found = []
    for benchmark in find_benchmarks(_as_list(recipe["eval_benchmarks"])):
        path = Path(benchmark.dataset) if benchmark.is_local else folder / f"{benchmark.name}.jsonl"
        if not benchmark.is_local:
            folder.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        found.append(str(path))
    return found


def replace_data(recipe: Mapping[str, Any], task: str, folder: Path) -> dict[str, Any]:
    """Return the settings of the data with stand-ins; what the parser refuses stays as it is."""
    is_evaluated = bool(recipe.get("do_eval")) or recipe.get("eval_strategy", "no") not in ("no", False)
    train, test = (_whole(recipe.get(f"dataset_{name}_split", name)) for name in ("train", "test"))
    settings: dict[str, Any] = {"dataset_train_split": train}
    if "dataset_mixture" in recipe:
        mixture = recipe["dataset_mixture"]
        replaced = [
            replace_source(entry, recipe, task, folder / str(number))
            for number, entry in enumerate(mixture["datasets"])
        ]
        settings["dataset_mixture"] = {**mixture, "datasets": replaced}
    elif recipe.get("dataset_name"):
        entry = {"id": str(recipe["dataset_name"]), "split": train}
        entry |= {name: recipe.get(f"dataset_{name}") for name in ("config", "layout")}
        small = replace_source(entry, recipe, task, folder, test_split=test if is_evaluated else None)
        settings = {"dataset_name": small["id"], "dataset_train_split": small["split"]}
        settings |= {f"dataset_{name}": small[name] for name in ("config", "layout")}
    return settings | ({"dataset_test_split": f"{test}[:{NUM_TEST_ROWS}]"} if is_evaluated else {})


def replace_source(
    entry: Mapping[str, Any], recipe: Mapping[str, Any], task: str, folder: Path, *, test_split: str | None = None
) -> dict[str, Any]:
    """Return an entry of a mixture with few rows: of the task that it names, or of a stand-in in the folder.

    Raises:
        ValueError: There is no such layout or reward, or a split is misspelt.
    """
    check_name(entry.get("layout"), f"data set {entry['id']!r}")
    split = _whole(entry.get("split", "train"))
    small = dict(entry)
    if 0 < (entry.get("weight") or 0) <= 1:
        small["weight"] = 1.0
    if isinstance(entry.get("num_rows"), int):
        small["num_rows"] = min(entry["num_rows"], NUM_ROWS)
    if entry["id"].startswith(TASK_PREFIX):
        name = entry["id"].removeprefix(TASK_PREFIX)
        config = shorten_task(name, entry.get("config"), recipe.get("dataset_seed", 0))
        return small | {"config": config, "split": f"{split}[:{NUM_ROWS}]", "layout": entry.get("layout")}
    splits = {split: build_rows(entry, recipe, task, NUM_ROWS)}
    if test_split is not None:
        splits.setdefault(_whole(test_split), build_rows(entry, recipe, task, NUM_TEST_ROWS))
    DatasetDict({name: Dataset.from_list(rows) for name, rows in splits.items()}).save_to_disk(folder)
    return small | {"id": str(folder), "config": None, "revision": None, "split": split, "layout": "none"}


def shorten_task(name: str, config: str | None, seed: int) -> str | None:
    """Return the config of a task with few rows, or as it is where it takes no number of rows."""
    try:
        words, options = parse_config(config, name)
        options |= {"num_train": NUM_ROWS, "num_test": NUM_TEST_ROWS}
        short = ",".join([*words, *(f"{key}={json.dumps(value)}" for key, value in options.items())])
        load_task(name, short, seed)
    except ValueError:
        return config
    return short


def build_rows(entry: Mapping[str, Any], recipe: Mapping[str, Any], task: str, count: int) -> list[dict[str, Any]]:
    """Return rows with the columns that the entry names, the script reads and the rewards need."""
    columns = entry.get("columns") or ()
    rows: list[dict[str, Any]] = []
    for number in range(count):
        row: dict[str, Any] = dict.fromkeys(columns, f"text {number}")
        rewards = [] if task == "sft" else recipe.get("reward_funcs", ["accuracy"])
        if rewards:
            row |= build_judged_row(number, entry, recipe, _as_list(rewards))
        if task == "sft":
            row |= build_conversation(number, conversation_columns(columns, recipe))
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


def build_judged_row(
    number: int, entry: Mapping[str, Any], recipe: Mapping[str, Any], rewards: Sequence[str]
) -> dict[str, Any]:
    """Return a row with what the rewards of its domain need; domains take turns unless the entry has its own."""
    by_domain = recipe.get("reward_domains") or {}
    domains = [entry["domain"]] if entry.get("domain") else list(by_domain) or [None]
    domain = domains[number % len(domains)]
    routed = {name for names in by_domain.values() for name in names}
    row = build_row(
        number,
        [name for name in rewards if name not in routed or name in by_domain.get(domain, ())],
        prompt_column=recipe.get("dataset_prompt_column", "prompt"),
        solution_column=recipe.get("dataset_solution_column", "solution"),
    )
    return row if entry.get("domain") or domain is None else row | {"domain": domain}


def conversation_columns(columns: Sequence[str], recipe: Mapping[str, Any]) -> Sequence[str]:
    """Return the columns of the worked answer that an SFT recipe reads, by what it says of them."""
    if columns:
        return columns
    if "dataset_text_field" in recipe:
        return (recipe["dataset_text_field"],)
    return ("prompt", "completion") if recipe.get("completion_only_loss") else ("messages",)


def _whole(split: str) -> str:
    return str(split).partition("[")[0]


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def train_small(path: Path, folder: Path, overrides: Sequence[str] = ()) -> tuple[float, dict[str, float]]:
    """Train the small form of a recipe in this process; return its loss and the mean of each reward.

    Raises:
        ValueError: The recipe was refused, or the training left something out.
    """
    recipe = load_recipe(path)
    task = task_of(path, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    small = folder / "recipe.yaml"
    small.write_text(yaml.safe_dump(shrink_recipe(recipe, task, folder), allow_unicode=True), encoding="utf-8")
    main, *data_classes = SCRIPTS[task]
    arguments = RecipeParser((*data_classes, ModelConfig)).parse(["--config", str(small), *overrides])
    script_args, training_args, model_args = arguments
    loss = main(*arguments)["train_loss"]

    output_dir = Path(training_args.output_dir)
    state = json.loads((output_dir / "trainer_state.json").read_text(encoding="utf-8"))
    saved = "adapter_model.safetensors" if model_args.use_peft else "model.safetensors"
    last = output_dir / "eval_results.json"  # of a training that is evaluated at its end alone, too
    evaluated = [json.loads(last.read_text(encoding="utf-8"))] if last.is_file() else []
    logged = pd.DataFrame([*state["log_history"], *evaluated])
    matches = {key: REWARD_METRIC[task].fullmatch(str(key)) for key in logged}
    # NaN, which is null in the file, where the step had no row that the reward judges.
    rewards = {match[1]: float(logged[key].astype(float).mean()) for key, match in matches.items() if match}
    num_stages = min(len(getattr(training_args, "stages", None) or ()), training_args.max_steps)
    is_judged = task == "grpo" or training_args.do_eval
    num_rewards = len(script_args.reward_funcs) if is_judged else 0
    wanted = {
        f"step {training_args.max_steps}": state["global_step"] == training_args.max_steps,
        "a finite loss": math.isfinite(loss),
        f"stage {num_stages}": state["log_history"][-1].get("stage", 0) == num_stages,
        saved: (output_dir / saved).is_file(),
        f"metrics of {num_rewards} rewards": len(rewards) >= num_rewards,
    }
    missing = [name for name, is_there in wanted.items() if not is_there]
    if missing:
        raise ValueError(f"The training ended without {', '.join(missing)}; rewards logged: {list(rewards)}.")
    return loss, rewards


def smoke(path: Path, folder: Path, overrides: Sequence[str] = ()) -> SmokeRun:
    """Train a recipe two steps; what it prints goes to log.txt in the folder, beside the stand-ins and the run."""
    folder.mkdir(parents=True, exist_ok=True)
    with patch.dict(os.environ), output_in(folder / "log.txt"):  # a recipe may set variables
        try:
            return SmokeRun(*train_small(path, folder, overrides))
        except Exception as error:  # noqa: BLE001 - whatever stops one recipe is reported, and the others go on
            traceback.print_exc()
            return SmokeRun(failure=f"{type(error).__name__}: {' '.join(str(error).split())}")


@contextmanager
def output_in(path: Path) -> Iterator[None]:
    """Send the output of this process and its children to a file: loggers keep the streams that they once took."""
    copies = {stream: os.dup(number) for number, stream in enumerate((sys.stdout, sys.stderr), start=1)}
    with path.open("w", encoding="utf-8") as log:
        try:
            for number, stream in enumerate(copies, start=1):
                stream.flush()
                os.dup2(log.fileno(), number)
            yield
        finally:
            for number, (stream, copy) in enumerate(copies.items(), start=1):
                stream.flush()
                os.dup2(copy, number)
                os.close(copy)


def main(argv: Sequence[str] | None = None) -> int:
    """Train the recipes one after the other and print a line for each; return 1 when one failed."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s [--keep DIR] [RECIPE ...] [--setting value ...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipes", nargs="*", type=Path, metavar="RECIPE", help="default: all trainings of recipes/")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder for stand-ins, logs and runs")
    words = list(sys.argv[1:] if argv is None else argv)
    settings = (place for place, word in enumerate(words) if word[0] == "-" and word.split("=")[0] not in OWN_FLAGS)
    end = next(settings, len(words))
    args = parser.parse_args(words[:end])
    print(f"{'recipe':60} {'s':>5}  {'loss':>8}  mean of each reward in two steps, from random weights")
    runs = []
    with tempfile.TemporaryDirectory(prefix="smoke_recipe_") as temporary:
        for path in args.recipes or find_recipes():
            started, name = time.monotonic(), name_of(path)
            folder = (args.keep or Path(temporary)) / Path(name.lstrip("/")).with_suffix("")
            runs.append(smoke(path, folder, words[end:]))
            print(f"{name:60} {time.monotonic() - started:5.1f}  {runs[-1]}".rstrip(), flush=True)
    num_failed = sum(bool(run.failure) for run in runs)
    print(f"{len(runs) - num_failed} of {len(runs)} recipes train. `--keep DIR` keeps what they print, in log.txt.")
    return 1 if num_failed else 0


if __name__ == "__main__":
    sys.exit(main())
