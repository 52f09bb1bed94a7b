# SPDX-License-Identifier: Apache-2.0
"""Data sets that a recipe mixes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class DatasetConfig:
    """One data set of a mixture.

    Args:
        id: Hub name, local file, local folder or `tasks/<name>`.
        config: Configuration of the data set.
        split: Split to read; slices such as `train[:10]` or `train[10%:20%]` work.
        columns: Columns to keep. All of them when None. Data sets may differ in them; the ones missing are null.
        weight: Share of this data set to keep, in (0, 1]; drawn after a seeded shuffle. None keeps all rows in order.
        fraction: What `weight` is: write one of the two.
        num_rows: Rows of this data set to keep, drawn after a seeded shuffle, in place of a share.
        revision: Branch, tag or commit on the hub.
        domain: Value of the column `domain` in all its rows, by which `reward_domains` chooses their rewards.
        layout: As `dataset_layout`, for this data set; `columns` are those after the mapping.
    """

    id: str
    config: str | None = None
    split: str = "train"
    columns: list[str] | None = None
    weight: float | None = None
    # Behind the fields above, which stand in the order that users of Open R1 know.
    revision: str | None = None
    domain: str | None = None
    layout: str | None = None
    fraction: float | None = None
    num_rows: int | None = None

    def __post_init__(self) -> None:
        for name in ("id", "config", "split", "revision", "domain", "layout"):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise ValueError(f"`{name}` of data set {self.id!r} is {value!r}: put text in quotes.")
        if not self.id or not self.split:
            raise ValueError(f"A data set of a mixture needs an `id` and a `split`, got: {self}")
        if self.columns is not None and not isinstance(self.columns, list):
            raise ValueError(f"`columns` of data set {self.id!r} is {self.columns!r}: it must be a list of names.")
        if self.num_rows is not None and not (type(self.num_rows) is int and self.num_rows > 0):
            raise ValueError(f"`num_rows` of data set {self.id!r} is {self.num_rows!r}: it must be 1 or more.")
        if sum(share is not None for share in (self.weight, self.fraction, self.num_rows)) > 1:
            raise ValueError(f"Data set {self.id!r}: name one of `weight`, `fraction` and `num_rows`.")
        if self.fraction is not None:
            self.weight, self.fraction = self.fraction, None
        if self.weight is not None and not (isinstance(self.weight, int | float) and 0 < self.weight <= 1):
            raise ValueError(f"`weight` of data set {self.id!r} is {self.weight!r}: it is a share, in (0, 1].")

    def num_drawn(self, num_found: int) -> int | None:
        """Return how many of so many rows are drawn after a shuffle; None: all of them, in their order.

        Raises:
            ValueError: There are fewer than `num_rows`.
        """
        if self.num_rows is not None:
            if self.num_rows > num_found:
                raise ValueError(
                    f"`num_rows` of data set {self.id!r} is {self.num_rows}, and it has {num_found} rows."
                )
            return self.num_rows
        return None if self.weight is None else int(num_found * self.weight + 1e-9)  # 100 * 0.29 is below 29


@dataclass
class DatasetMixtureConfig:
    """Data sets that are concatenated and shuffled.

    Args:
        datasets: The data sets.
        seed: Seed of the shuffles and of the test split, 0 or more. Which rows are taken of a data set depends on its
            entry and the seed alone; the order of the data sets decides only how rows are shuffled together.
        test_split_size: Share of the mixture held out as split `test`, in (0, 1). None makes no such split.
    """

    datasets: list[DatasetConfig]
    seed: int = 0
    test_split_size: float | None = None

    def __post_init__(self) -> None:
        if not self.datasets:
            raise ValueError("`dataset_mixture.datasets` is empty: name at least one data set.")
        size = self.test_split_size
        if size is not None and not (isinstance(size, float) and 0 < size < 1):
            raise ValueError(f"`test_split_size` is {size!r}: it is a share of the rows, in (0, 1).")


def build_mixture(value: Any) -> DatasetMixtureConfig:
    """Turn the YAML mapping of `dataset_mixture` into a `DatasetMixtureConfig`.

    Raises:
        ValueError: The mapping has the wrong shape, an unknown key, or an entry without `id`.
    """
    if not isinstance(value, Mapping) or not isinstance(value.get("datasets"), list):
        raise ValueError(f"`dataset_mixture` must be a mapping whose key `datasets` is a list, got: {value!r}")
    entries = []
    for number, entry in enumerate(value["datasets"]):
        # A missing weight means the whole data set, shuffled; an explicit null keeps the rows in their order.
        is_drawn = isinstance(entry, Mapping) and bool({"fraction", "num_rows"} & set(entry))
        default = {} if is_drawn else {"weight": 1.0}
        entries.append(_build(DatasetConfig, f"dataset_mixture.datasets[{number}]", default, entry))
    return _build(DatasetMixtureConfig, "dataset_mixture", value, {"datasets": entries})


def _build(config_class: type[T], where: str, settings: Mapping[str, Any], more: Mapping[str, Any]) -> T:
    """Return an object with these settings; the ones in `more` win."""
    try:
        return config_class(**{**settings, **more})
    except TypeError as error:
        keys = list(config_class.__annotations__)
        raise ValueError(f"`{where}` must be a mapping with keys among {keys}: {error}") from error
