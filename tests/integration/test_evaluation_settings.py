# SPDX-License-Identifier: Apache-2.0
"""Figures of `scripts/run_benchmarks.py` stand for the settings and weights beside them: no others are reused."""

import json
import os
import shlex
import sys

import pytest
from huggingface_hub import constants

from open_r1.evaluation import job_checks
from open_r1.generation.journal import Journal
from scripts.run_benchmarks import INCOMPLETE
from tests.integration.benchmark_runs import evaluator, folder_of, mostly_right, number_of, results_of, write_problems
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.fakes.vllm_executable import read_words, write_vllm
from tests.integration.hub_server import Hub

FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def evaluate(tmp_path):
    return evaluator(write_problems(tmp_path / "sums.jsonl"), tmp_path / "out")


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--top_k", 20], "top_k"),
        (["--min_p", 0.1], "min_p"),
        (["--max_tokens", 5], "max_tokens"),
        (["--top_p", 0.5], "top_p"),
        (["--temperature", 0.1], "temperature"),
        (["--seed", 7], "seed"),
        (["--system_prompt", "Hi."], "system_prompt"),
        (["--prompt_template", "{prompt}!"], "template"),
        (["--trust_remote_code"], "trust_remote_code"),
        (["--serve_args", "--quantization fp8"], "serve_args"),
    ],
)
def test_a_flag_that_is_given_or_left_out_is_another_run(evaluate, tmp_path, capsys, flags, name):
    with ChatServer(mostly_right) as server:
        for number, (before, now) in enumerate(((flags, []), ([], flags))):
            where = ["--num_samples", 1, "--output_dir", tmp_path / str(number)]
            assert evaluate(server.address, *where, *before) == 0
            asked = len(server.requests)
            assert evaluate(server.address, *where, *now) == 1
            assert f"{name} was" in capsys.readouterr().err
            assert len(server.requests) == asked
            assert evaluate(server.address, *where, *now, "--overwrite") == 0
            assert len(server.requests) == asked + 4


def test_another_context_is_another_run_where_it_limits_answers(evaluate, capsys):
    for length, status in ((512, 0), (16384, 1)):
        with ChatServer(mostly_right, max_model_len=length) as server:
            assert evaluate(server.address, "--num_samples", 1) == status
    assert "context_tokens was 512 and is now 16384" in capsys.readouterr().err
    for length in (512, 16384):
        with ChatServer(mostly_right, max_model_len=length) as server:
            assert evaluate(server.address, "--num_samples", 1, "--max_tokens", 9, "--model_name", "limited") == 0
    assert "(finished earlier)" in capsys.readouterr().out


def test_answers_of_two_contexts_are_not_mixed(evaluate, capsys):
    def half(body, attempt):
        return Reply(status=400, error="no") if body["seed"] else mostly_right(body, attempt)

    with ChatServer(half, max_model_len=512) as server:
        assert evaluate(server.address, "--num_samples", 2) == INCOMPLETE
    with ChatServer(mostly_right, max_model_len=16384) as server:
        assert evaluate(server.address, "--num_samples", 2) == 1
        assert not server.requests
    assert "context_tokens was" in capsys.readouterr().err


def test_a_served_folder_with_other_weights_is_another_model(evaluate, tmp_path, capsys):
    model = tmp_path / "final"
    model.mkdir()
    with ChatServer(mostly_right, models=[str(model)]) as server:
        for weights, status in ((b"1", 0), (b"2", 1)):
            (model / "model.safetensors").write_bytes(weights)
            assert evaluate(server.address, "--num_samples", 1) == status
    assert "model_fingerprint was" in capsys.readouterr().err


def test_where_nothing_identifies_the_weights_it_is_said_and_overwrite_asks_again(evaluate, tmp_path, caplog):
    with ChatServer(mostly_right) as server:
        for flags, asked in (((), 4), ((), 4), (("--overwrite",), 8)):
            assert evaluate(server.address, "--num_samples", 1, *flags) == 0
            assert len(server.requests) == asked
    assert f"Nothing tells which weights {MODEL} serves" in caplog.text
    assert results_of(tmp_path, name="sums.1")["counts"]["returned"] == 4


