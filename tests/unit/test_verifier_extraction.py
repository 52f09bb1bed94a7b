# SPDX-License-Identifier: Apache-2.0
"""What counts as the answer of a completion and of a gold, hostile texts first."""

import time

import pytest

from open_r1.rewards.verifier.extract import Answer, extract_answer, extract_gold, find_answer


@pytest.mark.parametrize(
    "hostile",
    [
        "\\boxed{" * 100_000,
        "answer is " * 100_000,
        "answer to a " * 50_000,
        "answer must be " * 50_000,
        "answers are " * 50_000,
        "<answer>" * 100_000,
        "$" * 500_000,
        "$5 " * 100_000,
        "\nQ:" * 50_000,
        "the answer is 5\nQuestion: \\boxed{2}\n" * 20_000,
        "(1) " * 100_000,
        "\n(1)\n(2)" * 50_000,
        "(1) \\boxed{1}\n(2) \\boxed{2}\n" * 20_000,
        "\\boxed{1}, " * 100_000,
        "-" * 500_000 + "\\boxed{3}" + "=" * 500_000,
        r"\text{" * 100_000 + r"-\boxed{3}\text{" * 50_000,
        "\n" * 500_000,
        "\n " * 200_000 + "\\boxed{2}" + "\r" * 500_000 + "\n",
    ],
    ids=lambda text: text[:20],
)
def test_search_for_the_answer_is_linear(hostile: str):
    start = time.process_time()
    extract_gold(hostile)
    extract_answer(hostile)
    # 5 is the answer of the one that goes on with another question.
    assert extract_answer(rf"{hostile} so \boxed{{7}}") == ("5" if "Question" in hostile else "7")
    assert extract_answer(rf"<think>{hostile}</think> so \boxed{{7}}") == "7"
    assert time.process_time() - start < 2


def test_an_unclosed_box_is_no_answer_and_no_earlier_box_replaces_it():
    assert extract_answer(r"\boxed{3} no, \boxed{4") is None


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


HEDGES = [
    (r"\boxed{3} or \boxed{4}", ("3",)),
    (r"$\boxed{3}$, $\boxed{4}$", ("3",)),
    (r"\boxed{2}\boxed{3}\boxed{4}", ("3", "2")),
    (r"It is \(\boxed{3}\). Or \(\boxed{4}\).", ("3",)),
    (r"It is \boxed{3}, i.e. \boxed{4}.", ("3",)),
    (r"It is \boxed{3}. Wait, so it is \boxed{4}.", ()),
    ("It is \\boxed{3}\n\nIt is \\boxed{4}", ()),
    ("1. It is \\boxed{3}\n2. It is \\boxed{4}", ()),
    (r"是 \boxed{3}。是 \boxed{4}。", ()),
]


@pytest.mark.parametrize(("text", "others"), HEDGES)
def test_boxes_of_one_sentence_hedge(text: str, others: tuple[str, ...]):
    answer = find_answer(text)
    assert (answer.text, answer.others) == ("4", others)


# What stands around the box in its formula.
SIGNS_AND_UNITS = [
    (r"$-\boxed{12}$", "-12"),
    (r"so $x = -\boxed{12}$.", "-12"),
    (r"\[ x = - \boxed{12} \]", "-12"),
    (r"\begin{align*} x &= -\boxed{12} \end{align*}", "-12"),
    (r"$= -\boxed{a-b}$", "-(a-b)"),
    (r"$x = \pm\boxed{3}$", r"\pm 3"),
    (r"The answer is -\boxed{12}.", "-12"),
    (r"**Answer:** $-\boxed{\frac{1}{2}}$", r"-\frac{1}{2}"),
    (r"**-\boxed{5}**", "-5"),
    (r"$-\boxed{\infty}$", r"-\infty"),
    (r"$\boxed{12}\%$", r"12\%"),
    (r"\boxed{12}\%", r"12\%"),
    (r"$\boxed{12}$\%", r"12\%"),
    (r"It is \boxed{12}% of all.", r"12\%"),
    (r"\$\boxed{5}", r"\$5"),
    (r"$\$\boxed{1,250}$", r"\$1,250"),
    (r"$-\$\boxed{5}$", r"-\$5"),
    (r"$\boxed{30}^\circ$", r"30^\circ"),
    (r"$\boxed{30}^{\circ}$", r"30^\circ"),
    (r"$\boxed{30}^\circ\text{C}$", r"30^\circ\text{C}"),
    ("\\boxed{30}\u00b0", r"30^\circ"),
    (r"$\boxed{5}\text{ cm}$", r"5\text{ cm}"),
    (r"$\boxed{5}\,\mathrm{cm}^2$", r"5\mathrm{cm}^2"),
    (r"$\boxed{60}\ \text{km/h}$", r"60\text{km/h}"),
    # No more than the box.
    (r"$x - \boxed{3}$", "3"),
    (r"$\frac{a}{b} - \boxed{3}$", "3"),
    (r"$3 + 4 = \boxed{7}$", "7"),
    (r"$5\text{ cm} - \boxed{3}$", "3"),
    (r"$x = \boxed{3}$", "3"),
    (r"$x = -\boxed{3} + 4$", "3"),
    (r"$x = -\boxed{3}\pi$", "3"),
    (r"It costs $5$ - \boxed{3} in all.", "3"),
    ("- \\boxed{3}", "3"),
    ("Answer:-\\boxed{3}", "3"),
    ("pages 10-\\boxed{12}", "12"),
    (r"Take option -\boxed{B}", "B"),
    (r"$-\boxed{-12}$", "-12"),
    (r"$-\boxed{x=3}$", "x=3"),
    (r"$\boxed{12\%}\%$", r"12\%"),
    (r"$\boxed{5}\text{ apples}$", "5"),
    (r"$\boxed{5}\text{ in total}$", "5"),
    (r"$\boxed{5}\text{ km}/\text{h}$", "5"),
    (r"$\boxed{x}\text{ in }$", "x"),
    (r"$\boxed{5}^2$", "5"),
    (r"$\boxed{5}x$", "5"),
]


