# SPDX-License-Identifier: Apache-2.0
"""Pass rates: how often a model solves each row, by the rewards of a GRPO recipe, and the rows between two bounds.

    <folder>/generations.jsonl    every completion as it comes, by row and generation
    <folder>/scores.jsonl         the values of every reward, by row
    <folder>/data, pass_rate/     all rows with their completions; the rows that are kept, without them

Columns that are added, G completions of a row, `<name>` a reward; null where nothing was asked or could be judged:

    pass_rate                  float        mean of the weighted sum of the rewards
    pass_rate_<name>           float        mean of one reward
    pass_rate_rewards          list[float]  G weighted sums
    pass_rate_rewards_<name>   list[float]  G values of one reward
    pass_rate_status           text         kept, too easy, too hard, or why there is no rate (`Status`)
    pass_rate_generations      list[text]   G completions, null for a request that failed; only in the rows of all
    pass_rate_finish_reasons   list[text]   G times stop, length, error, ...; only in the rows of all
    pass_rate_num_tokens       list[int]    G lengths, as far as they were counted

What differs from upstream's compute_pass_rate:
1. Values of several rewards stay apart and are combined with the recipe's weights; upstream reshapes them into one
   another and ignores the weights.
2. Bounds are inclusive. A reward's None (it doesn't apply) is left out of the mean; one that failed (NaN) makes a
   row unscorable, never a 0, and the next run judges it again.
3. No row is lost: the data set has all rows, with the reason where one could not be asked or judged. The journals
   stay: with other bounds, weights or rewards and --overwrite no token is paid for again.
4. Prompts reach the model as token ids of the recipe's template, so that no BOS is doubled.
"""

import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from open_r1.curation.parts import finished_parts
from open_r1.data.card import DataCard, Step, read_card
from open_r1.data.folder import DatasetFolder
from open_r1.generation.journal import Journal
from open_r1.generation.messages import ERROR, Reply, Request, Sampling, ServersDownError
from open_r1.rewards import Reward, is_unscorable, run_reward

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

KEPT_CONFIG, GENERATIONS, SCORES = "pass_rate", "generations.jsonl", "scores.jsonl"
_REFUSED = {400, 413, 422}  # HTTP: the request itself is at fault, the next one fares no better
_ROWS_AT_A_TIME = 32  # of long completions, 30 MB
MOST_LOST_ROWS = 8  # in a row
_TOLERANCE = 1e-9  # a sum of weights such as 0.1 + 0.2 is not quite 0.3
_TAKEN = {"prompt", "completion", "completion_ids"}  # columns to which TRL gives its own meaning
_BY_REASON = "completions by finish reason"

Values = list[float | None]


class Status(StrEnum):
    """What became of a row, and why."""

    KEPT = "kept"
    TOO_HARD = "too hard"  # below pass_rate_min
    TOO_EASY = "too easy"  # above pass_rate_max
    UNJUDGED = "unjudged"  # no completion has a reward: none applies, or the gold can't be judged
    UNSCORABLE = "unscorable"  # what judges failed
    INCOMPLETE = "incomplete"  # some requests failed: a rate of the others would count as one of all
    NO_COMPLETION = "no completion"  # every request failed
    NO_PROMPT = "no prompt"  # null or empty
    NO_GOLD = "no gold"  # a column is null or empty that a reward needs
    TOO_LONG = "too long"  # the prompt leaves no room for the completion


_NOT_ASKED = (Status.NO_PROMPT, Status.NO_GOLD, Status.TOO_LONG)
_MISSING = (Status.INCOMPLETE, Status.NO_COMPLETION)


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is not None; None if all is, NaN if one value is."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present else None


def combine(rewards: Mapping[str, Sequence[float | None]], weights: Mapping[str, float]) -> Values:
    """Return the weighted sum of each completion's rewards, as TRL does; None where none applies.

    Unlike TRL, a reward of weight 0 doesn't make a completion count that no other reward judges.

    >>> combine({"accuracy": [1.0, 0.0, None], "format": [1.0, 1.0, 1.0]}, {"accuracy": 0.5, "format": 0})
    [0.5, 0.0, None]
    """
    combined: Values = []
    for values in zip(*rewards.values(), strict=True):
        weighted = [(weights[name], value) for name, value in zip(rewards, values, strict=True)]
        applying = [weight * value for weight, value in weighted if weight != 0 and value is not None]
        combined.append(sum(applying) if applying else None)
    return combined


