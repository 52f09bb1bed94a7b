# SPDX-License-Identifier: Apache-2.0
"""What every rank of a launch does: judges a batch itself, and through a forked worker of torch's DataLoader.

Writes what came out as JSON into the folder given on the command line, one file a rank.
"""

import json
import os
import sys
from pathlib import Path

import psutil
from accelerate import PartialState
from torch.utils.data import DataLoader, Dataset

from open_r1.rewards.verifier.pool import WorkerPool

MODULE = "tests.integration.verifier_judges"
PAIRS = [("1", "1"), ("1", "2"), ("3", "burn 9"), ("4", "kill SIGSEGV"), ("5", "5")]

pool = WorkerPool(judge=f"{MODULE}:obey", warm_up=f"{MODULE}:prepare")


def judge() -> list[str]:
    return [str(verdict) for verdict in pool.judge(PAIRS, timeout_s=2.0, deadline_s=90)]


class Judged(Dataset):
    """Rows that are judged where they are loaded."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> list[str]:
        return [str(os.getpid()), *judge()]


if __name__ == "__main__":
    state = PartialState(cpu=True)
    own = judge()
    processes = psutil.Process().children(recursive=True)
    loader = DataLoader(Judged(), num_workers=1, multiprocessing_context="fork", collate_fn=list)
    loaded = [row for batch in loader for row in batch]
    found = {
        "num_ranks": state.num_processes,
        "own": own,
        "own_again": judge(),
        "loaded": [row[1:] for row in loaded],
        "pids": [os.getpid(), int(loaded[0][0])],
        "processes": [process.pid for process in processes],
    }
    Path(sys.argv[1], f"{state.process_index}.json").write_text(json.dumps(found), encoding="utf-8")
    state.wait_for_everyone()
    state.destroy_process_group()
