# SPDX-License-Identifier: Apache-2.0
"""Morph on this machine: the part of its wire contract that `morphcloud` 0.1.116 calls for instances and snapshots.

Endpoints, as read in the SDK and seen in its requests: POST /instance; GET, DELETE /instance/ID; POST
/instance/ID/exec, /instance/ID/snapshot; GET, POST /snapshot; GET /snapshot/ID. A command runs as `sh -c`; that which
runs a driver is on record as `run`.
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


class MorphCloud(Cloud):
    """The cloud with its snapshots."""

    def __init__(self, faults: dict[str, Iterable[str]]) -> None:
        super().__init__(MorphContract, KEY, faults)
        self.snapshots: dict[str, dict] = {}
        self.add_snapshot(SNAPSHOT)

    def add_snapshot(self, name: str, digest: str | None = None) -> dict:
        known = {"id": name, "object": "snapshot", "created": 1, "status": "ready", "spec": SPEC, "digest": digest}
        self.snapshots[name] = {**known, "refs": {"image_id": "morphvm-minimal"}, "metadata": {}}
        return self.snapshots[name]


class MorphContract(Contract):
    """The endpoints, and operations: create, get, kill, exec, run, save, snapshot."""

    server: MorphCloud

    def find(self, path: list[str], body: bytes) -> tuple[str, str]:
        if self.headers.get("Authorization") != f"Bearer {self.server.key}":
            return "denied", ""
        if path[0] == "snapshot":
            self.name = path[1] if len(path) > 1 else ""
            return "snapshot", ""
        if len(path) == 1:
            return "create", ""
        if len(path) == 2:
            return {"GET": "get", "DELETE": "kill"}[self.command], path[1]
        return "run" if b"batch.py" in body else {"exec": "exec", "snapshot": "save"}[path[2]], path[1]

    def create(self, machine: None, body: bytes) -> None:
        snapshot = self.server.snapshots[self.asked["snapshot_id"]]
        self.get(self.server.add_machine({**json.loads(body), "snapshot_id": snapshot["id"]}), body)

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

    def save(self, box: Machine, body: bytes) -> None:
        self.send(self.server.add_snapshot(f"saved{len(self.server.snapshots)}", self.asked.get("digest")))

    def exec(self, box: Machine, body: bytes) -> None:
        """Run a command."""
        script = " ".join(json.loads(body)["command"])
        if len(script) >= LONGEST_COMMAND:
            return self.send({"exit_code": 126, "stdout": "", "stderr": "Argument list too long"})
        status, *texts = self.run_script(box, ["sh", "-c", script])
        stdout, stderr = (text.decode("utf-8", "replace") for text in texts)
        return self.send({"exit_code": status, "stdout": stdout, "stderr": stderr})

    run = exec

    def snapshot(self, machine: None, body: bytes) -> None:
        snapshots = self.server.snapshots
        if self.name:
            self.send(snapshots[self.name])
        elif self.command == "POST":
            self.send(self.server.add_snapshot(f"made{len(snapshots)}", json.loads(body)["digest"]))
        else:
            digest = self.asked.get("digest")
            self.send({"data": [item for item in snapshots.values() if digest in (None, item["digest"])]})


@contextlib.contextmanager
def morph_server(**faults: Iterable[str]) -> Iterator[MorphCloud]:
    """Serve Morph and point its SDK here, with a snapshot that is this machine."""
    with MorphCloud(faults) as server:
        known = {"MORPH_API_KEY": KEY, "MORPH_BASE_URL": server.url, "MORPH_SNAPSHOT_ID": SNAPSHOT}
        # One connection pool instead of 64 spares 2 s; no profile of whoever runs the tests.
        known |= {"MORPH_HTTP_TRANSPORT_SHARDS": "1", "MORPH_CONFIG_PATH": str(server.root / "none.toml")}
        with mock.patch.dict(os.environ, known):
            yield server
