# SPDX-License-Identifier: Apache-2.0
"""Beam search, DVTS and best of N with a scripted model: golden traces, brute force, and what may go wrong."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from open_r1.evaluation.judges import LOST, Judgement, judgement_of
from open_r1.rewards.verifier import Verdict
from open_r1.test_time.methods import DEFAULT_N, MethodOptions, get_method
from open_r1.test_time.scorers import ScorerError, StepScores, fingerprint_of
from open_r1.test_time.tree_search import step_seed
from tests.unit.branching_model import END, BranchingModel, problem_of
from tests.unit.scripted_model import build_tokenizer

TOKENIZER = build_tokenizer()
PROBLEMS = [problem_of(TOKENIZER, 0, "2+2"), problem_of(TOKENIZER, 7, "3+1 = ?")]
SEPARATOR = "\n\n"

SCORER_CODE = '''
def by_digits(problems, steps, **more):
    """A step's score is its last digit, in tenths."""
    return [[int([c for c in step if c.isdigit()][-1]) / 10 for step in trace] for trace in steps]

def of_the_whole(problems, steps, **more):
    return [1 / len(" ".join(trace)) for trace in steps]

def too_few(problems, steps, **more):
    return [[0.5] for _ in steps][1:]

def too_many(problems, steps, **more):
    return [[0.5] * (len(trace) + 1) for trace in steps]

def not_a_number(problems, steps, **more):
    return [[float("nan")] * len(trace) for trace in steps]

def words(problems, steps, **more):
    return [["good"] * len(trace) for trace in steps]

def texts_alone(problems, steps, **more):
    return [["0.5"] * len(trace) for trace in steps]

def nothing(problems, steps, **more):
    return None

def one_text(problems, steps, **more):
    return "0.5"

def fails(problems, steps, **more):
    raise KeyError("the scorer's service is down")

def without_more(problems, steps):
    return [[0.5] * len(trace) for trace in steps]

def without_steps(problems, **more):
    return []

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
def options(scorers):
    """Return options with the scorer that reads digits."""
    return lambda **more: MethodOptions(**{"n": (4,), "beam_width": 2, "scorer": f"{scorers}:by_digits", **more})


def model_of(say, **more):
    return BranchingModel(TOKENIZER, say, [problem.prompt_ids for problem in PROBLEMS], **more)


def solve(name, options, model, problems=PROBLEMS[:1], seed=0):
    method = get_method(name, options)
    method.check(model)
    return [one for group in method.groups() for one in method.solve(problems, model, group, seed)]


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


@dataclass(frozen=True)
class Node:
    """A path of the reference."""

    text: str
    score: float
    is_finished: bool


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
def test_search_is_that_of_the_plain_reference(name, by_hand, n, width, seed, options):
    attempts = solve(name, options(n=(n,), beam_width=width), model_of(branching), seed=seed)
    expected = by_hand(n, width, seed)
    details = attempts[0].details
    assert details["scores"] == pytest.approx([one.score for one in expected])
    assert attempts[0].text == max(expected, key=lambda one: one.score).text
    assert details["answers"] == [one.text[-4] for one in expected]


def test_a_search_written_down_by_hand(options):
    """Two beams of width 2: from 3 1 | 4 1 the 4 goes on alone, since n / width = 1, and so does the better 5."""
    said = {("", 0): "a3", ("", 1): "b4", ("b4\n\n", 2): "c5", ("b4\n\n", 3): "d2"}
    seeds = {step_seed(0, depth, place): depth * 2 + place for depth in range(3) for place in range(2)}

    def say(text, seed):
        if text.count(SEPARATOR) == 2:
            return f"\\boxed{{{seeds[seed]}}} {9 - seeds[seed]}{END}"
        return said[text, seeds[seed]] + SEPARATOR + "more 1" + END

    (attempt,) = solve("beam_search", options(n=(2,), choices=("max",)), model_of(say))
    assert attempt.text == "b4\n\nc5\n\n\\boxed{4} 5"
    assert attempt.answer == "4"
    assert attempt.total_tokens == 2 * len("a3\n\n") + 2 * len("c5\n\n") + 2 * (len("\\boxed{4} 5") + 1)


