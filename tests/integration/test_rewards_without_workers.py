# SPDX-License-Identifier: Apache-2.0
"""Where the verifier can't start its workers, no reward that needs them pays or punishes anyone."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Workers are started with the interpreter of this process. The second row is judged without them.
PROGRAM = r"""
import json, math, sys
from open_r1.rewards import accuracy_reward, get_cosine_scaled_reward, len_reward
from open_r1.rewards.length_rewards import DemystifyCosineReward

sys.executable = "/bin/false"
columns = {
    "prompts": ["p"] * 3,
    "completions": [r"\boxed{1-\cos^2 x}", r"\boxed{2}", r"\boxed{2}"],
    "completion_ids": [[1], [1, 2], [1, 2, 3]],
    "solution": [r"\sin^2 x", "2", ""],
}
found = {}
for reward in (accuracy_reward, len_reward, get_cosine_scaled_reward(), DemystifyCosineReward()):
    metrics = {}
    values = reward(**columns, log_metric=metrics.__setitem__)
    kinds = [value if value is None else "nan" if math.isnan(value) else "number" for value in values]
    found[reward.__name__] = [kinds, metrics[f"{reward.__name__}/lost"]]
print(json.dumps(found))
"""


def test_a_row_that_no_worker_could_judge_is_unscorable_in_every_reward():
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    found = json.loads(run.stdout)
    assert set(found) == {"accuracy_reward", "len_reward", "cosine_scaled_reward", "demystify_cosine_reward"}
    for name, (kinds, lost) in found.items():
        assert kinds == ["nan", "number", None], name
        assert abs(lost - 1 / 3) < 1e-9, name
