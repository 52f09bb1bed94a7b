# SPDX-License-Identifier: Apache-2.0
"""generate.py as users run it: real distilabel, real processes, the stub server in place of a model."""

import inspect
import json
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
from huggingface_hub import constants

from open_r1.data.card import read_card
from open_r1.generate import build_distilabel_pipeline, build_parser, main
from tests.conftest import ROOT
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.generate_runs import processes_of, read, started, words, write_rows
from tests.integration.hub_server import Hub
from tests.waiting import wait_until

LONG = "x" * 1_000_000
PROMPTS = ["first", "twice", "twice", LONG, "is refused", "beside it", "braces {{ y }} \\boxed{3}"]
NEEDED = ["--hf-dataset", "owner/data", "--model", "m"]
# Open R1's flags and defaults; its --timeout is 600 here and 900 in its function.
UPSTREAM = {"hf_dataset_config": None, "hf_dataset_split": "train", "prompt_column": "prompt",
            "prompt_template": "{{ instruction }}", "vllm_server_url": "http://localhost:8000/v1", "temperature": None,
            "top_p": None, "max_new_tokens": 8192, "num_generations": 1, "input_batch_size": 64, "client_replicas": 1,
            "timeout": 900, "retries": 0, "hf_output_dataset": None, "private": False}  # fmt: skip


