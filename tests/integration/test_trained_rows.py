# SPDX-License-Identifier: Apache-2.0
"""What SFT learns of its rows: templates that drop words, limits that cut, rows of another shape.

Templates are those that models were published with, as TRL ships them.
"""

import json
import logging
import re
from pathlib import Path

import pytest
import trl
from datasets import Dataset
from transformers import AutoTokenizer

from open_r1.configs import SFTConfig
from open_r1.preflight import tokenize_rows
from open_r1.preflight.trained_rows import RowFigures
from scripts.stand_ins import byte_tokenizer
from tests.integration.tiny import CHATML, Tiny, addition_row, build_tiny, write_rows

PUBLISHED = Path(trl.__file__).parent / "chat_templates"
R1_END, IM_END = "<｜end▁of▁sentence｜>", "<|im_end|>"
DROPPED = r"chat template drops"
USER, AGAIN = {"role": "user", "content": "1+0?"}, {"role": "user", "content": "2+0?"}
FIRST = {"role": "assistant", "content": "<think>add 0</think>1"}
SECOND = {"role": "assistant", "content": "<think>add 2</think>2"}
BESIDE = {"role": "assistant", "reasoning_content": "add 0", "content": "1"}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": "{}"}}]}


def published(name: str) -> str:
    return (PUBLISHED / f"{name}.jinja").read_text(encoding="utf-8")


def read(template: str, messages: list, tmp_path: Path, *, eos: str = IM_END, **settings):
    """Return what is learned of the first of three equal rows, and the figures."""
    tokenizer = byte_tokenizer(template, eos)
    args = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, **settings)
    rows, figures = tokenize_rows(Dataset.from_list([{"messages": messages}] * 3), tokenizer, args, "rows.jsonl")
    return tokenizer.decode([label for label in rows[0]["labels"] if label != -100]), figures


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize(
    ("name", "eos", "messages", "keeping"),
    [
        ("deepseek_r1_distill", R1_END, [USER, FIRST], "deepseek_r1_distill"),
        ("deepseek_r1_distill", R1_END, [USER, FIRST, AGAIN, SECOND], "deepseek_r1_distill"),
        ("qwen2_5", IM_END, [USER, BESIDE], "qwen3"),  # knows nothing of thoughts beside a message
        ("qwen3", IM_END, [USER, FIRST, AGAIN], "qwen3"),  # a turn that nothing follows is no context
        ("lfm2", IM_END, [USER, CALL], "open_r1_distill"),
    ],
    ids=["one turn", "two turns", "thoughts beside", "ends with a question", "tool calls"],
)
def test_words_that_a_template_drops_are_refused(tmp_path, name, eos, messages, keeping):
    with pytest.raises(ValueError, match=DROPPED):
        read(published(name), messages, tmp_path, eos=eos, allow_cut_rows=True)
    template = Path("recipes/templates", f"{keeping}.jinja").read_text(encoding="utf-8")
    if messages[-1]["role"] == "assistant":
        assert read(template, messages, tmp_path, eos=eos)[1].dropped == 0


@pytest.mark.parametrize(
    "name",
    ["qwen2_5", "qwen3", "qwen3_5_think", "qwen3_6", "qwen3_8", "gemma3", "phi3", "deepseek_r1_distill_training"],
)
def test_words_that_a_template_writes_in_its_own_way_are_no_loss(tmp_path, name):
    eos = {"gemma3": "<end_of_turn>", "phi3": "<|end|>"}.get(name, R1_END if "r1" in name else IM_END)
    template = "{%- set bos_token = '' -%}" + published(name)
    _, figures = read(template, [USER, FIRST], tmp_path, eos=eos)
    assert figures.dropped == 0


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_think", "qwen3_6"])
def test_thoughts_of_earlier_turns_that_a_template_drops_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=DROPPED):
        read(published(name), [USER, FIRST, AGAIN, SECOND], tmp_path)
    learned, _ = read(Path("recipes/templates/qwen3.jinja").read_text(), [USER, FIRST, AGAIN, SECOND], tmp_path)
    assert "add 0" in learned and "add 2" in learned


def test_dropped_thought_that_a_later_turn_repeats_is_found_missing(tmp_path):
    short = {"role": "assistant", "content": "<think>so</think>yes"}
    conversation = [USER, short, {"role": "user", "content": "so?"}, SECOND]
    with pytest.raises(ValueError, match=DROPPED):
        read(published("qwen3"), conversation, tmp_path)


