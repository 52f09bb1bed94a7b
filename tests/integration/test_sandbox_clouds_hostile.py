# SPDX-License-Identifier: Apache-2.0
"""Programs that meddle with the driver from within a rented box harm their own verdict and nobody else."""

import pytest

from open_r1.sandbox import Outcome, ProgramInput, RunRequest, SandboxError, run_all, run_coroutine
from tests.integration.fakes.clouds import CLOUDS

# The box is the only isolation: its processes are one user's, and the driver's folder is there to be written to.
FIND_SHELL = """
import glob, os, re
shell = int(re.search(r"\\) \\S (\\d+)", open(f"/proc/{os.getppid()}/stat").read())[1])
(folder,) = glob.glob(os.environ["HOME"] + "/../../../open_r1_*")
"""
FLOOD = f"""{FIND_SHELL}
with open(f"/proc/{{shell}}/fd/1", "wb") as out:
    for _ in range(32):
        out.write(b"x" * (1 << 20))
print(8)
"""
NO_RESULT = f"""{FIND_SHELL}
os.makedirs(folder + "/result.json/x")
"""
GOOD = RunRequest("python", {"main.py": "print(int(input()) * 2)"}, (ProgramInput(stdin="4"),))


@pytest.fixture(params=CLOUDS)
def cloud(request):
    return CLOUDS[request.param]


def request_of(source: str) -> RunRequest:
    return RunRequest("python", {"main.py": source}, (ProgramInput(),))


def test_flood_into_the_scripts_output_changes_nothing(cloud):
    with cloud.serving() as (server, sandbox):
        (result,) = run_all([request_of(FLOOD)], sandbox)
        assert not isinstance(result, Exception), result
        assert (result.tests[0].outcome, result.tests[0].stdout) == (Outcome.OK, "8\n")
        assert not server.alive


def test_submission_that_prevents_its_result_has_none(cloud):
    with cloud.serving() as (server, sandbox):
        spoilt, good = run_all([request_of(NO_RESULT), GOOD], sandbox)
        assert isinstance(spoilt, SandboxError)
        assert good.tests[0].stdout == "8\n"
        assert "python" in run_coroutine(sandbox.languages)
        assert not server.alive


def test_outputs_that_fill_a_result_come_in_several(cloud):
    request = RunRequest("python", {"main.py": "print('\\0' * (1 << 20), end='')"}, (ProgramInput(),) * 8)
    with cloud.serving() as (server, sandbox):
        (result,) = run_all([request], sandbox)
        assert [run.stdout == "\0" * (1 << 20) for run in result.tests] == [True] * 8
        assert len(server.machines) == 1 + 1
