# SPDX-License-Identifier: Apache-2.0
"""Rows of IOI and Codeforces problems as objects, and the generated tests that belong to them."""

import pytest

from open_r1.grading.cases import StdioTest
from open_r1.grading.codeforces import (
    FOLDER_VARIABLE,
    CodeforcesProblem,
    generated_tests,
    is_truncated,
    problem_tests,
    read_tests,
)
from open_r1.grading.ioi import CHECKER, MANAGER, Subtask, find_tests
from tests.rows.codeforces import codeforces_rows, problem_row, write_generated_tests
from tests.rows.ioi import grader_files, ioi_rows, subtask_row


@pytest.mark.parametrize("row", ioi_rows(), ids=lambda row: f"{row['id']}-{row['subtask']}-{row['year']}")
def test_every_ioi_row_is_read(row):
    subtask = Subtask.from_row(row)
    assert hash(subtask) is not None
    assert subtask == Subtask.from_row(dict(row))
    assert (subtask.tests is None) == (row["test_cases"] is None)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"test_names": []}, "test_names"),
        ({"test_names": ["sample-1", "other"]}, "KeyError: 'other'"),
        ({"test_cases": None, "year": None}, "test_cases"),
        ({"test_cases": [["1", "2"], ["3", "4"]]}, "longer than"),
        ({"memory_limit": 256}, "bytes"),
        ({"time_limit": 0}, "positive"),
        ({"id": "../up"}, "letters"),
        ({"grader_files": [["grader.cpp"]]}, "unpack"),
        ({"test_cases": {"sample-1": ["\ud800", "1"]}}, "surrogates"),
        ({"test_cases": {"sample-1": ["1", None]}}, "two texts"),
        ({"test_cases": {"sample-1": ["1", 2]}}, "two texts"),
        ({"memory_limit": float("inf")}, "OverflowError"),
        ({"memory_limit": 10**400}, "OverflowError"),
    ],
)
def test_unusable_ioi_row_is_refused_by_name(columns, message):
    with pytest.raises(ValueError, match=message) as error:
        Subtask.from_row(subtask_row("pairs", "00-samples") | columns)
    assert "00-samples" in str(error.value)


def test_tests_that_went_through_a_table_lose_their_empty_columns():
    unused = {"input": None, "output": None}
    cases = {"sample-1": {"input": "1", "output": "2"}, "of-another-row": None, "of-a-third": unused}
    subtask = Subtask.from_row(subtask_row("pairs", "00-samples") | {"test_cases": cases})
    assert subtask.tests == {"sample-1": StdioTest("1", "2")}


@pytest.mark.parametrize("problem_id", ["splits", "guess"])
@pytest.mark.parametrize("expected", [None, ""])
def test_checker_or_manager_needs_no_expected_output(problem_id, expected):
    subtask = Subtask.from_row(subtask_row(problem_id, "00-samples") | {"test_cases": {"sample-1": ["1\n", expected]}})
    assert subtask.tests == {"sample-1": StdioTest("1\n", "")}


@pytest.mark.parametrize(("expected", "message"), [(None, "two texts"), ("\n", "blank")])
def test_year_without_expected_outputs_is_refused(expected, message, tmp_path, environment):
    import pyarrow
    import pyarrow.parquet

    columns = {"problem_id": ["pairs"], "test_name": ["sample-1"], "test_input": ["1"]}
    outputs = pyarrow.array([expected], pyarrow.string())
    (tmp_path / "2021").mkdir()
    pyarrow.parquet.write_table(
        pyarrow.table({**columns, "test_output": outputs}), tmp_path / "2021" / "train-00000-of-00001.parquet"
    )
    environment["IOI_TESTS_FOLDER"] = str(tmp_path)
    with pytest.raises(ValueError, match=message):
        find_tests(Subtask.from_row(subtask_row("pairs", "00-samples") | {"test_cases": None}))


def test_submission_is_compiled_with_grader_and_headers_but_not_with_the_checker():
    sources = Subtask.from_row(subtask_row("splits", "01-few")).submission_sources("code")
    assert list(sources)[:2] == ["splits.cpp", "grader.cpp"]
    assert "splits.h" in sources and "checker.cpp" not in sources
    assert sources["splits.cpp"] == "code"


def test_checker_is_compiled_with_the_header_beside_it():
    files = [*grader_files("splits"), ["graders/reading.h", "another of that name"]]
    sources = Subtask.from_row(subtask_row("splits", "01-few") | {"grader_files": files}).judge_sources(CHECKER)
    assert sources is not None
    assert sorted(sources) == ["checker.cpp", "reading.h", "splits.h"]
    assert "read_list" in str(sources["reading.h"])


def test_communication_task_has_a_stub_and_a_manager():
    subtask = Subtask.from_row(subtask_row("guess", "01-ten"))
    assert subtask.is_communication
    assert list(subtask.submission_sources("code")) == ["guess.cpp", "stub.cpp", "guess.h"]
    assert list(subtask.judge_sources(MANAGER) or ()) == ["manager.cpp", "guess.h"]


