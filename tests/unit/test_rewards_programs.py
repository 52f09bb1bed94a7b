# SPDX-License-Identifier: Apache-2.0
"""Rewards that run programs, as far as nothing has to be run: rows without programs, unusable rows, settings."""

import json
import logging
import math

import pytest

from open_r1.grading.programs import Budget
from open_r1.grading.verdict import NOT_RUN, OVER_BUDGET, Result, TestResult, TestVerdict
from open_r1.rewards import (
    REWARDS,
    binary_code_reward,
    cf_code_reward,
    code_reward,
    get_reward_funcs,
    ioi_code_reward,
    perfect_reply,
)
from open_r1.rewards.program_rewards import ProgramRows, language_of_row, reward_programs
from open_r1.sandbox import Sandbox, SandboxError
from open_r1.sandbox.providers import SandboxSettings
from tests.unit.test_rewards_table import ROW_OF_PROGRAMS, arguments

FUNCTIONS = {
    "code": code_reward,
    "binary_code": binary_code_reward,
    "ioi_code": ioi_code_reward,
    "cf_code": cf_code_reward,
}
WITHOUT_PROGRAM = {"code": 0.0, "binary_code": 0.0, "ioi_code": 0.0, "cf_code": -1.0}
INFO = ROW_OF_PROGRAMS["code"]["verification_info"]
RIGHT = TestResult(TestVerdict.ACCEPTED, 1.0)
WRONG = TestResult(TestVerdict.WRONG_ANSWER)


def columns_of(name: str, num_rows: int = 1) -> dict[str, list]:
    return {column: [value] * num_rows for column, value in ROW_OF_PROGRAMS[name].items()}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_completion_without_a_program_needs_no_sandbox(name: str):
    # No such provider: building it would raise.
    texts = ["", "I don't know.", "```r\n1\n```", "<think>\n```python\n1\n```\n```cpp\n1\n```"]
    values = FUNCTIONS[name](texts, provider_type="no such provider", **columns_of(name, 4))
    assert values == [WITHOUT_PROGRAM[name]] * 4


@pytest.mark.parametrize("name", FUNCTIONS)
def test_row_of_other_data_is_not_judged(name: str):
    extra: dict[str, list] = {}
    metrics: dict[str, float] = {}
    columns = {column: [None] * 2 for column in ROW_OF_PROGRAMS[name]} | {"solution": ["4", "4"]}
    values = FUNCTIONS[name](
        ["```python\n1\n```"] * 2, log_extra=extra.__setitem__, log_metric=metrics.__setitem__, **columns
    )
    assert values == [None, None]
    assert list(extra.values()) == [[None, None]]
    assert metrics == {}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_columns_that_are_none_are_refused(name: str):
    with pytest.raises(ValueError, match="needs a column"):
        FUNCTIONS[name](["x"], solution=["4"])
    with pytest.raises(ValueError, match="2 completions"):
        FUNCTIONS[name](["x", "y"], **columns_of(name))


