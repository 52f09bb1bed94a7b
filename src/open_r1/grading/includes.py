# SPDX-License-Identifier: Apache-2.0
"""The lines that C++ submissions to IOI tasks leave out: the standard headers, the task's header, the namespace.

Deviations from Open R1: a header counts as included however the directive is spaced or quoted, text in a comment
doesn't count as one, and the line of a header that the task doesn't have can be left out.
"""

import re

# Literals, which may hold what looks like a comment, and comments. What is never closed ends with its line or with the
# text: else a text of many openings would be searched to its end for each of them.
_LITERAL_OR_COMMENT = re.compile(
    r"""(?P<literal>"(?:\\.|[^"\\\n])*(?:"|(?=\n)|\\?\Z)|'(?:\\.|[^'\\\n])*(?:'|(?=\n)|\\?\Z))"""
    r"""|//[^\n]*|/\*.*?(?:\*/|\Z)""",
    re.DOTALL,
)


def add_includes(code: str, problem_id: str, *, has_header: bool = True) -> str:
    r"""Return a submission with what its task needs in front of it; blank code stays as it is.

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
    bare = _LITERAL_OR_COMMENT.sub(lambda match: match["literal"] or " ", code)
    lines = ["#include <bits/stdc++.h>"]
    if has_header and not re.search(
        rf'^[ \t]*#[ \t]*include[ \t]*["<]{re.escape(problem_id)}\.h[">]', bare, re.MULTILINE
    ):
        lines.append(f'#include "{problem_id}.h"')
    if not re.search(r"\busing\s+namespace\s+std\s*;", bare) and "std::" not in bare:
        lines.append("using namespace std;")
    return "\n".join([*lines, code])
