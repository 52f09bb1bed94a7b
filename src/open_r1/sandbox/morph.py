# SPDX-License-Identifier: Apache-2.0
"""Boxes at Morph, through its SDK `morphcloud` 0.1.116: one new instance of a snapshot a request, stopped at the end.

Covered: the box is a virtual machine of its own that stops by itself after the time that the request can take; inside,
programs have no network where `unshare -n` works. Not covered: what the programs of one submission do to each other
and to the driver there (`remote_driver`), so that interactors are refused. Environment: MORPH_API_KEY,
MORPH_SNAPSHOT_ID (a snapshot with python3 and the compilers; without it one of our own is looked for, else made);
MORPH_BASE_URL and the SDK's other variables work as it documents them.

1. `morphcloud.sandbox`, which Open R1 used, left the SDK after 0.1.94: this starts instances and runs commands there.
2. Files go in through commands, in pieces: the SDK's upload wants SSH, and Linux starts no command of 128 KiB.
"""

import asyncio
import importlib
import importlib.util
import logging
import os
import time
from typing import Any

from open_r1.sandbox.base import SandboxError
from open_r1.sandbox.remote_driver import RemoteBox
from open_r1.sandbox.remote_reply import TransientError, bound_responses
from open_r1.sandbox.rented import END_S, RentedSandbox

logger = logging.getLogger(__name__)

SNAPSHOT_DIGEST = "open-r1-sandbox-1"
SNAPSHOT_IMAGE = "morphvm-minimal"
SNAPSHOT_TOOLS = "python3 g++ nodejs bash util-linux"
BASE_DIGEST = f"{SNAPSHOT_DIGEST}-base"
BUILD_S = 900.0
LONGEST_ANSWER = 8 << 20  # bytes of JSON: a piece of a reply with what is printed around it, or a list of instances
BOX_LABEL = "open_r1_box"


class MorphBox(RemoteBox):
    """One instance; scripts run as its commands."""

    chunk_chars = 96 * 1024
    prefix = ("unshare", "-n")

    def __init__(self, instance: Any) -> None:
        self._instance = instance
        self.id = instance.id

    async def shell(self, script: str, timeout_s: float) -> str:
        """Run a shell script in the instance (see `RemoteBox`)."""
        try:
            # The SDK sends a command again when the connection breaks: scripts stand that.
            async with asyncio.timeout(timeout_s):
                done = await self._instance.aexec(script, timeout=timeout_s)
        except Exception as error:
            gone = 404
            raise _as_sandbox_error(error, f"running a command in the instance {self.id}", gone) from error
        return f"{done.stdout}{done.stderr}"

    async def end(self) -> None:
        """Stop the instance; one that's gone already is well."""
        try:
            await self._instance.astop()
        except Exception as error:
            if getattr(error, "status_code", None) != 404:
                raise


class MorphSandbox(RentedSandbox):
    """Programs in instances at Morph."""

    name = "morph"

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
        if importlib.util.find_spec("morphcloud") is None:
            raise ImportError("The sandbox at Morph needs morphcloud: make install EXTRAS=code")
        _key()
        self._snapshot_id = snapshot_id or os.environ.get("MORPH_SNAPSHOT_ID") or None
        self._client: tuple[asyncio.AbstractEventLoop, Any] | None = None
        self._opening, self._building = asyncio.Lock(), asyncio.Lock()

    def describe(self) -> str:
        """Return one line for the log."""
        snapshot = self._snapshot_id or SNAPSHOT_DIGEST
        return f"morph (a new instance of the snapshot {snapshot} for each request, no network for programs)"

    @property
    def ask_patience_s(self) -> float:
        """Return the seconds that `languages` may take, with making the snapshot where it has to be made."""
        return super().ask_patience_s + (BUILD_S + END_S if self._snapshot_id is None else 0.0)

    async def start(self, name: str, life_s: int) -> RemoteBox:
        """Start one instance (see `RentedSandbox`); whatever goes wrong, none is left."""
        client = await self._open()
        assert self._snapshot_id is not None  # `prepare` has seen to it
        return MorphBox(await _start_instance(client, self._snapshot_id, name, life_s, self.start_timeout_s))

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
                self._client = (loop, await asyncio.to_thread(_new_client))
            return self._client[1]

    async def prepare(self) -> None:
        """Find the snapshot to start; make it when the account has none."""
        client = await self._open()
        async with self._building:
            if self._snapshot_id is None:
                try:
                    async with asyncio.timeout(BUILD_S):
                        self._snapshot_id = await _find_snapshot(client, SNAPSHOT_DIGEST) or await _build_snapshot(
                            client
                        )
                except SandboxError:
                    raise
                except Exception as error:
                    raise _as_sandbox_error(error, f"looking for the snapshot {SNAPSHOT_DIGEST}") from error


