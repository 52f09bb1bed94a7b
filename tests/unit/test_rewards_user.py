# SPDX-License-Identifier: Apache-2.0
"""Functions of the user's own as rewards: where they are found, what is refused, what they may return."""

import asyncio
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from open_r1.data.user_code import load_function, raised_at
from open_r1.rewards import RewardContext, get_reward_funcs, get_reward_spec, run_reward
from open_r1.rewards.wrappers import is_async
from tests.unit.test_rewards_table import arguments

ROOT = Path(__file__).resolve().parents[2]
CODE = '''
import asyncio

def brevity(completions, solution, *, weight=1.0, **columns):
    """Short is good."""
    return [weight / (1 + len(text)) for text in completions]

async def patience(completions, **columns):
    await asyncio.sleep(0)
    return [float(len(text)) for text in completions]

def later(completions, **columns):
    return patience(completions, **columns)

async def too_few(completions, **columns):
    return [0.0]

async def fails_later(completions, **columns):
    raise KeyError("color")

def by_tokens(completions, completion_ids, **columns):
    return [float(len(ids)) for ids in completion_ids]

def narrow(completions, solution):
    return [0.0] * len(completions)

def fails(completions, **columns):
    raise KeyError("color")

RESULTS = None

def gives(completions, **columns):
    return RESULTS

class Judge:
    pass

NUMBER = 3
'''


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "own rewards" / "my_rewards.py"
    path.parent.mkdir()
    path.write_text(CODE, encoding="utf-8")
    return path


def load(name: str):
    return get_reward_funcs(arguments(name))[0]


def test_function_of_a_file(code: Path):
    reward = load(f"{code}:brevity")
    assert reward.__name__ == "brevity"
    assert reward(completions=["abc", ""], solution=["1", "2"]) == [0.25, 1.0]


def test_relative_path_starts_in_the_working_folder(code: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(code.parent)
    assert run_reward(load("my_rewards.py:patience"), completions=["abc"]) == [3.0]
    monkeypatch.chdir(code.parent.parent)
    assert run_reward(load("own rewards/my_rewards.py:patience"), completions=["abc"]) == [3.0]


def test_function_of_a_module(code: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(code.parent))
    assert load("my_rewards:brevity")(completions=["abc"], solution=["1"]) == [0.25]
    assert load("open_r1.rewards.format_rewards:format_reward")(completions=["abc"]) == [0.0]


@pytest.mark.parametrize(
    ("completion", "solution", "reward"),
    [
        ("3 + 4 = 7", "7", 1.0),
        ("The answer is 7.", "7", 1.0),
        ("7", "-7", 0.0),
        ("3 - 10 = -7", "-7", 1.0),
        ("3 + 4", "7", 0.0),
        ("7.0", "7", 0.0),
        ("17", "7", 0.0),
        ("7, not 8", "7", 0.0),
        ("seven", "7", 0.0),
        ("", "7", 0.0),
    ],
)
def test_reward_of_the_smollm2_recipe_is_the_last_number(completion: str, solution: str, reward: float):
    function = load(f"{ROOT}/recipes/SmolLM2-135M-Instruct/grpo/last_number.py:last_number")
    assert function(completions=[[{"role": "assistant", "content": completion}]], solution=[solution]) == [reward]


@pytest.mark.parametrize("function", ["patience", "later"])
def test_async_function_is_awaited_also_twice_and_beside_others(code: Path, function: str):
    reward, other = get_reward_funcs(arguments(f"{code}:{function}", f"summary_only({code}:{function})"))
    assert run_reward(reward, completions=["abc", ""]) == [3.0, 0.0]
    assert run_reward(other, completions=["<think>abc</think>d", ""]) == [1.0, 0.0]
    assert run_reward(reward, completions=["ab"]) == [2.0]


def test_async_function_stays_async_whatever_is_around_it(code: Path, tmp_path: Path):
    (tmp_path / "twin.py").write_text("async def twin(completions, **columns): return [9.0]")
    names = [f"{code}:patience", f"{tmp_path}/twin.py:twin", f"summary_only({code}:patience)", f"{code}:brevity"]
    rewards = get_reward_funcs(arguments(*names, reward_domains={"chat": names[2:]}))
    assert [is_async(reward) for reward in rewards] == [True, True, True, False]
    columns = {"completions": ["<think>ab</think>c"], "domain": ["chat"], "solution": ["1"]}

    async def judge_together() -> list:
        return await asyncio.gather(*(reward(**columns) for reward in rewards[:3]))

    assert asyncio.run(judge_together()) == [[18.0], [9.0], [1.0]]


def test_columns_it_cannot_do_without_are_known(code: Path):
    assert get_reward_spec(f"{code}:brevity").columns == ("solution",)
    assert get_reward_spec(f"summary_only({code}:brevity)").columns == ("solution",)
    assert get_reward_spec(f"{code}:patience").columns == ()
    assert get_reward_spec(f"{code}:by_tokens").columns == ()


@pytest.mark.parametrize("name", ["brevity", "accuracy_reward"])
def test_two_rewards_with_one_metric_key_are_refused(code: Path, tmp_path: Path, name: str):
    twin = tmp_path / "other.py"
    twin.write_text(f"def {name}(completions, **columns): return [9.0] * len(completions)\n")
    with pytest.raises(ValueError, match=f"'{name}'"):
        get_reward_funcs(arguments(f"{code}:brevity", "accuracy", f"{twin}:{name}"))


def test_context_of_the_run_does_not_reach_it(code: Path):
    (reward,) = get_reward_funcs(arguments(f"{code}:patience"), RewardContext(completion_prefix="<think>\n"))
    assert run_reward(reward, completions=["abc"]) == [3.0]


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("{folder}/nowhere.py:brevity", "no file .*nowhere.py"),
        ("{folder}:brevity", "fails to import"),
        ("{file}:lengthy", "'lengthy'.*brevity, by_tokens"),
        ("{file}:NUMBER", "a int"),
        ("{file}:Judge", "a class"),
        ("{file}:narrow", r"\*\*columns"),
        ("{file}", "path/to/file.py:function"),
        ("{file}:brevity()", "path/to/file.py:function"),
        ("no_such_package.rewards:brevity", "'no_such_package'.*file.py:function"),
    ],
)
def test_what_is_no_reward_is_refused(code: Path, name: str, named: str):
    with pytest.raises(ValueError, match=named):
        load(name.format(file=code, folder=code.parent))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import no_such_package", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("def brevity(:", "SyntaxError"),
    ],
)
def test_code_that_does_not_load_says_why(tmp_path: Path, text: str, cause: str):
    path = tmp_path / "broken.py"
    path.write_text(text)
    for _ in range(2):  # half a module is not kept
        with pytest.raises(ValueError, match=cause):
            load(f"{path}:brevity")


