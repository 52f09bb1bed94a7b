# SPDX-License-Identifier: Apache-2.0
"""Curation: from generations to a data set for fine-tuning, by rejection sampling and filters, step by step.

Steps, in this order, those that aren't asked for left out; each is counted in the card:

    not flagged as contaminated, rows, completions of the rows         rows without problem or completions go
    not too easy, pass rate, whole, ..., filter <file.py:function>     `filters.FILTERS`, and the user's own
    distinct in its problem, pass rate (own completions)               a problem is a row
    best of each problem, <exact or near> duplicates of ..., sample    `selection`, `duplicates`

All completions are written once to an Arrow file in the staging folder, and read from there. In memory are about 200
bytes for each that passes, 400 for each verdict, and what `duplicates` and clusters hold. Verdicts are appended to
`verdicts.jsonl`, so that judging resumes after kill -9, and other filters need no second judging:

    {"journal": 1, "settings": {"inputs": ["a1b2..."], "columns": ["..."], "verifier": "c3d4..."}}
    {"key": "3", "index": 2, "verdict": "no_answer"}      # key: the row, over all inputs
"""

import json
import logging
import tempfile
from argparse import Namespace
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from tqdm.auto import tqdm
from xxhash import xxh3_64_hexdigest

from open_r1.curation.completions import Columns, Row, find_columns, read_completions
from open_r1.curation.duplicates import find_exact_duplicates, find_near_duplicates
from open_r1.curation.filters import (
    OWN_GENERATIONS,
    asked_filters,
    close_prefilled_think,
    count_tokens,
    is_correct,
    is_failed,
    is_whole,
    is_within,
)
from open_r1.curation.selection import (
    Kept,
    best,
    best_of_each,
    cluster_problems,
    count_words,
    draw_over_domains,
    rule_score,
    use_one_unit,
)
from open_r1.data.card import FATE, REMOVED, DataCard, Parent, Step, inherited_licence
from open_r1.data.folder import DatasetFolder
from open_r1.data.layout_readers import UnmappableError
from open_r1.data.sources import RowSource, flag_columns, open_source
from open_r1.generation.journal import Journal
from open_r1.rewards.prose import reasoning_of
from open_r1.rewards.rubric import JudgeModel
from open_r1.rewards.second_judge import JUDGE_NAME, SecondJudge
from open_r1.rewards.verifier import Verdict, fingerprint_verifier, verify_all

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

JOURNAL = "verdicts.jsonl"
CLEAN = "not flagged as contaminated"
USUAL_KEPT = ("uuid", "id", "problem_id", "source", "problem_type", "question_type", "domain", "subject")
_CHUNK, _WRITE_ROWS = 512, 256
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_TEXTS = ("input", "problem", "question", "solution", "finish_reason", "domain")
_NUMBERS = ("row", "input_row", "generation_index", "num_tokens")
# Columns of the completions on their way to the output, and those of every output.
_COMPLETION: dict[str, pa.DataType] = {
    **dict.fromkeys(_TEXTS, pa.string()),
    **dict.fromkeys(_NUMBERS, pa.int64()),
    **dict.fromkeys(("flag", "easy_rate", "hard_rate"), pa.float64()),
    "prompt": _MESSAGES,
    "completion": pa.large_string(),
}
_OUTPUT: dict[str, pa.DataType] = {
    "messages": _MESSAGES,
    **dict.fromkeys(("problem", "solution", "input"), pa.string()),
    **dict.fromkeys(("input_row", "generation_index"), pa.int64()),
    "verdict": pa.string(),
    "rule_score": pa.float64(),
    "length": pa.int64(),
}


