# SPDX-License-Identifier: Apache-2.0
"""Commands of the guide to evaluation are understood by the scripts that they name, and its tables are complete."""

import argparse
import re
import shlex
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from open_r1.configs.evaluation import EvaluationParameters
from open_r1.evaluation import settings as benchmark_settings
from open_r1.evaluation.benchmarks import SUPPORTED_BENCHMARKS
from open_r1.test_time.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "recipes" / "EVALUATION.md").read_text(encoding="utf-8")
TEXTS = [GUIDE, (ROOT / "README.md").read_text(encoding="utf-8"), (ROOT / "recipes" / "README.md").read_text("utf-8")]


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a script that makes it in `build_parser`."""
    return import_module(f"scripts.{name}").build_parser()


PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "run_benchmarks": lambda: benchmark_settings.build_parser(),
    "test_time_compute": lambda: parser_of("test_time_compute"),
    "compare_evals": lambda: parser_of("compare_evals"),
    "export_inspect_log": lambda: parser_of("export_inspect_log"),
    "compute_optimal": lambda: parser_of("compute_optimal"),
    "upload_details": lambda: parser_of("upload_details"),
    "make_results_tables": lambda: parser_of("make_results_tables"),
}


def find_commands(name: str) -> list[str]:
    """Indented command lines that run a script, with their continuations."""
    lines = [line.strip() for text in TEXTS for line in text.replace("\\\n", " ").splitlines() if line[:4] == "    "]
    return sorted({line for line in lines if line.startswith(f"python scripts/{name}.py ")})


CASES = [(name, command) for name in PARSERS for command in find_commands(name)]


def table_row(name: str) -> str:
    """The row of the guide's tables whose first cell has a name."""
    (row,) = [line for line in GUIDE.splitlines() if line.startswith("| ") and f"`{name}`" in line.split("|")[1]]
    return row


@pytest.mark.parametrize("name", PARSERS)
def test_every_script_has_a_command(name):
    assert find_commands(name)


@pytest.mark.parametrize(("name", "command"), CASES, ids=[f"{name}-{place}" for place, (name, _) in enumerate(CASES)])
def test_command_is_understood(name, command):
    assert PARSERS[name]().parse_args(shlex.split(command, comments=True)[2:])


@pytest.mark.parametrize("benchmark", SUPPORTED_BENCHMARKS.values(), ids=lambda benchmark: benchmark.name)
def test_benchmark_stands_in_the_table_as_in_the_code(benchmark):
    row = table_row(benchmark.name)
    assert row.split("|")[2].strip() == str(benchmark.num_samples)
    assert all(f"`{name}`" in row for name in benchmark.aliases[:1])
    assert benchmark.dataset in row


@pytest.mark.parametrize("method", METHODS)
def test_method_stands_in_the_table(method):
    assert table_row(method)


def test_settings_of_benchmarks_during_a_training_are_there():
    blocks = [
        yaml.safe_load(block) for text in TEXTS for block in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)
    ]
    named = {key for block in blocks for key in block if key.startswith("eval_benchmarks")}
    assert "eval_benchmarks" in named
    assert named <= {entry.name for entry in fields(EvaluationParameters)}


def test_recipes_of_commands_are_there():
    paths = re.findall(r"--config (recipes/\S+)", GUIDE)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
