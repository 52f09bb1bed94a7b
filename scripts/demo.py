# SPDX-License-Identifier: Apache-2.0
"""Train a small reasoning model from nothing to a verifiably better one, on a CPU, in minutes.

    python scripts/demo.py                       # base text -> cold-start SFT -> GRPO, as `make demo`
    python scripts/demo.py --variant zero        # base text -> GRPO, without any worked chat answer
    python scripts/demo.py --variant tools       # some calls of a calculator by SFT -> GRPO with the calculator

Each stage is one of the training scripts with a recipe of recipes/demo/, run in this process to save start-up. The
same stages can be typed one by one; the commands are printed. An interrupted demo goes on behind its last finished
stage; a finished one, or one with other settings, is moved to <output_dir>-previous. Results: metrics.json and
curves.png in --output_dir.
"""

import argparse
import json
import os
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from demo_report import print_completions, print_table, stage_results, write_curves
from make_tiny_model import build_model, build_tokenizer
from rich.console import Console

from open_r1 import distill, grpo, sft
from open_r1.arguments import parse_args
from open_r1.configs import (
    DistillConfig,
    DistillScriptArguments,
    GRPOConfig,
    GRPOScriptArguments,
    SFTConfig,
    SFTScriptArguments,
)
from open_r1.manifest import REPORT_NAME, missing_from, write_manifest
from open_r1.report.page import write_report
from open_r1.report.runs import read_runs

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPES = REPOSITORY / "recipes" / "demo"


@dataclass(frozen=True)
class Stage:
    """One run of a training script.

    Args:
        name: Name of its output folder.
        title: What the table calls the model it ends with.
        task: `sft`, `grpo` or `distill`.
        recipe: File name in recipes/demo/<task>/.
    """

    name: str
    title: str
    task: str
    recipe: str


VARIANTS: dict[str, list[Stage]] = {
    "main": [
        Stage("base", "base text", "sft", "config_base.yaml"),
        Stage("sft", "cold-start SFT", "sft", "config_cold_start.yaml"),
        Stage("grpo", "GRPO", "grpo", "config_demo.yaml"),
    ],
    "zero": [
        Stage("base", "base text with tags", "sft", "config_zero_base.yaml"),
        Stage("grpo", "GRPO from base (zero)", "grpo", "config_zero.yaml"),
    ],
    "tools": [
        Stage("sft", "cold start with calls", "sft", "config_tools.yaml"),
        Stage("grpo", "GRPO with a calculator", "grpo", "config_tools.yaml"),
    ],
}


def parse_command_line() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--variant", choices=sorted(VARIANTS), default="main", help="which stages (default: main)")
    parser.add_argument("--output_dir", type=Path, help="default: data/demo, or data/demo_<variant>")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, data and training (default: 0)")
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="STAGE:NAME=VALUE",
        help="setting of one stage, such as grpo:max_steps=10; may be repeated",
    )
    return parser.parse_args()


def run_demo(output_dir: Path, variant: str, seed: int, overrides: dict[str, list[str]], console: Console) -> dict:
    """Run all stages that are not finished yet.

    Args:
        output_dir: One folder per stage is made in it.
        variant: Key of `VARIANTS`.
        seed: Seed of weights, data and training.
        overrides: Command-line words by stage name, put behind the recipe's settings.
        console: Where headlines go.

    Returns:
        The content of metrics.json: seed, variant, and a list of stages with their metrics.
    """
    started, cpu_started = time.perf_counter(), time.process_time()
    model_dir = output_dir / "base_init"
    if missing_from(model_dir) is not None:
        tokenizer = build_tokenizer(tools=variant == "tools")
        build_model(tokenizer, seed=seed).save_pretrained(model_dir)
        tokenizer.save_pretrained(model_dir)
        write_manifest(model_dir)
    stages = []
    for stage in VARIANTS[variant]:
        words = stage_command(stage, model_dir, output_dir / stage.name, seed) + overrides.get(stage.name, [])
        console.rule(f"[bold]{stage.title}")
        launch = "accelerate launch --config_file recipes/accelerate_configs/cpu.yaml"
        command = f"{launch} src/open_r1/{stage.task}.py {shlex.join(words)}"
        console.print(command, style="dim", highlight=False, soft_wrap=True)
        if not is_finished(output_dir / stage.name):
            run_stage(stage, words)
            (output_dir / stage.name / "finished").touch()
        stages.append(stage_results(stage.title, output_dir / stage.name))
        model_dir = output_dir / stage.name
    return {
        "variant": variant,
        "seed": seed,
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time() - cpu_started,
        "stages": stages,
    }


