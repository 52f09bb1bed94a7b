# SPDX-License-Identifier: Apache-2.0
"""Reasoning for a data set of problems: what `scripts/generate_reasoning.py` does.

    <output>/generations.jsonl       the journal: --retry-errors, larger --limit or --num-generations continue it
    <output>/data, card.json, ...    the data set, at the end: a row per problem

1. Open R1 writes a row when all its generations are there, drops it when one failed, and shuffles without a seed: here
   each generation is kept by itself, a failed one is null with its reason, and rows keep the order of the source.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from open_r1.data.card import DataCard, Parent, Step, read_card
from open_r1.data.folder import DatasetFolder
from open_r1.data.sources import RowSource, open_source
from open_r1.generation.client import Client, Patience, ServedModel
from open_r1.generation.driver import Outcome, ask, run
from open_r1.generation.journal import Journal, read_settings
from open_r1.generation.messages import Sampling
from open_r1.generation.prompts import DEFAULT_TEMPLATE, Prompts, PromptSettings, choose_rows
from open_r1.generation.publish import added_columns, export_json_lines, is_finished, json_line, publish

logger = logging.getLogger(__name__)

JOURNAL_NAME = "generations.jsonl"


@dataclass(frozen=True)
class ReasoningSettings:
    """What to generate, from what, and where to.

    Attributes:
        dataset: Source of the rows, as of `open_source`; `config`, `split`, `revision` go with it.
        output_dir: Folder of the data set.
        prompts: Which columns make the prompts, and how.
        servers: Addresses of servers.
        model: Name of the model; None: the one that the servers serve.
        sampling: How completions are drawn.
        num_generations: Generations a row.
        limit: Rows to ask for; None: all.
        shuffle_seed: Seed of the order of asking (and of the choice, with a limit); None: as in the source.
        drop_columns: Columns that the output doesn't have.
        output_file: Also write the rows as JSON lines.
        max_concurrent: Requests in flight.
        patience: How long to go on when requests fail.
        wait_s: Seconds to wait for the first server.
        grace_s: Seconds for requests in flight after a signal.
        stop_after_errors: As of `driver.ask`.
        retry_errors: Ask again for generations that failed.
        api_key: Bearer token.
        licence: Of the output; None: that of the source.
        overwrite: Replace what was made with other settings; a journal of these is continued.
    """

    dataset: str
    output_dir: Path
    prompts: PromptSettings
    servers: Sequence[str]
    sampling: Sampling = field(default_factory=Sampling)
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    model: str | None = None
    num_generations: int = 1
    limit: int | None = None
    shuffle_seed: int | None = None
    drop_columns: Sequence[str] = ()
    output_file: Path | None = None
    max_concurrent: int = 256
    patience: Patience = field(default_factory=Patience)
    wait_s: float = 0.0
    grace_s: float = 10.0
    stop_after_errors: int = 100
    retry_errors: bool = False
    api_key: str | None = field(default=None, repr=False)
    licence: str | None = None
    overwrite: bool = False

    def of_a_generation(self, model: str, parent: Parent) -> dict[str, Any]:
        """What each generation depends on: others can't be mixed with it in one journal."""
        prompts = self.prompts
        template = prompts.template or (DEFAULT_TEMPLATE if prompts.prompt_column else None)
        settings = {"model": model, **asdict(prompts), "template": template, **self.sampling.body()}
        return {**settings, "source": parent.identity()}

    def of_the_rows(self, model: str, parent: Parent) -> dict[str, Any]:
        """What the data set depends on, the source apart, which its card names."""
        settings = self.of_a_generation(model, parent)
        del settings["source"]
        own = {name: getattr(self, name) for name in ("num_generations", "limit", "shuffle_seed")}
        return {**settings, **own, "drop_columns": sorted(self.drop_columns)}


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
    """Ask for all generations, resume where an earlier run stopped, and write the data set.

    Raises:
        ValueError: Settings, source, servers or what is in the output folder don't go together; nothing was paid for.
        ServersDownError: No server answers any more, or requests fail one after the other.
        JournalError: The journal is of other settings, in use, or can't be written.
    """
    source = open_source(settings.dataset, config=settings.config, split=settings.split, revision=settings.revision)
    source.require(settings.prompts.columns, "--prompt-column, --turns-column, --uuid-column")
    source.require(list(settings.drop_columns), "--drop-columns")
    added = added_columns(has_turns=settings.prompts.turns_column is not None)
    taken = sorted(added.keys() & (set(source.column_names) - set(settings.drop_columns)))
    if taken:
        raise ValueError(f"The rows have columns {taken}, which hold results here: leave them out by --drop-columns.")
    if settings.output_file is not None:
        kept = [name for name in source.column_names if name not in settings.drop_columns]
        json_line(next(source.rows(kept, end=1)))
    return _Job(settings, source).run()


