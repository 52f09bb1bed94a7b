# SPDX-License-Identifier: Apache-2.0
"""`scripts/run_benchmarks.py` against servers on this machine: every kind of answer, kills, dead servers, resuming."""

import json
import os
import re
import shlex
import signal
import sys

import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from open_r1.data.cli import STOPPED
from open_r1.evaluation import jobs, judges, run
from open_r1.evaluation.metrics import Metrics
from open_r1.generation.journal import Journal
from open_r1.rewards.verifier import Verdict
from scripts.run_benchmarks import INCOMPLETE
from tests.integration.benchmark_runs import (
    FailsInPart,
    evaluator,
    folder_of,
    mostly_right,
    results_of,
    write_problems,
)
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.fakes.vllm_executable import read_words, write_vllm

FIRST, SECOND = "1" * 40, "2" * 40
NEUTRAL = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


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
    assert re.search(r"sums: avg@4 0\.75 \[0\.\d+, .*, pass@4 1\.0 \[0", said)
    assert said.count("0.75") == 1 and "--slurm" not in said
    results = results_of(tmp_path)
    metrics = results["metrics"]
    means = {name: value for name, value in metrics.items() if not name.endswith(("_low", "_high", "_stderr"))}
    assert means == {
        "avg@4": 0.75,
        "pass@2": 1.0,
        "pass@4": 1.0,
        "maj@2": 0.75,
        "maj@4": 1.0,
        "truncated": 0.0,
        "no_answer": 0.0,
        "mean_length_tokens": 4.0,
    }
    estimates = [name for name in means if "@" in name]
    assert len(metrics) == len(means) + 2 * len(estimates) + 1
    assert all(metrics[f"{name}_low"] < metrics[name] <= metrics[f"{name}_high"] for name in estimates)
    assert results["date"].startswith("20")
    assert results["counts"]["verdicts"] == {"right": 12, "wrong": 4}
    settings = results["settings"]
    assert (settings["temperature"], settings["top_p"], settings["seed"]) == (0.6, 0.95, 0)
    assert (settings["system_prompt"], settings["num_samples"], settings["model"]) == ("Be brief.", 4, MODEL)
    assert "\\boxed{}" in settings["template"] and len(settings["source"][0]) == 16
    assert json.loads((folder_of(tmp_path) / "settings.json").read_text())["settings"].items() <= settings.items()
    assert server.requests[0]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert "python" in results["versions"]


def test_answers_are_kept_with_their_verdicts(evaluate, tmp_path):
    with ChatServer(mostly_right) as server:
        evaluate(server.address, "--num_samples", 2)
    rows = pq.read_table(folder_of(tmp_path) / "answers.parquet").to_pylist()
    assert [(row["row"], row["index"], row["verdict"], row["score"]) for row in rows] == [
        (row, index, "wrong" if index else "right", float(not index)) for row in range(4) for index in range(2)
    ]
    assert rows[2]["problem"].endswith("Compute 1+1")
    assert (rows[2]["solution"], rows[2]["answer"]) == ("2", "So it is \\boxed{2}.")


def test_estimates_come_from_the_answers_that_came_and_the_rest_is_asked_for_again(evaluate, tmp_path, capsys):
    with ChatServer(behave := FailsInPart()) as server:
        assert evaluate(server.address, "--num_samples", 4) == INCOMPLETE
        results = results_of(tmp_path)
        assert results["is_complete"] is False
        assert results["metrics"]["avg@4"] == 0.5
        assert results["metrics"]["pass@2"] == 1.0
        assert "pass@4" not in results["metrics"]
        assert (results["counts"]["requested"], results["counts"]["returned"], results["counts"]["failed"]) == (
            16,
            8,
            8,
        )
        assert "HTTP 400: context too long" in capsys.readouterr().out
        behave.is_mended, asked = True, len(server.requests)
        assert evaluate(server.address, "--num_samples", 4) == 0
        assert len(server.requests) == asked + 8
    assert results_of(tmp_path)["metrics"]["avg@4"] == 0.75


def test_no_answer_at_all_leaves_no_results(evaluate, tmp_path, capsys):
    with ChatServer(lambda body, attempt: Reply(status=400, error="no")) as server:
        assert evaluate(server.address) == 1
    assert "HTTP 400: no" in capsys.readouterr().err
    assert not (folder_of(tmp_path) / "results.json").exists()
    assert not (folder_of(tmp_path) / "answers.parquet").exists()


