# SPDX-License-Identifier: Apache-2.0
"""On-policy distillation: a student samples, and learns the next-token distribution of a teacher at its own texts.

    accelerate launch --config_file recipes/accelerate_configs/zero3.yaml src/open_r1/distill.py \\
        --config recipes/DeepSeek-R1-Distill-Qwen-1.5B/distill/config_on_policy.yaml

A row holds a prompt (`dataset_prompt_column`); nothing judges the completions. Teacher and student share a tokenizer.
`beta: 1` is the reverse KL divergence, `beta: 0` the forward one (Agarwal et al. 2024, arXiv 2306.13649). Settings of
the recipe can be overridden behind it.
"""

import os
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nothing leaves the machine unless asked; read at import


from open_r1.configs import DistillConfig, DistillScriptArguments, ModelConfig
from open_r1.data.training_rows import get_dataset
from open_r1.models import get_model, get_teacher, new_adapter, template_kwargs_of
from open_r1.preflight import (
    check_distill_settings,
    check_model,
    check_num_prompts,
    check_teacher,
    evaluates_split,
    measure_prompts,
    plan_run,
    report,
    warn_of_contaminated,
)
from open_r1.report.page import report_run
from open_r1.rewards.rows import prepare_prompts
from open_r1.training.callbacks import get_callbacks
from open_r1.training.run import run_script, run_training, start_run
from open_r1.training.trainer import DistillationTrainer


def main(
    script_args: DistillScriptArguments, training_args: DistillConfig, model_args: ModelConfig
) -> dict[str, float]:
    """Train and return the metrics of training and evaluation."""
    run = start_run(script_args, training_args, model_args)
    if run.finished is not None:
        return run.finished
    max_prompt_tokens = check_distill_settings(script_args, training_args, model_args)
    callbacks = get_callbacks(training_args)
    tokenizer, benchmarks = check_model(script_args, training_args, model_args)
    check_teacher(tokenizer, training_args)

    dataset = get_dataset(script_args)
    warn_of_contaminated(dataset, script_args)
    prepare = partial(
        prepare_prompts,
        dataset,
        tokenizer=tokenizer,
        script_args=script_args,
        system_prompt=training_args.system_prompt,
        max_prompt_tokens=max_prompt_tokens,
        template_kwargs=template_kwargs_of(training_args),
    )
    rows, eval_rows = prepare(script_args.dataset_train_split, "training"), None
    check_num_prompts(rows, training_args)
    if evaluates_split(dataset, script_args, training_args, benchmarks):
        eval_rows = prepare(script_args.dataset_test_split, "evaluation")
    lengths = measure_prompts(rows, tokenizer, template_kwargs_of(training_args))
    plan = plan_run(script_args, training_args, model_args, lengths)
    if training_args.check_only:
        return report(plan, training_args, [])

    model = get_model(model_args, training_args, tokenizer)
    trainer = DistillationTrainer(
        model=model,
        teacher_model=get_teacher(training_args, model_args, model),
        args=training_args,
        train_dataset=rows,
        eval_dataset=eval_rows,
        processing_class=tokenizer,
        peft_config=new_adapter(model_args),
        callbacks=callbacks,
        benchmarks=benchmarks,
    )
    metrics = run_training(trainer, script_args, training_args, run)
    if training_args.report and training_args.process_index == 0:
        report_run(Path(training_args.output_dir))
    return metrics


if __name__ == "__main__":
    run_script(main, DistillScriptArguments, DistillConfig, __doc__)
