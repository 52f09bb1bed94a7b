#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""How often does a model solve each row? Keep the rows that are neither too easy nor too hard for it.

    # a GRPO recipe as it is; servers of `vllm serve MODEL`, or without --server vLLM in this process
    python scripts/compute_pass_rate.py --config recipes/<model>/grpo/config_demo.yaml --server localhost:8000

    # in parts, on as many machines as you like, then one data set of all
    python scripts/compute_pass_rate.py --config ... --output_dir data/rates --shard 0/8     # ... 7/8
    python scripts/compute_pass_rate.py --output_dir data/rates --merge

A part is not pushed, and the merge reads its settings from the parts: all may have one command line.

After kill -9 at any moment the same command goes on. The folder loads as `dataset_name: data/rates` (all rows, with
completions, rewards and rates) and with `dataset_config: pass_rate` (the rows that are kept).
"""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nothing leaves the machine unless asked; read at import

from open_r1.curation.parts import part_folder
from open_r1.curation.pass_rate import KEPT_CONFIG, merge_parts, run_pass_rate
from open_r1.data.card import DataCard
from open_r1.data.cli import STOPPED
from open_r1.data.folder import load_columns
from open_r1.data.sources import open_source
from open_r1.evaluation.metrics import pass_at_k
from open_r1.generation.journal import Journal
from open_r1.generation.messages import ServersDownError
from open_r1.generation.vllm_here import require_vllm

if TYPE_CHECKING:
    from trl import ModelConfig

    from open_r1.curation.pass_rate_recipe import PassRateConfig, PassRateScriptArguments


def build_parser(epilog: str = "") -> argparse.ArgumentParser:
    """Return the parser of what stands on the command line alone; all else may stand in a recipe as well."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="compute_pass_rate.py [--config RECIPE] [--merge] [settings]",
    )
    add = parser.add_argument
    add(
        "--output_dir",
        "--output-dir",
        type=Path,
        help="folder of the data set; a recipe's `output_dir` is its "
        "training's and isn't used (default: data/<output_dataset_name, or dataset-model-revision-gen>)",
    )
    add(
        "--merge",
        action="store_true",
        help="make one data set of the parts in --output_dir, or of those with this command line",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace a finished data set, or completions of other settings; "
        "completions of the same settings are used again (delete generations.jsonl to ask anew)",
    )
    add(
        "--push_to_hub",
        "--push-to-hub",
        nargs="?",
        const="",
        metavar="NAME",
        help="push the data set, privately; "
        "default NAME: `output_dataset_name`. A recipe's `push_to_hub` is about its model",
    )
    add("--public", action="store_true", help="with --push_to_hub: let everybody read it")
    add("--licence", help="licence of the rows, for the card (default: the source's)")
    return parser


def _help_of_settings() -> str:
    from open_r1.curation.pass_rate_recipe import PassRateScriptArguments

    lines = ["settings, in the recipe or on the command line:"]
    for entry in fields(PassRateScriptArguments):
        if entry.name in PassRateScriptArguments.__annotations__:
            flags = ", ".join([f"--{entry.name}", *entry.metadata.get("aliases", [])])
            default = "" if entry.default is None else f" (default: {entry.default})"
            lines.append(f"  {flags}\n      {entry.metadata['help'].replace('%', '%%')}{default}")
    lines.append("  and every setting of grpo.py, with its defaults: python src/open_r1/grpo.py --help")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    options, rest = build_parser(_help_of_settings() if {"-h", "--help"} & set(words) else "").parse_known_args(words)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        return (_merge if options.merge else _compute)(options, rest)
    except KeyboardInterrupt:
        print("Stopped; what came is kept, and the same command resumes.", file=sys.stderr)
        return STOPPED
    except (ValueError, OSError, ServersDownError) as error:
        print("\n".join([f"compute_pass_rate.py: error: {error}", *vars(error).get("__notes__", [])]), file=sys.stderr)
        return 1 if isinstance(error, ServersDownError) else 2


def _merge(options: argparse.Namespace, rest: list[str]) -> int:
    path, name = options.output_dir, None
    if rest:  # the command line of the parts, which tells where they are
        script_args, _, model_args = _read_settings(rest)
        path = path or Path("data") / default_name(script_args, model_args)
        name = script_args.output_dataset_name
    if path is None:
        raise ValueError("--merge needs --output_dir, the folder that all parts were given, or their command line.")
    repo_id = _checked_name(options, name)
    card = merge_parts(path, overwrite=options.overwrite, licence=options.licence)
    return _finish(card, path, repo_id, options.public)


def _read_settings(words: list[str]) -> "tuple[PassRateScriptArguments, PassRateConfig, ModelConfig]":
    # Ten seconds: trl, transformers and torch.
    from open_r1.arguments import parse_args
    from open_r1.curation.pass_rate_recipe import PassRateConfig, PassRateScriptArguments

    return parse_args(PassRateScriptArguments, PassRateConfig, words)


