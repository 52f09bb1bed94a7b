# SPDX-License-Identifier: Apache-2.0
"""The chat templates of recipes/templates, rendered by transformers and probed by TRL's own checks."""

from pathlib import Path

import pytest
import trl
from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerFast
from trl.chat_template_utils import (
    has_generation_markers,
    is_chat_template_prefix_preserving,
    is_chat_template_stop_token_trained,
)

from scripts.stand_ins import byte_tokenizer

FOLDER = Path(__file__).resolve().parents[2] / "recipes" / "templates"
EOS = {
    "chatml": "<|im_end|>",
    "open_r1_distill": "<|im_end|>",
    "qwen3": "<|im_end|>",
    "deepseek_r1_distill": "<｜end▁of▁sentence｜>",
    "r1_zero": "<|endoftext|>",
    "question_answer": "<|endoftext|>",
}
OPENING = {
    "chatml": "<|im_start|>assistant\n",
    "open_r1_distill": "<|im_start|>assistant\n",
    "qwen3": "<|im_start|>assistant\n",
    "deepseek_r1_distill": "<｜Assistant｜>",
    "r1_zero": "\nAssistant:\n",
    "question_answer": "Answer:\n",
}
FIRST = "<think>\n2 and 2 are 4\n</think>\n\nIt is \\boxed{4}."
CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "2+2?"},
    {"role": "assistant", "content": FIRST},
    {"role": "user", "content": "3+3?"},
    {"role": "assistant", "content": "<think>\n6\n</think>\n\n\\boxed{6}"},
]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"a": "int", "b": "int"}}}

every_template = pytest.mark.parametrize("name", EOS)


def tokenizer_with(name: str) -> PreTrainedTokenizerFast:
    return byte_tokenizer((FOLDER / f"{name}.jinja").read_text(encoding="utf-8"), EOS[name])


@pytest.fixture(scope="module", params=list(EOS))
def named(request):
    return request.param, tokenizer_with(request.param)


def render(tokenizer, messages, **options) -> str:
    return tokenizer.apply_chat_template(messages, tokenize=False, **options)


def test_conversation_ends_exactly_at_eos(named):
    name, tokenizer = named
    ids = tokenizer.apply_chat_template(CONVERSATION, tokenize=True, return_dict=False)
    assert ids[-1] == tokenizer.eos_token_id
    assert render(tokenizer, CONVERSATION).endswith(EOS[name])


def test_generation_prompt_opens_a_turn_without_think(named):
    name, tokenizer = named
    text = render(tokenizer, CONVERSATION[:2], add_generation_prompt=True)
    assert text.endswith(OPENING[name])
    assert "Be brief." in text


def test_every_turn_is_a_prefix_of_the_next(named):
    _, tokenizer = named
    for end in range(2, len(CONVERSATION)):
        so_far = render(tokenizer, CONVERSATION[:end], add_generation_prompt=CONVERSATION[end]["role"] == "assistant")
        assert render(tokenizer, CONVERSATION[: end + 1]).startswith(so_far)


def test_earlier_thoughts_are_kept(named):
    _, tokenizer = named
    assert FIRST in render(tokenizer, CONVERSATION)


