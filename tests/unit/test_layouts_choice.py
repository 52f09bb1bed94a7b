# SPDX-License-Identifier: Apache-2.0
r"""Which layout a name stands for, what is refused, and how reasoning is told from an answer in any spelling."""

import logging
import time

import pytest

from open_r1.data.layout_readers import UnmappableError, last_box, reply, tagged_reply, trace_reply
from open_r1.data.layouts import (
    LAYOUTS,
    MESSAGES,
    PROBLEM,
    check_name,
    find_layout,
    fitting_names,
    hub_name,
    list_layouts,
)
from tests.rows.layouts import CASES

THOUGHTS = ["system", "conversations"]


@pytest.mark.parametrize(
    ("source", "columns", "layout"),
    [
        ("open-thoughts/OpenThoughts-114k", THOUGHTS, "thought_turns"),
        ("Open-Thoughts/openthoughts-114K", THOUGHTS, "thought_turns"),  # the hub knows no case
        ("open-thoughts/OpenThoughts-114k", list(CASES["openthoughts"][0].row), "openthoughts"),
        ("QuixiAI/dolphin-r1", ["messages", "overall_quality"], "messages"),
        (
            "hf://datasets/hkust-nlp/SimpleRL-Zoo-Data/simplelr_qwen_level3to5/train.parquet",
            ["question", "answer"],
            "simplerl",
        ),
        ("hf://datasets/hkust-nlp/SimpleRL-Zoo-Data@main/a/b.parquet", ["question", "answer"], "simplerl"),
        ("open-thoughts/OpenThoughts-114k/", THOUGHTS, "thought_turns"),
        ("./open-thoughts/OpenThoughts-114k", THOUGHTS, "thought_turns"),
        ("open-thoughts/OpenThoughts-114k/train.jsonl", THOUGHTS, "thought_turns"),
        ("HuggingFaceH4/Bespoke-Stratos-17k", ["messages"], "thought_turns"),
        ("./OpenThoughts-114k", THOUGHTS, None),
        ("nobody/OpenThoughts-114k", THOUGHTS, None),
        ("tasks/countdown", ["nums", "target"], None),
    ],
)
def test_name_decides(source, columns, layout):
    found = find_layout(source, None, columns, None)
    assert (found and found.name) == layout


def test_every_set_of_the_table_finds_a_layout_of_its_own():
    for layout in LAYOUTS:
        for source in layout.sets:
            columns = list(CASES[layout.name][0].row)
            assert find_layout(source, None, columns, layout.targets()[0]).name == layout.name, source


def test_layout_without_what_the_script_needs_is_passed_over():
    columns = list(CASES["codeforces_cots"][0].row)
    assert find_layout("open-r1/codeforces-cots", None, columns, PROBLEM) is None
    assert find_layout("open-r1/codeforces-cots", None, columns, MESSAGES).name == "codeforces_cots"


def test_none_switches_the_layout_off():
    assert find_layout("open-thoughts/OpenThoughts-114k", "none", THOUGHTS, MESSAGES) is None


def test_known_name_with_other_columns_is_taken_as_it_is_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        assert find_layout("GAIR/LIMO", None, ["conversations", "x"], MESSAGES) is None
    assert "{'limo': ['question', 'solution']}" in caplog.text
    assert "['thought_turns']" in caplog.text


@pytest.mark.parametrize("name", ["thought-turns", "", "None", "auto", "S1K"])
def test_unknown_layout_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"thought_turns, .* none"):
        check_name(name, "`dataset_layout`")


def test_layout_that_does_not_fit_is_refused_with_columns_and_those_that_do():
    with pytest.raises(
        ValueError, match=r"'thinking_trajectories'.*\['system', 'conversations'\].*\['thought_turns'\]"
    ):
        find_layout("a.jsonl", "s1k", THOUGHTS, None)


def test_layout_without_the_target_is_refused():
    for name, columns, target in (
        ("messages", ["messages"], PROBLEM),
        ("simplerl", ["question", "answer"], MESSAGES),
    ):
        with pytest.raises(ValueError, match=f"'{name}'.*{target}"):
            find_layout("a.jsonl", name, columns, target)


@pytest.mark.parametrize("name", CASES)
def test_columns_of_a_layout_fit_it(name):
    assert name in fitting_names(list(CASES[name][0].row), None)


def test_names_of_files_on_the_hub_are_read():
    assert hub_name("hf://datasets/A/B@v1/c/d.parquet") == "a/b"
    assert hub_name("A/B") == "a/b"


def test_list_has_a_line_for_every_layout():
    lines = list_layouts().splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == [layout.name for layout in LAYOUTS]
    assert all(line.count("|") == 5 for line in lines)


# Reasoning and answer


WHOLE = "<think>\nTwo and two.\n</think>\n\n4"


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        "<think>Two and two.</think>4",
        "  <think>\n\nTwo and two.\n\n</think>\n4\n",
        "Two and two.</think>\n\n4",  # the template has opened the tag
        "<|begin_of_thought|>\n\nTwo and two.\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n4\n\n"
        "<|end_of_solution|>",
        "<|begin_of_thought|>Two and two.<|end_of_thought|>4",
        "<|begin_of_thought|>Two and two.<|end_of_thought|><|begin_of_solution|>4<|end_of_solution|>\n",
    ],
)
def test_every_spelling_of_thoughts_becomes_one(text):
    assert tagged_reply(text) == WHOLE


