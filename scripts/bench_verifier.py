# SPDX-License-Identifier: Apache-2.0
"""The verifier beside math-verify and TRL's accuracy reward: who judges right, who pays for the question, who hangs.

    python scripts/bench_verifier.py --table assets/benchmarks/verifier.md       # as `make bench_verifier`

labels, open, sealed   pairs (`verifier_labels.py`) whose verdict (right, wrong, abstain) is the label; in brackets
                       those judged right that aren't. Open and sealed pairs are by somebody who had not seen the
                       verifier, and of the sealed ones nobody looks at more than these sums.
echo                   share of 500 generated questions (`verifier_questions.py`) of which some formula, boxed as the
                       answer, is judged right: the question handed to the judge, and not.
hostile                32 good rows among all hostile ones, from the main thread and from another one: seconds, good
                       rows that keep their verdict, hostile rows judged right.
512 rows               first call of a process, 2,700 characters a row.

Each judge runs in a process of its own that is killed at a deadline. Its verdicts are "right", "wrong", "abstain" (the
gold can't be judged) and "lost" (it hung, died or raised).
"""

import argparse
import multiprocessing
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as DeadlineError
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from pebble import ProcessExpired, ProcessPool
from verifier_labels import SETS, LabelledPair, load_labels
from verifier_questions import KINDS, generated_questions

NUM_QUESTIONS, NUM_GOOD, NUM_ROWS, ROW_CHARS = 500, 32, 512, 2_700
DEADLINE_S = 120.0
MEMORY_LIMIT_GB = 8  # of address space, then a judge gets a MemoryError: no row takes the machine down
REASONING = (
    "Let me read the problem again and write down what is given. If $a + b = 7$, then $a = 7 - b$. I check it. "
)

# Gold, completion, and the question where the judge may know it.
Pair = tuple[str, str, str | None]
Pairs = Sequence[Pair]
Judge = Callable[[Pairs], list[str]]


def load_ours() -> Judge:
    """Return `open_r1.rewards.accuracy_reward`."""
    from open_r1.rewards import accuracy_reward

    return lambda pairs: verdicts_of(accuracy_reward, pairs, prompts=[prompt or "" for _, _, prompt in pairs])


def load_trl(spell: Callable[[str], str]) -> Judge:
    """Return TRL's `accuracy_reward`, which is given the golds as `spell` writes them."""
    from trl.rewards import accuracy_reward

    return lambda pairs: verdicts_of(accuracy_reward, [(spell(gold), text, None) for gold, text, _ in pairs])


def verdicts_of(reward: Callable[..., list[float | None]], pairs: Pairs, **columns: object) -> list[str]:
    """Return the verdicts that the values of an accuracy reward stand for."""
    completions = [[{"role": "assistant", "content": completion}] for _, completion, _ in pairs]
    names = {None: "abstain", 1.0: "right", 0.0: "wrong"}
    return [names[value] for value in reward(completions, solution=[gold for gold, _, _ in pairs], **columns)]


def load_math_verify(spell: Callable[[str], str]) -> Judge:
    """Return `verify(parse(gold), parse(completion))` of math-verify; a gold that it can't parse is an abstention."""
    from math_verify import parse, verify
    from math_verify.errors import TimeoutException

    def judge_pair(gold: str, completion: str) -> str:
        try:
            parsed = parse(spell(gold))
            return "abstain" if not parsed else "right" if verify(parsed, parse(completion)) else "wrong"
        except (Exception, TimeoutException):  # noqa: BLE001 - whatever it raises, the answer is not judged right
            return "wrong"

    return lambda pairs: [judge_pair(gold, completion) for gold, completion, _ in pairs]


def wrapped(gold: str) -> str:
    """Return the gold between dollar signs, unless it has some or a box: math-verify reads LaTeX only there."""
    is_marked = any(mark in gold for mark in ("$", r"\(", r"\[", r"\boxed", "####"))
    return gold if is_marked or not gold.strip() else f"${gold}$"


JUDGES: dict[str, tuple[str, Callable[[], Judge]]] = {
    "ours": ("this verifier", load_ours),
    "math-verify": ("math-verify, golds in $", partial(load_math_verify, wrapped)),
    "math-verify-bare": ("math-verify, golds as they are", partial(load_math_verify, str)),
    "trl": ("TRL, golds in $", partial(load_trl, wrapped)),
    "trl-bare": ("TRL, golds as they are", partial(load_trl, str)),
}


class Reply(NamedTuple):
    """What a judge said about a batch: a verdict a pair, wall seconds of the call, and why it was lost."""

    verdicts: list[str]
    wall_s: float
    error: str = ""


_judge: Judge


def load_judge(name: str) -> None:
    """Import a judge in its process, whose memory is limited and which prints nothing."""
    global _judge
    limit = MEMORY_LIMIT_GB * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _judge = JUDGES[name][1]()


def judge_all(pairs: Pairs, in_thread: bool) -> Reply:
    """Return the reply to a batch, judged on the main thread or on another one."""
    start = time.perf_counter()
    try:
        with ThreadPoolExecutor(1) as pool:
            verdicts = pool.submit(_judge, pairs).result() if in_thread else _judge(pairs)
    except Exception as raised:  # noqa: BLE001 - a judge that raises has lost its rows; the benchmark goes on
        return Reply(["lost"] * len(pairs), 0.0, f"{type(raised).__name__}: {str(raised)[:200]}")
    return Reply(verdicts, time.perf_counter() - start)


