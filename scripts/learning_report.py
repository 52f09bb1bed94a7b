# SPDX-License-Identifier: Apache-2.0
r"""Print what a GRPO training has taught, as Markdown, and draw its rewards.

    python scripts/learning_report.py --trainings data/SmolLM2-135M-GRPO --before data/rates/before \
        --after data/rates/after --form "The answer is -?\d+" --picture assets/smollm2_curve.png

It reads trainings of `grpo.py`, and folders of `compute_pass_rate.py`: those of the same name below --before and
--after, which must hold the same rows.
"""

import argparse
import itertools
import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no screen needed

import matplotlib.pyplot as plt
import pandas as pd

from open_r1.data.card import CARD_NAME
from open_r1.data.cli import FlagParser
from open_r1.data.folder import load_columns
from open_r1.evaluation.intervals import mean_interval, paired_difference

NUM_STEPS, NUM_PROBLEMS, WINDOW = 5, 3, 5
COLUMNS = ("problem", "solution", "pass_rate", "pass_rate_rewards", "pass_rate_generations")
Rows = list[dict[str, Any]]


def main() -> None:
    """Run the command line."""
    parser = FlagParser(description=__doc__)
    add = parser.add_argument
    add("--trainings", type=Path, nargs="+", required=True, metavar="DIR", help="folders of grpo.py, one a seed")
    add("--before", type=Path, required=True, metavar="DIR", help="pass rates of the model that training began with")
    add("--after", type=Path, nargs="+", required=True, metavar="DIR", help="those of each trained model")
    add("--form", type=re.compile, metavar="REGEX", help="also count completions in which this is found")
    add("--picture", type=Path, metavar="FILE", help="draw rewards over steps, as PNG")
    args = parser.parse_args()
    print("\n".join(report(args)))
    if args.picture is not None:
        draw(args.trainings, args.picture)


def report(args: argparse.Namespace) -> list[str]:
    """Return the lines of all tables."""
    names = sorted(path.parent.name for path in args.before.glob(f"*/{CARD_NAME}"))
    before = {name: read_rates(args.before / name) for name in names}
    lines = ["| problems | | model | avg@k | gain |", "|---|---|---|---|---|"]
    for name, rows in before.items():
        lines.append(f"| {name} | {len(rows)} | before | {average_of(rows)} | - |")
        for folder in args.after:
            after = read_rates(folder / name)
            lines.append(f"| {name} | {len(after)} | {folder.name} | {average_of(after)} | {gain_of(rows, after)} |")
    if args.form is not None:
        lines += ["", "| problems | model | share in the form | right of these |", "|---|---|---|---|"]
        for name in names:
            for folder in (args.before, *args.after):
                lines.append(f"| {name} | {folder.name} | {form_cells(read_rates(folder / name), args.form)} |")
    lines += [
        "",
        f"| training | mean of | first {NUM_STEPS} steps | quarter 1 | 2 | 3 | 4 |",
        "|---|---|---|---|---|---|---|",
    ]
    for training in args.trainings:
        lines += [f"| {training.name} | {cells} |" for cells in training_cells(log_of(training))]
    lines += ["", "| problem | before | after |", "|---|---|---|"]
    for name in names:
        pairs = zip(before[name], read_rates(args.after[0] / name), strict=True)
        lines += [completion_line(*pair) for pair in itertools.islice(pairs, NUM_PROBLEMS)]
    return lines


def read_rates(folder: Path) -> Rows:
    """Return the judged rows of a folder of `compute_pass_rate.py`, in the order of its data."""
    return [row for row in load_columns(folder, COLUMNS).to_pylist() if row["pass_rate"] is not None]


def average_of(rows: Rows) -> str:
    """Return avg@k with its interval over problems."""
    found = mean_interval([row["pass_rate"] for row in rows], [row["problem"] for row in rows])
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"


def gain_of(before: Rows, after: Rows) -> str:
    """Return the mean difference with its interval.

    Raises:
        ValueError: The problems differ.
    """
    if [row["problem"] for row in before] != [row["problem"] for row in after]:
        raise ValueError("Before and after have different problems: give both the same data.")
    found = paired_difference([row["pass_rate"] for row in before], [row["pass_rate"] for row in after])
    interval = "too few to compare" if found.is_too_few else f"{found.low:+.3f} to {found.high:+.3f}"
    return f"{found.mean:+.3f} ({interval})"


def form_cells(rows: Rows, form: re.Pattern[str]) -> str:
    """Return the share of completions in which the form is found, and the mean reward of these.

    >>> rows = [{"pass_rate_generations": ["It is 7", "7", "It is 8"], "pass_rate_rewards": [1.0, 1.0, 0.0]}]
    >>> form_cells(rows, re.compile("It is"))
    '0.67 | 0.50'
    """
    pairs = [pair for row in rows for pair in zip(row["pass_rate_generations"], row["pass_rate_rewards"], strict=True)]
    rewards = [reward for text, reward in pairs if text is not None and form.search(text)]
    return f"{len(rewards) / len(pairs):.2f} | {statistics.mean(rewards):.2f}" if rewards else "0.00 | -"


def log_of(training: Path) -> Rows:
    """Return the logged steps of a training."""
    state = json.loads((training / "trainer_state.json").read_text(encoding="utf-8"))
    return [line for line in state["log_history"] if "reward" in line]


def training_cells(steps: Rows) -> list[str]:
    """Return what changed from the first steps on and by quarters, and the speed of all."""
    titles = {
        "reward": "reward",
        "frac_reward_zero_std": "share of groups with equal rewards",
        "completions/mean_length": "tokens a completion",
        "entropy": "entropy",
        "time/generate_s": "seconds of generation",
        "step_time": "seconds of a step",
        "tokens_per_second": "tokens/s, prompts included",
    }
    ends = [len(steps) * number // 4 for number in range(5)]
    parts = [steps[:NUM_STEPS], *(steps[first:last] for first, last in itertools.pairwise(ends))]
    means = {key: [statistics.mean(step[key] for step in part) for part in parts] for key in titles}
    return [" | ".join([title, *(f"{value:.2f}" for value in means[key])]) for key, title in titles.items()]


def completion_line(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return the first completion to a problem before and after, with its reward."""

    def cell(row: dict[str, Any]) -> str:
        text = " ".join((row["pass_rate_generations"][0] or "").split()).replace("|", "\\|")
        return f"{text} ({row['pass_rate_rewards'][0]:g})"

    return f"| {before['problem']} {before['solution']} | {cell(before)} | {cell(after)} |"


def draw(trainings: Sequence[Path], path: Path) -> None:
    """Draw the reward of each training over its steps, with its mean over the last few."""
    figure, axes = plt.subplots(figsize=(7, 3.2), dpi=130, layout="constrained")
    for number, training in enumerate(trainings):
        rewards = pd.Series([step["reward"] for step in log_of(training)])
        rewards.index += 1
        axes.plot(rewards, color=f"C{number}", alpha=0.3)
        axes.plot(rewards.rolling(WINDOW, min_periods=1).mean(), color=f"C{number}", label=training.name)
    axes.set_ylim(0, 1)
    axes.set_xlabel("step")
    axes.set_ylabel(f"reward on training prompts,\nand its mean over {WINDOW} steps")
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    main()
