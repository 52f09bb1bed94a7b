# SPDX-License-Identifier: Apache-2.0
"""The tool of the demo, `tools: [recipes/demo/calculator.py:calculator]` in recipes/demo/grpo/config_tools.yaml."""

import re


def calculator(expression: str) -> str:
    """Compute a sum.

    Args:
        expression: Whole numbers with plus and minus between them, such as 7+5-8.
    """
    if not re.fullmatch(r"\d+([+-]\d+)*", expression):
        return "error"
    return str(sum(map(int, re.findall(r"[+-]?\d+", expression))))
