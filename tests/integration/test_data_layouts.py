# SPDX-License-Identifier: Apache-2.0
"""Whole data sets in the layouts of the field, as both scripts get them: loaded, mapped, counted, rendered."""

import logging
import math
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from open_r1.configs import GRPOScriptArguments, ScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.data.layouts import LAYOUTS, MESSAGES, PROBLEM, RowMapper
from open_r1.data.training_rows import drop_null_rows, get_dataset, to_conversations
from open_r1.rewards import code_reward
from open_r1.rewards.verifier import Verdict, verify
from open_r1.sft import prepare_split
from scripts.stand_ins import byte_tokenizer
from tests.integration.tiny import build_tiny
from tests.rows.layouts import CASES

TEMPLATES = Path(__file__).resolve().parents[2] / "recipes" / "templates"
EOS = {
    "chatml": "<|im_end|>",
    "open_r1_distill": "<|im_end|>",
    "deepseek_r1_distill": "<｜end▁of▁sentence｜>",
    "demo": "<|im_end|>",
}
BY_NAME = {layout.name: layout for layout in LAYOUTS}
WITH_MESSAGES = [layout.name for layout in LAYOUTS if layout.messages is not None]
WITH_PROBLEMS = [layout.name for layout in LAYOUTS if layout.problem is not None]


def rows_of(name: str) -> list[dict]:
    return [case.row for case in CASES[name]]


