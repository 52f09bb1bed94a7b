# SPDX-License-Identifier: Apache-2.0
"""Forms that answers take in real data: each beside a near miss, which must stay wrong."""

import time

import pytest

from open_r1.rewards.verifier import Verdict, verify_all
from open_r1.rewards.verifier.extract import Answer, extract_answer, find_answer
from open_r1.rewards.verifier.normalize import respell


@pytest.mark.parametrize(
    "hostile",
    [
        "\\boxed{}" * 100_000,
        "\\boxed " * 100_000,
        "\\boxed 1" * 100_000,
        "#### 1\n" * 100_000,
        "#### " + "1" * 500_000,
        "#" * 500_000,
        "**Answer**\n" * 50_000,
        "## Answer" * 50_000,
        "\u6545\u9009" * 200_000,
        "answer=" * 100_000,
        " " * 500_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_hostile_completion_takes_linear_time(hostile: str):
    start = time.process_time()
    find_answer(hostile)
    assert extract_answer(rf"{hostile} so \boxed{{7}}") == "7"
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"Hence $\boxed 5$.", "5"),
        (r"Hence $\boxed7$.", "7"),
        (r"\[ \boxed \frac{1}{2} \]", r"\frac{1}{2}"),
        ("So \\boxed 5\nas wanted", "5"),
        (r"$\boxed{5}$ (asked for in \boxed{})", "5"),
        (r"It goes into \boxed{}: \boxed{5}", "5"),
        ("**Answer**\n\n5", "5"),
        ("## Answer\n$5$ apples", "$5$"),
        ("### Final Answer:\n**5**", "5"),
        ("**The final answer:**\n5", "5"),
        ("5 + 5 is 10.\n#### 10", "10"),
        ("#### 1,250", "1,250"),
        ("#### $18", "$18"),
        ("#### -3.5\n", "-3.5"),
        (r"#### $\frac{1}{2} + x$", r"$\frac{1}{2} + x$"),
        ("Answer = 5", "5"),
        ("\u6545\u9009\uff1aA\uff0e", "A"),
        ("\u6545\u9009B", "B"),
        ("\u6545\u7b54\u6848\u4e3a\uff1a$5$\uff0e", "$5$"),
    ],
)
def test_answer_is_found(text: str, answer: str):
    assert find_answer(text) == Answer(answer)


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{}",
        r"\boxed 5",
        r"$\boxed{3} + \boxed{4$",
        r"It is $\boxed{3}$. I take that back. It is $\boxed{}$.",
        r"$\boxed{3}$ or rather $\boxed 4",
        "#### 1. First we add\n",
        "#### 1)\nadd",
        "#### Step 1",
        "#### 2 apples and pears",
        "#### 1:\nadd",
        "see #### 5",
        "##### 5",
        "Answering\n5",
        "## Answers\n5",
        "answer == 5",
        "\u6545\u9009\u62e9\u8d85\u5e02",
    ],
)
def test_what_is_no_answer_is_not_found(text: str):
    assert extract_answer(text) is None


def test_a_box_without_braces_hedges_like_any_other():
    assert find_answer(r"It is $\boxed 3$ or $\boxed 4$.") == Answer("4", ("3",), r"3 \text{ or } 4")


