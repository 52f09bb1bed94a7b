# SPDX-License-Identifier: Apache-2.0
"""Checks that run before a model loads. A message says what we got, what is allowed, and what to do."""

from open_r1.preflight.benchmark_prompts import prepare_eval_benchmarks
from open_r1.preflight.contamination import warn_of_contaminated
from open_r1.preflight.eval_benchmarks import evaluates_split
from open_r1.preflight.prompts import prepare_prompts
from open_r1.preflight.settings import (
    check_grpo_settings,
    check_num_prompts,
    check_sft_settings,
    check_vocabulary,
    check_weight_dtype,
)
from open_r1.preflight.templates import check_ideal_completion, completion_prefix, reward_context, template_kwargs_of

__all__ = [
    "check_grpo_settings",
    "check_ideal_completion",
    "check_num_prompts",
    "check_sft_settings",
    "check_vocabulary",
    "check_weight_dtype",
    "completion_prefix",
    "evaluates_split",
    "prepare_eval_benchmarks",
    "prepare_prompts",
    "reward_context",
    "template_kwargs_of",
    "warn_of_contaminated",
]