@pytest.mark.parametrize("name", ["beam_search", "dvts"])
def test_prompts_are_what_was_sampled_token_by_token(name, options):
    model = model_of(branching)
    solve(name, options(), model, PROBLEMS)
    for prompt, _, _ in model.asked:
        given = next(one for one in model.prompts if prompt[: len(one)] == one)
        said = TOKENIZER.decode(list(prompt[len(given) :]))
        assert tuple(TOKENIZER.encode(said, add_special_tokens=False)) == prompt[len(given) :]
        assert said == "" or said.endswith(SEPARATOR)


@pytest.mark.parametrize("name", ["beam_search", "dvts", "best_of_n"])
def test_each_problem_is_solved_as_if_it_were_alone(name, options):
    together = solve(name, options(), model_of(branching), PROBLEMS)
    alone = [
        *solve(name, options(), model_of(branching), PROBLEMS[:1]),
        *solve(name, options(), model_of(branching), PROBLEMS[1:]),
    ]
    assert together == alone


@pytest.mark.parametrize("name", ["beam_search", "dvts"])
def test_tokens_of_discarded_candidates_and_lookaheads_count(name, options):
    for lookahead in (0, 1):
        model = model_of(branching)
        attempts = solve(name, options(lookahead=lookahead), model)
        sampled = sum(
            len(TOKENIZER.encode(step_of(TOKENIZER.decode(list(prompt[len(PROBLEMS[0].prompt_ids) :])), seed)))
            for prompt, seed, _ in model.asked
        )
        assert {one.total_tokens for one in attempts} == {sampled}
        assert any(seed is None for _, seed, _ in model.asked) == bool(lookahead)


def test_lookahead_scores_by_the_steps_to_come(options):
    """The first step looks better where the next is worse."""

    def say(text, seed):
        if text == "":
            return (f"good 9{SEPARATOR}bad 1{END}", f"plain 5{SEPARATOR}fine 8{END}")[seed % 2]
        return {"g": f"bad 1{END}", "p": f"fine 8{END}"}[text[0]]

    chosen = {k: solve("beam_search", options(n=(2,), lookahead=k), model_of(say))[0].text[0] for k in (0, 1)}
    assert chosen == {0: "g", 1: "p"}


@pytest.mark.parametrize("name", ["beam_search", "dvts"])
def test_all_candidates_may_finish_at_once(name, options):
    model = model_of(lambda text, seed: f"\\boxed{{{seed % 3}}} {seed}{END}")
    attempts = solve(name, options(), model)
    assert len(model.asked) == 4
    assert [(one.setting.values["choice"], one.answer) for one in attempts] == [("max", "0"), ("vote", "0")]
    assert attempts[0].details["candidates"] == 4


def test_finished_beams_are_kept_while_others_go_on(options):
    def say(text, seed):
        if text == "":
            return f"\\boxed{{1}} 9{END}" if seed == 0 else f"step {seed}{SEPARATOR}x{END}"
        return f"\\boxed{{2}} 4{END}"

    attempts = solve("beam_search", options(), model_of(say))
    assert [one.answer for one in attempts] == ["1", "2"]  # by max, and by vote: 0.9 against 3 x 0.4
    assert attempts[0].details["scores"] == pytest.approx([0.9, 0.4, 0.4, 0.4])


def test_duplicates_go_on_once(options):
    model = model_of(lambda text, seed: f"\\boxed{{1}} 1{END}" if text else f"same 5{SEPARATOR}{END}")
    solve("beam_search", options(), model)
    seconds = [prompt for prompt, _, _ in model.asked[4:]]
    assert len(seconds) == 4
    assert len(set(seconds)) == 1


@pytest.mark.parametrize("name", ["beam_search", "dvts"])
def test_a_search_ends_after_its_last_step(name, options):
    model = model_of(lambda text, seed: f"step 5{SEPARATOR}" * 50)
    attempts = solve(name, options(max_steps=3, max_tokens=200), model)
    assert len(model.asked) == 12
    assert attempts[0].finish_reason == "length"
    assert attempts[0].answer is None
    assert len(TOKENIZER.encode(attempts[0].text)) == 200  # the last step runs to the end of the answer


@pytest.mark.parametrize("name", ["beam_search", "dvts"])
def test_a_step_is_cut_at_its_limit_and_goes_on(name, options):
    model = model_of(lambda text, seed: ("1234567890" * 3)[len(text) :] + END)
    attempts = solve(name, options(max_step_tokens=8), model)
    assert {most for _, _, most in model.asked} == {8}
    assert attempts[0].text == "1234567890" * 3
    assert attempts[0].finish_reason == "stop"


