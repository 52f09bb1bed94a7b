# SPDX-License-Identifier: Apache-2.0
"""LaTeX commands and Unicode symbols that the default normalisation knows: data only.

Names are in lower case: `\\Big` and `\\big`, `\\Delta` and `\\delta` are one, as words are.
"""

# Other names of the same command.
ALIASES = {
    "varepsilon": "epsilon", "varphi": "phi", "vartheta": "theta", "varrho": "rho", "varsigma": "sigma",
    "binomial": "binom", "dbinom": "binom", "tbinom": "binom", "choose": "binom", "ldots": "dots", "cdots": "dots",
    "dotsc": "dots", "dotsb": "dots", "vdots": "dots", "ddots": "dots", "emptyset": "varnothing",
    "operatorname": "mathrm", "degree": "circ", "bmod": "mod", "pmod": "mod", "infinity": "infty",
    "implies": "rightarrow", "land": "wedge", "lor": "vee", "overline": "bar", "widehat": "hat", "vert": "mid",
    "lvert": "mid", "rvert": "mid",
}  # fmt: skip

_FORMATTING = """
    left right middle big bigg bigl bigr biggl biggr bigm displaystyle textstyle scriptstyle scriptscriptstyle limits
    nolimits quad qquad enspace thinspace hspace vspace hfill vfill hskip vskip smallskip medskip bigskip noindent
    newline par nonumber notag label tag mathstrut strut
    text textbf textit textrm textsf texttt textsc textnormal emph underline mathrm mathbf mathit mathsf mathtt mathcal
    mathbb mathfrak mathscr bbb boldsymbol bm bf it rm sf tt sc mbox hbox ensuremath begin end item
    dots lbrace rbrace lbrack rbrack lparen rparen mid displaylimits
"""
# Commands that are operators or relations -> how `operators` spells them. They are no words, like + and < are none.
OPERATORS = {
    "\\frac": "/", "\\dfrac": "/", "\\tfrac": "/", "\\cfrac": "/", "\\over": "/", "\\div": "/",
    "\\times": "*", "\\cdot": "*", "\\ast": "*", "\\pm": "+-", "\\mp": "-+",
    "\\le": "<=", "\\leq": "<=", "\\leqslant": "<=", "\\ge": ">=", "\\geq": ">=", "\\geqslant": ">=",
    "\\lt": "<", "\\gt": ">", "\\ne": "!=",
    "\\neq": "!=", "\\to": "->", "\\rightarrow": "->", "\\longrightarrow": "->", "\\implies": "->",
}  # fmt: skip
IGNORED = frozenset(_FORMATTING.split()) | {name.removeprefix("\\") for name in OPERATORS}

# Symbols -> what is written for them in ASCII or LaTeX. Letters, digits, dashes and spaces go by their Unicode
# properties.
SYMBOLS = {
    "≤": "<=", "≦": "<=", "⩽": "<=", "≥": ">=", "≧": ">=", "⩾": ">=", "≠": "!=", "×": "*", "·": "*", "⋅": "*",
    "∗": "*", "÷": "/", "⁄": "/", "∕": "/", "−": "-", "±": "+-", "∓": "-+", "→": "->", "⇒": "->", "⟶": "->",
    "√": " \\sqrt ", "∞": " \\infty ", "∑": " \\sum ", "∏": " \\prod ", "∫": " \\int ", "∂": " \\partial ",
    "∈": " \\in ", "∉": " \\notin ", "∪": " \\cup ", "∩": " \\cap ", "⊂": " \\subset ", "⊆": " \\subseteq ",
    "∅": " \\varnothing ", "∀": " \\forall ", "∃": " \\exists ", "∠": " \\angle ", "△": " \\triangle ",
    "∥": " \\parallel ", "⊥": " \\perp ", "≡": " \\equiv ", "≈": " \\approx ", "≅": " \\cong ", "∼": " \\sim ",
    "°": " \\circ ", "∧": " \\wedge ", "∨": " \\vee ", "¬": " \\neg ", "⌊": " \\lfloor ", "⌋": " \\rfloor ",
    "⌈": " \\lceil ", "⌉": " \\rceil ", "ℝ": " r ", "ℤ": " z ", "ℕ": " n ", "ℚ": " q ", "ℂ": " c ",
    "‘": "'", "’": "'", "‚": "'", "′": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "″": "''",
    "。": ". ", "、": ", ", "，": ", ", "．": ". ", "？": "? ", "！": "! ", "：": ": ", "；": "; ",
    "\u0085": "\n", "\u2028": "\n", "\u2029": "\n",
}  # fmt: skip
