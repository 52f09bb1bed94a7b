# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run: which are whole, which is the last, which may go; and the finished model."""

import logging
import re
import shutil
from pathlib import Path

from open_r1.configs import GRPOConfig, SFTConfig
from open_r1.data.manifest import missing_from, remove_manifest, write_manifest
from open_r1.training.tracking import has_begun, recorded_starts

logger = logging.getLogger(__name__)

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
_WORDS_FOR_YES = ("true", "yes", "auto", "1")
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


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


def find_checkpoint(training_args: SFTConfig | GRPOConfig) -> tuple[Path | None, int | None]:
    """Decide where a run starts.

    Args:
        training_args: `resume_from_checkpoint` is None or true (last complete checkpoint, if any), false (fresh start;
            earlier checkpoints are to be moved aside), or the path of a checkpoint. One in another folder is where a
            run starts: the same command, and a requeued job, go on from what it has saved since.

    Returns:
        The checkpoint, and the step after which checkpoints are to be moved aside (`Run.superseded_after`).

    Raises:
        ValueError: The path is not a complete checkpoint.
    """
    output_dir, wanted = Path(training_args.output_dir), training_args.resume_from_checkpoint
    has_own = last_complete_checkpoint(output_dir) is not None
    goes_on = _has_started(output_dir, wanted)
    if wanted is not None and goes_on and (has_own or not _is_path(wanted)):
        # It would lose its own steps each time.
        logger.info(
            "`resume_from_checkpoint: %s` held for the start of this run; now it goes on. In another "
            "`output_dir` a run would start there again.",
            wanted,
        )
        wanted = None
    if asks_for_fresh_start(wanted):
        return None, -1
    if wanted is not None and _is_path(wanted):
        reason = missing_from(Path(wanted))
        if reason is not None:
            raise ValueError(
                f"`resume_from_checkpoint` is {wanted}, which is not a complete checkpoint: {reason}. To use only its "
                "weights, name it as `model_name_or_path`."
            )
        _refuse_weights_alone(Path(wanted))
        # Others belong to a course that is given up: a rerun, or the rotation, would take them for newer.
        if _is_in(output_dir, Path(wanted)):
            return Path(wanted), step_of(Path(wanted).resolve())
        return Path(wanted), None if goes_on else -1
    found = last_complete_checkpoint(output_dir)
    if found is not None:
        _refuse_weights_alone(found)
        logger.warning("Going on from %s (`resume_from_checkpoint: false` starts afresh).", found)
    elif wanted is not None:
        raise ValueError(f"`resume_from_checkpoint: true`, but {output_dir} holds no complete checkpoint.")
    elif missing_from(output_dir) is None:
        logger.warning(
            "%s holds a finished model and no checkpoint: the training starts afresh, and its model will "
            "replace that one.",
            output_dir,
        )
    return found, None


def keeps_course(training_args: SFTConfig | GRPOConfig) -> bool:
    """Say whether a run goes on, by `find_checkpoint`, from a checkpoint that its own folder holds."""
    output_dir, wanted = Path(training_args.output_dir), training_args.resume_from_checkpoint
    if last_complete_checkpoint(output_dir) is None:
        return False
    if _has_started(output_dir, wanted):
        return True
    return _is_in(output_dir, Path(str(wanted))) if _is_path(wanted) else not asks_for_fresh_start(wanted)


def _has_started(output_dir: Path, wanted: str | bool | None) -> bool:
    """Say whether the start that is named has been made, by this job or by the last course in the folder."""
    return has_begun(output_dir) or (_is_path(wanted) and _began_at(output_dir, Path(str(wanted))))


def _is_path(resume_from_checkpoint: str | bool | None) -> bool:
    is_word = resume_from_checkpoint is None or str(resume_from_checkpoint).lower() in _WORDS_FOR_YES
    return not is_word and not asks_for_fresh_start(resume_from_checkpoint)


def _is_in(output_dir: Path, checkpoint: Path) -> bool:
    return checkpoint.resolve().parent == output_dir.resolve()


def _began_at(output_dir: Path, checkpoint: Path) -> bool:
    """Say whether the last course in a folder began at this checkpoint of another one."""
    starts = [None if start is None else Path(start) for start in recorded_starts(output_dir)]
    begun = [start for start in starts if start is None or not _is_in(output_dir, start)]
    last = begun[-1] if begun else None
    return last is not None and last.resolve() == checkpoint.resolve()


def _refuse_weights_alone(checkpoint: Path) -> None:
    """Refuse to go on without optimizer, schedule and random state, which transformers would begin anew in silence."""
    if not any(checkpoint.glob("rng_state*")):
        raise ValueError(
            f"{checkpoint} was saved with `save_only_model: true`, so no training can go on from it. Start afresh "
            "with `resume_from_checkpoint: false`, or name it as `model_name_or_path` of another run."
        )
