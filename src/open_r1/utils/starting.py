# SPDX-License-Identifier: Apache-2.0
"""Where a run starts: at its last checkpoint, at one that is named, or afresh.

A named start holds once: a requeued job, and the same command typed again, go on with what was saved since. But typed
again, `false` starts afresh again, and a checkpoint of the run's own folder is gone back to again.
"""

import logging
from pathlib import Path

from open_r1.configs import GRPOConfig, SFTConfig
from open_r1.utils.checkpoints import asks_for_fresh_start, last_complete_checkpoint, missing_from, step_of
from open_r1.utils.tracking import has_begun, recorded_starts

logger = logging.getLogger(__name__)

_WORDS_FOR_YES = ("true", "yes", "auto", "1")


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
