# SPDX-License-Identifier: Apache-2.0
"""Parts of the router that need no server: addresses, the reading of scripts' results, the command line."""

import pytest

from open_r1.generation.servers import free_port
from open_r1.sandbox import (
    Interactor,
    Limits,
    Outcome,
    ProgramInput,
    ProgramRun,
    RunRequest,
    RunResult,
    SandboxError,
    router,
    run_coroutine,
)
from open_r1.sandbox.execute_batch import read_entry
from open_r1.sandbox.router import RouterSandbox, is_loopback, longest_run_s, router_base_url
from scripts.sandbox_router import build_parser, normalised

ADDRESSES = {
    "127.0.0.1:8000": "http://127.0.0.1:8000",
    " node-3:8000 ": "http://node-3:8000",
    "node-3": "http://node-3",
    "http://node-3:8000/": "http://node-3:8000",
    "https://router.example/team": "https://router.example/team",
    "http://[::1]:8000": "http://[::1]:8000",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_address_with_or_without_scheme(address):
    assert router_base_url(address) == ADDRESSES[address]


@pytest.mark.parametrize(
    "address", ["", ":8000", "ftp://a:1", "http://", "a:b", "a:99999", "a b:1", "u:p@a:1", "a:1?x"]
)
def test_unusable_address_is_refused(address):
    with pytest.raises(ValueError, match="host:port"):
        router_base_url(address)


@pytest.mark.parametrize("token", ["", " a", "a\nb"])
def test_token_that_cannot_be_sent_is_refused(token):
    with pytest.raises(ValueError, match="token"):
        RouterSandbox("127.0.0.1:8000", token=token)


def test_token_in_the_clear_is_worth_a_warning(caplog):
    for url in ("127.0.0.1:8000", "https://router.example", "localhost:1"):
        RouterSandbox(url, token="x")
    assert caplog.messages == []
    RouterSandbox("node-3:8000", token="x")
    assert "put TLS in front" in caplog.text


def test_loopback_is_what_no_network_reaches():
    assert [is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "node-3", "")] == [False] * 5


def test_longest_time_counts_every_part():
    limits = Limits(cpu_s=1.0, wall_s=10.0)
    plain = RunRequest("python", {"a.py": ""}, (ProgramInput(),) * 3, compile_limits=limits, limits=limits)
    assert longest_run_s(plain) == 2 * (60 + 10 + 30)
    both = RunRequest(
        "python",
        {"a.py": ""},
        (ProgramInput(),) * 3,
        compile_limits=limits,
        limits=limits,
        interactor=Interactor("python", {"b.py": ""}, limits=limits),
    )
    assert longest_run_s(both) == 2 * (60 + 10 + 60)


RUNS = {
    "compiler": (RunResult(ProgramRun(Outcome.RUNTIME_ERROR, stderr="no"), (None,)), "", "CompileError"),
    "left out": (RunResult(None, (None,)), "", None),
    "time": (RunResult(None, (ProgramRun(Outcome.TIME_LIMIT, signal=9),)), "n", None),
    "memory": (RunResult(None, (ProgramRun(Outcome.MEMORY_LIMIT, signal=9),)), "", None),
}


@pytest.mark.parametrize("case", RUNS)
def test_script_without_a_result_has_none(case):
    result, nonce, error = RUNS[case]
    first = read_entry(result, nonce)
    assert set(first) == {"execution", "text", "exception_str"}
    execution = first["execution"]
    assert (execution and execution["error"]["name"]) == error
    assert first["exception_str"]


def test_value_stands_in_a_line_of_its_own_in_the_form_of_morph():
    report = 'n{"text": "1", "error": null}'
    runs = [ProgramRun(Outcome.OK, stdout + report) for stdout in ("", "a", "a\n")]
    texts = [read_entry(RunResult(None, (run,)), "n")["text"] for run in runs]
    assert texts == ["1", "a\n1", "a\n1"]


def test_options_may_have_hyphens_or_underscores():
    parser = build_parser("local", 8000)
    for words in (["--max-body-mb", "1"], ["--max_body_mb=1"], ["--max-num-sandboxes", "3", "--max-body-mb=1"]):
        assert parser.parse_args([normalised(word) for word in words]).max_body_mb == 1
    assert normalised("--sandbox-python=/usr/bin/my-python") == "--sandbox_python=/usr/bin/my-python"
    assert parser.parse_args(["--max_num_sandboxes", "3"]).max_parallel == 3


# ---- a router that isn't there


def test_absent_router_is_missed_within_seconds_when_it_is_first_asked(monkeypatch):
    monkeypatch.setattr(router, "START_PATIENCE_S", 0.5)
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(SandboxError, match="ConnectError"):
        run_coroutine(RouterSandbox(address).languages)
