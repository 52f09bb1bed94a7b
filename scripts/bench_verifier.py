# SPDX-License-Identifier: Apache-2.0
"""Our verifier beside math-verify, TRL's and Open R1's accuracy rewards: who judges right, how fast, and who hangs.

    python scripts/bench_verifier.py --table assets/benchmarks/verifier.md       # as `make bench_verifier`
    python scripts/bench_verifier.py --sections accuracy --judges ours --show_errors

accuracy     labelled pairs (`verifier_labels.py`), one at a time; a judge is right about a pair when its verdict
             (right, wrong, or abstain for a gold that can't be judged) is the label. A false positive is judged right
             and isn't.
throughput   512 rows as a training step has them (32 golds, 16 completions each), the judges in turn.
hostile      64 rows, half of them made to hang or kill a judge, from the main thread and from another one.

Each judge runs in a process of its own that is killed at a deadline: a judge that hangs loses rows, not the benchmark.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from verifier_batches import NUM_GENERATIONS, NUM_PROMPTS, hostile_batch, training_batch
from verifier_judges import JUDGES, JudgeProcess, Reply
from verifier_labels import SETS, LabelledPair, load_labels

SPEED_JUDGES = ("ours", "math-verify", "trl")  # the others differ from these in arguments alone
HOSTILE_LIMIT_S = 10.0
SHARES = ("accuracy", "without abstain", "where judged", "precision", "recall", "abstention")
Found = Sequence[tuple[str, str]]  # label and verdict


def parse_command_line() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--sections", nargs="+", choices=sorted(SECTIONS), default=list(SECTIONS), help="default: all")
    add("--judges", nargs="+", choices=list(JUDGES), default=list(JUDGES), help="default: all")
    add("--row_deadline_s", type=float, default=30.0, help="accuracy: of a pair, which is lost then (default: 30)")
    add("--rounds", type=int, default=5, help="throughput: turns of each judge (default: 5)")
    add("--batch_deadline_s", type=float, default=120.0, help="the same of a whole batch (default: 120)")
    add(
        "--show_errors",
        "--show-errors",
        action="store_true",
        help="accuracy: list the open pairs, and labels of the tuning half, that ours gets wrong",
    )
    add("--table", type=Path, help="also write the tables to this Markdown file")
    return parser.parse_args()


def score(found: Found) -> dict[str, float | None]:
    """Return shares of labelled pairs in percent; None where there is nothing to divide by.

    accuracy         the verdict equals the label; to abstain on a right or wrong pair, or the reverse, is not accurate
    without abstain  the same without the pairs whose label is abstain
    where judged     the same, and without those on which the judge abstained
    precision        of the pairs judged right, those labelled right
    recall           of the pairs labelled right, those judged right
    abstention       of all pairs, those on which the judge abstained
    """
    judgeable = [pair for pair in found if pair[0] != "abstain"]
    agreeing = (
        found,
        judgeable,
        [pair for pair in judgeable if pair[1] != "abstain"],
        [pair for pair in found if pair[1] == "right"],
        [pair for pair in found if pair[0] == "right"],
    )
    shares = [share(label == verdict for label, verdict in pairs) for pairs in agreeing]
    return dict(zip(SHARES, [*shares, share(verdict == "abstain" for _, verdict in found)], strict=True))


def share(flags: Iterable[bool]) -> float | None:
    """Return the percentage of true ones."""
    known = list(flags)
    return 100 * sum(known) / len(known) if known else None


def percent(value: float | None, digits: int = 1) -> str:
    """Return a percentage as a table shows it."""
    return "-" if value is None else f"{value:.{digits}f}"


def table(*rows: Iterable[object]) -> list[str]:
    """Return the lines of a table; the first row is its head."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return ["", lines[0], "|---" * (lines[0].count(" | ") + 1) + "|", *lines[1:]]


def accuracy_section(args: argparse.Namespace) -> list[str]:
    """Return accuracy, categories and latency of the judges on the labelled pairs as Markdown lines."""
    sets = {name: pairs for name, place in SETS.items() if (pairs := load_labels(place))}
    everything = [pair for pairs in sets.values() for pair in pairs]
    replies = {name: judge_one_by_one(name, everything, args.row_deadline_s) for name in args.judges}
    verdicts = {name: dict(zip(everything, found, strict=True)) for name, found in replies.items()}
    parts = {**sets, "labels, held-out half": [pair for pair in sets["labels"] if pair.is_held_out]}
    lines = [
        f"{len(sets['labels'])} labels in {len({pair.category for pair in sets['labels']})} categories, and pairs by "
        "somebody who had not seen the verifier: open ones, and sealed ones, which are judged in sums alone.",
        "Labels were committed before the verifier that they judge. They follow the policy in its docstring (percent, "
        "units, bases, hedges, exact decimals), which its author knew and the other judges don't share: part of their "
        "distance is policy. 100 % of them says little of rows unlike them.",
        "*Without abstain*: only pairs that can be judged; *where judged*: of these, only those on which the judge "
        "didn't abstain.",
        "*math-verify-wrapped* puts golds without dollar signs or a box between dollar signs, as a user may.",
        f"*Lost*: no reply in {args.row_deadline_s:g} s, or the judge's process died or raised; never accurate.",
        *table(
            ("pairs", "judge", "pairs right", "false positives", *SHARES, "lost"),
            *(total_row(part, pairs, name, verdicts[name]) for part, pairs in parts.items() for name in verdicts),
        ),
        *category_table(sets["labels"], verdicts),
        *latency_table(verdicts),
    ]
    if args.show_errors:
        shown = [*sets.get("open", []), *(pair for pair in sets["labels"] if not pair.is_held_out)]
        lines += error_list(shown, verdicts["ours"])
    return lines


