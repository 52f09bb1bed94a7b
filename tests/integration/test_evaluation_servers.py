# SPDX-License-Identifier: Apache-2.0
"""Figures of `scripts/run_benchmarks.py` are of one model, kind of server and template; more isn't made less."""

import json

import pytest

from open_r1.evaluation.asking_log import Speed, note_servers, note_speed, read_servers, read_speed
from open_r1.evaluation.serving import describe_servers, engine_of
from open_r1.evaluation.settings import EvaluationSettings
from scripts.run_benchmarks import INCOMPLETE
from tests.integration.benchmark_runs import evaluator, folder_of, mostly_right, results_of, write_problems
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.fakes.vllm_executable import write_vllm


@pytest.fixture
def evaluate(tmp_path):
    return evaluator(write_problems(tmp_path / "sums.jsonl"), tmp_path / "out")


@pytest.mark.parametrize("flag", ["--serve_args", "--served_with"])
def test_a_template_file_with_another_text_is_another_run(evaluate, tmp_path, capsys, flag):
    template = tmp_path / "t.jinja"
    template.write_text("one", encoding="utf-8")
    with ChatServer(mostly_right) as server:
        command = (server.address, flag, f"--chat-template {template}")
        assert evaluate(*command, "--num_samples", 1) == evaluate(*command, "--num_samples", 1) == 0
        assert len(server.requests) == 4
        template.write_text("two", encoding="utf-8")
        assert evaluate(*command, "--num_samples", 1) == evaluate(*command, "--num_samples", 2) == 1
        assert len(server.requests) == 4
        assert "named_template_hash was" in capsys.readouterr().err
        assert evaluate(*command, "--num_samples", 1, "--overwrite") == 0
        assert len(server.requests) == 8


def test_a_template_that_only_the_servers_arguments_name_is_another_run(evaluate, tmp_path):
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1, "--served_with", "serve m --port 1") == 0
        assert evaluate(server.address, "--num_samples", 1, "--served_with", "serve m --port 2") == 0
        assert len(server.requests) == 4
        assert evaluate(server.address, "--num_samples", 1, "--served_with", "serve m --chat-template o.jinja") == 1


@pytest.mark.parametrize("count", [1, 2])
def test_answers_of_another_kind_of_server_are_not_taken(evaluate, tmp_path, capsys, count):
    with ChatServer(mostly_right, owner="vllm") as first, ChatServer(mostly_right, owner="transformers") as second:
        assert evaluate(first.address, "--num_samples", 1) == 0
        assert evaluate(second.address, "--num_samples", count) == 1
        assert not second.requests
    assert "served_engine was 'vllm' and is now 'transformers'" in capsys.readouterr().err
    assert results_of(tmp_path)["settings"]["served_engine"] == "vllm"


def test_a_job_on_another_port_goes_on(evaluate, tmp_path):
    def half(body, attempt):
        return Reply("\\boxed{1}") if body["seed"] == 0 else Reply(status=400)

    with ChatServer(half, owner="vllm") as server:
        assert evaluate(server.address, "--num_samples", 2) == INCOMPLETE
    with ChatServer(mostly_right, owner="vllm") as server:
        assert evaluate(server.address, "--num_samples", 2) == 0
        assert len(server.requests) == 4
    assert results_of(tmp_path)["settings"]["served_by"] == [{"engine": "vllm", "version": None}]


def test_a_named_back_end_is_not_finished_by_a_server_of_another_kind(evaluate, tmp_path, capsys):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    with ChatServer(mostly_right, models=[str(model)]) as server:
        assert evaluate(server.address, "--model_id", model, "--num_samples", 1) == 0
    assert evaluate(None, "--model_id", model, "--num_samples", 1, "--backend", "transformers") == 1
    assert "finished earlier" not in capsys.readouterr().out


def test_a_server_of_ours_and_one_that_is_named_are_alike(evaluate, tmp_path, monkeypatch, capsys):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    with ChatServer(mostly_right, models=[str(model)], owner="vllm") as server:
        assert evaluate(server.address, "--model_id", model, "--num_samples", 1) == 0
    monkeypatch.setenv("PATH", str(write_vllm(tmp_path / "bin").parent), prepend=":")
    assert evaluate(None, "--model_id", model, "--num_samples", 1, "--backend", "vllm") == 0
    assert "finished earlier" in capsys.readouterr().out


