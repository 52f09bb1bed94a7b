# SPDX-License-Identifier: Apache-2.0
"""generate.py with a real vLLM."""

import pytest

from open_r1.data.folder import load_columns
from open_r1.generate import main
from tests.serving.conftest import SERVED
from tests.serving.scripts import CAPITALS, write_capitals

pytestmark = pytest.mark.serving


def test_model_answers_through_distilabel(server, tmp_path):
    words = ["--hf-dataset", str(write_capitals(tmp_path)), "--model", SERVED, "--vllm-server-url", server.url]
    words += ["--prompt-column", "problem", "--max-new-tokens", "16", "--num-generations", "2"]
    words += ["--temperature", "0.1"]  # at 0 vLLM refuses more than one generation
    assert main([*words, "--output-dir", str(tmp_path / "out")]) == 0
    table = load_columns(tmp_path / "out", ["solution", "generation", "distilabel_metadata"]).to_pylist()
    assert len(table) == len(CAPITALS)
    right = [row["solution"] in row["generation"][0] for row in table]
    assert sum(right) >= len(right) / 2
    used = [entry["statistics_text_generation_0"] for row in table for entry in row["distilabel_metadata"]]
    assert all(0 < entry["output_tokens"] <= 32 for entry in used)
    assert all(len(row["generation"]) == 2 for row in table)
