# SPDX-License-Identifier: Apache-2.0
"""What the tests of generate.py share: rows, its command line, its processes."""

import contextlib
import json
import os
import subprocess
import sys

import psutil

from open_r1.data.folder import load_columns
from tests.conftest import ROOT
from tests.integration.fakes.chat_server import MODEL

COLUMNS = ("generation", "distilabel_metadata", "model_name")


def write_rows(folder, prompts, **columns):
    """Rows with these prompts, numbered by `id`."""
    path = folder / "rows.jsonl"
    rows = [{"id": number, "prompt": prompt} | columns for number, prompt in enumerate(prompts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def words(rows, output, url, *more):
    """The command line, for a server at a URL."""
    return [
        "--hf-dataset",
        str(rows),
        "--output-dir",
        str(output),
        "--model",
        MODEL,
        "--vllm-server-url",
        f"{url}/v1",
        *more,
    ]


def read(folder):
    """The rows of a finished folder by id."""
    rows = load_columns(folder, ["id", "prompt", *COLUMNS]).to_pylist()
    return {row["id"]: row for row in rows}


@contextlib.contextmanager
def started(command):
    """The script in a process of its own; killed with its children at the end."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    script = [sys.executable, str(ROOT / "src" / "open_r1" / "generate.py"), *command]
    process = subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def processes_of(folder):
    """Processes whose command line names a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(folder) in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
