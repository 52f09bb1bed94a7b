# SPDX-License-Identifier: Apache-2.0
"""GRPO with tools, an environment, or a rollout function: what the policy sees, what is learned, what is kept."""

import json
from pathlib import Path

import pandas as pd
import pytest
import trl

from open_r1.sandbox.local import box
from open_r1.training.run import is_refusal
from open_r1.training.tools import read_calls
from open_r1.training.trainer import GRPOTrainer
from scripts.stand_ins import byte_tokenizer, save_model_like
from tests.integration.tiny import Tiny, addition_rows, are_identical, log_history, weights_of, write_rows

END = "<|im_end|>"
TOOLS = '''
from open_r1.training.tools import PythonInterpreter


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: One.
        b: The other.
    """
    return a + b


def without_words(a: int) -> int:
    return a


class Game:
    def reset(self, solution, **columns):
        self.solution, self.moves, self.is_lost = solution, [], False
        return " Go!"

    def add(self, a: int, b: int) -> str:
        """Make a move.

        Args:
            a: One.
            b: The other.
        """
        self.is_lost = a > 10
        self.moves.append(a + b)
        return f"move {len(self.moves)}"

    def get_reward(self):
        return float(len(self.moves) == 1 and self.moves[0] > 1)


class Larger(PythonInterpreter):
    pass


class NoReset:
    def add(self, a: int) -> int:
        """Add.

        Args:
            a: One.
        """
        return a


def has_result(completions, environments=None, **columns):
    assert all(message["role"] in ("assistant", "tool") for one in completions for message in one)
    return [
        float(any(message["role"] == "tool" and message["content"].startswith("42") for message in one))
        + 0.1 * (number % 2)
        for number, one in enumerate(completions)
    ]


def play(prompts, trainer):
    ids = [trainer.processing_class(prompt[-1]["content"])["input_ids"] for prompt in prompts]
    own, given = trainer.processing_class("yes", add_special_tokens=False)["input_ids"], [65, 66]
    return {
        "prompt_ids": ids,
        "completion_ids": [own + given + [trainer.processing_class.eos_token_id]] * len(ids),
        "logprobs": None,
        "env_mask": [[1] * len(own) + [0] * len(given) + [1]] * len(ids),
    }
'''


def call(name: str, **arguments: object) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>{END}'


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    """A model with Qwen2.5's template, whose tokens are bytes."""
    folder = tmp_path_factory.mktemp("tiny")
    save_model_like("qwen2.5-instruct", folder / "model")
    write_rows(folder / "data" / "train.jsonl", addition_rows(16))
    return Tiny(folder / "model", folder / "data")


@pytest.fixture
def places(tmp_path) -> Path:
    path = tmp_path / "tools_of_a_test.py"
    path.write_text(TOOLS, encoding="utf-8")
    return path


@pytest.fixture
def says(monkeypatch):
    """Let the policy say these turns, one after the other; the last one of them again and again."""

    def let_say(*turns: list[str]) -> None:
        def generate(self, prompt_ids, *args: object, **kwargs: object):
            texts = [self.processing_class.decode(ids) for ids in prompt_ids]
            turn = [min(text.count("</tool_response>"), len(turns) - 1) for text in texts]
            spoken = [turns[number][row % len(turns[number])] for row, number in enumerate(turn)]
            return [self.processing_class(text, add_special_tokens=False)["input_ids"] for text in spoken], None

        monkeypatch.setattr(trl.GRPOTrainer, "_generate_single_turn", generate)

    return let_say


@pytest.fixture
def learned_from(monkeypatch) -> list[tuple[str, str]]:
    """What the policy learned from in each row, and what was masked."""
    seen: list[tuple[str, str]] = []
    loss_of = GRPOTrainer._loss_of

    def watch(self, model, inputs, *args: object):
        for ids, mask, own in zip(
            inputs["completion_ids"], inputs["completion_mask"], inputs["tool_mask"], strict=True
        ):
            parts = [ids[(mask == 1) & (own == value)].tolist() for value in (1, 0)]
            seen.append(tuple(map(self.processing_class.decode, parts)))
        return loss_of(self, model, inputs, *args)

    monkeypatch.setattr(GRPOTrainer, "_loss_of", watch)
    return seen


SHORT = {"max_steps": 2, "log_completions": True, "max_completion_length": 400, "save_strategy": "no"}


def rollouts_of(folder: Path) -> pd.DataFrame:
    return pd.concat(map(pd.read_parquet, sorted((folder / "rollouts").glob("*.parquet"))))