def test_turns_without_thoughts_are_all_learned(tmp_path):
    plain = [USER, {"role": "assistant", "content": "1"}, AGAIN, {"role": "assistant", "content": "2"}]
    learned, figures = read(published("qwen3"), plain, tmp_path)
    assert figures.dropped == 0
    assert "1+0?" in learned


def test_loss_of_the_assistant_alone_takes_the_template_that_keeps_thoughts(tmp_path):
    conversation = [USER, FIRST, AGAIN, SECOND]
    learned, figures = read(published("qwen3"), conversation, tmp_path, assistant_only_loss=True)
    assert figures.dropped == 0
    assert learned == "<think>\nadd 0\n</think>\n\n1<|im_end|>\n<think>\nadd 2\n</think>\n\n2<|im_end|>\n"


def test_prompt_is_context_whatever_its_turns_lose(tmp_path):
    tokenizer = byte_tokenizer(published("qwen3"), IM_END)
    args = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False)
    rows = Dataset.from_list([{"prompt": [USER, FIRST, AGAIN], "completion": [SECOND]}])
    assert tokenize_rows(rows, tokenizer, args, "rows")[1].dropped == 0


@pytest.mark.parametrize(("num_dropped", "is_refused"), [(1, False), (2, True)])
def test_one_row_in_a_hundred_may_lose_words(tmp_path, caplog, num_dropped, is_refused):
    tokenizer = byte_tokenizer(published("deepseek_r1_distill"), R1_END, bos_token="<｜begin▁of▁sentence｜>")
    args = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False)
    plain = {"messages": [USER, {"role": "assistant", "content": "1"}]}
    rows = Dataset.from_list([plain] * (150 - num_dropped) + [{"messages": [USER, FIRST]}] * num_dropped)
    if is_refused:
        with pytest.raises(ValueError, match=r"1\.3%.*row 148 'add 0 1'"):
            tokenize_rows(rows, tokenizer, args, "rows")
    else:
        with caplog.at_level(logging.WARNING, logger="open_r1"):
            assert tokenize_rows(rows, tokenizer, args, "rows")[1].dropped == 1
        assert "0.7%" in caplog.text


def test_check_looks_at_rows_from_the_whole_set_and_names_one_by_its_place_there(tmp_path):
    tokenizer = byte_tokenizer(published("deepseek_r1_distill"), R1_END, bos_token="<｜begin▁of▁sentence｜>")
    args = SFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, check_only=True)
    plain = {"messages": [USER, {"role": "assistant", "content": "1"}]}
    figures = tokenize_rows(Dataset.from_list([plain] * 2500), tokenizer, args, "rows")[1]
    assert (figures.num_rows, figures.checked) == (2500, 1000)
    late = [
        {"messages": [USER, {"role": "assistant", "content": f"<think>{row}</think>1"}]} for row in range(2400, 2500)
    ]
    with pytest.raises(ValueError, match=DROPPED) as refused:
        tokenize_rows(Dataset.from_list([plain] * 2400 + late), tokenizer, args, "rows")
    row, text = re.search(r"in row (\d+) '(\d+) 1'", str(refused.value)).groups()
    assert row == text


def long_rows(folder: Path, num_long: int) -> Path:
    rows = [{"messages": [USER, {"role": "assistant", "content": "2" * 150}]}] * num_long
    return write_rows(folder / "rows.jsonl", rows + [{"messages": [USER, FIRST]}] * (10 - num_long))


def test_rows_that_max_length_cuts_are_counted_in_plan_and_manifest(tiny, tmp_path, capsys):
    settings = {"dataset_name": long_rows(tmp_path, 4), "max_length": 100, "max_steps": 1}
    tiny.train("sft", tmp_path / "run", **settings, check_only=True)
    (planned,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("Rows: "))
    tiny.train("sft", tmp_path / "run", **settings)
    (run,) = json.loads((tmp_path / "run" / "run_manifest.json").read_text())["runs"]
    assert str(RowFigures(**run["rows"])) == planned
    tokenizer = AutoTokenizer.from_pretrained(tiny.model)
    lengths = [
        len(tokenizer.apply_chat_template(json.loads(line)["messages"], return_dict=False))
        for line in (tmp_path / "rows.jsonl").read_text().splitlines()
    ]
    assert run["rows"] == {
        "num_rows": 10, "checked": 10, "dropped": 0, "cut": 4, "answers_cut": 4,
        "tokens": sum(lengths), "tokens_lost": 4 * (lengths[0] - 100), "longest": lengths[0],
    }  # fmt: skip