@pytest.mark.parametrize("name", ["beam_search", "dvts", "best_of_n", "majority", "weighted"])
def test_candidates_end_with_the_context(name, options):
    room = len(PROBLEMS[0].prompt_ids) + 20
    attempts = solve(name, options(), model_of(lambda text, seed: "5" * 60, max_model_len=room))
    assert {one.text for one in attempts} == {"5" * 20}
    assert {one.finish_reason for one in attempts} == {"length"}


@pytest.mark.parametrize("name", ["beam_search", "dvts", "best_of_n", "weighted"])
def test_candidates_without_a_word_are_no_error(name, options):
    attempts = solve(name, options(), model_of(lambda text, seed: END))
    assert {(one.text, one.answer) for one in attempts} == {("", None)}
    assert set(attempts[0].details["scores"]) == {0.0}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"n": (1, 6), "beam_width": 4}, r"multiple of beam_width \(4\), at least 1; got \[1, 6\]"),
        ({"n": ()}, r"got \[\]"),
        ({"n": (0, 4)}, r"got \[0, 4\]"),
        ({"beam_width": 0}, "beam_width is 0"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"lookahead": -1}, "lookahead -1"),
        ({"max_step_tokens": 0}, "max_step_tokens 0"),
        ({"step_separator": ""}, "step_separator is empty"),
        ({"temperature": 0}, "at temperature 0"),
        ({"temperature": 0, "beam_width": 1, "n": (1, 2)}, "at temperature 0 all candidates are the same"),
        ({"aggregations": ("mean",)}, "no mean; there are min, last, avg, product"),
        ({"choices": ()}, "there is no name; there are max, vote"),
        ({"scorer": None}, "name a --scorer"),
        ({"scorer": "verifier"}, "say so: --scorer oracle"),
    ],
)
@pytest.mark.parametrize("name", ["beam_search", "dvts"])
def test_options_that_cannot_work_are_refused(name, more, message, options):
    with pytest.raises(ValueError, match=message):
        get_method(name, options(**more))


@pytest.mark.parametrize("name", ["beam_search", "dvts"])
def test_searches_take_the_multiples_of_their_width_and_tell_which_n_they_leave_out(name, options, caplog):
    method = get_method(name, options(n=DEFAULT_N, beam_width=4, choices=("max",)))
    assert [group[0].values["n"] for group in method.groups()] == [4, 8]
    (record,) = caplog.records
    assert (
        record.getMessage() == f"{name}: n = 1, 2 is left out: a search needs multiples of --beam_width, which is 4."
    )
    caplog.clear()
    get_method(name, options(n=(4, 8), beam_width=4))
    assert not caplog.records


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("too_few", "scores of 3 candidates for 4"),
        ("too_many", "returned 2 scores for a candidate of 1 steps to row 0"),
        ("not_a_number", "row 0: Step 0 has the score nan"),
        ("words", r"must return numbers from 0 to 1 for each candidate, got \['good'\]"),
        ("texts_alone", r"must return numbers from 0 to 1 for each candidate, got \['0.5'\]"),
        ("nothing", "must return a list with an entry for each candidate, got None"),
        ("one_text", "must return a list with an entry for each candidate, got '0.5'"),
    ],
)
@pytest.mark.parametrize("name", ["beam_search", "dvts", "weighted"])
def test_what_is_no_score_ends_the_run(name, function, message, options, scorers):
    with pytest.raises(ScorerError, match=message):
        solve(name, options(scorer=f"{scorers}:{function}"), model_of(lambda text, seed: f"1{END}"))


def test_a_scorer_that_fails_says_which_one_it_is(options, scorers):
    message = r"own_scorers.py:fails failed \(.*own_scorers.py, line \d+\): KeyError: .*service is down"
    with pytest.raises(ScorerError, match=message):
        solve("best_of_n", options(scorer=f"{scorers}:fails"), model_of(branching))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere.py:score", "The scorer 'nowhere.py:score' in --scorer: there is no file"),
        ("{file}:missing", "no 'missing' in .* Its functions: by_digits"),
        ("{file}", "names no function"),
        ("no_such_module:score", "fails to import"),
        ("{file}:without_more", r"must take `problems` and `steps` by keyword and end in \*\*more: def without_more"),
        ("{file}:without_steps", "must take `problems` and `steps` by keyword"),
        ("{file}:later", "is an `async def`"),
    ],
)
def test_scorers_that_are_not_there_are_refused(place, message, options, scorers):
    with pytest.raises(ValueError, match=message):
        get_method("weighted", options(scorer=place.format(file=scorers)))


