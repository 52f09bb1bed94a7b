# SPDX-License-Identifier: Apache-2.0
"""Rows of a training by its arguments: one data set or a mixture, mapped by layouts; then conversations.

A row of the training split, before and after `to_conversations` (SFT rows are left as they are):

    {"problem": "Compute 7+9-8", "solution": "8"}
    {"prompt": [{"role": "user", "content": "Compute 7+9-8"}], "problem": ..., "solution": "8"}

The log counts rows, and so does `--check_only`:

    found   taken  data set                    dropped
      817     812  GAIR/LIMO (train)           5 'answer' is null or empty
    40315   10000  agentica-org/... (train)    30309 not drawn (num_rows: 10000), 6 'answer' is null or empty

Data sets of a mixture get common columns: long and short strings or lists are one type, structs get the fields of all,
and beside text, gold answers that are whole numbers become text. Other types that differ are refused.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, Features, ReadInstruction, Value, concatenate_datasets

from open_r1.configs import DatasetConfig, DatasetMixtureConfig
from open_r1.data.layouts import PROBLEM, Layout, NothingMappedError, apply_layout, check_name, find_layout
from open_r1.data.sources import keep_rows, load_source, require_columns, row_numbers, take_split

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
_MAX_REASONS = 8

Dropped = Counter[str]  # rows by the reason why they were left out


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
    wanted = {train, args.dataset_test_split}
    sliced = [split for split in (train, args.dataset_test_split) if "[" in split]
    bases = {split.partition("[")[0] for split in sliced} - wanted if layout is not None else set()  # takes time
    splits = [*(split for split in dataset if split not in bases), *sliced]
    mapped, table = DatasetDict(), []
    for split in splits:
        try:
            mapped[split], num_found, dropped = _take_mapped(dataset, split, source, layout, args)
        except NothingMappedError as error:
            if split == train or len(splits) == 1:
                raise
            logger.warning("Split %r is left out. %s", split, error)
        else:
            table.append((num_found, len(mapped[split]), source, split, dropped))
    _log_table(table)
    return mapped


def _layout_of(
    dataset: DatasetDict, split: str, source: str, name: str | None, args: "ScriptArguments"
) -> Layout | None:
    """Return the layout of a source by the columns of one split (of another where there is no such split)."""
    columns = dataset.get(split.partition("[")[0], next(iter(dataset.values()))).column_names
    return find_layout(source, name, columns, args.required_target)


def _take_mapped(
    dataset: DatasetDict, split: str, source: str, layout: Layout | None, args: "ScriptArguments"
) -> tuple[Dataset, int, Dropped]:
    """Return a split or a slice of one as its layout maps it, the rows found, and why others were dropped."""
    if layout is None:
        rows = take_split(dataset, split, source)
        return rows, len(rows), Dropped()
    # Where problems repeat, a slice is one of those that are left: slices for training and for tests share none then.
    base = split.partition("[")[0] if layout.is_distinct and PROBLEM in args.layout_targets else split
    found = take_split(dataset, base, source)
    # Columns that the user named stay; the defaults may be anything's.
    defaults = {entry.name: entry.default for entry in fields(args)}
    settings = ("dataset_prompt_column", "dataset_solution_column")
    named = {vars(args)[name] for name in settings if vars(args)[name] != defaults[name]} & {*found.column_names}
    if layout.solution is not None and args.dataset_solution_column in named - layout.solution.columns():
        layout = replace(layout, solution=None)
    rows, dropped = apply_layout(
        found,
        layout,
        targets=args.layout_targets,
        required=args.required_target,
        keep=named,
        where=f"{source!r}, split {base!r}",
    )
    return rows if base == split else take_split(DatasetDict({base: rows}), split, source), len(found), dropped


def _log_table(table: list[tuple[int, int, str, str, Dropped]]) -> None:
    """Log the rows found and taken; a warning where rows were dropped that nobody asked to leave out."""
    lines = [f"{'found':>9} {'taken':>9}  data set  dropped"]
    for num_found, num_taken, name, split, dropped in table:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common(_MAX_REASONS))
        lines.append(f"{num_found:>9} {num_taken:>9}  {name} ({split})  {reasons}")
    level = logging.WARNING if any(dropped for *_, dropped in table) else logging.INFO
    logger.log(level, "Rows:\n%s", "\n".join(lines))


def _load_mixture(mixture: DatasetMixtureConfig, args: "ScriptArguments") -> DatasetDict:
    for entry in mixture.datasets:  # before the first one is loaded
        check_name(entry.layout, f"data set {entry.id!r} of the mixture")
        ReadInstruction.from_spec(entry.split)
    parts, table = [], []
    for entry in mixture.datasets:
        rows, num_found, dropped = _load_part(entry, mixture.seed, args)
        parts.append(rows)
        table.append((num_found, len(rows), entry.id, entry.split, dropped))
    _log_table(table)
    columns = {entry.id: part.column_names for entry, part in zip(mixture.datasets, parts, strict=True)}
    try:
        combined = concatenate_datasets(_align(parts, args)).shuffle(seed=mixture.seed)
    except (ValueError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(
            f"The data sets of the mixture do not fit together ({error}). Columns: {columns}. Name those that you "
            "need by `columns`, in each entry; where a layout wrote one of them, `layout: none` leaves the data alone."
        ) from error
    for name, own in columns.items():
        missing = sorted(set(combined.column_names) - set(own))
        if missing:  # as it should be where rewards have domains; rows that lack what they need are dropped later
            logger.info("Mixture: %s has no columns %s; they are null in its rows.", name, missing)
    if mixture.test_split_size is None:
        return DatasetDict({"train": combined})
    return combined.train_test_split(test_size=mixture.test_split_size, seed=mixture.seed)


def _load_part(entry: DatasetConfig, seed: int, args: "ScriptArguments") -> tuple[Dataset, int, Dropped]:
    """Return the rows that a mixture takes of one data set, the rows found, and why others were dropped.

    They depend on the entry and the seed alone, not on the other data sets or their order.
    """
    dataset = load_source(entry.id, entry.config, args.dataset_seed, entry.revision)
    layout = _layout_of(dataset, entry.split, entry.id, entry.layout, args)
    rows, num_found, dropped = _take_mapped(dataset, entry.split, entry.id, layout, args)
    if entry.columns is not None:
        where = f"data set {entry.id!r} of the mixture (name only columns of its own; those of others are null)"
        require_columns(rows, entry.columns, where)
        rows = rows.select_columns(entry.columns)
    if entry.domain is not None:
        others = set(rows[_DOMAIN_COLUMN] if _DOMAIN_COLUMN in rows.column_names else ()) - {None, entry.domain}
        if others:
            raise ValueError(
                f"The mixture gives {entry.id!r} `domain: {entry.domain}`, but its column {_DOMAIN_COLUMN!r} has "
                f"{sorted(map(str, others))[:5]}: leave `domain` out, or leave the column out of `columns`."
            )
        rows = rows.remove_columns([_DOMAIN_COLUMN] if _DOMAIN_COLUMN in rows.column_names else [])
        rows = rows.add_column(_DOMAIN_COLUMN, [entry.domain] * len(rows))
    num_drawn = entry.num_drawn(len(rows))
    if num_drawn is not None:
        dropped += Dropped({"not drawn": len(rows) - num_drawn})  # of 0 nothing is counted
        rows = rows.shuffle(seed=seed).select(range(num_drawn))
    if len(rows) == 0:
        raise ValueError(f"The mixture takes no row of {entry.id!r} (split {entry.split!r}): raise its share.")
    return rows, num_found, dropped


def _align(parts: list[Dataset], args: "ScriptArguments") -> list[Dataset]:
    """Return data sets whose common columns have one type each.

    Raises:
        pa.ArrowTypeError: There is none for a column.
    """
    text = Value("string")
    for column in {"solution", args.dataset_solution_column}:
        kinds = [str(part.features[column].dtype) for part in parts if column in part.column_names]
        if "string" in kinds and any(kind.startswith("int") for kind in kinds):
            parts = [part.cast_column(column, text) if column in part.column_names else part for part in parts]
    schema = pa.unify_schemas([part.features.arrow_schema for part in parts], promote_options="permissive")
    common = Features.from_arrow_schema(schema.remove_metadata())
    wanted = [Features({name: common[name] for name in part.column_names}) for part in parts]
    return [part if part.features == kinds else part.cast(kinds) for part, kinds in zip(parts, wanted, strict=True)]


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


def drop_null_rows(
    dataset: Dataset,
    columns: list[str],
    split: str,
    among: Collection[int] | None = None,
    user_names: Mapping[str, str] | None = None,
) -> Dataset:
    """Drop rows in which one of `columns` is null or empty, with a warning that counts them.

    Args:
        dataset: The rows.
        columns: Columns that must hold something; those that the rows don't have are passed over.
        split: Name of the rows in messages.
        among: Numbers of the rows that need the columns; all of them when None.
        user_names: Names in the user's data of columns that have been renamed.

    Raises:
        ValueError: No row is left.
    """
    present = [column for column in columns if column in dataset.column_names]
    shown = [(user_names or {}).get(column, column) for column in present]
    empty = {row for column in present for row, value in enumerate(dataset[column]) if _is_null(value)}
    empty = empty if among is None else empty.intersection(among)
    if not empty:
        return dataset
    if len(empty) == len(dataset):
        raise ValueError(f"No row of split {split!r} has all of {shown}.")
    logger.warning(
        "Dropped %d of %d rows of split %r: one of %s is null or empty (first: row %d, from 0).",
        len(empty), len(dataset), split, shown, row_numbers(dataset)[min(empty)],
    )  # fmt: skip
    return keep_rows(dataset, [row for row in range(len(dataset)) if row not in empty])


def _is_null(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, list):  # of messages; one that calls a tool may have no content
        messages = [entry for entry in value if isinstance(entry, dict) and "content" in entry]
        return not value or any(entry["content"] is None and not entry.get("tool_calls") for entry in messages)
    return value is None


def to_conversations(dataset: Dataset, args: "ScriptArguments", system_prompt: str | None) -> Dataset:
    """Give every row a `prompt` of chat messages and a `solution`; all other columns stay for the rewards.

    An empty prompt has no messages. Rows keep their numbers, which messages name.

    Args:
        dataset: Rows with the prompt column, and the solution column if the rewards need one.
        args: Names of the two columns.
        system_prompt: Put first unless the row brings a system message of its own.
    """
    prompt_column, solution_column = args.dataset_prompt_column, args.dataset_solution_column
    require_columns(dataset, [prompt_column], "the training data (set `dataset_prompt_column`)")
    if solution_column != "solution":
        require_columns(dataset, [solution_column], "the training data (set `dataset_solution_column`)")
        dataset = dataset.remove_columns(list({"solution"} & {*dataset.column_names}))
        dataset = dataset.rename_column(solution_column, "solution")
        prompt_column = "solution" if prompt_column == solution_column else prompt_column

    def convert(row: dict[str, Any], number: int) -> dict[str, Any]:
        prompt = row[prompt_column]
        try:
            return {"prompt": [] if _is_null(prompt) else build_prompt(prompt, system_prompt)}
        except ValueError as error:
            raise ValueError(f"Column {args.dataset_prompt_column!r}, row {number} (from 0): {error}") from None

    reserved = [column for column in dataset.column_names if column in _RESERVED_COLUMNS]
    return dataset.map(convert, with_indices=True, desc="Building prompts", remove_columns=reserved)


def build_prompt(prompt: str | list[dict[str, Any]], system_prompt: str | None) -> list[dict[str, Any]]:
    """Return the messages of a prompt that is text or already a list of messages."""
    messages: Any = _user_turn(prompt) if isinstance(prompt, str) else prompt
    is_chat = isinstance(messages, list) and all(isinstance(turn, dict) and "role" in turn for turn in messages)
    if not is_chat or not messages:
        raise ValueError(f"A prompt is {prompt!r}: it must be text, or a list of messages with `role` and `content`.")
    if system_prompt is None or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system_prompt}, *messages]


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
    num_dropped = len(dataset) - len(kept)
    logger.log(
        logging.WARNING if num_dropped else logging.INFO,
        "Dropped %d of %d prompts of split %r longer than %d tokens (the longest has %d).",
        num_dropped, len(dataset), split, max_prompt_length, max(lengths),
    )  # fmt: skip
    return keep_rows(dataset, kept) if num_dropped else dataset
