# SPDX-License-Identifier: Apache-2.0
"""`scripts/generate_reasoning.py --retry-errors`: what is kept beside a finished data set is never paid for again."""

import os
import signal

import pytest

from tests.integration.fakes.chat_server import ChatServer, Reply, answer_of
from tests.integration.reasoning_runs import generate, rows_of, write_rows

FLAGS = ["--max-concurrent", "1", "--grace", "0"]


@pytest.fixture
def folder(tmp_path):
    """A folder with rows.jsonl, of six problems."""
    write_rows(tmp_path / "rows.jsonl", 6)
    return tmp_path


def failing(body, attempt):
    """Fail at row 3."""
    if "3+1" in body["messages"][0]["content"]:
        return Reply(status=400, error="long")
    return Reply(answer_of(body["messages"], body["seed"]))


def stopping_at(count, server):
    """Answer so many requests less one, then end the run within one."""

    def behave(body, attempt):
        if len(server.requests) == count:
            os.kill(os.getpid(), signal.SIGINT)
            return Reply("late", delay_s=60.0)
        return Reply(answer_of(body["messages"], body["seed"]))

    return behave


def test_a_retry_does_not_go_on_with_what_another_model_has_begun(folder, capsys):
    with ChatServer(failing, models=["y"]) as server:
        assert generate(folder, server.address, *FLAGS) == 3
        server.requests.clear()
        server.behave, server.models = stopping_at(3, server), ["x"]
        assert generate(folder, server.address, *FLAGS, "--model", "x", "--overwrite") == 130
        kept = {path: path.read_bytes() for path in (folder / "out").glob("*.jsonl")}
        assert len(kept) == 2
        assert generate(folder, server.address, *FLAGS, "--retry-errors") == 1
        assert "model was 'x' and is now 'y'" in capsys.readouterr().err
        assert len(server.requests) == 3
    assert {path: path.read_bytes() for path in kept} == kept
    assert rows_of(folder)[3]["generations"] == [None, None]


def test_a_retry_leaves_a_file_of_others_alone(folder):
    path = folder / "out" / "generations.jsonl"
    with ChatServer(failing) as server:
        assert generate(folder, server.address, *FLAGS) == 3
        path.write_text("mine\n")
        asked = len(server.requests)
        assert generate(folder, server.address, *FLAGS, "--retry-errors", "--overwrite") == 1
        assert len(server.requests) == asked
    assert path.read_text() == "mine\n"


def test_a_missing_shard_is_made_again_from_what_is_kept(folder):
    with ChatServer() as server:
        assert generate(folder, server.address) == 0
        next((folder / "out" / "data").iterdir()).unlink()
        assert generate(folder, server.address) == 1
        assert generate(folder, server.address, "--overwrite") == 0
        assert len(server.requests) == 12
    assert len(rows_of(folder)) == 6


def test_a_journal_goes_on_however_the_source_is_spelled(folder):
    with ChatServer() as server:
        server.behave = stopping_at(5, server)
        assert generate(folder, server.address, *FLAGS) == 130
        kept = len((folder / "out" / "generations.jsonl").read_text().splitlines()) - 1
        server.requests.clear()
        server.behave = lambda body, attempt: Reply("8")
        assert generate(folder, server.address, *FLAGS, source="../" + folder.name + "/rows.jsonl") == 0
        assert len(server.requests) == 12 - kept
