# SPDX-License-Identifier: Apache-2.0
"""Table of layouts: how rows of public reasoning data sets become `messages`, and `problem` with `solution`.

    open-r1/OpenR1-Math-220k    problem, generations, correctness_math_verify, ...
        -> messages (SFT): the problem and a generation that was judged right
        -> problem, prompt, solution (GRPO)

    {"problem": "1+1?", "answer": "2", "source": "x"}
        -> {"problem": "1+1?", "prompt": "1+1?", "solution": "2", "answer": "2", "source": "x"}

Replies are `<think>`, line break, reasoning, line break, `</think>`, blank line, answer.
`python -m open_r1.data.layouts` lists the table.

1. A layout is never guessed: it is named (`dataset_layout`), belongs to a known name on the hub, or to the parent that
   the card of a data folder names.
2. A known name whose columns fit none of its layouts is taken as it is, with a warning: configurations differ.
3. All columns of the data stay, but for those that the mapped ones replace: `messages`; `problem`, `prompt` (the same
   text, since that is the default of `dataset_prompt_column`) and `solution`.
4. A row that can't be mapped is dropped, and counted by reason.
"""

import hashlib
import logging
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from open_r1 import literals
from open_r1.data import layout_readers
from open_r1.data.card import DataCard, read_card
from open_r1.data.layout_readers import (
    Only,
    Reader,
    UnmappableError,
    as_they_are,
    chat_of,
    chosen,
    countdown_problem,
    gold,
    gold_in_box,
    gold_unless_tests,
    gold_within,
    has_tests,
    prompt,
    question_and_reply,
    question_and_trace,
    text,
    turns,
    unwrapped,
)
from open_r1.tasks import countdown

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

MESSAGES, PROBLEM = "messages", "problem"
TARGETS = (MESSAGES, PROBLEM)
NO_LAYOUT = "none"
_MAX_REASONS = 8
# Part of the cache key of mapped rows: `datasets` would hand out those of an older version of these files, whose words
# are prompts.
_MODULES = (__file__, layout_readers.__file__, literals.__file__, countdown.__file__)
_CODE = hashlib.sha256(b"".join(Path(module).read_bytes() for module in _MODULES)).hexdigest()


@dataclass(frozen=True)
class Layout:
    """How the rows of some data sets are mapped.

    Args:
        name: Value of `dataset_layout`.
        summary: What it maps, for people.
        sets: Names on the hub whose rows have this layout, also copies of them under other owners.
        messages: Reader of the conversation for SFT; None where there is none.
        problem: Reader of the prompt for GRPO; None where there is none.
        solution: Reader of the gold answer; None where rewards judge by other columns.
        messages_if: Conditions on rows for SFT.
        problem_if: Conditions on rows for GRPO.
        with_columns: Other columns that rewards read; they tell data sets apart and must hold tests.
        is_distinct: Whether of rows with the same problem only the first is kept for GRPO.
        drop: Columns that must not stay beside the mapped ones.
    """

    name: str
    summary: str
    sets: tuple[str, ...] = ()
    messages: Reader | None = None
    problem: Reader | None = None
    solution: Reader | None = None
    messages_if: tuple[Only, ...] = ()
    problem_if: tuple[Only, ...] = ()
    with_columns: tuple[str, ...] = ()
    is_distinct: bool = False
    drop: tuple[str, ...] = ()

    def readers(self, target: str) -> tuple[Reader, ...]:
        """Return the readers of a target (`TARGETS`); none where the layout hasn't it."""
        readers = (self.messages,) if target == MESSAGES else (self.problem, self.solution)
        return tuple(reader for reader in readers if reader is not None)

    def conditions(self, target: str) -> tuple[Only, ...]:
        """Return the conditions on rows for a target."""
        return self.messages_if if target == MESSAGES else self.problem_if

    def targets(self) -> tuple[str, ...]:
        """Return the targets that the layout has."""
        return tuple(target for target in TARGETS if self.readers(target))

    def missing(self, target: str, columns: list[str]) -> list[str]:
        """Return the columns that data with `columns` lack for a target, alternatives as `a or b`."""
        needs = [options for reader in self.readers(target) for options in reader.needs]
        needs += [(column,) for column in self.with_columns if target == PROBLEM]
        return [" or ".join(options) for options in dict.fromkeys(needs) if not set(options) & set(columns)]

    def fits(self, target: str | None, columns: list[str]) -> bool:
        """Return whether the layout has a target (None: any), and data with `columns` have what it needs."""
        targets = TARGETS if target is None else (target,)
        return any(self.readers(each) and not self.missing(each, columns) for each in targets)

    def inputs(self, target: str) -> set[str]:
        """Return the columns that are read for a target."""
        names = {condition.column for condition in self.conditions(target)}
        names |= set(self.with_columns if target == PROBLEM else ())
        return names.union(*(reader.columns() for reader in self.readers(target)))


