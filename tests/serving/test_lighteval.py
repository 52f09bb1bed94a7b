# SPDX-License-Identifier: Apache-2.0
"""The engine lighteval in its own environment, which is made here once: kills, changed models, its tasks.

Its tasks of the hub find their data in the folder of the test, where they lie under their names.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter

import psutil
import pyarrow.parquet as pq
import pytest

from open_r1.data.benchmarks import SUPPORTED_BENCHMARKS
from open_r1.evaluation.lighteval_environment import Lighteval, ensure_environment
from open_r1.evaluation.lighteval_tasks import task_of
from tests.conftest import ROOT
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.serving.scripts import count_lines, started
from tests.waiting import wait_until

pytestmark = pytest.mark.serving

RUN = ROOT / "scripts" / "run_benchmarks.py"


@pytest.fixture(scope="session", autouse=True)
def environment():
    """lighteval's environment; it takes a minute or two where there is none yet."""
    return ensure_environment()


def run(folder, address, *words, script=RUN):
    """Run a script in a folder; return its exit status and what it said."""
    command = [
        sys.executable,
        str(script),
        *(["--engine", "lighteval", "--url", address] if address else []),
        *map(str, words),
    ]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        check=False,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    return done.returncode, done.stdout + done.stderr


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_sums(folder, count=3):
    rows = [{"problem": f"Compute {n}+{n}", "solution": str(2 * n)} for n in range(count)]
    return write_lines(folder / "sums.jsonl", rows)


def number_of(body):
    return int(body["messages"][-1]["content"].partition("Compute ")[2].partition("+")[0])


def mostly_right(body, attempt):
    """Right but for the answer with seed 1, which is boxed, too, and that with seed 2, which isn't."""
    seed, double = body["seed"], 2 * number_of(body)
    return Reply(f"It must be {double}" if seed == 2 else f"So \\boxed{{{double + (seed == 1)}}}.")


def results_of(folder, name, model=MODEL):
    found = folder / "eval_results" / model / "main" / f"{name}-lighteval"
    return found, json.loads((found / "results.json").read_text())


def differing(folder):
    return [json.loads(line) for line in (folder / "disagreements.jsonl").read_text().splitlines()]


def test_scorers_that_differ_are_listed_with_the_reason(tmp_path):
    with ChatServer(mostly_right) as stub:
        status, said = run(tmp_path, stub.address, "--data", write_sums(tmp_path), "--num_samples", 3)
    assert status == 0, said
    assert Counter((asked["messages"][-1]["content"], asked["seed"]) for asked in stub.requests).total() == 9
    assert {asked["seed"] for asked in stub.requests} == {0, 1, 2}
    folder, results = results_of(tmp_path, "sums")
    assert results["engine_metrics"]["avg@n:n=3"] == pytest.approx(2 / 3)
    assert results["metrics"]["avg@3"] == pytest.approx(1 / 3)
    rows = differing(folder)
    assert [(row["row"], row["index"], row["verdict"], row["engine_score"]) for row in rows] == [
        (row, 2, "no_answer", 1.0) for row in range(3)
    ]
    assert rows[1]["reason"] == (
        "our verifier finds no final answer in the text; the engine's scorer finds '2', and says: right"
    )


def test_a_killed_run_asks_for_the_rest_alone_and_leaves_nothing_behind(tmp_path):
    def behave(body, attempt):
        return Reply(mostly_right(body, attempt).text, delay_s=0.5 if body["seed"] else 0.0)

    words = ("--data", write_sums(tmp_path), "--num_samples", 3, "--max_concurrent", 2)
    folder = tmp_path / "eval_results" / MODEL / "main" / "sums-lighteval"
    with ChatServer(behave) as stub:
        address = ("--output_dir", tmp_path / "eval_results", "--engine", "lighteval", "--url", stub.address)
        with started("scripts/run_benchmarks.py", *map(str, (*address, *words))) as process:
            wait_until(lambda: count_lines(folder / "generations.jsonl") >= 3)
            process.send_signal(signal.SIGKILL)
            process.wait()
        kept = count_lines(folder / "generations.jsonl")
        with started("scripts/run_benchmarks.py", *map(str, (*address, *words))) as process:
            wait_until((folder / "lighteval.log").exists)  # all is asked, and lighteval starts
            wait_until(lambda: runners_of(process.pid))
            runners = runners_of(process.pid)
            process.send_signal(signal.SIGKILL)
            process.wait()
            wait_until(lambda: not any(map(psutil.Process.is_running, runners)))
        asked = len(stub.requests)
        status, said = run(tmp_path, stub.address, *words)
        assert status == 0, said
        assert len(stub.requests) == asked <= 9 + 2 + 1  # but for those in flight, nothing is asked twice
    assert kept >= 3
    assert results_of(tmp_path, "sums")[1]["counts"]["returned"] == 9


