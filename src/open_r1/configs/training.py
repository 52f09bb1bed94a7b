# SPDX-License-Identifier: Apache-2.0
"""Arguments of the training scripts: those of data and rewards, and TRL's configurations extended."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
import trl
from transformers import TrainingArguments
from trl import ModelConfig as ModelConfig

from open_r1.configs.datasets import DatasetMixtureConfig, build_mixture
from open_r1.configs.evaluation import LOWER_IS_BETTER, EvaluationParameters
from open_r1.configs.fields import setting
from open_r1.configs.launch import Launch, current_launch, planned_launch
from open_r1.configs.rewards import RewardArguments
from open_r1.configs.stages import build_stages


@dataclass
class ScriptArguments(trl.ScriptArguments):
    """Where the data comes from; shared by all training scripts."""

    dataset_name: str | None = setting(
        None,
        "Hub name, local json/jsonl/csv/parquet file, local folder, or tasks/<name> (made on the fly). "
        "Leave out when `dataset_mixture` is given.",
    )
    # A mapping from the recipe; `__post_init__` makes it a `DatasetMixtureConfig`. The parser needs one plain type.
    dataset_mixture: dict[str, Any] | None = setting(
        None,
        "Mixture of data sets (YAML only): {datasets: [{id, config, split, columns, weight, "
        "revision, domain, layout}], seed, test_split_size}.",
    )
    dataset_revision: str | None = setting(
        None, "Branch, tag or commit of a data set on the hub; its main branch when unset."
    )
    dataset_layout: str | None = setting(
        None,
        "How columns become `messages` (SFT), or `problem`, `prompt` and `solution` (GRPO): a name in "
        "recipes/DATA.md's table of layouts, or `none` to take them as they are. When unset, known names on "
        "the hub have theirs (logged), and so have folders made from those; other data stay as they are.",
    )
    dataset_seed: int = setting(0, "Seed from which tasks/<name> data sets are made.")
    dataset_prompt_column: str = setting("prompt", "Column with the prompt: text, or a list of messages.")
    dataset_solution_column: str = setting("solution", "Column with the gold answer; rewards see it as `solution`.")

    def __post_init__(self) -> None:
        if not self.dataset_name and self.dataset_mixture is None:
            raise ValueError("Either `dataset_name` or `dataset_mixture` must be provided")
        if self.dataset_name is not None and self.dataset_mixture is not None:
            raise ValueError("`dataset_name` and `dataset_mixture` are both set: remove one of them.")
        if self.dataset_mixture is not None and (self.dataset_config or self.dataset_revision or self.dataset_layout):
            raise ValueError(
                "`dataset_config`, `dataset_revision` and `dataset_layout` go with `dataset_name`: in a mixture they "
                "stand in its entries, as `config`, `revision` and `layout`."
            )
        if self.dataset_streaming:
            raise ValueError(
                "`dataset_streaming` is not supported: resuming and the batch checks need to know the number of "
                "rows. Take a slice instead, for example `dataset_train_split: train[:100000]`."
            )
        if self.dataset_mixture is not None and not isinstance(self.dataset_mixture, DatasetMixtureConfig):
            # pyrefly: ignore[bad-assignment]
            self.dataset_mixture = build_mixture(self.dataset_mixture)

    # What every row must have after its layout has mapped it; None where either will do.
    required_target: ClassVar[Literal["messages", "problem"] | None] = None

    @property
    def layout_targets(self) -> tuple[str, ...]:
        """What a layout maps rows to."""
        return ("messages", "problem") if self.required_target is None else (self.required_target,)


@dataclass
class GRPOScriptArguments(RewardArguments, ScriptArguments):
    """Data and rewards of `grpo.py`."""

    required_target = "problem"
    max_prompt_length: int | None = setting(
        None, "Rows whose rendered prompt has more tokens are dropped, with a count. None keeps all."
    )


@dataclass
class DistillScriptArguments(GRPOScriptArguments):
    """Data of `distill.py`, and how answers to its benchmarks are judged."""

    reward_funcs: list[str] = field(init=False, default_factory=list)


@dataclass
class SFTScriptArguments(RewardArguments, ScriptArguments):
    """Data of `sft.py`, and how answers to its benchmarks are judged."""

    required_target = "messages"
    reward_funcs: list[str] = field(init=False, default_factory=list, metadata={"help": "None."})


# NOTE: only for type checkers. A real base would bring TrainingArguments' defaults back over TRL's.
_TrainingArguments = TrainingArguments if TYPE_CHECKING else object


@dataclass
class CheckParameters:
    """A check in place of a training."""

    check_only: bool = setting(
        False,
        "Run every check that comes before the model loads, print what the run would do and need, and "
        "write nothing. Exit status 1 if it is refused.",
    )
    check_launch: str | None = setting(
        None,
        "Launch to plan for: a config file of accelerate, and options over it ('zero3.yaml "
        "--num_processes 32'). Default: the launcher of this process, else the recipe's `Command` line.",
    )


@dataclass
class RunConfig(CheckParameters, EvaluationParameters, _TrainingArguments):
    """Fields that all training configs add to TRL's."""

    callbacks: list[str] = setting(
        [],
        "Names in the callback table (`open_r1.training.callbacks.CALLBACKS`), or classes of your own: "
        "`path/to/file.py:Class` or `package.module:Class`, a TrainerCallback that is built without arguments.",
    )
    chat_template: str | None = setting(
        None, "Jinja text, or path of a .jinja file, that replaces the tokenizer's template."
    )
    system_prompt: str | None = setting(None, "System message put before each prompt.")
    report: bool = setting(True, "Write <output_dir>/report.html at the end: curves, alarms, rollouts, settings.")
    stall_timeout_s: float = setting(
        1800.0,
        "Seconds without an end of a step or of a micro-batch after which every process prints the stacks of its "
        "threads and ends with status 75; under Slurm the job is queued again. Evaluations don't count. 0: never.",
    )
    hub_model_revision: str | None = setting("main", "Branch of the hub model to push to.")
    overwrite_hub_revision: bool = setting(
        False, "Push although the branch `hub_model_revision` already holds a model."
    )
    push_to_hub_revision: bool = setting(False, "Push every checkpoint to a branch of its own (adds the callback).")
    wandb_entity: str | None = setting(None, "Weights & Biases entity (team or user).")
    wandb_project: str | None = setting(None, "Weights & Biases project.")
    wandb_run_group: str | None = setting(None, "Weights & Biases group of runs.")

    @property
    def launch(self) -> Launch:
        """The processes that train; with `check_only` those that would."""
        if self.check_only and self.check_launch is not None:
            return planned_launch(self.check_launch, self.deepspeed)
        return current_launch(self.deepspeed)

    @property
    def world_size(self) -> int:
        """Number of processes that train together."""
        return self.launch.num_processes if self.check_only else super().world_size

    def refuse_here(self, reason: str) -> None:
        """Refuse a run that this machine can't do; `check_only`, which may plan for another, notes it instead.

        Raises:
            ValueError: `reason`.
        """
        if not self.check_only:
            raise ValueError(reason)
        self.not_checked.append(reason)

    def __post_init__(self) -> None:
        self.not_checked: list[str] = []
        if not self.check_only and self.check_launch:
            raise ValueError("`check_launch` says what `check_only` prints: add `--check_only`.")
        has_bf16_device = torch.cuda.is_available() or torch.accelerator.is_available()
        is_elsewhere = self.check_only and not has_bf16_device and not self.use_cpu
        precision = {"bf16": not self.fp16 if self.bf16 is None else self.bf16, "fp16": self.fp16, "tf32": self.tf32}
        if is_elsewhere:  # transformers would look for the GPU that the run is planned for
            self.bf16, self.fp16, self.tf32 = False, False, None
            self.not_checked.append("The GPU: none was found here; can it compute in bf16 or tf32 as the recipe says?")
        elif self.bf16 is None and not has_bf16_device and not self.use_cpu:
            # TRL's default (bf16) stops with a message about GPUs on a machine that has none.
            self.bf16 = False
        if self.push_to_hub_revision and "push_to_hub_revision" not in self.callbacks:
            self.callbacks = [*self.callbacks, "push_to_hub_revision"]
        if self.hub_model_revision not in (None, "main") and self.hub_revision is None:
            self.hub_revision = self.hub_model_revision
        if self.greater_is_better is None and (self.metric_for_best_model or "").endswith(LOWER_IS_BETTER):
            self.greater_is_better = False
        # transformers wants the strategies of evaluating and saving to agree, and doesn't know of steps of benchmarks:
        # the preflight compares those with `save_steps`.
        has_steps = bool(self.eval_benchmarks) and self.eval_benchmarks_steps is not None
        is_by_benchmarks = has_steps and self.eval_strategy == "no"
        loads_best = self.load_best_model_at_end
        self.load_best_model_at_end = loads_best and not is_by_benchmarks
        super().__post_init__()
        self.load_best_model_at_end = loads_best
        if is_elsewhere:
            self.bf16, self.fp16, self.tf32 = precision.values()