class Curation:
    """One run: its inputs, and its steps with their counts.

    Args:
        settings: Flags of `scripts/curate.py`.

    Raises:
        ValueError: An input can't be read, lacks a column, or doesn't fit.
    """

    def __init__(self, settings: Namespace) -> None:
        self.settings = settings
        self.steps: list[Step] = []
        self.verdicts: dict[tuple[int, int], str] = {}  # by row and generation index
        self.second: SecondJudge | None = None  # where the verifier abstains
        self.filters = asked_filters(settings)
        where = {"config": settings.dataset_config, "split": settings.dataset_split}
        sources = [open_source(name, **where, revision=settings.dataset_revision) for name in settings.input]
        self.inputs = [(source, find_columns(source, settings)) for source in sources]
        fields = dict(_COMPLETION)
        wanted = list(USUAL_KEPT if settings.keep_columns is None else settings.keep_columns)
        for source, columns in self.inputs:
            source.require(settings.keep_columns or [], "--keep_columns")
            if settings.correct_by == "verifier" and not (
                columns.gold or (columns.layout and columns.layout.solution)
            ):
                raise ValueError(f"{source.name} has no gold answers: name --gold_column, or set --correct_by")
            flags = flag_columns(source.schema) if settings.keep_contaminated else []
            for name in set(wanted + flags) & set(source.column_names) - set(_COMPLETION) - set(_OUTPUT):
                kind = source.schema.field(name).type
                if fields.setdefault(name, kind) != kind:
                    raise ValueError(f"column {name!r} is {fields[name]} and {kind}: leave it out of --keep_columns")
        self.schema = pa.schema(list(fields.items()))
        self.parents = [source.parent() for source, _ in self.inputs]
        strong = [settings.hard_pass_rate] if settings.hard_pass_rate not in (None, OWN_GENERATIONS) else []
        self.rates = {"easy_rate": self._rates(settings.easy_pass_rate or []), "hard_rate": self._rates(strong)}

    def _rows(self, what: str) -> Iterator[tuple[int, RowSource, Columns, Row]]:
        """Yield the number of each row over all inputs, with a bar."""
        number = 0
        for source, columns in self.inputs:
            for row in tqdm(source.rows(), what, source.num_rows, unit="row", disable=None, dynamic_ncols=True):
                yield number, source, columns, row
                number += 1

    def _rates(self, places: Sequence[str]) -> list[float | None]:
        """Return the pass rate of each row: of several places the highest, None where one isn't known."""
        found = zip(*map(self._rates_of, places), strict=True)
        return [None if None in rates else max(rates) for rates in found]

    def _rates_of(self, place: str) -> list[float | None]:
        settings, column = self.settings, place.removeprefix("column:")
        if column != place:
            for source, _ in self.inputs:
                source.require([column], "--easy_pass_rate and --hard_pass_rate")
            return [_rate(row[column], place) for *_, row in self._rows("pass rates")]
        source = open_source(place)
        usual = ("uuid", "id", *(columns.problem for _, columns in self.inputs if columns.problem))
        names = set(source.column_names).intersection(*(own.column_names for own, _ in self.inputs))
        key = settings.join_column or next((name for name in usual if name in names), "uuid")
        for both in (source, *(own for own, _ in self.inputs)):
            both.require([key], "--join_column")
        source.require([settings.pass_rate_column], "--pass_rate_column")
        rates: dict[str | None, float | None] = {}
        for row in source.rows([key, settings.pass_rate_column]):
            rate = _rate(row[settings.pass_rate_column], place)
            if rates.setdefault(_key(row[key]), rate) != rate and row[key] is not None:
                raise ValueError(f"{place} has two pass rates of {key} {row[key]!r}: set --join_column to another")
        rates.pop(None, None)
        wanted = [_key(row[key]) for *_, row in self._rows("joining pass rates")]
        missing = sum(name not in rates for name in wanted)
        if missing == len(wanted) or (missing and not settings.drop_without_pass_rate):
            raise ValueError(
                f"{place} has no pass rate of {missing} of {len(wanted)} rows, {wanted.count(None)} of which have "
                f"null in {key!r}: compute them too, set --join_column, or drop them by --drop_without_pass_rate"
            )
        self.parents.append(source.parent())
        return [rates.get(name) for name in wanted]

    def completions(self) -> Iterator[Row]:
        """Yield the completions of all rows, and count the rows."""
        flagged, unusable, count = Counter[str](), Counter[str](), Counter[str]()
        others = [name for name in self.schema.names if name not in _COMPLETION]
        marks = [name for source, _ in self.inputs for name in flag_columns(source.schema)]
        marks = [] if self.settings.keep_contaminated else marks
        firsts: dict[str, int] = {}
        questions: set[int] = set()
        for number, source, columns, row in self._rows("reading"):
            first = firsts.setdefault(source.name, number)
            mark = next((name for name in marks if row.get(name)), None)
            if mark is not None:
                flagged[mark] += 1
                continue
            count["clean"] += 1
            try:
                found = read_completions(row, columns)
            except UnmappableError as error:
                unusable[str(error)] += 1
                continue
            count.update(rows=1, completions=len(found))
            questions.add(hash(found[0]["question"]))
            common = {name: rates[number] for name, rates in self.rates.items() if rates}
            common |= {name: row.get(name) for name in others}
            common |= {"row": number, "input": source.name, "input_row": number - first}
            yield from (common | completion for completion in found)
        num_repeated = count["rows"] - len(questions)
        by_row = self.settings.max_per_problem is not None or self.settings.hard_pass_rate == OWN_GENERATIONS
        if num_repeated and by_row:
            text = (
                "%d rows repeat a problem, and --max_per_problem and --hard_pass_rate look at each row by itself: put"
            )
            logger.warning(f"{text} the completions of a problem in one row, as a list.", num_repeated)
        if marks:
            self._count(CLEAN, count["clean"], count["clean"], flagged)
        self._count("rows", count["rows"], count["rows"], unusable)
        self._count("completions of the rows", count["completions"], count["rows"], Counter())

    def _count(self, step: str, kept: int, problems: int, dropped: Counter[str]) -> None:
        detail = {f"dropped: {reason}": count for reason, count in sorted(dropped.items())}
        self.steps.append(Step(step, kept + dropped.total(), kept, detail | {"problems": problems}))

    def each(self, rows: "Dataset") -> Iterator[Row]:
        """Yield completions one by one, with their verdicts."""
        for batch in rows.iter(_CHUNK):
            for values in zip(*batch.values(), strict=True):
                row = dict(zip(batch, values, strict=True))
                verdict = "column" if self.settings.correct_by == "column" else None
                yield row | {"verdict": self.verdicts.get((row["row"], row["generation_index"]), verdict)}

    def sift(self, step: str, rows: "Dataset", faults: Iterable[str | None]) -> "Dataset":
        """Return the completions without a fault, and count the others by it."""
        found = list(faults)
        left = rows.select([place for place, fault in enumerate(found) if fault is None])
        self._count(step, len(left), len(set(left["row"])), Counter(fault for fault in found if fault is not None))
        return left

    def choose(self, step: str, before: list[Kept], after: list[Kept], reason: str) -> list[Kept]:
        """Count a step that was done as a whole; return what it left."""
        dropped = Counter({reason: len(before) - len(after)})
        self._count(step, len(after), len({entry.row for entry in after}), +dropped)
        return after

    def judge(self, rows: "Dataset", folder: Path) -> None:
        """Give completions their verdicts, but for those that the journal in a folder has."""
        settings = self.settings
        if settings.correct_by != "verifier":
            return
        # Without the layout, whose readers print as their addresses.
        columns = [repr(replace(columns, layout=None)) for _, columns in self.inputs]
        columns += [] if settings.dataset_layout is None else [settings.dataset_layout]
        inputs = [parent.fingerprint for parent in self.parents[: len(self.inputs)]]
        made_of = {"inputs": inputs, "columns": columns, "verifier": fingerprint_verifier()}
        made_of |= {} if self.second is None else self.second.settings()
        with Journal(folder / JOURNAL, made_of, overwrite=settings.overwrite) as journal:
            completions = self.each(rows)
            while batch := list(islice(completions, _CHUNK)):
                new = [row for row in batch if row["completion"] is not None and row["finish_reason"] != "error"]
                new = [row for row in new if (str(row["row"]), row["generation_index"]) not in journal]
                texts = [close_prefilled_think(row["completion"]) for row in new]
                golds, problems = [row["solution"] for row in new], [row["problem"] for row in new]
                verdicts = verify_all(golds, texts, problems)
                if self.second is not None:
                    verdicts = self.second.review(verdicts, problems, golds, texts)
                for row, verdict in zip(new, verdicts, strict=True):
                    place = {"key": str(row["row"]), "index": row["generation_index"]}
                    journal.append({**place, "verdict": str(verdict)})
                for row in batch:
                    place = (row["row"], row["generation_index"])
                    record = journal.get((str(place[0]), place[1]))
                    if record is not None:
                        self.verdicts[place] = record["verdict"]

    def run(self, folder: Path, output: Path) -> tuple["Dataset", list[Kept], str]:
        """Return the completions that passed the filters, those chosen of them, and the unit of their lengths.

        Args:
            folder: Takes the file of all completions.
            output: Keeps the verdicts.
        """
        settings, own_rates = self.settings, None
        rows = spooled(self.completions(), self.schema, folder / "completions.arrow")
        for step, fault_of in self.filters.items():
            if fault_of is is_whole and settings.hard_pass_rate == OWN_GENERATIONS:
                self.judge(rows, output)
                own_rates = self._own_rates(rows)
            elif fault_of is is_correct:
                self.judge(rows, output)
            rows = self.sift(step, rows, (fault_of(row, settings) for row in self.each(rows)))
        rows = self.sift("distinct in its problem", rows, _repeated(self.each(rows)))
        if own_rates is not None:
            bounds = (settings.hard_min, settings.hard_max)
            faults = (is_within(own_rates[number], *bounds) for number in rows["row"])
            rows = self.sift("pass rate (own completions)", rows, faults)
        kept = [self._measure(place, row) for place, row in enumerate(self.each(rows))]
        unit = use_one_unit(kept)
        if settings.max_per_problem is not None:
            chosen = best_of_each(kept, settings.order, settings.max_per_problem, settings.seed)
            kept = self.choose("best of each problem", kept, chosen, "not_among_the_best")
        for kind in settings.duplicates or []:
            kept = self._without_duplicates(rows, kept, kind)
        if settings.sample_by is not None:
            kept = self._sample(rows, kept)
        return rows, kept, unit

    def _own_rates(self, rows: "Dataset") -> dict[int, float | None]:
        """Return the share of each row's completions that is correct; None where none was judged.

        It is about correctness: malformed completions count. Where some failed, it is rounded to whole completions of
        all: 3 right ones of 31 count as 3 of 32.
        """
        found: dict[int, list[bool | None]] = defaultdict(list)
        for row in self.each(rows):
            fault = "no_verdict" if is_failed(row) else is_correct(row, self.settings)
            is_known = fault != "no_verdict" and row["verdict"] != Verdict.UNVERIFIABLE
            found[row["row"]].append(fault is None if is_known else None)
        rates: dict[int, float | None] = {}
        for number, is_right in found.items():
            judged = len(is_right) - is_right.count(None)
            rates[number] = round(is_right.count(True) / judged * len(is_right)) / len(is_right) if judged else None
        return rates

    def _measure(self, place: int, row: Row) -> Kept:
        text = row["completion"]
        score = rule_score(reasoning_of(text)) if self.settings.order == "rule_score" else 0.0
        num_tokens = count_tokens(row, self.settings)
        return Kept(place, row["row"], row["generation_index"], count_words(text), num_tokens, score, row["domain"])

    def _without_duplicates(self, rows: "Dataset", kept: list[Kept], kind: str) -> list[Kept]:
        how, _, what = kind.partition("_")
        name = "row" if what == "problems" else "place"
        places = {getattr(entry, name): entry.place for entry in kept}
        chosen = self.each(rows.select(list(places.values())))
        column = "question" if what == "problems" else "completion"
        texts = (close_prefilled_think(row[column]) for row in chosen)
        if how == "exact":
            repeats = find_exact_duplicates(texts)
        else:
            settings = self.settings
            threshold = settings.problem_threshold if what == "problems" else settings.completion_threshold
            repeats = find_near_duplicates(texts, threshold=threshold, same_numbers=what == "problems")
        first = {key for key, repeated in zip(places, repeats, strict=True) if repeated is None}
        left = [entry for entry in kept if getattr(entry, name) in first]
        return self.choose(f"{how} duplicates of {what}", kept, left, "repeats_another")

    def _sample(self, rows: "Dataset", kept: list[Kept]) -> list[Kept]:
        settings = self.settings
        if len(kept) < settings.num_rows:
            logger.warning("Only %d rows are left for --num_rows %d: all are taken.", len(kept), settings.num_rows)
        if settings.sample_by == "clusters" and kept:
            questions = [row["question"] for row in self.each(rows.select([entry.place for entry in kept]))]
            names = cluster_problems(questions, settings.num_clusters, settings.seed)
            for entry, name in zip(kept, names, strict=True):
                entry.domain = name
        if settings.sample_by == "order":
            drawn = best(kept, settings.order, settings.num_rows, settings.seed)
        else:
            drawn = draw_over_domains(kept, settings.num_rows, settings.seed)
        return self.choose("sample", kept, drawn, "not_drawn")

    def output_rows(self, rows: "Dataset", kept: list[Kept]) -> Iterator[Row]:
        """Yield the rows of the new data set."""
        system = self.settings.system_prompt
        for entry, row in zip(kept, self.each(rows.select([entry.place for entry in kept])), strict=True):
            prompt, answer = row["prompt"], close_prefilled_think(row["completion"])
            if system is not None:
                prompt = [{"role": "system", "content": system}, *(it for it in prompt if it["role"] != "system")]
            yield row | {
                "messages": [*prompt, {"role": "assistant", "content": answer}],
                "rule_score": round(rule_score(reasoning_of(answer)), 6),
                "length": entry.length,
            }

    def card(self, name: str) -> DataCard:
        """Return the card, as far as it is known before the rows are."""
        # Pass rates decide which rows are kept, but nothing of them is: their licence isn't inherited.
        parents = self.parents[: len(self.inputs)]
        settings = {key: value for key, value in vars(self.settings).items() if value is not None}
        for key in ("input", "config", "output_dir", "overwrite", "dry_run", "licence"):
            settings.pop(key, None)
        if self.settings.filter:  # an edited function is another filter
            files = [Path(place.rpartition(":")[0]).expanduser() for place in self.settings.filter]
            settings["filter_code"] = [xxh3_64_hexdigest(file.read_bytes()) for file in files if file.is_file()]
        # The layouts of data know the rows of this script by its name.
        licence = self.settings.licence or inherited_licence(parents)
        card = DataCard(name, {"script": "curate", **settings}, self.parents, licence=licence)
        card.teacher, card.sampling = (_common(parents, what) for what in ("teacher", "sampling"))
        return card

    def table(self) -> str:
        """Return the steps as lines to read."""
        lines = [f"{'step':<28} {'before':>10} {'after':>10}  dropped"]
        for step in self.steps:
            dropped = [f"{name[9:]} {count}" for name, count in step.detail.items() if name.startswith("dropped: ")]
            lines.append(
                f"{step.name:<28} {step.rows_before:>10} {step.rows_after:>10}  {', '.join(dropped)}".rstrip()
            )
        return "\n".join(lines)


