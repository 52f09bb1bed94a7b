# SPDX-License-Identifier: Apache-2.0
"""Which mechanism is chosen in containers: without root, without user namespaces."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from open_r1.sandbox.local import landlock
from tests.integration.ordinary_user import ROOT, copy_sources, identity, make_home, reachable_python

PROGRAMS = ("tests/integration/local_report.py", "tests/integration/user_namespace.py")


@pytest.fixture
def report_in() -> Iterator[Callable[[str], dict[str, str]]]:
    """Runs `local_report` in a namespace of a kind as an ordinary user."""
    folder = Path(f"/tmp/open_r1_namespaces_{os.getpid()}")
    copy_sources(folder, PROGRAMS)
    environment = make_home(folder / "home")

    def run(kind: str) -> dict[str, str]:
        done = subprocess.run(
            [reachable_python(), str(folder / PROGRAMS[1]), kind, str(folder / PROGRAMS[0])],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder / "home",
            env=environment,
            timeout=120,
            **identity(),
        )
        if "user namespaces are forbidden here already" in done.stderr:
            pytest.skip(done.stderr.splitlines()[-1])
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)

    yield run
    shutil.rmtree(folder)


def test_bubblewrap_is_chosen_where_root_is_only_called_so(report_in: Callable[[str], dict[str, str]]) -> None:
    report = report_in("rootless")

    assert "bubblewrap" in report.get("isolated_by", report)
    assert report["outcome"] == "ok"
    word, user, group = report["stdout"].split()
    assert (word, user != "0", group != "0") == ("hello", True, True)


@pytest.mark.skipif(landlock.version() < landlock.MIN_VERSION, reason="no Landlock here")
def test_landlock_is_chosen_where_user_namespaces_are_forbidden(
    report_in: Callable[[str], dict[str, str]],
) -> None:
    report = report_in("forbidden")

    assert "Landlock" in report.get("isolated_by", report)
    assert (report["outcome"], report["stdout"].split()[0]) == ("ok", "hello")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up capabilities")
def test_root_that_may_not_become_another_user_is_told_so() -> None:
    done = subprocess.run(
        ["setpriv", "--bounding-set=-setuid,-setgid", sys.executable, str(ROOT / PROGRAMS[0])],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )

    assert "not permitted" in json.loads(done.stdout)["error"]
