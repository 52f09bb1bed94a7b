# SPDX-License-Identifier: Apache-2.0
"""Transformers model in this process, in batches: the same `ask_one` as that of the HTTP client, with vLLM's meaning.

    here = TransformersHere.load("data/demo/grpo")
    reply = await here.ask_one(Request("row", 0, messages, sampling=Sampling(temperature=0.6, max_tokens=256, seed=0)))

`model.generate` decodes; which token comes next, and what ends an answer, is decided here for each row of a batch:
1. An answer depends on its own seed and prompt, not on its batch mates (rounding of floats apart). The order of the
   filters is vLLM's: temperature, min_p, top_k, top_p.
2. Limits, stop texts and stop tokens are each request's own. Of `extra_body` the names in `_KNOWN` have an effect.
3. What the model's generation_config.json proposes for sampling isn't mixed in; its end tokens are.
"""

import asyncio
import gc
import logging
import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.integrations import is_deepspeed_zero3_enabled, is_fsdp_managed_module

from open_r1.generation.client import ServedModel
from open_r1.generation.messages import NEUTRAL, Reply, Request
from open_r1.models import context_tokens, end_token_ids

logger = logging.getLogger(__name__)

TRANSFORMERS_HERE = "transformers in this process"
_KNOWN = {"temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "stop", "stop_token_ids", "min_tokens"}
_KNOWN |= {"include_stop_str_in_output", "ignore_eos", "skip_special_tokens", "return_token_ids"}
_GREEDY_BELOW = 1e-5  # a temperature below is 0, as vLLM has it
_CANDIDATES = 256  # top_p seldom keeps more; sorting whole vocabularies takes longer than small models

OnDone = Callable[[int, Reply], object]


@dataclass
class _Row:
    """An answer that grows token by token, as the request's body says."""

    prompt_ids: list[int]
    body: dict[str, Any]
    max_tokens: int
    end_ids: frozenset[int]
    tokenizer: PreTrainedTokenizerBase
    ids: list[int] = field(default_factory=list)
    reply: Reply | None = None
    place: int = 0

    def start(self) -> None:
        """Begin anew."""
        seed = secrets.randbits(64) if self.body.get("seed") is None else self.body["seed"]
        # Other random numbers for other prompts, so that equal seeds don't tie them.
        self.random = random.Random(f"{seed}:{','.join(map(str, self.prompt_ids))}")
        self.stop_ids = frozenset(self.body.get("stop_token_ids") or ())
        self.min_tokens = self.body.get("min_tokens") or 0
        self.ids = []

    @property
    def forbidden_ids(self) -> list[int]:
        """Tokens that may not come next, as they would end it too early."""
        return [] if len(self.ids) >= self.min_tokens else sorted(self.end_ids | self.stop_ids)

    def add(self, token_id: int, is_wanted: bool) -> None:
        """Take the next token; `reply` is the answer if that ended it."""
        self.ids.append(token_id)
        is_kept = self.body.get("include_stop_str_in_output", False)
        if token_id in self.end_ids | self.stop_ids:
            text = self._decode(self.ids if is_kept else self.ids[:-1])
            self._end(text, "stop", None if token_id in self.end_ids else token_id)
        elif (found := self._find_stop()) is not None:
            text, start, word = found
            self._end(text[: start + len(word) * is_kept], "stop", word)
        elif len(self.ids) >= self.max_tokens or not is_wanted:
            self._end(self._decode(self.ids), "length" if len(self.ids) >= self.max_tokens else "abort")

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
        text = self.tokenizer.decode(ids, skip_special_tokens=self.body.get("skip_special_tokens", True))
        assert isinstance(text, str)
        return text


@dataclass
class _Choice(LogitsProcessor):
    """Chooses the next token of each row of a batch: `generate` gets scores by which only that one is left."""

    rows: Sequence[_Row]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        for number, row in enumerate(self.rows):
            if forbidden := row.forbidden_ids:
                scores[number, forbidden] = -torch.inf
        ids_B1 = choose_tokens(scores, [row.body for row in self.rows], [row.random for row in self.rows])[:, None]
        return torch.full_like(scores, -torch.inf).scatter_(1, ids_B1, 0.0)


@dataclass
class _Ends(StoppingCriteria):
    """Gives each row of a batch its token, and says which rows have ended."""

    rows: Sequence[_Row]
    on_done: OnDone
    is_wanted: Callable[[int], bool]

    def __call__(self, input_ids: torch.Tensor, scores: Any, **known: Any) -> torch.Tensor:
        for row, token_id in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
            if row.reply is None:
                row.add(token_id, self.is_wanted(row.place))
                if row.reply is not None:
                    self.on_done(row.place, row.reply)
        return torch.tensor([row.reply is not None for row in self.rows], device=input_ids.device)


def choose_tokens(
    logits_BV: torch.Tensor, settings: Sequence[Mapping[str, Any]], draws: Sequence[random.Random]
) -> torch.Tensor:
    """Return a token id for each row.

    One random number a token, by inversion of the cumulative probabilities: as exact as noise on every logit, and far
    cheaper.

    Args:
        logits_BV: Of the next token.
        settings: `temperature`, `top_p`, `top_k`, `min_p` of each row.
        draws: Random numbers of each row.

    Raises:
        ValueError: Logits of a row are NaN, or none is finite.
    """
    temperature_B1 = _column(settings, "temperature", 1.0, logits_BV)
    is_greedy_B1 = temperature_B1 < _GREEDY_BELOW
    best_B1 = logits_BV.max(dim=-1, keepdim=True)  # NaN, where a row has one
    is_sound = bool(torch.isfinite(best_B1.values).all())
    if is_sound and bool(is_greedy_B1.all()):
        return best_B1.indices[:, 0]
    probs_BV = filter_probs(torch.softmax(logits_BV / temperature_B1.masked_fill(is_greedy_B1, 1.0), -1), settings)
    cumulative_BV = probs_BV.double().cumsum(dim=-1)
    total_B1 = cumulative_BV[:, -1:]
    if not is_sound or not bool((torch.isfinite(total_B1) & (total_B1 > 0)).all()):
        raise ValueError("The model's logits are NaN or infinite: it can't be sampled from.")
    drawn_B1 = torch.tensor([[one.random()] for one in draws], dtype=torch.float64, device=logits_BV.device)
    # The first token whose cumulative weight exceeds the draw; rounding must not lead behind the last one.
    drawn_B1 = torch.minimum(drawn_B1 * total_B1, total_B1 * (1 - 2.0**-52))
    ids_B1 = torch.searchsorted(cumulative_BV, drawn_B1, right=True)
    return torch.where(is_greedy_B1, best_B1.indices, ids_B1)[:, 0]


def filter_probs(probs_BV: torch.Tensor, settings: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """Return what each token is drawn in proportion to: 0 for those that min_p, top_k and top_p leave out."""
    size = probs_BV.shape[-1]
    min_p_B1 = _column(settings, "min_p", 0.0, probs_BV)
    probs_BV = torch.where(probs_BV < min_p_B1 * probs_BV.amax(dim=-1, keepdim=True), 0.0, probs_BV)
    counts = [min(one.get("top_k") or size, size) for one in settings]
    top_k_B1 = torch.tensor([[size if count < 1 else count] for count in counts], device=probs_BV.device)
    top_p_B1 = _column(settings, "top_p", 1.0, probs_BV)
    is_whole_B1 = (top_p_B1 >= 1) & (top_k_B1 >= size)
    if bool(is_whole_B1.all()):
        return probs_BV
    count = min(size, max(_CANDIDATES, *(one for one in counts if one < size), 0))
    total_B1 = probs_BV.sum(dim=-1, keepdim=True)
    sorted_BK, ids_BK = probs_BV.topk(count, dim=-1)
    needs_more_B1 = (top_p_B1 < 1) & (top_k_B1 >= size) & (sorted_BK.sum(-1, keepdim=True) < top_p_B1 * total_B1)
    if count < size and bool(needs_more_B1.any()):
        sorted_BK, ids_BK = probs_BV.sort(dim=-1, descending=True)
    places_K = torch.arange(sorted_BK.shape[-1], device=probs_BV.device)[None]
    sorted_BK = torch.where(places_K < top_k_B1, sorted_BK, 0.0)
    total_B1 = torch.where(top_k_B1 < size, sorted_BK.sum(dim=-1, keepdim=True), total_B1)
    before_BK = sorted_BK.cumsum(dim=-1) - sorted_BK
    sorted_BK = torch.where((before_BK < top_p_B1 * total_B1) | (places_K == 0), sorted_BK, 0.0)
    return torch.where(is_whole_B1, probs_BV, torch.zeros_like(probs_BV).scatter_(-1, ids_BK, sorted_BK))


def _column(settings: Sequence[Mapping[str, Any]], name: str, default: float, like: torch.Tensor) -> torch.Tensor:
    values = [[default if one.get(name) is None else one[name]] for one in settings]
    return torch.tensor(values, dtype=torch.float32, device=like.device)


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
        if self.max_batch_size < 1:
            raise ValueError(f"max_batch_size is {self.max_batch_size}; it must be at least 1.")
        base = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        self._base = cast(PreTrainedModel, base)
        if self.max_model_len is None:
            self.max_model_len = context_tokens(self._base.config)
        self.end_ids = frozenset(end_token_ids(self.tokenizer, self.model.generation_config))
        is_sharded = is_deepspeed_zero3_enabled() or is_fsdp_managed_module(self._base)
        self._is_shared = is_sharded and distributed.is_initialized() and distributed.get_world_size() > 1
        # Padding is masked: any token does.
        self._pad_id = next(one for one in (self.tokenizer.pad_token_id, *sorted(self.end_ids), 0) if one is not None)

    def row(self, request: Request) -> _Row:
        """Return the answer to a request, without a token.

        Raises:
            ValueError: The context leaves no room for it, or a setting has no effect here.
        """
        body = request.sampling.body(request.index)
        odd = {name for name in body if name not in _KNOWN and body[name] != NEUTRAL.get(name)}
        if odd:
            raise ValueError(f"{sorted(odd)} have no effect on transformers in this process: leave them out.")
        ids = (
            list(request.prompt_ids)
            or self.tokenizer.apply_chat_template(
                [dict(message) for message in request.messages], add_generation_prompt=True, return_dict=True
            )["input_ids"]
        )
        room = None if self.max_model_len is None else self.max_model_len - len(ids)
        max_tokens = body.get("max_tokens") or room
        if max_tokens is None:
            raise ValueError("max_tokens is needed: the model's configuration doesn't tell its context.")
        if room is not None and not 0 < max_tokens <= room:
            raise ValueError(
                f"max_tokens is {body.get('max_tokens')}, but the context of {self.max_model_len} tokens leaves "
                f"{room} behind a prompt of {len(ids)}."
            )
        end_ids = frozenset() if body.get("ignore_eos") else self.end_ids
        return _Row(ids, body, max_tokens, end_ids, self.tokenizer)

    def sample(
        self,
        requests: Sequence[Request],
        *,
        on_done: OnDone = lambda place, reply: None,
        is_wanted: Callable[[int], bool] = lambda place: True,
    ) -> list[Reply]:
        """Return the answers to requests, in their order.

        Where several processes share a model's weights, all must call this together, each with requests of its own.

        Args:
            requests: Any number; the longest prompts come first.
            on_done: Called with the place of a request and its answer as soon as it is finished.
            is_wanted: Asked after each token; an unwanted request ends with the finish reason "abort".

        Raises:
            ValueError: The context leaves no room for a request, or the logits are NaN.
            torch.OutOfMemoryError: The memory isn't enough for one answer.
        """
        rows = [self.row(request) for request in requests]
        for place, row in enumerate(rows):
            row.place = place
        left = sorted(rows, key=lambda row: -len(row.prompt_ids))  # those of like length share a batch
        was_training, own_config = self.model.training, self._base.generation_config
        self.model.eval()
        self._base.generation_config = GenerationConfig()  # `generate` would mix the model's with what it is given
        try:
            while self._any_of_all(bool(left)):
                taken = left[: self.max_batch_size]
                if not self._generate(taken, on_done, is_wanted):
                    self._halve(len(taken))
                left = [row for row in left if row.reply is None]
        finally:
            self.model.train(was_training)
            self._base.generation_config = own_config
        return [cast(Reply, row.reply) for row in rows]

    def _any_of_all(self, is_true: bool) -> bool:
        """Whether it is true in this process, or in one that shares the weights (ZeRO-3, FSDP)."""
        if not self._is_shared:
            return is_true
        flag = torch.tensor(float(is_true), device=self._base.device)
        distributed.all_reduce(flag, distributed.ReduceOp.MAX)
        return bool(flag.item())

    def _generate(self, rows: Sequence[_Row], on_done: OnDone, is_wanted: Callable[[int], bool]) -> bool:
        """Decode rows to their ends; return whether the memory was enough."""
        if not rows:  # steps of the others need one here too
            rows = [_Row([self._pad_id], {"temperature": 0.0}, 1, frozenset(), self.tokenizer)]
            on_done = lambda place, reply: None  # noqa: E731
        for row in rows:
            row.start()
        width = max(len(row.prompt_ids) for row in rows)
        pads = [width - len(row.prompt_ids) for row in rows]
        ids = [[self._pad_id] * pad + row.prompt_ids for pad, row in zip(pads, rows, strict=True)]
        mask = [[0] * pad + [1] * (width - pad) for pad in pads]
        most = max(row.max_tokens for row in rows)
        try:
            self._base.generate(
                input_ids=torch.tensor(ids, device=self._base.device),
                attention_mask=torch.tensor(mask, device=self._base.device),
                generation_config=GenerationConfig(max_new_tokens=most, do_sample=False, pad_token_id=self._pad_id),
                logits_processor=LogitsProcessorList([_Choice(rows)]),
                stopping_criteria=StoppingCriteriaList([_Ends(rows, on_done, is_wanted)]),
            )
        except torch.OutOfMemoryError as error:
            logger.info("%s", str(error).partition(". ")[0])
            return False
        return True

    def _halve(self, num_rows: int) -> None:
        if num_rows <= 1 or self._is_shared:
            raise torch.OutOfMemoryError(
                f"The memory isn't enough for {num_rows} answers at once: lower the batch size, or the most tokens of "
                "an answer."
            )
        gc.collect()
        torch.cuda.empty_cache()
        self.max_batch_size = num_rows // 2
        logger.warning("The memory isn't enough for %d answers at once: now %d.", num_rows, self.max_batch_size)


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
    _waiting: list[tuple[Request, asyncio.Future[Reply]]] = field(default_factory=list)
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
        context = self.sampler.max_model_len
        return ServedModel(self.name, context, (self.path,), ("transformers",), (context,))

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
            self.sampler.row(request)
        except (ValueError, TypeError, TemplateError) as error:
            return Reply.failed(str(error), server=TRANSFORMERS_HERE)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._sample_all())
        return await future

    async def _sample_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # others that are ready now come along
            batch, self._waiting = self._waiting, []
            await self._sample([request for request, _ in batch], [future for _, future in batch])

    async def _sample(self, requests: Sequence[Request], futures: Sequence[asyncio.Future[Reply]]) -> None:
        loop, started = asyncio.get_running_loop(), time.monotonic()

        def keep(place: int, reply: Reply) -> None:
            if not futures[place].done():
                futures[place].set_result(replace(reply, latency_s=time.monotonic() - started))

        def on_done(place: int, reply: Reply) -> None:  # in the sampler's thread
            loop.call_soon_threadsafe(keep, place, reply)

        def is_wanted(place: int) -> bool:
            return not futures[place].done()

        try:
            await asyncio.to_thread(self.sampler.sample, requests, on_done=on_done, is_wanted=is_wanted)
        except Exception as error:  # noqa: BLE001 - whoever asked raises it
            for future in futures:
                if not future.done():
                    future.set_exception(error)
