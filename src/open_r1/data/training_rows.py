# SPDX-License-Identifier: Apache-2.0
"""Rows of a training by its arguments: one data set or a mixture, mapped by layouts; then conversations.

A row of the training split, before and after `to_conversations` (SFT rows are left as they are):

    {"problem": "Compute 7+9-8", "solution": "8"}
    {"prompt": [{"role": "user", "content": "Compute 7+9-8"}], "problem": ..., "solution": "8"}

The log counts rows, and so does `--check_only`:

    found   taken  data set                    dropped
      817     812  GAIR/LIMO (train)           5 'answer' is null or empty
    40315   10000  agentica-org/... (train)    30309 not drawn (num_rows: 10000), 6 'answer' is null or empty

Data sets of a mixture get common columns: long and short strings or lists are one type, structs get the fields of all.
Beside messages, prompts that are text become a user turn; beside text, gold answers that are whole numbers become
text, and structs of `verification_info` JSON text, which the graders read too.
"""

import json
import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, List, ReadInstruction, Value, concatenate_datasets

from open_r1.configs import DatasetConfig, DatasetMixtureConfig
from open_r1.data.layout_mapping import NothingMappedError, apply_layout
from open_r1.data.layouts import Layout, check_name, find_layout, fitting_names
from open_r1.data.sources import load_source, require_columns, take_split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from open_r1.configs import ScriptArguments

logger = logging.getLogger(__name__)

# Names under which TRL passes its own values to rewards, or which it takes for the conversation.
_RESERVED_COLUMNS = {
    "messages",
    "prompts",
    "completions",
    "completion",
    "completion_ids",
    "trainer_state",
    "log_extra",
    "log_metric",
}
_DOMAIN_COLUMN = "domain"  # `rewards.DOMAIN_COLUMN`, which this room can't import
_TESTS = "verification_info"
_CHAT = List({"role": Value("string"), "content": Value("string")})
_MAX_REASONS = 8


@dataclass
class _Taken:
    """How many rows of a split were found and taken, and why others were dropped."""

    name: str
    split: str
    num_found: int
    num_taken: int
    dropped: Counter[str] = field(default_factory=Counter)


def get_dataset(args: "ScriptArguments") -> DatasetDict:
    """Load the data set or the mixture that the arguments name, all its splits, and log how many rows were taken.

    Rows are mapped as their layout says (`open_r1.data.layouts`).

    Args:
        args: Script arguments; slices in `dataset_train_split` and `dataset_test_split` become splits of that name.
            A split that nothing but slices are wanted of is left out where a layout maps them.

    Raises:
        ValueError: Neither a name nor a mixture is given, the data cannot be found, read, or is empty, or the layout
            named for it is unknown or does not fit, or maps no row of the training split. Another split of which it
            maps no row is left out, with a warning.
    """
    if isinstance(args.dataset_mixture, DatasetMixtureConfig):  # `__post_init__` made it one
        return _load_mixture(args.dataset_mixture, args)
    if args.dataset_name is None:
        raise ValueError("Either `dataset_name` or `dataset_mixture` must be provided")
    check_name(args.dataset_layout, "`dataset_layout`")
    source, train = args.dataset_name, args.dataset_train_split
    dataset = load_source(source, args.dataset_config, args.dataset_seed, args.dataset_revision)
    layout = _layout_of(dataset, train, source, args.dataset_layout, args)
    sliced = [split for split in (train, args.dataset_test_split) if "[" in split]
    splits = [*dataset, *sliced]
    if layout is not None:  # which takes time: not for all rows where only a slice of them is wanted
        bases = {split.partition("[")[0] for split in sliced} - {train, args.dataset_test_split}
        splits = [split for split in splits if split not in bases]
    mapped, taken = DatasetDict(), []
    for split in splits:
        try:
            mapped[split], counts = _take_mapped(dataset, split, source, layout, args)
        except NothingMappedError as error:
            if split == train or len(splits) == 1:
                raise
            logger.warning("Split %r is left out. %s", split, error)
        else:
            taken.append(counts)
    _log_taken(taken)
    return mapped


