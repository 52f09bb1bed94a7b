# SPDX-License-Identifier: Apache-2.0
"""What the demo shows: a table of stages, completions before and after, curves. Reads what the training scripts wrote.

A stage is the output folder of one training script: `trainer_state.json` (log history), `eval_results.json` (final
evaluation) and `rollouts/eval-*.parquet` (its completions).
"""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no screen needed

import matplotlib.pyplot as plt
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

ACCURACY = "eval_accuracy_reward"


def log_history(stage_dir: Path) -> list[dict[str, Any]]:
    """Return the log lines of a training, in order."""
    return json.loads((stage_dir / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]


def stage_results(title: str, stage_dir: Path) -> dict[str, Any]:
    """Return the metrics of a stage: `start` (evaluation before its training, if any), `end`, seconds, tokens/s."""
    history = log_history(stage_dir)
    train = json.loads((stage_dir / "train_results.json").read_text(encoding="utf-8"))
    speeds = [line["tokens_per_second"] for line in history if "tokens_per_second" in line]
    start = next((line for line in history if line["step"] == 0 and has_accuracy(line)), None)
    end_path = stage_dir / "eval_results.json"
    end = json.loads(end_path.read_text(encoding="utf-8")) if end_path.is_file() else {}
    return {
        "title": title,
        "train_s": train["train_runtime"],
        "tokens_per_s": sum(speeds) / len(speeds) if speeds else None,
        "start": start,
        "end": end if has_accuracy(end) else None,
    }


def has_accuracy(metrics: dict[str, Any]) -> bool:
    """Whether an evaluation sampled completions and judged them."""
    return any(name.startswith(f"{ACCURACY}/avg@") for name in metrics)


def accuracy(metrics: dict[str, Any]) -> dict[str, float]:
    """Return k, avg@k with its interval, greedy accuracy and mean length of an evaluation."""
    name = next(name for name in metrics if name.startswith(f"{ACCURACY}/avg@") and name.split("@")[1].isdigit())
    return {
        "k": int(name.split("@")[1]),
        "mean": metrics[name],
        "low": metrics[f"{name}_low"],
        "high": metrics[f"{name}_high"],
        "greedy": metrics[f"{ACCURACY}/greedy"],
        "length": metrics["eval_completions/mean_length"],
        "num_problems": int(metrics["eval_num_problems"]),
    }


def rows_of(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row per evaluated model: the model a stage started from counts when nothing else evaluated it."""
    rows: list[dict[str, Any]] = []
    before = None
    for stage in metrics["stages"]:
        if stage["start"] is not None and before is not None and before["result"] is None:
            before["result"] = accuracy(stage["start"])
        row = {
            "title": stage["title"],
            "seconds": stage["train_s"],
            "tokens_per_s": stage["tokens_per_s"],
            "result": accuracy(stage["end"]) if stage["end"] is not None else None,
        }
        rows.append(row)
        before = row
    return rows


def print_table(console: Console, metrics: dict[str, Any]) -> None:
    """Print stage, greedy accuracy, avg@k with its interval, length, seconds and speed."""
    rows = rows_of(metrics)
    judged = next(row["result"] for row in rows if row["result"] is not None)
    table = Table(title=f"Accuracy on {judged['num_problems']} held-out problems (seed {metrics['seed']})")
    table.add_column("stage", no_wrap=True)
    for column in ("greedy", f"avg@{judged['k']} (95 %)", "length", "s", "tokens/s"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        result = row["result"]
        numbers = ["-"] * 3
        if result is not None:
            average = f"{result['mean']:.3f} ({result['low']:.3f}-{result['high']:.3f})"
            numbers = [f"{result['greedy']:.3f}", average, f"{result['length']:.1f}"]
        speed = f"{row['tokens_per_s']:,.0f}" if row["tokens_per_s"] else "-"
        table.add_row(row["title"], *numbers, f"{row['seconds']:.0f}", speed)
    console.print(table)
    console.print(
        "length: tokens of a completion; s: seconds of training; the evaluation of a model takes 10 to 15 s more.\n"
        f"{metrics['wall_s']:.0f} s in all, without the start-up of Python.",
        highlight=False,
    )


def eval_completions(stage_dir: Path, *, is_last: bool) -> pd.DataFrame:
    """Return the sampled completions of the first or the last evaluation of a stage."""
    rows = pd.concat(map(pd.read_parquet, sorted((stage_dir / "rollouts").glob("eval-*.parquet"))))
    rows = rows[~rows["is_greedy"] & (rows["step"] == (rows["step"].max() if is_last else rows["step"].min()))]
    rows = rows.reset_index(drop=True)
    rows["question"] = [messages[-1]["content"] for messages in rows["prompt"]]
    return rows


def print_completions(console: Console, stage_dirs: list[Path], count: int = 3) -> None:
    """Print the first sampled answer to the same problems before and after the last stage."""
    after = eval_completions(stage_dirs[-1], is_last=True)
    before = eval_completions(stage_dirs[-1], is_last=False)
    if before["step"].iloc[0] == after["step"].iloc[0]:
        before = eval_completions(stage_dirs[-2], is_last=True)
    table = Table(title="The same problems before and after the last stage (first sample of each)", show_lines=True)
    for column in ("problem", "before", "after"):
        table.add_column(column)
    for question in list(dict.fromkeys(after["question"]))[:count]:
        cells = []
        for rows in (before, after):
            row = rows[rows["question"] == question].iloc[0]
            mark = "[green]right[/]" if row["accuracy_reward"] == 1 else "[red]wrong[/]"
            cells.append(f"{escape(row['completion'])}\n{mark}")
        gold = after[after["question"] == question]["solution"].iloc[0]
        table.add_row(f"{escape(question)}\n(gold: {gold})", *cells)
    console.print(table)


def write_curves(stage_dirs: list[Path], path: Path) -> None:
    """Draw loss of the SFT stages, and reward, accuracy and length of the GRPO stage."""
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), constrained_layout=True)
    panels = {
        "loss": "SFT: loss on training rows",
        "reward": "GRPO: reward, accuracy and layout weighted",
        "rewards/accuracy_reward/mean": "GRPO: share of right answers, training prompts",
        "completions/mean_length": "GRPO: tokens of a completion",
    }
    for axis, (key, title) in zip(axes.flat, panels.items(), strict=True):
        for folder in stage_dirs[:-1] if key == "loss" else stage_dirs[-1:]:
            lines = [line for line in log_history(folder) if key in line]
            axis.plot([line["step"] for line in lines], [line[key] for line in lines], label=folder.name)
        axis.set(title=title, xlabel="step", yscale="log" if key == "loss" else "linear")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.3)
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
