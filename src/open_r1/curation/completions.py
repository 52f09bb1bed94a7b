# SPDX-License-Identifier: Apache-2.0
r"""Completions of the rows of a data set, whatever its layout:

{"problem": "6 * 7?", "answer": "42", "generations": ["<think>\n...</think>\n\n42", null], "finish_reasons": [...]}
{"problem": "6 * 7?", "answer": "42", "completion": "<think>\n...</think>\n\n42"}
{"messages": [{"role": "user", "content": "6 * 7?"}, {"role": "assistant", "content": "<think>\n..."}]}
"""

import json
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from open_r1.data.layout_readers import UnmappableError
from open_r1.data.layouts import Layout, find_layout
from open_r1.data.sources import RowSource
from open_r1.rewards.base import THINK_CLOSE, THINK_OPEN
from open_r1.rewards.prose import is_blank

MESSAGES, PASS_RATE_GENERATIONS = "messages", "pass_rate_generations"
_GENERATIONS = ("generations", PASS_RATE_GENERATIONS, "completions", "completion", "generation", "response", MESSAGES)
# Columns that are taken where the user names none.
USUAL: dict[str, tuple[str, ...]] = {
    "problem": ("problem", "question", "instruction", "prompt"),
    "generations": _GENERATIONS,
    "gold": ("answer", "solution", "ground_truth", "expected_answer"),
    "correct": (),
    "domain": (),
}
# Beside the generations: why they ended, and how long they are. Known to be of the column that they came with alone.
_BESIDE = {"finish_reasons": ("finish_reasons", "finish_reason"), "usage": ("api_metadata",)}
_BESIDE_PASS_RATE = {"finish_reasons": ("pass_rate_finish_reasons",), "usage": ("pass_rate_num_tokens",)}

Row = dict[str, Any]
Message = dict[str, str]


@dataclass(frozen=True)
class Columns:
    """Which column holds what; None where no column does. `layout` maps rows to conversations."""

    problem: str | None
    generations: str
    gold: str | None
    correct: str | None
    domain: str | None
    finish_reasons: str | None
    usage: str | None
    layout: Layout | None = None


def find_columns(source: RowSource, settings: Namespace) -> Columns:
    """Return the columns of a source as the flags `--<what>_column` name them, or by the usual names.

    Raises:
        ValueError: A column that was named is missing, or there is none with problems or completions.
    """
    names = source.column_names
    named = {what: getattr(settings, f"{what}_column", None) for what in (*USUAL, *_BESIDE)}
    for what, column in named.items():
        if column is not None:
            source.require([column], f"--{what}_column")
    layout = None
    if settings.dataset_layout is not None:
        layout = find_layout(source.name, settings.dataset_layout, names, MESSAGES)
    if layout is not None:
        named |= {"generations": MESSAGES, "problem": None}
    of_pass_rates: set[Any] = {named["correct"], named["finish_reasons"]} & {
        name for name in names if name.startswith("pass_rate_")
    }
    if of_pass_rates and named["generations"] is None:
        source.require([PASS_RATE_GENERATIONS], "--generations_column")
        named["generations"] = PASS_RATE_GENERATIONS
    found = {
        what: named[what] or next((name for name in usual if name in names), None) for what, usual in USUAL.items()
    }
    generations = found["generations"]
    if of_pass_rates and generations != PASS_RATE_GENERATIONS:
        raise ValueError(
            f"{sorted(of_pass_rates)} belong to {PASS_RATE_GENERATIONS}, not to --generations_column {generations}"
        )
    if generations is None or (found["problem"] is None and generations != MESSAGES):
        what = "generations" if generations is None else "problem"
        raise ValueError(f"{source.name} has none of {USUAL[what]}: name another by --{what}_column. Found: {names}")
    owner = next((name for name in _GENERATIONS if name in names and name != PASS_RATE_GENERATIONS), None)
    beside = _BESIDE_PASS_RATE if generations == PASS_RATE_GENERATIONS else _BESIDE if generations == owner else {}
    for what in _BESIDE:
        found[what] = named[what] or next((name for name in beside.get(what, ()) if name in names), None)
    if generations == MESSAGES:
        found["problem"] = None
    if layout is not None and layout.solution is not None:
        found["gold"] = named["gold"]
    return Columns(**dict[str, Any](found), layout=layout)


