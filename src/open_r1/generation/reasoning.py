# SPDX-License-Identifier: Apache-2.0
"""From a data set of problems to one with generations: what `scripts/generate_reasoning.py` does.

    <output>/generations.jsonl       the journal, while it grows
    <output>/generations.done.jsonl  the journal of a finished data set: --retry-errors, a larger --limit or more
                                     --num-generations go on with it; delete it where room is scarce
    <output>/data, card.json, ...    the data set, at the end: a row per problem

1. Open R1 writes a row when all its generations are there, drops it when one failed, and shuffles without a seed: here
   each generation is kept by itself, a failed one is null with its reason, and rows keep the order of the source.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from open_r1.data.card import DataCard, Step, read_card
from open_r1.data.folder import DatasetFolder
from open_r1.data.sources import RowSource, open_source
from open_r1.generation.client import Client
from open_r1.generation.driver import Outcome, ask, run
from open_r1.generation.journal import Journal, JournalError, read_settings
from open_r1.generation.messages import Request
from open_r1.generation.outputs import DONE_NAME, JOURNAL_NAME, claimed, found_card, is_finished, pick_up
from open_r1.generation.prompts import Prompts, choose_rows
from open_r1.generation.publishing import Counts, Publication, check_columns, check_json, export_json_lines
from open_r1.generation.reasoning_settings import ReasoningSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """How a run ended.

    Attributes:
        was_done: Whether a run before had finished it.
        outcome: What was asked for; None: nothing was left to ask.
        counts: What the data set holds; None: it isn't finished.
    """

    was_done: bool
    outcome: Outcome | None
    counts: dict[str, int] | None


def generate_reasoning(settings: ReasoningSettings) -> Report:
    """Ask for all generations, go on where an earlier run stopped, and write the data set.

    Raises:
        ValueError: Settings, source, servers or what is in the output folder don't go together; nothing was paid for.
        ServersDownError: No server answers any more, or requests fail one after the other.
        JournalError: The journal is of other settings, in use, or can't be written.
    """
    source = open_source(settings.dataset, config=settings.config, split=settings.split, revision=settings.revision)
    _check_columns(source, settings)
    with ExitStack() as stack:
        return _Job(settings, source, stack).run()


def _check_columns(source: RowSource, settings: ReasoningSettings) -> None:
    prompts = settings.prompts
    named = "--prompt-column, --turns-column, --uuid-column"
    source.require(prompts.columns, named)
    source.require(list(settings.drop_columns), "--drop-columns")
    kept = [name for name in source.column_names if name not in settings.drop_columns]
    check_columns(kept, has_turns=prompts.turns_column is not None)
    if settings.output_file is not None:
        check_json(source.schema, kept)


class _Job:
    def __init__(self, settings: ReasoningSettings, source: RowSource, stack: ExitStack) -> None:
        self._settings, self._source, self._stack = settings, source, stack
        self._parent = source.parent()
        self._path = settings.output_dir / JOURNAL_NAME
        self._done_path = settings.output_dir / DONE_NAME
        self._prompts: Prompts | None = None
        self._journal: Journal | None = None
        self._rows = choose_rows(source.num_rows, settings.limit, settings.shuffle_seed)
        self._max_model_len: int | None = None
        self._retried_model: str | None = None

    def run(self) -> Report:
        """As `generate_reasoning`."""
        settings = self._settings
        if self._is_done():
            return self._finished_earlier()
        self._check_output_file()
        self._stack.enter_context(claimed(settings.output_dir))
        if self._is_done():  # by a process that has just ended
            return self._finished_earlier()
        self._prompts = Prompts(settings.output_dir)
        self._stack.callback(self._prompts.close)
        self._prompts.read(self._source, settings.prompts, int(self._rows.max()) + 1)
        self._tell_bad_rows()
        model = settings.model or self._model_begun_with()
        if model is not None:
            self._open_journal(model)
        outcome = None
        if model is None or self._is_something_left():
            outcome = run(self._ask(model))
            if outcome.stopped_by is not None:
                return Report(False, outcome, None)
        return Report(False, outcome, self._publish())

    def _is_done(self) -> bool:
        """Whether the folder was finished with these settings and there is nothing to retry; raises if with others."""
        settings = self._settings
        found = found_card(settings.output_dir, overwrite=settings.overwrite)
        model = settings.model or (found.settings.get("model") if found is not None else None) or ""
        is_done = is_finished(self._folder(model, overwrite=settings.overwrite))
        if not (is_done and settings.retry_errors):
            return is_done
        if found is None or not _counts_of(found).get("errors"):
            return True
        if not self._done_path.exists() and read_settings(self._path) is None:
            raise ValueError(
                f"{self._done_path}, with the generations that didn't fail, is gone: all would be asked for again. "
                f"Put it back, or remove {settings.output_dir} to begin anew."
            )
        self._retried_model = model
        return False

    def _finished_earlier(self) -> Report:
        counts = self._export()
        self._tidy(counts)
        return Report(True, None, counts)

    def _model_begun_with(self) -> str | None:
        """The model of the data set that is retried, or of an unfinished journal: servers must serve it still."""
        if self._retried_model is not None:
            return self._retried_model
        if self._settings.overwrite:
            return None  # it may be of a model that is served no more
        begun = read_settings(self._path)
        if begun is None and self._settings.retry_errors:
            begun = read_settings(self._done_path)
        model = begun.get("model") if begun is not None else None
        return model if isinstance(model, str) else None

    def _folder(self, model: str, *, overwrite: bool) -> DatasetFolder:
        settings = self._settings
        card = DataCard(
            name=settings.output_dir.name,
            settings=settings.of_the_rows(model, self._parent),
            parents=[self._parent],
            teacher={"model": model, "max_model_len": self._max_model_len, "servers": len(settings.servers)},
            sampling={**settings.sampling.body(), "num_generations": settings.num_generations},
            licence=settings.licence,
        )
        return DatasetFolder(settings.output_dir, card, overwrite=overwrite, licence=settings.licence)

    def _check_output_file(self) -> None:
        path = self._settings.output_file
        if path is not None and path.exists() and not (self._settings.overwrite or self._settings.retry_errors):
            raise ValueError(
                f"{path} exists, but {self._settings.output_dir} isn't finished: it is of another run. Name another "
                "--output-file, or replace it with --overwrite."
            )

    def _tell_bad_rows(self) -> None:
        assert self._prompts is not None
        bad = self._prompts.bad
        if bad.count:
            logger.warning(
                "%d of %d rows can't be asked for; they are kept without generations. The first is row %d: %s.",
                bad.count,
                self._prompts.num_rows,
                bad.first_row,
                bad.first_reason,
            )

    def _open_journal(self, model: str) -> None:
        is_final = _has_text if self._settings.retry_errors else None
        of_a_generation = self._settings.of_a_generation(model, self._parent)
        pick_up(self._settings.output_dir, of_a_generation, overwrite=self._settings.overwrite)
        self._journal = self._stack.enter_context(
            Journal(self._path, of_a_generation, is_final=is_final, overwrite=self._settings.overwrite)
        )

    def _requests(self) -> Iterator[Request]:
        assert self._prompts is not None
        return self._prompts.requests(self._rows, self._settings.num_generations, self._settings.sampling)

    def _is_something_left(self) -> bool:
        assert self._journal is not None
        return any((request.key, request.index) not in self._journal for request in self._requests())

    async def _ask(self, model: str | None) -> Outcome:
        settings = self._settings
        assert self._prompts is not None
        client = Client(settings.servers, model=model, api_key=settings.api_key, patience=settings.patience)
        async with client:
            served = await client.find_model(wait_s=settings.wait_s, max_tokens=settings.sampling.max_tokens)
            self._max_model_len = served.max_model_len
            if self._journal is None:
                self._open_journal(served.name)
            assert self._journal is not None
            rows = len(self._rows) - sum(int(row) in self._prompts.bad.rows for row in self._rows)
            total = rows * settings.num_generations
            logger.info(
                "Asking %s on %d server(s) for %d generations of %d rows; %d are there.",
                served.name,
                len(settings.servers),
                total,
                rows,
                len(self._journal),
            )
            return await ask(
                self._requests(),
                client.ask_one,
                self._journal,
                max_concurrent=settings.max_concurrent,
                total=total,
                stop_after_errors=settings.stop_after_errors,
                grace_s=settings.grace_s,
            )

    def _tidy(self, counts: Mapping[str, int]) -> None:
        """Do what a run that was killed behind its last step left: its journal holds what the data set does."""
        found = read_card(self._settings.output_dir)
        if found is None or read_settings(self._path) is None:
            return
        try:
            with Journal(self._path, self._settings.of_a_generation(found.settings["model"], self._parent)) as journal:
                if len(journal) >= counts["requests"]:
                    self._path.replace(self._done_path)
        except JournalError as error:
            logger.info("%s stays: %s", self._path, error)  # of another run, which may go on

    def _publish(self) -> dict[str, int]:
        """Write the data set, and put the journal aside."""
        settings = self._settings
        assert self._journal is not None and self._prompts is not None
        counts = Counts()
        has_turns = settings.prompts.turns_column is not None
        publication = Publication(
            self._source, self._prompts, self._rows, settings.num_generations, settings.drop_columns, has_turns, counts
        )
        with self._folder(self._journal.settings["model"], overwrite=True) as folder:
            for batch in publication.batches(self._journal):
                folder.write(batch)
            counts.refuse_without_answers()
            detail = counts.as_detail()
            folder.card.steps.append(Step("generate", self._source.num_rows, counts.rows, detail))
        if settings.output_file is not None:
            settings.output_file.unlink(missing_ok=True)
        self._export()
        self._path.replace(self._done_path)
        return detail

    def _export(self) -> dict[str, int]:
        """Write the JSON lines from the finished folder, unless they are there; return the counts of its card."""
        settings = self._settings
        if settings.output_file is not None and not settings.output_file.exists():
            export_json_lines(open_source(str(settings.output_dir)), settings.output_file)
        card = read_card(settings.output_dir)
        assert card is not None
        return _counts_of(card)


def _counts_of(card: DataCard) -> dict[str, Any]:
    return card.steps[-1].detail


def _has_text(record: Mapping[str, Any]) -> bool:
    return record["text"] is not None
