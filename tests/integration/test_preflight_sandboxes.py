# SPDX-License-Identifier: Apache-2.0
"""Sandboxes are asked, and right programs of the data are run, before a model loads."""

import logging
from typing import Any

import pytest
from datasets import Dataset

from open_r1.configs import GRPOScriptArguments
from open_r1.grading.programs import judge_all
from open_r1.preflight.programs import check_sandboxes
from open_r1.rewards import RewardContext, get_reward_funcs, get_reward_spec, perfect_reply
from open_r1.sandbox import providers, run_coroutine
from open_r1.sandbox.local import LocalSandbox
from open_r1.sandbox.providers import SandboxSettings
from tests.integration.program_rows import CODE, CODEFORCES, IOI, ROW_OF
from tests.integration.routers import serve
from tests.integration.tiny import Tiny, build_tiny, write_rows

NO_WEIGHTS = r"no file named model\.safetensors"  # all checks were passed, and the model was to be loaded
KEYS = (
    "PISTON_ENDPOINTS",
    "E2B_API_KEY",
    "MORPH_API_KEY",
    "CF_TESTS_FOLDER",
    "IOI_TESTS_FOLDER",
    "RANK",
    "LOCAL_RANK",
)


class PythonAlone(LocalSandbox):
    """A provider with one language."""

    async def languages(self) -> tuple[str, ...]:
        return ("python",)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def weightless(tmp_path_factory) -> Tiny:
    tiny = build_tiny(tmp_path_factory.mktemp("tiny"))
    (tiny.model / "model.safetensors").unlink()
    return tiny


def check(rows: list[dict[str, Any]], *names: str, **settings: Any) -> None:
    check_sandboxes(
        GRPOScriptArguments(dataset_name="x", reward_funcs=list(names), **settings), Dataset.from_list(rows)
    )


def test_sandbox_that_answers_is_logged_once_for_all_its_rewards(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, logger="open_r1.preflight"):
        check([CODE], "binary_code", "code", "summary_only(code)", "format")
    (line,) = [record.message for record in caplog.records if record.name == "open_r1.preflight.programs"]
    assert line.startswith("Programs of binary_code, code, summary_only(code) run in local")
    assert "python" in line


INFO = CODE["verification_info"]
REFUSED = {
    "an interpreter that isn't there": (
        [CODE],
        "code",
        {"sandbox_python": "/nowhere/python"},
        r"(?s)code can't be used: .*What was tried:.*/nowhere",
    ),
    "piston without endpoints": ([CODE], "code", {"code_provider": "piston"}, "PISTON_ENDPOINTS"),
    "piston for IOI without endpoints": ([IOI], "ioi_code", {"ioi_provider": "piston"}, "PISTON_ENDPOINTS"),
    "E2B without a key": ([CODE], "code", {"code_provider": "e2b"}, "E2B_API_KEY"),
    "Morph without a key": ([CODE], "binary_code", {"code_provider": "morph"}, "MORPH_API_KEY"),
    "a token that isn't set": (
        [CODE],
        "code",
        {"code_provider": "router", "sandbox_router_url": "h:1", "sandbox_router_token_env": "NO_TOKEN"},
        "NO_TOKEN",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_judge_is_refused(case: str):
    rows, name, settings, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        check(rows, name, **settings)


def test_some_rows_in_a_language_that_nobody_knows_end_no_run():
    check([CODE, {**CODE, "verification_info": {**INFO, "language": "cobol"}}], "code")
    check([CODEFORCES, {**CODEFORCES, "language": "cobol"}], "cf_code")


def test_language_that_the_provider_lacks_is_refused_with_those_it_has():
    rows = [CODE] * 700 + [{**CODE, "verification_info": {**INFO, "language": "C++"}}] * 2
    with serve(PythonAlone()) as address, pytest.raises(ValueError, match=r"can't run C\+\+; it has python\."):
        check(rows, "code", code_provider="router", sandbox_router_url=address)


def test_what_answers_there_must_be_a_router_that_lets_us_in(monkeypatch):
    monkeypatch.setenv("TOKEN", "wrong")
    settings = {"code_provider": "e2b", "sandbox_router_token_env": "TOKEN"}
    with serve(LocalSandbox(), token="right") as address:
        with pytest.raises(ValueError, match="sandbox_router_token_env"):
            check([CODE], "code", **settings, e2b_router_url=address)
        monkeypatch.delenv("SANDBOX_ROUTER_TOKEN", raising=False)
        with pytest.raises(ValueError, match="SANDBOX_ROUTER_TOKEN"):
            check([CODE], "code", code_provider="e2b", e2b_router_url=address)
        monkeypatch.setenv("TOKEN", "right")
        check([CODE], "code", **settings, e2b_router_url=address)


def test_slurm_that_does_not_answer_loses_rows_and_ends_no_training(monkeypatch, tmp_path):
    monkeypatch.setenv("PISTON_ENDPOINTS", "slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    providers._build.cache_clear()

    async def judge(program, content, sandbox):
        await sandbox.languages()
        raise AssertionError("nobody answers")

    (judged,) = judge_all([("print(1)", "tests")], judge, SandboxSettings("piston", patience_s=0.5))
    assert judged.is_lost and "squeue" in str(judged.error)
    run_coroutine(SandboxSettings("piston", patience_s=0.5).build().aclose)  # else it looks for endpoints for ever


def test_only_the_first_process_of_a_machine_asks(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    check([CODE], "code", code_provider="piston")


def test_rewards_that_run_nothing_ask_nobody():
    check([{"solution": "4"}], "accuracy", "code_format", code_provider="piston")


@pytest.mark.parametrize("prefix", ["", "<think>\n"])
@pytest.mark.parametrize("name", ROW_OF)
def test_right_program_of_a_row_earns_the_most(name: str, prefix: str):
    language = "cpp" if name == "ioi_code" else "python"
    script_args = GRPOScriptArguments(
        dataset_name="x", reward_funcs=[name, "format", "code_format"], code_language=language
    )
    context = RewardContext(completion_prefix=prefix)
    reply = perfect_reply(script_args, ROW_OF[name], context)
    columns = {column: [value] for column, value in ROW_OF[name].items()}
    values = [reward(completions=[reply], **columns) for reward in get_reward_funcs(script_args, context)]
    assert values == [[get_reward_spec(name).least(script_args)], [1.0], [1.0]]


GOLDS = {
    "right": (CODE["gold_standard_solution"], NO_WEIGHTS),
    "wrong": ("print(7)", r"0\.0 instead of 1\.0; verdicts: WA x3 .row 0"),
    "none": (None, NO_WEIGHTS),
}


@pytest.mark.parametrize("gold", GOLDS)
def test_right_programs_are_run_before_a_model_loads(gold: str, weightless, tmp_path):
    program, message = GOLDS[gold]
    data = write_rows(tmp_path / "train.jsonl", [{**CODE, "gold_standard_solution": program}] * 8)
    with pytest.raises((ValueError, OSError), match=message):
        weightless.train(
            "grpo",
            tmp_path / "run",
            dataset_name=data,
            reward_funcs=["code", "format"],
            dataset_prompt_column="problem_statement",
        )


def test_data_without_any_tests_is_refused(weightless, tmp_path):
    data = write_rows(tmp_path / "train.jsonl", [{"problem": "1+1", "solution": "2"}] * 8)
    with pytest.raises(ValueError, match="verification_info"):
        weightless.train("grpo", tmp_path / "run", dataset_name=data, reward_funcs=["code", "format"])
