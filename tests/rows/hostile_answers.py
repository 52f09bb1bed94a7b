# SPDX-License-Identifier: Apache-2.0
"""Rows of a batch for the verifier: good ones with their verdicts, and answers that are to hang it or break it."""

from open_r1.rewards.verifier import Verdict

RIGHT, WRONG, NO_ANSWER = Verdict.RIGHT, Verdict.WRONG, Verdict.NO_ANSWER

GOOD = [
    ("42", r"So it is \boxed{42}.", RIGHT),
    ("42", r"So it is \boxed{41}.", WRONG),
    ("42", "I don't know.", NO_ANSWER),
    ("1,234", r"\boxed{1234}", RIGHT),
    ("0.5", r"\boxed{\frac{1}{2}}", RIGHT),
    (r"\frac{1}{3}", r"\boxed{0.333}", WRONG),
    ("B", "<think>A?</think><answer>(B)</answer>", RIGHT),
    ("B", "<think>A?</think><answer>C</answer>", WRONG),
    (r"x^2-1", r"\boxed{(x-1)(x+1)}", RIGHT),
    (r"x^2-1", r"\boxed{(x-1)(x+2)}", WRONG),
    (r"\frac{x^2-1}{x-1}", r"\boxed{x+1}", RIGHT),
    (r"\frac{x^2-1}{x-1}", r"\boxed{x-1}", WRONG),
    (r"2\sqrt{3}", r"\boxed{\sqrt{12}}", RIGHT),
    (r"2\sqrt{3}", r"\boxed{3.4641}", WRONG),
    (r"\frac{\sqrt{2}}{2}", r"\boxed{\frac{1}{\sqrt{2}}}", RIGHT),
    (r"\frac{\pi}{4}", r"\boxed{\pi/4}", RIGHT),
    (r"\frac{\pi}{4}", r"\boxed{\frac{\pi}{3}}", WRONG),
    ("(1,2)", r"\boxed{(1, 2)}", RIGHT),
    ("(1,2)", r"\boxed{(2, 1)}", WRONG),
    (r"\{1,2,3\}", r"\boxed{\{3,2,1\}}", RIGHT),
    ("[1,2)", r"\boxed{[1,2]}", WRONG),
    (r"2^{10}", r"\boxed{1024}", RIGHT),
    (r"\binom{10}{3}", r"\boxed{120}", RIGHT),
    (r"\binom{10}{3}", r"\boxed{121}", WRONG),
    (r"\sin^2 x+\cos^2 x", r"\boxed{1}", RIGHT),
    (r"e^{2x}", r"\boxed{(e^x)^2}", RIGHT),
    (r"e^{2x}", r"\boxed{e^{x^2}}", WRONG),
    (r"\log_2 8", r"\boxed{3}", RIGHT),
    ("y=2x+1", r"\boxed{2x - y + 1 = 0}", RIGHT),
    ("y=2x+1", r"\boxed{y = 2x - 1}", WRONG),
    (r"-\frac{7}{2}", r"\boxed{-3.5}", RIGHT),
    ("", r"\boxed{1}", Verdict.UNVERIFIABLE),
]
GOLD = r"\frac{x^3-1}{x-1}"
HOSTILE_ANSWERS = [
    "9^{9^{9^{9}}}", "9**9**9**9", "(9^{9999})^{9999}", "((9^9)^9)^9)^9", "2^{2^{100}}", "1000000007^{1000000007}",
    "((9!)!)!", "(10^8)!", r"\binom{10^9}{5\cdot 10^8}", r"\frac{1}{10^{10^{10}}}", r"10^{10^{10}}-10^{10^{10}}+1",
    "x" * 1_000_000, "1" * 1_000_000, "(x+1)*" * 200_000, r"\frac{1}{2}" * 100_000,
    "{" * 100_000, "(" * 100_000, "}" * 100_000, r"\frac{" * 20_000, r"\sqrt{" * 20_000 + "x" + "}" * 20_000,
    "(" * 400 + "x" + ")" * 400, "e^{" * 18 + "x" + "}" * 18, r"\left(" * 5_000,
    "\0" * 100_000, "1\0", "\ud800\udfff", "\u202e\u0000$" * 10_000,
    "(x+y+z+w+1)^{200}", r"\int_0^1 e^{-x^2}\sin(x^3)\cos(x^5) dx",
    "+".join(rf"\sin({number}x)" for number in range(150)), r"\prod_{k=1}^{10^7}(x-k)",
]  # fmt: skip
# The last one is no box: braces that are never closed.
HOSTILE = [*(rf"\boxed{{{answer}}}" for answer in HOSTILE_ANSWERS), r"\boxed{" * 100_000]
