# SPDX-License-Identifier: Apache-2.0
"""The router in front of local boxes, over real HTTP: who gets in, how much, and whose failure an error is."""

import asyncio
import json
import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest

from open_r1.sandbox import (
    Outcome,
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
    """A provider whose runs begin when it's let go."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    async def run(self, *args):
        while not self.go.is_set():
            await asyncio.sleep(0.01)
        return await super().run(*args)


class OutOfOrder(LocalSandbox):
    """A provider with outages: the next `num_failures` runs fail."""

    num_failures = 0

    async def run(self, request, *rest):
        if self.num_failures:
            self.num_failures -= 1
            raise SandboxError("the service is down")
        return await super().run(request, *rest)


@pytest.fixture(scope="module")
def address():
    with serve(LocalSandbox(), max_parallel=2) as address:
        yield address


def health(address: str) -> dict:
    return httpx.get(f"http://{address}/health", timeout=60).json()


def post(address: str, path: str = "/run", **options) -> httpx.Response:
    headers = {"content-type": "application/json"} | options.pop("headers", {})
    return httpx.post(f"http://{address}{path}", timeout=60, headers=headers, **options)


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


REQUEST = wire.request_to_json(SQUARES)
BAD_REQUESTS = {
    "no JSON": (b"{", 400),
    "too deep": (b"[" * 100_000, 400),
    "empty": (b"{}", 400),
    "file outside": (json.dumps(REQUEST | {"files": {"../main.py": ""}}), 400),
    "limits that are text": (json.dumps(REQUEST | {"limits": {"cpu_s": "9"}}), 400),
    "NaN": (json.dumps(REQUEST | {"limits": {"cpu_s": float("nan")}}), 400),
    "unknown language": (json.dumps(REQUEST | {"language": "brainfuck"}), 422),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_request_is_not_the_sandbox_failing(address, case):
    content, status = BAD_REQUESTS[case]
    reply = post(address, content=content)
    assert reply.status_code == status
    assert reply.json()["error"]["kind"] == ("language" if case == "unknown language" else "request")
    assert "retry-after" not in reply.headers


@pytest.fixture(scope="module")
def guarded():
    with serve(LocalSandbox(), token="tøp secret", max_body_mb=0.01) as address:
        yield address


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer wrong", "Basic tøp secret", "tøp secret"])
def test_without_the_token_nothing_but_health_answers(guarded, value):
    headers = {} if value is None else {"authorization": value.encode()}
    for method, path in (("POST", "/run"), ("POST", "/execute_batch"), ("GET", "/languages")):
        reply = httpx.request(method, f"http://{guarded}{path}", headers=headers, timeout=60)
        assert (reply.status_code, reply.json()["error"]["kind"]) == (401, "token")
    assert httpx.get(f"http://{guarded}/health", headers=headers, timeout=60).json() == {"status": "ok"}


def test_client_shows_its_token(guarded):
    assert run_all([SQUARES], RouterSandbox(guarded, token="tøp secret"))[0].tests[3].stdout == "16\n"


def test_refused_token_is_no_score_and_says_the_setting(guarded):
    (error,) = run_all([SQUARES], RouterSandbox(guarded, token="wrong"))
    assert isinstance(error, SandboxError)
    assert "sandbox_router_token_env" in str(error)


@pytest.mark.parametrize("is_announced", [True, False])
def test_large_body_is_refused_while_it_comes_in(guarded, is_announced):
    content = b"x" * 20_000 if is_announced else iter([b"x" * 1000] * 20)
    reply = post(guarded, content=content, headers={"authorization": "Bearer tøp secret".encode()})
    assert (reply.status_code, reply.json()["error"]["kind"]) == (413, "too_large")


def test_large_request_is_not_tried_again(guarded):
    sandbox = RouterSandbox(guarded, token="tøp secret")
    (large,) = run_all([python_request("#" * 20_000)], sandbox)
    assert isinstance(large, SandboxError) and "max_body_mb" in str(large)


def test_full_queue_refuses_and_the_client_comes_back():
    provider = Held()
    with serve(provider, max_parallel=1, max_queue=1) as address, ThreadPoolExecutor(2) as threads:
        try:
            first = threads.submit(run_all, [SQUARES] * 2, RouterSandbox(address), 2)
            wait_until(lambda: health(address)["queued"] == 1)
            reply = post(address, json=REQUEST)
            assert (reply.status_code, reply.json()["error"]["kind"]) == (429, "busy")
            assert int(reply.headers["retry-after"]) > 0
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


def test_outage_is_a_sandbox_error_and_ends(monkeypatch):
    monkeypatch.setattr(router_server, "RETRY_AFTER_S", 1)
    provider = OutOfOrder()
    with serve(provider) as address:
        provider.num_failures = 1
        reply = post(address, json=REQUEST)
        assert (reply.status_code, reply.json()["error"]["kind"]) == (503, "sandbox")
        assert int(reply.headers["retry-after"]) > 0
        provider.num_failures = 1000
        (error,) = run_all([SQUARES], RouterSandbox(address, patience_s=20.0))
        assert isinstance(error, SandboxError)
        assert "the service is down" in str(error)
        provider.num_failures = 0
        assert run_all([SQUARES], RouterSandbox(address))[0].tests[0].stdout == "1\n"


def test_same_client_works_in_other_loops_and_in_a_fork(address):
    sandbox = RouterSandbox(address)
    assert run_all([SQUARES], sandbox)[0].tests[0].outcome is Outcome.OK
    connections = sandbox._client.built  # open while the client works elsewhere
    assert asyncio.run(_run_and_close(sandbox)).tests[0].outcome is Outcome.OK
    child = multiprocessing.get_context("fork").Process(target=_run_squares, args=(sandbox,))
    child.start()
    child.join(120)
    assert child.exitcode == 0
    assert run_all([SQUARES], sandbox)[0].tests[0].outcome is Outcome.OK
    run_coroutine(connections.aclose)


async def _run_and_close(sandbox):
    try:
        return await sandbox.run(SQUARES)
    finally:
        await sandbox.aclose()  # this loop's connections


def _run_squares(sandbox):
    assert run_all([SQUARES], sandbox)[0].tests[3].stdout == "16\n"


# What a browser on this machine sends for a page of somebody else's.
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
        assert (
            post(
                address, json=REQUEST, headers={"authorization": "Bearer secret"} | {"host": "router.example"}
            ).status_code
            == 200
        )
