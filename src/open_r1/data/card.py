# SPDX-License-Identifier: Apache-2.0
"""Cards of data sets: sources of the rows, steps with counts, teacher, licence, marks of contamination.

    {"name": "clean", "settings": {"script": "decontaminate", ...}, "parents": [{"name": "GAIR/LIMO", ...}],
     "steps": [{"name": "decontamination", "rows_before": 817, "rows_after": 812, ...}], "licence": "apache-2.0", ...}

`card.json` is for programs, `README.md` for people, the hub and `datasets`, which finds the files by its header.
Neither holds a secret.
"""

import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from open_r1.manifest import package_versions, source_commit
from open_r1.secret_names import command_line, hide_secrets, without_named_secrets

CARD_NAME = "card.json"
README_NAME = "README.md"
UNKNOWN_LICENCE = "unknown"
SEPARATOR = " AND "
# Rows that share text with a benchmark: their boolean columns, and what became of them by `contamination`.
FLAG_PREFIX = "contaminated_"
FATE = "flagged_rows_are"
REMOVED = "removed"
MARKED = f"kept, and marked in columns {FLAG_PREFIX}<benchmark>"
# Names that the hub knows; it refuses a README with another one, which is `other` there.
_HUB_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc
    cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
    cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 gfdl gpl
    gpl-2.0 gpl-3.0 isc lgpl lgpl-3.0 mit mpl-2.0 ms-pl ncsa odbl odc-by openrail osl-3.0 other pddl postgresql
    unlicense wtfpl zlib
"""


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
        card: What its own card says (`DataCard.summary`), its parents' cards within; None without a card.
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
    versions: dict[str, str] = field(default_factory=package_versions)
    commit: str | None = field(default_factory=source_commit)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self) -> None:
        self.licence = (self.licence or "").strip() or inherited_licence(self.parents)
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

    def readme(self, patterns: Mapping[str, Mapping[str, str]]) -> str:
        """Return the text of `README.md`.

        Args:
            patterns: Patterns of the files by configuration and split, relative to the folder.
        """
        configs: list[dict[str, Any]] = [
            {"config_name": config, "data_files": [{"split": split, "path": path} for split, path in splits.items()]}
            for config, splits in patterns.items()
        ]
        if len(configs) > 1:
            configs[0]["default"] = True
        header = {"configs": configs, **header_licence(self.licence or UNKNOWN_LICENCE)}
        text = json.dumps(self.summary(), indent=1).replace("<", "\\u003c")
        parts = [
            f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---",
            *(" ".join(line.split()).replace("<", "&lt;").replace("![", "!\\[") for line in plain_json(self._lines())),
            f"```json\n{text}\n```",
        ]
        return "\n\n".join(parts) + "\n"

    def _lines(self) -> list[str]:
        steps = [f"{step.name}: {step.rows_before} -> {step.rows_after} rows." for step in self.steps]
        checked = [] if self.contamination else ["Not checked for contamination here."]
        return [f"# {self.name}", *self.notes, *steps, *checked]

    def summary(self) -> dict[str, Any]:
        """Return what the card of a data set made from this one repeats: how it was made, and from what."""
        values = plain_json(asdict(self)) | {"fingerprint": self.fingerprint()}
        return {name: value for name, value in values.items() if name not in ("versions", "reports", "parts")}

    def differences(self, wanted: "DataCard") -> str:
        """Say which settings or parents of another card differ, the value here first."""
        pairs = []
        before, now = plain_json(self.settings), plain_json(wanted.settings)
        for name in sorted(set(before) | set(now)):
            if before.get(name) != now.get(name):
                pairs.append(f"{name} {before.get(name)!r} -> {now.get(name)!r}")
        old, new = ([f"{parent.name} {parent.identity()}" for parent in card.parents] for card in (self, wanted))
        if old != new:
            pairs.append(f"source {', '.join(old)} -> {', '.join(new)}")
        return "; ".join(pairs) or "by a value that looks like a secret and is not shown"

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
    """Return the card of a folder, or None when these scripts have written none.

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
        raise ValueError(f"{path} is a damaged card: {error!r}. Remove it, or make the folder again.") from error


def _known_fields(kind: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that a card's class knows: those of a newer version are passed over."""
    known = {entry.name for entry in fields(kind)}
    return {name: value for name, value in values.items() if name in known}


def inherited_licence(parents: list[Parent]) -> str:
    """Return the licence that all parents name; several stand side by side, `unknown` among them."""
    found = {name for parent in parents for name in (parent.licence or UNKNOWN_LICENCE).split(SEPARATOR)}
    return SEPARATOR.join(sorted(found)) if found else UNKNOWN_LICENCE


def header_licence(licence: str) -> dict[str, Any]:
    """Return the entries of a README's header for a licence; none where it is unknown."""
    names = [name.strip().lower() for name in licence.split(SEPARATOR.strip())]
    if UNKNOWN_LICENCE in names:
        return {}
    if not set(names) <= set(_HUB_LICENCES.split()):
        return {"license": "other", "license_name": licence}
    return {"license": names[0] if len(names) == 1 else names}


def declared_licence(name: str, revision: str | None) -> str | None:
    """Return the licence in the header of a data set's README, or None: nothing is asked over the network.

    Args:
        name: A local file or folder, or a name on the hub whose README lies in the cache since it was loaded.
        revision: Its revision on the hub.
    """
    from huggingface_hub import metadata_load, try_to_load_from_cache  # slow to import

    readme: Any = Path(name).expanduser() / README_NAME
    if not readme.parent.exists() and re.fullmatch(r"[\w.\-]+(/[\w.\-]+)?", name):
        readme = try_to_load_from_cache(name, README_NAME, revision=revision, repo_type="dataset")
    if not isinstance(readme, str | Path) or not Path(readme).is_file():
        return None
    try:
        header = metadata_load(readme) or {}
    except (ValueError, yaml.YAMLError):
        return None  # somebody else's README: a header that cannot be read declares nothing
    value = header.get("license")
    if value == "other":
        value = header.get("license_name", value)
    return SEPARATOR.join(map(str, value)) if isinstance(value, list) else value
