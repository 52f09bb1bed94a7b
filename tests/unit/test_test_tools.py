# SPDX-License-Identifier: Apache-2.0
"""The two switches that CI sets: no skipped test is a passed one, and second tries are for few reasons."""

import pytest

from tests import no_skips, second_tries

SKIPS = '''
import pytest

@pytest.mark.skipif(True, reason="by a mark")
def test_mark():
    pass

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
'''
TRIES = """
import pytest

tries = []
ERRORS = [TimeoutError("5 s"), OSError("[Errno 98] Address already in use"), ValueError("no")]

@pytest.mark.parametrize("error", ERRORS)
def test_fails_at_first(error):
    tries.append(error)
    if tries.count(error) < 2:
        raise error

def test_kill():
    raise TimeoutError
"""


def test_skips_fail_in_whatever_way(pytester):
    pytester.makepyfile(test_sample=SKIPS, test_module='import pytest\npytest.importorskip("no_such_module")\n')
    arguments = ("-p", "no:xdist", "--doctest-modules", "--continue-on-collection-errors")
    done = pytester.runpytest_inprocess(*arguments, plugins=[no_skips])
    done.assert_outcomes(failed=1, errors=4, skipped=1, xfailed=1)  # a skip in a set-up is an error
    for reason in ("by a mark", "by a fixture", "all tests skipped by +SKIP option", "no_such_module"):
        done.stdout.fnmatch_lines([f"*would be skipped: *{reason}*"])


@pytest.mark.parametrize(("name", "passed", "reruns"), [("test_sample", 2, 2), ("test_resume", 0, 0)])
def test_only_time_and_ports_get_a_second_try(pytester, name, passed, reruns):
    pytester.makepyfile(**{name: TRIES})
    done = pytester.runpytest_inprocess("-p", "no:xdist", "-rR", plugins=[second_tries])
    outcomes = done.parseoutcomes()
    assert (outcomes.get("passed", 0), outcomes.get("rerun", 0), outcomes["failed"]) == (passed, reruns, 4 - passed)
