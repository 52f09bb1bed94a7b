# SPDX-License-Identifier: Apache-2.0
"""The three data sets of Open R1's step 1, from generated rows to conversations, by their run.sh."""

import json
import os
import subprocess
import sys
from pathlib import Path

from open_r1.configs import SFTScriptArguments
from open_r1.data.card import read_card
from open_r1.data.training_rows import get_dataset
from tests.integration.fakes.chat_server import ChatServer, Reply

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    {"problem": f"Ada has {n} red and {n + 1} blue pens in her old bag. How many pens?", "answer": str(2 * n + 1)}
    for n in range(6)
]
LEAKED = "one two three four five six seven eight nine words of a benchmark"


def answer(body: dict, attempt: int) -> Reply:
    """A right answer, but for the problem with 5 red pens."""
    words = body["messages"][-1]["content"]
    number = next((n for n in range(6) if f"has {n} red" in words), 0)
    told = 2 * number + 1 if number != 5 else 0
    return Reply(f"<think>\nI add the pens of both colours.\n</think>\n\nThere are \\boxed{{{told}}} pens.")


def run(recipe: str, *words: str, **settings: object) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
    }
    environment |= {name: str(value) for name, value in settings.items()}
    done = subprocess.run(
        ["bash", f"recipes/{recipe}/run.sh", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def conversations(folder: Path) -> list:
    return get_dataset(SFTScriptArguments(dataset_name=str(folder)))["train"]["messages"][:]


def test_step_1_makes_conversations_of_mathematics_programs_and_both(tmp_path):
    rows = [*ROWS, {"problem": f"Count {LEAKED}", "answer": "9"}]
    for name, column in (("math", "problem"), ("code", "prompt")):
        lines = [json.dumps({column: row["problem"], "answer": row["answer"]}) for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "bench.jsonl").write_text(json.dumps({"problem": LEAKED}))
    shared = {"BENCHMARK_FILE": tmp_path / "bench.jsonl"}
    with ChatServer(behave=answer) as server:
        for recipe, name in (("OpenR1-Math-220k", "math"), ("CodeForces-CoTs", "code")):
            run(recipe, server.address, SOURCE=tmp_path / f"{name}.jsonl", OUT=tmp_path / name, **shared)
    math, code = (conversations(tmp_path / name / "sft") for name in ("math", "code"))
    assert sorted(turns[-1]["content"][-12:] for turns in math) == sorted(
        f"boxed{{{row['answer']}}} pens."[-12:] for row in ROWS[:5]
    )
    assert len(code) == 6  # no answer is judged, equal ones count once
    run(
        "Mixture-of-Thoughts",
        str(tmp_path / "math" / "sft"),
        str(tmp_path / "code" / "sft"),
        OUT=tmp_path / "mix",
        **shared,
    )
    mixed = conversations(tmp_path / "mix" / "all")
    assert 6 <= len(mixed) <= 11
    assert [parent.num_rows for parent in read_card(tmp_path / "mix" / "all").parents] == [5, 6]
