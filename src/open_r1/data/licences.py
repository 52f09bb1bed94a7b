# SPDX-License-Identifier: Apache-2.0
"""Licences of data sets: what a data set declares, and how the hub wants it written."""

import re
from pathlib import Path
from typing import Any

import yaml

UNKNOWN_LICENCE = "unknown"
SEPARATOR = " AND "
_HEADER = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
# The names that the hub knows; every other is `other` there, with its name beside it.
_HUB_NAMES = frozenset({
    "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "ecl-2.0", "epl-2.0", "etalab-2.0",
    "eupl-1.1", "eupl-1.2", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "isc", "lgpl", "lgpl-3.0", "mit", "mpl-2.0",
    "ms-pl", "ncsa", "odbl", "odc-by", "openrail", "osl-3.0", "other", "pddl", "postgresql", "unlicense", "wtfpl",
    "zlib",
})  # fmt: skip


def header_licence(licence: str) -> dict[str, Any]:
    """Return the entries of a README's header for a licence; none where it is unknown."""
    names = [name.strip() for name in licence.split(SEPARATOR.strip())]
    if UNKNOWN_LICENCE in names:
        return {}
    known = [name.lower() for name in names]
    if not _HUB_NAMES.issuperset(known):
        return {"license": "other", "license_name": licence}
    return {"license": known[0] if len(known) == 1 else known}


def declared_licence(name: str, revision: str | None) -> str | None:
    """Return the licence in the header of a data set's README, or None: nothing is asked over the network.

    Args:
        name: A local file or folder, or a name on the hub whose README lies in the cache since it was loaded.
        revision: Its revision on the hub.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return None
    readme: str | Path | None = path / "README.md"
    if not path.is_dir():
        from huggingface_hub import try_to_load_from_cache  # slow to import

        if not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)?", name):
            return None
        found = try_to_load_from_cache(name, "README.md", revision=revision, repo_type="dataset")
        readme = found if isinstance(found, str) else None
    if readme is None or not Path(readme).is_file():
        return None
    header = read_header(Path(readme).read_text(encoding="utf-8", errors="replace"))
    value = header.get("license")
    if value == "other":
        return str(header.get("license_name") or value)
    if isinstance(value, list):
        return SEPARATOR.join(str(entry) for entry in value) or None
    return str(value) if value else None


def read_header(readme: str) -> dict[str, Any]:
    """Return the entries of a README's header; none where it has none that can be read."""
    match = _HEADER.match(readme)
    try:
        header = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        return {}  # somebody else's README: a header that cannot be read declares nothing
    return header if isinstance(header, dict) else {}


def without_header(readme: str) -> str:
    """Return the text of a README behind its header."""
    match = _HEADER.match(readme)
    return readme[match.end() :].lstrip() if match else readme
