# SPDX-License-Identifier: Apache-2.0
"""Checks that run before a model loads. A message says what we got, what is allowed, and what to do."""

from open_r1.preflight.eval_benchmarks import evaluates_split
from open_r1.preflight.model_and_data import (
    check_model,
    check_num_prompts,
    check_teacher,
    check_weight_dtype,
    warn_of_contaminated,
)
from open_r1.preflight.plan import measure_prompts, plan_run, report
from open_r1.preflight.rewards import check_ideal_completion
from open_r1.preflight.settings import (
    check_distill_settings,
    check_grpo_settings,
    check_sft_settings,
    choose_dynamic_sampling_metric,
)
from open_r1.preflight.trained_rows import tokenize_rows

__all__ = [
    "check_distill_settings",
    "check_grpo_settings",
    "check_ideal_completion",
    "check_model",
    "check_num_prompts",
    "check_sft_settings",
    "check_teacher",
    "check_weight_dtype",
    "choose_dynamic_sampling_metric",
    "evaluates_split",
    "measure_prompts",
    "plan_run",
    "report",
    "tokenize_rows",
    "warn_of_contaminated",
]
