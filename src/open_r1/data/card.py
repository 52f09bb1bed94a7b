# SPDX-License-Identifier: Apache-2.0
"""The card of a data set: where its rows come from, what was done to them, and how many were left at each step.

A card is two files: `card.json` for programs, `README.md` for people and for the loader of `datasets`, which finds in
its first lines where the rows are.
"""

import contextlib
import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from open_r1.data.licences import SEPARATOR, UNKNOWN_LICENCE
from open_r1.secret_names import command_line, hide_secrets, without_named_secrets

logger = logging.getLogger(__name__)

CARD_NAME = "card.json"
README_NAME = "README.md"
_PACKAGES = ("open-r1", "datasets", "pyarrow", "numpy", "transformers", "trl", "vllm", "distilabel", "math-verify")


@dataclass
class Parent:
    """A data set that the rows come from.

    Args:
        name: As it was named: hub name, local file or folder, `tasks/<name>`.
        config: Its configuration.
        split: Its split, or slice of one.
        revision: Branch, tag or commit on the hub.
        fingerprint: Hash that changes when its rows do.
        num_rows: Rows read; None where nobody counted.
        licence: Licence by its own card, or None.
        card: What its own card says (`DataCard.summary`), its parents' cards within; None where it has none of ours.
    """

    name: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    fingerprint: str | None = None
    num_rows: int | None = None
    licence: str | None = None
    card: dict[str, Any] | None = None

    def identity(self) -> list[str | None]:
        """Return what tells it from other data: its contents where they are known, else its name and place."""
        if self.fingerprint is not None:
            return [self.fingerprint]
        return [self.name, self.config, self.split, self.revision]


@dataclass
class Step:
    """One step that rows went through, such as a filter.

    Args:
        name: What was done.
        rows_before: Rows that went in.
        rows_after: Rows that came out.
        detail: Why rows were lost or changed, by counts or settings.
    """

    name: str
    rows_before: int
    rows_after: int
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass
class DataCard:
    """What is known of a data set.

    Args:
        name: Short name, for the title.
        settings: What decides the rows: two runs with equal settings and parents make the same data set.
        parents: Data sets the rows come from.
        command: The command line; this process's own by default.
        steps: What the rows went through, in order.
        teacher: Who wrote completions: model as served, revision, server version. None where nobody did.
        sampling: Temperature, top_p, lengths, ... of the teacher.
        contamination: Against which benchmarks the rows were checked, how, with which result. None: not checked.
        licence: Licence of the rows; by default what the parents agree on (`inherited_licence`).
        notes: Sentences for the reader.
        counts: Rows by split (`<config>/<split>` in a configuration), filled in when the folder is published.
        reports: Names of the report files beside the data, filled in when the folder is published.
        parts: What it was merged of: contents of each part, by its name.
        versions: Versions of the packages in use.
        commit: Commit of this repository, where it is one.
        created: Time of publication, UTC.
    """

    name: str
    settings: dict[str, Any]
    parents: list[Parent] = field(default_factory=list)
    command: str = field(default_factory=lambda: command_line(sys.argv))
    steps: list[Step] = field(default_factory=list)
    teacher: dict[str, Any] | None = None
    sampling: dict[str, Any] | None = None
    contamination: dict[str, Any] | None = None
    licence: str | None = None
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    reports: list[str] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=lambda: package_versions())
    commit: str | None = field(default_factory=lambda: source_commit())
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self) -> None:
        if not (self.licence or "").strip():
            self.licence = inherited_licence(self.parents)
        self._recorded_fingerprint: str | None = None

    def fingerprint(self) -> str:
        """Return a hash of settings and parents: what was made by the same ones needs no second making.

        Of a card that was read it is the one that stands there, of settings before secrets in them were hidden. Keys
        and tokens that are settings by name count as equal.
        """
        if self._recorded_fingerprint is not None:
            return self._recorded_fingerprint
        settings = without_named_secrets(_json_values(self.settings))
        text = json.dumps([settings, [parent.identity() for parent in self.parents]], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]

    def summary(self) -> dict[str, Any]:
        """Return what the card of a data set made from this one repeats: how it was made, and from what."""
        values = plain_json(asdict(self)) | {"fingerprint": self.fingerprint()}
        return {name: value for name, value in values.items() if name not in ("versions", "reports", "parts")}

    def to_json(self) -> str:
        """Return the text of `card.json`; it is ASCII, whatever the values are."""
        return json.dumps(plain_json(asdict(self)) | {"fingerprint": self.fingerprint()}, indent=2) + "\n"


def plain_json(value: Any) -> Any:
    """Return a value as it comes back from JSON, without secrets: paths as text, sets sorted, keys as text."""
    return hide_secrets(_json_values(value))


def _json_values(value: Any) -> Any:
    return json.loads(json.dumps(value, default=_as_json))


def _as_json(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, (set, frozenset)) else str(value)


def read_card(folder: Path | str) -> DataCard | None:
    """Return the card of a folder, or None when it has none of ours.

    Raises:
        ValueError: There is a `card.json` that is damaged.
    """
    path = Path(folder) / CARD_NAME
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or "settings" not in values:
            return None  # somebody else's file of this name
        values["parents"] = [Parent(**_known_fields(Parent, parent)) for parent in values["parents"]]
        values["steps"] = [Step(**_known_fields(Step, step)) for step in values["steps"]]
        card = DataCard(**_known_fields(DataCard, values))
        fingerprint = values.get("fingerprint")
        if isinstance(fingerprint, str):
            card._recorded_fingerprint = fingerprint
        return card
    except (AttributeError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no card of ours: {error!r}. Remove it, or make the folder again.") from error


def _known_fields(kind: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that a card's class knows: those of a newer version are passed over."""
    known = {entry.name for entry in fields(kind)}
    return {name: value for name, value in values.items() if name in known}


def inherited_licence(parents: list[Parent]) -> str:
    """Return the licence that all parents name; several stand side by side, `unknown` among them."""
    found = {name for parent in parents for name in (parent.licence or UNKNOWN_LICENCE).split(SEPARATOR)}
    return SEPARATOR.join(sorted(found)) if found else UNKNOWN_LICENCE


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that can change what is made, and of Python."""
    return {"python": sys.version.split()[0], **versions_of(_PACKAGES)}


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def source_commit() -> str | None:
    """Return the commit of the checkout that runs, with `-dirty` where it was changed; None outside of one."""
    try:
        found = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None  # no checkout, or no git: the versions still tell what ran
    return found.stdout.strip()
