# SPDX-License-Identifier: Apache-2.0
"""Budget forcing token by token: written-out traces, and a plain reference of s1's procedure on rambling models."""

import itertools

import pytest
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from open_r1.generation.messages import Reply
from open_r1.test_time import budget_forcing
from open_r1.test_time.thinking import find_thinking
from tests.unit.scripted_model import ScriptedModel, arguments, build_tokenizer, rambling, task_of, telling

TAGS = build_tokenizer("<think>", "</think>")
S1 = build_tokenizer(
    chat_template="{{ messages[0].content }}{# <|im_start|>think ... <|im_start|>answer #}<|im_start|>assistant\n"
)
BARE = build_tokenizer()
PROMPT = "<|im_start|>user\n1+1<|im_end|>\n<|im_start|>assistant\n"


def ids_of(tokenizer, text):
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def force(model, budget="auto", num_waits=0, prompt=PROMPT, **options):
    """Return the attempt, and the texts that the model was given."""
    given = {"budgets": [str(budget)], "num_waits": [num_waits], **options}
    (attempt,) = model.solve([task_of(model.tokenizer, prompt=prompt)], method="budget_forcing", **given)
    return attempt, [model.tokenizer.decode(list(prompt)) for prompt, _ in model.asked]


def text_of(attempt):
    ((text, chance),) = attempt.chances
    assert chance == 1.0
    return text


def test_thinking_that_ends_by_itself_is_followed_by_the_answer():
    model = ScriptedModel(TAGS, telling(TAGS, "so 2\n</think>", "\n\nIt is 2.<|im_end|>"))
    attempt, asked = force(model)
    assert asked == [f"{PROMPT}<think>\n", f"{PROMPT}<think>\nso 2\n</think>"]
    assert text_of(attempt) == "<think>\nso 2\n\n</think>\n\n\nIt is 2."
    assert (attempt.thinking_tokens, attempt.total_tokens) == (6, 6 + 11)
    assert attempt.details["ended_by"] == "delimiter"


def test_at_the_budget_the_end_and_final_answer_are_appended_in_a_new_line():
    model = ScriptedModel(TAGS, telling(TAGS, "so it must be 2\n</think>", " 2<|im_end|>"))
    attempt, asked = force(model, budget=5)
    assert asked == [f"{PROMPT}<think>\n", f"{PROMPT}<think>\nso it\n</think>\nFinal Answer:"]
    assert model.asked[0][1]["max_tokens"] == 5
    assert text_of(attempt) == "<think>\nso it\n</think>\n\nFinal Answer: 2"
    assert (attempt.thinking_tokens, attempt.total_tokens) == (5, 5 + 3)
    assert attempt.details["ended_by"] == "budget"


def test_ends_are_replaced_by_wait_and_it_goes_on_with_what_is_left_of_the_budget():
    model = ScriptedModel(TAGS, telling(TAGS, "2</think>", ", 3</think>", ", no</think>", "2<|im_end|>"))
    attempt, asked = force(model, budget=40, num_waits=2)
    assert asked == [
        f"{PROMPT}<think>\n",
        f"{PROMPT}<think>\n2Wait",
        f"{PROMPT}<think>\n2Wait, 3Wait",
        f"{PROMPT}<think>\n2Wait, 3Wait, no</think>",
    ]
    assert [(body["max_tokens"], body.get("min_tokens", 0)) for _, body in model.asked[:3]] == [
        (40, 0),
        (38, 1),
        (34, 1),
    ]
    assert attempt.thinking_tokens == 2 + 4 + 5
    assert attempt.details["part_tokens"] == [2, 4, 5]
    assert attempt.details["waits"] == 2


def test_with_a_budget_of_nothing_the_answer_comes_at_once():
    model = ScriptedModel(TAGS, telling(TAGS, " 2<|im_end|>"))
    attempt, asked = force(model, budget=0, num_waits=2)
    assert asked == [f"{PROMPT}<think>\n</think>\nFinal Answer:"]
    assert (attempt.thinking_tokens, attempt.total_tokens) == (0, 3)


def test_thinking_that_the_template_has_begun_is_not_begun_again():
    for opened in (f"{PROMPT}<think>\n", f"{PROMPT}<think>"):
        model = ScriptedModel(TAGS, telling(TAGS, "2</think>", "2<|im_end|>"))
        _, asked = force(model, prompt=opened)
        assert asked == [opened, f"{opened}2</think>"]