@pytest.mark.parametrize("row", codeforces_rows(), ids=lambda row: f"{row['id']}-{row['language']}")
def test_every_codeforces_row_is_read(row):
    problem = CodeforcesProblem.from_row(row)
    assert (problem.problem_id, hash(problem)) == (row["id"], hash(CodeforcesProblem.from_row(dict(row))))
    assert problem.input_mode in ("stdio", "file")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"time_limit": -1.0}, "positive"),
        ({"memory_limit": 0}, "positive"),
        ({"input_mode": "socket"}, "input_mode"),
        ({"official_tests": [{"input": "1"}]}, "output"),
        ({"official_tests": [{"input": "1", "output": None}]}, "two texts"),
        ({"memory_limit": float("inf")}, "OverflowError"),
        ({"memory_limit": 10**400}, "OverflowError"),
        ({"generated_checker": 5}, "generated_checker"),
        ({"language": "cobol"}, "Unknown language"),
        ({"language": None}, "language"),
    ],
)
def test_unusable_codeforces_row_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        CodeforcesProblem.from_row(problem_row("9001/A") | columns)


def test_official_tests_may_stand_in_columns():
    columns = {"official_tests": {"input": ["1", "2" * 200 + "..."], "output": ["ODD", "EVEN"]}}
    problem = CodeforcesProblem.from_row(problem_row("9001/A") | columns | {"official_tests_complete": False})
    assert problem.official_tests == (StdioTest("1", "ODD"),)


GRID = "30 9\n" + "..#......\n" * 29 + ".........\n"


@pytest.mark.parametrize(
    ("given", "expected", "is_cut"),
    [
        ("1\n", "2\n", False),
        ("1 2 3 " * 40 + "...", "6", True),
        ("1", "5 6 " * 60 + "...\n", True),
        ("1", "a...b" * 60, False),
        ("2 3\n.#.\n...\n", "2\n", False),
        ("1 2 3...", "...", False),
    ],
)
def test_truncated_test_is_long_and_ends_in_dots(given, expected, is_cut):
    assert is_truncated(StdioTest(given, expected)) is is_cut


@pytest.mark.parametrize(("is_complete", "num_truncated"), [(True, 0), (False, 1), (None, 1)])
def test_complete_row_has_no_truncated_tests(is_complete, num_truncated):
    columns = {"official_tests": [{"input": GRID, "output": "2\n"}], "official_tests_complete": is_complete}
    problem = CodeforcesProblem.from_row(problem_row("9001/A") | columns)
    assert len(problem.official_tests) == 1 - num_truncated


@pytest.fixture
def tests_folder(tmp_path, environment):
    write_generated_tests(tmp_path / "generated")
    environment[FOLDER_VARIABLE] = str(tmp_path / "generated")
    return tmp_path / "generated"


def test_generated_tests_join_the_official_ones(tests_folder):
    problem = CodeforcesProblem.from_row(problem_row("9002/A"))
    assert [test.input for test in problem_tests(problem)] == ["2\n", "3\n", "1\n", "4\n", "30\n"]


@pytest.mark.parametrize(("problem_id", "count"), [("9002/B", 5), ("9003/A", 3), ("9003/B", 0), ("9999/A", 0)])
def test_generated_tests_are_those_of_the_problem(tests_folder, problem_id, count):
    assert len(generated_tests(problem_id)) == count


def test_official_tests_suffice_without_the_folder(environment):
    environment.pop(FOLDER_VARIABLE, None)
    assert len(problem_tests(CodeforcesProblem.from_row(problem_row("9002/A")))) == 2


@pytest.mark.parametrize("problem_id", ["9002/B", "9003/A"])
def test_problem_without_tests_and_folder_names_the_variable(environment, problem_id):
    environment.pop(FOLDER_VARIABLE, None)
    with pytest.raises(ValueError, match=FOLDER_VARIABLE):
        problem_tests(CodeforcesProblem.from_row(problem_row(problem_id)))


def test_file_with_other_columns_is_refused(tmp_path):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "test_cases_0001.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"problem_id": ["1/A"], "stdin": ["1"]}), path)
    with pytest.raises(ValueError, match="input"):
        read_tests(path, "1/A")


@pytest.mark.parametrize("contest", ["gym", "", "-1", "\u0663", "\u00b2", "9" * 4000, "9" * 5000])
def test_id_without_a_contest_has_no_file(tests_folder, contest):
    with pytest.raises(ValueError, match="contest/index"):
        generated_tests(f"{contest}/A")


def test_tests_that_printing_nothing_passes_are_refused(environment):
    environment.pop(FOLDER_VARIABLE, None)
    blank = {"official_tests": [{"input": "1\n", "output": "\n"}, {"input": "2\n", "output": ""}]}
    with pytest.raises(ValueError, match="output is blank"):
        problem_tests(CodeforcesProblem.from_row(problem_row("9001/A") | blank))
    assert len(problem_tests(CodeforcesProblem.from_row(problem_row("9001/B") | blank))) == 2
