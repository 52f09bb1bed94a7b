# SPDX-License-Identifier: Apache-2.0
"""assets/surface.txt lists the names that users depend on today; its diff shows what a change does to them."""

import subprocess
import sys

from tests.conftest import ROOT


def test_surface_is_what_the_code_has_today():
    command = [sys.executable, "scripts/surface.py", "--output", "assets/surface.txt", "--check"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"run `make surface`\n{ran.stdout[-8000:]}{ran.stderr[-4000:]}"
