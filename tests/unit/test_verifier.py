# SPDX-License-Identifier: Apache-2.0
"""The verifier: hostile inputs first, then what counts as the answer, then when it equals the gold."""

import signal
import threading
import time

import math_verify
import pytest

from open_r1.rewards.verifier import Verdict, log_verdicts, verify, verify_all
from open_r1.rewards.verifier.answer_extraction import extract_answer, extract_gold
from open_r1.rewards.verifier.exact_match import exact_match, normalize
from open_r1.rewards.verifier.formula_limits import is_too_large

R, W, N, U = Verdict.RIGHT, Verdict.WRONG, Verdict.NO_ANSWER, Verdict.UNPARSABLE_GOLD

HOSTILE_FORMULAS = [
    "9^{9^{9}}",
    "95**87**66",
    "9^9^9",
    "x^{9^{9^9}}",
    r"9^{2\cdot 9^9}",
    "(9^{9999})^{9999}",
    "9^{99999999}",
    "10^{-9999999999}",
    "99999!",
    "((9!)!)!",
    "(9^9)!",
    r"\binom{99999}{50000}",
    "{" * 100_000,
    "{" * 12 + "1" + "}" * 12,
    "(" * 30 + "1" + ")" * 30,
    r"\frac{" * 25 + "1" + "}{2}" * 25,
    "1" * 100_000,
    "x+" * 100_000,
    "\x00" * 10,
    "\\" * 1_000,
    r"\left" * 200,
    "^" * 500,
    "\ud800",
    "😀" * 100,
]


@pytest.mark.parametrize("formula", HOSTILE_FORMULAS, ids=lambda formula: repr(formula[:20]))
def test_hostile_answer_is_wrong_and_costs_little(formula: str):
    start = time.process_time()
    assert verify("3", rf"<answer>{formula}</answer>") is W
    assert verify(r"\sqrt{3}", rf"<answer>{formula}</answer>") is W
    assert time.process_time() - start < 2


@pytest.mark.parametrize("formula", HOSTILE_FORMULAS[:13], ids=lambda formula: repr(formula[:20]))
def test_hostile_gold_is_unparsable(formula: str):
    assert verify(formula, r"\boxed{\sqrt{3}}") is U


@pytest.mark.parametrize(
    "hostile", ["\\boxed{" * 100_000, "answer is " * 100_000, "<answer>" * 100_000, "$" * 500_000]
)
def test_search_for_the_answer_is_linear(hostile: str):
    start = time.process_time()
    assert extract_answer(rf"{hostile} so \boxed{{7}}") == "7"
    assert time.process_time() - start < 1


def test_an_unclosed_box_is_no_answer_and_no_earlier_box_replaces_it():
    assert extract_answer(r"\boxed{3} no, \boxed{4") is None


def test_other_rows_keep_their_verdicts_beside_hostile_ones():
    golds = ["3", r"\sqrt{12}"] * len(HOSTILE_FORMULAS)
    answers = [text for formula in HOSTILE_FORMULAS for text in (rf"<answer>{formula}</answer>", r"\boxed{2\sqrt{3}}")]
    assert verify_all(golds, answers) == [W, R] * len(HOSTILE_FORMULAS)


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        verify_all(["1", "2"], [r"\boxed{1}"])


@pytest.mark.parametrize("gold", [None, "", "   ", "$$", r"\frac{1}{", r"\begin{cases} x & y", "%%%"])
@pytest.mark.parametrize("completion", [r"\boxed{\sqrt{2}}", "no answer at all"])
def test_unparsable_gold_is_named_whatever_the_answer(gold: object, completion: str):
    assert verify(gold, completion) is U


@pytest.mark.parametrize(("gold", "answer"), [(42, "42"), (0.5, r"\frac{1}{2}"), (-3, "-3")])
def test_gold_may_be_a_number(gold: object, answer: str):
    assert verify(gold, rf"\boxed{{{answer}}}") is R


