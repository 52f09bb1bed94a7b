# SPDX-License-Identifier: Apache-2.0
"""Boxes at E2B, through its SDK `e2b-code-interpreter` 2.x: one new box a request, killed at the end.

Covered: the box is a virtual machine of its own, without internet, which ends by itself after the time that the
request can take. Not covered: what the programs of one submission do to each other and to the driver there (`rented`).
Environment: E2B_API_KEY, E2B_TEMPLATE; E2B_DOMAIN and the SDK's others work as it documents them.
"""

import asyncio
import importlib
import os
from typing import Any

from open_r1.sandbox.rented import MOVE_S, RentedMachine, RentedSandbox

DEFAULT_TEMPLATE = "code-interpreter-v1"


class E2BMachine(RentedMachine):
    """One box; paths are relative to its user's home."""

    def __init__(self, box: Any) -> None:
        self._box, self.id = box, box.sandbox_id

    async def write(self, path: str, data: bytes) -> None:
        """Write a file in a new folder."""
        await self._box.files.write(path, data, request_timeout=MOVE_S)

    async def shell(self, script: str, timeout_s: float) -> tuple[int, str]:
        """Run a script (see `RentedMachine`)."""
        try:
            # With a limit of its own for the first answer, the SDK leaves a task behind when it's cancelled.
            done = await self._box.commands.run(script, timeout=timeout_s, request_timeout=0)
        except _sdk().CommandExitException as ended:
            done = ended
        return done.exit_code, done.stdout

    async def read(self, path: str, max_bytes: int) -> bytes:
        """Return a file (see `RentedMachine`)."""
        data = bytearray()
        async with await self._box.files.read(path, format="stream") as parts:
            async for part in parts:
                data += part
                if len(data) > max_bytes:
                    break
        return bytes(data)

    async def end(self) -> None:
        """Kill the box; one that's gone already is well."""
        await self._box.kill(request_timeout=4.0)


class E2BSandbox(RentedSandbox):
    """Programs in boxes at E2B.

    Args:
        template: Name or id of the boxes' template (None: E2B_TEMPLATE, else the SDK's own). It needs `python3`, and
            `g++`, `node`, `bash` for their languages.
        start_timeout_s: As of `RentedSandbox`.
    """

    name = "e2b"
    package = "e2b_code_interpreter"
    key_variable = "E2B_API_KEY"

    def __init__(self, template: str | None = None, *, start_timeout_s: float = 120.0) -> None:
        super().__init__(start_timeout_s)
        self.template = template or os.environ.get("E2B_TEMPLATE") or DEFAULT_TEMPLATE

    def describe(self) -> str:
        """Return one line for the log."""
        return f"e2b (a new machine from the template {self.template} for each request, no internet)"

    async def start(self, name: str, life_s: int) -> RentedMachine:
        """Start one box (see `RentedSandbox`); a repeated start with the same name yields the same box."""
        sdk = await asyncio.to_thread(_sdk)  # it takes a second to import
        box = await sdk.AsyncSandbox.create(
            self.template,
            timeout=life_s,
            metadata={"open_r1_box": name},
            allow_internet_access=False,
            idempotency_key=name,
            api_key=self.key,
            debug=False,  # its debug mode shares one box and kills none
            request_timeout=min(60.0, self.start_timeout_s),
        )
        return E2BMachine(box)

    def status_of(self, error: Exception) -> int | None:
        """Return the HTTP status that an exception of the SDK stands for."""
        sdk = _sdk()
        if isinstance(error, sdk.AuthenticationException):
            return 401
        if isinstance(error, sdk.InvalidArgumentException | sdk.TemplateException):
            return 400
        return error.status_code if isinstance(error, sdk.SandboxException) else None


def _sdk() -> Any:
    return importlib.import_module("e2b_code_interpreter")
