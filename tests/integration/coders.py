# SPDX-License-Identifier: Apache-2.0
"""A tiny model that writes programs, and a sandbox with outages: what trainings on programs are tested with."""

from collections.abc import Callable
from pathlib import Path

from open_r1.sandbox import SandboxError
from open_r1.sandbox.local import LocalSandbox
from tests.integration.program_rows import fenced
from tests.integration.tiny import Tiny, build_tiny, write_rows

RIGHT, WRONG = "print(3)", "print(4)"
PROBLEM = {
    "problem": "1+2",
    "gold_standard_solution": RIGHT,
    "verification_info": {
        "language": "python",
        "test_cases": [{"input": given, "output": "3", "type": "stdin_stdout"} for given in ("", "7")],
    },
}
# Told from what the model writes by its blanks.
OTHER_GOLD = "print( 3 )"


class Outage(LocalSandbox):
    """A provider that fails for some programs."""

    def __init__(self, is_lost: Callable[[str], bool]) -> None:
        super().__init__()
        self.is_lost = is_lost

    async def run(self, request, *rest):
        if self.is_lost(request.files[request.main_file]):
            raise SandboxError("the machine is gone")
        return await super().run(request, *rest)


def build_coder(folder: Path) -> Tiny:
    """Train a tiny model to write the right program or the wrong one, half of the time each, mostly in the layout."""
    tiny = build_tiny(folder)
    answers = [fenced(RIGHT), fenced(WRONG), fenced(RIGHT).replace("<think>\n", ""), fenced(WRONG)]
    messages = [
        [{"role": "user", "content": PROBLEM["problem"]}, {"role": "assistant", "content": answer}]
        for answer in answers
    ]
    write_rows(folder / "chats" / "train.jsonl", [{"messages": chat} for chat in messages] * 8)
    tiny.train("sft", folder / "sft", dataset_name=folder / "chats", max_steps=100, save_strategy="no")
    data = folder / "problems"
    for split in ("train", "test"):
        write_rows(data / f"{split}.jsonl", [PROBLEM] * 8)
    return Tiny(folder / "sft", data)