def runners_of(pid):
    """The processes of lighteval that a process has started."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            found += [process] if any("lighteval_runner.py" in word for word in process.cmdline()) else []
        except psutil.NoSuchProcess:
            continue
    return found


def test_answers_of_a_model_that_has_changed_are_not_taken_for_its_own(tmp_path):
    model = tmp_path / "model"
    (model).mkdir()
    (model / "config.json").write_text("{}")
    words = ("--data", write_sums(tmp_path), "--num_samples", 1, "--model_id", model, "--served_model", MODEL)
    with ChatServer(mostly_right) as stub:
        status, said = run(tmp_path, stub.address, *words)
        assert status == 0, said
    first = results_of(tmp_path, "sums", "model")[1]
    (model / "config.json").write_text('{"hidden_size": 8}')
    with ChatServer(lambda body, attempt: Reply("So \\boxed{-1}.")) as stub:
        status, said = run(tmp_path, stub.address, *words)
        assert status == 1
        assert "model_fingerprint" in said
        status, said = run(tmp_path, stub.address, *words, "--overwrite")
        assert status == 0, said
    second = results_of(tmp_path, "sums", "model")[1]
    name = "pass@k:k=1&n=1"
    assert (first["engine_metrics"][name], second["engine_metrics"][name]) == (1.0, 0.0)


@pytest.fixture
def hub_rows(tmp_path):
    """Rows of two benchmarks where lighteval and we look for them by their names."""
    rows = [
        {"problem": f"Compute {n}+{n}", "solution": f"It is $\\boxed{{{2 * n}}}$.", "answer": str(2 * n)}
        for n in range(3)
    ]
    write_lines(tmp_path / "HuggingFaceH4" / "MATH-500" / "test.jsonl", rows)
    wrong = [{f"Incorrect Answer {k}": str(2 * n + k) for k in (1, 2, 3)} for n in range(4)]
    rows = [{"Question": f"Compute {n}+{n}", "Correct Answer": str(2 * n), **wrong[n]} for n in range(4)]
    write_lines(tmp_path / "Idavidrein" / "gpqa" / "gpqa_diamond.jsonl", rows)
    config = "config_name: gpqa_diamond\n  data_files:\n  - split: train\n    path: gpqa_diamond.jsonl"
    (tmp_path / "Idavidrein" / "gpqa" / "README.md").write_text(f"---\nconfigs:\n- {config}\n---\n")
    return tmp_path


def as_lighteval_asks(body, attempt):
    """The right answer in the form that the prompt asks for; with seed 1 a number where a letter is asked for."""
    text, right = body["messages"][-1]["content"], 2 * number_of(body)
    if "LETTER" not in text:
        return Reply(f"Well.\n\nANSWER: ${right}$")
    letter = next(line[0] for line in text.splitlines() if line[1:] == f") {right}")
    return Reply("ANSWER: 17" if body["seed"] == 1 else f"Well.\n\nAnswer: {letter}")


def test_tasks_of_the_table_are_asked_with_lightevals_prompts(hub_rows, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(hub_rows / "cache"))
    with ChatServer(as_lighteval_asks) as stub:
        words = ("--benchmarks", "math_500", "gpqa", "--num_samples", 2, "--limit", 3, "--system_prompt", "Be brief.")
        status, said = run(hub_rows, stub.address, *words)
    assert status == 0, said
    assert "mt_bench.main (TypeError: HfApi.list_models()" in said  # left out, and named
    asked = next(body["messages"] for body in stub.requests if "Compute 1+1" in body["messages"][-1]["content"])
    assert asked[0] == {"role": "system", "content": "Be brief."}
    assert '"ANSWER: $ANSWER" (without quotes)' in asked[1]["content"]
    folder, results = results_of(hub_rows, "math_500")
    assert results["metrics"]["avg@2"] == results["engine_metrics"]["pass@k:k=1&n=2"] == 1.0
    assert results["settings"]["lighteval_task"] == "math_500|0"
    assert differing(folder) == []
    folder, results = results_of(hub_rows, "gpqa")
    assert results["metrics"]["avg@2"] == 0.5
    letters = {row["row"]: row["solution"] for row in pq.read_table(folder / "answers.parquet").to_pylist()}
    # lighteval takes the first letter of "ANSWER: 17" for the choice A.
    read_as_a = [row for row, letter in letters.items() if letter == "A"]
    assert [(row["row"], row["index"]) for row in differing(folder)] == [(row, 1) for row in read_as_a]


def test_lighteval_has_every_task_of_the_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tasks = ",".join(task_of(benchmark) for benchmark in SUPPORTED_BENCHMARKS.values())
    with pytest.raises(RuntimeError, match="Couldn't reach"):  # all are found; their data isn't
        Lighteval().run("prompts", {"task": tasks, "system_prompt": None})


def test_answers_of_the_direct_engine_are_scored_by_both(tmp_path):
    with ChatServer(mostly_right) as stub:
        data = write_sums(tmp_path)
        status, said = run(tmp_path, None, "--url", stub.address, "--data", data, "--num_samples", 3)
    assert status == 0, said
    folder = tmp_path / "eval_results" / MODEL / "main" / "sums"
    status, said = run(tmp_path, None, folder, script=ROOT / "scripts" / "compare_scorers.py")
    assert status == 0, said
    assert "| right | 3 | 0 |\n| wrong | 3 | 3 |" in said
    compared = folder / "compared_with_lighteval"
    assert [(row["row"], row["index"]) for row in differing(compared)] == [(0, 2), (1, 2), (2, 2)]
    assert json.loads((compared / "comparison.json").read_text())["scorer_alone"] == 3
    assert not (folder / "disagreements.jsonl").exists()
