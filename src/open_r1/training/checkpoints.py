# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in the folder of a run: its owner, which are whole, where a run starts; and the finished model."""

import atexit
import json
import logging
import os
import re
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from open_r1.configs.evaluation import BENCHMARK_ANSWERS_NAME, ROLLOUTS_NAME
from open_r1.configs.training import TrainingConfig
from open_r1.manifest import (
    MANIFEST_NAME,
    STAGING_NAME,
    missing_from,
    remove_manifest,
    write_manifest,
    write_whole,
)
from open_r1.training.tracking import has_begun, read_json, recorded_starts

logger = logging.getLogger(__name__)

_LOCK_NAME, _OWNER_NAME = ".run.lock", ".run.json"
_MODEL_CARD = "README.md"
# Of a run that is given up, beside its checkpoints and its model.
_LOGS = (
    *(ROLLOUTS_NAME, BENCHMARK_ANSWERS_NAME, "completions", "runs"),
    *("report.html", "trainer_state.json", "*_results.json"),
)
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model*.bin")
_MODEL_FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "config.json",
    "adapter_config.json",
)
# Words of `resume_from_checkpoint`; all else is a path.
_YES, _NO = ("true", "yes", "auto", "1"), ("false", "no", "none", "0")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def claim(output_dir: Path) -> FileLock:
    """Lock a folder against other runs until this process ends, or releases the lock; it may lock it twice.

    The kernel frees the lock of a process that has ended, also one on another host where they share the folder by NFS.
    Where a dead host, or storage without locks, keeps it, a requeued job takes it over from its earlier attempt.

    Raises:
        ValueError: Another process trains in the folder, or it can't be written.
    """
    own = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "attempt": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }
    path = output_dir / _LOCK_NAME
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, is_singleton=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            other = read_json(output_dir / _OWNER_NAME) or {}
            if own["job"] is None or own["job"] != other.get("job") or own["attempt"] == other["attempt"]:
                raise ValueError(
                    f"Process {other.get('pid')} on {other.get('host')} trains in `output_dir` {output_dir}: name "
                    f"another folder, or wait for its end. If it has died with its machine, delete {path}."
                ) from None
            path.unlink()
            lock.acquire(blocking=False)
        write_whole(output_dir / _OWNER_NAME, json.dumps(own))
    except OSError as error:
        raise ValueError(f"`output_dir` is {output_dir}, which can't be written ({error}): name another.") from error
    atexit.register(lock.release, force=True)
    return lock