@pytest.mark.parametrize(
    ("flags", "again"), [([], []), (["--overwrite"], []), (["--overwrite", "--run_id", "job"],) * 2]
)
def test_a_signal_ends_the_run_and_it_goes_on(evaluate, tmp_path, flags, again):
    def behave(body, attempt):
        if len(server.requests) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return mostly_right(body, attempt)

    with ChatServer(behave) as server:
        assert evaluate(server.address, "--max_concurrent", 1, *flags) == 128 + signal.SIGTERM
        assert not (folder_of(tmp_path) / "results.json").exists()
        server.behave = mostly_right
        assert evaluate(server.address, *again) == 0
        assert len(server.requests) == 16


def test_a_finished_run_asks_nothing_and_more_samples_only_for_those(evaluate, tmp_path, capsys):
    with ChatServer(mostly_right) as server:
        evaluate(server.address, "--num_samples", 2)
        evaluate(server.address, "--num_samples", 2)
        assert "(finished earlier)" in capsys.readouterr().out
        assert len(server.requests) == 8
        evaluate(server.address, "--num_samples", 3)
        assert len(server.requests) == 12
        evaluate(server.address, "--num_samples", 1, "--limit", 2)
        assert len(server.requests) == 12
        assert results_of(tmp_path)["metrics"]["avg@1"] == 1.0
        evaluate(server.address, "--num_samples", 3)
        assert (len(server.requests), results_of(tmp_path)["counts"]["returned"]) == (12, 12)


def test_other_settings_are_refused_with_both_values_or_archived(evaluate, tmp_path, capsys):
    with ChatServer(mostly_right) as server:
        evaluate(server.address, "--num_samples", 1)
        assert evaluate(server.address, "--num_samples", 1, "--temperature", 0.2) == 1
        assert "temperature was 0.6 and is now 0.2" in capsys.readouterr().err
        assert results_of(tmp_path)["settings"]["temperature"] == 0.6
        assert evaluate(server.address, "--num_samples", 1, "--temperature", 0.2, "--overwrite") == 0
    assert results_of(tmp_path)["settings"]["temperature"] == 0.2
    assert results_of(tmp_path, name="sums.1")["settings"]["temperature"] == 0.6


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--top_k", 20], "top_k"),
        (["--max_tokens", 5], "max_tokens"),
        (["--seed", 7], "seed"),
        (["--system_prompt", "Hi."], "system_prompt"),
        (["--prompt_template", "{prompt}!"], "template"),
        (["--trust_remote_code"], "trust_remote_code"),
        (["--serve_args", "--quantization fp8"], "serve_args"),
        (["--prompt_column", "question"], "prompt_column"),
    ],
)
def test_a_flag_that_is_given_or_left_out_is_another_run(evaluate, tmp_path, capsys, flags, name):
    write_problems(tmp_path / "sums.jsonl", question="Compute 0+1")
    with ChatServer(mostly_right) as server:
        for number, (before, now) in enumerate(((flags, []), ([], flags))):
            where = ["--num_samples", 1, "--limit", 1, "--output_dir", tmp_path / str(number)]
            assert evaluate(server.address, *where, *before) == 0
            asked = len(server.requests)
            assert evaluate(server.address, *where, *now) == 1
            assert f"{name} was" in capsys.readouterr().err
            assert len(server.requests) == asked


def test_another_gold_column_or_verifier_judges_again_and_asks_nothing(evaluate, tmp_path, monkeypatch, capsys):
    write_problems(tmp_path / "sums.jsonl", gold="77")
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
        before = results_of(tmp_path)
        assert evaluate(server.address, "--num_samples", 1, "--solution_column", "gold") == 0
        assert results_of(tmp_path)["metrics"]["avg@1"] == 0.0
        assert evaluate(server.address, "--num_samples", 1) == 0
        monkeypatch.setattr(judges, "fingerprint_verifier", lambda: "another")
        monkeypatch.setattr(judges, "verify_all", lambda golds, texts, prompts: [Verdict.WRONG] * len(texts))
        assert evaluate(server.address, "--num_samples", 1) == 0
        after = results_of(tmp_path)
        assert "finished earlier" not in capsys.readouterr().out
        assert evaluate(server.address, "--num_samples", 1) == 0
        assert "finished earlier" in capsys.readouterr().out
        assert len(server.requests) == 4
    assert (before["metrics"]["avg@1"], after["metrics"]["avg@1"]) == (1.0, 0.0)
    assert len(before["settings"]["verifier"]) == 16
    assert after["settings"]["verifier"] == "another"


