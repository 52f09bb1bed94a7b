# SPDX-License-Identifier: Apache-2.0
"""Dynamic sampling (DAPO, https://arxiv.org/abs/2503.14476, section 3.2): groups that teach nothing are drawn anew.

A group whose rewards are all equal has no advantage. It is dropped, and another prompt's group takes its place. From
the paper differ:
1. It draws batches until one is full. Here a round draws as many prompts as groups are missing, from a stream of its
   own, and `dynamic_sampling_rounds` is the limit. What is missing then counts neither in the loss nor in its
   normaliser; both span the generation batch, as TRL's number of tokens does.
2. Rewards are compared exactly, those of `dynamic_sampling_metric` and their weighted sum. A row that could not be
   judged is left out, and a group with fewer than two others is dropped too. Where the metric judges no row of a group
   (`reward_domains`), the sum alone decides.
3. Figures of rewards and completions are those of the first round: the others have prompts for groups that taught
   nothing, and of their groups those that do teach, so that together they would not be a sample of the policy.

Letters: P groups of all processes, numbered across them; G completions of a group; B rows of this process; T tokens.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator

# Their mean is over the rows of a micro-batch, the other losses divide by TRL's `num_items_in_batch`.
MEANS_OVER_ROWS = ("grpo", "sapo", "dr_grpo", "luspo")


@dataclass(frozen=True)
class Round:
    """Groups that were generated and scored at once.

    Attributes:
        rows: TRL's tensors for the rows of this process, (B,), (B, 1) or (B, T), and some numbers.
        is_informative_P: Whether the rewards of a group differ.
        lengths_PG: Tokens of the completions.
    """

    rows: dict[str, torch.Tensor]
    is_informative_P: torch.Tensor
    lengths_PG: torch.Tensor


def refill(
    batch: Round,
    draw: Callable[[int], Round],
    accelerator: Accelerator,
    *,
    max_rounds: int,
    pad_token_id: int,
    loss_type: str,
) -> dict[str, float]:
    """Put groups with other prompts in the place of those of a batch that teach nothing; return figures for the log.

    Args:
        batch: Changed in place.
        draw: Generates and scores a round for so many missing groups.
        accelerator: Of the processes.
        max_rounds: Beside the batch itself.
        pad_token_id: Stands in ids of what is left out.
        loss_type: TRL's.
    """
    rounds, slots, filler = [batch], _numbers(~batch.is_informative_P), _Filler(accelerator, pad_token_id, batch)
    num_groups, num_learned = len(batch.is_informative_P), batch.lengths_PG[batch.is_informative_P].sum()
    is_whole = not slots
    while slots and len(rounds) <= max_rounds:
        rounds.append(draw(len(slots)))
        found = _numbers(rounds[-1].is_informative_P)[: len(slots)]
        filler.fill(slots[: len(found)], rounds[-1].rows, found)
        num_learned += rounds[-1].lengths_PG[found].sum()
        slots = slots[len(found) :]
    if not is_whole:
        filler.leave_out(slots)
        _set_normalizer(batch.rows, accelerator, num_groups / max(num_groups - len(slots), 1), loss_type)
    return {
        "rounds": len(rounds) - 1,
        "dropped_groups": 1 - torch.cat([each.is_informative_P for each in rounds]).float().mean().item(),
        "missing_groups": len(slots) / num_groups,
        "wasted_tokens": 1 - num_learned.item() / sum(each.lengths_PG.sum().item() for each in rounds),
    }


def informative_groups(rewards_PG: torch.Tensor) -> torch.Tensor:
    """Return for each group, (P,), whether two of its rewards differ; NaN is no reward."""
    is_nan = rewards_PG.isnan()
    lowest = rewards_PG.masked_fill(is_nan, math.inf).amin(dim=1)
    highest = rewards_PG.masked_fill(is_nan, -math.inf).amax(dim=1)
    return lowest < highest


def num_prompts_of_round(num_missing: int, num_generations: int, num_processes: int, *, are_whole: bool) -> int:
    """Return how many prompts a round draws: processes get the same number of rows; whole groups if `are_whole`."""
    unit = num_processes if are_whole else num_processes // math.gcd(num_processes, num_generations)
    return -(-num_missing // unit) * unit


def _set_normalizer(
    rows: dict[str, torch.Tensor], accelerator: Accelerator, loss_scale: float, loss_type: str
) -> None:
    """Let the loss be the mean over the tokens, or the rows, of the groups that were kept."""
    num_tokens = (rows["completion_mask"] * rows.get("tool_mask", 1)).sum()
    rows["num_items_in_batch"] = accelerator.gather(num_tokens).sum()
    if loss_type in MEANS_OVER_ROWS:
        rows["loss_scale"] = torch.tensor(loss_scale, device=num_tokens.device)


class _Filler:
    """Writes into a batch, whichever processes have the rows."""

    def __init__(self, accelerator: Accelerator, pad_token_id: int, batch: Round) -> None:
        self._accelerator, self._pad_token_id, self._batch = accelerator, pad_token_id, batch.rows
        self._group = batch.lengths_PG.shape[1]

    def fill(self, slots: Sequence[int], drawn: dict[str, torch.Tensor], groups: Sequence[int]) -> None:
        """Write groups of a round into slots of the batch."""
        if not groups:
            return
        batch, gather, pad = self._batch, self._accelerator.gather, self._accelerator.pad_across_processes
        places, is_here = self._rows_here(slots)
        sources = self._row_numbers(groups)[is_here]
        for name in _names_of_rows(batch):
            padding, is_left = self._padding(name), name.startswith("prompt_")
            found = gather(pad(drawn[name], dim=1, pad_index=padding, pad_first=is_left))
            width = max(rows.shape[1] if rows.ndim == 2 else 0 for rows in (batch[name], found))
            batch[name] = _widened(batch[name], width, padding, is_left=is_left)
            batch[name][places] = _widened(found, width, padding, is_left=is_left)[sources.to(found.device)]

    def leave_out(self, slots: Sequence[int]) -> None:
        """Make completions of groups padding as a whole, so that nothing is learned from them."""
        places, _ = self._rows_here(slots)
        for name in _names_of_rows(self._batch):
            if not name.startswith("prompt_"):
                self._batch[name][places] = self._padding(name)

    def _padding(self, name: str) -> float:
        """Return what stands where there is no token; a ratio of 1 adds nothing to a sum of logarithms."""
        ids = self._pad_token_id
        return {"prompt_ids": ids, "completion_ids": ids, "importance_sampling_ratio": 1.0}.get(name, 0)

    def _row_numbers(self, groups: Sequence[int]) -> torch.Tensor:
        """Return the rows of groups, numbered across processes."""
        size = self._group
        return torch.tensor([number * size + row for number in groups for row in range(size)], dtype=torch.long)

    def _rows_here(self, groups: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which of the groups' rows this process has: their places among its rows, and a mask over them all."""
        ids = self._batch["completion_ids"]
        places = self._row_numbers(groups) - self._accelerator.process_index * len(ids)
        is_here = (places >= 0) & (places < len(ids))
        return places[is_here].to(ids.device), is_here


def _numbers(is_true_P: torch.Tensor) -> list[int]:
    return is_true_P.nonzero().flatten().tolist()


def _names_of_rows(batch: dict[str, torch.Tensor]) -> list[str]:
    return [name for name, value in batch.items() if value.ndim > 0]


def _widened(rows: torch.Tensor, width: int, padding: float, *, is_left: bool) -> torch.Tensor:
    if rows.ndim == 1:
        return rows
    missing = width - rows.shape[1]
    return torch.nn.functional.pad(rows, (missing, 0) if is_left else (0, missing), value=padding)
