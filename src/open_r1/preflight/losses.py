# SPDX-License-Identifier: Apache-2.0
"""A trial call of a loss and an advantage of the user's own, before a model loads."""

import torch

from open_r1.configs import GRPOConfig
from open_r1.configs.stages import build_stages
from open_r1.training.losses import Loss, advantages_of, load_advantage, load_loss, token_losses

# Completions of three tokens and of one, and one that is left out.
_LOG_PROBS_BT = [[-0.5, -1.0, -2.0], [-0.25, -3.0, -0.75], [-1.0, -0.5, -2.0]]
_OLD_LOG_PROBS_BT = [[-0.75, -1.0, -1.0], [-0.5, -3.0, -0.75], [-1.0, -0.5, -2.0]]
_ADVANTAGES_B = [1.0, -1.0, 0.0]
_MASK_BT = [[1, 1, 1], [1, 0, 0], [0, 0, 0]]


def check_own_loss(training_args: GRPOConfig) -> None:
    """Refuse a loss that is not there or fails, and settings that it would leave without effect.

    Raises:
        ValueError: See the message.
    """
    loss = load_loss(training_args.loss)
    if loss is None:
        return
    if training_args.entropy_coef or training_args.use_adaptive_entropy:
        raise ValueError(
            f"`loss: {training_args.loss}` has no entropy bonus: remove `entropy_coef` and `use_adaptive_entropy`, or "
            "`loss`."
        )
    has_empty_rows = training_args.mask_truncated_completions or training_args.dynamic_sampling_rounds > 0
    num_rows = len(_MASK_BT) if has_empty_rows else len(_MASK_BT) - 1
    try:
        losses_BT, gradient_BT = _try_loss(loss, training_args, slice(num_rows))
        rows = [_try_loss(loss, training_args, slice(row, row + 1))[0] for row in range(num_rows)]
    except Exception as error:  # whatever the user's code raises, which is kept as the cause
        raise ValueError(
            f"`loss: {training_args.loss}` fails in a trial call ({type(error).__name__}: {error})."
        ) from error
    if not gradient_BT.isfinite().all():
        raise ValueError(f"`loss: {training_args.loss}` has the gradient {gradient_BT.tolist()} in a trial call.")
    if loss.is_row_separable and not torch.allclose(torch.cat(rows), losses_BT):
        raise ValueError(
            f"`loss: {training_args.loss}` is declared `row_separable`, but the losses of a completion depend on "
            "others in its micro-batch: remove the decorator."
        )


def _try_loss(loss: Loss, training_args: GRPOConfig, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses of some completions, and the gradient with respect to their log-probs."""
    log_probs_BT, old_log_probs_BT, advantages_B, mask_BT = (
        torch.tensor(values[rows], device=training_args.device)
        for values in (_LOG_PROBS_BT, _OLD_LOG_PROBS_BT, _ADVANTAGES_B, _MASK_BT)
    )
    log_probs_BT.requires_grad_()
    ref_log_probs_BT = old_log_probs_BT if training_args.beta else None
    arguments = log_probs_BT, old_log_probs_BT, ref_log_probs_BT, advantages_B, mask_BT
    losses_BT, _ = token_losses(loss, arguments, training_args)
    return losses_BT.detach(), torch.autograd.grad((losses_BT * mask_BT).sum(), log_probs_BT)[0]


def check_own_advantage(training_args: GRPOConfig) -> None:
    """Refuse an advantage that is not there or fails, and settings that it would leave without effect.

    Raises:
        ValueError: See the message.
    """
    advantage = load_advantage(training_args.advantage)
    if advantage is None:
        return
    if training_args.multi_objective_aggregation != "sum_then_normalize":
        raise ValueError(
            f"`advantage: {training_args.advantage}` sees the weighted sum of the rewards, so that "
            f"`multi_objective_aggregation: {training_args.multi_objective_aggregation}` would have no effect: remove "
            "one of them."
        )
    group_sizes = {training_args.num_generations, training_args.num_generations_eval}
    group_sizes |= {stage.overrides.get("num_generations") for stage in build_stages(training_args.stages)}
    group_sizes |= {1} if training_args.eval_greedy else set()
    for group_size in filter(None, group_sizes):
        rewards_PG = torch.zeros(2, group_size, device=training_args.device)
        rewards_PG[0, 0], rewards_PG[0, -1] = 1.0, torch.nan  # a completion that could not be judged; equal rewards
        try:
            advantages_PG = advantages_of(advantage, rewards_PG, training_args)
        except Exception as error:  # whatever the user's code raises, which is kept as the cause
            raise ValueError(
                f"`advantage: {training_args.advantage}` fails in a trial call with groups of {group_size} "
                f"({type(error).__name__}: {error})."
            ) from error
        if advantages_PG.abs().max() >= torch.finfo(advantages_PG.dtype).max:  # infinite, before `advantages_of`
            raise ValueError(
                f"`advantage: {training_args.advantage}` makes of the rewards {rewards_PG.tolist()} "
                f"{advantages_PG.tolist()}: it must stay finite where all rewards of a group are equal."
            )
