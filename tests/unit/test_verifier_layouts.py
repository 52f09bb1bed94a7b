# SPDX-License-Identifier: Apache-2.0
"""Layouts of golds and answers in real data sets, kind by kind: right pairs, each beside alike ones that are wrong."""

from collections.abc import Iterator

import pytest

from open_r1.rewards.verifier import Verdict, verify

# gold: completions or answers that are right, and those that are wrong
Pairs = dict[str, tuple[list[str], list[str]]]

# Whole completions.
COMPLETIONS: dict[str, Pairs] = {
    # All boxes of a gold are its answer: with the last one alone half an answer would be right.
    "boxes of a gold": {
        r"$x=\boxed{1}$ and $x=\boxed{-2}$.": (
            [r"\boxed{1,-2}", r"\boxed{x=-2 \text{ or } x=1}", r"$x=\boxed{-2}$ or $x=\boxed{1}$"],
            [r"\boxed{-2}", r"\boxed{1}", r"\boxed{1,2}", r"\boxed{1,-2,0}"],
        ),
        r"$\boxed{2}$, $\boxed{3}$ and $\boxed{5}$": ([r"\boxed{5,3,2}"], [r"\boxed{2,5}", r"\boxed{235}"]),
        r"It is $\boxed{\frac12}$, that is, $\boxed{0.5}$.": (
            [r"\boxed{0.5}", r"\boxed{\frac{1}{2}}"],
            [r"\boxed{0.25}"],
        ),
    },
    # Boxes of one sentence are the list that they make; only against a single value are unequal ones a hedge.
    "boxes of an answer": {
        "(2,2), (6,2)": (
            [
                r"$\boxed{(2,2)} \quad\text{and}\quad \boxed{(6,2)}$",
                r"$\boxed{(6,2)}$, $\boxed{(2,2)}$",
            ],
            [r"$\boxed{(2,2)}$ and $\boxed{(2,6)}$", r"\boxed{(2,2)}, \boxed{(6,2)} and \boxed{(0,0)}"],
        ),
        "k=45, n=2": (
            [r"$\boxed{k=45}$ and $\boxed{n=2}$", r"$\boxed{n=2}$ and $\boxed{k=45}$"],
            [r"$\boxed{k=2}$ and $\boxed{n=45}$", r"$\boxed{n=2}$"],
        ),
        r"\{3,4\}": (
            [r"It is $\boxed{3}$ and $\boxed{4}$.", r"$x=\boxed{4}$ or $x=\boxed{3}$"],
            [r"It is $\boxed{3}$ and $\boxed{5}$.", r"It is $\boxed{3}$ and $\boxed{4}$ and $\boxed{5}$."],
        ),
        "(1) 2; (2) 3": (
            [r"(1) $\boxed{2}$; (2) $\boxed{3}$", r"$\boxed{(1)\ 2}$ and $\boxed{(2)\ 3}$"],
            [r"(1) $\boxed{3}$; (2) $\boxed{2}$", r"(2) $\boxed{3}$"],
        ),
        r"\pm 2": ([r"$\boxed{2}$ and $\boxed{-2}$"], [r"$\boxed{2}$ and $\boxed{4}$"]),
        "A, B": ([r"\boxed{A} and \boxed{B}"], [r"\boxed{A} and \boxed{C}"]),
        r"x<-1 \text{ or } x>3": (
            [r"$\boxed{x<-1}$ or $\boxed{x>3}$"],
            [r"$\boxed{x<1}$ or $\boxed{x>3}$"],
        ),
        "4": (
            [r"\boxed{4}, that is, \boxed{\frac{8}{2}}"],
            [r"\boxed{3} or \boxed{4}", r"\boxed{4} and \boxed{5}", r"\boxed{4}, \boxed{-4}"],
        ),
        # Neither the digits of one number, nor the ends of an interval, nor a tuple in another order.
        "1,234": ([], [r"$\boxed{1}$, $\boxed{234}$"]),
        "[3,4]": ([], [r"$\boxed{3}$ and $\boxed{4}$"]),
        "(3,4)": ([], [r"$\boxed{4}$ and $\boxed{3}$"]),
        "x>3": ([], [r"$\boxed{x>3}$ or $\boxed{x<-1}$"]),
        "B": ([], [r"\boxed{A} or \boxed{B}"]),
    },
    # A sign or percent of the same formula belongs to the box; a dash of the prose and a difference don't.
    "signs around a box": {
        "12": (
            [
                r"$+\boxed{12}$",
                r"**Answer** - $\boxed{12}$",
                r"- $\boxed{12}$",
                r"$20-\boxed{12}=8$",
                r"$100\%-88\%=\boxed{12}\%$",
            ],
            [r"$-\boxed{12}$", r"$x=-\boxed{12}$", r"\(- \boxed{12}\)", r"$\pm\boxed{12}$"],
        ),
        "-12": ([r"$-\boxed{12}$", r"$x=-\boxed{12}$"], [r"- $\boxed{12}$", r"$20-\boxed{12}=8$"]),
        r"\pm 2": ([r"$x=\pm\boxed{2}$"], [r"$-\boxed{2}$"]),
        "0.12": ([r"$\boxed{12}\%$", r"$\boxed{12}$\%"], [r"$-\boxed{12}\%$", r"$\boxed{1.2}\%$"]),
        "0.5": ([r"$\boxed{50}\%$"], [r"$\boxed{0.5}\%$"]),
        r"$-\boxed{12}$": ([r"\boxed{-12}"], [r"\boxed{12}"]),
        r"$\boxed{12}\%$": ([r"\boxed{0.12}"], [r"\boxed{1.2}"]),
    },
    # What base models copy from few-shot prompts.
    "few-shot phrases": {
        "10455": (
            [
                "Final Answer: The final answer is $10,455$. I hope it is correct.",
                "Final Answer: The final answer is $10{,}455$. I hope it is correct.",
                "So the final answer is 10,455. I hope it is correct.",
            ],
            ["Final Answer: The final answer is $10,454$. I hope it is correct."],
        ),
        "10": ([], ["Final Answer: The final answer is $10,455$. I hope it is correct."]),
        r"\frac{1}{2}": (
            [r"Final Answer: The final answer is $\frac{1}{2}$. I hope it is correct."],
            [r"Final Answer: The final answer is $\frac{1}{3}$. I hope it is correct."],
        ),
        r"\{1,2\}": (
            [r"Final Answer: The final answer is $\{1,2\}$. I hope it is correct."],
            ["Final Answer: The final answer is $(1,2)$. I hope it is correct."],
        ),
        "18": (
            ["She makes 9 * 2 = $18.\nThe answer is $18.", "The answer is 18.", "A: The answer is 18 dollars."],
            ["The answer is $18,000.", "The answer is 18.5."],
        ),
        "3.5": (["The final answer is 3.5 meters. I hope it is correct."], ["The final answer is 3. 5 was too much."]),
        "5": (
            ["Final Answer: The final answer is $x=5$. I hope it is correct."],
            ["The final answer is $5$ or $6$. I hope it is correct.", "The final answer is not $5$."],
        ),
        "B": (
            ["So the answer is (B).", "The best answer is B."],
            ["So the answer is (C).", "The answer is (A) or (B)."],
        ),
    },
}

