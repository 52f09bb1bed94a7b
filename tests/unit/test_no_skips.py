# SPDX-License-Identifier: Apache-2.0
"""OPEN_R1_NO_SKIPS=1 fails what is skipped, in whatever way, on workers too."""

import pytest

from tests.no_skips import VARIABLE
from tests.unit.nested import counts, run

SAMPLE = '''
import pytest

@pytest.mark.skipif(True, reason="by a mark")
def test_mark():
    pass

def test_call():
    pytest.skip("by a call")

@pytest.fixture
def thing():
    pytest.skip("by a fixture")

def test_fixture(thing):
    pass

def documented():
    """
    >>> 1 / 0  # doctest: +SKIP
    """

@pytest.mark.skipif(True, reason="the extra zh is installed")
def test_allowed():
    pass

@pytest.mark.xfail(reason="not yet", strict=True)
def test_expected_failure():
    assert False

def test_passes():
    pass
'''
MODULE = 'import pytest\npytest.importorskip("no_such_module_anywhere")\n'


@pytest.mark.parametrize("workers", ["0", "2"])
def test_skips_fail_with_their_reasons(workers, tmp_path):
    done = run(tmp_path, SAMPLE, "-n", workers, **{VARIABLE: "1"})

    assert done.returncode == 1, done.stdout + done.stderr
    expected = {"failed": 2, "errors": 2, "passed": 1, "skipped": 1, "xfailed": 1}  # a skip in a set-up is an error
    assert counts(done).items() >= expected.items()
    for reason in ("by a mark", "by a call", "by a fixture", "all tests skipped by +SKIP option"):
        assert f"would be skipped: {reason}" in done.stdout


def test_a_file_that_skips_itself_fails(tmp_path):
    done = run(tmp_path, MODULE, **{VARIABLE: "1"})

    assert done.returncode == 2
    assert "would be skipped: could not import 'no_such_module_anywhere'" in done.stdout


def test_without_the_variable_skips_are_skips(tmp_path):
    done = run(tmp_path, SAMPLE, **{VARIABLE: "0"})

    assert done.returncode == 0, done.stdout + done.stderr
    assert counts(done).items() >= {"passed": 1, "skipped": 5, "xfailed": 1}.items()


def test_another_value_is_refused(tmp_path):
    done = run(tmp_path, SAMPLE, **{VARIABLE: "yes"})

    assert done.returncode == 4
    assert "set it to 1" in done.stderr
