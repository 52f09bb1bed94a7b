# SPDX-License-Identifier: Apache-2.0
"""Runs of `scripts/generate_reasoning.py` for the tests of it: rows, command lines, what the stub answers."""

import json
import subprocess
import sys
from pathlib import Path

from open_r1.data.sources import open_source
from scripts.generate_reasoning import main
from tests.integration.fakes.chat_server import answer_of

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "generate_reasoning.py"


def write_rows(path, count, **columns):
    rows = [{"uuid": f"id-{n}", "problem": f"Compute {n}+1", "solution": str(n + 1), **columns} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def words(
    folder, address, *flags, prompt=("--prompt-column", "problem", "--uuid-column", "uuid"), source="rows.jsonl"
):
    """A command line."""
    where = ["--dataset-name", str(folder / source), "--output-dir", str(folder / "out"), "--api-addr", address]
    return [*where, *prompt, "--num-generations", "2", "--seed", "0", "--prompt-template", "{prompt}", *flags]


def generate(folder, address, *flags, **options):
    """The exit code of the script, run in this process."""
    return main(words(folder, address, *flags, **options))


def rows_of(folder, name="out"):
    return list(open_source(str(folder / name)).rows())


def answers(number, count=2, template="Compute {}+1"):
    """What the stub answers to a row."""
    messages = [{"role": "user", "content": template.format(number)}]
    return [answer_of(messages, seed) for seed in range(count)]


def start(folder, address, *flags, **options):
    """The script in a process of its own."""
    command = [sys.executable, str(SCRIPT), *words(folder, address, *flags)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
