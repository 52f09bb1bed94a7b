# SPDX-License-Identifier: Apache-2.0
"""Runs in a rented machine: unpacks a job, starts the driver on it, prints what the driver left. Python 3.8 or newer.

`python3 remote.py FOLDER NONCE CHUNK OFFSET`: the parts of the bundle (base64 of zlib of JSON) lie in FOLDER/parts.
The first call does the job, a repeated one waits for its end; each prints CHUNK characters of the reply, from OFFSET
on, between two lines with NONCE.

The bundle holds `driver` (files by name, the first is started), `prefix` (words in front
of its command, where they work), `job` (None: only look around), `programs` (what each language needs), `needs`
(languages of the job) and `deadline_s`.
"""

import base64
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import zlib


def read_bundle(folder):
    """Return the bundle that was sent in parts."""
    parts = os.path.join(folder, "parts")
    texts = []
    for name in sorted(os.listdir(parts)):
        with open(os.path.join(parts, name), encoding="ascii") as file:
            texts.append(file.read())
    shutil.rmtree(parts)
    return json.loads(zlib.decompress(base64.b64decode("".join(texts))))


def works(prefix):
    """Return whether programs can be started behind these words."""
    try:
        return subprocess.call(prefix + ["true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def run_driver(folder, bundle):
    """Run the driver on the job; return its result (None: it left none), its exit code and what it said."""
    for name, text in bundle["driver"].items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    job, result = os.path.join(folder, "job.json"), os.path.join(folder, "result.json")
    with open(job, "w", encoding="utf-8") as file:
        json.dump(bundle["job"], file)
    driver = os.path.join(folder, next(iter(bundle["driver"])))
    said = os.path.join(folder, "said")
    prefix = bundle["prefix"] if works(bundle["prefix"]) else []
    with open(said, "wb") as output:
        process = subprocess.Popen(
            prefix + [sys.executable, "-I", "-S", driver, job, result],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            start_new_session=True,
        )
        try:
            exit_code = process.wait(bundle["deadline_s"])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            exit_code = "overdue"
    with open(said, "rb") as file:
        words = file.read()[-2000:].decode("utf-8", "replace")
    value = None
    if exit_code == 0:  # otherwise whoever has killed the driver may have written a result of its own
        with open(result, encoding="utf-8") as file:
            value = json.load(file)
    return {"result": value, "exit_code": exit_code, "said": words, "prefix": prefix}


def write_reply(folder):
    """Do the job and leave the reply in the folder, whole or not at all."""
    bundle = read_bundle(folder)
    languages = sorted(name for name, program in bundle["programs"].items() if shutil.which(program))
    reply = {"languages": languages}
    if bundle["job"] is not None and set(bundle["needs"]) <= set(languages):
        reply = {**run_driver(folder, bundle), "languages": languages}
    text = base64.b64encode(zlib.compress(json.dumps(reply).encode(), 1))
    with open(os.path.join(folder, "reply.new"), "wb") as file:
        file.write(text)
    os.rename(os.path.join(folder, "reply.new"), os.path.join(folder, "reply"))


def main(folder, nonce, chunk, offset):
    """Do the job unless it's done or under way, then print a piece of the reply."""
    reply = os.path.join(folder, "reply")
    with open(os.path.join(folder, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first call holds it until it has ended, however it ends
        if not os.path.exists(reply):
            os.mkdir(os.path.join(folder, "started"))  # a call that ended without a reply isn't repeated
            write_reply(folder)
    with open(reply, encoding="ascii") as file:
        text = file.read()
    head = "%s %d %s" % (nonce, len(text), hashlib.sha256(text.encode()).hexdigest())
    sys.stdout.write("%s\n%s\n%s\n" % (head, text[offset : offset + chunk], nonce))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