async def _start_instance(client: Any, snapshot_id: str, name: str, life_s: int, timeout_s: float) -> Any:
    """Start an instance and wait until it's ready; when that fails, stop it wherever the failure came."""
    try:
        async with asyncio.timeout(timeout_s):
            return await client.instances.astart(
                snapshot_id, metadata={BOX_LABEL: name}, ttl_seconds=life_s, ttl_action="stop", timeout=timeout_s
            )
    except Exception as error:
        failure = _as_sandbox_error(error, f"starting an instance of the snapshot {snapshot_id}")
        if isinstance(failure, TransientError):
            await _stop_named(client, name, life_s)
        raise failure from error
    except asyncio.CancelledError:
        await _stop_named(client, name, life_s)
        raise


async def _stop_named(client: Any, name: str, life_s: int) -> None:
    """Stop the instances that a failed start may have left: their ids were in an answer that never came."""
    try:
        async with asyncio.timeout(END_S / 2):
            for instance in await client.instances.alist(metadata={BOX_LABEL: name}):
                if instance.metadata.get(BOX_LABEL) == name:  # never another's, whatever the answer
                    await instance.astop()
    except Exception as error:  # noqa: BLE001 - the failure of the start is told, this one logged
        text = "morph: an instance labelled %s=%s may live on for up to %d s: %s %s"
        logger.warning(text, BOX_LABEL, name, life_s, type(error).__name__, error)


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
    name = f"build-{time.time_ns()}"
    instance = await _start_instance(client, base_id, name, int(BUILD_S), BUILD_S)
    try:
        script = f"apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y {SNAPSHOT_TOOLS}"
        done = await instance.aexec(script, timeout=BUILD_S)
        if done.exit_code != 0:
            raise SandboxError(f"The snapshot {SNAPSHOT_DIGEST} could not be made: {done.stderr[-500:]}")
        snapshot = await instance.asnapshot(digest=SNAPSHOT_DIGEST, metadata={"tag": SNAPSHOT_DIGEST})
        await snapshot.await_until_ready(BUILD_S)
    finally:
        await asyncio.shield(asyncio.ensure_future(_stop_named(client, name, int(BUILD_S))))
    return snapshot.id


def _key() -> str:
    key = os.environ.get("MORPH_API_KEY")
    if not key:
        raise ValueError("The sandbox at Morph needs its key: set MORPH_API_KEY in the environment.")
    return key


def _new_client() -> Any:
    client = importlib.import_module("morphcloud.api").MorphCloudClient(api_key=_key())
    # The SDK has no public way, and no limit of its own for what a command prints.
    client._async_http_client.headers["Accept-Encoding"] = "identity"
    client._async_http_client.event_hooks["response"].append(bound_responses(LONGEST_ANSWER, "at Morph"))
    return client


def _as_sandbox_error(error: Exception, doing: str, *passing: int) -> SandboxError:
    """Return what an exception of the SDK means for us; statuses of requests that may pass later are named."""
    from morphcloud.api import ApiError

    if isinstance(error, TransientError):
        return error
    text = f"Morph failed while {doing}: {type(error).__name__}: {str(error)[:500]}"
    text = text.replace(os.environ.get("MORPH_API_KEY") or "\0", "***")
    status = error.status_code if isinstance(error, ApiError) else 500
    if status in (401, 403):
        return SandboxError(f"{text}; check MORPH_API_KEY")
    if 400 <= status < 500 and status not in (408, 409, 425, 429, *passing):
        return SandboxError(f"{text}; check MORPH_SNAPSHOT_ID and the limits of the account")
    return TransientError(text)
