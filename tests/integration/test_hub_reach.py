# SPDX-License-Identifier: Apache-2.0
"""A hub that can't be reached: names on it are refused after three attempts; one that answers is asked as ever."""

import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import datasets
import pytest
from huggingface_hub import constants

from open_r1.data import hub_reach
from open_r1.data.hub_reach import why_unreachable
from open_r1.data.loading import load_source
from tests.integration.hub_server import FILE_URL
from tests.integration.tiny import build_tiny
from tests.waiting import wait_until


class Unreachable:
    """A server with which no TLS connection can be made: it hangs up, or is silent. It counts the attempts."""

    def __init__(self) -> None:
        self.is_silent, self.held = False, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}"
        self.num_attempts = 0
        self.thread = threading.Thread(target=self.hang_up, daemon=True)
        self.thread.start()

    def hang_up(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            if not connection.recv(65536):  # of `close`: a client would say hello
                return
            self.num_attempts += 1
            self.held.append(connection)
            if not self.is_silent:
                connection.close()

    def end(self) -> int:
        """Take what has come so far, in its order, and nothing more; return how many attempts that were."""
        if self.thread.is_alive():
            socket.create_connection(self.listener.getsockname()).close()
        self.thread.join(60)
        return self.num_attempts

    def close(self) -> None:
        self.end()
        for opened in (self.listener, *self.held):
            opened.close()


class Answering(BaseHTTPRequestHandler):
    """Answers each request with the status of the server, after the seconds that it has."""

    def do_HEAD(self) -> None:
        self.server.requests.append(self.path)
        self.server.gate.wait(60)
        self.send_response(self.server.status)
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *args) -> None:
        """Stay silent."""


@pytest.fixture
def online(monkeypatch):
    """Return the function that lets libraries ask a hub at a URL."""

    def use(url: str) -> None:
        for place, name, value in (
            (constants, "ENDPOINT", url),
            (datasets.config, "HF_ENDPOINT", url),
            (constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + FILE_URL),
            (constants, "HF_HUB_OFFLINE", False),
            (datasets.config, "HF_HUB_OFFLINE", False),
        ):
            monkeypatch.setattr(place, name, value)
        monkeypatch.setattr(hub_reach, "_WAIT_S", 0.01)

    return use


@pytest.fixture
def unreachable(online):
    hub = Unreachable()
    online(hub.url)
    yield hub
    hub.close()


@pytest.fixture
def answering(online):
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    hub.status, hub.requests, hub.gate = 404, [], threading.Event()
    hub.gate.set()
    hub.daemon_threads = True
    threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True).start()
    online(f"http://127.0.0.1:{hub.server_port}")
    yield hub
    hub.gate.set()
    hub.shutdown()
    hub.server_close()


@pytest.mark.parametrize("name", ["nobody/nothing", "hf://datasets/nobody/nothing/rows.jsonl"])
def test_data_on_a_hub_that_cannot_be_reached_is_refused_after_three_attempts(unreachable, name):
    with pytest.raises(ValueError, match="can't be reached") as refused:
        load_source(name)
    assert unreachable.num_attempts == 3
    text = str(refused.value)
    assert repr(name) in text and unreachable.url in text and "Offline, name a local" in text
    assert "OfflineModeIsEnabled" not in text and "HF_HUB_OFFLINE" not in text  # which the user has not set
    assert not constants.HF_HUB_OFFLINE and not datasets.config.HF_HUB_OFFLINE


def test_attempts_end_when_they_have_taken_long_enough(unreachable, monkeypatch):
    unreachable.is_silent = True
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
    monkeypatch.setattr(hub_reach, "_ENOUGH_S", 0.1)
    reason = why_unreachable()
    assert reason is not None and "no connection within 0.2 s" in reason
    assert unreachable.end() == 1


def test_cached_data_is_used_when_the_hub_cannot_be_reached(unreachable, monkeypatch, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"problem": "1+1"}\n', encoding="utf-8")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.load_dataset("json", data_files=str(rows), cache_dir=str(tmp_path / "made"))
    (prepared,) = (tmp_path / "made" / "json").glob("*/*/*/dataset_info.json")
    kept = tmp_path / "cache" / "nobody___sums" / "default" / "0.0.0" / "1234"
    kept.parent.mkdir(parents=True)
    prepared.parent.rename(kept)
    (kept / "json-train.arrow").rename(kept / "sums-train.arrow")
    assert load_source("nobody/sums")["train"]["problem"] == ["1+1"]
    assert unreachable.num_attempts == 3
    with pytest.raises(ValueError, match=r"can't be reached: .*; ValueError: .*Available configs in the cache"):
        load_source("nobody/sums", "other")


def test_hub_that_answers_is_asked_for_the_data(answering):
    with pytest.raises(ValueError, match=r"from the hub it could not be loaded") as refused:
        load_source("nobody/nothing")
    assert "can't be reached" not in str(refused.value)
    assert any("nobody/nothing" in path for path in answering.requests)


@pytest.mark.parametrize("status", [200, 302, 401, 404, 429, 503])
def test_hub_that_answers_anything_is_reached(answering, status):
    answering.status = status
    assert why_unreachable() is None
    assert len(answering.requests) == 1


def test_hub_that_answers_late_is_reached(answering, monkeypatch):
    monkeypatch.setattr(hub_reach, "_ANSWER_S", 0.1)
    answering.gate.clear()
    assert why_unreachable() is None
    wait_until(lambda: answering.requests)  # it may read the request after we have given up on the answer
    assert len(answering.requests) == 1


def test_nobody_is_asked_in_offline_mode(answering, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="OfflineModeIsEnabled"):
        load_source("nobody/nothing")
    assert answering.requests == []


def test_model_on_a_hub_that_cannot_be_reached_is_refused_after_three_attempts(unreachable, tmp_path):
    with pytest.raises(ValueError, match=r"Cannot load the model 'nobody/nothing'.* can't be reached"):
        build_tiny(tmp_path).train("sft", tmp_path / "out", model_name_or_path="nobody/nothing")
    assert unreachable.num_attempts == 3


def test_a_warning_of_the_hub_client_is_one_line():
    program = """
import huggingface_hub.file_download as hub
from open_r1.data.flags import log_to_stderr
log_to_stderr()
hub.logger.warning("retrying")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stderr.count("retrying") == 1
