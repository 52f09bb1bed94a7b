# SPDX-License-Identifier: Apache-2.0
"""Runs in a rented machine, which is the box itself: starts the driver, whose part it is, on a job from a file.

`batch.py [CUT...]` starts it in this folder, behind CUT where that works (a command that starts others without a
network), and prints the end of what it said. The exit status is the driver's, 128 + n where a signal ended it.

Programs run as the driver's user. What they leave in the machine's temporary folders, and every process below the
driver, is removed between runs.
"""

import base64
import json
import os
import shutil
import subprocess
import sys

from folders import Box, new_file, read, write
from submission import BINARY, Program, take_output
from watching import watch

LONGEST_BINARY = 16 << 20  # a longer one is left out: it's compiled again where it's needed
# Runs behind that many bytes of result are left to another round: the trainer takes no more than 64 MB.
ENOUGH_BYTES = 32 << 20
# NOTE: where TMPDIR is set, this may be no machine of its own, and the others' files there are nobody's leavings.
TEMPORARY = () if os.environ.get("TMPDIR") else ("/tmp", "/var/tmp", "/dev/shm")


def start(*cut):
    """Run the driver; return the exit status."""
    if cut and (shutil.which(cut[0]) is None or subprocess.call([*cut, "true"], stderr=subprocess.DEVNULL) != 0):
        cut = ()
        sys.stdout.write("the network is open\n")
    command = [*cut, sys.executable, "-I", "-S", "driver.py", "job.json", "result.json"]
    with open("said", "w+b") as said:
        status = subprocess.call(command, stdout=said, stderr=said)
        said.seek(max(0, said.seek(0, os.SEEK_END) - 2000))
        sys.stdout.write(said.read().decode("utf-8", "replace"))
    return status if status >= 0 else 128 - status


def work(job, result):
    """Do the job in one file and leave the result in another, whole or not at all."""
    with open(job, encoding="utf-8") as file:
        given = json.load(file)
    os.unlink(job)  # programs could read it
    folder = os.path.dirname(os.path.abspath(result))
    for name in ("box", "kept"):
        os.mkdir(folder + "/" + name, 0o700)
    kept = folder + "/kept"
    box = Box(folder + "/box", shared=[name for name in TEMPORARY if os.path.isdir(name)])
    text = run_all(given, box, kept)
    with open(result + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(result + ".new", result)


def run_all(given, box, kept):
    """Return the JSON that `wire.loads` reads as a `RunResult`."""
    program, compiled = prepare(given, box, kept)
    binary, tests, size = None, [], 0
    if compiled is not None and BINARY not in program.files:
        tests = ["null"] * len(given["inputs"])
    else:
        content = read(program.files[BINARY][0]) if compiled is not None and given["keeps_binary"] else b""
        if content and len(content) <= LONGEST_BINARY:
            binary = {"base64": base64.b64encode(content).decode()}
            size = len(binary["base64"])
        for one in given["inputs"]:
            if tests and size > ENOUGH_BYTES:
                break
            tests.append(json.dumps(run_one(one, program, box, kept)))
            size += len(tests[-1])
    parts = (json.dumps(None if compiled is None else as_run(compiled)), json.dumps(binary), ",".join(tests))
    return '{"compile": %s, "binary": %s, "tests": [%s]}' % parts


def prepare(given, box, kept):
    """Return a program, and its compiler's run or None."""
    program = Program(given["run"], given["limits"], {})
    for name, content in given["files"].items():
        data = base64.b64decode(content["base64"]) if isinstance(content, dict) else encoded(content)
        program.files[name] = hold(kept, data, name == given["executable"])
    compiled = None
    if given["compile"] is not None:
        compiled = program.compile(box, given["compile"], given["compile_limits"])
    return program, compiled


def run_one(one, program, box, kept):
    """Run a program on an input."""
    files = {name: hold(kept, encoded(text)) for name, text in one["files"].items()}
    stdin, _ = hold(kept, encoded(one["stdin"]))
    process = program.start(box, stdin, files, one["args"])
    for fd in (stdin, *(fd for fd, _ in files.values())):
        os.close(fd)
    watch(box, process)
    if one["output_file"] is not None:
        take_output(box, process, one["output_file"])
    box.clear()
    return as_run(process)


def hold(kept, data, executable=False):
    """Return bytes as a file that no program can reach, and its mode."""
    fd = new_file(kept)
    write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd, 0o555 if executable else 0o444


def encoded(text):
    """Return a text as bytes."""
    return text.encode("utf-8", "replace")


def as_run(process):
    """Return what `wire.loads` reads as a `ProgramRun`."""
    texts = {"stdout": process.output, "stderr": process.errors}
    result = process.result()
    del result["was_ended"]
    return {**result, **{name: bytes(text).decode("utf-8", "replace") for name, text in texts.items()}}


if __name__ == "__main__":
    sys.exit(start(*sys.argv[1:]))
