# SPDX-License-Identifier: Apache-2.0
"""Python session in a local box: snippets run one after another and share their variables.

    session = PythonSession(LocalSandbox())
    await session.call("x = 6 * 7"), await session.call("x")      # ("", "42\n")

What a snippet does wrong is text: its traceback, a time limit, the end of the interpreter, whose variables are gone
then. A box that can't be had is a SandboxError. The walls are those of every local box.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import replace

from open_r1.sandbox.base import Limits, ProgramInput, RunRequest, SandboxError
from open_r1.sandbox.languages import input_message
from open_r1.sandbox.local import LocalSandbox, box
from open_r1.sandbox.local.interpreter import harness

CALLS = 20  # so many times the CPU time of a call is that of a session, children in the background included
LONGEST_S = 86_400.0
END_S = 5.0  # for the driver to say how the interpreter ended


class PythonSession:
    """An interpreter in a box that is started at the first call.

    Args:
        sandbox: Makes the box.
        limits: Of a call; memory and processes of the session. Of the output so many characters are kept.
    """

    def __init__(self, sandbox: LocalSandbox, limits: Limits) -> None:
        self.sandbox, self.limits = sandbox, limits
        self._held = AsyncExitStack()
        self._is_whole = False  # there is an interpreter, and it has answered all calls

    async def call(self, source: str) -> str:
        """Run a snippet; return what it printed, the value of its last expression and its traceback.

        Raises:
            SandboxError: There is no box, or it was lost for what others did.
        """
        async with box.places:
            if not self._is_whole:
                await self.close()
                await self._start()
            try:
                async with asyncio.timeout(self.limits.backstop_s):
                    return await self._ask(source.encode("utf-8", "replace"))
            except (OSError, EOFError, ValueError) as error:  # the snippet takes too long, ends it, or answers itself
                why = await self._ending(0 if isinstance(error, TimeoutError) else END_S)
                await self.close()
            return f"The interpreter was ended ({why}). Its variables are gone."

    async def close(self) -> None:
        """End the box; the next call starts another."""
        self._is_whole = False
        await self._held.aclose()

    async def _ending(self, timeout_s: float) -> str:
        if not (await asyncio.wait([self._running], timeout=timeout_s))[0]:
            return "no answer in time"
        try:
            run = self._running.result()
        except box.BoxLostError as loss:
            if loss.run is None:
                raise SandboxError(f"The box of a Python session was lost: {loss}") from loss
            run = loss.run
        return str(run.outcome).replace("_", " ")

    async def _start(self) -> None:
        limits, setup = self.limits, await self.sandbox.setup()
        whole = replace(limits, cpu_s=CALLS * limits.cpu_s, wall_s=LONGEST_S)
        given = ProgramInput(args=(str(limits.cpu_s), str(limits.output_bytes + 1)))
        request = RunRequest("python", {"session.py": harness("session.py")}, (given,), limits=whole)
        async with AsyncExitStack() as held:
            one = box.LocalBox(setup, request, request)
            try:
                await one.open(held, request.inputs)
                with box.our_failures():
                    await self._connect(held, one, given)
            except box.BoxLostError as loss:
                raise SandboxError(f"A Python session has no box: {loss}") from loss
            self._running = asyncio.ensure_future(one.next_run(whole))
            held.push_async_callback(asyncio.gather, self._running, return_exceptions=True)
            held.callback(self._running.cancel)
            self._held = held.pop_all()

    async def _connect(self, held: AsyncExitStack, one: box.LocalBox, given: ProgramInput) -> None:
        loop, self._answers = asyncio.get_running_loop(), asyncio.StreamReader()
        (asked, ask), (answers, answered) = os.pipe(), os.pipe()
        try:
            protocol = asyncio.StreamReaderProtocol(self._answers)
            reading, _ = await loop.connect_read_pipe(lambda: protocol, os.fdopen(answers, "rb", 0))
            held.callback(reading.close)
            self._ways, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(ask, "wb", 0))
            held.callback(self._ways.close)
            await one.send(*input_message(given, "submission"), (asked, answered))
        finally:
            os.close(asked)
            os.close(answered)

    async def _ask(self, source: bytes) -> str:
        self._is_whole = False
        self._ways.write(b"%08d" % len(source) + source)
        size = int(await self._answers.readexactly(8))
        if not 0 <= size <= 4 * (self.limits.output_bytes + 1):
            raise ValueError("no answer of the interpreter's")
        text = (await self._answers.readexactly(size)).decode("utf-8", "replace")
        self._is_whole = True
        return text if len(text) <= self.limits.output_bytes else text[: self.limits.output_bytes] + " ... (cut)"
