# SPDX-License-Identifier: Apache-2.0
"""`python -m open_r1.grading`: one program by hand, as the documents show it, and what goes wrong."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from open_r1.grading.__main__ import main
from tests.conftest import ROOT

TIMES = re.compile(r"\d+\.\d\d s")
ROWS = {
    "stdio": {"verification_info": {"language": "python", "test_cases": [{"input": "1 2", "output": "3"}] * 3}},
    "cpp": {"language": "cpp", "test_cases": '{"inputs": ["1 2"], "outputs": ["3"]}'},
}
SUM = "print(sum(map(int, input().split())))\n"
PROGRAMS = {
    # row, program, flags, exit status, last line
    "right": ("stdio", SUM, (), 0, "AC x3: 3 of 3 passed, reward 1"),
    "refused by the compiler": ("cpp", "int main() {", (), 1, "CE: 0 of 1 passed, reward 0"),
    "old": ("stdio", f"from fractions import gcd\n{SUM}", ("--patch_code",), 0, "AC x3: 3 of 3 passed, reward 1"),
    "endless": (
        "stdio",
        "while 1: pass\n",
        ("--code_test_timeout_s", "0.3"),
        1,
        "TLE x2, OVER: 0 of 3 passed, reward 0",
    ),
}


def judge(tmp_path: Path, row: object, program: str, *flags: str) -> int:
    (tmp_path / "row.json").write_text(json.dumps(row))
    (tmp_path / "program").write_text(program)
    return main([str(tmp_path / "row.json"), str(tmp_path / "program"), *flags])


@pytest.mark.parametrize("case", PROGRAMS)
def test_program_is_judged_as_in_a_training(case: str, tmp_path, capsys):
    row, program, flags, status, last_line = PROGRAMS[case]
    assert judge(tmp_path, ROWS[row], program, *flags) == status
    assert capsys.readouterr().out.splitlines()[-1] == last_line


@pytest.mark.parametrize(
    ("row", "flags"),
    [
        ([1], ()),
        ({"solution": "4"}, ()),
        ({"test_cases": '{"inputs": ["1"], "outputs": [""]}'}, ()),
        (ROWS["stdio"], ("--provider", "no such provider")),
        (
            ROWS["stdio"],
            ("--provider", "router", "--sandbox_router_url", "127.0.0.1:1", "--sandbox_patience_s", "0.1"),
        ),
    ],
    ids=["no object", "no tests", "nothing expected", "no provider", "no router"],
)
def test_what_cannot_be_judged_ends_with_its_reason(row, flags, tmp_path, capsys):
    assert judge(tmp_path, row, SUM, *flags) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err) > 40


def test_documented_example_prints_what_the_document_says(tmp_path):
    text = (ROOT / "recipes" / "REWARDS.md").read_text(encoding="utf-8")
    before, _, shown = text.partition("\n```text\n")
    commands = [line.strip() for line in before.splitlines()[-10:] if line.startswith("    ")]
    assert commands[-1].startswith("python -m open_r1.grading ")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    run = subprocess.run(
        ["bash", "-c", "\n".join(commands)],
        check=False,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1, run.stderr  # where boxes lack numpy it has a warning
    _, *printed = run.stdout.splitlines()  # which sandbox judges depends on the machine
    assert [TIMES.sub("", line) for line in printed] == [
        TIMES.sub("", line) for line in shown.partition("\n```")[0].splitlines()
    ]