def test_assistant_mask_covers_the_replies_and_their_end(named):
    name, tokenizer = named
    assert has_generation_markers(tokenizer.chat_template)
    assert is_chat_template_stop_token_trained(tokenizer)
    encoded = tokenizer.apply_chat_template(
        CONVERSATION, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    learned = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    replies = [message["content"] + EOS[name] for message in CONVERSATION if message["role"] == "assistant"]
    assert tokenizer.decode(learned) == "".join(replies)


def test_every_template_is_here():
    assert {path.stem for path in FOLDER.glob("*.jinja")} == {*EOS, "demo", "demo_tools"}


@pytest.mark.parametrize("name", [*EOS, "demo", "demo_tools"])
def test_what_was_said_comes_back_in_order(name):
    text = byte_tokenizer((FOLDER / f"{name}.jinja").read_text(encoding="utf-8"), EOS.get(name, "<|im_end|>"))
    rendered = render(text, CONVERSATION)
    prompt = render(text, CONVERSATION[:-1], add_generation_prompt=True)
    assert rendered.startswith(prompt)
    assert rendered[len(prompt) :] == CONVERSATION[-1]["content"] + EOS.get(name, "<|im_end|>")
    places = [rendered.index(message["content"]) for message in CONVERSATION]
    assert places == sorted(places)


@pytest.mark.parametrize("name", ["chatml", "open_r1_distill", "deepseek_r1_distill", "qwen3"])
def test_thoughts_beside_a_message_are_written_into_it(name):
    apart = [
        {**message, "content": content, "reasoning_content": thought.removeprefix("<think>\n")}
        for message in CONVERSATION
        for thought, _, content in [message["content"].partition("\n</think>\n\n")]
        if content
    ]
    apart = [CONVERSATION[0], CONVERSATION[1], apart[0], CONVERSATION[3], apart[1]]
    assert render(tokenizer_with(name), apart) == render(tokenizer_with(name), CONVERSATION)


def test_qwen3_is_rendered_as_trl_trains_it():
    ours = tokenizer_with("qwen3")
    theirs = Path(trl.__file__).parent / "chat_templates" / "qwen3_training.jinja"
    text = render(ours, CONVERSATION, chat_template=theirs.read_text(encoding="utf-8"))
    assert render(ours, CONVERSATION) == text.removesuffix("\n")
    for options in ({}, {"enable_thinking": False}):
        prompt = render(ours, CONVERSATION[:2], add_generation_prompt=True, **options)
        assert prompt == render(
            ours,
            CONVERSATION[:2],
            add_generation_prompt=True,
            chat_template=theirs.read_text(encoding="utf-8"),
            **options,
        )


def test_unknown_role_is_refused(named):
    _, tokenizer = named
    with pytest.raises(TemplateError, match="critic"):
        render(tokenizer, [{"role": "critic", "content": "no"}])


@pytest.mark.parametrize("name", ["chatml", "deepseek_r1_distill", "r1_zero", "question_answer"])
def test_template_without_tools_says_so(name):
    with pytest.raises(TemplateError, match="open_r1_distill"):
        render(tokenizer_with(name), CONVERSATION, tools=[TOOL])


def test_chatml_adds_no_system_message():
    text = render(tokenizer_with("chatml"), CONVERSATION[1:3])
    assert text == f"<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n{FIRST}<|im_end|>"


def test_deepseek_tokens_follow_each_other_without_spaces():
    text = render(tokenizer_with("deepseek_r1_distill"), CONVERSATION[:3])
    assert text == f"<｜begin▁of▁sentence｜>Be brief.<｜User｜>2+2?<｜Assistant｜>{FIRST}<｜end▁of▁sentence｜>"


def test_r1_zero_is_plain_text_that_ends_where_a_base_model_ends_a_document():
    tokenizer = tokenizer_with("r1_zero")
    text = render(tokenizer, CONVERSATION[:3])
    assert text == f"Be brief.\n\nUser: 2+2?\nAssistant:\n{FIRST}<|endoftext|>"
    prompt = render(tokenizer, CONVERSATION[:2], add_generation_prompt=True)
    assert "<|" not in prompt


def test_question_and_answer_are_plain_text_behind_bos_where_there_is_one():
    tokenizer = tokenizer_with("question_answer")
    text = render(tokenizer, CONVERSATION[:3])
    assert text == f"Be brief.\n\nQuestion:\n2+2?\nAnswer:\n{FIRST}<|endoftext|>"
    tokenizer.bos_token = "<|im_start|>"
    assert render(tokenizer, CONVERSATION[:3]) == f"<|im_start|>{text}"


def test_distill_names_open_r1_when_no_system_message_is_given():
    tokenizer = tokenizer_with("open_r1_distill")
    text = render(tokenizer, CONVERSATION[1:2])
    assert text.startswith("<|im_start|>system\nYou are Open-R1")
    assert "<think>" in text
    assert "Open-R1" not in render(tokenizer, CONVERSATION)


@pytest.mark.parametrize("name", ["open_r1_distill", "qwen3"])
def test_tools_are_written_in_the_manner_of_qwen(name):
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 2}}}
    messages = [
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "<think>\nadd them\n</think>", "tool_calls": [call, call]},
        {"role": "tool", "name": "add", "content": "4"},
        {"role": "tool", "name": "add", "content": "4"},
        {"role": "assistant", "content": "4"},
    ]
    tokenizer = tokenizer_with(name)
    text = render(tokenizer, messages, tools=[TOOL])
    assert '<tools>\n{"type": "function", "function": {"name": "add"' in text
    written = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 2}}\n</tool_call>'
    assert f"</think>\n{written}\n{written}<|im_end|>" in text
    response = "\n<tool_response>\n4\n</tool_response>"
    assert f"<|im_start|>user{response}{response}<|im_end|>\n<|im_start|>assistant\n4<|im_end|>" in text
    assert is_chat_template_prefix_preserving(tokenizer)


@every_template
def test_template_has_no_jinja_left_in_its_output(name):
    text = render(tokenizer_with(name), CONVERSATION, add_generation_prompt=True)
    assert "{%" not in text
    assert "{{" not in text
