# SPDX-License-Identifier: Apache-2.0
"""Runs pytest with this repository's settings and plugins on a file elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def run(folder: Path, text: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run it on a file with a text, with environment variables besides those of this process that aren't pytest's."""
    (folder / "test_sample.py").write_text(text)
    # tests/rows holds no tests: naming it loads tests/conftest.py, as every call of the Makefile does.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "pyproject.toml", "tests/rows"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "OPEN_R1_"))}
    return subprocess.run(
        [*command, str(folder), *options], cwd=ROOT, env=kept | variables, capture_output=True, text=True, check=False
    )


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return what the closing line counts."""
    return {what: int(number) for number, what in re.findall(r"(\d+) (\w+)", done.stdout.splitlines()[-1])}