# gold: the forms that are right, the near misses that are wrong
FORMS = {
    "B": (
        [
            r"\bf{B}",
            r"\rm{B}",
            r"{\bf B}",
            r"\mathbf{B}",
            r"\text{The answer is } B",
            r"\text{The correct answer is (B)}",
            r"\textbf{B}\ ",
            r"\mathrm B",
            r"\large{\textbf{B}}",
        ],
        [r"\bf{C}", r"{\rm D}", r"\text{The answer is } C", r"\text{The answer is not } B"],
    ),
    "5": (
        [
            r"5\ ",
            r"5\\",
            r"\mathbf 5",
            r"\large 5",
            r"\bf{5}",
            r"{\bf 5}",
            r"\color{red}{5}",
            r"\color{red}5",
            r"\textcolor{red}{5}",
            r"{\color{blue}5}",
            r"{5}",
            r"\text{The answer is } 5",
            r"\text{Answer: }5",
            r"\text{So the final answer is: } $5$",
        ],
        [
            r"\color{red}{6}",
            r"{\bf 50}",
            r"\text{The answer is } 6",
            r"\text{The answer is not } 5",
            r"\text{The answer is } 5 or 6",
        ],
    ),
    "10": (
        [
            r"\mathrm{C}_5^2",
            "C_5^2",
            "C_{5}^{2}",
            r"\text{C}_5^2",
            "^5C_2",
            "{}^5C_2",
            "_5C_2",
            "2C_5^1",
            r"{5 \choose 2}",
        ],
        ["C_5^1", "C_2^5", "C_{10}^{2}", "^5C_1", "x^5C_2", "C_1^{10}"],
    ),
    r"\binom{2n}{n}": (["C_{2n}^n", "C_{2n}^{n}"], ["C_n^{2n}", "C_{2n}^{1}", "C_{2n} n"]),
    "C_1^2": (["C_{1}^{2}"], ["C_1", "C_2^1", "2C_1", "0"]),
    r"30^\circ": (
        ["30^o", "30^{o}", r"30^{\text{o}}", r"30^\text{o}", r"30^{\mathrm{o}}", r"30^{\circ}0'"],
        ["31^o", "30^0", "3^o", r"30^\circ1'"],
    ),
    r"30^{\circ}15'": (
        [r"30.25^\circ", r"30^{\circ}15^{\prime}", r"30^\circ 15'", "30\u00b015\u2032", '30\u00b015\u20320"'],
        [r"30.15^\circ", r"30^\circ", "15'", r"30^\circ15'1''", r"15^\circ30'"],
    ),
    r"\frac34": (
        [r"{3 \over 4}", r"{{3}\over{4}}", r"3 \over 4", "3/4"],
        [r"1 + 3 \over 4", r"{4 \over 3}", r"\overline{3}4", "3{:}5"],
    ),
    r"\frac13": (
        [r".\overline{3}", "0.(3)", r"0.333\ldots", "0.333...", "0.3333\u2026", r"0.\dot{3}", r"0.\dot3"],
        ["0.333", "0.33...", "0.(33)4", "0.(34)", r"0.\dot{3}3\dot{4}", "3.33...", "0.3(4)"],
    ),
    r"\frac17": ([r"0.\dot{1}4285\dot{7}", "0.(142857)"], [r"0.\dot{1}428\dot{5}", "0.142857"]),
    r"\frac16": (["0.1(6)", "0.1666...", r"0.1\dot{6}"], ["0.(16)", "0.16...", "0.1(7)"]),
    r"-\frac23": ([r"{-}\frac{2}{3}", r"{-}{2\over3}"], [r"{+}\frac{2}{3}"]),
    "3:4": (["3{:}4", r"3\!:\!4", r"3\text{ to }4", "3 to 4"], ["4{:}3", r"4\text{ to }3", r"3\text{ or }4"]),
    r"2:30\text{ PM}": ([r"2\!:\!30\text{ PM}", r"2{:}30 \text{ pm}"], [r"2\!:\!30\text{ AM}", r"2{:}31 \text{ pm}"]),
    "3-4i": ([r"3-4\text{i}", r"3-4\mathrm{i}"], [r"3+4\text{i}", r"3-4\text{ in}"]),
    r"\frac12+\frac{\sqrt3}{2}i": (
        [r"\operatorname{cis}\frac{\pi}{3}", r"\text{cis } 60^\circ"],
        [r"\operatorname{cis}\frac{\pi}{6}"],
    ),
    r"\arctan 2": (
        [r"\text{arctan}(2)", r"\operatorname{arctg} 2"],
        [r"\text{arctan}(3)", r"\text{arcsin}(2)"],
    ),
    r"(-\infty,3)\cup(5,\infty)": ([r"(-\infty,3)\bigcup(5,+\infty)"], [r"(-\infty,3)\bigcap(5,+\infty)"]),
    r"\mathbb{R}\setminus\{0\}": ([r"\mathbb{R}-\{0\}"], [r"\mathbb{R}-\{1\}", r"\mathbb{R}"]),
    r"\vec{a}-\vec{b}": ([r"\overrightarrow{a}-\overrightarrow{b}"], [r"\overrightarrow{b}-\overrightarrow{a}"]),
    r"x\equiv 3\pmod{7}": (
        [
            r"x\equiv 3\pmod 7",
            r"x \equiv 3 \mod 7",
            r"x\equiv 3 \bmod 7",
            r"x \equiv 3 \ (\mathrm{mod}\ 7)",
            r"3 \pmod 7",
        ],
        [
            r"3 \pmod 8",
            r"4 \pmod 7",
            r"x \equiv 3 \mod 8",
            r"x\equiv 4 \bmod 7",
            r"x \equiv 3 \ (\mathrm{mod}\ 11)",
            r"x\equiv 3",
            "3",
        ],
    ),
    r"x\equiv 3\pmod{12}": (
        [r"x\equiv 3\pmod 12", r"x \equiv 3 \mod 12", r"x\equiv 3 (\bmod 12)"],
        [r"x\equiv 3\pmod 1", r"x \equiv 3 \mod 2"],
    ),
    "['5']": (["5"], ["6"]),
    r"5\text{ years}": (
        [r"5 \text{ (years)}", r"5\text{ units}^2", "5 (years)"],
        [r"6 \text{ (years)}", r"5 \text{ (wrong)}", r"5 \text{ (days)}", r"5x\text{ units}^2", r"25\text{ units}"],
    ),
    r"\frac{1}{2}<\mathrm{m}<1": ([r"\frac12<m<1", r"\frac12<\text{m}<1"], [r"\frac12<m<2", r"\frac12<n"]),
    "C": ([r"\textbf{C}: 12", r"\textbf{C}. 12", r"\textbf{(C)}\ 12"], [r"\textbf{D}: 12", r"\textbf{C}12", "12"]),
    "a:b": (["a : b", "2a:2b", r"\frac ab"], ["a:c", "A", "b:a", "(a) b"]),
    "A": (["A: 12", r"\text{A}: \frac12"], ["A:B", "A : B : C", "a:b"]),
    "ellipse": (
        [r"\text{an ellipse}", "the ellipse", r"\text{An ellipse.}"],
        [r"\text{a hyperbola}", r"\text{no ellipse}"],
    ),
    "A,C,D": ([r"\text{A, C, D}", r"\text{ACD}", "ACD"], [r"\text{A, C}", r"\text{ABCD}", r"\text{A, B, D}"]),
    r"\infty": ([r"\text{infinity}", r"+\text{infinity}"], [r"-\text{infinity}", r"\text{infinitely many}"]),
    r"\text{all real numbers}": ([r"\text{any real number}", r"\mathbb{R}"], [r"\text{any integer}", r"\text{real}"]),
    r"\frac{1}{2}\text{ or }50\%": (
        [r"\frac12", r"50\%", "0.5", r"0.5\text{ or }50\%"],
        ["1", r"5\%", r"\frac12\text{ or }5\%"],
    ),
    "0.75": ([r"\frac34\text{ or }75\%", "3/4 or 0.75"], [r"\frac34\text{ or }7.5\%", "0.75 or 0.7", "0.75, 0.75"]),
}


