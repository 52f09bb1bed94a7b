# SPDX-License-Identifier: Apache-2.0
"""Manifest of a folder: written and synced last, it says that every file is in place.

A program may be killed at any moment, also inside a save. A checkpoint or a saved model counts only when its
`manifest.json` names files that all exist with the sizes it gives. Of large safetensors files the header is read.
Whoever edits a saved model deletes its manifest.

    {"files": {"config.json": 713, "model.safetensors": 988097536}}

Cards and records of runs name the versions and the commit that made them.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from safetensors import SafetensorError, safe_open

MANIFEST_NAME = "manifest.json"
# Of the folder of a training: what the runs in it were, their page, and a finished model on its way to its place.
RUN_MANIFEST_NAME, REPORT_NAME = "run_manifest.json", "report.html"
STAGING_NAME = ".model-staging"
_LARGE_BYTES = 4 * 2**20
_PACKAGES = ("open-r1", "datasets", "pyarrow", "numpy", "transformers", "trl", "vllm", "distilabel", "math-verify")


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new one, never a part."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_manifest(folder: Path, names: list[str] | None = None) -> None:
    """Sync files of a folder to disk, then write the manifest that declares it complete.

    Args:
        folder: A checkpoint, or the folder of a saved model.
        names: Files that belong to it, relative to the folder; None takes every file below it.
    """
    if names is None:
        names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    temporary = folder / f".{MANIFEST_NAME}.tmp"
    temporary.unlink(missing_ok=True)  # left by a kill; listed below, it would be missing ever after
    files = {
        name: (folder / name).stat().st_size
        for name in sorted(names)
        if Path(name).name not in (MANIFEST_NAME, temporary.name)
    }
    for name in files:
        _sync(folder / name)
    for parent in {(folder / name).parent for name in files} | {folder}:
        _sync(parent)  # the names of the files, subfolders included
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump({"files": files}, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / MANIFEST_NAME)
    _sync(folder)


def remove_manifest(folder: Path) -> None:
    """Declare a folder incomplete before its files change."""
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    if folder.is_dir():
        _sync(folder)


def missing_from(folder: Path) -> str | None:
    """Say why a folder is not complete, or None when it is."""
    manifest = folder / MANIFEST_NAME
    if not manifest.is_file():
        return f"it has no {MANIFEST_NAME}, so it was not written to the end"
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"its {MANIFEST_NAME} is damaged ({type(error).__name__})"
    if not files:
        return f"its {MANIFEST_NAME} names no files"
    for name, size in files:
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if size > _LARGE_BYTES and path.suffix == ".safetensors":
            try:
                with safe_open(path, framework="numpy"):
                    pass
            except SafetensorError as error:
                return f"{name} is damaged ({error})"
    return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
