# SPDX-License-Identifier: Apache-2.0
"""Which tests this machine can run, and the table that they fill in row by row: a run that is cut off leaves its rows.

`@pytest.mark.gpu` takes `at_least`, the number of GPUs (1), and `on_a_cpu`, what shows the same without a GPU: such a
test has no stand-in here. A test says what it has shown by `record_property("figures", text)`; the first line of its
docstring is its row.
"""

import os
import platform
import subprocess
from collections.abc import Generator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.gpu.launches import Models, ask_driver
from tests.switches import is_on

NUM_GPUS = torch.cuda.device_count()
PACKAGES = ("torch", "transformers", "trl", "vllm", "deepspeed", "flash-attn", "liger-kernel")
MOST_CHARACTERS = 120  # of an error in the table


@dataclass
class Row:
    """What is known of a test so far."""

    shown: str
    verdict: str = "not yet run"
    seconds: float = 0.0
    figures: str = ""

    def __str__(self) -> str:
        seconds = f"{self.seconds:.0f}" if self.seconds else ""
        cells = (self.shown, self.verdict, seconds, self.figures)
        return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


ROWS: dict[str, Row] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this machine cannot run, and give every test a row."""
    left_out = []
    are_stand_ins = is_on("OPEN_R1_GPU_STAND_INS", "tests/gpu on a CPU, as far as that goes")
    for item in items:
        if item.path.parent != Path(__file__).parent:
            continue
        row = ROWS[item.nodeid] = Row(item.function.__doc__.splitlines()[0].removesuffix("."))
        marks = {name: value for mark in item.iter_markers("gpu") for name, value in mark.kwargs.items()}
        needed = marks.get("at_least", 1)
        if not NUM_GPUS and not are_stand_ins:
            item.add_marker(pytest.mark.skip(reason="needs a GPU: make test_gpu"))
        elif not NUM_GPUS and "on_a_cpu" in marks:
            row.verdict = f"not run on a CPU: {marks['on_a_cpu']}"
            left_out.append(item)
        elif 0 < NUM_GPUS < needed:
            row.verdict = f"not run: needs {needed} GPUs"
            left_out.append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write the table again after each part of a test."""
    report = yield
    row = ROWS[item.nodeid]
    row.seconds += report.duration
    row.figures = dict(report.user_properties).get("figures", row.figures)
    if report.failed:
        lines = report.longreprtext.splitlines()
        error = next((line[1:].strip() for line in lines if line.startswith("E ")), lines[-1] if lines else "")
        row.verdict = f"FAILED: {error[:MOST_CHARACTERS]}"
    elif report.skipped:
        row.verdict = f"not run: {report.longrepr[2]}"
    elif report.when == "call":
        row.verdict = "shown"
    if "OPEN_R1_GPU_TABLE" in os.environ:
        write_table(ROOT / os.environ["OPEN_R1_GPU_TABLE"])
    return report


def write_table(path: Path) -> None:
    """Replace the table, so that it is whole at every moment."""
    lines = ["# A first hour with a GPU", "", describe_machine(), "", "| shown | verdict | s | figures |"]
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".tmp")
    staging.write_text("\n".join([*lines, "|---|---|---|---|", *map(str, ROWS.values())]) + "\n", encoding="utf-8")
    staging.replace(path)


def describe_machine() -> str:
    """Return one sentence with the device, its driver, the versions and the command."""
    device = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, no GPU"
    if NUM_GPUS:
        device = f"{NUM_GPUS} x {ask_driver('name')}, driver {ask_driver('driver_version')}"
    versions = ", ".join(f"{name} {version_of(name)}" for name in PACKAGES)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    command = os.environ.get("OPEN_R1_GPU_COMMAND", "python -m pytest tests/gpu")
    python = platform.python_version()
    return f"Made by `{command}`; commit {commit or 'unknown'}; {device}; Python {python}, {versions}."


def version_of(name: str) -> str:
    """Return the version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Models:
    """SmolLM2, and what is built from configs."""
    folder = ROOT / os.environ.get("SMOLLM2", "data/models/SmolLM2-135M-Instruct")
    if not (folder / "config.json").is_file():
        pytest.fail(f"{folder} is not there: run `make model`, or all of it by `make test_gpu`")
    return Models(folder, tmp_path_factory.mktemp("models"))
