# SPDX-License-Identifier: Apache-2.0
r"""How a gold and an answer are read, what decides, and the verdict.

    python -m open_r1.rewards.verifier '\frac{1}{2}' 'So it is \boxed{0.5}.'     # a completion
    python -m open_r1.rewards.verifier '\frac{1}{2}' 0.5                         # or the answer alone

Text without a box, an answer block, a phrase or reasoning is taken for the answer alone; as a completion it has none.
"""

import sys
from collections.abc import Sequence

from open_r1.rewards.base import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from open_r1.rewards.verifier import explain
from open_r1.rewards.verifier.extract import find_answer


def main(argv: Sequence[str] | None = None) -> int:
    """Print the explanation; return the exit status."""
    # argparse would take a negative answer for a flag.
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) != 2:
        print(__doc__, file=sys.stdout if words in (["-h"], ["--help"]) else sys.stderr)
        return 0 if words in (["-h"], ["--help"]) else 2
    gold, answer = words
    if find_answer(answer).text is None and THINK_OPEN not in answer and THINK_CLOSE not in answer:
        answer = f"{ANSWER_OPEN}{answer}{ANSWER_CLOSE}"
    print(explain(gold, answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