_MATH = (Reader(text, "problem"), Reader(gold, "answer"))
_MATH_VERDICTS = ("correctness_math_verify", "correctness_llama")
_RATE_VERDICTS = tuple(
    f"pass_rate_rewards_{name}" for name in ("accuracy", "code", "binary_code", "ioi_code", "cf_code")
)
_PROMPTS = ("problem", "question", "prompt", "instruction", "problem_statement")

LAYOUTS = (
    Layout(
        "thought_turns",
        "from/value turns (human/gpt or user/assistant) with thought markers or tags; the system prompt goes",
        ("bespokelabs/Bespoke-Stratos-17k", "HuggingFaceH4/Bespoke-Stratos-17k", "open-thoughts/OpenThoughts-114k",
         "NovaSky-AI/Sky-T1_data_17k"),
        messages=Reader(turns, ("conversations", "messages")),
    ),
    Layout(
        "openthoughts",
        "OpenThoughts metadata: problem, deepseek_reasoning and deepseek_solution; test_cases for code",
        ("open-thoughts/OpenThoughts-114k", "mlfoundations-dev/openthoughts_code"),
        messages=Reader(question_and_reply, "problem", "deepseek_reasoning", "deepseek_solution"),
        problem=Reader(text, "problem"),
        solution=Reader(gold_unless_tests, "ground_truth_solution", tests="test_cases"),
    ),
    Layout(
        "s1k_1.1",
        "a question with DeepSeek's thinking trajectory and attempt",
        ("simplescaling/s1K-1.1", "mlx-community/s1K-1.1"),
        messages=Reader(question_and_reply, "question", "deepseek_thinking_trajectory", "deepseek_attempt"),
        problem=Reader(text, "question"),
        solution=Reader(gold, "solution"),
    ),
    Layout(
        "s1k",
        "a question with thinking_trajectories (a list of one) and attempt",
        ("simplescaling/s1K",),
        messages=Reader(question_and_reply, "question", "thinking_trajectories", "attempt"),
        problem=Reader(text, "question"),
        solution=Reader(gold, "solution"),
    ),
    Layout(
        "limo",
        "a question, a trace without tags (`solution`) and the answer",
        ("GAIR/LIMO", "GAIR/LIMO-v2"),
        messages=Reader(question_and_trace, "question", "solution", answer="answer"),
        problem=Reader(text, "question"),
        solution=Reader(gold, "answer"),
    ),
    Layout(
        "numina_qwq",
        "a prompt, a response without tags, ground_truth and `correct`: correct responses only",
        ("PrimeIntellect/NuminaMath-QwQ-CoT-5M",),
        messages=Reader(question_and_trace, "prompt", "response", answer="ground_truth"),
        messages_if=(Only("correct", True, "a response that is not correct"),),
        problem=Reader(text, "prompt"),
        solution=Reader(gold, "ground_truth"),
        is_distinct=True,
    ),
    Layout(
        "openr1_math",
        "generations with verdicts: the published turn, else the first that math_verify (then llama) calls right",
        ("open-r1/OpenR1-Math-220k",),
        messages=Reader(
            chosen, "problem", "generations", _MATH_VERDICTS, finish_reasons="finish_reasons", verdicts=_MATH_VERDICTS,
            complete="is_reasoning_complete", published="messages",
        ),
        problem=Reader(text, "problem"),
        solution=Reader(gold, "answer"),
    ),
    Layout(
        "codeforces_cots",
        "messages as they are, without the bare prompt beside them",
        ("open-r1/codeforces-cots",),
        messages=Reader(as_they_are, "messages"),
        drop=("prompt",),
    ),
    Layout(
        "problem_answer",
        "a problem and its answer (DeepScaleR, AIME, MATH-500)",
        ("agentica-org/DeepScaleR-Preview-Dataset", "HuggingFaceH4/aime_2024", "HuggingFaceH4/MATH-500",
         "yentinglin/aime_2025", "MathArena/aime_2025", "MathArena/aime_2026", "math-ai/aime25"),
        problem=_MATH[0],
        solution=_MATH[1],
    ),
    Layout(
        "simplerl",
        "question and answer; the templated prompt is replaced",
        ("hkust-nlp/SimpleRL-Zoo-Data",),
        problem=Reader(text, "question"),
        solution=Reader(gold, "answer"),
    ),
    Layout(
        "dapo",
        "a wrapped prompt and reward_model.ground_truth: unwrapped, each problem once",
        ("BytedTsinghua-SIA/DAPO-Math-17k",),
        problem=Reader(unwrapped, "prompt"),
        solution=Reader(gold_within, "reward_model", key="ground_truth"),
        is_distinct=True,
    ),
    Layout(
        "dapo_processed",
        "a prompt, unwrapped if it is wrapped, and solution, the bare answer",
        ("open-r1/DAPO-Math-17k-Processed",),
        problem=Reader(unwrapped, "prompt"),
        solution=Reader(gold, "solution"),
        is_distinct=True,
    ),
    Layout(
        "numina_1.5",
        "problem and answer; no proofs, and nothing that is marked invalid",
        ("AI-MO/NuminaMath-1.5", "nlile/NuminaMath-1.5-RL-Verifiable"),
        problem=_MATH[0],
        solution=_MATH[1],
        problem_if=(
            Only("question_type", "proof", "a proof", is_wanted=False),
            Only("problem_is_valid", "Yes", "a problem that is not marked valid"),
            Only("solution_is_valid", "Yes", "a solution that is not marked valid"),
        ),
    ),
    Layout(
        "numina_tir",
        "messages as they are (tool-integrated solutions); solution is the last box",
        ("AI-MO/NuminaMath-TIR", "cg666/NuminaMath-TIR-8000"),
        messages=Reader(as_they_are, "messages"),
        problem=Reader(text, "problem"),
        solution=Reader(gold_in_box, "solution"),
    ),
    Layout(
        "countdown",
        "nums and target; the problem is written out, the reward judges by the two columns",
        ("Jiayi-Pan/Countdown-Tasks-3to4",),
        problem=Reader(countdown_problem, "nums", "target"),
    ),
    Layout(
        "primeintellect_code",
        "a prompt and verification_info, the text of a struct with test cases",
        ("PrimeIntellect/verifiable-coding-problems",),
        problem=Reader(text, "prompt"),
        with_columns=("verification_info",),
    ),
    Layout(
        "open_r1_code",
        "problem_statement and verification_info, a struct with test cases",
        tuple(f"open-r1/verifiable-coding-problems-python{suffix}" for suffix in (
            "", "-10k", "_decontaminated", "_decontaminated-tested", "_decontaminated-tested-shuffled")),
        problem=Reader(text, "problem_statement"),
        with_columns=("verification_info",),
    ),
    Layout(
        "codeforces",
        "a prompt for programs; official_tests and generated_checker stay as they are",
        ("open-r1/codeforces",),
        problem=Reader(text, "prompt"),
        with_columns=("official_tests",),
    ),
    Layout(
        "ioi",
        "a subtask's prompt (`problem`); test_names and grader_files stay as they are",
        ("open-r1/ioi",),
        problem=Reader(text, "problem"),
        with_columns=("test_names",),
    ),
    Layout(
        "generations",
        "what our scripts write: the first finished of `generations`; problem and solution by their usual names",
        messages=Reader(
            chosen, _PROMPTS, "generations", finish_reasons="finish_reasons", conversations="conversations",
        ),
        problem=Reader(prompt, _PROMPTS),
        solution=Reader(gold, ("solution", "answer", "ground_truth", "gold")),
    ),
    Layout(
        "pass_rate",
        "compute_pass_rate.py's rows: the first finished completion that accuracy (or tests of a program) call right",
        messages=Reader(
            chosen, _PROMPTS, "pass_rate_generations", _RATE_VERDICTS, finish_reasons="pass_rate_finish_reasons",
            verdicts=_RATE_VERDICTS,
        ),
    ),
    Layout(
        "messages",
        "messages as they are",
        ("open-r1/Mixture-of-Thoughts", "cognitivecomputations/dolphin-r1", "QuixiAI/dolphin-r1"),
        messages=Reader(as_they_are, "messages"),
    ),
)  # fmt: skip

