# SPDX-License-Identifier: Apache-2.0
"""Boxes at Morph, through its SDK `morphcloud` 0.1.116: one new instance of a snapshot a request, stopped at the end.

Covered: the box is a virtual machine of its own that stops by itself after the time that the request can take; inside,
programs have no network where `unshare -n` works. Not covered: what the programs of one submission do to each other
and to the driver there (`rented`). Environment: MORPH_API_KEY, MORPH_SNAPSHOT_ID (a snapshot with python3 and the
languages' programs); MORPH_BASE_URL and the SDK's other variables work as it documents them.

1. `morphcloud.sandbox`, which Open R1 used, left the SDK after 0.1.94: this starts instances and runs commands there.
2. Files go in and out through commands, in pieces: the SDK copies files by SSH, which many clusters let nobody use,
   and Linux starts no command of 128 KiB.
"""

import asyncio
import base64
import importlib
import os
from functools import cached_property
from typing import Any

from open_r1.sandbox.rented import MOVE_S, LostMachineError, RentedMachine, RentedSandbox

PIECE_IN, PIECE_OUT = 96 * 1024, 1 << 20


class MorphMachine(RentedMachine):
    """One instance. The SDK sends a command again when the connection breaks: these stand that."""

    network_cut = "unshare -n"

    def __init__(self, instance: Any) -> None:
        self._instance, self.id = instance, instance.id

    async def write(self, path: str, data: bytes) -> None:
        """Write a file in a new folder."""
        text, parts = base64.b64encode(data).decode(), f"{path}.parts"
        for start in range(0, len(text), PIECE_IN):
            piece = text[start : start + PIECE_IN]
            await self._do(f"mkdir -p {parts} && printf %s '{piece}' > {parts}/{start:012d}")
        await self._do(f"cat {parts}/* | base64 -d > {path}")

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
        """Stop the instance."""
        await self._instance.astop()

    async def _do(self, script: str) -> str:
        status, said = await self.shell(script, MOVE_S)
        if status != 0:
            raise LostMachineError(f"A command in the box {self.id} failed ({status}): {script[:100]}")
        return said


class MorphSandbox(RentedSandbox):
    """Programs in instances at Morph.

    Args:
        snapshot_id: Of the snapshot to start (None: MORPH_SNAPSHOT_ID).
        start_timeout_s: As of `RentedSandbox`.
    """

    name = "morph"
    package = "morphcloud"
    key_variable = "MORPH_API_KEY"

    def __init__(self, snapshot_id: str | None = None, *, start_timeout_s: float = 180.0) -> None:
        super().__init__(start_timeout_s)
        self._snapshot_id = snapshot_id or os.environ.get("MORPH_SNAPSHOT_ID")
        if not self._snapshot_id:
            raise ValueError(
                "The sandbox morph needs MORPH_SNAPSHOT_ID: a snapshot with python3 and the languages' programs "
                "(of image morphvm-minimal, and there `apt-get install python3 g++ nodejs bash util-linux`)."
            )

    def describe(self) -> str:
        """Return one line for the log."""
        return f"morph (an instance of snapshot {self._snapshot_id} a request, no network where `unshare -n` works)"

    @cached_property
    def _client(self) -> Any:
        return importlib.import_module("morphcloud.api").MorphCloudClient(api_key=self.key)

    async def start(self, name: str, life_s: int) -> RentedMachine:
        """Start one instance (see `RentedSandbox`)."""
        starting = self._client.instances.astart(
            self._snapshot_id, metadata={"open_r1_box": name}, ttl_seconds=life_s, ttl_action="stop"
        )
        return MorphMachine(await asyncio.wait_for(starting, self.start_timeout_s))

    def status_of(self, error: Exception) -> int | None:
        """Return the HTTP status that an exception of the SDK stands for."""
        from morphcloud.api import ApiError

        return error.status_code if isinstance(error, ApiError) else None