def judge_one_by_one(name: str, pairs: Sequence[LabelledPair], deadline_s: float) -> list[Reply]:
    """Return one judge's reply to every pair; its process is warm, and started again where it had to be killed."""
    replies: list[Reply] = []
    with JudgeProcess(name) as judge:
        for number, pair in enumerate(pairs):
            if not replies or replies[-1].error is not None:
                judge.ask([("$x+1$", r"\boxed{1+x}")], deadline_s)  # starting parsers is no pair's latency
            replies.append(judge.ask([(pair.gold, pair.completion)], deadline_s))
            if number % 100 == 0:
                print(f"{name}: {number} of {len(pairs)} pairs", file=sys.stderr, flush=True)
    return replies


def found_in(pairs: Sequence[LabelledPair], replies: dict[LabelledPair, Reply]) -> Found:
    """Return label and verdict of every pair."""
    return [(pair.label, replies[pair].verdicts[0]) for pair in pairs]


def total_row(part: str, pairs: Sequence[LabelledPair], name: str, replies: dict[LabelledPair, Reply]) -> list[object]:
    """Return what a judge says of some pairs."""
    found = found_in(pairs, replies)
    num_right = sum(label == verdict for label, verdict in found)
    num_false = sum(verdict == "right" != label for label, verdict in found)
    num_lost = sum(verdict == "lost" for _, verdict in found)
    return [f"{part} ({len(pairs)})", name, num_right, num_false, *map(percent, score(found).values()), num_lost]


def category_table(pairs: Sequence[LabelledPair], verdicts: dict[str, dict[LabelledPair, Reply]]) -> list[str]:
    """Return the scores of every category."""
    rows = []
    for category in sorted({pair.category for pair in pairs}):
        members = [pair for pair in pairs if pair.category == category]
        scores = {name: score(found_in(members, replies)) for name, replies in verdicts.items()}
        cells = [
            f"**{percent(one['accuracy'], 0)}** "
            + " / ".join(percent(one[name], 0) for name in ("precision", "recall", "abstention"))
            for one in scores.values()
        ]
        rows.append([category, len(members), *cells])
    lines = ["", "### Categories", "", "Labels, percent: **accuracy**, then precision / recall / abstention."]
    return lines + table(["category", "pairs", *verdicts], *rows)


def latency_table(verdicts: dict[str, dict[LabelledPair, Reply]]) -> list[str]:
    """Return wall milliseconds of a call with one pair, those that are hostile apart."""
    rows = []
    for name, replies in verdicts.items():
        plain = [1000 * reply.wall_s for pair, reply in replies.items() if not pair.is_hostile]
        cuts = statistics.quantiles(plain, n=100, method="inclusive")
        worst = 1000 * max(reply.wall_s for reply in replies.values())
        rows.append([name, f"{cuts[49]:.2f}", f"{cuts[98]:,.1f}", f"{max(plain):,.0f}", f"{worst:,.0f}"])
    text = "Wall milliseconds of a call with one pair, the judge warm; a lost pair counts with its time. "
    text += "Hostile pairs are in the last column alone."
    head = ["judge", "p50", "p99", "worst", "worst, hostile pairs too"]
    return ["", "### Latency", "", text, *table(head, *rows)]


def error_list(pairs: Sequence[LabelledPair], replies: dict[LabelledPair, Reply]) -> list[str]:
    """Return the pairs that the judge gets wrong."""
    return ["", "### Errors of ours", ""] + [
        f"- {pair.id}: {verdict}, label {pair.label} ({pair.reason}); gold {pair.gold[:80]!r}, "
        f"completion ends {pair.completion[-80:]!r}"
        for pair in pairs
        if (verdict := replies[pair].verdicts[0]) != pair.label
    ]


