# SPDX-License-Identifier: Apache-2.0
"""What was found, with evidence, as JSON for programs and as a table for people.

Evidence is bounded: the first `max_evidence` flagged rows of each benchmark; the rest are counted.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from open_r1.curation.decontamination.checking import CheckedBatch
from open_r1.curation.decontamination.index import Index
from open_r1.curation.decontamination.matching import Match, matched_span
from open_r1.curation.decontamination.texts import Oddities, to_strings, to_texts

REPORT_NAME = "contamination_report.json"
TABLE_NAME = "contamination_report.md"
DEFAULT_EVIDENCE = 1000

_TABLE_ROWS = 50
_SPAN_CHARACTERS = 2000
_CELL_CHARACTERS = 160


@dataclass(frozen=True)
class Evidence:
    """One flagged row: which item of which benchmark, how it was found, the row's own text, and the first n-gram.

    `start` and `end` are characters in the row's text (the turns of a conversation joined by line breaks); `matched`
    is what stands there, cut after 2000 characters. `item` is the row number in the benchmark.
    """

    row: int
    column: str
    benchmark: str
    item: int
    kind: str
    share: float | None
    start: int
    end: int
    matched: str
    ngram: str


@dataclass
class Report:
    """Counts and evidence, filled batch by batch."""

    index: Index
    max_evidence: int = DEFAULT_EVIDENCE
    num_rows: int = 0
    num_flagged: int = 0
    flagged: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    items: dict[str, Counter[int]] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    evidence: list[Evidence] = field(default_factory=list)
    oddities: dict[str, Oddities] = field(default_factory=dict)
    num_shown: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for name in self.index.names:
            self.flagged[name], self.removed[name], self.items[name] = 0, 0, Counter()

    def add(self, batch: CheckedBatch) -> None:
        """Add what was found in a batch."""
        self.num_rows += batch.rows.num_rows
        self.num_flagged += int(batch.flags.any(axis=1).sum())
        left = np.ones(batch.rows.num_rows, bool)
        for number, name in enumerate(self.index.names):
            flags = batch.flags[:, number]
            self.removed[name] += int((flags & left).sum())
            left &= ~flags
            self.flagged[name] += int(flags.sum())
        for column, oddities in batch.oddities.items():
            self.oddities.setdefault(column, Oddities()).merge(oddities, batch.first_row)
        shown: list[tuple[str, Match]] = []
        for column, match in batch.matches:
            item = self.index.items[match.item]
            name = self.index.names[item.benchmark]
            self.items[name][item.number] += 1
            self.kinds[match.kind] += 1
            if self.num_shown[name] < self.max_evidence:
                self.num_shown[name] += 1
                shown.append((column, match))
        texts = _texts_of_matches(batch, shown)
        self.evidence += [self._evidence(batch, column, match, texts[column, match.row]) for column, match in shown]

    def absorb(self, content: dict[str, Any]) -> None:
        """Add a report that was written by `to_json` for the rows behind those so far."""
        self.num_rows += content["rows"]
        self.num_flagged += content["flagged_rows"]
        for name, counts in content["benchmarks"].items():
            self.flagged[name] += counts["flagged_rows"]
            self.removed[name] += counts["flagged_by_it_first"]
        for name, counts in content["items"].items():
            self.items[name].update({int(item): rows for item, rows in counts.items()})
        self.kinds.update(content["found_by"])
        for entry in content["evidence"]:
            if self.num_shown[entry["benchmark"]] < self.max_evidence:
                self.num_shown[entry["benchmark"]] += 1
                self.evidence.append(Evidence(**entry))
        for column, found in content["rows_without_text"].items():
            oddities = Oddities(
                Counter({kind: entry["rows"] for kind, entry in found.items()}),
                {kind: entry["first_row"] for kind, entry in found.items()},
            )
            self.oddities.setdefault(column, Oddities()).merge(oddities, 0)

    def _evidence(self, batch: CheckedBatch, column: str, match: Match, text: str) -> Evidence:
        item = self.index.items[match.item]
        start, end = matched_span(text, match, self.index)
        n = min(match.length, self.index.rule.ngram_size)
        keys = item.keys[match.place : match.place + n] if match.kind != "near" else ()
        return Evidence(
            batch.first_row + match.row,
            column,
            self.index.names[item.benchmark],
            item.number,
            match.kind,
            match.share,
            start,
            end,
            text[start:end][:_SPAN_CHARACTERS],
            " ".join(keys),
        )

    def result(self) -> dict[str, Any]:
        """Return the counts, for the card."""
        return {
            "rows": self.num_rows,
            "flagged_rows": self.num_flagged,
            "benchmarks": {
                name: {
                    "flagged_rows": self.flagged[name],
                    "flagged_by_it_first": self.removed[name],
                    "items_found": len(self.items[name]),
                }
                for name in self.index.names
            },
            "found_by": dict(self.kinds),
            "rows_without_text": {
                column: {
                    kind: {"rows": count, "first_row": oddities.first_row[kind]}
                    for kind, count in sorted(oddities.count.items())
                }
                for column, oddities in self.oddities.items()
                if oddities.count
            },
        }

    def to_json(self, settings: dict[str, Any]) -> str:
        """Return everything, with the settings of the run."""
        content = {
            "settings": settings,
            "index": self.index.summary(),
            **self.result(),
            "items": {
                name: {str(item): rows for item, rows in sorted(counts.items())} for name, counts in self.items.items()
            },
            "evidence_left_out": sum(counts.total() for counts in self.items.values()) - len(self.evidence),
            "evidence": [asdict(entry) for entry in self.evidence],
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def to_table(self) -> str:
        """Return the counts and the first evidence in Markdown."""
        lines = [
            "# Contamination",
            "",
            f"{self.num_flagged} of {self.num_rows} rows share text with a benchmark.",
            "",
            "| benchmark | flagged rows | its items found |",
            "|---|--:|--:|",
            *(f"| {name} | {self.flagged[name]} | {len(self.items[name])} |" for name in self.index.names),
            "",
        ]
        for column, oddities in self.oddities.items():
            lines += [
                f"- column `{column}`: {count} rows {kind} (first: row {oddities.first_row[kind]})"
                for kind, count in sorted(oddities.count.items())
            ]
        if self.evidence:
            lines += ["", "| row | column | benchmark | item | found by | matched text |", "|--:|---|---|--:|---|---|"]
            for entry in self.evidence[:_TABLE_ROWS]:
                cells = (entry.row, entry.column, entry.benchmark, entry.item, entry.kind, _cell(entry.matched))
                lines.append(f"| {' | '.join(map(str, cells))} |")
        total = sum(counts.total() for counts in self.items.values())
        if total > _TABLE_ROWS:
            lines += ["", f"{total - _TABLE_ROWS} more matches; the first {len(self.evidence)} are in {REPORT_NAME}."]
        return "\n".join(lines) + "\n"


def _texts_of_matches(batch: CheckedBatch, matches: list[tuple[str, Match]]) -> dict[tuple[str, int], str]:
    """Return the texts of the rows of these matches by column and row."""
    texts: dict[tuple[str, int], str] = {}
    for column in {column for column, _ in matches}:
        rows = sorted({match.row for name, match in matches if name == column})
        values = to_strings(to_texts(batch.rows.column(column).take(pa.array(rows)), Oddities()))
        texts |= {(column, row): text for row, text in zip(rows, values, strict=True)}
    return texts


def _cell(text: str) -> str:
    flat = " ".join(text.split()).replace("|", "\\|").replace("`", "'")
    return f"`{flat[:_CELL_CHARACTERS]}{'…' if len(flat) > _CELL_CHARACTERS else ''}`"
