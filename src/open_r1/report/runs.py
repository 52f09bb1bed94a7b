# SPDX-License-Identifier: Apache-2.0
"""Runs as a report shows them: facts, settings, curves and completions, read from their folders.

    data/demo/grpo/trainer_state.json     curves: {"reward": [[1, 0.41], [2, 0.44], ...], ...}
                   run_manifest.json      facts and settings
                   rollouts/*.parquet     completions of training and evaluation, with rewards and verdicts
    data/evals/<model>/<benchmark>/       results.json and answers.parquet

A training that still runs has its curves in the last checkpoint, and its newest completions in rollouts/.
"""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

Curve = list[list[float]]  # of [step, value]
MOST_ROLLOUTS = 50_000
_NO_CURVES = {"step", "epoch", "total_flos", "num_tokens", "num_input_tokens_seen"}
_PLAIN = {"prompt", "completion", "solution", "num_tokens", "is_truncated", "is_greedy", "advantage", "step"}


@dataclass
class Run:
    """What is known of a run.

    Attributes:
        name: Its folder's.
        facts: Model, data, versions, commit, times, by their names.
        settings: All of them.
        curves: By metric.
        rollouts: Completions: step, mode, group, prompt, completion, gold, read, verdict, rewards, advantage, length,
            truncated.
    """

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    rollouts: list[dict[str, Any]] = field(default_factory=list)


def read_runs(folders: Iterable[Path]) -> list[Run]:
    """Return the runs of folders; of one that holds none itself (the demo's, a pipeline's) those of its subfolders.

    Raises:
        ValueError: A folder holds no run.
    """
    runs = []
    for folder in folders:
        inner = [folder] if _is_run(folder) else sorted(path for path in folder.rglob("*") if _is_run(path))
        if not inner:
            raise ValueError(f"{folder} holds no run: neither trainer_state.json nor rollouts/ nor answers.parquet.")
        runs += [read_run(path) for path in inner]
    return runs


def _is_run(folder: Path) -> bool:
    if folder.name.startswith(("checkpoint-", "superseded-")):
        return False
    return any((folder / name).exists() for name in ("trainer_state.json", "rollouts", "answers.parquet"))


def read_run(folder: Path) -> Run:
    """Return the run in a folder."""
    run = Run(folder.resolve().name)
    manifest = _read_json(folder / "run_manifest.json").get("runs") or [{}]
    run.settings = manifest[-1].get("settings", {})
    known = {name: value for name, value in manifest[-1].items() if name not in ("settings", "versions") and value}
    run.facts = known | manifest[-1].get("versions", {})
    checkpoints = sorted(folder.glob("checkpoint-*/trainer_state.json"), key=lambda path: path.stat().st_mtime)
    states = [folder / "trainer_state.json", *reversed(checkpoints)]
    state = next((path for path in states if path.is_file()), None)
    if state is not None:
        run.curves = read_curves(_read_json(state).get("log_history", []))
    results = _read_json(folder / "results.json")
    run.facts |= {name: value for name, value in results.items() if isinstance(value, str | int | float)}
    run.facts |= {name: value for name, value in (results.get("metrics") or {}).items() if not isinstance(value, dict)}
    tables = sorted((folder / "rollouts").glob("*.parquet")) or sorted(folder.glob("answers.parquet"))
    run.rollouts = read_rollouts(tables)
    if not run.curves:
        run.curves = curves_of_rollouts(run.rollouts)
    return run


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def read_curves(log_history: Iterable[dict[str, Any]]) -> dict[str, Curve]:
    """Return the metrics of a log, each by step.

    >>> read_curves([{"step": 1, "reward": 0.5, "epoch": 0.1}, {"step": 2, "reward": None}])
    {'reward': [[1, 0.5]]}
    """
    curves: dict[str, Curve] = {}
    for entry in log_history:
        for name, value in entry.items():
            if name not in _NO_CURVES and isinstance(value, int | float) and value == value:
                curves.setdefault(name, []).append([entry["step"], value])
    return curves


def curves_of_rollouts(rollouts: Iterable[dict[str, Any]]) -> dict[str, Curve]:
    """Return what completions tell by themselves, of a training that has saved nothing yet."""
    frame = pd.DataFrame([{**row, **row["rewards"]} for row in rollouts if row["mode"] == "train"])
    if frame.empty:
        return {}
    means = frame.groupby("step").mean(numeric_only=True)
    names = {"length": "completions/mean_length", "truncated": "completions/clipped_ratio"}
    names |= {name: f"rewards/{name}/mean" for row in rollouts for name in row["rewards"]}
    return {
        shown: [[step, value] for step, value in means[name].dropna().reset_index().to_numpy().tolist()]
        for name, shown in names.items()
        if name in means
    }


def read_rollouts(tables: list[Path]) -> list[dict[str, Any]]:
    """Return completions in the order of their steps; of more than 50,000 groups drawn at random."""
    rows: list[dict[str, Any]] = []
    group, last = -1, None
    for path in tables:
        mode = path.stem.partition("-")[0]
        records: list[Any] = pd.read_parquet(path).to_dict("records")
        for record in records:
            prompt = _text_of(record.get("prompt", record.get("problem")))
            if (path, prompt) != last:
                group, last = group + 1, (path, prompt)
            rows.append({"mode": mode, "group": group, "prompt": prompt, **_read_record(record)})
    if len(rows) > MOST_ROLLOUTS:
        groups = random.Random(0).sample(range(group + 1), MOST_ROLLOUTS * (group + 1) // len(rows))
        kept = set(groups)
        rows = [row for row in rows if row["group"] in kept]
    return sorted(rows, key=lambda row: (row["step"], row["group"]))


def _read_record(record: dict[str, Any]) -> dict[str, Any]:
    def first(*ends: str) -> str | None:
        values = (value for name, value in record.items() if name.endswith(ends))
        return next((str(value) for value in values if value is not None and value == value), None)

    numbers = {name: value for name, value in record.items() if isinstance(value, int | float) and value == value}
    score = {"score": numbers["score"]} if "score" in numbers else {}
    rewards = {name: value for name, value in numbers.items() if name not in _PLAIN and name.endswith("_reward")}
    return {
        "step": int(numbers.get("step", 0)),
        "completion": _text_of(record.get("completion", record.get("answer_text", record.get("text", "")))),
        "gold": None if record.get("solution") is None else str(record["solution"]),
        "gold_read": first("gold_read"),
        "answer": first("answer_read", "answer"),
        "verdict": first("verdict"),
        "rewards": {name: round(float(value), 4) for name, value in (rewards or score).items()},
        "advantage": round(float(numbers["advantage"]), 4) if "advantage" in numbers else None,
        "length": int(numbers.get("num_tokens", numbers.get("completion_tokens", 0))),
        "truncated": bool(record.get("is_truncated", record.get("finish_reason") == "length")),
    }


def _text_of(value: Any) -> str:
    """Return a text, or messages with tool calls as text, each behind its role."""
    if value is None or isinstance(value, str):
        return value or ""
    parts = []
    for message in value:
        calls = message.get("tool_calls")
        called = "" if calls is None or not len(calls) else f"\n{json.dumps(list(calls), default=str)}"
        parts.append((message.get("role"), f"{message.get('content') or ''}{called}"))
    return parts[0][1] if len(parts) == 1 else "\n\n".join(f"{role}: {text}" for role, text in parts)
