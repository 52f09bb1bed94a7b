# SPDX-License-Identifier: Apache-2.0
"""`verifier: math_verify`: the verdicts of TRL's accuracy reward, in processes that can be killed."""

import json
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trl.rewards import accuracy_reward as accuracy_of_trl

from open_r1.configs import GRPOScriptArguments
from open_r1.evaluation.results import ANSWERS_NAME, write_results
from open_r1.rewards import get_reward_funcs, math_verify
from open_r1.rewards.verifier import Verdict
from scripts.compare_scorers import main
from scripts.verifier_labels import load_labels

# math-verify takes metres for centimetres.
GOLD, ANSWER = r"$12\text{ cm}$", r"\boxed{12\text{ m}}"


def judged_by_trl(golds: list[str], texts: list[str]) -> list[float | None]:
    return accuracy_of_trl([[{"role": "assistant", "content": text}] for text in texts], golds)


def test_verdicts_are_those_of_trl():
    pairs = [pair for pair in load_labels() if pair.category != "hostile" and len(pair.completion) < 2_000][::7]
    golds, texts = [pair.gold for pair in pairs], [pair.completion for pair in pairs]
    judgements = math_verify.judge_all(golds, texts)
    assert [judgement.verdict.reward for judgement in judgements] == judged_by_trl(golds, texts)
    assert {judgement.verdict for judgement in judgements} == set(Verdict)
    assert {judgement.rule for judgement in judgements} == {math_verify.RULE}


def test_a_pair_that_hangs_is_killed_and_the_others_are_judged(monkeypatch, caplog):
    monkeypatch.setattr(math_verify, "TIME_LIMIT_S", 3.0)
    golds, texts = ["7"] * 3, [r"\boxed{7}", r"\boxed{10^{10^{10}} - 10^{10^{10}} + 2}", r"\boxed{8}"]
    with ThreadPoolExecutor(1) as executor:
        judgements = executor.submit(math_verify.judge_all, golds, texts).result()
    assert [judgement.verdict for judgement in judgements] == [Verdict.RIGHT, Verdict.WRONG, Verdict.WRONG]
    assert judgements[1].rule == "timeout"
    assert "1 of 3" in caplog.text


@pytest.mark.parametrize("name", ["accuracy", "length", "cosine", "demystify_cosine"])
def test_recipe_chooses_who_judges(name: str):
    verdicts = {}
    for verifier in ("open_r1", "math_verify"):
        script_args = GRPOScriptArguments(dataset_name="x", reward_funcs=[name], verifier=verifier)
        (reward,) = get_reward_funcs(script_args)
        columns = {}
        reward(
            prompts=["p"],
            completions=[ANSWER],
            completion_ids=[[1] * 9],
            solution=[GOLD],
            log_extra=columns.__setitem__,
        )
        verdicts[verifier] = columns[f"{reward.__name__}/verdict"]
    assert verdicts == {"open_r1": ["wrong"], "math_verify": ["right"]}


def test_finished_answers_are_judged_again_by_math_verify(tmp_path, capsys):
    rows = [("1", r"\boxed{1}", "right"), (GOLD, ANSWER, "wrong"), ("1", r"\boxed{2}", "wrong")]
    shared = {"index": 0, "problem": "?", "finish_reason": "stop", "num_tokens": 1, "error": None, "extracted": "1"}
    answers = [
        {**shared, "row": row, "solution": gold, "answer": text, "verdict": verdict}
        for row, (gold, text, verdict) in enumerate(rows)
    ]
    settings = {"kind": "math", "model": "m"}
    write_results(tmp_path, {"benchmark": "sums", "settings": settings, "counts": {}, "metrics": {}})
    pq.write_table(pa.Table.from_pylist(answers), tmp_path / ANSWERS_NAME)
    assert main([str(tmp_path), "--by", "math_verify"]) == 0
    folder = tmp_path / "compared_with_math_verify"
    counted = json.loads((folder / "comparison.json").read_text())
    assert {name: counted[name] for name in ("both_right", "scorer_alone", "ours_alone", "both_wrong")} == {
        "both_right": 1,
        "scorer_alone": 1,
        "ours_alone": 0,
        "both_wrong": 1,
    }
    (line,) = (folder / "disagreements.jsonl").read_text().splitlines()
    assert json.loads(line)["row"] == 1
    assert "| wrong | 1 | 1 |" in capsys.readouterr().out