NEUTRAL = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


@pytest.mark.parametrize(
    ("owner", "flags", "sent"),
    [
        ("vllm", [], NEUTRAL),
        ("vllm", ["--top_k", 20, "--min_p", 0.1], {"top_k": 20, "min_p": 0.1, "repetition_penalty": 1.0}),
        ("vllm", ["--serve_args=--generation_config auto", "--top_k", 5], {"top_k": 5}),
        ("a hosted API", [], {}),
    ],
    ids=["left out", "given", "asked for", "hosted"],
)
def test_vllm_mixes_in_nothing_of_the_model_that_is_not_asked_for(evaluate, tmp_path, owner, flags, sent):
    with ChatServer(mostly_right, owner=owner) as server:
        assert evaluate(server.address, "--num_samples", 1, *flags) == 0
    assert len(server.requests) == 4
    for body in server.requests:
        assert {name: body[name] for name in NEUTRAL if name in body} == sent
    noted = results_of(tmp_path)["settings"]
    assert {name: noted[name] for name in NEUTRAL} == {**dict.fromkeys(NEUTRAL), **sent}


def test_all_versions_that_have_answered_are_listed_and_noted(evaluate, tmp_path):
    with ChatServer(mostly_right) as server:
        evaluate(server.address, "--num_samples", 1)
        earlier = {"engine": "stub", "version": "1.0"}
        note = folder_of(tmp_path) / "asking.jsonl"
        note.write_text(json.dumps({"served_by": [earlier]}) + "\n", encoding="utf-8")
        assert evaluate(server.address, "--num_samples", 2) == 0
    results = results_of(tmp_path)
    assert results["settings"]["served_by"] == [earlier, {"engine": "stub", "version": None}]
    assert any("several kinds of servers" in note for note in results["notes"])


def test_servers_that_say_nothing_hide_behind_those_that_do():
    with ChatServer(owner="vllm") as server:
        assert describe_servers([server.address, "127.0.0.1:1"], None) == [{"engine": "vllm", "version": None}]
    assert describe_servers(["127.0.0.1:1"], None) == [{"engine": None, "version": None}]


@pytest.mark.parametrize(
    ("fewer", "words"),
    [
        (["--num_samples", 1], "1 answers a problem, and there were 2"),
        (["--num_samples", 2, "--limit", 2], "2 problems, and there were 4"),
        (["--num_samples", 3, "--limit", 3], "3 problems, and there were 4"),
    ],
)
def test_fewer_do_not_take_the_place_of_more(evaluate, tmp_path, capsys, fewer, words):
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 2) == 0
        before = results_of(tmp_path)
        assert evaluate(server.address, *fewer) == 1
        assert words in capsys.readouterr().err
        assert results_of(tmp_path) == before
        assert evaluate(server.address, *fewer, "--overwrite") == 0
        assert results_of(tmp_path, name="sums.1") == before
        assert results_of(tmp_path)["settings"]["num_samples"] == fewer[1]


def test_a_limit_that_leaves_nothing_out_and_more_answers_go_on(evaluate, tmp_path):
    with ChatServer(mostly_right) as server:
        assert evaluate(server.address, "--num_samples", 1) == 0
        assert evaluate(server.address, "--num_samples", 2, "--limit", 9) == 0
        assert len(server.requests) == 8


def test_speed_is_that_of_all_runs_and_stays_where_nothing_is_asked(evaluate, tmp_path):
    folder = folder_of(tmp_path)
    with ChatServer(mostly_right) as server:
        evaluate(server.address, "--num_samples", 1)
        first = json.loads((folder / "results.json").read_text())["speed"]
        evaluate(server.address, "--num_samples", 2)
        second = json.loads((folder / "results.json").read_text())["speed"]
        (folder / "results.json").unlink()  # killed before it was written
        evaluate(server.address, "--num_samples", 2)
        assert len(server.requests) == 8
    assert json.loads((folder / "results.json").read_text())["speed"] == second
    assert (first["answers"], second["answers"], second["tokens"]) == (4, 8, 2 * first["tokens"])
    assert second["seconds"] > first["seconds"]
    assert second["tokens_per_s"] == second["tokens"] / second["seconds"]