class _Job:
    def __init__(self, settings: ReasoningSettings, source: RowSource) -> None:
        self._settings, self._source, self._parent = settings, source, source.parent()
        self._path = settings.output_dir / JOURNAL_NAME
        self._rows = choose_rows(source.num_rows, settings.limit, settings.shuffle_seed)
        self._max_model_len: int | None = None

    def run(self) -> Report:
        """As `generate_reasoning`."""
        settings, source = self._settings, self._source
        card = self._found_card()
        known = settings.model or (None if card is None else card.settings.get("model"))
        is_retried = is_finished(self._folder(known or "", overwrite=settings.overwrite))
        if is_retried:
            assert card is not None
            counts = self._export(card)
            if not (settings.retry_errors and counts["errors"]):
                return Report(True, None, counts)
            if read_settings(self._path) is None:
                raise ValueError(
                    f"{self._path}, with the generations that didn't fail, is gone: all would be asked for again. Put "
                    f"it back (--overwrite has perhaps renamed it), or remove {settings.output_dir} to begin anew."
                )
        elif settings.output_file is not None and settings.output_file.exists() and not settings.overwrite:
            raise ValueError(
                f"{settings.output_file} exists, but {settings.output_dir} isn't finished: it is of another run. Name "
                "another --output-file, or replace it with --overwrite."
            )
        columns = settings.prompts.columns
        first_rows = source.rows(columns, end=int(self._rows.max()) + 1)
        read = source.dataset.select_columns(columns).__getitem__
        prompts = Prompts(first_rows, read, settings.prompts, source.name)
        if prompts.bad:
            row, reason = next(iter(prompts.bad.items()))
            logger.warning(
                "%d of %d rows can't be asked for; they are kept without generations. The first is row %d: %s.",
                len(prompts.bad),
                len(prompts.keys),
                row,
                reason,
            )
        # Servers must serve the model of a journal still, unless it may be replaced.
        begun = None if settings.overwrite else (read_settings(self._path) or {}).get("model")
        model = settings.model or (known if is_retried else begun) or run(self._find_model(None)).name
        is_final = (lambda record: record["text"] is not None) if settings.retry_errors else None
        of_a_generation = settings.of_a_generation(model, self._parent)
        with Journal(self._path, of_a_generation, is_final=is_final, overwrite=settings.overwrite) as journal:
            outcome = None
            if not all(name in journal for name in prompts.names(self._rows, settings.num_generations)):
                outcome = run(self._ask(model, prompts, journal))
                if outcome.stopped_by is not None:
                    return Report(False, outcome, None)
            return Report(False, outcome, self._publish(model, prompts, journal))

    def _found_card(self) -> DataCard | None:
        """Return the card of the output; None: there is none, or a damaged one that may be overwritten."""
        try:
            return read_card(self._settings.output_dir)
        except ValueError:
            if not self._settings.overwrite:
                raise
            return None

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

    def _client(self, model: str | None) -> Client:
        settings = self._settings
        return Client(settings.servers, model=model, api_key=settings.api_key, patience=settings.patience)

    async def _find_model(self, model: str | None) -> ServedModel:
        settings = self._settings
        async with self._client(model) as client:
            return await client.find_model(wait_s=settings.wait_s, max_tokens=settings.sampling.max_tokens)

    async def _ask(self, model: str, prompts: Prompts, journal: Journal) -> Outcome:
        settings = self._settings
        served = await self._find_model(model)
        self._max_model_len = served.max_model_len
        num_rows = sum(int(row) not in prompts.bad for row in self._rows)
        total = num_rows * settings.num_generations
        logger.info("Asking %s for %d generations of %d rows; %d are there.", model, total, num_rows, len(journal))
        async with self._client(model) as client:
            return await ask(
                prompts.requests(self._rows, settings.num_generations, settings.sampling),
                client.ask_one,
                journal,
                max_concurrent=settings.max_concurrent,
                total=total,
                stop_after_errors=settings.stop_after_errors,
                grace_s=settings.grace_s,
            )

    def _publish(self, model: str, prompts: Prompts, journal: Journal) -> dict[str, int]:
        settings, source = self._settings, self._source
        with self._folder(model, overwrite=True) as folder:
            counts = publish(
                folder,
                source,
                prompts,
                self._rows,
                settings.num_generations,
                journal,
                drop_columns=settings.drop_columns,
                has_turns=settings.prompts.turns_column is not None,
            )
            folder.card.steps.append(Step("generate", source.num_rows, counts["rows"], counts))
        if settings.output_file is not None:
            settings.output_file.unlink(missing_ok=True)
        return self._export(folder.card)

    def _export(self, card: DataCard) -> dict[str, int]:
        """Write the JSON lines from the finished folder, unless they are there; return the counts of its card."""
        path = self._settings.output_file
        if path is not None and not path.exists():
            export_json_lines(open_source(str(self._settings.output_dir)), path)
        return card.steps[-1].detail
