# SPDX-License-Identifier: Apache-2.0
"""Reinforcement learning with verifiable rewards (GRPO).

    accelerate launch --config_file recipes/accelerate_configs/zero2.yaml src/open_r1/grpo.py \\
        --config recipes/DeepSeek-R1-Distill-Qwen-1.5B/grpo/config_demo.yaml

A row holds a prompt (`dataset_prompt_column`) and what the rewards need, mostly a gold `solution`; all its columns
reach the rewards. Settings of the recipe can be overridden behind it.
"""

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nothing leaves the machine unless asked; read at import

from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from open_r1.configs import GRPOConfig, GRPOScriptArguments, ModelConfig
from open_r1.configs.stages import build_stages
from open_r1.data.training_rows import get_dataset
from open_r1.models import (
    completion_prefix,
    end_token_ids,
    get_generation_config,
    get_model,
    new_adapter,
    template_kwargs_of,
)
from open_r1.preflight import (
    check_grpo_settings,
    check_ideal_completion,
    check_model,
    check_num_prompts,
    choose_dynamic_sampling_metric,
    evaluates_split,
    measure_prompts,
    plan_run,
    report,
    warn_of_contaminated,
)
from open_r1.preflight.rewards import Trial
from open_r1.report.page import report_run
from open_r1.reward_models import RewardModels
from open_r1.rewards import RewardContext, get_reward_funcs
from open_r1.rewards.rows import prepare_prompts
from open_r1.training.callbacks import get_callbacks
from open_r1.training.run import ignore_bias_buffers, run_script, run_training, start_run
from open_r1.training.stages import Curriculum, PreparedStage
from open_r1.training.tools import load_tools
from open_r1.training.trainer import GRPOTrainer


def main(script_args: GRPOScriptArguments, training_args: GRPOConfig, model_args: ModelConfig) -> dict[str, float]:
    """Train and return the metrics of training and evaluation."""
    run = start_run(script_args, training_args, model_args)
    if run.finished is not None:
        return run.finished
    max_prompt_tokens = check_grpo_settings(script_args, training_args, model_args)
    callbacks = get_callbacks(training_args)
    tokenizer, benchmarks = check_model(script_args, training_args, model_args)
    tools = load_tools(script_args, training_args, tokenizer)
    template_kwargs = {**template_kwargs_of(training_args), **tools.of_template}

    dataset = get_dataset(script_args)
    prepare = partial(
        prepare_prompts,
        tokenizer=tokenizer,
        system_prompt=training_args.system_prompt,
        max_prompt_tokens=max_prompt_tokens,
        template_kwargs=template_kwargs,
    )
    end_ids = end_token_ids(tokenizer, get_generation_config(model_args), training_args.generation_kwargs)
    reward_models = RewardModels(training_args)
    stages = prepare_stages(
        script_args, training_args, tokenizer, dataset, prepare, end_ids, reward_models, template_kwargs
    )
    eval_rows = None
    if evaluates_split(dataset, script_args, training_args, benchmarks):
        eval_rows = prepare(dataset, script_args.dataset_test_split, "evaluation", script_args=script_args)

    longest = max(stages, key=lambda stage: stage.args.max_completion_length or math.inf)
    lengths = measure_prompts(longest.rows, tokenizer, template_kwargs)
    plan = plan_run(longest.script_args, longest.args, model_args, lengths)
    if training_args.check_only:
        return report(plan, training_args, [trial for stage in stages for trial in stage.trials])

    model = get_model(model_args, training_args, tokenizer)
    if script_args.ignore_bias_buffers:
        ignore_bias_buffers(model)
    reward_models.load()
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=list(stages[0].rewards),
        args=training_args,
        train_dataset=stages[0].rows,
        eval_dataset=eval_rows,
        processing_class=tokenizer,
        peft_config=new_adapter(model_args),
        callbacks=callbacks,
        benchmarks=benchmarks,
        curriculum=None if training_args.stages is None else Curriculum(stages),
        **tools.of_trainer,
    )
    metrics = run_training(trainer, script_args, training_args, run)
    if training_args.report and training_args.process_index == 0:
        report_run(Path(training_args.output_dir))
    return metrics


def prepare_stages(
    script_args: GRPOScriptArguments,
    training_args: GRPOConfig,
    tokenizer: PreTrainedTokenizerBase,
    dataset: DatasetDict,
    prepare: Callable[..., Dataset],
    end_ids: tuple[int, ...],
    reward_models: RewardModels,
    template_kwargs: Mapping[str, Any],
) -> list[PreparedStage]:
    """Return the stages of the run, their rows and rewards prepared and checked; a recipe without `stages` has one.

    Args:
        script_args: Data and rewards of the recipe.
        training_args: Its other settings.
        tokenizer: Renders prompts.
        dataset: What `get_dataset` gave for the recipe.
        prepare: `prepare_prompts` with all that holds for the whole run.
        end_ids: Tokens that end a completion.
        reward_models: Those of the run.
        template_kwargs: What else the chat template is given: `chat_template_kwargs`, and the tools.
    """
    stages: list[PreparedStage] = []
    for stage in build_stages(training_args.stages):
        own, args = stage.apply(script_args, training_args)
        if stages and stage.data == stages[-1].stage.data:
            rows = stages[-1].rows
        else:
            found = get_dataset(own) if stage.data else dataset
            warn_of_contaminated(found, own)
            rows = prepare(found, own.dataset_train_split, "training", script_args=own)
        check_num_prompts(rows, args)
        context = RewardContext(
            num_generations=args.num_generations or 1,
            completion_prefix=completion_prefix(tokenizer, rows[0]["prompt"], template_kwargs),
            eos_token_ids=end_ids,
            max_completion_length=args.max_completion_length,
        )
        rewards = get_reward_funcs(own, context, load_reward_model=reward_models)
        if not stages:
            choose_dynamic_sampling_metric(own, training_args, rewards)
        trials: list[Trial] = []
        if not stages or rows is not stages[-1].rows or own != stages[-1].script_args:
            num_rows = 1000 if args.check_only else 64
            trials = check_ideal_completion(
                rewards, own, rows, tokenizer, context, template_kwargs=template_kwargs, num_rows=num_rows
            )
        stages.append(PreparedStage(stage, own, args, rows, rewards, trials))
    return stages


if __name__ == "__main__":
    run_script(main, GRPOScriptArguments, GRPOConfig, __doc__)
