# SPDX-License-Identifier: Apache-2.0
r"""Problems of a benchmark: prompts by the kind of answer, golds, and the rows that judges read.

    math       Problem(key="5f1c...", messages=[{"role": "user", "content": "... 2+2?"}], gold="4")
    choices    "2+2?\n\n(A) 3\n(B) 4", gold="B"
    code       "Add two numbers.\n\nThe program, in python, reads from standard input ...", gold=<hash of the tests>

1. The order of choices whose order the row doesn't say (GPQA) depends on the texts of the row alone: neither on its
   place in the file nor on the other rows. lighteval and simple-evals draw it by a generator for the whole file.
2. A right choice may be a letter, the text of a choice, or its index from 0; what could be two of these is refused,
   and so is a right choice that stands there twice.
3. Rows with tests can be a hundred megabytes: they are read again when they judge.
"""

import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from textwrap import indent
from typing import Any

from open_r1.configs.rewards import CodeExecutionParameters, RewardArguments
from open_r1.evaluation.benchmarks import PYTHON_TESTS, TEST_COLUMNS, Benchmark, open_rows
from open_r1.generation.messages import Message, Request, Sampling, row_key
from open_r1.generation.prompts import (
    DEFAULT_TEMPLATE,
    PromptError,
    PromptSettings,
    check_template,
    fill_template,
    to_conversation,
)
from open_r1.grading.cases import CallTest, is_empty_column, read_row, value_of
from open_r1.sandbox.languages import find_language

logger = logging.getLogger(__name__)

LETTERS = "ABCDEFGHIJ"  # those that the verifier takes for letters of choices
ORDER_SEED = 0  # of choices whose order the row doesn't say; it stands in the results
STARTER_COLUMN = "starter_code"
_PACKED = ("public_test_cases", "private_test_cases")
# All that prompts and judges of code read beside the problem, where the columns are there.
CODE_COLUMNS = (
    *TEST_COLUMNS,
    *PYTHON_TESTS,
    "entry_point",
    "test_imports",
    "test_setup_code",
    "metadata",
    "language",
    STARTER_COLUMN,
)
# Up to so many bytes, the tests of a row are read before anything is asked, since that tells whether they can be.
_EARLY_BYTES = 1 << 20
# By the kind of the benchmark; math as Open R1 asks.
TEMPLATES = {
    "math": DEFAULT_TEMPLATE,
    "choices": "You will be given a question with several choices, of which one is right. Please reason step by step, "
    "and put the letter of the right choice, and nothing else, within \\boxed{}:\n{prompt}",
    "code": "You will be given a programming problem. Please reason step by step, and end with one block of code that "
    "holds the whole program:\n{prompt}",
}
_FENCE = "The block of code begins with ```{language} and ends with ```."
FORMS = {
    "starter": "The program, in {language}, completes this code:\n```{language}\n{text}\n```\n" + _FENCE,
    "function": "The program, in {language}, defines the function `{text}`. " + _FENCE,
    "tests": "The program, in {language}, passes these tests:\n```{language}\n{text}\n```\n" + _FENCE,
    "standard_input": "The program, in {language}, reads from standard input and writes to standard output. " + _FENCE,
}


@dataclass(frozen=True)
class Problem:
    """A row that is asked.

    Attributes:
        key: Its name in the journal.
        messages: The conversation to answer.
        gold: Gold answer, letter, or a hash of what a reward reads of the row.
        text: The problem without the template; "": a conversation.
    """

    key: str
    messages: Sequence[Message]
    gold: str
    text: str = ""


