# SPDX-License-Identifier: Apache-2.0
"""The order in which prompts are drawn beside TRL's sampler."""

from datasets import Dataset

from open_r1.training.prompts import PromptStream

ROWS = Dataset.from_dict({"prompt": [f"p{number}" for number in range(5)]})


def prompts(stream: PromptStream, number: int) -> list[str]:
    return [row["prompt"] for row in stream.take(number)]


def test_every_epoch_has_each_row_once_in_an_order_of_its_own():
    stream = PromptStream(ROWS, seed=3)
    epochs = [prompts(stream, 5) for _ in range(4)]
    assert all(sorted(epoch) == ROWS["prompt"][:] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_stream_resumes_at_its_position_across_epochs():
    whole, first = PromptStream(ROWS, seed=3), PromptStream(ROWS, seed=3)
    expected = prompts(whole, 13)
    drawn = prompts(first, 7)
    resumed = PromptStream(ROWS, seed=3)
    resumed.position = first.position
    assert drawn + prompts(resumed, 6) == expected


def test_order_of_the_data_set_is_kept_without_shuffling():
    assert prompts(PromptStream(ROWS, seed=3, shuffle=False), 7) == ["p0", "p1", "p2", "p3", "p4", "p0", "p1"]
