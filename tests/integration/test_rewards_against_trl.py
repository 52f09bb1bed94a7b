# SPDX-License-Identifier: Apache-2.0
"""Our rewards on token ids give what TRL's rewards and metrics say of the same completions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trl.rewards import get_repetition_penalty_reward, get_soft_overlong_punishment

from open_r1.rewards.length_rewards import SoftOverlongPunishmentReward
from open_r1.rewards.repetition_rewards import TokenRepetitionReward

ROWS_OF_IDS = st.lists(st.lists(st.integers(0, 3), max_size=60), max_size=8)


@given(ROWS_OF_IDS, st.integers(1, 45), st.sampled_from([0.0, -0.05, -1.0, -10.0]))
def test_token_repetition_is_the_penalty_of_trl(ids: list[list[int]], ngram_size: int, max_penalty: float):
    ours = TokenRepetitionReward(ngram_size, max_penalty)
    assert ours(completion_ids=ids) == get_repetition_penalty_reward(ngram_size, max_penalty)(completion_ids=ids)


@pytest.mark.parametrize(("limit", "cache"), [(40, 1), (40, 20), (40, 40)])
@given(ids=ROWS_OF_IDS)
def test_soft_overlong_punishment_is_that_of_trl(limit: int, cache: int, ids: list[list[int]]):
    ours = SoftOverlongPunishmentReward(limit, cache)
    assert ours(completion_ids=ids) == get_soft_overlong_punishment(limit, cache)(completion_ids=ids)
