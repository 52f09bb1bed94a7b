# SPDX-License-Identifier: Apache-2.0
"""The commands and names that answers are written with."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of two letters: other pairs of letters are products.
TWO_LETTER_WORDS = _names("no we us up if it in on at to of is by he me my so go do as am pm")
# Words of few letters that answers consist of, or that stand behind a number.
ANSWER_WORDS = _names("no yes all not the none us any both odd even never true false")
GREEK = _names(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho "
    "sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi "
    "Omega ell hbar top partial"
)
FUNCTIONS = _names("sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth ln lg exp")
LISTED_FUNCTIONS = _names("gcd lcm min max abs sgn deg dim ker det rank Re Im arg")
ALL_FUNCTIONS = FUNCTIONS | LISTED_FUNCTIONS | {"log"}
# Functions that are also written as \operatorname or \mathrm.
ROMAN_FUNCTIONS = _names("gcd lcm min max sgn arcsin arccos arctan arccot sin cos tan cot sec csc ln log lg")
ACCENTS = _names("overline bar dot hat vec widehat tilde overrightarrow")
RELATIONS = _names("= < > le ge ne in notin approx equiv to mapsto subset sim")
MATRICES = _names("matrix pmatrix bmatrix Bmatrix smallmatrix")
DOTS = _names("ldots dots cdots dotsc dotsb")
SEPARATORS = _names(", ; lor land")
# Words behind a number that say something else of it than what it counts: anywhere, and as the first.
DENIALS = _names("not isn't wrong incorrect false never no but most least maybe perhaps possibly unless except cannot")
POINT_WORDS = _names("the point points ordered pair pairs triple coordinates")
# Words that compute with the number before them: anywhere, and as the first ("5 squared", but "5 units squared").
OPERATIONS = _names("plus minus modulo mod pi sqrt")
LOOSENING_WORDS = (
    DENIALS
    | _names("is are was at to or if than up times over between through")
    | _names("squared cubed factorial less below twice half halves third thirds quarter quarters fifth fifths tenths")
    | _names("hundredths thousandths")
)
CONSTANTS = {"pi": "pi", "infty": "oo"}
# opening command -> closing command and function
FENCES = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil"), "lvert": ("rvert", "abs")}
# Names that are read as commands without a backslash.
PLAIN_COMMANDS = {
    "sqrt": "sqrt",
    "pi": "pi",
    "infinity": "infty",
    "infty": "infty",
    "inf": "infty",
    "oo": "infty",
    "exp": "exp",
    "abs": "abs",
    "binom": "binom",
    "frac": "frac",
    "sinh": "sinh",
    "cosh": "cosh",
    "tanh": "tanh",
    "union": "cup",
    "cis": "cis",
    "or": "lor",
    "and": "land",
    **{name: name for name in ROMAN_FUNCTIONS},
    **{name: name for name in ["theta", "alpha", "beta", "gamma", "lambda", "phi", "omega", "sigma", "mu"]},
}
# Commands that mean the same, and commands that mean a sign.
SAME_COMMANDS = {
    "leq": "le",
    "leqslant": "le",
    "geq": "ge",
    "geqslant": "ge",
    "neq": "ne",
    "lt": "<",
    "gt": ">",
    "cdot": "*",
    "times": "*",
    "ast": "*",
    "div": "/",
    "wedge": "land",
    "vee": "lor",
    "varnothing": "emptyset",
    "colon": ":",
    "lbrace": "set{",
    "rbrace": "set}",
    "{": "set{",
    "}": "set}",
    "vert": "|",
    "mid": "|",
    "lbrack": "[",
    "rbrack": "]",
    "backslash": "setminus",
    "bigcup": "cup",
    "bigcap": "cap",
    "overrightarrow": "vec",
    "arcctg": "arccot",
    "tg": "tan",
    "arctg": "arctan",
    "ctg": "cot",
}