# Answers, which stand in a box.
ANSWERS: dict[str, Pairs] = {
    # A point is a piece of a region, with closed ends; it may close a gap or an end.
    "points in regions": {
        r"\{1\}\cup(4,\infty)": (
            [r"a=1 \text{ or } a>4", r"a>4 \text{ or } a=1", r"(4,+\infty)\cup\{1\}"],
            [
                "a>4",
                r"a=-1 \text{ or } a>4",
                r"a=1 \text{ and } a>4",
                r"a=1 \text{ or } b>4",
                r"\{1\}\cup[4,\infty)",
                r"\{1,4\}\cup(4,\infty)",
                r"(1,4)\cup(4,\infty)",
                r"\{1\}\cup\{4\}",
            ],
        ),
        r"a=1 \text{ or } a>4": ([r"\{1\}\cup(4,+\infty)"], ["1", r"[1,4]\cup(4,\infty)"]),
        r"0\le m<1 \text{ or } m=-1": ([r"\{-1\}\cup[0,1)"], [r"\{-1\}\cup[0,1]", "[-1,1)"]),
        r"(-\infty,-2)\cup\{0\}\cup(2,\infty)": (
            [r"x<-2, x=0 \text{ or } x>2"],
            [r"x<-2 \text{ or } x>2", r"x<-2, x\ne0 \text{ or } x>2"],
        ),
        "[2,5]": ([r"(2,5)\cup\{2,5\}", r"2<x<5 \text{ or } x=2 \text{ or } x=5"], [r"(2,5)\cup\{2\}", r"\{2,5\}"]),
        r"[0,\infty)": ([r"x=0 \text{ or } x>0"], [r"x=0 \text{ or } x<0"]),
        "(1,5)": ([r"(1,4)\cup\{4\}\cup(4,5)"], [r"(1,4)\cup\{3\}\cup(4,5)"]),
    },
    # Equation by equation, each in any form that is right alone; names and values of one solution stay together.
    "lists of equations": {
        r"2x+y-3=0 \text{ or } x-2y=0": (
            [r"y=3-2x \text{ or } y=\frac{x}{2}", r"x=2y \text{ or } 2x+y=3"],
            [
                "y=3-2x",
                r"y=3-2x \text{ or } y=2x",
                r"y=3+2x \text{ or } y=\frac{x}{2}",
                r"x=3-2y \text{ or } x=\frac{y}{2}",
            ],
        ),
        "p=5,q=2;p=7,q=2": (
            ["(5,2),(7,2)", "(7,2),(5,2)", r"p=5,q=2 \text{ or } p=7,q=2", "q=2,p=7;q=2,p=5"],
            ["(5,2)", "(2,5),(2,7)", "(5,7),(2,2)", "p=5,q=7;p=2,q=2", "p=5,q=2"],
        ),
        "(5,2),(7,2)": (["p=5,q=2;p=7,q=2"], ["p=5,q=2;p=7,q=5", "p=2,q=5;p=2,q=7"]),
        "y=2x, y=-3x": ([r"y=-3x \text{ and } y=2x", r"y=2x \text{ or } 3x+y=0"], ["y=-2x, y=3x", "y=2x, x=-3y"]),
        r"(a,b)=(1,2) \text{ or } (a,b)=(3,4)": (["(1,2),(3,4)"], ["(1,4),(3,2)", "(1,2,3,4)"]),
        r"(x,y)\in\{(1,1),(2,3)\}": (["(1,1), (2,3)", r"(x,y)=(2,3) \text{ or } (1,1)"], ["(1,2), (1,3)", "(1,1)"]),
        r"y=1 \text{ or } x=2": ([r"x=2 \text{ or } y=1"], [r"x=1 \text{ or } y=2", "(2,1)"]),
    },
    # A constant of integration may have another usual name. A summand that isn't one may not.
    "constants of integration": {
        "x^2+C": (["x^2+c", "x^2+K", "x^2+C_1", "c+x^2"], ["x^2", "x^2+2", "x^2+x", "Cx^2", "x^2+y", "x^2+Cx"]),
        r"\ln|x|+C": ([r"C_1+\ln|x|"], [r"\ln x^2+c", r"\ln|x|"]),
        r"\frac{x^3}{3}+C": ([r"\frac{1}{3}x^3+c"], [r"\frac{x^3}{3}+x+c", r"\frac{x^3}{3}+cx"]),
        "Cx^2": ([], ["C+x^2"]),
        "a+b": ([], ["a+c", "a+C"]),
        "kx+b": ([], ["kx+c", "kx+C"]),
    },
    # The argument that a function is given is bound: it is renamed on both sides, and captures no other name.
    "names of arguments": {
        "f(x)=x^2": (["f(n)=n^2", "f(t)=t^2"], ["f(n)=x^2", "f(n)=2n", "g(n)=n^2", "f(2)=4", "n^2"]),
        "f(n)=2n+1": (["f(x)=2x+1"], ["f(x)=2n+1", "f(x)=2x-1"]),
        "f(x)=kx": (["f(n)=kn"], ["f(k)=kx", "f(k)=k^2", "f(n)=kx"]),
        "f(x)=x+n": (["f(t)=t+n"], ["f(n)=2n", "f(t)=t+m"]),
        "f(x,y)=x-y": (["f(a,b)=a-b", "f(y,x)=y-x"], ["f(a,b)=b-a", "f(y,x)=x-y"]),
        "a_n=2n-1": (["a_k=2k-1"], ["a_k=2n-1", "a_k=2k+1"]),
        "f(2)=4": ([], ["f(3)=4", "f(n)=4"]),
        "a_1=3": ([], ["a_2=3", "a_n=3"]),
    },
    # A family has any name for its integers where either side says what they are, but no name of something else.
    "names of integers": {
        r"\frac{\pi}{2}+2\pi k": (
            [r"\frac{\pi}{2}+2\pi n, n\in\mathbb{Z}", r"\frac{\pi}{2}+2\pi k, k\in\mathbb{Z}"],
            [
                r"\frac{\pi}{2}+\pi n, n\in\mathbb{Z}",
                r"-\frac{\pi}{2}+2\pi n, n\in\mathbb{Z}",
                r"\frac{\pi}{2}+2\pi x, n\in\mathbb{Z}",
                r"\frac{\pi}{2}+2\pi n, n\in\mathbb{R}",
                r"\frac{\pi}{2}",
            ],
        ),
        r"x=k\pi, k\in\mathbb{Z}": ([r"n\pi", r"x=n\pi"], [r"2n\pi", r"\pi", r"x=n\pi, n\in\mathbb{N}"]),
        r"[2k\pi,2k\pi+\pi], k\in\mathbb{Z}": (
            [r"[2n\pi,2n\pi+\pi]"],
            [r"(2n\pi,2n\pi+\pi)", r"[2n\pi,2m\pi+\pi]"],
        ),
        r"3k+1 \ (k\in\mathbb{N})": (["3n+1"], [r"3n+1, n\in\mathbb{Z}", "3n+2"]),
        r"kx, k\in\mathbb{Z}": (["nx", r"nx, n\in\mathbb{Z}"], ["kn", "x^2", "ny"]),
        r"nk, k\in\mathbb{Z}": (["nm"], ["n^2", "km"]),
        r"x=\frac{\pi}{4}+k\pi": (
            [r"x=\frac{\pi}{4}+n\pi \ (n\in\mathbb{Z})"],
            [r"y=\frac{\pi}{4}+n\pi \ (n\in\mathbb{Z})", r"x=\frac{n\pi}{4} \ (n\in\mathbb{Z})"],
        ),
    },
    # What a value is called is left out where one side alone says it; a name that contradicts is wrong.
    "labelled values": {
        "12": (
            [r"\text{Total} = 12", r"\text{Total: } 12", r"\text{Total number of apples} = 12"],
            [
                r"\text{Total} = 13",
                r"\text{Total} \ne 12",
                r"\text{Total} > 12",
                r"\text{Total} = 12x",
                r"\text{Total} = 12 \text{ or } 13",
                r"\text{Men: } 12, \text{ Women: } 15",
                r"\text{Not } 12",
            ],
        ),
        r"\text{Volume}=12\pi": ([r"12\pi", r"\text{Volume: } 12\pi"], [r"\text{Volume}=\frac{\pi}{12}", "12"]),
        r"\text{Area}=25\text{ cm}^2": (["25", r"25\text{ cm}^2"], [r"25\text{ m}^2"]),
        "V_1:V_2=11:21": (
            ["11:21", r"\frac{11}{21}", "V_1:V_2=22:42"],
            ["21:11", "V_2:V_1=11:21", "V_1:V_2=21:11", "V_1:V_2=11", "11"],
        ),
        "11:21": (["V_1:V_2=11:21"], ["V_1:V_2=21:11"]),
        "S_{MBCN}:S=7:32": (["7:32", "S_{MBCN}:S=7:32"], ["7:25", "S:S_{MBCN}=7:32"]),
        r"A\cap B=(1,2)": (
            ["(1,2)", "1<x<2", r"A\cap B=\{x\mid 1<x<2\}"],
            ["[1,2]", "(1,3)", r"A\cup B=(1,2)", r"A\cap C=(1,2)"],
        ),
        r"\{1,2\}": ([r"A\cup B=\{1,2\}"], [r"A\cup B=\{1,3\}", r"A\cup\{1,2\}"]),
    },
    # Part by part: by their labels where both have them, else in order. No part may be missing.
    "parts": {
        "(1) 2; (2) 3": (
            ["(1) 2; (2) 3", "(1) 2, (2) 3", r"(1)\ 2 \quad (2)\ 3", "2; 3", "(2) 3; (1) 2"],
            ["(1) 3; (2) 2", "3; 2", "2", "3", "(1) 2", "(2) 3", "(1) 2; (2) 3; (3) 4", "(1) 2; (2) 4", "6"],
        ),
        r"(1) \frac{1}{2}; (2) x>3": (
            [r"(1) 0.5; (2) (3,\infty)"],
            [r"(1) 0.5; (2) x\ge 3", r"(1) x>3; (2) \frac{1}{2}"],
        ),
        "(1) a=1; (2) (2,3)": (["(1) 1; (2) (2,3)"], ["(1) 1; (2) [2,3]", "(1) 2; (2) (1,3)"]),
        "(a) 5 (b) 7": (["(a) 5, (b) 7", "5, 7"], ["(a) 7, (b) 5", "7, 5", "(a) 5"]),
        r"\text{(i) } 4 \text{ (ii) } 9": (["(i) 4; (ii) 9"], ["(i) 9; (ii) 4"]),
        # A product of numbers in brackets has no parts.
        "6": (["(2)(3)"], ["(1) 2; (2) 3"]),
    },
    # Golds of data sets that can be read.
    "golds once dropped": {
        r"\left\{x\left|x\le1\right.\right\}": ([r"x\le 1", r"(-\infty,1]"], ["x<1", r"x\ge 1", "1"]),
        r"\left\{x\left|x\leqslant 1\right.\right\}": ([r"\{x \mid x\le 1\}"], [r"\{x \mid x<1\}"]),
        r"\frac{NO}{BO}=\frac1{\sqrt6}": (
            [r"\frac{1}{\sqrt6}", r"\frac{\sqrt6}{6}"],
            [r"\sqrt6", r"\frac16", r"\frac{BO}{NO}=\frac{1}{\sqrt6}"],
        ),
        "(n-2) 2^{n}+1": (
            ["2^n(n-2)+1", r"1+(n-2)\cdot 2^{n}"],
            ["(n-2) 2^{n+1}", "(n-2) 2^n", "(n-2) 2^n-1"],
        ),
        "Rs. 6400": (["6400", r"\text{Rs. } 6400", "6,400"], ["640", r"\$6400", "Rs. 64"]),
        "DEAD_{16}": (["DEAD_{16}", "DEAD", r"\text{DEAD}_{16}"], ["DEAF_{16}", "DEAD_{15}", "DAED", "57005"]),
        "A3_{16}": (["A3"], ["3A", "A3_{12}", "163"]),
    },
    # Yes or no, and what only repeats it; a condition or the contrary isn't a repetition.
    "yes and no": {
        "Yes": (
            [r"\text{Yes, it is possible}", r"\text{Yes, it is.}", r"\text{Yes, this is always possible}"],
            [
                r"\text{No, it is not possible}",
                r"\text{Yes or no}",
                r"\text{Yes and no}",
                r"\text{Yes, no}",
                r"\text{Not yes}",
                r"\text{Yes, but only for } n=2",
                r"\text{Yes, unless } n=1",
                r"\text{Yesterday}",
            ],
        ),
        "No": (
            [r"\text{No, it is impossible}", r"\text{No, it is not possible}"],
            [r"\text{Yes, it is possible}", r"\text{No or yes}", r"\text{Nobody}"],
        ),
        r"\text{Yes, it is possible}": ([r"\text{Yes}"], [r"\text{No}", r"\text{No, it is not possible}"]),
    },
    # SI prefixes before the units that have them; their case counts.
    "prefixes of units": {
        r"600\text{ mA}": ([r"0.6\text{ A}", "600"], [r"600\text{ A}", r"600\text{ mV}", r"0.6\text{ mA}"]),
        r"150\text{ MJ}": ([r"1.5\times10^8\text{ J}", r"150000\text{ kJ}"], [r"150\text{ kJ}", r"150\text{ mJ}"]),
        r"101\text{ kPa}": ([r"101000\text{ Pa}"], [r"101\text{ MPa}", r"101\text{ Pa}"]),
        r"2\ \mu\text{F}": ([r"2\times10^{-6}\text{ F}", r"2000\text{ nF}"], [r"2\text{ nF}", r"2\text{ mF}"]),
        r"500\text{ nm}": ([r"0.5\ \mu\text{m}", r"5\times10^{-7}\text{ m}"], [r"500\text{ mm}", r"500\text{ N m}"]),
        r"2.4\text{ GHz}": ([r"2400\text{ MHz}"], [r"2400\text{ kHz}", r"2.4\text{ Hz}"]),
        r"3\text{ MW}": ([r"3000\text{ kW}"], [r"3\text{ mW}"]),
        # No prefixes: minutes aren't milli-inches, feet not femtotonnes.
        r"1\text{ min}": ([r"60\text{ s}"], [r"0.001\text{ in}"]),
        r"2\text{ ft}": ([r"24\text{ in}"], [r"2\times10^{-15}\text{ t}"]),
    },
    # A unit right behind a number; elsewhere a variable.
    "ohms": {
        "80": ([r"80\,\Omega", r"80\text{ }\Omega"], [r"8\,\Omega", r"80\omega", r"80+\Omega"]),
        r"80\,\Omega": (
            ["80", r"80\text{ ohms}", "80 \u03a9", r"0.08\text{ k}\Omega"],
            [r"80\text{ k}\Omega", r"80\text{ V}", r"8\,\Omega"],
        ),
        r"1.5\text{ M}\Omega": ([r"1500\text{ k}\Omega"], [r"1.5\text{ m}\Omega", r"1.5\text{ k}\Omega"]),
        r"\Omega": ([r"\Omega"], [r"\omega", "1"]),
        r"2\Omega t": ([r"2t\Omega"], ["2t"]),
    },
    # Times of a day by what they are, "p.m." and 24 hours alike; without a mark the hours as they stand.
    "times of a day": {
        r"\text{noon}": (
            [r"12:00\text{ p.m.}", "12:00 PM", r"\text{Noon}"],
            [r"12:00\text{ a.m.}", r"\text{midnight}", r"11:00\text{ p.m.}"],
        ),
        r"12:00\text{ p.m.}": ([r"\text{noon}"], ["24:00", r"\text{midnight}"]),
        r"\text{midnight}": ([r"12:00\text{ a.m.}"], [r"12:00\text{ p.m.}"]),
        r"5\text{ p.m.}": (
            [r"5:00\text{ p.m.}", "17:00", "5:00 PM"],
            [r"5\text{ a.m.}", r"5:30\text{ p.m.}", "15:00", "5:00 AM"],
        ),
        "17:00": ([r"5\text{ p.m.}", r"5:00\text{ p.m.}"], [r"7\text{ p.m.}", "5:00", r"5:00\text{ a.m.}"]),
        "14:05": ([r"2:05\text{ pm}"], [r"2:05\text{ am}", r"2:50\text{ pm}"]),
        r"12:30\text{ a.m.}": (["00:30"], ["12:30 PM", r"1:30\text{ a.m.}"]),
    },
    # The Chinese comma of lists.
    "Chinese commas": {
        "A\u3001D": (["AD", "A, D", "D\u3001A", "\\text{A\u3001D}"], ["A", "AC", "ACD"]),
        "AD": (["A\u3001D"], ["A\u3001C", "A\u3001C\u3001D"]),
        "ABD": (["A\u3001B\u3001D"], ["A\u3001B"]),
        "1\u30012": (["1, 2", r"\{2,1\}"], ["12", "1.2", "1\u30013"]),
        "-1\u30013": ([r"-1 \text{ or } 3"], ["1\u30013", "-1"]),
    },
    # Dots stand for the integers, or even steps, between what is written.
    "dots": {
        r"\{1,2,\ldots,10\}": (
            [r"\{1,2,3,4,5,6,7,8,9,10\}", r"\{1,2,\cdots,10\}", r"\{1,2,3,\dots,10\}"],
            [
                r"\{1,2,10\}",
                r"\{1,2,\ldots,9\}",
                r"\{0,1,\ldots,10\}",
                r"\{1,2,\ldots\}",
                r"\{1,3,\ldots,9\}",
                "[1,10]",
                "10",
            ],
        ),
        r"\{1,2,3,4,5\}": ([r"\{1,\ldots,5\}", r"1,2,\ldots,5"], [r"\{1,\ldots,6\}", r"\{1,3,\ldots,5\}"]),
        r"\{2,4,6,\ldots,12\}": ([r"\{2,4,6,8,10,12\}"], [r"\{2,3,4,\ldots,12\}", r"\{2,4,6,8,12\}"]),
        r"\{1,2,4,\ldots,16\}": ([r"\{1,2,4,\dots,16\}"], [r"\{1,2,3,\ldots,16\}"]),
        r"\{1,2,\ldots,n\}": ([r"\{1,2,\dots,n\}"], [r"\{1,2,\ldots,m\}", r"\{1,2,n\}"]),
        r"\{1,2,\ldots,10^9\}": ([r"\{1,2,\ldots,1000000000\}"], [r"\{1,2,\ldots,10^9+1\}"]),
        r"\{0,1,\dots,5\}": ([r"0\le n\le 5, n\in\mathbb{Z}"], [r"0\le n\le 5", r"1\le n\le 5, n\in\mathbb{Z}"]),
    },
    # The integers of a region are a set of points, not the region.
    "bounded integers": {
        r"0\le x\le5, x\in\mathbb{Z}": (
            [r"\{0,1,2,3,4,5\}", r"-1<x<6, x\in\mathbb{Z}"],
            [
                "[0,5]",
                r"0\le x\le5",
                r"0\le x\le5, x\in\mathbb{R}",
                r"0\le x\le5, y\in\mathbb{Z}",
                r"0<x<5, x\in\mathbb{Z}",
                r"\{1,2,3,4,5\}",
                r"\{0,1,2,3,4,5,6\}",
            ],
        ),
        r"\{0,1,2,3,4,5\}": ([r"0\le x\le5, x\in\mathbb{Z}"], [r"0\le x\le5", r"0\le x<5, x\in\mathbb{Z}"]),
        r"\{x\in\mathbb{Z}\mid -2<x<2\}": ([r"\{-1,0,1\}"], [r"\{-2,-1,0,1,2\}", "(-2,2)"]),
        r"\{x\in\mathbb{N}^*\mid x<4\}": ([r"\{1,2,3\}"], [r"\{0,1,2,3\}", r"\{1,2,3,4\}"]),
        "3": ([r"2<x<4, x\in\mathbb{Z}"], ["2<x<4", r"2<x\le4, x\in\mathbb{Z}"]),
        r"1\le n\le 3, n\in\mathbb{N}": (["1,2,3", r"\{1,2,3\}"], ["(1,3)", "1,3"]),
        r"0\le x\le 10^{12}, x\in\mathbb{Z}": ([], [r"0\le x\le 10^{12}+1, x\in\mathbb{Z}"]),
    },
    # Terms may change sides; a factor must be a number, and a negative one turns the sign.
    "rearranged inequalities": {
        r"x+y\le5": (
            [r"y\le5-x", r"x\le5-y", r"5\ge x+y", r"-x-y\ge-5", r"2x+2y\le10", r"x+y-5\le0"],
            [r"y\ge5-x", "x+y<5", r"-x-y\le-5", r"x-y\le5", r"x+y\le10", r"x\le5"],
        ),
        "2x-y>3": (["y<2x-3", r"x>\frac{y+3}{2}"], ["y>2x-3", r"y\le2x-3", r"x>\frac{y-3}{2}"]),
        r"a^2+b^2\ge 2ab": ([r"a^2+b^2-2ab\ge0"], ["a^2+b^2>2ab", r"2ab\ge a^2+b^2"]),
        "x<y": (["x-y<0", "y>x", "y-x>0"], ["xz<yz", "x-y>0", r"\frac{x}{y}<1"]),
        "xy<1": ([r"1>xy", "xy-1<0"], [r"y<\frac{1}{x}"]),
        "x^2y>0": ([], ["y>0"]),
        r"x\ne y": ([r"x-y\ne0"], ["x=y", r"x+y\ne0"]),
    },
}


def _rows(kinds: dict[str, Pairs], template: str) -> Iterator[object]:
    for kind, pairs in kinds.items():
        for gold, sides in pairs.items():
            for answers, verdict in zip(sides, (Verdict.RIGHT, Verdict.WRONG), strict=True):
                for answer in answers:
                    name = f"{kind}: {gold} / {answer} {verdict.value}"
                    yield pytest.param(gold, template % answer, verdict, id=name.encode("unicode_escape").decode())


@pytest.mark.parametrize(
    ("gold", "completion", "verdict"), [*_rows(COMPLETIONS, "%s"), *_rows(ANSWERS, r"It is $\boxed{%s}$.")]
)
def test_layout(gold: str, completion: str, verdict: Verdict):
    assert verify(gold, completion) is verdict
