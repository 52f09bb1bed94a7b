# SPDX-License-Identifier: Apache-2.0
"""Budget forcing token by token: written-out traces, and a plain reference of s1's procedure on rambling models."""

import itertools

import pytest
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from open_r1.test_time.backends import Completion
from open_r1.test_time.budget_forcing import BudgetForcing, Trace, without_end
from open_r1.test_time.methods import MethodOptions, Problem, get_method
from open_r1.test_time.thinking import find_thinking
from tests.unit.scripted_model import ScriptedModel, build_tokenizer, rambling, telling

TAGS = build_tokenizer("<think>", "</think>")
S1 = build_tokenizer(
    chat_template="{{ messages[0].content }}{# <|im_start|>think ... <|im_start|>answer #}<|im_start|>assistant\n"
)
BARE = build_tokenizer()
PROMPT = "<|im_start|>user\n1+1<|im_end|>\n<|im_start|>assistant\n"


def ids_of(tokenizer, text):
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def problem_of(tokenizer, text=PROMPT, row=0):
    return Problem(row, ({"role": "user", "content": "1+1"},), ids_of(tokenizer, text), "1+1")


def force(model, budget="auto", num_waits=0, prompt=PROMPT, **options):
    """Return the attempt, and the texts that the model was given."""
    method = BudgetForcing(MethodOptions(budgets=(budget,), num_waits=(num_waits,), **options))
    method.check(model)
    ((setting,),) = method.groups()
    (attempt,) = method.solve([problem_of(model.tokenizer, prompt)], model, [setting], seed=0)
    return attempt, [model.tokenizer.decode(list(prompt)) for prompt, *_ in model.asked]


def test_thinking_that_ends_by_itself_is_followed_by_the_answer():
    model = ScriptedModel(TAGS, telling(TAGS, "so 2\n</think>", "\n\nIt is 2.<|im_end|>"))
    attempt, asked = force(model)
    assert asked == [f"{PROMPT}<think>\n", f"{PROMPT}<think>\nso 2\n</think>"]
    assert attempt.text == "<think>\nso 2\n\n</think>\n\n\nIt is 2."
    assert (attempt.thinking_tokens, attempt.total_tokens) == (6, 6 + 11)
    assert attempt.details["ended_by"] == "delimiter"


def test_at_the_budget_the_end_and_final_answer_are_appended_in_a_new_line():
    model = ScriptedModel(TAGS, telling(TAGS, "so it must be 2\n</think>", " 2<|im_end|>"))
    attempt, asked = force(model, budget=5)
    assert asked == [f"{PROMPT}<think>\n", f"{PROMPT}<think>\nso it\n</think>\nFinal Answer:"]
    assert model.asked[0][1] == 5
    assert attempt.text == "<think>\nso it\n</think>\n\nFinal Answer: 2"
    assert (attempt.thinking_tokens, attempt.total_tokens) == (5, 5 + 3)
    assert attempt.details["ended_by"] == "budget"


def test_at_the_budget_a_line_that_has_just_ended_is_not_ended_again():
    model = ScriptedModel(TAGS, telling(TAGS, "so 2\nyes</think>", " 2<|im_end|>"))
    _, asked = force(model, budget=5)
    assert asked[1] == f"{PROMPT}<think>\nso 2\n</think>\nFinal Answer:"


def test_ends_are_replaced_by_wait_and_it_goes_on_with_what_is_left_of_the_budget():
    model = ScriptedModel(TAGS, telling(TAGS, "2</think>", ", 3</think>", ", no</think>", "2<|im_end|>"))
    attempt, asked = force(model, budget=40, num_waits=2)
    assert asked == [
        f"{PROMPT}<think>\n",
        f"{PROMPT}<think>\n2Wait",
        f"{PROMPT}<think>\n2Wait, 3Wait",
        f"{PROMPT}<think>\n2Wait, 3Wait, no</think>",
    ]
    assert [(most, least) for _, most, _, least in model.asked[:3]] == [(40, 0), (38, 1), (34, 1)]
    assert attempt.thinking_tokens == 2 + 4 + 5
    assert attempt.details["segment_tokens"] == [2, 4, 5]
    assert attempt.details["waits"] == 2


