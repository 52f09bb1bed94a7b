# SPDX-License-Identifier: Apache-2.0
"""Write what a pipeline has measured: a table in Markdown, and a picture of the accuracy after each stage.

    python scripts/pipeline_report.py --config recipes/demo/pipeline.yaml --table assets/benchmarks/pipeline.md \\
        --picture assets/pipeline.png

It reads the records of the finished stages and what their trainings wrote.
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")  # no screen needed

import matplotlib.pyplot as plt
from pipeline_plan import Pipeline, Record, Stage, load_pipeline
from run_pipeline import results

NUM_STEPS = 5


def main() -> None:
    """Write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the pipeline")
    parser.add_argument("--table", type=Path, required=True, metavar="FILE", help="the table, in Markdown")
    parser.add_argument("--picture", type=Path, required=True, metavar="FILE", help="the picture, as PNG")
    args = parser.parse_args()
    pipeline = load_pipeline(args.config)
    args.table.write_text(render_table(pipeline, args), encoding="utf-8")
    draw(pipeline, args.picture)


def render_table(pipeline: Pipeline, args: argparse.Namespace) -> str:
    """Return the table: stages with CPU seconds and measurements, then the rewards of each GRPO."""
    finished = {stage.name: record for stage in pipeline.stages if (record := finished_record(pipeline, stage))}
    named = " ".join(stage.name for stage in pipeline.stages if stage.only_named and stage.name in finished)
    lines = [
        "# A pipeline, stage by stage",
        "",
        f"Made by `python scripts/run_pipeline.py --config {args.config}`,"
        + (f" once more with `--stage {named}`, then" if named else " then"),
        f"`python scripts/pipeline_report.py --config {args.config} --table {args.table} --picture {args.picture}`.",
        "avg@k is the mean of k samples of each problem, with its 95 % interval over the problems.",
        "",
        "| stage | | CPU s | measured |",
        "|---|---|---|---|",
    ]
    total = 0.0
    for stage in pipeline.stages:
        record = finished.get(stage.name)
        if record is None:
            continue
        total += record.cpu_seconds or 0.0
        values = [f"{name} {value:.3f} ({low:.3f} to {high:.3f})" for name, value, low, high in results(stage)]
        lines.append(f"| `{stage.name}` | {stage.does} | {record.cpu_seconds or 0:.0f} | {', '.join(values) or '-'} |")
    lines += [
        f"| | in all | {total:.0f} | |",
        "",
        f"Rewards of the GRPO stages on their training prompts, first and last {NUM_STEPS} steps:",
        "",
        "| stage | reward | first | last |",
        "|---|---|---|---|",
    ]
    for stage in pipeline.stages:
        for name, (first, last) in rewards_of(stage).items():
            lines.append(f"| `{stage.name}` | {name} | {first:.2f} | {last:.2f} |")
    return "\n".join(lines) + "\n"


def finished_record(pipeline: Pipeline, stage: Stage) -> Record | None:
    """Return the record of a stage; None where it isn't finished."""
    record = pipeline.read_record(stage)
    return record if record is not None and record.state == "finished" else None


def rewards_of(stage: Stage) -> dict[str, tuple[float, float]]:
    """Return the mean of each reward in the first and the last steps of a GRPO."""
    path = stage.output / "trainer_state.json"
    history = json.loads(path.read_text(encoding="utf-8"))["log_history"] if path.is_file() else []
    found: dict[str, list[float]] = {}
    for line in history:
        for key, value in line.items():
            if key.startswith("rewards/") and key.endswith("/mean") and value is not None:
                found.setdefault(key.split("/")[1], []).append(value)
    return {
        name: (sum(values[:NUM_STEPS]) / NUM_STEPS, sum(values[-NUM_STEPS:]) / NUM_STEPS)
        for name, values in found.items()
        if len(values) >= NUM_STEPS
    }


def draw(pipeline: Pipeline, path: Path) -> None:
    """Draw the first measurement of each stage that has one, with its interval."""
    measured = [(stage.name, results(stage)[0]) for stage in pipeline.stages if results(stage)]
    figure, axes = plt.subplots(figsize=(7, 3.2), dpi=130, layout="constrained")
    values = [value for _, (_, value, _, _) in measured]
    lows = [value - low for _, (_, value, low, _) in measured]
    highs = [high - value for _, (_, value, _, high) in measured]
    axes.bar(range(len(values)), values, yerr=[lows, highs], capsize=4, color="#4c72b0", width=0.6)
    axes.set_xticks(range(len(values)), [name for name, _ in measured])
    axes.set_ylim(0, 1)
    axes.set_ylabel(measured[0][1][0])
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    main()
