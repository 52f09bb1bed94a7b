# SPDX-License-Identifier: Apache-2.0
"""A process with a local box, to be killed: prints `ready` when the program in the box runs.

`forks` as third argument: then it forks a process that does nothing, and prints its number.
"""

import os
import sys
import threading
import time
from pathlib import Path

from open_r1.sandbox import Limits, ProgramInput, RunRequest, run_all
from open_r1.sandbox.local import LocalSandbox

CODE = "import os, time\nfor _ in range(3): os.fork()\nif os.getpgid(0) != os.getpid(): os.setsid()\ntime.sleep(600)"


def watch(mark: str) -> None:
    """Wait until eight processes show the mark in their command lines."""
    while True:
        found = 0
        for folder in Path("/proc").iterdir():  # `glob` fails where a process ends just now
            try:
                found += f"./{mark}".encode() in (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:  # it has just ended, or is no process
                continue
        if found >= 8:
            print("ready", flush=True)
            if sys.argv[3:]:
                pid = os.fork()
                if pid == 0:
                    os.close(1)
                    time.sleep(600)
                    os._exit(0)
                print(pid, flush=True)
            return
        time.sleep(0.02)


def main() -> None:
    """Run a program that waits."""
    mechanism, mark = sys.argv[1:3]
    threading.Thread(target=watch, args=(mark,), daemon=True).start()
    request = RunRequest("python", {mark: CODE}, (ProgramInput(),), limits=Limits(wall_s=600.0))
    print(run_all([request], LocalSandbox(mechanism=mechanism)))


if __name__ == "__main__":
    main()
