# SPDX-License-Identifier: Apache-2.0
"""What a router bears, over real HTTP: web pages, slow clients, silent ones, monitors in an outage, odd requests."""

import asyncio
import contextlib
import json
import socket
from dataclasses import replace

import httpx
import pytest

from open_r1.sandbox import Limits, SandboxError, router_health, run_all, run_coroutine, run_jobs, wire
from open_r1.sandbox import router as router_client
from open_r1.sandbox.local import LocalSandbox
from open_r1.sandbox.router import RouterSandbox
from open_r1.sandbox.router_requests import RouterLimits
from tests.integration.routers import closed_clients, python_request, serve  # noqa: F401 - a fixture
from tests.integration.test_sandbox_router import REQUEST, SQUARES, metric, post
from tests.waiting import wait_until

STEPS = replace(SQUARES, stop_after=1)
BEARER = {"authorization": "Bearer secret"}


class Down(LocalSandbox):
    """A provider that is down; `num_runs` counts who asked it."""

    num_runs = 0

    async def run(self, request, *rest):
        self.num_runs += 1
        await asyncio.sleep(0.2)
        raise SandboxError("the service is down")


@pytest.fixture(scope="module")
def address():
    with serve(LocalSandbox(), max_parallel=2) as address:
        yield address


# ---- web pages, for which a browser on this machine asks

FOREIGN = {
    "a page's request": ({"origin": "http://evil.example"}, 403),
    "a page whose name resolves to this machine": ({"host": "evil.example"}, 403),
    "a host that is none": ({"host": "[evil"}, 403),
    "a form": ({"content-type": "text/plain"}, 415),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_web_page_runs_nothing_at_a_router_without_a_token(address, case):
    headers, status = FOREIGN[case]
    for path in ("/run", "/execute_batch"):
        assert post(address, path, json=REQUEST, headers=headers).status_code == status


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1:8000", "[::1]:8000"])
def test_names_of_this_machine_are_served(address, host):
    assert post(address, json=REQUEST, headers={"host": host}).status_code == 200


def test_with_a_token_any_name_is_served():
    with serve(LocalSandbox(), token="secret") as address:
        assert post(address, json=REQUEST, headers=BEARER | {"host": "router.example"}).status_code == 200


# ---- clients that decide


def test_client_that_is_cancelled_while_it_decides_leaves_no_run():
    deciding = []

    async def forever(first, runs):
        deciding.append(runs)
        await asyncio.sleep(600)

    async def cancel_some(sandbox):
        clients = [asyncio.create_task(sandbox.run(STEPS, forever)) for _ in range(3)]
        while len(deciding) < 3:
            await asyncio.sleep(0.01)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    with serve(LocalSandbox(), max_parallel=2, max_queue=1) as address:
        run_coroutine(lambda: cancel_some(RouterSandbox(address)))
        wait_until(lambda: metric(address, "run_seconds_count") == metric(address, "cancelled_total") == 3)
        assert run_all([SQUARES], RouterSandbox(address, patience_s=60))[0].tests[3].stdout == "16\n"


def test_clients_that_decide_take_no_room_but_are_bounded():
    with serve(LocalSandbox(), max_parallel=1, max_queue=1) as address:
        body = wire.request_to_json(STEPS)
        for _ in range(2):
            assert "runs" in post(address, "/run?batches=ask", json=body).json()
        assert post(address, json=REQUEST).status_code == 200
        reply = post(address, "/run?batches=ask", json=body)
        assert (reply.status_code, "wait for their clients" in reply.text) == (429, True)


def test_client_that_decides_for_long_keeps_its_run(monkeypatch):
    monkeypatch.setattr(router_client, "BEAT_S", 0.5)

    async def slowly(first, runs):
        await asyncio.sleep(10)
        return True

    with serve(LocalSandbox(), limits=RouterLimits(step_timeout_s=8)) as address:
        sandbox = RouterSandbox(address)
        (result,) = run_jobs([lambda: sandbox.run(replace(STEPS, inputs=STEPS.inputs[:2]), slowly)], 1)
        assert [run.stdout for run in result.tests] == ["1\n", "4\n"]


def test_run_that_is_given_up_is_gone(address):
    run_id = post(address, "/run?batches=ask", json=wire.request_to_json(STEPS)).json()["run"]
    for _ in range(2):
        assert httpx.delete(f"http://{address}/run/{run_id}", timeout=60).status_code == 200
    assert post(address, f"/run/{run_id}", json={"go_on": True}).status_code == 410


# ---- health


def test_monitors_in_an_outage_share_one_probe(monkeypatch):
    monkeypatch.setattr(router_health, "FAILURE_AGE_S", 600.0)

    async def ask(address, num_times):
        async with httpx.AsyncClient(timeout=60, headers=BEARER) as client:
            return await asyncio.gather(*[client.get(f"http://{address}/health") for _ in range(num_times)])

    provider = Down()
    with serve(provider, token="secret") as address:
        replies = asyncio.run(ask(address, 20)) + asyncio.run(ask(address, 3))
        assert {reply.status_code for reply in replies} == {503}
        assert provider.num_runs == 1


def test_health_without_the_token_asks_nobody_and_says_what_is_known():
    provider = Down()
    with serve(provider, token="secret") as address:
        assert httpx.get(f"http://{address}/health", timeout=60).json() == {"status": "ok"}
        assert provider.num_runs == 0
        post(address, json=REQUEST, headers=BEARER)
        reply = httpx.get(f"http://{address}/health", timeout=60)
        assert (reply.status_code, reply.json(), provider.num_runs) == (503, {"status": "failing"}, 1)


# ---- slow clients, large requests


def test_clients_that_send_slowly_take_no_places():
    with serve(LocalSandbox(), max_parallel=1, max_queue=0) as address, contextlib.ExitStack() as connections:
        host, _, port = address.partition(":")
        for _ in range(5):
            slow = connections.enter_context(socket.create_connection((host, int(port))))
            head = f"POST /run HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
            slow.sendall(f"{head}Content-Length: 1000\r\n\r\n{{".encode())
        assert run_all([SQUARES], RouterSandbox(address, patience_s=60))[0].tests[3].stdout == "16\n"


@pytest.mark.parametrize("start", [b"", b"POST /run HTTP/1.1\r\nHost: x\r\nX: "])
def test_connection_without_a_request_is_closed(monkeypatch, start):
    monkeypatch.setattr("open_r1.sandbox.router_listening.HEAD_TIMEOUT_S", 0.3)
    with serve(LocalSandbox()) as address:
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port)), timeout=120) as connection:
            connection.sendall(start)
            assert connection.recv(100) == b""


