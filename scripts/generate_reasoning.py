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

import sys
from typing import Any

from open_r1.data.cli import STOPPED, FlagHelp, log_to_stderr, respelled


def build_parser() -> Any:
    """Return the parser of the command line."""
    # Here: half a second, which imports of this file needn't take.
    from transformers.hf_argparser import HfArgumentParser

    from open_r1.generation.reasoning import ReasoningSettings

    return HfArgumentParser(
        ReasoningSettings,
        description=__doc__,
        formatter_class=FlagHelp,
        allow_abbrev=False,
        usage="%(prog)s [flags]; --help lists them",
    )


def run(words: list[str]) -> int:
    """Generate; return the exit code."""
    from open_r1.generation.reasoning import ReasoningSettings, generate_reasoning

    settings = ReasoningSettings(**vars(build_parser().parse_args(respelled(words, "-"))))
    log_to_stderr()
    report = generate_reasoning(settings)
    if report.counts is None:
        assert report.outcome is not None and report.outcome.stopped_by is not None
        done = report.outcome.skipped + report.outcome.done
        print(
            f"Stopped by {report.outcome.stopped_by.name}: {done} generations are kept, {report.outcome.cut_off} in "
            "flight were dropped. Repeat the command to resume.",
            file=sys.stderr,
        )
        return 128 + report.outcome.stopped_by
    if report.was_done:
        print(f"{settings.folder} was finished earlier with these settings; nothing was asked for.")
    else:
        print(f"{settings.folder}: " + ", ".join(f"{name} {count}" for name, count in report.counts.items()))
    if not report.counts["errors"]:
        return 0
    print(
        f"{report.counts['errors']} generations failed and are null, their reasons in `api_metadata`; --retry-errors "
        "asks for them again.",
        file=sys.stderr,
    )
    return 3


def main(argv: list[str] | None = None) -> int:
    """Run the command line; refusals and failures are one message and exit code 1."""
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        print("Stopped; what was done is kept. Repeat the command to resume.", file=sys.stderr)
        return STOPPED
    except (ValueError, RuntimeError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
