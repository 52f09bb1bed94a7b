# SPDX-License-Identifier: Apache-2.0
"""Pass rates: how often a model solves each row, by the rewards of a GRPO recipe, and the rows between two bounds.

    <folder>/generations.jsonl    every completion as it comes, by row and generation
    <folder>/scores.jsonl         the values of every reward, by row and completions
    <folder>/judge.jsonl          what a model was asked for second verdicts (--judge_url), and said
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

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from open_r1.configs.fields import setting
from open_r1.curation.parts import finished_parts
from open_r1.data.card import DataCard, Step, read_card
from open_r1.data.folder import DatasetFolder
from open_r1.generation.journal import Journal
from open_r1.generation.messages import Reply, Request, Sampling, ServersDownError, row_key
from open_r1.rewards import Reward, run_reward
from open_r1.rewards.rubric import JudgeModel
from open_r1.rewards.second_judge import JUDGE_NAME, SecondJudge, SecondJudgeArguments, reviewed

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

KEPT_CONFIG, GENERATIONS, SCORES = "pass_rate", "generations.jsonl", "scores.jsonl"
REVIEWED = "accuracy"  # the reward that a second judge reviews
_ROWS_AT_A_TIME = 32  # of long completions, 30 MB
_COMPLETIONS_A_CALL = 64
_MOST_LOST_ROWS = 8  # in a row
_TOLERANCE = 1e-9  # a sum of weights such as 0.1 + 0.2 is not quite 0.3
_TAKEN = {"prompt", "completion", "completion_ids"}  # columns to which TRL gives its own meaning
_LONG_COLUMNS = ["pass_rate_generations", "pass_rate_finish_reasons"]

Values = list[float | None]


@dataclass
class PassRateCommand:
    """What stands on the command line alone."""

    output_dir: str | None = setting(
        None,
        "Folder for the data set; the recipe's `output_dir` is not used (default: "
        "data/<output_dataset_name, or dataset-model-gen>).",
    )
    merge: bool = setting(False, "Merge the parts in the folder into one data set.")
    overwrite: bool = setting(
        False,
        "Replace a finished data set, or completions of other settings; completions of the same settings "
        "are reused (delete generations.jsonl to sample again).",
    )
    push_to_hub: str | None = setting(
        None,
        "Push the data set, privately; default name: `output_dataset_name`. A recipe's `push_to_hub` is about its "
        "model.",
        nargs="?",
        const="",
    )
    public: bool = setting(False, "With --push_to_hub: push publicly.")
    licence: str | None = setting(None, "Licence in the card (default: the source's).")


@dataclass
class PassRateArguments(SecondJudgeArguments):
    """Which rows are asked, by whom, and which are kept; all may stand in the recipe."""

    output_dataset_name: str | None = setting(
        None, "Name on the hub (for --push_to_hub); its last part names the folder below data/."
    )
    pass_rate_min: float = setting(0.1, "Keep rows with at least this pass rate.")
    pass_rate_max: float = setting(0.9, "Keep rows with at most this pass rate.")
    dataset_start_index: int | None = setting(None, "First row of this part, counted from 0.", aliases=["--start"])
    dataset_end_index: int | None = setting(None, "Row behind the last one of this part.", aliases=["--end"])
    dataset_shard: str | None = setting(
        None,
        "I/N: part I of N equal parts, instead of --start and --end; 0/8 is the first of eight.",
        aliases=["--shard"],
    )
    dataset_split: str | None = setting(
        None, "Split, or slice of one, to use. Default: the recipe's `dataset_train_split` (train)."
    )
    server: list[str] | None = setting(
        None,
        "OpenAI-compatible servers that accept token ids (vllm serve), host:port or URL; requests are "
        "balanced over several. Default: a `vllm serve` started and stopped by this command.",
    )
    server_model: str | None = setting(
        None, "Model name in requests to --server. Default: the served model, which must be the recipe's."
    )
    server_api_key_env: str = setting("OPENAI_API_KEY", "Environment variable that holds the API key of --server.")
    serve_args: str = setting("", "More arguments for the started `vllm serve`, as one text: '--enforce-eager'.")
    tensor_parallel_size: int = setting(1, "GPUs for the started `vllm serve`.")
    max_model_len: int | None = setting(
        None,
        "Most tokens of prompt and completion together; longer prompts are skipped. Default: the model's context.",
    )
    max_concurrent: int = setting(256, "Concurrent requests.")


class Status(StrEnum):
    """What became of a row, and why."""

    KEPT = "kept"
    TOO_HARD = "too hard"  # below pass_rate_min
    TOO_EASY = "too easy"  # above pass_rate_max
    UNJUDGED = "unjudged"  # no completion has a reward: none applies, or the gold can't be judged
    UNSCORABLE = "unscorable"  # what judges failed
    INCOMPLETE = "incomplete"  # some requests failed: a rate of the others would count as one of all
    NOT_ASKED = "not asked"  # no prompt, nothing that a reward needs, or too long: the log counts each


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is not None; None if all is."""
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
        weighted = zip((weights[name] for name in rewards), values, strict=True)
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
    if rate < low - _TOLERANCE:
        return Status.TOO_HARD
    return Status.TOO_EASY if rate > high + _TOLERANCE else Status.KEPT


