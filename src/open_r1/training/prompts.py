# SPDX-License-Identifier: Apache-2.0
"""Prompts in a shuffled order without end, for who draws them beside TRL's sampler."""

from typing import Any

import torch
from datasets import Dataset


class PromptStream:
    """Rows of a data set, shuffled anew in every epoch; all processes draw the same ones.

    Args:
        dataset: Its rows.
        seed: Of the order: that of epoch k is drawn from `seed` + k.
        shuffle: False keeps the order of the data set.

    Attributes:
        position: Number of rows drawn so far. Setting it resumes from there: a checkpoint needs nothing else.
    """

    def __init__(self, dataset: Dataset, seed: int, *, shuffle: bool = True) -> None:
        self.position = 0
        self._dataset, self._seed, self._shuffle = dataset, seed, shuffle
        self._order: tuple[int, list[int]] | None = None  # an epoch's number and its rows

    def take(self, num_prompts: int) -> list[dict[str, Any]]:
        """Return the next rows."""
        rows = [self._dataset[self._index(self.position + offset)] for offset in range(num_prompts)]
        self.position += num_prompts
        return rows

    def _index(self, position: int) -> int:
        epoch, place = divmod(position, len(self._dataset))
        if not self._shuffle:
            return place
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self._seed + epoch)
            self._order = epoch, torch.randperm(len(self._dataset), generator=generator).tolist()
        return self._order[1][place]