def _layout_of(
    dataset: DatasetDict, split: str, source: str, name: str | None, args: "ScriptArguments"
) -> Layout | None:
    """Return the layout of a source by the columns of one split (of another where there is no such split)."""
    split = split.partition("[")[0]
    columns = dataset[split if split in dataset else next(iter(dataset))].column_names
    target = args.required_target
    layout = find_layout(source, name, columns, target)
    if layout is None and name is None and target is not None:
        ready = [["messages"], ["prompt", "completion"], ["text"]]
        ready = ready if target == "messages" else [[args.dataset_prompt_column]]
        fitting = fitting_names(columns, target)
        if fitting and not any(set(names) <= set(columns) for names in ready):
            logger.warning(
                "The columns of %s (%s) look like the layout %s: if they are, set `dataset_layout` (in a mixture, "
                "`layout`).",
                source,
                ", ".join(columns),
                " or ".join(fitting),
            )
    return layout


def _take_mapped(
    dataset: DatasetDict, split: str, source: str, layout: Layout | None, args: "ScriptArguments"
) -> tuple[Dataset, _Taken]:
    """Return a split or a slice of one as its layout maps it."""
    is_distinct = layout is not None and layout.is_distinct and "problem" in args.layout_targets
    base = split.partition("[")[0] if is_distinct else split
    # Where problems repeat, a slice is one of those that are left: slices for training and for tests share none then.
    rows = take_split(dataset, base, source)
    num_found, dropped = len(rows), Counter[str]()
    if layout is not None:
        # Columns that the user named stay; the defaults may be anything's.
        defaults = {entry.name: entry.default for entry in fields(args)}
        settings = ("dataset_prompt_column", "dataset_solution_column")
        named = {vars(args)[name] for name in settings if vars(args)[name] != defaults[name]} & {*rows.column_names}
        read = set() if layout.solution is None else layout.solution.columns()
        if args.dataset_solution_column in named - read:
            layout = replace(layout, solution=None)
        rows, dropped = apply_layout(
            rows,
            layout,
            targets=args.layout_targets,
            required=args.required_target,
            keep=named,
            where=f"{source!r}, split {base!r}",
        )
    if base != split:
        rows = take_split(DatasetDict({base: rows}), split, source)
    return rows, _Taken(source, split, num_found, len(rows), dropped)


def _log_taken(parts: Collection[_Taken]) -> None:
    """Log the table of rows; a warning where rows were dropped that nobody asked to leave out."""
    lines = []
    for part in parts:
        reasons = [f"{count} {reason}" for reason, count in part.dropped.most_common(_MAX_REASONS)]
        lines.append(f"{part.num_found:>9} {part.num_taken:>9}  {part.name} ({part.split})  {', '.join(reasons)}")
    is_silent = not any(part.dropped for part in parts)
    logger.log(
        logging.INFO if is_silent else logging.WARNING,
        "Rows:\n%s",
        "\n".join([f"{'found':>9} {'taken':>9}  data set  dropped", *lines]),
    )