_BY_NAME = {layout.name: layout for layout in LAYOUTS}
# Columns that our scripts add to the rows for which they asked a model.
_OF_GENERATIONS = {
    "generations": {"generations", "finish_reasons", "api_metadata"},
    "pass_rate": {"pass_rate_generations", "pass_rate_finish_reasons"},
}
_MAX_CARDS = 50


def check_name(name: str | None, where: str) -> None:
    """Raise a ValueError that lists the layouts when `name` is none of them, nor `none`, nor None."""
    if name not in (None, NO_LAYOUT, *_BY_NAME):
        raise ValueError(f"Unknown layout {name!r} of {where}: known are {', '.join(_BY_NAME)}, and none.")


def find_layout(source: str, name: str | None, columns: list[str], target: str | None) -> Layout | None:
    """Return the layout of a source, or None when its rows stay as they are.

    Args:
        source: Name of the data set, as `load_source` takes it.
        name: Layout that the user named; `none` for none, None to go by the source's name.
        columns: Columns of its rows.
        target: What is needed: `messages`, `problem`, or None for either.

    Raises:
        ValueError: The named layout is unknown, hasn't the target, or the rows lack its columns.
    """
    check_name(name, f"data set {source!r}")
    if name == NO_LAYOUT:
        return None
    known, origin = (
        ([_BY_NAME[name]], "dataset_layout") if name is not None else _layouts_of_source(source, columns, target)
    )
    fitting = next((layout for layout in known if layout.fits(target, columns)), None)
    if fitting is not None:
        if name is None:
            logger.info(
                "Data set %s: layout %s by %s (%s). `dataset_layout: none` takes the columns as they are.",
                source, fitting.name, origin, fitting.summary,
            )  # fmt: skip
        return fitting
    of_target = [layout for layout in known if target in (None, *layout.targets())]
    lacking = {layout.name: layout.missing(target or layout.targets()[0], columns) for layout in of_target}
    message = (
        f"Data set {source!r}: the layouts {[layout.name for layout in known]} don't give {target or TARGETS} "
        f"(missing columns: {lacking}). Columns found: {columns}. Layouts that fit: {fitting_names(columns, target)}."
    )
    if name is not None:
        raise ValueError(message)
    if of_target:
        logger.warning("%s They are taken as they are.", message)
    return None


