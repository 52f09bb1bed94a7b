# SPDX-License-Identifier: Apache-2.0
"""E2B on this machine: the part of its wire contract that `e2b` 2.63 calls for boxes, their files and commands.

Endpoints, as read in the SDK and seen in its requests: POST /v2/sandboxes (Idempotency-Key), DELETE /sandboxes/ID; of
a box (envd): POST /process.Process/Start (Connect stream of JSON), POST and GET /files, GET /health. A command runs in
the box's folder, which is its home; the shell is no login shell, whose profile would be that of this machine.
"""

import base64
import contextlib
import json
import os
import re
import struct
from collections.abc import Iterable, Iterator
from unittest import mock

from tests.integration.fakes.machines import Cloud, Contract, Machine

KEY = "e2b_key_of_the_tests"
PIECE = 8192  # bytes of one message of output


class E2BContract(Contract):
    """The endpoints. Faults: create ("slow" too), run ("die" ends the box then), kill, health, files."""

    def answer(self, path: list[str], body: bytes) -> None:
        operation = {"process.Process": "run", "files": "files", "health": "health"}.get(path[0])
        if operation is not None:
            self.in_box(operation, body)
        elif self.headers.get("X-API-KEY") != self.server.key:
            self.send({"code": 401, "message": f"Invalid API key {self.headers.get('X-API-KEY')}"}, 401)
        elif path == ["v2", "sandboxes"]:
            self.create(json.loads(body))
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

    def in_box(self, operation: str, body: bytes) -> None:
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
        if self.headers.get("X-Access-Token") != f"token-{name}" or self.headers.get("E2b-Sandbox-Port") != "49983":
            return self.send({"message": "unauthorized"}, 401)
        if operation == "run":
            return self.run(box, json.loads(body[5:])["process"], fault)
        return self.files(box, body)

    def files(self, box: Machine, body: bytes) -> None:
        path = box.folder / self.asked["path"]
        if self.command == "POST":
            boundary = re.search("boundary=(.+)", self.headers["Content-Type"])[1].encode()
            content = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--" + boundary, 1)[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return self.send([{"name": path.name, "type": "file", "path": str(path)}])
        if not path.is_file():
            return self.send({"code": 404, "message": "file not found"}, 404)
        return self.send(path.read_bytes())

    def run(self, box: Machine, wanted: dict, fault: str) -> None:
        """Run a command and send its events; the stream of a fault ends in the middle."""
        assert (wanted["cmd"], wanted["args"][:2]) == ("/bin/bash", ["-l", "-c"])
        box.scripts.append(wanted["args"][2])
        process = box.start(["/bin/bash", "-c", wanted["args"][2]])
        self.send_response(200)
        self.send_header("Content-Type", "application/connect+json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.event({"start": {"pid": process.pid}})
        if fault == "die":
            box.end()
        output, errors = process.communicate()
        if fault in ("drop", "die"):
            return self.drop()
        if fault == "garbage":
            self.chunk(b"<html>502</html>\n")
        for name, data in (("stdout", output), ("stderr", errors)):
            for start in range(0, len(data), PIECE):
                self.event({"data": {name: base64.b64encode(data[start : start + PIECE]).decode()}})
        status = process.returncode  # of a process that a signal ended envd says -1
        self.event({"end": {"exitCode": max(status, -1), "exited": status >= 0, "status": f"exit status {status}"}})
        self.envelope(2, {})
        return self.chunk(b"")

    def event(self, value: dict) -> None:
        self.envelope(0, {"event": value})

    def envelope(self, flags: int, value: dict) -> None:
        data = json.dumps(value).encode()
        self.chunk(struct.pack(">BI", flags, len(data)) + data)

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


@contextlib.contextmanager
def e2b_server(**faults: Iterable[str]) -> Iterator[Cloud]:
    """Serve E2B and point its SDK here. Faults by operation: create, run, kill, health, files."""
    with Cloud(E2BContract, KEY, faults) as server:
        known = {"E2B_API_KEY": KEY, "E2B_API_URL": server.url, "E2B_SANDBOX_URL": server.url}
        with mock.patch.dict(os.environ, known):
            yield server
