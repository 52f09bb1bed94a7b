# SPDX-License-Identifier: Apache-2.0
"""Benchmarks of saved checkpoints: refused where no job could be submitted, or none would say anything."""

from trl import ModelConfig

from open_r1.configs import GRPOConfig, SFTConfig
from open_r1.data.benchmarks import check_columns, find_benchmarks
from open_r1.evaluation.jobs import find_script, is_slurm_available


def check_benchmarks(training_args: SFTConfig | GRPOConfig, model_args: ModelConfig) -> None:
    """Refuse `benchmarks`, or the callback `evaluate_checkpoint`, where they can have no effect.

    Raises:
        ValueError: See the message.
    """
    names = training_args.benchmarks
    if not names:
        if "evaluate_checkpoint" in training_args.callbacks:
            raise ValueError("`callbacks: [evaluate_checkpoint]` needs to know what to run: set `benchmarks`.")
        return
    try:
        found = find_benchmarks(names)
        if training_args.process_index == 0:
            check_columns(found)
    except ValueError as error:
        raise ValueError(f"`benchmarks`: {error}") from None
    if training_args.save_strategy == "no":
        raise ValueError(f"`benchmarks: {names}` run on saved checkpoints, but `save_strategy: no` saves none.")
    if model_args.use_peft:
        raise ValueError(
            f"`benchmarks: {names}`, but checkpoints of `use_peft: true` are adapters, which aren't served by "
            "themselves: leave `benchmarks` out, merge by scripts/merge_lora.py and run scripts/run_benchmarks.py."
        )
    if training_args.process_index == 0:
        _check_slurm(names, training_args)


def _check_slurm(names: list[str], training_args: SFTConfig | GRPOConfig) -> None:
    if not is_slurm_available():
        training_args.refuse_here(
            f"`benchmarks: {names}` are run by Slurm jobs, and there is no `sbatch` on the PATH: leave the setting "
            "out, and run scripts/run_benchmarks.py on the checkpoints; `do_eval: true` evaluates on the test split."
        )
    try:
        find_script()
    except FileNotFoundError as error:
        raise ValueError(f"`benchmarks: {names}`: {error}") from None