def read_completions(row: Mapping[str, Any], columns: Columns) -> list[Row]:
    """Return the completions of a row, each with its prompt, problem and gold answer; texts that aren't any are None.

    Raises:
        UnmappableError: The row has none, as `no_problem` (null, blank, or no messages), `no_completions`,
            `uneven_columns` (finish reasons or verdicts that aren't as many as the completions), or `unmapped: ...`.
    """
    prompt, generations = _conversation(row, columns)
    problem = next((turn["content"] for turn in reversed(prompt) if turn["role"] == "user"), "")
    if not problem.strip():
        raise UnmappableError("no_problem")
    if not generations:
        raise UnmappableError("no_completions")
    prompt, texts = _texts_of(prompt, generations)
    names = (columns.finish_reasons, columns.correct, columns.usage)
    beside = [_values(row[name] if name else None, len(texts)) for name in names]
    if any(len(values) != len(texts) for values in beside):
        raise UnmappableError("uneven_columns")
    common = {
        "prompt": prompt,
        "problem": problem,
        # All that is asked, by which problems are compared.
        "question": "\n\n".join(turn["content"] for turn in prompt if turn["role"] != "system"),
        "solution": _as_text(_gold_of(row, columns)),
        "domain": str(row[columns.domain] or "") if columns.domain else "",
    }
    return [
        {
            "generation_index": index,
            "completion": text if isinstance(text, str) else None,
            "finish_reason": reason if isinstance(reason, str) else None,
            "flag": None if flag is None else float(flag),
            "num_tokens": _tokens_of(usage),
            **common,
        }
        for index, (text, reason, flag, usage) in enumerate(zip(texts, *beside, strict=True))
    ]


def _conversation(row: Mapping[str, Any], columns: Columns) -> tuple[list[Message], Any]:
    """Return the messages before the answer, and the completions."""
    if columns.layout is None:
        generations = row[columns.generations]
    else:
        try:
            for condition in columns.layout.conditions(MESSAGES):
                condition.check(row)
            assert columns.layout.messages is not None  # `find_layout` chose it for its messages
            generations = columns.layout.messages.read(row)
        except UnmappableError as error:
            raise UnmappableError(f"unmapped: {error}") from error
    if columns.problem is None:
        return _split(generations)
    problem = row[columns.problem]
    return [{"role": "user", "content": problem}] if isinstance(problem, str) else _messages_of(problem), generations


def _gold_of(row: Mapping[str, Any], columns: Columns) -> Any:
    if columns.gold is not None:
        return row[columns.gold]
    try:
        return columns.layout.solution.read(row) if columns.layout and columns.layout.solution else None
    except UnmappableError:
        return None  # the verdict says so


def _as_text(gold: Any) -> str | None:
    return gold if gold is None or isinstance(gold, str) else json.dumps(gold, ensure_ascii=False, default=str)


def _texts_of(prompt: list[Message], generations: str | list[Any]) -> tuple[list[Message], list[Any]]:
    """Return the messages before the answer, and the answers."""
    first = generations[0]
    if isinstance(generations, str):
        texts: list[Any] = [generations]
    elif isinstance(first, dict) and any(turn["role"] != "assistant" for turn in _messages_of(generations)):
        between, answer = _split(generations)  # one completion of several turns: its last one is learned
        prompt = between if between[: len(prompt)] == prompt else [*prompt, *between]
        texts = [answer]
    else:
        texts = [
            _split(turn if isinstance(turn, list) else [turn])[1] if isinstance(turn, dict | list) else turn
            for turn in generations
        ]
    if prompt[-1]["role"] == "assistant" and len(prompt) > 1:  # the beginning of the answer, which was given
        begun = prompt[-1]["content"]
        prompt = prompt[:-1]
        texts = [begun + text if isinstance(text, str) and not text.startswith(begun) else text for text in texts]
    return prompt, texts


def _split(value: Any) -> tuple[list[Message], str | None]:
    """Return the messages before the last one, and the last one's text if it is the assistant's, reasoning in tags."""
    messages = _messages_of(value)
    if not messages or messages[-1]["role"] != "assistant":
        return messages, None
    content = messages[-1]["content"]
    names = ("reasoning_content", "reasoning", "thinking")  # where servers keep it apart
    reasoning = next((value[-1][name] for name in names if isinstance(value[-1].get(name), str)), "")
    if not is_blank(reasoning) and THINK_OPEN not in content and THINK_CLOSE not in content:
        content = f"{THINK_OPEN}\n{reasoning.strip()}\n{THINK_CLOSE}\n\n{content.lstrip()}"
    return messages[:-1], content


def _messages_of(value: Any) -> list[Message]:
    """Return messages with a role and text; [] where one isn't."""
    turns = value if isinstance(value, list) else []
    found = [(turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None) for turn in turns]
    messages = [{"role": r, "content": c} for r, c in found if isinstance(r, str) and isinstance(c, str)]
    return messages if len(messages) == len(turns) else []


def _values(value: Any, count: int) -> list[Any]:
    """Return what a column says of each completion; one value for one completion needs no list."""
    if value is None:
        return [None] * count
    return value if isinstance(value, list) else [value]


def _tokens_of(usage: Any) -> int | None:
    """Return the tokens of a completion: a count, or one within the server's record."""
    if isinstance(usage, dict):
        usage = (usage.get("usage") or usage).get("completion_tokens")
    return None if usage is None or usage != usage else int(usage)
