# SPDX-License-Identifier: Apache-2.0
"""GRPO on programs that a tiny model writes and boxes run: right values, and what an outage does to a training."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.integration.coders import OTHER_GOLD, PROBLEM, RIGHT, WRONG, Outage, build_coder
from tests.integration.routers import serve
from tests.integration.tiny import Tiny, log_history, write_rows

ROOT = Path(__file__).resolve().parents[2]
RUN = {
    "reward_funcs": ["code", "format"],
    "reward_weights": [1.0, 0.1],
    "max_completion_length": 48,
    "max_steps": 3,
    "log_completions": True,
    "learning_rate": 1e-4,
    "save_strategy": "no",
    "code_test_timeout_s": 20.0,
    "temperature": 0.5,
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_coder(tmp_path_factory.mktemp("coder"))


def recorded(output: Path) -> pd.DataFrame:
    return pd.concat(map(pd.read_parquet, sorted((output / "rollouts").glob("train-*.parquet"))), ignore_index=True)


def test_script_trains_on_what_programs_do(tiny, tmp_path):
    argv = tiny.argv("grpo", tmp_path / "run", **RUN, log_level="info")
    command = [sys.executable, str(ROOT / "src" / "open_r1" / "grpo.py"), *argv]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "Programs of code run in local" in ended.stderr + ended.stdout
    rows = recorded(tmp_path / "run")
    assert len(rows) == 3 * 8
    for program, reward, verdicts in ((RIGHT, 1.0, "AC x2"), (WRONG, 0.0, "WA x2")):
        written = rows[rows["completion"].str.contains(f"```python\n{program}\n```", regex=False)]
        assert len(written) > 0
        assert set(written["code_reward"]) == {reward}
        assert set(written["code_reward/verdicts"]) == {verdicts}
    assert rows["advantage"].abs().max() > 0.5
    history = [entry for entry in log_history(tmp_path / "run") if "loss" in entry]
    assert len(history) == 3
    for entry in history:
        assert entry["sandbox/error_rate"] == entry["rewards/unscorable"] == 0
        assert 0 < entry["sandbox/seconds"] <= entry["sandbox/seconds_p95"] < 60
        rates = [value for name, value in entry.items() if name.startswith("code_reward/")]
        assert sum(rates) == pytest.approx(1)
        assert entry["code_reward/AC"] == entry["rewards/code_reward/mean"]
    assert json.loads((tmp_path / "run" / "train_results.json").read_text())["train_loss"] is not None


def test_rows_that_the_sandbox_lost_carry_no_advantage_and_the_training_goes_on(tiny, tmp_path):
    with serve(Outage(lambda program: WRONG in program), max_parallel=2) as address:
        tiny.train("grpo", tmp_path, **RUN, code_provider="router", sandbox_router_url=address)
    rows = recorded(tmp_path)
    lost = rows["code_reward/verdicts"] == "sandbox_error"
    assert rows["completion"][lost].str.contains(WRONG, regex=False).all()
    assert not rows["completion"][~lost].str.contains(f"```python\n{WRONG}\n```", regex=False).any()
    assert 0 < lost.sum() < len(rows) == 3 * 8
    # Not a punishment: no advantage at all, though the layout of most of them earned something.
    assert set(rows["advantage"][lost]) == {0.0}
    assert rows.loc[lost, ["code_reward", "format_reward"]].isna().all(axis=None)
    assert rows.loc[~lost, ["code_reward", "format_reward"]].notna().all(axis=None)
    history = [entry for entry in log_history(tmp_path) if "loss" in entry]
    assert len(history) == 3
    assert sum(entry["rewards/unscorable"] for entry in history) * 8 == lost.sum()
    assert all(entry["sandbox/error_rate"] == entry["rewards/unscorable"] for entry in history)
    assert all(math.isfinite(entry["loss"]) for entry in history)


def test_router_without_any_sandbox_stops_the_run_after_two_batches(tiny, tmp_path):
    settings = {**RUN, "reward_funcs": ["format", "code"], "max_steps": 5, "code_provider": "router"}
    data = write_rows(tmp_path / "train.jsonl", [{**PROBLEM, "gold_standard_solution": OTHER_GOLD}] * 8)
    outage = Outage(lambda program: OTHER_GOLD not in program)
    with serve(outage, max_parallel=2) as address, pytest.raises(RuntimeError) as raised:
        tiny.train("grpo", tmp_path / "run", **settings, dataset_name=data, sandbox_router_url=address)
    assert "last two batches" in str(raised.value)
    assert len(recorded(tmp_path / "run")) == 8
