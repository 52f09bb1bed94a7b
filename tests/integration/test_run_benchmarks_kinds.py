# SPDX-License-Identifier: Apache-2.0
"""`scripts/run_benchmarks.py` on questions with choices and on problems that programs solve, in rows of our own."""

import base64
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from open_r1.evaluation.judges import VERDICTS_NAME
from scripts.run_benchmarks import INCOMPLETE, main
from tests.integration import benchmark_runs
from tests.integration.benchmark_runs import evaluator, folder_of, write_rows
from tests.integration.fakes.chat_server import ChatServer, Reply
from tests.integration.fakes.piston_server import PistonServer

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "run_benchmarks.py"
# Reads a line with two numbers and prints their sum; as a function `add` too.
STDIO = "a, b = map(int, input().split())\nprint(a + b)"
FUNCTION = "class Solution:\n    def add(self, a: int, b: int) -> int:\n        return a + b"


def gpqa_row(number, **columns):
    wrong = {f"Incorrect Answer {place}": str(number + 1 + place) for place in (1, 2, 3)}
    return {"Question": f"How much is {number} and 1?", "Correct Answer": str(number + 1), **wrong, **columns}


def packed(cases):
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def lcb_row(name, *, calls=False):
    """Return a row as of LiveCodeBench: a public and two private tests."""
    kind, glue = ("functional", "\n") if calls else ("stdin", " ")
    tests = [{"input": f"{a}{glue}{b}", "output": str(a + b), "testtype": kind} for a, b in ((1, 2), (30, 4), (-5, 5))]
    return {
        "question_title": name,
        "question_content": f"Problem {name}: add the two numbers.",
        "platform": "ours",
        "starter_code": "class Solution:\n    def add(self, a: int, b: int) -> int:\n        " if calls else "",
        "public_test_cases": json.dumps(tests[:1]),
        "private_test_cases": packed(tests[1:]),
        "metadata": json.dumps({"func_name": "add"} if calls else {}),
    }


def fenced(code, language="python"):
    return f"<think>\n```python\nprint(0)\n```\n</think>\nThis adds them:\n\n```{language}\n{code}\n```\n"


def question_of(body):
    return body["messages"][-1]["content"]


@pytest.fixture
def evaluate(tmp_path):
    """Return what runs the script in this process on a file, and gives its exit status."""
    return lambda server, path, *flags: evaluator(path, tmp_path / "out")(server.address, *flags)


def results_of(tmp_path, name):
    return benchmark_runs.results_of(tmp_path, name=name)


def answers_of(tmp_path, name):
    return pq.read_table(folder_of(tmp_path, name=name) / "answers.parquet").to_pylist()


def letter_behind(text, choice):
    """Return the letter before a choice, as a model would that knows it."""
    (line,) = (line for line in text.splitlines() if line.endswith(f") {choice}"))
    return line[1]


def knows_sums(body, attempt):
    text = question_of(body)
    number = int(text.partition("How much is ")[2].partition(" ")[0])
    # Right by the letter with seed 0, by the value of the choice with seed 1: that is no letter.
    return Reply(f"\\boxed{{{letter_behind(text, number + 1) if body['seed'] == 0 else number + 1}}}")


def test_the_letter_of_the_right_choice_is_right_and_its_value_is_not(evaluate, tmp_path):
    path = write_rows(tmp_path / "gpqa.jsonl", [gpqa_row(number) for number in range(20)])
    with ChatServer(knows_sums) as server:
        assert evaluate(server, path, "--num_samples", 2) == 0
    results = results_of(tmp_path, "gpqa")
    assert results["counts"]["verdicts"] == {"right": 20, "wrong": 20}
    assert (results["settings"]["kind"], results["settings"]["prompt_column"]) == ("choices", "Question")
    assert "the letter of the right choice" in results["settings"]["template"]
    rows = answers_of(tmp_path, "gpqa")
    assert {row["solution"] for row in rows} == set("ABCD")
    assert all(row["extracted"] == row["solution"] for row in rows[::2])


# What a program is, and the verdict on it.
PROGRAMS = {
    "right": (fenced(STDIO), "right"),
    "call": (fenced(FUNCTION), "right"),
    "plain": (fenced("def add(a, b):\n    return a + b"), "right"),
    "wrong": (fenced("print(3)"), "wrong"),
    "raises": (fenced("a, b = input().split()\nprint(a + b - 1)"), "crash"),
    "torn": (fenced("print((1"), "crash"),
    "slow": (fenced("while True:\n    pass"), "timeout"),
    "unfenced": (STDIO, "no_answer"),
    "cut": (f"So:\n```python\n{STDIO}", "no_answer"),
    "thinks": (f"<think>\n```python\n{STDIO}\n```", "no_answer"),
    "empty": ("", "no_answer"),
    "cpp": (fenced("int main() {}", "cpp"), "no_answer"),
    "exits": (fenced("import os\nos._exit(0)"), "wrong"),
    "fills": (fenced("x = 'x' * (1 << 34)\nprint(x)"), "crash"),
}
CALLS = {"call", "plain"}