ANSWERS = [
    (r"\boxed{42}", "42"),
    (r"\fbox{42}", "42"),
    (r"\boxed {42}", "42"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{\text{a }\boxed{b}}", "b"),
    (r"first \boxed{3}, then \boxed{4}", "4"),
    (r"<think>\boxed{3}</think> It is \boxed{4}.", "4"),
    (r"<think>\boxed{3}</think> It is clear.", None),
    (r"<think>\boxed{3}", None),
    (r"\boxed{3} <think> hm", "3"),
    ("<think>a</think>\n<answer>\n42\n</answer>", "42"),
    ("<think>never closed <answer>42</answer>", "42"),
    (r"\boxed{1}<answer>\boxed{2}</answer>", "2"),
    ("<answer>1</answer> no: <answer>2</answer>", "2"),
    (r"<answer></answer> \boxed{5}", "5"),
    ("<answer>The answer is 7.</answer>", "7"),
    ("<answer>8", None),
    ("The answer is 42.", "42"),
    ("The final answer is: $x^2$, as shown", "$x^2$"),
    ("The answer is 3.14 because of that", "3.14"),
    ("So the answer is $x=1$ or $x=2$.", "$x=1$ or $x=2$"),
    ("The answer is\n\\[\n 5 \n\\]\nDone.", "\\[\n 5 \n\\]"),
    ("**Final Answer:** 6", "6"),
    ("Answer: **B**", "B"),
    ("answers are many", None),
    ("42", None),
    ("$42$", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "answer"), ANSWERS)
def test_answer_is_found(text: str, answer: str | None):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("42", "42"),
        (" 42 ", "42"),
        ("6 * 7 = 42\n#### 42", "42"),
        (r"We get $x = \boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
        ("The answer is 5.", "5"),
        ("<answer>\n5\n</answer>", "5"),
    ],
)
def test_gold_of_a_worked_solution_is_its_answer(gold: str, answer: str):
    assert extract_gold(gold) == answer


EXACT = [
    ("42", "42", True),
    ("42", "42.0", True),
    ("42", "+42", True),
    ("42", "042", True),
    ("42", "43", False),
    ("0", "-0", True),
    ("1,234,567", "1234567", True),
    ("1,23", "123", None),
    ("1, 234", "1234", None),
    ("0.5", r"\frac12", True),
    ("0.5", "1/2", True),
    ("-0.5", r"-\frac{1}{2}", True),
    ("-0.5", r"\frac{-1}{2}", True),
    ("1/3", "0.333333", False),
    ("1/3", "2/6", True),
    ("1/0", "2/0", None),
    ("9" * 100_000, "9" * 100_000 + ".0", True),
    ("9" * 100_000, "9" * 99_999 + "8", False),
    ("$42$", r"\(42\)", True),
    (r"\text{Yes}", "yes", True),
    ("yes", "no", False),
    ("listen", "silent", False),
    ("B", "(B)", True),
    ("B", "b)", True),
    ("(B)", r"\text{(B)}", True),
    ("B", "B. 12", True),
    ("B", "C) 12", False),
    ("A", "Apple", None),
    ("50", r"50\%", None),
    ("12", "12 cm", None),
    ("", "", None),
    (r"2\sqrt{3}", r"2 \sqrt{3}", True),
    ("(1,2)", r"\left( 1, 2 \right)", True),
    ("1 2", "12", None),
]


@pytest.mark.parametrize(("gold", "answer", "is_equal"), EXACT, ids=lambda value: repr(value)[:20])
def test_exact_match(gold: str, answer: str, is_equal: bool | None):
    assert exact_match(gold, answer) is is_equal


@pytest.mark.parametrize(
    "text", ["42", r"\frac12", "(1,2)", "x^2-1", "A", r"50\%", r"\{2,1\}", r"2\sqrt{3}", r"x \in [1,2)"]
)
@pytest.mark.parametrize("wrapping", ["%s", "$%s$", r"\(%s\)", r"\[%s\]", "$ %s $", "%s."])
def test_gold_equals_itself_in_any_wrapping(text: str, wrapping: str):
    wrapped = wrapping % text
    for completion in (rf"\boxed{{{wrapped}}}", f"<answer>\n{wrapped}\n</answer>", f"The answer is {wrapped}"):
        assert verify(text, completion) is R
        assert verify(wrapped, rf"\boxed{{{text}}}") is R


