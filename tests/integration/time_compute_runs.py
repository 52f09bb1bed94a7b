# SPDX-License-Identifier: Apache-2.0
"""Short runs of `scripts/test_time_compute.py`: their command lines, and what they leave in their folders."""

import json
from pathlib import Path
from typing import Any


def command_line(model: Path | None, data: Path, output_dir: Path, *flags: object) -> list[str]:
    """Return the words of a run of transformers in the process, or without a model of the server in `flags`."""
    named = [] if model is None else ["--model_id", str(model), "--backend", "transformers"]
    return [
        *named,
        "--data",
        str(data),
        "--prompt_template",
        "{prompt}=",
        "--max_tokens",
        "6",
        "--output_dir",
        str(output_dir),
        *map(str, flags),
    ]


def folder_of(tmp_path: Path, name: str = "sums") -> Path:
    """Return the folder of the only model's results."""
    (folder,) = tmp_path.glob(f"out/*/main/{name}-test-time")
    return folder


def results_of(tmp_path: Path, name: str = "sums") -> dict[str, Any]:
    """Return what is in `results.json`."""
    return json.loads((folder_of(tmp_path, name) / "results.json").read_text())


def records_of(folder: Path) -> list[dict[str, Any]]:
    """Return the attempts of a journal."""
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()[1:]]


def num_lines(tmp_path: Path) -> int:
    """Return how many lines the journal has; 0: there is none."""
    return sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("out/*/main/sums-test-time/journal.jsonl"))
