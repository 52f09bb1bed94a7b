# SPDX-License-Identifier: Apache-2.0
"""The verifier beside math-verify and TRL's accuracy reward: who judges right, who pays for the question, who hangs.

    python scripts/bench_verifier.py --table assets/benchmarks/verifier.md       # as `make bench_verifier`
    python scripts/bench_verifier.py --judges ours --show_errors

labels, open, sealed   pairs (`verifier_labels.py`) whose verdict (right, wrong, abstain) is the label; in brackets
                       those judged right that aren't. Open and sealed pairs are by somebody who had not seen the
                       verifier, and of the sealed ones nobody looks at more than these sums.
echo                   share of 500 generated questions (`verifier_questions.py`) of which some formula, boxed as the
                       answer, is judged right: the question handed to the judge, and not.
hostile                32 good rows among all hostile ones, from the main thread and from another one: seconds, good
                       rows that keep their verdict, hostile rows judged right.
512 rows               first call of a process, 2,700 characters a row; p50 and p99 of a pair alone, the judge warm.

Each judge runs in a process of its own that is killed at a deadline.
"""

import argparse
import os
import random
import statistics
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from verifier_judges import JUDGES, JudgeProcess, Pair
from verifier_labels import SETS, LabelledPair, load_labels
from verifier_questions import KINDS, generated_questions

NUM_QUESTIONS, NUM_GOOD, NUM_ROWS, ROW_CHARS = 500, 32, 512, 2_700
DEADLINE_S = 120.0
REASONING = (
    "Let me read the problem again and write down what is given. If $a + b = 7$, then $a = 7 - b$. I check it. "
)


def parse_command_line() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--judges", nargs="+", choices=list(JUDGES), default=list(JUDGES), help="default: all")
    parser.add_argument("--limit", type=int, help="only so many pairs, questions and rows of each kind")
    parser.add_argument(
        "--show_errors", "--show-errors", action="store_true", help="list labels and open pairs that ours gets wrong"
    )
    parser.add_argument("--table", type=Path, help="also write the table to this Markdown file")
    return parser.parse_args()


def as_pair(pair: LabelledPair) -> Pair:
    """Return what a judge is given of a labelled pair."""
    return pair.gold, pair.completion, None


def judge_pairs(
    judge: JudgeProcess, pairs: Sequence[LabelledPair]
) -> tuple[str, list[tuple[LabelledPair, str]], list]:
    """Return a cell, the pairs that were judged wrong with their verdicts, and seconds of each pair."""
    replies = [judge.ask([as_pair(pair)], DEADLINE_S / 4) for pair in pairs]
    found = [(pair, reply.verdicts[0]) for pair, reply in zip(pairs, replies, strict=True)]
    wrong = [(pair, verdict) for pair, verdict in found if verdict != pair.label]
    num_false = sum(verdict == "right" for _, verdict in wrong)
    seconds = [reply.wall_s for pair, reply in zip(pairs, replies, strict=True) if not pair.is_hostile]
    return f"{len(pairs) - len(wrong)} of {len(pairs)} ({num_false})", wrong, seconds


def echo_cell(judge: JudgeProcess, kind: str, num_questions: int, *, has_prompt: bool) -> str:
    """Return the share of questions of which a formula is judged right as the answer."""
    questions = generated_questions(kind, num_questions)
    pairs = [
        (question.gold, rf"\boxed{{{echo}}}", question.prompt if has_prompt else None)
        for question in questions
        for echo in question.echoes
    ]
    verdicts = iter(judge.ask(pairs, 5 * DEADLINE_S).verdicts)
    num_paid = [sum(next(verdicts) == "right" for _ in question.echoes) for question in questions]
    return f"{100 * sum(map(bool, num_paid)) / len(questions):.1f} %"


