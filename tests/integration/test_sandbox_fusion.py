# SPDX-License-Identifier: Apache-2.0
"""SandboxFusion that fails; what it does well is in the table of test_sandbox_conformance.py."""

import pytest

from open_r1.sandbox import Outcome, ProgramInput, RunRequest, SandboxError, run_all, run_coroutine
from open_r1.sandbox.fusion import URL_VARIABLE, FusionSandbox
from open_r1.sandbox.providers import build_sandbox
from tests.integration.fakes.fusion_server import fusion_server

HELLO = RunRequest("python", {"main.py": "print('hello')"}, (ProgramInput(),))


@pytest.mark.parametrize("trouble", ["error", "drop", "503"])
def test_failure_of_the_server_is_tried_again_and_never_a_result(trouble):
    with fusion_server() as server:
        sandbox = FusionSandbox(server.url)
        server.troubles += [trouble]
        assert run_all([HELLO], sandbox)[0].tests[0].stdout == "hello\n"
        server.troubles += [trouble] * 3
        assert isinstance(run_all([HELLO], sandbox)[0], SandboxError)
        run_coroutine(sandbox.aclose)


def test_compiler_out_of_time_is_an_error_of_the_server():
    request = RunRequest("cpp", {"main.cpp": "int main() {}"}, (ProgramInput(),))
    with fusion_server() as server:
        sandbox = FusionSandbox(server.url)
        server.troubles += ["late"]
        assert isinstance(run_all([request], sandbox)[0], SandboxError)
        run_coroutine(sandbox.aclose)


def test_program_that_prints_without_end_exceeds_its_limit(monkeypatch):
    monkeypatch.setattr("open_r1.sandbox.fusion.MAX_REPLY_BYTES", 1 << 16)
    with fusion_server() as server:
        sandbox = FusionSandbox(server.url)
        request = RunRequest("python", {"main.py": "print('x' * (1 << 17))"}, (ProgramInput(),))
        assert run_all([request], sandbox)[0].tests[0].outcome is Outcome.OUTPUT_LIMIT
        run_coroutine(sandbox.aclose)


def test_server_that_is_away_is_an_error_after_the_patience():
    with fusion_server() as server:
        url = server.url
    sandbox = FusionSandbox(url, patience_s=0.5)
    assert isinstance(run_all([HELLO], sandbox)[0], SandboxError)
    with pytest.raises(SandboxError):
        run_coroutine(sandbox.languages)


def test_its_url_is_in_the_environment(environment):
    environment[URL_VARIABLE] = "http://node1:8080/"
    assert build_sandbox("fusion").url == "http://node1:8080"
    environment.pop(URL_VARIABLE)
    with pytest.raises(ValueError, match=URL_VARIABLE):
        build_sandbox("fusion", patience_s=9.0)