def test_a_scorer_of_the_users_own_gets_problems_and_conversations(options, scorers):
    attempts = solve("best_of_n", options(scorer=f"{scorers}:by_messages"), model_of(branching), PROBLEMS)
    assert len(attempts) == 2


def test_a_score_of_the_whole_is_a_single_step(options, scorers):
    attempts = solve("best_of_n", options(scorer=f"{scorers}:of_the_whole"), model_of(branching))
    assert all(0 < score < 1 for score in attempts[0].details["scores"])


def answers_by_seed(*answers: str):
    """Candidate i gives the i-th answer, with the score that stands beside it."""
    return lambda text, seed: f"\\boxed{{{answers[seed].split()[0]}}} {answers[seed].split()[1]}{END}"


def test_equal_answers_vote_together_however_they_are_written(options):
    say = answers_by_seed("1/2 2", "3 5", "0.5 2", "\\frac12 2")
    (attempt,) = solve("weighted", options(), model_of(say))
    assert attempt.text.startswith("\\boxed{1/2}")
    assert sum(chance for _, chance in attempt.chances) == pytest.approx(1.0)
    assert "\\boxed{3} 5" not in dict(attempt.chances)
    (attempt,) = solve("best_of_n", options(), model_of(say))
    assert attempt.chances == (("\\boxed{3} 5", 1.0),)
    (attempt,) = solve("majority", options(scorer=None), model_of(say))
    assert {text for text, _ in attempt.chances} == {"\\boxed{1/2} 2", "\\boxed{0.5} 2", "\\boxed{\\frac12} 2"}


def test_all_n_come_from_one_pool(options):
    model = model_of(answers_by_seed("1 1", "2 2", "1 3", "3 4"))
    method = get_method("best_of_n", options(n=(1, 2, 4)))
    (group,) = method.groups()
    attempts = list(method.solve(PROBLEMS[:1], model, group, 0))
    assert [seed for _, seed, _ in model.asked] == [0, 1, 2, 3]
    assert [dict(one.chances).get("\\boxed{3} 4") for one in attempts] == pytest.approx([1 / 4, 1 / 2, 1.0])
    assert [one.total_tokens for one in attempts] == [12, 24, 48]
    assert [one.thinking_tokens for one in attempts] == [12, 24, 48]  # without delimiters all tokens are thinking


def test_a_part_of_a_pool_has_its_part_of_the_thinking(options):
    tokenizer = build_tokenizer("<think>", "</think>")
    problem = problem_of(tokenizer, 0, "2+2")
    said = ("a</think>4 1", "aaa</think>4 1", "a</think>4 1", "aaa</think>4 1")
    model = BranchingModel(tokenizer, lambda text, seed: said[seed] + END, [problem.prompt_ids])
    attempts = solve("majority", options(n=(1, 2, 4), scorer=None), model, [problem])
    assert [one.thinking_tokens for one in attempts] == [3, 6, 12]
    assert [one.total_tokens for one in attempts] == [7, 14, 28]


def test_scorers_can_read_what_the_model_wrote(options, scorers):
    """Steps are without their separators, which may be part of a number."""
    model = model_of(lambda text, seed: f"It is 3{' ' if seed == 1 else ''}. 14{END}")
    (attempt,) = solve("best_of_n", options(scorer=f"{scorers}:whole", step_separator=". "), model)
    assert attempt.details["scores"] == pytest.approx([1.0, 0.0, 1.0, 1.0])


def test_chances_never_sum_above_one(options):
    for n in range(1, 8):
        settings = options(n=(n, 7))
        attempt, *_ = solve("weighted", settings, model_of(answers_by_seed(*(f"{i % 3} {i + 1}" for i in range(7)))))
        assert math.fsum(chance for _, chance in attempt.chances) <= 1.0


class Programs:
    """A judge of texts that no verifier of mathematics could judge."""

    def check(self) -> None:
        """Do nothing."""

    def judge(self, rows: Sequence[int], texts: Sequence[str]) -> list[Judgement]:
        return [
            judgement_of(Verdict.RIGHT if "print" in text and row == 0 else Verdict.WRONG)
            for row, text in zip(rows, texts, strict=True)
        ]


class LosesAll(Programs):
    def judge(self, rows: Sequence[int], texts: Sequence[str]) -> list[Judgement]:
        return [judgement_of(LOST) for _ in rows]


