# SPDX-License-Identifier: Apache-2.0
"""Transformers model in this process, in batches: the same `ask_one` as that of the HTTP client, with vLLM's meaning.

    here = TransformersHere.load("data/demo/grpo")
    reply = await here.ask_one(Request("row", 0, messages, sampling=Sampling(temperature=0.6, max_tokens=256, seed=0)))

1. An answer depends on its own seed and prompt, not on its batch mates (rounding of floats apart). The order of the
   filters is vLLM's: temperature, min_p, top_k, top_p.
2. Limits, stop texts and stop tokens are each request's own. Of `extra_body` the names in `_KNOWN` have an effect.
3. What the model's generation_config.json proposes for sampling isn't mixed in; its end tokens are.
4. `model.generate` has no seed for each row, and computes rows that have ended to the end of their batch.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from jinja2 import TemplateError
from peft import PeftConfig, PeftModel
from torch import distributed
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations import is_deepspeed_zero3_enabled, is_fsdp_managed_module

from open_r1.generation.client import ServedModel
from open_r1.generation.messages import NEUTRAL, Reply, Request
from open_r1.models import context_tokens, end_token_ids

logger = logging.getLogger(__name__)

TRANSFORMERS_HERE = "transformers in this process"
_FILTERS = ("temperature", "top_k", "top_p", "min_p")
_KNOWN = {*_FILTERS, "max_tokens", "seed", "stop", "stop_token_ids", "min_tokens", "include_stop_str_in_output",
          "ignore_eos", "skip_special_tokens", "return_token_ids"}  # fmt: skip
_GREEDY_BELOW = 1e-5  # a temperature below is 0, as vLLM has it
_CANDIDATES = 256  # top_p seldom keeps more; sorting whole vocabularies takes longer than small models


@dataclass(eq=False)
class _Row:
    """An answer that grows token by token, as the request's body says."""

    prompt_ids: list[int]
    body: dict[str, Any]
    max_tokens: int
    end_ids: frozenset[int]
    tokenizer: PreTrainedTokenizerBase
    ids: list[int] = field(default_factory=list)
    reply: Reply | None = None

    def __post_init__(self) -> None:
        self.stop_ids = frozenset(self.body.get("stop_token_ids") or ())
        self.min_tokens = self.body.get("min_tokens") or 0
        self.filters = {name: self.body[name] for name in _FILTERS if self.body.get(name) is not None}
        self.seed = secrets.randbits(64) if self.body.get("seed") is None else self.body["seed"]

    def start(self) -> None:
        """Begin anew."""
        # Other random numbers for other prompts, so that equal seeds don't tie them.
        self.random = random.Random(f"{self.seed}:{','.join(map(str, self.prompt_ids))}")
        self.ids = []

    def add(self, token_id: int) -> None:
        """Take the next token; `reply` is the answer if that ended it."""
        self.ids.append(token_id)
        is_kept = self.body.get("include_stop_str_in_output", False)
        if token_id in self.end_ids | self.stop_ids:
            text = self._decode(self.ids if is_kept else self.ids[:-1])
            self._end(text, "stop", None if token_id in self.end_ids else token_id)
        elif (found := self._find_stop()) is not None:
            text, start, word = found
            self._end(text[: start + len(word) * is_kept], "stop", word)
        elif len(self.ids) >= self.max_tokens:
            self._end(self._decode(self.ids), "length")

    def _end(self, text: str, finish_reason: str, stop_reason: int | str | None = None) -> None:
        usage = {"prompt_tokens": len(self.prompt_ids), "completion_tokens": len(self.ids)}
        known = {"token_ids": self.ids, "stop_reason": stop_reason, "server": TRANSFORMERS_HERE}
        self.reply = Reply(text, finish_reason, usage, **known)

    def _find_stop(self) -> tuple[str, int, str] | None:
        """Return the text, and where the first stop text starts in it that the last token has completed."""
        words = self.body.get("stop") or ()
        # A character takes up to four tokens: a look at the last ones is cheaper than one at the whole text.
        tail = self._decode(self.ids[-4 * max(map(len, words), default=0) :]) if words else ""
        if len(self.ids) <= self.min_tokens or not any(word in tail for word in words):
            return None
        text, first = self._decode(self.ids), len(self._decode(self.ids[: self.min_tokens]))
        found = [(start, word) for word in words if (start := text.find(word, first)) >= 0]
        return (text, *min(found)) if found else None

    def _decode(self, ids: Sequence[int]) -> str:
        return cast(str, self.tokenizer.decode(ids, skip_special_tokens=self.body.get("skip_special_tokens", True)))


