# SPDX-License-Identifier: Apache-2.0
"""Beam search and DVTS: paths grow by steps, and their scores say which of them go on.

| setting      | here       | search-and-learn | compute-optimal paper (arXiv 2502.06703) |
|--------------|------------|------------------|------------------------------------------|
| N, M         | 4 and 8, 4 | 4, 4             | 4 to 256, 4                              |
| step         | ends at a blank line in all three                                       |
| steps        | 40         | 40               | 40                                       |
| step tokens  | 2048       | 2048             | 2048                                     |
| temperature  | 0.8        | 0.8              | 0.7                                      |
| lookahead    | 0          | 0                | 0                                        |
| aggregation  | last       | last             | min, last, avg compared                  |

beam_search: of N candidates the N / M best go on, each in M ways. Finished ones are kept as results; the search is
over with N of them, with no other left, or after the last step, which runs to the end of the answer.
dvts: N / M subtrees that know nothing of each other, each going on from the best of M candidates, until that one is
finished. The candidates of the last steps are the results, as in search-and-learn (`diverse`).
A step ends at `step_separator`, after `max_step_tokens`, or with the answer. Paths are token ids, and what was sampled
is appended as it is. Different from search-and-learn:
1. A step that reaches its limit in tokens goes on as another step; there it ends the beam.
2. The tokens of all that is sampled count, those of discarded candidates and of lookaheads too.
3. Candidates of the same text go on once (there an option, off), and the others get their continuations.
4. A beam search ends with N results, of which the N best count; there it goes on while any beam is open.
"""

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from open_r1.evaluation.metrics import group_answers
from open_r1.rewards.verifier.extract import extract_answer
from open_r1.test_time.methods import (
    Attempt,
    Candidate,
    Policy,
    Setting,
    Steps,
    Task,
    TestTimeArguments,
    Value,
    Wanted,
)
from open_r1.test_time.sampling import choose

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Path:
    """A candidate, whole or not.

    Attributes:
        ids: What was sampled.
        text: The same, decoded.
        finish_reason: "stop" or "length"; "": it goes on.
        log_score: Of its steps, or of those that it was looked ahead to.
        tree: Its subtree, of DVTS.
    """

    ids: tuple[int, ...] = ()
    text: str = ""
    finish_reason: str = ""
    log_score: float = -math.inf
    tree: int = 0


# A rule: from the results so far and the candidates of a step to the results now, and the paths that grow next.
Rule = Callable[[Sequence[Path], Sequence[Path], int, int], tuple[list[Path], list[Path]]]