def test_python_and_a_function_are_called_masked_and_kept(tiny, places, says, learned_from, tmp_path):
    says(
        [call("python", code="x = 6 * 7"), call("add", a=40, b=2), call("nothing"), f"42{END}"],
        [call("python", code="print(x)"), f"It is 42{END}"],
        [f"Done{END}"],
    )
    tools = {"tools": ["python", f"{places}:add"], "reward_funcs": [f"{places}:has_result"]}
    tiny.train("grpo", tmp_path / "run", **SHORT, **tools)

    rows = rollouts_of(tmp_path / "run")
    texts = set(rows["completion"])
    python = next(text for text in sorted(texts) if "x = 6 * 7" in text and "print(x)" in text)
    assert python.count("<tool_call>") == python.count("<tool_response>") == 2
    assert "<tool_response>\n42\n\n</tool_response>" in python
    assert any("<tool_response>\n42\n</tool_response>" in text for text in texts)
    assert any("not found" in text for text in texts)
    assert f"42{END}" in texts
    entry = log_history(tmp_path / "run")[0]
    assert entry["tools/call_frequency"] > 0.5
    assert entry["tools/failure_frequency"] > 0
    assert len(learned_from) == 16
    for own, masked in learned_from:
        assert "tool_response" not in own
        assert "tool_call" not in masked
        assert own.count(END) == 1 + masked.count("assistant\n")
    assert any("print(x)" in own and "42" in masked for own, masked in learned_from)
    # The prompt shows the tools; the reward saw the results.
    assert rows["has_result"].max() >= 1
    assert rows["has_result"].min() < 1


def test_packed_rows_have_the_gradients_of_padded_ones(tiny, places, says, tmp_path):
    says([call("add", a=40, b=2), call("add", a=1, b=2), f"42{END}"], [f"Done{END}", f"It is 42{END}"])
    settings = {**SHORT, "tools": [f"{places}:add"], "reward_funcs": [f"{places}:has_result"], "learning_rate": 1e-3}
    settings |= {"optim": "sgd", "beta": 0.1}
    for pack in (True, False):
        tiny.train("grpo", tmp_path / str(pack), pack=pack, **settings)
    one, other = (weights_of(tmp_path / str(pack)) for pack in (True, False))
    start = weights_of(tiny.model)
    moved = max((one[name] - start[name]).abs().max() for name in one)
    assert moved > 0
    assert max((one[name] - other[name]).abs().max() for name in one) < 1e-3 * moved


def test_run_resumes_amid_a_generation_exactly(tiny, places, says, tmp_path):
    says([call("python", code="6 * 7"), f"42{END}"], [f"Done{END}"])
    settings = {**SHORT, "tools": ["python"], "reward_funcs": [f"{places}:has_result"], "learning_rate": 1e-3}
    settings |= {"num_iterations": 2, "save_strategy": "steps", "save_steps": 1}
    tiny.train("grpo", tmp_path / "whole", **settings)
    checkpoint = tmp_path / "whole" / "checkpoint-1"
    tiny.train("grpo", tmp_path / "resumed", **settings, resume_from_checkpoint=checkpoint)
    whole, resumed, before = (weights_of(tmp_path / name) for name in ("whole", "resumed", "whole/checkpoint-1"))
    assert are_identical(whole, resumed) and not are_identical(whole, before)


def test_environment_has_its_own_reward_and_ends_the_prompt(tiny, places, says, learned_from, tmp_path):
    says([call("add", a=1, b=1), call("add", a=0, b=1)], [f"Done{END}"])
    (tmp_path / "recipe.yaml").write_text("reward_funcs: []\n")  # the command line knows no empty list
    given = {"config": tmp_path / "recipe.yaml", "reward_funcs": None}
    tiny.train("grpo", tmp_path / "run", **SHORT, environment=f"{places}:Game", **given)

    rows = rollouts_of(tmp_path / "run")
    assert set(rows["Game"]) == {0.0, 1.0}
    assert log_history(tmp_path / "run")[0]["rewards/Game/mean"] == pytest.approx(0.5)
    assert all("move 1" in text for text in rows["completion"])
    assert all(prompt[-1]["content"].endswith(" Go!") for prompt in rows["prompt"])


