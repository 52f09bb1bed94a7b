# SPDX-License-Identifier: Apache-2.0
"""compute_pass_rate.py with a real vLLM: a server that is given token ids, and one that the command starts."""

import json
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


def words(model_folder, tmp_path, *more):
    (tmp_path / "named.py").write_text(REWARD)
    return ["--model_name_or_path", str(model_folder), "--dataset_name", str(write_capitals(tmp_path)),
            "--dataset_prompt_column", "problem", "--reward_funcs", f"{tmp_path}/named.py:named_reward",
            "--max_completion_length", "16", "--num_generations", "3", "--output_dir",
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


def test_server_of_the_command_is_asked_and_goes_with_it(model_folder, tmp_path):
    command = words(model_folder, tmp_path, "--serve_args=--enforce-eager", "--max_model_len", "512",
                    "--temperature", "0.01")  # fmt: skip
    with started("scripts/compute_pass_rate.py", *command) as process:
        wait_until(lambda: count_lines(tmp_path / "out" / "generations.jsonl") > 1 or process.poll() is not None)
        children = psutil.Process(process.pid).children(recursive=True)
        assert process.wait() == 0, process.said()
    assert children
    wait_until(lambda: not any(child.is_running() for child in children))
    rows = load_columns(tmp_path / "out", ["pass_rate", "pass_rate_finish_reasons"]).to_pylist()
    assert sum(row["pass_rate"] for row in rows) >= len(CAPITALS) / 2
    assert {reason for row in rows for reason in row["pass_rate_finish_reasons"]} <= {"stop", "length"}
