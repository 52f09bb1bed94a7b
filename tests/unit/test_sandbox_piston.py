# SPDX-License-Identifier: Apache-2.0
"""Answers of both versions of Piston read as outcomes."""

import math

import pytest

from open_r1.sandbox import Limits, Outcome, SandboxError
from open_r1.sandbox.piston import read_stage

LIMITS = Limits(cpu_s=2, wall_s=7, memory_mb=100, output_bytes=1000)
MORE = Limits(cpu_s=2, wall_s=7, output_bytes=2000)


def stage(stdout="", stderr="", code=0, signal=None, **measured):
    return {"stdout": stdout, "stderr": stderr, "code": code, "signal": signal, **measured}


KILLED = {"code": None, "signal": "SIGKILL"}
MEASURED = {"cpu_time": 100, "wall_time": 200, "memory": 5_000_000, "status": None}
OUTCOMES = [
    (stage("1\n"), False, Outcome.OK),
    (stage(code=1), False, Outcome.RUNTIME_ERROR),
    (stage(**KILLED), True, Outcome.TIME_LIMIT),
    (stage(**KILLED), False, Outcome.RUNTIME_ERROR),
    (stage("x" * 1001, **KILLED), True, Outcome.OUTPUT_LIMIT),
    (stage(stderr="x" * 2000, **KILLED), False, Outcome.OUTPUT_LIMIT),
    (stage(stderr="...\nMemoryError", code=1), False, Outcome.MEMORY_LIMIT),
    (stage(stderr="what():  std::bad_alloc", code=134), False, Outcome.MEMORY_LIMIT),
    (stage("MemoryError", code=1), False, Outcome.RUNTIME_ERROR),
    (stage(stderr="MemoryError"), False, Outcome.OK),
    (stage("1\n", **MEASURED), True, Outcome.OK),
    (stage(**KILLED, **{**MEASURED, "status": "TO"}), False, Outcome.TIME_LIMIT),
    (stage("1\n", **{**MEASURED, "cpu_time": 2001}), False, Outcome.TIME_LIMIT),
    (stage("x" * 1001, **KILLED, **{**MEASURED, "status": "OL"}), False, Outcome.OUTPUT_LIMIT),
    (stage(code=3, **{**MEASURED, "status": "RE"}), True, Outcome.RUNTIME_ERROR),
    (stage(**KILLED, **{**MEASURED, "status": "SG"}), True, Outcome.RUNTIME_ERROR),
    (stage(**KILLED, **{**MEASURED, "status": "SG", "memory": 102_400_000}), False, Outcome.MEMORY_LIMIT),
    (stage(code=1, **{**MEASURED, "status": "RE", "memory": 102_400_000}), False, Outcome.RUNTIME_ERROR),
    (stage("1\n", **{**MEASURED, "memory": 200 << 20}), False, Outcome.MEMORY_LIMIT),
]


@pytest.mark.parametrize(("value", "is_overtime", "outcome"), OUTCOMES)
def test_outcome_is_read_from_the_answers_of_both_versions(value, is_overtime, outcome):
    assert read_stage(value, LIMITS, 7.1 if is_overtime else 6.9).outcome is outcome


@pytest.mark.parametrize("value", [None, [], "x", {}, {"stdout": "1"}, stage(code="0"), stage(code=None)])
def test_answer_that_is_none_is_refused(value):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        read_stage(value, LIMITS, 1.0)


@pytest.mark.parametrize("value", [stage(**KILLED, **{**MEASURED, "status": "OL"}), stage("x" * 1500, **KILLED)])
def test_output_that_the_endpoint_cut_within_the_limit_is_its_failure(value):
    with pytest.raises(SandboxError, match="PISTON_OUTPUT_MAX_SIZE"):
        read_stage(value, MORE, 1.0)


def test_run_has_what_the_endpoint_measured_and_nan_where_it_does_not():
    known = read_stage(stage("ab", **MEASURED), LIMITS, 6.9)
    assert (known.cpu_s, known.wall_s, known.peak_memory_mb) == (0.1, 0.2, 5_000_000 / 2**20)
    unknown = read_stage(stage("é" * 500, "x" * 2000, code=139), LIMITS, 6.9)
    assert math.isnan(unknown.cpu_s) and math.isnan(unknown.peak_memory_mb)
    assert (unknown.exit_code, unknown.signal) == (None, 11)
    assert (len(unknown.stdout), len(unknown.stderr)) == (500, 1000)
