# SPDX-License-Identifier: Apache-2.0
"""What boxes must not show or remove, whatever lies where: home folders, folders that only look like a box's."""

import os
from pathlib import Path

import pytest

from open_r1.sandbox.local import landlock
from open_r1.sandbox.local.cgroups import owner_name
from open_r1.sandbox.local.interpreter import folder_of, holds_home

HOMES = "/home"


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/", True),
        ("/home", True),
        (f"{HOMES}/ada", True),
        ("/root", True),
        ("/srv/ada", True),
        ("/srv", True),
        ("/usr", False),
        ("/usr/local", False),
        ("/var/conda", False),
        (f"{HOMES}/ada/.pyenv/versions/3.12.1", False),
        ("/srv/ada/project/.venv", False),
    ],
)
def test_folder_with_homes_is_told_from_others(folder: str, expected: bool, environment: "os._Environ[str]") -> None:
    environment["HOME"] = "/srv/ada"

    assert holds_home(Path(folder)) is expected


def test_program_in_a_home_shows_itself_alone(tmp_path: Path, environment: "os._Environ[str]") -> None:
    environment["HOME"] = str(tmp_path)
    for folder in (tmp_path / "bin", tmp_path / "tools" / "bin"):
        folder.mkdir(parents=True)
        (folder / "node").touch()

    assert folder_of(str(tmp_path / "bin" / "node")) == str(tmp_path / "bin" / "node")
    assert folder_of(str(tmp_path / "tools" / "bin" / "node")) == str(tmp_path / "tools")


def test_link_that_is_named_like_a_box_is_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder where everybody may write, the next process to make a box would empty what the link leads to."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(landlock, "_SWEPT", set())
    kept = tmp_path / "kept" / "file"
    kept.parent.mkdir()
    kept.touch()
    dead = owner_name().rpartition("_")[0] + "_1"  # this process's number, with another start
    (tmp_path / f"{landlock.PREFIX}{dead}_link").symlink_to(kept.parent)
    left = tmp_path / f"{landlock.PREFIX}{dead}_left"
    (left / "work").mkdir(parents=True)

    made = Path(landlock._new_folder())

    assert kept.exists()
    assert not left.exists()
    assert made.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_folder_of_a_user_who_still_runs_something_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "box"
    folder.mkdir()
    os.chown(folder, 1234, 1234)
    assert not landlock._is_ours(folder)  # nobody whom boxes run as

    user = landlock.BOX_USER + landlock.NUM_USERS
    os.chown(folder, user, user)
    assert landlock._is_ours(folder)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setuid(user)
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        while Path(f"/proc/{pid}").stat().st_uid != user:
            pass
        assert not landlock._is_ours(folder)
    finally:
        os.close(writer)
        os.waitpid(pid, 0)


def test_users_of_boxes_are_none_that_a_service_may_get() -> None:
    first, last = landlock.BOX_USER, landlock.BOX_USER + landlock.NUM_USERS
    assert 60578 <= first < last <= 61183  # systemd uses the numbers before and behind for homes and services
