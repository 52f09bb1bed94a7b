# SPDX-License-Identifier: Apache-2.0
"""Models as judges against a server on this machine: the reward `rubric`, and second verdicts."""

import json
import math
import pickle

import pyarrow.parquet as pq
import pytest

from open_r1.configs.rewards import RewardArguments
from open_r1.rewards import accuracy_reward, get_reward_funcs, get_reward_spec
from open_r1.rewards.rubric import JudgeModel, RubricReward
from open_r1.rewards.second_judge import JUDGE_NAME, SecondJudge, reviewed
from open_r1.rewards.verifier import Verdict
from open_r1.rewards.wrappers import only_domains
from scripts import curate
from tests.integration.benchmark_runs import evaluator, folder_of, results_of, write_rows
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.tiny import build_tiny

JUDGE = "judge/model"


def judging(text):
    """A server that answers what stands behind `Say ` in the prompt."""
    return Reply(text.rpartition("Say ")[2].partition(".\n")[0])


@pytest.fixture
def server():
    with ChatServer(lambda body, attempt: judging(body["messages"][0]["content"]), models=[JUDGE, MODEL]) as server:
        yield server


def rubric(server, **settings):
    return RubricReward("1 if it is kind.", server.address, JUDGE, patience_s=0.2, **settings)


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("fine; Score: 0.7", 0.7),
        ("Score: 0\nno, Score: **1.0**", 1.0),
        ("Score: .5/1", 0.5),
        ("Score: 7", None),
        ("Score: 1/10", None),
        ("very kind", None),
    ],
)
def test_score_is_the_last_line_of_the_judge_and_anything_else_is_no_score(server, said, score):
    (value,) = rubric(server)(completions=[f"<think>\nSay Score: 0.1.\n</think>\nSay {said}.\n"], prompts=["1+1 {x}?"])
    assert value == score if score is not None else math.isnan(value)
    prompt = server.requests[-1]["messages"][0]["content"]
    assert "1 if it is kind." in prompt and "1+1 {x}?" in prompt and "<think>" not in prompt
    assert server.requests[-1]["model"] == JUDGE


def test_answers_of_the_judge_are_logged_and_the_reward_can_be_pickled(server):
    logged = {}
    reward = pickle.loads(pickle.dumps(rubric(server)))
    reward(completions=["Say Score: 1.\n"], log_extra=logged.__setitem__)
    assert logged == {"rubric_reward/answers": ["Score: 1"]}


def test_an_outage_is_nan_and_a_busy_server_is_waited_for(server):
    replies = iter([Reply(status=503), Reply("Score: 1")])
    server.behave = lambda body, attempt: next(replies)
    assert RubricReward("x", server.address, JUDGE, patience_s=5)(completions=["a"]) == [1.0]
    server.behave = lambda body, attempt: Reply(status=503)
    assert all(map(math.isnan, rubric(server)(completions=["a", "b"])))


def test_a_prompt_that_the_server_refuses_is_nan_and_a_wrong_key_ends_the_run(server, monkeypatch):
    server.behave = lambda body, attempt: Reply(status=400)
    assert math.isnan(rubric(server)(completions=["a"])[0])
    monkeypatch.setenv("JUDGE_KEY", "right")
    with ChatServer(lambda body, attempt: Reply("Score: 1"), models=[JUDGE], api_key="right") as guarded:
        assert rubric(guarded, key_env="JUDGE_KEY")(completions=["a"]) == [1.0]
        with pytest.raises(ValueError, match="401"):
            rubric(guarded)(completions=["a"])


def test_recipes_name_the_rubric_and_its_model(server):
    with pytest.raises(ValueError, match="rubric_url"):
        get_reward_funcs(RewardArguments(reward_funcs=["rubric"], rubric="x"))
    args = RewardArguments(reward_funcs=["rubric"], rubric="x", rubric_url=server.url, rubric_model=JUDGE)
    (reward,) = get_reward_funcs(args)
    assert reward(completions=["Say Score: 1.\n"]) == [1.0]
    assert get_reward_spec("rubric").least(args) == 0.0  # the trial call before a run proves that the server answers


RIGHT, WRONG, OPEN, SILENT = Verdict.RIGHT, Verdict.WRONG, Verdict.UNVERIFIABLE, Verdict.NO_ANSWER


def second_of(server, path=None, model=JUDGE):
    return SecondJudge(JudgeModel(server.address, model, patience_s=0.2), path)


