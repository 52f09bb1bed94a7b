# SPDX-License-Identifier: Apache-2.0
"""Mend what programs written for older interpreters and compilers need and today's don't have.

Whether programs are patched is the recipe's choice (`patch_code`), since a model learns from it that old code is fine;
`add_includes` is for all submissions to IOI tasks. What is patched, each for the solutions of a data set:
1. Python, `fractions.gcd` (gone since 3.9): solutions of AtCoder's problems in
   open-r1/verifiable-coding-problems-python;
2. C++, headers that older versions of GCC brought along: accepted submissions of open-r1/codeforces-submissions. A
   header is added only for a name that the program uses, doesn't declare itself and includes nothing for: a header too
   much may make its own names ambiguous. The namespace is opened only for a program that never writes `std::` and uses
   a stream or a container by its bare name.
"""

import re

from open_r1.grading.fences import language_name

_IMPORT_GCD = re.compile(r"^([ \t]*)from[ \t]+fractions[ \t]+import[ \t]+gcd\b(?=[ \t]*(?:as\b.*)?$)", re.MULTILINE)
_GCD = re.compile(r"\bfractions\.gcd\b")
# Used as `name<...>`.
_TEMPLATES = {
    "array": "array",
    "bitset": "bitset",
    "deque": "deque",
    "functional": "function greater",
    "limits": "numeric_limits",
    "list": "list",
    "map": "map multimap",
    "memory": "unique_ptr shared_ptr make_unique make_shared",
    "optional": "optional",
    "queue": "queue priority_queue",
    "random": "uniform_int_distribution uniform_real_distribution",
    "set": "set multiset",
    "stack": "stack",
    "tuple": "tuple",
    "unordered_map": "unordered_map unordered_multimap",
    "unordered_set": "unordered_set unordered_multiset",
    "utility": "pair",
    "vector": "vector",
}
# Used as `name(...)`.
_FUNCTIONS = {
    "algorithm": "sort stable_sort reverse unique lower_bound upper_bound binary_search next_permutation "
    "prev_permutation max_element min_element minmax_element nth_element max min rotate count_if find_if all_of "
    "any_of none_of fill",
    "cassert": "assert",
    "cctype": "isdigit isalpha isalnum isspace isupper islower tolower toupper",
    "cmath": "sqrt cbrt pow floor ceil round fabs sin cos tan acos asin atan atan2 log log2 log10 exp hypot",
    "cstdio": "printf scanf puts getchar putchar fgets fputs sprintf sscanf freopen fprintf",
    "cstdlib": "abs labs llabs atoi atoll malloc calloc free qsort rand srand exit",
    "cstring": "memset memcpy memmove memcmp strlen strcmp strncmp strcpy strcat strchr strstr",
    "iomanip": "setprecision setw setfill",
    "numeric": "accumulate iota gcd lcm partial_sum",
    "string": "to_string stoi stol stoll stoul stoull stod getline",
    "tuple": "make_tuple tie",
    "utility": "make_pair swap",
}
# Used as they stand.
_WORDS = {
    "climits": "INT_MAX INT_MIN UINT_MAX LONG_MAX LONG_MIN LLONG_MAX LLONG_MIN ULLONG_MAX CHAR_BIT",
    "cfloat": "DBL_MAX DBL_MIN DBL_EPSILON FLT_MAX",
    "chrono": "chrono",
    "cstdint": "int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t",
    "iostream": "cin cout cerr clog endl",
    "random": "mt19937 mt19937_64",
    "sstream": "stringstream istringstream ostringstream",
    "string": "string",
}
_TABLES = (("<", _TEMPLATES), ("(", _FUNCTIONS), ("", _WORDS))
# Name -> what must follow it; name -> its header.
_FOLLOWED_BY = {name: follower for follower, table in _TABLES for names in table.values() for name in names.split()}
_HEADERS = {name: header for _, table in _TABLES for header, names in table.items() for name in names.split()}
# What `<algorithm>`, `<functional>` and `<utility>` are not needed for behind one of these headers, in libstdc++; but
# `max` and `min` of a list are.
BROUGHT_ALONG = {"fill", "greater", "make_pair", "max", "min", "pair", "swap"}
_OF_A_LIST = re.compile(r"\b(?:max|min)\s*(?:<[^<>;{}]*>\s*)?\(\s*\{")
BRINGING = {"deque", "iomanip", "iostream", "map", "queue", "set", "sstream", "stack", "string", "vector"}
BRINGING |= {"unordered_map", "unordered_set"}
# Of `namespace std` without doubt, when used bare.
_OF_STD = {"cin", "cout", "cerr", "clog", "endl", "string", "stringstream", "istringstream", "ostringstream"} | {
    name for names in _TEMPLATES.values() for name in names.split()
}
# Comments and literals are no code; an `#include` is, with its name. What is never closed goes on to the end, of the
# line for a string, and a character is short: the time stays linear.
_NOT_CODE = re.compile(
    r"""(?P<include>^[ \t]*+#[ \t]*+include[ \t]*+(?:<[^>\n]+>|"[^"\n]+"))|"""
    r'R"([^()\\\s]{0,16})\(.*?(?:\)\2"|\Z)|//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\\n])*(?:"|(?=\n)|\\?\Z)|'
    r"'(?:\\.|[^'\\\n]){1,12}'",
    re.DOTALL | re.MULTILINE,
)
_INCLUDE = re.compile(r"^[ \t]*+#[ \t]*+include[ \t]*+<([^>\n]+)>", re.MULTILINE)
_TOKEN = re.compile(r"[A-Za-z_]\w*|->|::|[^\s\w]")
# Words that may stand in front of a call; behind any other word a name is declared.
_BEFORE_CALL = {"return", "else", "case", "throw", "do", "and", "or", "not", "co_return"}
# What follows a variable that has the name of a template.
_BEHIND_VARIABLE = {"[", ";", "=", ",", ")", "+", "-", "."}


