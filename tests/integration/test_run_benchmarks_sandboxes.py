# SPDX-License-Identifier: Apache-2.0
"""Verdicts of `scripts/run_benchmarks.py` on programs are those of one sandbox and its limits, and say which."""

import json

import pytest

from scripts.run_benchmarks import main
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.fakes.piston_server import PistonServer

SUM = "a, b = map(int, input().split())\nprint(a + b)"
# Uses about half a second of the processor before it is right.
BUSY = f"import time\nwhile time.process_time() < 0.5:\n    pass\n{SUM}"
LARGE = f"x = b'x' * (300 << 20)\n{SUM}"


@pytest.fixture
def evaluate(tmp_path):
    """Return what runs the script on one problem, and returns the results."""
    info = {"language": "python", "test_cases": [{"type": "stdin_stdout", "input": "1 2", "output": "3"}]}
    path = tmp_path / "sums.jsonl"
    path.write_text(json.dumps({"problem": "Add.", "verification_info": json.dumps(info)}) + "\n", encoding="utf-8")

    def evaluate(server, *flags, status=0):
        words = [
            "--url",
            server.address,
            "--data",
            str(path),
            "--output_dir",
            str(tmp_path / "out"),
            "--num_samples",
            "1",
            *map(str, flags),
        ]
        assert main(words) == status
        return json.loads((tmp_path / "out" / MODEL / "main" / "sums" / "results.json").read_text())

    return evaluate


def answers(program):
    return ChatServer(lambda body, attempt: Reply(f"```python\n{program}\n```"))


def test_another_sandbox_judges_again_and_asks_nothing(evaluate, monkeypatch):
    with answers(SUM) as server, PistonServer(runtimes=("python",)) as piston:
        here = evaluate(server)
        monkeypatch.setenv("PISTON_ENDPOINTS", piston.url)
        jobs = len(piston.jobs)
        there = evaluate(server, "--code_provider", "piston", "--sandbox_patience_s", 1.71)
        assert len(piston.jobs) - jobs == 1
        assert len(server.requests) == 1
    assert here["settings"]["sandbox"]["provider"] == "local"
    assert there["settings"]["sandbox"]["provider"] == "piston"
    assert here["metrics"]["avg@1"] == there["metrics"]["avg@1"] == 1.0


@pytest.mark.parametrize(
    ("program", "flag", "low", "high", "verdict"),
    [(BUSY, "--code_test_timeout_s", 0.2, 20, "timeout"), (LARGE, "--code_memory_mb", 100, 1000, "crash")],
)
def test_a_verdict_is_not_taken_over_from_another_limit(evaluate, program, flag, low, high, verdict):
    with answers(program) as server:
        assert evaluate(server, flag, low)["counts"]["verdicts"] == {verdict: 1}
        assert evaluate(server, flag, high)["counts"]["verdicts"] == {"right": 1}
        assert evaluate(server, flag, low)["counts"]["verdicts"] == {verdict: 1}
        assert len(server.requests) == 1


def test_what_the_sandbox_fails_at_once_is_no_wrong_answer(evaluate, monkeypatch):
    def answer(body, attempt):
        piston.troubles = ["xx"]
        return Reply(f"```python\n{SUM}\n```")

    with ChatServer(answer) as server, PistonServer(runtimes=("python",)) as piston:
        monkeypatch.setenv("PISTON_ENDPOINTS", piston.url)
        results = evaluate(server, "--code_provider", "piston", "--sandbox_patience_s", 1.72)
        assert not piston.troubles
    assert results["counts"]["verdicts"] == {"right": 1}
