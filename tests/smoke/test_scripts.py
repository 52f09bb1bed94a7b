# SPDX-License-Identifier: Apache-2.0
"""Every script says how it is used. The ones in Python all in this process, so that torch is imported once."""

import doctest
import runpy
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = [
    path
    for folder in ("scripts", "src/open_r1")
    for path in sorted((ROOT / folder).glob("*.py"))
    if "__main__" in path.read_text(encoding="utf-8")
]
WITH_EXAMPLES = [path for path in (ROOT / "scripts").glob("*.py") if "\n    >>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_script_shows_its_help(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(path), run_name="__main__")
    assert stop.value.code in (0, None)
    assert "--" in capsys.readouterr().out


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.name)
def test_examples_of_scripts_are_right(path):
    assert doctest.testmod(import_module(f"scripts.{path.stem}"), optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0
