# SPDX-License-Identifier: Apache-2.0
"""The table of benchmarks, and benchmarks by name: where the problems are, how answers are judged.

    {"problem": "2+2?", "solution": "4"}                                            math: a gold answer
    {"question": "2+2?", "choices": ["3", "4"], "answer": "B"}                      choices: letters
    {"Question": "2+2?", "Correct Answer": "4", "Incorrect Answer 1": "3", ...}     choices, as GPQA has them
    {"problem": "Add two numbers.", "verification_info": {"test_cases": [...]}}     code: tests of programs
    {"question_content": "...", "private_test_cases": "eJx...", "metadata": "{}"}   code, as LiveCodeBench has them

1. A benchmark has the number of samples that its published figures are averages of.
2. A local file with rows of one of these forms is a benchmark too.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

LOCAL_SAMPLES = 4
_LOCAL_SUFFIXES = {".jsonl", ".json", ".parquet", ".csv"}
KINDS = {
    "math": "answers that equal the gold answer",
    "choices": "letters of the right choices",
    "code": "programs that pass all tests",
}
AUTO = "auto"
CHOICES_COLUMN = "choices"
# Columns that hold the tests of a program, each in a layout of `grading.cases`.
TEST_COLUMNS = ("verification_info", "test_cases", "input_output", "public_test_cases", "private_test_cases")
GPQA_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_PROMPT, _SOLUTION = "problem", "solution"
# What local files may have in place of the two, in this order, by the kind.
_PROMPTS = {"choices": ("Question", "question"), "code": ("question_content", "problem_statement", "prompt")}
_SOLUTIONS = {"choices": ("Correct Answer", "answer")}


@dataclass(frozen=True)
class Benchmark:
    """Where the problems are, how answers to them are judged, and how many to each are drawn.

    Attributes:
        name: Its name in recipes, and of its results' folder.
        dataset: Name on the hub, or a local file or folder.
        config: Configuration of the data set.
        split: Split of the data set, or a slice.
        prompt_column: Problems, or conversations.
        solution_column: Gold answers, or worked solutions; of choices the right one; not read of code.
        num_samples: Answers a problem (k of avg@k).
        lighteval: Its task in lighteval 0.13; "": there is none.
        kind: One of `KINDS`; "auto": what the columns say (`fitted`).
        wrong_columns: Wrong choices, a column each; empty: all choices are in the column `choices`.
    """

    name: str
    dataset: str
    config: str | None = None
    split: str = "train"
    prompt_column: str = _PROMPT
    solution_column: str = _SOLUTION
    num_samples: int = LOCAL_SAMPLES
    lighteval: str = ""
    kind: str = "math"
    wrong_columns: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether it is a file or folder on this machine."""
        return Path(self.dataset).is_absolute()

    @property
    def metric(self) -> str:
        """The figure that is published of it, and what counts as right."""
        return f"avg@{self.num_samples} of {KINDS.get(self.kind, 'right answers')}"

    @property
    def columns(self) -> list[str]:
        """Columns that every row needs; of code, one of `TEST_COLUMNS` beside them."""
        if self.kind == "code":
            return [self.prompt_column]
        if self.kind == "choices":
            return [self.prompt_column, self.solution_column, *(self.wrong_columns or [CHOICES_COLUMN])]
        return [self.prompt_column, self.solution_column]


# Samples as in the tables of DeepSeek-R1 and Open R1.
SUPPORTED_BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("math_500", "HuggingFaceH4/MATH-500", None, "test", "problem", "answer", 4, "math_500"),
        Benchmark("aime24", "HuggingFaceH4/aime_2024", None, "train", "problem", "answer", 64, "aime24"),
        Benchmark("aime25", "yentinglin/aime_2025", None, "train", "problem", "answer", 64, "aime25"),
        Benchmark(
            "gpqa",
            "Idavidrein/gpqa",
            "gpqa_diamond",
            "train",
            "Question",
            "Correct Answer",
            8,
            "gpqa:diamond",
            "choices",
            GPQA_WRONG,
        ),
        Benchmark(
            "lcb",
            "lighteval/code_generation_lite",
            "v4_v5",
            "test",
            "question_content",
            "private_test_cases",
            16,
            "lcb:codegeneration",
            "code",
        ),
        Benchmark(
            "lcb_v4",
            "lighteval/code_generation_lite",
            "v4",
            "test",
            "question_content",
            "private_test_cases",
            16,
            "lcb:codegeneration_v4",
            "code",
        ),
    )
}


def benchmark_names() -> list[str]:
    """Return the names of the table, which `all` stands for."""
    return list(SUPPORTED_BENCHMARKS)


