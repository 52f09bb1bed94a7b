# SPDX-License-Identifier: Apache-2.0
"""A warning before a training reads rows that share text with a benchmark."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from datasets import DatasetDict

from open_r1.configs import DatasetMixtureConfig, ScriptArguments
from open_r1.data.card import read_card
from open_r1.data.contamination import count_flagged, flag_columns

logger = logging.getLogger(__name__)

_REMEDY = (
    "Take them out by scripts/decontaminate.py --cleanup or scripts/curate.py; benchmarks mean nothing otherwise."
)


def warn_of_contaminated(dataset: DatasetDict, args: ScriptArguments) -> None:
    """Warn when the training split has rows that are flagged as contaminated, by their columns, else by their cards.

    Args:
        dataset: What `get_dataset` gave.
        args: Which data set or mixture it is, and which split is trained on.
    """
    split = args.dataset_train_split
    rows = dataset.get(split)
    flags = [] if rows is None else flag_columns(rows.features.arrow_schema)
    if rows is not None and flags:
        table = rows.select_columns(flags).with_format("arrow")[:]
        count = int(np.any([column.fill_null(False).to_numpy() for column in table.columns], axis=0).sum())
        if count:
            logger.warning(
                "%d of %d rows of split %r share text with a benchmark (columns %s). %s",
                count,
                len(rows),
                split,
                ", ".join(flags),
                _REMEDY,
            )
        return
    for name in _sources(args):
        path = Path(name).expanduser()
        card = read_card(path) if path.is_dir() else None
        count = 0 if card is None else count_flagged(asdict(card))
        if count:
            logger.warning(
                "The card of %s says that %d of its rows, or of those it was made from, share text with a "
                "benchmark and were kept. %s",
                name,
                count,
                _REMEDY,
            )


def _sources(args: ScriptArguments) -> Sequence[str]:
    if isinstance(args.dataset_mixture, DatasetMixtureConfig):  # `__post_init__` made it one
        return [entry.id for entry in args.dataset_mixture.datasets]
    return [str(args.dataset_name)]