def status_of(rate: float | None, low: float, high: float) -> Status:
    """Return what becomes of a row with this rate; both bounds belong to the rates that are kept.

    >>> status_of(0.9, 0.1, 0.9), status_of(None, 0.1, 0.9)
    (<Status.KEPT: 'kept'>, <Status.UNJUDGED: 'unjudged'>)
    """
    if rate is None:
        return Status.UNJUDGED
    if math.isnan(rate):
        return Status.UNSCORABLE
    if rate < low - _TOLERANCE:
        return Status.TOO_HARD
    return Status.TOO_EASY if rate > high + _TOLERANCE else Status.KEPT


@dataclass
class PassRateRun:
    """What a run needs, once models and data sets are looked at.

    Attributes:
        rows: All rows of the split.
        start: First row of this part.
        end: Row behind its last one.
        statuses: Rows of this part that can't be asked, and why.
        read_row: A row as rewards see it: `prompt` is its conversation.
        render: A conversation to the token ids of a prompt.
        encode: Texts to token ids, without special tokens.
        eos_token_id: What a completion ends with.
        rewards: The rewards by the names of their columns.
        weights: Weight of each. One of weight 0 is only watched.
        bounded_reward: The reward that the bounds act on; None: all, combined.
        bounds: The lowest and the highest pass rate to keep.
        num_generations: Completions of a row.
        sampling: How completions are drawn.
        asked: Settings that the completions depend on.
        judged: Settings that the rewards' values depend on, beside those.
        given: What else rewards are given, such as `trainer_state`.
        card: The card, so far.
    """

    rows: "Dataset"
    start: int
    end: int
    statuses: dict[int, Status]
    read_row: Callable[[int], dict[str, Any]]
    render: Callable[[list[dict[str, Any]]], list[int]]
    encode: Callable[[Sequence[str]], list[list[int]]]
    eos_token_id: int
    rewards: Mapping[str, Reward]
    weights: Mapping[str, float]
    bounded_reward: str | None
    bounds: tuple[float, float]
    num_generations: int
    sampling: Sampling
    asked: dict[str, Any]
    judged: dict[str, Any]
    given: Mapping[str, Any]
    card: DataCard

    def names(self) -> Iterator[tuple[str, int]]:
        """Yield key and index of each request: all generations of a row after one another, which share its prompt."""
        rows = (row for row in range(self.start, self.end) if row not in self.statuses)
        return ((str(row), index) for row in rows for index in range(self.num_generations))

    def requests(self) -> Iterator[Request]:
        """Yield what is to be asked."""
        prompt_ids: list[int] = []
        for key, index in self.names():
            prompt_ids = prompt_ids if index else self.render(self.read_row(int(key))["prompt"])
            yield Request(key, index, prompt_ids=prompt_ids, sampling=self.sampling)


def run_pass_rate(
    run: PassRateRun,
    path: Path,
    ask: Callable[[Journal], None],
    *,
    overwrite: bool = False,
    licence: str | None = None,
) -> DataCard | None:
    """Ask, judge and write a data set; each stage resumes where it stopped.

    Args:
        run: What to ask, and how to judge.
        path: Folder of the data set.
        ask: Asks for what the journal doesn't have; raises where a signal stops it.
        overwrite: Replace a finished data set; journals of other settings are kept as `generations.1.jsonl`.
        licence: Of the rows; None: that of the source.

    Returns:
        The card; None where a run before has finished it, and no more completions came.

    Raises:
        ValueError: The folder is of other settings, or not one completion came.
        ServersDownError: No server answers, or no row could be judged.
    """
    run.card.licence = licence
    folder = DatasetFolder(path, run.card, overwrite=overwrite, licence=licence)
    found = read_card(path) if folder.is_done() else None
    if found is not None:
        if not any(step.detail.get(status) for step in found.steps for status in _MISSING):
            return None
        run.card.licence = found.licence
        folder = DatasetFolder(path, run.card, overwrite=True)

    def is_final(record: Mapping[str, Any]) -> bool:
        return record["text"] is not None or (found is not None and record["status"] in _REFUSED)

    with (
        Journal(path / GENERATIONS, run.asked, is_final=is_final, overwrite=overwrite) as generations,
        Journal(path / SCORES, {**run.asked, **run.judged}, overwrite=overwrite) as scores,
    ):
        if not all(name in generations for name in run.names()):
            ask(generations)
        if found is not None:
            replies = map(generations.__getitem__, run.names())
            if sum(reply is not None and reply.text is not None for reply in replies) == _num_completions(found):
                logger.warning("No more completions came: %s stays as it is; --overwrite asks for all failed.", path)
                return None
        judge(run, generations, scores)
        _write_all(run, folder, generations, scores)
    return folder.card


