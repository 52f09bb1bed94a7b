# SPDX-License-Identifier: Apache-2.0
"""Table of benchmarks, also decontamination's; local files and data sets of the hub as benchmarks.

    {"problem": "2+2?", "solution": "4"}                                            math: a gold answer
    {"question": "2+2?", "choices": ["3", "4"], "answer": "B"}                      choices: letters
    {"Question": "2+2?", "Correct Answer": "4", "Incorrect Answer 1": "3", ...}     choices, as GPQA has them
    {"problem": "Add two numbers.", "verification_info": {"test_cases": [...]}}     code: tests of programs
    {"question_content": "...", "private_test_cases": "eJx...", "metadata": "{}"}   code, as LiveCodeBench has them
    {"prompt": "def add(a, b):", "test": "def check(f): ...", "entry_point": "add"} code, as HumanEval has them

A benchmark has the number of answers that its published figures are means of. The layouts of rows with
`is_checked=False` are written from the data sets' pages; no copy of the hub's rows has been read with them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from open_r1.data.sources import RowSource

LOCAL_SAMPLES = 4
_LOCAL_SUFFIXES = {".jsonl", ".json", ".parquet", ".csv"}
KINDS = {
    "math": "answers that equal the gold answer",
    "choices": "letters of the right choices",
    "code": "programs that pass all tests",
}
AUTO = "auto"
# Columns that hold the tests of a program, each in a layout of `grading.cases`, and tests written as Python.
TEST_COLUMNS = ("verification_info", "test_cases", "input_output", "public_test_cases", "private_test_cases")
PYTHON_TESTS = ("test", "test_list")
GPQA_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_PROMPT, _SOLUTION = "problem", "solution"
# What other data sets call the columns, in this order, by the kind.
_PROMPTS = {
    "math": ("question",),
    "choices": ("Question", "question"),
    "code": ("question_content", "problem_statement", "prompt", "text", "question"),
}
_SOLUTIONS = {"math": ("answer", "final_answer"), "choices": ("Correct Answer", "answer")}
_CHOICES = ("choices", "options")


@dataclass(frozen=True)
class Benchmark:
    """Data of a benchmark, how answers are judged, and how many to each problem are drawn.

    Attributes:
        name: Its name in recipes, and of its results' folder.
        dataset: Name on the hub, or a local file or folder.
        config: Configuration of the data set.
        split: Split of the data set, or a slice.
        prompt_column: Problems, or conversations.
        solution_column: Gold answers, or worked solutions; of choices the right one; not read of code.
        num_samples: Answers a problem (k of avg@k).
        kind: One of `KINDS`; "auto": what the columns say (`fitted`).
        aliases: Other names: of lighteval 0.13, or of decontamination.
        judge: A reward in place of the kind's judge: its name in the table, or `file.py:function`.
        is_checked: Whether the columns were compared with the data set's.
        wrong_columns: Wrong choices, a column each; empty: all choices are in one column.
    """

    name: str
    dataset: str
    config: str | None = None
    split: str = "train"
    prompt_column: str = _PROMPT
    solution_column: str = _SOLUTION
    num_samples: int = LOCAL_SAMPLES
    kind: str = "math"
    aliases: tuple[str, ...] = ()
    judge: str | None = None
    is_checked: bool = True
    wrong_columns: tuple[str, ...] = ()
    choices_column: str = _CHOICES[0]

    @property
    def is_local(self) -> bool:
        """Whether it is a file or folder on this machine."""
        return Path(self.dataset).is_absolute()

    @property
    def is_code(self) -> bool:
        """Whether programs are judged by the tests of their row."""
        return self.kind == "code" and self.judge is None

    @property
    def metric(self) -> str:
        """The figure that is published of it, and what counts as right."""
        judged = KINDS.get(self.kind, "right answers") if self.judge is None else f"scores by {self.judge}"
        return f"avg@{self.num_samples} of {judged}"

    @property
    def columns(self) -> list[str]:
        """Columns that every row needs; of code, tests beside them."""
        if self.judge is not None or self.kind == "code":
            return [self.prompt_column]
        choices = {"choices": [*(self.wrong_columns or [self.choices_column])]}.get(self.kind, [])
        return [self.prompt_column, self.solution_column, *choices]


def _row(
    name: str, dataset: str, split: str, prompt: str, solution: str, k: int, config: str | None = None, **others: Any
) -> Benchmark:
    others.setdefault("is_checked", False)
    return Benchmark(name, dataset, config, split, prompt, solution, k, **others)


# Samples as in the tables of DeepSeek-R1 and Open R1, or as the benchmark's own page counts.
_OPEN_R1 = {"is_checked": True}
_LCB = ("lighteval/code_generation_lite", "test", "question_content", "private_test_cases", 16)
_GPQA = {"kind": "choices", "wrong_columns": GPQA_WRONG, "aliases": ("gpqa:diamond",), **_OPEN_R1}
_TABLE = (
    _row("math_500", "HuggingFaceH4/MATH-500", "test", "problem", "answer", 4, **_OPEN_R1),
    _row("aime24", "HuggingFaceH4/aime_2024", "train", "problem", "answer", 64, aliases=("aime_2024",), **_OPEN_R1),
    _row("aime25", "yentinglin/aime_2025", "train", "problem", "answer", 64, aliases=("aime_2025",), **_OPEN_R1),
    _row("gpqa", "Idavidrein/gpqa", "train", "Question", "Correct Answer", 8, "gpqa_diamond", **_GPQA),
    _row("lcb", *_LCB, "v4_v5", kind="code", aliases=("lcb:codegeneration",), **_OPEN_R1),
    _row("lcb_v4", *_LCB, "v4", kind="code", aliases=("lcb:codegeneration_v4",), **_OPEN_R1),
    _row("gsm8k", "openai/gsm8k", "test", "question", "answer", 1, "main"),
    _row("aime26", "MathArena/aime_2026", "train", "problem", "answer", 64, aliases=("aime_2026",)),
    _row("amc23", "math-ai/amc23", "test", "question", "answer", 16),
    _row("olympiadbench", "Hothan/OlympiadBench", "train", "question", "final_answer", 1, "OE_TO_maths_en_COMP"),
    _row("minerva", "math-ai/minervamath", "test", "question", "answer", 4),
    _row("hmmt25", "MathArena/hmmt_feb_2025", "train", "problem", "answer", 64),
    _row("mmlu_pro", "TIGER-Lab/MMLU-Pro", "test", "question", "answer", 1, kind="choices", choices_column="options"),
    _row("humaneval", "openai/openai_humaneval", "test", "prompt", "canonical_solution", 16, kind="code"),
    _row("mbpp", "google-research-datasets/mbpp", "test", "prompt", "code", 16, "sanitized", kind="code"),
    _row("ioi24", "open-r1/ioi", "test", "problem", "problem", 16, judge="ioi_code"),
    _row("codeforces", "open-r1/codeforces", "test", "prompt", "prompt", 4, "verifiable-prompts", judge="cf_code"),
)  # fmt: skip
SUPPORTED_BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _TABLE}


def benchmark_names() -> list[str]:
    """Return the names of the table, which `all` stands for."""
    return list(SUPPORTED_BENCHMARKS)


def local_benchmark(
    path: Path | str,
    *,
    split: str = "train",
    prompt_column: str = _PROMPT,
    solution_column: str = _SOLUTION,
    kind: str = AUTO,
) -> Benchmark:
    """Return the benchmark that a local file or folder, or a data set of the hub (a text with a `/`), is."""
    if kind != AUTO and kind not in KINDS:
        raise ValueError(f"Unknown kind of benchmark {kind!r}; there are {', '.join(KINDS)}, and {AUTO}.")
    found = Path(path).expanduser()
    dataset = str(path) if isinstance(path, str) and not found.exists() else str(found.resolve())
    name = re.sub(r"[^\w.-]+", "_", Path(dataset).stem if found.is_file() else Path(dataset).name)
    return Benchmark(name, dataset, None, split, prompt_column, solution_column, kind=kind, is_checked=found.exists())


def fitted(benchmark: Benchmark, found: Sequence[str]) -> Benchmark:
    """Return a benchmark with the kind and the names that its columns have.

    Only outside the table anything is left open: the kind, where nobody says, and columns of the public layouts.

    >>> fitted(local_benchmark(Path("x.jsonl")), ["question", "choices", "answer"]).kind
    'choices'

    Raises:
        ValueError: Columns are missing, or the kind isn't clear; the message lists those found.
    """
    where, is_given = f"The benchmark {benchmark.name} ({benchmark.dataset})", _is_of_table(benchmark)
    if benchmark.kind == AUTO:
        benchmark = replace(benchmark, kind=_kind_of(benchmark, found, where))
    if not is_given:
        benchmark = _with_columns(benchmark, found)
    missing = [column for column in benchmark.columns if column not in found]
    if benchmark.kind == "code" and benchmark.judge is None and not {*TEST_COLUMNS, *PYTHON_TESTS} & set(found):
        missing.append(f"one of {', '.join(TEST_COLUMNS)}")
    if missing:
        raise ValueError(
            f"{where}, of the kind {benchmark.kind}, has no columns {missing} (set --prompt_column and "
            f"--solution_column, or --kind). Columns found: {list(found)}"
        )
    return benchmark


def _kind_of(benchmark: Benchmark, found: Sequence[str], where: str) -> str:
    if set(_CHOICES) & set(found) or set(GPQA_WRONG) <= set(found):
        return "choices"
    tests = [column for column in (*TEST_COLUMNS, *PYTHON_TESTS) if column in found]
    if tests and benchmark.solution_column in found:
        raise ValueError(
            f"{where} has gold answers in {benchmark.solution_column!r} and tests of programs in {tests}: say which "
            "decide, math or code (--kind, or `eval_benchmarks_kind` of a recipe), or leave the others out."
        )
    return "code" if tests else "math"


def _with_columns(benchmark: Benchmark, found: Sequence[str]) -> Benchmark:
    kind, prompt, solution = benchmark.kind, benchmark.prompt_column, benchmark.solution_column
    if prompt == _PROMPT and prompt not in found:
        prompt = next((name for name in _PROMPTS.get(kind, ()) if name in found), prompt)
    if solution == _SOLUTION and solution not in found:
        solution = next((name for name in _SOLUTIONS.get(kind, ()) if name in found), solution)
    choices = next((name for name in _CHOICES if name in found), benchmark.choices_column)
    is_gpqa = kind == "choices" and choices not in found and set(GPQA_WRONG) <= set(found)
    return replace(
        benchmark,
        prompt_column=prompt,
        solution_column=solution,
        choices_column=choices,
        wrong_columns=GPQA_WRONG if is_gpqa else benchmark.wrong_columns,
    )


def find_benchmarks(names: Sequence[str]) -> list[Benchmark]:
    """Return benchmarks by name: of the table, in lighteval's spelling, `all`, local files or data sets of the hub.

    >>> [benchmark.num_samples for benchmark in find_benchmarks(["aime24,gpqa", "lighteval|math_500|0|0"])]
    [64, 8, 4]

    Raises:
        ValueError: A name is unknown or given twice; a file is missing.
    """
    found = [_find(name) for name in each_of(names)]
    refuse_same_names(found)
    return found


def refuse_same_names(benchmarks: Sequence[Benchmark]) -> None:
    """Refuse two benchmarks of one name, whose results would share a folder."""
    taken = [benchmark.name for benchmark in benchmarks]
    twice = sorted({name for name in taken if taken.count(name) > 1})
    if twice:
        raise ValueError(f"The benchmarks {twice} are named twice, but each has one results folder of that name.")


def each_of(names: Sequence[str]) -> list[str]:
    """Return the names one by one, of "all" and of those between commas; a file may have commas in its name."""
    if list(names) == ["all"]:
        return benchmark_names()
    return [
        part.strip() for name in names for part in ([name] if Path(name).expanduser().exists() else name.split(","))
    ]


def _find(name: str) -> Benchmark:
    # Open R1's jobs take lighteval's `suite|task|fewshot|0`; version 0.13 of it spells that `task|fewshot`.
    parts = name.split("|")
    task = parts[1] if len(parts) in (3, 4) else parts[0]
    for benchmark in SUPPORTED_BENCHMARKS.values():
        if task in (benchmark.name, *benchmark.aliases):
            shots = parts[2:3] or parts[1:]
            if shots and shots[0].strip() != "0":
                raise ValueError(
                    f"The benchmark {name!r} asks for {shots[0]!r} solved examples in the prompt: benchmarks are "
                    f"asked without, as models that reason are. Name it {benchmark.name}."
                )
            return benchmark
    path = Path(name).expanduser()
    if name.strip() and path.exists():
        return local_benchmark(path)
    if path.suffix in _LOCAL_SUFFIXES:
        raise ValueError(f"There is no file {name!r} (in {Path.cwd()}).")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        return local_benchmark(name)
    raise ValueError(
        f"Unknown benchmark {name!r}. Known: {', '.join(benchmark_names())}, all (of these), a data set of the "
        "hub as owner/name, or a local file."
    )


def check_columns(benchmarks: Sequence[Benchmark]) -> None:
    """Refuse local files that can't be read, or lack the columns: before a job waits in the queue to say so."""
    for benchmark in benchmarks:
        if benchmark.is_local:
            open_rows(benchmark)


def open_rows(benchmark: Benchmark) -> "tuple[Benchmark, RowSource]":
    """Return a benchmark as its columns say, and its rows.

    Raises:
        ValueError: It can't be read, or lacks columns.
    """
    # Imported here: a job's supervisor reads the table of benchmarks, and does without arrow.
    from open_r1.data.sources import open_source

    try:
        source = open_source(benchmark.dataset, config=benchmark.config, split=benchmark.split)
    except (ValueError, OSError) as error:
        hint = "" if benchmark.is_local else " Offline, or without access to it, give a local copy by --data."
        raise ValueError(
            f"The benchmark {benchmark.name} ({benchmark.dataset}) can't be loaded: {error}{hint}"
        ) from error
    return fitted(benchmark, source.column_names), source


def word_of(benchmark: Benchmark) -> str:
    """Return the word by which `find_benchmarks` finds it, from any folder."""
    return benchmark.name if _is_of_table(benchmark) else benchmark.dataset


def _is_of_table(benchmark: Benchmark) -> bool:
    return SUPPORTED_BENCHMARKS.get(benchmark.name) == benchmark
