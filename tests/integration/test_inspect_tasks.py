# SPDX-License-Identifier: Apache-2.0
"""`inspect_tasks.py` in the hands of inspect's own command line, offline; its scorer and figures by themselves."""

import asyncio
import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from inspect_ai.log import read_eval_log
from inspect_ai.model import ChatMessageAssistant, ContentReasoning, ContentText, ModelOutput
from inspect_ai.scorer import SampleScore, Score
from inspect_ai.solver import TaskState

from open_r1.evaluation.inspect_tasks import Grader, answers, benchmark, figures, local, text_of
from open_r1.evaluation.judges import Judgement
from open_r1.evaluation.prompts import Problem
from scripts import export_inspect_log, run_benchmarks
from tests.conftest import ROOT
from tests.integration.benchmark_runs import folder_of, mostly_right, results_of, write_problems, write_rows
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply

TASKS = ROOT / "src" / "open_r1" / "evaluation" / "inspect_tasks.py"


def run_inspect(folder, task, *more, server=None):
    """Run `inspect eval` as users do; return its log."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HOME": str(folder / "home"), "NO_COLOR": "1"}
    if server is not None:
        environment |= {"LOCAL_BASE_URL": f"{server.url}/v1", "LOCAL_API_KEY": "none"}
    command = [
        sys.executable,
        "-m",
        "inspect_ai",
        "eval",
        f"{TASKS}@{task}",
        *more,
        "--log-dir",
        str(folder / "logs"),
        "--display",
        "plain",
        "--ctl-server",
        "false",
    ]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (log,) = (folder / "logs").glob("*.eval")
    return read_eval_log(str(log))


def test_inspect_eval_runs_a_local_file_with_a_seed_for_each_answer(tmp_path):
    rows = [{"question": f"Compute {number}+1", "gold": str(number + 1)} for number in range(3)]
    path = write_rows(tmp_path / "sums.jsonl", rows)
    with ChatServer(mostly_right) as server:
        log = run_inspect(
            tmp_path,
            "local",
            "-T",
            f"data={path}",
            "-T",
            "prompt_column=question",
            "-T",
            "solution_column=gold",
            "-T",
            "num_samples=2",
            "--model",
            f"openai-api/local/{MODEL}",
            "--max-tokens",
            "99",
            server=server,
        )
    assert sorted((body["seed"], body["max_tokens"], body["top_p"]) for body in server.requests) == [
        (seed, 99, 0.95) for seed in (0, 0, 0, 1, 1, 1)
    ]
    metrics = {name: entry.value for name, entry in log.results.scores[0].metrics.items()}
    assert (metrics["avg@2"], metrics["pass@2"]) == (0.5, 1.0)
    assert {sample.scores["judged"].metadata["verdict"] for sample in log.samples} == {"right", "wrong"}


def test_inspect_eval_runs_a_benchmark_by_its_name(tmp_path):
    path = write_problems(tmp_path / "sums.jsonl")
    with ChatServer(lambda body, attempt: Reply("So {it} is.", reasoning="hm")) as server:
        log = run_inspect(
            tmp_path,
            "benchmark",
            "-T",
            f"name={path}",
            "-T",
            "limit=2",
            "-T",
            "temperature=0",
            "-T",
            "system_prompt=Be brief.",
            "--model",
            f"openai-api/local/{MODEL}",
            server=server,
        )
    assert (log.status, log.eval.config.epochs, log.eval.dataset.samples) == ("success", 1, 2)
    assert {sample.scores["judged"].metadata["verdict"] for sample in log.samples} == {"no_answer"}
    assert [message["role"] for message in server.requests[0]["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda path: benchmark("aime42"), "aime42"),
        (lambda path: local("missing.jsonl"), "missing.jsonl"),
        (lambda path: local(str(path), prompt_column="question"), "question"),
        (lambda path: local(str(path), temperature=0.0, num_samples=2), "num_samples"),
        (lambda path: local(str(path), kind="poems"), "poems"),
    ],
)
def test_tasks_that_cannot_work_are_refused(tmp_path, build, said):
    with pytest.raises(ValueError, match=said):
        build(write_problems(tmp_path / "sums.jsonl"))


def test_all_roles_that_prompts_may_have_are_messages_of_inspect(tmp_path):
    roles = ["developer", "user", "assistant", "user"]
    rows = [{"problem": [{"role": role, "content": "1+1"} for role in roles], "solution": "2"}]
    (sample,) = local(str(write_rows(tmp_path / "chats.jsonl", rows))).dataset
    assert [message.role for message in sample.input] == ["system", *roles[1:]]


def test_a_finished_run_becomes_a_log_that_inspect_reads(tmp_path):
    path = write_problems(tmp_path / "sums.jsonl")
    with ChatServer(mostly_right) as server:
        words = ["--url", server.address, "--data", str(path), "--output_dir", str(tmp_path / "out")]
        assert run_benchmarks.main([*words, "--num_samples", "2"]) == 0
    assert export_inspect_log.main([str(folder_of(tmp_path))]) == 0
    log = read_eval_log(str(folder_of(tmp_path) / "sums.eval"))
    assert log.results.scores[0].metrics["avg@2"].value == results_of(tmp_path)["metrics"]["avg@2"]
    scores = {(sample.id, sample.epoch): sample.scores["judged"].as_float() for sample in log.samples}
    assert scores == {(row, epoch): float(epoch == 1) for row in range(4) for epoch in (1, 2)}
    (second,) = [sample for sample in log.samples if (sample.id, sample.epoch) == (1, 1)]
    assert (second.target, second.output.completion) == ("2", "So it is \\boxed{2}.")


def reduced(*values):
    return SampleScore(score=answers()([Score(value=value) for value in values]))


def test_figures_leave_out_what_nobody_can_say():
    found = figures()([reduced(1.0, 0.0, math.nan), reduced(1.0, 1.0, 1.0), reduced(math.nan)])
    assert found["avg@2"] == pytest.approx(0.75)
    assert found["pass@2"] == 1.0
    assert figures()([]) == {}


def state_of(content, stop_reason="stop", row=0):
    output = ModelOutput.from_message(ChatMessageAssistant(content=content), stop_reason=stop_reason)
    return TaskState(model="m/m", sample_id=row, epoch=1, input="", messages=[], output=output)


@pytest.mark.parametrize(
    ("content", "stop_reason", "text"),
    [
        ("It is 3.", "stop", "It is 3."),
        (
            [ContentReasoning(reasoning="2+1"), ContentText(text="It is 3.")],
            "stop",
            "<think>\n2+1\n</think>\n\nIt is 3.",
        ),
        ([ContentReasoning(reasoning="2+"), ContentText(text="")], "max_tokens", "<think>\n2+"),
        ([ContentText(text="It"), ContentText(text=" is 3.")], "stop", "It is 3."),
        ("", "stop", ""),
    ],
)
def test_answers_of_inspects_own_models_are_judged_with_their_reasoning(content, stop_reason, text):
    assert text_of(state_of(content, stop_reason)) == text


class CountingJudge:
    def __init__(self, error=None):
        self.batches, self._error = [], error

    def check(self):
        """Nothing to check."""

    def judge(self, rows, texts):
        self.batches.append(list(rows))
        if self._error is not None:
            raise self._error
        return [
            Judgement("right" if text == str(row) else "wrong", float(text == str(row)), text)
            for row, text in zip(rows, texts, strict=True)
        ]


def grade_all(judge, texts):
    async def grade():
        grader = Grader(judge, SimpleNamespace(by_row={row: Problem("", (), str(row)) for row in range(len(texts))}))
        states = [state_of(text, row=row) for row, text in enumerate(texts)]
        return await asyncio.gather(*map(grader.grade, states), return_exceptions=True)

    return asyncio.run(grade())


def test_samples_that_wait_are_judged_together():
    judge = CountingJudge()
    scores = grade_all(judge, [str(row) for row in range(99)] + ["no"])
    assert [len(batch) for batch in judge.batches] == [64, 36]
    assert [score.as_float() for score in scores] == [1.0] * 99 + [0.0]
    assert "wrong" in scores[99].explanation and "'99'" in scores[99].explanation


def test_a_judge_that_fails_is_an_error_of_its_samples():
    scores = grade_all(CountingJudge(OSError("no sandbox")), ["0", "1"])
    assert [str(score) for score in scores] == ["no sandbox"] * 2
