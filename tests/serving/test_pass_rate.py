# SPDX-License-Identifier: Apache-2.0
"""compute_pass_rate.py with a real vLLM: a server that is given token ids, and one that the command starts."""

import json
import os
import signal
import urllib.request

import psutil
import pytest

from open_r1.data.folder import load_columns
from scripts.compute_pass_rate import main
from tests.serving.conftest import SERVED
from tests.serving.scripts import CAPITALS, count_lines, started, write_capitals
from tests.waiting import wait_until

pytestmark = pytest.mark.serving

REWARD = """
def named_reward(completions, solution, **columns):
    return [float(gold in completion[0]["content"]) for completion, gold in zip(completions, solution, strict=True)]
"""


def words(model_folder, tmp_path, *more, num_generations=3):
    (tmp_path / "named.py").write_text(REWARD)
    return ["--model_name_or_path", str(model_folder), "--dataset_name", str(write_capitals(tmp_path)),
            "--dataset_prompt_column", "problem", "--reward_funcs", f"{tmp_path}/named.py:named_reward",
            "--max_completion_length", "16", "--num_generations", str(num_generations), "--output_dir",
            str(tmp_path / "out"), *more]  # fmt: skip


def chat(server, problem: str) -> str:
    """What the server answers when it applies its own template."""
    body = {"model": SERVED, "messages": [{"role": "user", "content": problem}], "temperature": 0, "max_tokens": 16}
    request = urllib.request.Request(
        f"{server.url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)["choices"][0]["message"]["content"]


def test_server_completes_our_rendering_as_it_would_its_own(server, model_folder, tmp_path):
    assert main(words(model_folder, tmp_path, "--server", server.url, "--temperature", "0.01")) == 0
    rows = load_columns(tmp_path / "out", ["problem", "pass_rate", "pass_rate_generations"]).to_pylist()
    assert len(rows) == len(CAPITALS)
    assert sum(row["pass_rate"] for row in rows) >= len(rows) / 2
    assert [chat(server, row["problem"]) for row in rows] == [row["pass_rate_generations"][0] for row in rows]


def test_sampled_completions_of_a_row_differ(server, model_folder, tmp_path):
    assert main(words(model_folder, tmp_path, "--server", server.url, "--temperature", "1.0")) == 0
    rows = load_columns(tmp_path / "out", ["pass_rate_generations", "pass_rate_num_tokens"]).to_pylist()
    assert any(len(set(row["pass_rate_generations"])) > 1 for row in rows)
    assert all(0 < length <= 16 for row in rows for length in row["pass_rate_num_tokens"])


def test_server_of_the_command_goes_with_it_and_its_answers_stay(model_folder, tmp_path):
    num_generations = 8  # so many that the kill comes before the last one, however late it is
    command = words(
        model_folder,
        tmp_path,
        "--serve_args=--enforce-eager",
        "--max_model_len",
        "512",
        "--max_concurrent",
        "4",
        "--temperature",
        "0.01",
        num_generations=num_generations,
    )
    journal = tmp_path / "out" / "generations.jsonl"
    with started("scripts/compute_pass_rate.py", *command) as process:
        wait_until(lambda: count_lines(journal) >= 6 or process.poll() is not None)
        children = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not any(child.is_running() for child in children))
        output = process.said()
    kept = journal.read_text().splitlines()[1:]
    assert 5 <= len(kept) < num_generations * len(CAPITALS), output
    with started("scripts/compute_pass_rate.py", *command) as process:
        assert process.wait() == 0, process.said()
    rows = load_columns(tmp_path / "out", ["pass_rate", "pass_rate_generations", "pass_rate_finish_reasons"])
    texts = [text for row in rows["pass_rate_generations"].to_pylist() for text in row]
    assert len(texts) == num_generations * len(CAPITALS)
    assert {json.loads(line)["text"] for line in kept if line.endswith("}")} <= set(texts)
    assert sum(rows["pass_rate"].to_pylist()) >= len(CAPITALS) / 2
    assert {reason for row in rows["pass_rate_finish_reasons"].to_pylist() for reason in row} <= {"stop", "length"}
