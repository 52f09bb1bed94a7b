# SPDX-License-Identifier: Apache-2.0
"""Replies that are no result, of a faulty router or a proxy before it, over real HTTP: none of them is a score."""

import contextlib
import http.server
import json
import math
import threading

import httpx
import pytest

from open_r1.rewards import code_reward
from open_r1.sandbox import SandboxError, run_all
from open_r1.sandbox.router import RouterSandbox, _refusal
from tests.integration.routers import python_request

OK = {"outcome": "ok", "stdout": "2\n", "exit_code": 0}
TWO = python_request("print(2)", "1", "1")
ROWS = {"verification_info": [{"language": "python", "test_cases": [{"input": "1", "output": "2"}] * 2}]}


@contextlib.contextmanager
def answering(*replies):
    """A server that gives these replies, the last one again and again; yields its address."""
    left = list(replies)

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            reply = left.pop(0) if len(left) > 1 else left[0]
            body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Stay silent."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def result_of(tests, **fields):
    return {"compile": None, "tests": tests, "binary": None} | fields


NONSENSE = {
    "too few runs": result_of([OK]),
    "too many runs": result_of([OK] * 5),
    "outcome that nobody knows": result_of([{"outcome": "quota_exceeded"}] * 2),
    "binary that is no base64": result_of([OK] * 2, binary="x"),
    "lists in lists without end": b"[" * 200_000,
    "null": None,
}


@pytest.mark.parametrize("case", NONSENSE)
def test_malformed_reply_is_the_router_failing(case):
    with answering(NONSENSE[case]) as address:
        (error,) = run_all([TWO], RouterSandbox(address))
        assert isinstance(error, SandboxError), error
        (reward,) = code_reward(["```python\nprint(2)\n```"], provider_type="e2b", e2b_router_url=address, **ROWS)
        assert math.isnan(reward)


def test_malformed_error_is_the_router_failing():
    with pytest.raises(SandboxError):
        _refusal(httpx.Response(400, json={"error": {"kind": "language", "message": "none of ours"}}), "http://router")
    assert _refusal(httpx.Response(500, content=b"[" * 200_000), "http://router")[0] == ""
