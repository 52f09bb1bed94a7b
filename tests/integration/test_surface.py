# SPDX-License-Identifier: Apache-2.0
"""assets/surface.txt says what users can see today; a diff of it is the list of visible changes."""

import subprocess
import sys

from tests.conftest import ROOT


def test_surface_is_what_the_code_has_today():
    command = [sys.executable, "scripts/surface.py", "--output", "assets/surface.txt", "--check"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, (
        "assets/surface.txt is out of date: run `make surface`. Each line of its diff has a line in CHANGELOG.md.\n"
        f"{ran.stdout[-8000:]}{ran.stderr[-4000:]}"
    )