def start_judge(name: str) -> ProcessPool:
    """Return a process that imports a judge, and that is started again after it was killed."""
    return ProcessPool(1, 0, load_judge, (name,), multiprocessing.get_context("spawn"))


def ask(judge: ProcessPool, pairs: Pairs, deadline_s: float = DEADLINE_S, *, in_thread: bool = False) -> Reply:
    """Return the judge's reply; past the deadline the process is killed and every pair is lost."""
    try:
        return judge.schedule(judge_all, (pairs, in_thread), timeout=deadline_s).result()
    except DeadlineError:
        error = f"no reply in {deadline_s:g} s"
    except ProcessExpired:
        error = "the process died"
    return Reply(["lost"] * len(pairs), deadline_s, error)


def as_pair(pair: LabelledPair) -> Pair:
    """Return what a judge is given of a labelled pair."""
    return pair.gold, pair.completion, None


def labels_cell(judge: ProcessPool, pairs: Sequence[LabelledPair]) -> str:
    """Return how many pairs are judged as labelled."""
    verdicts = [ask(judge, [as_pair(pair)], DEADLINE_S / 4).verdicts[0] for pair in pairs]
    wrong = [verdict for pair, verdict in zip(pairs, verdicts, strict=True) if verdict != pair.label]
    return f"{len(pairs) - len(wrong)} of {len(pairs)} ({wrong.count('right')})"


def echo_cell(judge: ProcessPool, kind: str, num_questions: int, *, has_prompt: bool) -> str:
    """Return the share of questions of which a formula is judged right as the answer."""
    questions = generated_questions(kind, num_questions)
    pairs = [
        (question.gold, rf"\boxed{{{echo}}}", question.prompt if has_prompt else None)
        for question in questions
        for echo in question.echoes
    ]
    verdicts = iter(ask(judge, pairs, 5 * DEADLINE_S).verdicts)
    num_paid = [sum(next(verdicts) == "right" for _ in question.echoes) for question in questions]
    return f"{100 * sum(map(bool, num_paid)) / len(questions):.1f} %"


def hostile_cell(name: str, limit: int | None, *, in_thread: bool) -> str:
    """Return how a judge comes through a batch with hostile rows."""
    labels = load_labels()
    hostile = [as_pair(pair) for pair in labels if pair.is_hostile and pair.label == "wrong"][:limit]
    good = [as_pair(pair) for pair in random.Random(0).sample([p for p in labels if not p.is_hostile], NUM_GOOD)]
    rows = good + hostile
    order = random.Random(0).sample(range(len(rows)), len(rows))
    with start_judge(name) as judge, start_judge(name) as fresh:
        alone = ask(judge, good).verdicts
        reply = ask(fresh, [rows[place] for place in order], in_thread=in_thread)
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
    with start_judge(name) as judge:
        reply = ask(judge, rows)
        return reply.error or f"{reply.wall_s:.2f} s"


def column_of(name: str, limit: int | None) -> dict[str, str]:
    """Return the cells of a judge by the names of their rows; golds as they are only meet the labelled pairs."""
    cells: dict[str, str] = {}
    is_bare = name.endswith("-bare")
    with start_judge(name) as judge:
        for part, place in SETS.items():
            cells[f"{part}: as labelled (false rights)"] = labels_cell(judge, load_labels(place)[:limit])
        for kind in KINDS:
            for has_prompt in (True, False):
                row = f"echo, {kind}, question {'known' if has_prompt else 'unknown'}"
                is_looked_at = name == "ours" or not (has_prompt or is_bare)  # the others take no question
                size = limit or NUM_QUESTIONS
                cells[row] = echo_cell(judge, kind, size, has_prompt=has_prompt) if is_looked_at else "-"
    for row, is_threaded in (("main thread: time, good rows kept, paid", False), ("another thread", True)):
        cells[f"hostile, {row}"] = "-" if is_bare else hostile_cell(name, limit, in_thread=is_threaded)
    cells["512 rows, fresh process"] = "-" if is_bare else fresh_cell(name, limit or NUM_ROWS)
    print(f"{name}: {cells}", file=sys.stderr, flush=True)
    return cells


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judges", nargs="+", choices=list(JUDGES), default=list(JUDGES), help="default: all")
    parser.add_argument("--limit", type=int, help="only so many pairs, questions and rows of each kind")
    parser.add_argument("--table", type=Path, help="also write the table to this Markdown file")
    args = parser.parse_args()
    columns = {JUDGES[name][0]: column_of(name, args.limit) for name in args.judges}
    versions = ", ".join(f"{name} {version(name)}" for name in ("math-verify", "sympy", "trl"))
    lines = ["# Verifier benchmark", "", f"Made by `python {' '.join(sys.argv)}`; {versions}, {os.cpu_count()} cores."]
    lines += ["", *(f"    {line}" for line in __doc__.split("\n\n")[2].splitlines()), ""]
    lines += [
        "The labels follow the policy in the verifier's docstring, which its author knew and others don't share."
    ]
    lines += ["", f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in next(iter(columns.values())):
        lines.append(f"| {row} | {' | '.join(cells[row] for cells in columns.values())} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.table is not None:
        args.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
