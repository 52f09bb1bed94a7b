# SPDX-License-Identifier: Apache-2.0
"""assets/surface.txt lists the names that users depend on today; its diff shows what a change does to them."""

import subprocess
import sys

from tests.conftest import ROOT


def test_surface_is_what_the_code_has_today(tmp_path):
    """Where it fails: `make surface`."""
    found = tmp_path / "surface.txt"
    subprocess.run([sys.executable, "scripts/surface.py", "--output", str(found)], cwd=ROOT, check=True)
    assert (ROOT / "assets/surface.txt").read_text(encoding="utf-8") == found.read_text(encoding="utf-8")
