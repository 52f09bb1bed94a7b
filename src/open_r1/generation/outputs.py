# SPDX-License-Identifier: Apache-2.0
"""Output folders of generations: one process at a time, finished or not, and journals that are kept beside the data.

<output>/generations.jsonl       the journal, while it grows
<output>/generations.done.jsonl  the journal of a finished data set: what is in it is never paid for again
"""

import fcntl
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from open_r1.data.card import DataCard, read_card
from open_r1.data.folder import DatasetFolder
from open_r1.data.places import remove_if_nothing_came
from open_r1.generation.journal import JournalError, differing, read_settings

logger = logging.getLogger(__name__)

JOURNAL_NAME, DONE_NAME = "generations.jsonl", "generations.done.jsonl"
_LOCK_NAME = ".generating.lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes from generating into a folder, from before the rows are read to the end.

    Raises:
        JournalError: One is at it.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK_NAME).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalError(
                f"{folder} is in use by another process: two would ask for the same generations. Wait for it, end it, "
                "or choose another output."
            ) from None
        try:
            yield
        finally:
            if is_new:
                remove_if_nothing_came(folder)


def found_card(folder: Path, *, overwrite: bool) -> DataCard | None:
    """Return the card of a folder; None: there is none, or a damaged one that may be overwritten.

    Raises:
        ValueError: It is damaged.
    """
    try:
        return read_card(folder)
    except ValueError:
        if not overwrite:
            raise
        return None


def is_finished(folder: DatasetFolder) -> bool:
    """As `DatasetFolder.is_done`; with `overwrite` too a folder of the same settings is finished.

    A command that is repeated, as Slurm does it, then asks for nothing again. To have the same made anew, remove the
    folder.
    """
    found = found_card(folder.path, overwrite=folder.overwrite)
    if found is not None and found.fingerprint() == folder.card.fingerprint():
        try:
            return DatasetFolder(folder.path, folder.card, licence=folder.licence).is_done()
        except ValueError as error:
            if not folder.overwrite:
                raise
            logger.warning("%s It is made anew.", error)
    return folder.is_done()


def pick_up(folder: Path, settings: Mapping[str, Any], *, overwrite: bool) -> None:
    """Have the journal of a finished data set grow on, if its generations are of these settings.

    Args:
        folder: The output.
        settings: What the generations depend on.
        overwrite: Whether a journal of other settings, which is growing, may be replaced by it.
    """
    journal, done = folder / JOURNAL_NAME, read_settings(folder / DONE_NAME)
    if done is None or differing(done, settings):
        return
    if journal.exists() and (read_settings(journal) is not None or journal.read_bytes()[:1] not in (b"", b"{")):
        growing = read_settings(journal)  # None: another's file, refused when it is opened
        if growing is None or not (overwrite and differing(growing, settings)):
            return
    logger.info("%s has generations of these settings; they are used again.", folder / DONE_NAME)
    (folder / DONE_NAME).replace(journal)
