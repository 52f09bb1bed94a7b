# SPDX-License-Identifier: Apache-2.0
"""What a curation can be told: the home of all defaults of `scripts/curate.py`."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from open_r1.curation.completions import Wanted
from open_r1.curation.difficulty import COLUMN_PREFIX, OWN_GENERATIONS, Bounds, make_bounds
from open_r1.curation.duplicates import DEFAULT_THRESHOLD
from open_r1.curation.quality import ReadabilityFilter
from open_r1.curation.selection import ORDERS
from open_r1.data.layouts import NO_LAYOUT, check_name
from open_r1.rewards.language_rewards import MAX_PARAGRAPH_CHARS, MIN_LANGUAGE_SHARE

REASONING = ("require", "any")
CORRECT_BY = ("verifier", "column", "none")
DUPLICATES = ("exact_problems", "near_problems", "exact_completions", "near_completions")
SAMPLE_BY = ("domain", "clusters", "order")
USUAL_KEPT = ("uuid", "id", "problem_id", "source", "problem_type", "question_type", "domain", "subject")
# Columns that every output has.
OWN_COLUMNS = (
    "messages",
    "problem",
    "solution",
    "input",
    "input_row",
    "generation_index",
    "verdict",
    "rule_score",
    "length",
)


@dataclass(kw_only=True)
class CurateSettings:
    """The settings of a curation; `scripts/curate.py --help` says what each does.

    Raises:
        ValueError: A value is out of range, or settings contradict each other.
    """

    input: list[str]
    dataset_config: str | None = None
    dataset_split: str = "train"
    dataset_revision: str | None = None
    dataset_layout: str | None = None
    problem_column: str | None = None
    generations_column: str | None = None
    finish_reasons_column: str | None = None
    gold_column: str | None = None
    domain_column: str | None = None
    keep_columns: list[str] | None = None
    keep_contaminated: bool = False
    reasoning: str = "require"
    easy_pass_rate: list[str] | None = None
    easy_max: str = "0"
    hard_pass_rate: str | None = None
    hard_min: str = "1/32"
    hard_max: str = "3/32"
    pass_rate_column: str = "pass_rate"
    join_column: str | None = None
    drop_without_pass_rate: bool = False
    correct_by: str = "verifier"
    correct_column: str | None = None
    correct_min: float = 1.0
    keep_unverifiable: bool = False
    readability: list[str] | None = None
    language: str | None = None
    max_paragraph_chars: int = MAX_PARAGRAPH_CHARS
    min_language_share: float = MIN_LANGUAGE_SHARE
    max_tokens: int | None = None
    tokenizer: str | None = None
    order: str = "first"
    max_per_problem: int | None = None
    duplicates: list[str] | None = None
    problem_threshold: float = DEFAULT_THRESHOLD
    completion_threshold: float = 0.9
    sample_by: str | None = None
    num_rows: int | None = None
    num_clusters: int = 50
    seed: int = 42
    system_prompt: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("reasoning", REASONING), ("correct_by", CORRECT_BY), ("order", ORDERS)):
            _require_one_of(f"--{name}", getattr(self, name), allowed)
        for kind in self.duplicates or []:
            _require_one_of("--duplicates", kind, DUPLICATES)
        for name in ("max_tokens", "max_per_problem", "num_rows"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}.")
        for name in ("problem_threshold", "completion_threshold"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"--{name} must be above 0 and at most 1, got {getattr(self, name)}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed must be between 0 and 2**32 - 1, got {self.seed}.")
        if not self.input:
            raise ValueError("Name at least one --input.")
        check_name(self.dataset_layout, "--dataset_layout")
        if self.dataset_layout not in (None, NO_LAYOUT) and (self.problem_column or self.generations_column):
            raise ValueError(
                f"--dataset_layout {self.dataset_layout} says where problems and completions are: leave "
                "--problem_column and --generations_column out."
            )
        taken = sorted(set(self.keep_columns or ()) & set(OWN_COLUMNS))
        if taken:
            raise ValueError(f"--keep_columns names {taken}, which the output has by itself: leave them out.")
        self._check_sampling()
        self._check_correctness()
        self.readability_filter()
        self.easy_bounds()
        self.hard_bounds()

    def _check_sampling(self) -> None:
        if (self.sample_by is None) != (self.num_rows is None):
            raise ValueError("--sample_by and --num_rows go together: which rows to take, and how many.")
        if self.sample_by is not None:
            _require_one_of("--sample_by", self.sample_by, SAMPLE_BY)
        if self.sample_by == "domain" and self.domain_column is None:
            raise ValueError("--sample_by domain needs --domain_column; without such a column use clusters.")
        if self.num_clusters < 2:
            raise ValueError(f"--num_clusters must be at least 2, got {self.num_clusters}.")

    def _check_correctness(self) -> None:
        if (self.correct_by == "column") != (self.correct_column is not None):
            raise ValueError("--correct_by column and --correct_column go together.")
        if OWN_GENERATIONS in (self.easy_pass_rate or []):
            raise ValueError(
                "--easy_pass_rate generations would drop every problem that has a correct completion: it is the pass "
                "rate of another, smaller model. Name its folder, or column:NAME."
            )
        if self.hard_pass_rate == OWN_GENERATIONS and self.correct_by == "none":
            raise ValueError("--hard_pass_rate generations needs verdicts: leave --correct_by none out.")

    def easy_bounds(self) -> Bounds:
        """Return the pass rates of a small model that a problem may have."""
        return make_bounds("0", self.easy_max, "easy")

    def hard_bounds(self) -> Bounds:
        """Return the pass rates of a strong model that a problem may have."""
        return make_bounds(self.hard_min, self.hard_max, "hard")

    def readability_filter(self) -> ReadabilityFilter | None:
        """Return the filter for readability, or None where nothing is asked for."""
        if not self.readability and self.language is None:
            return None
        faults = (*(self.readability or ()), *(("other_language",) if self.language else ()))
        return ReadabilityFilter(faults, self.language, self.max_paragraph_chars, self.min_language_share)

    def wanted(self) -> Wanted:
        """Return the columns that were named."""
        return Wanted(
            self.problem_column,
            self.generations_column,
            self.finish_reasons_column,
            self.gold_column,
            self.correct_column,
            self.domain_column,
            self.dataset_layout,
        )

    def rate_columns(self) -> list[str]:
        """Return the columns of the input that hold pass rates."""
        named = (*(self.easy_pass_rate or ()), self.hard_pass_rate)
        return [name.removeprefix(COLUMN_PREFIX) for name in named if name and name.startswith(COLUMN_PREFIX)]

    def unused(self) -> list[str]:
        """Return the settings other than the default ones that change nothing beside the others."""
        joins = [
            name
            for name in (*(self.easy_pass_rate or ()), self.hard_pass_rate)
            if name and name != OWN_GENERATIONS and not name.startswith(COLUMN_PREFIX)
        ]
        kinds = self.duplicates or []
        is_ranked = self.max_per_problem is not None or self.sample_by == "order"
        needs_seed = self.sample_by in ("domain", "clusters") or (is_ranked and self.order == "random")
        used = {
            "easy_max": bool(self.easy_pass_rate),
            "hard_min": self.hard_pass_rate is not None,
            "hard_max": self.hard_pass_rate is not None,
            "pass_rate_column": bool(joins),
            "join_column": bool(joins),
            "drop_without_pass_rate": bool(joins),
            "correct_min": self.correct_by == "column",
            "keep_unverifiable": self.correct_by == "verifier",
            "max_paragraph_chars": "long_paragraph" in (self.readability or ()),
            "min_language_share": self.language is not None or "mixed_language" in (self.readability or ()),
            "order": is_ranked,
            "problem_threshold": "near_problems" in kinds,
            "completion_threshold": "near_completions" in kinds,
            "num_clusters": self.sample_by == "clusters",
            "domain_column": self.sample_by == "domain",
            "seed": needs_seed,
        }
        defaults = _defaults()
        return [name for name, is_used in used.items() if not is_used and getattr(self, name) != defaults[name]]

    def for_card(self) -> dict[str, Any]:
        """Return what decides the rows, without what is not used."""
        values = asdict(self) | {name: _defaults()[name] for name in self.unused()}
        used = {name: value for name, value in values.items() if value is not None and name != "input"}
        return {"script": "curate", **used}  # by which get_dataset knows the layout of the rows


def _defaults() -> dict[str, Any]:
    return {entry.name: entry.default for entry in fields(CurateSettings)}


def _require_one_of(setting: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{setting} is {value!r}; choose one of {', '.join(allowed)}.")
