# SPDX-License-Identifier: Apache-2.0
"""Our verifier beside plain math-verify and TRL's accuracy reward: who judges right, how fast, and who hangs.

    python scripts/bench_verifier.py --table assets/benchmarks/verifier.md       # as `make bench_verifier`
    python scripts/bench_verifier.py --sections accuracy --judges ours --show_errors

accuracy     the labelled pairs of assets/benchmarks/verifier/labels, one at a time; a judge is right about a pair when
             its verdict (right, wrong, or abstain for a gold that can't be judged) is the label. Half of the pairs, by
             a hash of their ids, is held out: never looked at for tuning, reported apart and in sums only.
throughput   512 rows as a training step has them (32 golds, 16 completions each), the judges in turn.
hostile      64 rows, half of them made to hang or kill a judge, from the main thread and from another one.

Each judge runs in a process of its own that is killed at a deadline: a judge that hangs loses rows, not the benchmark.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from verifier_batches import NUM_GENERATIONS, NUM_PROMPTS, hostile_batch, training_batch
from verifier_judges import JUDGES, JudgeProcess, Reply
from verifier_labels import LabelledPair, load_labels

OTHERS = ("math-verify", "math-verify-wrapped", "trl")
SPEED_JUDGES = ("ours", "math-verify", "trl")  # wrapping a gold costs nothing
HOSTILE_LIMIT_S = 16.0
# Why another judge is better or equal in a category; the table says so where a reason is missing.
REASONS: dict[str, str] = {}


def parse_command_line() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--sections", nargs="+", choices=sorted(SECTIONS), default=list(SECTIONS), help="default: all")
    parser.add_argument("--judges", nargs="+", choices=list(JUDGES), default=list(JUDGES), help="default: all")
    parser.add_argument(
        "--row_deadline_s",
        type=float,
        default=30.0,
        help="accuracy: a pair is lost when its judge takes longer (default: 30)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="throughput: turns of each judge (default: 5)")
    parser.add_argument(
        "--batch_deadline_s",
        type=float,
        default=120.0,
        help="throughput, hostile: the same for a whole batch (default: 120)",
    )
    parser.add_argument(
        "--show_errors",
        "--show-errors",
        action="store_true",
        help="accuracy: list the pairs of the tuning half that ours gets wrong",
    )
    parser.add_argument("--table", type=Path, help="also write the tables to this Markdown file")
    return parser.parse_args()


@dataclass(frozen=True)
class Score:
    """Shares of a set of labelled pairs, in percent; None where there is nothing to divide by.

    accuracy     the verdict equals the label; to abstain on a right or wrong pair, or the reverse, is not accurate
    judgeable    the same without the pairs whose label is abstain
    judged       the same, and without those on which the judge abstained
    precision    of the pairs judged right, those labelled right
    recall       of the pairs labelled right, those judged right
    abstention   of all pairs, those on which the judge abstained
    """

    accuracy: float
    judgeable: float | None
    judged: float | None
    precision: float | None
    recall: float | None
    abstention: float | None
    num_lost: int


def score(pairs: Sequence[LabelledPair], verdicts: Sequence[str]) -> Score:
    """Return how the verdicts of one judge agree with the labels."""
    found = [(pair.label, verdict) for pair, verdict in zip(pairs, verdicts, strict=True)]
    judgeable = [(label, verdict) for label, verdict in found if label != "abstain"]
    return Score(
        accuracy=agreement(found) or 0.0,
        judgeable=agreement(judgeable),
        judged=agreement([(label, verdict) for label, verdict in judgeable if verdict != "abstain"]),
        precision=agreement([(label, verdict) for label, verdict in found if verdict == "right"]),
        recall=agreement([(label, verdict) for label, verdict in found if label == "right"]),
        abstention=100 * sum(verdict == "abstain" for _, verdict in found) / len(found) if found else None,
        num_lost=sum(verdict == "lost" for _, verdict in found),
    )


def agreement(found: Sequence[tuple[str, str]]) -> float | None:
    """Return the percentage of (label, verdict) that are equal."""
    return 100 * sum(label == verdict for label, verdict in found) / len(found) if found else None


def percent(value: float | None, digits: int = 1) -> str:
    """Return a percentage as a table shows it."""
    return "-" if value is None else f"{value:.{digits}f}"


def accuracy_section(args: argparse.Namespace) -> list[str]:
    """Return accuracy, categories and latency of the judges on the labelled pairs as Markdown lines."""
    pairs = load_labels()
    replies = {name: judge_one_by_one(name, pairs, args.row_deadline_s) for name in args.judges}
    verdicts = {name: [reply.verdicts[0] for reply in found] for name, found in replies.items()}
    lines = [
        f"{len(pairs)} labelled pairs in {len({pair.category for pair in pairs})} categories. A pair counts where the "
        "verdict is the label: right, wrong, or abstain for a gold that can't be judged.",
        "Labels were committed before the verifier that they judge. They follow the policy in its docstring (percent, "
        "units, bases, hedges, exact decimals), which its author knew and the other judges don't share: part of their "
        "distance is policy. 100 % here says little of rows unlike these.",
        "*Without abstain*: only pairs that can be judged; *where judged*: of these, only those on which the judge "
        "didn't abstain.",
        "*math-verify-wrapped* puts golds without dollar signs or a box between dollar signs, as a user may.",
        f"*Lost*: no reply in {args.row_deadline_s:g} s, or the judge's process died or raised; never accurate.",
        *total_table(pairs, verdicts),
        *category_table(pairs, verdicts),
        *latency_table(replies),
    ]
    if args.show_errors:
        lines += error_list(pairs, verdicts["ours"])
    return lines


def judge_one_by_one(name: str, pairs: Sequence[LabelledPair], deadline_s: float) -> list[Reply]:
    """Return one judge's reply to every pair; its process is warm, and started again where it had to be killed."""
    replies = []
    with JudgeProcess(name) as judge:
        for number, pair in enumerate(pairs):
            if not replies or replies[-1].error is not None:
                judge.ask([("$x+1$", r"\boxed{1+x}")], deadline_s)  # starting workers and parsers is no pair's latency
            replies.append(judge.ask([(pair.gold, pair.completion)], deadline_s))
            if number % 100 == 0:
                print(f"{name}: {number} of {len(pairs)} pairs", file=sys.stderr, flush=True)
    return replies