UNUSABLE = {
    "code": {"verification_info": [{"language": "python", "test_cases": []}]},
    "ioi_code": {"test_names": [[]]},
    "cf_code": {"time_limit": [-1.0]},
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_row_gets_none_is_counted_and_told_once(name: str, caplog: pytest.LogCaptureFixture):
    extra: dict[str, list] = {}
    metrics: dict[str, float] = {}
    columns = {column: values * 3 for column, values in (columns_of(name) | UNUSABLE[name]).items()}
    with caplog.at_level(logging.WARNING):
        values = FUNCTIONS[name](
            ["```python\n1\n```"] * 3, log_extra=extra.__setitem__, log_metric=metrics.__setitem__, **columns
        )
    assert values == [None] * 3
    key = FUNCTIONS[name].__name__
    assert extra == {f"{key}/verdicts": ["unusable"] * 3}
    assert metrics[f"{key}/unusable"] == 1.0
    assert len(caplog.records) == 1
    assert f"{key}: 3 of 3 rows can't be judged" in caplog.text


@pytest.mark.parametrize("info", [INFO, json.dumps(INFO)])
def test_column_that_is_one_value_is_refused(info: object):
    with pytest.raises(ValueError, match="'verification_info'"):
        code_reward(["x"], verification_info=info)


def test_tests_may_stand_in_other_columns():
    reward = code_reward
    assert reward(["x"], test_cases=['{"inputs": ["1"], "outputs": ["1"]}']) == [0.0]
    assert reward(["x"], input_output=['{"inputs": [[1]], "outputs": [[1]], "fn_name": "f"}']) == [0.0]
    cases = '[{"input": "1", "output": "1", "testtype": "stdin"}]'
    assert reward(["x"], public_test_cases=[cases], private_test_cases=["[]"], metadata=["{}"]) == [0.0]


def test_empty_struct_of_a_mixture_is_no_row():
    assert code_reward(["x"], verification_info=[{"language": None, "test_cases": None}]) == [None]


def test_rows_in_several_languages_are_judged_in_one_call():
    assert code_reward(["x", "y"], verification_info=[INFO, {**INFO, "language": "cpp"}]) == [0.0, 0.0]


def test_empty_program_is_wrong_though_the_row_expects_nothing():
    nothing = {"language": "python", "test_cases": [{"type": "stdin_stdout", "input": "1", "output": ""}]}
    extra: dict[str, list] = {}
    texts = ["```python\n```", "```python\n\n```", "```python\npass\n```"]
    values = code_reward(texts, verification_info=[nothing] * 3, log_extra=extra.__setitem__)
    assert values == [0.0, 0.0, None]  # whether a program is right, such a row can't tell
    assert extra["code_reward/verdicts"] == ["no_program", "no_program", "unusable"]
    assert REWARDS["code"].programs.unusable({"verification_info": nothing})


def test_language_that_nobody_knows_is_the_fault_of_its_row(caplog: pytest.LogCaptureFixture):
    metrics: dict[str, float] = {}
    infos = [INFO, json.dumps({**INFO, "language": "cobol"}), {**INFO, "language": "cobol"}]
    assert code_reward(["x"] * 3, verification_info=infos, log_metric=metrics.__setitem__) == [0.0, None, None]
    assert metrics["code_reward/unusable"] == 2 / 3
    [record] = caplog.records
    assert "2 of 3 rows" in record.message and "'cobol'" in record.message


def test_natural_language_in_a_column_is_no_end_of_the_run():
    row = {"input_output": ['{"inputs": ["1"], "outputs": ["1"]}'], "language": ["en"]}
    assert code_reward(["```python\n1\n```"], **row) == [None]
    columns = {**columns_of("cf_code"), "language": ["en"]}
    assert cf_code_reward(["```python\n1\n```"], **columns) == [None]


LANGUAGES_OF_ROWS = [
    ({}, None),
    ({"language": None, "verification_info": None}, None),
    ({"language": "C++17"}, "C++17"),
    ({"verification_info": {"language": "cpp", "test_cases": None}}, "cpp"),
    ({"verification_info": json.dumps({**INFO, "language": "rust"})}, "rust"),
    ({"verification_info": repr({**INFO, "language": "javascript"})}, "javascript"),
    ({"verification_info": json.dumps({**INFO, "language": "cpp"}), "language": "en"}, "cpp"),
    ({"verification_info": json.dumps(INFO["test_cases"]), "language": "cpp"}, "cpp"),
    ({"verification_info": "nonsense"}, None),
]


@pytest.mark.parametrize(("row", "language"), LANGUAGES_OF_ROWS, ids=range(len(LANGUAGES_OF_ROWS)))
def test_language_of_a_row_is_found_wherever_it_stands(row: dict, language: str | None):
    assert language_of_row(row) == language


def test_perfect_reply_in_a_language_that_nobody_knows_is_the_gold():
    row = {"verification_info": {**INFO, "language": "cobol"}, "gold_standard_solution": "DISPLAY 3."}
    assert "DISPLAY 3." in perfect_reply(arguments("code"), row)


# ---- results to rewards and metrics


class Problem:
    """A row's, for the last block of Python."""

    language = "python"


def reward_of(results: dict[str, Result | SandboxError], programs: list[str | None], **kwargs) -> list[float | None]:
    """Return the rewards of programs for one problem whose judge says or raises this of each."""

    async def judge(program: str, problem: Problem, sandbox: Sandbox) -> Result:
        result = results[program.strip()]
        if isinstance(result, SandboxError):
            raise result
        return result

    kind = ProgramRows(("tests",), ("tests",), lambda row: Problem(), SandboxSettings, lambda row: "python")
    texts = ["" if program is None else f"```python\n{program}\n```" for program in programs]
    return reward_programs("code_reward", kind, judge, texts, tests=["same"] * len(texts), **kwargs)


def test_failed_sandbox_is_no_score(caplog: pytest.LogCaptureFixture):
    results = {
        "good": Result(0.5, (RIGHT, WRONG)),
        "best": Result(1.0, (RIGHT, RIGHT)),
        "lost": SandboxError("the box is gone"),
        "also lost": SandboxError("another cause"),
    }
    extra: dict[str, list] = {}
    metrics: dict[str, float] = {}
    programs = ["good", "lost", None, "best", "also lost", "good", "good", "good"]
    values = reward_of(results, programs, log_extra=extra.__setitem__, log_metric=metrics.__setitem__)
    assert [value for value in values if not math.isnan(value)] == [0.5, 0.0, 1.0, 0.5, 0.5, 0.5]
    assert math.isnan(values[1]) and math.isnan(values[4])
    assert extra["code_reward/verdicts"][:5] == ["AC, WA", "sandbox_error", "no_program", "AC x2", "sandbox_error"]
    rates = {"sandbox/error_rate": 2, "code_reward/AC": 1, "code_reward/WA": 4, "code_reward/no_program": 1}
    assert {name: metrics[name] * 8 for name in rates} == rates
    assert 0 <= metrics["sandbox/seconds"] <= metrics["sandbox/seconds_p95"]
    [record] = caplog.records
    assert "2 of 8 rows" in record.message and "the box is gone" in record.message


OUTAGES = {
    "nothing but losses": (["lost", "lost"], [True, True]),
    "half of the rows have no program": (["lost", None], [True, True]),
    "most rows have no program": (["lost", None, None], [True, False, False]),
    "one program was judged": (["lost", "lost", "fine", None], [True, True, False, False]),
    "nothing was to be run": ([None, None], [False, False]),
}


@pytest.mark.parametrize("case", OUTAGES)
def test_in_an_outage_rows_without_a_program_say_nothing_either(case: str):
    programs, unscorable = OUTAGES[case]
    results = {"lost": SandboxError("down"), "fine": Result(1.0, (RIGHT,))}
    assert [math.isnan(value) for value in reward_of(results, programs)] == unscorable


def test_every_rate_is_logged_though_it_is_zero():
    metrics: dict[str, float] = {}
    reward_of({}, [None, None], log_metric=metrics.__setitem__)
    assert metrics.pop("code_reward/no_program") == 1.0
    assert metrics.keys() >= {
        f"code_reward/{name}" for name in ("AC", "WA", "TLE", "MLE", "OLE", "RE", "CE", "OVER", "unusable")
    }
    assert set(metrics.values()) == {0.0}
    assert "sandbox/seconds" not in metrics  # nothing was run, and 0 seconds would be wrong


def test_verdict_of_a_row_is_that_of_its_first_test_that_failed():
    metrics: dict[str, float] = {}
    results = (RIGHT, TestResult(TestVerdict.TIME_LIMIT), WRONG, NOT_RUN)
    reward_of({"p": Result(0.25, results)}, ["p"], log_metric=metrics.__setitem__)
    assert [name for name, value in metrics.items() if value == 1.0] == ["code_reward/TLE"]


def test_share_of_submissions_over_their_budget_is_logged():
    metrics: dict[str, float] = {}
    results = {"slow": Result(0.5, (RIGHT, OVER_BUDGET)), "stopped": Result(0.0, (WRONG, NOT_RUN))}
    reward_of(results, list(results), log_metric=metrics.__setitem__)
    assert metrics["sandbox/over_budget"] == 0.5
    assert metrics["code_reward/OVER"] == 0.5


def test_judge_without_tests_to_judge_by_gives_none():
    assert reward_of({"p": Result(None)}, ["p"]) == [None]


def test_tests_are_read_once_for_neighbours_from_the_columns_asked_for():
    read: list[dict] = []
    kind = ProgramRows(("a", "b"), ("a",), lambda row: read.append(row) or object(), SandboxSettings, str)
    columns = {"a": ["x", "x", None, "x"], "b": [1, 1, 1, 2], "name": [5] * 4, "trainer_state": object()}
    one, same, none, other = kind.problems_of("name", 4, columns)
    assert read == [{"a": "x", "b": 1}, {"a": "x", "b": 2}]
    assert (one is same, none, one is other) == (True, None, False)


def test_column_named_like_a_setting_changes_no_setting():
    (reward,) = get_reward_funcs(arguments("code"))
    columns = {"limits": ["9"], "context": ["a story"], "name": ["sums"], "sandbox": ["beach"]}
    assert reward(completions=["x"], verification_info=[INFO], **columns) == [0.0]


# ---- settings


ROUTES = [
    ({}, SandboxSettings("local")),
    ({"sandbox_python": "/usr/bin/python3"}, SandboxSettings("local", python="/usr/bin/python3")),
    ({"parallel_code_exec_per_proc": 9}, SandboxSettings("local", 9)),
    (
        {"code_provider": "router", "sandbox_router_url": "h:1", "sandbox_patience_s": 9.0},
        SandboxSettings("router", router_url="h:1", patience_s=9.0),
    ),
    ({"code_provider": "e2b"}, SandboxSettings("e2b")),
    ({"code_provider": "e2b", "e2b_router_url": "h:1"}, SandboxSettings("e2b", router_url="h:1")),
    ({"code_provider": "morph", "morph_router_url": "h:2"}, SandboxSettings("morph", router_url="h:2")),
    (
        {"code_provider": "router", "sandbox_router_url": "h:3", "sandbox_router_token_env": "T"},
        SandboxSettings("router", router_url="h:3", router_token_env="T"),
    ),
]


@pytest.mark.parametrize(("settings", "expected"), ROUTES)
@pytest.mark.parametrize("name", ["code", "binary_code"])
def test_settings_of_the_recipe_reach_the_reward(name: str, settings: dict, expected: SandboxSettings):
    script_args = arguments(name, **settings)
    (reward,) = get_reward_funcs(script_args)
    assert reward.keywords["sandbox"] == REWARDS[name].programs.sandbox(script_args) == expected


def test_contests_may_be_judged_by_a_router_and_the_rest_here():
    settings = {"ioi_provider": "router", "cf_provider": "router", "sandbox_router_url": "h:1"}
    code, ioi, cf = get_reward_funcs(arguments("code", "ioi_code", "cf_code", code_provider="local", **settings))
    at_router = SandboxSettings("router", router_url="h:1")
    assert [reward.keywords["sandbox"] for reward in (code, ioi, cf)] == [
        SandboxSettings("local"),
        at_router,
        at_router,
    ]


def test_other_settings_of_the_recipe_reach_the_reward():
    (code,) = get_reward_funcs(arguments("code", code_test_timeout_s=2.5, code_memory_mb=99, patch_code=True))
    assert (code.keywords["limits"].cpu_s, code.keywords["limits"].memory_mb) == (2.5, 99)
    assert code.keywords["patch_code"] is True
    options = {"code_eval_test_batch_size": 7, "patch_code": True, "code_eval_scoring_mode": "partial"}
    ioi, cf = get_reward_funcs(arguments("ioi_code", "cf_code", ioi_provider="morph", cf_provider="piston", **options))
    assert (ioi.keywords["sandbox"].provider, ioi.keywords["test_batch_size"]) == ("morph", 7)
    assert cf.keywords["sandbox"].provider == "piston"
    assert [cf.keywords[name] for name in ("test_batch_size", "patch_code", "scoring_mode")] == [7, True, "partial"]


BUDGETS = [
    ({}, Budget(2, 600.0), None),
    ({"code_max_timeouts": 5, "code_total_cpu_s": 9.0, "code_max_tests": 8}, Budget(5, 9.0), 8),
    ({"code_max_timeouts": 0, "code_total_cpu_s": 0.0}, Budget(None, None), None),
]


@pytest.mark.parametrize(("settings", "budget", "max_tests"), BUDGETS)
@pytest.mark.parametrize("name", ["code", "binary_code", "cf_code"])
def test_budget_of_the_recipe_reaches_the_reward(name: str, settings: dict, budget: Budget, max_tests: int | None):
    (reward,) = get_reward_funcs(arguments(name, **settings))
    assert (reward.keywords["budget"], reward.keywords["max_tests"]) == (budget, max_tests)


PLACES = [
    # settings, processes on this machine, programs at a time on 8 cores
    (SandboxSettings(), "1", 8),
    (SandboxSettings(), "4", 2),
    (SandboxSettings(), "16", 1),
    (SandboxSettings(), None, 8),
    (SandboxSettings(num_parallel=3), "4", 3),
    (SandboxSettings("e2b"), "1", 2),
    (SandboxSettings("piston"), "1", 2),
]


@pytest.mark.parametrize(("settings", "processes", "places"), PLACES)
def test_local_programs_share_the_cores_of_the_machine(settings, processes, places, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if processes is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert settings.num_places == places


ROUTERS = {"sandbox_router_url": "router", "e2b_router_url": "e2b", "morph_router_url": "morph"}
REFUSED = [
    # reward, settings, the setting that the message names
    ("code", {"code_test_timeout_s": math.nan}, "code_test_timeout_s"),
    ("code", {"code_memory_mb": 0}, "code_memory_mb"),
    ("code", {"parallel_code_exec_per_proc": 0}, "parallel_code_exec_per_proc"),
    ("code", {"code_max_tests": 0}, "code_max_tests"),
    ("code", {"code_max_timeouts": -1}, "code_max_timeouts"),
    ("code", {"code_total_cpu_s": math.nan}, "code_total_cpu_s"),
    ("code", {"e2b_router_url": "h:1", "morph_router_url": "h:2"}, "morph_router_url"),
    *(("code", {"code_provider": "local", name: "h:1"}, name) for name in ROUTERS),
]


@pytest.mark.parametrize(("reward", "settings", "named"), REFUSED)
def test_settings_that_cannot_work_are_refused_when_the_reward_is_built(reward: str, settings: dict, named: str):
    with pytest.raises(ValueError, match=named):
        get_reward_funcs(arguments(reward, **settings))


def test_unknown_scoring_mode_is_refused_before_any_row():
    with pytest.raises(ValueError, match="weighted_sum"):
        cf_code_reward(["x"], scoring_mode="weighted", **columns_of("cf_code"))


@pytest.mark.parametrize("name", ROUTERS)
def test_url_of_a_router_alone_chooses_it(name: str):
    (reward,) = get_reward_funcs(arguments("code", **{name: "h:1"}))
    assert reward.keywords["sandbox"] == SandboxSettings(ROUTERS[name], router_url="h:1")
