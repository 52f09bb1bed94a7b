# SPDX-License-Identifier: Apache-2.0
"""Reinforcement learning with verifiable rewards (GRPO).

    accelerate launch --config_file recipes/accelerate_configs/zero2.yaml src/open_r1/grpo.py \\
        --config recipes/DeepSeek-R1-Distill-Qwen-1.5B/grpo/config_demo.yaml

A row holds a prompt (`dataset_prompt_column`) and what the rewards need, mostly a gold `solution`; all its columns
reach the rewards. Settings of the recipe can be overridden behind it.
"""

import os
from dataclasses import replace
from functools import partial

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nothing leaves the machine unless asked; read at import

from trl import get_peft_config

from open_r1.configs import GRPOConfig, GRPOScriptArguments, ModelConfig
from open_r1.data.training_rows import get_dataset
from open_r1.evaluation.eval_sets import load_eval_benchmarks
from open_r1.models import (
    completion_prefix,
    end_token_ids,
    fit_embeddings,
    get_model,
    get_tokenizer,
    template_kwargs_of,
)
from open_r1.preflight import (
    check_eval_benchmarks,
    check_grpo_settings,
    check_ideal_completion,
    check_num_prompts,
    check_vocabulary,
    check_weight_dtype,
    evaluates_split,
    plan_run,
    report,
    warn_of_contaminated,
)
from open_r1.reward_models import load_reward_model
from open_r1.rewards import RewardContext, get_reward_funcs
from open_r1.rewards.rows import prepare_prompts
from open_r1.training.callbacks import get_callbacks
from open_r1.training.run import ignore_bias_buffers, run_script, run_training, start_run
from open_r1.training.trainer import GRPOTrainer


def main(script_args: GRPOScriptArguments, training_args: GRPOConfig, model_args: ModelConfig) -> dict[str, float]:
    """Train and return the metrics of training and evaluation."""
    checkpoint = start_run(script_args, training_args, model_args)
    max_prompt_tokens = check_grpo_settings(script_args, training_args, model_args)
    check_weight_dtype(training_args, model_args)
    callbacks = get_callbacks(training_args)
    tokenizer = get_tokenizer(model_args, training_args)
    check_vocabulary(tokenizer, training_args, model_args)
    benchmarks = load_eval_benchmarks(script_args, training_args, tokenizer)
    check_eval_benchmarks(benchmarks, training_args, model_args)

    dataset = get_dataset(script_args)
    warn_of_contaminated(dataset, script_args)
    splits = {"training": script_args.dataset_train_split}
    if evaluates_split(dataset, script_args, training_args, benchmarks):
        splits["evaluation"] = script_args.dataset_test_split
    template_kwargs = template_kwargs_of(training_args)
    rows = {
        purpose: prepare_prompts(
            dataset,
            split,
            purpose,
            tokenizer,
            script_args,
            training_args.system_prompt,
            max_prompt_tokens,
            template_kwargs=template_kwargs,
        )
        for purpose, split in splits.items()
    }
    check_num_prompts(rows["training"], training_args)
    context = RewardContext(
        num_generations=training_args.num_generations or 1,
        completion_prefix=completion_prefix(tokenizer, rows["training"][0]["prompt"], template_kwargs),
        eos_token_ids=(tokenizer.eos_token_id,),
        max_completion_length=training_args.max_completion_length,
    )
    check_ideal_completion(script_args, rows["training"], tokenizer, context, template_kwargs=template_kwargs)

    plan = plan_run(script_args, training_args, model_args, tokenizer, rows["training"])
    if training_args.check_only:
        return report(plan, script_args, training_args, rows["training"])

    model = get_model(model_args, training_args)
    fit_embeddings(model, tokenizer)
    if script_args.ignore_bias_buffers:
        ignore_bias_buffers(model)
    vllm_kwargs = training_args.generation_kwargs if training_args.use_vllm else None
    end_ids = end_token_ids(tokenizer, model.generation_config, vllm_kwargs)
    context = replace(context, eos_token_ids=end_ids)
    load_reward = partial(load_reward_model, training_args=training_args)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=get_reward_funcs(script_args, context, load_reward_model=load_reward),
        args=training_args,
        train_dataset=rows["training"],
        eval_dataset=rows.get("evaluation"),
        processing_class=tokenizer,
        peft_config=get_peft_config(model_args),
        callbacks=callbacks,
        benchmarks=benchmarks,
    )
    return run_training(trainer, script_args, training_args, tokenizer, checkpoint)


if __name__ == "__main__":
    run_script(main, GRPOScriptArguments, GRPOConfig, __doc__)
