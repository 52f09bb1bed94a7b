# SPDX-License-Identifier: Apache-2.0
"""The router in front of local boxes, over real HTTP: who gets in, how much, and whose failure an error is."""

import asyncio
import contextlib
import http.server
import json
import math
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest

from open_r1.rewards import code_reward
from open_r1.sandbox import (
    ProgramInput,
    RunRequest,
    SandboxError,
    router_server,
    run_all,
    run_coroutine,
    run_jobs,
    wire,
)
from open_r1.sandbox.local import LocalSandbox
from open_r1.sandbox.providers import SandboxSettings
from open_r1.sandbox.router import RouterSandbox
from tests.integration.routers import (
    closed_clients,  # noqa: F401 - a fixture of every test
    processes_with,
    python_request,
    serve,
)
from tests.waiting import wait_until

SQUARES = python_request("print(int(input()) ** 2)", "1", "2", "3", "4")
FOREVER = "import time\nwhile True: time.sleep(1)"


class Held(LocalSandbox):
    """A provider whose runs begin when it's let go, and fail while `num_failures` are left."""

    num_failures = 0

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    async def run(self, request, *rest):
        while not self.go.is_set():
            await asyncio.sleep(0.01)
        if self.num_failures:
            self.num_failures -= 1
            raise SandboxError("the service is down")
        return await super().run(request, *rest)


@pytest.fixture(scope="module")
def address():
    with serve(LocalSandbox(), max_parallel=2) as address:
        yield address


@pytest.fixture(scope="module")
def guarded():
    with serve(LocalSandbox(), token="tøp secret", max_body_mb=0.01) as address:
        yield address


def health(address: str) -> dict:
    return httpx.get(f"http://{address}/health", timeout=60).json()


def post(address: str, **options) -> httpx.Response:
    headers = {"content-type": "application/json"} | options.pop("headers", {})
    return httpx.post(f"http://{address}/run", timeout=60, headers=headers, **options)


def kind_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["kind"]


def test_client_may_run_programs_to_say_whether_a_run_goes_on():
    with serve(LocalSandbox(), max_parallel=1) as address:
        sandbox = RouterSandbox(address)

        async def go_on(first, runs):
            checked = await sandbox.run(python_request("print(input())", runs[0].stdout))
            return checked.tests[0].stdout == runs[0].stdout

        results = run_jobs([lambda: sandbox.run(replace(SQUARES, stop_after=1), go_on)] * 3, 3)
        assert [[run.stdout for run in result.tests] for result in results] == [["1\n", "4\n", "9\n", "16\n"]] * 3
        assert (health(address)["in_flight"], health(address)["queued"]) == (0, 0)


def test_compiled_program_is_compiled_once_for_all_rounds():
    languages = []

    class Counts(LocalSandbox):
        async def run(self, request, *rest):
            languages.append(request.language)
            return await super().run(request, *rest)

    async def go_on(first, runs):
        return True

    inputs = tuple(ProgramInput(str(number)) for number in range(4))
    program = '#include <cstdio>\nint main() { int n; scanf("%d", &n); printf("%d", n * n); }'
    request = RunRequest("cpp", {"main.cpp": program}, inputs, stop_after=1)
    with serve(Counts()) as address:
        result = run_coroutine(lambda: RouterSandbox(address).run(request, go_on))
    assert [run.stdout for run in result.tests] == ["0", "1", "4", "9"]
    assert (languages, result.binary) == (["cpp", "binary", "binary"], None)