def _repeated(rows: Iterable[Row]) -> Iterator[str | None]:
    """Yield `repeated` for completions that another one of the same row repeats word by word."""
    for _, group in groupby(rows, key=lambda row: row["row"]):
        seen: set[str] = set()
        for row in group:
            text = " ".join(row["completion"].split())
            yield "repeated" if text in seen else None
            seen.add(text)


def _rate(value: Any, place: str) -> float | None:
    if value is None or value != value:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1.001:
        raise ValueError(f"{place}: the pass rate {value!r} is neither a number between 0 and 1 nor null")
    return float(value)


def _key(value: Any) -> str | None:
    """Return what names a row as text; 1.0 is 1, since readers turn whole numbers beside a null into fractions."""
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    return None if value is None else json.dumps(value, sort_keys=True, default=str)


def _common(parents: list[Parent], what: str) -> dict[str, Any] | None:
    """Return the teacher or the sampling that all inputs name, or each under its number."""
    values = [_inherited(parent.card or {}, what) for parent in parents]
    given = [value for value in values if value]
    if all(value == given[0] for value in given):
        return given[0] if given else None
    return {f"input_{number}": value for number, value in enumerate(values) if value}


def _inherited(card: dict[str, Any], what: str) -> dict[str, Any] | None:
    """Return what a card or the first of its ancestors says: completions may have been decontaminated since."""
    above = (_inherited(parent.get("card") or {}, what) for parent in card.get("parents", []))
    return card.get(what) or next(filter(None, above), None)


