# SPDX-License-Identifier: Apache-2.0
"""Hostile programs in local boxes, as root and as an ordinary user; outside of boxes they reach their aims."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from open_r1.sandbox.local import landlock
from tests.integration.attack_table import ATTACKS, Attack
from tests.integration.ordinary_user import copy_sources, identity, make_home, reachable_python

PARTS = ("table", "host", "session")
USERS = ("root", "user") if os.geteuid() == 0 else ("user",)
MECHANISMS = ("bwrap", "landlock")
SECRET = f"canary-{secrets.token_hex(16)}"
SESSION_S = 900
LISTED = [pytest.param(attack, id=attack.name) for attack in ATTACKS]
VERSIONED = [pytest.param(attack, id=attack.name) for attack in ATTACKS if attack.is_versioned]
HARMLESS = [pytest.param(attack, id=attack.name) for attack in ATTACKS if attack.is_harmless]

Report = dict[str, Any]


@pytest.fixture(scope="module")
def run_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, str], Report]]:
    """Runs all attacks as "root" or "user" by a mechanism, once, and returns the report; both mechanisms at a time."""
    base = Path("/tmp" if Path("/tmp").exists() else tmp_path_factory.getbasetemp())
    folder = base / f"open_r1_attacks_{os.getpid()}"
    files = [f"tests/integration/attack_{part}.py" for part in PARTS]
    copy_sources(folder, ["tests/integration/attacks", *files])
    started: dict[tuple[str, str], Future[Report]] = {}
    with ThreadPoolExecutor(len(MECHANISMS)) as pool:

        def run(user: str, mechanism: str) -> Report:
            for name in MECHANISMS if mechanism in MECHANISMS else (mechanism,):
                if (user, name) not in started:
                    started[user, name] = pool.submit(run_in_process, user, name, folder)
            return started[user, mechanism].result()

        yield run
    shutil.rmtree(folder)


def run_in_process(user: str, mechanism: str, folder: Path) -> Report:
    """Run the session as a user, with the sources copied to where everybody can read them."""
    own = folder / f"{user}_{mechanism}"
    environment = make_home(own, is_root=user == "root") | {"OPEN_R1_SECRET_CANARY": SECRET}
    is_other = user == "user" and os.geteuid() == 0
    python = reachable_python() if is_other else sys.executable
    done = subprocess.run(
        [python, "-m", "tests.integration.attack_session", mechanism, str(own)],
        capture_output=True,
        text=True,
        check=False,
        cwd=own,
        env=environment,
        timeout=SESSION_S,
        **identity() if is_other else {},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def report_of(run_session: Callable[[str, str], Report], user: str, mechanism: str) -> Report:
    report = run_session(user, mechanism)
    if "refused" in report:
        pytest.skip(f"{mechanism} can't isolate programs here: {report['refused']}")
    return report


def faults_of(attack: Attack, found: dict) -> list[str]:
    """Return everything that isn't as it should be."""
    if "error" in found:
        return [f"the sandbox failed: {found['error']}"]
    runs = [run for run in [found["compile"], *found["runs"]] if run is not None]
    faults = [f"processes {found['left']} are left"] if found["left"] else []
    for run in runs:
        text = run["stdout"] + run["stderr"]
        if "BROKEN" in text or SECRET in text:
            faults.append(text)
        if run["size"] > 1 << 18:
            faults.append(f"{run['size']} bytes of output")
    if attack.compiles is not None:
        return faults if (found["compile"]["outcome"] == "ok") is attack.compiles else [*faults, "it was compiled"]
    for role, run in zip(attack.roles, found["runs"], strict=True):
        if run is None or run["outcome"] not in attack.outcomes:
            faults.append(f"run {role!r}: {run}")
        elif run["outcome"] == "ok" and attack.output_file is None and "CONTAINED" not in run["stdout"]:
            faults.append(f"run {role!r} says nothing: {run}")
    return faults


@pytest.mark.parametrize("attack", LISTED)
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("user", USERS)
def test_attack_is_contained(
    user: str, mechanism: str, attack: Attack, run_session: Callable[[str, str], Report]
) -> None:
    report = report_of(run_session, user, mechanism)

    assert faults_of(attack, report["attacks"][attack.name]) == []


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
@pytest.mark.parametrize("user", USERS)
def test_attack_reaches_its_aim_outside_of_a_box(
    user: str, attack: Attack, run_session: Callable[[str, str], Report]
) -> None:
    found = run_session(user, "none")["attacks"][attack.name]

    assert "BROKEN" in found["output"] or SECRET in found["output"] or found["left"]


@pytest.mark.parametrize("user", USERS)
def test_harm_is_seen_outside_of_a_box(user: str, run_session: Callable[[str, str], Report]) -> None:
    harm = " ".join(run_session(user, "none")["harm"])

    for word in ("is new", "is changed", "was killed", "something came to"):
        assert word in harm