def test_all_bodies_together_are_bounded():
    limits = RouterLimits(max_body_mb=1, max_bodies_mb=1)
    with serve(LocalSandbox(), limits=limits) as address:
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port))) as slow:
            head = f"POST /run HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
            slow.sendall(f"{head}Content-Length: 1000000\r\n\r\n".encode() + b" " * 900_000)
            wait_until(lambda: post(address, content=b" " * 300_000).status_code == 429)
            assert run_all([SQUARES], RouterSandbox(address))[0].tests[0].stdout == "1\n"
        wait_until(lambda: post(address, content=b" " * 300_000).status_code == 400)


def test_request_of_very_many_values_is_refused_before_it_is_parsed(address):
    for body in (json.dumps([[i] for i in range(500_000)]), json.dumps({str(i): "" for i in range(300_000)})):
        reply = post(address, "/execute_batch", content=body)
        assert (reply.status_code, "values" in reply.text) == (413, True)


def test_large_texts_are_few_values(address):
    text = '"\\, ' * 500_000
    reply = post(address, json=wire.request_to_json(python_request("print(len(input()))", text)))
    assert reply.json()["tests"][0]["stdout"] == f"{len(text)}\n"


# ---- requests beyond all bounds

NO_INTERACTOR = {"language": "python", "files": {}, "limits": {}}
ODD_REQUESTS = {
    "processes": ({"limits": {"processes": 10**9}}, 422),
    "very many processes": ({"limits": {"processes": 10**30}}, 400),
    "output": ({"limits": {"output_bytes": 10**12}}, 422),
    "time to compute": ({"limits": {"cpu_s": 1e9, "wall_s": 5}}, 422),
    "time that is no number": ({"limits": {"wall_s": 10**400}}, 400),
    "memory in 400 digits": ({"limits": {"memory_mb": 10**400}}, 400),
    "time of all runs": ({"inputs": [{}] * 2000, "limits": {"wall_s": 500}}, 422),
    "interactor without a program": ({"interactor": NO_INTERACTOR}, 400),
    "unknown field of many letters": ({"limits": {"x" * 10**5: 1}}, 400),
    "language of many letters": ({"language": "x" * 10**5}, 422),
    "name of many letters": ({"files": {"main.py": "", "x" * 300: ""}}, 400),
    "half of a character in a name": ({"files": {"m\ud800.py": ""}}, 400),
    "file that is a folder": ({"files": {"main.py": "", "a": "", "a/b": ""}}, 400),
}


@pytest.mark.parametrize("case", ODD_REQUESTS)
def test_odd_request_is_refused_in_few_words(address, case):
    fields, status = ODD_REQUESTS[case]
    reply = post(address, content=json.dumps(REQUEST | fields))
    assert (reply.status_code, len(reply.content) < 9000) == (status, True), reply.text[:300]


def test_limits_of_the_judges_are_let_in():
    largest = Limits(cpu_s=60.0, memory_mb=4096, output_bytes=64 << 20, processes=256)
    RouterLimits().check(replace(SQUARES, limits=largest, inputs=SQUARES.inputs * 25))
