# SPDX-License-Identifier: Apache-2.0
"""A `vllm` without a model: `vllm serve MODEL --host H --port P` is the stub server, or one of the ways to fail.

`write_vllm(folder, trouble)` makes the executable. It starts a child that sleeps, as vLLM starts its engine, and
writes both numbers to `pids` in the folder, and its arguments to `words`.
"""

import os
import sys
from pathlib import Path

# What goes wrong: nothing, ends at once, never gets ready, gets ready and ends when told, does not heed SIGTERM.
TROUBLES = ("none", "dies", "hangs", "ends_later", "is_stubborn")


def write_vllm(folder: Path, trouble: str = "none") -> Path:
    """Return the path of the executable."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "vllm"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} {trouble} {folder} "$@"\n')
    path.chmod(0o755)
    return path


def read_pids(folder: Path) -> list[int]:
    """Return the numbers of the server's processes, none before it has started."""
    path = folder / "pids"
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def read_words(folder: Path) -> list[str]:
    """Return the arguments that it was started with."""
    return (folder / "words").read_text().split("\0")


def main(trouble: str, folder: Path, words: list[str]) -> int:
    import asyncio
    import signal
    import subprocess
    import time

    assert words[0] == "serve"
    print(f"serving {words[1]}", flush=True)
    (folder / "words").write_text("\0".join(words))
    engine = subprocess.Popen(["sleep", "600"])
    (folder / "pids.new").write_text(f"{os.getpid()} {engine.pid}")
    (folder / "pids.new").rename(folder / "pids")
    if trouble == "dies":
        print("ValueError: no such model", flush=True)
        return 3
    if trouble == "hangs":
        time.sleep(600)
    if trouble == "is_stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    sys.path.insert(0, str(Path(__file__).parents[3]))
    from tests.integration.fakes.chat_server import ChatServer

    name = words[words.index("--served-model-name") + 1] if "--served-model-name" in words else words[1]

    async def serve() -> None:
        await ChatServer(models=[name], port=int(words[words.index("--port") + 1]), keep=False).listen()
        while not (trouble == "ends_later" and (folder / "end").exists()):
            await asyncio.sleep(0.05)

    asyncio.run(serve())
    return 5


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
