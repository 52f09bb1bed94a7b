# SPDX-License-Identifier: Apache-2.0
"""Run the demo over several seeds and make the table that says how reliably it learns.

    python scripts/demo_seeds.py --variant main --table assets/benchmarks/demo_main.md

A seed changes the weights, the training data and the test split. Finished seeds are not run again: an interrupted
command goes on where it stopped.
"""

import argparse
import json
import statistics
from pathlib import Path

from demo import VARIANTS, run_demo
from demo_report import rows_of
from rich.console import Console


def parse_command_line() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--variant", choices=sorted(VARIANTS), default="main", help="which stages (default: main)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[301, 302, 303, 304, 305], help="default: 301 to 305")
    parser.add_argument("--output_dir", type=Path, default=Path("data/demo_seeds"), help="default: data/demo_seeds")
    parser.add_argument("--table", type=Path, help="also write the table to this file")
    return parser.parse_args()


def markdown_table(variant: str, runs: list[dict]) -> str:
    """Return the results as a Markdown table, one row a seed, and a line of means."""
    k = rows_of(runs[0])[-1]["result"]["k"]
    lines = [
        f"| seed | before: greedy | before: avg@{k} | tokens | after: greedy | after: avg@{k} (95 %) | tokens "
        f"| gain avg@{k} | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    before, after = [], []
    for run in runs:
        first, last = (row["result"] for row in rows_of(run)[-2:])
        before.append(first["mean"])
        after.append(last["mean"])
        lines.append(
            f"| {run['seed']} | {first['greedy']:.3f} | {first['mean']:.3f} | {first['length']:.1f} "
            f"| {last['greedy']:.3f} | {last['mean']:.3f} ({last['low']:.3f} - {last['high']:.3f}) "
            f"| {last['length']:.1f} | {last['mean'] - first['mean']:+.3f} | {run['cpu_s']:.0f} |"
        )
    gains = [b - a for a, b in zip(before, after, strict=True)]
    problems = rows_of(runs[0])[-1]["result"]["num_problems"]
    lines += [
        "",
        f"Mean avg@{k}: {statistics.mean(before):.3f} before, {statistics.mean(after):.3f} after; smallest gain "
        f"{min(gains):+.3f}. {problems} held-out problems a seed; CPU seconds of all stages and evaluations, on one "
        "thread.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run every seed and print the table."""
    args = parse_command_line()
    console = Console()
    runs = []
    for seed in args.seeds:
        output_dir = args.output_dir / f"{args.variant}_{seed}"
        path = output_dir / "metrics.json"
        if not path.is_file():
            metrics = run_demo(output_dir, args.variant, seed, {}, console)
            path.write_text(json.dumps(metrics, indent=1), encoding="utf-8")
        runs.append(json.loads(path.read_text(encoding="utf-8")))
    table = markdown_table(args.variant, runs)
    print(table)
    if args.table is not None:
        command = f"python scripts/demo_seeds.py --variant {args.variant} --seeds {' '.join(map(str, args.seeds))}"
        args.table.write_text(f"Made by `{command}`.\n\n{table}", encoding="utf-8")


if __name__ == "__main__":
    main()
