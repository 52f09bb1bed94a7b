# SPDX-License-Identifier: Apache-2.0
"""Run the demo over several seeds and make the table that says how reliably, and how soon, it learns.

    python scripts/demo_seeds.py --variant main --table assets/benchmarks/demo_main.md

A seed changes the weights, the training data and the test split. Finished seeds are not run again: an interrupted
command goes on where it stopped.

Time to accuracy: the CPU seconds of all stages until the first evaluation during GRPO whose avg@8 is `TARGET` or more.
Each stage counts from the building of its callbacks (it then loads tokenizer, data and model) to the end of its
training. Left out: the start of Python and its imports, and all evaluations. They have a random state of their own,
so those every few steps, which only this script asks for, change nothing of what is learned.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from demo import VARIANTS, parse_overrides, run_demo
from demo_report import ACCURACY, log_history, rows_of
from rich.console import Console
from transformers import TrainerCallback, TrainerControl, TrainerState

TARGET = 0.85
EVAL_STEPS = 5
AVERAGE = f"{ACCURACY}/avg@8"


class CpuClock(TrainerCallback):
    """Notes in each line of the log history, as `cpu_s`, the CPU seconds of the stage without its evaluations.

    It ends the evaluations every few steps once the target is reached: each takes as long as 15 steps.
    """

    def __init__(self) -> None:
        self._is_reached = False
        self._mark = time.process_time()
        self._cpu_s = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Count what came before: an evaluation may follow."""
        now = time.process_time()
        self._cpu_s += now - self._mark
        self._mark = now

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Count the step: an evaluation may follow."""
        self.on_train_begin(args, state, control)
        control.should_evaluate &= not self._is_reached

    def on_evaluate(self, *args: object, metrics: dict[str, float], **kwargs: object) -> None:
        """Leave out what has passed since the last step."""
        self._mark = time.process_time()
        self._is_reached = metrics.get(AVERAGE, 0.0) >= TARGET

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Write down what is counted."""
        state.log_history[-1]["cpu_s"] = self._cpu_s


def watched(overrides: dict[str, list[str]], variant: str) -> dict[str, list[str]]:
    """Return the overrides with a clock in every stage, and evaluations every few steps in the last one."""
    clock = ["--callbacks", f"{Path(__file__).resolve()}:CpuClock"]
    words = {stage.name: [*overrides.get(stage.name, []), *clock] for stage in VARIANTS[variant]}
    words[VARIANTS[variant][-1].name] += ["--eval_strategy", "steps", "--eval_steps", str(EVAL_STEPS)]
    return words


def time_to_accuracy(stage_dirs: list[Path]) -> dict[str, float | None]:
    """Return when the last stage first reached `TARGET`.

    Returns:
        cpu_s: CPU seconds of the training of all stages, to their end.
        until_cpu_s: Those until the target; None where it was not reached.
        until_step: Optimizer steps of the last stage until then.
        until_tokens: Tokens sampled by the last stage until then, each completion with its prompt.
    """
    *earlier, last = [log_history(folder) for folder in stage_dirs]
    before = sum(lines[-1]["cpu_s"] for lines in earlier)
    result = {"cpu_s": before + last[-1]["cpu_s"], "until_cpu_s": None, "until_step": None, "until_tokens": None}
    tokens = 0.0
    for line in last:
        tokens = line.get("num_tokens", tokens)
        if line.get(AVERAGE, 0.0) >= TARGET:
            return result | {
                "until_cpu_s": before + line["cpu_s"],
                "until_step": line["step"],
                "until_tokens": tokens,
            }
    return result


def markdown_table(runs: list[dict[str, Any]]) -> str:
    """Return the results as a Markdown table, one row a seed, and a line of means."""
    pairs = [[row["result"] for row in rows_of(run)[-2:]] for run in runs]
    k = pairs[0][1]["k"]
    lines = [
        f"| seed | before: greedy | before: avg@{k} | tokens | after: greedy | after: avg@{k} (95 %) | tokens "
        f"| gain avg@{k} | CPU s | CPU s until {TARGET} | steps | tokens sampled |",
        "|---" * 12 + "|",
    ]
    for run, (first, last) in zip(runs, pairs, strict=True):
        until = "not reached | - | -"
        if run["time"]["until_cpu_s"] is not None:
            until = "{until_cpu_s:.1f} | {until_step} | {until_tokens:,.0f}".format(**run["time"])
        lines.append(
            f"| {run['seed']} | {first['greedy']:.3f} | {first['mean']:.3f} | {first['length']:.1f} "
            f"| {last['greedy']:.3f} | {last['mean']:.3f} ({last['low']:.3f} - {last['high']:.3f}) "
            f"| {last['length']:.1f} | {last['mean'] - first['mean']:+.3f} | {run['time']['cpu_s']:.0f} | {until} |"
        )
    before, after = (statistics.mean(pair[place]["mean"] for pair in pairs) for place in (0, 1))
    smallest = min(last["mean"] - first["mean"] for first, last in pairs)
    return "\n".join(
        [
            *lines,
            "",
            f"Mean avg@{k}: {before:.3f} before, {after:.3f} after; smallest gain {smallest:+.3f}. "
            f"{pairs[0][1]['num_problems']} held-out problems a seed.",
            "",
            "CPU s: of the training of all stages on one thread, their loading included, evaluations and the start of "
            f"Python left out. Until {TARGET}: to the first evaluation during the last stage with that avg@{k}, with "
            "the steps of that stage and the tokens it sampled until then, each completion with its prompt.\n",
        ]
    )


def main() -> None:
    """Run every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--variant", choices=sorted(VARIANTS), default="main", help="which stages (default: main)")
    add("--seeds", type=int, nargs="+", default=[301, 302, 303, 304, 305], help="default: 301 to 305")
    add("--output_dir", type=Path, default=Path("data/demo_seeds"), help="default: data/demo_seeds")
    add("--table", type=Path, help="also write the table to this file")
    text = "setting of one stage, as of demo.py; give each set of them an --output_dir of its own"
    add("--override", action="append", default=[], metavar="STAGE:NAME=VALUE", help=text)
    args = parser.parse_args()
    overrides = watched(parse_overrides(args.override, args.variant), args.variant)
    runs = []
    for seed in args.seeds:
        output_dir = args.output_dir / f"{args.variant}_{seed}"
        path = output_dir / "metrics.json"
        if not path.is_file():
            metrics = run_demo(output_dir, args.variant, seed, overrides, Console())
            metrics["time"] = time_to_accuracy([output_dir / stage.name for stage in VARIANTS[args.variant]])
            path.write_text(json.dumps(metrics, indent=1), encoding="utf-8")
        runs.append(json.loads(path.read_text(encoding="utf-8")))
    table = markdown_table(runs)
    print(table)
    if args.table is not None:
        args.table.write_text(f"Made by `python {' '.join(sys.argv)}`.\n\n{table}", encoding="utf-8")


if __name__ == "__main__":
    main()
