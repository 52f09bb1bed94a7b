# SPDX-License-Identifier: Apache-2.0
"""Micro-batches of GRPO without the padding that TRL hands from a whole generation batch to each of them.

Cut: a micro-batch loses the columns that are padding in all its rows. Deal: the rows that were generated together and
serve one optimizer step (a window) are sorted by length and dealt anew, so that rows of like length share a
micro-batch. Longest first, so that what does not fit the GPU fails at once; each rank deals its own rows in this
order, so that no rank waits long for another.

What is exact, up to the rounding of floats, and why:
1. Cutting: TRL masks padding in the attention, the loss and the metrics. Rotary positions are relative, so columns may
   go on the left too. Positions counted from the first column (GPT-2), rotary frequencies that depend on the width
   (`dynamic`, `longrope`), and attention that is scaled by position (Llama 4, Ministral 3) see padding: with those,
   and with images, a batch is left as TRL made it.
   Of a row that `mask_truncated_completions` masks, all completion columns are padding.
2. Dealing: within a window TRL adds up the losses of micro-batches. The sum does not depend on which rows meet in one
   if the loss is a sum over rows: grpo, sapo, dr_grpo and luspo divide by the rows of a micro-batch, as many in each;
   dapo, cispo and vespo by a number of the generation batch. bnpo, the entropy bonus and the auxiliary loss of experts
   divide by what is in the micro-batch; the quantile of `top_entropy_quantile` is one of the micro-batch; dropout
   draws by position. There, and with a loss of one's own that isn't declared a sum over rows, nothing is dealt.
3. VESPO sums the logarithms of vLLM's importance ratios over padding too. They are 0 as long as 1 lies between
   `vllm_importance_sampling_clip_min` and `_max`.
4. Rounding: in bf16 a log-prob differs a little with the shape of its batch. Old log-probs and those of the update are
   computed in batches of different rows and widths, so that their ratio before the first step is 1 but for rounding;
   TRL's batches are all of one shape.

Letters: B rows of a micro-batch, P columns of prompts, T columns of completions.
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad
from transformers import PretrainedConfig, PreTrainedModel

if TYPE_CHECKING:
    from open_r1.training.trainer import GRPOTrainer

logger = logging.getLogger(__name__)

SUMS_OVER_ROWS = ("grpo", "sapo", "dr_grpo", "luspo", "dapo", "cispo", "vespo")
# Means over the tokens of a micro-batch; with sequence-level importance sampling over its rows.
CLIP_RATIOS = {"clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean", "cispo_clip_ratio"}
# TRL takes a (B, 1) tensor for one value per sequence, whose metrics it averages without the mask.
_MIN_COMPLETION_COLUMNS = 2

MicroBatch = dict[str, Any]


def shorten(batches: list[MicroBatch], trainer: "GRPOTrainer") -> list[MicroBatch]:
    """Return the micro-batches of a generation batch, dealt by length where that is exact, and cut."""
    if not is_width_free(trainer.model.config) or not all(map(_is_understood, batches)):
        return batches
    reason = reason_not_to_deal(trainer)
    if reason is None:
        window = min(trainer.args.gradient_accumulation_steps, len(batches))
        batches = [
            batch for start in range(0, len(batches), window) for batch in deal_rows(batches[start : start + window])
        ]
    else:
        _note(reason)
    return [cut_padding(batch, trainer.args.pad_to_multiple_of) for batch in batches]


@cache
def _note(reason: str) -> None:
    logger.info("Rows are not dealt to micro-batches by length: %s.", reason)


def reason_not_to_deal(trainer: "GRPOTrainer") -> str | None:
    """Return why gradients would depend on which rows share a micro-batch, or None where they don't."""
    args, own_loss = trainer.args, trainer.own_loss
    accumulated, per_generation = args.gradient_accumulation_steps, args.steps_per_generation
    reasons = {
        "`deal_by_length` is off": not args.deal_by_length,
        f"`loss_type: {trainer.loss_type}` divides by the tokens of a micro-batch": trainer.loss_type
        not in SUMS_OVER_ROWS,
        "`loss` is not declared a sum over rows": own_loss is not None and not own_loss.is_row_separable,
        "the entropy bonus is a mean over a micro-batch": trainer._entropy_bonus_enabled,
        "`top_entropy_quantile` is one of a micro-batch": trainer.top_entropy_quantile < 1.0,
        "the auxiliary loss of the experts is one of a micro-batch": trainer.aux_loss_enabled,
        "neither of `steps_per_generation` and `gradient_accumulation_steps` is a multiple of the other": bool(
            per_generation % accumulated and accumulated % per_generation
        ),
        "the model has dropout": has_dropout(trainer.model),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def has_dropout(model: PreTrainedModel) -> bool:
    """Return whether a layer drops values in training, or the config says that the attention does."""
    layers = (module for module in model.modules() if isinstance(module, torch.nn.modules.dropout._DropoutNd))
    # Models hand `attention_dropout` to a function, so that no layer shows it.
    settings = model.config.get_text_config().to_dict()
    rates = (value for name, value in settings.items() if "drop" in name)
    return any(layer.p > 0 for layer in layers) or any(bool(rate) for rate in rates)


def is_width_free(config: PretrainedConfig) -> bool:
    """Return whether what a token gets from the model is known not to depend on the columns of padding."""
    settings = config.get_text_config().to_dict()
    parameters = settings.get("rope_parameters") or {}
    # One mapping, or one for each kind of layer.
    kinds = [entry for entry in parameters.values() if isinstance(entry, dict)] or [parameters]
    types = [kind.get("rope_type") for kind in kinds]
    if settings.get("attn_temperature_tuning") or any("llama_4_scaling_beta" in kind for kind in kinds):
        return False
    return all(isinstance(name, str) and "dynamic" not in name and name != "longrope" for name in types)


def _is_understood(batch: MicroBatch) -> bool:
    """Return whether all in a micro-batch is a scalar, one value per row, or one per column: not so with images."""
    num_rows, num_columns = batch["completion_ids"].shape

    def is_known(name: str, value: object) -> bool:
        if not isinstance(value, torch.Tensor):
            return value is None or isinstance(value, float | int)
        shape = batch["prompt_ids"].shape if name.startswith("prompt_") else (num_rows, num_columns)
        return tuple(value.shape) in ((), (num_rows,), (num_rows, 1), tuple(shape))

    return all(is_known(name, value) for name, value in batch.items())


def lengths_tokens(batch: MicroBatch) -> torch.Tensor:
    """Return the tokens of each row, prompt and completion, that are no padding; shape (B,)."""
    return batch["prompt_mask"].sum(1) + batch["completion_mask"].sum(1)


def deal_rows(batches: Sequence[MicroBatch]) -> list[MicroBatch]:
    """Return as many micro-batches of the same rows: the longest rows in the first, the shortest in the last.

    What is no tensor of rows must be the same for all micro-batches; where it isn't, they stay as they are.
    """
    sizes = [len(batch["completion_ids"]) for batch in batches]
    is_of_rows = {name: isinstance(value, torch.Tensor) and value.ndim > 0 for name, value in batches[0].items()}
    shared = [name for name, is_one in is_of_rows.items() if not is_one]
    if len(set(sizes)) > 1 or any(batch[name] is not batches[0][name] for batch in batches for name in shared):
        return list(batches)
    order = torch.cat([lengths_tokens(batch) for batch in batches]).argsort(descending=True, stable=True)
    merged = {name: torch.cat([batch[name] for batch in batches]) for name, is_one in is_of_rows.items() if is_one}
    return [
        {name: merged[name][rows] if name in merged else batches[0][name] for name in is_of_rows}
        for rows in order.split(sizes)
    ]


def cut_padding(batch: MicroBatch, multiple: int | None = None) -> MicroBatch:
    """Return the micro-batch without the columns that are padding in all rows: prompts left, completions right.

    Args:
        batch: Masks of shape (B, P) and (B, T), and other tensors of these widths, (B, 1) or (B,).
        multiple: The columns left are a multiple of it, as those before are.
    """
    prompt_width, completion_width = batch["prompt_ids"].size(1), batch["completion_ids"].size(1)
    num_prompt = _columns_to_keep(batch["prompt_mask"].flip(1), 1, multiple)
    num_completion = _columns_to_keep(batch["completion_mask"], _MIN_COMPLETION_COLUMNS, multiple)

    def cut(name: str, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.ndim < 2:
            return value
        # Contiguous: a view would keep the whole in memory and in checkpoints.
        if name.startswith("prompt_"):
            return value[:, prompt_width - num_prompt :].contiguous()
        return value if value.size(1) != completion_width else value[:, :num_completion].contiguous()

    return {name: cut(name, value) for name, value in batch.items()}


def _columns_to_keep(mask: torch.Tensor, at_least: int, multiple: int | None) -> int:
    """Return how many leading columns hold all that the mask, shape (B, columns), keeps."""
    used = mask.any(0).nonzero()
    number = max(at_least, int(used[-1]) + 1 if len(used) else 0)
    return min(math.ceil(number / (multiple or 1)) * (multiple or 1), mask.size(1))


def log_probs_by_length(
    log_probs_of: Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor],
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    num_completion_columns: int,
    batch_size: int,
    multiple: int | None = None,
) -> torch.Tensor:
    """Return log-probs of completions, shape (rows, T), computed in batches of rows of like length without padding.

    Args:
        log_probs_of: Computes those of a batch from its ids, its mask, shapes (B, P + T), and its number T.
        input_ids: Prompts, padded left, and completions, padded right; shape (rows, P + T).
        attention_mask: 0 where `input_ids` are padding. There the result is 0, as TRL's is.
        num_completion_columns: T.
        batch_size: Rows of a batch, B.
        multiple: See `cut_padding`.
    """
    order, found = attention_mask.sum(1).argsort(descending=True, stable=True), []
    for rows in order.split(batch_size):
        (prompt_ids, completion_ids), (prompt_mask, completion_mask) = (
            (tensor[rows, :-num_completion_columns], tensor[rows, -num_completion_columns:])
            for tensor in (input_ids, attention_mask)
        )
        batch = cut_padding(
            {
                "prompt_ids": prompt_ids,
                "prompt_mask": prompt_mask,
                "completion_ids": completion_ids,
                "completion_mask": completion_mask,
            },
            multiple,
        )
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        num_columns = batch["completion_ids"].size(1)
        found.append(pad(log_probs_of(ids, mask, num_columns), (0, num_completion_columns - num_columns)))
    return torch.cat(found)[order.argsort()]


def weigh_by_tokens(metrics: dict[str, list[float]], names: Iterable[str], num_tokens: list[float]) -> None:
    """Replace what was noted of each micro-batch since the last log by its mean over tokens.

    TRL would average micro-batches alike, those of short completions like those of long ones.

    Args:
        metrics: Of each micro-batch, by name; changed in place.
        names: Those that are means over tokens.
        num_tokens: Tokens in the loss of each micro-batch, over all ranks.
    """
    for name in names:
        values = metrics.get(name, [])
        known = [(value, weight) for value, weight in zip(values, num_tokens, strict=False) if not math.isnan(value)]
        total = sum(weight for _, weight in known)
        if len(values) == len(num_tokens) and total > 0:
            metrics[name] = [sum(value * weight for value, weight in known) / total]
