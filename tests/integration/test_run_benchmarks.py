# SPDX-License-Identifier: Apache-2.0
"""`scripts/run_benchmarks.py` against servers on this machine: every kind of answer, kills, dead servers, resuming."""

import os
import re
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from open_r1.generation.journal import JournalError
from scripts.run_benchmarks import INCOMPLETE
from tests.integration.benchmark_runs import (
    FailsInPart,
    evaluator,
    folder_of,
    mostly_right,
    number_of,
    results_of,
    started,
    write_problems,
)
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.fakes.vllm_executable import read_pids, write_vllm


@pytest.fixture
def problems(tmp_path):
    return write_problems(tmp_path / "sums.jsonl")


@pytest.fixture
def evaluate(problems, tmp_path):
    return evaluator(problems, tmp_path / "out")


def test_results_hold_metrics_counts_and_every_setting(evaluate, tmp_path, capsys):
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--system_prompt", "Be brief.", "--num_samples", 4) == 0
    said = capsys.readouterr().out
    assert re.search(r"sums: avg@4 0\.75 \[0\.\d+, .*, pass@2 [\d.]+ \[0", said)
    assert "--slurm" not in said
    results = results_of(tmp_path)
    metrics = results["metrics"]
    means = {name: value for name, value in metrics.items() if not name.endswith(("_low", "_high"))}
    assert means == {
        "avg@4": 0.75,
        "pass@1": 0.75,
        "pass@2": 1.0,
        "pass@4": 1.0,
        "maj@1": 0.75,
        "maj@2": 0.75,
        "maj@4": 1.0,
        "truncated": 0.0,
        "no_answer": 0.0,
        "mean_length_tokens": 4.0,
    }
    estimates = [name for name in means if "@" in name]
    assert len(metrics) == len(means) + 2 * len(estimates)
    assert all(metrics[f"{name}_low"] < metrics[name] <= metrics[f"{name}_high"] for name in estimates)
    assert results["date"].startswith("20")
    assert results["counts"]["verdicts"] == {"right": 12, "wrong": 4}
    settings = results["settings"]
    assert (settings["temperature"], settings["top_p"], settings["seed"]) == (0.6, 0.95, 0)
    assert (settings["system_prompt"], settings["num_samples"], settings["model"]) == ("Be brief.", 4, MODEL)
    assert (settings["max_model_len"], len(settings["source"][0])) == (32768, 16)
    assert "\\boxed{}" in settings["template"]
    assert server.requests[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert "python" in results["versions"]


def test_answers_are_kept_with_their_verdicts(evaluate, tmp_path):
    with ChatServer(mostly_right) as server:
        evaluate(server.address, "--num_samples", 2)
    rows = pq.read_table(folder_of(tmp_path) / "answers.parquet").to_pylist()
    assert [(row["row"], row["index"], row["verdict"]) for row in rows] == [
        (row, index, "wrong" if index else "right") for row in range(4) for index in range(2)
    ]
    assert rows[2]["problem"].endswith("Compute 1+1")
    assert (rows[2]["solution"], rows[2]["answer"]) == ("2", "So it is \\boxed{2}.")


def test_empty_and_truncated_answers_are_wrong_and_counted(evaluate, tmp_path):
    def behave(body, attempt):
        cut = Reply("<think>\nit is 1, or", finish_reason="length")
        return {0: Reply(""), 1: cut}.get(number_of(body)) or mostly_right(body, attempt)

    with ChatServer(behave) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
    results = results_of(tmp_path)
    assert results["metrics"]["avg@1"] == 0.5
    assert results["metrics"]["truncated"] == 0.25
    assert results["metrics"]["no_answer"] == 0.5
    assert results["counts"]["returned"] == 4


def test_estimates_come_from_the_answers_that_came_and_the_rest_is_asked_for_again(evaluate, tmp_path, capsys):
    with ChatServer(behave := FailsInPart()) as server:
        assert evaluate(server.address, "--num_samples", 4) == INCOMPLETE
        results = results_of(tmp_path)
        assert results["is_complete"] is False
        assert results["metrics"]["avg@2"] == results["metrics"]["pass@1"] == 0.5
        assert results["metrics"]["pass@2"] == 1.0
        assert "pass@4" not in results["metrics"]
        assert (results["counts"]["requested"], results["counts"]["returned"], results["counts"]["failed"]) == (
            16,
            8,
            8,
        )
        assert "8 requests failed, 8 of them with: HTTP 400: context too long." in capsys.readouterr().err
        behave.is_mended, asked = True, len(server.requests)
        assert evaluate(server.address, "--num_samples", 4) == 0
        assert len(server.requests) == asked + 8
    assert results_of(tmp_path)["metrics"]["avg@4"] == 0.75


def test_an_answer_that_the_server_has_cut_off_is_a_failed_request(evaluate, tmp_path):
    def behave(body, attempt):
        cut = Reply("<think>", finish_reason="insufficient_system_resource")
        return cut if number_of(body) == 0 else mostly_right(body, attempt)

    with ChatServer(behave) as server:
        assert evaluate(server.address, "--num_samples", 1, "--retries", 0) == INCOMPLETE
        results = results_of(tmp_path)
        assert (results["counts"]["failed"], results["metrics"]["avg@1"]) == (1, 1.0)
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
        assert len(server.requests) == 1


def test_a_file_that_cannot_be_read_is_no_matter_of_the_hub(evaluate, problems, capsys):
    problems.write_text("no json\n")
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address) == 1
    said = capsys.readouterr().err
    assert "can't be loaded" in said
    assert "--data" not in said


