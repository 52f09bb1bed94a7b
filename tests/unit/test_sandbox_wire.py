# SPDX-License-Identifier: Apache-2.0
"""Requests and results survive JSON, and nothing else passes for one; languages and their commands."""

import ast
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from open_r1.sandbox import (
    Interactor,
    Limits,
    Outcome,
    ProgramInput,
    ProgramRun,
    RunRequest,
    RunResult,
    UnsupportedLanguageError,
)
from open_r1.sandbox.languages import LANGUAGES, build_commands, find_language, program_message
from open_r1.sandbox.wire import loads, to_json

TEXTS = st.text(st.characters(), max_size=20)  # halves of surrogate pairs too
NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,4})?\.(py|cpp|h)", fullmatch=True)
FILES = st.dictionaries(NAMES, TEXTS | st.binary(max_size=20), min_size=1, max_size=3)
SECONDS = st.floats(0.001, 1e6)
LIMITS = st.builds(
    Limits, SECONDS, st.none() | SECONDS, st.integers(1, 1 << 20), st.integers(0, 1 << 30), st.integers(1, 4096)
)
ARGS = st.lists(TEXTS.filter(lambda text: "\0" not in text), max_size=3).map(tuple)
INPUTS = st.builds(ProgramInput, TEXTS, st.dictionaries(NAMES, TEXTS, max_size=2), ARGS, st.none() | NAMES)
REQUESTS = st.builds(
    RunRequest,
    st.sampled_from(sorted(LANGUAGES)),
    FILES,
    st.lists(INPUTS, max_size=3).map(tuple),
    LIMITS,
    LIMITS,
    st.none() | st.integers(1, 10),
    st.none() | st.builds(Interactor, st.sampled_from(sorted(LANGUAGES)), FILES, LIMITS),
    st.booleans(),
)
NUMBERS = st.floats(0, 1e6) | st.just(math.nan)
CODES = st.none() | st.integers(0, 255)
PLAIN = st.builds(
    ProgramRun, st.sampled_from(Outcome), TEXTS, TEXTS, CODES, CODES, NUMBERS, NUMBERS, NUMBERS, st.none()
)
RUNS = PLAIN | st.builds(lambda run, other: ProgramRun(run.outcome, interactor=other), PLAIN, PLAIN)
TESTS = st.lists(st.none() | RUNS, max_size=3).map(tuple)
RESULTS = st.builds(RunResult, st.none() | PLAIN, TESTS, st.none() | st.binary(max_size=20))


def text_of(value) -> str:
    return json.dumps(to_json(value), allow_nan=False)


@settings(max_examples=100)
@given(REQUESTS)
def test_request_survives(request):
    assert loads(RunRequest, text_of(request)) == request


@settings(max_examples=100)
@given(RESULTS)
def test_result_survives(result):
    assert repr(loads(RunResult, text_of(result))) == repr(result)  # NaN is not equal to itself


REQUEST = to_json(RunRequest("python", {"main.py": "x"}, (ProgramInput(),)))
NO_REQUESTS = [
    {"files": {}}, {"files": {"../x": "y"}}, {"files": {"x": {"base64": "?"}}}, {"files": {"x": {}}}, {"files": "x"},
    {"files": {"main.py": 5}}, {"files": {"main.py": None}}, {"language": 5}, {"language": ["python"]},
    {"inputs": [{"unknown": 1}]}, {"inputs": [{"stdin": 5}]}, {"inputs": ["x"]}, {"inputs": {}}, {"inputs": None},
    {"inputs": [{"args": "abc"}]}, {"inputs": [{"args": [5]}]}, {"inputs": [{"output_file": 5}]}, {"stop_after": 0},
    {"stop_after": "1"}, {"stop_after": True}, {"limits": {"cpu_s": "9"}}, {"limits": {"memory_mb": 1.5}},
    {"limits": {"cpu_s": 10**400}}, {"limits": 5}, {"interactor": "x"}, {"keeps_binary": 1}, {"total_cpu_s": 0},
    {"colour": "red"},
]  # fmt: skip


@pytest.mark.parametrize("spoiled", NO_REQUESTS, ids=str)
def test_request_with_a_wrong_type_is_refused(spoiled):
    with pytest.raises(ValueError):
        loads(RunRequest, json.dumps(REQUEST | spoiled))


@pytest.mark.parametrize("text", ["{", "{}", "[]", "null", "5", "[" * 100_000])
def test_text_that_is_no_request_is_refused(text):
    with pytest.raises(ValueError):
        loads(RunRequest, text)


NO_RESULTS = [
    {"tests": 5}, {"tests": [5]}, {"tests": ["ok"]}, {"tests": None}, {"binary": "x"}, {"compile": []},
    {"tests": [{"outcome": "quota_exceeded"}]}, {"tests": [{"outcome": None}]}, {"tests": [{"outcome": []}]},
    {"tests": [{"outcome": "ok", "stdout": 5}]}, {"tests": [{"outcome": "ok", "exit_code": "0"}]},
    {"tests": [{"outcome": "ok", "cpu_s": True}]}, {"tests": [{"outcome": "ok", "interactor": {"outcome": "no"}}]},
]  # fmt: skip


@pytest.mark.parametrize("spoiled", NO_RESULTS, ids=str)
def test_text_that_is_no_result_is_refused(spoiled):
    with pytest.raises(ValueError):
        loads(RunResult, json.dumps({"compile": None, "tests": [], "binary": None} | spoiled))


@settings(max_examples=50)
@given(REQUESTS)
def test_driver_is_told_how_to_run_each_program(request):
    header, contents = program_message(request, request)
    assert ast.literal_eval(repr(header)) == header
    assert (header["compile"] is not None) == bool(LANGUAGES[request.language].compile)
    assert header["limits"]["wall_s"] == request.limits.backstop_s
    assert [size for _, size, _ in header["files"]] == list(map(len, contents))
    assert (header["files"][0][2] == 0o555) == (request.language == "binary")


@pytest.mark.parametrize(
    "alias, name",
    [
        ("PyPy 3-64", "python"),
        (" C++20 ", "cpp"),
        ("GNU C++17 9.2.0 (64, msys 2)", "cpp"),
        ("MS C++ 2017", "cpp"),
        ("cpp23", "cpp"),
        ("JS", "javascript"),
        ("sh", "bash"),
        ("binary", "binary"),
    ],
)
def test_names_of_data_sets_find_their_language(alias, name):
    assert find_language(alias).name == name


@pytest.mark.parametrize("name", ["brainfuck", "c", "c#", "gnu c11", "cppcheck"])
def test_unknown_language_is_refused_with_the_known_ones(name):
    with pytest.raises(UnsupportedLanguageError, match="python, cpp"):
        find_language(name)


def test_all_sources_are_compiled_and_headers_are_not():
    sources = ["a.cpp", "b/c.cc", "d.h", "e.txt"]
    compile_command, run_command = build_commands(LANGUAGES["cpp"], sources, Limits(), "/usr/bin/g++")
    assert compile_command[0] == "/usr/bin/g++"
    assert compile_command[-2:] == ["./a.cpp", "./b/c.cc"]
    assert run_command == ["./a.out"]


def test_names_with_odd_characters_stay_words():
    _, run_command = build_commands(LANGUAGES["python"], ["a b;{program}.py"], Limits())
    assert run_command == ["python3", "-X", "utf8", "./a b;{program}.py"]
