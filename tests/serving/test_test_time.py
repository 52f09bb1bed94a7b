# SPDX-License-Identifier: Apache-2.0
"""test_time_compute.py with a real vLLM: a server that gives token ids back, and the engine in the process itself."""

import json

import pyarrow.parquet as pq
import pytest

from scripts.test_time_compute import main
from tests.serving.conftest import SERVED
from tests.serving.scripts import write_capitals

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


def attempts_of(folder):
    rows = pq.read_table(folder / "answers.parquet").to_pylist()
    return [{**row, "details": json.loads(row["details"])} for row in rows]


def check_run(folder):
    """Each setting has a point, and no thinking is longer than its budget, with as many parts as it says."""
    results = json.loads((folder / "results.json").read_text())
    assert len(results["points"]) == 1 + 2 * len(BUDGETS)
    assert [entry["control"] for entry in results["forcing"]] == [None, 1.0, 1.0]
    forced = [row for row in attempts_of(folder) if row["setting"].startswith("budget_forcing")]
    assert len(forced) == 4 * 2 * len(BUDGETS)
    for row in forced:
        details = row["details"]
        assert row["thinking_tokens"] == sum(details["part_tokens"]) <= details["budget_tokens"]
        assert ("Final Answer:" in row["answer"]) >= (details["ended_by"] == "budget")
    assert any(row["details"]["waits"] for row in forced)
    assert {row["details"]["ended_by"] for row in forced} >= {"budget"}
    return results


def test_a_server_forces_budgets(server, model_folder, tmp_path):
    flags = words(tmp_path, "--url", server.url, "--model_id", str(model_folder), "--served_model", SERVED)
    assert main(flags) == 0
    (folder,) = tmp_path.glob("out/*/main/capitals-test-time")
    results = check_run(folder)
    assert results["settings"]["served_engine"] == "vllm"
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
        (record,) = attempts_of(next(folder.glob("*/main/capitals-test-time")))
        assert record["details"]["waits"] == num_waits
        assert record["thinking_tokens"] == sum(record["details"]["part_tokens"]) <= 12
        begin, _, rest = record["answer"].partition("<think>\n")
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
    rows = attempts_of(folder)
    by_method = {name: [row for row in rows if row["setting"].startswith(name)] for name in ("best_of_n", "dvts")}
    assert [len(found) for found in by_method.values()] == [2 * 2] * 2
    for row in rows:
        assert all(0 < score <= 1 for score in row["details"]["scores"])
        assert row["total_tokens"] > 0
    assert any(" i" in row["answer"].rstrip()[:-2] for row in by_method["dvts"])  # it went on behind a step's end
    assert json.loads((folder / "results.json").read_text())["settings"]["served_engine"] == "vllm"
    assert main(words) == 0
    assert (folder / "journal.jsonl").read_bytes() == journal