def spooled(rows: Iterator[Row], schema: pa.Schema, path: Path) -> "Dataset":
    """Return rows as a data set in a file."""
    from datasets import Dataset

    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        while batch := list(islice(rows, _WRITE_ROWS)):
            writer.write_table(pa.Table.from_pylist(batch, schema))
    return Dataset.from_file(str(path))


def curate(settings: Namespace) -> Iterator[str]:
    """Choose and write the rows as the flags say; yield the lines for the user.

    Raises:
        ValueError: Settings, inputs and output don't fit, or no row is left.
    """
    curation = Curation(settings)
    model = None if settings.judge_url is None else JudgeModel(
        settings.judge_url, settings.judge_model, settings.judge_key_env
    )  # fmt: skip
    if settings.dry_run:
        with tempfile.TemporaryDirectory() as folder:
            curation.second = None if model is None else SecondJudge(model)
            curation.run(Path(folder), Path(folder))
        yield f"{curation.table()}\nNothing was written (--dry_run)."
        return
    output = Path(settings.output_dir).expanduser()
    card = curation.card(output.name)
    folder = DatasetFolder(output, card, overwrite=settings.overwrite, licence=settings.licence)
    if folder.is_done():
        yield f"{output} was finished earlier with these settings: nothing to do."
        return
    with folder:
        curation.second = None if model is None else SecondJudge(model, output / JUDGE_NAME)
        rows, kept, unit = curation.run(folder.staging, output)
        if not kept:
            raise ValueError(f"No completion is left:\n{curation.table()}")
        card.notes += [f"The verdicts are in {JOURNAL}."] * (settings.correct_by == "verifier")
        card.notes += [f"`length` is in {unit}.", *([] if model is None else [f"{curation.second}."])]
        card.steps += curation.steps
        if curation.steps[0].name == CLEAN:
            clean = curation.steps[0]
            counts = {"rows": clean.rows_before, "flagged_rows": clean.rows_before - clean.rows_after, FATE: REMOVED}
            card.contamination = {"checked": "where it was made from", **counts}
        others = {field.name: field.type for field in curation.schema if field.name not in _COMPLETION}
        schema, out = pa.schema(list((_OUTPUT | others).items())), curation.output_rows(rows, kept)
        while batch := list(islice(out, _WRITE_ROWS)):
            folder.write(pa.Table.from_pylist(batch, schema))
    said = "" if model is None else f"\n{curation.second}."
    yield f"{curation.table()}{said}\nWritten to {output}."