def test_the_log_of_a_killed_run_is_read_as_far_as_it_goes(tmp_path):
    assert (read_servers(tmp_path), read_speed(tmp_path)) == ([], None)
    note_servers(tmp_path, [{"engine": "vllm"}], None)
    note_speed(tmp_path, Speed(10, 2.0, 1))
    with (tmp_path / "asking.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"tokens": 9')
    note_servers(tmp_path, [{"engine": "vllm"}, {"engine": "stub"}], "c0ffee")
    note_speed(tmp_path, Speed(20, 3.0, 2))
    note_speed(tmp_path, None)
    assert read_servers(tmp_path) == [{"engine": "vllm"}, {"engine": "stub"}]
    assert read_speed(tmp_path) == Speed(30, 5.0, 3)


def test_finished_runs_need_no_vllm(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert engine_of(EvaluationSettings(MODEL, backend="vllm")) == "vllm"
    assert engine_of(EvaluationSettings(MODEL, serve_args=["--dtype", "half"])) == "vllm"
    assert engine_of(EvaluationSettings(MODEL, servers=["a:1"])) is None


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


@pytest.mark.parametrize("named", [[], ["--model_id"], ["--model_id", "--served_model"]], ids=len)
def test_models_that_differ_under_one_name_are_refused(evaluate, weights, capsys, named):
    values = {"--model_id": weights["A"], "--served_model": MODEL}
    flags = [word for flag in named for word in (flag, values[flag])]
    one, other = two_servers(weights["A"], weights["B"])
    with one, other:
        assert evaluate(f"{one.address},{other.address}", *flags, "--num_samples", 1) == 1
        assert not one.requests + other.requests
    assert "different models" in capsys.readouterr().err


def test_a_copy_of_the_weights_is_the_same_model(evaluate, tmp_path, weights):
    one, other = two_servers(weights["A"], weights["copy"])
    with one, other:
        assert evaluate(f"{one.address},{other.address}", "--num_samples", 1) == 0
        fingerprint = results_of(tmp_path)["settings"]["model_fingerprint"]
        assert fingerprint is not None and "+" not in fingerprint
        assert evaluate(other.address, "--model_id", weights["A"], "--num_samples", 1) == 0
    assert results_of(tmp_path, model="A")["settings"]["model_fingerprint"] == fingerprint


@pytest.mark.parametrize("flags", [[], ["--model_id", "org/m"], ["--served_model", MODEL]], ids=len)
def test_folders_elsewhere_need_the_users_word(evaluate, tmp_path, capsys, flags):
    one, other = two_servers("/elsewhere/1/m", "/elsewhere/2/m")
    with one, other:
        assert evaluate(f"{one.address},{other.address}", *flags, "--num_samples", 1) == 1
        assert "different models" in capsys.readouterr().err
        word = ["--model_id", "org/m", "--served_model", MODEL]
        assert evaluate(f"{one.address},{other.address}", *word, "--num_samples", 1) == 0
    assert results_of(tmp_path, model="org/m")["counts"]["returned"] == 4


def test_each_server_must_tell_that_it_has_the_model(evaluate, tmp_path, weights, capsys):
    with ChatServer(mostly_right, root=str(weights["A"])) as one, ChatServer(mostly_right) as other:
        assert evaluate(f"{one.address},{other.address}", "--model_id", weights["A"], "--num_samples", 1) == 1
        assert "--served_model" in capsys.readouterr().err
        assert evaluate(f"{one.address},{other.address}", "--num_samples", 1) == 0
    assert results_of(tmp_path)["settings"]["model_fingerprint"] is None


def test_contexts_that_differ_are_no_limit_of_an_answer(evaluate, tmp_path, capsys):
    with ChatServer(mostly_right, max_model_len=4096) as one, ChatServer(mostly_right, max_model_len=8192) as other:
        assert evaluate(f"{one.address},{other.address}", "--num_samples", 1) == 1
        assert "contexts differ (4096, 8192, in tokens)" in capsys.readouterr().err
        assert evaluate(f"{one.address},{other.address}", "--num_samples", 1, "--max_tokens", 100) == 0
        assert {body["max_tokens"] for body in one.requests + other.requests} == {100}
    assert results_of(tmp_path)["settings"]["max_tokens"] == 100
