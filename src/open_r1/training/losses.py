# SPDX-License-Identifier: Apache-2.0
"""Losses and advantages that TRL doesn't have: those of the tables here, and functions of the user's own.

Shapes: B completions of a micro-batch, T their tokens, P prompts of a generation batch (of all processes), G
completions of a prompt. The examples of docs/training.md are run by a test.

A loss says what each token contributes, an advantage what each completion is worth. All around them is TRL's. It
computes -min(ratio * advantage, clipped ratio * advantage) for each token: with ratios of 1, and the own loss with the
other sign as the advantage, that is the own loss. The high-entropy mask, vLLM's importance ratio, `beta` times the KL
divergence, the average of `loss_type` and the entropy bonus follow. Two settings need the policy's own ratios and are
refused: `off_policy_mask_threshold`, and `use_bias_correction_kl` with a `beta`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from open_r1.configs import GRPOConfig
from open_r1.data.user_code import is_user_place, load_function

LossArguments = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]
Advantage = Callable[[torch.Tensor, GRPOConfig], torch.Tensor]

# The clipped losses that are averaged as these are.
_AVERAGED_AS = {"sapo": "grpo", "cispo": "dapo", "vespo": "dapo"}


class Loss(Protocol):
    """What a token contributes to the loss.

    Attributes:
        is_row_separable: Whether the losses of a completion depend on no other one, nor on how many tokens behind it
            are masked. Completions may then change micro-batches.
    """

    is_row_separable: bool

    def __call__(
        self,
        log_probs_BT: torch.Tensor,
        old_log_probs_BT: torch.Tensor,
        ref_log_probs_BT: torch.Tensor | None,
        advantages_B: torch.Tensor,
        mask_BT: torch.Tensor,
        settings: GRPOConfig,
        /,
    ) -> torch.Tensor | tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return losses (B, T), perhaps with metrics (B, T) by name, whose means over the tokens are logged.

        Args:
            log_probs_BT: Of the policy, which the gradient goes through.
            old_log_probs_BT: Of the policy that sampled.
            ref_log_probs_BT: Of the reference; None with `beta: 0`.
            advantages_B: One for each completion.
            mask_BT: 1 for tokens that are learned from, 0 for padding, tools and the like.
            settings: The recipe.
        """


def row_separable(loss: Any) -> Loss:
    """Declare that a loss is separable by rows; see `Loss`."""
    loss.is_row_separable = True
    return loss


def importance_ratios(
    log_probs_BT: torch.Tensor, old_log_probs_BT: torch.Tensor, mask_BT: torch.Tensor, settings: GRPOConfig
) -> torch.Tensor:
    """Return what the policy makes of the probability it sampled with, (B, T), by `importance_sampling_level`.

    `sequence`: the geometric mean over a completion's tokens, at each of them (GSPO, arXiv:2507.18071, equation 7).
    """
    log_ratios_BT = log_probs_BT - old_log_probs_BT
    if settings.importance_sampling_level == "sequence":
        means_B = (log_ratios_BT * mask_BT).sum(-1) / mask_BT.sum(-1).clamp(min=1.0)
        log_ratios_BT = means_B[:, None].expand_as(log_probs_BT)
    return torch.exp(log_ratios_BT)


@row_separable
def reinforce(
    log_probs_BT: torch.Tensor,
    old_log_probs_BT: torch.Tensor,
    ref_log_probs_BT: torch.Tensor | None,
    advantages_B: torch.Tensor,
    mask_BT: torch.Tensor,
    settings: GRPOConfig,
) -> torch.Tensor:
    """Return the policy gradient weighted by importance, nothing clipped (arXiv:1707.06347, equation 6)."""
    return -importance_ratios(log_probs_BT, old_log_probs_BT, mask_BT, settings) * advantages_B[:, None]


def rloo(rewards_PG: torch.Tensor, settings: GRPOConfig) -> torch.Tensor:
    """Return each reward minus the mean of the others in its group (REINFORCE leave-one-out, arXiv:2402.14740).

    Nothing is scaled, whatever `scale_rewards` says. A completion that is alone in being scored has no others: NaN.
    """
    num_scored_P1 = rewards_PG.isfinite().sum(1, keepdim=True)
    return (num_scored_P1 * rewards_PG - rewards_PG.nansum(1, keepdim=True)) / (num_scored_P1 - 1)


LOSSES: dict[str, Loss] = {"reinforce": reinforce}
ADVANTAGES: dict[str, Advantage] = {"rloo": rloo}


def load_loss(name: str | None) -> Loss | None:
    """Return the loss of that name or place, with `is_row_separable` set; None, TRL's, for None.

    Raises:
        ValueError: There is none.
    """
    loss = _load(name, LOSSES, "loss")
    if loss is not None:
        loss.is_row_separable = getattr(loss, "is_row_separable", False)
    return loss


def load_advantage(name: str | None) -> Advantage | None:
    """Return the advantage of that name or place; None, TRL's, for None.

    Raises:
        ValueError: There is none.
    """
    return _load(name, ADVANTAGES, "advantage")