def _load_mixture(mixture: DatasetMixtureConfig, args: "ScriptArguments") -> DatasetDict:
    for entry in mixture.datasets:  # before the first one is loaded
        check_name(entry.layout, f"data set {entry.id!r} of the mixture")
        ReadInstruction.from_spec(entry.split)
    loaded = [_load_part(entry, mixture.seed, args) for entry in mixture.datasets]
    _log_taken([taken for _, taken in loaded])
    parts = [rows for rows, _ in loaded]
    try:
        combined = concatenate_datasets(_align(parts, args)).shuffle(seed=mixture.seed)
    except (ValueError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        columns = {entry.id: part.column_names for entry, part in zip(mixture.datasets, parts, strict=True)}
        raise ValueError(
            f"The data sets of the mixture do not fit together ({error}). Columns: {columns}. Name those that you "
            "need by `columns`, in each entry; where a layout wrote one of them, `layout: none` leaves the data alone."
        ) from error
    for entry, part in zip(mixture.datasets, parts, strict=True):
        missing = sorted(set(combined.column_names) - set(part.column_names))
        if missing:  # as it should be where rewards have domains; rows that lack what they need are dropped later
            logger.info("Mixture: %s has no columns %s; they are null in its rows.", entry.id, missing)
    if mixture.test_split_size is None:
        return DatasetDict({"train": combined})
    return combined.train_test_split(test_size=mixture.test_split_size, seed=mixture.seed)


def _load_part(entry: DatasetConfig, seed: int, args: "ScriptArguments") -> tuple[Dataset, _Taken]:
    """Return the rows that a mixture takes of one data set.

    They depend on the entry and the seed alone, not on the other data sets or their order.
    """
    dataset = load_source(entry.id, entry.config, args.dataset_seed, entry.revision)
    layout = _layout_of(dataset, entry.split, entry.id, entry.layout, args)
    rows, taken = _take_mapped(dataset, entry.split, entry.id, layout, args)
    if entry.columns is not None:
        where = f"data set {entry.id!r} of the mixture (name only columns of its own; those of others are null)"
        require_columns(rows, entry.columns, where)
        rows = rows.select_columns(entry.columns)
    if entry.domain is not None:
        rows = _set_domain(rows, entry.domain, entry.id)
    drawn = entry.num_drawn(len(rows))
    if drawn is not None:
        if len(rows) > drawn:
            taken.dropped["not drawn"] = len(rows) - drawn
        rows = rows.shuffle(seed=seed).select(range(drawn))
    if len(rows) == 0:
        raise ValueError(f"The mixture takes no row of {entry.id!r} (split {entry.split!r}): raise its share.")
    taken.num_taken = len(rows)
    return rows, taken


def _set_domain(rows: Dataset, domain: str, name: str) -> Dataset:
    """Return the rows with a column `domain` of this one value.

    Raises:
        ValueError: The rows already have such a column, with other values.
    """
    if _DOMAIN_COLUMN in rows.column_names:
        others = sorted({str(found) for found in rows[_DOMAIN_COLUMN] if found not in (None, domain)})
        if others:
            raise ValueError(
                f"The mixture gives {name!r} `domain: {domain}`, but its rows already have a column "
                f"{_DOMAIN_COLUMN!r} with {others[:5]}: leave `domain` out, or take the column out by `columns`."
            )
        rows = rows.remove_columns(_DOMAIN_COLUMN)
    return rows.add_column(_DOMAIN_COLUMN, [domain] * len(rows))


def _align(parts: list[Dataset], args: "ScriptArguments") -> list[Dataset]:
    """Return data sets whose common columns have one type each.

    Raises:
        pa.ArrowTypeError: There is none for a column.
    """
    text = Value("string")
    for column in dict.fromkeys(name for part in parts for name in part.column_names):
        kinds = {place: part.features[column] for place, part in enumerate(parts) if column in part.column_names}
        texts = {place for place, kind in kinds.items() if kind in (text, Value("large_string"))}
        for place in set(kinds) - texts if texts else ():
            if column in ("solution", args.dataset_solution_column) and str(kinds[place].dtype).startswith("int"):
                parts[place] = parts[place].cast_column(column, text)
            elif column == _TESTS:
                parts[place] = _rewritten(parts[place], column, json.dumps, text)
        if column in ("prompt", args.dataset_prompt_column) and 0 < len(texts) < len(kinds):
            for place in texts:
                parts[place] = _rewritten(parts[place], column, _user_turn, _CHAT)
    schema = pa.unify_schemas([part.features.arrow_schema for part in parts], promote_options="permissive")
    common = Features.from_arrow_schema(schema.remove_metadata())
    for place, part in enumerate(parts):
        for column in part.column_names:
            if part.features.arrow_schema.field(column).type != schema.field(column).type:
                parts[place] = parts[place].cast_column(column, common[column])
    return parts


def _rewritten(rows: Dataset, column: str, change: Any, kind: Any) -> Dataset:
    features = Features({**rows.features, column: kind})
    changed = {"column": column, "change": change}
    return rows.map(_change, batched=True, features=features, fn_kwargs=changed, desc=f"Column {column}")


def _change(batch: dict[str, list[Any]], column: str, change: Any) -> dict[str, list[Any]]:
    return {column: [None if value is None else change(value) for value in batch[column]]}


def _user_turn(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def require_split(dataset: DatasetDict, split: str, purpose: str) -> Dataset:
    """Return a split that must exist and hold rows.

    Raises:
        ValueError: It does not; the message lists the splits and says what the split is for. Or it has images.
    """
    if split not in dataset:
        way_out = "" if purpose == "training" else ". Name another split, or turn it off (`--do_eval false`)"
        raise ValueError(f"No split {split!r} for {purpose}. Splits found: {sorted(dataset)}{way_out}")
    if len(dataset[split]) == 0:
        raise ValueError(f"The split {split!r} for {purpose} has no rows.")
    if found := {"image", "images"} & set(dataset[split].column_names):
        raise ValueError(
            f"The split {split!r} for {purpose} has the columns {sorted(found)}, and nothing but text is trained on "
            "here. To train on the text alone, take them out: a mixture's `columns` name those that stay."
        )
    return dataset[split]


def drop_null_rows(dataset: Dataset, columns: list[str], split: str, among: Collection[int] | None = None) -> Dataset:
    """Drop rows in which one of `columns` is null or empty, with a warning that counts them.

    Args:
        dataset: The rows.
        columns: Columns that must hold something; those that the rows don't have are passed over.
        split: Name of the rows in messages.
        among: Numbers of the rows that need the columns; all of them when None.

    Raises:
        ValueError: No row is left.
    """
    present = [column for column in columns if column in dataset.column_names]
    if not present:
        return dataset
    cells = zip(*(dataset[column] for column in present), strict=True)
    dropped = [row for row, values in enumerate(cells) if any(map(_is_null, values))]
    dropped = [row for row in dropped if among is None or row in among]
    if not dropped:
        return dataset
    if len(dropped) == len(dataset):
        raise ValueError(f"No row of split {split!r} has all of {present}.")
    logger.warning(
        "Dropped %d of %d rows of split %r: one of %s is null or empty (first: row %d).",
        len(dropped), len(dataset), split, present, dropped[0],
    )  # fmt: skip
    return dataset.select(sorted(set(range(len(dataset))) - set(dropped)))


def _is_null(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, list):  # of messages; one that calls a tool may have no content
        messages = [entry for entry in value if isinstance(entry, dict) and "content" in entry]
        return not value or any(entry["content"] is None and not entry.get("tool_calls") for entry in messages)
    return value is None


def to_conversations(dataset: Dataset, args: "ScriptArguments", system_prompt: str | None) -> Dataset:
    """Give every row a `prompt` of chat messages and a `solution`; all other columns stay for the rewards.

    Args:
        dataset: Rows with the prompt column, and the solution column if the rewards need one.
        args: Names of the two columns.
        system_prompt: Put first unless the row brings a system message of its own.
    """
    prompt_column, solution_column = args.dataset_prompt_column, args.dataset_solution_column
    require_columns(dataset, [prompt_column], "the training data (set `dataset_prompt_column`)")
    if solution_column != "solution":
        require_columns(dataset, [solution_column], "the training data (set `dataset_solution_column`)")
        if "solution" in dataset.column_names:
            dataset = dataset.remove_columns("solution")
        dataset = dataset.rename_column(solution_column, "solution")
        prompt_column = "solution" if prompt_column == solution_column else prompt_column

    def convert(row: dict[str, Any]) -> dict[str, Any]:
        return {"prompt": build_prompt(row[prompt_column], system_prompt)}

    reserved = [column for column in dataset.column_names if column in _RESERVED_COLUMNS]
    return dataset.map(convert, desc="Building prompts", remove_columns=reserved)


def build_prompt(prompt: str | list[dict[str, Any]], system_prompt: str | None) -> list[dict[str, Any]]:
    """Return the messages of a prompt that is text or already a list of messages."""
    if isinstance(prompt, str):
        messages = [{"role": "user", "content": prompt}]
    elif isinstance(prompt, list) and prompt and all(isinstance(entry, dict) and "role" in entry for entry in prompt):
        messages = list(prompt)
    else:
        raise ValueError(f"A prompt is {prompt!r}: it must be text, or a list of messages with `role` and `content`.")
    if system_prompt is not None and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system_prompt})
    return messages


