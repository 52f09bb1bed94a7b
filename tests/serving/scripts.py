# SPDX-License-Identifier: Apache-2.0
"""What the tests here share: rows, scripts as processes, and the wait until something is so."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT

CAPITALS = {"France": "Paris", "Italy": "Rome", "Japan": "Tokyo", "Spain": "Madrid", "Egypt": "Cairo",
            "Greece": "Athens", "Russia": "Moscow", "Germany": "Berlin"}  # fmt: skip


def write_capitals(folder: Path) -> Path:
    """Questions that the model mostly knows the answers of, one file of JSON lines."""
    path = folder / "capitals.jsonl"
    rows = [{"id": land, "problem": f"What is the capital of {land}?", "solution": town}
            for land, town in CAPITALS.items()]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@contextlib.contextmanager
def started(script: str, *words: str):
    """A script of the repository in a process of its own, killed at the end."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(ROOT / script), *words]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition, timeout_s: float = 120.0) -> None:
    """Wait until a condition holds, a minute or two at most."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def count_lines(path: Path) -> int:
    """Lines of a file, 0 where there is none."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
