# SPDX-License-Identifier: Apache-2.0
"""Ask, judge, write: the three stages of a pass-rate run, each of which goes on where it stopped.

    <folder>/generations.jsonl    every completion as it comes, by row and generation
    <folder>/scores.jsonl         the values of every reward, by row
    <folder>/data/, pass_rate/, card.json, README.md    the data set, published at the end

The two journals stay: with other bounds, weights or rewards and --overwrite no token is paid for again.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from open_r1.curation.pass_rate.asking import Ask, read_served
from open_r1.curation.pass_rate.publishing import Judged, has_missing, num_completions, publish
from open_r1.curation.pass_rate.rates import Status, rates_of
from open_r1.curation.pass_rate.scoring import Encode, Group, RewardsDownError, Scorer, chunks, from_json, to_json
from open_r1.data.card import DataCard, read_card
from open_r1.data.folder import DatasetFolder
from open_r1.data.places import remove_if_nothing_came
from open_r1.generation.journal import Journal, differing
from open_r1.generation.messages import Request, Sampling
from open_r1.rewards import Reward, is_unscorable

logger = logging.getLogger(__name__)

GENERATIONS, SCORES = "generations.jsonl", "scores.jsonl"
FULL_STOP = "stop"  # the finish reason of a completion that ended by itself
_REFUSED = {400, 413, 422}  # HTTP: the request itself is at fault, the next one fares no better


@dataclass
class PassRateRun:
    """What a run needs, once models and data sets are looked at.

    Attributes:
        num_rows: Rows of the whole split.
        start: First row of this shard.
        end: Row behind its last one.
        statuses: Rows that can't be asked, and why; rows of this shard only.
        read_table: Source rows from one number to another.
        read_row: A row as rewards see it: `prompt` is its conversation.
        read_prompt_ids: Token ids of a row's prompt.
        encode: Texts to token ids, without special tokens.
        eos_token_id: What a completion ends with.
        rewards: The rewards by the names of their columns.
        weights: Weight of each.
        bounded_reward: The reward that the bounds act on; None: all, combined.
        bounds: The lowest and the highest pass rate to keep.
        num_generations: Completions of a row.
        sampling: How completions are drawn.
        asked: Settings that the completions depend on.
        judged: Settings that the rewards' values depend on, beside those.
        given: What else rewards are given, such as `trainer_state`.
        card: The card, so far.
    """

    num_rows: int
    start: int
    end: int
    statuses: dict[int, Status]
    read_table: Callable[[int, int], pa.Table]
    read_row: Callable[[int], dict[str, Any]]
    read_prompt_ids: Callable[[int], list[int]]
    encode: Encode
    eos_token_id: int
    rewards: Mapping[str, Reward]
    weights: Mapping[str, float]
    bounded_reward: str | None
    bounds: tuple[float, float]
    num_generations: int
    sampling: Sampling
    asked: dict[str, Any]
    judged: dict[str, Any]
    card: DataCard
    given: Mapping[str, Any] = field(default_factory=dict)

    def rows(self) -> Iterator[int]:
        """Yield the numbers of the rows that are asked."""
        return (row for row in range(self.start, self.end) if row not in self.statuses)

    def requests(self) -> Iterator[Request]:
        """Yield what is to be asked: all generations of a row after one another, which share their prompt."""
        for row in self.rows():
            prompt_ids = self.read_prompt_ids(row)
            for index in range(self.num_generations):
                yield Request(str(row), index, prompt_ids=prompt_ids, sampling=self.sampling)

    @property
    def num_requests(self) -> int:
        """Generations in all."""
        return (self.end - self.start - len(self.statuses)) * self.num_generations


def run_pass_rate(
    run: PassRateRun, path: Path, ask: Ask, *, overwrite: bool = False, licence: str | None = None
) -> DataCard | None:
    """Ask, judge and write a data set.

    Args:
        run: What to do.
        path: Folder of the data set.
        ask: Answers requests; not called when nothing is left to be asked.
        overwrite: Replace a finished data set. Completions and rewards of the same settings are used again.
        licence: Licence of the rows, if one was asked for; None: that of the card.

    Returns:
        The card, or None when the folder was finished earlier by the same settings. Requests that had failed are
        sent once more even then, but for those that were refused as they are; `overwrite` sends these too.

    Raises:
        ValueError: The folder holds a data set, or completions, of other settings, and `overwrite` is not set.
    """
    run.card.licence = licence or run.card.licence
    folder = DatasetFolder(path, run.card, overwrite=overwrite, licence=licence)
    is_finished = folder.is_done()
    found = read_card(path) if is_finished else None
    if is_finished:
        if found is None or not has_missing(found) or not (path / GENERATIONS).is_file():
            return None
        run.card.licence = found.licence
        folder = DatasetFolder(path, run.card, overwrite=True)
    is_new = not path.exists()
    with ExitStack() as stack:
        if is_new:
            stack.callback(remove_if_nothing_came, path)
        is_final = _is_settled if is_finished else _has_text
        generations = stack.enter_context(_open_journal(path / GENERATIONS, run.asked, overwrite, is_final))
        scores = stack.enter_context(_open_journal(path / SCORES, {**run.asked, **run.judged}, overwrite, None))
        if any((str(row), i) not in generations for row in run.rows() for i in range(run.num_generations)):
            ask(run.requests(), run.num_requests, generations)
        if found is not None and _num_texts(generations, run) == num_completions(found):
            logger.warning("No more completions came: %s stays as it is; --overwrite asks for all that failed.", path)
            return None
        served = read_served(path)
        if served and run.card.teacher is not None:
            run.card.teacher["served_as"] = served
        texts = Texts(generations, run)
        judged = read_scores(scores, judge(run, texts, scores))
        _refuse_nothing(run, judged)
        publish(run, folder, texts, judged)
    return folder.card


def _refuse_nothing(run: PassRateRun, judged: Mapping[int, Judged]) -> None:
    """Refuse to publish a data set of which nothing is known."""
    if not run.num_requests:
        return
    if not judged:
        raise ValueError("Not one completion came: mend the cause, which the log says, and run the same command.")
    if all(is_unscorable(rates_of(found.rewards, run.weights).rate) for found in judged.values()):
        raise RewardsDownError(
            "No row could be judged: a service that a reward needs is down (the warnings above say which). The "
            "completions are kept; the same command goes on when it is back."
        )


def _num_texts(generations: Journal, run: PassRateRun) -> int:
    """Return how many completions of a run there are; failures are in the journal's records too."""
    rows, indices = {str(row) for row in run.rows()}, range(run.num_generations)
    there = {(record["key"], record["index"]) for record in generations.records() if _has_text(record)}
    return sum(key in rows and index in indices for key, index in there)


