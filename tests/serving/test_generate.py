# SPDX-License-Identifier: Apache-2.0
"""generate.py with a real vLLM: one that runs, and one that it starts and stops itself."""

import psutil
import pytest

from open_r1.data.card import read_card
from open_r1.data.folder import load_columns
from open_r1.generate import main
from tests.serving.conftest import SERVED, VLLM_ARGS
from tests.serving.scripts import CAPITALS, started, write_capitals
from tests.waiting import wait_until

pytestmark = pytest.mark.serving
SAMPLING = ["--prompt-column", "problem", "--max-new-tokens", "16"]


def test_model_answers_through_distilabel(server, tmp_path):
    rows, output = write_capitals(tmp_path), tmp_path / "out"
    words = ["--hf-dataset", str(rows), "--model", SERVED, "--vllm-server-url", server.url, *SAMPLING]
    assert main([*words, "--output-dir", str(output), "--temperature", "0", "--num-generations", "2"]) == 0
    table = load_columns(output, ["solution", "generations", "finish_reasons", "api_metadata"]).to_pylist()
    assert len(table) == len(CAPITALS)
    right = [row["solution"] in row["generations"][0] for row in table]
    assert sum(right) >= len(right) / 2
    assert {reason for row in table for reason in row["finish_reasons"]} <= {"stop", "length"}
    assert all(entry["completion_tokens"] <= 16 for row in table for entry in row["api_metadata"])
    assert all(len(row["generations"]) == 2 for row in table)


def test_context_that_is_too_short_is_refused_before_a_request(server, tmp_path, caplog):
    words = ["--hf-dataset", str(write_capitals(tmp_path)), "--model", SERVED, "--vllm-server-url", server.url]
    words += ["--prompt-column", "problem", "--max-new-tokens", "4096", "--output-dir", str(tmp_path / "out")]
    assert main(words) == 1
    assert "context of 1024 tokens" in caplog.text


def test_model_that_is_not_served_is_refused(server, tmp_path, caplog):
    words = ["--hf-dataset", str(write_capitals(tmp_path)), "--model", "other", "--vllm-server-url", server.url]
    assert main([*words, *SAMPLING, "--output-dir", str(tmp_path / "out")]) == 1
    assert f"doesn't serve 'other' but ['{SERVED}']" in caplog.text


def test_server_of_its_own_is_gone_with_a_killed_run_and_at_the_end(model_folder, tmp_path):
    """Killed while vLLM loads, with its engine in a process of its own; then the same command runs to its end."""
    output = tmp_path / "out"
    words = ["--hf-dataset", str(write_capitals(tmp_path)), "--model", str(model_folder), "--serve", *SAMPLING]
    words += [f"--serve-args={' '.join(VLLM_ARGS)}", "--output-dir", str(output)]
    log = output / "vllm.log"
    with started("src/open_r1/generate.py", *words) as process:
        family = psutil.Process(process.pid)

        def has_engine():
            is_said = log.exists() and "EngineCore" in log.read_text()
            return is_said and len(family.children(recursive=True)) >= 3  # minder, server, engine

        wait_until(lambda: has_engine() or process.poll() is not None)
        assert process.poll() is None, process.said()
        children = family.children(recursive=True)
        assert len(children) >= 3
        process.kill()
        process.wait()
        wait_until(lambda: not any(child.is_running() for child in children))
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    assert main(words) == 0
    card = read_card(output)
    assert (card.counts, card.steps[-1].detail["errors"]) == ({"train": len(CAPITALS)}, 0)
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before