@pytest.mark.parametrize(("flags", "asked"), [([], 2), (["--run_id", "job-1"], 1)])
def test_answers_of_weights_that_nothing_identifies_are_begun_anew_but_by_the_same_job(evaluate, flags, asked):
    def half(body, attempt):
        return Reply(status=400, error="no") if body["seed"] else mostly_right(body, attempt)

    with ChatServer(half) as server:
        assert evaluate(server.address, "--num_samples", 2, "--overwrite", *flags) == INCOMPLETE
        before, server.behave = len(server.requests), mostly_right
        assert evaluate(server.address, "--num_samples", 2, "--overwrite", *flags) == 0
        assert len(server.requests) == before + 4 * asked


def test_a_job_that_comes_again_keeps_what_it_has_finished(evaluate):
    with ChatServer(mostly_right) as server:
        for name, asked in (("job-1", 4), ("job-1", 4), ("job-2", 8)):
            assert evaluate(server.address, "--num_samples", 1, "--overwrite", "--run_id", name) == 0
            assert len(server.requests) == asked


def cache_commit(monkeypatch, folder, commit):
    """Have the hub's cache say which commit `main` is, as a download leaves it there."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    path = folder / "models--stub--model" / "refs" / "main"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(commit)


def test_a_branch_that_has_moved_is_another_model(evaluate, tmp_path, monkeypatch, capsys):
    with ChatServer(mostly_right) as server:
        for commit, flags, status in ((FIRST, (), 0), (FIRST, (), 0), (SECOND, (), 1), (SECOND, ("--overwrite",), 0)):
            cache_commit(monkeypatch, tmp_path / "hub", commit)
            assert evaluate(server.address, "--num_samples", 1, "--model_id", MODEL, *flags) == status
        assert len(server.requests) == 8
    assert f"model_commit was '{FIRST}' and is now '{SECOND}'" in capsys.readouterr().err
    assert results_of(tmp_path)["settings"]["model_commit"] == SECOND


def test_the_hub_is_asked_for_the_commit(evaluate, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with Hub() as hub, ChatServer(mostly_right) as server:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        cache_commit(monkeypatch, tmp_path / "hub", FIRST)
        assert evaluate(server.address, "--num_samples", 1, "--model_id", MODEL) == 0
        assert any("/api/models/stub/model" in request for request in hub.requests)
    assert results_of(tmp_path)["settings"]["model_commit"] == FIRST  # it knows no such model: the cache does


def test_commit_that_servers_have_loaded_is_noted_and_not_that_of_later(evaluate, tmp_path, monkeypatch, caplog):
    cache_commit(monkeypatch, tmp_path / "hub", SECOND)
    with ChatServer(mostly_right) as server:
        command = ("--num_samples", 1, "--model_id", MODEL)
        assert evaluate(server.address, *command, "--model_commit", FIRST) == 0
        assert "Servers that have loaded an earlier one" not in caplog.text
        assert results_of(tmp_path)["settings"]["model_commit"] == FIRST
        assert evaluate(server.address, *command) == 1
        assert "Servers that have loaded an earlier one" in caplog.text
        assert evaluate(server.address, *command, "--model_commit", "main") == 1
        assert len(server.requests) == 4


def test_job_serves_and_notes_the_commit_that_a_branch_is_when_it_starts(tmp_path, monkeypatch, capsys):
    cache_commit(monkeypatch, tmp_path / "hub", FIRST)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = ["--model_id", MODEL, "--data", str(write_problems(tmp_path / "sums.jsonl"))]
    for revision, commit in (("main", FIRST), ("v9", "")):
        monkeypatch.setattr(sys, "argv", ["job_checks", "--on_node", *words, "--model_revision", revision])
        assert job_checks.main() == 0
        assert f"commit={shlex.quote(commit)}\n" in capsys.readouterr().out


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """A `vllm` on the PATH, which notes its arguments; gives its folder."""
    executable = write_vllm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{executable.parent}:{os.environ['PATH']}")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return executable.parent


def test_vllm_is_started_with_what_the_figures_need_and_no_foreign_code(evaluate, vllm, tmp_path):
    assert evaluate(None, "--model_id", tmp_path / "model", "--num_samples", 1) == 0
    words = read_words(vllm)
    assert words[words.index("--generation-config") + 1] == "vllm"
    assert "--trust-remote-code" not in words
    assert (
        evaluate(
            None,
            "--model_id",
            tmp_path / "model",
            "--num_samples",
            1,
            "--trust_remote_code",
            "--overwrite",
            "--serve_args=--generation-config=auto",
        )
        == 0
    )
    words = read_words(vllm)
    assert "--trust-remote-code" in words
    assert "--generation-config" not in words


def test_a_finished_run_starts_no_server_again_and_other_arguments_of_it_do(evaluate, vllm, tmp_path, capsys):
    command = ("--model_id", tmp_path / "model", "--num_samples", 1)
    assert evaluate(None, *command) == 0
    (vllm / "pids").unlink()
    assert evaluate(None, *command) == 0
    assert not (vllm / "pids").exists()
    assert "(finished earlier)" in capsys.readouterr().out
    assert evaluate(None, *command, "--serve_args", "--dtype bfloat16") == 1
    assert "serve_args was [] and is now ['--dtype', 'bfloat16']" in capsys.readouterr().err
    assert evaluate(None, *command, "--max_tokens", 9) == 1
    assert "max_tokens was" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_before_a_server_starts(evaluate, vllm, tmp_path, capsys):
    assert evaluate(None, "--model_id", tmp_path / "model", "--output_dir", "/proc/none") == 1
    assert "Nothing can be written into /proc/none" in capsys.readouterr().err
    assert not (vllm / "words").exists()


def test_a_secret_is_refused_before_it_is_written_down(evaluate, tmp_path, capsys):
    with ChatServer(mostly_right) as server:
        for words in ("--api-key hunter2", "--api_key=hunter2", "--api-k hunter2", "--hf-tok=hunter2"):
            assert evaluate(server.address, f"--serve_args={words}") == 1
    said = capsys.readouterr().err
    assert "--api-key" in said and "--hf-tok" in said
    assert "hunter2" not in said
    assert not (tmp_path / "out").exists()


def test_problems_without_an_answer_are_named_beside_the_mean(evaluate, tmp_path, capsys):
    def behave(body, attempt):
        return Reply(status=400, error="context") if number_of(body) < 2 else mostly_right(body, attempt)

    with ChatServer(behave) as server:
        assert evaluate(server.address, "--num_samples", 1) == INCOMPLETE
        assert "over 2 of 4 problems" in capsys.readouterr().out
        results = results_of(tmp_path)
        assert (results["counts"]["problems_lost"], results["is_complete"]) == (2, False)
        assert any("over 2 of 4 problems" in note for note in results["notes"])
        assert evaluate(server.address, "--num_samples", 1) == INCOMPLETE  # asked again
        assert len(server.requests) == 4 + 2


def test_a_folder_in_use_is_not_put_aside(evaluate, tmp_path, capsys):
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
        with Journal(folder_of(tmp_path) / "generations.jsonl", None):
            assert evaluate(server.address, "--num_samples", 1, "--seed", 5, "--overwrite") == 1
    assert "in use by another process" in capsys.readouterr().err
    assert not folder_of(tmp_path, name="sums.1").exists()


def test_results_without_their_answers_are_put_aside_too(evaluate, tmp_path):
    flags, name = ("--num_samples", 1), "sums"
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, *flags) == 0
        (folder_of(tmp_path, name=name) / "generations.jsonl").unlink()
        assert evaluate(server.address, *flags, "--temperature", 0.9, "--overwrite") == 0
    assert results_of(tmp_path, name=name)["settings"]["temperature"] == 0.9
    assert results_of(tmp_path, name=f"{name}.1")["settings"]["temperature"] == 0.6
    assert (folder_of(tmp_path, name=f"{name}.1") / "answers.parquet").exists()


@pytest.mark.parametrize("content", [{"settings": {}, "counts": {}}, {"settings": {}, "counts": {}, "metrics": None}])
def test_results_that_are_damaged_are_made_again_from_the_answers(evaluate, tmp_path, content):
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
        (folder_of(tmp_path) / "results.json").write_text(json.dumps(content))
        assert evaluate(server.address, "--num_samples", 1) == 0
        assert len(server.requests) == 4
    assert results_of(tmp_path)["metrics"]["avg@1"] == 1.0


def test_other_columns_ask_or_judge_anew(evaluate, tmp_path, capsys):
    write_problems(tmp_path / "sums.jsonl", question="Compute 0+1", gold="77")
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
        assert evaluate(server.address, "--num_samples", 1, "--prompt_column", "question") == 1
        assert "prompt_column was 'problem' and is now 'question'" in capsys.readouterr().err
        assert evaluate(server.address, "--num_samples", 1, "--solution_column", "gold") == 0
        assert len(server.requests) == 4
    assert results_of(tmp_path)["metrics"]["avg@1"] == 0.0
