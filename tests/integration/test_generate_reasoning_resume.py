# SPDX-License-Identifier: Apache-2.0
"""`scripts/generate_reasoning.py` killed at any moment, begun with other settings, twice at a time, on a full disk."""

import json
import os
import random
import signal
import time
import urllib.request

import pytest

from open_r1.data.card import read_card
from tests.integration.fakes.chat_server import ChatServer, Reply, answer_of, chat_server_process
from tests.integration.reasoning_runs import answers, generate, rows_of, start, write_rows


@pytest.fixture
def folder(tmp_path):
    """A folder with rows.jsonl, of six problems."""
    write_rows(tmp_path / "rows.jsonl", 6)
    return tmp_path


def size_of(path):
    return path.stat().st_size if path.exists() else 0


def kill_when_it_has_grown(process, path, num_bytes):
    """Kill -9 as soon as the file is longer than so many bytes, or let the process end."""
    while process.poll() is None and size_of(path) < num_bytes:
        time.sleep(0.002)
    process.kill()
    process.communicate()


def test_kills_at_any_moment_lose_nothing_and_ask_for_nothing_twice(tmp_path):
    write_rows(tmp_path / "rows.jsonl", 200)
    journal = tmp_path / "out" / "generations.jsonl"
    draw = random.Random(5)
    in_flight, kills = 8, 0
    with chat_server_process("--latency-s", "0.01", "--jitter-s", "0.01") as address:
        flags = ["--max-concurrent", str(in_flight)]
        for _ in range(4):
            process = start(tmp_path, address, *flags)
            kill_when_it_has_grown(process, journal, size_of(journal) + draw.randrange(1, 25_000))
            kills += 1
        process = start(tmp_path, address, *flags)
        out, err = process.communicate()
        assert process.returncode == 0, err
        with urllib.request.urlopen(f"http://{address}/health") as response:
            answered = json.load(response)["answered"]
    rows = rows_of(tmp_path)
    assert [(row["uuid"], row["generations"]) for row in rows] == [(f"id-{n}", answers(n)) for n in range(200)]
    assert 400 <= answered <= 400 + kills * in_flight
    assert "errors 0" in out


def test_kills_while_the_data_set_is_written_leave_it_whole(tmp_path):
    write_rows(tmp_path / "rows.jsonl", 300)
    partial, done = tmp_path / "out" / ".partial", False
    draw = random.Random(3)
    flags = ["--output-file", str(tmp_path / "out.jsonl"), "--max-concurrent", "64"]
    with chat_server_process() as address:
        for _ in range(3):
            process = start(tmp_path, address, *flags)
            while process.poll() is None and not partial.exists():
                time.sleep(0.001)
            time.sleep(draw.uniform(0, 0.05))  # somewhere within the writing, or after it
            process.kill()
            process.communicate()
            done = done or read_card(tmp_path / "out") is not None
            assert not done or len(rows_of(tmp_path)) == 300
        process = start(tmp_path, address, *flags)
        _, err = process.communicate()
        assert process.returncode == 0, err
    assert [row["generations"] for row in rows_of(tmp_path)] == [answers(n) for n in range(300)]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 300


def test_servers_that_die_end_the_run_with_a_message_and_it_goes_on_when_they_are_back(folder, capsys):
    server = ChatServer()
    server.start()
    sound = server.behave

    def behave(body, attempt):
        if len(server.requests) == 5:
            server.close_port()
            return Reply(drop=True)
        return sound(body, attempt)

    server.behave = behave
    flags = ["--max-concurrent", "1", "--patience", "0.3"]
    assert generate(folder, server.address, *flags) == 1
    said = capsys.readouterr().err
    assert "No server has answered for 0.3 s" in said
    assert "repeat the command" in said
    server.stop()
    server.behave = sound
    server.start()
    assert generate(folder, server.address, *flags) == 0
    server.stop()
    assert len(server.requests) == 12 + 1
    assert [row["generations"] for row in rows_of(folder)] == [answers(n) for n in range(6)]


def test_a_run_can_go_on_with_more_rows_and_generations(folder):
    """What an unfinished journal has serves other limits too: it is of the generation, not of the choice."""

    def behave(body, attempt):
        if len(server.requests) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return Reply(answer_of(body["messages"], body["seed"]))

    with ChatServer(behave) as server:
        flags = ["--max-concurrent", "1"]
        assert generate(folder, server.address, "--limit", "4", *flags) == 130
        assert generate(folder, server.address, "--num-generations", "3", *flags) == 0
        assert len(server.requests) == 18
    assert [row["generations"] for row in rows_of(folder)] == [answers(n, 3) for n in range(6)]


def test_an_unfinished_journal_of_other_settings_is_refused(folder, capsys):
    def behave(body, attempt):
        if len(server.requests) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return Reply("8")

    with ChatServer(behave) as server:
        assert generate(folder, server.address) == 143
        assert "Repeat the command to go on" in capsys.readouterr().err
        asked = len(server.requests)
        assert generate(folder, server.address, "--temperature", "0.1") == 1
        assert "temperature was 0.6 and is now 0.1" in capsys.readouterr().err
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


def test_overwrite_leaves_a_journal_of_other_settings(folder):
    def behave(body, attempt):
        if len(server.requests) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return Reply(answer_of(body["messages"], body["seed"]))

    with ChatServer(behave, models=["old"]) as server:
        flags = ["--max-concurrent", "1"]
        assert generate(folder, server.address, *flags) == 143
        server.models = ["new"]
        asked = len(server.requests)
        assert generate(folder, server.address, *flags) == 1
        assert generate(folder, server.address, *flags, "--overwrite") == 0
        assert len(server.requests) == asked + 12
    assert read_card(folder / "out").teacher["model"] == "new"


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
