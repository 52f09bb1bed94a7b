# SPDX-License-Identifier: Apache-2.0
"""Boxes at Morph, through its SDK `morphcloud` 0.1.116: one new instance of a snapshot a request, stopped at the end.

Covered: the box is a virtual machine of its own that stops by itself after the time that the request can take; inside,
programs have no network where `unshare -n` works. Not covered: what the programs of one submission do to each other
and to the driver there (`rented`). Environment: MORPH_API_KEY, MORPH_SNAPSHOT_ID (a snapshot with python3 and the
compilers; without it one of our own is looked for, else made); MORPH_BASE_URL and the SDK's other variables work as it
documents them.

1. `morphcloud.sandbox`, which Open R1 used, left the SDK after 0.1.94: this starts instances and runs commands there.
2. Files go in and out through commands, in pieces: the SDK copies files by SSH, which many clusters let nobody use,
   and Linux starts no command of 128 KiB.
"""

import asyncio
import base64
import importlib
import logging
import os
from typing import Any

from open_r1.sandbox.base import SandboxError
from open_r1.sandbox.rented import MOVE_S, RentedMachine, RentedSandbox, TransientError

logger = logging.getLogger(__name__)

SNAPSHOT_DIGEST = "open-r1-sandbox-1"
SNAPSHOT_IMAGE = "morphvm-minimal"
SNAPSHOT_TOOLS = "python3 g++ nodejs bash util-linux"
BASE_DIGEST = f"{SNAPSHOT_DIGEST}-base"
BUILD_S = 900.0
BOX_LABEL = "open_r1_box"
PIECE_IN, PIECE_OUT = 96 * 1024, 1 << 20
PARALLEL_PIECES = 8


class MorphMachine(RentedMachine):
    """One instance. The SDK sends a command again when the connection breaks: these stand that."""

    network_cut = "unshare -n"

    def __init__(self, instance: Any) -> None:
        self._instance, self.id = instance, instance.id

    async def write(self, path: str, data: bytes) -> None:
        """Write a file in a new folder."""
        text, parts = base64.b64encode(data).decode(), f"{path}.parts"
        scripts = [
            f"mkdir -p {parts} && printf %s '{text[start : start + PIECE_IN]}' > {parts}/{start:012d}"
            for start in range(0, len(text), PIECE_IN)
        ]
        for start in range(0, len(scripts), PARALLEL_PIECES):
            await asyncio.gather(*map(self._do, scripts[start : start + PARALLEL_PIECES]))
        join = f"cat {parts}/* | base64 -d > {path}.new && mv {path}.new {path} && rm -r {parts}"
        await self._do(f"[ -e {path} ] || {{ {join}; }}")

    async def shell(self, script: str, timeout_s: float) -> tuple[int, str]:
        """Run a script (see `RentedMachine`)."""
        done = await self._instance.aexec(f'cd "${{TMPDIR:-/tmp}}" || exit 1\n{script}', timeout=timeout_s)
        return done.exit_code, done.stdout

    async def read(self, path: str, max_bytes: int) -> bytes:
        """Return a file of ASCII characters (see `RentedMachine`)."""
        data = ""
        while len(data) <= max_bytes:
            data += (piece := await self._do(f"tail -c +{len(data) + 1} {path} | head -c {PIECE_OUT}"))
            if len(piece) < PIECE_OUT:
                break
        return data.encode()

    async def end(self) -> None:
        """Stop the instance; one that's gone already is well."""
        try:
            await self._instance.astop()
        except Exception as error:
            if _status(error) != 404:
                raise

    async def _do(self, script: str) -> str:
        status, said = await self.shell(script, MOVE_S)
        if status != 0:
            raise TransientError(f"A command in the box {self.id} failed ({status}): {script[:100]}")
        return said


