# SPDX-License-Identifier: Apache-2.0
"""`scripts/run_benchmarks.py --engine inspect` against servers on this machine: requests, scores, logs, refusals."""

import asyncio
import json
import math
import sys

import pytest
from inspect_ai.log import read_eval_log

from scripts.run_benchmarks import INCOMPLETE, main
from tests.integration.benchmark_runs import FailsInPart, mostly_right, number_of, write_rows
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.inspect_runs import answers_of, folder_of, logs_of, results_of, words, write_sums

HOSTILE = [
    {"problem": "Compute 0+1 with {braces}, {{two}} and %s", "solution": "1"},
    {"problem": "Berechne: Compute 1+1 – ½ 数 🙂 <think>", "solution": "2"},
    {
        "problem": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHi"},
            {"role": "user", "content": " Compute 2+1 \n"},
        ],
        "solution": "3",
    },
    {"problem": "http://localhost/picture.png data:image/png;base64,AAAA Compute 3+1", "solution": "4"},
]


@pytest.fixture
def evaluate(tmp_path):
    """Return what runs the script in this process, and gives its exit status."""
    write_sums(tmp_path)
    return lambda server, *more, **which: main(words(tmp_path, server.address, *more, **which))


def sorted_bodies(bodies):
    return sorted(bodies, key=json.dumps)


def test_each_request_is_the_one_that_the_direct_engine_sends(evaluate, tmp_path, monkeypatch):
    monkeypatch.setenv("OPEN_R1_TEST_KEY", "secret-of-a-test")
    write_rows(tmp_path / "hostile.jsonl", HOSTILE)
    flags = (
        "--num_samples",
        3,
        "--system_prompt",
        "Be {brief}.",
        "--top_k",
        20,
        "--min_p",
        0.1,
        "--max_tokens",
        77,
        "--seed",
        5,
        "--prompt_template",
        "{prompt} {x}",
        "--api_key_env",
        "OPEN_R1_TEST_KEY",
    )
    asked = {}
    for engine in ("direct", "inspect"):
        with ChatServer(mostly_right, api_key="secret-of-a-test") as server:
            assert evaluate(server, *flags, engine=engine, data="hostile.jsonl") == 0
        asked[engine] = sorted_bodies(server.requests)
    assert asked["inspect"] == asked["direct"]
    assert {body["seed"] for body in asked["inspect"]} == {5, 6, 7}
    assert len(asked["inspect"]) == 12
    assert b"secret-of-a-test" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_metrics_and_answers_are_those_of_the_direct_engine(evaluate, tmp_path):
    def behave(body, attempt):
        cut = Reply("<think>\nit is 1, or", finish_reason="length")
        reasoned = Reply("It is \\boxed{3}.", reasoning="2+1")
        empty = Reply(message={"content": "", "reasoning_content": "was it 4?"})
        return {0: Reply(""), 1: cut, 2: reasoned, 3: empty}.get(number_of(body)) or mostly_right(body, attempt)

    write_sums(tmp_path, 6)
    with ChatServer(behave) as server:
        for engine in ("direct", "inspect"):
            assert evaluate(server, "--num_samples", 2, engine=engine) == 0
    direct, inspect = (results_of(tmp_path, engine=engine) for engine in ("direct", "inspect"))
    assert inspect["metrics"] == direct["metrics"]
    assert inspect["counts"] == direct["counts"]
    assert inspect["metrics"]["truncated"] == pytest.approx(1 / 6)
    rows = {engine: answers_of(tmp_path, engine=engine) for engine in ("direct", "inspect")}
    for row in (*rows["direct"], *rows["inspect"]):
        row.pop("engine_score", None)
    assert rows["inspect"] == rows["direct"]
    assert rows["inspect"][4]["answer"] == "<think>\n2+1\n</think>\n\nIt is \\boxed{3}."


def test_rows_that_ask_the_same_are_one_problem_in_the_figures_of_inspect_too(evaluate, tmp_path):
    rows = [{"problem": f"Compute {number}+1", "solution": str(number + 1)} for number in (0, 0, 0, 0, 1, 2)]
    write_rows(tmp_path / "repeated.jsonl", rows)
    with ChatServer(lambda body, attempt: Reply("\\boxed{1}")) as server:
        assert evaluate(server, "--num_samples", 2, data="repeated.jsonl") == 0
    results = results_of(tmp_path, name="repeated")
    assert results["counts"]["problems_repeated"] == 3
    for name, value in results["engine_metrics"].items():
        assert value == pytest.approx(results["metrics"][name]), name
    assert "avg@2_low" in results["engine_metrics"]