def test_a_finished_folder_is_judged_again_without_its_model(evaluate, tmp_path, monkeypatch):
    with ChatServer(mostly_right) as server:
        word = ("--num_samples", 2, "--served_model", MODEL)
        assert evaluate(server.address, "--model_id", MODEL, *word) == 0
    judge = tmp_path / "mine.py"
    judge.write_text("def judge(completions, solution, **columns):\n    return [0.25 for one in completions]\n")
    where = ("--url", "127.0.0.1:9", "--model_id", MODEL, "--judge_again")
    monkeypatch.setattr(judges, "verify_all", lambda golds, texts, prompts: [Verdict.WRONG] * len(texts))
    assert evaluate(None, *where, *word) == 0
    assert results_of(tmp_path)["metrics"]["avg@2"] == 0.0
    assert evaluate(None, *where, *word, "--judge", f"{judge}:judge") == 0
    results = results_of(tmp_path)
    assert results["metrics"]["avg@2"] == 0.25
    assert results["counts"]["verdicts"] == {"partial": 8}
    assert not [name for name in results["metrics"] if name.startswith("maj@")]
    assert results["settings"]["judge_hash"]


def test_several_seeds_are_several_runs_and_one_table(evaluate, tmp_path, capsys):
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 2, "--seed", 0, 2) == 0
        assert len(server.requests) == 16
        assert sorted({body["seed"] for body in server.requests}) == [0, 1, 2, 3]
    said = capsys.readouterr().out
    assert "differ by seed: 0 (#1), 2 (#2)" in said
    first, second = (results_of(tmp_path, name=f"sums-seed{seed}") for seed in (0, 2))
    assert (first["metrics"]["avg@2"], second["metrics"]["avg@2"]) == (0.5, 1.0)


def test_other_weights_under_the_same_name_are_no_longer_the_same_model(evaluate, tmp_path, capsys):
    model = tmp_path / "a model"
    model.mkdir()
    with ChatServer(mostly_right) as server:
        for weights in (b"first", b"other"):
            (model / "model.safetensors").write_bytes(weights)
            status = evaluate(server.address, "--model_id", model, "--served_model", MODEL, "--num_samples", 1)
    assert status == 1
    assert "model_fingerprint was" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--prompt_column", "question"], "question"),
        (["--solution-column", "gold"], "gold"),
        (["--data", "no such.jsonl"], "no such.jsonl"),
        (["--benchmarks", "aime42"], "aime42"),
        (["--prompt_template", "no place"], "no place"),
        (["--api_key_env", "OPEN_R1_NO_SUCH_KEY"], "OPEN_R1_NO_SUCH_KEY"),
        (["--slurm", "--model_id", "m"], "--url"),
        (["--output_dir", __file__], __file__),
        (["--judge", "no_such_reward"], "no_such_reward"),
        (["--serve_args=--api-key hunter2"], "--api-key"),
        (["--seed", 0, 1], "4 apart"),
    ],
)
def test_a_command_that_cannot_work_is_refused_before_the_first_request(evaluate, flags, named, capsys):
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, *flags) == 1
        said = capsys.readouterr().err
        assert named in said and "hunter2" not in said
        assert not server.requests


def test_a_short_context_leaves_the_length_to_the_server(evaluate, tmp_path):
    with ChatServer(mostly_right, max_model_len=2048) as server:
        evaluate(server.address, "--num_samples", 1)
        assert "max_tokens" not in server.requests[0]
    with ChatServer(mostly_right, max_model_len=65536) as server:
        evaluate(server.address, "--num_samples", 1, "--overwrite")
        assert server.requests[0]["max_tokens"] == 32768


def test_another_context_is_another_run_where_it_limits_answers(evaluate, capsys):
    for length, status in ((512, 0), (16384, 1)):
        with ChatServer(mostly_right, max_model_len=length) as server:
            assert evaluate(server.address, "--num_samples", 1) == status
    assert "context_tokens was 512 and is now 16384" in capsys.readouterr().err
    for length in (512, 16384):
        with ChatServer(mostly_right, max_model_len=length) as server:
            assert evaluate(server.address, "--num_samples", 1, "--max_tokens", 9, "--model_name", "limited") == 0
    assert "(finished earlier)" in capsys.readouterr().out


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


def test_job_serves_and_notes_the_commit_that_a_branch_is_when_it_starts(tmp_path, monkeypatch, capsys):
    cache_commit(monkeypatch, tmp_path / "hub", FIRST)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = ["--model_id", MODEL, "--data", str(write_problems(tmp_path / "sums.jsonl"))]
    for revision, commit in (("main", FIRST), ("v9", "")):
        monkeypatch.setattr(sys, "argv", ["jobs", "--on_node", *words, "--model_revision", revision])
        assert jobs.main() == 0
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
        )
        == 0
    )
    words = read_words(vllm)
    assert "--trust-remote-code" in words