def write_parquet(path: Path, rows: list[dict]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_parquet(path)
    return str(path)


@pytest.fixture
def data(tmp_path):
    """Writes rows, those of a layout by default; returns the path of the file."""

    def write(name: str, rows: list[dict] | None = None, more: list[dict] = ()) -> str:
        return write_parquet(tmp_path / f"{name}.parquet", [*(rows or rows_of(name)), *more])

    return write


def load(kind: type, path: str, layout: str | None = None, **settings):
    return get_dataset(kind(dataset_name=path, dataset_layout=layout, **settings))


@pytest.fixture(scope="module", params=list(EOS))
def tokenizer(request):
    template = (TEMPLATES / f"{request.param}.jinja").read_text(encoding="utf-8")
    return byte_tokenizer(template, EOS[request.param])


@pytest.mark.parametrize("name", CASES)
def test_rows_are_mapped_and_keep_their_other_columns(name, data):
    layout = BY_NAME[name]
    rows = load(ScriptArguments, data(name), name)["train"]
    mapper = RowMapper(layout, layout.targets())
    assert len(rows) == 3
    for row, found in zip(rows_of(name), rows, strict=True):
        expected = {}
        for target in layout.targets():
            expected |= mapper.map_row(row, target)[0]
        left = {key: value for key, value in row.items() if key not in {*expected, *layout.drop}}
        assert {key: found[key] for key in expected} == expected
        assert set(found) == {*left, *expected}
        assert {key: found[key] for key in left if not isinstance(left[key], dict)} == {
            key: value for key, value in left.items() if not isinstance(value, dict)
        }


@pytest.fixture(scope="module", params=WITH_MESSAGES)
def prepared(request, tmp_path_factory) -> Dataset:
    """The rows of a layout as `sft.py` trains on them."""
    path = write_parquet(tmp_path_factory.mktemp("prepared") / "rows.parquet", rows_of(request.param))
    dataset = load(SFTScriptArguments, path, request.param)
    return prepare_split(dataset, "train", "training", SFTConfig(output_dir="x", use_cpu=True, bf16=False), "x")


def test_sft_takes_messages_alone(prepared):
    assert (prepared.column_names, len(prepared)) == ([MESSAGES], 3)


def test_every_template_renders_whole_conversations(prepared, tokenizer):
    for row in prepared:
        text = tokenizer.apply_chat_template(row[MESSAGES], tokenize=False)
        assert text.endswith(row[MESSAGES][-1]["content"] + tokenizer.eos_token)
        assert all(turn["content"] in text for turn in row[MESSAGES])


@pytest.mark.parametrize("name", WITH_PROBLEMS)
def test_grpo_takes_problems_without_naming_columns(name, data):
    args = GRPOScriptArguments(dataset_name=data(name), dataset_layout=name)
    rows = to_conversations(get_dataset(args)["train"], args, "Put the answer in a box.")
    for case, row in zip(CASES[name], rows, strict=True):
        assert [turn["role"] for turn in row["prompt"]] == ["system", "user"]
        if name != "countdown":
            assert row["prompt"][-1]["content"] == case.item.question
        if case.item.gold is not None:
            assert verify(row["solution"], rf"<think>x</think>\boxed{{{case.item.gold}}}") is Verdict.RIGHT


@pytest.mark.parametrize("name", ["openthoughts", "primeintellect_code", "open_r1_code"])
def test_gold_programs_of_mapped_rows_pass_their_tests(name, data):
    rows = load(GRPOScriptArguments, data(name), name)["train"]
    programs = {case.item.question: case.item for case in CASES[name] if case.item.program}
    chosen = [row for row in rows if row[PROBLEM] in programs]
    columns = {
        column: [row[column] for row in chosen]
        for column in ("verification_info", "test_cases")
        if column in rows.column_names
    }
    completions = [programs[row[PROBLEM]].fenced for row in chosen]
    assert code_reward(completions, **columns) == [1.0] * len(programs)


@pytest.mark.parametrize(("kind", "name"), [("sft", "s1k_1.1"), ("grpo", "openthoughts")])
def test_script_trains_on_a_layout(kind, name, data, tmp_path):
    tiny = build_tiny(tmp_path / "tiny")
    extra = {"max_length": 256} if kind == "sft" else {"dataset_prompt_column": None}
    metrics = tiny.train(
        kind, tmp_path / "run", dataset_name=data(name, rows_of(name) * 8), dataset_layout=name, max_steps=1, **extra
    )
    assert math.isfinite(metrics["train_loss"])


# Names


@pytest.fixture
def named(tmp_path, monkeypatch):
    """Puts rows into a folder that is called like a data set on the hub; returns the name."""
    monkeypatch.chdir(tmp_path)

    def write(layout: str, rows: list[dict] | None = None) -> str:
        name = BY_NAME[layout].sets[0]
        write_parquet(tmp_path / name / "train.parquet", rows or rows_of(layout))
        return name

    return write


def test_known_name_is_mapped_and_says_so(named, caplog):
    name = named("thought_turns")
    with caplog.at_level(logging.INFO, logger="open_r1"):
        rows = load(SFTScriptArguments, name)["train"]
    assert rows[MESSAGES][:] == [case.messages for case in CASES["thought_turns"]]
    assert f"Data set {name}: layout thought_turns by its name" in caplog.text
    assert "`dataset_layout: none`" in caplog.text


def test_none_takes_the_columns_as_they_are(named):
    rows = load(SFTScriptArguments, named("thought_turns"), "none")["train"]
    assert rows.column_names == ["system", "conversations"]


@pytest.mark.parametrize(
    ("layout", "prompt", "solution"),
    [
        ("openr1_math", "problem", "answer"),
        ("simplerl", "question", "answer"),
        ("codeforces", "prompt", "solution"),
        ("open_r1_code", "problem_statement", "solution"),
        ("ioi", "problem", "solution"),
    ],
)
def test_columns_that_recipes_name_are_still_there(layout, prompt, solution, named):
    args = GRPOScriptArguments(
        dataset_name=named(layout), dataset_prompt_column=prompt, dataset_solution_column=solution
    )
    rows = to_conversations(get_dataset(args)["train"], args, None)
    assert [row["prompt"][0]["content"] for row in rows] == [case.item.question for case in CASES[layout]]
    if solution == "answer":
        assert rows["solution"][:] == [case.item.gold for case in CASES[layout]]


def test_columns_of_another_script_are_not_touched(named):
    rows = load(GRPOScriptArguments, named("codeforces_cots"))["train"]
    assert set(rows.column_names) == set(rows_of("codeforces_cots")[0])


def test_file_with_known_columns_is_not_mapped(data):
    assert MESSAGES not in load(SFTScriptArguments, data("s1k_1.1"))["train"].column_names


def test_unknown_layout_is_refused_before_anything_is_loaded():
    with pytest.raises(ValueError, match="Unknown layout 's1'"):
        load(ScriptArguments, "nobody/nothing", "s1")


# Rows that can't be mapped


def test_rows_that_cannot_be_mapped_are_counted_by_reason(data, caplog):
    good = rows_of("s1k_1.1")
    bad = [good[0] | {"deepseek_thinking_trajectory": None}, good[0] | {"deepseek_attempt": " "}]
    with caplog.at_level(logging.WARNING):
        rows = load(SFTScriptArguments, data("s1k_1.1", [good[0], *bad, *good[1:]]), "s1k_1.1")["train"]
    assert rows["question"][:] == [row["question"] for row in good]
    assert rows[MESSAGES][:] == [case.messages for case in CASES["s1k_1.1"]]
    assert "(train)  1 'deepseek_thinking_trajectory' is null or empty, 1 'deepseek_attempt' is blank" in caplog.text


def test_data_without_a_row_left_are_refused_with_the_reasons(data):
    rows = [row | {"solution": "No box.", "answer": None} for row in rows_of("limo")]
    with pytest.raises(ValueError, match="a trace without a final answer: 3"):
        load(SFTScriptArguments, data("limo", rows), "limo")


def test_each_script_drops_the_rows_that_it_cannot_use(data):
    good = rows_of("openr1_math")
    no_answer = good[0] | {"answer": "proof"}
    no_reply = good[1] | {"correctness_math_verify": [False] * 3, "messages": None}
    path = data("openr1_math", [*good, no_answer, no_reply])
    numbers = {
        kind: len(load(kind, path, "openr1_math")["train"])
        for kind in (SFTScriptArguments, GRPOScriptArguments, ScriptArguments)
    }
    assert numbers == {SFTScriptArguments: 4, GRPOScriptArguments: 4, ScriptArguments: 5}
    both = load(ScriptArguments, path, "openr1_math")["train"]
    assert [row is None for row in both[MESSAGES]] == [False] * 4 + [True]
    assert [row is None for row in both[PROBLEM]] == [False] * 3 + [True, False]
    assert len(drop_null_rows(both, [MESSAGES], "train")) == 4


@pytest.mark.parametrize("name", ["primeintellect_code", "open_r1_code"])
def test_programs_without_tests_are_dropped(name, data, caplog):
    path = data(name, more=[rows_of(name)[0] | {"verification_info": None}])
    assert len(load(GRPOScriptArguments, path, name)["train"]) == 3
    assert "1 'verification_info' holds no tests" in caplog.text


# Splits


def test_slice_is_taken_before_the_mapping_and_nothing_else_of_its_split(data):
    path = data("s1k_1.1")
    dataset = load(SFTScriptArguments, path, "s1k_1.1", dataset_train_split="train[1:]")
    assert list(dataset) == ["train[1:]"]
    assert dataset["train[1:]"][MESSAGES][:] == [case.messages for case in CASES["s1k_1.1"][1:]]


def test_problems_that_repeat_are_shared_by_no_two_slices(data):
    path = data("dapo", rows_of("dapo") * 20)
    splits = {"dataset_train_split": "train[:2]", "dataset_test_split": "train[2:]"}
    dataset = load(GRPOScriptArguments, path, "dapo", **splits)
    problems = {split: rows[PROBLEM][:] for split, rows in dataset.items()}
    assert problems == {
        "train[:2]": [case.item.question for case in CASES["dapo"][:2]],
        "train[2:]": [CASES["dapo"][2].item.question],
    }


def test_split_with_other_columns_stays_as_it_is(tmp_path):
    DatasetDict(
        train=Dataset.from_list(rows_of("s1k_1.1")), test=Dataset.from_list([{"problem": "1+1", "solution": "2"}])
    ).save_to_disk(tmp_path / "data")
    dataset = load(ScriptArguments, str(tmp_path / "data"), "s1k_1.1")
    assert dataset["train"][MESSAGES][0] == CASES["s1k_1.1"][0].messages
    assert dataset["test"].column_names == ["problem", "solution"]
