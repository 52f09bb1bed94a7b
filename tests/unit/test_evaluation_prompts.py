# SPDX-License-Identifier: Apache-2.0
"""Prompts and golds by the kind of answer: letters of choices, forms and tests of programs, rows that are left out."""

import base64
import hashlib
import json
import math
import pickle
import zlib
from dataclasses import replace

import pytest

from open_r1.evaluation.benchmarks import SUPPORTED_BENCHMARKS, Benchmark, local_benchmark
from open_r1.evaluation.prompts import LETTERS, form_of, lettered, load_problems, program_columns
from open_r1.generation.messages import Sampling
from open_r1.generation.prompts import PromptError
from open_r1.grading.cases import CallTest, read_row

GPQA = SUPPORTED_BENCHMARKS["gpqa"]
LISTED = Benchmark("x", "/x.jsonl", prompt_column="question", solution_column="answer", kind="choices")
STDIO = [{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]
CALLS = [{"input": "1\n2", "output": "3", "testtype": "functional"}]
STARTER = "class Solution:\n    def add(self, a: int, b: int) -> int:\n        "


def gpqa_row(question="Which gas do plants take up?", right="carbon dioxide", wrong=("argon", "helium", "neon")):
    columns = {f"Incorrect Answer {number}": text for number, text in enumerate(wrong, 1)}
    return {"Question": question, "Correct Answer": right, **columns}


@pytest.mark.parametrize(
    ("row", "letter"),
    [
        (gpqa_row(), "C"),
        (gpqa_row("Which gas do animals give off?"), "A"),
        (gpqa_row("How many legs has an ant?", "6", ("4", "8", "10")), "D"),
        (gpqa_row("2+2?", 4, (3, 5, 22)), "A"),
    ],
)
def test_letters_of_right_choices_stay_what_they_are(row, letter):
    text, found = lettered(row, GPQA)
    assert found == letter
    assert f"({letter}) {row['Correct Answer']}" in text.splitlines()
    texts = [str(row[column]) for column in ("Correct Answer", *GPQA.wrong_columns)]
    order = sorted(texts, key=lambda text: hashlib.sha256(json.dumps([0, row["Question"], text]).encode()).hexdigest())
    assert text.splitlines()[2:] == [f"({name}) {choice}" for name, choice in zip("ABCD", order, strict=True)]


@pytest.mark.parametrize(
    ("choices", "answer", "letter"),
    [
        (["3", "4", "5"], "B", "B"),
        (["3", "4", "5"], "(b)".upper(), "B"),
        (["3", "4", "5"], "C.", "C"),
        (["3", "4", "5"], "4", "B"),
        (["red", "green"], 0, "A"),
        (["red", "green"], "green", "B"),
        (["A", "C"], "A", "A"),
    ],
)
def test_listed_choices_keep_their_order(choices, answer, letter):
    text, found = lettered({"question": "Which?", "choices": choices, "answer": answer}, LISTED)
    assert found == letter
    assert text.splitlines()[2:] == [f"({name}) {choice}" for name, choice in zip(LETTERS, choices, strict=False)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (gpqa_row(wrong=("argon", None, "neon")), "Incorrect Answer 2"),
        (gpqa_row(question=["messages"]), "Question"),
        (gpqa_row(right="argon "), "argon"),
        (("ABCD", "A"), "ABCD"),
        (([str(n) for n in range(11)], "A"), "2 to 10"),
        ((["red", ""], "A"), "choice 1"),
        ((["red", "green"], "C"), "'C'"),
        ((["red", "green"], None), "answer"),
        ((["B", "A"], "A"), "several"),
        ((["2", "1", "0"], 0), "several"),
        ((["5", "4 ", " 4"], 2), "'4'"),
    ],
)
def test_choices_that_are_not_clear_are_told(row, said):
    benchmark = LISTED if isinstance(row, tuple) else GPQA
    row = {"question": "Which?", "choices": row[0], "answer": row[1]} if isinstance(row, tuple) else row
    with pytest.raises(PromptError) as told:
        lettered(row, benchmark)
    assert said in str(told.value)


def packed(value):
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(value)))).decode()


def lcb_row(tests, *, private=None, **columns):
    private = packed(tests) if private is None else private
    return {
        "public_test_cases": json.dumps(tests),
        "private_test_cases": private,
        "metadata": "{}",
        "starter_code": "",
    } | columns


def info_row(**info):
    return {"verification_info": info}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (lcb_row(STDIO), "in python, reads from standard input and writes to standard output."),
        (lcb_row(CALLS, starter_code=STARTER, metadata='{"func_name": "add"}'), "completes this code:\n```python\n"),
        (lcb_row(CALLS, metadata='{"func_name": "add"}'), "in python, defines the function `add`."),
        (info_row(language="cpp", test_cases=[{"input": "1", "output": "1"}]), "in cpp, reads from standard input"),
        ({"input_output": '{"inputs": [[1, 2]], "outputs": [[3]], "fn_name": "add"}'}, "defines the function `add`."),
    ],
)
def test_prompts_say_how_the_program_is_run(row, said):
    assert said in form_of(row)
    assert f"begins with ```{'cpp' if 'cpp' in said else 'python'} and" in form_of(row)


HUMAN_EVAL = {
    "prompt": 'def add(a, b):\n    """Add."""\n',
    "entry_point": "add",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    "canonical_solution": "    return a + b\n",
}
MBPP = {"prompt": "Write add.", "test_imports": ["import math"], "test_list": ["assert add(1, 2) == 3"]}


