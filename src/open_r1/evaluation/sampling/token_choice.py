# SPDX-License-Identifier: Apache-2.0
"""Choosing the next token of each row of a batch, every row with settings and random numbers of its own.

1. A row's random numbers are those of its seed and prompt, whoever shares its batch, and the same on every device.
2. One number a token, by inversion of the cumulative probabilities: as exact as noise on every logit, and far cheaper.
3. The order of the filters is vLLM's: temperature, min_p, top_k, top_p.
"""

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import torch

GREEDY_BELOW = 1e-5  # a temperature below is 0, as vLLM has it
_ALL = 1 << 30
_CANDIDATES = 256  # top_p seldom keeps more; sorting whole vocabularies takes longer than small models


@dataclass(frozen=True)
class Drawing:
    """How a row's tokens are drawn.

    Attributes:
        temperature: 0 takes the most probable token.
        top_p: Above 0, at most 1.
        top_k: -1 or 0: all tokens.
        min_p: Tokens that are less probable than this share of the most probable one are left out; 0 to 1.
        seed: None: another one each time.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    seed: int | None = None

    def __post_init__(self) -> None:
        checks = {
            "temperature": (0 <= self.temperature < float("inf"), "at least 0"),
            "top_p": (0 < self.top_p <= 1, "above 0, at most 1"),
            "top_k": (self.top_k >= -1, "at least -1 (-1 or 0: all tokens)"),
            "min_p": (0 <= self.min_p <= 1, "0 to 1"),
        }
        for name, (is_right, allowed) in checks.items():
            if not is_right:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed is {allowed}.")

    def numbers(self, prompt_ids: Sequence[int]) -> random.Random:
        """Return the random numbers of a row: others for other prompts, so that equal seeds don't tie them."""
        seed = secrets.randbits(64) if self.seed is None else self.seed
        return random.Random(f"{seed}:{','.join(map(str, prompt_ids))}")


def _count(row: Drawing) -> int:
    """Return how many tokens its top_k leaves: no vocabulary has as many as all of them."""
    return min(row.top_k, _ALL) if row.top_k > 0 else _ALL


class TokenChoice:
    """Chooses for the rows of a batch.

    Args:
        drawings: Of each row.
        numbers: Of each row, from `Drawing.numbers`.
        device: Of the logits.
    """

    def __init__(self, drawings: Sequence[Drawing], numbers: Sequence[random.Random], device: torch.device) -> None:
        self._drawings, self._numbers, self._device = list(drawings), list(numbers), device
        self._build()

    def _build(self) -> None:
        rows = self._drawings
        is_greedy = [row.temperature < GREEDY_BELOW for row in rows]
        self._all_greedy = all(is_greedy)
        self._has_min_p = any(row.min_p > 0 for row in rows)
        self._has_top = any(row.top_p < 1 or row.top_k > 0 for row in rows)
        self._most_top_k = max((_count(row) for row in rows if row.top_k > 0), default=0)
        self._is_greedy = self._column(is_greedy, torch.bool)
        self._temperature = self._column([1.0 if row.temperature < GREEDY_BELOW else row.temperature for row in rows])
        self._top_p, self._min_p = self._column([row.top_p for row in rows]), self._column([row.min_p for row in rows])
        self._top_k = self._column([_count(row) for row in rows], torch.long)

    def _column(self, values: Sequence[float], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=self._device)[:, None]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows."""
        self._drawings = [self._drawings[row] for row in rows]
        self._numbers = [self._numbers[row] for row in rows]
        self._build()

    def choose(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """Return a token id for each row.

        Raises:
            ValueError: Logits of a row are NaN, or none is finite.
        """
        logits_BV = logits_BV.float()
        best_B = logits_BV.max(dim=-1, keepdim=True)  # NaN, where a row has one
        if not bool(torch.isfinite(best_B.values).all()):
            raise ValueError("The model's logits are NaN or infinite: it can't be sampled from.")
        if self._all_greedy:
            return best_B.indices[:, 0]
        weights_BV = self.weights(logits_BV)
        draws = self._column([number.random() for number in self._numbers], torch.float64)
        cumulative_BV = weights_BV.double().cumsum(dim=-1)
        total_B = cumulative_BV[:, -1:]
        if not bool((torch.isfinite(total_B) & (total_B > 0)).all()):
            raise ValueError("The model's logits are NaN or infinite: it can't be sampled from.")
        # The first token whose cumulative weight exceeds the draw; rounding must not lead behind the last one.
        last_B = total_B * (1 - 2.0**-52)
        drawn_B = torch.searchsorted(cumulative_BV, torch.minimum(draws * total_B, last_B), right=True)
        return torch.where(self._is_greedy, best_B.indices, drawn_B)[:, 0]

    def weights(self, logits_BV: torch.Tensor) -> torch.Tensor:
        """Return what each token is drawn in proportion to: 0 for those that the filters leave out."""
        probs_BV = torch.softmax(logits_BV / self._temperature, dim=-1)
        if self._has_min_p:
            least_B = self._min_p * probs_BV.amax(dim=-1, keepdim=True)
            probs_BV = torch.where(probs_BV < least_B, 0.0, probs_BV)
        return self._top(probs_BV) if self._has_top else probs_BV

    def _top(self, probs_BV: torch.Tensor) -> torch.Tensor:
        size = probs_BV.shape[-1]
        count = min(size, max(_CANDIDATES, self._most_top_k))
        wanted_B = self._top_p * torch.where(self._top_k < size, 0.0, probs_BV.sum(dim=-1, keepdim=True))
        sorted_BK, ids_BK = probs_BV.topk(count, dim=-1)
        has_top_p = self._top_p < 1
        if count < size and bool((sorted_BK.sum(dim=-1, keepdim=True) < wanted_B)[has_top_p].any()):
            sorted_BK, ids_BK = probs_BV.sort(dim=-1, descending=True)
        places_K = torch.arange(sorted_BK.shape[-1], device=self._device)[None]
        sorted_BK = torch.where(places_K < self._top_k, sorted_BK, 0.0)
        total_B = torch.where(
            self._top_k < size, sorted_BK.sum(dim=-1, keepdim=True), probs_BV.sum(dim=-1, keepdim=True)
        )
        before_BK = sorted_BK.cumsum(dim=-1) - sorted_BK
        sorted_BK = torch.where((before_BK < self._top_p * total_B) | (places_K == 0), sorted_BK, 0.0)
        kept_BV = torch.zeros_like(probs_BV).scatter_(-1, ids_BK, sorted_BK)
        is_all_B = ~has_top_p & (self._top_k >= size)  # of another row's filters nothing may be left out here
        return torch.where(is_all_B, probs_BV, kept_BV)
