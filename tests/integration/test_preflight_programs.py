# SPDX-License-Identifier: Apache-2.0
"""Rows whose tests no judge can use, and right programs that aren't right, are told before a model loads."""

import logging
from typing import Any

import pytest
from datasets import Dataset

from open_r1.configs import GRPOScriptArguments
from open_r1.preflight import check_ideal_completion
from open_r1.preflight.programs import check_tests_of_rows
from open_r1.rewards import RewardContext, get_reward_funcs
from tests.integration.program_rows import CODE, CODEFORCES, IOI, ROW_OF
from tests.integration.tiny import build_tokenizer

INFO = CODE["verification_info"]
BROKEN = {
    "code": {**CODE, "verification_info": {**INFO, "test_cases": []}},
    "binary_code": {**CODE, "verification_info": {**INFO, "language": "cobol"}},
    "ioi_code": {**IOI, "time_limit": -1.0},
    "cf_code": {**CODEFORCES, "language": "cobol"},
}
EMPTY = {"code": "verification_info", "ioi_code": "test_names"}


def check(rows: list[dict[str, Any]], *names: str) -> None:
    check_tests_of_rows(GRPOScriptArguments(dataset_name="x", reward_funcs=list(names)), Dataset.from_list(rows))


@pytest.mark.parametrize("name", ROW_OF)
def test_good_rows_are_not_worth_a_word(name: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        check([ROW_OF[name]] * 3, name)
    assert caplog.messages == []


@pytest.mark.parametrize("name", BROKEN)
def test_data_that_no_judge_can_use_are_refused_with_a_row_and_its_reason(name: str):
    with pytest.raises(ValueError, match=rf"{name}: of 3 rows .* 3 have unusable ones \(row 0: .+\)\. Nothing could"):
        check([BROKEN[name]] * 3, name)


@pytest.mark.parametrize("name", BROKEN)
def test_some_rows_that_no_judge_can_use_are_one_warning(name: str, caplog: pytest.LogCaptureFixture):
    check([ROW_OF[name], BROKEN[name]] * 20, name)
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.message.startswith(f"{name}: of 40 rows looked at")
    assert "20 have unusable ones (row 1: " in record.message


@pytest.mark.parametrize("name", EMPTY)
def test_rows_without_tests_are_one_warning_unless_another_reward_judges_them(name: str, caplog):
    rows = [ROW_OF[name] | {"solution": None}, ROW_OF[name] | {EMPTY[name]: None, "solution": "4"}] * 4
    check(rows, name)
    [record] = caplog.records
    assert record.levelname == "WARNING" and "4 have none (row 1)" in record.message
    caplog.clear()
    check(rows, name, "accuracy")
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def ideal(rows: list[dict[str, Any]], *names: str) -> None:
    prompts = [{**row, "prompt": [{"role": "user", "content": "Add."}]} for row in rows]
    script_args = GRPOScriptArguments(dataset_name="x", reward_funcs=list(names))
    check_ideal_completion(
        get_reward_funcs(script_args), script_args, Dataset.from_list(prompts), build_tokenizer(), RewardContext()
    )


def test_wrong_program_of_the_data_is_named_with_its_verdicts():
    with pytest.raises(ValueError, match=r"0\.0 .*gold_standard_solution of row 0 .*verdicts: WA x3") as caught:
        ideal([{**CODE, "gold_standard_solution": "print(7)"}] * 2, "code", "format")
    assert "chat template" not in str(caught.value)


def test_rows_that_cannot_be_judged_are_told_once_and_passed_over(caplog: pytest.LogCaptureFixture):
    ideal([BROKEN["code"]] * 16 + [CODE] * 16, "code")
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1 and "16 have unusable ones" in warnings[0]
