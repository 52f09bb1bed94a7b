# SPDX-License-Identifier: Apache-2.0
"""Table of layouts: how rows of public reasoning data sets become `messages`, and `problem` with `solution`.

    open-r1/OpenR1-Math-220k    problem, generations, correctness_math_verify, ...
        -> messages (SFT): the problem and a generation that was judged right
        -> problem, prompt, solution (GRPO)

Replies are `<think>`, line break, reasoning, line break, `</think>`, blank line, answer.
`python -m open_r1.data.layouts` lists the table.

1. A layout is never guessed: it is named (`dataset_layout`), belongs to a known name on the hub, or to the parent that
   the card of a data folder names.
2. A known name whose columns fit none of its layouts is taken as it is, with a warning: configurations differ.
"""

import logging
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from open_r1.data.card import DataCard, read_card
from open_r1.data.layout_readers import (
    Only,
    Reader,
    as_they_are,
    chosen,
    countdown_problem,
    gold,
    gold_in_box,
    gold_unless_tests,
    gold_within,
    prompt,
    question_and_reply,
    question_and_trace,
    text,
    turns,
    unwrapped,
)

logger = logging.getLogger(__name__)

MESSAGES, PROBLEM = "messages", "problem"
TARGETS = (MESSAGES, PROBLEM)
NO_LAYOUT = "none"


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
        "r1_distill_v0",
        "a problem and reannotated_assistant_content with think tags",
        ("ServiceNow-AI/R1-Distill-SFT",),
        messages=Reader(question_and_trace, "problem", "reannotated_assistant_content"),
    ),
    Layout(
        "r1_distill_v1",
        "reannotated_messages; `messages` in the data is the reply before reannotation",
        ("ServiceNow-AI/R1-Distill-SFT",),
        messages=Reader(turns, "reannotated_messages"),
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
        "medical_o1",
        "Question, Complex_CoT and Response; answers are prose",
        ("FreedomIntelligence/medical-o1-reasoning-SFT",),
        messages=Reader(question_and_reply, "Question", "Complex_CoT", "Response"),
    ),
    Layout(
        "limo",
        "a question, a trace without tags (`solution`) and the answer",
        ("GAIR/LIMO", "GAIR/LIMO-v2"),
        messages=Reader(question_and_trace, "question", "solution", is_always_tagged=False, answer="answer"),
        problem=Reader(text, "question"),
        solution=Reader(gold, "answer"),
    ),
    Layout(
        "magpie",
        "an instruction and a response with think tags",
        ("Magpie-Align/Magpie-Reasoning-V2-250K-CoT-Deepseek-R1-Llama-70B",),
        messages=Reader(question_and_trace, "instruction", "response"),
    ),
    Layout(
        "numina_qwq",
        "a prompt, a response without tags, ground_truth and `correct`: correct responses only",
        ("PrimeIntellect/NuminaMath-QwQ-CoT-5M",),
        messages=Reader(question_and_trace, "prompt", "response", is_always_tagged=False, answer="ground_truth"),
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