@pytest.mark.parametrize("gold", FORMS)
def test_form_is_right_and_its_near_miss_wrong(gold: str):
    right, wrong = FORMS[gold]
    boxes = [rf"\boxed{{{answer}}}" for answer in right + wrong]
    verdicts = verify_all([gold] * len(boxes), boxes)
    wanted = [Verdict.RIGHT] * len(right) + [Verdict.WRONG] * len(wrong)
    misjudged = [
        f"{box}: {verdict}" for box, verdict, want in zip(boxes, verdicts, wanted, strict=True) if verdict is not want
    ]
    assert misjudged == []


def test_lead_in_of_an_answer_block_is_read_past():
    completions = ["<answer> The value is 5 </answer>", "<answer>The result is 6.</answer>"]
    assert verify_all(["5", "5"], completions) == [Verdict.RIGHT, Verdict.WRONG]


@pytest.mark.parametrize(
    "part",
    [
        r"{\bf ",
        r"{\over",
        r"\color{red}",
        "C_5^",
        "_5C_",
        r"\pmod",
        r"1^\circ1'",
        r"0.\dot",
        "3.",
        "{-}",
        r"^{\text{o}",
        "{ ",
    ],
)
def test_a_form_repeated_takes_linear_time(part: str):
    text = part * (9_900 // len(part))
    start = time.process_time()
    respell(text)
    respell(rf"x \equiv {text}")
    assert time.process_time() - start < 1  # a hundred times as long as it takes
