# SPDX-License-Identifier: Apache-2.0
"""Morph on this machine: the part of its wire contract that `morphcloud` 0.1.116 calls for instances.

Endpoints, as read in the SDK and seen in its requests: POST /instance; GET, DELETE /instance/ID; POST
/instance/ID/exec. A command runs as `sh -c`; that which runs a driver is on record as `run`.
"""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from unittest import mock

from tests.integration.fakes.machines import Cloud, Contract, Machine

KEY = "morph_key_of_the_tests"
SNAPSHOT = "snapshot_of_the_tests"
SPEC = {"vcpus": 2, "memory": 4096, "disk_size": 10240}
LONGEST_COMMAND = 128 * 1024  # what Linux takes as one argument


class MorphContract(Contract):
    """The endpoints, and operations: create, get, kill, exec, run."""

    def find(self, path: list[str], body: bytes) -> tuple[str, str]:
        if self.headers.get("Authorization") != f"Bearer {self.server.key}":
            return "denied", ""
        if len(path) == 1:
            return "create", ""
        if len(path) == 2:
            return {"GET": "get", "DELETE": "kill"}[self.command], path[1]
        return "run" if b"driver.py" in body else "exec", path[1]

    def create(self, machine: None, body: bytes) -> None:
        self.get(self.server.add_machine({**json.loads(body), "snapshot_id": self.asked["snapshot_id"]}), body)

    def get(self, box: Machine, body: bytes) -> None:
        """Show an instance."""
        known = {name: box.wanted[name] for name in ("ttl_seconds", "ttl_action")}
        refs = {"snapshot_id": box.wanted["snapshot_id"], "image_id": "morphvm-minimal"}
        about = {"id": box.id, "object": "instance", "created": 1, "status": "ready", "spec": SPEC, "refs": refs}
        networking = {"internal_ip": "10.0.0.1", "http_services": []}
        self.send({**about, "networking": networking, "metadata": box.wanted["metadata"] or {}, "ttl": known})

    def kill(self, box: Machine, body: bytes) -> None:
        box.end()
        self.send({})

    def exec(self, box: Machine, body: bytes) -> None:
        """Run a command."""
        script = " ".join(json.loads(body)["command"])
        if len(script) >= LONGEST_COMMAND:
            return self.send({"exit_code": 126, "stdout": "", "stderr": "Argument list too long"})
        status, *texts = self.run_script(box, ["sh", "-c", script])
        stdout, stderr = (text.decode("utf-8", "replace") for text in texts)
        return self.send({"exit_code": status, "stdout": stdout, "stderr": stderr})

    run = exec


@contextlib.contextmanager
def morph_server(**faults: Iterable[str]) -> Iterator[Cloud]:
    """Serve Morph and point its SDK here."""
    with Cloud(MorphContract, KEY, faults) as server:
        known = {"MORPH_API_KEY": KEY, "MORPH_BASE_URL": server.url, "MORPH_SNAPSHOT_ID": SNAPSHOT}
        # One connection pool instead of 64 spares 2 s; no profile of whoever runs the tests.
        known |= {"MORPH_HTTP_TRANSPORT_SHARDS": "1", "MORPH_CONFIG_PATH": str(server.root / "none.toml")}
        with mock.patch.dict(os.environ, known):
            yield server
