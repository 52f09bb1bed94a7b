# SPDX-License-Identifier: Apache-2.0
"""Accuracies and rewards of the stages of a pipeline, as a table and as a picture.

    python scripts/pipeline_report.py data/demo_pipeline/{r1_zero,cold_start,reasoning_rl,sft,rl_all,distill} \\
        --table assets/benchmarks/pipeline.md --picture assets/pipeline.png

It reads what each training wrote into its folder, `eval_results.json` and `trainer_state.json`:

    | `cold_start` | sums/avg@8 0.297 (0.272 to 0.326) | - |
"""

import json
import sys
from pathlib import Path
from statistics import mean

import matplotlib as mpl

mpl.use("Agg")  # no screen needed

import matplotlib.pyplot as plt

from open_r1.data.cli import FlagParser

NUM_STEPS = 5


def accuracies_of(folder: Path) -> list[tuple[str, float, float, float]]:
    """Return each avg@k at the end of a training: name, value, 95 % interval."""
    path = folder / "eval_results.json"
    values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    names = [name for name in values if "/avg@" in name and f"{name}_low" in values]
    return [(name.removeprefix("eval_"), *(values[name + end] for end in ("", "_low", "_high"))) for name in names]


def rewards_of(folder: Path) -> list[tuple[str, float, float]]:
    """Return each reward on the training prompts: name, mean of the first steps, mean of the last steps."""
    path = folder / "trainer_state.json"
    history = json.loads(path.read_text(encoding="utf-8"))["log_history"] if path.is_file() else []
    keys = dict.fromkeys(
        key for line in history for key in line if key.startswith("rewards/") and key.endswith("/mean")
    )
    rewards = []
    for key in keys:
        values = [line[key] for line in history if line.get(key) is not None]
        rewards.append((key.split("/")[1], mean(values[:NUM_STEPS]), mean(values[-NUM_STEPS:])))
    return rewards


def draw(
    measured: dict[str, tuple[str, float, float, float]],
    rewards: dict[str, list[tuple[str, float, float]]],
    path: Path,
) -> None:
    """Draw the first accuracy of each stage with its interval, and what each stage of GRPO made of its rewards."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 3.8), dpi=130, layout="constrained")
    ends = [[value - low, high - value] for _, value, low, high in measured.values()]
    heights = [value for _, value, _, _ in measured.values()]
    left.bar(list(measured), heights, yerr=list(zip(*ends, strict=True)), capsize=4, color="#4c72b0", width=0.6)
    left.set(ylim=(0, 1), title=f"Held-out problems: {next(iter(measured.values()))[0]}")
    left.tick_params(axis="x", rotation=30)
    labels = []
    for stage, found in rewards.items():
        for name, first, last in found:
            place = -len(labels)
            right.plot([first, last], [place, place], color="#b0b7c3", linewidth=2, zorder=1)
            right.scatter([first], [place], facecolor="white", edgecolor="#4c72b0", zorder=2)
            right.scatter([last], [place], color="#4c72b0", zorder=2)
            labels.append(f"{stage}: {name.removesuffix('_reward')}")
    right.set_yticks([-number for number in range(len(labels))], labels)
    right.set(xlim=(-0.03, 1.03), title=f"Training rewards: first {NUM_STEPS} steps (hollow), last {NUM_STEPS}")
    right.grid(axis="x", alpha=0.3)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    """Write the table and the picture."""
    parser = FlagParser(description=__doc__)
    parser.add_argument(
        "stages", type=Path, nargs="+", metavar="DIR", help="trainings; those without results are left out"
    )
    parser.add_argument("--table", type=Path, required=True, metavar="FILE", help="Markdown")
    parser.add_argument("--picture", type=Path, required=True, metavar="FILE", help="PNG")
    args = parser.parse_args()
    measured = {folder.name: found for folder in args.stages if (found := accuracies_of(folder))}
    if not measured:
        sys.exit("pipeline_report.py: none of these folders has an eval_results.json with avg@k")
    lines = [
        "avg@k: mean of k samples of each problem, with its 95 % interval over the problems. Rewards: means of",
        f"the first and the last {NUM_STEPS} steps.",
        "",
        "| stage | accuracy | rewards on training prompts |",
        "|---|---|---|",
    ]
    rewards = {folder.name: found for folder in args.stages if (found := rewards_of(folder))}
    for folder in args.stages:
        cells = [
            f"{name} {value:.3f} ({low:.3f} to {high:.3f})" for name, value, low, high in measured.get(folder.name, [])
        ]
        changes = [f"{name} {first:.2f} to {last:.2f}" for name, first, last in rewards.get(folder.name, [])]
        if cells:
            lines.append(f"| `{folder.name}` | {', '.join(cells)} | {', '.join(changes) or '-'} |")
    args.table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw({name: found[0] for name, found in measured.items()}, rewards, args.picture)


if __name__ == "__main__":
    main()