@pytest.mark.parametrize("check_only", [True, False])
def test_more_than_half_of_the_answers_cut_is_refused_unless_allowed(tiny, tmp_path, check_only):
    settings = {"dataset_name": long_rows(tmp_path, 6), "max_length": 100, "max_steps": 1, "check_only": check_only}
    with pytest.raises(ValueError, match="allow_cut_rows"):
        tiny.train("sft", tmp_path / "run", **settings)
    tiny.train("sft", tmp_path / "run", **settings, allow_cut_rows=True)


@pytest.mark.parametrize("strategy", ["bfd", "bfd_split", "wrapped"])
def test_packing_that_splits_rows_cuts_none(tmp_path, strategy):
    messages = [USER, {"role": "assistant", "content": "2" * 150}]
    settings = {"packing": True, "packing_strategy": strategy, "max_length": 100, "allow_cut_rows": True}
    if strategy == "bfd":
        with pytest.raises(ValueError, match="EOS"):
            read(CHATML, messages, tmp_path, **settings)
    else:
        assert read(CHATML, messages, tmp_path, **settings)[1].tokens_lost == 0


def test_end_is_looked_for_beyond_the_first_rows_and_by_a_check(tiny, tmp_path):
    rows = [{"messages": [USER, {"role": "assistant", "content": "2" * 150}]}] * 70 + [
        {"messages": [USER, FIRST]}
    ] * 71
    data = write_rows(tmp_path / "rows.jsonl", rows)  # the first 64 are all cut
    tiny.train("sft", tmp_path / "run", dataset_name=data, max_length=100, max_steps=1)
    with pytest.raises(ValueError, match="EOS"):
        tiny.train("sft", tmp_path / "check", dataset_name=data, max_length=8, check_only=True)


ODD = {
    "no role": ([{"content": "1+0?"}, FIRST], None, "role"),
    "no role in some": ([{"role": None, "content": "1+0?"}, FIRST], None, "role"),
    "a list as content": (
        [USER, {"role": "assistant", "content": [{"type": "text", "text": "1"}]}],
        None,
        "content|messages. is text",
    ),
    "a text among messages": ([USER, "1"], None, "messages. is text"),
    "thoughts that are no text": ([USER, {**FIRST, "reasoning": {"step": "1"}}], None, "reasoning"),
    "a call without name": ([USER, {**FIRST, "tool_calls": [{"type": "function"}]}], None, "name"),
    "text prompt, messages behind it": ("1+0?", [FIRST], "prompt. is text"),
    "a role that the template refuses": ([{"role": "critic", "content": "no"}, FIRST], None, "critic"),
}


@pytest.mark.parametrize("check_only", [True, False])
@pytest.mark.parametrize("case", ODD)
def test_row_of_another_shape_is_refused_with_file_and_number(tiny, tmp_path, case, check_only):
    first, completion, named = ODD[case]
    good = [{"messages": row["messages"]} for row in (addition_row(1, 1), addition_row(2, 1))]
    bad = {"messages": first}
    if completion is not None:
        good = [{"prompt": row["messages"][:1], "completion": row["messages"][1:]} for row in good]
        bad = {"prompt": first, "completion": completion}
    data = write_rows(tmp_path / "rows.jsonl", [*good, bad])
    template = "recipes/templates/chatml.jinja"
    with pytest.raises(ValueError, match=rf"rows\.jsonl.*(row 2 .*)?({named})"):
        tiny.train("sft", tmp_path / "run", dataset_name=data, chat_template=template, check_only=check_only)


@pytest.mark.parametrize("kind", ["sft", "grpo"])
@pytest.mark.parametrize("column", ["image", "images"])
def test_images_are_refused_by_the_name_of_their_column(tiny, tmp_path, kind, column):
    rows = [{**addition_row(a, 1), column: "a.png"} for a in range(4)]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    with pytest.raises(ValueError, match=rf"'{column}'"):
        tiny.train(kind, tmp_path / "run", dataset_name=data, check_only=True)
