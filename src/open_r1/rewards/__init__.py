# SPDX-License-Identifier: Apache-2.0
"""Rewards by name for recipes (`get_reward_funcs`), and as functions to call and build oneself. Imports no torch.

`base` context, text, groups · `verifier` is an answer right? · `math_`, `format_`, `length_`, `repetition_`,
`language_`, `puzzle_`, `program_rewards` the families · `table` names to builders, and a recipe's names to rewards ·
`wrappers`, `user` what a recipe can make of them.
"""

from open_r1.rewards.base import UNSCORABLE, Reward, RewardContext, completion_text, is_unscorable
from open_r1.rewards.format_rewards import (
    CodeFormatReward,
    format_reward,
    reasoning_steps_reward,
    soft_format_reward,
    tag_count_reward,
    think_format_reward,
)
from open_r1.rewards.language_rewards import LanguageConsistencyReward
from open_r1.rewards.length_rewards import (
    CosineScaledReward,
    DemystifyCosineReward,
    SoftOverlongPunishmentReward,
    len_reward,
)
from open_r1.rewards.math_rewards import accuracy_reward
from open_r1.rewards.program_rewards import (
    binary_code_reward,
    cf_code_reward,
    code_reward,
    extract_code,
    ioi_code_reward,
)
from open_r1.rewards.puzzle_rewards import CountdownReward, knights_knaves_reward, reasoning_gym_reward
from open_r1.rewards.repetition_rewards import RepetitionPenaltyReward, TokenRepetitionReward
from open_r1.rewards.table import (
    LAYOUTS,
    REWARDS,
    RewardSpec,
    get_reward_funcs,
    get_reward_spec,
    is_user_function,
    names_for_domain,
    needed_columns,
    perfect_reply,
    reward_domains_of,
)
from open_r1.rewards.verifier import Verdict, verify, verify_all
from open_r1.rewards.verifier.extract import extract_answer
from open_r1.rewards.wrappers import DOMAIN_COLUMN, run_reward

# What Open R1 calls these classes.
get_code_format_reward = CodeFormatReward
get_cosine_scaled_reward = CosineScaledReward
get_repetition_penalty_reward = RepetitionPenaltyReward
get_soft_overlong_punishment = SoftOverlongPunishmentReward