def stage_command(stage: Stage, model_dir: Path, output_dir: Path, seed: int) -> list[str]:
    """Return the words behind the script's name, as a user would type them."""
    recipe = RECIPES / stage.task / stage.recipe
    return [
        "--config",
        os.path.relpath(recipe),
        "--model_name_or_path",
        str(model_dir),
        "--output_dir",
        str(output_dir),
        "--seed",
        str(seed),
        "--dataset_seed",
        str(seed),
    ]


def is_finished(stage_dir: Path) -> bool:
    """Whether a stage was trained, saved and evaluated to its end."""
    return (stage_dir / "finished").is_file() and missing_from(stage_dir) is None


def run_stage(stage: Stage, words: list[str]) -> None:
    """Run the training script of a stage in this process; one page shows all stages at the end."""
    words = [*words, "--report", "false"]
    if stage.task == "sft":
        sft.main(*parse_args(SFTScriptArguments, SFTConfig, words))
    elif stage.task == "distill":
        distill.main(*parse_args(DistillScriptArguments, DistillConfig, words))
    else:
        grpo.main(*parse_args(GRPOScriptArguments, GRPOConfig, words))


def parse_overrides(words: list[str], variant: str) -> dict[str, list[str]]:
    """Turn `grpo:max_steps=10` into command-line words by stage.

    Raises:
        SystemExit: A word has another form or names no stage of the variant.
    """
    names = [stage.name for stage in VARIANTS[variant]]
    overrides: dict[str, list[str]] = {}
    for word in words:
        stage, separator, setting = word.partition(":")
        name, equals, value = setting.partition("=")
        if not separator or not equals or stage not in names:
            raise SystemExit(f"--override {word}: expected STAGE:NAME=VALUE with STAGE one of {names}")
        overrides.setdefault(stage, []).extend([f"--{name}", value])
    return overrides


def open_output_dir(output_dir: Path, settings: dict) -> None:
    """Make the output folder, or keep that of an interrupted demo with the same settings.

    What is finished or was made with other settings is moved to <output_dir>-previous, replacing older results.
    """
    path = output_dir / "demo.json"
    is_ours = path.is_file() and json.loads(path.read_text(encoding="utf-8")) == settings
    if output_dir.exists() and ((output_dir / "metrics.json").is_file() or not is_ours):
        previous = output_dir.with_name(output_dir.name + "-previous")
        shutil.rmtree(previous, ignore_errors=True)
        output_dir.rename(previous)
    output_dir.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(settings), encoding="utf-8")


def evaluate_command(model_dir: Path) -> str:
    """Return the command that evaluates a model of the demo, by itself and problem by problem."""
    flags = "--solution_column answer --prompt_template '{prompt}' --max_tokens 48 --limit 40"
    return (
        f"make evaluate MODEL={shlex.quote(str(model_dir))} TASK=assets/demo/sums.jsonl BACKEND=transformers "
        f'ARGS="{flags}"'
    )


def main() -> None:
    """Run the demo and show what it taught."""
    args = parse_command_line()
    output_dir = args.output_dir or Path("data") / ("demo" if args.variant == "main" else f"demo_{args.variant}")
    overrides = parse_overrides(args.override, args.variant)
    console = Console()
    open_output_dir(output_dir, {"variant": args.variant, "seed": args.seed, "overrides": overrides})
    metrics = run_demo(output_dir, args.variant, args.seed, overrides, console)
    console.rule("[bold]What it learned")
    print_completions(console, [output_dir / stage.name for stage in VARIANTS[args.variant]])
    print_table(console, metrics)
    write_curves([output_dir / stage.name for stage in VARIANTS[args.variant]], output_dir / "curves.png")
    write_report(read_runs([output_dir]), output_dir / REPORT_NAME)
    # Written last: it marks the demo as finished.
    (output_dir / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    console.print(f"Curves: {output_dir / 'curves.png'}   numbers: {output_dir / 'metrics.json'}", highlight=False)
    console.print(f"Look at curves and completions: {output_dir / REPORT_NAME}", highlight=False)
    command = evaluate_command(output_dir / VARIANTS[args.variant][-1].name)
    console.print(f"Next, an evaluation of what it trained: {command}", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