def grow_beams(results: Sequence[Path], grown: Sequence[Path], n: int, width: int) -> tuple[list[Path], list[Path]]:
    """Keep finished candidates as results; the n / width best of the others grow, each about as often."""
    found = _best([*results, *(path for path in grown if path.finish_reason)], n)
    different = {path.text: path for path in reversed(grown) if not path.finish_reason}
    kept = _best([path for path in grown if different.get(path.text) is path], n // width)
    is_over = len(found) == n or not kept
    return found, [] if is_over else [kept[place * len(kept) // n] for place in range(n)]


def grow_subtrees(results: Sequence[Path], grown: Sequence[Path], n: int, width: int) -> tuple[list[Path], list[Path]]:
    """Keep the candidates of each subtree's last step as results; the best of each grows until it is finished."""
    trees = {path.tree: [one for one in grown if one.tree == path.tree] for path in grown}
    before = [path for path in results if path.tree not in trees]
    tips = [_best(candidates, 1)[0] for candidates in trees.values()]
    growing = [tip for tip in tips if not tip.finish_reason for _ in range(width)]
    return sorted([*before, *grown], key=lambda path: path.tree), growing


def _best(paths: Sequence[Path], count: int) -> list[Path]:
    return sorted(paths, key=lambda path: -path.log_score)[:count]  # of equal scores the first


RULES: dict[str, Rule] = {"beam_search": grow_beams, "dvts": grow_subtrees}


def groups(name: str, args: TestTimeArguments, scorer: Mapping[str, Value]) -> list[list[Setting]]:
    """Return a group for each n and aggregation, which decide the search; choices share it."""
    others = [n for n in args.n if n % args.beam_width]
    if others:
        logger.warning("%s: n = %s left out: a search takes multiples of --beam_width.", name, others)
    names = ("beam_width", "max_steps", "lookahead", "max_step_tokens", "step_separator")
    shared = {**{one: getattr(args, one) for one in names}, **scorer}
    return [
        [Setting(name, {"n": n, "aggregation": how, "choice": choice, **shared}) for choice in args.choices]
        for n in args.n
        if n not in others
        for how in args.aggregations
    ]


def solve(task: Task, settings: Sequence[Setting], policy: Policy, seed: int) -> Steps:
    """Return the steps to an attempt at each setting of a group; see `methods.Method`."""
    args, method = policy.args, settings[0].method
    n, how = int(settings[0].values["n"] or 0), str(settings[0].values["aggregation"])
    paths, results = [Path(tree=place // args.beam_width) for place in range(n)], list[Path]()
    work: Counter[str] = Counter()
    temperature = args.temperature_of(method)
    for depth in range(args.max_steps):
        if not paths:
            break
        is_last = depth == args.max_steps - 1
        seeds = [step_seed(seed, depth, place) for place in range(len(paths))]
        grown = yield from _extend(task, paths, seeds, policy, work, temperature, is_last=is_last)
        ahead = [*grown]
        for _ in range(args.lookahead):  # greedily: what a step leads to is what it is scored by
            places = [place for place, path in enumerate(ahead) if not path.finish_reason]
            open_ = [ahead[place] for place in places]
            further = yield from _extend(task, open_, [0] * len(open_), policy, work, 0.0)
            for place, path in zip(places, further, strict=True):
                ahead[place] = path
        scored = yield [Candidate(task, path.text) for path in ahead]
        work["scorer"] += sum(one.num_tokens for one in scored)
        grown = [replace(path, log_score=one.log_score(how)) for path, one in zip(grown, scored, strict=True)]
        results, paths = RULES[method](results, grown, n, args.beam_width)
    answers = [extract_answer(path.text) if policy.has_votes else None for path in results]
    details = {"answers": answers, "scores": [math.exp(path.log_score) for path in results]}
    classes, log_scores, found = group_answers(answers), [path.log_score for path in results], []
    for setting in settings:
        place = choose(log_scores, classes, str(setting.values["choice"]))
        reason = results[place].finish_reason or "length"
        spent = (work["thinking"], work["total"], work["scorer"])
        chosen = [(results[place].text, 1.0)]
        found.append(Attempt(task.row, setting, chosen, *spent, reason, {**details, "chosen": place}))
    return found


def _extend(
    task: Task,
    paths: Sequence[Path],
    seeds: Sequence[int],
    policy: Policy,
    work: Counter[str],
    temperature: float,
    *,
    is_last: bool = False,
) -> Generator[Wanted, Sequence[Any], list[Path]]:
    """Return paths with one more step, a last one to the end of the answer; their tokens are added to `work`."""
    args, stop = policy.args, () if is_last else (policy.args.step_separator,)
    rooms = [policy.room(task.prompt_ids) - len(path.ids) for path in paths]
    limits = [room if is_last else min(room, args.max_step_tokens) for room in rooms]
    replies = yield [
        policy.request(
            (*task.prompt_ids, *path.ids),
            seed=seed,
            temperature=temperature,
            max_tokens=most,
            stop=stop,
            include_stop_str_in_output=True,
        )
        for path, seed, most in zip(paths, seeds, limits, strict=True)
    ]
    grown = []
    for path, reply, room in zip(paths, replies, rooms, strict=True):
        ids = (*path.ids, *reply.token_ids)
        work["total"] += len(reply.token_ids)
        work["thinking"] += policy.num_thinking(ids) - policy.num_thinking(path.ids)
        is_step = reply.finish_reason == "length" or isinstance(reply.stop_reason, str)
        reason = "stop" if not is_step else "length" if is_last or len(reply.token_ids) >= room else ""
        text = str(policy.tokenizer.decode(list(ids), skip_special_tokens=True))
        grown.append(replace(path, ids=ids, text=text, finish_reason=reason))
    return grown


def step_seed(seed: int, depth: int, place: int) -> int:
    """Return the seed of a candidate's step: `seed + place` at first, below 2^31 and far from these later on."""
    if depth == 0:
        return seed + place
    return int.from_bytes(hashlib.sha256(f"{seed}/{depth}/{place}".encode()).digest()[:4]) >> 1