@dataclass
class PassRateRun:
    """What a run needs, once models and data sets are looked at.

    Attributes:
        rows: All rows of the split.
        part: Numbers of the rows of this part.
        prompts: Rows of this part that can be asked, as rewards see them: `prompt` is the conversation.
        places: The place of a row among the prompts, by its number.
        render: A conversation to the token ids of a prompt.
        tokenizer: Of the model.
        rewards: The rewards by the names of their columns.
        weights: Weight of each. One of weight 0 is only watched.
        bounds: The lowest and the highest pass rate to keep.
        num_generations: Completions of a row.
        sampling: How completions are drawn.
        asked: Settings that the completions depend on.
        judged: Settings that the rewards' values depend on, beside those.
        given: What else rewards are given, such as `trainer_state`.
        second_judge: Gives `accuracy` second verdicts; None: nothing does.
        card: The card, so far.
    """

    rows: "Dataset"
    part: range
    prompts: "Dataset"
    places: Mapping[int, int]
    render: Callable[[list[dict[str, Any]]], list[int]]
    tokenizer: Any
    rewards: Mapping[str, Reward]
    weights: Mapping[str, float]
    bounds: tuple[float, float]
    num_generations: int
    sampling: Sampling
    asked: dict[str, Any]
    judged: dict[str, Any]
    given: Mapping[str, Any]
    second_judge: JudgeModel | None
    card: DataCard

    def names(self) -> Iterator[tuple[str, int]]:
        """Yield key and index of each request: all generations of a row after one another, which share its prompt."""
        return ((str(row), index) for row in self.places for index in range(self.num_generations))

    def requests(self) -> Iterator[Request]:
        """Yield what is to be asked."""
        prompt_ids: list[int] = []
        for key, index in self.names():
            prompt_ids = prompt_ids if index else self.render(self.prompts[self.places[int(key)]]["prompt"])
            yield Request(key, index, prompt_ids=prompt_ids, sampling=self.sampling)


def run_pass_rate(
    run: PassRateRun, path: Path, ask: Callable[[Journal], None], *, overwrite: bool = False
) -> DataCard | None:
    """Ask, judge and write a data set; each stage resumes where it stopped.

    Args:
        run: What to ask, and how to judge.
        path: Folder of the data set.
        ask: Asks for what the journal doesn't have; raises where a signal stops it.
        overwrite: Replace a finished data set; journals of other settings are kept as `generations.1.jsonl`.

    Returns:
        The card; None where a run before has finished it.

    Raises:
        ValueError: The folder is of other settings.
        ServersDownError: No server answers, no row could be judged, or not one has all completions.
    """
    folder = DatasetFolder(path, run.card, overwrite=overwrite, licence=run.card.licence)
    if folder.is_done():
        return None
    with (
        Journal(
            path / GENERATIONS, run.asked, is_final=lambda record: record["text"] is not None, overwrite=overwrite
        ) as generations,
        Journal(path / SCORES, {**run.asked, **run.judged}, overwrite=overwrite) as scores,
    ):
        if not all(name in generations for name in run.names()):
            ask(generations)
        second = judge(run, generations, scores)
        statuses: Counter[str] = Counter()
        with folder:
            for start in range(run.part.start, run.part.stop, _ROWS_AT_A_TIME):
                rows = range(start, min(start + _ROWS_AT_A_TIME, run.part.stop))
                _write(folder, _with_rates(run, rows, generations, scores), statuses)
            without_rate = statuses[Status.INCOMPLETE] + statuses[Status.UNSCORABLE]
            if without_rate == len(run.places):
                raise ServersDownError(
                    f"No row has a rate: {dict(statuses)}. What came is kept: fix the cause, which is in the log, and "
                    "repeat the command."
                )
            folder.card.notes += [] if second is None else [f"{second}."]
            _close_card(folder.card, statuses, run.bounds)
    if without_rate:
        logger.warning("%d rows have no rate: --overwrite asks and judges again what failed.", without_rate)
    return folder.card


