# SPDX-License-Identifier: Apache-2.0
"""Beside a journal, what its answers don't tell: who gave them in each run, whose code asked, and how long it took.

    <benchmark>/asking.jsonl    {"served_by": [...], "commit": ...} where a run begins to ask,
                                {"tokens": ..., ...} where it ends

1. A run that is killed leaves who was asked, and no seconds: its answers are then missing in the speed, not its share.
"""

import json
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from open_r1.data.card import plain_json
from open_r1.generation.client import server_url

_ASK_S = 5.0
_MOST_BYTES = 1 << 24

ASKING_NAME = "asking.jsonl"


def note_servers(folder: Path, served_by: Sequence[Mapping[str, Any]], commit: str | None) -> None:
    """Add who is asked from now on, and by which code; the caller alone is at the folder."""
    add_line(folder, {"served_by": [dict(entry) for entry in served_by], "commit": commit})


def read_servers(folder: Path) -> list[dict[str, Any]]:
    """Return all that were asked so far, each kind once, the first ones first."""
    found: list[dict[str, Any]] = []
    for line in read_lines(folder):
        found += [entry for entry in line.get("served_by", []) if entry not in found]
    return found


def read_commits(folder: Path) -> list[str]:
    """Return the commits of all code that has asked so far, each once, the first ones first."""
    return list(dict.fromkeys(line["commit"] for line in read_lines(folder) if isinstance(line.get("commit"), str)))


def add_line(folder: Path, line: Mapping[str, Any]) -> None:
    """Add what is to be known of a run."""
    path = folder / ASKING_NAME
    is_torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:  # what a killed process has half written stays a line by itself
        file.write(("\n" if is_torn else "") + json.dumps(plain_json(line), ensure_ascii=False) + "\n")


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Return what was added so far, of all runs."""
    try:
        lines = (folder / ASKING_NAME).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def describe_servers(addresses: Sequence[str], api_key: str | None) -> list[dict[str, Any]]:
    """Return by what servers serve, each kind once: `engine` and `version`, None where they don't tell.

    vLLM tells its version at /version, and its name among its models.
    """
    found: list[dict[str, Any]] = []
    for address in addresses:
        url = server_url(address)
        models = _get(f"{url}/models", api_key).get("data")
        told = _get(f"{url.removesuffix('/v1')}/version", api_key)
        first = models[0] if isinstance(models, list) and models and isinstance(models[0], dict) else {}
        kind = {"engine": first.get("owned_by"), "version": None}
        kind |= {name: value for name, value in told.items() if isinstance(value, str)}
        if kind not in found:
            found.append(kind)
    return [kind for kind in found if any(kind.values())] or found  # one may just be away


def _get(url: str, api_key: str | None) -> dict[str, Any]:
    request = Request(url, headers={} if api_key is None else {"Authorization": f"Bearer {api_key}"})
    # The proxy of the environment is for servers beyond the cluster alone.
    opener = build_opener() if url.startswith("https:") else build_opener(ProxyHandler({}))
    try:
        with opener.open(request, timeout=_ASK_S) as reply:
            value = json.loads(reply.read(_MOST_BYTES))
    except (OSError, HTTPException, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