def asked(server):
    return Counter(body["messages"][-1]["content"] for body in server.requests)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two generations of seven rows in chunks of four, batches of two: the server, the rows, the folder, the words."""

    def behave(body, attempt):
        return Reply(status=400) if body["messages"][-1]["content"] == "is refused" else Reply("4")

    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch, ChatServer(behave, api_key="sk-secret") as server:
        patch.setenv("OPENAI_API_KEY", "sk-secret")
        more = ["--num-generations", "2", "--input-batch-size", "2", "--chunk-size", "4", "--temperature", "0.6"]
        command = words(write_rows(folder, PROMPTS, n={"a": None}), folder / "out", server.url, *more)
        assert main(command) == 3
        yield server, read(folder / "out"), folder / "out", command


def test_every_row_comes_out_in_order_with_its_generations(finished):
    _, rows, _, _ = finished
    assert [rows[number]["prompt"] for number in sorted(rows)] == PROMPTS
    assert [rows[number]["generation"] for number in sorted(rows)] == [["4", "4"]] * 4 + [None] * 2 + [["4", "4"]]
    assert rows[0]["distilabel_metadata"][1]["statistics_text_generation_0"]["output_tokens"] > 0
    assert rows[0]["model_name"] == MODEL


def test_requests_are_distilabels_own(finished):
    server, _, _, _ = finished
    assert set(PROMPTS) == set(asked(server))
    assert {(body["n"], body["temperature"], body["max_tokens"]) for body in server.requests} == {(2, 0.6, 8192)}


def test_card_counts_null_rows_and_nothing_else_is_left(finished):
    _, _, folder, _ = finished
    card = read_card(folder)
    assert (card.teacher["model"], card.steps[-1].detail) == (MODEL, {"errors": 2})
    assert not (folder / "chunks").exists()
    assert not processes_of(folder)


def test_finished_command_asks_for_nothing_and_still_says_that_rows_are_null(finished):
    server, _, _, command = finished
    before = len(server.requests)
    assert main(command) == 3
    assert len(server.requests) == before


def test_other_settings_are_refused_with_what_differs(finished, caplog):
    _, _, _, command = finished
    assert main([*command, "--top-p", "0.5"]) == 1
    assert "top_p None -> 0.5" in caplog.text


@pytest.mark.parametrize(("more", "is_private"), [([], True), (["--private"], True), (["--public"], False)])
def test_finished_output_is_pushed_when_named_and_private_unless_public(finished, monkeypatch, more, is_private):
    _, _, _, command = finished
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        assert main([*command, "--hf-output-dataset", "alice/made", *more]) == 3
        pushed = hub.repos["datasets/alice/made"]
        assert pushed.private is is_private
        assert "data/train-00000-of-00001.parquet" in pushed.branches["main"].files


def test_killed_run_resumes_with_the_chunk_that_was_in_flight(tmp_path):
    with ChatServer(lambda body, attempt: Reply("4", delay_s=0.0 if "early" in str(body) else 600.0)) as server:
        prompts = [f"early {number}" for number in range(4)] + [f"late {number}" for number in range(6)]
        command = words(write_rows(tmp_path, prompts), tmp_path / "out", server.url, "--chunk-size", "4")
        with started(command) as process:
            wait_until(lambda: any("late" in str(body) for body in server.requests))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            wait_until(lambda: not processes_of(tmp_path))
        server.behave = lambda body, attempt: Reply("4")
        assert main(command) == 0
    assert [row["generation"] for row in read(tmp_path / "out").values()] == [["4"]] * 10
    assert [asked(server)[f"early {number}"] for number in range(4)] == [1] * 4
    assert max(asked(server).values()) == 2


def test_interrupted_run_keeps_no_part_of_a_chunk_and_leaves_no_process(tmp_path):
    with ChatServer(lambda body, attempt: Reply("4", delay_s=600.0 if "1" in str(body["messages"]) else 0)) as server:
        more = ("--input-batch-size", "1")
        with started(words(write_rows(tmp_path, ["0", "1"]), tmp_path / "out", server.url, *more)) as process:
            wait_until(lambda: len(server.requests) == 2)
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 130
            wait_until(lambda: not processes_of(tmp_path))
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_chunk_without_any_generation_is_not_kept(tmp_path, caplog):
    with ChatServer(lambda body, attempt: Reply(status=500)) as server:
        assert main(words(write_rows(tmp_path, ["a"]), tmp_path / "out", server.url)) == 1
    assert "distilabel.log" in caplog.text
    assert not list((tmp_path / "out").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("columns", "flags", "name"),
    [
        ({}, ["--prompt-column", "problem"], "problem"),
        ({"generation": "older"}, [], "generation"),
        ({}, ["--hf-output-dataset", "a/b/c"], "a/b/c"),
    ],
)
def test_refused_before_a_request(tmp_path, caplog, columns, flags, name):
    with ChatServer() as server:
        assert main(words(write_rows(tmp_path, ["a"], **columns), tmp_path / "out", server.url, *flags)) == 1
    assert name in caplog.text
    assert not server.requests


def test_flags_and_function_are_those_of_open_r1():
    args = vars(build_parser().parse_args(NEEDED))
    assert {name: args[name] for name in UPSTREAM} == UPSTREAM
    parameters = inspect.signature(build_distilabel_pipeline).parameters.values()
    assert [(entry.name, entry.default) for entry in parameters] == [
        ("model", inspect.Parameter.empty),
        ("base_url", "http://localhost:8000/v1"),
        ("prompt_column", None),
        ("prompt_template", "{{ instruction }}"),
        ("temperature", None),
        ("top_p", None),
        ("max_new_tokens", 8192),
        ("num_generations", 1),
        ("input_batch_size", 64),
        ("client_replicas", 1),
        ("timeout", 900),
        ("retries", 0),
    ]


PIPELINE = """
import json, sys
from open_r1.generate import build_distilabel_pipeline
if __name__ == "__main__":
    model, url = sys.argv[1:]
    pipeline = build_distilabel_pipeline(model, url, "problem", "Solve: {{ instruction }}", None, 0.9, 64, 2)
    distiset = pipeline.run(dataset=[{"problem": f"p{i}", "other": i} for i in range(3)], use_cache=False)
    print("RESULT", json.dumps(distiset["default"]["train"].to_list()))
"""


def test_pipeline_is_distilabels_for_those_who_run_it_themselves(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "DISTILABEL_CACHE_DIR": str(tmp_path / "cache")}
    with ChatServer() as server:
        command = [sys.executable, "-c", PIPELINE, MODEL, f"{server.url}/v1"]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert run.returncode == 0, run.stderr
        rows = json.loads(run.stdout.partition("RESULT")[2])
        bodies = server.requests
    assert [(row["problem"], row["other"], len(row["generation"])) for row in rows] == [
        ("p0", 0, 2),
        ("p1", 1, 2),
        ("p2", 2, 2),
    ]
    assert Counter(body["messages"][0]["content"] for body in bodies)["Solve: p1"] == 1
    assert (bodies[0]["top_p"], bodies[0]["max_tokens"], bodies[0]["n"]) == (0.9, 64, 2)
