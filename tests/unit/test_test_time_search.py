# SPDX-License-Identifier: Apache-2.0
"""Beam search, DVTS and best of N with a scripted model: golden traces, brute force, and what may go wrong."""

import pytest

from open_r1.evaluation.judges import LOST, judgement_of
from open_r1.rewards.verifier import Verdict
from open_r1.test_time.methods import StepScores
from open_r1.test_time.scorers import Oracle, ScorerError, build_scorer
from open_r1.test_time.tree_search import step_seed
from tests.unit.scripted_model import ScriptedModel, arguments, build_tokenizer, settings_of, task_of

END = "<|im_end|>"
TOKENIZER = build_tokenizer()
TASKS = [task_of(TOKENIZER, 0, "2+2"), task_of(TOKENIZER, 7, "3+1 = ?")]
SEPARATOR = "\n\n"

SCORER_CODE = '''
def by_digits(problems, steps, **more):
    """A step's score is its last digit, in tenths."""
    return [[int([c for c in step if c.isdigit()][-1]) / 10 for step in trace] for trace in steps]

def too_few(problems, steps, **more):
    return [[0.5] for _ in steps][1:]

def too_many(problems, steps, **more):
    return [[0.5] * (len(trace) + 1) for trace in steps]

def not_a_number(problems, steps, **more):
    return [[float("nan")] * len(trace) for trace in steps]

def words(problems, steps, **more):
    return [["good"] * len(trace) for trace in steps]

def nothing(problems, steps, **more):
    return None

def fails(problems, steps, **more):
    raise KeyError("the scorer's service is down")

def without_more(problems, steps):
    return [[0.5] * len(trace) for trace in steps]

async def later(problems, steps, **more):
    return []

def whole(problems, steps, texts, **more):
    return [1.0 if "3. 14" in text else 0.0 for text in texts]

def by_messages(problems, steps, messages, **more):
    assert [list(m)[-1]["content"] for m in messages] == ["Solve: " + problem for problem in problems]
    return [[0.5] * len(trace) for trace in steps]
'''


@pytest.fixture(scope="module")
def scorers(tmp_path_factory):
    """Return the path of a file with scorers of a user's own."""
    path = tmp_path_factory.mktemp("scorers") / "own_scorers.py"
    path.write_text(SCORER_CODE, encoding="utf-8")
    return path


@pytest.fixture
def solve(scorers):
    """Return what solves tasks by a method and a scorer of the file."""

    def solve(name, model, tasks=TASKS[:1], *, scorer="by_digits", seed=0, **given):
        built = scorer if name == "majority" or not isinstance(scorer, str) else own(scorers, scorer)
        given = {"method": name, "n": [4], "beam_width": 2, "scorer": "own", **given}
        return model.solve(tasks, None if name == "majority" else built, seed=seed, **given)

    return solve


def own(path, function):
    return build_scorer(f"{path}:{function}", "auto", None)


def model_of(say, tokenizer=TOKENIZER, tasks=TASKS, **more):
    """A model that continues the text behind a prompt by `say(text, seed)`."""

    def following(prompt, seed):
        given = next(task.prompt_ids for task in tasks if prompt[: len(task.prompt_ids)] == task.prompt_ids)
        return tokenizer.encode(say(tokenizer.decode(list(prompt[len(given) :])), seed), add_special_tokens=False)

    return ScriptedModel(tokenizer, following, **more)


def text_of(attempt):
    return max(attempt.chances, key=lambda pair: pair[1])[0]


def digit(text: str, seed: int | None, depth: int) -> int:
    """A digit that follows from all that came before."""
    return (sum(map(ord, text)) * 7 + (seed or 0) * 13 + depth * 5) % 10


def branching(text: str, seed: int | None) -> str:
    """Three steps, the last with a boxed answer; each step ends in a digit, its score."""
    depth = text.count(SEPARATOR)
    if depth == 2:
        found = digit(text, seed, depth)
        return f"\\boxed{{{found % 3}}} {found}{END}"
    return f"step {digit(text, seed, depth)}{SEPARATOR}{branching(text + SEPARATOR, seed)}"


