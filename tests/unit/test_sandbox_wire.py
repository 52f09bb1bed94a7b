# SPDX-License-Identifier: Apache-2.0
"""Requests and results survive JSON; languages and their commands."""

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
from open_r1.sandbox.languages import LANGUAGES, build_commands, find_language
from open_r1.sandbox.wire import job_to_json, request_from_json, request_to_json, result_from_json, result_to_json

TEXTS = st.text(st.characters(), max_size=20)  # halves of surrogate pairs too
NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,4})?\.(py|cpp|h)", fullmatch=True)
FILES = st.dictionaries(NAMES, TEXTS | st.binary(max_size=20), min_size=1, max_size=3)
SECONDS = st.floats(0.001, 1e6)
LIMITS = st.builds(
    Limits, SECONDS, st.none() | SECONDS, st.integers(1, 1 << 20), st.integers(0, 1 << 30), st.integers(1, 4096)
)
INPUTS = st.builds(
    ProgramInput,
    TEXTS,
    st.dictionaries(NAMES, TEXTS, max_size=2),
    st.lists(TEXTS.filter(lambda text: "\0" not in text), max_size=3).map(tuple),
    st.none() | NAMES,
)
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
PLAIN_RUNS = st.builds(
    ProgramRun, st.sampled_from(Outcome), TEXTS, TEXTS, CODES, CODES, NUMBERS, NUMBERS, NUMBERS, st.none()
)
RUNS = PLAIN_RUNS | st.builds(lambda run, other: ProgramRun(run.outcome, interactor=other), PLAIN_RUNS, PLAIN_RUNS)
RESULTS = st.builds(
    RunResult,
    st.none() | PLAIN_RUNS,
    st.lists(st.none() | RUNS, max_size=3).map(tuple),
    st.none() | st.binary(max_size=20),
)


def through_text(value):
    return json.loads(json.dumps(value, allow_nan=False))


@settings(max_examples=100)
@given(REQUESTS)
def test_a_request_survives(request):
    assert request_from_json(through_text(request_to_json(request))) == request


@settings(max_examples=100)
@given(RESULTS)
def test_a_result_survives(result):
    assert repr(result_from_json(through_text(result_to_json(result)))) == repr(result)  # NaN is not equal to itself


@pytest.mark.parametrize(
    "spoiled",
    [
        {},
        {"language": "python"},
        {"files": {}},
        {"files": {"../x": "y"}},
        {"inputs": [{"unknown": 1}]},
        {"stop_after": 0},
        {"files": {"x": {"base64": "?"}}},
    ],
)
def test_what_is_no_request_is_refused(spoiled):
    value = request_to_json(RunRequest("python", {"main.py": "x"}, (ProgramInput(),)))
    value = {**value, **spoiled} if len(spoiled) == 1 and "language" not in spoiled else spoiled
    with pytest.raises((ValueError, TypeError, KeyError)):
        request_from_json(value)


@pytest.mark.parametrize("spoiled", [
    {"tests": 5}, {"tests": [5]}, {"tests": ["ok"]}, {"tests": None}, {"binary": "x"}, {"binary": 5}, {"compile": []},
    {"tests": [{"outcome": "quota_exceeded"}]}, {"tests": [{"outcome": None}]}, {"tests": [{"outcome": []}]},
    {"tests": [{"outcome": "ok", "stdout": 5}]}, {"tests": [{"outcome": "ok", "stderr": ["x"]}]},
    {"tests": [{"outcome": "ok", "exit_code": "0"}]}, {"tests": [{"outcome": "ok", "cpu_s": True}]},
    {"tests": [{"outcome": "ok", "interactor": {"outcome": "ok", "stdout": {}}}]}, {"tests": [{"colour": "red"}]},
])  # fmt: skip
def test_what_is_no_result_is_refused(spoiled):
    with pytest.raises((ValueError, TypeError, KeyError)):
        result_from_json({"compile": None, "tests": [], "binary": None} | spoiled)


@settings(max_examples=50)
@given(REQUESTS)
def test_a_job_says_how_to_run_each_program(request):
    job = through_text(job_to_json(request))
    assert (job["compile"] is not None) == bool(LANGUAGES[request.language].compile)
    assert job["limits"]["wall_s"] == request.limits.backstop_s
    assert (job["executable"] is not None) == (request.language == "binary")


@pytest.mark.parametrize(
    "alias, name",
    [("PyPy 3-64", "python"), (" C++20 ", "cpp"), ("JS", "javascript"), ("sh", "bash"), ("binary", "binary")],
)
def test_names_of_data_sets_find_their_language(alias, name):
    assert find_language(alias).name == name


def test_an_unknown_language_is_refused_with_the_known_ones():
    with pytest.raises(UnsupportedLanguageError, match=r"'brainfuck'.*python, cpp"):
        find_language("brainfuck")


def test_all_sources_are_compiled_and_headers_are_not():
    sources = ["a.cpp", "b/c.cc", "d.h", "e.txt"]
    compile_command, run_command = build_commands(LANGUAGES["cpp"], sources, Limits(), "/usr/bin/g++")
    assert compile_command[0] == "/usr/bin/g++"
    assert compile_command[-2:] == ["./a.cpp", "./b/c.cc"]
    assert run_command == ["./a.out"]


def test_names_with_odd_characters_stay_words():
    _, run_command = build_commands(LANGUAGES["python"], ["a b;{program}.py"], Limits())
    assert run_command == ["python3", "-X", "utf8", "./a b;{program}.py"]
