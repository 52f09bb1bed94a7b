# SPDX-License-Identifier: Apache-2.0
"""Parts of the local sandbox that need no box: the command of bubblewrap, who owns what, which interpreters."""

import sys

import pytest

from open_r1.sandbox.local.bwrap import bwrap_command, is_below
from open_r1.sandbox.local.interpreter import candidates


@pytest.mark.parametrize(
    "path, folder, expected",
    [
        ("/usr/lib", "/usr", True),
        ("/usr", "/usr", True),
        ("/usrlib", "/usr", False),
        ("/", "/usr", False),
    ],
)
def test_a_path_is_below_a_folder(path, folder, expected):
    assert is_below(path, folder) is expected


def pairs(command: list[str], word: str) -> list[tuple[str, str]]:
    """The two words behind each occurrence of a word."""
    return [(command[i + 1], command[i + 2]) for i, found in enumerate(command) if found == word]


def test_where_the_command_begins_as_root_it_may_only_become_another_user():
    command = bwrap_command("bwrap", ["/srv/py/bin"], as_root=True)
    assert "--unshare-user" not in command
    added = [command[place + 1] for place, word in enumerate(command) if word == "--cap-add"]
    assert (command[command.index("--cap-drop") + 1], added) == ("ALL", ["cap_setuid", "cap_setgid", "cap_chown"])
    folders = [command[place + 1] for place, word in enumerate(command) if word == "--dir"]
    assert folders == ["/dev", "/etc", "/srv", "/srv/py"]


def test_an_interpreter_in_the_folder_for_temporary_files_is_shown_there():
    command = bwrap_command("bwrap", ["/tmp/venv"])
    assert ("/tmp/venv", "/tmp/venv") in pairs(command, "--ro-bind")
    assert ("/box/tmp", "/tmp") not in pairs(command, "--symlink")
    assert ("/box/tmp", "/tmp") in pairs(bwrap_command("bwrap", []), "--symlink")


def test_the_own_interpreter_is_tried_before_the_systems_and_a_given_one_alone():
    assert list(candidates("/srv/python")) == ["/srv/python"]
    assert next(candidates(None)) == sys.executable
