# SPDX-License-Identifier: Apache-2.0
"""From generations to a data set for fine-tuning: rejection sampling and curation, step by step.

Steps, in this order, those that aren't asked for left out; before them go rows without problem or completions:
1. completions that failed, were cut off, or lack reasoning or an answer (`quality`); 2. problems by the pass rates of
a small and of a strong model (`difficulty`); 3. incorrect completions (`verdicts`); 4. unreadable reasoning; 5. too
many tokens; then repetitions within a problem, and problems by the share of their own completions that is correct,
malformed ones too; a problem is a row;
6. all but the best few of a problem (`selection`); 7. duplicates of problems and completions, exact and near
(`duplicates`); 8. all but a sample over domains or clusters (`diversity`).

Texts are read anew where a step needs them. In memory are about 150 bytes for each completion that passes and for each
verdict, what `duplicates` and `diversity` say, and a chunk of 512 completions.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from open_r1.curation.completions import Problem
from open_r1.curation.difficulty import OWN_GENERATIONS
from open_r1.curation.diversity import cluster_problems, draw_over_domains
from open_r1.curation.duplicates import find_exact_duplicates, find_near_duplicates
from open_r1.curation.filters import CLEAN, CORRECT, DISTINCT, EASY, HARD, READABLE, SHORT, WHOLE, Filters
from open_r1.curation.funnel import Funnel
from open_r1.curation.inputs import Input, Inputs, open_inputs
from open_r1.curation.packages import require_package
from open_r1.curation.quality import close_prefilled_think
from open_r1.curation.rates import RateFilter, find_rates
from open_r1.curation.rule_score import measure_care
from open_r1.curation.selection import Kept, best_of_all, best_of_each, in_one_unit
from open_r1.curation.settings import CurateSettings
from open_r1.curation.verdicts import Judge, VerdictJournal
from open_r1.data.card import FATE, REMOVED, DataCard, Parent, inherited_licence, read_card
from open_r1.data.folder import DatasetFolder
from open_r1.rewards.prose import reasoning_of
from open_r1.rewards.verifier import fingerprint_verifier

logger = logging.getLogger(__name__)

JOURNAL = "verdicts.jsonl"
OWN_RATE, BEST, SAMPLE = "pass rate (own completions)", "best of each problem", "sample"
_WRITE_ROWS = 256
_COLUMNS = {
    "messages": pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    "problem": pa.string(),
    "solution": pa.string(),
    "input": pa.string(),
    "input_row": pa.int64(),
    "generation_index": pa.int64(),
    "verdict": pa.string(),
    "rule_score": pa.float64(),
    "length": pa.int64(),
}


@dataclass
class Curation:
    """One run.

    Args:
        settings: What is asked for.
        inputs: The rows.
        rates: Filters by known pass rates.
        parents: Data sets that were read.
    """

    settings: CurateSettings
    inputs: Inputs
    rates: dict[str, RateFilter]
    parents: list[Parent]
    funnel: Funnel = field(default_factory=Funnel)
    length_unit: str = "words"

    def choose(self, journal: VerdictJournal | None) -> list[Kept]:
        """Return the completions that all steps leave, by row."""
        judge = Judge(journal) if journal is not None else None
        filters = Filters(self.settings, self.funnel, self.rates, judge)
        kept, self.length_unit = in_one_unit(list(filters.run(self.inputs)))
        if filters.num_repeated:
            logger.warning(
                "%d rows repeat the problem of an earlier row. A problem is a row: put its completions in one row, as "
                "a list, since --max_per_problem and --hard_pass_rate generations look at each row by itself.",
                filters.num_repeated,
            )
        if self.settings.hard_pass_rate == OWN_GENERATIONS:
            kept = self._within_own_rate(kept, filters)
        if self.settings.max_per_problem is not None:
            best = best_of_each(
                kept, order=self.settings.order, per_problem=self.settings.max_per_problem, seed=self.settings.seed
            )
            kept = self.funnel.compare(BEST, kept, best, "not_among_the_best")
        for kind in self.settings.duplicates or []:
            kept = self._without_duplicates(kept, kind)
        return self._sample(kept) if self.settings.sample_by is not None else kept

    def _within_own_rate(self, kept: list[Kept], filters: Filters) -> list[Kept]:
        bounds = self.settings.hard_bounds()
        left = []
        for entry in kept:
            fault = bounds.fault_of(filters.own_rate(entry.row))
            if fault is None:
                left.append(entry)
                self.funnel.keep(OWN_RATE, entry.row)
            else:
                self.funnel.drop(OWN_RATE, fault)
        return left

    def _without_duplicates(self, kept: list[Kept], kind: str) -> list[Kept]:
        """Return the completions without those that repeat an earlier problem or completion."""
        how, _, what = kind.partition("_")
        name = f"{how} duplicates of {what}"
        if what == "problems":
            numbers = sorted({entry.row for entry in kept})
            texts = (problem.question for problem, _, _ in self.inputs.problems(numbers, name))
            threshold = self.settings.problem_threshold
        else:
            numbers = list(range(len(kept)))
            texts = self.inputs.texts([(entry.row, entry.index) for entry in kept], name)
            threshold = self.settings.completion_threshold
        if how == "exact":
            repeats = find_exact_duplicates(texts)
        else:
            repeats = find_near_duplicates(texts, threshold=threshold, same_numbers=what == "problems")
        first = {number for number, repeated in zip(numbers, repeats, strict=True) if repeated is None}
        left = [entry for place, entry in enumerate(kept) if (entry.row if what == "problems" else place) in first]
        return self.funnel.compare(name, kept, left, "repeats_another")

    def _sample(self, kept: list[Kept]) -> list[Kept]:
        settings = self.settings
        assert settings.num_rows is not None
        if len(kept) < settings.num_rows:
            logger.warning("Only %d rows are left for --num_rows %d: all are taken.", len(kept), settings.num_rows)
        if settings.sample_by == "order":
            drawn = best_of_all(kept, settings.num_rows, order=settings.order, seed=settings.seed)
        else:
            domains = [entry.domain for entry in kept] if settings.sample_by == "domain" else self._clusters(kept)
            drawn = draw_over_domains(kept, domains, settings.num_rows, seed=settings.seed)
            self.funnel.note(SAMPLE, domains=len(set(domains)))
        return self.funnel.compare(SAMPLE, kept, drawn, "not_drawn")

    def _clusters(self, kept: list[Kept]) -> list[str]:
        numbers = sorted({entry.row for entry in kept})
        texts = [problem.question for problem, _, _ in self.inputs.problems(numbers, "clusters")]
        names = cluster_problems(texts, self.settings.num_clusters, seed=self.settings.seed) if texts else []
        of_row = dict(zip(numbers, names, strict=True))
        return [of_row[entry.row] for entry in kept]

    def contamination(self) -> dict[str, Any] | None:
        """Return for the card what became of rows that were flagged in the inputs; None where nothing was."""
        step = next((step for step in self.funnel.steps() if step.name == CLEAN), None)
        if step is None:
            return None
        return {
            "checked": "where it was made from",
            "rows": step.rows_before,
            "flagged_rows": step.rows_before - step.rows_after,
            FATE: REMOVED,
        }

    def output_rows(self, kept: Sequence[Kept]) -> Iterator[dict[str, Any]]:
        """Yield the rows to write."""
        by_row = {row: list(group) for row, group in groupby(kept, key=lambda entry: entry.row)}
        for problem, part, row in self.inputs.problems(by_row, "writing"):
            for entry in by_row[problem.row]:
                yield self._output_row(problem, part, row, entry)

    def _output_row(self, problem: Problem, part: Input, row: dict[str, Any], kept: Kept) -> dict[str, Any]:
        prompt = problem.prompt
        if self.settings.system_prompt is not None:
            prompt = [message for message in prompt if message["role"] != "system"]
            prompt = [{"role": "system", "content": self.settings.system_prompt}, *prompt]
        answer = close_prefilled_think(problem.completions[kept.index].text)
        own = {
            "messages": [*prompt, {"role": "assistant", "content": answer}],
            "problem": problem.text,
            "solution": _as_text(problem.gold),
            "input": part.source.name,
            "input_row": problem.row - part.first,
            "generation_index": kept.index,
            "verdict": kept.verdict or None,
            "rule_score": round(measure_care(reasoning_of(answer)).score, 6),
            "length": kept.length,
        }
        return own | {name: row[name] for name in part.kept if name not in own}


def _as_text(gold: Any) -> str | None:
    """Return a gold answer as the one type of its column; lists and numbers as JSON."""
    return gold if gold is None or isinstance(gold, str) else json.dumps(gold, ensure_ascii=False, default=str)


def plan(settings: CurateSettings) -> Curation:
    """Open everything that is read, and check what can be checked before any text is.

    Raises:
        ValueError: An input or a file of pass rates can't be read, lacks a column, or doesn't fit.
        ModuleNotFoundError: A library that a step needs is missing.
    """
    unused = settings.unused()
    if unused:
        logger.warning(
            "Without effect beside the other settings: %s. See --help for what they belong to.",
            ", ".join(f"--{name}" for name in unused),
        )
    if any(kind.startswith("near") for kind in settings.duplicates or []):
        require_package("datasketch", "Near duplicates")
    if settings.sample_by == "clusters":
        require_package("sklearn", "Clusters of problems")
    inputs = open_inputs(settings)
    rates, rate_parents = find_rates(settings, inputs)
    curation = Curation(settings, inputs, rates, [part.source.parent() for part in inputs.parts] + rate_parents)
    asked = {
        EASY: "easy" in rates,
        HARD: "hard" in rates,
        CORRECT: settings.correct_by != "none",
        READABLE: settings.readability_filter() is not None,
        SHORT: settings.max_tokens is not None,
    }
    if any(part.flags for part in inputs.parts):
        curation.funnel.begin(CLEAN)
    curation.funnel.begin("rows", "completions of the rows", WHOLE)
    curation.funnel.begin(*(step for step, is_asked in asked.items() if is_asked), DISTINCT)
    return curation


def make_card(curation: Curation, name: str, licence: str | None) -> DataCard:
    """Return the card, as far as it is known before the rows are."""
    # Pass rates decide which rows are kept, but nothing of them is: their licence isn't inherited.
    licence = licence or inherited_licence(curation.parents[: len(curation.inputs.parts)])
    card = DataCard(name=name, settings=curation.settings.for_card(), parents=curation.parents, licence=licence)
    cards = [_card_of(part) for part in curation.inputs.parts]
    card.teacher = _common([_inherited(entry, "teacher") for entry in cards])
    card.sampling = _common([_inherited(entry, "sampling") for entry in cards])
    return card


def _card_of(part: Input) -> dict[str, Any]:
    path = Path(part.source.name).expanduser()
    card = read_card(path) if path.is_dir() else None
    return {} if card is None else asdict(card)


def _inherited(card: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Return what a card or the first of its ancestors says: completions may have been decontaminated since."""
    if card.get(name):
        return card[name]
    found = (_inherited(parent.get("card") or {}, name) for parent in card.get("parents", []))
    return next((value for value in found if value), None)


