# SPDX-License-Identifier: Apache-2.0
"""`scripts/lighteval_env.sh` with a Python that only writes down what it is told; tests/serving makes the real one."""

import contextlib
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from open_r1.evaluation.lighteval_environment import in_use
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]

# Stands for python3 and for the environment's own: it makes an environment of a copy of itself, notes installs, and
# fails at them where there is a file `offline`.
PYTHON = """#!/usr/bin/env bash
home={home}
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$home/python" "$3/bin/python" ;;
    *"pip install"*)
        echo "$*" >>"$home/installs"
        if [[ -e $home/offline ]]; then echo "ERROR: no connection" >&2; exit 1; fi
        if [[ -e $home/slow ]]; then sleep 0.3; fi ;;
    *hashlib*) sha256sum ;;
esac
"""


@pytest.fixture
def project(tmp_path):
    """A folder with the script, its lock, and the Python."""
    (tmp_path / "scripts").mkdir()
    for name in ("lighteval_env.sh", "environments.sh", "lighteval_requirements.txt"):
        shutil.copy(ROOT / "scripts" / name, tmp_path / "scripts" / name)
    python = tmp_path / "python"
    python.write_text(PYTHON.format(home=tmp_path))
    python.chmod(0o755)
    return tmp_path


def has_open(pid, path):
    with contextlib.suppress(OSError):  # the process has ended, or one of its files is closed
        return any(os.path.realpath(entry) == path for entry in Path(f"/proc/{pid}/fd").iterdir())
    return False


def start(project, *words):
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(project / "python")}
    return subprocess.Popen(
        ["bash", "scripts/lighteval_env.sh", *words],
        cwd=project,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def make(project, *words):
    process = start(project, *words)
    said, errors = process.communicate(timeout=60)
    return process.returncode, said + errors


def installs(project):
    path = project / "installs"
    return path.read_text().count("-r scripts/lighteval_requirements.txt") if path.exists() else 0


def test_a_second_call_installs_nothing(project):
    assert make(project)[0] == 0
    assert (project / ".venv-lighteval" / "bin" / "python").is_file()
    assert make(project) == (0, "")
    assert installs(project) == 1


def test_another_lock_makes_it_anew(project):
    assert make(project)[0] == 0
    with (project / "scripts" / "lighteval_requirements.txt").open("a") as lock:
        lock.write("one-more==1.0\n")
    stray = project / ".venv-lighteval" / "of-before"
    stray.touch()
    assert make(project)[0] == 0
    assert installs(project) == 2
    assert not stray.exists()


def test_an_install_that_was_killed_is_done_from_the_start(project):
    folder = project / ".venv-lighteval"
    (folder / "lib").mkdir(parents=True)
    (folder / ".open_r1_unfinished").touch()
    status, said = make(project)
    assert (status, installs(project)) == (0, 1)
    assert "done" in said
    assert not (folder / "lib").exists()


def test_of_two_at_once_one_installs(project):
    (project / "slow").touch()
    both = [start(project), start(project)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert installs(project) == 1
    assert sum("done" in text for text in said) == 1


def test_a_folder_that_another_call_is_making_is_not_one_of_someone_else(project):
    """Between the making of a folder and its mark there is a moment."""
    building = project / ".venv-lighteval.new"
    with (project / ".venv-lighteval.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (building / "bin").mkdir(parents=True)
        process = start(project)
        wait_until(lambda: process.poll() is not None or has_open(process.pid, lock.name))
        (building / ".open_r1_unfinished").touch()
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "done" in said


def test_no_network_is_said_and_the_next_call_tries_again(project):
    (project / "offline").touch()
    status, said = make(project)
    assert status == 1
    assert "ERROR: no connection" in said
    assert "Without a network, make it on a machine that has one" in said
    (project / "offline").unlink()
    assert make(project)[0] == 0


def test_an_environment_stays_until_the_new_one_is_there(project):
    assert make(project)[0] == 0
    working = project / ".venv-lighteval" / "lib"
    working.mkdir()
    with (project / "scripts" / "lighteval_requirements.txt").open("a") as lock:
        lock.write("one-more==1.0\n")
    (project / "offline").touch()
    assert make(project)[0] == 1
    assert working.exists()
    (project / "offline").unlink()
    assert make(project)[0] == 0
    assert not working.exists()
    assert not list(project.glob(".venv-lighteval.new")) + list(project.glob(".venv-lighteval.old"))


def test_a_job_that_uses_it_is_waited_for(project):
    assert make(project)[0] == 0
    with (project / "scripts" / "lighteval_requirements.txt").open("a") as lock:
        lock.write("one-more==1.0\n")
    old = project / ".venv-lighteval" / "of-before"
    old.touch()
    with in_use(project / ".venv-lighteval"):
        process = start(project)
        assert process.stdout is not None
        while "waiting for jobs that use" not in (line := process.stdout.readline()):
            assert line, "it ended without waiting"
        assert old.exists()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "done" in said
    assert not old.exists()


def test_a_slash_behind_the_folder_is_the_same_folder(project):
    assert make(project, "there")[0] == 0
    assert make(project, "there/") == (0, "")


def test_an_environment_whose_python_is_gone_is_made_anew(project):
    assert make(project)[0] == 0
    (project / ".venv-lighteval" / "bin" / "python").unlink()
    assert make(project)[0] == 0
    assert installs(project) == 2


def test_a_folder_of_someone_else_is_left_alone(project):
    precious = project / "mine" / "thesis.tex"
    precious.parent.mkdir()
    precious.touch()
    status, said = make(project, "mine")
    assert status == 1
    assert "was not made by this script" in said
    assert precious.exists()


@pytest.mark.parametrize("words", [("--help",), ("one", "two")])
def test_wrong_words_print_the_usage(project, words):
    status, said = make(project, *words)
    assert status == 2
    assert "usage: scripts/lighteval_env.sh [VENV]" in said
