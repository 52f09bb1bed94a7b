# SPDX-License-Identifier: Apache-2.0
"""Runs in a box before anything else does: tries what a program must not be able to do, and reports what it could.

Standard input: a line of JSON with `file` and `folder` (of the machine), `names` (of the provider's environment),
`port` and `address` (where the provider listens), `pid` (the provider), `programs` (paths by language). Output: a line
of JSON with `leaks` (texts; none in a good box), `programs` (languages whose program is there) and `numpy`. The exit
code is 7.
"""

import importlib.util
import json
import os
import socket
import sys


def attempts(given):
    """Return what to try: a text, and a function that gives something if the box leaks."""
    return [
        ("a file outside can be read", lambda: open(given["file"]).read()),
        ("files outside can be listed", lambda: os.listdir(given["folder"])),
        ("files can be written outside", lambda: open(given["folder"] + "/written", "w")),
        ("folders of the system can be written", lambda: open("/usr/open_r1_probe", "w")),
        ("the provider's environment is here", lambda: set(given["names"]) & set(os.environ)),
        ("another process's environment can be read", lambda: foreign_names(given["names"])),
        ("the provider can be reached by a signal", lambda: os.kill(given["pid"], 0) or is_provider(given["pid"])),
        ("the network can be reached", lambda: socket.create_connection(("127.0.0.1", given["port"]), 2)),
        ("local sockets can be reached", lambda: connect(given["address"])),
        ("the driver can be read", lambda: open("/proc/%d/mem" % os.getppid(), "rb")),
    ]


def foreign_names(names):
    """Return variables of the provider's that any process here shows."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % pid, "rb") as file:
                found = {part.partition(b"=")[0].decode("utf-8", "replace") for part in file.read().split(b"\0")}
        except OSError:
            continue
        if found & set(names):
            return found & set(names)
    return None


def is_provider(pid):
    """Return whether the process of that number is no other one, as in a namespace of numbers."""
    return pid not in (os.getpid(), os.getppid(), 1)


def connect(address):
    """Connect to an abstract local socket."""
    client = socket.socket(socket.AF_UNIX)
    client.connect("\0" + address)
    return client


def main():
    """Try everything."""
    given = json.loads(sys.stdin.readline())
    leaks = []
    for text, attempt in attempts(given):
        try:
            found = attempt()
        except OSError:
            continue
        if found:
            leaks.append("%s (%s)" % (text, found if isinstance(found, set) else type(found).__name__))
    programs = [name for name, path in given["programs"].items() if os.access(path, os.X_OK)]
    has_numpy = importlib.util.find_spec("numpy") is not None
    sys.stdout.write(json.dumps({"leaks": leaks, "programs": programs, "numpy": has_numpy}))
    sys.stdout.flush()
    os._exit(7)


if __name__ == "__main__":
    main()