@dataclass(frozen=True)
class Group:
    """The completions of a row.

    Attributes:
        name: Of their scores in the journal: another one for other completions.
        columns: The row's columns; `prompt` is its conversation.
        texts: Their texts.
        token_ids: Their tokens, with the end token where they ended by themselves.
    """

    name: str
    columns: Mapping[str, Any]
    texts: list[str]
    token_ids: list[list[int]]


def _replies(run: PassRateRun, row: int, generations: Journal) -> list[Reply]:
    return [generations[str(row), index] or Reply.failed("") for index in range(run.num_generations)]


def _score_name(row: int, replies: Sequence[Reply]) -> str:
    return row_key([row, *(reply.text for reply in replies)])


def judge(run: PassRateRun, generations: Journal, scores: Journal) -> SecondJudge | None:
    """Have the rewards judge every row that isn't judged, or whose completions have changed, and keep their values.

    Returns:
        Who gave second verdicts; None: nobody.

    Raises:
        ServersDownError: Nothing could be judged of several rows in a row: a service that a reward needs is down.
    """
    judging, second = dict(run.rewards), None
    if run.second_judge is not None:
        second = SecondJudge(run.second_judge, scores.path.with_name(JUDGE_NAME))
        judging |= {REVIEWED: reviewed(judging[REVIEWED], second)}

    def unjudged() -> Iterator[Group]:
        for row, place in run.places.items():
            replies = _replies(run, row, generations)
            texts = [reply.text for reply in replies if reply.text is not None]
            if len(texts) == run.num_generations and (name := _score_name(row, replies), 0) not in scores:
                ids = run.tokenizer(texts, add_special_tokens=False)["input_ids"]
                ends = [[run.tokenizer.eos_token_id] * (reply.finish_reason == "stop") for reply in replies]
                yield Group(name, run.prompts[place], texts, [one + end for one, end in zip(ids, ends, strict=True)])

    lost_rows, groups = 0, unjudged()
    while chunk := list(islice(groups, max(1, _COMPLETIONS_A_CALL // run.num_generations))):
        for group, rewards in zip(chunk, score(judging, run.given, chunk), strict=True):
            is_lost = any(value is not None and math.isnan(value) for values in rewards.values() for value in values)
            lost_rows = lost_rows + 1 if is_lost else 0
            if not is_lost:
                scores.append({"key": group.name, "index": 0, "rewards": rewards})
        if lost_rows >= _MOST_LOST_ROWS:
            raise ServersDownError(
                f"The last {lost_rows} rows could not be judged: a service that a reward needs is down. What was "
                "judged is kept; repeat the command later."
            )
    return second


def score(rewards: Mapping[str, Reward], given: Mapping[str, Any], groups: Sequence[Group]) -> list[dict[str, Values]]:
    """Return the values of each reward for each group: all in one call, as GRPO's trainer would call them.

    Raises:
        ValueError: A reward returns another number of values than there are completions.
    """
    owners = [group for group in groups for _ in group.texts]
    columns: dict[str, Any] = {
        name: [group.columns[name] for group in owners] for name in groups[0].columns if name not in _TAKEN
    }
    columns |= {
        "prompts": [group.columns["prompt"] for group in owners],
        "completions": [[{"role": "assistant", "content": text}] for group in groups for text in group.texts],
        "completion_ids": [ids for group in groups for ids in group.token_ids],
        "log_extra": lambda name, value: None,
        "log_metric": lambda name, value: None,
        **given,
    }
    found: list[dict[str, Values]] = [{} for _ in groups]
    for name, reward in rewards.items():
        values = run_reward(reward, **columns)
        if len(values) != len(owners):
            raise ValueError(f"The reward {name!r} returned {len(values)} values for {len(owners)} completions.")
        numbers = iter(None if value is None else float(value) for value in values)
        for values_of_group, group in zip(found, groups, strict=True):
            values_of_group[name] = [next(numbers) for _ in group.texts]
    return found


def _with_rates(run: PassRateRun, rows: range, generations: Journal, scores: Journal) -> pa.Table:
    """Return rows with the columns that are added."""
    kinds = {"pass_rate": pa.float64(), "pass_rate_rewards": pa.list_(pa.float64())}
    types = {f"{name}{of}": kinds[name] for of in ("", *(f"_{one}" for one in run.weights)) for name in kinds}
    types |= {"pass_rate_status": pa.string(), "pass_rate_num_tokens": pa.list_(pa.int64())}
    types |= dict.fromkeys(_LONG_COLUMNS, pa.list_(pa.string()))
    added = pa.Table.from_pylist([_added(run, row, generations, scores) for row in rows], pa.schema([*types.items()]))
    table = run.rows.with_format("arrow")[rows.start : rows.stop]
    table = table.drop_columns([name for name in table.column_names if name in types])
    for name in types:
        table = table.append_column(name, added[name])
    return table


def _added(run: PassRateRun, row: int, generations: Journal, scores: Journal) -> dict[str, Any]:
    """Return the values that are added to a row."""
    if row not in run.places:
        return {"pass_rate_status": Status.NOT_ASKED}
    replies = _replies(run, row, generations)
    values: dict[str, Any] = {
        "pass_rate_status": Status.INCOMPLETE,
        "pass_rate_generations": [reply.text for reply in replies],
        "pass_rate_finish_reasons": [reply.finish_reason for reply in replies],
        "pass_rate_num_tokens": [reply.usage.get("completion_tokens") for reply in replies],
    }
    if None in values["pass_rate_generations"]:
        return values
    found = scores.get((_score_name(row, replies), 0))
    if found is None:
        return {**values, "pass_rate_status": Status.UNSCORABLE}
    rewards = {"": combine(found["rewards"], run.weights)}
    rewards |= {f"_{name}": judged for name, judged in found["rewards"].items()}
    for name, judged in rewards.items():
        values |= {f"pass_rate_rewards{name}": judged, f"pass_rate{name}": mean(judged)}
    return {**values, "pass_rate_status": status_of(values["pass_rate"], *run.bounds)}


def _write(folder: DatasetFolder, table: pa.Table, statuses: Counter[str]) -> None:
    """Write rows, and once more, without their completions, those that are kept; count what became of them."""
    own = table["pass_rate_status"].to_pylist()
    statuses.update(own)
    folder.write(table)
    kept = table.filter(pa.array([status == Status.KEPT for status in own]))
    if len(kept):
        folder.write(kept.drop_columns(_LONG_COLUMNS), config=KEPT_CONFIG)


def _close_card(card: DataCard, statuses: Counter[str], bounds: Sequence[float]) -> None:
    detail = {"lowest": bounds[0], "highest": bounds[1], **{str(name): count for name, count in statuses.items()}}
    card.steps.append(Step("pass rate within the bounds", statuses.total(), statuses[Status.KEPT], detail))


def merge_parts(path: Path, *, overwrite: bool = False, licence: str | None = None) -> DataCard:
    """Make one data set of all parts of a folder, the same as a run over all rows would have written; return its card.

    Raises:
        ValueError: Parts are missing, unfinished, overlap, or were made with other settings or of other rows.
    """
    first = next((card for part in sorted(path.glob("part-*-*")) if (card := read_card(part)) is not None), None)
    if first is None:
        raise ValueError(f"{path} holds no finished part: run the parts first, by --shard or --start and --end.")
    num_rows = first.settings["num_rows"]
    parts = finished_parts(path, first, num_rows, ignored={"rows"})
    card = DataCard(
        name=first.name,
        settings={**first.settings, "rows": [0, num_rows]},
        parents=first.parents,
        teacher=first.teacher,
        sampling=first.sampling,
        licence=licence or first.licence,
        notes=[*first.notes, f"Merged of {len(parts)} parts. The first one's command: {first.command}"],
    )
    DatasetFolder(path, card, overwrite=overwrite, licence=licence).is_done()  # refuses one of other settings
    statuses: Counter[str] = Counter()
    with DatasetFolder(path, card, overwrite=True) as folder:
        for file in (file for part in parts for file in sorted((part / "data").glob("train-*.parquet"))):
            for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(64):
                _write(folder, pa.Table.from_batches([batch]), statuses)
        _close_card(card, statuses, first.settings["bounds"])
    return card
