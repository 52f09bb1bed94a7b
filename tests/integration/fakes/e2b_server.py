# SPDX-License-Identifier: Apache-2.0
"""E2B on this machine: the part of its wire contract that `e2b-code-interpreter` 2.11 calls for boxes and cells.

Endpoints, as read in the SDK and seen in its requests: POST /v2/sandboxes (Idempotency-Key), POST /execute (ndjson),
GET /health, DELETE /sandboxes/ID. A cell runs as a Python program in the box's folder.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from unittest import mock

from tests.integration.fakes.machines import Cloud, Contract, Machine

KEY = "e2b_key_of_the_tests"
PIECE = 8192  # characters of one message of output


class E2BContract(Contract):
    """The endpoints. Faults: create ("slow" too), execute ("die" ends the box then, "error" too), kill, health."""

    def answer(self, path: list[str], body: dict) -> None:
        if path == ["execute"] or path == ["health"]:
            self.in_box(path[0], body)
        elif self.headers.get("X-API-KEY") != self.server.key:
            self.send({"code": 401, "message": f"Invalid API key {self.headers.get('X-API-KEY')}"}, 401)
        elif path == ["v2", "sandboxes"]:
            self.create(body)
        elif path[0] == "sandboxes" and self.command == "DELETE":
            self.kill(path[1])
        else:
            self.send({"code": 404, "message": f"no route {self.path}"}, 404)

    def create(self, body: dict) -> None:
        fault = self.server.record("create", "")
        if fault.isdigit():
            return self.send({"code": int(fault), "message": f"{fault} on order, key {self.server.key}"}, int(fault))
        if fault == "hang":
            return self.hang()
        if fault == "slow":
            self.server.stopping.wait(0.5)
        key = self.headers.get("Idempotency-Key")
        known = [box for box in self.server.machines.values() if key and box.wanted["idempotency_key"] == key]
        box = known[0] if known else self.server.add_machine({**body, "idempotency_key": key})
        if fault == "drop":
            return self.drop()
        if fault == "garbage":
            return self.send(b"<html>Welcome to the proxy</html>", 201)
        reply = {"templateID": body["templateID"], "sandboxID": box.id, "clientID": "client", "envdVersion": "0.4.0"}
        return self.send({**reply, "envdAccessToken": f"token-{box.id}", "domain": None}, 201)

    def kill(self, name: str) -> None:
        fault = self.server.record("kill", name)
        if fault.isdigit():
            return self.send({"code": int(fault), "message": f"{fault} on order"}, int(fault))
        if fault == "hang":
            return self.hang()
        box = self.server.machines.get(name)
        if box is None or box.is_gone:
            return self.send({"code": 404, "message": "sandbox not found"}, 404)
        box.end()
        self.send_response(204)
        self.send_header("Content-Length", "0")
        return self.end_headers()

    def in_box(self, operation: str, body: dict) -> None:
        """Answer for a box: the proxy in front of it, then the box."""
        name = self.headers.get("E2b-Sandbox-Id", "")
        fault = self.server.record(operation, name)
        box = self.server.machines.get(name)
        if box is None or box.is_gone:
            return self.send({"sandboxId": name, "message": "The sandbox was not found", "code": 502}, 502)
        if fault.isdigit():
            return self.send({"message": f"{fault} on order"}, int(fault))
        if fault == "hang":
            return self.hang()
        if operation == "health":
            return self.send(b"", 204)
        if self.headers.get("X-Access-Token") != f"token-{name}" or self.headers.get("E2b-Sandbox-Port") != "49999":
            return self.send({"message": "unauthorized"}, 401)
        return self.execute(box, body["code"], fault)

    def execute(self, box: Machine, code: str, fault: str) -> None:
        """Run a cell and send its messages; the stream of a fault ends in the middle."""
        box.scripts.append(code)
        cell = box.folder / f"cell{len(box.scripts)}.py"
        cell.write_text(code, encoding="utf-8")
        process = box.start([sys.executable, "-I", str(cell)])
        if fault == "die":
            box.end()
        output, errors = process.communicate()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        text = output.decode("utf-8", "replace")
        if fault in ("drop", "die"):
            self.message({"type": "stdout", "text": text[: len(text) // 2], "timestamp": 1})
            return self.drop()
        if fault == "garbage":
            self.chunk(b"<html>502</html>\n")
        for start in range(0, len(text), PIECE):
            self.message({"type": "stdout", "text": text[start : start + PIECE], "timestamp": 1})
        self.message({"type": "stderr", "text": errors.decode("utf-8", "replace"), "timestamp": 1})
        if process.returncode != 0 or fault == "error":
            self.message({"type": "error", "name": "KernelError", "value": "the cell failed", "traceback": "..."})
        self.message({"type": "number_of_executions", "execution_count": len(box.scripts)})
        return self.chunk(b"")

    def message(self, value: dict) -> None:
        self.chunk(json.dumps(value).encode() + b"\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


@contextlib.contextmanager
def e2b_server(**faults: Iterable[str]) -> Iterator[Cloud]:
    """Serve E2B and point its SDK here. Faults by operation: create, execute, kill, health."""
    with Cloud(E2BContract, KEY, faults) as server:
        known = {"E2B_API_KEY": KEY, "E2B_API_URL": server.url, "E2B_SANDBOX_URL": server.url}
        with mock.patch.dict(os.environ, known):
            yield server
