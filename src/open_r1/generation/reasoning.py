# SPDX-License-Identifier: Apache-2.0
"""Reasoning for a data set of problems: what `scripts/generate_reasoning.py` does.

    <output>/generations.jsonl       the journal: --retry-errors, larger --limit or --num-generations continue it
    <output>/data, card.json, ...    the data set, at the end: a row per problem

1. Open R1 writes a row when all its generations are there, drops it when one failed, and shuffles without a seed: here
   each generation is kept by itself, a failed one is null with its reason, and rows keep the order of the source.
"""

import json
import logging
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import Any

from open_r1.configs.fields import setting
from open_r1.data.card import DataCard, Parent, Step, read_card
from open_r1.data.cli import read_api_key
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


@dataclass
class ReasoningSettings:
    """What to generate, from what, and where to: the flags of `scripts/generate_reasoning.py`."""

    dataset_name: str = setting(MISSING, "Local file or folder, tasks/<name>, or name on the hub.")
    config: str | None = setting(None, "Configuration of the data set.")
    split: str = setting("train", "Split, or a slice such as train[:100].")
    revision: str | None = setting(None, "Branch, tag or commit on the hub.")
    prompt_column: str | None = setting(
        None, "Text for the template, or a conversation, sent as it is up to its last user message."
    )
    turns_column: str | None = setting(
        None, "In place of --prompt-column: a list of user turns, answered one after the other."
    )
    uuid_column: str | None = setting(
        None, "Tells rows apart (default: their prompts and how often those came before)."
    )
    prompt_template: str | None = setting(
        None, "With {prompt}, which alone is replaced (default: asks for steps and a boxed answer)."
    )
    system_prompt: str | None = setting(None, "First message of each conversation.")
    limit: int | None = setting(None, "Ask for so many rows (default: all).")
    shuffle_seed: int | None = setting(
        None, "Ask in a random order, and choose the rows of --limit by it (default: order of the rows)."
    )
    output_dir: str | None = setting(None, "The data set, with its card (default: --output-file without its suffix).")
    output_file: str | None = setting(None, "Also write the rows as JSON lines, at the end.")
    drop_columns: list[str] = setting([], "Columns to leave out of the output.", action="extend")
    licence: str | None = setting(None, "Licence of the output (default: that of the data set, if known).")
    overwrite: bool = setting(
        False,
        "Replace what was made with other settings, of the rows or of the sampling; generations of the same sampling "
        "are used again (to have the same made anew, remove the folder).",
    )
    api_addr: list[str] = setting(
        [], "host:port or URL, several by spaces or commas (default: localhost:39876).", action="extend"
    )
    model: str | None = setting(None, "Name of the model (default: the one that the servers serve).")
    api_key_env: str | None = setting(None, "Environment variable with the API key.")
    wait_s: float = setting(0.0, "Seconds to wait for the first server.")
    max_concurrent: int = setting(1000, "Requests in flight.")
    num_generations: int = setting(4, "Generations a row.")
    temperature: float = setting(0.6, "0 to 2.")
    top_p: float = setting(0.95, "0 to 1.")
    top_k: int | None = setting(None, "Default: the server's.")
    min_p: float | None = setting(None, "Default: the server's.")
    max_tokens: int = setting(16384, "Of one answer, reasoning included.")
    stop: list[str] = setting([], "Texts that end an answer.", action="extend")
    seed: int | None = setting(None, "Of the first generation of a row, the next have seed + 1, ...")
    extra_body: str | None = setting(None, "More fields of each request, as JSON.")
    retries: int = setting(9, "How often a failed request is sent again.")
    timeout: float = setting(3600.0, "Seconds for one attempt.")
    deadline: float = setting(7200.0, "Seconds for a request with all its attempts and waits.")
    patience: float = setting(600.0, "Seconds without any server, then it stops.")
    stop_after_errors: int = setting(100, "Stop when so many requests failed in a row; 0: never.")
    retry_errors: bool = setting(False, "Ask again for the generations that failed in earlier runs.")
    grace: float = setting(10.0, "Seconds for requests in flight after Ctrl-C or SIGTERM.")

    def __post_init__(self) -> None:
        if self.output_dir is None and not (self.output_file and Path(self.output_file).suffix):
            raise ValueError("Name where the output goes: --output-dir, or --output-file with a suffix (.jsonl).")
        for name in ("num_generations", "max_concurrent", "limit"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        self.file = None if self.output_file is None else Path(self.output_file).expanduser()
        self.folder = Path(self.output_dir or Path(self.output_file or "").with_suffix("")).expanduser()
        self.servers = [one.strip() for text in self.api_addr or ["localhost:39876"] for one in text.split(",")]
        self.api_key = read_api_key(self.api_key_env, flag="--api-key-env")
        self.prompts = PromptSettings(
            self.prompt_column, self.turns_column, self.uuid_column, self.prompt_template, self.system_prompt
        )
        names = ("temperature", "top_p", "top_k", "min_p", "max_tokens", "seed")
        body = self._extra_body()
        self.sampling = Sampling(**{name: getattr(self, name) for name in names}, stop=self.stop, extra_body=body)

    def _extra_body(self) -> dict[str, Any]:
        try:
            value = json.loads(self.extra_body or "{}")
        except json.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            raise ValueError(
                f"--extra-body must be a JSON object, such as '{{\"top_k\": 20}}'; got {self.extra_body!r}."
            )
        return value

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
    source = open_source(
        settings.dataset_name, config=settings.config, split=settings.split, revision=settings.revision
    )
    source.require(settings.prompts.columns, "--prompt-column, --turns-column, --uuid-column")
    source.require(settings.drop_columns, "--drop-columns")
    added = added_columns(has_turns=settings.prompts.turns_column is not None)
    taken = sorted(added.keys() & (set(source.column_names) - set(settings.drop_columns)))
    if taken:
        raise ValueError(f"The rows have columns {taken}, which hold results here: leave them out by --drop-columns.")
    if settings.file is not None:
        kept = [name for name in source.column_names if name not in settings.drop_columns]
        json_line(next(source.rows(kept, end=1)))
    return _Job(settings, source).run()


class _Job:
    def __init__(self, settings: ReasoningSettings, source: RowSource) -> None:
        self._settings, self._source, self._parent = settings, source, source.parent()
        self._path = settings.folder / JOURNAL_NAME
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
                    f"it back (--overwrite has perhaps renamed it), or remove {settings.folder} to begin anew."
                )
        elif settings.file is not None and settings.file.exists() and not settings.overwrite:
            raise ValueError(
                f"{settings.file} exists, but {settings.folder} isn't finished: it is of another run. Name "
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
            return read_card(self._settings.folder)
        except ValueError:
            if not self._settings.overwrite:
                raise
            return None

    def _folder(self, model: str, *, overwrite: bool) -> DatasetFolder:
        settings = self._settings
        card = DataCard(
            name=settings.folder.name,
            settings=settings.of_the_rows(model, self._parent),
            parents=[self._parent],
            teacher={"model": model, "max_model_len": self._max_model_len, "servers": len(settings.servers)},
            sampling={**settings.sampling.body(), "num_generations": settings.num_generations},
            licence=settings.licence,
        )
        return DatasetFolder(settings.folder, card, overwrite=overwrite, licence=settings.licence)

    def _client(self, model: str | None) -> Client:
        settings = self._settings
        patience = Patience(settings.retries, settings.timeout, settings.deadline, settings.patience)
        return Client(settings.servers, model=model, api_key=settings.api_key, patience=patience)

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
                grace_s=settings.grace,
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
        if settings.file is not None:
            settings.file.unlink(missing_ok=True)
        return self._export(folder.card)

    def _export(self, card: DataCard) -> dict[str, int]:
        """Write the JSON lines from the finished folder, unless they are there; return the counts of its card."""
        path = self._settings.file
        if path is not None and not path.exists():
            export_json_lines(open_source(str(self._settings.folder)), path)
        return card.steps[-1].detail