ALGEBRA = [
    (r"2\sqrt{3}", r"\sqrt{12}", R),
    (r"$2\sqrt{3}$", "2", W),
    ("x^2-1", "(x-1)(x+1)", R),
    ("x^2-1", "(x-1)(x+2)", W),
    (r"\{2,1\}", r"\{1,2\}", R),
    ("[1,2)", "[1,2]", W),
    ("3", "x=3", R),
    ("0.5", r"50\%", R),
    ("12", r"12\text{ cm}", R),
    (r"\frac{\pi}{2}", r"\dfrac{\pi}{2}", R),
    (r"3 \text{ or } 4", r"\{3,4\}", R),
    ("$x=1$ or $x=2$", r"x=1 \text{ or } x=2", R),
    (r"\$5", "5", R),
    (r"\infty", r"-\infty", W),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}", W),
    ("7", r"\text{seven}", W),
    (r"\mathbb{R}", r"e)\boxed\mathbb{R}", W),
    ("7", r"\frac{1}{", W),
]


@pytest.mark.parametrize(("gold", "answer", "verdict"), ALGEBRA)
def test_algebra(gold: str, answer: str, verdict: Verdict):
    assert verify(gold, rf"<answer>{answer}</answer>") is verdict


@pytest.mark.parametrize(
    "text", ["x^{2} + 2^{2024}", "(n+1)!", "(2n-1)!", "100!", "e^{x^2}", r"\left(x^{2}\right)^{3}", "10^{-12}"]
)
def test_real_answers_pass_the_limits(text: str):
    assert not is_too_large(text)


def test_a_batch_is_judged_as_its_rows_are():
    golds = [gold for gold, _, _ in ALGEBRA]
    completions = [rf"\boxed{{{answer}}}" for _, answer, _ in ALGEBRA]
    assert verify_all(golds, completions) == [verify(*pair) for pair in zip(golds, completions, strict=True)]


def test_works_off_the_main_thread():
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(verify(r"\sqrt{28}", r"\boxed{2\sqrt{7}}")))
    thread.start()
    thread.join()
    assert verdicts == [R]


def test_leaves_the_alarm_and_the_handler_of_others_alone():
    def handler(signum, frame):
        pass

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 3600)
    try:
        assert verify(r"\sqrt{44}", r"\boxed{2\sqrt{11}}") is R
        assert signal.getsignal(signal.SIGALRM) is handler
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 3500
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_comparison_that_never_ends_is_a_timeout(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("open_r1.rewards.verifier.judge.COMPARE_TIMEOUT_S", 1)
    assert verify(r"\sqrt{2}+x", r"\boxed{(x+1)^{2023}}") is Verdict.TIMEOUT


def test_a_comparison_that_fails_is_a_crash(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    def fail(*args, **kwargs):
        raise RuntimeError("a bug in the algebra system")

    monkeypatch.setattr(math_verify, "verify", fail)
    assert verify(r"\sqrt{5}", r"\boxed{2\sqrt{5}}") is Verdict.CRASH
    assert "a bug in the algebra system" in caplog.text


@pytest.mark.parametrize(
    ("verdict", "reward"),
    [(R, 1.0), (W, 0.0), (N, 0.0), (U, None), (Verdict.TIMEOUT, 0.0), (Verdict.CRASH, 0.0)],
)
def test_reward_of_every_verdict(verdict: Verdict, reward: float | None):
    assert verdict.reward == reward


def test_every_row_and_every_rate_is_logged():
    columns, metrics = {}, {}
    log_verdicts("accuracy_reward", [R, W, R, U], columns.__setitem__, metrics.__setitem__)
    assert columns == {"accuracy_reward/verdict": ["right", "wrong", "right", "unparsable_gold"]}
    assert metrics == {
        "accuracy_reward/right": 0.5,
        "accuracy_reward/wrong": 0.25,
        "accuracy_reward/no_answer": 0.0,
        "accuracy_reward/unparsable_gold": 0.25,
        "accuracy_reward/timeout": 0.0,
        "accuracy_reward/crash": 0.0,
    }


def test_normalize_keeps_what_has_meaning():
    assert normalize("1 2") == "1 2"
    assert normalize("x²") != normalize("x2")
