# SPDX-License-Identifier: Apache-2.0
"""What starts in a moment must: rooms without torch load none, and what is seldom needed is imported late."""

import subprocess
import sys

import pytest

from tests.unit.test_architecture import HEAVY, MODULES, NEEDS_TORCH, PACKAGE, TORCH_FREE, part_of

ROOMS = sorted(
    ".".join(("open_r1", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in MODULES
    if part_of(path) in TORCH_FREE
    and "harness" not in path.parts
    and path.relative_to(PACKAGE).as_posix() not in NEEDS_TORCH
)


def loaded_by(program: str) -> set[str]:
    """Packages, and modules of none, that a fresh Python loads from files to run a program."""
    report = (
        "import sys; before = set(sys.modules); exec(sys.argv[1]); "
        "new = {name for name in set(sys.modules) - before if getattr(sys.modules[name], '__file__', None)}; "
        "print(*{name.split('.')[0] for name in new})"
    )
    command = [sys.executable, "-c", report, program]
    environment = {"PYTHONPATH": str(PACKAGE.parent)}
    return set(subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("program", "without"),
    [
        (f"import {', '.join(ROOMS)}", HEAVY),
        ("import open_r1.rewards", {"datasets", "sympy", "jieba"}),
        ("import open_r1.tasks, open_r1.rewards; open_r1.tasks.list_tasks()", {"datasets", "reasoning_gym"}),
        ("import open_r1.evaluation.settings", {*HEAVY, "datasets"}),
        (
            r"from open_r1.rewards import verify; assert verify('x^2-1', r'\boxed{(x-1)(x+1)}') == 'right'",
            {"torch", "sympy", "math_verify"},
        ),
    ],
    ids=["torch-free rooms", "rewards", "list of tasks", "arguments of evaluation", "a verdict"],
)
def test_program_loads_none_of(program, without):
    assert loaded_by(program) & without == set()


def test_jobs_are_supervised_with_python_and_yaml_alone():
    loaded = loaded_by(f"import {', '.join(name for name in ROOMS if name.startswith('open_r1.cluster'))}")
    assert loaded - set(sys.stdlib_module_names) <= {"open_r1", "yaml", "_yaml"}