def test_a_budget_that_a_wait_reaches_is_the_end():
    model = ScriptedModel(TAGS, telling(TAGS, "2</think>", ", it is 3</think>", " 2<|im_end|>"))
    attempt, asked = force(model, budget=6, num_waits=5)
    assert asked[1:] == [f"{PROMPT}<think>\n2Wait", f"{PROMPT}<think>\n2Wait, it\n</think>\nFinal Answer:"]
    assert attempt.thinking_tokens == 6


def test_thinking_that_ends_with_its_budget_used_up_does_not_wait():
    model = ScriptedModel(TAGS, telling(TAGS, "2</think>", "2<|im_end|>"))
    attempt, asked = force(model, budget=2, num_waits=3)
    assert asked == [f"{PROMPT}<think>\n", f"{PROMPT}<think>\n2</think>"]
    assert (attempt.details["ended_by"], attempt.details["waits"]) == ("delimiter", 0)


def test_with_a_budget_of_nothing_the_answer_comes_at_once():
    model = ScriptedModel(TAGS, telling(TAGS, " 2<|im_end|>"))
    attempt, asked = force(model, budget=0, num_waits=2)
    assert asked == [f"{PROMPT}<think>\n</think>\nFinal Answer:"]
    assert (attempt.thinking_tokens, attempt.total_tokens) == (0, 3)


def test_thinking_that_ends_at_once_goes_on_behind_wait():
    model = ScriptedModel(TAGS, telling(TAGS, "</think>", "</think></think>!</think>", "2<|im_end|>"))
    _, asked = force(model, num_waits=1)
    assert asked[1:] == [f"{PROMPT}<think>\nWait", f"{PROMPT}<think>\nWait!</think>"]


def test_an_eos_within_the_thinking_ends_it():
    model = ScriptedModel(TAGS, telling(TAGS, "2<|im_end|>", "?<|im_end|>", "2<|im_end|>"))
    attempt, asked = force(model, num_waits=1)
    assert asked[1:] == [f"{PROMPT}<think>\n2Wait", f"{PROMPT}<think>\n2Wait?</think>"]
    assert attempt.details["ended_by"] == "eos"


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
    assert attempt.details["segment_tokens"] == [4, 5]


def test_s1_at_its_budget():
    model = ScriptedModel(S1, telling(S1, "\n22222", " 2<|im_end|>"))
    _, asked = force(model, budget=3)
    assert asked[1] == f"{PROMPT}<|im_start|>think\n22\n<|im_start|>answer\nFinal Answer:"


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
    completion = Completion((*spelled, *end), "ab", "stop", "</think>")
    assert without_end(completion, thinking, tokenizer) == tuple(spelled)


def test_ids_that_the_tokenizer_does_not_know_are_not_fed_back():
    beyond = max(TAGS.get_vocab().values()) + 7
    first = [*ids_of(TAGS, "a"), beyond, *ids_of(TAGS, "b</think>")]
    said = iter([first, ids_of(TAGS, "!</think>"), ids_of(TAGS, "2<|im_end|>")])
    model = ScriptedModel(TAGS, lambda prompt: next(said))
    attempt, asked = force(model, num_waits=1)
    assert asked[1] == f"{PROMPT}<think>\nabWait"
    assert (attempt.details["dropped_ids"], attempt.details["segment_tokens"]) == (1, [4, 2])


def test_auto_leaves_room_for_delimiters_and_the_answer():
    model = ScriptedModel(TAGS, lambda prompt: ids_of(TAGS, "a" * 500), max_model_len=300)
    attempt, _ = force(model, num_waits=2, answer_reserve_tokens=20)
    num_opened = len(model.asked[0][0])
    delimiters = len(ids_of(TAGS, "\n</think>\nFinal Answer:")) + 2 * len(ids_of(TAGS, "Wait"))
    assert model.asked[0][1] == 300 - num_opened - delimiters - 20
    assert len(model.asked[1][0]) + model.asked[1][1] == 300
    assert attempt.finish_reason == "length"


def test_a_budget_beyond_the_context_is_what_it_leaves(caplog):
    model = ScriptedModel(TAGS, lambda prompt: ids_of(TAGS, "a" * 500), max_model_len=300)
    attempt, _ = force(model, budget=1000)
    assert attempt.thinking_tokens == attempt.details["budget_tokens"] < 300
    assert "of a budget of 1000 tokens the context leaves" in caplog.text