class Scalar:
    """A number of some library's, such as a tensor without dimensions."""

    def __float__(self) -> float:
        return 0.5


def load_with_results(code: Path, results: object):
    load_function(f"{code}:gives", role="", setting="")[0].__globals__["RESULTS"] = results
    return load(f"{code}:gives")


@pytest.mark.parametrize(
    "results",
    [
        [1, 0.5],
        (True, None),
        np.array([0.5, 1.0]),
        [np.float32(0.5), float("nan")],
        [np.bool_(True), np.array(0.5)],
        [Fraction(1, 2), Decimal("0.5")],
        [Scalar(), None],
    ],
)
def test_numbers_and_none_are_taken(code: Path, results: object):
    reward = load_with_results(code, results)
    values = reward(completions=["a", "b"])
    assert len(values) == 2
    assert all(value is None or type(value) is float for value in values)


@pytest.mark.parametrize(
    "results",
    [None, 0.5, [0.5], [0.5] * 3, [0.5, "x"], [[0.5], [1.0]], [0.5, float("inf")], [0.5, 1j], {0: 1.0, 1: 1.0},
     [0.5, 10**400], np.ones((2, 3)), [0.5, np.float32("-inf")]],
)  # fmt: skip
def test_wrong_results_name_the_reward(code: Path, results: object):
    with pytest.raises((TypeError, ValueError), match=r"my_rewards.py:gives'.*2 completions"):
        load_with_results(code, results)(completions=["a", "b"])


def test_error_in_the_code_names_the_reward(code: Path):
    with pytest.raises(KeyError, match="color") as caught:
        load(f"{code}:fails")(completions=["a"])
    assert "my_rewards.py:fails" in caught.value.__notes__[0]


def test_reward_model_needs_somebody_to_load_it():
    with pytest.raises(ValueError, match="'org/model'"):
        get_reward_funcs(arguments("org/model"))


def test_reward_model_is_loaded_by_name_also_for_summaries_and_domains():
    loaded = []

    def load_model(name: str):
        loaded.append(name)

        def model(completions: list, **columns: object) -> list[float]:
            return [float(len(text)) for text in completions]

        return model

    names = ["org/model@v1", "summary_only(./folder)"]
    script_args = arguments(*names, reward_domains={"chat": names})
    first, second = get_reward_funcs(script_args, load_reward_model=load_model)
    assert loaded == ["org/model@v1", "./folder"]
    columns = {"completions": ["<think>a</think>bc"] * 2, "domain": ["chat", "math"]}
    assert (first(**columns), second(**columns)) == ([18.0, None], [2.0, None])


def test_error_of_users_code_has_its_file_and_line(code):
    function, _ = load_function(f"{code}:by_tokens", role="reward", setting="reward_funcs")
    with pytest.raises(TypeError) as caught:
        function([], completion_ids=[1])
    line = 1 + code.read_text(encoding="utf-8").splitlines().index(
        "    return [float(len(ids)) for ids in completion_ids]"
    )
    assert raised_at(caught.value).startswith("TypeError: ")
    assert raised_at(caught.value).endswith(f", {code}, line {line}")