def test_s1_ends_at_the_first_token_of_its_delimiter_whatever_follows():
    model = ScriptedModel(S1, telling(S1, "\n2\n<|im_start|>answer", "\nok\n<|im_end|>", "\n2<|im_end|>"))
    attempt, asked = force(model, num_waits=1)
    assert asked == [
        f"{PROMPT}<|im_start|>think",
        f"{PROMPT}<|im_start|>think\n2\nWait",
        f"{PROMPT}<|im_start|>think\n2\nWait\nok\n<|im_start|>answer",
    ]
    assert attempt.details["part_tokens"] == [4, 5]


def test_an_end_of_several_tokens_is_cut_off_without_the_text_before_it():
    tokenizer = build_tokenizer(".</", "[/")
    given = {"thinking_start": "<think>", "thinking_end": "</think>"}
    model = ScriptedModel(tokenizer, telling(tokenizer, "so 2.</think>", "!</think>", "2<|im_end|>"))
    _, asked = force(model, num_waits=1, **given)
    assert asked[1:] == [f"{PROMPT}<think>so 2.Wait", f"{PROMPT}<think>so 2.Wait!</think>"]


def test_ids_before_an_end_are_kept_as_they_were_sampled():
    tokenizer = build_tokenizer("ab")
    spelled = [token for letter in "ab" for token in ids_of(tokenizer, letter)]  # encoding gives the one token "ab"
    end = ids_of(tokenizer, "</think>")
    thinking = find_thinking(tokenizer, "<think>", "</think>")
    reply = Reply("ab", "stop", token_ids=[*spelled, *end], stop_reason="</think>")
    assert budget_forcing.without_end(reply, thinking) == tuple(spelled)


def test_ids_that_the_tokenizer_does_not_know_are_not_fed_back():
    beyond = max(TAGS.get_vocab().values()) + 7
    first = [*ids_of(TAGS, "a"), beyond, *ids_of(TAGS, "b</think>")]
    said = iter([first, ids_of(TAGS, "!</think>"), ids_of(TAGS, "2<|im_end|>")])
    model = ScriptedModel(TAGS, lambda prompt, seed: next(said))
    attempt, asked = force(model, num_waits=1)
    assert asked[1] == f"{PROMPT}<think>\nabWait"
    assert attempt.details["part_tokens"] == [4, 2]


def test_auto_leaves_room_for_delimiters_and_the_answer():
    model = ScriptedModel(TAGS, lambda prompt, seed: ids_of(TAGS, "a" * 500), max_model_len=300)
    attempt, _ = force(model, num_waits=2, answer_reserve_tokens=20)
    num_opened = len(model.asked[0][0])
    delimiters = len(ids_of(TAGS, "\n</think>\nFinal Answer:")) + 2 * len(ids_of(TAGS, "Wait"))
    assert model.asked[0][1]["max_tokens"] == 300 - num_opened - delimiters - 20
    assert len(model.asked[1][0]) + model.asked[1][1]["max_tokens"] == 300
    assert attempt.finish_reason == "length"


def test_a_budget_beyond_the_context_is_what_it_leaves(caplog):
    model = ScriptedModel(TAGS, lambda prompt, seed: ids_of(TAGS, "a" * 500), max_model_len=300)
    attempt, _ = force(model, budget=1000)
    assert attempt.thinking_tokens == attempt.details["budget_tokens"] < 300
    assert "of a budget of 1000 tokens the context leaves" in caplog.text


@pytest.mark.parametrize("tokenizer", [TAGS, BARE, S1])
@pytest.mark.parametrize("num_waits", [0, 3])
def test_a_prompt_that_leaves_the_room_which_it_asks_for_is_solved(tokenizer, num_waits):
    thinking = find_thinking(tokenizer, "<think>\n", "</think>")
    room = len(ids_of(tokenizer, PROMPT)) + budget_forcing.room_tokens(thinking, num_waits)
    model = ScriptedModel(tokenizer, lambda prompt, seed: ids_of(tokenizer, "x" * 400), room + 9)
    delimiters = {"thinking_start": "<think>\n", "thinking_end": "</think>"}
    attempt, _ = force(model, num_waits=num_waits, answer_reserve_tokens=9, **delimiters)
    assert attempt.thinking_tokens == 0


def test_another_token_that_ends_an_answer_is_no_delimiter():
    (other,) = ids_of(TAGS, "<|im_start|>")
    model = ScriptedModel(TAGS, telling(TAGS, "2<|im_end|>"))
    said = iter([Reply("ab", "stop", token_ids=[*ids_of(TAGS, "ab"), other], stop_reason=other)])
    answer = model.reply
    model.reply = lambda request: next(said, None) or answer(request)
    attempt, _ = force(model)
    assert attempt.details["ended_by"] == "eos"