def list_checkpoints(output_dir: Path) -> list[Path]:
    """Return the checkpoint folders of a run, complete or not, by rising step."""
    if not output_dir.is_dir():
        return []
    found = [path for path in output_dir.iterdir() if path.is_dir() and _CHECKPOINT.fullmatch(path.name)]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step of a checkpoint folder."""
    match = _CHECKPOINT.fullmatch(checkpoint.name)
    if match is None:
        raise ValueError(f"{checkpoint} is not named checkpoint-<step>.")
    return int(match[1])


def last_complete_checkpoint(output_dir: Path) -> Path | None:
    """Return the complete checkpoint with the highest step, or None; each one passed over is logged."""
    for checkpoint in reversed(list_checkpoints(output_dir)):
        reason = missing_from(checkpoint)
        if reason is None:
            return checkpoint
        logger.warning("Skipping %s: %s.", checkpoint, reason)
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


def holds_foreign_model(folder: Path) -> bool:
    """Return whether weights lie in a folder that no killed run of ours was about to move there."""
    return not (folder / STAGING_NAME).exists() and any(any(folder.glob(pattern)) for pattern in _WEIGHTS)


def archive(output_dir: Path, after_step: int = -1) -> None:
    """Move model and checkpoints of an earlier run out of the way of one that starts afresh, or from an earlier step.

    Args:
        output_dir: Folder of the run.
        after_step: Checkpoints of later steps are moved; with the default all, and rollouts and logs with them.
    """
    found = [path for path in list_checkpoints(output_dir) if step_of(path) > after_step]
    if after_step < 0:
        found += [path for pattern in _LOGS for path in output_dir.glob(pattern)]
    manifest = read_json(output_dir / MANIFEST_NAME) or {"files": ()}
    # The manifest last: until then the model counts as unfinished, and the next attempt moves the rest.
    found += [output_dir / name for name in (*manifest["files"], _MODEL_CARD, MANIFEST_NAME)]
    found = [path for path in found if path.exists()]
    if not found:
        return
    number = 1
    while (target := output_dir / f"superseded-{number}").exists():
        number += 1
    for path in found:
        place = target / path.relative_to(output_dir)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    logger.warning("Files of an earlier run were moved to %s: %s.", target, ", ".join(path.name for path in found))


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
    shutil.rmtree(staging)  # last: while it exists without the manifest, the folder counts as unfinished


@dataclass(frozen=True)
class Start:
    """Where a run starts.

    Attributes:
        checkpoint: Resumed from; None: nothing is.
        superseded_after: Checkpoints of later steps belong to a course that is given up and are to be moved aside: a
            rerun, or the rotation, would take them for newer. -1: all; None: none.
    """

    checkpoint: Path | None
    superseded_after: int | None = None


def find_start(training_args: TrainingConfig) -> Start:
    """Decide by `resume_from_checkpoint` where a run starts; nothing on disk is changed.

    None or true: at the last complete checkpoint of `output_dir`. False: afresh. A path: at that checkpoint.
    A requeued job resumes from what it has saved since, whatever was typed, and so does the same command with the
    checkpoint of another folder. Typed again, false starts afresh again, and a checkpoint of the run's own folder is
    resumed from again.

    Raises:
        ValueError: There is no complete checkpoint where one is asked for.
    """
    output_dir, wanted = Path(training_args.output_dir), training_args.resume_from_checkpoint
    word = str(wanted).lower()
    named = None if wanted is None or word in (*_YES, *_NO) else Path(str(wanted))
    own = last_complete_checkpoint(output_dir)
    is_under_way = has_begun(output_dir) or (named is not None and _began_at(output_dir, named))
    if is_under_way and (own is not None or named is None):
        return Start(own)  # started where it was first, it would lose its own steps each time
    if wanted is not None and word in _NO:
        return Start(None, superseded_after=-1)
    if named is not None:
        return _start_at(named, output_dir, is_under_way=is_under_way)
    if own is None and wanted is not None:
        raise ValueError(f"`resume_from_checkpoint: true`, but {output_dir} holds no complete checkpoint.")
    return Start(own)


def resumes_own_checkpoint(training_args: TrainingConfig) -> bool:
    """Say whether a run resumes from a checkpoint that its own folder holds."""
    checkpoint = find_start(training_args).checkpoint
    return checkpoint is not None and _is_in(Path(training_args.output_dir), checkpoint)


def _start_at(named: Path, output_dir: Path, *, is_under_way: bool) -> Start:
    reason = missing_from(named)
    if reason is not None:
        raise ValueError(
            f"`resume_from_checkpoint` is {named}, which is not a complete checkpoint: {reason}. To use only its "
            "weights, name it as `model_name_or_path`."
        )
    if _is_in(output_dir, named):
        return Start(named, step_of(named.resolve()))
    return Start(named, None if is_under_way else -1)


def _is_in(output_dir: Path, checkpoint: Path) -> bool:
    return checkpoint.resolve().parent == output_dir.resolve()


def _began_at(output_dir: Path, checkpoint: Path) -> bool:
    """Say whether the last course in a folder began at this checkpoint of another one."""
    starts = [None if start is None else Path(start) for start in recorded_starts(output_dir)]
    begun = [start for start in starts if start is None or not _is_in(output_dir, start)]
    return bool(begun) and begun[-1] is not None and begun[-1].resolve() == checkpoint.resolve()
