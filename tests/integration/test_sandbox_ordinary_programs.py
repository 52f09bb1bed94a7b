# SPDX-License-Identifier: Apache-2.0
"""What programs commonly do works in local boxes, filter of system calls and all."""

import os
import sys

import pytest

from open_r1.sandbox.base import Limits, Outcome, ProgramInput, RunRequest, RunResult, SandboxError
from open_r1.sandbox.local import LocalSandbox
from open_r1.sandbox.local.interpreter import BOX_USER, NUM_USERS
from open_r1.sandbox.running import run_coroutine

LIMITS = Limits(cpu_s=20, wall_s=60, memory_mb=512)
STANDARD_LIBRARY = """
import asyncio, os, random, signal, socket, sqlite3, subprocess, sys, tempfile, threading, time
from concurrent.futures import ThreadPoolExecutor
done = []
thread = threading.Thread(target=done.append, args=("thread",)); thread.start(); thread.join()
with ThreadPoolExecutor(4) as pool: done += pool.map(str, range(2))
done.append(subprocess.run([sys.executable, "-c", "print(input())"], input="child", capture_output=True, text=True,
                           check=True).stdout.strip())
done.append(subprocess.run("echo a | tr a b", shell=True, capture_output=True, text=True, check=True).stdout.strip())
child = subprocess.Popen(["sleep", "60"]); child.terminate(); done.append(child.wait())
async def main():
    process = await asyncio.create_subprocess_exec("echo", "async", stdout=subprocess.PIPE)
    done.append((await process.communicate())[0].decode().strip())
    done.append(await asyncio.to_thread(lambda: "to_thread"))
asyncio.run(main())
one, other = socket.socketpair(); one.sendall(b"pair"); done.append(other.recv(9).decode())
with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "x"), "w+") as file:
    file.write("file"); file.seek(0); done.append(file.read())
done.append(sqlite3.connect("x.db").execute("select 'sql'").fetchone()[0])
pid = os.fork()
if pid == 0: os._exit(7)
done.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
signal.signal(signal.SIGALRM, lambda *_: done.append("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.01)
while done[-1] != "alarm": time.sleep(0.001)
os.nice(1); os.getrandom(8); random.SystemRandom().random(); time.localtime(); os.cpu_count()
print(*done)
"""
PROCESS_POOL = """
import multiprocessing
def square(x): return x * x
if __name__ == "__main__":
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool: print(pool.map(square, range(4)))
"""
NUMPY = "import numpy as np; print(int((np.ones((200, 200)) @ np.ones((200, 200))).sum()))"
NODE = """
const {execSync, spawn} = require("child_process"), {Worker} = require("worker_threads"), fs = require("fs")
console.log(fs.readFileSync("/dev/stdin", "utf8").trim(), execSync("echo child").toString().trim())
const worker = new Worker("require('worker_threads').parentPort.postMessage('worker')", {eval: true})
worker.on("message", text => spawn("echo", [text]).stdout.on("data", data => process.stdout.write(data)))
"""
CPP = """
#include <bits/stdc++.h>
#include <filesystem>
#include <future>
int main() {
    auto later = std::async(std::launch::async, [] { return 3; });
    std::ofstream("x") << "file";
    std::string text; std::ifstream("x") >> text;
    std::cout << later.get() << " " << text << " " << std::filesystem::file_size("x") << " " << system("exit 2") / 256;
}
"""
BASH = """
read first < /dev/stdin
sort <(printf 'b\\na\\n') | paste -sd' '
echo "$first" $(seq 3 | awk '{ sum += $1 } END { print sum }') $(mktemp | wc -l) $((RANDOM >= 0)) $(date +%Z | wc -l)
cat <<< here
"""
PROGRAMS = {
    "standard library": ("python", STANDARD_LIBRARY, "thread 0 1 child b -15 async to_thread pair file sql 7 alarm\n"),
    "node": ("javascript", NODE, "hello child\nworker\n"),
    "c++": ("cpp", CPP, "3 file 4 2"),
    "bash": ("bash", BASH, "a b\nhello 6 1 1 1\nhere\n"),
}


@pytest.fixture(params=["bwrap", "landlock"])
def sandbox(request: pytest.FixtureRequest) -> LocalSandbox:
    made = LocalSandbox(mechanism=request.param)
    try:
        run_coroutine(made.languages)
    except SandboxError as error:
        pytest.skip(str(error))
    return made


def run(sandbox: LocalSandbox, language: str, program: str) -> RunResult:
    if language not in run_coroutine(sandbox.languages):
        pytest.skip(f"this machine has no {language}")
    name = {"python": "main.py", "javascript": "main.js", "cpp": "main.cpp", "bash": "main.sh"}[language]
    request = RunRequest(language, {name: program}, (ProgramInput("hello\n"),), limits=LIMITS)
    return run_coroutine(lambda: sandbox.run(request))


@pytest.mark.parametrize("name", PROGRAMS)
def test_ordinary_program_runs(name: str, sandbox: LocalSandbox) -> None:
    language, program, expected = PROGRAMS[name]
    result = run(sandbox, language, program)

    assert result.has_compiled, result.compile
    assert (result.tests[0].outcome, result.tests[0].stdout) == (Outcome.OK, expected), result.tests[0].stderr


def test_numpy_runs_where_the_log_says_that_it_is_there(sandbox: LocalSandbox) -> None:
    has_numpy = "without numpy" not in sandbox.describe()
    [done] = run(sandbox, "python", NUMPY).tests

    assert (done.outcome is Outcome.OK and done.stdout == "8000000\n") is has_numpy, done


PRIVATE = """
import os, sys
status = open("/proc/self/status").read().splitlines()
held = [line.split()[1] for line in status if line.startswith(("CapPrm", "CapEff", "CapInh", "CapAmb"))]
print(sys.executable, os.getuid(), os.getgid(), os.getgroups(), {int(word, 16) for word in held}, sep=chr(10))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has what others can't reach")
def test_interpreter_that_only_root_may_reach_runs_programs_as_another_user() -> None:
    """pyenv and uv put it into root's home: programs that import numpy failed, since boxes took the system's."""
    made = LocalSandbox(python=sys.executable, mechanism="bwrap")
    [done] = run(made, "python", PRIVATE).tests

    path, user, group, *others = done.stdout.splitlines()
    assert (path, group, others) == (sys.executable, user, ["[]", "{0}"]), done
    assert BOX_USER <= int(user) <= BOX_USER + NUM_USERS
    assert run(made, "python", NUMPY).tests[0].stdout == "8000000\n"


def test_pool_of_processes_runs_where_there_is_shared_memory(sandbox: LocalSandbox) -> None:
    [done] = run(sandbox, "python", PROCESS_POOL).tests

    if sandbox.mechanism == "bwrap":
        assert (done.outcome, done.stdout) == (Outcome.OK, 2 * "[0, 1, 4, 9]\n"), done.stderr
    else:  # as `landlock` says
        assert done.outcome is Outcome.RUNTIME_ERROR
        assert "PermissionError" in done.stderr