def total_table(pairs: Sequence[LabelledPair], verdicts: dict[str, list[str]]) -> list[str]:
    """Return the scores on all pairs and on either half."""
    halves: dict[str, Callable[[LabelledPair], bool]] = {
        "all": lambda pair: True,
        "tuning half": lambda pair: not pair.is_held_out,
        "held-out half": lambda pair: pair.is_held_out,
    }
    lines = [
        "",
        "| pairs | judge | accuracy | without abstain | where judged | precision | recall | abstention | lost |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for half, belongs in halves.items():
        places = [place for place, pair in enumerate(pairs) if belongs(pair)]
        for name, judged in verdicts.items():
            found = score([pairs[place] for place in places], [judged[place] for place in places])
            shares = (found.accuracy, found.judgeable, found.judged, found.precision, found.recall, found.abstention)
            lines.append(
                f"| {half} ({len(places)}) | {name} | " + " | ".join(map(percent, shares)) + f" | {found.num_lost} |"
            )
    return lines


def category_table(pairs: Sequence[LabelledPair], verdicts: dict[str, list[str]]) -> list[str]:
    """Return the scores of every category, and the categories in which another judge is better or equal."""
    lines = [
        "",
        "### Categories",
        "",
        "Percent: **accuracy**, then precision / recall / abstention.",
        "",
        "| category | pairs | " + " | ".join(verdicts) + " |",
        "|---|---" + "|---" * len(verdicts) + "|",
    ]
    rivals = []
    for category in sorted({pair.category for pair in pairs}):
        places = [place for place, pair in enumerate(pairs) if pair.category == category]
        found = {
            name: score([pairs[place] for place in places], [judged[place] for place in places])
            for name, judged in verdicts.items()
        }
        cells = [
            f"**{percent(one.accuracy, 0)}** {percent(one.precision, 0)} / {percent(one.recall, 0)} / "
            f"{percent(one.abstention, 0)}"
            for one in found.values()
        ]
        lines.append(f"| {category} | {len(places)} | " + " | ".join(cells) + " |")
        rivals += rival_rows(category, found)
    if "ours" not in verdicts:
        return lines
    return [
        *lines,
        "",
        "### Where another judge is better or equal",
        "",
        "| category | judge | its accuracy | ours | reason |",
        "|---|---|---|---|---|",
        *(rivals or ["| none | | | | |"]),
    ]


def rival_rows(category: str, found: dict[str, Score]) -> list[str]:
    """Return a row for each other judge that is at least as accurate as ours in a category."""
    rows = []
    for name in OTHERS:
        if "ours" not in found or name not in found or found[name].accuracy < found["ours"].accuracy:
            continue
        is_perfect = found["ours"].accuracy == 100
        reason = "both judge every pair right" if is_perfect else REASONS.get(category, "**no reason given**")
        rows.append(
            f"| {category} | {name} | {percent(found[name].accuracy)} | {percent(found['ours'].accuracy)} | {reason} |"
        )
    return rows


def latency_table(replies: dict[str, list[Reply]]) -> list[str]:
    """Return wall milliseconds of a call with one pair, over all labelled pairs, hostile ones included."""
    lines = [
        "",
        "### Latency",
        "",
        "Wall milliseconds of a call with one pair, the judge warm; a lost pair counts with its time.",
        "",
        "| judge | p50 | p99 | worst |",
        "|---|---|---|---|",
    ]
    for name, found in replies.items():
        cuts = statistics.quantiles([1000 * reply.wall_s for reply in found], n=100, method="inclusive")
        lines.append(f"| {name} | {cuts[49]:.2f} | {cuts[98]:,.1f} | {1000 * max(r.wall_s for r in found):,.0f} |")
    return lines


def error_list(pairs: Sequence[LabelledPair], verdicts: Sequence[str]) -> list[str]:
    """Return the pairs of the tuning half that the judge gets wrong; those held out are never shown."""
    lines = ["", "### Errors of ours in the tuning half", ""]
    for pair, verdict in zip(pairs, verdicts, strict=True):
        if not pair.is_held_out and verdict != pair.label:
            lines.append(
                f"- {pair.id}: {verdict}, label {pair.label} ({pair.reason}); gold {pair.gold[:80]!r}, "
                f"completion ends {pair.completion[-80:]!r}"
            )
    return lines


@dataclass(frozen=True)
class Turn:
    """Wall seconds of one judge in one round, and its errors against the batch's own labels."""

    cold_s: float
    unseen_s: float
    warm_s: float
    num_errors: int


def take_turn(name: str, number: int, deadline_s: float) -> Turn:
    """Time a judge in a fresh process: a first batch, another one of unseen pairs, and that one again."""
    seconds = []
    num_errors = 0
    with JudgeProcess(name) as judge:
        judge.start()
        for seed in (2 * number, 2 * number + 1, 2 * number + 1):
            rows = training_batch(seed)
            reply = judge.ask([(row.gold, row.completion) for row in rows], deadline_s)
            seconds.append(reply.wall_s)
            expected = ["right" if row.is_right else "wrong" for row in rows]
            num_errors += sum(a != b for a, b in zip(expected, reply.verdicts, strict=True))
    cold_s, unseen_s, warm_s = seconds
    return Turn(cold_s, unseen_s, warm_s, num_errors)


def throughput_section(args: argparse.Namespace) -> list[str]:
    """Return rows per second on batches as in training as Markdown lines."""
    turns: dict[str, list[Turn]] = {name: [] for name in SPEED_JUDGES if name in args.judges}
    for number in range(args.rounds):
        for name in turns:
            turns[name].append(take_turn(name, number, args.batch_deadline_s))
            print(f"{name}: round {number}: {turns[name][-1]}", file=sys.stderr, flush=True)
    num_rows = NUM_PROMPTS * NUM_GENERATIONS
    num_chars = statistics.mean(len(row.completion) for row in training_batch(0))
    lines = [
        f"{num_rows} rows of {num_chars:,.0f} characters, {NUM_PROMPTS} golds (19 integers, 6 decimals and fractions, "
        "7 symbolic), G = "
        f"{NUM_GENERATIONS}; rows/s, median of {args.rounds} rounds with new batches, the judges in turn.",
        "*Fresh*: first call of a process, in which the judge's module is imported; the start of our workers counts. "
        "*Unseen*: the next batch. *Again*: the same batch once more.",
        "*Errors*: verdicts that aren't the batch's own labels, of all rows judged.",
        "",
        "| judge | fresh | unseen | again | errors |",
        "|---|---|---|---|---|",
    ]
    for name, found in turns.items():
        speeds = [
            num_rows / statistics.median(getattr(turn, field) for turn in found)
            for field in ("cold_s", "unseen_s", "warm_s")
        ]
        share = 100 * sum(turn.num_errors for turn in found) / (3 * num_rows * args.rounds)
        lines.append(f"| {name} | " + " | ".join(f"{speed:,.0f}" for speed in speeds) + f" | {share:.1f} % |")
    if "ours" in turns and "trl" in turns:
        lines += ["", "Ours against TRL in the same round (reach: >= 3 with a cold cache):", *ratio_lines(turns)]
    return lines


def ratio_lines(turns: dict[str, list[Turn]]) -> list[str]:
    """Return how many times as fast as TRL ours is: median and range over the rounds."""
    lines = [""]
    for field, label in (("cold_s", "fresh process"), ("unseen_s", "unseen pairs"), ("warm_s", "the same again")):
        ratios = [
            getattr(trl, field) / getattr(ours, field) for trl, ours in zip(turns["trl"], turns["ours"], strict=True)
        ]
        lines.append(f"- {label}: {statistics.median(ratios):.1f} times ({min(ratios):.1f} to {max(ratios):.1f})")
    return lines


def hostile_section(args: argparse.Namespace) -> list[str]:
    """Return how the judges come through a batch with hostile rows as Markdown lines."""
    rows, good = hostile_batch()
    pairs = [(row.gold, row.completion) for row in rows]
    lines = [
        f"64 rows, {len(rows) - len(good)} of them hostile; first call of a process, start of our workers included. "
        "*Good unchanged*: good rows with the verdict that they get on the main thread without hostile company.",
        f"Reach for ours: within {HOSTILE_LIMIT_S:g} s, all good rows unchanged, no hostile row right.",
        "",
        "| judge | thread | wall s | good unchanged | hostile judged right | outcome |",
        "|---|---|---|---|---|---|",
    ]
    for name in (name for name in SPEED_JUDGES if name in args.judges):
        for in_thread in (False, True):
            with JudgeProcess(name) as judge, JudgeProcess(name) as fresh:
                alone = judge.ask([pairs[place] for place in good], args.batch_deadline_s)
                reply = fresh.ask(pairs, args.batch_deadline_s, in_thread=in_thread)
            kept = sum(reply.verdicts[place] == verdict for place, verdict in zip(good, alone.verdicts, strict=True))
            fooled = sum(verdict == "right" for place, verdict in enumerate(reply.verdicts) if place not in good)
            outcome = reply.error or ("returned" if reply.wall_s <= HOSTILE_LIMIT_S else "returned too late")
            lines.append(
                f"| {name} | {'other' if in_thread else 'main'} | {reply.wall_s:.1f} | {kept} of {len(good)} "
                f"| {fooled} | {outcome} |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


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
