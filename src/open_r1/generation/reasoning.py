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

import numpy as np

from open_r1.configs.fields import setting
from open_r1.data.card import DataCard, Parent, Step, read_card
from open_r1.data.cli import read_api_key
from open_r1.data.folder import DatasetFolder
from open_r1.data.sources import open_source
from open_r1.generation.client import Client, Patience, ServedModel
from open_r1.generation.driver import Outcome, ask, run
from open_r1.generation.journal import Journal, read_settings
from open_r1.generation.messages import Sampling
from open_r1.generation.prompts import DEFAULT_TEMPLATE, Prompts, PromptSettings, choose_rows
from open_r1.generation.publish import COLUMNS, export_json_lines, publish

logger = logging.getLogger(__name__)

JOURNAL_NAME = "generations.jsonl"


@dataclass
class ReasoningSettings:
    """What to generate, from what, and where to: the flags of `scripts/generate_reasoning.py`."""

    dataset_name: str = setting(MISSING, "Local file or folder, tasks/<name>, or name on the hub.")
    config: str | None = setting(None, "Configuration of the data set.")
    split: str = setting("train", "Split, or a slice such as train[:100].")
    revision: str | None = setting(None, "Branch, tag or commit on the hub.")
    prompt_column: str = setting(
        "prompt",
        "Column with the text for the template, or a conversation, which is sent as it is up to its last "
        "user message.",
    )
    uuid_column: str | None = setting(
        None, "Column that identifies a row (default: its prompt, and how often it came before)."
    )
    prompt_template: str | None = setting(
        None, "Prompt with {prompt} as its only placeholder (default: asks for steps and a boxed answer)."
    )
    system_prompt: str | None = setting(None, "First message of each conversation.")
    limit: int | None = setting(None, "Number of rows (default: all).")
    shuffle_seed: int | None = setting(
        None, "Shuffle the rows, before --limit is applied (default: order of the data set)."
    )
    output_dir: str | None = setting(
        None, "Folder for the data set and its card (default: --output-file without its suffix)."
    )
    output_file: str | None = setting(None, "Also write the rows as JSON lines, at the end.")
    drop_columns: list[str] = setting([], "Columns to leave out of the output.", action="extend")
    overwrite: bool = setting(
        False,
        "Replace output that was made with other settings; generations of the same sampling are reused "
        "(remove the folder to sample again).",
    )
    api_addr: list[str] = setting(
        [], "host:port or URL, several by spaces or commas (default: localhost:39876).", action="extend"
    )
    model: str | None = setting(None, "Model name in requests (default: the one that the servers list).")
    api_key_env: str | None = setting(None, "Environment variable that holds the API key.")
    wait_s: float = setting(0.0, "Seconds to wait until a server answers.")
    max_concurrent: int = setting(1000, "Concurrent requests.")
    num_generations: int = setting(4, "Generations per row.")
    temperature: float = setting(0.6, "Sampling temperature, 0 to 2.")
    top_p: float = setting(0.95, "Nucleus sampling: above 0, at most 1.")
    top_k: int | None = setting(None, "Default: the server's.")
    min_p: float | None = setting(None, "Default: the server's.")
    max_tokens: int = setting(16384, "Most tokens of one answer, reasoning included.")
    seed: int | None = setting(None, "Seed of the first generation of a row; generation i uses seed + i.")
    extra_body: str | None = setting(None, "More fields of each request, as JSON.")
    retries: int = setting(9, "Retries of a failed request.")
    timeout: float = setting(3600.0, "Timeout of one attempt, in seconds.")
    retry_errors: bool = setting(False, "Retry the generations that failed in earlier runs.")

    def __post_init__(self) -> None:
        if self.output_dir is None and not (self.output_file and Path(self.output_file).suffix):
            raise ValueError("Name the output: --output-dir, or --output-file with a suffix (.jsonl).")
        self.file = None if self.output_file is None else Path(self.output_file).expanduser()
        self.folder = Path(self.output_dir or Path(self.output_file or "").with_suffix("")).expanduser()
        self.servers = [one.strip() for text in self.api_addr or ["localhost:39876"] for one in text.split(",")]
        self.api_key = read_api_key(self.api_key_env, flag="--api-key-env")
        self.prompts = PromptSettings(self.prompt_column, self.uuid_column, self.prompt_template, self.system_prompt)
        names = ("temperature", "top_p", "top_k", "min_p", "max_tokens", "seed")
        try:
            body = dict(json.loads(self.extra_body or "{}"))
        except (ValueError, TypeError):
            raise ValueError(f"--extra-body must be a JSON object; got {self.extra_body!r}.") from None
        self.sampling = Sampling(**{name: getattr(self, name) for name in names}, extra_body=body)
        self.patience = Patience(self.retries, self.timeout, 2 * self.timeout)

    def of_a_generation(self, model: str, parent: Parent) -> dict[str, Any]:
        """What each generation depends on: others can't be mixed with it in one journal."""
        prompts = {**asdict(self.prompts), "template": self.prompt_template or DEFAULT_TEMPLATE}
        return {"model": model, **prompts, **self.sampling.body(), "source": parent.identity()}


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
    source.require(settings.prompts.columns, "--prompt-column, --uuid-column")
    source.require(settings.drop_columns, "--drop-columns")
    if taken := sorted(COLUMNS.keys() & (set(source.column_names) - set(settings.drop_columns))):
        raise ValueError(f"The rows have columns {taken}, which hold results here: leave them out by --drop-columns.")
    rows = choose_rows(source.num_rows, settings.limit, settings.shuffle_seed)
    prompts, parent = Prompts(source, settings.prompts, int(rows.max()) + 1), source.parent()
    path = settings.folder / JOURNAL_NAME
    begun = {} if settings.overwrite else read_settings(path)
    # A journal binds the model, unless it may be replaced.
    model = settings.model or begun.get("model") or run(_find_model(settings, None)).name
    of_a_generation = settings.of_a_generation(model, parent)
    of_the_rows = {name: getattr(settings, name) for name in ("num_generations", "limit", "shuffle_seed")}
    card = DataCard(
        name=settings.folder.name,
        settings={**of_a_generation, **of_the_rows, "drop_columns": sorted(settings.drop_columns)},
        parents=[parent],
        teacher={"model": model, "servers": len(settings.servers)},
        sampling={**settings.sampling.body(), "num_generations": settings.num_generations},
    )
    folder = DatasetFolder(settings.folder, card, overwrite=settings.overwrite)
    if folder.is_done():
        found = read_card(settings.folder)
        assert found is not None
        counts = found.steps[-1].detail
        if not (settings.retry_errors and counts["errors"]):
            _export(settings)
            return Report(True, None, counts)
        folder.overwrite = True
    elif settings.file is not None and settings.file.exists() and not settings.overwrite:
        raise ValueError(f"{settings.file} belongs to another run: name another --output-file, or add --overwrite.")
    is_final = (lambda record: record["text"] is not None) if settings.retry_errors else (lambda record: True)
    with Journal(path, of_a_generation, is_final=is_final, overwrite=settings.overwrite) as journal:
        outcome = None
        if not all(name in journal for name in prompts.names(rows, settings.num_generations)):
            outcome = run(_ask(settings, model, prompts, rows, journal))
            if outcome.stopped_by is not None:
                return Report(False, outcome, None)
        with folder:
            counts = publish(folder, source, prompts, rows, settings.num_generations, journal, settings.drop_columns)
            card.steps.append(Step("generate", source.num_rows, counts["rows"], counts))
    if settings.file is not None:
        settings.file.unlink(missing_ok=True)
    _export(settings)
    return Report(False, outcome, counts)


def _client(settings: ReasoningSettings, model: str | None) -> Client:
    return Client(settings.servers, model=model, api_key=settings.api_key, patience=settings.patience)


async def _find_model(settings: ReasoningSettings, model: str | None) -> ServedModel:
    async with _client(settings, model) as client:
        return await client.find_model(wait_s=settings.wait_s, max_tokens=settings.max_tokens)


async def _ask(
    settings: ReasoningSettings, model: str, prompts: Prompts, rows: np.ndarray, journal: Journal
) -> Outcome:
    await _find_model(settings, model)
    total = sum(int(row) not in prompts.bad for row in rows) * settings.num_generations
    logger.info("Asking %s for %d generations; %d are there.", model, total, len(journal))
    async with _client(settings, model) as client:
        return await ask(
            prompts.requests(rows, settings.num_generations, settings.sampling),
            client.ask_one,
            journal,
            max_concurrent=settings.max_concurrent,
            total=total,
        )


def _export(settings: ReasoningSettings) -> None:
    """Write the JSON lines from the finished folder, unless they are there."""
    if settings.file is not None and not settings.file.exists():
        export_json_lines(open_source(str(settings.folder)), settings.file)
