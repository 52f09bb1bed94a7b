# SPDX-License-Identifier: Apache-2.0
"""`scripts/generate_reasoning.py` continued, retried, overwritten; test_kills.py kills it."""

import os
import signal

import pytest

from open_r1.data.card import read_card
from tests.integration.fakes.chat_server import ChatServer, Reply, answer_of
from tests.integration.reasoning_runs import answers, generate, rows_of, write_rows

FLAGS = ["--max-concurrent", "1"]


@pytest.fixture
def folder(tmp_path):
    """A folder with rows.jsonl, of six problems."""
    write_rows(tmp_path / "rows.jsonl", 6)
    return tmp_path


def test_an_unfinished_journal_of_other_settings_is_refused(folder, capsys):
    def behave(body, attempt):
        if len(server.requests) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return Reply("8")

    with ChatServer(behave) as server:
        assert generate(folder, server.address) == 143
        assert "Repeat the command" in capsys.readouterr().err
        asked = len(server.requests)
        assert generate(folder, server.address, "--temperature", "0.1") == 1
        assert "temperature was 0.6" in capsys.readouterr().err
        write_rows(folder / "rows.jsonl", 7)
        assert generate(folder, server.address) == 1
        assert "source was" in capsys.readouterr().err
        assert len(server.requests) == asked


def test_overwrite_goes_on_with_what_it_has_begun(folder):
    def behave(body, attempt):
        if len(server.requests) == 12 + 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return Reply(answer_of(body["messages"], body["seed"]))

    with ChatServer(behave) as server:
        flags = ["--max-concurrent", "1"]
        generate(folder, server.address, *flags)
        again = [*flags, "--temperature", "0.1", "--overwrite"]
        assert generate(folder, server.address, *again) == 143
        assert len(rows_of(folder)) == 6  # what was there before
        assert generate(folder, server.address, *again) == 0
        assert len(server.requests) == 24
    assert read_card(folder / "out").sampling["temperature"] == 0.1


def test_failures_are_null_and_can_be_asked_for_again(folder, capsys):
    is_mended = False

    def behave(body, attempt):
        text = body["messages"][0]["content"]
        return Reply("8") if is_mended or "3+1" not in text else Reply(status=400, error="context too long")

    with ChatServer(behave) as server:
        assert generate(folder, server.address) == 3
        assert "2 generations failed" in capsys.readouterr().err
        assert rows_of(folder)[3]["generations"] == [None, None]
        assert rows_of(folder)[3]["api_metadata"][0]["error"] == "HTTP 400: context too long"
        assert generate(folder, server.address) == 3
        assert "finished earlier" in capsys.readouterr().out
        is_mended = True
        before = len(server.requests)
        assert generate(folder, server.address, "--retry-errors") == 0
        assert len(server.requests) == before + 2
        assert {text for row in rows_of(folder) for text in row["generations"]} == {"8"}
        assert generate(folder, server.address, "--retry-errors") == 0
        assert "finished earlier" in capsys.readouterr().out
        assert len(server.requests) == before + 2


@pytest.mark.parametrize("content", [b'{"mine": "one line"}', b'{"mine": 1}\n{"mine": 2}', b"mine\n"])
@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_a_file_of_others_with_the_name_of_the_journal_is_left_alone(folder, content, flags, capsys):
    (folder / "out").mkdir()
    path = folder / "out" / "generations.jsonl"
    path.write_bytes(content)
    with ChatServer() as server:
        assert generate(folder, server.address, *flags) == 1
        assert server.requests == []
    assert "not a journal" in capsys.readouterr().err
    assert path.read_bytes() == content


def test_generations_that_are_not_published_are_kept_for_a_run_that_wants_them(folder):
    def behave(body, attempt):
        if len(server.requests) == 18:
            os.kill(os.getpid(), signal.SIGINT)
        return Reply(answer_of(body["messages"], body["seed"]))

    with ChatServer(behave) as server:
        assert generate(folder, server.address, "--num-generations", "4", *FLAGS) == 130
        num_asked = len(server.requests)  # 18, or one more that was already under way
        assert generate(folder, server.address, "--num-generations", "2", *FLAGS) == 0
        assert [row["generations"] for row in rows_of(folder)] == [answers(n) for n in range(6)]
        assert len(server.requests) == num_asked + 2
        for _ in range(2):  # the second time, all is there
            assert generate(folder, server.address, "--num-generations", "4", "--overwrite", *FLAGS) == 0
            assert len(server.requests) == 24
    assert [row["generations"] for row in rows_of(folder)] == [answers(n, 4) for n in range(6)]


def test_a_run_in_which_all_failed_is_no_data_set(folder, capsys):
    is_mended = False

    def behave(body, attempt):
        return Reply("8") if is_mended else Reply(status=400, error="no such parameter")

    with ChatServer(behave) as server:
        assert generate(folder, server.address) == 1
        said = capsys.readouterr().err
        assert "no such parameter" in said
        assert read_card(folder / "out") is None
        assert generate(folder, server.address) == 1
        assert len(server.requests) == 12
        is_mended = True
        assert generate(folder, server.address, "--retry-errors") == 0
    assert {text for row in rows_of(folder) for text in row["generations"]} == {"8"}


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


def test_a_file_of_another_run_is_not_written_over(folder, capsys):
    (folder / "mine.jsonl").write_text("precious\n")
    with ChatServer() as server:
        assert generate(folder, server.address, "--output-file", str(folder / "mine.jsonl")) == 1
    assert "another run" in capsys.readouterr().err
    assert (folder / "mine.jsonl").read_text() == "precious\n"
