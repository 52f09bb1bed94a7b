# SPDX-License-Identifier: Apache-2.0
"""The driver on a job from a file, as in a rented machine: no namespaces, no provider beside it."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from open_r1.sandbox import Limits, ProgramInput, RunRequest, RunResult
from open_r1.sandbox.harness.folders import copy, empty, new_file, write
from open_r1.sandbox.wire import job_to_json, loads
from tests.conftest import ROOT

HARNESS = ROOT / "src/open_r1/sandbox/harness"
# Not this machine's own temporary folders: what is new in them is not only the programs'.
DRIVE = (
    "import sys; sys.path.insert(0, sys.argv[1]); import batch, driver; "
    "batch.TEMPORARY = (sys.argv[2],); driver.main(*sys.argv[3:])"
)
LIMITS = Limits(cpu_s=10.0, wall_s=60.0, memory_mb=128, output_bytes=10_000)


@pytest.fixture
def drive(tmp_path):
    """Runs a job as a rented machine does."""

    def run(request: RunRequest) -> RunResult:
        job, result, temporary = tmp_path / "job.json", tmp_path / "result.json", tmp_path / "temporary"
        temporary.mkdir(exist_ok=True)
        job.write_text(json.dumps(job_to_json(request)))
        command = [sys.executable, "-I", "-S", "-c", DRIVE, str(HARNESS), str(temporary), str(job), str(result)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert not job.exists()
        return loads(RunResult, result.read_text())

    return run


def python(code: str, *stdins: str, limits: Limits = LIMITS, **options) -> RunRequest:
    return RunRequest("python", {"main.py": code}, tuple(map(ProgramInput, stdins or ("",))), limits=limits, **options)


def test_a_compiled_program_and_its_binary(drive):
    code = '#include <cstdio>\nint main() { int x; scanf("%d", &x); printf("%d", x + 1); }'
    request = RunRequest("cpp", {"main.cpp": code}, (ProgramInput("1"), ProgramInput("2")), keeps_binary=True)
    result = drive(request)
    assert [run.stdout for run in result.tests] == ["2", "3"]
    assert result.binary.startswith(b"\x7fELF")


def test_what_a_run_leaves_is_gone_in_the_next_one(drive, tmp_path):
    """Files in temporary folders, and processes that left their session, group and parent."""
    mark = str(tmp_path / "temporary" / "left")
    code = f"""
import os, time
print(os.path.exists({mark!r}), os.listdir("."))
open("left", "w").write("x")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            open({mark!r}, "w").write("x")
            time.sleep(0.01)
    os._exit(0)
while not os.path.exists({mark!r}):
    time.sleep(0.01)
"""
    runs = drive(python(code, "", "", "")).tests
    assert {run.stdout for run in runs} == {"False ['main.py']\n"}
    time.sleep(0.1)  # ten times what a process that was left would need
    assert not Path(mark).exists()


def test_folders_of_any_depth_are_emptied(tmp_path):
    folder = tmp_path
    for _ in range(60):
        folder = folder / ("d" * 50)
        folder.mkdir()
    (folder / "file").write_text("x")
    (tmp_path / "link").symlink_to("/usr")
    (tmp_path / ".moved1").mkdir()
    (tmp_path / "kept").mkdir()
    empty(str(tmp_path), {path.name for path in tmp_path.iterdir()} - {"kept"})
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_a_held_file_has_no_name(tmp_path):
    held = new_file(str(tmp_path))
    write(held, b"secret")
    assert list(tmp_path.iterdir()) == []
    copy(held, str(tmp_path / "a" / "b"), 0o400)
    assert (tmp_path / "a" / "b").read_bytes() == b"secret"
    with pytest.raises(FileExistsError):
        copy(held, str(tmp_path / "a" / "b"), 0o400)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), ""),
        (("env", "--"), ""),
        (("false",), "the network is open"),
        (("no-such-program",), "the network is open"),
    ],
)
def test_driver_starts_behind_what_cuts_the_network_where_that_works(tmp_path, words, said):
    shutil.copytree(HARNESS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "job.json").write_text(json.dumps(job_to_json(python("print(1)"))))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "batch.py", *words]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, said)
    assert (tmp_path / "result.json").exists()