def _checked_name(options: argparse.Namespace, default: str | None) -> str | None:
    """Return where to push to, None: nowhere; asks the hub whether we may."""
    if options.push_to_hub is None:
        if options.public:
            raise ValueError("--public says how to push: add --push_to_hub.")
        return None
    name = options.push_to_hub or default
    if name is None or name.lower() in ("true", "false"):
        raise ValueError("--push_to_hub needs a name on the hub: --push_to_hub <namespace>/<name>.")
    from open_r1.data.push import check_push

    return check_push(name, private=not options.public, setting="--push_to_hub")


def _compute(options: argparse.Namespace, rest: list[str]) -> int:
    script_args, training_args, model_args = _read_settings(rest)
    from open_r1.curation.pass_rate_recipe import ask_model, prepare_pass_rate
    from open_r1.preflight import check_grpo_settings, check_ideal_completion

    if script_args.dataset_shard is not None:
        options.push_to_hub, options.public = None, False  # left to the merge
    repo_id = _checked_name(options, script_args.output_dataset_name)
    if script_args.server is None and not script_args.serve:
        require_vllm("name servers by --server, have one started by --serve true")
    run = prepare_pass_rate(
        script_args,
        training_args,
        model_args,
        check_settings=check_grpo_settings,
        check_rewards=check_ideal_completion,
    )
    path = options.output_dir or Path("data") / default_name(script_args, model_args)
    if (run.start, run.end) != (0, len(run.rows)):
        if repo_id is not None:
            raise ValueError("A part is not pushed: push with --merge.")
        path = part_folder(path, run.start, run.end)

    def ask(journal: Journal) -> None:
        outcome = ask_model(script_args, training_args, model_args, run, journal)
        if outcome.stopped_by is not None:
            print(f"Stopped by {outcome.stopped_by.name}; the same command resumes.", file=sys.stderr)
            sys.exit(128 + outcome.stopped_by)

    card = run_pass_rate(run, path, ask, overwrite=options.overwrite, licence=options.licence)
    return _finish(card, path, repo_id, options.public)


def default_name(script_args: "PassRateScriptArguments", model_args: "ModelConfig") -> str:
    """Return the name of the folder when none is given."""
    if script_args.output_dataset_name is not None:
        return script_args.output_dataset_name.rstrip("/").rpartition("/")[2]
    parts = [
        script_args.dataset_name or "mixture",
        model_args.model_name_or_path or "",
        model_args.model_revision or "",
    ]
    words = [Path(part).stem if Path(part).is_file() else part.rstrip("/").rpartition("/")[2] for part in parts]
    return re.sub(r"[^\w.-]+", "_", "-".join([*filter(None, words), "gen"]))


def pass_at_k_of(path: Path) -> dict[str, dict[str, float]]:
    """Return pass@1, pass@2, pass@4, ... of every reward that is right or wrong, over rows with enough completions."""
    prefix = "pass_rate_rewards_"
    columns = [name for name in open_source(str(path)).column_names if name.startswith(prefix)]
    found: dict[str, dict[str, float]] = {}
    for name, column in zip(columns, load_columns(path, columns).itercolumns(), strict=True):
        rows_PG = [[value for value in row or [] if value is not None] for row in column.to_pylist()]
        most = max(map(len, rows_PG), default=0)
        if not most or any(value not in (0.0, 1.0) for row in rows_PG for value in row):
            continue
        for k in sorted({min(2**power, most) for power in range(most.bit_length() + 1)}):
            chances = [pass_at_k(len(row), int(sum(row)), k) for row in rows_PG if len(row) >= k]
            found.setdefault(name.removeprefix(prefix), {})[f"pass@{k}"] = sum(chances) / len(chances)
    return found


def _finish(card: DataCard | None, path: Path, repo_id: str | None, is_public: bool) -> int:
    if card is None:
        print(f"{path} was finished earlier with the same settings; nothing is left to do (--overwrite repeats it).")
    else:
        for step in card.steps:
            detail = ", ".join(f"{key}: {value}" for key, value in step.detail.items())
            print(f"{step.name}: {step.rows_after} of {step.rows_before} rows{f' ({detail})' if detail else ''}")
        for reward, values in pass_at_k_of(path).items():
            print(f"{reward}: {', '.join(f'{what} {value:.3f}' for what, value in values.items())}")
        kept = card.counts.get(f"{KEPT_CONFIG}/train", 0)
        where = f"; the {kept} kept: the same with dataset_config: {KEPT_CONFIG}" if kept else "; none is kept"
        print(f"All rows: dataset_name: {path}{where}")
    if repo_id is not None:
        from open_r1.data.push import push_folder

        print(f"Pushed: {push_folder(path, repo_id, private=not is_public)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
