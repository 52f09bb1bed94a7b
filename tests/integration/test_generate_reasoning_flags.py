# SPDX-License-Identifier: Apache-2.0
"""Command lines of `scripts/generate_reasoning.py` that cannot work, and how flags are spelled."""

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.generate_reasoning import main
from tests.integration.fakes.chat_server import ChatServer
from tests.integration.reasoning_runs import SCRIPT, generate, write_rows


@pytest.fixture(scope="module")
def server():
    with ChatServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    """A folder with rows.jsonl, of six problems."""
    write_rows(tmp_path / "rows.jsonl", 6)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--uuid-column", "id"], "'id'"),
        (["--prompt-column", "question"], "'question'"),
        (["--uuid-column", "same"], "'same'"),
        (["--turns-column", "problem"], "one of the two"),
        (["--prompt-template", "Solve it."], "has no {prompt}"),
        (["--extra-body", "{top_k: 1}"], "--extra-body is no JSON"),
        (["--extra-body", '{"messages": []}'], "extra_body sets ['messages']"),
        (["--api-key-env", "OPEN_R1_NO_SUCH_KEY"], "OPEN_R1_NO_SUCH_KEY, named by --api-key-env, is not set"),
        (["--max-tokens", "32768"], "context of 32768 tokens"),
        (["--model", "other"], "doesn't serve 'other'"),
        (["--split", "test"], "test"),
        (["--output-file", "rows.parquet"], "--drop-columns"),
    ],
)
def test_a_command_that_cannot_work_is_refused_before_the_first_request(folder, server, flags, said, capsys):
    source = "rows.jsonl"
    if "same" in flags:
        write_rows(folder / "rows.jsonl", 6, same=1)
    if "--output-file" in flags:
        pq.write_table(pa.table({"uuid": ["a"], "problem": ["1+1"], "raw": [b"\x00"]}), folder / "rows.parquet")
        source, flags = "rows.parquet", ["--output-file", str(folder / "out.jsonl")]
    before = len(server.requests)
    assert generate(folder, server.address, *flags, source=source) == 1
    assert said in capsys.readouterr().err
    assert len(server.requests) == before
    assert not (folder / "out" / "card.json").exists()


def test_a_start_that_failed_binds_nobody(folder, server, capsys):
    assert generate(folder, server.address, "--model", "other") == 1
    assert "'other'" in capsys.readouterr().err
    assert generate(folder, server.address) == 0


def test_a_source_with_columns_of_our_names_is_refused(folder, server, capsys):
    write_rows(folder / "rows.jsonl", 6, generations=["old"])
    assert generate(folder, server.address) == 1
    assert "The rows have columns ['generations']" in capsys.readouterr().err
    assert generate(folder, server.address, "--drop-columns", "generations") == 0


def test_no_output_is_refused(folder, server, capsys):
    argv = ["--dataset-name", str(folder / "rows.jsonl"), "--prompt-column", "problem", "--api-addr", server.address]
    assert main(argv) == 1
    assert "--output-dir, or --output-file" in capsys.readouterr().err


def test_help_comes_without_heavy_imports_and_names_every_flag():
    command = [sys.executable, "-X", "importtime", str(SCRIPT), "--help"]
    asked = subprocess.run(command, capture_output=True, text=True, check=True)
    shown, imported = asked.stdout, {line.rpartition("|")[2].strip() for line in asked.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"torch", "transformers", "datasets", "pandas", "distilabel"}
    for flag in (
        "--dataset-name",
        "--output-file",
        "--uuid-column",
        "--api-addr",
        "--max-concurrent",
        "--retry-errors",
    ):
        assert flag in shown