@pytest.mark.parametrize(("text", "answer"), SIGNS_AND_UNITS)
def test_sign_percent_and_unit_outside_the_box_count(text: str, answer: str):
    assert extract_answer(text) == answer
    assert extract_gold(text) == answer


def test_sign_outside_the_box_counts_in_a_hedge():
    answer = find_answer(r"It is $\boxed{3}$. Or $-\boxed{4}$.")
    assert (answer.text, answer.others) == ("-4", ("3",))


LISTS = [
    (r"$x=\boxed{1}$ and $x=\boxed{-2}$.", "1, -2"),
    (r"$x=\boxed{1}$ or $x=\boxed{-2}$.", r"1 \text{ or } -2"),
    (r"$\boxed{1}$, $\boxed{2}$, or $\boxed{3}$", r"1 \text{ or } 2 \text{ or } 3"),
    (r"$x=-\boxed{1}$ and $x=\boxed{2}$.", "-1, 2"),
    (r"\boxed{(2,2)} \quad\text{and}\quad \boxed{(6,2)}", "(2,2), (6,2)"),
    (r"$k=\boxed{45}, n=\boxed{2}$", "k=45, n=2"),
    (r"$k=\boxed{45}$ and $n=-\boxed{2}$", "k=45, n=-2"),
    (r"k=\boxed{45}, n=\boxed{2}", "k=45, n=2"),
    (r"$$\boxed{k = 45} \quad \text{and} \quad \boxed{n = 2}$$", "k = 45, n = 2"),
    (r"$$\begin{aligned} a &= \boxed{1} \\ b &= -\boxed{2}\end{aligned}$$", "a=1, b=-2"),
    (r"$f(x) = \boxed{x^2}$ and $g(x) = \boxed{x^3}$", "f(x)=x^2, g(x)=x^3"),
    (r"$x \in \boxed{(0,1)} \cup \boxed{(2,\infty)}$", r"(0,1) \cup (2,\infty)"),
    (r"$\boxed{3} : \boxed{4}$", "3 : 4"),
    (r"We use \boxed{1} papers and \boxed{2} bins.", "1, 2"),
    (r"The area is $\boxed{16}$ and the perimeter is $\boxed{12}$.", "16, 12"),
    ("The solutions are\n- $x = \\boxed{1}$\n- $x = \\boxed{2}$", "1, 2"),
    ("$$\\boxed{1}$$\n\n$$\\boxed{2}$$", "1, 2"),
    (r"The side is $\boxed{3}$. The others are $\boxed{4}$ and $\boxed{5}$.", "4, 5"),
    ("(1) We get $\\boxed{2}$.\n(2) Hence $x = \\boxed{3}$.", "(1) 2; (2) 3"),
    (r"(1) $\boxed{2}$; (2) $\boxed{3}$", "(1) 2; (2) 3"),
    ("**(a)** It is $\\boxed{2}$.\n\n**(b)** It is $-\\boxed{3}$.\n", "(a) 2; (b) -3"),
    ("Part (i): \\boxed{2}\n\nPart (ii): $\\boxed{3}$ and $\\boxed{4}$", "(i) 2; (ii) 3, 4"),
    ("\uff081\uff09 \\boxed{2}\uff1b\n\uff082\uff09 \\boxed{3}", "(1) 2; (2) 3"),
    ("(1) \\boxed{9}\n(2) \\boxed{8}\n\nAnswers:\n(1) \\boxed{2}\n(2) \\boxed{3}", "(1) 2; (2) 3"),
]


@pytest.mark.parametrize(("text", "joined"), LISTS)
def test_boxes_of_the_answer_are_a_list(text: str, joined: str):
    answer = find_answer(text)
    assert answer.joined == joined
    assert answer.text is not None and joined.endswith(answer.text)
    assert extract_gold(text) == joined