def test_scores_and_figures_of_inspect_are_those_of_the_results(evaluate, tmp_path):
    with ChatServer(mostly_right) as server:
        assert evaluate(server, "--num_samples", 4) == 0
    results, (log,) = results_of(tmp_path), map(read_eval_log, map(str, logs_of(tmp_path)))
    scores = {(sample.id, sample.epoch - 1): sample.scores["judged"].as_float() for sample in log.samples}
    assert scores == {(row["row"], row["index"]): float(row["verdict"] == "right") for row in answers_of(tmp_path)}
    assert results["engine_metrics"]["avg@4"] == results["metrics"]["avg@4"] == 0.75
    assert results["engine_metrics"]["avg@4_low"] == pytest.approx(results["metrics"]["avg@4_low"])
    assert results["engine_metrics"]["pass@2"] == results["metrics"]["pass@2"] == 1.0
    assert results["settings"]["engine"] == "inspect"
    assert results["speed"]["tokens"] == 64


def test_a_sample_of_the_log_shows_problem_gold_answer_verdict_and_reason(evaluate, tmp_path):
    with ChatServer(lambda body, attempt: Reply(mostly_right(body, 0).text, reasoning="let me add")) as server:
        assert evaluate(server, "--num_samples", 2, "--system_prompt", "Be brief.") == 0
    log = read_eval_log(str(logs_of(tmp_path)[0]))
    sample = next(found for found in log.samples if (found.id, found.epoch) == (2, 2))
    assert [message.role for message in sample.messages] == ["system", "user", "assistant"]
    assert sample.messages[1].text.endswith("Compute 2+1")
    assert (sample.target, sample.scores["judged"].answer) == ("3", "4")
    assert sample.scores["judged"].metadata["verdict"] == "wrong"
    assert sample.scores["judged"].explanation == "wrong: found '4', the solution is '3'."
    assert [part.type for part in sample.messages[2].content] == ["reasoning", "text"]
    assert (log.eval.model, log.eval.dataset.name) == (f"open_r1/{MODEL}", "sums")
    assert log.eval.metadata["settings"]["temperature"] == 0.6


def test_the_command_that_opens_the_viewer_is_told(evaluate, tmp_path, caplog):
    caplog.set_level("INFO")
    with ChatServer(mostly_right) as server:
        evaluate(server, "--num_samples", 1)
    assert f"inspect view --log-dir {folder_of(tmp_path) / 'inspect'}" in caplog.text


def test_failed_requests_are_no_wrong_answers_and_are_asked_for_again(evaluate, tmp_path):
    with ChatServer(behave := FailsInPart()) as server:
        assert evaluate(server, "--num_samples", 4) == INCOMPLETE
        results = results_of(tmp_path)
        assert (results["counts"]["returned"], results["counts"]["failed"]) == (8, 8)
        assert results["metrics"]["avg@2"] == results["engine_metrics"]["avg@2"] == 0.5
        log = read_eval_log(str(logs_of(tmp_path)[0]))
        assert {sample.error.message for sample in log.samples if sample.error} == {
            "RequestFailedError('HTTP 400: context too long')"
        }
        behave.is_mended, asked = True, len(server.requests)
        assert evaluate(server, "--num_samples", 4) == 0
        assert len(server.requests) == asked + 8
    assert results_of(tmp_path)["metrics"]["avg@4"] == 0.75


def test_errors_that_pass_are_sent_again_by_our_client(evaluate, tmp_path):
    def behave(body, attempt):
        return Reply(status=500) if attempt == 0 and body["seed"] == 0 else mostly_right(body, attempt)

    with ChatServer(behave) as server:
        assert evaluate(server, "--num_samples", 2) == 0
    assert len(server.requests) == 8 + 4
    assert results_of(tmp_path)["counts"]["failed"] == 0


def test_no_answer_at_all_leaves_no_results(evaluate, tmp_path, capsys):
    with ChatServer(lambda body, attempt: Reply(status=400, error="no")) as server:
        assert evaluate(server, "--num_samples", 2) == 1
    assert "all 8 requests failed, the last with: HTTP 400: no" in capsys.readouterr().err
    assert not (folder_of(tmp_path) / "results.json").exists()


def test_a_hundred_failures_in_a_row_end_the_run(evaluate, tmp_path, capsys):
    with ChatServer(lambda body, attempt: Reply(status=400, error="no")) as server:
        assert evaluate(server, "--num_samples", 64, "--max_concurrent", 4) == 1
        assert 100 <= len(server.requests) < 110
    assert "100 requests in a row failed, the last with: HTTP 400: no" in capsys.readouterr().err


def test_a_server_that_refuses_the_key_ends_the_run(evaluate, capsys):
    def behave(body, attempt):
        return Reply(status=401, error="no such key") if body["seed"] else mostly_right(body, attempt)

    with ChatServer(behave) as server:
        assert evaluate(server, "--num_samples", 4, "--max_concurrent", 2) == 1
    assert "refuses all requests: HTTP 401" in capsys.readouterr().err


