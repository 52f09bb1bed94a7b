# SPDX-License-Identifier: Apache-2.0
"""Hostile programs in local boxes, as root and as an ordinary user; outside of boxes they reach their aims."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from open_r1.sandbox.local import landlock
from tests.integration.attack_table import ATTACKS, Attack
from tests.integration.attack_users import SECRET, Report, copy_attacks, faults_of, run_in_process

USERS = ("root", "user") if os.geteuid() == 0 else ("user",)
MECHANISMS = ("bwrap", "landlock")
LISTED = [pytest.param(attack, id=attack.name) for attack in ATTACKS]
VERSIONED = [pytest.param(attack, id=attack.name) for attack in ATTACKS if attack.is_versioned]
HARMLESS = [pytest.param(attack, id=attack.name) for attack in ATTACKS if attack.is_harmless]


@pytest.fixture(scope="module")
def run_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Report]]:
    """Runs all attacks as "root" or "user" by a mechanism, once, and returns the report; both mechanisms at a time."""
    folder = copy_attacks(tmp_path_factory.getbasetemp())
    started: dict[tuple[str, str], Future[Report]] = {}
    with ThreadPoolExecutor(len(MECHANISMS)) as pool:

        def run(user: str, mechanism: str) -> Report:
            for name in MECHANISMS if mechanism in MECHANISMS else (mechanism,):
                if (user, name) not in started:
                    started[user, name] = pool.submit(run_in_process, user, name, folder)
            return started[user, mechanism].result()

        yield run
    shutil.rmtree(folder)


def report_of(run_session: Callable[[str, str], Report], user: str, mechanism: str) -> Report:
    report = run_session(user, mechanism)
    if "refused" in report:
        pytest.skip(f"{mechanism} can't isolate programs here: {report['refused']}")
    return report


@pytest.mark.parametrize("attack", LISTED)
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("user", USERS)
def test_attack_is_contained(
    user: str, mechanism: str, attack: Attack, run_session: Callable[[str, str], Report]
) -> None:
    report = report_of(run_session, user, mechanism)
    found = report["attacks"][attack.name]

    if attack.needs_groups and not report["has_groups"]:
        assert "error" not in found and found["left"] == []  # not contained, but it ends with its box
    else:
        assert faults_of(attack, found) == []


@pytest.mark.parametrize("attack", VERSIONED)
@pytest.mark.parametrize("version", [3, 5])
def test_older_landlock_contains_as_much(
    version: int, attack: Attack, run_session: Callable[[str, str], Report]
) -> None:
    """As an ordinary user, whose other processes and files are at stake."""
    if landlock.version() < version:
        pytest.skip(f"Landlock is of version {landlock.version()} here")
    report = report_of(run_session, "user", f"landlock-{version}")

    assert faults_of(attack, report["attacks"][attack.name]) == []
    assert report["harm"] == []


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("user", USERS)
def test_good_submissions_beside_and_behind_attacks_are_right(
    user: str, mechanism: str, run_session: Callable[[str, str], Report]
) -> None:
    neighbours = report_of(run_session, user, mechanism)["neighbours"]

    assert [run for run in neighbours if not run["is_right"]] == []
    assert sum(len(run["beside"]) > 0 for run in neighbours) >= 5


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("user", USERS)
def test_attacks_leave_nothing_and_harm_nothing_on_the_machine(
    user: str, mechanism: str, run_session: Callable[[str, str], Report]
) -> None:
    report = report_of(run_session, user, mechanism)

    assert report["harm"] == []
    assert report["left"] == []


@pytest.mark.parametrize("user", USERS)
def test_one_mechanism_at_least_works_here(user: str, run_session: Callable[[str, str], Report]) -> None:
    assert any("refused" not in run_session(user, mechanism) for mechanism in MECHANISMS)


@pytest.mark.parametrize("attack", HARMLESS)
def test_attack_reaches_its_aim_outside_of_a_box(attack: Attack, run_session: Callable[[str, str], Report]) -> None:
    """Even as an ordinary user."""
    found = run_session("user", "none")["attacks"][attack.name]

    assert "BROKEN" in found["output"] or SECRET in found["output"] or found["left"]


def test_harm_is_seen_outside_of_a_box(run_session: Callable[[str, str], Report]) -> None:
    harm = " ".join(run_session("user", "none")["harm"])

    for word in ("is new", "is changed", "was killed", "something came to"):
        assert word in harm