@pytest.fixture
def impatient(monkeypatch):
    """Let a Piston that failed be asked again at once, however patient those are who wait for it."""
    monkeypatch.setattr("open_r1.sandbox.piston.FIRST_PAUSE_S", 0.01)


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Return folder and results of one run in which every program answers a problem of its own."""
    folder = tmp_path_factory.mktemp("programs")
    path = write_rows(folder / "lcb.jsonl", [lcb_row(name, calls=name in CALLS) for name in PROGRAMS])

    def answer(body, attempt):
        text = question_of(body).partition("Problem ")[2].partition(":")[0]
        return Reply(PROGRAMS[text][0], finish_reason="length" if text == "cut" else "stop")

    flags = ["--num_samples", "1", "--code_test_timeout_s", "4", "--code_memory_mb", "256"]
    with ChatServer(answer) as server:
        status = main(["--url", server.address, "--data", str(path), "--output_dir", str(folder / "out"), *flags])
        requests = list(server.requests)
    return folder, status, requests


def test_programs_are_judged_by_all_tests_in_the_sandbox(judged):
    folder, status, _ = judged
    assert status == 0
    found = {name: row["verdict"] for name, row in zip(PROGRAMS, answers_of(folder, "lcb"), strict=True)}
    assert found == {name: verdict for name, (_, verdict) in PROGRAMS.items()}
    results = results_of(folder, "lcb")
    assert results["metrics"]["avg@1"] == pytest.approx(3 / len(PROGRAMS))
    assert not any(name.startswith("maj@") for name in results["metrics"])
    assert (results["settings"]["test_timeout_s"], results["settings"]["test_memory_mb"]) == (4.0, 256)
    assert "standard input" in results["settings"]["forms"]["standard_input"]


def test_prompts_of_programs_hold_the_code_to_begin_with(judged):
    _, _, requests = judged
    texts = {question_of(body).partition("Problem ")[2].partition(":")[0]: question_of(body) for body in requests}
    assert "reads from standard input" in texts["right"]
    assert (
        "completes this code:\n```python\nclass Solution:\n    def add(self, a: int, b: int) -> int:\n```"
        in (texts["call"])
    )
    assert not any("30" in text for text in texts.values())  # of the private tests


def test_other_limits_judge_again_and_ask_nothing(evaluate, tmp_path):
    path = write_rows(tmp_path / "lcb.jsonl", [lcb_row("a")])
    with ChatServer(lambda body, attempt: Reply(fenced(STDIO))) as server:
        assert evaluate(server, path, "--num_samples", 1) == 0
        assert evaluate(server, path, "--num_samples", 1, "--code_test_timeout_s", 20) == 0
        assert len(server.requests) == 1
    assert results_of(tmp_path, "lcb")["settings"]["test_timeout_s"] == 20.0


def test_tests_of_verification_info_judge_programs(evaluate, tmp_path):
    info = {"language": "python", "test_cases": [{"type": "stdin_stdout", "input": "1 2", "output": "3"}]}
    rows = [
        {"problem": "Add.", "solution": STDIO, "verification_info": json.dumps(info)},
        {"problem": "Add too.", "solution": STDIO, "verification_info": "{}"},
    ]
    path = write_rows(tmp_path / "sums.jsonl", rows)
    with ChatServer(lambda body, attempt: Reply(fenced(STDIO))) as server:
        assert evaluate(server, path) == 1  # which of the two decides isn't said
        assert evaluate(server, path, "--kind", "code", "--num_samples", 1) == 0
        assert len(server.requests) == 1
    results = results_of(tmp_path, "sums")
    assert (results["metrics"]["avg@1"], results["counts"]["rows_left_out"]) == (1.0, 1)


def test_tests_that_turn_out_unusable_give_no_score(evaluate, tmp_path):
    broken = lcb_row("b")
    broken["private_test_cases"] += "!" * (1 << 20)  # so large that it is read when it judges
    path = write_rows(tmp_path / "lcb.jsonl", [lcb_row("a"), broken])
    with ChatServer(lambda body, attempt: Reply(fenced(f"{STDIO}  # {body['seed']}"))) as server:
        assert evaluate(server, path, "--num_samples", 2) == 0
    results = results_of(tmp_path, "lcb")
    assert results["counts"]["verdicts"] == {"right": 2, "unverifiable": 2}
    assert (results["metrics"]["avg@2"], results["counts"]["problems_lost"]) == (1.0, 1)


def test_a_sandbox_that_is_not_there_is_found_before_anything_is_asked(evaluate, tmp_path, capsys):
    path = write_rows(tmp_path / "lcb.jsonl", [lcb_row("a")])
    with ChatServer(lambda body, attempt: Reply(fenced(STDIO))) as server:
        assert evaluate(server, path, "--sandbox_python", "/bin/false") == 1
        assert not server.requests
    assert "lcb" in capsys.readouterr().err


def test_programs_that_the_sandbox_has_lost_are_no_wrong_answers_and_judged_again(
    evaluate, tmp_path, monkeypatch, impatient
):
    path = write_rows(tmp_path / "lcb.jsonl", [lcb_row("a"), lcb_row("b")])

    def answer(body, attempt):
        return Reply(fenced(f"{STDIO}  # {question_of(body).partition('Problem ')[2][0]}"))

    flags = ["--num_samples", 1, "--code_provider", "piston", "--sandbox_patience_s", 1.51]
    with ChatServer(answer) as server, PistonServer(runtimes=("python",)) as piston:
        monkeypatch.setenv("PISTON_ENDPOINTS", piston.url)
        assert evaluate(server, path, *flags, "--limit", 1) == 0
        piston.trouble = "xx"
        assert evaluate(server, path, *flags) == INCOMPLETE
        results = results_of(tmp_path, "lcb")
        assert results["counts"]["verdicts"] == {"lost": 1, "right": 1}
        assert (results["is_complete"], results["metrics"]["avg@1"]) == (False, 1.0)
        assert evaluate(server, path, *flags, "--code_provider", "local") == 0
        assert len(server.requests) == 2
    assert results_of(tmp_path, "lcb")["counts"]["verdicts"] == {"right": 2}


def test_judging_goes_on_after_a_kill(evaluate, tmp_path):
    path = write_rows(tmp_path / "lcb.jsonl", [lcb_row("a")])
    slow = "import time\na, b = map(int, input().split())\ntime.sleep(0.05)\nprint(a + b)"
    with ChatServer(lambda body, attempt: Reply(fenced(f"{slow}  # {body['seed']}"))) as server:
        words = [
            "--url",
            server.address,
            "--data",
            str(path),
            "--output_dir",
            str(tmp_path / "out"),
            "--num_samples",
            "16",
            "--parallel_code_exec_per_proc",
            "1",
        ]
        environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1] / "src")}
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *words],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        kept = folder_of(tmp_path, name="lcb") / VERDICTS_NAME
        try:
            while not kept.exists() or kept.read_text().count('"right"') < 8:
                assert process.poll() is None, "it ended before it could be killed"
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert len(server.requests) == 16
        before = kept.read_text()
        assert main(words) == 0
        assert len(server.requests) == 16
    assert kept.read_text().startswith(before)
    lines = [line for line in kept.read_text().split("\n") if line.endswith("}")]
    assert len({json.loads(line)["key"] for line in lines}) == len(lines) == 16
    assert results_of(tmp_path, "lcb")["metrics"]["avg@16"] == 1.0


def test_a_sandbox_that_has_gone_ends_the_run_and_answers_are_kept(evaluate, tmp_path, monkeypatch, capsys, impatient):
    path = write_rows(tmp_path / "lcb.jsonl", [lcb_row("a")])
    flags = ["--num_samples", 10, "--code_provider", "piston", "--sandbox_patience_s", 1.52]

    def answer(body, attempt):
        piston.trouble = "xx"
        return Reply(fenced(f"{STDIO}  # {body['seed']}"))

    with ChatServer(answer) as server, PistonServer(runtimes=("python",)) as piston:
        monkeypatch.setenv("PISTON_ENDPOINTS", piston.url)
        assert evaluate(server, path, *flags) == 1
        assert "JudgingError" in capsys.readouterr().err
        assert evaluate(server, path, *flags, "--code_provider", "local") == 0
        assert len(server.requests) == 10
    assert results_of(tmp_path, "lcb")["metrics"]["avg@10"] == 1.0


def test_programs_of_human_eval_and_mbpp_are_judged_by_their_python_tests(evaluate, tmp_path):
    human_eval = {
        "prompt": "def add(a, b):\n",
        "entry_point": "add",
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
        "canonical_solution": "    return a + b\n",
    }
    mbpp = {
        "prompt": "Write add.",
        "test_imports": [],
        "test_list": ["assert add(1, 2) == 3", "assert add(0, 0) == 0"],
    }
    programs = [
        "def add(a, b):\n    print(a)\n    return a + b",
        "def add(a, b):\n    return 3",
        "import os\nos._exit(0)",
    ]
    with ChatServer(lambda body, attempt: Reply(fenced(programs[body["seed"]]))) as server:
        for name, row in (("human_eval", human_eval), ("mbpp", mbpp)):
            assert evaluate(server, write_rows(tmp_path / f"{name}.jsonl", [row]), "--num_samples", 3) == 0
            verdicts = [answer["verdict"] for answer in answers_of(tmp_path, name)]
            assert verdicts[0] == "right"
            assert verdicts[1] == ("right" if name == "human_eval" else "crash")
            assert verdicts[2] in ("wrong", "crash")