@pytest.mark.parametrize("name", ["best_of_n", "beam_search", "dvts"])
def test_the_oracle_takes_what_the_judge_of_the_benchmark_says_is_right(name, options):
    """Of programs none has an answer in the sense of mathematics, whatever stands in a comment."""
    model = model_of(lambda text, seed: f"print(4){END}" if seed == 2 else f"\\boxed{{4}}{END}")
    given = options(scorer="oracle", judge=Programs(), has_answers=False, choices=("max",))
    (attempt,) = solve(name, given, model)
    assert attempt.text == "print(4)"


def test_an_oracle_whose_judge_is_lost_ends_the_run(options):
    with pytest.raises(ScorerError, match="oracle"):
        solve("best_of_n", options(scorer="oracle", judge=LosesAll()), model_of(branching))


def test_another_scorer_of_the_same_name_is_another_setting(tmp_path):
    path = tmp_path / "changing.py"
    path.write_text(SCORER_CODE, encoding="utf-8")
    before = fingerprint_of(f"{path}:by_digits")
    assert before == fingerprint_of(f"{path}:by_digits")
    path.write_text(SCORER_CODE.replace("/ 10", "/ 20"), encoding="utf-8")
    after = fingerprint_of(f"{path}:by_digits")
    assert before != after
    folder = tmp_path / "model"
    folder.mkdir()
    prints = []
    for text in ("{}", "[]"):
        (folder / "config.json").write_text(text, encoding="utf-8")
        prints.append(fingerprint_of(str(folder)))
    found = {
        setting.key
        for name in (before, after, *prints)
        for setting in get_method(
            "best_of_n", MethodOptions(n=(4,), scorer=f"{path}:by_digits", scorer_fingerprint=name)
        ).groups()[0]
    }
    assert len(found) == 4
    assert fingerprint_of("oracle") is None
    assert fingerprint_of("open_r1.test_time.aggregation:log_score") is not None


@pytest.mark.parametrize("name", ["majority", "best_of_n", "weighted"])
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"n": ()}, "each must be at least 1"),
        ({"n": (0, 4)}, "each must be at least 1"),
        ({"temperature": 0}, "all 4 candidates are the same"),
        ({"step_separator": ""}, "step_separator is empty"),
    ],
)
def test_pools_that_cannot_be_are_refused(name, more, message, options):
    with pytest.raises(ValueError, match=message):
        get_method(name, options(**more))


def test_thinking_tokens_are_those_before_its_end(options):
    tokenizer = build_tokenizer("<think>", "</think>")
    problem = problem_of(tokenizer, 0, "2+2")
    said = {"": f"<think>a 1{SEPARATOR}", "<think>a 1\n\n": f"b 2</think>{SEPARATOR}"}
    model = BranchingModel(tokenizer, lambda text, seed: said.get(text, f"\\boxed{{4}} 9{END}"), [problem.prompt_ids])
    for name in ("beam_search", "dvts"):
        attempt, *_ = solve(name, options(), model, [problem])
        assert attempt.thinking_tokens == 4 * (6 + 4)
        assert attempt.total_tokens == 4 * (6 + 6 + 12)


@pytest.mark.parametrize("name", ["beam_search", "best_of_n"])
def test_settings_name_all_that_decides(name, options):
    def keys(**more):
        groups = get_method(name, options(scorer="oracle", judge=Programs(), **more)).groups()
        return {setting.key for group in groups for setting in group}

    assert keys() == keys(scorer_kind="qwen")  # an oracle is no model, and of no kind
    for more in ({"aggregations": ("min",)}, {"step_separator": "\n"}, {"n": (2,)}):
        assert not keys() & keys(**more)


def test_scorer_protocol_of_ones_own(options, monkeypatch):
    """Tokens that a scorer reads are counted."""

    class Reader:
        name, kind = "reader", None

        def score(
            self, problems: Sequence[object], step_texts: Sequence[Sequence[str]], texts: Sequence[str]
        ) -> list[StepScores]:
            return [StepScores((0.5,) * len(steps), 10) for steps in step_texts]

    for module in ("best_of_n", "tree_search"):
        monkeypatch.setattr(f"open_r1.test_time.{module}.build_scorer", lambda *_, **__: Reader())
    found = {
        name: solve(name, options(), model_of(branching))[0].scorer_tokens for name in ("beam_search", "best_of_n")
    }
    assert found == {"beam_search": 120, "best_of_n": 40}