@dataclass
class Problems:
    """The rows of a benchmark that can be asked.

    Attributes:
        benchmark: Its kind and columns are those of the rows.
        source: What identifies the data (`Parent.identity`).
        by_row: The problems, by the numbers of their rows.
        skipped: Why a row isn't asked, by its number.
        judge: The reward that judges, with its settings; None: the verifier.
        rows: The data set, for what the reward reads.
        languages: Of the programs of the rows.
        system_prompt: First message of each conversation that the run adds; None: it adds none.
    """

    benchmark: Benchmark
    source: list[str | None]
    by_row: dict[int, Problem] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)
    judge: RewardArguments | None = None
    rows: Any = None
    languages: set[str] = field(default_factory=set)
    system_prompt: str | None = None

    @property
    def has_votes(self) -> bool:
        """Whether answers can be equal, so that a majority means something: not of programs, nor for rewards."""
        return self.judge is None

    def requests(self, num_samples: int, sampling: Sampling) -> Iterator[Request]:
        """Yield a request for each answer."""
        for problem in self.by_row.values():
            for index in range(num_samples):
                yield Request(problem.key, index, problem.messages, sampling=sampling)

    def text_of(self, row: int) -> str:
        """Return the problem without template and system prompt of the run; a conversation as JSON."""
        problem = self.by_row[row]
        own = problem.messages[self.system_prompt is not None :]
        return problem.text or json.dumps(own, ensure_ascii=False)

    def cluster_of(self, row: int) -> str:
        """Return what rows share that are the same problem: its text, whatever its spaces."""
        return " ".join(self.text_of(row).split())

    def notes(self) -> list[str]:
        """Return what of the data isn't asked; empty: all of it is."""
        found = []
        if self.skipped:
            first = min(self.skipped)
            found.append(
                f"{len(self.skipped)} of {len(self.skipped) + len(self.by_row)} rows are left out, so these "
                f"are no figures of the whole; the first is row {first}: {self.skipped[first]}"
            )
        if not self.benchmark.is_checked:
            found.append("the layout of this data set was not checked against the hub: look at a few answers first")
        return found

    def columns_of(self, row: int) -> dict[str, Any]:
        """Return what the reward reads of a row."""
        columns = self.rows[row]
        return program_columns(columns) if self.benchmark.is_code else columns


def load_problems(
    benchmark: Benchmark,
    *,
    template: str | None = None,
    system_prompt: str | None = None,
    limit: int | None = None,
    judge: str | None = None,
    code: CodeExecutionParameters | None = None,
) -> Problems:
    """Read a benchmark.

    Args:
        benchmark: Where it is.
        template: Text with `{prompt}`; None: that of the kind (`TEMPLATES`).
        system_prompt: First message of every conversation.
        limit: Problems to ask, the first ones; None: all.
        judge: A reward in place of the benchmark's judge.
        code: Where programs run, and their limits.

    Raises:
        ValueError: It can't be loaded, has no such columns, or no row that could be asked and judged.
    """
    if template is not None:
        check_template(template)
    benchmark, source = open_rows(benchmark)
    judge = judge or benchmark.judge or ("binary_code" if benchmark.kind == "code" else None)
    arguments = None if judge is None else reward_arguments(judge, code or CodeExecutionParameters())
    problems = Problems(
        benchmark, source.parent().identity(), judge=arguments, rows=source.dataset, system_prompt=system_prompt
    )
    _read(problems, source, template, limit)
    if not problems.by_row:
        first = min(problems.skipped)
        raise ValueError(
            f"No row of {benchmark.name} ({benchmark.dataset}) can be used; row {first}: {problems.skipped[first]}."
        )
    for note in problems.notes():
        logger.warning("%s: %s.", benchmark.name, note)
    return problems


def template_of(benchmark: Benchmark) -> str:
    """Return the text around each problem; those of contests say themselves how to answer."""
    return TEMPLATES[benchmark.kind] if benchmark.judge is None else "{prompt}"


def reward_arguments(judge: str, code: CodeExecutionParameters) -> RewardArguments:
    """Return the settings of one reward, which runs programs as `code` says."""
    names = [entry.name for entry in fields(CodeExecutionParameters)]
    return RewardArguments(reward_funcs=[judge], **{name: getattr(code, name) for name in names})


