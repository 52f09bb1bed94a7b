# SPDX-License-Identifier: Apache-2.0
"""Boxes at E2B, through its SDK `e2b-code-interpreter` 2.x: one new box a request, killed at the end.

Covered: the box is a virtual machine of its own, without internet, which ends by itself after the time that the
request can take. Not covered: what the programs of one submission do to each other and to the driver there
(`remote_driver`). Environment: E2B_API_KEY, E2B_TEMPLATE; E2B_DOMAIN and the SDK's others work as it documents them.

1. Every failure of the service is a `SandboxError`: rate limits, a busy service and lost connections are tried again
   until a deadline, a refused key or unknown template isn't.
"""

import asyncio
import importlib
import importlib.util
import json
import os
from typing import Any

from open_r1.sandbox.base import SandboxError
from open_r1.sandbox.remote_driver import RemoteBox, harness_text
from open_r1.sandbox.remote_reply import ESCAPED, NOISE_CHARS, TransientError, bound_responses
from open_r1.sandbox.rented import RentedSandbox

DEFAULT_TEMPLATE = "code-interpreter-v1"
REQUEST_S = 60.0  # a call of the provider's API
CHUNK_CHARS = 1 << 20
LONGEST_ANSWER = ESCAPED * (CHUNK_CHARS + NOISE_CHARS)  # bytes of JSON lines


class E2BBox(RemoteBox):
    """One box; scripts run in a cell of its Python kernel."""

    chunk_chars = CHUNK_CHARS

    def __init__(self, box: Any) -> None:
        self._box = box
        self.id = box.sandbox_id

    async def shell(self, script: str, timeout_s: float) -> str:
        """Run a shell script in the box (see `RemoteBox`)."""
        cell = f"{harness_text('e2b_shell.py')}\nrun_script({json.dumps(script)})\n"
        try:
            # The SDK's own limit may be twice what it's given; this one holds.
            async with asyncio.timeout(timeout_s):
                execution = await self._box.run_code(cell, timeout=timeout_s, request_timeout=REQUEST_S)
        except Exception as error:  # the SDK raises bare Exceptions too, and KeyError where it's answered nonsense
            raise _as_sandbox_error(error, f"running code in the box {self.id}") from error
        if execution.error is not None:
            said = f"{execution.error.name}: {execution.error.value}"
            raise TransientError(f"E2B's kernel in the box {self.id} failed: {said[:500]}")
        return await asyncio.to_thread("".join, execution.logs.stdout)

    async def end(self) -> None:
        """Kill the box; one that's gone already is well."""
        await self._box.kill(request_timeout=4.0)


class E2BSandbox(RentedSandbox):
    """Programs in boxes at E2B."""

    name = "e2b"

    def __init__(self, template: str | None = None, *, start_timeout_s: float = 120.0, max_life_s: int = 3600) -> None:
        """Build the provider; nothing is started yet.

        Args:
            template: Name or id of the boxes' template (None: E2B_TEMPLATE, else the SDK's own). It needs a Python
                kernel, and `g++`, `node`, `bash` for their languages.
            start_timeout_s: How long a start is tried.
            max_life_s: The longest life of a box that the account may ask for.

        Raises:
            ImportError: The SDK isn't installed.
            ValueError: E2B_API_KEY isn't set.
        """
        super().__init__(start_timeout_s)
        if importlib.util.find_spec("e2b_code_interpreter") is None:
            raise ImportError("The sandbox at E2B needs e2b-code-interpreter: make install EXTRAS=code")
        self._key()
        self.template = template or os.environ.get("E2B_TEMPLATE") or DEFAULT_TEMPLATE
        self.max_life_s = max_life_s

    def describe(self) -> str:
        """Return one line for the log."""
        return f"e2b (a new machine from the template {self.template} for each request, no internet)"

    async def start(self, name: str, life_s: int) -> RemoteBox:
        """Start one box (see `RentedSandbox`); a repeated start with the same name yields the same box."""
        bounded = await asyncio.to_thread(_bounded_box)
        try:
            box = await bounded.create(
                self.template,
                timeout=life_s,
                metadata={"open_r1_box": name},
                allow_internet_access=False,
                idempotency_key=name,
                api_key=self._key(),
                debug=False,  # its debug mode shares one box and kills none
                request_timeout=REQUEST_S,
            )
        except Exception as error:
            raise _as_sandbox_error(error, f"starting a box from the template {self.template}") from error
        return E2BBox(box)

    def _key(self) -> str:
        key = os.environ.get("E2B_API_KEY")
        if not key:
            raise ValueError("The sandbox at E2B needs its key: set E2B_API_KEY in the environment.")
        return key


def _bounded_box() -> Any:
    """Return the SDK's class of boxes, whose cells answer no more than a piece of a reply takes."""
    import e2b_code_interpreter as sdk

    class BoundedBox(sdk.AsyncSandbox):
        @property
        def _client(self) -> Any:  # the SDK keeps all that a cell prints, and has no limit of its own
            client = super()._client
            client.headers["Accept-Encoding"] = "identity"
            client.event_hooks["response"].append(bound_responses(LONGEST_ANSWER, self.sandbox_id))
            return client

    return BoundedBox


def _as_sandbox_error(error: Exception, doing: str) -> SandboxError:
    """Return what an exception of the SDK, which raises many kinds, means for us."""
    import e2b_code_interpreter as sdk

    if isinstance(error, TransientError):
        return error
    text = f"E2B failed while {doing}: {type(error).__name__}: {str(error)[:500]}"
    text = text.replace(os.environ.get("E2B_API_KEY") or "\0", "***")
    if isinstance(error, sdk.AuthenticationException):
        return SandboxError(f"{text}; check E2B_API_KEY")
    if isinstance(error, sdk.InvalidArgumentException | sdk.TemplateException):
        return SandboxError(text)
    status = error.status_code if isinstance(error, sdk.SandboxException) else None
    if status is not None and 400 <= status < 500 and status not in (408, 409, 425, 429):
        return SandboxError(f"{text}; check the template and the limits of the account")
    return TransientError(text)