def _num_completions(card: DataCard) -> int:
    reasons = next(step.detail[_BY_REASON] for step in card.steps if _BY_REASON in step.detail)
    return sum(count for reason, count in reasons.items() if reason != ERROR)


@dataclass(frozen=True)
class Group:
    """The completions of a row.

    Attributes:
        row: Number of the row.
        columns: The row's columns; `prompt` is its conversation.
        indices: Which generations there are; others failed.
        texts: Their texts.
        token_ids: Their tokens, with the end token where they ended by themselves.
    """

    row: int
    columns: Mapping[str, Any]
    indices: list[int]
    texts: list[str]
    token_ids: list[list[int]]

    def digest(self) -> str:
        """Return what tells these completions from others."""
        return hashlib.sha256(json.dumps([self.indices, self.texts]).encode()).hexdigest()[:16]


def _group(run: PassRateRun, row: int, generations: Journal) -> Group | None:
    """Return the completions of a row; None if all failed."""
    replies = [generations[str(row), index] for index in range(run.num_generations)]
    there = {index: reply for index, reply in enumerate(replies) if reply is not None and reply.text is not None}
    if not there:
        return None
    texts = [reply.text or "" for reply in there.values()]
    ends = [[run.eos_token_id] if reply.finish_reason == "stop" else [] for reply in there.values()]
    ids = [ids + end for ids, end in zip(run.encode(texts), ends, strict=True)]
    return Group(row, run.read_row(row), list(there), texts, ids)


def judge(run: PassRateRun, generations: Journal, scores: Journal) -> None:
    """Have the rewards judge every row that isn't judged, or whose completions have changed, and keep their values.

    Raises:
        ServersDownError: Nothing could be judged of several rows in a row: a service that a reward needs is down.
    """
    counted = {name for name, weight in run.weights.items() if weight != 0 or name == run.bounded_reward}
    lost_rows = 0
    for chunk in chunks(_unjudged(run, generations, scores, counted)):
        for group, rewards in zip(chunk, score(run.rewards, run.given, chunk), strict=True):
            # NaN is no JSON.
            values = {name: ["NaN" if is_unscorable(one) else one for one in found] for name, found in rewards.items()}
            scores.append({"key": str(group.row), "index": 0, "digest": group.digest(), "rewards": values})
            lost_rows = lost_rows + 1 if any(set(values[name]) == {"NaN"} for name in counted) else 0
        if lost_rows >= MOST_LOST_ROWS:
            raise ServersDownError(
                f"No completion of the last {lost_rows} rows could be judged: a service that a reward needs is down. "
                "What was judged is kept; repeat the command later."
            )


def _unjudged(run: PassRateRun, generations: Journal, scores: Journal, counted: Set[str]) -> Iterator[Group]:
    for row in range(run.start, run.end):
        group = None if row in run.statuses else _group(run, row, generations)
        found = scores.get((str(row), 0))
        is_judged = found is not None and not any("NaN" in found["rewards"][name] for name in counted)
        if group is not None and not (found and is_judged and found.get("digest") == group.digest()):
            yield group


def chunks(groups: Iterable[Group], most: int = 64) -> Iterator[list[Group]]:
    """Yield groups for one call each, at most `most` completions if a group has no more.

    Groups with an equal prompt never follow each other in a chunk: rewards tell groups apart by their prompts.
    """
    chunk: list[Group] = []
    for group in groups:
        is_full = sum(len(one.texts) for one in (*chunk, group)) > most
        if chunk and (is_full or chunk[-1].columns["prompt"] == group.columns["prompt"]):
            yield chunk
            chunk = []
        chunk.append(group)
    if chunk:
        yield chunk