def drop_long_prompts(
    dataset: Dataset,
    tokenizer: "PreTrainedTokenizerBase",
    max_prompt_length: int | None,
    split: str,
    *,
    template_kwargs: Mapping[str, Any] | None = None,
) -> Dataset:
    """Drop rows whose rendered prompt has more than `max_prompt_length` tokens, with a count.

    Raises:
        ValueError: No row is left.
    """
    if max_prompt_length is None:
        return dataset

    def count(rows: dict[str, list]) -> dict[str, list[int]]:
        rendered = tokenizer.apply_chat_template(
            rows["prompt"], add_generation_prompt=True, tokenize=True, return_dict=False, **(template_kwargs or {})
        )
        return {"num_prompt_tokens": [len(ids) for ids in rendered]}

    lengths = dataset.map(count, batched=True, remove_columns=dataset.column_names, desc="Counting prompt tokens")
    lengths = lengths["num_prompt_tokens"]
    kept = [row for row, length in enumerate(lengths) if length <= max_prompt_length]
    if not kept:
        raise ValueError(
            f"Every prompt of split {split!r} is longer than max_prompt_length={max_prompt_length} tokens "
            f"(the shortest has {min(lengths)}): raise it."
        )
    dropped = len(dataset) - len(kept)
    logger.log(
        logging.WARNING if dropped else logging.INFO,
        "Dropped %d of %d prompts of split %r longer than %d tokens (the longest has %d).",
        dropped, len(dataset), split, max_prompt_length, max(lengths),
    )  # fmt: skip
    return dataset.select(kept) if dropped else dataset