def _load(name: str | None, table: Mapping[str, Any], setting: str) -> Any:
    if name is None or name in table:
        return table.get(name or "")
    if not is_user_place(name):
        raise ValueError(
            f"Unknown `{setting}: {name}`. Available: {', '.join(sorted(table))}; a function of your own "
            "(path/to/file.py:function)."
        )
    return load_function(name, role="function", setting=f"`{setting}`")[0]


def token_losses(
    loss: Loss, arguments: LossArguments, settings: GRPOConfig
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the losses (B, T) that a function gives, and its metrics (B, T) by name.

    Args:
        loss: The function.
        arguments: Its arguments but the last; the mask (B, T) is the last of them.
        settings: Its last argument.

    Raises:
        ValueError: A shape is another than the mask's, and could be broadcast to what wasn't meant.
    """
    found = loss(*arguments, settings)
    losses_BT, metrics = found if isinstance(found, tuple) else (found, {})
    for name, values in {"losses": losses_BT, **metrics}.items():
        _check_shape(f"`loss: {settings.loss}` returned {name}", values, arguments[-1])
    return losses_BT, metrics


def advantages_of(advantage: Advantage, rewards_PG: torch.Tensor, settings: GRPOConfig) -> torch.Tensor:
    """Return the advantages (P, G) that a function gives, 0 where they or the rewards are NaN.

    Raises:
        ValueError: They have another shape.
    """
    advantages_PG = advantage(rewards_PG, settings)
    _check_shape(f"`advantage: {settings.advantage}` returned advantages", advantages_PG, rewards_PG)
    # An outage of a reward must not punish the policy, whatever the function makes of NaN.
    return torch.nan_to_num(advantages_PG.to(rewards_PG.dtype), nan=0.0).masked_fill(rewards_PG.isnan(), 0.0)


def _check_shape(what: str, found: torch.Tensor, like: torch.Tensor) -> None:
    if found.shape != like.shape:
        raise ValueError(f"{what} of shape {tuple(found.shape)}: it must be {tuple(like.shape)}.")


def replace_advantages(trainer: Any, output: dict[str, torch.Tensor]) -> None:
    """Put the own advantages into a generation batch, and into TRL's table of completions.

    Args:
        trainer: Has `own_advantage`, and the rewards of all processes.
        output: What `_generate_and_score_completions` returns, on this process.
    """
    group_size = trainer.num_generations if trainer.model.training else trainer.num_generations_eval
    rewards_PG = trainer.weighted_rewards().view(-1, group_size)
    found = advantages_of(trainer.own_advantage, rewards_PG, trainer.args).flatten()
    num_local = len(output["advantages"])
    output["advantages"] = found[trainer.accelerator.process_index * num_local :][:num_local]
    logged = trainer._logs["advantages"]
    earlier = list(logged)[: -len(found)]
    logged.clear()
    logged.extend([*earlier, *found.tolist()])


def compute_own_loss(
    trainer: Any,
    compute_loss: Callable[[torch.nn.Module, dict[str, Any]], torch.Tensor],
    model: torch.nn.Module,
    inputs: dict[str, Any],
) -> torch.Tensor:
    """Return the loss of a micro-batch by `trainer.own_loss`, and log what that has measured.

    Args:
        trainer: The trainer.
        compute_loss: TRL's method. It reads advantages and old log-probs when it has called the model.
        model: Takes the micro-batch.
        inputs: The micro-batch.
    """
    inputs, forward, loss_type = dict(inputs), trainer._get_per_token_logps_and_entropies, trainer.loss_type

    def call_and_judge(*args: Any, **kwargs: Any) -> tuple:
        log_probs_BT, *others = forward(*args, **kwargs)
        mask_BT = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        old_log_probs_BT = inputs.get("old_per_token_logps")  # None: the policy is still the one that sampled
        old_log_probs_BT = log_probs_BT.detach() if old_log_probs_BT is None else old_log_probs_BT
        arguments = log_probs_BT, old_log_probs_BT, inputs.get("ref_per_token_logps"), inputs["advantages"], mask_BT
        losses_BT, metrics = token_losses(trainer.own_loss, arguments, trainer.args)
        for name, values_BT in metrics.items():
            totals = torch.stack([(values_BT.detach() * mask_BT).sum(), mask_BT.sum().float()])
            total, number = trainer.accelerator.reduce(totals, reduction="sum")
            logged = trainer._metrics["train" if trainer.model.training else "eval"]
            logged[name].append((total / number.clamp(min=1.0)).item())
        log_probs_BT = log_probs_BT if trainer.beta else log_probs_BT.detach()  # only the KL divergence needs more
        inputs.update(advantages=-losses_BT, old_per_token_logps=log_probs_BT)
        return log_probs_BT, *others

    trainer._get_per_token_logps_and_entropies = call_and_judge
    trainer.loss_type = _AVERAGED_AS.get(loss_type, loss_type)
    try:
        return compute_loss(model, inputs)
    finally:
        trainer._get_per_token_logps_and_entropies, trainer.loss_type = forward, loss_type
