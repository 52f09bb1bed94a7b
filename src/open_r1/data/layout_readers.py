# SPDX-License-Identifier: Apache-2.0
r"""Readers: functions that take one value, a text or a conversation, out of a row of a public data set.

>>> row = {"problem": "1+1?", "deepseek_reasoning": "One and one.", "deepseek_solution": "2"}
>>> Reader(question_and_reply, "problem", "deepseek_reasoning", "deepseek_solution").read(row)[1]["content"]
'<think>\nOne and one.\n</think>\n\n2'

Each is given the row and the names of its columns, and raises `UnmappableError` with a reason. Reasoning and
answer, in whatever spelling, become one reply:

>>> tagged_reply("<|begin_of_thought|>\n\nTwo and two.\n\n<|end_of_thought|>\n\n"
...              "<|begin_of_solution|>\n\n4\n\n<|end_of_solution|>")
'<think>\nTwo and two.\n</think>\n\n4'
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from open_r1.literals import value_of_text
from open_r1.tasks import countdown

Row = Mapping[str, Any]
Messages = list[dict[str, Any]]
# What stands in gold columns for "there is none" (NuminaMath-1.5 and its children).
NO_ANSWERS = {"", "proof", "notfound", "not found", "none", "null", "nan"}
# What JSON makes of LaTeX whose backslashes are not doubled: a form feed of \\frac, a tab of \\text.
_MISREAD_LATEX = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]|\t(?=ext\{|frac\{|imes\b|heta\b)")
_OTHER_BOX = re.compile(r"\\boxed(?!\s{0,9}\{)|\\fbox")
_DAPO_HEAD = re.compile(r"\s*Solve the following math problem step by step\.[^\n]{0,400}\n\s*")
_DAPO_TAIL = re.compile(r"\s*Remember to put your answer [^\n]{0,200}\s*")
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_KNOWN_ROLES = {"system", "developer", "user", "assistant", "tool"}
# Why a server or a data set stopped before the end of a reply.
_UNFINISHED = {"length", "error", "abort", "content_filter", "max_tokens", "timeout"}
_TEST_LISTS = ("test_cases", "inputs")
# Reading a Python literal takes 0.1 ms per kB, and tests of one problem can be megabytes: a list that begins will do.
_LONG = 512
_LIST_BEGINS = re.compile(r"""["'](?:test_cases|inputs)["']\s{0,9}:\s{0,9}\[\s{0,9}[^\]\s]""")

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
THOUGHT_OPEN, THOUGHT_CLOSE = "<|begin_of_thought|>", "<|end_of_thought|>"
SOLUTION_OPEN, SOLUTION_CLOSE = "<|begin_of_solution|>", "<|end_of_solution|>"
_MARKERS = (THOUGHT_OPEN, THOUGHT_CLOSE, SOLUTION_OPEN, SOLUTION_CLOSE)
_MARKS = (THINK_OPEN, THINK_CLOSE, *_MARKERS)
# What QwQ and its students write above the answer, or on the same line before it.
_FINAL_ANSWER = re.compile(
    r"^[ \t#]{0,8}\*{0,2}Final (?:Answer|Solution)(?::?\*{0,2}:?[ \t]{0,8}$|:\*{0,2}[ \t]|\*\*:?[ \t])", re.MULTILINE
)
_BOX = r"\boxed{"


class UnmappableError(ValueError):
    """A row that a layout can't map; its text is the reason, the same for all rows with the same trouble."""


class Reader:
    """A function of a row with the columns it reads.

    Args:
        function: Called with the row, the names of the columns, and the options.
        columns: Columns that must be there: a name each, or alternatives, of which the first found is read.
        options: Keywords for the function; texts and tuples of texts name columns that may be missing.
    """

    def __init__(self, function: Callable[..., Any], *columns: str | tuple[str, ...], **options: Any) -> None:
        self.function = function
        self.needs = tuple((column,) if isinstance(column, str) else column for column in columns)
        self.options = options

    def read(self, row: Row) -> Any:
        """Return the value of a row, or raise `UnmappableError`."""
        names = [next(name for name in names if name in row) for names in self.needs]
        return self.function(row, *names, **self.options)

    def columns(self) -> set[str]:
        """Return all columns that it may look at."""
        texts = [(value,) if isinstance(value, str) else value for value in self.options.values()]
        return {name for names in (*self.needs, *texts) if isinstance(names, tuple) for name in names}


@dataclass(frozen=True)
class Only:
    """A condition: a row is mapped only where a column has this value.

    Attributes:
        column: The column. Data without it pass, so that early revisions of a data set do.
        value: What it must hold; text is compared without case, and a truth value may be text.
        reason: Why other rows are left out.
        is_wanted: Whether the value lets rows in; False: it keeps them out.
    """

    column: str
    value: object
    reason: str
    is_wanted: bool = True

    def check(self, row: Row) -> None:
        """Raise `UnmappableError` where the row does not pass."""
        found = row.get(self.column, self.value if self.is_wanted else None)
        if isinstance(found, str) and isinstance(self.value, str | bool):
            is_met = found.strip().lower() == str(self.value).lower()
        else:
            is_met = found == self.value
        if is_met is not self.is_wanted:
            raise UnmappableError(self.reason)


def text_of(value: object, column: str) -> str:
    """Return the text in a value: text, a number, a list of one of them, or a conversation of one user turn.

    Raises:
        UnmappableError: It is null, blank, or something else.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
        if isinstance(value, Mapping) and value.get("role") == "user":
            value = value.get("content")
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None or (isinstance(value, str | list) and not value):
        raise UnmappableError(f"{column!r} is null or empty")
    if not isinstance(value, str):
        raise UnmappableError(f"{column!r} is not text but a {type(value).__name__}")
    if not value.strip():
        raise UnmappableError(f"{column!r} is blank")
    return value


def text(row: Row, column: str) -> str:
    """Return the text of a column."""
    return text_of(row[column], column)


def gold(row: Row, column: str) -> str:
    """Return a gold answer: text that is none of the words for "there is none"."""
    found = text(row, column)
    answer = found.strip()
    if is_no_answer(answer):
        raise UnmappableError(f"not a gold answer but {answer!r}")
    if _MISREAD_LATEX.search(found):
        raise UnmappableError("a gold answer with control characters")
    return answer


def is_no_answer(answer: str) -> bool:
    """Return whether a text in a gold column stands for "there is none"."""
    return answer.strip().rstrip(".").lower() in NO_ANSWERS


def gold_in_box(row: Row, column: str) -> str:
    """Return the last box of a worked solution; none where a box in another spelling comes later."""
    solution = text(row, column)
    answer = last_box(solution)
    if answer is None or is_no_answer(answer):
        raise UnmappableError("no box in the solution")
    if _OTHER_BOX.search(solution, solution.rindex(r"\boxed{")):
        raise UnmappableError("the last box of the solution is not written \\boxed{...}")
    return answer


def gold_within(row: Row, column: str, key: str) -> str:
    """Return a gold answer within a struct, or within a text of JSON or of a Python literal."""
    value = row[column]
    if isinstance(value, str):
        try:
            value = value_of_text(value)
        except ValueError as error:
            raise UnmappableError(f"{column!r} is {error}") from error
    if not isinstance(value, Mapping):
        raise UnmappableError(f"{column!r} is no mapping")
    return gold({key: value.get(key)}, key)


def gold_unless_tests(row: Row, column: str, tests: str) -> str | None:
    """Return a gold answer; None where the row has tests, by which a program is judged."""
    return None if has_tests(row.get(tests)) else gold(row, column)


def unwrapped(row: Row, column: str) -> str:
    """Return a DAPO problem without the two sentences around it that ask for an `Answer:` line."""
    problem = text(row, column)
    problem = _DAPO_HEAD.sub("", problem, count=1) if _DAPO_HEAD.match(problem) else problem
    position = problem.rfind("Remember to put your answer ")
    if position >= 0 and _DAPO_TAIL.fullmatch(problem, position):
        problem = problem[:position]
    if not problem.strip():
        raise UnmappableError("a wrapper without a problem")
    return problem.strip()


def countdown_problem(row: Row, nums: str, target: str) -> str:
    """Return the Countdown task in words."""
    numbers = row[nums]
    if not isinstance(numbers, list) or not all(type(number) is int for number in [*numbers, row[target]]):
        raise UnmappableError(f"{nums!r} and {target!r} are not whole numbers")
    if len(numbers) < 2:
        raise UnmappableError(f"{nums!r} has fewer than two numbers")
    return countdown.TASK.format(nums=numbers, target=row[target])


def prompt(row: Row, column: str) -> str:
    """Return the prompt of a row; of a conversation, whose turns all stay, the user's last turn."""
    is_chat = isinstance(row[column], list)
    return chat_of(row, column)[-1]["content"] if is_chat else text(row, column)


def chat_of(row: Row, column: str) -> Messages:
    """Return the prompt in a column as messages: text, or turns up to the last of the user.

    Raises:
        UnmappableError: There is none.
    """
    value = row[column]
    if isinstance(value, list) and len(value) > 1:  # a conversation; what follows answers its last user turn
        messages = [_message(turn) for turn in value]
        last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
        if last >= 0:
            return messages[: last + 1]
    return [{"role": "user", "content": text(row, column).strip()}]


def as_they_are(row: Row, column: str) -> Messages:
    """Return messages that are in the right form already; checked, not changed."""
    messages = row[column]
    if not isinstance(messages, list) or not messages:
        raise UnmappableError(f"{column!r} holds no messages")
    for message in messages:
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in _KNOWN_ROLES:
            raise UnmappableError(f"a turn of the role {str(role)[:30]!r}")
        if message.get("content") is None and not message.get("tool_calls"):
            raise UnmappableError("a turn without content")
    last = messages[-1]
    is_blank = isinstance(last.get("content"), str) and not last["content"].strip()
    if last["role"] != "assistant" or (is_blank and not last.get("tool_calls")):
        raise UnmappableError("no reply at the end")
    if not any(message["role"] == "user" for message in messages):
        raise UnmappableError("no user turn")
    return messages


def turns(row: Row, column: str, has_thoughts: bool = True) -> Messages:
    """Return from/value or role/content turns as messages; thought markers and tags become think tags.

    A system turn that asks for thought markers is left out, and so is the column `system`, which does.

    Args:
        row: The row.
        column: Its turns.
        has_thoughts: Whether every last reply has thoughts: one without them is damaged then.
    """
    found = row[column]
    if not isinstance(found, list) or not found:
        raise UnmappableError(f"{column!r} holds no turns")
    messages = [_message(turn) for turn in found]
    for message in messages:
        is_last = has_thoughts and message is messages[-1]
        if message["role"] == "assistant" and (is_last or is_tagged(message["content"])):
            message["content"] = tagged_reply(message["content"])
    if messages[0]["role"] == "system" and THOUGHT_OPEN in messages[0]["content"]:
        del messages[0]
    roles = [message["role"] for message in messages]
    roles = roles[1:] if roles[:1] == ["system"] else roles
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise UnmappableError("turns that do not alternate between user and assistant")
    return messages


def _message(turn: object) -> dict[str, str]:
    if not isinstance(turn, Mapping):
        raise UnmappableError("a turn that is no mapping")
    # Where files of both kinds were joined, a turn has all four keys, two of them null.
    name = turn.get("role") if turn.get("from") is None else turn["from"]
    role = _ROLES.get(name.strip().lower()) if isinstance(name, str) else None
    if role is None:
        raise UnmappableError(f"a turn of the role {str(name)[:30]!r}")
    return {
        "role": role,
        "content": text_of(turn.get("content") if turn.get("value") is None else turn["value"], "a turn"),
    }


def question_and_reply(row: Row, question: str, reasoning: str, answer: str) -> Messages:
    """Return the conversation of a question, reasoning and an answer in three columns."""
    asked = text(row, question)
    return _conversation(asked, reply(text(row, reasoning), text(row, answer)))


def question_and_trace(row: Row, question: str, trace: str, answer: str) -> Messages:
    """Return the conversation of a question and one text of reasoning and answer, with tags or without.

    Args:
        row: The row.
        question: Column of the question.
        trace: Column of the text.
        answer: Column of the gold answer, for traces that end without one.
    """
    asked, found = text(row, question), text(row, trace)
    try:
        known = gold(row, answer) if answer in row else None
    except UnmappableError:  # "proof", null: the trace may do without
        known = None
    return _conversation(asked, trace_reply(found, known))


def _conversation(question: str, answer: str) -> Messages:
    return [{"role": "user", "content": question.strip()}, {"role": "assistant", "content": answer}]


def chosen(
    row: Row,
    question: str,
    generations: str,
    *_: str,
    finish_reasons: str,
    verdicts: tuple[str, ...] = (),
    complete: str = "",
    published: str = "",
    conversations: str = "",
) -> Messages:
    """Return the conversation of one of several generations, by this rule.

    1. A whole turn in `published`, which the data set's authors chose, wins.
    2. Generations that are null, blank, unfinished (`complete` says so, or `finish_reasons` length or error) or
       damaged (thought tags that do not match) are out.
    3. `verdicts` are asked in order: of those left, the first that the first column calls right; if it calls none
       right, by the second column; and so on. Without `verdicts` the first one left is taken.
    4. A column of verdicts that has not one for each generation counts as if nobody had judged.

    Args:
        row: The row.
        question: Column of the question.
        generations: Column with the list of texts.
        finish_reasons: Column with a list that tells why they ended.
        verdicts: Columns with lists of verdicts, true or false, or rewards of which 1 is right; null where nobody
            judged.
        complete: Column with a list that tells which have ended.
        published: Column with messages that the data set's authors chose.
        conversations: Column with a whole conversation for each generation, where they have several turns.
    """
    own = _published(row, published)
    if own is not None:
        return own
    texts = row[generations] if isinstance(row[generations], list) else []
    if not any(isinstance(found, str) and found.strip() for found in texts):
        raise UnmappableError("no generations")
    asked = chat_of(row, question)
    reasons, ended = _aligned(row, finish_reasons, texts), _aligned(row, complete, texts)
    whole = _aligned(row, conversations, texts)
    finished = [
        place
        for place, found in enumerate(texts)
        if isinstance(found, str) and found.strip() and reasons[place] not in _UNFINISHED and ended[place] is not False
    ]
    judged = [_aligned(row, name, texts, is_strict=False) for name in verdicts]
    accepted = [place for values in judged for place in finished if _is_right(values[place])]
    for place in accepted if verdicts else finished:
        try:
            if whole[place]:
                return turns({"turns": whole[place]}, "turns", has_thoughts=False)
            found = texts[place]
            answer = tagged_reply(found) if verdicts or is_tagged(found) else found
        except UnmappableError:
            continue  # damaged: the next one may do
        return [*asked, {"role": "assistant", "content": answer}]
    for name in verdicts:
        _aligned(row, name, texts)  # the better reason
    raise UnmappableError("no accepted generation")


def _aligned(row: Row, column: str, texts: Sequence[Any], is_strict: bool = True) -> list[Any]:
    """Return a value for each generation; null throughout where there is no such column."""
    values = row.get(column)
    if values is not None and (not isinstance(values, list) or len(values) != len(texts)):
        if is_strict:
            raise UnmappableError(f"{column!r} has not one value for each generation")
        values = None
    return [None] * len(texts) if values is None else values


def _published(row: Row, column: str) -> Messages | None:
    """Return the messages that the authors chose, or None where one of the generations must do."""
    if row.get(column) is None:
        return None
    try:
        messages = [_message(turn) for turn in as_they_are(row, column)]
        messages[-1]["content"] = tagged_reply(messages[-1]["content"])
    except UnmappableError:
        return None
    return messages


def _is_right(verdict: object) -> bool:
    """Return whether a verdict is true, as text too, or the reward 1."""
    return verdict == 1 or (isinstance(verdict, str) and verdict.strip().lower() == "true")


def has_tests(value: object) -> bool:
    """Return whether a value is, or holds, a list with tests: under `test_cases` or `inputs` in a struct or its text.

    Tests whose fields are all null are none. Of a text above 512 characters the beginning of the list will do.
    """
    if isinstance(value, str):
        if len(value) > _LONG and _LIST_BEGINS.search(value):
            return True
        try:
            value = value_of_text(value)
        except ValueError:
            return False
    if isinstance(value, Mapping):
        return any(has_tests(value.get(name)) for name in _TEST_LISTS)
    if not isinstance(value, list):
        return False
    return any(
        any(v is not None for v in entry.values()) if isinstance(entry, Mapping) else entry is not None
        for entry in value
    )


def reply(reasoning: str, answer: str) -> str:
    """Return the turn that SFT learns: the reasoning in think tags, then the answer.

    Raises:
        UnmappableError: One of them is blank, or holds thought tags of its own.
    """
    reasoning, answer = reasoning.strip(), answer.strip()
    if reasoning.startswith(THINK_OPEN) and reasoning.endswith(THINK_CLOSE):  # a column that has its tags already
        reasoning = reasoning[len(THINK_OPEN) : -len(THINK_CLOSE)].strip()
    if not reasoning:
        raise UnmappableError("no reasoning")
    if not answer:
        raise UnmappableError("no answer after the reasoning")
    if any(mark in text for text in (reasoning, answer) for mark in _MARKS):
        raise UnmappableError("thought tags inside the reasoning or the answer")
    return f"{THINK_OPEN}\n{reasoning}\n{THINK_CLOSE}\n\n{answer}"


def is_tagged(text: str) -> bool:
    """Return whether a text has thought tags or markers, whole or not."""
    return any(mark in text for mark in _MARKS)


def tagged_reply(text: str) -> str:
    """Return the reply in a text with think tags or with thought markers.

    The opening think tag may be missing: templates that open it leave it out of the completion.

    Raises:
        UnmappableError: A tag is missing or stands twice, or a part is blank.
    """
    if any(marker in text for marker in _MARKERS):
        return _marked_reply(text)
    head, close, answer = text.partition(THINK_CLOSE)
    if not close:
        raise UnmappableError("the reasoning is not closed" if THINK_OPEN in text else "no thought tags")
    before, _, reasoning = head.rpartition(THINK_OPEN)
    if before.strip():
        raise UnmappableError("text before the reasoning")
    return reply(reasoning, answer)


def _marked_reply(text: str) -> str:
    before, _, rest = text.rpartition(THOUGHT_OPEN)
    reasoning, close, answer = rest.partition(THOUGHT_CLOSE)
    answer = answer.strip()
    has_open, has_close = answer.startswith(SOLUTION_OPEN), answer.endswith(SOLUTION_CLOSE)
    if before.strip() or THOUGHT_OPEN not in text or not close or has_open != has_close:
        raise UnmappableError("thought markers that do not match")
    return reply(reasoning, answer.removeprefix(SOLUTION_OPEN).removesuffix(SOLUTION_CLOSE))


def trace_reply(trace: str, gold: str | None = None) -> str:
    r"""Return the reply in a trace, with or without tags.

    Without tags the answer is what begins at the last heading "Final Answer" with text below it, else the last
    paragraph if it holds a whole box. Where nothing stands before that, or there is neither, all of it is reasoning,
    and the answer is the gold answer in a box, else the last box. Headings at the end with nothing below are left out.

    Args:
        trace: Reasoning that ends in an answer.
        gold: The row's gold answer, None where it has none.

    Raises:
        UnmappableError: There is no answer to find.
    """
    if is_tagged(trace):
        return tagged_reply(trace)
    trace, start = _without_bare_headings(trace.replace("\r\n", "\n"))
    start = _last_paragraph_with_box(trace) if start is None else start
    if start is not None and trace[:start].strip():
        return reply(trace[:start], trace[start:])
    answer = last_box(trace) if gold is None else gold
    if answer is None or not answer.strip():
        raise UnmappableError("a trace without a final answer")
    return reply(trace, answer if _BOX in answer else rf"\boxed{{{answer.strip()}}}")


def _without_bare_headings(trace: str) -> tuple[str, int | None]:
    """Return a trace without headings that end it, and where the last heading that is left begins."""
    end = len(trace)
    for heading in reversed(list(_FINAL_ANSWER.finditer(trace))):
        if trace[heading.end() : end].strip():
            return trace[:end], heading.start()
        end = heading.start()
    return trace[:end], None


def _last_paragraph_with_box(trace: str) -> int | None:
    text = trace.rstrip()
    start = text.rfind("\n\n")
    return start if start >= 0 and last_box(text[start:]) is not None else None


def last_box(text: str) -> str | None:
    r"""Return what the last `\boxed{...}` holds, its braces matched by counting; None where no box is whole.

    >>> last_box(r"so \boxed{1} and then $\boxed{\frac{1}{2}}$.")
    '\\frac{1}{2}'
    """
    end = len(text)
    while (start := text.rfind(_BOX, 0, end)) >= 0:
        depth, position = 1, start + len(_BOX)
        for match in re.finditer(r"\\.|[{}]", text[position:end], re.DOTALL):
            depth += {"{": 1, "}": -1}.get(match[0], 0)
            if depth == 0:
                return text[position : position + match.start()].strip() or None
        end = start
    return None