def test_no_answer_at_all_leaves_no_results(evaluate, tmp_path, capsys):
    with ChatServer(lambda body, attempt: Reply(status=400, error="no")) as server:
        assert evaluate(server.address) == 1
    assert "all 16 requests failed, the last with: HTTP 400: no" in capsys.readouterr().err
    assert not (folder_of(tmp_path) / "results.json").exists()
    assert not (folder_of(tmp_path) / "answers.parquet").exists()


def test_a_killed_run_goes_on_where_it_was(problems, tmp_path):
    journal = folder_of(tmp_path) / "generations.jsonl"
    is_open = False

    def behave(body, attempt):
        waits = not is_open and len(server.requests) > 5
        return Reply("\\boxed{1}", delay_s=600.0) if waits else mostly_right(body, attempt)

    with ChatServer(behave) as server:
        command = ["--url", server.address, "--data", str(problems), "--output_dir", str(tmp_path / "out")]
        process = started([*command, "--max_concurrent", "1"])
        # The sixth request may come a moment after the fifth answer is in the journal.
        while not journal.exists() or journal.read_text().count("\n") < 1 + 5 or len(server.requests) < 6:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.kill()
        process.communicate()
        assert not (folder_of(tmp_path) / "results.json").exists()
        is_open = True
        again = started(command)
        out, err = again.communicate()
        assert again.returncode == 0, err
        assert len(server.requests) == 16 + 1
    assert "16 of 16 answers to 4 problems" in out
    assert results_of(tmp_path)["metrics"]["avg@4"] == 0.75


@pytest.mark.parametrize(
    ("flags", "said", "again"),
    [
        ([], "Repeat the command to go on.", []),
        (["--overwrite"], "Repeat the command without --overwrite to go on", []),
        (["--overwrite", "--run_id", "job"], "Repeat the command to go on.", ["--overwrite", "--run_id", "job"]),
    ],
)
def test_a_signal_ends_the_run_and_says_how_it_goes_on(evaluate, tmp_path, capsys, flags, said, again):
    def behave(body, attempt):
        if len(server.requests) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return mostly_right(body, attempt)

    with ChatServer(behave) as server:
        assert evaluate(server.address, "--max_concurrent", 1, *flags) == 128 + signal.SIGTERM
        assert said in capsys.readouterr().err
        assert not (folder_of(tmp_path) / "results.json").exists()
        server.behave = mostly_right
        assert evaluate(server.address, *again) == 0
        assert len(server.requests) == 16


def test_a_finished_run_asks_nothing_and_more_samples_only_for_those(evaluate, capsys):
    with ChatServer(mostly_right) as server:
        evaluate(server.address, "--num_samples", 2)
        evaluate(server.address, "--num_samples", 2)
        assert "(finished earlier)" in capsys.readouterr().out
        assert len(server.requests) == 8
        evaluate(server.address, "--num_samples", 3)
        assert len(server.requests) == 12


def test_other_settings_are_refused_or_put_aside(evaluate, tmp_path, capsys):
    with ChatServer(mostly_right) as server:
        evaluate(server.address, "--num_samples", 1)
        assert evaluate(server.address, "--num_samples", 1, "--temperature", 0.2) == 1
        assert "temperature was 0.6 and is now 0.2" in capsys.readouterr().err
        assert results_of(tmp_path)["settings"]["temperature"] == 0.6
        assert evaluate(server.address, "--num_samples", 1, "--temperature", 0.2, "--overwrite") == 0
    assert results_of(tmp_path)["settings"]["temperature"] == 0.2
    assert results_of(tmp_path, name="sums.1")["settings"]["temperature"] == 0.6


def test_other_weights_under_the_same_name_are_no_longer_the_same_model(evaluate, tmp_path, capsys):
    model = tmp_path / "a model"
    model.mkdir()
    with ChatServer(mostly_right) as server:
        for weights in (b"first", b"other"):
            (model / "model.safetensors").write_bytes(weights)
            status = evaluate(server.address, "--model_id", model, "--served_model", MODEL, "--num_samples", 1)
    assert status == 1
    assert "model_fingerprint was" in capsys.readouterr().err


