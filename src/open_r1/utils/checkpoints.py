# SPDX-License-Identifier: Apache-2.0
"""Folders that are whole or not there: a manifest, written and synced last, says that every file is in place.

A training run may be killed at any moment, also inside a save. A checkpoint (or a saved model) counts only when its
`manifest.json` names files that all exist with the sizes it gives; resuming takes no other.
"""

import json
import logging
import os
import re
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

MANIFEST_NAME = "manifest.json"
STAGING_NAME = ".model-staging"
ROLLOUTS_NAME = "rollouts"
REFERENCE_NAME = "reference.pt"  # in a checkpoint: weights of a reference model that moves
BENCHMARK_ANSWERS_NAME = "eval_benchmarks"
_MODEL_CARD = "README.md"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model*.bin")
_MODEL_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "config.json",
    "adapter_config.json",
)
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


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
        json.dump({"version": 1, "files": files}, stream, indent=1)
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
    return None


def list_checkpoints(output_dir: Path) -> list[Path]:
    """Return the checkpoint folders of a run, complete or not, by rising step."""
    if not output_dir.is_dir():
        return []
    found = [path for path in output_dir.iterdir() if path.is_dir() and _CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=step_of)


def is_checkpoint(folder: Path) -> bool:
    """Say whether a folder is named as checkpoints of a run are, whole or not."""
    return _CHECKPOINT.fullmatch(folder.name) is not None


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step of a checkpoint folder."""
    match = _CHECKPOINT.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint} is not named checkpoint-<step>.")
    return int(match[1])


def asks_for_fresh_start(resume_from_checkpoint: str | bool | None) -> bool:
    """Say whether `resume_from_checkpoint` is a word for no."""
    return resume_from_checkpoint is not None and str(resume_from_checkpoint).lower() in ("false", "no", "none", "0")


def last_complete_checkpoint(output_dir: Path) -> Path | None:
    """Return the complete checkpoint with the highest step, or None; each one passed over is logged."""
    for checkpoint in reversed(list_checkpoints(output_dir)):
        reason = missing_from(checkpoint)
        if reason is None:
            return checkpoint
        logger.warning("Passing over %s: %s.", checkpoint, reason)
    return None


def rotate_checkpoints(output_dir: Path, limit: int | None, keep: Path | None = None) -> None:
    """Delete the oldest checkpoints beyond `limit`, and every incomplete one older than the newest complete one.

    Args:
        output_dir: Folder of the run.
        limit: Number of complete checkpoints to keep; None or 0 keeps all.
        keep: Checkpoint that stays in any case (the best one).
    """
    checkpoints = list_checkpoints(output_dir)
    complete = [path for path in checkpoints if missing_from(path) is None]
    if not complete:
        return
    doomed = [path for path in checkpoints if path not in complete and step_of(path) < step_of(complete[-1])]
    if limit:
        removable = [path for path in complete[:-1] if keep is None or path.resolve() != keep.resolve()]
        doomed += removable[: max(0, len(complete) - limit)]
    for path in doomed:
        # Without its manifest first, a deletion that is cut short cannot leave a folder that looks whole.
        remove_manifest(path)
        shutil.rmtree(path)


def set_aside(output_dir: Path, after_step: int = -1) -> None:
    """Move the checkpoints of an earlier run out of the way of one that starts afresh, or from an earlier step.

    Args:
        output_dir: Folder of the run.
        after_step: Checkpoints of later steps are moved; with the default all, and the recorded rollouts and answers
            with them.
    """
    checkpoints = [path for path in list_checkpoints(output_dir) if step_of(path) > after_step]
    if not checkpoints:
        return
    number = 1
    while (target := output_dir / f"superseded-{number}").exists():
        number += 1
    target.mkdir()
    for checkpoint in checkpoints:
        checkpoint.rename(target / checkpoint.name)
    for name in (ROLLOUTS_NAME, BENCHMARK_ANSWERS_NAME):
        if after_step < 0 and (output_dir / name).is_dir():
            (output_dir / name).rename(target / name)
    logger.warning("%d checkpoints of an earlier run were moved to %s.", len(checkpoints), target)


def publish(staging: Path, folder: Path) -> None:
    """Move the files of a finished `staging` folder into `folder`, replacing older ones, and write the manifest.

    A reader sees either the old files with their manifest, or no manifest, or the new files with theirs.

    Raises:
        ValueError: No weights were saved; the files in `folder` are left as they are.
    """
    names = [str(path.relative_to(staging)) for path in staging.rglob("*") if path.is_file()]
    if not any(Path(name).match(pattern) for name in names for pattern in _WEIGHTS):
        raise ValueError(f"no weights were saved, only {names}; ZeRO-3 needs `zero3_save_16bit_model: true`")
    folder.mkdir(parents=True, exist_ok=True)
    remove_manifest(folder)
    for pattern in _MODEL_FILES:
        for stale in folder.glob(pattern):  # shards or an adapter of an earlier model would be loaded with the new one
            if stale.name not in names:
                stale.unlink()
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).replace(folder / name)
    # The model card is rewritten afterwards, and edited by people: its size proves nothing.
    write_manifest(folder, [name for name in names if name != _MODEL_CARD])
    shutil.rmtree(staging)  # last: while it is there and the manifest is not, the folder counts as unfinished


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