def patch_code(text: str, language: str) -> str:
    """Return a program mended; one that is blank, can't be read, or is in another language comes back as it is."""
    patch = _PATCHES.get(language_name(language))
    return text if patch is None or not text.strip() else patch(text)


def patch_python(text: str) -> str:
    r"""Return a Python program that takes `gcd` from `math`.

    >>> patch_python("from fractions import gcd\nprint(gcd(4, 6))\n")
    'from math import gcd\nprint(gcd(4, 6))\n'
    """
    return _GCD.sub('__import__("math").gcd', _IMPORT_GCD.sub(r"\1from math import gcd", text))


def add_includes(code: str, problem_id: str, *, has_header: bool = True) -> str:
    r"""Return a submission to an IOI task with what it needs in front of it; blank code stays as it is.

    `<bits/stdc++.h>` always, the task's `"<id>.h"` where it isn't included, and `using namespace std;` where the code
    has neither that nor any `std::`.

    Args:
        code: The submission.
        problem_id: Short name of the problem.
        has_header: Whether the task has `<id>.h` (`Subtask.has_header`).

    >>> add_includes("long long f() { return 1; }\n", "sums")
    '#include <bits/stdc++.h>\n#include "sums.h"\nusing namespace std;\nlong long f() { return 1; }\n'
    """
    if not code.strip():
        return code
    bare = _without_comments(code)
    lines = ["#include <bits/stdc++.h>"]
    if has_header and not re.search(
        rf'^[ \t]*#[ \t]*include[ \t]*["<]{re.escape(problem_id)}\.h[">]', bare, re.MULTILINE
    ):
        lines.append(f'#include "{problem_id}.h"')
    if not re.search(r"\busing\s+namespace\s+std\s*;", bare) and "std::" not in bare:
        lines.append("using namespace std;")
    return "\n".join([*lines, code])


def _without_comments(text: str) -> str:
    """Return C++ code without comments and literals, but with the names of included files."""
    return _NOT_CODE.sub(lambda match: match["include"] or " ", text)


def patch_cpp(text: str) -> str:
    r"""Return a C++ program with the headers and the namespace that it lacks in front.

    >>> patch_cpp("#include <iostream>\nint main() { cout << sqrt(2); }\n").splitlines()[:2]
    ['#include <cmath>', 'namespace std {} using namespace std;']
    """
    code = _without_comments(text)
    included = {_modern_name(name.strip()) for name in _INCLUDE.findall(code)}
    used = _names_used(_INCLUDE.sub(" ", code))
    lines = []
    if "bits/stdc++.h" not in included:
        there = set() if BRINGING.isdisjoint(included) or _OF_A_LIST.search(code) else BROUGHT_ALONG
        missing = {_HEADERS[name] for name in used - there} - included
        lines += [f"#include <{header}>" for header in sorted(missing)]
    has_namespace = re.search(r"\bstd\s*::|\busing\s+namespace\s+std\b", code) is not None
    if not has_namespace and not _OF_STD.isdisjoint(used):
        lines.append("namespace std {} using namespace std;")
    return "".join(f"{line}\n" for line in lines) + text


def _modern_name(header: str) -> str:
    """Return `cmath` for `math.h`, headers of C++ as they are."""
    return f"c{header.removesuffix('.h')}" if header.endswith(".h") and "/" not in header else header


def _names_used(code: str) -> set[str]:
    """Return the names of the tables that a program uses in the form they have there, and doesn't declare itself."""
    declared = set(re.findall(r"\b(?:struct|class|enum|typename|define)\s+([A-Za-z_]\w*)", code))
    used = set()
    tokens = ["", "", *_TOKEN.findall(code), ""]
    for index, name in enumerate(tokens[2:-1], start=2):
        follower = _FOLLOWED_BY.get(name)
        if follower is None:
            continue
        if follower and tokens[index + 1] != follower:
            if follower == "<" and tokens[index + 1] in _BEHIND_VARIABLE:
                declared.add(name)
            continue
        before = tokens[index - 1]
        if before in (".", "->") or (before == "::" and tokens[index - 2] != "std"):
            continue
        if follower == "(" and before.isidentifier() and before not in _BEFORE_CALL:
            declared.add(name)
        else:
            used.add(name)
    return used - declared


_PATCHES = {"python": patch_python, "cpp": patch_cpp}
