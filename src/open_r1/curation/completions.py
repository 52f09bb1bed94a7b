# SPDX-License-Identifier: Apache-2.0
r"""Rows of any of our outputs as problems with their completions.

{"problem": "6 * 7?", "answer": "42", "generations": ["<think>\n...</think>\n\n42", null], "finish_reasons": [...]}
{"problem": "6 * 7?", "answer": "42", "completion": "<think>\n...</think>\n\n42"}
{"messages": [{"role": "user", "content": "6 * 7?"}, {"role": "assistant", "content": "<think>\n..."}]}
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from open_r1.data.layouts import PROBLEM, Layout, find_layout
from open_r1.data.sources import RowSource
from open_r1.data.thoughts import UnmappableError
from open_r1.rewards.base import THINK_CLOSE, THINK_OPEN
from open_r1.rewards.prose import is_blank

PROBLEM_COLUMNS = ("problem", "question", "instruction", "prompt")
GENERATION_COLUMNS = ("generations", "pass_rate_generations", "completions", "completion", "generation", "response")
GOLD_COLUMNS = ("answer", "solution", "ground_truth", "expected_answer")
MESSAGES = "messages"
PASS_RATE = "pass_rate_"
PASS_RATE_GENERATIONS = "pass_rate_generations"
# Columns beside the generations: why they ended, and how long they are.
_BESIDE = (("finish_reasons", "finish_reason"), ("api_metadata",))
_BESIDE_PASS_RATE = (("pass_rate_finish_reasons",), ("pass_rate_num_tokens",))
_REASONING = ("reasoning_content", "reasoning", "thinking")

Message = dict[str, str]


@dataclass(frozen=True)
class Columns:
    """Which column holds what; None where no column does.

    Attributes:
        problem: Text or list of messages; None where `generations` is `messages`.
        generations: A completion, a list of them, or whole conversations (`messages`).
        finish_reasons: Why each completion ended.
        gold: Answer or worked solution to judge by.
        correct: A verdict per completion: booleans or rewards.
        domain: What the problem is about.
        usage: Tokens of each completion: counts, or structs with them.
        layout: Maps the rows to whole conversations, whatever their columns; None where none was named.
        mapped: Columns that the layout reads.
    """

    problem: str | None
    generations: str
    finish_reasons: str | None
    gold: str | None
    correct: str | None
    domain: str | None
    usage: str | None
    layout: Layout | None = None
    mapped: tuple[str, ...] = ()

    @property
    def has_gold(self) -> bool:
        """Whether there is something to judge by."""
        return self.gold is not None or (self.layout is not None and self.layout.solution is not None)

    def names(self) -> list[str]:
        """Return the columns there are, each once."""
        rows = () if self.layout is not None else (self.problem, self.generations)
        beside = (self.finish_reasons, self.gold, self.correct, self.domain, self.usage)
        return list(dict.fromkeys(name for name in (*rows, *beside, *self.mapped) if name is not None))


@dataclass(frozen=True)
class Wanted:
    """Columns as the user named them; None: the first there is of the usual names."""

    problem: str | None = None
    generations: str | None = None
    finish_reasons: str | None = None
    gold: str | None = None
    correct: str | None = None
    domain: str | None = None
    layout: str | None = None


@dataclass(slots=True)
class Completion:
    """One completion of one row, on its way through the filters.

    Attributes:
        row: Number of the row, counted over all inputs.
        index: Which of the row's completions.
        text: As the model wrote it; None where it failed.
        finish_reason: Why it ended; None where nobody says.
        num_tokens: Tokens by the server's count, or None.
        flag: What the column of verdicts says of it.
        verdict: What we say of it; "" before.
    """

    row: int
    index: int
    text: Any
    finish_reason: Any = None
    num_tokens: int | None = None
    flag: Any = None
    verdict: str = ""


@dataclass(slots=True)
class Problem:
    """One row of the input.

    Attributes:
        row: Number of the row, counted over all inputs.
        prompt: Messages before the answer.
        text: What the user asks: the last message of the user.
        gold: Answer or worked solution.
        domain: What it is about; "" where nobody says.
        completions: In the order of the generations.
    """

    row: int
    prompt: list[Message]
    text: str
    gold: Any
    domain: str
    completions: list[Completion] = field(default_factory=list)

    @property
    def question(self) -> str:
        """All that is asked: the messages but those of the system, by which problems are compared."""
        return "\n\n".join(message["content"] for message in self.prompt if message["role"] != "system")


def find_columns(source: RowSource, wanted: Wanted) -> Columns:
    """Return the columns of a source by name, or by the usual names.

    Raises:
        ValueError: A column that was named is missing, or there is none with problems or completions.
    """
    layout = find_layout(source.name, wanted.layout, source.column_names, MESSAGES) if wanted.layout else None
    if layout is not None:
        return _columns_of_layout(source, wanted, layout)
    generations = _generations_of(source, wanted)
    problem = _find(source, wanted.problem, PROBLEM_COLUMNS, "--problem_column", required=generations != MESSAGES)
    reasons, usage = _beside(source, generations)
    return Columns(
        problem=None if generations == MESSAGES else problem,
        generations=generations,
        finish_reasons=_find(source, wanted.finish_reasons, reasons, "--finish_reasons_column", required=False),
        gold=_find(source, wanted.gold, GOLD_COLUMNS, "--gold_column", required=False),
        correct=_find(source, wanted.correct, (), "--correct_column", required=False),
        domain=_find(source, wanted.domain, (), "--domain_column", required=False),
        usage=_find(source, None, usage, "", required=False),
    )


def _columns_of_layout(source: RowSource, wanted: Wanted, layout: Layout) -> Columns:
    """Return the columns of rows that a layout maps; what it doesn't speak of is as the user named it."""
    inputs = layout.inputs(MESSAGES) | (layout.inputs(PROBLEM) if layout.solution is not None else set())
    usual_gold = GOLD_COLUMNS if layout.solution is None else ()
    return Columns(
        problem=None,
        generations=MESSAGES,
        finish_reasons=_find(source, wanted.finish_reasons, (), "--finish_reasons_column", required=False),
        gold=_find(source, wanted.gold, usual_gold, "--gold_column", required=False),
        correct=_find(source, wanted.correct, (), "--correct_column", required=False),
        domain=_find(source, wanted.domain, (), "--domain_column", required=False),
        usage=None,
        layout=layout,
        mapped=tuple(name for name in source.column_names if name in inputs),
    )


