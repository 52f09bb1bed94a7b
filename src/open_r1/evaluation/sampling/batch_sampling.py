# SPDX-License-Identifier: Apache-2.0
"""Completions of prompts in batches by a transformers model, each request with settings and a seed of its own.

    sampler = BatchSampler(model, tokenizer, max_batch_size=16)
    sampler.sample([SampleRequest(prompt_ids, max_tokens=256, temperature=0.6, seed=0)])[0].text

1. An answer depends on its own seed and prompt, not on who shares its batch (rounding of floats apart): transformers'
   `generate` draws for the whole batch from one stream.
2. Rows that are finished leave the batch; equal prompts are read once.
3. Every limit, stop text and stop token is its request's own, with vLLM's meaning.
"""

import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from open_r1.evaluation.sampling.decoding import Decoder, Row
from open_r1.evaluation.sampling.open_answer import End, OpenAnswer, Sampled
from open_r1.evaluation.sampling.token_choice import Drawing
from open_r1.models import context_tokens, end_token_ids

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleRequest:
    """One answer to be sampled.

    Attributes:
        prompt_ids: Tokens of the prompt, at least one.
        max_tokens: Most tokens of the answer; None: what the context leaves.
        temperature: 0 takes the most probable token each time.
        top_p: Above 0, at most 1.
        top_k: -1 or 0: all tokens.
        min_p: Share of the most probable token's probability below which tokens are left out; 0 to 1.
        seed: None: another one each time.
        stop: Texts that end the answer, and that its text ends before.
        stop_token_ids: Tokens that do.
        include_stop: Whether the text keeps what has ended it.
        min_tokens: Tokens within which nothing but `max_tokens` ends it.
        ignore_eos: Whether the model's end tokens are tokens like others.
        skip_special_tokens: Whether the text is without them.
    """

    prompt_ids: Sequence[int]
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop: bool = False
    min_tokens: int = 0
    ignore_eos: bool = False
    skip_special_tokens: bool = True

    def __post_init__(self) -> None:
        if not self.prompt_ids:
            raise ValueError("The prompt has no token; it must have at least one.")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; it must be at least 1.")
        if self.min_tokens < 0 or (self.max_tokens is not None and self.min_tokens > self.max_tokens):
            raise ValueError(f"min_tokens is {self.min_tokens}; it must be 0 to max_tokens ({self.max_tokens}).")
        if not all(self.stop):
            raise ValueError("stop holds an empty text, which is everywhere.")
        if any(token < 0 for token in self.stop_token_ids):
            raise ValueError(f"stop_token_ids holds {min(self.stop_token_ids)}; token ids are at least 0.")
        self.drawing  # noqa: B018  refuses what it can't draw by

    @property
    def drawing(self) -> Drawing:
        """How its tokens are drawn."""
        return Drawing(self.temperature, self.top_p, self.top_k, self.min_p, self.seed)


def _ignore(index: int, answer: Sampled) -> None:
    pass


def _is_wanted(index: int) -> bool:
    return True


