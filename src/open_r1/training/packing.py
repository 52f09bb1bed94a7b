# SPDX-License-Identifier: Apache-2.0
"""Log-probs of completions without padding: the rows of a micro-batch are one long row for the model.

    prompt_ids, completion_ids (B, P), (B, T)      [- - 5 6 | 7 8 - -], [- 2 3 4 | 9 - - -]
    one row for the model                          [5 6 7 8  2 3 4 9]
    position_ids                                   [0 1 2 3  0 1 2 3]
    log-probs, scattered back to (B, T)            [a b 0 0], [c 0 0 0]

1. No row sees another: flash attention, and the mask that transformers makes for eager attention, follow the
   positions. SDPA attends row by row here, since the mask of a pack would be quadratic in its length.
2. Only completions go through the LM head.
3. A model for which this isn't exact (one with a recurrent state, say) is found by `is_exact`, not by its name.
4. In bf16 a log-prob depends a little on the shape of its batch. Old and reference log-probs are therefore computed in
   the packs of the update: before the first step their ratio to the policy's is exactly 1.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

# Tokens of the longest row of the pack that is in a model now. torch.compile can't read a context variable.
_longest_rows: list[int] = []


def attend_by_row(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    row_lengths: tuple[int, ...] | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA; of a pack, (1, heads, tokens, size), each row by itself."""
    if row_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if len(set(row_lengths)) == 1 and attention_mask is None:
        rows = (tensor[0].unflatten(1, (len(row_lengths), -1)).transpose(0, 1) for tensor in (query, key, value))
        return sdpa_attention_forward(module, *rows, None, **options)[0].flatten(0, 1)[None], None
    outputs, start = [], 0
    for parts in zip(*(tensor.split(row_lengths, dim=2) for tensor in (query, key, value)), strict=True):
        end = start + parts[0].size(2)
        mask = None if attention_mask is None else attention_mask[..., start:end, start:end]
        outputs.append(sdpa_attention_forward(module, *parts, mask, **options)[0])
        start = end
    return torch.cat(outputs, dim=1), None


def mask_by_row(*args: Any, local_size: int | None = None, use_vmap: bool = False, **options: Any) -> Any:
    """SDPA's mask; none for a pack whose rows are causal and no longer than the window of the attention."""
    if _longest_rows and not use_vmap and (local_size is None or _longest_rows[-1] <= local_size):
        return None
    return sdpa_mask(*args, local_size=local_size, use_vmap=use_vmap, **options)


AttentionInterface.register("sdpa", attend_by_row)
AttentionMaskInterface.register("sdpa", mask_by_row)


def log_probs_of_pack(
    model: torch.nn.Module,
    base: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    logits_to_keep: int,
    **options: Any,
) -> tuple[torch.Tensor, Any, Any]:
    """Return log-probs and entropies (B, T) of completions, 0 at padding, and the auxiliary loss of experts.

    Args:
        model: Is called, with TRL's fused LM head in it.
        base: The model within its wrappers and adapters.
        input_ids: Prompts, padded left, and completions, padded right; shape (B, P + T).
        attention_mask: 0 where `input_ids` are padding.
        logits_to_keep: T.
        options: Of the model.
    """
    is_token, lengths = attention_mask.bool(), tuple(attention_mask.sum(1).tolist())
    is_scored = is_token.clone()
    is_scored[:, :-logits_to_keep] = False
    # What the model says of a token stands at the one before.
    places = is_scored[is_token].nonzero().flatten() - 1
    labels = input_ids[is_scored]
    if not len(places):  # all rows are masked: the graph must still reach the weights
        places, labels = places.new_zeros(1), labels.new_full((1,), -100)
    forward = model
    if base.config.get_text_config()._attn_implementation == "sdpa":
        forward = partial(model, row_lengths=lengths)

    def keep_scored(_: torch.nn.Module, __: tuple, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[:, places]
        return output

    handle = base.base_model.register_forward_hook(keep_scored)
    _longest_rows.append(max(lengths))
    try:
        output = forward(
            input_ids=input_ids[is_token][None],
            position_ids=(is_token.cumsum(1) - 1)[is_token][None],
            shift_labels=labels[None],
            fused_lm_head=True,
            **options,
        )
    finally:
        handle.remove()
        _longest_rows.pop()
    is_scored = is_scored[:, -logits_to_keep:]

    def scatter(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(is_scored.shape).masked_scatter(is_scored, values)

    entropies = output.entropy  # None of a reference
    return scatter(output.log_probs), entropies if entropies is None else scatter(entropies), output.aux_loss


def is_exact(log_probs_alone: Callable, log_probs_packed: Callable, vocab_size: int, device: torch.device) -> bool:
    """Return whether the log-probs of two packed rows are those of each alone.

    Their difference is compared with what the one row as a context changes in the other, which holds in any dtype.
    Both functions take ids (B, P + T), the mask and T.
    """
    ids = (torch.arange(44, device=device).view(2, 22) * 7919 + 11) % vocab_size
    mask = torch.ones_like(ids)
    mask[1, :6] = 0
    alone = log_probs_alone(ids[1:, 6:], mask[1:, 6:], 12)
    mixed = log_probs_alone(torch.cat([ids[0], ids[1, 6:]])[None], mask.new_ones(1, 38), 12)
    try:
        packed = log_probs_packed(ids, mask, 12)
    except (TypeError, ValueError):  # it takes no `position_ids`, or no rows without a mask
        return False
    return bool((packed[1] - alone[0]).abs().max() < 0.1 * (mixed - alone).abs().max())


def deal(rows: Sequence[int], lengths: Sequence[int], num_parts: int, most_rows: int) -> list[list[int]]:
    """Return the rows of each part: dealt longest first, each to the part with the fewest tokens.

    Args:
        rows: Numbers of rows.
        lengths: Tokens by the number of a row.
        num_parts: None of them stays empty where there are as many rows.
        most_rows: Rows of a part, at most.
    """
    if num_parts == 1:
        return [list(rows)]
    parts: list[list[int]] = [[] for _ in range(num_parts)]
    tokens = [0] * num_parts
    for row in sorted(rows, key=lambda row: -lengths[row]):
        part = min((part for part in range(num_parts) if len(parts[part]) < most_rows), key=tokens.__getitem__)
        parts[part].append(row)
        tokens[part] += lengths[row]
    return parts


def num_packs(rows: Sequence[int], lengths: Sequence[int], most_tokens: int) -> int:
    """Return into how many packs rows are dealt, so that each has at most so many tokens or is a single row."""

    def fits(pack: list[int]) -> bool:
        return len(pack) == 1 or sum(lengths[row] for row in pack) <= most_tokens

    return next(number for number in range(1, len(rows) + 1) if all(map(fits, deal(rows, lengths, number, len(rows)))))
