# SPDX-License-Identifier: Apache-2.0
"""`scripts/generate_reasoning.py` on output folders that hold something: ours, of others, of other sizes."""

import os
import signal

import pytest

from open_r1.data.card import read_card
from open_r1.generation.journal import Journal
from tests.integration.fakes.chat_server import ChatServer, Reply, answer_of
from tests.integration.reasoning_runs import answers, generate, rows_of, write_rows

ONE_BY_ONE = ["--max-concurrent", "1"]


@pytest.fixture
def folder(tmp_path):
    """A folder with rows.jsonl, of six problems."""
    write_rows(tmp_path / "rows.jsonl", 6)
    return tmp_path


def stopping_after(count, server):
    """Behave soundly, and end the run at a request."""

    def behave(body, attempt):
        if len(server.requests) == count:
            os.kill(os.getpid(), signal.SIGINT)
        return Reply(answer_of(body["messages"], body["seed"]))

    return behave


@pytest.mark.parametrize("content", [b'{"mine": "one line"}', b'{"mine": 1}\n{"mine": 2}', b"mine\n"])
@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--model", "stub/model"]])
def test_a_file_of_others_with_the_name_of_the_journal_is_left_alone(folder, content, flags, capsys):
    (folder / "out").mkdir()
    path = folder / "out" / "generations.jsonl"
    path.write_bytes(content)
    with ChatServer() as server:
        assert generate(folder, server.address, *flags) == 1
        assert server.requests == []
    assert "no journal of generations" in capsys.readouterr().err
    assert path.read_bytes() == content


def test_generations_that_are_not_published_are_kept_for_a_run_that_wants_them(folder):
    with ChatServer() as server:
        server.behave = stopping_after(17, server)
        assert generate(folder, server.address, "--num-generations", "4", *ONE_BY_ONE) == 130
        assert generate(folder, server.address, "--num-generations", "2", *ONE_BY_ONE) == 0
        assert [row["generations"] for row in rows_of(folder)] == [answers(n) for n in range(6)]
        assert len(server.requests) == 17 + 3
        assert generate(folder, server.address, "--num-generations", "4", "--overwrite", *ONE_BY_ONE) == 0
        assert len(server.requests) == 24
    assert [row["generations"] for row in rows_of(folder)] == [answers(n, 4) for n in range(6)]


@pytest.mark.parametrize("model", [[], ["--model", "stub/model"]])
def test_a_finished_run_grows_by_what_it_lacks(folder, model):
    with ChatServer() as server:
        assert generate(folder, server.address, "--limit", "4", *model) == 0
        assert len(server.requests) == 8
        assert generate(folder, server.address, "--overwrite", *model) == 0
        assert len(server.requests) == 12
        assert generate(folder, server.address, "--limit", "2", "--overwrite", *model) == 0
        assert len(server.requests) == 12
    assert len(rows_of(folder)) == 2


def test_a_finished_run_of_other_settings_is_made_anew(folder):
    with ChatServer() as server:
        assert generate(folder, server.address) == 0
        assert generate(folder, server.address, "--temperature", "0.1", "--overwrite") == 0
        assert len(server.requests) == 24
    with Journal(folder / "out" / "generations.jsonl", None) as journal:
        assert journal.settings["temperature"] == 0.1


def test_overwrite_asks_for_nothing_where_settings_are_the_same(folder, capsys):
    with ChatServer() as server:
        assert generate(folder, server.address, "--overwrite") == 0
        assert generate(folder, server.address, "--overwrite") == 0
        assert "finished earlier" in capsys.readouterr().out
        assert len(server.requests) == 12


def test_a_folder_in_which_another_process_generates_is_refused(folder, capsys):
    with ChatServer() as server:
        with Journal(folder / "out" / "generations.jsonl", {}):
            assert generate(folder, server.address) == 1
        assert "in use" in capsys.readouterr().err
        assert server.requests == []
        assert generate(folder, server.address) == 0


