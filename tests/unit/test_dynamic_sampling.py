# SPDX-License-Identifier: Apache-2.0
"""Which groups teach something, and how many prompts a round draws."""

import pytest
import torch

from open_r1.training.dynamic_sampling import informative_groups, num_prompts_of_round

NAN = float("nan")


@pytest.mark.parametrize(
    ("rewards", "is_informative"),
    [
        ([1.0, 1.0, 1.0], False),
        ([0.0, 0.0, 0.0], False),
        ([0.3, 0.3, 0.3 + 1e-7], True),  # its spread is below what TRL takes for zero
        ([1.0, 0.0, NAN], True),
        ([1.0, 1.0, NAN], False),
        ([1.0, NAN, NAN], False),
        ([NAN, NAN, NAN], False),
    ],
)
def test_group_teaches_when_two_of_its_rewards_differ(rewards, is_informative):
    assert informative_groups(torch.tensor([rewards])).tolist() == [is_informative]


@pytest.mark.parametrize(
    ("num_missing", "num_generations", "num_processes", "are_whole", "expected"),
    [
        (3, 8, 1, True, 3),
        (3, 8, 4, True, 4),
        (3, 8, 4, False, 3),  # 24 completions: 6 for each process
        (1, 4, 8, False, 2),
        (5, 6, 4, False, 6),
        (2, 3, 4, False, 4),
    ],
)
def test_processes_of_a_round_get_the_same_number_of_rows(
    num_missing, num_generations, num_processes, are_whole, expected
):
    num_prompts = num_prompts_of_round(num_missing, num_generations, num_processes, are_whole=are_whole)
    assert num_prompts == expected
    assert num_prompts * num_generations % num_processes == 0