@dataclass
class BatchSampler:
    """Samples answers with a model as it is now, in evaluation mode.

    Attributes:
        model: A decoder with a cache of keys and values; on any device.
        tokenizer: Of the model.
        max_batch_size: Answers at a time; halved for good where the GPU's memory isn't enough.
        max_model_len: Most tokens of prompt and answer together; None: what the model's configuration says.

    Raises:
        ValueError: `max_batch_size` is below 1, or the model keeps its past in another way (Mamba, RWKV).
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_batch_size: int
    max_model_len: int | None = None
    eos_ids: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        if self.max_batch_size < 1:
            raise ValueError(f"max_batch_size is {self.max_batch_size}; it must be at least 1.")
        if self.max_model_len is None:
            self.max_model_len = context_tokens(self.model.config)
        self.eos_ids = frozenset(end_token_ids(self.tokenizer, self.model.generation_config))
        Decoder(self.model, self._padding_id())  # refuses models that it can't run, before the first answer

    def room(self, num_prompt_tokens: int) -> int | None:
        """Return how many tokens the context leaves for an answer; None: as many as one likes.

        Raises:
            ValueError: It leaves none.
        """
        if self.max_model_len is None:
            return None
        if num_prompt_tokens >= self.max_model_len:
            raise ValueError(
                f"The prompt has {num_prompt_tokens} tokens, and the context is of {self.max_model_len} "
                "for prompt and answer together: nothing is left for an answer."
            )
        return self.max_model_len - num_prompt_tokens

    def end_of(self, request: SampleRequest) -> End:
        """Return what ends the answer to a request.

        Raises:
            ValueError: The context leaves no room for it, or fewer tokens than are asked for.
        """
        room = self.room(len(request.prompt_ids))
        if room is None and request.max_tokens is None:
            raise ValueError("max_tokens is needed: the model's configuration doesn't tell its context.")
        max_tokens = room if request.max_tokens is None else request.max_tokens
        assert max_tokens is not None
        if room is not None and max_tokens > room:
            raise ValueError(
                f"max_tokens is {max_tokens}, but the context of {self.max_model_len} tokens leaves {room} behind a "
                f"prompt of {len(request.prompt_ids)}."
            )
        if request.min_tokens > max_tokens:
            raise ValueError(f"min_tokens is {request.min_tokens}, but at most {max_tokens} tokens are sampled.")
        eos_ids = frozenset() if request.ignore_eos else self.eos_ids
        return End(
            max_tokens,
            eos_ids,
            request.stop,
            frozenset(request.stop_token_ids),
            request.include_stop,
            request.min_tokens,
            request.skip_special_tokens,
        )

    def sample(
        self,
        requests: Sequence[SampleRequest],
        *,
        on_done: Callable[[int, Sampled], object] = _ignore,
        is_wanted: Callable[[int], bool] = _is_wanted,
    ) -> list[Sampled]:
        """Return the answers to requests, in their order.

        Where several processes share a model's weights, all must call this together, each with requests of its own.

        Args:
            requests: Any number; the longest prompts come first.
            on_done: Told the place of a request and its answer as soon as it is finished.
            is_wanted: Asked before each token; a request that isn't wanted any more leaves, with what there is
                and the finish reason "abort".

        Raises:
            ValueError: The context leaves no room for a request (which, is said), or the logits are NaN.
            torch.OutOfMemoryError: The memory isn't enough for one answer.
        """
        ends = self._ends(requests)
        answers: dict[int, Sampled] = {}

        def finish(place: int, answer: Sampled) -> None:
            answers[place] = answer
            on_done(place, answer)

        # Equal prompts stay together, those of like length share a batch.
        order = sorted(range(len(requests)), key=lambda place: (-len(requests[place].prompt_ids), place))
        was_training = self.model.training
        self.model.eval()
        try:
            decoder = Decoder(self.model, self._padding_id())
            while decoder.any_of_all(bool(order)):
                taken = order[: self.max_batch_size]
                rows = [
                    Row(
                        place,
                        requests[place].prompt_ids,
                        OpenAnswer(self.tokenizer, ends[place]),
                        requests[place].drawing,
                    )
                    for place in taken
                ]
                if not _has_enough_memory(partial(decoder.run, rows, finish, is_wanted)):
                    self._halve(decoder, len(taken))
                order = [place for place in order if place not in answers]
        finally:
            self.model.train(was_training)
        return [answers[place] for place in range(len(requests))]

    def _ends(self, requests: Sequence[SampleRequest]) -> list[End]:
        ends = []
        for place, request in enumerate(requests):
            try:
                ends.append(self.end_of(request))
            except ValueError as error:
                raise ValueError(f"Request {place}: {error}") from error
        return ends

    def _padding_id(self) -> int:
        # Padding is masked: any token does.
        return next((token for token in (self.tokenizer.pad_token_id, *sorted(self.eos_ids)) if token is not None), 0)

    def _halve(self, decoder: Decoder, num_rows: int) -> None:
        if num_rows <= 1 or decoder.is_shared:
            raise torch.OutOfMemoryError(
                f"The memory isn't enough for {num_rows} answers at once: lower the batch size, or the most tokens of "
                "an answer."
            )
        self.max_batch_size = num_rows // 2
        logger.warning(
            "The memory isn't enough for %d answers at once; going on with %d.", num_rows, self.max_batch_size
        )


def _has_enough_memory(run: Callable[[], None]) -> bool:
    try:
        run()
    except torch.OutOfMemoryError as error:
        logger.info("%s", str(error).partition(". ")[0])
        is_enough = False
    else:
        is_enough = True
    if not is_enough:  # behind the handler, whose error keeps all tensors alive
        gc.collect()
        torch.cuda.empty_cache()
    return is_enough
