# SPDX-License-Identifier: Apache-2.0
"""generate.py as users run it: real distilabel, real processes, the stub server in place of a model."""

from collections import Counter

import psutil
import pytest
from huggingface_hub import constants

from open_r1.data.card import read_card
from open_r1.generate import main
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.fakes.vllm_executable import read_pids, write_vllm
from tests.integration.generate_runs import processes_of, read, words, write_rows
from tests.integration.hub_server import Hub

LONG = "x" * 1_000_000
PROMPTS = ["first", "twice", "twice", None, "", "is refused", "passes later", LONG, "braces {{ y }} \\boxed{3}"]


def echo(body, attempt):
    prompt = body["messages"][-1]["content"]
    if prompt == "is refused":
        return Reply(status=400, error="too long, sk-secret")
    if prompt == "passes later" and attempt == 0:
        return Reply(status=503)
    return Reply(f"about {prompt[:20]}", reasoning="hm")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two generations of hostile rows, by a server that wants a key: its requests, the rows, the folder, the words."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch, ChatServer(echo, api_key="sk-secret") as server:
        patch.setenv("MY_KEY", "sk-secret")
        more = [
            "--num-generations",
            "2",
            "--temperature",
            "0.6",
            "--api-key-env",
            "MY_KEY",
            "--client-replicas",
            "2",
            "--input-batch-size",
            "4",
            "--prompt-template",
            "{{ instruction }}",
            "--system-prompt",
            "Be brief.",
        ]
        command = words(write_rows(folder, PROMPTS), folder / "out", server.url, *more)
        assert main(command) == 0
        yield server, read(folder / "out"), folder / "out", command


def test_every_row_comes_out_in_order(finished):
    _, rows, _, _ = finished
    assert [rows[number]["prompt"] for number in sorted(rows)] == PROMPTS


def test_generations_carry_their_reasoning(finished):
    _, rows, _, _ = finished
    assert rows[0]["generations"] == ["<think>\nhm\n</think>\n\nabout first"] * 2
    assert rows[0]["finish_reasons"] == ["stop", "stop"]
    assert rows[0]["api_metadata"][1]["prompt_tokens"] > 0


def test_rows_of_one_prompt_are_told_apart(finished):
    server, rows, _, _ = finished
    asked = Counter(body["messages"][-1]["content"] for body in server.requests)
    assert (asked["twice"], len(rows[1]["generations"]), len(rows[2]["generations"])) == (4, 2, 2)


@pytest.mark.parametrize(("number", "reason"), [(3, "null"), (4, "empty")])
def test_row_without_a_prompt_is_kept_and_not_asked(finished, number, reason):
    _, rows, _, _ = finished
    assert rows[number]["generations"] == [None, None]
    assert reason in rows[number]["api_metadata"][0]["error"]


def test_refused_request_is_null_and_does_not_take_its_batch_along(finished):
    server, rows, _, _ = finished
    assert (rows[5]["generations"], rows[5]["finish_reasons"]) == ([None, None], ["error", "error"])
    assert rows[5]["api_metadata"][0]["error"] == "HTTP 400: too long, ***"
    assert sum(body["messages"][-1]["content"] == "is refused" for body in server.requests) == 2


def test_request_that_failed_for_the_moment_is_asked_again(finished):
    _, rows, _, _ = finished
    assert rows[6]["finish_reasons"] == ["stop", "stop"]


def test_megabyte_and_braces_reach_the_server_as_they_are(finished):
    server, rows, _, _ = finished
    asked = {body["messages"][-1]["content"] for body in server.requests}
    assert {LONG, PROMPTS[-1]} <= asked
    assert rows[7]["finish_reasons"] == rows[8]["finish_reasons"] == ["stop", "stop"]


def test_only_what_was_set_is_sent(finished):
    server, _, _, _ = finished
    assert all(set(body) == {"model", "messages", "max_tokens", "temperature"} for body in server.requests)
    assert server.requests[0]["messages"][0] == {"role": "system", "content": "Be brief."}


def test_card_counts_failures_and_names_teacher_and_parent(finished):
    _, _, folder, _ = finished
    card = read_card(folder)
    [step] = card.steps
    assert (card.teacher["model"], card.sampling["temperature"]) == (MODEL, 0.6)
    assert card.parents[0].num_rows == len(PROMPTS)
    assert (step.detail["errors"], step.detail["rows_without_prompt"], step.detail["requests"]) == (2, 2, 14)


def test_nothing_but_the_result_is_left(finished):
    _, _, folder, _ = finished
    assert not (folder / ".distilabel").exists()
    assert not processes_of(folder)


def test_finished_command_is_not_run_again(finished, caplog):
    server, _, _, command = finished
    before = len(server.requests)
    with caplog.at_level("INFO"):
        assert main(command) == 0
    assert "finished earlier" in caplog.text
    assert len(server.requests) == before


@pytest.mark.parametrize(("more", "is_private"), [([], True), (["--private"], True), (["--public"], False)])
def test_finished_output_is_pushed_when_named_and_private_unless_public(finished, monkeypatch, more, is_private):
    _, _, _, command = finished
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        assert main([*command, "--hf-output-dataset", "alice/made", *more]) == 0
        pushed = hub.repos["datasets/alice/made"]
        assert pushed.private is is_private
        assert "data/train-00000-of-00001.parquet" in pushed.branches["main"].files


def test_other_settings_are_refused_with_what_differs(finished, caplog):
    _, _, _, command = finished
    assert main([*command, "--top-p", "0.5"]) == 1
    assert "top_p None -> 0.5" in caplog.text
    assert "--overwrite" in caplog.text


def test_overwrite_asks_for_nothing_where_settings_are_the_same(finished, caplog):
    server, _, _, command = finished
    before = len(server.requests)
    with caplog.at_level("INFO"):
        assert main([*command, "--overwrite"]) == 0
    assert len(server.requests) == before
    assert "finished earlier" in caplog.text


def test_failures_of_a_finished_output_are_asked_again_when_told_to(finished, caplog):
    """The last test on `finished`: it changes it."""
    server, rows, folder, command = finished
    before = len(server.requests)
    server.behave = lambda body, attempt: Reply("after all")
    assert main([*command, "--retry-errors"]) == 0
    assert len(server.requests) == before + 2
    assert read(folder)[5]["generations"] == ["after all"] * 2
    assert read(folder)[0] == rows[0]
    with caplog.at_level("INFO"):
        assert main([*command, "--retry-errors"]) == 0
    assert "finished earlier" in caplog.text


def test_server_of_its_own_is_started_and_gone_at_the_end(tmp_path):
    rows = write_rows(tmp_path, ["a"], generations="an older column")
    command = [
        "--hf-dataset",
        str(rows),
        "--output-dir",
        str(tmp_path / "out"),
        "--model",
        "some/model",
        "--serve",
        "--serve-args=--served-model-name short",
        "--vllm",
        str(write_vllm(tmp_path / "bin")),
        "--drop-columns",
        "generations",
    ]
    assert main(command) == 0
    assert read(tmp_path / "out")[0]["finish_reasons"] == ["stop"]
    assert not any(psutil.pid_exists(pid) for pid in read_pids(tmp_path / "bin"))


def test_push_that_cannot_be_is_refused_before_the_work(tmp_path, caplog):
    with ChatServer() as server:
        command = words(write_rows(tmp_path, ["a"]), tmp_path / "out", server.url, "--hf-output-dataset", "a/b/c")
        assert main(command) == 1
        assert "a/b/c" in caplog.text
        assert not server.requests
