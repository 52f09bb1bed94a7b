# SPDX-License-Identifier: Apache-2.0
"""`make help` tells every target, and make warns of variables that nothing reads."""

import re
import subprocess

import pytest

from tests.conftest import ROOT


def test_help_lists_every_target_of_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE).group(1).split()
    listing = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert targets == re.findall(r"^  make (\S+) +\S", listing, re.MULTILINE)
    assert set(targets) == set(re.findall(r"^(\w+):", makefile, re.MULTILINE))


@pytest.mark.parametrize(
    ("words", "warned"),
    [
        (["ENGIN=lighteval"], ["ENGIN"]),
        (["ENGINE=lighteval", "MODEL=a b", "HF_HUB_OFFLINE=0", "WORKERS=0", "PYTHON=python3"], []),
    ],
)
def test_make_warns_of_variables_that_it_does_not_read(words, warned):
    ran = subprocess.run(["make", "help", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(ran.stderr.splitlines()) == len(warned)
    assert all(name in ran.stderr for name in warned)