def score(rewards: Mapping[str, Reward], given: Mapping[str, Any], groups: Sequence[Group]) -> list[dict[str, Values]]:
    """Return the values of each reward for each group: all in one call, as GRPO's trainer would call them.

    Raises:
        ValueError: A reward returns another number of values than there are completions.
    """
    sizes = [len(group.texts) for group in groups]
    columns: dict[str, Any] = {
        name: [group.columns[name] for group in groups for _ in group.texts]
        for name in groups[0].columns
        if name not in _TAKEN
    }
    columns |= {
        "prompts": [group.columns["prompt"] for group in groups for _ in group.texts],
        "completions": [[{"role": "assistant", "content": text}] for group in groups for text in group.texts],
        "completion_ids": [ids for group in groups for ids in group.token_ids],
        "log_extra": lambda name, value: None,
        "log_metric": lambda name, value: None,
        **given,
    }
    found: list[dict[str, Values]] = [{} for _ in groups]
    for name, reward in rewards.items():
        try:
            values = run_reward(reward, **columns)
        except Exception as error:
            error.add_note(f"The reward {name!r} failed on rows {groups[0].row} to {groups[-1].row}.")
            raise
        if len(values) != sum(sizes):
            raise ValueError(f"The reward {name!r} returned {len(values)} values for {sum(sizes)} completions.")
        numbers = iter(None if value is None else float(value) for value in values)
        for values_of_group, size in zip(found, sizes, strict=True):
            values_of_group[name] = [next(numbers) for _ in range(size)]
    return found


def added_columns(rewards: Sequence[str]) -> dict[str, pa.DataType]:
    """Return the columns that a run with these rewards adds."""
    number, numbers, texts = pa.float64(), pa.list_(pa.float64()), pa.list_(pa.string())
    kinds = {"pass_rate": number, "pass_rate_rewards": numbers}
    return {
        **{f"{kind}{name}": kinds[kind] for name in ("", *(f"_{one}" for one in rewards)) for kind in kinds},
        "pass_rate_status": pa.string(),
        "pass_rate_generations": texts,
        "pass_rate_finish_reasons": texts,
        "pass_rate_num_tokens": pa.list_(pa.int64()),
    }


def _write_all(run: PassRateRun, folder: DatasetFolder, generations: Journal, scores: Journal) -> None:
    """Write all rows, and those that are kept."""
    types, counts, outside = added_columns(list(run.weights)), _Counts(), 0
    source = run.rows.with_format("arrow")
    with folder:
        for start in range(run.start, run.end, _ROWS_AT_A_TIME):
            end = min(start + _ROWS_AT_A_TIME, run.end)
            table = source[start:end]
            table = table.drop_columns([name for name in table.column_names if name in types])
            rows = [_added(run, row, generations, scores) for row in range(start, end)]
            for name, kind in types.items():
                table = table.append_column(name, pa.array([row.get(name) for row in rows], type=kind))
            outside += sum(not -1e-9 <= (row.get("pass_rate") or 0.0) <= 1 + 1e-9 for row in rows)
            counts.write(folder, table)
        _refuse_nothing(counts)
        folder.card.steps += counts.steps(run.bounds)
    if missing := sum(counts.statuses[status] for status in _MISSING):
        logger.warning(
            "%d rows have fewer than %d completions and no rate: the same command asks for those again that may come; "
            "--overwrite asks for all.",
            missing,
            run.num_generations,
        )
    if outside and run.bounded_reward is None:
        logger.warning(
            "The combined reward of %d rows is outside [0, 1], so it is no rate: let `reward_weights` add up to 1, or "
            "name one reward by `pass_rate_reward`.",
            outside,
        )


def _added(run: PassRateRun, row: int, generations: Journal, scores: Journal) -> dict[str, Any]:
    """Return the values that are added to a row."""
    if row in run.statuses:
        return {"pass_rate_status": run.statuses[row]}
    nothing = Reply.failed("")
    replies = [generations[str(row), index] for index in range(run.num_generations)]
    values: dict[str, Any] = {
        "pass_rate_status": Status.NO_COMPLETION,
        "pass_rate_generations": [(reply or nothing).text for reply in replies],
        "pass_rate_finish_reasons": [reply and reply.finish_reason for reply in replies],
        "pass_rate_num_tokens": [(reply or nothing).usage.get("completion_tokens") for reply in replies],
    }
    there = [index for index, text in enumerate(values["pass_rate_generations"]) if text is not None]
    if not there:
        return values
    found = scores.get((str(row), 0))
    assert found is not None
    rewards = {
        name: [math.nan if value == "NaN" else value for value in judged] for name, judged in found["rewards"].items()
    }
    combined = combine(rewards, run.weights)
    by_name = {"": combined, **{f"_{name}": judged for name, judged in rewards.items()}}
    for name, judged in by_name.items():
        spread = dict(zip(there, judged, strict=True))
        values[f"pass_rate_rewards{name}"] = [_number(spread.get(index)) for index in range(run.num_generations)]
    if len(there) < run.num_generations:
        return {**values, "pass_rate_status": Status.INCOMPLETE}
    values |= {f"pass_rate{name}": _number(mean(judged)) for name, judged in by_name.items()}
    bounded = mean(combined if run.bounded_reward is None else rewards[run.bounded_reward])
    return {**values, "pass_rate_status": status_of(bounded, *run.bounds)}