class MorphSandbox(RentedSandbox):
    """Programs in instances at Morph."""

    name = "morph"
    package = "morphcloud"
    key_variable = "MORPH_API_KEY"

    def __init__(self, snapshot_id: str | None = None, *, start_timeout_s: float = 180.0) -> None:
        """Build the provider; nothing is started yet.

        Args:
            snapshot_id: Of the snapshot to start (None: MORPH_SNAPSHOT_ID, else our own, found by its digest or made:
                minutes, once an account).
            start_timeout_s: How long a start is tried.

        Raises:
            ImportError: The SDK isn't installed.
            ValueError: MORPH_API_KEY isn't set.
        """
        super().__init__(start_timeout_s)
        self._snapshot_id = snapshot_id or os.environ.get("MORPH_SNAPSHOT_ID") or None
        self._client: tuple[asyncio.AbstractEventLoop, Any] | None = None
        self._opening, self._building = asyncio.Lock(), asyncio.Lock()

    def describe(self) -> str:
        """Return one line for the log."""
        snapshot = self._snapshot_id or SNAPSHOT_DIGEST
        return f"morph (a new instance of the snapshot {snapshot} for each request, no network for programs)"

    async def start(self, name: str, life_s: int) -> RentedMachine:
        """Start one instance (see `RentedSandbox`)."""
        client = await self._open()
        assert self._snapshot_id is not None  # `prepare` has seen to it
        return MorphMachine(await _start_instance(client, self._snapshot_id, name, life_s, self.start_timeout_s))

    def status_of(self, error: Exception) -> int | None:
        """Return the HTTP status that an exception of the SDK stands for."""
        return _status(error)

    async def aclose(self) -> None:
        """Wait for instances that are being stopped, and close the connections."""
        await super().aclose()
        if self._client is not None:
            loop, client = self._client
            self._client = None
            if loop is asyncio.get_running_loop():
                await client._async_http_client.aclose()  # the SDK has no public way
            client._http_client.close()

    async def _open(self) -> Any:
        """Return the SDK's client of this event loop; its connections work on no other. It takes 2 s to build."""
        loop = asyncio.get_running_loop()
        async with self._opening:
            if self._client is None or self._client[0] is not loop:
                self._client = (loop, await asyncio.to_thread(self._new_client))
            return self._client[1]

    def _new_client(self) -> Any:
        return importlib.import_module("morphcloud.api").MorphCloudClient(api_key=self.key())

    async def prepare(self) -> None:
        """Find the snapshot to start; make it when the account has none."""
        client = await self._open()
        async with self._building:
            if self._snapshot_id is None:
                try:
                    async with asyncio.timeout(BUILD_S):
                        found = await _find_snapshot(client, SNAPSHOT_DIGEST)
                        self._snapshot_id = found or await _build_snapshot(client)
                except Exception as error:
                    raise self.failure(error, f"looking for the snapshot {SNAPSHOT_DIGEST}") from error


async def _start_instance(client: Any, snapshot_id: str, name: str, life_s: int, timeout_s: float) -> Any:
    """Start an instance and wait until it's ready."""
    return await client.instances.astart(
        snapshot_id, metadata={BOX_LABEL: name}, ttl_seconds=life_s, ttl_action="stop", timeout=timeout_s
    )


async def _find_snapshot(client: Any, digest: str) -> str | None:
    for snapshot in await client.snapshots.alist(digest=digest):
        if snapshot.digest == digest and snapshot.status.value == "ready":
            return snapshot.id
    return None


async def _build_snapshot(client: Any) -> str:
    """Make our snapshot: the base image with Python, a C++ compiler and Node.

    The snapshot of the base image stays, one for the account: a build that is interrupted goes on from there.
    """
    logger.warning("morph: making the snapshot %s, once for the account; this takes minutes", SNAPSHOT_DIGEST)
    base_id = await _find_snapshot(client, BASE_DIGEST)
    if base_id is None:
        base = await client.snapshots.acreate(
            image_id=SNAPSHOT_IMAGE, vcpus=2, memory=4096, disk_size=10240, digest=BASE_DIGEST
        )
        base_id = base.id
    instance = await _start_instance(client, base_id, "build", int(BUILD_S), BUILD_S)
    try:
        script = f"apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y {SNAPSHOT_TOOLS}"
        done = await instance.aexec(script, timeout=BUILD_S)
        if done.exit_code != 0:
            raise SandboxError(f"The snapshot {SNAPSHOT_DIGEST} could not be made: {done.stderr[-500:]}")
        snapshot = await instance.asnapshot(digest=SNAPSHOT_DIGEST, metadata={"tag": SNAPSHOT_DIGEST})
        await snapshot.await_until_ready(BUILD_S)
    finally:
        await asyncio.shield(asyncio.ensure_future(instance.astop()))
    return snapshot.id


def _status(error: BaseException) -> int | None:
    from morphcloud.api import ApiError

    return error.status_code if isinstance(error, ApiError) else None
