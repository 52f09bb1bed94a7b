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
    return [
        "--data",
        str(write_capitals(tmp_path)),
        "--prompt_template",
        "{prompt}",
        "--limit",
        "4",
        "--methods",
        "greedy",
        "budget_forcing",
        "--budgets",
        *map(str, BUDGETS),
        "--num_waits",
        "0",
        "2",
        *S1,
        "--max_tokens",
        "16",
        "--answer_reserve_tokens",
        "16",
        "--output_dir",
        str(tmp_path / "out"),
        *more,
    ]


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


def test_a_server_ends_thinking_at_a_text_that_no_token_spells(server, model_folder, tmp_path):
    """The text is part of what this server says, of which another machine's may say something else."""

    def thought(end, num_waits):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        flags = ["--data", write_capitals(tmp_path), "--prompt_template", "{prompt}", "--limit", 1, "--url",
                 server.url, "--model_id", model_folder, "--served_model", SERVED, "--output_dir", folder,
                 "--max_tokens", 24, "--methods", "budget_forcing", "--budgets", 12, "--num_waits", num_waits,
                 "--thinking_start", "<think>\n", f"--thinking_end={end}"]  # fmt: skip
        assert main(list(map(str, flags))) == 0
        (journal,) = folder.glob("*/main/capitals-test-time/journal.jsonl")
        record = json.loads(journal.read_text().splitlines()[1])
        assert record["details"]["waits"] == num_waits
        assert record["thinking_tokens"] == sum(record["details"]["segment_tokens"]) <= 12
        begin, _, rest = record["text"].partition("<think>\n")
        assert begin == ""
        return rest.partition("\n</think>")[0]

    said = thought("not said", 0)
    middle = len(said) // 2
    end = said[middle - 4 : middle + 4]
    before = said[: said.index(end)]
    assert thought(end, 0) == before
    assert thought(end, 1).startswith(f"{before}Wait")


def test_a_server_searches_and_chooses(server, model_folder, tmp_path):
    (tmp_path / "scorer.py").write_text(SCORER)
    flags = ["--data", write_capitals(tmp_path), "--prompt_template", "{prompt}", "--limit", 2, "--url", server.url,
             "--model_id", model_folder, "--served_model", SERVED, "--output_dir", tmp_path / "out",
             "--max_tokens", 24, "--methods", "best_of_n", "dvts", "--n", 2, 4, "--beam_width", 2, "--choices", "max",
             "--scorer", f"{tmp_path}/scorer.py:by_steps", "--step_separator", " i", "--max_steps", 4,
             "--max_step_tokens", 8]  # fmt: skip
    words = list(map(str, flags))
    assert main(words) == 0
    (folder,) = tmp_path.glob("out/*/main/capitals-test-time")
    journal = (folder / "journal.jsonl").read_bytes()
    records = [json.loads(line) for line in journal.splitlines()[1:]]
    by_method = {name: [record for record in records if record["method"] == name] for name in ("best_of_n", "dvts")}
    assert [len(found) for found in by_method.values()] == [2 * 2] * 2
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
    flags = words(
        tmp_path, "--model_id", str(model_folder), "--backend", "vllm", "--enforce_eager", "--max_model_len", "512"
    )
    with started("scripts/test_time_compute.py", *flags) as process:
        assert process.wait() == 0, process.said()
    (folder,) = tmp_path.glob("out/*/main/capitals-test-time")
    results = check_run(folder)
    assert results["settings"]["backend"] == "vllm"
    assert any(name.startswith("vllm") for name in results["settings"]["engine_versions"][0])
