# SPDX-License-Identifier: Apache-2.0
"""What boxes must not show or remove, whatever lies where: home folders, folders that only look like a box's."""

import os
from pathlib import Path

import pytest

from open_r1.sandbox.local.interpreter import BOX_USER, NUM_USERS, folder_of, holds_home

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


def test_users_of_boxes_are_none_that_a_service_may_get() -> None:
    first, last = BOX_USER, BOX_USER + NUM_USERS
    assert 60578 <= first < last <= 61183  # systemd uses the numbers before and behind for homes and services
