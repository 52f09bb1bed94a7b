# SPDX-License-Identifier: Apache-2.0
"""The driver on a job from a file, as in a rented machine: no namespaces, no provider beside it."""

import io
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from open_r1.sandbox import Limits, Outcome, ProgramInput, RunRequest, RunResult
from open_r1.sandbox.harness.folders import copy, empty, new_file, write
from open_r1.sandbox.rented import _pack, _read_result

LIMITS = Limits(cpu_s=10.0, wall_s=60.0, memory_mb=128, output_bytes=10_000)


@pytest.fixture
def drive(tmp_path):
    """Runs a job as a rented machine does."""

    def run(request: RunRequest) -> RunResult:
        with zipfile.ZipFile(io.BytesIO(_pack(request))) as bundle:
            bundle.extractall(tmp_path)
        command = [sys.executable, "-I", "-S", "driver.py", "job", "result"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert not (tmp_path / "job").exists()
        return _read_result((tmp_path / "result").read_bytes(), request)

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
    """Files in the working folder, and processes that left their session, group and parent."""
    mark = str(tmp_path / "left")
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
    assert [run.stdout for run in runs] == [f"{there} ['main.py']\n" for there in (False, True, True)]
    Path(mark).unlink()
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
    empty(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_runs_share_the_cpu_seconds_of_their_submission(drive):
    code = "import time\nwhile time.process_time() < 0.5: 0"
    runs = drive(python(code, *[""] * 4, total_cpu_s=0.75)).tests
    assert [run and run.outcome for run in runs] == [Outcome.OK, *[Outcome.TIME_LIMIT] * 3]


def test_a_held_file_has_no_name(tmp_path):
    held = new_file(str(tmp_path))
    write(held, b"secret")
    assert list(tmp_path.iterdir()) == []
    copy(held, str(tmp_path / "a" / "b"), 0o400)
    assert (tmp_path / "a" / "b").read_bytes() == b"secret"
    with pytest.raises(FileExistsError):
        copy(held, str(tmp_path / "a" / "b"), 0o400)
