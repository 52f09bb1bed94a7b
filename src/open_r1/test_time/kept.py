# SPDX-License-Identifier: Apache-2.0
"""Which attempts of a journal make points: those of this command, and of earlier ones at the same problems.

So that the curve of a folder grows, whatever the order of commands. A setting counts with all its problems and
repeats, or not at all: points over different problems can't be compared.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from open_r1.test_time.results import FINGERPRINT, Setting

_MOST_NAMED = 8


@dataclass(frozen=True)
class Kept:
    """What of a journal is published.

    Attributes:
        records: Of whole settings, one setting after the other: this command's, then those of earlier ones.
        unfinished: Settings of earlier commands that lack problems or repeats that count.
    """

    records: Sequence[dict[str, Any]]
    unfinished: Sequence[Setting]

    def notes(self) -> list[str]:
        """Return what readers must know of what isn't here."""
        if not self.unfinished:
            return []
        named = [setting.label for setting in self.unfinished[:_MOST_NAMED]]
        num_more = len(self.unfinished) - len(named)
        more = [f"{num_more} more"] if num_more else []
        return [
            f"{', '.join([*named, *more])}: the journal has not all of these problems and repeats, or by another "
            "verifier or sandbox, so that there is no point until a command names them too"
        ]


def kept_of(
    records: Iterable[dict[str, Any]],
    planned: Sequence[Setting],
    rows: Collection[int],
    repeats_of: Callable[[str], int],
    counts: Callable[[dict[str, Any]], bool] = lambda record: True,
) -> Kept:
    """Return what is published of a journal whose records of the planned settings are all there.

    Args:
        records: All that the journal has; of the same attempt the later one counts.
        planned: The settings of this command. What an earlier one has by another scorer under the same name is
            replaced by them.
        rows: Numbers of the rows that count.
        repeats_of: How often a method solves each problem.
        counts: Whether a record is of use; others are as if they weren't there.
    """
    rows = set(rows)
    found: dict[str, dict[tuple[int, int], dict[str, Any]]] = {setting.key: {} for setting in planned}
    settings = {setting.key: setting for setting in planned}
    names = {_name(setting) for setting in planned}
    for record in records:
        setting = Setting(record["method"], record["values"])
        is_counted = record["row"] in rows and record["index"] < repeats_of(setting.method)
        if is_counted and (setting.key in found or _name(setting) not in names):
            settings.setdefault(setting.key, setting)
            by_name = found.setdefault(setting.key, {})
            if counts(record):
                by_name[record["row"], record["index"]] = record
    whole = {
        key: by_name for key, by_name in found.items() if len(by_name) == len(rows) * repeats_of(settings[key].method)
    }
    return Kept(
        [by_name[name] for by_name in whole.values() for name in sorted(by_name)],
        [setting for key, setting in settings.items() if key not in whole],
    )


def _name(setting: Setting) -> str:
    """Return the key of a setting without its scorer's fingerprint."""
    return Setting(setting.method, {name: one for name, one in setting.values.items() if name != FINGERPRINT}).key