class Abreast(ChatServer):
    """A server that answers while it isn't asked much more often than another: how fast each is decides nothing."""

    def keep_to(self, other, total):
        self.other, self.total = other, total
        return self

    async def _answer(self, *asked):
        while not self._may_answer():
            await asyncio.sleep(0.01)
        return await super()._answer(*asked)

    def _may_answer(self):
        own, others = len(self.requests), len(self.other.requests)
        return own <= others + 2 or own + others == self.total


def test_several_servers_share_the_samples_and_no_more_are_in_flight_than_asked_for(evaluate, tmp_path):
    with Abreast(mostly_right) as first, Abreast(mostly_right) as second:
        first.keep_to(second, 32), second.keep_to(first, 32)
        flags = ("--url", f"{first.address},{second.address}", "--num_samples", 8, "--max_concurrent", 4)
        assert evaluate(first, *flags) == 0
    assert len(first.requests) + len(second.requests) == 32
    assert min(len(first.requests), len(second.requests)) >= 8
    assert max(first.most_in_flight, second.most_in_flight) <= 4


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--prompt_column", "question"], "has no columns ['question'] (set --prompt_column"),
        (["--solution-column", "gold"], "has no columns ['gold']"),
        (["--data", "missing.jsonl"], "there is no such file"),
        (["--max_tokens", "32768"], "context of 32768 tokens"),
    ],
)
def test_a_command_that_cannot_work_is_refused_before_the_first_request(evaluate, flags, said, capsys):
    with ChatServer(mostly_right) as server:
        assert evaluate(server, *flags) == 1
        assert said in capsys.readouterr().err
        assert not server.requests


def test_without_the_package_the_extra_is_named(evaluate, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    with ChatServer(mostly_right) as server:
        assert evaluate(server) == 1
        assert not server.requests
    assert "pip install 'open-r1[eval]'" in capsys.readouterr().err


def test_an_answer_that_nobody_can_judge_has_no_score(tmp_path, evaluate):
    write_rows(
        tmp_path / "sums.jsonl",
        [{"problem": "Compute 0+1", "solution": "1"}, {"problem": "Compute 1+1", "solution": "\\boxed{}"}],
    )
    with ChatServer(mostly_right) as server:
        assert evaluate(server, "--num_samples", 1) == 0
    log = read_eval_log(str(logs_of(tmp_path)[0]))
    scores = {sample.id: sample.scores["judged"] for sample in log.samples}
    assert math.isnan(scores[1].as_float())
    assert results_of(tmp_path)["metrics"]["avg@1"] == results_of(tmp_path)["engine_metrics"]["avg@1"] == 1.0


def test_programs_run_once_and_their_tests_are_told_in_the_log(evaluate, tmp_path):
    tests = [{"input": "1 2", "output": "3"}, {"input": "30 4", "output": "34"}]
    write_rows(
        tmp_path / "adding.jsonl", [{"problem": f"Add {name}", "test_cases": tests} for name in ("well", "badly")]
    )

    def behave(body, attempt):
        is_right = "Add well" in body["messages"][-1]["content"]
        return Reply(f"```python\na, b = map(int, input().split())\nprint({'a + b' if is_right else '3'})\n```")

    with ChatServer(behave) as server:
        assert evaluate(server, "--num_samples", 2, data="adding.jsonl") == 0
    results = results_of(tmp_path, name="adding")
    assert results["counts"]["verdicts"] == {"right": 2, "wrong": 2}
    assert results["engine_metrics"]["avg@2"] == results["metrics"]["avg@2"] == 0.5
    log = read_eval_log(str(logs_of(tmp_path, name="adding")[0]))
    assert {sample.scores["judged"].explanation for sample in log.samples} == {"right (AC x2).", "wrong (AC, WA)."}
    kept = (folder_of(tmp_path, name="adding") / "programs.jsonl").read_text().split("\n")
    assert len([line for line in kept if line]) == 2


def test_letters_of_choices_are_scored(evaluate, tmp_path):
    rows = [{"question": "2+2?", "choices": ["3", "4"], "answer": "B"}]
    write_rows(tmp_path / "quiz.jsonl", rows)
    with ChatServer(lambda body, attempt: Reply("\\boxed{B}" if body["seed"] else "\\boxed{4}")) as server:
        assert evaluate(server, "--num_samples", 2, data="quiz.jsonl") == 0
    results = results_of(tmp_path, name="quiz")
    assert results["engine_metrics"]["pass@1"] == results["metrics"]["pass@1"] == 0.5


def test_benchmarks_of_one_command_have_logs_of_their_own(tmp_path, evaluate):
    write_rows(tmp_path / "more.jsonl", [{"problem": "Compute 7+1", "solution": "8"}])
    with ChatServer(mostly_right) as server:
        assert evaluate(server, "--num_samples", 1, "--benchmarks", tmp_path / "more.jsonl") == 0
    assert [len(read_eval_log(str(logs_of(tmp_path, name=name)[0])).samples) for name in ("sums", "more")] == [4, 1]
