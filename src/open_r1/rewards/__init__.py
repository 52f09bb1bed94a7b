# SPDX-License-Identifier: Apache-2.0
"""Rewards by name for recipes (`get_reward_funcs`), and as functions to call and build oneself. Imports no torch.

`base` context, text, groups · `verifier` is an answer right? · `math_`, `format_`, `length_`, `repetition_`,
`code_rewards` the families · `table` names to builders · `ideal` what a perfect completion must score.
"""

from open_r1.rewards.base import UNSCORABLE, RewardContext, completion_text, is_unscorable
from open_r1.rewards.code_rewards import extract_code, get_code_format_reward
from open_r1.rewards.format_rewards import format_reward, reasoning_steps_reward, tag_count_reward
from open_r1.rewards.ideal import IdealScore, ideal_completion, score_ideal
from open_r1.rewards.length_rewards import get_cosine_scaled_reward, get_soft_overlong_punishment, len_reward
from open_r1.rewards.math_rewards import accuracy_reward
from open_r1.rewards.repetition_rewards import get_repetition_penalty_reward
from open_r1.rewards.table import (
    NAMES_THAT_RUN_PROGRAMS,
    REWARDS,
    RewardSpec,
    get_reward_funcs,
    get_reward_spec,
)
from open_r1.rewards.verifier import Verdict, verify, verify_all
from open_r1.rewards.verifier.answer_extraction import extract_answer

__all__ = [
    "NAMES_THAT_RUN_PROGRAMS",
    "REWARDS",
    "UNSCORABLE",
    "IdealScore",
    "RewardContext",
    "RewardSpec",
    "Verdict",
    "accuracy_reward",
    "completion_text",
    "extract_answer",
    "extract_code",
    "format_reward",
    "get_code_format_reward",
    "get_cosine_scaled_reward",
    "get_repetition_penalty_reward",
    "get_reward_funcs",
    "get_reward_spec",
    "get_soft_overlong_punishment",
    "ideal_completion",
    "is_unscorable",
    "len_reward",
    "reasoning_steps_reward",
    "score_ideal",
    "tag_count_reward",
    "verify",
    "verify_all",
]