def _read(problems: Problems, source: Any, template: str | None, limit: int | None) -> None:
    benchmark = problems.benchmark
    shape = PromptSettings(benchmark.prompt_column, system_prompt=problems.system_prompt)
    columns = [name for name in (*benchmark.columns, *CODE_COLUMNS) if name in source.column_names]
    if problems.judge is not None and benchmark.kind != "code":
        columns = source.column_names
    seen: Counter[str] = Counter()
    batches = source.batches(list(dict.fromkeys(columns)), batch_rows=8, end=limit)
    for number, row in enumerate(row for batch in batches for row in batch.to_pylist()):
        try:
            text, gold = _write(problems, row)
            asked: Any = row[benchmark.prompt_column]
            if text:
                asked = [{"role": "user", "content": fill_template(template or template_of(benchmark), text)}]
            elif template is not None:
                raise PromptError("a conversation, to which no prompt template applies")
            messages = to_conversation({benchmark.prompt_column: asked}, shape)
        except PromptError as error:
            problems.skipped[number] = str(error)
            continue
        key = row_key([messages, []])
        problems.by_row[number] = Problem(row_key(key, seen[key]) if seen[key] else key, messages, gold, text)
        seen[key] += 1


def _write(problems: Problems, row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text of a problem, without the template, and its gold; "" is the text of a conversation."""
    benchmark = problems.benchmark
    if benchmark.kind == "choices":
        return lettered(row, benchmark)
    value = row[benchmark.prompt_column]
    text = "" if isinstance(value, list) else _text_of(value, benchmark.prompt_column)
    if benchmark.is_code:
        form, columns = form_of(row), program_columns(row)
        problems.languages.add(_shape_of(row)[0])
        entry = row.get("entry_point")
        text = f"Write the function `{entry}`." if entry and "test" in row else text
        return text and f"{text}\n\n{form}", _hash_of(columns)
    text = text and str(value)  # with its spaces, as Open R1 asks
    if problems.judge is None:
        return text, _gold_of(row[benchmark.solution_column], benchmark.solution_column)
    if benchmark.judge is not None:
        problems.languages.add("cpp" if "ioi" in benchmark.judge else str(row.get("language") or "python"))
    return text, _hash_of(row)


def _text_of(value: object, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise PromptError(f"{what} is {'null' if value is None else f'no text but {type(value).__name__}'}")
    if not str(value).strip():
        raise PromptError(f"{what} is empty")
    return str(value).strip()


def _gold_of(value: Any, column: str) -> str:
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):  # OlympiadBench
        value = ", ".join(value)
    if isinstance(value, float) and not math.isfinite(value):  # how tables and JSON of Python write a missing one
        value = None
    with suppress(PromptError):
        return _text_of(value, column) and str(value)
    raise PromptError(f"{column} holds no answer")


def lettered(row: Mapping[str, Any], benchmark: Benchmark) -> tuple[str, str]:
    """Return a question with its choices below it, and the letter of the right one.

    Raises:
        PromptError: The question or a choice is missing, or it isn't clear which is right.
    """
    question = _text_of(row[benchmark.prompt_column], benchmark.prompt_column)
    if benchmark.wrong_columns:
        columns = (benchmark.solution_column, *benchmark.wrong_columns)
        choices = [_text_of(row[column], column) for column in columns]
        right = choices[0]
        choices.sort(key=lambda choice: _draw(question, choice))
        place = choices.index(right)
    else:
        value = row[benchmark.choices_column]
        if not isinstance(value, list) or not 2 <= len(value) <= len(LETTERS):
            raise PromptError(f"the choices are not a list of 2 to {len(LETTERS)}: {str(value)[:80]}")
        choices = [_text_of(choice, f"choice {number}") for number, choice in enumerate(value)]
        place = _place_of(row[benchmark.solution_column], benchmark.solution_column, choices)
    if choices.count(choices[place]) > 1:
        raise PromptError(f"the right choice, {choices[place][:80]!r}, is one of the wrong choices too")
    lines = (f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    return "\n".join([question, "", *lines]), LETTERS[place]


def _draw(question: str, choice: str) -> bytes:
    text = json.dumps([ORDER_SEED, question, choice], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _place_of(gold: object, column: str, choices: Sequence[str]) -> int:
    """Return which choice is right: a letter, the text of a choice, or its index."""
    text = _text_of(gold, column)
    letter = text.strip("().")
    places = [LETTERS.find(letter)] if len(letter) == 1 else []
    places += [place for place, choice in enumerate(choices) if choice == text]
    places += [gold] if isinstance(gold, int) else []
    found = {place for place in places if 0 <= place < len(choices)}
    if len(found) != 1:
        said = "stands for several choices" if found else "is none of the choices"
        raise PromptError(f"{column}, {text[:80]!r}, {said}")
    return found.pop()


def form_of(columns: Mapping[str, Any]) -> str:
    """Return what a prompt says below the problem: language, input and output, and the code to begin with.

    Raises:
        PromptError: There are no tests, or they can't be read.
    """
    language, function = _shape_of(columns)
    starter = str(columns.get(STARTER_COLUMN) or "").strip()
    if not starter and columns.get("entry_point"):
        starter = columns["prompt"].strip()
    form, text = ("function", function) if function else ("standard_input", "")
    if starter:
        form, text = "starter", starter
    elif isinstance(columns.get("test_list"), list):
        form, text = "tests", "\n".join(columns["test_list"])
    return FORMS[form].replace("{language}", language).replace("{text}", text)


def program_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that the reward `binary_code` reads, of tests as Python too.

    `ending` is what is appended to a program: it defines the function that runs HumanEval's `check`, or MBPP's list.
    """
    columns = {name: row[name] for name in (*TEST_COLUMNS, "metadata", "language") if name in row}
    if any(not is_empty_column(columns.get(name)) for name in TEST_COLUMNS):
        return columns
    tests, function = row.get("test_list"), "passes_all_tests"
    if isinstance(tests, list):
        start = [row.get("test_setup_code") or "", *(row.get("test_imports") or [])]
    elif isinstance(row.get("test"), str) and row.get("entry_point"):
        start, tests = [row["test"]], [f"check({row['entry_point']})"]
    else:
        return columns
    ending = "\n".join([*start, f"def {function}():", indent("\n".join([*tests, "return True"]), "    ")])
    case = {"type": "function_call", "fn_name": function, "input": [], "output": True}
    return {"verification_info": {"language": "python", "test_cases": [case]}, "ending": ending}


def _shape_of(columns: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return our name of a program's language, and the function that tests call; None: they are of standard input.

    Packed tests aren't read.
    """
    is_packed, has_tests = (any(not is_empty_column(columns.get(name)) for name in names)
                            for names in (_PACKED, TEST_COLUMNS))  # fmt: skip
    if not is_packed and (has_tests or not any(columns.get(name) for name in PYTHON_TESTS)):
        tests = _tests(columns)
        return tests.language, tests.tests[0].function if isinstance(tests.tests[0], CallTest) else None
    metadata = columns.get("metadata")
    try:
        language = find_language(str(columns.get("language") or "python")).name
        found = value_of(metadata, "metadata") if isinstance(metadata, str) and metadata.strip() else metadata
    except ValueError as error:
        raise PromptError(str(error)) from None
    name = found.get("func_name") if isinstance(found, Mapping) else None
    return language, name if isinstance(name, str) else None


def _tests(columns: Mapping[str, Any]) -> Any:
    try:
        tests = read_row(columns)
        tests.require_outputs()
        return tests
    except ValueError as error:
        raise PromptError(f"its tests can't be used: {error}") from None


def _hash_of(columns: Mapping[str, Any]) -> str:
    """Return a hash of what a reward reads of a row.

    Raises:
        PromptError: Its tests can't be read, as far as that is known so early.
    """
    line = json.dumps(dict(columns), sort_keys=True, default=str).encode("utf-8", "surrogatepass")
    if len(line) <= _EARLY_BYTES and any(not is_empty_column(columns.get(name)) for name in TEST_COLUMNS):
        _tests(columns)
    return hashlib.sha256(line).hexdigest()[:16]
