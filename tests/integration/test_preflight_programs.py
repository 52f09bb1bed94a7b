# SPDX-License-Identifier: Apache-2.0
"""Rows whose tests no judge can use, and right programs that aren't right, are told before a model loads."""

from typing import Any

import pytest
from datasets import Dataset

from open_r1.configs import GRPOScriptArguments
from open_r1.preflight import check_ideal_completion
from open_r1.rewards import RewardContext, get_reward_funcs
from tests.integration.program_rows import CODE, CODEFORCES, IOI
from tests.integration.tiny import build_tokenizer

INFO = CODE["verification_info"]
BROKEN = {
    "code": {**CODE, "verification_info": {**INFO, "test_cases": []}},
    "binary_code": {**CODE, "verification_info": {**INFO, "language": "cobol"}},
    "ioi_code": {**IOI, "time_limit": -1.0},
    "cf_code": {**CODEFORCES, "language": "cobol"},
}


def ideal(rows: list[dict[str, Any]], *names: str) -> None:
    prompts = [{**row, "prompt": [{"role": "user", "content": "Add."}]} for row in rows]
    script_args = GRPOScriptArguments(dataset_name="x", reward_funcs=list(names))
    check_ideal_completion(
        get_reward_funcs(script_args), script_args, Dataset.from_list(prompts), build_tokenizer(), RewardContext()
    )


@pytest.mark.parametrize("name", BROKEN)
def test_data_that_no_judge_can_use_are_refused(name: str):
    with pytest.raises(ValueError, match=rf"{name}.* none of the rows .*not tests 3"):
        ideal([BROKEN[name]] * 3, name)


def test_wrong_program_of_the_data_is_named_with_its_verdicts():
    with pytest.raises(ValueError, match=r"code: 0\.0 .*verdicts: WA x3 \(row 0"):
        ideal([{**CODE, "gold_standard_solution": "print(7)"}] * 2, "code", "format")


def test_rows_that_cannot_be_judged_are_told_once_and_passed_over(caplog: pytest.LogCaptureFixture):
    ideal([BROKEN["code"]] * 16 + [CODE] * 16, "code")
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1 and "4 of 8" in warnings[0]