def test_two_runs_at_a_time_on_one_folder_are_refused(evaluate, tmp_path, capsys):
    def behave(body, attempt):
        if len(server.requests) == 1:
            with pytest.raises(JournalError, match="in use by another process"):
                from open_r1.generation.journal import Journal

                Journal(folder_of(tmp_path) / "generations.jsonl", None)
        return mostly_right(body, attempt)

    with ChatServer(behave) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0


def test_a_server_that_dies_ends_the_run_and_it_goes_on_when_it_is_back(evaluate, tmp_path, capsys):
    def behave(body, attempt):
        if len(server.requests) == 5:
            server.close_port()
            return Reply(drop=True)
        return mostly_right(body, attempt)

    server = ChatServer(behave)
    server.start()
    assert evaluate(server.address, "--max_concurrent", 1, "--patience", 0.3) == 1
    assert "No server has answered for 0.3 s" in capsys.readouterr().err
    assert not (folder_of(tmp_path) / "results.json").exists()
    server.stop()
    server.behave = mostly_right
    server.start()
    assert evaluate(server.address) == 0
    server.stop()
    assert len(server.requests) == 16 + 1


def test_a_server_of_its_own_is_started_and_stopped(evaluate, tmp_path, monkeypatch, capsys):
    executable = write_vllm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{executable.parent}:{os.environ['PATH']}")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    assert evaluate(None, "--model_id", model, "--num_samples", 1, "--serve_args", "--max-num-seqs 8") == 0
    results = results_of(tmp_path, model="model")
    assert results["settings"]["serve_args"] == ["--max-num-seqs", "8"]
    assert results["metrics"]["avg@1"] == 0.0
    assert not any(Path(f"/proc/{pid}").exists() for pid in read_pids(tmp_path / "bin"))
    assert "--slurm" in capsys.readouterr().out.splitlines()[-1]


def test_rows_without_problem_or_solution_are_left_out_and_counted(evaluate, problems, tmp_path):
    with problems.open("a") as file:
        file.write('{"problem": "", "solution": "1"}\n{"problem": "Compute 7+1", "solution": null}\n')
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
    assert results_of(tmp_path)["counts"]["rows_left_out"] == 2
    assert results_of(tmp_path)["counts"]["problems"] == 4


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--prompt_column", "question"], "has no columns ['question'] (set --prompt_column"),
        (["--solution-column", "gold"], "has no columns ['gold']"),
        (["--split", "test"], "test"),
        (["--sandbox_router_url", "h:1"], "--sandbox_router_url is of a router, but --code_provider is local"),
        (["--code_provider", "router"], "needs --sandbox_router_url"),
        (["--benchmarks", "aime42"], "Known: math_500, aime24"),
        (["--benchmarks", "missing.jsonl"], "There is no file 'missing.jsonl'"),
        (["--num_samples", "0"], "num_samples is 0"),
        (["--timeout", "0"], "--timeout is 0; it must be above 0"),
        (["--patience", "inf"], "--patience is inf; it must be above 0, and finite"),
        (["--temperature", "0", "--num_samples", "4"], "num_samples must be 1"),
        (["--max_tokens", "32768"], "context of 32768 tokens"),
        (["--served_model", "other"], "doesn't serve 'other'"),
        (["--prompt_template", "Solve it."], "has no {prompt}"),
        (["--model_id", "another/model"], "serve 'stub/model', but --model_id is 'another/model'"),
        (["--api_key_env", "OPEN_R1_NO_SUCH_KEY"], "OPEN_R1_NO_SUCH_KEY"),
        (["--slurm", "--model_id", "m"], "takes no --url"),
        (["--output_dir", __file__], "is a file; name another output folder"),
    ],
)
def test_a_command_that_cannot_work_is_refused_before_the_first_request(evaluate, flags, said, capsys):
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, *flags) == 1
        assert said in capsys.readouterr().err
        assert not server.requests


def test_the_model_or_a_server_must_be_named(evaluate, capsys):
    assert evaluate(None) == 1
    assert "--model_id" in capsys.readouterr().err


def test_a_short_context_leaves_the_length_to_the_server(evaluate, tmp_path):
    with ChatServer(mostly_right, max_model_len=2048) as server:
        evaluate(server.address, "--num_samples", 1)
        assert "max_tokens" not in server.requests[0]
    with ChatServer(mostly_right, max_model_len=65536) as server:
        evaluate(server.address, "--num_samples", 1, "--overwrite")
        assert server.requests[0]["max_tokens"] == 32768
