# SPDX-License-Identifier: Apache-2.0
"""`verifier: math_verify`: the verdicts of TRL's accuracy reward, in processes that can be killed."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from trl.rewards import accuracy_reward as accuracy_of_trl

from open_r1.configs import GRPOScriptArguments
from open_r1.rewards import get_reward_funcs, math_verify
from open_r1.rewards.verifier import Verdict
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
    assert {judgement.verdict for judgement in judgements} == set(Verdict) - {Verdict.ECHO}
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