@dataclass
class SFTConfig(RunConfig, trl.SFTConfig):
    """TRL's `SFTConfig` with our fields."""

    allow_cut_rows: bool = setting(False, "Train although `max_length` cuts more than half of the answers.")


@dataclass
class DistillConfig(RunConfig, trl.DistillationConfig):
    """TRL's `DistillationConfig` with our fields."""

    num_completions_to_print: int | None = setting(
        0, "Completions shown in the terminal at each log step; None shows all."
    )

    def __post_init__(self) -> None:
        if self.teacher_model_name_or_path is None:
            raise ValueError("`teacher_model_name_or_path` is not set: name the model to learn from.")
        super().__post_init__()


@dataclass
class GRPOConfig(RunConfig, trl.GRPOConfig):
    """TRL's `GRPOConfig` with our fields."""

    num_completions_to_print: int | None = setting(
        0, "Completions shown in the terminal at each log step; None shows all."
    )
    stop_strings: list[str] | None = setting(
        None,
        "Texts that end a completion, such as `</answer>` for a base model. They stay in it, and it "
        "counts as ended, not as truncated.",
    )
    eval_greedy: bool = setting(False, "An evaluation of the test split also decodes each prompt greedily.")
    pack: bool = setting(
        True,
        "Let the rows of a micro-batch be one row for the model, so that no padding is computed, and deal them to "
        "micro-batches so that their tokens are balanced where the loss is a sum over rows. Gradients are those of "
        "TRL. Images, and models in which a row would see another one, are computed as in TRL.",
    )
    max_tokens_per_micro_batch: int | None = setting(
        None,
        "Tokens that go through the model at once, at most, or a single row: a micro-batch with more is split, "
        "with the same gradients. It does nothing where rows aren't packed or the loss is no sum over rows.",
    )
    dynamic_sampling_rounds: int = setting(
        0,
        "Rounds of generation, at most, that replace groups whose rewards are all equal by groups of "
        "other prompts (DAPO's dynamic sampling). What is missing after them counts neither in the loss nor in "
        "its normaliser. 0: such groups stay in the batch, as in TRL.",
    )
    dynamic_sampling_metric: str | None = setting(
        None,
        "By which equal rewards groups are replaced: a name in the log (`accuracy_reward`, as in DAPO), or `reward`, "
        "the weighted sum. When unset, the first reward that judges answers (DAPO).",
    )
    stages: list[dict[str, Any]] | None = setting(
        None,
        "A curriculum (YAML only): a list of stages, each with the keys that it overrides from there on, "
        "and with `until`, the rule by which the next one begins: {steps, truncated_above, accuracy_above, "
        "window}. The last one has no rule. docs/training.md says more.",
    )
    tools: list[str] = setting(
        [],
        "What the policy may call: `python`, an interpreter in the local sandbox for each rollout, or functions of "
        "your own, `path/to/file.py:function`, with typed arguments and a docstring in Google's form.",
    )
    environment: str | None = setting(
        None,
        "A class of your own, `path/to/file.py:Class`: an object for each rollout whose public methods are tools, "
        "with `reset(self, **columns)` and, if it wants to, `get_reward(self)`.",
    )
    rollout_func: str | None = setting(
        None,
        "A function of your own, `path/to/file.py:function`, that rolls out prompts in place of TRL "
        "(`rollout_func` of its GRPOTrainer).",
    )
    loss: str | None = setting(
        None,
        "Loss in place of TRL's: a name in `open_r1.training.losses.LOSSES`, or a function of your own, "
        "`path/to/file.py:function` (docs/training.md). `loss_type` then only says how tokens are averaged.",
    )
    advantage: str | None = setting(
        None,
        "Advantage in place of TRL's: a name in `open_r1.training.losses.ADVANTAGES`, or a function of "
        "your own, `path/to/file.py:function` (docs/training.md). It scales what it wants to; `scale_rewards` "
        "does nothing by itself then.",
    )

    def __post_init__(self) -> None:
        # On the command line the truth values that TRL allows are text; TRL would refuse that at the first step.
        words = {"true": "group", "false": "none"}
        self.scale_rewards = words.get(str(self.scale_rewards).lower(), self.scale_rewards)
        if self.scale_rewards not in ("group", "batch", "none"):
            raise ValueError(f"`scale_rewards` is {self.scale_rewards!r}: it must be 'group', 'batch' or 'none'.")
        if self.stop_strings is not None and not all(self.stop_strings):
            raise ValueError("`stop_strings` holds an empty text, which every completion has: leave it out.")
        launched = self.launch.num_processes
        steps = self.steps_per_generation or self.gradient_accumulation_steps
        batch = self.generation_batch_size or self.per_device_train_batch_size * launched * steps
        if self.stages is not None and self.max_steps <= 0:
            raise ValueError("`stages` have no epochs: set `max_steps`, the optimizer steps of all of them.")
        stages = build_stages(self.stages)
        for group in (stage.overrides.get("num_generations", self.num_generations) for stage in stages):
            if group and batch % group == 0:
                continue
            valid = [number for number in range(2, batch + 1) if batch % number == 0]
            raise ValueError(
                f"A generation batch has {batch} completions (per_device_train_batch_size "
                f"{self.per_device_train_batch_size} x {launched} processes x {steps} steps per generation), which do "
                f"not divide into groups of num_generations {group}. Valid num_generations: {valid}"
            )
        super().__post_init__()


# Of either script.
TrainingConfig = SFTConfig | GRPOConfig | DistillConfig
TrainingScriptArguments = SFTScriptArguments | GRPOScriptArguments
