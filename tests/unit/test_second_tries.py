# SPDX-License-Identifier: Apache-2.0
"""OPEN_R1_SECOND_TRIES=1 runs failed tests of real processes once more, and says so."""

import pytest

from tests.second_tries import VARIABLE
from tests.unit.nested import counts, run

FAILS_AT_FIRST = """
from pathlib import Path

def test_fails_at_first():
    tries = Path(__file__).with_suffix(".tries")
    tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
    assert len(tries.read_text()) > 1

def test_passes():
    pass
"""
FAILS = "def test_fails():\n    assert False\n"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_test_that_passes_at_the_second_try_is_listed(tmp_path, workers):
    done = run(tmp_path, FAILS_AT_FIRST, "-n", workers, **{VARIABLE: "1"})

    assert done.returncode == 0, done.stdout + done.stderr
    assert counts(done).items() >= {"passed": 2, "rerun": 1}.items()
    assert any(line.startswith("RERUN") and "test_fails_at_first" in line for line in done.stdout.splitlines())


def test_a_test_that_fails_twice_has_failed(tmp_path):
    done = run(tmp_path, FAILS, **{VARIABLE: "1"})

    assert done.returncode == 1
    assert counts(done).items() >= {"failed": 1, "rerun": 1}.items()


@pytest.mark.parametrize("folder", ["tests/unit", "src"])
def test_unit_tests_have_one_try(tmp_path, folder):
    place = tmp_path / folder
    place.mkdir(parents=True)
    done = run(place, FAILS_AT_FIRST, f"--rootdir={tmp_path}", **{VARIABLE: "1"})

    assert done.returncode == 1
    assert counts(done).items() >= {"failed": 1, "passed": 1}.items()
    assert "rerun" not in counts(done)


def test_without_the_variable_there_is_one_try(tmp_path):
    assert counts(run(tmp_path, FAILS_AT_FIRST)).items() >= {"failed": 1, "passed": 1}.items()