@pytest.mark.parametrize(
    "text",
    [
        "<|begin_of_thought|>x<|begin_of_solution|>4<|end_of_solution|>",
        "<|begin_of_thought|>x<|end_of_thought|><|begin_of_solution|>4",
        "<|begin_of_thought|>x<|end_of_thought|>4<|end_of_solution|>",
        "x<|end_of_thought|>4",
        "a<|begin_of_thought|>x<|end_of_thought|>4",
        "<|begin_of_solution|>4<|end_of_solution|>",
        "<|begin_of_thought|>x<|end_of_thought|><|begin_of_solution|>4<|end_of_solution|> and more",
        "<|begin_of_thought|>x<|end_of_thought|>y<|end_of_thought|>4",
        "<|begin_of_thought|><think>x</think><|end_of_thought|>4",
        "<think><think>x</think>4",
        "<think>x</think>4</think>",
        "<think></think>4",
        "</think>4",
        "<think>x</think>",
        "<think>",
        "",
    ],
)
def test_damaged_thoughts_are_refused(text):
    if text.startswith("<|begin_of_thought|><think>"):
        assert tagged_reply(text) == "<think>\nx\n</think>\n\n4"  # tags around the whole of the thoughts
        return
    with pytest.raises(UnmappableError):
        tagged_reply(text)


@pytest.mark.parametrize(
    ("trace", "gold", "expected"),
    [
        ("Add.\n\n**Final Answer**\n\\boxed{4}", None, ("Add.", "**Final Answer**\n\\boxed{4}")),
        (
            "Add.\n\n**Final Answer**\n3?\n\nNo.\n\n## Final Answer:\nfour",
            None,
            ("Add.\n\n**Final Answer**\n3?\n\nNo.", "## Final Answer:\nfour"),
        ),
        ("Add.\n\nSo $\\boxed{4}$.", None, ("Add.", "So $\\boxed{4}$.")),
        ("Add: $\\boxed{4}$.", None, ("Add: $\\boxed{4}$.", "\\boxed{4}")),
        ("First \\boxed{3}.\n\nNo, it is four.", "4", ("First \\boxed{3}.\n\nNo, it is four.", "\\boxed{4}")),
        ("Add. It is four.", "4", ("Add. It is four.", "\\boxed{4}")),
        ("Add. It is four.", "\\boxed{4}", ("Add. It is four.", "\\boxed{4}")),
        ("**Final Answer**\n\\boxed{4}", None, ("**Final Answer**\n\\boxed{4}", "\\boxed{4}")),
        ("Add.\n\n**Final Answer**\n\n", "4", ("Add.", "\\boxed{4}")),
        ("Add \\boxed{4}.\n\n**Final Answer**\n", None, ("Add \\boxed{4}.", "\\boxed{4}")),
        ("Add.\n\n**Final Answer**\n\n4\n\n**Final Answer**\n\n", "4", ("Add.", "**Final Answer**\n\n4")),
        ("Add.\n\nNo, wait \\boxed{ broken", "4", ("Add.\n\nNo, wait \\boxed{ broken", "\\boxed{4}")),
        ("Add.\r\n\r\n**Final Answer**\r\n\r\n\\boxed{4}", None, ("Add.", "**Final Answer**\n\n\\boxed{4}")),
        ("Add.\n\n**Final Answer:** 4", None, ("Add.", "**Final Answer:** 4")),
        ("Add.\n\nFinal Answer: 4", None, ("Add.", "Final Answer: 4")),
        (WHOLE, None, ("Two and two.", "4")),
    ],
)
def test_answer_at_the_end_of_a_trace(trace, gold, expected):
    assert trace_reply(trace, gold) == reply(*expected)


@pytest.mark.parametrize(
    ("trace", "gold"),
    [("Hm.", None), ("Hm.", " "), ("Hm.\n\n**Final Answer**\n", None), ("<think>Hm.", "4"), ("\\boxed{", None)],
)
def test_trace_without_an_answer_is_refused(trace, gold):
    with pytest.raises(UnmappableError):
        trace_reply(trace, gold)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{1} then \boxed{2", "1"),
        (r"\boxed{ }", None),
        ("none", None),
    ],
)
def test_last_box(text, box):
    assert last_box(text) == box


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 150_000,
        "{" * 1_000_000,
        "<think>" * 150_000,
        "\n" * 1_000_000,
        "**Final Answer**\n" * 60_000,
        " \\boxed{" + "{" * 1_000_000,
        "<|begin_of_thought|>" * 50_000,
        "#" * 1_000_000,
    ],
)
def test_text_of_a_megabyte_is_read_in_linear_time(text):
    started = time.thread_time()
    for read in (tagged_reply, trace_reply, last_box):
        try:
            read(text)
        except UnmappableError:
            continue
    assert time.thread_time() - started < 60
