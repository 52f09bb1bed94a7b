# SPDX-License-Identifier: Apache-2.0
"""Run benchmarks on a model: avg@k with its interval, pass@k, and every setting beside them.

    python scripts/run_benchmarks.py --model_id open-r1/OpenR1-Distill-7B --benchmarks math_500 aime24
    python scripts/run_benchmarks.py --model_id data/my-model --data problems.jsonl --url localhost:8000
    python scripts/run_benchmarks.py --url localhost:8000 --data questions.jsonl --kind choices
    python scripts/run_benchmarks.py --list_benchmarks

It starts `vllm serve` and stops it at the end, or answers by transformers where there is no vLLM, or asks the servers
of --url. Answers are kept as they come: kill it at any moment, repeat the command, and it goes on. Results are in
<output_dir>/<model>/<revision>/<benchmark>/. The exit status is 3 where requests, or judgements, have failed: the
results are then of the others, and the same command goes on with these. --slurm submits slurm/evaluate.slurm instead,
as Open R1's script always does.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from open_r1.data.benchmarks import SUPPORTED_BENCHMARKS, word_of
from open_r1.data.flags import STOPPED, joined, log_to_stderr, respelled
from open_r1.evaluation.flags import build_parser, settings_of
from open_r1.evaluation.job_checks import check_words, chosen_benchmarks
from open_r1.evaluation.jobs import submit_evaluation

if TYPE_CHECKING:
    from open_r1.evaluation.benchmarks import Report

INCOMPLETE = 3  # the exit status where requests or judgements failed: the rest is written, the same command goes on


def list_benchmarks() -> str:
    """Return the table that --list_benchmarks prints."""
    lines = [f"{'name':<10}{'kind':<9}{'figure':<45}{'lighteval 0.13':<23}data set"]
    for entry in SUPPORTED_BENCHMARKS.values():
        where = " ".join(filter(None, (entry.dataset, entry.config, f"({entry.split})")))
        lines.append(f"{entry.name:<10}{entry.kind:<9}{entry.metric:<45}{entry.lighteval:<23}{where}")
    lines.append("in inspect-ai: src/open_r1/evaluation/inspect_tasks.py@benchmark -T name=<name>")
    return "\n".join(lines)


def run(args: argparse.Namespace) -> int:
    """Run the benchmarks; return the exit code."""
    from open_r1.evaluation.benchmarks import run_benchmarks

    benchmarks, status = chosen_benchmarks(args), 0
    names = [benchmark.name for benchmark in benchmarks]
    for number, report in enumerate(run_benchmarks(benchmarks, settings_of(args)), start=1):
        if report.results is None:
            assert report.outcome is not None and report.outcome.stopped_by is not None
            print(
                f"Stopped by {report.outcome.stopped_by.name}; what came is kept in {report.folder}. "
                f"{_again(args, names[:number], names[number:])}",
                file=sys.stderr,
            )
            return 128 + report.outcome.stopped_by
        _print(report)
        status = status if report.results["is_complete"] else INCOMPLETE
    if args.url is None:  # what Open R1's script would have done with the same words
        print("This ran on this machine: with --slurm the same command submits a job.")
    return status


def _again(args: argparse.Namespace, begun: Sequence[str] = (), rest: Sequence[str] = ()) -> str:
    """Return how a run that was stopped goes on, by the benchmarks that it has begun and the rest."""
    if not args.overwrite or args.run_id is not None:
        return "Repeat the command to go on."
    only = f" for {', '.join(begun)}, then with it for {', '.join(rest)}," if rest else ""
    return f"Repeat the command without --overwrite{only} to go on: with it, what was asked may be asked again."


def _print(report: "Report") -> None:
    assert report.results is not None
    metrics, counts, settings, errors = (report.results[name] for name in ("metrics", "counts", "settings", "errors"))
    print(f"{report.benchmark}: {', '.join(describe_metrics(metrics))}")
    limit = f", at most {settings['max_tokens']} tokens" if settings["max_tokens"] else ""
    if not limit and settings["context_tokens"]:
        limit = f", at most {settings['context_tokens']} tokens with the prompt"
    print(
        f"  {counts['returned']} of {counts['requested']} answers to {counts['problems']} "
        f"problem{'s' * (counts['problems'] != 1)}, temperature "
        f"{settings['temperature']}{limit}; {report.folder}"
        f"{' (finished earlier)' if report.was_done else ''}"
    )
    for note in report.results.get("notes", ()):
        print(f"  NOTE: {note}{'' if note.endswith(('?', '!')) else '.'}")
    if counts["failed"]:
        reason = "".join(f", {count} of them with: {error}" for error, count in list(errors.items())[:1])
        failed = f"{counts['failed']} request{'s' * (counts['failed'] != 1)}"
        print(f"{report.benchmark} isn't finished: {failed} failed{reason}.", file=sys.stderr)


def describe_metrics(metrics: Mapping[str, float]) -> list[str]:
    """Return a text for each figure, with its 95 % interval where it has one.

    >>> describe_metrics({"avg@4": 0.98754, "avg@4_low": 0.911, "avg@4_high": 1.0, "truncated": 0.0})
    ['avg@4 0.9875 [0.911, 1.0]', 'truncated 0.0']
    """
    texts = []
    for name, value in metrics.items():
        if name.endswith(("_low", "_high")):
            continue
        ends = [round(metrics[end], 4) for end in (f"{name}_low", f"{name}_high") if end in metrics]
        texts.append(f"{name} {round(value, 4)}" + (f" {ends}" if ends else ""))
    return texts


def submit(args: argparse.Namespace, words: Sequence[str]) -> int:
    """Submit `slurm/evaluate.slurm` with the words of this command line."""
    benchmarks = chosen_benchmarks(args)
    if args.model_id is None or args.url is not None:
        raise ValueError("--slurm serves a model in the job: it needs --model_id, and takes no --url.")
    check_words([word for word in words if word != "--slurm"])
    # Jobs run in the project's folder; of these flags the last counts, but all benchmarks do.
    model = Path(args.model_id).expanduser()
    given = [word for word in without_benchmarks(words) if word != "--slurm"]
    given += [f"--model={model.resolve() if model.exists() else args.model_id}"]
    given += [f"--output_dir={args.output_dir.expanduser().resolve()}"]
    given += [] if args.data is None else [f"--data={args.data.expanduser().resolve()}"]
    if args.benchmarks:
        named = [entry for entry in benchmarks if args.data is None or entry is not benchmarks[-1]]
        given += ["--benchmarks", *(word_of(entry) for entry in named)]
    name = "-".join(["evaluate", args.model_id.rstrip("/").rpartition("/")[2], *(entry.name for entry in benchmarks)])
    print(f"Submitted batch job {submit_evaluation(given, job_name=name[:100])}")
    return 0


def without_benchmarks(words: Sequence[str]) -> list[str]:
    """Return a command line without its benchmarks.

    >>> without_benchmarks(["--slurm", "--benchmarks", "a", "b", "--seed", "1", "--benchmarks=c", "d"])
    ['--slurm', '--seed', '1']
    """
    kept, is_benchmark = [], False
    for word in words:
        is_benchmark = word.partition("=")[0] == "--benchmarks" or (is_benchmark and not word.startswith("-"))
        kept += [] if is_benchmark else [word]
    return kept


def main(argv: list[str] | None = None) -> int:
    """Run the command line; refusals and failures are one message and exit code 1."""
    parser = build_parser(__doc__)
    words = respelled(joined(parser, sys.argv[1:] if argv is None else argv), "_")
    args = parser.parse_args(words)
    log_to_stderr()
    if args.list_benchmarks:
        print(list_benchmarks())
        return 0
    try:
        return submit(args, words) if args.slurm else run(args)
    except KeyboardInterrupt:
        print(f"Stopped; what was done is kept. {_again(args)}", file=sys.stderr)
        return STOPPED
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
