# SPDX-License-Identifier: Apache-2.0
"""Problems as methods and scorers get them, from files of every kind, and templates that refuse them."""

import pytest

from open_r1.evaluation.benchmarks import local_benchmark
from open_r1.evaluation.prompts import load_problems
from open_r1.test_time.rendering import render_problems
from tests.integration.tiny import write_rows
from tests.unit.scripted_model import CHATML, ScriptedModel, build_tokenizer

REFUSES = (
    "{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)


def rendered(path, *, chat_template=CHATML, **settings):
    """Return the problems of a file, and their prompts as text."""
    tokenizer = build_tokenizer(chat_template=chat_template)
    backend = ScriptedModel(tokenizer, lambda prompt: ())
    found = render_problems(load_problems(local_benchmark(path), **settings), backend, 1, 1)
    return found, [tokenizer.decode(list(problem.prompt_ids)) for problem in found]


def test_the_text_of_a_problem_has_none_of_the_words_around_it(tmp_path):
    rows = [{"problem": "1+1", "solution": "2"}, {"problem": "", "solution": "2"}, {"problem": "2+1", "solution": "3"}]
    path = write_rows(tmp_path / "sums.jsonl", rows)
    problems, prompts = rendered(path, template="Box it: {prompt}=", system_prompt="Be brief.")
    assert [(problem.row, problem.text) for problem in problems] == [(0, "1+1"), (2, "2+1")]
    assert prompts[1] == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nBox it: 2+1=<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_text_of_a_conversation_is_what_the_user_says_last(tmp_path):
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "1+1"},
    ]
    problems, _ = rendered(write_rows(tmp_path / "chats.jsonl", [{"problem": turns, "solution": "2"}]))
    assert [problem.text for problem in problems] == ["1+1"]


def test_the_text_of_a_question_with_choices_has_them_below_it(tmp_path):
    row = {"problem": "1+1", "choices": ["3", "2"], "solution": "B"}
    problems, prompts = rendered(write_rows(tmp_path / "choices.jsonl", [row]))
    assert [problem.text for problem in problems] == ["1+1\n\n(A) 3\n(B) 2"]
    assert problems[0].text in prompts[0]


def test_a_conversation_that_the_chat_template_refuses_is_a_sentence(tmp_path):
    path = write_rows(tmp_path / "sums.jsonl", [{"problem": "1+1", "solution": "2"}])
    assert len(rendered(path, chat_template=REFUSES)[0]) == 1
    message = r"The chat template of .* refuses the conversation \(system, user\): System role not supported\."
    with pytest.raises(ValueError, match=message):
        rendered(path, chat_template=REFUSES, system_prompt="Be brief.")