def choose_tokens(
    logits_BV: torch.Tensor,
    draws: Sequence[random.Random],
    temperature: float = 1.0,
    **filters: Any,
) -> torch.Tensor:
    """Return a token id for each row.

    One random number a token, by inversion of the cumulative probabilities: as exact as noise on every logit, and far
    cheaper.

    Args:
        logits_BV: Of the next token.
        draws: Random numbers of each row.
        temperature: 0: the likeliest token.
        **filters: As of `filter_probs`.

    Raises:
        ValueError: Logits of a row are NaN, or none is finite.
    """
    best_B = logits_BV.max(dim=-1)  # NaN, where a row has one
    if not bool(torch.isfinite(best_B.values).all()):
        raise ValueError("The model's logits are NaN or infinite: sampling is impossible.")
    if temperature < _GREEDY_BELOW:
        return best_B.indices
    probs_BV = filter_probs(torch.softmax(logits_BV / temperature, -1), **filters)
    cumulative_BV = probs_BV.double().cumsum(dim=-1)
    total_B1 = cumulative_BV[:, -1:]
    drawn_B1 = torch.tensor([[one.random()] for one in draws], dtype=torch.float64, device=logits_BV.device)
    # The first token whose cumulative weight exceeds the draw; rounding must not lead behind the last one.
    drawn_B1 = torch.minimum(drawn_B1 * total_B1, total_B1 * (1 - 2.0**-52))
    return torch.searchsorted(cumulative_BV, drawn_B1, right=True)[:, 0]


def filter_probs(probs_BV: torch.Tensor, *, top_k: int = -1, top_p: float = 1.0, min_p: float = 0.0) -> torch.Tensor:
    """Return what each token is drawn in proportion to: 0 for those that min_p, top_k and top_p leave out."""
    size = probs_BV.shape[-1]
    top_k = min(top_k, size) if top_k > 0 else size
    probs_BV = torch.where(probs_BV < min_p * probs_BV.amax(dim=-1, keepdim=True), 0.0, probs_BV)
    if top_k == size and top_p >= 1:
        return probs_BV
    total_B1 = probs_BV.sum(dim=-1, keepdim=True)
    sorted_BK, ids_BK = probs_BV.topk(min(top_k, _CANDIDATES) if top_k == size else top_k, dim=-1)
    if top_k == size and bool((sorted_BK.sum(dim=-1, keepdim=True) < top_p * total_B1).any()):
        sorted_BK, ids_BK = probs_BV.sort(dim=-1, descending=True)
    total_B1 = total_B1 if top_k == size else sorted_BK.sum(dim=-1, keepdim=True)
    is_kept_BK = sorted_BK.cumsum(dim=-1) - sorted_BK < top_p * total_B1
    is_kept_BK[:, 0] = True
    return torch.zeros_like(probs_BV).scatter_(-1, ids_BK, torch.where(is_kept_BK, sorted_BK, 0.0))


