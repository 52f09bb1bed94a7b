# SPDX-License-Identifier: Apache-2.0
"""The documents keep their promises: no placeholders, no dead links, a README that can be read in one go."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from open_r1.dataio.layouts import list_layouts
from open_r1.dataio.sources import open_source

ROOT = Path(__file__).resolve().parents[2]
LISTING = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
DOCUMENTS = LISTING.stdout.split()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_has_no_placeholder(name):
    assert re.findall(r"@[A-Z_]{3,}@", (ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_links_lead_somewhere(name):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / name).read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not ((ROOT / name).parent / target).exists()] == []


def test_readme_is_short():
    assert "README.md" in DOCUMENTS
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.parametrize("path", sorted((ROOT / "assets" / "benchmarks").glob("*.md")), ids=lambda path: path.name)
def test_measured_table_names_its_command(path):
    assert re.search(r"Made by `python [^`]+`", path.read_text(encoding="utf-8"))


def test_table_of_layouts_is_the_one_in_the_code():
    assert list_layouts() in (ROOT / "recipes" / "DATA.md").read_text(encoding="utf-8")


def test_curation_recipes_are_listed():
    text = (ROOT / "recipes" / "DATA.md").read_text(encoding="utf-8")
    recipes = [str(path.relative_to(ROOT / "recipes")) for path in (ROOT / "recipes").glob("*/curation/*.yaml")]
    assert recipes
    assert [name for name in recipes if f"| `{name}` |" not in text] == []


def test_readme_leads_from_rows_to_a_training_set(tmp_path):
    """Run the first two commands of the README's example, in a folder of their own."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^    python (scripts/(?:decontaminate|curate)\.py .*)$", readme, re.MULTILINE)
    assert len(commands) == 2
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for command in commands:
        words = command.split()
        run = subprocess.run([sys.executable, str(ROOT / words[0]), *words[1:]], cwd=tmp_path, env=environment,
                             capture_output=True, text=True, check=False)  # fmt: skip
        assert run.returncode == 0, run.stderr
    rows = list(open_source(str(tmp_path / "data" / "sums_curated")).rows())
    assert len(rows) == 190
    assert all([message["role"] for message in row["messages"]] == ["user", "assistant"] for row in rows)
