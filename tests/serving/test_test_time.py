# SPDX-License-Identifier: Apache-2.0
"""test_time_compute.py with a real vLLM: a server that gives token ids back, and the engine in the process itself."""

import json

import pytest

from scripts.test_time_compute import main
from tests.serving.conftest import SERVED
from tests.serving.scripts import started, write_capitals

pytestmark = pytest.mark.serving

BUDGETS = (0, 12, 40)
# Of a model that knows no thinking: what s1's layout makes of it is as good as any.
S1 = ("--thinking_start", "<|im_start|>think", "--thinking_end", "<|im_start|>answer")


def words(tmp_path, *more):
    return ["--data", str(write_capitals(tmp_path)), "--prompt_template", "{prompt}", "--limit", "4", "--methods",
            "greedy", "budget_forcing", "--budgets", *map(str, BUDGETS), "--num_waits", "0", "2", *S1, "--max_tokens",
            "16", "--answer_reserve_tokens", "16", "--output_dir", str(tmp_path / "out"), *more]  # fmt: skip


def check_run(folder):
    """Each setting has a point, and no thinking is longer than its budget, with as many parts as it says."""
    results = json.loads((folder / "results.json").read_text())
    assert len(results["points"]) == 1 + 2 * len(BUDGETS)
    assert [entry["control"] for entry in results["forcing"]] == [None, 1.0, 1.0]
    records = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()[1:]]
    forced = [record for record in records if record["method"] == "budget_forcing"]
    assert len(forced) == 4 * 2 * len(BUDGETS)
    for record in forced:
        details = record["details"]
        assert record["thinking_tokens"] == sum(details["segment_tokens"]) <= record["values"]["budget"]
        assert details["waits"] <= record["values"]["num_waits"]
        assert ("Final Answer:" in record["text"]) >= (details["ended_by"] == "budget")
    assert any(record["details"]["waits"] for record in forced)
    assert {record["details"]["ended_by"] for record in forced} >= {"budget"}
    return results


def test_a_server_forces_budgets(server, model_folder, tmp_path):
    flags = words(tmp_path, "--url", server.url, "--model_id", str(model_folder), "--served_model", SERVED)
    assert main(flags) == 0
    (folder,) = tmp_path.glob("out/*/main/capitals-test-time")
    results = check_run(folder)
    assert results["settings"]["backend"] == "openai"
    journal = (folder / "journal.jsonl").read_bytes()
    assert main(flags) == 0
    assert (folder / "journal.jsonl").read_bytes() == journal


SCORER = """
def by_steps(problems, steps, **more):
    return [[1 / (1 + len(one)) for one in trace] for trace in steps]
"""


def test_a_server_searches_chooses_and_ends_at_a_text(server, model_folder, tmp_path):
    """Steps end at a text within a token, the thinking at one that no token spells: the model says " capital of"."""
    (tmp_path / "scorer.py").write_text(SCORER)
    flags = ["--data", write_capitals(tmp_path), "--prompt_template", "{prompt}", "--limit", 2, "--url", server.url,
             "--model_id", model_folder, "--served_model", SERVED, "--output_dir", tmp_path / "out",
             "--max_tokens", 24, "--methods", "budget_forcing", "best_of_n", "dvts", "--budgets", 12,
             "--num_waits", 0, 1, "--thinking_start", "<think>\n", "--thinking_end", "capital of", "--n", 2, 4,
             "--beam_width", 2, "--choices", "max", "--scorer", f"{tmp_path}/scorer.py:by_steps",
             "--step_separator", " i", "--max_steps", 4, "--max_step_tokens", 8]  # fmt: skip
    words = list(map(str, flags))
    assert main(words) == 0
    (folder,) = tmp_path.glob("out/*/main/capitals-test-time")
    journal = (folder / "journal.jsonl").read_bytes()
    records = [json.loads(line) for line in journal.splitlines()[1:]]
    by_method = {name: [record for record in records if record["method"] == name]
                 for name in ("budget_forcing", "best_of_n", "dvts")}  # fmt: skip
    assert [len(found) for found in by_method.values()] == [2 * 2] * 3
    for record in by_method["budget_forcing"]:
        thought = record["text"].partition("</think>")[0]
        assert "capital of" not in thought
        assert record["details"]["waits"] == record["values"]["num_waits"] <= thought.count("Wait")
        assert record["thinking_tokens"] == sum(record["details"]["segment_tokens"]) <= 12
        assert record["details"]["segment_tokens"][0] == 4  # "\n", "The", " capital", " of"
        assert thought.startswith("<think>\n\nThe ")
    for record in by_method["best_of_n"]:
        assert len(record["details"]["scores"]) == 4
        assert 0 < record["thinking_tokens"] <= record["total_tokens"] <= 24 * record["values"]["n"]
    for record in by_method["dvts"]:
        assert len(record["details"]["scores"]) == record["values"]["n"]
        assert all(0 < score <= 1 for score in record["details"]["scores"])
        assert record["total_tokens"] > 0
    assert any(" i" in record["text"].rstrip()[:-2] for record in by_method["dvts"])  # it went on behind a step's end
    assert json.loads((folder / "results.json").read_text())["settings"]["served_engine"] == "vllm"
    assert main(words) == 0
    assert (folder / "journal.jsonl").read_bytes() == journal


def test_the_engine_in_the_process_forces_budgets(model_folder, tmp_path):
    flags = words(tmp_path, "--model_id", str(model_folder), "--backend", "vllm", "--enforce_eager",
                  "--max_model_len", "512")  # fmt: skip
    with started("scripts/test_time_compute.py", *flags) as process:
        output = process.stdout.read()
        assert process.wait() == 0, output
    (folder,) = tmp_path.glob("out/*/main/capitals-test-time")
    results = check_run(folder)
    assert results["settings"]["backend"] == "vllm"
    assert any(name.startswith("vllm") for name in results["settings"]["engine_versions"][0])
