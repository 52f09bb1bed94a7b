# SPDX-License-Identifier: Apache-2.0
"""What ends a service: servers that are down, that lie about their health, and none that are only busy."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from open_r1.cluster import serving_watch
from open_r1.cluster.serving_watch import ServerError, check, watch
from tests.conftest import ROOT

KEY = "a key"


@contextmanager
def serve(statuses):
    """A server with statuses of /health and of completions from a table; yields its URL and its requests."""
    asked, gone = [], threading.Event()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            text = None
            if self.path == "/metrics" and "tokens" in statuses:
                text = f'vllm:generation_tokens_total{{engine="0"}} {statuses["tokens"].pop(0)}.0\n'
            self.answer(statuses.get("health", 200) if self.path == "/health" else 200, text)

        def do_POST(self):
            length = int(self.headers.get("Content-Length") or 0)
            asked.append((self.path, self.headers.get("Authorization"), self.rfile.read(length)))
            told = statuses.get("completion", 200) if self.path == "/v1/completions" else statuses.get("router", 200)
            if told == "late":
                gone.wait(300)
                self.close_connection = True
                return
            self.answer(told.pop(0) if isinstance(told, list) else told, statuses.get("says"))

        def answer(self, status, text=None):
            body = (text or json.dumps({"data": [{"id": "m"}], "choices": [{"text": "Paris"}]})).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        gone.set()
        server.shutdown()


@pytest.mark.parametrize(
    ("statuses", "trouble"),
    [
        ({}, None),
        ({"health": 503}, "gives no 200"),
        ({"completion": 500}, "status 500"),
        *(({"completion": status}, None) for status in (408, 429, 503)),
        ({"completion": "late", "tokens": [5, 5]}, "has completed nothing"),
        ({"completion": "late", "tokens": [5, 6]}, None),
        ({"completion": "late"}, None),
    ],
)
def test_check_says_what_is_wrong(statuses, trouble, monkeypatch):
    monkeypatch.setattr(serving_watch, "_QUEUE_S", 0.5 if statuses.get("completion") == "late" else 60.0)
    with serve(statuses) as (url, asked):
        found = check(url, "m", KEY)
    assert found is None if trouble is None else trouble in str(found)
    assert not asked or asked[0][1] == f"Bearer {KEY}"


def test_nobody_answers():
    assert "gives no 200" in str(check("http://127.0.0.1:9", "m", None))


def test_server_that_completes_nothing_is_no_server_though_it_says_it_is_well():
    with (
        serve({"completion": 500}) as (bad, _),
        serve({}) as (good, _),
        pytest.raises(ServerError, match="has not been healthy for 3 checks") as found,
    ):
        watch([good, bad], "m", None, 0.01)
    assert str(found.value).startswith(bad)


def test_failures_with_an_answer_between_them_end_nothing():
    told = [500, 500, 200, 500, 500, 200, 500, 500, 500]
    with serve({"completion": told}) as (url, asked), pytest.raises(ServerError):
        watch([url], "m", None, 0.01)
    assert len(asked) == 9 and not told


def test_router_is_told_again_until_it_takes_servers_and_told_when_they_go(monkeypatch):
    monkeypatch.setattr(serving_watch, "_PAUSE_S", 0.01)
    with serve({"router": [503, 200, 200]}) as (url, asked):
        serving_watch.register(url, ["http://n1:1"])
        serving_watch.deregister(url, ["http://n1:1"])
    paths = [path for path, _, _ in asked]
    assert paths == [f"/{what}?url=http%3A%2F%2Fn1%3A1" for what in ("add_worker", "add_worker", "remove_worker")]


def test_router_that_still_knows_the_server_of_a_job_that_was_killed_takes_it_again(monkeypatch):
    monkeypatch.setattr(serving_watch, "_REGISTRATION_S", 0.0)
    monkeypatch.setattr(serving_watch, "_PAUSE_S", 0.01)
    with serve({"router": 400, "says": "Worker http://n1:1 already exists"}) as (url, asked):
        serving_watch.register(url, ["http://n1:1"])
    assert len(asked) == 1
    with (
        serve({"router": 400, "says": "no such policy"}) as (url, _),
        pytest.raises(ServerError, match="400: Bad Request: no such policy"),
    ):
        serving_watch.register(url, ["http://n1:1"])


def test_end_of_the_watch_takes_the_addresses_away(tmp_path):
    """And sends the key that it was told of, by no proxy, with GPUs or without."""
    path = tmp_path / "endpoints.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "OUR_KEY": KEY,
        "http_proxy": "http://127.0.0.1:9",
        "SLURM_RESTART_COUNT": "2",
    }
    with serve({}) as (url, asked):
        words = [
            "--model",
            "m",
            "--url",
            url,
            "--endpoints",
            path,
            "--interval",
            "9",
            "--api-key-env",
            "OUR_KEY",
            "--register-with",
            url,
        ]
        command = [sys.executable, "-m", "open_r1.cluster.serving_watch", *words]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as started:
            assert started.stdout is not None
            next(line for line in started.stdout if "is served" in line)
            assert json.loads(path.read_text())["attempt"] == 2
            started.send_signal(signal.SIGTERM)
            assert started.wait(120) == 143
    assert not path.exists()
    assert asked[0][1] == f"Bearer {KEY}" and "remove_worker" in asked[-1][0]