def merging_tokenizer():
    """A tokenizer to which "</think>" is "</", "think" and ">", but a line's end is one token with the ">"."""
    tokens = Tokenizer(WordLevel({"</": 0, "think": 1, ">": 2, ">\n\n": 3, "a": 4, "[UNK]": 5}, unk_token="[UNK]"))
    tokens.pre_tokenizer = Split(Regex(r"</|think|>\n*|a|."), "isolated")
    tokens.decoder = Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokens)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aaa</think>\n\naaaa", 6),
        ("aaa</think>aaaa", 6),
        ("aaa</think>", 6),
        ("aaaaa", 5),
        ("", 0),
        ("aaa</thinka", 6),
        ("</think>\n\na</think>a", 3),
    ],
)
def test_thinking_is_counted_up_to_its_end_in_the_text(text, expected):
    tokenizer = merging_tokenizer()
    thinking = find_thinking(tokenizer, "<a>", "</think>")
    assert thinking.ids(thinking.end) == (0, 1, 2)
    assert thinking.count(ids_of(tokenizer, text)) == expected


def test_a_model_without_thinking_delimiters_is_refused_with_advice():
    with pytest.raises(ValueError, match="--thinking_start"):
        budget_forcing.room_tokens(find_thinking(BARE), 0)


REFUSED = [
    ({"budgets": ["-1"]}, "--budgets"),
    ({"num_waits": [0, -2]}, "--num_waits"),
    ({"answer_reserve_tokens": 0}, "--answer_reserve_tokens"),
    ({"thinking_start": "<think>"}, "--thinking_start"),
]


@pytest.mark.parametrize(("given", "name"), REFUSED)
def test_arguments_that_cannot_work_are_refused(given, name):
    with pytest.raises(ValueError, match=name):
        arguments("budget_forcing", **given)


def test_where_it_samples_each_part_has_a_seed_of_its_own():
    model = ScriptedModel(TAGS, telling(TAGS, "2</think>", "3</think>", "2<|im_end|>"))
    force(model, num_waits=1, temperature=0.6)
    assert len({body["seed"] for _, body in model.asked}) == 3


def s1_reference(model, prompt, start, end, budget, num_waits, max_answer):
    """Return the thinking, the answer's prompt and the answer, as the procedure of s1 goes, one sequence at a time."""
    tokenizer, eos = model.tokenizer, model.tokenizer.eos_token_id
    end_ids, newline = ids_of(tokenizer, end), ids_of(tokenizer, "\n")
    context = [*prompt, *ids_of(tokenizer, start)]
    thinking, left, is_cut = [], budget, budget == 0
    for ignored in range(num_waits + 1):
        if left == 0:
            break
        said, is_cut = [], True
        for token in model.say((*context, *thinking)):
            if token in (eos, end_ids[0]) and ignored and not said:
                continue
            said.append(token)
            if token in (eos, end_ids[0]):
                said.pop()
                left, is_cut = left - 1, False
                break
            if len(said) == left:
                break
        left -= len(said)
        thinking += said
        if is_cut:
            break
        if ignored < num_waits and left > 0:
            thinking += ids_of(tokenizer, "Wait")
    context += thinking
    if is_cut:
        context += () if context[-1] == newline[0] else newline
        context += ids_of(tokenizer, f"{end}\nFinal Answer:")
    else:
        context += end_ids
    answer = list(
        itertools.takewhile(lambda token: token != eos, itertools.islice(model.say(tuple(context)), max_answer))
    )
    return thinking, tuple(context), answer


@pytest.mark.parametrize("layout", ["tags", "s1"])
def test_it_is_s1s_procedure_on_models_that_ramble(layout):
    tokenizer, start, end = {
        "tags": (TAGS, "<think>\n", "</think>"),
        "s1": (S1, "<|im_start|>think", "<|im_start|>answer"),
    }[layout]
    ends = [ids_of(tokenizer, end)[0], tokenizer.eos_token_id]
    prompt, seen = ids_of(tokenizer, PROMPT), set()
    for seed, budget, num_waits in itertools.product(range(6), (0, 1, 7, 40), (0, 1, 3)):
        model = ScriptedModel(tokenizer, rambling(tokenizer, ends, 0.12, seed))
        attempt, _ = force(model, budget, num_waits, max_tokens=9)
        thinking, context, answer = s1_reference(model, prompt, start, end, budget, num_waits, 9)
        assert model.asked[-1][0] == context
        assert text_of(attempt).endswith(tokenizer.decode(answer, skip_special_tokens=True))
        assert attempt.thinking_tokens <= budget
        seen.add((attempt.details["ended_by"], attempt.details["waits"]))
        assert len(thinking) >= 4 * attempt.details["waits"]
    assert {("budget", 0), ("delimiter", 0), ("eos", 0), ("delimiter", 1), ("budget", 1), ("budget", 3)} <= seen