def _generations_of(source: RowSource, wanted: Wanted) -> str:
    """Return the column with the completions; columns of compute_pass_rate speak of its own completions only."""
    named = wanted.generations
    theirs = {"--correct_column": wanted.correct, "--finish_reasons_column": wanted.finish_reasons}
    settings = [setting for setting, name in theirs.items() if name is not None and name.startswith(PASS_RATE)]
    if settings and named is None:
        named = PASS_RATE_GENERATIONS
    if settings and named != PASS_RATE_GENERATIONS:
        raise ValueError(
            f"{settings[0]} is {theirs[settings[0]]!r}, which is about the completions in {PASS_RATE_GENERATIONS!r}, "
            f"not about those in {named!r}: leave --generations_column out, or name a column that is."
        )
    return str(_find(source, named, (*GENERATION_COLUMNS, MESSAGES), "--generations_column"))


def _beside(source: RowSource, generations: str) -> tuple[Sequence[str], Sequence[str]]:
    """Return the names of the columns that may say how the completions of this column ended, and how long they are.

    They are known to be about the column that our scripts or upstream's wrote with them, and about no other.
    """
    if generations == PASS_RATE_GENERATIONS:
        return _BESIDE_PASS_RATE
    usual = [name for name in (*GENERATION_COLUMNS, MESSAGES) if name != PASS_RATE_GENERATIONS]
    owner = next((name for name in usual if name in source.column_names), None)
    return _BESIDE if generations == owner else ((), ())


def _find(
    source: RowSource, name: str | None, usual: Sequence[str], setting: str, *, required: bool = True
) -> str | None:
    if name is not None:
        source.require([name], setting)
        return name
    found = next((column for column in usual if column in source.column_names), None)
    if found is None and required:
        raise ValueError(
            f"{source.name} has none of the columns {list(usual)}; name another by {setting}. Columns found: "
            f"{source.column_names}"
        )
    return found


def read_problem(row: Mapping[str, Any], number: int, columns: Columns) -> Problem | str:
    """Return the problem of a row, or what is wrong with the row.

    Of: no_problem (null, blank, or no messages), no_completions (null or an empty list), bad_completions (not text,
    not a list), uneven_columns (finish reasons or verdicts that aren't as many as the completions), unmapped: with the
    reason of the layout.
    """
    try:
        generations = row[columns.generations] if columns.layout is None else _mapped(row, columns.layout)
    except UnmappableError as error:
        return f"unmapped: {error}"
    if columns.problem is None:
        prompt, generations = _split_conversation(generations)
    else:
        prompt = _prompt_of(row[columns.problem])
    text = next((message["content"] for message in reversed(prompt) if message["role"] == "user"), "")
    if not text.strip():
        return "no_problem"
    if generations is None or generations == []:
        return "no_completions"
    if not isinstance(generations, str | list):
        return "bad_completions"
    prompt, texts = _texts_of(prompt, generations)
    beside = [_values(row, name, len(texts)) for name in (columns.finish_reasons, columns.correct, columns.usage)]
    if any(len(values) != len(texts) for values in beside):
        return "uneven_columns"
    domain = row[columns.domain] if columns.domain is not None else None
    problem = Problem(number, prompt, text, _gold_of(row, columns), "" if domain is None else str(domain))
    problem.completions = [
        Completion(number, index, given, finish, _tokens_of(usage), flag)
        for index, (given, finish, flag, usage) in enumerate(zip(texts, *beside, strict=True))
    ]
    return problem


