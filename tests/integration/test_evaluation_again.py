# SPDX-License-Identifier: Apache-2.0
"""The same command of `scripts/run_benchmarks.py` again, after something else than its flags has changed."""

import pyarrow.parquet as pq
import pytest

from open_r1.data.flags import STOPPED
from open_r1.evaluation import benchmarks, judging
from open_r1.evaluation.asking_log import note_servers, read_commits
from open_r1.evaluation.tally import Tally
from open_r1.rewards.verifier import Verdict
from scripts.run_benchmarks import INCOMPLETE
from tests.integration.benchmark_runs import evaluator, folder_of, mostly_right, results_of, write_problems
from tests.integration.fakes.chat_server import ChatServer, Reply


@pytest.fixture
def evaluate(tmp_path):
    return evaluator(write_problems(tmp_path / "sums.jsonl"), tmp_path / "out")


def test_another_verifier_judges_again_and_asks_nothing(evaluate, tmp_path, monkeypatch, capsys):
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
        before = results_of(tmp_path)
        monkeypatch.setattr(judging, "fingerprint_verifier", lambda: "another")
        monkeypatch.setattr(judging, "verify_all", lambda golds, texts, prompts: [Verdict.WRONG] * len(texts))
        assert evaluate(server.address, "--num_samples", 1) == 0
        after = results_of(tmp_path)
        assert "finished earlier" not in capsys.readouterr().out
        assert evaluate(server.address, "--num_samples", 1) == 0
        assert "finished earlier" in capsys.readouterr().out
        assert len(server.requests) == 4
    assert (before["metrics"]["avg@1"], after["metrics"]["avg@1"]) == (1.0, 0.0)
    assert len(before["settings"]["verifier"]) == 16
    assert after["settings"]["verifier"] == "another"


def test_a_verifier_is_known_by_its_code_and_not_by_its_place(tmp_path):
    found = []
    for place, code in (("a", "1"), ("b/c", "1"), ("d", "2")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "judge.py").write_text(code)
        found.append(judging.fingerprint_verifier(tmp_path / place))
    assert found[0] == found[1] != found[2]


def test_the_commits_of_all_runs_are_told(evaluate, tmp_path, monkeypatch):
    def half(body, attempt):
        return mostly_right(body, attempt) if body["seed"] == 0 else Reply(status=400)

    commits = iter(["one", "two", "three"])
    monkeypatch.setattr(benchmarks, "source_commit", lambda: next(commits))
    with ChatServer(half) as server:
        assert evaluate(server.address, "--num_samples", 2) == INCOMPLETE
        assert results_of(tmp_path)["commit"] == "one"
        server.behave = mostly_right
        assert evaluate(server.address, "--num_samples", 2) == 0
        assert (results_of(tmp_path)["commit"], results_of(tmp_path)["commits"]) == ("two", ["one", "two"])
        monkeypatch.setattr(judging, "fingerprint_verifier", lambda: "another")
        assert evaluate(server.address, "--num_samples", 2) == 0
    assert (results_of(tmp_path)["commit"], results_of(tmp_path)["commits"]) == ("three", ["one", "two", "three"])


def test_a_run_that_ends_while_it_counts_leaves_the_former_answers(evaluate, tmp_path, monkeypatch):
    def end(tally):
        raise KeyboardInterrupt

    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
        before = {name: (folder_of(tmp_path) / name).read_bytes() for name in ("answers.parquet", "results.json")}
        monkeypatch.setattr(Tally, "metrics", end)
        assert evaluate(server.address, "--num_samples", 2) == STOPPED
    assert {name: (folder_of(tmp_path) / name).read_bytes() for name in before} == before


def test_a_run_that_was_killed_between_its_two_files_is_not_finished(evaluate, tmp_path, capsys):
    folder, flags = folder_of(tmp_path), ("--num_samples", 2)
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
        results = (folder / "results.json").read_bytes()
        assert evaluate(server.address, *flags) == 0
        answers = (folder / "answers.parquet").read_bytes()
        (folder / "results.json").write_bytes(results)
        assert evaluate(server.address, "--num_samples", 1) == 0
        assert "finished earlier" not in capsys.readouterr().out
        assert len(pq.read_table(folder / "answers.parquet")) == 4
        assert evaluate(server.address, *flags) == 0
        assert (folder / "answers.parquet").read_bytes() == answers
        assert evaluate(server.address, *flags) == 0
        assert "finished earlier" in capsys.readouterr().out
        assert len(server.requests) == 8
    assert results_of(tmp_path)["answers"]["rows"] == 8


def test_code_outside_of_a_repository_has_no_commit(tmp_path):
    note_servers(tmp_path, [], None)
    note_servers(tmp_path, [], "c0ffee")
    assert read_commits(tmp_path) == ["c0ffee"]