REQUEST = wire.to_json(SQUARES)
BAD_REQUESTS = {
    "no JSON": (b"{", (400, "request")),
    "too deep": (b"[" * 100_000, (400, "request")),
    "wrong type": (json.dumps(REQUEST | {"files": {"main.py": 5}}), (400, "request")),
    "limits that are text": (json.dumps(REQUEST | {"limits": {"cpu_s": "9"}}), (400, "request")),
    "unknown language": (json.dumps(REQUEST | {"language": "brain\ud800fuck"}), (422, "language")),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_request_is_not_the_sandbox_failing(address, case):
    content, answer = BAD_REQUESTS[case]
    assert kind_of(post(address, content=content)) == answer


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer wrong", "Basic tøp secret", "tøp secret"])
def test_without_the_token_nothing_but_health_answers(guarded, value):
    headers = {} if value is None else {"authorization": value.encode()}
    for method, path in (("POST", "/run"), ("GET", "/languages")):
        reply = httpx.request(method, f"http://{guarded}{path}", headers=headers, timeout=60)
        assert kind_of(reply) == (401, "token")
    assert httpx.get(f"http://{guarded}/health", headers=headers, timeout=60).json()["status"] == "ok"


def test_client_shows_its_token(guarded):
    assert run_all([SQUARES], RouterSandbox(guarded, token="tøp secret\n"))[0].tests[3].stdout == "16\n"
    (error,) = run_all([SQUARES], RouterSandbox(guarded, token="wrong"))
    assert isinstance(error, SandboxError) and "sandbox_router_token_env" in str(error)


def test_web_page_runs_nothing_at_a_router_without_a_token(address):
    reply = post(address, json=REQUEST, headers={"origin": "http://evil.example"})
    assert kind_of(reply) == (403, "request")


@pytest.mark.parametrize("is_announced", [True, False])
def test_large_body_is_refused_while_it_comes_in(guarded, is_announced):
    content = b"x" * 20_000 if is_announced else iter([b"x" * 1000] * 20)
    reply = post(guarded, content=content, headers={"authorization": "Bearer tøp secret".encode()})
    assert kind_of(reply) == (413, "too_large")


def test_large_request_is_not_tried_again(guarded):
    (large,) = run_all([python_request("#" * 20_000)], RouterSandbox(guarded, token="tøp secret"))
    assert isinstance(large, SandboxError) and "max_body_mb" in str(large)


def unfinished(address: str, head: str, body: bytes = b"") -> socket.socket:
    host, _, port = address.partition(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(head.encode() + body)
    return connection


HEAD = "POST /run HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n"


def test_body_that_never_ends_is_cut_off(monkeypatch):
    monkeypatch.setattr(router_server, "BODY_S", 0.5)
    with serve(LocalSandbox()) as address, unfinished(address, HEAD, b"x" * 100) as slow:
        assert b"408" in slow.recv(1000)


@pytest.mark.parametrize("head", ["", "POST /run HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_head_that_never_ends_is_cut_off(monkeypatch, head):
    monkeypatch.setattr(router_server, "HEAD_S", 0.5)
    with serve(LocalSandbox()) as address, unfinished(address, head) as slow:
        started = time.monotonic()
        assert slow.recv(1000) == b""
        assert time.monotonic() - started < 30


def test_connections_beyond_the_most_are_closed_and_those_there_served(monkeypatch):
    monkeypatch.setattr(router_server, "MOST_CONNECTIONS", 2)
    head = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
    with serve(LocalSandbox()) as address, unfinished(address, head) as first, unfinished(address, head) as second:
        assert all(b"200 OK" in one.recv(1000) for one in (first, second))
        with unfinished(address, "") as third:
            assert third.recv(1000) == b""
        first.sendall(head.encode())
        assert b"200 OK" in first.recv(1000)


def test_full_queue_refuses_and_the_client_comes_back():
    provider = Held()
    with serve(provider, max_parallel=1, max_queue=1) as address, ThreadPoolExecutor(2) as threads:
        try:
            first = threads.submit(run_all, [SQUARES] * 2, RouterSandbox(address), 2)
            wait_until(lambda: health(address)["queued"] == 1)
            assert kind_of(post(address, json=REQUEST)) == (429, "busy")
            late = threads.submit(run_all, [SQUARES], RouterSandbox(address))
            time.sleep(0.3)
            assert not late.done()
        finally:
            provider.go.set()
        assert [result.tests[0].stdout for result in (*first.result(), *late.result())] == ["1\n"] * 3


def test_cancelled_client_ends_its_run(address):
    request = replace(python_request(FOREVER, wall_s=300), inputs=(ProgramInput(args=("marker-cancelled",)),))

    async def give_up():
        task = asyncio.ensure_future(RouterSandbox(address).run(request))
        while not await asyncio.to_thread(processes_with, "marker-cancelled"):
            await asyncio.sleep(0.02)
        task.cancel()

    run_coroutine(give_up)
    wait_until(lambda: not processes_with("marker-cancelled"))


def test_outage_behind_the_router_is_tried_again_and_then_an_error():
    provider = Held()
    provider.go.set()
    with serve(provider) as address:
        provider.num_failures = 1
        assert kind_of(post(address, json=REQUEST)) == (503, "sandbox")
        provider.num_failures = 2
        assert run_all([SQUARES], RouterSandbox(address))[0].tests[0].stdout == "1\n"
        provider.num_failures = 1000
        (error,) = run_all([SQUARES], RouterSandbox(address))
        assert isinstance(error, SandboxError) and "the service is down" in str(error)


def test_absent_router_is_waited_for_once_by_all():
    with serve(LocalSandbox()) as address:
        pass
    with pytest.raises(SandboxError, match="sandbox_router_url"):
        run_coroutine(RouterSandbox(address, patience_s=0.2).languages)
    started = time.monotonic()
    results = run_all([SQUARES] * 12, RouterSandbox(address, patience_s=1.0), 2)
    assert all(isinstance(one, SandboxError) for one in results)
    assert 0.8 < time.monotonic() - started < 4.0  # with a clock for each it's 6 s


OK = {"outcome": "ok", "stdout": "2\n", "exit_code": 0}
TWO = python_request("print(2)", "1", "1")
ROWS = {"verification_info": [{"language": "python", "test_cases": [{"input": "1", "output": "2"}] * 2}]}


@contextlib.contextmanager
def answering(reply, status=200):
    """A server that gives one reply to everything; yields its address."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Stay silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


NONSENSE = {
    "too few runs": ({"compile": None, "tests": [OK]}, 200),
    "too many runs": ({"compile": None, "tests": [OK] * 5}, 200),
    "outcome that nobody knows": ({"compile": None, "tests": [{"outcome": "quota_exceeded"}] * 2}, 200),
    "lists in lists without end": (b"[" * 200_000, 200),
    "error of another form": (b"[" * 200_000, 400),
    "proxy without a router": (b"<html>", 502),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_reply_that_is_no_result_is_no_score(case):
    reply, status = NONSENSE[case]
    with answering(reply, status) as address:
        (error,) = run_all([TWO], RouterSandbox(address, patience_s=0.2))
        assert isinstance(error, SandboxError), error
        if status == 200:
            (reward,) = code_reward(
                ["```python\nprint(2)\n```"], sandbox=SandboxSettings("e2b", router_url=address), **ROWS
            )
            assert math.isnan(reward)
