# SPDX-License-Identifier: Apache-2.0
"""The documents keep their promises: no placeholders, no dead links, recipes and files that are listed."""

import re
import subprocess
from pathlib import Path

import pytest

from open_r1.rewards.user import load_user_reward
from scripts.map import map_lines

ROOT = Path(__file__).resolve().parents[2]
LISTING = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
DOCUMENTS = LISTING.stdout.split()
NUMBER = re.compile(r"(?<![\w.])\d{1,3}\.\d{2,}(?![\w.])")  # two decimals or more: measured


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_has_no_placeholder(name):
    assert re.findall(r"@[A-Z_]{3,}@", (ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_links_lead_somewhere(name):
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / name).read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not ((ROOT / name).parent / target).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "assets" / "benchmarks").glob("*.md")), ids=lambda path: path.name)
def test_measured_table_names_its_command(path):
    assert re.search(r"Made by `python [^`]+`", path.read_text(encoding="utf-8"))


def paragraphs(name: str) -> list[str]:
    """Paragraphs, list items and rows of tables of a document."""
    return re.split(r"\n\n|\n(?=- |\|)", (ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name.startswith(("README", "docs/", "recipes/"))])
def test_numbers_beside_a_measured_table_are_roundings_of_its_numbers(name):
    wrong = []
    for paragraph in paragraphs(name):
        tables = re.findall(r"\(\S*(assets/benchmarks/\w+\.md)\)", paragraph)
        measured = [float(number) for table in tables for number in NUMBER.findall((ROOT / table).read_text("utf-8"))]
        for number in NUMBER.findall(paragraph) if tables else ():
            step = 10.0 ** -len(number.partition(".")[2])
            if not any(abs(value - float(number)) <= step / 2 + 1e-9 for value in measured):
                wrong.append((number, tables))
    assert wrong == []


def test_curation_recipes_are_listed():
    text = (ROOT / "recipes" / "DATA.md").read_text(encoding="utf-8")
    recipes = [str(path.relative_to(ROOT / "recipes")) for path in (ROOT / "recipes").glob("*/curation/*.yaml")]
    assert recipes
    assert [name for name in recipes if f"| `{name}` |" not in text] == []


def test_own_reward_of_the_readme_works(tmp_path):
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("### Own reward")[2]
    code = re.search(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[1]
    (tmp_path / "my_rewards.py").write_text(code, encoding="utf-8")
    reward = load_user_reward(f"{tmp_path}/my_rewards.py:short")
    completions = [[{"role": "assistant", "content": "x" * length}] for length in (2000, 2001)]
    assert reward(completions=completions, solution=["1", "2"]) == [1.0, 0.0]


def test_map_has_a_line_for_every_file():
    package = ROOT / "src" / "open_r1"
    words = {line.split()[0]: line.split()[1:] for line in map_lines(package, is_deep=True)}
    files = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    assert [str(path) for path in files if not words.get(str(path.relative_to(ROOT)))] == []
