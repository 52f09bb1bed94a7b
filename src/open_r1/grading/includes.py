# SPDX-License-Identifier: Apache-2.0
"""The lines that C++ submissions to IOI tasks leave out: the standard headers, the task's header, the namespace.

Deviations from Open R1: a header counts as included however the directive is spaced or quoted, and text in a comment
doesn't count as one.
"""

import re

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def add_includes(code: str, problem_id: str) -> str:
    r"""Return a submission with what its task needs in front of it; blank code stays as it is.

    `<bits/stdc++.h>` always, the task's `"<id>.h"` where it isn't included, and `using namespace std;` where the code
    has neither that nor any `std::`.

    >>> add_includes("long long f() { return 1; }\n", "sums")
    '#include <bits/stdc++.h>\n#include "sums.h"\nusing namespace std;\nlong long f() { return 1; }\n'
    """
    if not code.strip():
        return code
    bare = _COMMENT.sub(" ", code)
    lines = ["#include <bits/stdc++.h>"]
    if not re.search(rf'^[ \t]*#[ \t]*include[ \t]*["<]{re.escape(problem_id)}\.h[">]', bare, re.MULTILINE):
        lines.append(f'#include "{problem_id}.h"')
    if not re.search(r"\busing\s+namespace\s+std\s*;", bare) and "std::" not in bare:
        lines.append("using namespace std;")
    return "\n".join([*lines, code])
