# SPDX-License-Identifier: Apache-2.0
"""The loop that decodes a batch: prompts padded on the left, a cache of keys and values, finished rows leave.

Processes that share the weights (ZeRO-3, FSDP) take each step together, those that are done with nothing in it.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from peft import PeftModel
from torch import distributed
from transformers import DynamicCache, PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled, is_fsdp_managed_module

from open_r1.evaluation.sampling.open_answer import OpenAnswer, Sampled
from open_r1.evaluation.sampling.token_choice import Drawing, TokenChoice


@dataclass(frozen=True)
class Row:
    """A row of a batch.

    Attributes:
        place: Its request's, for those who are told of it.
        prompt_ids: Tokens before the answer.
        answer: Without tokens at the start.
        drawing: How its tokens are drawn.
    """

    place: int
    prompt_ids: Sequence[int]
    answer: OpenAnswer
    drawing: Drawing


class Decoder:
    """Runs batches through a model.

    Attributes:
        is_shared: Whether other processes must take each step together with this one.

    Raises:
        ValueError: The model takes no `past_key_values`, as Mamba and RWKV.
    """

    def __init__(self, model: PreTrainedModel, padding_id: int) -> None:
        base = cast(PreTrainedModel, model.get_base_model()) if isinstance(model, PeftModel) else model
        self._model, self._config, self._padding_id = model, base.config, padding_id
        self._device = base.device
        self._accepted = set(inspect.signature(type(base).forward).parameters)
        if "past_key_values" not in self._accepted:
            raise ValueError(
                f"{type(base).__name__} doesn't take `past_key_values`, which answers are sampled with here: serve "
                "the model by vLLM."
            )
        is_sharded = is_deepspeed_zero3_enabled() or is_fsdp_managed_module(base)
        self.is_shared = is_sharded and distributed.is_initialized() and distributed.get_world_size() > 1

    def any_of_all(self, is_true: bool) -> bool:
        """Return whether it is true in this process, or in one that shares the weights."""
        if not self.is_shared:
            return is_true
        flag = torch.tensor(float(is_true), device=self._device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())

    @torch.no_grad()
    def run(
        self, rows: Sequence[Row], finish: Callable[[int, Sampled], None], is_wanted: Callable[[int], bool]
    ) -> None:
        """Decode rows to their ends, each told to `finish`; none is right only where processes share the weights."""
        state, logits_BV = self._read([row.prompt_ids for row in rows] or [[self._padding_id]])
        choice = TokenChoice(
            [row.drawing for row in rows], [row.drawing.numbers(row.prompt_ids) for row in rows], logits_BV.device
        )
        while True:
            token_ids = self._next(rows, logits_BV, choice) if rows else [self._padding_id] * len(logits_BV)
            left = [number for number, row in enumerate(rows) if not _grow(row, token_ids[number], finish, is_wanted)]
            if not self.any_of_all(bool(left)):
                return
            if len(left) < len(rows):
                rows = [rows[number] for number in left]
                choice.keep(left)
                left = left or [0]  # a step of the others needs one here too
                state.keep(left)
            logits_BV = self._step(state, [token_ids[number] for number in left or [0]])

    def _read(self, prompts: Sequence[Sequence[int]]) -> tuple["_State", torch.Tensor]:
        """Read prompts, equal ones once; return the state behind them and the logits of each."""
        numbers: dict[tuple[int, ...], int] = {}
        for prompt in prompts:
            numbers.setdefault(tuple(prompt), len(numbers))
        width = max(map(len, numbers))
        ids = [[self._padding_id] * (width - len(prompt)) + list(prompt) for prompt in numbers]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in numbers]
        mask_UT = torch.tensor(mask, device=self._device)
        state = _State(
            cache=DynamicCache(config=self._config),
            mask_BT=None if bool(mask_UT.all()) else mask_UT,
            positions_B=mask_UT.sum(dim=-1),
        )
        positions_UT = (mask_UT.cumsum(dim=-1) - 1).clamp(min=0)
        logits_UV = self._forward(state, torch.tensor(ids, device=self._device), positions_UT)
        if len(numbers) < len(prompts):
            own = [numbers[tuple(prompt)] for prompt in prompts]
            state.keep(own)
            logits_UV = logits_UV[own]
        return state, logits_UV

    def _step(self, state: "_State", token_ids: Sequence[int]) -> torch.Tensor:
        ids_B1 = torch.tensor(token_ids, device=self._device)[:, None]
        positions_B1 = state.positions_B[:, None]
        state.grow()
        return self._forward(state, ids_B1, positions_B1)

    def _forward(self, state: "_State", ids_BT: torch.Tensor, positions_BT: torch.Tensor) -> torch.Tensor:
        more = {"position_ids": positions_BT, "logits_to_keep": 1}
        output = self._model(
            input_ids=ids_BT,
            attention_mask=state.mask_BT,
            past_key_values=state.cache,
            use_cache=True,
            **{name: value for name, value in more.items() if name in self._accepted},
        )
        return output.logits[:, -1]

    def _next(self, rows: Sequence[Row], logits_BV: torch.Tensor, choice: TokenChoice) -> list[int]:
        for number, row in enumerate(rows):
            if forbidden := row.answer.forbidden_ids:
                logits_BV[number, list(forbidden)] = -torch.inf
        return choice.choose(logits_BV).tolist()


def _grow(row: Row, token_id: int, finish: Callable[[int, Sampled], None], is_wanted: Callable[[int], bool]) -> bool:
    """Give an answer its next token; return whether it is finished."""
    answer = row.answer.add(token_id)
    if answer is None and not is_wanted(row.place):
        answer = row.answer.abort()
    if answer is not None:
        finish(row.place, answer)
    return answer is not None


@dataclass
class _State:
    cache: DynamicCache
    mask_BT: torch.Tensor | None  # None: no row is padded
    positions_B: torch.Tensor  # of the next token

    def keep(self, rows: Sequence[int]) -> None:
        index = torch.tensor(rows, device=self.positions_B.device)
        self.cache.reorder_cache(index)
        self.positions_B = self.positions_B[index]
        self.mask_BT = None if self.mask_BT is None else self.mask_BT[index]

    def grow(self) -> None:
        self.positions_B = self.positions_B + 1
        if self.mask_BT is not None:
            self.mask_BT = torch.cat([self.mask_BT, self.mask_BT.new_ones(len(self.mask_BT), 1)], dim=-1)
