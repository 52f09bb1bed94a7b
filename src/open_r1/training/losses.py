# SPDX-License-Identifier: Apache-2.0
"""Losses and advantages that TRL doesn't have: those of the tables here, and functions of the user's own.

Shapes: B completions of a micro-batch, T their tokens, P prompts of a generation batch (of all processes), G
completions of a prompt. The examples of docs/training.md are run by a test.

A loss says what each token contributes, an advantage what each completion is worth. All around them is as in TRL 1.16,
in its arithmetic (`GRPOTrainer._compute_loss`): what an own loss returns is weighted by the off-policy mask, the
high-entropy mask and vLLM's importance ratio, gets `beta` times the KL divergence from the reference, and is averaged
as TRL averages `loss_type`. Two things differ:
1. There is no entropy bonus; preflight refuses its settings.
2. vLLM's importance ratio counts with `loss_type: vespo` too, whose objective in TRL has it inside.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch

from open_r1.configs import GRPOConfig
from open_r1.data.user_code import is_user_place, load_function

LossArguments = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]
Advantage = Callable[[torch.Tensor, GRPOConfig], torch.Tensor]

# What TRL's forward pass takes beside ids and masks; only models of images have them.
_IMAGE_INPUTS = (
    *("pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "spatial_shapes", "num_tiles"),
    *("image_sizes", "token_type_ids", "mm_token_type_ids", "image_position_ids"),
)


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


def compute_own_loss(trainer: Any, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    """Return the loss of a micro-batch by `trainer.own_loss`; log entropy, KL and what the loss has measured."""
    log_probs_BT, entropies_BT, router_loss = _forward(trainer, model, inputs)
    mask_BT = inputs["completion_mask"] * inputs.get("tool_mask", 1)
    old_log_probs_BT = inputs.get("old_per_token_logps")  # None: the policy is still the one that sampled
    old_log_probs_BT = log_probs_BT.detach() if old_log_probs_BT is None else old_log_probs_BT
    ref_log_probs_BT, advantages_B = inputs.get("ref_per_token_logps"), inputs["advantages"]
    arguments = log_probs_BT, old_log_probs_BT, ref_log_probs_BT, advantages_B, mask_BT
    losses_BT, metrics = token_losses(trainer.own_loss, arguments, trainer.args)
    for weights in _token_weights(trainer, inputs, entropies_BT, *arguments):
        losses_BT = losses_BT * weights
    metrics["entropy"] = entropies_BT
    if ref_log_probs_BT is not None:
        kl_BT = torch.exp(ref_log_probs_BT - log_probs_BT) - (ref_log_probs_BT - log_probs_BT) - 1
        if trainer.args.use_bias_correction_kl:
            kl_BT = kl_BT * importance_ratios(log_probs_BT, old_log_probs_BT, mask_BT, trainer.args)
        losses_BT, metrics["kl"] = losses_BT + trainer.beta * kl_BT, kl_BT
    logged = trainer._metrics["train" if trainer.model.training else "eval"]
    trainer.means_over_tokens |= metrics.keys()
    for name, values_BT in metrics.items():
        logged[name].append(_mean(trainer, values_BT, mask_BT))
    loss = _average(trainer, inputs, losses_BT, mask_BT)
    if router_loss is not None:
        loss = loss + trainer.router_aux_loss_coef * router_loss / _num_micro_batches(trainer)
        logged["aux_loss"].append(trainer.accelerator.gather_for_metrics(router_loss).mean().item())
    return loss


def _forward(
    trainer: Any, model: torch.nn.Module, inputs: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return log-probs and entropies (B, T), and the load-balancing loss of a mixture of experts that has one."""
    return trainer._get_per_token_logps_and_entropies(
        model,
        torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1),
        torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1),
        inputs["completion_ids"].size(1),
        compute_entropy=True,
        compute_aux_loss=trainer.aux_loss_enabled,
        **{name: inputs.get(name) for name in _IMAGE_INPUTS},
    )


def _token_weights(
    trainer: Any,
    inputs: dict[str, Any],
    entropies_BT: torch.Tensor,
    log_probs_BT: torch.Tensor,
    old_log_probs_BT: torch.Tensor,
    ref_log_probs_BT: torch.Tensor | None,
    advantages_B: torch.Tensor,
    mask_BT: torch.Tensor,
) -> Iterator[torch.Tensor]:
    """Yield what TRL multiplies the losses of tokens by, (B, T) or (B, 1), in its order."""
    if trainer.off_policy_mask_threshold is not None:
        sampling_log_probs_BT = inputs.get("sampling_per_token_logps", old_log_probs_BT)
        threshold = trainer.off_policy_mask_threshold
        yield trainer.get_off_policy_mask(
            advantages_B[:, None], log_probs_BT, sampling_log_probs_BT, mask_BT, threshold
        )
    if trainer.top_entropy_quantile < 1.0:
        yield trainer.get_high_entropy_mask(entropies_BT, mask_BT, 1 - trainer.top_entropy_quantile)
    if trainer.use_vllm and trainer.vllm_importance_sampling_correction:
        yield inputs["importance_sampling_ratio"]


def _average(trainer: Any, inputs: dict[str, Any], losses_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return the share of a micro-batch in the loss of its optimizer step, by TRL's rule for `loss_type`."""
    masked_BT, num_micro_batches = losses_BT * mask_BT, _num_micro_batches(trainer)
    if trainer.loss_type in ("cispo", "dapo", "vespo"):  # a step has a part of the generation batch's tokens
        num_tokens = inputs["num_items_in_batch"].clamp(min=1.0) / trainer.accelerator.num_processes
        if trainer.model.training:
            num_tokens = num_tokens * num_micro_batches / trainer.args.steps_per_generation
        return masked_BT.sum() / num_tokens
    if trainer.loss_type in ("grpo", "sapo"):
        mean = (masked_BT.sum(-1) / mask_BT.sum(-1).clamp(min=1.0)).mean()
    elif trainer.loss_type == "luspo":
        mean = masked_BT.sum(-1).mean()
    elif trainer.loss_type == "bnpo":
        mean = masked_BT.sum() / mask_BT.sum().clamp(min=1.0)
    elif trainer.loss_type == "dr_grpo":
        mean = masked_BT.sum() / (len(masked_BT) * trainer.max_completion_length)
    else:
        raise ValueError(f"Unknown `loss_type: {trainer.loss_type}`.")
    return mean / num_micro_batches


def _num_micro_batches(trainer: Any) -> float:
    """Return how many of them an optimizer step has; an evaluation takes each by itself."""
    return trainer.current_gradient_accumulation_steps if trainer.model.training else 1.0


def _mean(trainer: Any, values_BT: torch.Tensor, mask_BT: torch.Tensor) -> float:
    """Return the mean over the tokens of all processes."""
    totals = torch.stack([(values_BT.detach() * mask_BT).sum(), mask_BT.sum().float()])
    total, number = trainer.accelerator.reduce(totals, reduction="sum")
    return (total / number.clamp(min=1.0)).item()