def take_turn(name: str, number: int, deadline_s: float) -> list[float]:
    """Return a judge's wall seconds in a fresh process, and the share of errors in percent.

    Of a first batch, another one of unseen pairs, and that one again.
    """
    seconds, correct = [], []
    with JudgeProcess(name) as judge:
        for seed in (2 * number, 2 * number + 1, 2 * number + 1):
            rows = training_batch(seed)
            reply = judge.ask([(row.gold, row.completion) for row in rows], deadline_s)
            seconds.append(reply.wall_s)
            correct += [row.is_right == (given == "right") for row, given in zip(rows, reply.verdicts, strict=True)]
    print(f"{name}: round {number}: {seconds}", file=sys.stderr, flush=True)
    return [*seconds, 100 - (share(correct) or 0.0)]


def throughput_section(args: argparse.Namespace) -> list[str]:
    """Return rows per second on batches as in training as Markdown lines."""
    turns: dict[str, list[list[float]]] = {name: [] for name in SPEED_JUDGES if name in args.judges}
    for number in range(args.rounds):
        for name, taken in turns.items():
            taken.append(take_turn(name, number, args.batch_deadline_s))
    num_rows = NUM_PROMPTS * NUM_GENERATIONS
    num_chars = statistics.mean(len(row.completion) for row in training_batch(0))
    columns = {name: list(zip(*taken, strict=True)) for name, taken in turns.items()}
    lines = [
        f"{num_rows} rows of {num_chars:,.0f} characters, {NUM_PROMPTS} golds (19 integers, 6 decimals and fractions, "
        f"7 symbolic), G = {NUM_GENERATIONS}; rows/s, median of {args.rounds} rounds with new batches, the judges in "
        "turn.",
        "*Fresh*: first call of a process, which has imported the judge's module. *Unseen*: the next batch. *Again*: "
        "the same batch once more.",
        "*Errors*: verdicts that aren't the batch's own labels, of all rows judged.",
        *table(
            ["judge", "fresh", "unseen", "again", "errors"],
            *(
                [name, *(f"{num_rows / statistics.median(column):,.0f}" for column in found[:3])]
                + [f"{statistics.mean(found[3]):.1f} %"]
                for name, found in columns.items()
            ),
        ),
    ]
    if not {"ours", "trl"} <= turns.keys():
        return lines
    lines += ["", "Ours against TRL in the same round, times as fast (reach: >= 15 in a fresh process):", ""]
    for place, label in enumerate(("fresh process", "unseen pairs", "the same again")):
        ratios = [trl / ours for trl, ours in zip(columns["trl"][place], columns["ours"][place], strict=True)]
        lines.append(f"- {label}: {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")
    return lines


def hostile_section(args: argparse.Namespace) -> list[str]:
    """Return how the judges come through a batch with hostile rows as Markdown lines."""
    hostile = [pair for pair in load_labels() if pair.is_hostile and pair.label == "wrong"]
    rows, good = hostile_batch([(pair.gold, pair.completion) for pair in hostile[:NUM_PROMPTS]])
    pairs, found = [(row.gold, row.completion) for row in rows], []
    for name in (name for name in SPEED_JUDGES if name in args.judges):
        for in_thread in (False, True):
            with JudgeProcess(name) as judge, JudgeProcess(name) as fresh:
                alone = judge.ask([pairs[place] for place in good], args.batch_deadline_s)
                reply = fresh.ask(pairs, args.batch_deadline_s, in_thread=in_thread)
            kept = sum(reply.verdicts[place] == verdict for place, verdict in zip(good, alone.verdicts, strict=True))
            fooled = sum(verdict == "right" for place, verdict in enumerate(reply.verdicts) if place not in good)
            outcome = reply.error or ("returned" if reply.wall_s <= HOSTILE_LIMIT_S else "returned too late")
            thread = "other" if in_thread else "main"
            found.append([name, thread, f"{reply.wall_s:.1f}", f"{kept} of {len(good)}", fooled, outcome])
            print(found[-1], file=sys.stderr, flush=True)
    return [
        f"{len(rows)} rows, {len(rows) - len(good)} of them hostile; first call of a process. *Good unchanged*: good "
        "rows with the verdict that they get on the main thread without hostile company.",
        f"Reach for ours: within {HOSTILE_LIMIT_S:g} s, all good rows unchanged, no hostile row right.",
        *table(["judge", "thread", "wall s", "good unchanged", "hostile judged right", "outcome"], *found),
    ]


SECTIONS = {"accuracy": accuracy_section, "throughput": throughput_section, "hostile": hostile_section}


def main() -> None:
    """Run the chosen sections and print Markdown."""
    args = parse_command_line()
    if args.show_errors and "ours" not in args.judges:
        sys.exit("--show_errors lists the errors of ours: add it to --judges")
    versions = ", ".join(f"{name} {version(name)}" for name in ("math-verify", "sympy", "trl"))
    lines = ["# Verifier benchmark", "", f"Made by `python {' '.join(sys.argv)}`; {versions}, {os.cpu_count()} cores."]
    for section in args.sections:
        lines += ["", f"## {section.capitalize()}", "", *SECTIONS[section](args)]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.table is not None:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
