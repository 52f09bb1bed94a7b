# SPDX-License-Identifier: Apache-2.0
"""Morph on this machine: the part of its wire contract that `morphcloud` 0.1.116 calls for instances and snapshots.

Endpoints, as read in the SDK and seen in its requests: POST, GET /instance; GET, DELETE /instance/ID; POST
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

    def add_snapshot(self, name: str, **known) -> dict:
        self.snapshots[name] = {
            "id": name,
            "object": "snapshot",
            "created": 1,
            "status": "ready",
            "spec": SPEC,
            "refs": {"image_id": "morphvm-minimal"},
            "digest": None,
            "metadata": {},
            **known,
        }
        return self.snapshots[name]


class MorphContract(Contract):
    """The endpoints. Faults: create (also "slow"), get, exec, run, kill, list, snapshot."""

    server: MorphCloud

    def answer(self, path: list[str], body: bytes) -> None:
        if self.headers.get("Authorization") != f"Bearer {self.server.key}":
            return self.send({"detail": "Invalid API key"}, 401)
        operation = "run" if b"batch.py" in body else self.operation(path)
        asked = json.loads(body) if body else {}
        name = path[1] if len(path) > 1 else ""
        fault = self.server.record(operation, name)
        if fault.isdigit():
            return self.send({"detail": f"{fault} on order, key {self.server.key}"}, int(fault))
        if fault == "hang":
            return self.hang()
        if fault == "garbage":
            return self.send(b"<html>Welcome to the proxy</html>")
        if path[0] == "snapshot":
            return self.of_snapshots(path, asked)
        if len(path) == 1:
            return self.create(asked, fault) if self.command == "POST" else self.list_instances()
        box = self.server.machines.get(name)
        if box is None or box.is_gone:
            return self.send({"detail": "Instance not found"}, 404)
        return getattr(self, operation)(box, asked, fault)

    def operation(self, path: list[str]) -> str:
        """Return the name of what is asked for."""
        if path[0] == "snapshot":
            return "snapshot"
        if len(path) == 1:
            return {"POST": "create", "GET": "list"}[self.command]
        if len(path) == 2:
            return {"GET": "get", "DELETE": "kill"}[self.command]
        return {"exec": "exec", "snapshot": "save"}[path[2]]

    def create(self, body: dict, fault: str) -> None:
        if fault == "slow":
            self.server.stopping.wait(0.5)
        snapshot = self.server.snapshots.get(self.asked["snapshot_id"])
        if snapshot is None:
            return self.send({"detail": "Snapshot not found"}, 404)
        box = self.server.add_machine({**body, "snapshot_id": snapshot["id"]})
        return self.drop() if fault == "drop" else self.send(describe(box))

    def list_instances(self) -> None:
        wanted = {key[len("metadata[") : -1]: value for key, value in self.asked.items()}
        found = [box for box in self.server.alive if wanted.items() <= (box.wanted["metadata"] or {}).items()]
        self.send({"object": "list", "data": [describe(box) for box in found]})

    def get(self, box: Machine, body: dict, fault: str) -> None:
        self.send(describe(box))

    def kill(self, box: Machine, body: dict, fault: str) -> None:
        box.end()
        self.send({})

    def save(self, box: Machine, body: dict, fault: str) -> None:
        number = len(self.server.snapshots)
        metadata = body.get("metadata") or {}
        self.send(self.server.add_snapshot(f"saved{number}", digest=self.asked.get("digest"), metadata=metadata))

    def exec(self, box: Machine, body: dict, fault: str) -> None:
        """Run a command; "drop" breaks the connection when it's done, "die" ends the instance meanwhile."""
        script = " ".join(body["command"])
        box.scripts.append(script)
        if len(script) >= LONGEST_COMMAND:
            return self.send({"exit_code": 126, "stdout": "", "stderr": "Argument list too long"})
        process = box.start(["sh", "-c", script])
        if fault == "die":
            box.end()
        output, errors = (text.decode("utf-8", "replace") for text in process.communicate())
        if fault in ("drop", "die"):
            return self.drop()
        return self.send({"exit_code": process.returncode, "stdout": output, "stderr": errors})

    run = exec

    def of_snapshots(self, path: list[str], body: dict) -> None:
        snapshots = self.server.snapshots
        if len(path) > 1:
            known = path[1] in snapshots
            return self.send(snapshots[path[1]] if known else {"detail": "Snapshot not found"}, 200 if known else 404)
        if self.command == "POST":
            return self.send(self.server.add_snapshot(f"made{len(snapshots)}", **body_of_snapshot(body)))
        digest = self.asked.get("digest")
        return self.send({"data": [item for item in snapshots.values() if digest is None or item["digest"] == digest]})


def body_of_snapshot(body: dict) -> dict:
    """Return what a new snapshot has from its request."""
    known = {key: body[key] for key in ("digest", "metadata") if body.get(key)}
    return {**known, "spec": {key: body[key] for key in SPEC}, "refs": {"image_id": body["image_id"]}}


def describe(box: Machine) -> dict:
    """Return an instance as the service shows it."""
    return {
        "id": box.id,
        "object": "instance",
        "created": 1,
        "status": "ready",
        "spec": SPEC,
        "refs": {"snapshot_id": box.wanted["snapshot_id"], "image_id": "morphvm-minimal"},
        "networking": {"internal_ip": "10.0.0.1", "http_services": []},
        "metadata": box.wanted["metadata"] or {},
        "ttl": {"ttl_seconds": box.wanted["ttl_seconds"], "ttl_action": box.wanted["ttl_action"]},
    }


@contextlib.contextmanager
def morph_server(**faults: Iterable[str]) -> Iterator[MorphCloud]:
    """Serve Morph and point its SDK here, with a snapshot that is this machine. Faults by operation."""
    with MorphCloud(faults) as server:
        known = {"MORPH_API_KEY": KEY, "MORPH_BASE_URL": server.url, "MORPH_SNAPSHOT_ID": SNAPSHOT}
        # One connection pool instead of 64 spares 2 s; no profile of whoever runs the tests.
        known |= {"MORPH_HTTP_TRANSPORT_SHARDS": "1", "MORPH_CONFIG_PATH": str(server.root / "none.toml")}
        with mock.patch.dict(os.environ, known):
            yield server
