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
    """The endpoints, and operations: create, kill, run, files, health."""

    def find(self, path: list[str], body: bytes) -> tuple[str, str]:
        name = self.headers.get("E2b-Sandbox-Id", "")
        if name:
            self.gone = 502  # of the proxy in front of boxes
            is_known = self.headers.get("X-Access-Token") == f"token-{name}" or path == ["health"]
            return ({"process.Process": "run"}.get(path[0], path[0]) if is_known else "denied"), name
        self.gone = 404
        if self.headers.get("X-API-KEY") != self.server.key:
            return "denied", ""
        return ("create", "") if path == ["v2", "sandboxes"] else ("kill", path[1])

    def create(self, machine: None, body: bytes) -> None:
        wanted, key = json.loads(body), self.headers.get("Idempotency-Key")
        known = [box for box in self.server.machines.values() if key and box.wanted["idempotency_key"] == key]
        box = known[0] if known else self.server.add_machine({**wanted, "idempotency_key": key})
        reply = {"templateID": wanted["templateID"], "sandboxID": box.id, "clientID": "client", "domain": None}
        self.send({**reply, "envdVersion": "0.4.0", "envdAccessToken": f"token-{box.id}"}, 201)

    def kill(self, box: Machine, body: bytes) -> None:
        box.end()
        self.send(b"", 204)

    def health(self, box: Machine, body: bytes) -> None:
        self.send(b"", 204)

    def files(self, box: Machine, body: bytes) -> None:
        path = box.folder / self.asked["path"]
        if self.command == "POST":
            boundary = re.search("boundary=(.+)", self.headers["Content-Type"])[1].encode()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--" + boundary, 1)[0])
            self.send([{"name": path.name, "type": "file", "path": str(path)}])
        elif path.is_file():
            self.send(path.read_bytes())
        else:
            self.refuse(404)

    def run(self, box: Machine, body: bytes) -> None:
        """Run a command and send its events."""
        wanted = json.loads(body[5:])["process"]
        assert (wanted["cmd"], wanted["args"][:2]) == ("/bin/bash", ["-l", "-c"])
        status, output, errors = self.run_script(box, ["/bin/bash", "-c", wanted["args"][2]])
        events: list[dict] = [{"start": {"pid": 1}}]
        for name, data in (("stdout", output), ("stderr", errors)):
            pieces = [data[start : start + PIECE] for start in range(0, len(data), PIECE)]
            events += [{"data": {name: base64.b64encode(piece).decode()}} for piece in pieces]
        # Of a process that a signal ended envd says -1.
        events.append({"end": {"exitCode": max(status, -1), "exited": status >= 0, "status": f"exit status {status}"}})
        messages = [(0, {"event": event}) for event in events] + [(2, {})]
        texts = [(flags, json.dumps(message).encode()) for flags, message in messages]
        self.send(b"".join(struct.pack(">BI", flags, len(text)) + text for flags, text in texts))


@contextlib.contextmanager
def e2b_server(**faults: Iterable[str]) -> Iterator[Cloud]:
    """Serve E2B and point its SDK here."""
    with Cloud(E2BContract, KEY, faults) as server:
        known = {"E2B_API_KEY": KEY, "E2B_API_URL": server.url, "E2B_SANDBOX_URL": server.url}
        with mock.patch.dict(os.environ, known):
            yield server