def test_interpreter_of_ones_own_is_an_environment(tiny, places, says, tmp_path):
    says([call("python", code="6 * 7")], [f"Done{END}"])
    settings = {"environment": f"{places}:Larger", "reward_funcs": [f"{places}:has_result"]}
    tiny.train("grpo", tmp_path / "run", **SHORT, **settings)
    assert rollouts_of(tmp_path / "run")["has_result"].min() >= 1


def test_rollout_function_masks_what_it_says(tiny, places, learned_from, tmp_path):
    settings = {"rollout_func": f"{places}:play", "reward_funcs": [f"{places}:has_result"]}
    tiny.train("grpo", tmp_path / "run", **SHORT, **settings)
    assert {own for own, _ in learned_from} == {f"yes{END}"}
    assert all(len(masked) == 2 for _, masked in learned_from)


def test_outage_of_a_tool_is_no_reward(tiny, places, says, tmp_path):
    says([call("add", a=40, b=2), call("add", a=1, b=41), f"42{END}"], [f"Done{END}"])
    settings = {"environment": f"{places}:Game", "reward_funcs": [f"{places}:has_result"]}
    tiny.train("grpo", tmp_path / "run", **SHORT, **settings)
    rows = rollouts_of(tmp_path / "run")
    is_lost = rows["completion"].str.contains('"a": 40')
    assert is_lost.any()
    assert rows.loc[is_lost, "has_result"].isna().all()
    assert (rows.loc[is_lost, "advantage"] == 0).all()
    assert rows.loc[~is_lost, "has_result"].notna().all()
    assert log_history(tmp_path / "run")[0]["rewards/unscorable"] == pytest.approx(is_lost.mean(), abs=0.2)


def test_outage_of_the_sandbox_stops_the_run(tiny, places, says, tmp_path, monkeypatch):
    says([call("python", code="6 * 7")], [f"Done{END}"])

    def no_room(*args: object) -> None:
        raise OSError("no room")

    def lose_room(self, *args: object) -> tuple:  # the sandbox was tried at the start
        monkeypatch.setattr(box.LocalBox, "_start", no_room)
        return call_tools(self, *args)

    call_tools = GRPOTrainer._tool_call_loop
    monkeypatch.setattr(GRPOTrainer, "_tool_call_loop", lose_room)
    monkeypatch.setattr(box, "PAUSES_S", ())
    with pytest.raises(RuntimeError, match="could be judged"):
        tiny.train("grpo", tmp_path / "run", **SHORT, tools="python", reward_funcs=[f"{places}:has_result"])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_tool_calling_iterations": 2}, "max_tool_calling_iterations"),
        ({"rollout_func": "{}:play", "tools": "python"}, "rollout_func"),
        ({"tools": "python", "stop_strings": "x"}, "stop_strings"),
        ({"tools": "calculator"}, "calculator"),
        ({"tools": "{}:missing"}, "missing"),
        ({"tools": "{}:Game"}, "Game"),
        ({"tools": "{}:without_words"}, "without_words"),
        ({"tools": "python", "environment": "{}:Game"}, "PythonInterpreter"),
        ({"environment": "{}:NoReset"}, "reset"),
        ({"environment": "{}:Larger", "reward_funcs": None, "config": "{recipe}"}, "get_reward"),
        ({"environment": "{}:add"}, "add"),
        ({"tools": "python", "chat_template": "recipes/templates/demo.jinja"}, "template"),
    ],
)
def test_refused_before_a_model_loads(tiny, places, settings, named, tmp_path):
    def placed(value: object) -> object:
        if value is None or isinstance(value, list):
            return value and [placed(one) for one in value]
        return str(value).format(places, recipe=recipe)

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("reward_funcs: []\n")

    given = {"reward_funcs": [f"{places}:has_result"], **{name: placed(value) for name, value in settings.items()}}
    with pytest.raises(ValueError, match=named) as caught:
        tiny.train("grpo", tmp_path / "run", **SHORT, **given, check_only=True)
    assert is_refusal(caught.value)


@pytest.mark.parametrize("path", ["recipes/templates/qwen3.jinja", "qwen2_5", "qwen3"])
def test_templates_of_qwen_are_read(path):
    text = Path(path) if path.endswith(".jinja") else Path(trl.__file__).parent / f"chat_templates/{path}.jinja"
    tokenizer = byte_tokenizer(text.read_text(encoding="utf-8"), END)
    read_calls(tokenizer)
    parsed = tokenizer.parse_response(tokenizer(f"So:\n{call('add', a=1, b=2)}")["input_ids"], prefix="")
    assert parsed["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 1, "b": 2}}