def test_second_verdicts_are_asked_for_where_the_verifier_abstains_and_compared_elsewhere(server, tmp_path):
    judge = second_of(server, tmp_path / JUDGE_NAME)
    verdicts = [OPEN, SILENT, OPEN, Verdict.ECHO, RIGHT, WRONG]
    answers = ["Verdict: right", "Verdict: WRONG", "hm", "Verdict: right", "Verdict: right", "Verdict: right"]
    answers = [f"Say {answer}.\n" for answer in answers]
    found = judge.review(verdicts, ["1+1?"] * 6, ["two"] * 6, answers)
    assert found == [RIGHT, WRONG, OPEN, Verdict.ECHO, RIGHT, WRONG]
    counts = {"asked": 3, "right": 1, "wrong": 1, "silent": 1, "compared": 2, "agreeing": 1}
    assert judge.report() == {"model": JUDGE, **counts}
    lines = [json.loads(line) for line in (tmp_path / JUDGE_NAME).read_text().split("\n") if line]
    assert {line["answer"] for line in lines} == {"Verdict: right", "Verdict: WRONG", "hm"}
    assert all("1+1?" in line["prompt"] and "two" in line["prompt"] for line in lines)
    asked = len(server.requests)
    with (tmp_path / JUDGE_NAME).open("a") as file:
        file.write('{"model": "half a li')
    assert second_of(server, tmp_path / JUDGE_NAME).review(verdicts, ["1+1?"] * 6, ["two"] * 6, answers) == found
    assert len(server.requests) == asked
    second_of(server, tmp_path / JUDGE_NAME, MODEL).review(verdicts, ["1+1?"] * 6, ["two"] * 6, answers)
    assert len(server.requests) > asked


def test_a_judge_that_is_gone_ends_what_asks_for_verdicts(server, tmp_path):
    server.behave = lambda body, attempt: Reply(status=503)
    with pytest.raises(RuntimeError, match=JUDGE):
        second_of(server).review([OPEN], ["1+1?"], ["two"], ["2"])


def test_a_reward_has_second_verdicts_in_its_domains_alone(server):
    completions = [r"\boxed{2}", "Say Verdict: right.\n", "Say Verdict: right.\n"]
    columns = {"solution": ["2", "2", "see the proof above"], "prompts": ["1+1?"] * 3, "domain": ["math"] * 3}
    for domain, values in (("math", [1.0] * 3), ("chat", [None] * 3)):
        reward = reviewed(only_domains(accuracy_reward, [domain]), second_of(server))
        assert reward(completions=completions, **columns) == values


def test_evaluation_reports_the_second_judge_and_keeps_what_it_said(server, tmp_path, capsys):
    rows = [
        {"problem": f"Compute {number}+1", "solution": gold}
        for number, gold in enumerate(("1", "see the proof above"))
    ]
    evaluate = evaluator(write_rows(tmp_path / "sums.jsonl", rows), tmp_path / "out")
    flags = ("--num_samples", 1, "--judge_url", server.address, "--judge_model")
    with ChatServer(lambda body, attempt: Reply("Say Verdict: right.\nIt is \\boxed{1}.")) as asked:
        assert evaluate(asked.address, *flags, JUDGE) == 0
        assert "of 1 answers on which the verifier abstains 1 are right" in capsys.readouterr().out
        results = results_of(tmp_path)
        assert (results["metrics"]["avg@1"], results["second_judge"]["agreeing"]) == (1.0, 1)
        assert (folder_of(tmp_path) / JUDGE_NAME).read_text().count("prompt") == 2
        judged = len(server.requests)
        assert evaluate(asked.address, *flags, JUDGE) == 0
        assert len(server.requests) == judged
        assert evaluate(asked.address, "--num_samples", 1) == 0  # without it
        assert (results_of(tmp_path)["second_judge"], results_of(tmp_path)["counts"]["problems_judged"]) == (None, 1)
        assert evaluate(asked.address, *flags, MODEL) == 0
        assert len(server.requests) == 2 * judged
        assert len(asked.requests) == 2


def test_benchmarks_of_a_training_have_second_verdicts(server, tmp_path):
    server.behave = lambda body, attempt: Reply("Verdict: right")
    rows = write_rows(tmp_path / "proofs.jsonl", [{"problem": "1+1?", "solution": "see the proof above"}])
    asked = {"num_samples": 1, "max_tokens": 4, "template": "{prompt}", "log_answers": True}
    asked |= {"judge_url": server.address, "judge_model": JUDGE}
    settings = {f"eval_benchmarks_{name}": value for name, value in asked.items()}
    metrics = build_tiny(tmp_path).train("sft", tmp_path / "out", max_steps=1, eval_benchmarks=rows, **settings)
    assert metrics["eval_proofs/avg@1"] == 1.0
    assert (tmp_path / "out" / "eval_benchmarks" / "proofs" / JUDGE_NAME).read_text().count("prompt") == 1


def test_curation_keeps_what_the_second_judge_calls_right(server, tmp_path, capsys):
    said = ["\\boxed{2}", "Say Verdict: right.\n", "Say Verdict: wrong.\n"]
    generations = [f"<think>\n1 and {number}\n</think>\n\n{text}" for number, text in enumerate(said)]
    row = {"problem": "1+1?", "answer": "2", "generations": generations, "finish_reasons": ["stop"] * 3}
    path, out = write_rows(tmp_path / "rows.jsonl", [row]), tmp_path / "out"
    words = ["--input", str(path), "--output_dir", str(out)]
    assert curate.main([*words, "--judge_url", server.address, "--judge_model", JUDGE]) == 0
    assert "of 2 answers on which the verifier abstains 1 are right, 1 wrong" in capsys.readouterr().out
    assert (out / JUDGE_NAME).read_text().count("prompt") == 3
    (data,) = out.rglob("*.parquet")
    assert [row["generation_index"] for row in pq.read_table(data).to_pylist()] == [0, 1]
