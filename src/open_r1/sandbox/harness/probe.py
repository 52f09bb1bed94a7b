# SPDX-License-Identifier: Apache-2.0
"""Runs in a box before anything else does: tries what a program must not be able to do, and reports what it could.

Standard input: a line of JSON with `folder` (of the machine, with a file `secret`), `names` (of the provider's
environment), `pid` (the provider), `port` and `address` (where it listens), `programs` (paths by language). Output: a
line of JSON with `leaks` (none in a good box), `programs` (languages whose program is there) and `numpy`.
"""

import importlib.util
import json
import os
import socket
import sys


def attempts(given):
    """Return what to try: a text, and a function that gives something if the box leaks."""
    return {
        "a file outside can be read": lambda: open(given["folder"] + "/secret"),
        "files outside can be listed": lambda: os.listdir(given["folder"]),
        "files can be written outside": lambda: open(given["folder"] + "/written", "w"),
        "the provider's environment is here": lambda: set(given["names"]) & set(os.environ),
        "another process's environment can be read": lambda: any(map(shows(given["names"]), os.listdir("/proc"))),
        "the provider can be reached by a signal": lambda: os.kill(given["pid"], 0) or is_foreign(given["pid"]),
        "local sockets can be reached": lambda: socket.socket(socket.AF_UNIX).connect("\0" + given["address"]) or True,
        "the network can be reached": lambda: socket.create_connection(("127.0.0.1", given["port"]), 2),
        "the driver can be read": lambda: open("/proc/%d/mem" % os.getppid(), "rb"),
    }


def shows(names):
    """Return a function that tells whether a process shows variables of these names."""

    def shows_them(pid):
        try:
            with open("/proc/%d/environ" % int(pid), "rb") as file:
                return not set(names).isdisjoint(
                    os.fsdecode(part.partition(b"=")[0]) for part in file.read().split(b"\0")
                )
        except (OSError, ValueError):
            return False

    return shows_them


def is_foreign(pid):
    """Return whether that number is no process of this box, as it may be in a namespace of numbers."""
    return pid not in (os.getpid(), os.getppid(), 1)


def leaks(given):
    """Yield the texts of attempts that succeed."""
    for text, attempt in attempts(given).items():
        try:
            found = attempt()
        except OSError:
            continue
        if found:
            yield text


def main():
    """Try everything."""
    given = json.loads(sys.stdin.readline())
    programs = [name for name, path in given["programs"].items() if os.access(path, os.X_OK)]
    has_numpy = importlib.util.find_spec("numpy") is not None
    sys.stdout.write(json.dumps({"leaks": list(leaks(given)), "programs": programs, "numpy": has_numpy}))


if __name__ == "__main__":
    main()