def hostile_cell(name: str, limit: int | None, *, in_thread: bool) -> str:
    """Return how a judge comes through a batch with hostile rows."""
    labels = load_labels()
    hostile = [as_pair(pair) for pair in labels if pair.is_hostile and pair.label == "wrong"][:limit]
    good = [as_pair(pair) for pair in random.Random(0).sample([p for p in labels if not p.is_hostile], NUM_GOOD)]
    rows = good + hostile
    order = random.Random(0).sample(range(len(rows)), len(rows))
    with JudgeProcess(name) as judge, JudgeProcess(name) as fresh:
        alone = judge.ask(good, DEADLINE_S).verdicts
        reply = fresh.ask([rows[place] for place in order], DEADLINE_S, in_thread=in_thread)
    verdicts = dict(zip(order, reply.verdicts, strict=True))
    num_kept = sum(verdicts[place] == verdict for place, verdict in enumerate(alone))
    num_fooled = sum(verdicts[place] == "right" for place in range(len(good), len(rows)))
    return reply.error or f"{reply.wall_s:.1f} s, {num_kept} of {len(good)}, {num_fooled}"


def fresh_cell(name: str, num_rows: int) -> str:
    """Return the seconds of the first call of a process, for rows as long as in training."""
    labels = [pair for pair in load_labels() if not pair.is_hostile and "think>" not in pair.completion]
    rows = [
        (pair.gold, f"<think>\n{(REASONING * 99)[:ROW_CHARS]}\n</think>\n{pair.completion}", None)
        for pair in random.Random(1).choices(labels, k=num_rows)
    ]
    with JudgeProcess(name) as judge:
        return f"{judge.ask(rows, DEADLINE_S).wall_s:.2f} s"


def column_of(name: str, limit: int | None, errors: list[str]) -> dict[str, str]:
    """Return the cells of a judge by the names of their rows; notes errors of ours."""
    cells: dict[str, str] = {}
    with JudgeProcess(name) as judge:
        judge.ask([("$x+1$", r"\boxed{1+x}", None)], DEADLINE_S)  # starting parsers is no pair's latency
        seconds: list[float] = []
        for part, place in SETS.items():
            pairs = load_labels(place)[:limit]
            cells[f"{part}: as labelled (false rights)"], wrong, taken = judge_pairs(judge, pairs)
            seconds += taken
            if name == "ours" and part != "sealed":
                errors += [
                    f"- {pair.id}: {verdict}, label {pair.label} ({pair.reason}); gold {pair.gold[:80]!r}, "
                    f"completion ends {pair.completion[-80:]!r}"
                    for pair, verdict in wrong
                ]
        for kind in KINDS:
            for has_prompt in (True, False):
                row = f"echo, {kind}, question {'known' if has_prompt else 'unknown'}"
                is_looked_at = name == "ours" or not has_prompt  # the others take no question
                size = limit or NUM_QUESTIONS
                cells[row] = echo_cell(judge, kind, size, has_prompt=has_prompt) if is_looked_at else "-"
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    cells["hostile, main thread: time, good rows kept, paid"] = hostile_cell(name, limit, in_thread=False)
    cells["hostile, another thread"] = hostile_cell(name, limit, in_thread=True)
    cells["512 rows, fresh process"] = fresh_cell(name, limit or NUM_ROWS)
    cells["a pair: p50, p99, worst (ms)"] = f"{1e3 * cuts[49]:.2f}, {1e3 * cuts[98]:.1f}, {1e3 * max(seconds):.0f}"
    print(f"{name}: {cells}", file=sys.stderr, flush=True)
    return cells


def main() -> None:
    """Print the table in Markdown."""
    args = parse_command_line()
    errors: list[str] = []
    columns = {name: column_of(name, args.limit, errors) for name in args.judges}
    versions = ", ".join(f"{name} {version(name)}" for name in ("math-verify", "sympy", "trl"))
    lines = ["# Verifier benchmark", "", f"Made by `python {' '.join(sys.argv)}`; {versions}, {os.cpu_count()} cores."]
    lines += ["", __doc__.partition("\n\n")[2].partition("\n\n")[2].partition("Each judge")[0].strip()]
    lines[-1] = "\n".join(f"    {line}" for line in lines[-1].splitlines())
    lines += [
        "",
        "The labels follow the policy in the verifier's docstring, which its author knew and others don't share.",
    ]
    lines += ["", f"| | {' | '.join(JUDGES[name][0] for name in columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {row} | {' | '.join(cells[row] for cells in columns.values())} |" for row in next(iter(columns.values()))
    ]
    text = "\n".join(lines) + "\n"
    print(text, *(errors if args.show_errors else []), sep="\n")
    if args.table is not None:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
