# SPDX-License-Identifier: Apache-2.0
"""A small OpenAI-compatible server for a model of transformers, in threads of this process.

    with TransformersServer("data/my-model") as server:
        ask(server.url, server.model)

For machines without vLLM, and models that it doesn't know. Requests that wait are sampled together; see
`completion_protocol.py` for what they may hold, and `evaluation/sampling/batch_sampling.py` for how.

1. It listens on 127.0.0.1 alone, by default on a free port.
2. What the model's own `generation_config.json` proposes for sampling isn't mixed in; its end tokens are.
"""

import asyncio
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
import transformers
from aiohttp import web
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig, PreTrainedModel

from open_r1.evaluation.completion_app import build_app
from open_r1.evaluation.completion_protocol import Reader
from open_r1.evaluation.identity import adapter_base
from open_r1.evaluation.listening import HOST, check_port
from open_r1.evaluation.sampling.batch_sampling import BatchSampler
from open_r1.evaluation.waiting_line import WaitingLine
from open_r1.generation.servers import ServerError
from open_r1.models import context_tokens

logger = logging.getLogger(__name__)

ENGINE = "transformers"
_STOP_S = 30.0
_BATCH_SIZE, _BATCH_SIZE_OF_CPU = 64, 16


class TransformersServer:
    """Serves a model for as long as the context is open.

    Attributes:
        url: Base URL, with /v1, once the context is entered.
        model: The name that requests must give: the one that it was named by.
        sampler: What answers, once the context is entered.
    """

    sampler: BatchSampler

    def __init__(
        self,
        model: str,
        *,
        revision: str = "main",
        trust_remote_code: bool = False,
        dtype: str | None = None,
        max_batch_size: int | None = None,
        max_model_len: int | None = None,
        port: int = 0,
    ) -> None:
        """Note the settings; the model is loaded when the context is entered.

        Args:
            model: Folder, or name on the hub.
            revision: Branch, tag or commit on the hub.
            trust_remote_code: Whether code of the model's repository may run.
            dtype: Of the weights: float32, bfloat16, float16, or auto (as they were saved); None: bfloat16 on a GPU,
                float32 on a CPU.
            max_batch_size: Answers at a time; None: 64 on a GPU, 16 on a CPU.
            max_model_len: Tokens of prompt and answer together; None: the model's context.
            port: From 0 to 65535; 0 takes one that is free.

        Raises:
            ValueError: Nothing can listen on the port, or a number is below 1.
        """
        check_port(port)
        for name, value in {"max_batch_size": max_batch_size, "max_model_len": max_model_len}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1.")
        self.model, self.url, self._port = model, "", port
        self._path = str(Path(model).expanduser()) if Path(model).expanduser().exists() else model
        self._revision, self._trusts = revision, trust_remote_code
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        is_cpu = self._device.type == "cpu"
        self._dtype = dtype or ("float32" if is_cpu else "bfloat16")
        self._max_batch_size = max_batch_size or (_BATCH_SIZE_OF_CPU if is_cpu else _BATCH_SIZE)
        self._max_model_len = max_model_len
        self._line: WaitingLine | None = None
        self._thread: threading.Thread | None = None
        self._loop = asyncio.new_event_loop()
        self._ready, self._stop = threading.Event(), asyncio.Event()

    def __enter__(self) -> Self:
        """Load the model and serve it.

        Raises:
            ValueError: `max_model_len` is more than the model's context.
            OSError: The model can't be loaded.
        """
        loaded, reader = self._load()
        self.sampler = loaded
        self._described = {
            "engine": ENGINE,
            "version": transformers.__version__,
            "torch": torch.__version__,
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            "device": loaded.model.device.type,
        }
        self._line = WaitingLine(loaded)
        self._thread = threading.Thread(
            target=self._run, args=(reader, self._line), name="transformers-server", daemon=True
        )
        self._thread.start()
        while not self._ready.wait(0.1):
            self.check()
        logger.info(
            "%s is served by transformers at %s (%s).",
            self.model,
            self.url,
            ", ".join(f"{name} {value}" for name, value in self._described.items()),
        )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._thread is None or self._line is None:
            return
        self._line.abandon()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_STOP_S)
        if self._thread.is_alive():
            logger.warning("The server's thread didn't end within %g s; it ends with the process.", _STOP_S)

    @property
    def num_waiting(self) -> int:
        """Answers that are asked for and not being sampled yet."""
        return 0 if self._line is None else self._line.num_waiting

    def check(self) -> None:
        """Raise a ServerError, with the reason, if it can't answer any more."""
        if self._thread is not None and not self._thread.is_alive():
            raise ServerError("The server's thread has ended; its error is in the log above.")
        if self._line is not None and self._line.trouble is not None:
            raise ServerError(
                f"Sampling by transformers fails again and again: {self._line.trouble}. What was done "
                "is kept: the same command goes on."
            )

    def _load(self) -> tuple[BatchSampler, Reader]:
        # A folder has no revision, but the model that an adapter in it changes may have one.
        base = adapter_base(Path(self._path))
        where = {"revision": self._revision if base is None else base[1], "trust_remote_code": self._trusts}
        if self._max_model_len is not None:
            self._check_length(self._configuration(where))
        # One for each of the two threads.
        own, of_requests = (AutoTokenizer.from_pretrained(self._path, **where) for _ in range(2))
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(self._path, dtype=self._dtype, **where)
        self._check_length(model.config)
        sampler = BatchSampler(model.to(self._device).eval(), own, self._max_batch_size, self._max_model_len)
        return sampler, Reader(sampler, of_requests, self.model)

    def _configuration(self, where: Mapping[str, Any]) -> PretrainedConfig | None:
        try:
            return AutoConfig.from_pretrained(self._path, **where)
        except (OSError, ValueError):  # an adapter has none: that of its loaded base tells
            return None

    def _check_length(self, config: PretrainedConfig | None) -> None:
        own = None if config is None else context_tokens(config)
        if self._max_model_len is not None and own is not None and self._max_model_len > own:
            raise ValueError(
                f"max_model_len is {self._max_model_len}, but {self.model} has a context of {own} "
                "tokens: lower it, or stretch the model's by YaRN in its config.json."
            )

    def _run(self, reader: Reader, line: WaitingLine) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(reader, line))

    async def _serve(self, reader: Reader, line: WaitingLine) -> None:
        app = build_app(reader, line, self.model, self._path, self._described)
        # A client that hangs up doesn't want its answer any more.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_STOP_S)
        await runner.setup()
        site = web.TCPSite(runner, HOST, self._port)
        await site.start()
        self.url = f"http://{HOST}:{runner.addresses[0][1]}/v1"
        sampling, stopping = asyncio.create_task(line.run()), asyncio.create_task(self._stop.wait())
        self._ready.set()
        await asyncio.wait([sampling, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        line.close()
        await runner.cleanup()
        await sampling  # raises what ended it