def test_a_finished_run_starts_no_server_again_and_other_arguments_of_it_do(evaluate, vllm, tmp_path, capsys):
    command = ("--model_id", tmp_path / "model", "--num_samples", 1)
    assert evaluate(None, *command) == 0
    (vllm / "pids").unlink()
    assert evaluate(None, *command) == 0
    assert not (vllm / "pids").exists()
    assert "(finished earlier)" in capsys.readouterr().out
    assert evaluate(None, *command, "--serve_args", "--dtype bfloat16") == 1
    assert "serve_args was [] and is now ['--dtype', 'bfloat16']" in capsys.readouterr().err
    assert evaluate(None, *command, "--temperature", 0.9) == 1
    assert "temperature was" in capsys.readouterr().err
    assert evaluate(None, *command, "--max_tokens", 9) == 1
    assert "max_tokens was" in capsys.readouterr().err


def test_a_folder_in_use_is_not_put_aside(evaluate, tmp_path, capsys):
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
        with Journal(folder_of(tmp_path) / "journal.jsonl", None):
            assert evaluate(server.address, "--num_samples", 1, "--seed", 5, "--overwrite") == 1
    assert "in use" in capsys.readouterr().err
    assert not folder_of(tmp_path, name="sums.1").exists()


def test_a_run_that_ends_while_it_counts_leaves_the_former_answers(evaluate, tmp_path, monkeypatch):
    def end(*of_it):
        raise KeyboardInterrupt

    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
        before = {name: (folder_of(tmp_path) / name).read_bytes() for name in ("answers.parquet", "results.json")}
        monkeypatch.setattr(Metrics, "figures", end)
        assert evaluate(server.address, "--num_samples", 2) == STOPPED
    assert {name: (folder_of(tmp_path) / name).read_bytes() for name in before} == before


def test_a_run_that_was_killed_between_its_two_files_is_not_finished(evaluate, tmp_path, capsys, monkeypatch):
    def killed(path, value):
        if path.name == "results.json":
            raise KeyboardInterrupt
        write(path, value)

    write = run.write_json
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
        with monkeypatch.context() as patch:
            patch.setattr(run, "write_json", killed)
            assert evaluate(server.address, "--num_samples", 2) == STOPPED
        assert not (folder_of(tmp_path) / "results.json").exists()
        assert evaluate(server.address, "--num_samples", 2) == 0
        assert "finished earlier" not in capsys.readouterr().out
        assert len(server.requests) == 8


@pytest.mark.parametrize("count", [1, 2])
def test_answers_of_another_kind_of_server_are_not_taken(evaluate, tmp_path, capsys, count):
    with ChatServer(mostly_right, owner="vllm") as first, ChatServer(mostly_right, owner="transformers") as second:
        assert evaluate(first.address, "--num_samples", 1) == 0
        assert evaluate(second.address, "--num_samples", count) == 1
        assert not second.requests
    assert "served_engine was" in capsys.readouterr().err
    assert results_of(tmp_path)["settings"]["served_engine"] == "vllm"


@pytest.mark.parametrize(
    ("owner", "flags", "sent"),
    [
        ("vllm", [], NEUTRAL),
        ("vllm", ["--top_k", 20, "--min_p", 0.1], {"top_k": 20, "min_p": 0.1, "repetition_penalty": 1.0}),
        ("a hosted API", [], {}),
    ],
    ids=["left out", "given", "hosted"],
)
def test_vllm_mixes_in_nothing_of_the_model_that_is_not_asked_for(evaluate, tmp_path, owner, flags, sent):
    with ChatServer(mostly_right, owner=owner) as server:
        assert evaluate(server.address, "--num_samples", 1, *flags) == 0
    assert len(server.requests) == 4
    for body in server.requests:
        assert {name: body[name] for name in NEUTRAL if name in body} == sent
    noted = results_of(tmp_path)["settings"]
    assert {name: noted[name] for name in NEUTRAL} == {**dict.fromkeys(NEUTRAL), **sent}


def write_model(folder, weights="{}"):
    folder.mkdir()
    (folder / "config.json").write_text(weights, encoding="utf-8")
    return folder


@pytest.fixture
def weights(tmp_path):
    """Three folders of models: A, a copy of it, and B."""
    return {
        name: write_model(tmp_path / name, text) for name, text in {"A": "{}", "copy": "{}", "B": '{"b": 1}'}.items()
    }


def two_servers(first, second):
    return ChatServer(mostly_right, root=str(first)), ChatServer(mostly_right, root=str(second))


def test_a_copy_of_the_weights_is_the_same_model(evaluate, tmp_path, weights):
    one, other = two_servers(weights["A"], weights["copy"])
    with one, other:
        served = ("--served_model", MODEL, "--num_samples", 1)
        assert evaluate(f"{one.address},{other.address}", *served) == 0
        fingerprint = results_of(tmp_path)["settings"]["model_fingerprint"]
        assert fingerprint is not None and "+" not in fingerprint
        assert evaluate(other.address, "--model_id", weights["A"], *served) == 0
    assert results_of(tmp_path, model="A")["settings"]["model_fingerprint"] == fingerprint