@pytest.mark.parametrize("tokenizer", [TAGS, BARE, S1])
@pytest.mark.parametrize("num_waits", [0, 3])
def test_a_prompt_that_leaves_the_room_which_it_asks_for_is_solved(tokenizer, num_waits):
    prompt = ids_of(tokenizer, PROMPT)
    options = MethodOptions(
        num_waits=(0, num_waits), thinking_start="<think>\n", thinking_end="</think>", answer_reserve_tokens=9
    )
    method = BudgetForcing(options)
    room_tokens = method.room_tokens(ScriptedModel(tokenizer, telling(tokenizer)))
    model = ScriptedModel(tokenizer, lambda _: ids_of(tokenizer, "x" * 400), len(prompt) + room_tokens + 9)
    for group in method.groups():
        assert [one.thinking_tokens for one in method.solve([problem_of(tokenizer)], model, group, 0)] == [
            (num_waits - int(group[0].values["num_waits"])) * len(ids_of(tokenizer, "Wait"))
        ]


def test_another_token_that_ends_an_answer_is_no_delimiter():
    thinking = find_thinking(TAGS)
    trace = Trace(problem_of(TAGS), (), 9)
    (other,) = ids_of(TAGS, "<|im_start|>")
    trace.add(Completion((*ids_of(TAGS, "ab"), other), "ab", "stop", other), thinking, TAGS)
    assert trace.ended_by == "eos"


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
    assert thinking.end_ids == (0, 1, 2)
    assert thinking.count(ids_of(tokenizer, text), tokenizer) == expected


def test_a_prompt_without_room_for_an_answer_is_refused():
    model = ScriptedModel(TAGS, telling(TAGS), max_model_len=130)
    with pytest.raises(ValueError, match=r"Row 0: its prompt has \d+ tokens, and \d+ are kept"):
        force(model, prompt=PROMPT * 2)


def test_a_context_without_room_for_an_answer_is_refused():
    with pytest.raises(ValueError, match="lower --answer_reserve_tokens"):
        force(ScriptedModel(TAGS, telling(TAGS), max_model_len=110))


def test_a_model_without_thinking_delimiters_is_refused_with_advice():
    with pytest.raises(ValueError, match="--thinking_start"):
        force(ScriptedModel(BARE, telling(BARE)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budgets": (-1,)}, "A budget is -1"),
        ({"budgets": ("most",)}, "A budget is 'most'"),
        ({"num_waits": (0, -2)}, r"num_waits is \[0, -2\]"),
        ({"answer_reserve_tokens": 0}, "answer_reserve_tokens is 0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        get_method("budget_forcing", MethodOptions(**options))


@pytest.mark.parametrize(("start", "end"), [("<think>", None), (None, "</think>"), ("<think>", "<think>"), ("", "x")])
def test_delimiters_that_are_none_are_refused(start, end):
    with pytest.raises(ValueError, match=r"thinking_start"):
        find_thinking(TAGS, start, end)


def test_problems_of_a_batch_do_not_disturb_each_other():
    say = rambling(TAGS, [TAGS.encode("</think>")[0], TAGS.eos_token_id], 0.1, seed=3)
    problems = [problem_of(TAGS, f"{PROMPT}{row}", row) for row in range(8)]
    method = BudgetForcing(MethodOptions(budgets=(12,), num_waits=(2,), max_tokens=9))
    ((setting,),) = method.groups()
    together = list(method.solve(problems, ScriptedModel(TAGS, say), [setting], seed=0))
    alone = [next(method.solve([problem], ScriptedModel(TAGS, say), [setting], seed=0)) for problem in problems]
    assert together == alone
    assert len({tuple(attempt.details["segment_tokens"]) for attempt in together}) > 1


def test_where_it_samples_each_part_has_a_seed_of_its_own():
    model = ScriptedModel(TAGS, telling(TAGS, "2</think>", "3</think>", "2<|im_end|>"))
    force(model, num_waits=1, temperature=0.6)
    assert len({seed for *_, seed, _ in model.asked}) == 3


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
        assert attempt.text.endswith(tokenizer.decode(answer, skip_special_tokens=True))
        assert attempt.thinking_tokens <= budget
        assert attempt.details["dropped_ids"] == 0
        seen.add((attempt.details["ended_by"], attempt.details["waits"]))
        assert len(thinking) >= 4 * attempt.details["waits"]
    assert {("budget", 0), ("delimiter", 0), ("eos", 0), ("delimiter", 1), ("budget", 1), ("budget", 3)} <= seen