def _common(values: list[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Return what all inputs say; where they differ, each under its number."""
    given = [value for value in values if value]
    if not given or all(value == given[0] for value in given):
        return given[0] if given else None
    return {f"input_{number}": value for number, value in enumerate(values) if value}


def verdict_settings(curation: Curation) -> dict[str, Any]:
    """Return what verdicts depend on."""
    parts = curation.inputs.parts
    return {
        "inputs": [parent.fingerprint for parent in curation.parents[: len(parts)]],
        "layout": curation.settings.dataset_layout,
        "generations": [part.columns.generations for part in parts],
        "gold": [part.columns.gold for part in parts],
        "verifier": fingerprint_verifier(),
    }


def curate(
    settings: CurateSettings, output_dir: Path | None, *, overwrite: bool = False, licence: str | None = None
) -> tuple[Funnel, bool]:
    """Choose and write the rows; return the counts, and whether anything was done.

    Args:
        settings: What is asked for.
        output_dir: Folder of the new data set. None: only count.
        overwrite: Replace what was made with other settings.
        licence: Of the new data set; by default that of the inputs.

    Raises:
        ValueError: Settings, inputs and output don't fit, or no row is left.
    """
    curation = plan(settings)
    judges = settings.correct_by == "verifier"
    if output_dir is None:
        curation.choose(VerdictJournal(None, {}) if judges else None)
        return curation.funnel, True
    card = make_card(curation, output_dir.name, licence)
    folder = DatasetFolder(output_dir, card, overwrite=overwrite, licence=licence)
    if folder.is_done():
        return curation.funnel, False
    with folder:
        journal = None
        if judges:
            journal = VerdictJournal(output_dir / JOURNAL, verdict_settings(curation), overwrite=overwrite)
            folder.card.notes.append(f"The verdicts of all completions that were judged are in {JOURNAL}.")
        kept = curation.choose(journal)
        if not kept:
            raise ValueError(f"No completion is left:\n{curation.funnel.table()}")
        folder.card.notes.append(f"`length` is in {curation.length_unit}.")
        folder.card.steps += curation.funnel.steps()
        folder.card.contamination = curation.contamination()
        rows = curation.output_rows(kept)
        schema = pa.schema(_COLUMNS | {entry.name: entry.type for entry in curation.inputs.kept} | _COLUMNS)
        while batch := list(islice(rows, _WRITE_ROWS)):
            folder.write(pa.Table.from_pylist(batch, schema))
    return curation.funnel, True
