# SPDX-License-Identifier: Apache-2.0
"""run_benchmarks.py with a real vLLM: the engines of inspect-ai and lighteval beside ours, seeds, logs, kill -9."""

import json
import os
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from inspect_ai.log import read_eval_log

from open_r1.evaluation.lighteval_environment import ensure_environment
from scripts.run_benchmarks import main
from tests.conftest import ROOT
from tests.serving.conftest import SERVED
from tests.serving.scripts import Gate, count_lines, started
from tests.waiting import wait_until

pytestmark = pytest.mark.serving

TASKS = ROOT / "src" / "open_r1" / "evaluation" / "inspect_tasks.py"
NUM_PROBLEMS, NUM_SAMPLES = 6, 3


def words(server, tmp_path, *more, engine="inspect"):
    rows = [{"problem": f"What is {number}+{number}?", "solution": str(2 * number)} for number in range(NUM_PROBLEMS)]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [
        "--url",
        server.url,
        "--data",
        str(tmp_path / "sums.jsonl"),
        "--output_dir",
        str(tmp_path / "out"),
        "--engine",
        engine,
        "--num_samples",
        str(NUM_SAMPLES),
        "--max_tokens",
        "48",
        "--temperature",
        "1",
        *more,
    ]


def folder_of(tmp_path, engine="inspect"):
    (folder,) = (tmp_path / "out").rglob("sums" if engine == "direct" else f"sums-{engine}")
    return folder


def answers_of(tmp_path, engine="inspect"):
    return pq.read_table(folder_of(tmp_path, engine) / "answers.parquet").to_pylist()


def test_inspect_asks_for_different_answers_and_scores_them_as_we_do(server, tmp_path):
    assert main(words(server, tmp_path)) == 0
    answers = answers_of(tmp_path)
    texts = [[row["answer"] for row in answers if row["row"] == number] for number in range(NUM_PROBLEMS)]
    assert sum(len(set(of_a_problem)) == NUM_SAMPLES for of_a_problem in texts) >= NUM_PROBLEMS / 2
    assert all(0 < row["num_tokens"] <= 48 for row in answers)
    results = json.loads((folder_of(tmp_path) / "results.json").read_text())
    name = f"avg@{NUM_SAMPLES}"
    assert results["engine_metrics"][name] == pytest.approx(results["metrics"][name])
    assert results["speed"]["tokens"] == sum(row["num_tokens"] for row in answers)
    log = read_eval_log(str(next((folder_of(tmp_path) / "inspect").glob("*.eval"))))
    scores = {(sample.id, sample.epoch - 1): sample.scores["judged"].as_float() for sample in log.samples}
    assert scores == {(row["row"], row["index"]): float(row["verdict"] == "right") for row in answers}


def test_both_engines_are_given_the_same_answers(server, tmp_path):
    texts = {}
    for engine in ("direct", "inspect"):
        assert main(words(server, tmp_path, engine=engine)) == 0
        texts[engine] = [row["answer"] for row in answers_of(tmp_path, engine)]
    assert texts["direct"] == texts["inspect"]


def test_a_killed_run_of_inspect_goes_on_with_what_is_missing(server, tmp_path):
    def journals():
        return list((tmp_path / "out").rglob("generations.jsonl"))

    with Gate(server.url, most=5) as gate:
        command = words(gate, tmp_path, "--max_concurrent", "2")
        with started("scripts/run_benchmarks.py", *command) as process:
            wait_until(lambda: any(count_lines(path) >= 6 for path in journals()) or process.poll() is not None)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert journals(), process.said()
        kept = [json.loads(line) for line in journals()[0].read_text().splitlines()[1:]]
        assert len(kept) == 5 < NUM_PROBLEMS * NUM_SAMPLES
        gate.open()
        assert main(command) == 0
    answers = answers_of(tmp_path)
    assert len(answers) == NUM_PROBLEMS * NUM_SAMPLES
    assert {record["text"] for record in kept} <= {row["answer"] for row in answers}


def test_plain_inspect_asks_for_different_answers_too(server, tmp_path):
    words(server, tmp_path)
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "LOCAL_BASE_URL": server.url,
        "LOCAL_API_KEY": "none",
        "HOME": str(tmp_path),
    }
    command = [
        sys.executable,
        "-m",
        "inspect_ai",
        "eval",
        f"{TASKS}@local",
        "-T",
        f"data={tmp_path / 'sums.jsonl'}",
        "-T",
        "num_samples=3",
        "-T",
        "max_tokens=32",
        "-T",
        "temperature=1",
        "--model",
        f"openai-api/local/{SERVED}",
        "--log-dir",
        str(tmp_path / "logs"),
        "--display",
        "plain",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    log = read_eval_log(str(next((tmp_path / "logs").glob("*.eval"))))
    texts = [{sample.output.completion for sample in log.samples if sample.id == row} for row in range(NUM_PROBLEMS)]
    assert sum(len(of_a_problem) == 3 for of_a_problem in texts) >= NUM_PROBLEMS / 2
    assert "avg@3" in log.results.scores[0].metrics


def test_lighteval_asks_through_vllm_and_scores(server, tmp_path):
    ensure_environment()  # minutes, where there is none yet
    command = words(server, tmp_path, engine="lighteval")
    assert main(command) == 0
    folder, answers = folder_of(tmp_path, "lighteval"), answers_of(tmp_path, "lighteval")
    results = json.loads((folder / "results.json").read_text())
    assert len(answers) == results["disagreements"]["scored"] == NUM_PROBLEMS * NUM_SAMPLES
    assert all(0 < answer["num_tokens"] <= 48 for answer in answers)
    assert {answer["finish_reason"] for answer in answers} <= {"stop", "length"}
    mean = sum(answer["engine_score"] for answer in answers) / len(answers)
    assert results["engine_metrics"][f"avg@n:n={NUM_SAMPLES}"] == pytest.approx(mean)
    assert results["settings"]["engine_versions"]["lighteval"] == "0.13.0"
    assert len(list((folder / "lighteval" / "details").rglob("*.parquet"))) == 1
    before = (folder / "answers.parquet").read_bytes()
    assert main(command) == 0
    assert (folder / "answers.parquet").read_bytes() == before