def _has_text(record: Mapping[str, Any]) -> bool:
    return record.get("text") is not None


def _is_settled(record: Mapping[str, Any]) -> bool:
    return _has_text(record) or record.get("status") in _REFUSED


def _open_journal(
    path: Path, settings: dict[str, Any], overwrite: bool, is_final: Callable[[Mapping[str, Any]], bool] | None
) -> Journal:
    """Open a journal; one of other settings is put aside when it may be overwritten."""
    if overwrite and path.is_file() and path.stat().st_size:
        with Journal(path, None) as found:
            differences = differing(found.settings, json.loads(json.dumps(settings)))
        if differences:
            logger.warning(
                "%s is begun anew: %s. What it held is in %s.", path, "; ".join(differences), _free_name(path).name
            )
            path.rename(_free_name(path))
    return Journal(path, settings, is_final=is_final)


def _free_name(path: Path) -> Path:
    """Return a name for a journal that is put aside: completions cost money."""
    return next(name for i in count(1) if not (name := path.with_suffix(f".{i}{path.suffix}")).exists())


class Texts:
    """Completions on disk, by row and generation.

    Args:
        journal: Where they are.
        run: Which rows count.
    """

    def __init__(self, journal: Journal, run: PassRateRun) -> None:
        self._journal, self._run = journal, run

    def read(self, row: int) -> list[dict[str, Any] | None]:
        """Return the records of a row, None for a generation that was never asked for."""
        return [self._journal.get((str(row), index)) for index in range(self._run.num_generations)]

    def group(self, row: int) -> Group | None:
        """Return the completions of a row as rewards want them; None if all failed."""
        there = [(i, record) for i, record in enumerate(self.read(row)) if record is not None and _has_text(record)]
        if not there:
            return None
        texts = [record["text"] for _, record in there]
        ends = [[self._run.eos_token_id] if record["finish_reason"] == FULL_STOP else [] for _, record in there]
        token_ids = [ids + end for ids, end in zip(self._run.encode(texts), ends, strict=True)]
        return Group(row, self._run.read_row(row), tuple(index for index, _ in there), texts, token_ids)


def digest_of(texts: Sequence[str]) -> str:
    """Return what tells the completions of a row from others, in 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()[:16]


def judge(run: PassRateRun, texts: Texts, scores: Journal) -> set[int]:
    """Have the rewards judge every row that isn't judged, and keep what they say.

    A row is judged again if a reward could not judge it then, or if its completions are others now than they were:
    some came that were missing, or they were drawn anew.

    Returns:
        The rows that have completions; what was said of others earlier counts no more.

    Raises:
        RewardsDownError: What judges is down.
    """
    counted = {name for name, weight in run.weights.items() if weight != 0 or name == run.bounded_reward}
    scorer = Scorer(run.rewards, given=run.given, counted=counted)
    last = {int(record["key"]): record for record in scores.records()}
    known = {
        row: (tuple(record["indices"]), record.get("digest"))
        for row, record in last.items()
        if not any(is_unscorable(value) for name in counted for value in from_json(record["rewards"][name]))
    }
    there: set[int] = set()

    def left() -> Iterator[Group]:
        for group in filter(None, map(texts.group, run.rows())):
            there.add(group.row)
            if known.get(group.row) != (group.indices, digest_of(group.texts)):
                yield group

    for chunk in chunks(left()):
        for group, rewards in zip(chunk, scorer.score(chunk), strict=True):
            values = {name: to_json(judged) for name, judged in rewards.items()}
            scores.append(
                {
                    "key": str(group.row),
                    "index": 0,
                    "indices": group.indices,
                    "digest": digest_of(group.texts),
                    "rewards": values,
                }
            )
    return there


def read_scores(scores: Journal, rows: Set[int]) -> dict[int, Judged]:
    """Return what the rewards said of some rows, the last word counting."""
    return {
        int(record["key"]): Judged(
            tuple(record["indices"]), {name: from_json(values) for name, values in record["rewards"].items()}
        )
        for record in scores.records()
        if int(record["key"]) in rows
    }