def step_of(text: str, seed: int | None) -> str:
    """The next step alone."""
    head, separator, _ = branching(text, seed).partition(SEPARATOR)
    return head + separator


class Node:
    """A path of the reference."""

    def __init__(self, text, score, is_finished):
        self.text, self.score, self.is_finished = text, score, is_finished


def grown(text: str, seed: int) -> Node:
    whole = text + step_of(text, seed)
    ended = whole.removesuffix(END)
    return Node(ended, int(ended.rstrip()[-1]) / 10, ended != whole)


def beams_by_hand(n, width, seed=0):
    """Beam search written down plainly: the results in the order of their scores."""
    kept, results = [""], []
    for depth in range(3):
        parents = [kept[i * len(kept) // n] for i in range(n)]
        children = [grown(text, step_seed(seed, depth, i)) for i, text in enumerate(parents)]
        results += [child for child in children if child.is_finished]
        different = []
        for child in children:
            if not child.is_finished and child.text not in [one.text for one in different]:
                different.append(child)
        kept = [child.text for child in sorted(different, key=lambda one: -one.score)[: n // width]]
    return sorted(results, key=lambda one: -one.score)[:n]


def subtrees_by_hand(n, width, seed=0):
    """DVTS written down plainly."""
    results = []
    for tree in range(n // width):
        text = ""
        for depth in range(3):
            seeds = [step_seed(seed, depth, tree * width + i) for i in range(width)]
            children = [grown(text, one) for one in seeds]
            text = max(children, key=lambda one: one.score).text
        results += children
    return results


@pytest.mark.parametrize(("name", "by_hand"), [("beam_search", beams_by_hand), ("dvts", subtrees_by_hand)])
@pytest.mark.parametrize(("n", "width"), [(4, 2), (8, 4), (6, 3), (4, 4), (3, 1), (12, 2)])
@pytest.mark.parametrize("seed", [0, 5])
def test_search_is_that_of_the_plain_reference(name, by_hand, n, width, seed, solve):
    attempts = solve(name, model_of(branching), n=[n], beam_width=width, seed=seed)
    expected = by_hand(n, width, seed)
    details = attempts[0].details
    assert details["scores"] == pytest.approx([one.score for one in expected])
    assert text_of(attempts[0]) == max(expected, key=lambda one: one.score).text
    assert details["answers"] == [one.text[-4] for one in expected]


def test_a_lookahead_is_what_a_step_is_scored_by(solve):
    def say(text, seed):
        if text == "":
            return (f"good 9{SEPARATOR}bad 1{END}", f"plain 5{SEPARATOR}fine 8{END}")[seed % 2]
        return {"g": f"bad 1{END}", "p": f"fine 8{END}"}[text[0]]

    chosen = {k: text_of(solve("beam_search", model_of(say), n=[2], lookahead=k)[0])[0] for k in (0, 1)}
    assert chosen == {0: "g", 1: "p"}


@pytest.mark.parametrize("name", ["beam_search", "dvts"])
def test_all_candidates_may_finish_at_once(name, solve):
    model = model_of(lambda text, seed: f"\\boxed{{{seed % 3}}} {seed}{END}")
    attempts = solve(name, model)
    assert len(model.asked) == 4
    assert [(one.setting.values["choice"], text_of(one)[7]) for one in attempts] == [("max", "0"), ("vote", "0")]
    assert attempts[0].total_tokens == sum(len(f"\\boxed{{0}} {seed}") + 1 for seed in range(4))


def test_finished_beams_are_kept_while_others_go_on(solve):
    def say(text, seed):
        if text == "":
            return f"\\boxed{{1}} 9{END}" if seed == 0 else f"step {seed}{SEPARATOR}x{END}"
        return f"\\boxed{{2}} 4{END}"

    attempts = solve("beam_search", model_of(say))
    assert [one.details["answers"][one.details["chosen"]] for one in attempts] == ["1", "2"]  # 0.9 against 3 x 0.4
    assert attempts[0].details["scores"] == pytest.approx([0.9, 0.4, 0.4, 0.4])


@pytest.mark.parametrize("name", ["beam_search", "dvts"])
def test_a_search_ends_after_its_last_step(name, solve):
    model = model_of(lambda text, seed: f"step 5{SEPARATOR}" * 50)
    attempts = solve(name, model, max_steps=3, max_tokens=200)
    assert len(model.asked) == 12
    assert attempts[0].finish_reason == "length"
    assert len(TOKENIZER.encode(text_of(attempts[0]))) == 200  # the last step runs to the end of the answer


@pytest.mark.parametrize("name", ["beam_search", "dvts"])
def test_a_step_is_cut_at_its_limit_and_goes_on(name, solve):
    model = model_of(lambda text, seed: ("1234567890" * 3)[len(text) :] + END)
    attempts = solve(name, model, max_step_tokens=8)
    assert {body["max_tokens"] for _, body in model.asked} == {8}
    assert (text_of(attempts[0]), attempts[0].finish_reason) == ("1234567890" * 3, "stop")


@pytest.mark.parametrize("name", ["beam_search", "dvts", "best_of_n", "majority", "weighted"])
def test_candidates_end_with_the_context(name, solve):
    room = len(TASKS[0].prompt_ids) + 20
    attempts = solve(name, model_of(lambda text, seed: "5" * 60, max_model_len=room))
    assert {(text_of(one), one.finish_reason) for one in attempts} == {("5" * 20, "length")}


@pytest.mark.parametrize("name", ["beam_search", "dvts", "best_of_n", "weighted"])
def test_candidates_without_a_word_are_no_error(name, solve):
    attempts = solve(name, model_of(lambda text, seed: END))
    assert {text_of(one) for one in attempts} == {""}


REFUSED = [
    ({"n": [1, 6], "beam_width": 4}, "--beam_width"),
    ({"n": [0, 4]}, "--n"),
    ({"beam_width": 0}, "--beam_width"),
    ({"max_steps": 0, "lookahead": -1, "max_step_tokens": 0}, "--max_steps, --max_step_tokens, --lookahead"),
    ({"step_separator": ""}, "--step_separator"),
    ({"temperature": 0}, "--temperature 0"),
    ({"scorer": None}, "--scorer"),
]


@pytest.mark.parametrize(("given", "name"), REFUSED)
def test_arguments_that_cannot_work_are_refused(given, name):
    with pytest.raises(ValueError, match=name):
        arguments("beam_search", **{"n": [4], "scorer": "oracle", **given})


def test_searches_take_the_multiples_of_their_width(caplog):
    groups = settings_of(arguments("dvts", n=[1, 2, 4, 8], scorer="oracle"))
    assert [group[0].values["n"] for group in groups] == [4, 8]
    assert "n = [1, 2] left out" in caplog.text


BAD = ["too_few", "too_many", "not_a_number", "words", "nothing", "fails"]


@pytest.mark.parametrize("function", BAD)
def test_what_is_no_score_ends_the_run(function, solve):
    with pytest.raises(ScorerError, match=rf"own_scorers.py:{function}"):
        solve("dvts", model_of(lambda text, seed: f"1{END}"), scorer=function)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere.py:score", "no file"),
        ("{file}:missing", "'missing'"),
        ("{file}:without_more", r"\*\*more"),
        ("{file}:later", r"\*\*more"),
    ],
)
def test_scorers_that_are_not_there_are_refused(place, message, scorers):
    with pytest.raises(ValueError, match=message):
        build_scorer(place.format(file=scorers), "auto", None)


def test_a_scorer_of_the_users_own_gets_problems_conversations_and_texts(solve):
    solve("best_of_n", model_of(branching), TASKS, scorer="by_messages")
    # Steps are without their separators, which may be part of a number.
    model = model_of(lambda text, seed: f"It is 3{' ' if seed == 1 else ''}. 14{END}")
    (attempt,) = solve("best_of_n", model, scorer="whole", step_separator=". ")
    assert attempt.chances == [("It is 3. 14", 1.0)]


def answers_by_seed(*answers: str):
    """Candidate i gives the i-th answer, with the score that stands beside it."""
    return lambda text, seed: f"\\boxed{{{answers[seed].split()[0]}}} {answers[seed].split()[1]}{END}"


def test_equal_answers_vote_together_however_they_are_written(solve):
    say = answers_by_seed("1/2 2", "3 5", "0.5 2", "\\frac12 2")
    (attempt,) = solve("weighted", model_of(say))
    assert text_of(attempt).startswith("\\boxed{1/2}")
    assert "\\boxed{3} 5" not in dict(attempt.chances)
    (attempt,) = solve("best_of_n", model_of(say))
    assert attempt.chances == [("\\boxed{3} 5", 1.0)]
    (attempt,) = solve("majority", model_of(say))
    assert {text for text, _ in attempt.chances} == {"\\boxed{1/2} 2", "\\boxed{0.5} 2", "\\boxed{\\frac12} 2"}


def test_all_n_come_from_one_pool(solve):
    model = model_of(answers_by_seed("1 1", "2 2", "1 3", "3 4"))
    attempts = solve("best_of_n", model, n=[1, 2, 4])
    assert [body["seed"] for _, body in model.asked] == [0, 1, 2, 3]
    assert [dict(one.chances).get("\\boxed{3} 4") for one in attempts] == pytest.approx([1 / 4, 1 / 2, 1.0])
    assert [one.total_tokens for one in attempts] == [12, 24, 48]
    assert [one.thinking_tokens for one in attempts] == [12, 24, 48]  # without delimiters all tokens are thinking


class Programs:
    """A judge of texts that no verifier of mathematics could judge."""

    def judge(self, rows, texts):
        return [judgement_of(Verdict.RIGHT if "print" in text else Verdict.WRONG) for text in texts]


class LosesAll:
    def judge(self, rows, texts):
        return [judgement_of(LOST) for _ in rows]


@pytest.mark.parametrize("name", ["best_of_n", "beam_search", "dvts"])
def test_the_oracle_takes_what_the_judge_of_the_benchmark_says_is_right(name, solve):
    """Of programs none has an answer in the sense of mathematics, whatever stands in a comment."""
    model = model_of(lambda text, seed: f"print(4){END}" if seed == 2 else f"\\boxed{{4}}{END}")
    (attempt,) = solve(name, model, scorer=Oracle(Programs(), None), choices=["max"], has_votes=False)
    assert text_of(attempt) == "print(4)"
    with pytest.raises(ScorerError, match="oracle"):
        solve(name, model, scorer=Oracle(LosesAll(), None), choices=["max"])


def test_thinking_tokens_are_those_before_its_end(solve):
    tokenizer = build_tokenizer("<think>", "</think>")
    task = task_of(tokenizer)
    said = {"": f"<think>a 1{SEPARATOR}", "<think>a 1\n\n": f"b 2</think>{SEPARATOR}"}
    model = model_of(lambda text, seed: said.get(text, f"\\boxed{{4}} 9{END}"), tokenizer, [task])
    for name in ("beam_search", "dvts"):
        attempt, *_ = solve(name, model, [task])
        assert (attempt.thinking_tokens, attempt.total_tokens) == (4 * (6 + 4), 4 * (6 + 6 + 12))


@pytest.mark.parametrize(("name", "num_read"), [("beam_search", 120), ("best_of_n", 40)])
def test_tokens_that_a_scorer_reads_are_counted(name, num_read, solve):
    class Reader:
        name, kind = "reader", None

        def score(self, candidates, steps):
            return [StepScores((0.5,) * len(one), 10) for one in steps]

    assert solve(name, model_of(branching), scorer=Reader())[0].scorer_tokens == num_read
