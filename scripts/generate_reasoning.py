# SPDX-License-Identifier: Apache-2.0
"""Generate reasoning for the rows of a data set, from any OpenAI-compatible servers (`vllm serve`, SGLang, ...).

    python scripts/generate_reasoning.py --dataset-name open-r1/OpenR1-Math-220k --prompt-column problem \\
        --uuid-column uuid --output-dir data/math_r1 --api-addr localhost:8000 --num-generations 4

Every generation is kept as soon as it is there: kill it at any moment, repeat the command, and it goes on. At the end
--output-dir is a data set with a row per problem: its columns, `generations`, `finish_reasons`, `api_metadata`, and a
card. A generation that failed is null with its reason; no row is dropped, and the exit status is 3.

1. Flags of Open R1's script mean the same; --max-concurrent counts requests, not rows, and rows keep their order
   unless --shuffle-seed is given.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from open_r1.data.flags import STOPPED, FlagParser, log_to_stderr, read_api_key, respelled

UPSTREAM_MAX_TOKENS = 16384


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    add_data_flags(parser)
    add_asking_flags(parser)
    return parser


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add what is read, and where it goes."""
    group = parser.add_argument_group("data")
    add = group.add_argument
    add("--dataset-name", required=True, metavar="NAME", help="local file or folder, tasks/<name>, or name on the hub")
    add("--config", help="configuration of the data set")
    add("--split", default="train", help="split, or a slice such as train[:100] (default: %(default)s)")
    add("--revision", help="branch, tag or commit on the hub")
    add(
        "--prompt-column",
        metavar="COLUMN",
        help="text for the template, or a conversation, sent as it is up to its last user message",
    )
    add(
        "--turns-column",
        metavar="COLUMN",
        help="in place of --prompt-column: a list of user turns, answered one after the other",
    )
    add(
        "--uuid-column",
        metavar="COLUMN",
        help="tells rows apart (default: their prompts and how often those came before)",
    )
    add(
        "--prompt-template",
        metavar="TEXT",
        help="with {prompt}, which alone is replaced (default: asks for steps and a boxed answer)",
    )
    add("--system-prompt", metavar="TEXT", help="first message of each conversation (default: none)")
    add("--limit", type=int, metavar="ROWS", help="ask for so many rows (default: all)")
    add(
        "--shuffle-seed",
        type=int,
        metavar="SEED",
        help="ask in a random order, and choose the rows of --limit by it (default: order of the rows)",
    )
    add(
        "--output-dir",
        type=Path,
        metavar="FOLDER",
        help="the data set, with its card (default: --output-file without its suffix)",
    )
    add("--output-file", type=Path, metavar="FILE", help="also write the rows as JSON lines, at the end")
    add("--drop-columns", nargs="+", default=[], metavar="COLUMN", help="columns to leave out of the output")
    add("--licence", help="licence of the output (default: that of the data set, if known)")
    add(
        "--overwrite",
        action="store_true",
        help="replace what was made with other settings, of the rows or of the "
        "sampling; generations of the same sampling are used again (to have the same made anew, remove the folder)",
    )


def add_asking_flags(parser: argparse.ArgumentParser) -> None:
    """Add who is asked, how completions are drawn, and what happens when requests fail."""
    group = parser.add_argument_group("servers")
    add = group.add_argument
    add(
        "--api-addr",
        action="append",
        metavar="ADDRESS",
        help="host:port or URL, several by commas or by repeating it (default: localhost:39876)",
    )
    add("--model", help="name of the model (default: the one that the servers serve)")
    add("--api-key-env", metavar="VARIABLE", help="environment variable with the API key (default: no key)")
    add("--wait-s", type=float, default=0.0, help="seconds to wait for the first server (default: %(default)g)")
    add("--max-concurrent", type=int, default=1000, metavar="N", help="requests in flight (default: %(default)s)")
    group = parser.add_argument_group("sampling")
    add = group.add_argument
    add("--num-generations", type=int, default=4, metavar="N", help="generations a row (default: %(default)s)")
    add("--temperature", type=float, default=0.6, help="0 to 2 (default: %(default)s)")
    add("--top-p", type=float, default=0.95, help="above 0, at most 1 (default: %(default)s)")
    add("--top-k", type=int, help="default: the server's")
    add("--min-p", type=float, help="default: the server's")
    add(
        "--max-tokens",
        type=int,
        default=UPSTREAM_MAX_TOKENS,
        help="of one answer, reasoning included (default: %(default)s)",
    )
    add("--stop", action="append", default=[], metavar="TEXT", help="ends an answer; may be repeated")
    add("--seed", type=int, help="of the first generation of a row, the next have seed + 1, ... (default: none)")
    add("--extra-body", metavar="JSON", help="more fields of each request (default: none)")
    group = parser.add_argument_group("failures")
    add = group.add_argument
    add("--retries", type=int, default=9, help="how often a failed request is sent again (default: %(default)s)")
    add("--timeout", type=float, default=3600.0, metavar="S", help="seconds for one attempt (default: %(default)g)")
    add(
        "--deadline",
        type=float,
        default=7200.0,
        metavar="S",
        help="seconds for a request with all its attempts and waits (default: %(default)g)",
    )
    add(
        "--patience",
        type=float,
        default=600.0,
        metavar="S",
        help="seconds without any server, then it stops (default: %(default)g)",
    )
    add(
        "--stop-after-errors",
        type=int,
        default=100,
        metavar="N",
        help="stop when so many requests failed in a row; 0: never (default: %(default)s)",
    )
    add("--retry-errors", action="store_true", help="ask again for the generations that failed in earlier runs")
    add(
        "--grace",
        type=float,
        default=10.0,
        metavar="S",
        help="seconds for requests in flight after Ctrl-C or SIGTERM (default: %(default)g)",
    )