def fitting_names(columns: list[str], target: str | None) -> list[str]:
    """Return the names of all layouts whose columns are there."""
    return [layout.name for layout in LAYOUTS if layout.fits(target, columns)]


def hub_name(source: str) -> str:
    """Return `owner/name` in lower case of a name on the hub, or of a file there or in a folder of that name."""
    parts = source.removeprefix("./").removeprefix("hf://datasets/").rstrip("/").lower().split("/")
    is_file = source.startswith("hf://") or (len(parts) == 3 and "." in parts[2])
    return "/".join(parts[:2]).partition("@")[0] if is_file else "/".join(parts)


def _layouts_of_source(source: str, columns: list[str], target: str | None) -> tuple[list[Layout], str]:
    """Return the layouts that may be those of a source, best first, and by what they are known."""
    known = [layout for layout in LAYOUTS if hub_name(source) in map(str.lower, layout.sets)]
    folder = Path(source).expanduser()
    card = read_card(folder) if not known and folder.is_dir() else None
    if card is None:
        return known, "its name"
    names, settings = _history(card)
    if MESSAGES in columns and any(made.get("script") == "curate" for made in settings):
        return [_BY_NAME["messages"]], "its card"
    known = [layout for layout in LAYOUTS if names & set(map(str.lower, layout.sets))]
    asked = next((made["prompt_column"] for made in settings if made.get("prompt_column")), None)
    made_here = _of_generations(asked, columns)
    if made_here is not None:
        # Generations are made to be learned from; completions of pass rates are but measured.
        is_first = made_here.name == "generations" and target != PROBLEM
        known = [made_here, *known] if is_first else [*known, made_here]
    if set(columns) >= {PROBLEM, "prompt"}:  # together only in rows that were mapped for GRPO before they were written
        if target != MESSAGES:
            return [], ""
        known = [layout for layout in known if "solution" not in layout.inputs(MESSAGES)]  # it is the gold by now
    return known, f"its card, which names {', '.join(sorted(names)) or 'no parent'}"


