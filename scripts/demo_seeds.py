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
import shlex
import statistics
import time
from pathlib import Path

from demo import VARIANTS, parse_overrides, run_demo
from demo_report import ACCURACY, log_history, rows_of
from rich.console import Console
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

TARGET = 0.85
AVERAGE = f"{ACCURACY}/avg@8"


class CpuClock(TrainerCallback):
    """Notes in each line of the log history, as `cpu_s`, the CPU seconds of the stage without its evaluations.

    It ends the evaluations every few steps once the target is reached: each takes as long as 15 steps.
    """

    def __init__(self) -> None:
        self._is_reached = False
        self._mark = time.process_time()
        self._cpu_s = 0.0

    def _count(self) -> None:
        now = time.process_time()
        self._cpu_s += now - self._mark
        self._mark = now

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Count what came before: an evaluation may follow."""
        self._count()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Count the step: an evaluation may follow."""
        self._count()
        control.should_evaluate &= not self._is_reached

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: object,
    ) -> None:
        """Leave out what has passed since the last step."""
        self._mark = time.process_time()
        self._is_reached = metrics.get(AVERAGE, 0.0) >= TARGET

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        """Write down what is counted."""
        state.log_history[-1]["cpu_s"] = self._cpu_s


def parse_command_line() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--variant", choices=sorted(VARIANTS), default="main", help="which stages (default: main)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[301, 302, 303, 304, 305], help="default: 301 to 305")
    parser.add_argument("--output_dir", type=Path, default=Path("data/demo_seeds"), help="default: data/demo_seeds")
    parser.add_argument("--table", type=Path, help="also write the table to this file")
    parser.add_argument("--eval_steps", type=int, default=5, help="steps of GRPO between evaluations (default: 5)")
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="STAGE:NAME=VALUE",
        help="setting of one stage, as of demo.py; give each set of them an --output_dir of its own",
    )
    return parser.parse_args()


def watched(overrides: dict[str, list[str]], variant: str, eval_steps: int) -> dict[str, list[str]]:
    """Return the overrides with a clock in every stage, and evaluations every few steps in the last one."""
    clock = ["--callbacks", "compact_progress", f"{Path(__file__).resolve()}:CpuClock"]
    words = {stage.name: [*overrides.get(stage.name, []), *clock] for stage in VARIANTS[variant]}
    words[VARIANTS[variant][-1].name] += ["--eval_strategy", "steps", "--eval_steps", str(eval_steps)]
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


def markdown_table(variant: str, runs: list[dict]) -> str:
    """Return the results as a Markdown table, one row a seed, and a line of means."""
    k = rows_of(runs[0])[-1]["result"]["k"]
    lines = [
        f"| seed | before: greedy | before: avg@{k} | tokens | after: greedy | after: avg@{k} (95 %) | tokens "
        f"| gain avg@{k} | CPU s | CPU s until {TARGET} | steps | tokens sampled |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    before, after = [], []
    for run in runs:
        first, last = (row["result"] for row in rows_of(run)[-2:])
        before.append(first["mean"])
        after.append(last["mean"])
        lines.append(
            f"| {run['seed']} | {first['greedy']:.3f} | {first['mean']:.3f} | {first['length']:.1f} "
            f"| {last['greedy']:.3f} | {last['mean']:.3f} ({last['low']:.3f} - {last['high']:.3f}) "
            f"| {last['length']:.1f} | {last['mean'] - first['mean']:+.3f} | {run['time']['cpu_s']:.0f} "
            f"| {until_cells(run['time'])} |"
        )
    gains = [b - a for a, b in zip(before, after, strict=True)]
    problems = rows_of(runs[0])[-1]["result"]["num_problems"]
    lines += [
        "",
        f"Mean avg@{k}: {statistics.mean(before):.3f} before, {statistics.mean(after):.3f} after; smallest gain "
        f"{min(gains):+.3f}. {problems} held-out problems a seed.",
        "",
        f"CPU s: of the training of all stages on one thread, their loading included, evaluations and the start of "
        f"Python left out. Until {TARGET}: to the first evaluation during the last stage with that avg@{k}, with the "
        "steps of that stage and the tokens it sampled until then, each completion with its prompt.",
    ]
    reached = [run["time"]["until_cpu_s"] for run in runs if run["time"]["until_cpu_s"] is not None]
    if reached:
        lines[-1] += f" Mean: {statistics.mean(reached):.1f} CPU s over the {len(reached)} of {len(runs)} that did."
    return "\n".join(lines) + "\n"


def until_cells(found: dict[str, float | None]) -> str:
    """Return the cells of a row that say when the target was reached, by `time_to_accuracy`."""
    if found["until_cpu_s"] is None:
        return "not reached | - | -"
    return f"{found['until_cpu_s']:.1f} | {found['until_step']} | {found['until_tokens']:,.0f}"


def main() -> None:
    """Run every seed and print the table."""
    args = parse_command_line()
    console = Console()
    overrides = parse_overrides(args.override, args.variant)
    runs = []
    for seed in args.seeds:
        output_dir = args.output_dir / f"{args.variant}_{seed}"
        path = output_dir / "metrics.json"
        if not path.is_file():
            metrics = run_demo(
                output_dir, args.variant, seed, watched(overrides, args.variant, args.eval_steps), console
            )
            metrics["time"] = time_to_accuracy([output_dir / stage.name for stage in VARIANTS[args.variant]])
            path.write_text(json.dumps(metrics, indent=1), encoding="utf-8")
        runs.append(json.loads(path.read_text(encoding="utf-8")))
    table = markdown_table(args.variant, runs)
    print(table)
    if args.table is not None:
        command = f"python scripts/demo_seeds.py --variant {args.variant} --seeds {' '.join(map(str, args.seeds))}"
        command += "".join(f" --override {shlex.quote(word)}" for word in args.override)
        args.table.write_text(f"Made by `{command}`.\n\n{table}", encoding="utf-8")


if __name__ == "__main__":
    main()
