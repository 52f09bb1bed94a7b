#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""How often does a model solve each row? Keep the rows that are neither too easy nor too hard for it.

    # a GRPO recipe as it is; servers of `vllm serve MODEL`, or without --server one that is started for it
    python scripts/compute_pass_rate.py --config recipes/<model>/grpo/config_demo.yaml --server localhost:8000

    # in parts, on as many machines as you like, then one data set of all
    python scripts/compute_pass_rate.py --config ... --output_dir data/rates --shard 0/8     # ... 7/8
    python scripts/compute_pass_rate.py --output_dir data/rates --merge

A part is not pushed, and the merge reads its settings from the parts: all may have one command line.

After kill -9 at any moment the same command resumes. The folder loads as `dataset_name: data/rates` (all rows, with
completions, rewards and rates) and with `dataset_config: pass_rate` (the rows that are kept). Every setting of grpo.py
may be given too.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nothing leaves the machine unless asked; read at import

from transformers.hf_argparser import HfArgumentParser

from open_r1.curation.parts import part_folder
from open_r1.curation.pass_rate import PassRateArguments, PassRateCommand, merge_parts, run_pass_rate
from open_r1.data.cli import STOPPED, FlagHelp
from open_r1.generation.journal import Journal


def build_parser(*classes: type) -> HfArgumentParser:
    """Return the parser of what stands on the command line alone, and of other dataclasses."""
    return HfArgumentParser(
        (PassRateCommand, *classes),
        description=__doc__,
        formatter_class=FlagHelp,
        allow_abbrev=False,
        usage="compute_pass_rate.py [--config RECIPE] [--merge] [settings]",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    is_help = bool({"-h", "--help"} & set(words))
    command, rest = build_parser(*[PassRateArguments] * is_help).parse_args_into_dataclasses(
        words, return_remaining_strings=True
    )
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        return run(command, rest)
    except KeyboardInterrupt:
        print("Stopped; what came is kept, and the same command resumes.", file=sys.stderr)
        return STOPPED
    except (ValueError, OSError, RuntimeError) as error:
        print("\n".join([f"compute_pass_rate.py: error: {error}", *vars(error).get("__notes__", [])]), file=sys.stderr)
        return 1 if isinstance(error, RuntimeError) else 2


def run(command: PassRateCommand, rest: list[str]) -> int:
    """Merge parts, or ask and judge; returns the exit status."""
    script_args: Any = None
    training_args: Any = None
    model_args: Any = None
    if rest or not command.merge:
        # Ten seconds: trl, transformers and torch.
        from open_r1.arguments import parse_args
        from open_r1.curation.pass_rate_recipe import PassRateConfig, PassRateScriptArguments, default_folder

        script_args, training_args, model_args = parse_args(PassRateScriptArguments, PassRateConfig, rest)
        command.output_dir = command.output_dir or default_folder(script_args, model_args)
    if command.output_dir is None:
        raise ValueError("--merge needs --output_dir, the folder that all parts were given, or their command line.")
    path, is_part = Path(command.output_dir), not command.merge and any(one is not None for one in script_args.part)
    repo_id = None if is_part else _checked_name(command, script_args)
    if command.merge:
        card = merge_parts(path, overwrite=command.overwrite, licence=command.licence)
    else:
        from open_r1.curation.pass_rate_recipe import ask_model, prepare_pass_rate
        from open_r1.preflight import check_grpo_settings, check_ideal_completion

        checks = {"check_settings": check_grpo_settings, "check_rewards": check_ideal_completion}
        prepared = prepare_pass_rate(script_args, training_args, model_args, **checks)
        prepared.card.licence = command.licence or prepared.card.licence
        path = part_folder(path, prepared.part.start, prepared.part.stop) if is_part else path

        def ask(journal: Journal) -> None:
            outcome = ask_model(script_args, training_args, model_args, prepared, journal)
            if outcome.stopped_by is not None:
                print(f"Stopped by {outcome.stopped_by.name}; the same command resumes.", file=sys.stderr)
                sys.exit(128 + outcome.stopped_by)

        card = run_pass_rate(prepared, path, ask, overwrite=command.overwrite)
    if card is None:
        print(f"{path} was finished earlier with the same settings (--overwrite repeats it).")
    else:
        (step,) = card.steps
        print(f"{path}: {step.rows_after} of {step.rows_before} rows are kept; {step.detail}")
    if repo_id is not None:
        from open_r1.data.push import push_folder

        print(f"Pushed: {push_folder(path, repo_id, private=not command.public)}")
    return 0


def _checked_name(command: PassRateCommand, script_args: Any) -> str | None:
    """Return where to push to, None: nowhere; asks the hub whether we may."""
    if command.push_to_hub is None:
        if command.public:
            raise ValueError("--public says how to push: add --push_to_hub.")
        return None
    name = command.push_to_hub or (script_args and script_args.output_dataset_name)
    if name is None or name.lower() in ("true", "false"):
        raise ValueError("--push_to_hub needs a name on the hub: --push_to_hub <namespace>/<name>.")
    from open_r1.data.push import check_push

    return check_push(name, private=not command.public, setting="--push_to_hub")


if __name__ == "__main__":
    sys.exit(main())