def _of_generations(prompt_column: str | None, columns: list[str]) -> Layout | None:
    """Return the layout of rows for which a script asked a model, with the column that the card says was asked."""
    name = next((name for name, added in _OF_GENERATIONS.items() if set(columns) >= added), None)
    layout = _BY_NAME[name] if name is not None else None
    if layout is None or layout.messages is None or prompt_column is None or prompt_column not in columns:
        return layout
    readers = {"messages": Reader(chosen, prompt_column, *layout.messages.needs[1:], **layout.messages.options)}
    if layout.problem is not None:
        readers["problem"] = Reader(prompt, prompt_column)
    return replace(layout, **readers)


def _history(card: DataCard) -> tuple[set[str], list[dict[str, Any]]]:
    """Return the names of the data sets that rows come from, and the settings of what was done since, latest first."""
    names: set[str] = set()
    settings: list[dict[str, Any]] = []
    summaries: list[dict[str, Any]] = [card.summary()]
    while summaries and len(settings) < _MAX_CARDS:
        made = summaries.pop(0)
        settings.append(made.get("settings") or {})
        for parent in made.get("parents") or []:
            names.add(hub_name(parent["name"]))
            if parent.get("card"):
                summaries.append(parent["card"])
    return names, settings


class NothingMappedError(ValueError):
    """No row of a split can be mapped."""


class RowMapper:
    """Maps a batch of rows; picklable, so that `datasets` can tell whether it has mapped them before."""

    def __init__(self, layout: Layout, targets: Sequence[str], has_chats: bool = False) -> None:
        """Map rows to these targets of a layout; where prompts are chats, `prompt` has all their turns."""
        self.layout = layout
        self.targets = tuple(targets)
        self.code = _CODE
        self.has_chats = has_chats
        self.seen: set[str] = set()

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Return the new columns, null where a row can't be mapped, and the reasons why."""
        rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        columns: dict[str, list[Any]] = {}
        for target in self.targets:
            mapped = [self.map_row(row, target) for row in rows]
            for name in output_columns(self.layout, target):
                columns[name] = [values.get(name) for values, _ in mapped]
            columns[_reasons_column(target)] = [reason for _, reason in mapped]
        return columns

    def map_row(self, row: dict[str, Any], target: str) -> tuple[dict[str, Any], str | None]:
        """Return the new columns of a row, or none and the reason."""
        layout = self.layout
        try:
            for condition in layout.conditions(target):
                condition.check(row)
            values = [reader.read(row) for reader in layout.readers(target)]
            if target == MESSAGES:
                return {MESSAGES: values[0]}, None
            for column in layout.with_columns:
                if not has_tests(row[column]):
                    raise UnmappableError(f"{column!r} holds no tests")
            if layout.is_distinct:
                problem = " ".join(values[0].split())
                if problem in self.seen:
                    raise UnmappableError("a problem that stands in an earlier row")
                self.seen.add(problem)
            asked = values[0]
            if self.has_chats and layout.problem is not None:
                asked = chat_of(row, next(name for name in layout.problem.needs[0] if name in row))
        except UnmappableError as error:
            return {}, str(error)
        return dict(zip(output_columns(layout, target), (values[0], asked, *values[1:]), strict=True)), None


