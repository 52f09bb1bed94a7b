# SPDX-License-Identifier: Apache-2.0
"""Run benchmarks on models: avg@k with its interval, pass@k, maj@k, and every setting beside them.

    python scripts/run_benchmarks.py --model_id open-r1/OpenR1-Distill-7B --benchmarks math_500 aime24
    python scripts/run_benchmarks.py --model_id out/checkpoint-100 out/checkpoint-200 --data problems.jsonl
    python scripts/run_benchmarks.py --url localhost:8000 --data questions.jsonl --kind choices
    python scripts/run_benchmarks.py --list_benchmarks

It starts `vllm serve` and stops it at the end, or answers by transformers where there is no vLLM, or asks the servers
of --url. Answers are kept as they come: kill it at any moment, repeat the command, and it resumes. Results are in
<output_dir>/<model>/<revision>/<benchmark>/; of several models or seeds a table follows. The exit status is 3 where
requests, or judgements, have failed: the results are then of the others, and the same command asks for these. --slurm
submits slurm/evaluate.slurm instead, as Open R1's script always does.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from open_r1.data.cli import STOPPED, log_to_stderr, respelled
from open_r1.evaluation.benchmarks import SUPPORTED_BENCHMARKS, word_of
from open_r1.evaluation.jobs import check_words, submit_evaluation
from open_r1.evaluation.settings import EvaluationArguments, parse

if TYPE_CHECKING:
    from open_r1.evaluation.run import Report

INCOMPLETE = 3  # the exit status where requests or judgements failed: the rest is written


def list_benchmarks() -> str:
    """Return the table that --list_benchmarks prints."""
    lines = [f"{'name':<14}{'kind':<9}{'figure':<45}{'other names':<23}data set"]
    for entry in SUPPORTED_BENCHMARKS.values():
        where = " ".join(filter(None, (entry.dataset, entry.config, f"({entry.split})")))
        note = "" if entry.is_checked else "; layout not checked against the hub"
        names = ", ".join(entry.aliases)
        lines.append(f"{entry.name:<14}{entry.kind:<9}{entry.metric:<45}{names:<23}{where}{note}")
    return "\n".join(lines)


def run(args: EvaluationArguments) -> int:
    """Run the benchmarks on each model, with each seed; return the exit code."""
    from open_r1.evaluation.compare import as_text, overview_of
    from open_r1.evaluation.run import run_benchmarks

    benchmarks, status, folders = args.chosen(), 0, []
    for benchmark in benchmarks:
        args.samples_of(benchmark)  # refuses seeds that are too near
    for model in args.model_id or [None]:
        for seed in args.seed:
            one = replace(args, model_id=[] if model is None else [model], seed=[seed])
            suffix = f"-seed{seed}" if len(args.seed) > 1 else ""
            for report in run_benchmarks(benchmarks, one, suffix=suffix):
                if report.stopped_by is not None:
                    name = report.stopped_by.name
                    print(f"Stopped by {name}; what came is kept in {report.folder}. {_again(args)}", file=sys.stderr)
                    return 128 + report.stopped_by
                folders.append(report.folder)
                status = status if _print(report) else INCOMPLETE
    if len(folders) > len(benchmarks):
        print(as_text(overview_of(folders)))
    if args.url is None:  # what Open R1's script would have done with the same words
        print("This ran on this machine: with --slurm the same command submits a job.")
    return status


def _again(args: EvaluationArguments) -> str:
    """Return how a run that was stopped goes on."""
    if not args.overwrite or args.run_id is not None:
        return "Repeat the command to resume."
    return "Repeat the command without --overwrite to resume: with it, what was asked is archived again."


def _print(report: "Report") -> bool:
    """Print the results of a benchmark; return whether they are complete."""
    assert report.results is not None
    metrics, counts, settings = (report.results[name] for name in ("metrics", "counts", "settings"))
    print(f"{report.benchmark}: {', '.join(describe_metrics(metrics, settings['num_samples']))}")
    limit = f", at most {settings['max_tokens']} tokens" if settings["max_tokens"] else ""
    if not limit and settings["context_tokens"]:
        limit = f", at most {settings['context_tokens']} tokens with the prompt"
    print(
        f"  {counts['returned']} of {counts['requested']} answers to {counts['problems']} "
        f"problem{'s' * (counts['problems'] != 1)}, temperature {settings['temperature']}{limit}; {report.folder}"
        f"{' (finished earlier)' if report.was_done else ''}"
    )
    for note in report.results["notes"]:
        print(f"  NOTE: {note}{'' if note.endswith(('?', '!')) else '.'}")
    if (second := report.results["second_judge"]) is not None:
        print(f"  {second['summary']}.")
    if counts["failed"]:
        print(f"{report.benchmark} isn't finished: {counts['failed']} requests failed.", file=sys.stderr)
    return report.results["is_complete"]


def describe_metrics(metrics: Mapping[str, float], k: int) -> list[str]:
    """Return a text for each figure of k answers, with its 95 % interval where it has one.

    >>> describe_metrics({"avg@4": 0.98754, "avg@4_low": 0.911, "avg@4_high": 1.0, "pass@2": 1.0, "truncated": 0.0}, 4)
    ['avg@4 0.9875 [0.911, 1.0]', 'truncated 0.0']
    """
    texts = []
    for name, value in metrics.items():
        if name.endswith(("_low", "_high", "_stderr")) or ("@" in name and not name.endswith(f"@{k}")):
            continue
        ends = [round(metrics[end], 4) for end in (f"{name}_low", f"{name}_high") if end in metrics]
        texts.append(f"{name} {round(value, 4)}" + (f" {ends}" if ends else ""))
    return texts


def submit(args: EvaluationArguments, words: Sequence[str]) -> int:
    """Submit `slurm/evaluate.slurm` with the words of this command line, a job for each model."""
    benchmarks = args.chosen()
    if not args.model_id or args.url is not None:
        raise ValueError("--slurm serves a model in the job: it needs --model_id, and takes no --url.")
    check_words([word for word in words if word != "--slurm"])
    named = [word_of(entry) for entry in benchmarks if args.data is None or entry is not benchmarks[-1]]
    # Jobs run in the project's folder; of these flags the last counts, but all benchmarks do.
    given = [word for word in without_lists(words) if word != "--slurm"]
    given += [f"--output_dir={Path(args.output_dir).expanduser().resolve()}"]
    is_file = args.data is not None and Path(args.data).expanduser().exists()
    given += [f"--data={Path(args.data).expanduser().resolve()}"] if is_file and args.data is not None else []
    given += ["--benchmarks", *named] if named else []
    for model in args.model_id:
        path = Path(model).expanduser()
        name = "-".join(["evaluate", model.rstrip("/").rpartition("/")[2], *(entry.name for entry in benchmarks)])
        words = [f"--model={path.resolve() if path.exists() else model}", *given]
        print(f"Submitted batch job {submit_evaluation(words, job_name=name[:100])}")
    return 0


def without_lists(words: Sequence[str]) -> list[str]:
    """Return a command line without its models and benchmarks.

    >>> without_lists(["--slurm", "--benchmarks", "a", "b", "--seed", "1", "--benchmarks=c", "d"])
    ['--slurm', '--seed', '1']
    """
    kept, is_list = [], False
    for word in words:
        is_list = word.partition("=")[0] in ("--benchmarks", "--model_id") or (is_list and not word.startswith("-"))
        kept += [] if is_list else [word]
    return kept


def main(argv: list[str] | None = None) -> int:
    """Run the command line; refusals and failures are one message and exit code 1."""
    words = respelled(sys.argv[1:] if argv is None else argv, "_")
    log_to_stderr()
    try:
        args = parse(words, __doc__)
        if args.list_benchmarks:
            print(list_benchmarks())
            return 0
        return submit(args, words) if args.slurm else run(args)
    except KeyboardInterrupt:
        print("Stopped; what was done is kept. Repeat the command, without --overwrite, to resume.", file=sys.stderr)
        return STOPPED
    except (ValueError, RuntimeError, OSError, ImportError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
