# SPDX-License-Identifier: Apache-2.0
"""Budget forcing of s1 (arXiv 2501.19393, section 3.1): how long a model thinks is decided from without.

    maximum   at the budget, the end of thinking and "Final Answer:" are appended, and the answer is generated
    minimum   n times the end of thinking is taken away, and "Wait" put in its place; it goes on with what is left of
              the budget

All is done in token ids; no text is tokenised again.

1. An `auto` budget is that of each problem: s1 takes that of the longest prompt for all. Room for
   "Wait" is kept beside budgets: its tokens are neither of a budget nor thinking that is paid for.
2. A budget beyond what the context leaves is what it leaves; ids that the tokenizer doesn't know, which models with
   padded embeddings sample now and then, aren't fed back (vLLM refused them).
3. Where sampling isn't greedy, each part of the thinking has another seed: one stream of numbers would repeat itself.
"""

import itertools
import logging
from collections.abc import Mapping, Sequence

from open_r1.generation.messages import THINK_END, THINK_START, Reply
from open_r1.test_time.methods import AUTO, Attempt, Policy, Setting, Steps, Task, TestTimeArguments, Value
from open_r1.test_time.thinking import Thinking

logger = logging.getLogger(__name__)

WAIT, FINAL_ANSWER = "Wait", "\nFinal Answer:"
DELIMITER, EOS, BUDGET = "delimiter", "eos", "budget"  # what has ended the thinking
_SEEDS_APART = 1_000_003


def groups(name: str, args: TestTimeArguments, scorer: Mapping[str, Value]) -> list[list[Setting]]:
    """Return each budget with each number of waits, on its own."""
    budgets = [budget if budget == AUTO else int(budget) for budget in args.budgets]
    pairs = itertools.product(budgets, args.num_waits)
    return [[Setting(name, {"budget": budget, "num_waits": waits})] for budget, waits in pairs]


def room_tokens(thinking: Thinking | None, num_waits: int) -> int:
    """Return how many tokens delimiters add to a prompt at most, and so many "Wait".

    Raises:
        ValueError: The model doesn't think between delimiters.
    """
    if thinking is None:
        raise ValueError(
            "budget_forcing: tokenizer and template have no thinking delimiters; set "
            "--thinking_start and --thinking_end: '<think>' and '</think>' for models like R1, '<|im_start|>think' "
            "and '<|im_start|>answer' for s1's. A model that wasn't trained to think between such has nothing to "
            "force; greedy, majority and best_of_n don't need them."
        )
    added = thinking.ids(thinking.start) + thinking.ids("\n") + thinking.ids(thinking.end + FINAL_ANSWER)
    return len(added) + num_waits * len(thinking.ids(WAIT))


def solve(task: Task, settings: Sequence[Setting], policy: Policy, seed: int) -> Steps:
    """Return the steps to the attempt at one setting; see `methods.Method`."""
    (setting,), thinking, args = settings, policy.thinking, policy.args
    assert thinking is not None  # see `room_tokens`
    temperature, num_waits = args.temperature_of("budget_forcing"), int(setting.values["num_waits"] or 0)
    prompt_ids = thinking.open_prompt(task.prompt_ids)
    newline, final = thinking.ids("\n"), thinking.ids(thinking.end + FINAL_ANSWER)
    beside = len(newline) + len(final) + args.answer_reserve_tokens + num_waits * len(thinking.ids(WAIT))
    room, wanted = policy.context_tokens - len(prompt_ids) - beside, setting.values["budget"]
    budget = room if wanted == AUTO else min(room, int(wanted or 0))
    if wanted not in (AUTO, budget):
        logger.warning("Row %d: of a budget of %s tokens the context leaves %d.", task.row, wanted, budget)
    stops = {"stop": thinking.stop, "stop_token_ids": thinking.stop_token_ids}
    thought: list[int] = []
    parts: list[int] = []  # tokens of each, with what ended it: ends that were taken away are paid for, "Wait" isn't
    ended_by = "" if budget else BUDGET
    while not ended_by:
        # "Wait" is followed by one token at least before the thinking may end again.
        more = {**stops, "max_tokens": budget - sum(parts), "min_tokens": min(len(parts), 1)}
        seed_of_part = seed + len(parts) * _SEEDS_APART
        (reply,) = yield [policy.request((*prompt_ids, *thought), seed=seed_of_part, temperature=temperature, **more)]
        thought += [token for token in without_end(reply, thinking) if token <= thinking.max_id]
        parts.append(len(reply.token_ids))
        ended_by = _ended_by(reply, thinking)
        if ended_by != BUDGET and len(parts) <= num_waits and sum(parts) < budget:
            thought += thinking.ids(WAIT)
            ended_by = ""
    context = (*prompt_ids, *thought)
    if ended_by == BUDGET:
        context += (() if thinking.decode(context[-1:]).endswith("\n") else newline) + final
    else:
        context += thinking.ids(thinking.end)
    answer_seed = seed + (num_waits + 1) * _SEEDS_APART
    (answer,) = yield [policy.request(context, seed=answer_seed, temperature=temperature)]
    said = policy.tokenizer.decode(thought, skip_special_tokens=True)
    text = f"{THINK_START}\n{said}\n{THINK_END}\n{FINAL_ANSWER if ended_by == BUDGET else ''}{answer.text}"
    details = {"budget_tokens": budget, "waits": max(0, len(parts) - 1), "ended_by": ended_by, "part_tokens": parts}
    spent = sum(parts)
    total = spent + len(answer.token_ids)
    return [Attempt(task.row, setting, [(text, 1.0)], spent, total, 0, answer.finish_reason, details)]


def _ended_by(reply: Reply, thinking: Thinking) -> str:
    if reply.finish_reason == "length":
        return BUDGET
    # A model may have more tokens than one that end an answer; their ids are told, as those of delimiters are.
    is_delimiter = isinstance(reply.stop_reason, str) or reply.stop_reason in thinking.stop_token_ids
    return DELIMITER if is_delimiter else EOS


def without_end(reply: Reply, thinking: Thinking) -> Sequence[int]:
    """Return the tokens of a reply before what has ended it."""
    ids = tuple(reply.token_ids or ())
    if reply.finish_reason == "length" or not ids:
        return ids
    if not isinstance(reply.stop_reason, str):
        return ids[:-1]
    # Several tokens spell the end, and the first of them may begin with text of the thinking.
    before = thinking.decode(ids).rpartition(thinking.end)[0]
    length = next(length for length in range(len(ids), -1, -1) if before.startswith(thinking.decode(ids[:length])))
    return (*ids[:length], *thinking.ids(before[len(thinking.decode(ids[:length])) :]))
