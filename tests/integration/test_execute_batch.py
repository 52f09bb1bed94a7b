# SPDX-License-Identifier: Apache-2.0
"""Open R1's router protocol and its two clients, against real routers in front of local boxes."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from open_r1.generation.servers import free_port
from open_r1.sandbox import SandboxError
from open_r1.sandbox.local import LocalSandbox
from open_r1.utils.routed_morph import RoutedMorphSandbox
from open_r1.utils.routed_sandbox import RoutedSandbox
from tests.integration.routers import serve
from tests.waiting import wait_until

# A script as Open R1's rewards send it: the submission runs in a process of its own, the last expression is the score.
EVALUATION = """
import subprocess

def evaluate_code(code, test_cases):
    passed = 0
    for case in test_cases:
        command = ["python3", "-c", code]
        process = subprocess.run(command, input=case["input"], text=True, capture_output=True, timeout=20)
        passed += process.returncode == 0 and process.stdout.strip() == case["output"]
    return passed / len(test_cases)

evaluate_code("print(int(input()) * 2)", [{"input": "1", "output": "2"}, {"input": "2", "output": "5"}])
"""

# Script: its text, its pieces of standard output, name of its error, text in the form of morph.
SCRIPTS = {
    "evaluation": (EVALUATION, "0.5", [], None, "0.5"),
    "prints and value": ("print('a')\n'b'", "'b'", ["a\n"], None, "a\n'b'"),
    "no value": ("x = 1\nprint(x)", None, ["1\n"], None, "1\n"),
    "not ASCII": ("print('é')\n'ü'", "'ü'", ["é\n"], None, "é\n'ü'"),
    "raises": ("print(1)\n1 / 0", None, ["1\n"], "ZeroDivisionError", "1\n"),
    "exits": ("import sys\nsys.exit(0)", None, [], "SystemExit", ""),
    "thread left running": ("import threading\nthreading.Thread(target=input).start()\n5", "5", [], None, "5"),
    "pickled": (
        "import pickle\nclass A: pass\ntype(pickle.loads(pickle.dumps(A()))).__name__",
        "'A'",
        [],
        None,
        "'A'",
    ),
    "empty": ("", None, [], None, ""),
}


@pytest.fixture(scope="module")
def address():
    with serve(LocalSandbox(), max_parallel=2) as address:
        yield address


def post(address, **body):
    headers = {"content-type": "application/json"}
    return httpx.post(f"http://{address}/execute_batch", content=json.dumps(body), headers=headers, timeout=60)


def test_reply_to_the_letter(address):
    scripts = ["print('a')\n0.5", "import os\nos._exit(3)"]
    reply = post(address, scripts=scripts, languages=["python"] * 2, timeout=30, request_timeout=28)
    first, second = reply.json()
    assert first == {
        "execution": {
            "results": [{"text": "0.5", "is_main_result": True}],
            "logs": {"stdout": ["a\n"], "stderr": []},
            "error": None,
            "execution_count": 1,
        },
        "text": "a\n0.5",
        "exception_str": None,
    }
    assert (second["execution"], second["text"], "exit code 3" in second["exception_str"]) == (None, None, True)


def test_scripts_through_the_client_of_e2b(address):
    executions = RoutedSandbox(router_url=address).run_code([script for script, *_ in SCRIPTS.values()])
    found = [(run.text, run.logs.stdout, run.error and run.error.name, run.execution_count) for run in executions]
    assert found == [(text, stdout, error, 1) for _, text, stdout, error, _ in SCRIPTS.values()]
    assert all(run.logs["stdout"] is run.logs.stdout for run in executions)
    assert "division by zero" in executions[list(SCRIPTS).index("raises")].error.traceback


def test_scripts_through_the_client_of_morph(address):
    results = RoutedMorphSandbox(router_url=address).run_code([script for script, *_ in SCRIPTS.values()])
    assert [result.text for result in results] == [text for *_, text in SCRIPTS.values()]
    failed = {name for name, result in zip(SCRIPTS, results, strict=True) if result.exception_str}
    assert failed == {name for name, (*_, error, text) in SCRIPTS.items() if error or not text}


def test_timeout_is_in_seconds(address):
    first, second = RoutedMorphSandbox(address, timeout=4).run_code(["while True: pass", "1"])
    assert (first.text, second.text) == (None, "1")
    assert "timed out" in first.exception_str


def test_other_languages_give_their_output(address):
    good, bad, unknown = RoutedSandbox(address).run_code(["echo hello", "exit 3", ""], ["bash", "bash", "klingon"])
    assert (good.text, good.logs.stdout, good.error) == (None, ["hello\n"], None)
    assert (bad.error.name, bad.error.value) == ("RuntimeError", "runtime_error, exit code 3")
    assert unknown.execution_count is None
    (entry,) = post(address, scripts=[""], languages=["klingon"]).json()
    assert "python" in entry["exception_str"]


def test_forged_report_is_only_output(address):
    script = """print('{"text": "1.0", "error": null}')\nimport os\nos._exit(0)"""
    assert RoutedSandbox(address).run_code([script])[0].text is None


# Script: part of its `exception_str`, or None for one that runs well.
SPOILERS = {
    "value too long to send": ("'y' * 3_000_000", "output_limit"),
    "half of a character as value": ("class A:\n  def __repr__(self): return '\\ud800'\nA()", None),
    "half of a character in the script": ("'\ud800'", ""),
    "error that can't be shown": ("class E(Exception):\n  def __str__(self): return 5\nraise E", "before its result"),
    "report forged with numbers": (
        "import sys, os\nframe = sys._getframe()\nwhile 'report' not in frame.f_locals: frame = frame.f_back\n"
        'os.write(frame.f_locals[\'report\'], b\'{"stdout": "", "text": 1}\')\nos._exit(0)',
        "before its result",
    ),
}


@pytest.mark.parametrize("case", SPOILERS)
def test_script_spoils_no_other(address, case):
    script, said = SPOILERS[case]
    first, spoiler, last = post(address, scripts=["1", script, "2"], timeout=10).json()
    assert (first["text"], last["text"]) == ("1", "2")
    assert (spoiler["exception_str"] is None) if said is None else (said in (spoiler["exception_str"] or "")), spoiler


BAD_BATCHES = {
    "scripts without a language": ({"scripts": ["1", "2"], "languages": ["python"]}, 400),
    "script of numbers": ({"scripts": [1]}, 400),
    "one script": ({"scripts": "1"}, 400),
    "no time": ({"scripts": ["1"], "timeout": 0}, 400),
    "time in words": ({"scripts": ["1"], "timeout": "9"}, 400),
    "time in milliseconds": ({"scripts": ["1"], "timeout": 300_000}, 400),
    "too many scripts": ({"scripts": ["1"] * 10_000}, 413),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_bad_batch_is_refused_as_a_whole(address, case):
    body, status = BAD_BATCHES[case]
    assert post(address, **body).status_code == status


def test_full_router_is_asked_again():
    with serve(LocalSandbox(), max_parallel=1, max_queue=0) as address, ThreadPoolExecutor(3) as threads:
        first = threads.submit(RoutedSandbox(address).run_code, ["import time\ntime.sleep(4)\n1"])
        wait_until(lambda: httpx.get(f"http://{address}/health").json()["in_flight"] == 1)
        late = [threads.submit(client(address).run_code, ["2"]) for client in (RoutedSandbox, RoutedMorphSandbox)]
        assert [running.result()[0].text for running in (first, *late)] == ["1", "2", "2"]


def test_absent_router_is_no_score():
    nobody = f"127.0.0.1:{free_port()}"
    with pytest.raises(SandboxError):
        RoutedSandbox(nobody).run_code(["1"], request_timeout=1)
    results = RoutedMorphSandbox(nobody, request_timeout=1).run_code(["1", "2"])
    assert [result.text for result in results] == [None, None]
    assert all(result.exception_str for result in results)
