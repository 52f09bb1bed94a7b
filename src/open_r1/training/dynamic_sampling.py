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

import copy
import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from open_r1.training.prompts import PromptStream

if TYPE_CHECKING:
    from open_r1.training.trainer import GRPOTrainer

logger = logging.getLogger(__name__)

# The CPU's generator takes 32 bits of a seed; TRL's sampler shuffles epoch k with `seed` + k.
_SEED_OFFSET = 1_000_000
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


def refill_prompts(trainer: "GRPOTrainer") -> PromptStream:
    """Return the prompts that groups are refilled with, shuffled, and in another order than epochs are."""
    return PromptStream(trainer.train_dataset, trainer.args.seed + _SEED_OFFSET)


def generate_batch(trainer: "GRPOTrainer", inputs: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Generate and score a batch; put groups with other prompts in the place of those that teach nothing."""
    batch = _generate_round(trainer, inputs)
    rounds, slots = [batch], _numbers(~batch.is_informative_P)
    num_learned = batch.lengths_PG[batch.is_informative_P].sum()
    is_whole = not slots
    with _refilling(trainer):
        while slots and len(rounds) <= trainer.args.dynamic_sampling_rounds:
            rounds.append(_generate_round(trainer, _draw(trainer, len(slots), len(inputs))))
            found = _numbers(rounds[-1].is_informative_P)[: len(slots)]
            _fill(trainer, batch.rows, slots[: len(found)], rounds[-1].rows, found)
            num_learned += rounds[-1].lengths_PG[found].sum()
            slots = slots[len(found) :]
    if not is_whole:
        _leave_out(trainer, batch.rows, slots)
        _set_normalizer(trainer, batch, num_kept=len(batch.is_informative_P) - len(slots))
        trainer.renew_old_log_probs(batch.rows)
    _log(trainer, rounds, len(slots), num_learned.item())
    return batch.rows


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


def _generate_round(trainer: "GRPOTrainer", inputs: list[dict[str, Any]]) -> Round:
    rows = trainer.generate_round(inputs)
    lengths = torch.tensor(trainer.completion_lengths, device=trainer.accelerator.device)
    lengths_PG = trainer.accelerator.gather(lengths).cpu().view(-1, _group_size(trainer))
    rewards_PG = trainer.weighted_rewards().cpu().view_as(lengths_PG)
    is_informative_P, metric = informative_groups(rewards_PG), trainer.args.dynamic_sampling_metric
    if metric in trainer.reward_func_names:
        column = trainer.rewards_per_func[:, trainer.reward_func_names.index(metric)]
        values_PG = column.cpu().view_as(lengths_PG)
        is_informative_P &= informative_groups(values_PG) | values_PG.isnan().all(dim=1)
    return Round(rows, is_informative_P, lengths_PG)


def _draw(trainer: "GRPOTrainer", num_missing: int, num_rows: int) -> list[dict[str, Any]]:
    """Return this process's rows of a round; rewards that need whole groups get them if the batch's `num_rows` are."""
    group, num_processes = _group_size(trainer), trainer.accelerator.num_processes
    num_prompts = num_prompts_of_round(num_missing, group, num_processes, are_whole=num_rows % group == 0)
    rows = [dict(row) for row in trainer.prompt_stream.take(num_prompts) for _ in range(group)]
    share, rank = len(rows) // num_processes, trainer.accelerator.process_index
    return rows[rank * share : (rank + 1) * share]


def _fill(
    trainer: "GRPOTrainer",
    batch: dict[str, torch.Tensor],
    slots: Sequence[int],
    refill: dict[str, torch.Tensor],
    groups: Sequence[int],
) -> None:
    """Write groups of a refill into slots of the batch, whichever processes have their rows."""
    if not groups:
        return
    places, is_here = _rows_here(trainer, batch, slots)
    sources = _row_numbers(trainer, groups)[is_here]
    for name in _names_of_rows(batch):
        padding, is_left = _padding(trainer, name), name.startswith("prompt_")
        gather, pad = trainer.accelerator.gather, trainer.accelerator.pad_across_processes
        drawn = gather(pad(refill[name], dim=1, pad_index=padding, pad_first=is_left))
        width = max(rows.shape[1] if rows.ndim == 2 else 0 for rows in (batch[name], drawn))
        batch[name] = _widened(batch[name], width, padding, is_left=is_left)
        batch[name][places] = _widened(drawn, width, padding, is_left=is_left)[sources.to(drawn.device)]


def _leave_out(trainer: "GRPOTrainer", batch: dict[str, torch.Tensor], slots: Sequence[int]) -> None:
    """Make completions of groups padding as a whole, so that nothing is learned from them."""
    places, _ = _rows_here(trainer, batch, slots)
    for name in _names_of_rows(batch):
        if not name.startswith("prompt_"):
            batch[name][places] = _padding(trainer, name)


def _set_normalizer(trainer: "GRPOTrainer", batch: Round, *, num_kept: int) -> None:
    """Let the loss be the mean over the tokens, or the rows, of the groups that were kept."""
    rows = batch.rows
    num_tokens = (rows["completion_mask"] * rows.get("tool_mask", 1)).sum()
    rows["num_items_in_batch"] = trainer.accelerator.gather(num_tokens).sum()
    if trainer.loss_type in MEANS_OVER_ROWS:
        rows["loss_scale"] = torch.tensor(len(batch.is_informative_P) / max(num_kept, 1), device=num_tokens.device)


def _log(trainer: "GRPOTrainer", rounds: Sequence[Round], num_missing: int, num_learned: float) -> None:
    num_groups, num_generated = len(rounds[0].is_informative_P), sum(each.lengths_PG.sum().item() for each in rounds)
    figures = {
        "rounds": len(rounds) - 1,
        "dropped_groups": 1 - torch.cat([each.is_informative_P for each in rounds]).float().mean().item(),
        "missing_groups": num_missing / num_groups,
        "wasted_tokens": 1 - num_learned / num_generated,
    }
    metrics = trainer._metrics["train"]
    for name, value in figures.items():
        metrics[f"dynamic_sampling/{name}"].append(value)
    metrics["num_tokens"] = [trainer.state.num_input_tokens_seen]
    if num_missing == num_groups:
        logger.warning(
            "Step %d: the rewards of each group are all equal, also after `dynamic_sampling_rounds: %d`, so the batch "
            "teaches nothing. Are the problems too hard or too easy for the model?",
            trainer.state.global_step + 1,
            trainer.args.dynamic_sampling_rounds,
        )


@contextmanager
def _refilling(trainer: "GRPOTrainer") -> Iterator[None]:
    """Keep rounds of refills out of the figures of the batch, and out of what stops a run in an outage."""
    metrics, trainer._metrics["train"] = trainer._metrics["train"], defaultdict(list)
    # TRL's table of completions has the rows of a whole batch: a column that a refill logs first would have fewer.
    table, trainer._logs = trainer._logs, copy.deepcopy(trainer._logs)
    trainer.is_refilling = True
    try:
        yield
    finally:
        trainer._metrics["train"], trainer._logs, trainer.is_refilling = metrics, table, False


def _group_size(trainer: "GRPOTrainer") -> int:
    return trainer.num_generations or 1  # TRL's types leave room for None


def _numbers(is_true_P: torch.Tensor) -> list[int]:
    return is_true_P.nonzero().flatten().tolist()


def _row_numbers(trainer: "GRPOTrainer", groups: Sequence[int]) -> torch.Tensor:
    """Return the rows of groups, numbered across processes."""
    group = _group_size(trainer)
    return torch.tensor([number * group + row for number in groups for row in range(group)], dtype=torch.long)


def _rows_here(
    trainer: "GRPOTrainer", batch: dict[str, torch.Tensor], groups: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which of the groups' rows this process has: their places among its rows, and a mask over them all."""
    num_rows, device = len(batch["completion_ids"]), batch["completion_ids"].device
    places = _row_numbers(trainer, groups) - trainer.accelerator.process_index * num_rows
    is_here = (places >= 0) & (places < num_rows)
    return places[is_here].to(device), is_here


def _names_of_rows(batch: dict[str, torch.Tensor]) -> list[str]:
    return [name for name, value in batch.items() if value.ndim > 0]


def _padding(trainer: "GRPOTrainer", name: str) -> float:
    """Return what stands where there is no token; a ratio of 1 adds nothing to a sum of logarithms."""
    ids = trainer.processing_class.pad_token_id
    return {"prompt_ids": ids, "completion_ids": ids, "importance_sampling_ratio": 1.0}.get(name, 0)


def _widened(rows: torch.Tensor, width: int, padding: float, *, is_left: bool) -> torch.Tensor:
    if rows.ndim == 1:
        return rows
    missing = width - rows.shape[1]
    return torch.nn.functional.pad(rows, (missing, 0) if is_left else (0, missing), value=padding)