def _mapped(row: Mapping[str, Any], layout: Layout) -> Any:
    for condition in layout.conditions(MESSAGES):
        condition.check(row)
    assert layout.messages is not None  # `find_layout` chose it for its messages
    return layout.messages.read(row)


def _gold_of(row: Mapping[str, Any], columns: Columns) -> Any:
    if columns.gold is not None:
        return row[columns.gold]
    if columns.layout is None or columns.layout.solution is None:
        return None
    try:
        return columns.layout.solution.read(row)
    except UnmappableError:  # no answer: the verdict says so
        return None


def _texts_of(prompt: list[Message], generations: str | list[Any]) -> tuple[list[Message], list[Any]]:
    """Return the messages before the answer, and the answers; what is neither text nor one turn is left as it is."""
    if isinstance(generations, str):
        texts: list[Any] = [generations]
    elif isinstance(generations[0], dict) and any(turn["role"] != "assistant" for turn in _messages_of(generations)):
        between, answer = _split_conversation(generations)  # one completion of several turns: its last one is learned
        if between[: len(prompt)] == prompt:  # the whole conversation: nothing is asked twice
            between = between[len(prompt) :]
        prompt, texts = [*prompt, *between], [generations if answer is None else answer]
    else:
        texts = [_text_of_turn(entry) for entry in generations]
    if prompt[-1]["role"] == "assistant" and len(prompt) > 1:  # the beginning of the answer, which was given
        begun = prompt[-1]["content"]
        prompt = prompt[:-1]
        texts = [begun + text if isinstance(text, str) and not text.startswith(begun) else text for text in texts]
    return prompt, texts


def _text_of_turn(entry: Any) -> Any:
    """Return the text of a completion that is one turn of the assistant, or a list of one."""
    turn = entry[0] if isinstance(entry, list) and len(entry) == 1 else entry
    is_turn = isinstance(turn, dict) and turn.get("role") == "assistant" and isinstance(turn.get("content"), str)
    return _with_reasoning(turn) if is_turn else entry


def _with_reasoning(turn: Mapping[str, Any]) -> str:
    """Return the text of a turn, with the reasoning that some servers keep apart in its tags."""
    content = turn["content"]
    reasoning = next((turn[name] for name in _REASONING if isinstance(turn.get(name), str)), "")
    if is_blank(reasoning) or THINK_OPEN in content or THINK_CLOSE in content:
        return content
    return f"{THINK_OPEN}\n{reasoning.strip()}\n{THINK_CLOSE}\n\n{content.lstrip()}"


def _values(row: Mapping[str, Any], name: str | None, count: int) -> list[Any]:
    """Return what a column says of each completion; one value for one completion needs no list."""
    value = row[name] if name is not None else None
    if value is None:
        return [None] * count
    return value if isinstance(value, list) else [value]


def _tokens_of(usage: Any) -> int | None:
    """Return the tokens of a completion: a count, or one within the server's record."""
    found = usage
    if isinstance(usage, dict):
        inner = usage.get("usage")
        found = (inner if isinstance(inner, dict) else usage).get("completion_tokens")
    return int(found) if isinstance(found, int | float) and found == found else None


def _prompt_of(value: Any) -> list[Message]:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    return _messages_of(value)


def _split_conversation(value: Any) -> tuple[list[Message], str | None]:
    """Return the messages before the last one, and the last one's text if the assistant wrote it."""
    messages = _messages_of(value)
    if not messages or messages[-1]["role"] != "assistant":
        return messages, None
    return messages[:-1], _with_reasoning(value[-1])


def _messages_of(value: Any) -> list[Message]:
    """Return messages with a role and text; [] where one isn't."""
    if not isinstance(value, list):
        return []
    messages = []
    for entry in value:
        role, content = (entry.get("role"), entry.get("content")) if isinstance(entry, dict) else (None, None)
        if not isinstance(role, str) or not isinstance(content, str):
            return []
        messages.append({"role": role, "content": content})
    return messages