@pytest.mark.parametrize("status", [401, 402, 404])
def test_a_key_or_model_that_is_gone_ends_the_run_and_is_no_failure_of_rows(folder, status, capsys):
    is_mended = False

    def behave(body, attempt):
        if len(server.requests) > 2 and not is_mended:
            return Reply(status=status, error="no such thing")
        return Reply(answer_of(body["messages"], body["seed"]))

    with ChatServer(behave) as server:
        assert generate(folder, server.address, *ONE_BY_ONE) == 1
        assert f"refuses all requests: HTTP {status}: no such thing" in capsys.readouterr().err
        assert len(server.requests) == 2 + 3  # none of which is kept as a failure
        assert read_card(folder / "out") is None
        is_mended = True
        assert generate(folder, server.address, *ONE_BY_ONE, "--retry-errors") == 0
    assert [row["generations"] for row in rows_of(folder)] == [answers(n) for n in range(6)]


def test_a_run_in_which_all_failed_is_no_data_set(folder, capsys):
    is_mended = False

    def behave(body, attempt):
        return Reply("8") if is_mended else Reply(status=400, error="no such parameter")

    with ChatServer(behave) as server:
        assert generate(folder, server.address) == 1
        said = capsys.readouterr().err
        assert "All 12 generations failed, the last with: HTTP 400: no such parameter" in said
        assert read_card(folder / "out") is None
        assert generate(folder, server.address) == 1
        assert len(server.requests) == 12
        is_mended = True
        assert generate(folder, server.address, "--retry-errors") == 0
    assert {text for row in rows_of(folder) for text in row["generations"]} == {"8"}


def test_retrying_without_the_journal_is_refused_before_all_is_paid_again(folder, capsys):
    def behave(body, attempt):
        return Reply(status=400, error="long") if "3+1" in body["messages"][0]["content"] else Reply("8")

    with ChatServer(behave) as server:
        assert generate(folder, server.address) == 3
        (folder / "out" / "generations.jsonl").unlink()
        assert generate(folder, server.address, "--retry-errors") == 1
        assert "is gone: all would be asked for again" in capsys.readouterr().err
        assert len(server.requests) == 12


def test_output_whose_parquet_is_cut_is_made_anew_of_its_journal_by_overwriting(folder):
    with ChatServer() as server:
        assert generate(folder, server.address) == 0
        rows = rows_of(folder)
        (path,) = (folder / "out" / "data").iterdir()
        path.write_bytes(path.read_bytes()[:200])
        assert generate(folder, server.address) == 1
        assert generate(folder, server.address, "--overwrite") == 0
        assert len(server.requests) == 12
    assert rows_of(folder) == rows


def test_a_key_that_a_server_repeats_is_in_no_file(folder, environment):
    environment["MY_KEY"] = "sk-0123456789"

    def behave(body, attempt):
        is_bad = "3+1" in body["messages"][0]["content"]
        return Reply(status=400, error="bad key sk-0123456789") if is_bad else Reply("8")

    with ChatServer(behave) as server:
        body = ("--extra-body", '{"headers": {"api_key": "also-secret"}}')
        address = f"http://{server.address}/0123456789abcdefghij/v1"
        assert generate(folder, address, "--api-key-env", "MY_KEY", *body) == 3
    assert rows_of(folder)[3]["api_metadata"][0]["error"] == "HTTP 400: bad key ***"
    assert rows_of(folder)[0]["api_metadata"][0]["server"] == f"http://{server.address}/***/v1"
    for path in (path for path in (folder / "out").rglob("*") if path.is_file()):
        assert not any(secret in path.read_bytes() for secret in (b"sk-0", b"also-secret", b"0123456789abcdefghij"))


def test_a_file_of_another_run_is_not_written_over(folder, capsys):
    (folder / "mine.jsonl").write_text("precious\n")
    with ChatServer() as server:
        assert generate(folder, server.address, "--output-file", str(folder / "mine.jsonl")) == 1
    assert "it is of another run" in capsys.readouterr().err
    assert (folder / "mine.jsonl").read_text() == "precious\n"
