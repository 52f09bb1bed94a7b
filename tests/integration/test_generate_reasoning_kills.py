# SPDX-License-Identifier: Apache-2.0
"""`scripts/generate_reasoning.py` killed at any moment, run twice at a time, and on a disk that is full."""

import json
import random
import resource
import signal
import time
import urllib.request

from open_r1.dataio.card import read_card
from tests.integration.fakes.chat_server import ChatServer, Reply, chat_server_process
from tests.integration.reasoning_runs import answers, generate, rows_of, start, write_rows


def limit_files():
    """Let no file grow beyond 6 kB: as a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def size_of(path):
    return path.stat().st_size if path.exists() else 0


def kill_when_it_has_grown(process, path, num_bytes):
    """Kill -9 as soon as the file is longer than so many bytes, or let the process end."""
    while process.poll() is None and size_of(path) < num_bytes:
        time.sleep(0.002)
    process.kill()
    process.communicate()


def test_kills_at_any_moment_lose_nothing_and_ask_for_nothing_twice(tmp_path):
    write_rows(tmp_path / "rows.jsonl", 300)
    journal = tmp_path / "out" / "generations.jsonl"
    draw = random.Random(5)
    in_flight, kills = 8, 0
    with chat_server_process("--latency-s", "0.01", "--jitter-s", "0.01") as address:
        flags = ["--max-concurrent", str(in_flight)]
        for _ in range(5):
            process = start(tmp_path, address, *flags)
            kill_when_it_has_grown(process, journal, size_of(journal) + draw.randrange(1, 25_000))
            kills += 1
        process = start(tmp_path, address, *flags)
        out, err = process.communicate()
        assert process.returncode == 0, err
        with urllib.request.urlopen(f"http://{address}/health") as response:
            answered = json.load(response)["answered"]
    rows = rows_of(tmp_path)
    assert [(row["uuid"], row["generations"]) for row in rows] == [(f"id-{n}", answers(n)) for n in range(300)]
    assert 600 <= answered <= 600 + kills * in_flight
    assert "errors 0" in out


def test_kills_while_the_data_set_is_written_leave_it_whole(tmp_path):
    write_rows(tmp_path / "rows.jsonl", 300)
    partial, done = tmp_path / "out" / ".partial", False
    draw = random.Random(3)
    flags = ["--output-file", str(tmp_path / "out.jsonl"), "--max-concurrent", "64"]
    with chat_server_process() as address:
        for _ in range(5):
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
    assert not (tmp_path / "out" / "generations.jsonl").exists()


def test_a_second_process_on_the_same_output_is_refused(tmp_path):
    write_rows(tmp_path / "rows.jsonl", 6)
    with ChatServer(lambda body, attempt: Reply("8", delay_s=0.0 if len(server.requests) == 1 else 30.0)) as server:
        first = start(tmp_path, server.address, "--grace", "0")
        while size_of(tmp_path / "out" / "generations.jsonl") == 0 or not server.answered:
            assert first.poll() is None
            time.sleep(0.01)
        second = start(tmp_path, server.address)
        _, err = second.communicate()
        assert second.returncode == 1
        assert "in use by another process" in err
        first.send_signal(signal.SIGTERM)
        _, err = first.communicate()
        assert first.returncode == 143
        assert "Stopped by SIGTERM: 1 generations are kept" in err


def test_a_full_disk_says_so_and_the_run_goes_on_when_there_is_room(tmp_path):
    write_rows(tmp_path / "rows.jsonl", 40)
    with ChatServer() as server:
        full = start(tmp_path, server.address, "--max-concurrent", "4", preexec_fn=limit_files)
        _, err = full.communicate()
        assert full.returncode == 1
        assert "Cannot write to" in err
        assert "make room and repeat the command" in err
        assert "Traceback" not in err
        kept = (tmp_path / "out" / "generations.jsonl").read_text().splitlines()
        assert len(kept) > 5
        assert all(json.loads(line) for line in kept)
        server.requests.clear()
        assert generate(tmp_path, server.address) == 0
        assert len(server.requests) == 80 - (len(kept) - 1)
    assert [row["generations"] for row in rows_of(tmp_path)] == [answers(n) for n in range(40)]
