# SPDX-License-Identifier: Apache-2.0
r"""Patches of programs that were written for older interpreters and compilers.

    patch_code("from fractions import gcd\n", "python")  ->  "from math import gcd\n"

Whether programs are patched is the recipe's choice (`patch_code`), since a model learns from it that old code is fine;
`add_includes` is for all submissions to IOI tasks. What is patched, each for the solutions of a data set:
1. Python, `fractions.gcd` (gone since 3.9): solutions of AtCoder's problems in
   open-r1/verifiable-coding-problems-python;
2. C++, headers that older versions of GCC brought along: accepted submissions of open-r1/codeforces-submissions. A
   header is added only for a name that the program uses, doesn't declare itself and includes nothing for: a header too
   much may make its own names ambiguous. The namespace is opened only for a program that never writes `std::`.
"""

import re

from open_r1.grading.programs import language_name

_IMPORT_GCD = re.compile(r"^([ \t]*)from[ \t]+fractions[ \t]+import[ \t]+gcd\b(?=[ \t]*(?:as\b.*)?$)", re.MULTILINE)
_GCD = re.compile(r"\bfractions\.gcd\b")
# Header, what stands behind a name of it (- anything), and its names.
_TABLE = """
algorithm ( sort stable_sort reverse unique lower_bound upper_bound binary_search next_permutation prev_permutation
algorithm ( max_element min_element minmax_element nth_element rotate count_if find_if all_of any_of none_of
array < array
bitset < bitset
cassert ( assert
cctype ( isdigit isalpha isalnum isspace isupper islower tolower toupper
cfloat - DBL_MAX DBL_MIN DBL_EPSILON FLT_MAX
chrono - chrono
climits - INT_MAX INT_MIN UINT_MAX LONG_MAX LONG_MIN LLONG_MAX LLONG_MIN ULLONG_MAX CHAR_BIT
cmath ( sqrt cbrt pow floor ceil round fabs sin cos tan acos asin atan atan2 log log2 log10 exp hypot
cstdint - int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t
cstdio ( printf scanf puts getchar putchar fgets fputs sprintf sscanf freopen fprintf
cstdlib ( abs labs llabs atoi atoll malloc calloc free qsort rand srand exit
cstring ( memset memcpy memmove memcmp strlen strcmp strncmp strcpy strcat strchr strstr
deque < deque
functional < function
iomanip ( setprecision setw setfill
iostream - cin cout cerr clog endl
limits < numeric_limits
list < list
map < map multimap
memory < unique_ptr shared_ptr make_unique make_shared
numeric ( accumulate iota gcd lcm partial_sum
optional < optional
queue < queue priority_queue
random < uniform_int_distribution uniform_real_distribution
random - mt19937 mt19937_64
set < set multiset
sstream - stringstream istringstream ostringstream
stack < stack
string - string
string ( to_string stoi stol stoll stoul stoull stod getline
tuple < tuple
tuple ( make_tuple tie
unordered_map < unordered_map unordered_multimap
unordered_set < unordered_set unordered_multiset
vector < vector
"""
# Name -> (its header, what stands behind it).
_NAMES = {
    name: (header, follower)
    for header, follower, *names in map(str.split, _TABLE.strip().splitlines())
    for name in names
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
_NAMESPACE = re.compile(r"\bstd\s*::|\busing\s+namespace\s+std\b")
# Words that may stand in front of a call; behind any other word a name is declared.
_BEFORE_CALL = {"return", "else", "case", "throw", "do", "and", "or", "not", "co_return"}


def patch_code(text: str, language: str) -> str:
    """Return a program mended; one that is blank, can't be read, or is in another language comes back as it is."""
    name = language_name(language)
    if name == "python":
        return _GCD.sub('__import__("math").gcd', _IMPORT_GCD.sub(r"\1from math import gcd", text))
    return _patch_cpp(text) if name == "cpp" and text.strip() else text


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
    own = rf'^[ \t]*#[ \t]*include[ \t]*["<]{re.escape(problem_id)}\.h[">]'
    lines = ["#include <bits/stdc++.h>"]
    if has_header and not re.search(own, bare, re.MULTILINE):
        lines.append(f'#include "{problem_id}.h"')
    if not _NAMESPACE.search(bare):
        lines.append("using namespace std;")
    return "\n".join([*lines, code])


def _without_comments(text: str) -> str:
    """Return C++ code without comments and literals, but with the names of included files."""
    return _NOT_CODE.sub(lambda match: match["include"] or " ", text)


def _patch_cpp(text: str) -> str:
    code = _without_comments(text)
    # `math.h` is `cmath`.
    names = [name.strip() for name in _INCLUDE.findall(code)]
    included = {f"c{name[:-2]}" if name.endswith(".h") and "/" not in name else name for name in names}
    used = _names_used(_INCLUDE.sub(" ", code))
    lines = []
    if "bits/stdc++.h" not in included:
        lines = [f"#include <{header}>" for header in sorted({_NAMES[name][0] for name in used} - included)]
    # Names that are of `namespace std` without doubt, when used bare: streams and containers.
    if not _NAMESPACE.search(code) and any(_NAMES[name][0] not in _OF_C and _NAMES[name][1] != "(" for name in used):
        lines.append("namespace std {} using namespace std;")
    return "".join(f"{line}\n" for line in lines) + text


_OF_C = ("cfloat", "climits", "cstdint", "chrono", "random")


def _names_used(code: str) -> set[str]:
    """Return the names of the table that a program uses in the form they have there, and doesn't declare itself."""
    declared = set(re.findall(r"\b(?:struct|class|enum|typename|define)\s+([A-Za-z_]\w*)", code))
    used = set()
    tokens = ["", "", *_TOKEN.findall(code), ""]
    for outer, before, name, after in zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False):
        _, follower = _NAMES.get(name, ("", None))
        if follower is None or before in (".", "->") or (before == "::" and outer != "std"):
            continue
        is_word = before.isidentifier() and before not in _BEFORE_CALL
        if (follower == "<" and after in ("[", ";", "=", ",", ")", "+", "-", ".")) or (
            follower == after == "(" and is_word
        ):
            declared.add(name)  # as a variable, or a function
        elif follower in ("-", after):
            used.add(name)
    return used - declared
