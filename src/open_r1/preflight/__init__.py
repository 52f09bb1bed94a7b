# SPDX-License-Identifier: Apache-2.0
"""Checks that run before a model loads. A message says what we got, what is allowed, and what to do."""

from open_r1.preflight.contamination import warn_of_contaminated
from open_r1.preflight.prompts import prepare_prompts
from open_r1.preflight.settings import (
    check_grpo_settings,
    check_num_prompts,
    check_sft_settings,
    check_vocabulary,
    is_evaluated,
)
from open_r1.preflight.templates import check_ideal_completion, completion_prefix, reward_context, template_kwargs_of

__all__ = [
    "check_grpo_settings",
    "check_ideal_completion",
    "check_num_prompts",
    "check_sft_settings",
    "check_vocabulary",
    "completion_prefix",
    "is_evaluated",
    "prepare_prompts",
    "reward_context",
    "template_kwargs_of",
    "warn_of_contaminated",
]
