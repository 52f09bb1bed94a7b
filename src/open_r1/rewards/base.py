# SPDX-License-Identifier: Apache-2.0
"""Basics of every reward: its context, the text of a completion, groups, and the logging of verdicts.

A reward is a plain function or picklable callable `(completions, **columns) -> list[float | None]`. TRL calls it with
keywords only: prompts, completions, completion_ids, every dataset column, trainer_state, log_extra, log_metric.
Shapes: B rows in a call; a *group* is a run of consecutive rows with an equal prompt.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Any

Message = Mapping[str, object]
Completion = str | Sequence[Message]
LogExtra = Callable[[str, list], None]
LogMetric = Callable[[str, float], None]
Reward = Callable[..., list[float | None]]

# The reward of a row that WE failed to judge (a sandbox is down). The trainer takes such a row
# out of its group as a whole. A None says something else: this reward doesn't apply here, or the gold can't be judged.
UNSCORABLE: float = math.nan

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"


@dataclass(frozen=True)
class RewardContext:
    """What a reward needs to know of the run and TRL doesn't pass.

    Attributes:
        num_generations: Completions per prompt (G). 1 means unknown: a group is then any run of equal prompts.
        completion_prefix: Text that the generation prompt has already opened for the assistant, such as "<think>\\n".
        eos_token_ids: Token ids that end a completion.
        max_completion_length: Token limit of a completion, or None.
        verifier: Who judges mathematical answers: open_r1 or math_verify.
    """

    num_generations: int = 1
    completion_prefix: str = ""
    eos_token_ids: tuple[int, ...] = ()
    max_completion_length: int | None = None
    verifier: str = "open_r1"


DEFAULT_CONTEXT = RewardContext()


class _Bound(partial):
    def __call__(self, /, *args: Any, **columns: Any) -> Any:
        return self.func(*args, **{**columns, **self.keywords})


def bind(reward: Reward, **settings: Any) -> Reward:
    """Return a reward with its settings, which go before columns of the same names; `__name__` stays.

    >>> def brevity(completions, *, weight, **columns): return [weight / len(text) for text in completions]
    >>> bind(brevity, weight=2.0)(completions=["abcd"], weight=["a column of the data"])
    [0.5]
    """
    return update_wrapper(_Bound(reward, **settings), reward)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return a question with the known name that is nearest to a wrong one; "" where none is near.

    >>> did_you_mean("acuracy", ["accuracy", "format"])
    " Did you mean 'accuracy'?"
    """
    close = difflib.get_close_matches(str(name), known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def is_unscorable(reward: float | None) -> bool:
    """Whether the reward stands for a failure of ours (`UNSCORABLE`)."""
    return reward is not None and math.isnan(reward)


def completion_text(completion: Completion, context: RewardContext = DEFAULT_CONTEXT) -> str:
    r"""Return the text a completion is scored by, with what the generation prompt had already opened.

    That is always put in front: a model that opens its reasoning again has opened it twice.
    Of several messages (tool calls) the last one by the assistant counts. Where a response template has moved the
    reasoning out of `content`, it is put back between think tags; with nothing after it the closing tag is left out,
    since reasoning that was cut off looks the same.

    >>> context = RewardContext(completion_prefix="<think>\n")
    >>> completion_text([{"role": "assistant", "content": "2 + 2\n</think>\n4"}], context)
    '<think>\n2 + 2\n</think>\n4'
    >>> completion_text([{"role": "assistant", "reasoning_content": "2 + 2", "content": "4"}])
    '<think>\n2 + 2\n</think>\n4'
    """
    if isinstance(completion, str):
        text, reasoning = completion, ""
    elif not isinstance(completion, Sequence):
        raise ValueError(f"A completion must be text or a list of messages, got {completion!r:.100}.")
    else:
        message = _last_assistant_message(completion)
        text = _content_text(message.get("content"))
        reasoning = _content_text(message.get("reasoning_content") or message.get("thinking"))
    if reasoning:
        body = reasoning.strip("\n")
        closing = f"\n{THINK_CLOSE}\n" if text.strip() else ""
        text = f"{THINK_OPEN}\n{body}{closing}{text}"
        if THINK_OPEN in context.completion_prefix:
            return text
    return context.completion_prefix + text


def completion_texts(completions: Sequence[Completion], context: RewardContext = DEFAULT_CONTEXT) -> list[str]:
    """Return `completion_text` of every row."""
    return [completion_text(completion, context) for completion in completions]


def prompt_text(prompt: Completion) -> str:
    """Return what the user asks: a prompt that is text, or the last message of the user.

    >>> prompt_text([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is 6 * 7?"}])
    'What is 6 * 7?'
    """
    if isinstance(prompt, str):
        return prompt
    asked = [message for message in prompt if message.get("role") == "user"]
    return _content_text(asked[-1].get("content")) if asked else ""


def last_answer_block(text: str) -> str | None:
    r"""Return what the last closed answer block holds, stripped; None without one.

    >>> last_answer_block("<answer>\n41\n</answer> No: <answer>\n42\n</answer>")
    '42'
    """
    _, opening, block = text.rpartition(ANSWER_CLOSE)[0].rpartition(ANSWER_OPEN)
    return block.strip() if opening else None


def _last_assistant_message(messages: Sequence[Message]) -> Message:
    by_assistant = [message for message in messages if message.get("role", "assistant") == "assistant"]
    return by_assistant[-1] if by_assistant else {}


def _content_text(content: object) -> str:
    """Return the text of a `content` value: None (a tool call), a string, or a list of typed parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise TypeError(f"The content of a message must be text, a list of parts or None, got {content!r:.100}.")
    return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))


def completion_lengths(
    completions: Sequence[Completion], completion_ids: Sequence[Sequence[int]] | None = None
) -> list[int]:
    """Return the length of every completion: in tokens when ids are given, else in characters."""
    if completion_ids is None:
        return [len(completion_text(completion)) for completion in completions]
    return [len(ids) for _, ids in zip(completions, completion_ids, strict=True)]


def require_rows(name: str, num_rows: int, **columns: Sequence[object]) -> None:
    """Raise a ValueError that names the column whose number of values isn't that of the completions."""
    for column, values in columns.items():
        if len(values) != num_rows:
            raise ValueError(f"{name}: {num_rows} completions, but {len(values)} values in the column {column!r}.")


def group_slices(
    prompts: Sequence[object] | None, num_rows: int, context: RewardContext = DEFAULT_CONTEXT
) -> list[slice]:
    """Cut the rows of a call into groups.

    A group is a run of consecutive rows with an equal prompt, of at most `context.num_generations` rows where that is
    known (> 1), so that a prompt drawn twice in a row makes two groups. Without prompts all rows count as equal.

    >>> group_slices(["a", "a", "a", "a", "b"], 5, RewardContext(num_generations=2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    if prompts is not None and len(prompts) != num_rows:
        raise ValueError(f"Got {len(prompts)} prompts for {num_rows} completions.")
    limit = context.num_generations if context.num_generations > 1 else num_rows
    slices, start = [], 0
    for row in range(1, num_rows + 1):
        is_same_prompt = row < num_rows and (prompts is None or prompts[row] == prompts[start])
        if not is_same_prompt or row - start == limit:
            slices.append(slice(start, row))
            start = row
    return slices