@pytest.mark.parametrize(("row", "said"), [(HUMAN_EVAL, "def add(a, b):"), (MBPP, "assert add(1, 2) == 3")])
def test_tests_written_as_python_are_a_function_that_is_called(row, said):
    assert said in form_of(row)
    columns = program_columns(row)
    assert read_row(columns).tests == (CallTest("passes_all_tests", "[]", ("true",)),)
    space: dict = {}
    exec(f"def add(a, b):\n    return a + b\n{columns['ending']}", space)
    assert space["passes_all_tests"]() is True
    exec(f"def add(a, b):\n    return a - b\n{columns['ending']}", space)
    with pytest.raises(AssertionError):
        space["passes_all_tests"]()


class _Hostile:
    def __reduce__(self):
        return (print, ("read me",))


@pytest.fixture
def problems_of(tmp_path):
    """Return what reads rows as the problems of a run."""

    def problems_of(*rows, kind="auto", **settings):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return load_problems(local_benchmark(path, kind=kind), **settings)

    return problems_of


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (lcb_row([], private="[]"), "0 test cases"),
        (lcb_row(STDIO, private="no base64!"), "base64"),
        (lcb_row(STDIO, private=packed(STDIO)[:-8]), "cut off"),
        (lcb_row(STDIO, private=base64.b64encode(zlib.compress(pickle.dumps(_Hostile()))).decode()), "it asks for"),
        (lcb_row(CALLS), "function's name"),
        (lcb_row(CALLS, metadata='{"func_name": 3}'), "function"),
        (lcb_row(STDIO, metadata="no json"), "metadata"),
        (lcb_row(STDIO, language="klingon"), "klingon"),
        (lcb_row([{"input": "1", "output": "", "testtype": "stdin"}]), "blank"),
    ],
)
def test_rows_whose_tests_can_not_be_used_are_left_out(problems_of, row, said, capsys):
    good = lcb_row(STDIO, language="python") | {"question_content": "Add."}
    problems = problems_of(good, {**good, **row})
    assert list(problems.by_row) == [0]
    assert said in problems.skipped[1]
    assert "read me" not in capsys.readouterr().out


def test_large_tests_are_read_when_they_judge(problems_of):
    broken = packed(STDIO) + "!" * (1 << 20)
    problems = problems_of(lcb_row(STDIO, private=broken) | {"question_content": "Add."})
    with pytest.raises(ValueError, match="Packed tests"):
        read_row(problems.columns_of(0))


def test_a_hash_of_a_program_row_is_that_of_its_tests_alone(problems_of):
    rows = [lcb_row(STDIO), lcb_row(STDIO, starter_code=STARTER), lcb_row([*STDIO, *STDIO])]
    problems = problems_of(*(row | {"question_content": "Add."} for row in rows))
    golds = [problems.by_row[row].gold for row in range(3)]
    assert golds[0] == golds[1] != golds[2]


def conversation(start):
    """A row that asks the same as others, and of something else."""
    turns = [("user", start), ("assistant", "ok"), ("user", "What is x*0+1?")]
    return {"problem": [{"role": role, "content": content} for role, content in turns], "solution": "1"}


def test_what_makes_two_rows_the_same_problem(problems_of):
    rows = [conversation(f"Take x={number}.") for number in range(5)] + [conversation("Take  x=0.")]
    problems = problems_of(*rows)
    assert len({problems.cluster_of(row) for row in range(6)}) == 5
    systems = [
        {"problem": [{"role": "system", "content": text}, {"role": "user", "content": "1+1?"}], "solution": "2"}
        for text in ("Count in tens.", "Count in twos.")
    ]
    problems = problems_of(*systems)
    assert problems.cluster_of(0) != problems.cluster_of(1)


@pytest.mark.parametrize("row", [{"problem": "What is 1+1?", "solution": "2"}, conversation("Take x=1.")])
def test_a_problem_is_the_same_whatever_template_and_system_prompt_the_run_adds(problems_of, row):
    asked: dict = {} if isinstance(row["problem"], list) else {"template": "Now: {prompt}"}
    found = {problems_of(row, **given).cluster_of(0) for given in ({}, {"system_prompt": "Be  brief."}, asked)}
    assert len(found) == 1


@pytest.mark.parametrize("gold", [math.nan, math.inf, -math.inf])
def test_a_gold_answer_that_is_no_finite_number_is_none(problems_of, gold):
    found = problems_of({"problem": "1+1?", "solution": 2.0}, {"problem": "1+2?", "solution": gold})
    assert (found.by_row[0].gold, list(found.skipped)) == ("2.0", [1])


def test_a_row_whose_conversation_cannot_be_sent_is_not_asked(problems_of):
    tests = {"language": "python", "test_cases": [{"input": "1", "output": "1"}]}
    talks = [[{"role": role, "content": "Print 1."}] for role in ("user", "assistant", "user")]
    problems = problems_of(*({"problem": talk, "verification_info": tests} for talk in talks))
    assert (list(problems.by_row), list(problems.skipped)) == ([0, 2], [1])
    keys = [request.key for request in problems.requests(1, Sampling())]
    assert len(set(keys)) == 2  # rows that ask the same have names of their own


def test_rows_of_contests_are_asked_as_they_are_and_judged_by_the_reward(tmp_path):
    row = {"problem": "Write C++.", "id": "a", "subtask": "01", "test_names": ["1"], "language": "cpp"}
    path = tmp_path / "ioi.jsonl"
    path.write_text(json.dumps(row) + "\n")
    problems = load_problems(replace(SUPPORTED_BENCHMARKS["ioi24"], dataset=str(path), split="train"))
    assert problems.by_row[0].messages[0]["content"] == "Write C++."
    assert (problems.judge.reward_funcs, problems.languages) == (["ioi_code"], {"cpp"})
    assert problems.columns_of(0)["test_names"] == ["1"]