def local_benchmark(
    path: Path,
    *,
    split: str = "train",
    prompt_column: str = _PROMPT,
    solution_column: str = _SOLUTION,
    kind: str = AUTO,
) -> Benchmark:
    """Return the benchmark that a local file or folder is.

    Raises:
        ValueError: There is no such kind.
    """
    if kind != AUTO and kind not in KINDS:
        raise ValueError(f"There is no kind of benchmarks {kind!r}; there are {', '.join(KINDS)}, and {AUTO}.")
    path = path.expanduser().resolve()
    name = re.sub(r"[^\w.-]+", "_", path.name.removesuffix(path.suffix) if path.is_file() else path.name)
    return Benchmark(name, str(path), None, split, prompt_column, solution_column, kind=kind)


def fitted(benchmark: Benchmark, found: Sequence[str]) -> Benchmark:
    """Return a benchmark with the kind and the names that its columns have.

    Only of local files anything is left open: the kind, where nobody says, and columns of the public layouts.

    >>> fitted(local_benchmark(Path("x.jsonl")), ["question", "choices", "answer"]).kind
    'choices'

    Raises:
        ValueError: Columns are missing, or the kind isn't clear; the message lists those found.
    """
    where = f"The benchmark {benchmark.name} ({benchmark.dataset})"
    if benchmark.kind == AUTO:
        benchmark = replace(benchmark, kind=_kind_of(benchmark, found, where))
    if benchmark.is_local:
        benchmark = _with_columns(benchmark, found)
    missing = [column for column in benchmark.columns if column not in found]
    if benchmark.kind == "code" and not set(TEST_COLUMNS) & set(found):
        missing.append(f"one of {', '.join(TEST_COLUMNS)}")
    if missing:
        raise ValueError(
            f"{where}, of the kind {benchmark.kind}, has no columns {missing} (set --prompt_column and "
            f"--solution_column, or --kind). Columns found: {list(found)}"
        )
    return benchmark


def _kind_of(benchmark: Benchmark, found: Sequence[str], where: str) -> str:
    if CHOICES_COLUMN in found or set(GPQA_WRONG) <= set(found):
        return "choices"
    tests = [column for column in TEST_COLUMNS if column in found]
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
    is_gpqa = kind == "choices" and CHOICES_COLUMN not in found and set(GPQA_WRONG) <= set(found)
    return replace(
        benchmark,
        prompt_column=prompt,
        solution_column=solution,
        wrong_columns=GPQA_WRONG if is_gpqa else benchmark.wrong_columns,
    )


def find_benchmarks(names: Sequence[str]) -> list[Benchmark]:
    """Return benchmarks by name: of the table, in lighteval's spelling, `all`, or a local file; commas part names too.

    >>> [benchmark.num_samples for benchmark in find_benchmarks(["aime24,gpqa", "lighteval|math_500|0|0"])]
    [64, 8, 4]

    Raises:
        ValueError: A name is unknown or given twice; a file is missing.
    """
    found = [_find(name) for name in each_of(names)]
    refuse_same_names(found)
    return found


def refuse_same_names(benchmarks: Sequence[Benchmark]) -> None:
    """Refuse two benchmarks of one name.

    Raises:
        ValueError: There are two.
    """
    taken = [benchmark.name for benchmark in benchmarks]
    twice = sorted({name for name in taken if taken.count(name) > 1})
    if twice:
        raise ValueError(
            f"The benchmarks {twice} are named twice: results go to a folder of that name. Of two files, rename one, "
            "or run them by two commands, each with an --output_dir of its own."
        )


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
    task = parts[1] if len(parts) in (3, 4) else parts[0] if len(parts) == 2 else name
    for benchmark in SUPPORTED_BENCHMARKS.values():
        if task in (benchmark.name, benchmark.lighteval):
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
    nearest = difflib.get_close_matches(task, benchmark_names(), n=1)
    meant = f" Did you mean {nearest[0]}?" if nearest else ""
    raise ValueError(
        f"Unknown benchmark {name!r}.{meant} Known: {', '.join(benchmark_names())}, all (of these), or a local file "
        "with columns `problem` and `solution`, with `choices`, or with tests of programs."
    )


def check_columns(benchmarks: Sequence[Benchmark]) -> None:
    """Refuse local files that can't be read, or lack the columns: before a job waits in the queue to say so.

    Raises:
        ValueError: See the message.
    """
    for benchmark in benchmarks:
        if benchmark.is_local:
            # Imported here: a job's supervisor reads the table of benchmarks, and does without arrow.
            from open_r1.data.sources import open_source

            try:
                source = open_source(benchmark.dataset, split=benchmark.split)
            except OSError as error:
                raise ValueError(
                    f"The benchmark {benchmark.name} ({benchmark.dataset}) can't be read: {error}"
                ) from error
            fitted(benchmark, source.column_names)


def word_of(benchmark: Benchmark) -> str:
    """Return the word by which `find_benchmarks` finds it, from any folder."""
    return benchmark.dataset if benchmark.is_local else benchmark.name