def _number(value: float | None) -> float | None:
    return None if is_unscorable(value) else value


class _Counts:
    """What became of rows and completions, from the tables that are written."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def write(self, folder: DatasetFolder, table: pa.Table) -> None:
        """Write rows, and once more, without their completions, those that are kept."""
        statuses = table["pass_rate_status"].to_pylist()
        self.statuses.update(statuses)
        self.reasons.update(reason for row in table["pass_rate_finish_reasons"].to_pylist() for reason in row or [])
        folder.write(table)
        kept = table.filter(pa.array([status == Status.KEPT for status in statuses]))
        if len(kept):
            folder.write(kept.drop_columns(["pass_rate_generations", "pass_rate_finish_reasons"]), config=KEPT_CONFIG)

    def steps(self, bounds: Sequence[float]) -> list[Step]:
        """Return the steps of the card."""

        def counted(*statuses: Status) -> dict[str, Any]:
            return {str(status): self.statuses[status] for status in statuses if self.statuses[status]}

        total, kept = self.statuses.total(), self.statuses[Status.KEPT]
        asked = total - sum(counted(*_NOT_ASKED).values())
        outside = counted(Status.TOO_EASY, Status.TOO_HARD)
        rated = kept + sum(outside.values())
        unrated: dict[str, Any] = counted(*_MISSING, Status.UNJUDGED, Status.UNSCORABLE)
        unrated[_BY_REASON] = dict(sorted(self.reasons.items()))
        return [
            Step("prompts that can be asked", total, asked, counted(*_NOT_ASKED)),
            Step("completions judged", asked, rated, unrated),
            Step("pass rate within the bounds", rated, kept, {"lowest": bounds[0], "highest": bounds[1], **outside}),
        ]


def _refuse_nothing(counts: _Counts) -> None:
    """Refuse to publish a data set of which nothing is known."""
    asked = counts.statuses.total() - sum(counts.statuses[status] for status in _NOT_ASKED)
    if asked and counts.statuses[Status.NO_COMPLETION] == asked:
        raise ValueError("Not one completion came: mend the cause, which the log says, and repeat the command.")
    if asked and counts.statuses[Status.UNSCORABLE] == asked:
        raise ServersDownError(
            "No row could be judged: a service that a reward needs is down. The completions are kept; repeat the "
            "command when it is back."
        )


def merge_parts(path: Path, *, overwrite: bool = False, licence: str | None = None) -> DataCard | None:
    """Make one data set of all parts of a folder, the same as a run over all rows would have written.

    Returns:
        The card; None where one run has written all rows.

    Raises:
        ValueError: Parts are missing, unfinished, overlap, or were made with other settings or of other rows.
    """
    cards = {part: card for part in sorted(path.glob("part-*-*")) if (card := read_card(part)) is not None}
    if not cards:
        whole = read_card(path)
        if whole is None or whole.settings.get("rows") != [0, whole.settings.get("num_rows")]:
            raise ValueError(f"{path} holds no finished part: run the parts first, by --shard or --start and --end.")
        DatasetFolder(path, whole, licence=licence).is_done()
        return None
    first = next(iter(cards.values()))
    num_rows = first.settings["num_rows"]
    parts = finished_parts(path, first, num_rows, ignored={"rows"})
    served = {name for card in cards.values() for name in (card.teacher or {}).get("served_as", [])}
    card = DataCard(
        name=first.name,
        settings={**first.settings, "rows": [0, num_rows]},
        parents=first.parents,
        teacher={**(first.teacher or {}), **({"served_as": sorted(served)} if served else {})},
        sampling=first.sampling,
        licence=licence or first.licence,
        notes=[*first.notes, f"Merged of {len(parts)} parts. The first one's command: {first.command}"],
    )
    DatasetFolder(path, card, overwrite=overwrite, licence=licence).is_done()  # refuses one of other settings
    counts = _Counts()
    with DatasetFolder(path, card, overwrite=True) as folder:
        for part in parts:
            for file in sorted((part / "data").glob("train-*.parquet")):
                for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(64):
                    counts.write(folder, pa.Table.from_batches([batch]))
        if counts.statuses.total() != num_rows:
            raise ValueError(f"The parts hold {counts.statuses.total()} rows instead of {num_rows}: run them again.")
        folder.card.steps += counts.steps(first.settings["bounds"])
    return folder.card