SINGLE = [
    (r"\boxed{4}", "4"),
    (r"The side is $\boxed{3}$. Its area is $\boxed{9}$.", "9"),
    (r"The side is $\boxed{3}$, so the area is $\boxed{9}$.", "9"),
    (r"$\boxed{x=3} \Rightarrow y = \boxed{9}$", "9"),
    (r"It is $\boxed{16}$, that is, $\boxed{4^2}$.", "4^2"),
    (r"$\boxed{\frac{1}{2}} = \boxed{0.5}$", "0.5"),
    (r"As $x=\boxed{3}$ fails, we take $x=\boxed{4}$.", "4"),
    (r"From $\boxed{3}$ we find $\boxed{4}$.", "4"),
    (r"The root $\boxed{3}$ is extraneous and the other is $\boxed{4}$.", "4"),
    (r"It is $\boxed{5}$, and again $\boxed{5}$.", "5"),
    (r"It is $\boxed{1}$ or maybe $\boxed{-1}$.", "-1"),
    ("1. The side is $\\boxed{3}$.\n2. The area is $\\boxed{9}$.", "9"),
    ("(2) It is \\boxed{3}\n(3) It is \\boxed{4}", "4"),
    ("(1) It is \\boxed{2}.\n(2) It is \\boxed{3}.\n\nTheir sum is \\boxed{5}.", "5"),
    ("(1) We begin.\n(2) It is \\boxed{4}", "4"),
    ("(1) It is \\boxed{4}\n(2) The proof is done.", "4"),
]


@pytest.mark.parametrize(("text", "answer"), SINGLE)
def test_boxes_that_are_steps_or_repeat_one_another_are_no_list(text: str, answer: str):
    assert find_answer(text).joined is None
    assert extract_gold(text) == answer


def test_boxes_of_numbered_parts_are_no_hedge():
    assert find_answer("(1) \\boxed{2}\n(2) \\boxed{3}") == Answer("3", (), "(1) 2; (2) 3")


PHRASES = [
    ("Final Answer: The final answer is $10,455$. I hope it is correct.", "$10,455$"),
    ("The final answer is [2,5). I hope it is correct.", "[2,5)"),
    ("The answer is: **12 cm**", "12 cm"),
    (r"So the final answer is \(x+1\).", r"\(x+1\)"),
    ("Hence, the answer must be (C).", "(C)"),
    ("Hence the answer should be $5$, as wanted.", "$5$"),
    ("The answers are 3 and 5.", "3 and 5"),
    ("The answer to the question is 5.", "5"),
    ("The answer is 5. Indeed, the answer must be 1 modulo 4.", "5"),
    ("The answer must be positive.", None),
    ("The answer would be clear.", None),
    (r"Answer: $\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
    ("The answer is Rs. 6400.", "Rs. 6400"),
    ("Answer: Mr. Smith.", "Mr. Smith"),
    ("The answer is $18. He also has $5 left.", "$18"),
    ("The answer is $18.\n\nHe has $5 left.", "$18"),
    ("The answer is $18 and not $5.", "$18 and not $5"),
    ("The answer is $3 or 4$.", "$3 or 4$"),
    ("Answer: (1) 2; (2) 3", "(1) 2; (2) 3"),
    ("Answer: (1) $a = 2$. (2) 3. This ends it.", "(1) $a = 2$. (2) 3"),
    ("Answer: 5; (1) was used", "5"),
]


@pytest.mark.parametrize(("text", "answer"), PHRASES)
def test_phrase_is_read_to_its_end(text: str, answer: str | None):
    assert extract_answer(text) == answer


NEXT_PROBLEMS = [
    "The final answer is $5$. I hope it is correct.\n\nProblem:\nAdd.\n\nSolution:\nThe final answer is $7$.",
    "3 + 2 = 5. The answer is 5.\n\nQ: And 7?\nA: The answer is 7.",
    "It is $\\boxed{5}$.\n\nQuestion: And 7?\nIt is $\\boxed{7}$.",
    "<think>\nThe answer is 3?\nQ: no\n</think>\n<answer>5</answer>\nQ: x\n<think>\n</think><answer>7</answer>",
]


@pytest.mark.parametrize("text", NEXT_PROBLEMS)
def test_problem_that_the_model_made_up_does_not_count(text: str):
    assert extract_answer(text) in ("5", "$5$")


@pytest.mark.parametrize(
    "text",
    [
        "Problem: add.\nThe answer is 5.",
        "It has to stand in \\boxed{}.\n\nProblem: add.\nThe sum is \\boxed{5}.",
        "The answer is 3.\nThat was Question: one. The answer is 5.",
        "<think>The answer is 3.\nQ: is it?\n</think>\nThe answer is 5.",
        "<think>The answer is 3.\nQ: is it?\n</think>\nQ: 2 + 3\nThe answer is 5.",
        "The sum is 3.\nProblem: it is odd.\nThe answer is 5.",
    ],
)
def test_problem_before_the_answer_is_no_end(text: str):
    assert extract_answer(text) == "5"
