# SPDX-License-Identifier: Apache-2.0
"""Properties are tried on the same examples in each worker, whatever it has imported before."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
{imports}
from hypothesis import given, strategies as st
from tests import conftest

@given(st.integers(), st.text(max_size=5))
def show(number, text):
    print(number, ascii(text))

show()
"""


def examples_after(imports: str) -> list[str]:
    """The examples that a new process draws."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(imports=imports)], capture_output=True, text=True, check=True
    )
    return ran.stdout.splitlines()


@pytest.mark.parametrize(
    "imports", ["import open_r1.curation.decontamination.matching", "import open_r1.sandbox.wire"]
)
def test_examples_do_not_depend_on_what_was_imported(imports):
    examples = examples_after("")
    assert len(examples) == 100 and examples_after(imports) == examples
