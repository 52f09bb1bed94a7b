# SPDX-License-Identifier: Apache-2.0
"""Supervised fine-tuning on reasoning traces.

    accelerate launch --config_file recipes/accelerate_configs/zero3.yaml src/open_r1/sft.py \\
        --config recipes/OpenR1-Distill-7B/sft/config_distill.yaml

A row holds `messages`, or `prompt` and `completion`, or `text`. Settings of the recipe can be overridden behind it.
"""

import os
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nothing leaves the machine unless asked; read at import

from datasets import Dataset, DatasetDict

from open_r1.configs import ModelConfig, SFTConfig, SFTScriptArguments
from open_r1.data.sources import require_columns
from open_r1.data.training_rows import drop_null_rows, get_dataset, require_split
from open_r1.models import get_model, new_adapter
from open_r1.preflight import (
    check_model,
    check_sft_settings,
    evaluates_split,
    plan_run,
    report,
    tokenize_rows,
    warn_of_contaminated,
)
from open_r1.preflight.trained_rows import RowFigures
from open_r1.report.page import report_run
from open_r1.training.callbacks import get_callbacks
from open_r1.training.run import ignore_bias_buffers, run_script, run_training, start_run
from open_r1.training.trainer import SFTTrainer


def main(script_args: SFTScriptArguments, training_args: SFTConfig, model_args: ModelConfig) -> dict[str, float]:
    """Train and return the metrics of training and evaluation."""
    run = start_run(script_args, training_args, model_args)
    if run.finished is not None:
        return run.finished
    check_sft_settings(script_args, training_args, model_args)
    callbacks = get_callbacks(training_args)
    tokenizer, benchmarks = check_model(script_args, training_args, model_args)

    dataset = get_dataset(script_args)
    warn_of_contaminated(dataset, script_args)

    def prepare(split: str, purpose: str) -> tuple[Dataset, RowFigures]:
        where = f"{script_args.dataset_name or 'the mixture'}, split {split!r}"
        rows = prepare_split(dataset, split, purpose, training_args, where)
        return tokenize_rows(rows, tokenizer, training_args, where)

    train_dataset, figures = prepare(script_args.dataset_train_split, "training")
    run.description["rows"] = asdict(figures)
    eval_dataset = None
    if evaluates_split(dataset, script_args, training_args, benchmarks):
        eval_dataset, _ = prepare(script_args.dataset_test_split, "evaluation")

    plan = plan_run(script_args, training_args, model_args, figures)
    if training_args.check_only:
        return report(plan, training_args, [])

    model = get_model(model_args, training_args, tokenizer)
    if script_args.ignore_bias_buffers:
        ignore_bias_buffers(model)
    trainer = SFTTrainer(
        model=model,
        args=training_args,
        train_dataset=train_dataset,
        eval_dataset=eval_dataset,
        processing_class=tokenizer,
        peft_config=new_adapter(model_args),
        callbacks=callbacks,
        benchmarks=benchmarks,
    )
    metrics = run_training(trainer, script_args, training_args, run)
    if training_args.report and training_args.process_index == 0:
        report_run(Path(training_args.output_dir))
    return metrics


def prepare_split(dataset: DatasetDict, split: str, purpose: str, training_args: SFTConfig, where: str) -> Dataset:
    """Return the rows of a split in the one format that TRL should read.

    A row with `messages` and `prompt` (codeforces-cots) is a conversation with its bare prompt beside it: TRL would
    take the prompt for the input, so only `messages` is kept.
    """
    rows = require_split(dataset, split, purpose)
    text = training_args.dataset_text_field
    for columns in (["messages"], ["prompt", "completion"], [text]):
        if all(column in rows.column_names for column in columns):
            extra = [name for name in ("tools", "chat_template_kwargs") if name in rows.column_names]
            first = rows[0][columns[0]] if len(rows) and columns != [text] else ""
            if isinstance(first, str) and (columns == ["messages"] or first.startswith("[{")):
                raise ValueError(
                    f"{where}: `{columns[0]}` is text in some row, and must be a list of messages in all."
                )
            return drop_null_rows(rows.select_columns([*columns, *extra]), columns, split)
    require_columns(rows, ["messages"], f"split {split!r}; or give `prompt` and `completion`, or `{text}`")
    raise AssertionError("unreachable: the columns were found above")


if __name__ == "__main__":
    run_script(main, SFTScriptArguments, SFTConfig, __doc__)
