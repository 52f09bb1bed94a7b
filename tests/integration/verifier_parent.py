# SPDX-License-Identifier: Apache-2.0
"""A process with a pool, for the tests that end it. Prints the ids of the server and its workers, then does as told:

`exit` ends the program; `idle` waits; `busy COMMAND` judges two pairs of that command; `fork COMMAND` does so too,
while a forked child, whose id it prints first, lives on with all that it inherited; `daemon COMMAND` ends the program
while a thread judges them.
"""

import os
import sys
import threading
import time

import psutil

from open_r1.rewards.verifier.pool import WorkerPool

MODULE = "tests.integration.verifier_judges"
pool = WorkerPool(judge=f"{MODULE}:obey", warm_up=f"{MODULE}:prepare", num_workers=2)


def judge(answer: str) -> None:
    pool.judge([("1", answer), ("2", answer)], timeout_s=20, deadline_s=20)


if __name__ == "__main__":
    mode, command = sys.argv[1], " ".join(sys.argv[2:])
    judge("1")
    ids = [process.pid for process in psutil.Process().children(recursive=True)]
    if mode == "fork":
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
        ids.insert(0, child)
    print(*ids, flush=True)
    if mode == "idle":
        time.sleep(600)
    elif mode == "daemon":
        threading.Thread(target=judge, args=(command,), daemon=True).start()
        time.sleep(0.3)
    elif mode in ("busy", "fork"):
        judge(command)