def output_columns(layout: Layout, target: str) -> tuple[str, ...]:
    """Return the columns that mapping writes; none where the data's own are right already."""
    if target == MESSAGES:
        return () if layout.messages is None or layout.messages.function is as_they_are else (MESSAGES,)
    return (PROBLEM, "prompt", *(("solution",) if layout.solution is not None else ()))


def _reasons_column(target: str) -> str:
    return f"no_{target}_because"


def apply_layout(
    rows: "Dataset",
    layout: Layout,
    *,
    targets: Sequence[str] = TARGETS,
    required: str | None = None,
    keep: Collection[str] = (),
    where: str,
) -> "tuple[Dataset, Counter[str]]":
    """Return the rows as a layout maps them, and why others were dropped: counts by reason.

    Args:
        rows: Rows of one split.
        layout: Their layout.
        targets: What to map them to; what the layout or the columns don't give is left out.
        required: Target that a row must have to be kept; None keeps a row that has one of them.
        keep: Columns of the data that stay as they are, although the layout writes such columns.
        where: Name of the rows in messages.

    Raises:
        NothingMappedError: No row is left.
    """
    from datasets import Features, List, Value, concatenate_datasets

    targets = [target for target in targets if layout.fits(target, rows.column_names)]
    if len(rows) == 0 or not targets:  # no targets: a split with other columns than the one that the layout fits
        return rows, Counter()
    inputs = [name for name in rows.column_names if name in set().union(*map(layout.inputs, targets))]
    has_chats = PROBLEM in targets and _has_chats(rows, layout)
    written = [name for target in targets for name in output_columns(layout, target)]
    text = Value("string")
    chat = List({"role": text, "content": text})
    types = {MESSAGES: chat} | ({"prompt": chat} if has_chats else {})
    names = [*written, *map(_reasons_column, targets)]
    mapped = rows.select_columns(inputs).map(
        RowMapper(layout, targets, has_chats),
        batched=True,
        batch_size=200,
        remove_columns=inputs,
        features=Features({name: types.get(name, text) for name in names}),
        desc=f"Layout {layout.name}",
    )
    needed = [required] if required in targets else targets
    reasons = list(zip(*(mapped[_reasons_column(target)] for target in needed), strict=True))
    kept = [number for number, found in enumerate(reasons) if None in found]
    dropped = Counter("; ".join(map(str, found)) for found in reasons if None not in found)
    if not kept:
        listed = "; ".join(f"{reason}: {count}" for reason, count in dropped.most_common(_MAX_REASONS))
        raise NothingMappedError(
            f"The layout {layout.name!r} fits no row of {where} ({len(rows)} rows): {listed}. Name another "
            "`dataset_layout`, or `none` to take the columns as they are."
        )
    stays = set(keep) & set(rows.column_names)
    outputs = [name for name in written if name not in stays]
    rest = rows.remove_columns([name for name in rows.column_names if name in {*outputs, *layout.drop} - stays])
    parts = [part for part in (rest, mapped.select_columns(outputs)) if part.column_names]
    combined = concatenate_datasets(parts, axis=1)
    return combined if len(kept) == len(rows) else combined.select(kept), dropped


def _has_chats(rows: "Dataset", layout: Layout) -> bool:
    """Return whether the prompts are lists of messages, whose turns must all stay."""
    from datasets import LargeList, List

    if layout.problem is None or layout.problem.function is not prompt:
        return False
    column = next(name for name in layout.problem.needs[0] if name in rows.column_names)
    feature = rows.features[column]
    return isinstance(feature, List | LargeList) and isinstance(feature.feature, dict)


def list_layouts() -> str:
    """Return the table of layouts as Markdown."""
    lines = ["| layout | gives | maps | chosen by itself for |", "|---|---|---|---|"]
    for layout in LAYOUTS:
        gives = " + ".join(
            target + (", solution" if target == PROBLEM and layout.solution else "") for target in layout.targets()
        )
        lines.append(f"| `{layout.name}` | {gives} | {layout.summary} | {', '.join(layout.sets)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(list_layouts() + "\n")