def read_extra_body(text: str | None) -> dict[str, Any]:
    """Return the fields of --extra-body."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--extra-body is no JSON ({error}): {text!r}.") from None
    if not isinstance(value, dict):
        raise ValueError(f"--extra-body must be a JSON object, such as '{{\"top_k\": 20}}'; got {text!r}.")
    return value


def run(args: argparse.Namespace) -> int:
    """Generate; return the exit code."""
    # Imported here: arrow and aiohttp take most of a second, which --help needn't.
    from open_r1.generation.client import Patience
    from open_r1.generation.messages import Sampling
    from open_r1.generation.prompts import PromptSettings
    from open_r1.generation.reasoning import ReasoningSettings, generate_reasoning

    if args.output_dir is None and args.output_file is None:
        raise ValueError("Name where the output goes: --output-dir, or --output-file, or both.")
    if args.output_dir is None and not args.output_file.suffix:
        raise ValueError(
            f"--output-file {args.output_file} has no suffix: end it in .jsonl, or name --output-dir too."
        )
    output_file = args.output_file and args.output_file.expanduser()
    output_dir = args.output_dir.expanduser() if args.output_dir is not None else output_file.with_suffix("")
    addresses = [part.strip() for entry in args.api_addr or ["localhost:39876"] for part in entry.split(",")]
    settings = ReasoningSettings(
        dataset=args.dataset_name,
        config=args.config,
        split=args.split,
        revision=args.revision,
        output_dir=output_dir,
        output_file=output_file,
        drop_columns=args.drop_columns,
        licence=args.licence,
        overwrite=args.overwrite,
        prompts=PromptSettings(
            args.prompt_column, args.turns_column, args.uuid_column, args.prompt_template, args.system_prompt
        ),
        limit=args.limit,
        shuffle_seed=args.shuffle_seed,
        num_generations=args.num_generations,
        servers=addresses,
        model=args.model,
        api_key=read_api_key(args.api_key_env, flag="--api-key-env"),
        sampling=Sampling(
            args.temperature,
            args.top_p,
            args.top_k,
            args.min_p,
            args.max_tokens,
            args.seed,
            args.stop,
            read_extra_body(args.extra_body),
        ),
        max_concurrent=args.max_concurrent,
        wait_s=args.wait_s,
        grace_s=args.grace,
        patience=Patience(args.retries, args.timeout, args.deadline, args.patience),
        stop_after_errors=args.stop_after_errors,
        retry_errors=args.retry_errors,
    )
    report = generate_reasoning(settings)
    where = settings.output_dir
    if report.was_done:
        print(f"{where} was finished earlier with these settings; nothing was asked for.")
        return 3 if report.counts and report.counts["errors"] else 0
    if report.outcome is not None and report.outcome.stopped_by is not None:
        done = report.outcome.skipped + report.outcome.done
        print(
            f"Stopped by {report.outcome.stopped_by.name}: {done} generations are kept, {report.outcome.cut_off} in "
            "flight were dropped. Repeat the command to go on.",
            file=sys.stderr,
        )
        return 128 + report.outcome.stopped_by
    print(f"{where}: " + ", ".join(f"{name} {count}" for name, count in (report.counts or {}).items()))
    if report.counts and report.counts["errors"]:
        print(
            f"{report.counts['errors']} generations failed and are null, their reasons in `api_metadata`; "
            "--retry-errors asks for them again.",
            file=sys.stderr,
        )
        return 3
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line; refusals and failures are one message and exit code 1."""
    args = build_parser().parse_args(respelled(sys.argv[1:] if argv is None else argv, "-"))
    log_to_stderr()
    try:
        return run(args)
    except KeyboardInterrupt:
        print("Stopped; what was done is kept. Repeat the command to go on.", file=sys.stderr)
        return STOPPED
    except (ValueError, RuntimeError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