@dataclass
class Sampler:
    """Samples answers with a model as it is now, in evaluation mode.

    Attributes:
        model: A causal language model; on any device.
        tokenizer: Of the model.
        max_batch_size: Answers at a time; halved for good where the GPU's memory isn't enough.
        max_model_len: Most tokens of prompt and answer together; None: what the model's configuration says.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_batch_size: int
    max_model_len: int | None = None
    end_ids: frozenset[int] = field(init=False)

    def __post_init__(self) -> None:
        base = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        self._base = cast(PreTrainedModel, base)
        if self.max_model_len is None:
            self.max_model_len = context_tokens(self._base.config)
        self.end_ids = frozenset(end_token_ids(self.tokenizer, self.model.generation_config))
        is_sharded = is_deepspeed_zero3_enabled() or is_fsdp_managed_module(self._base)
        self._is_shared = is_sharded and distributed.is_initialized() and distributed.get_world_size() > 1

    def row(self, request: Request) -> _Row:
        """Return the answer to a request, without a token.

        Raises:
            ValueError: The context leaves no room for it, or a setting has no effect here.
        """
        body = request.sampling.body(request.index)
        odd = {name for name in body if name not in _KNOWN and body[name] != NEUTRAL.get(name)}
        if odd:
            raise ValueError(f"{sorted(odd)} have no effect on transformers in this process: leave them out.")
        ids = list(request.prompt_ids)
        if not ids:
            messages = [dict(message) for message in request.messages]
            ids = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)[
                "input_ids"
            ]
        room = None if self.max_model_len is None else self.max_model_len - len(ids)
        max_tokens = body.get("max_tokens") or room
        if max_tokens is None or (room is not None and not 0 < max_tokens <= room):
            raise ValueError(
                f"max_tokens is {max_tokens}, but the context of {self.max_model_len} tokens leaves {room} behind a "
                f"prompt of {len(ids)}."
            )
        return _Row(ids, body, max_tokens, frozenset() if body.get("ignore_eos") else self.end_ids, self.tokenizer)

    def sample(
        self, requests: Sequence[Request], *, on_done: Callable[[int, Reply], object] = lambda place, reply: None
    ) -> list[Reply]:
        """Return the answers to requests, in their order.

        Where several processes share a model's weights, all must call this together, each with requests of its own.

        Args:
            requests: Any number; the longest prompts come first.
            on_done: Called with the place of a request and its answer as soon as it is finished.

        Raises:
            ValueError: The context leaves no room for a request, or the logits are NaN.
            torch.OutOfMemoryError: The memory isn't enough for one answer.
        """
        rows = [self.row(request) for request in requests]
        places = {id(row): place for place, row in enumerate(rows)}
        for ended in self.steps(rows):
            for row in ended:
                on_done(places[id(row)], cast(Reply, row.reply))
        return [cast(Reply, row.reply) for row in rows]

    def steps(self, rows: Sequence[_Row]) -> Iterator[list[_Row]]:
        """Yield after each token the answers that it ended; one whose `reply` is set meanwhile gets no more."""
        left = sorted(rows, key=lambda row: -len(row.prompt_ids))  # those of like length share a batch
        was_training = self.model.training
        self.model.eval()
        try:
            while self._any_of_all(bool(left)):
                batch = [row for row in left if row.filters == left[0].filters][: self.max_batch_size]
                try:
                    yield from self._decode(batch)
                except torch.OutOfMemoryError:
                    if len(batch) <= 1 or self._is_shared:
                        raise
                    self.max_batch_size = len(batch) // 2
                    logger.warning("Out of memory with %d answers at a time: now %d.", len(batch), self.max_batch_size)
                left = [row for row in left if row.reply is None]
        finally:
            self.model.train(was_training)

    @torch.no_grad()
    def _decode(self, rows: Sequence[_Row]) -> Iterator[list[_Row]]:
        device, cache = self._base.device, DynamicCache(config=self._base.config)
        for row in rows:
            row.start()
        width = max((len(row.prompt_ids) for row in rows), default=0)
        pads = [width - len(row.prompt_ids) for row in rows]
        ids_BT = torch.tensor([[0] * pad + row.prompt_ids for pad, row in zip(pads, rows, strict=True)], device=device)
        mask_BT = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads], device=device)
        while self._any_of_all(bool(rows)):
            if not rows:  # steps of the other processes need one here too
                self._base(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
                continue
            positions_BT = (mask_BT.cumsum(dim=-1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
            logits_BV = self._base(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                position_ids=positions_BT,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1].float()  # fmt: skip
            for number, row in enumerate(rows):
                if len(row.ids) < row.min_tokens:
                    logits_BV[number, sorted(row.end_ids | row.stop_ids)] = -torch.inf
            tokens_B = choose_tokens(logits_BV, [row.random for row in rows], **rows[0].filters)
            for row, token in zip(rows, tokens_B.tolist(), strict=True):
                row.add(token)
            yield [row for row in rows if row.reply is not None]
            kept = [number for number, row in enumerate(rows) if row.reply is None]
            if len(kept) < len(rows):
                rows, kept_B = [rows[number] for number in kept], torch.tensor(kept, dtype=torch.long, device=device)
                mask_BT, tokens_B = mask_BT[kept_B], tokens_B[kept_B]
                cache.reorder_cache(kept_B)
            ids_BT, mask_BT = tokens_B[:, None], torch.nn.functional.pad(mask_BT, (0, 1), value=1)

    def _any_of_all(self, is_true: bool) -> bool:
        """Whether it is true in this process, or in one that shares the weights (ZeRO-3, FSDP)."""
        if not self._is_shared:
            return is_true
        flag = torch.tensor(float(is_true), device=self._base.device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())


@dataclass
class TransformersHere:
    """A model that is loaded here, and answers as a `Client` does.

    Attributes:
        name: As it was named: folder, or name on the hub.
        path: What was loaded.
        sampler: Draws its answers.
    """

    name: str
    path: str
    sampler: Sampler
    _waiting: list[tuple[_Row, asyncio.Future[Reply]]] = field(default_factory=list)
    _work: asyncio.Task[None] | None = None

    @classmethod
    def load(
        cls, name: str, *, revision: str = "main", trust_remote_code: bool = False, max_batch_size: int | None = None
    ) -> "TransformersHere":
        """Load a model in bfloat16 to a GPU, or in float32 to the CPU; it draws 64 or 16 answers at a time by default.

        Raises:
            OSError: It can't be loaded.
        """
        folder = Path(name).expanduser()
        path = str(folder) if folder.exists() else name
        if (folder / "adapter_config.json").is_file():  # of the model that the adapter changes
            revision = PeftConfig.from_pretrained(path).revision or "main"
        where = {"revision": revision, "trust_remote_code": trust_remote_code}
        device, dtype, size = ("cuda", "bfloat16", 64) if torch.cuda.is_available() else ("cpu", "float32", 16)
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, **where)
        tokenizer = AutoTokenizer.from_pretrained(path, **where)
        return cls(name, path, Sampler(model.to(device).eval(), tokenizer, max_batch_size or size))

    def served(self) -> ServedModel:
        """Return name and context as a server lists them."""
        return ServedModel(self.name, self.sampler.max_model_len, (self.path,), ("transformers",))

    def describe(self) -> dict[str, str]:
        """Return what answers."""
        model = self.sampler.model
        versions = {"version": transformers.__version__, "torch": torch.__version__}
        dtype, device = str(model.dtype).removeprefix("torch."), model.device.type
        return {"engine": "transformers", **versions, "dtype": dtype, "device": device}

    async def ask_one(self, request: Request) -> Reply:
        """Return the reply to a request; one that the model has no room for is a reply with `error`.

        Requests that come while others are sampled wait for these: one call of the sampler takes all that wait.
        """
        try:
            row = self.sampler.row(request)
        except (ValueError, TypeError, TemplateError) as error:
            return Reply.failed(str(error), server=TRANSFORMERS_HERE)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._sample_all())
        return await future

    async def _sample_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # others that are ready now come along
            asked, self._waiting = self._waiting, []
            futures = {id(row): future for row, future in asked}
            try:
                for ended in self.sampler.steps([row for row, _ in asked]):
                    for row in ended:
                        if not futures[id(row)].done():
                            futures[id(row)].set_result(cast(Reply, row.reply))
                    await asyncio.sleep(0)
                    for row, future in asked:
                        if future.cancelled():  # whoever asked doesn't wait for it any more
                            row.reply = Reply.failed("cancelled")
            except Exception as error:  # noqa: BLE001 - whoever asked raises it
                for future in futures.values():
                    if not future.done():
                        future.set_exception(error)
