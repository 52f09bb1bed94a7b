# SPDX-License-Identifier: Apache-2.0
"""Who completes the prompts: servers, one that is started for it, or vLLM in this process."""

import copy
import json
import logging
import os
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from open_r1.curation.pass_rate.parameters import PassRateParameters
from open_r1.generation import driver
from open_r1.generation.client import Client, Patience, ServedModel
from open_r1.generation.driver import Outcome, run
from open_r1.generation.journal import Journal
from open_r1.generation.messages import Request, Sampling
from open_r1.generation.servers import VllmServer, find_vllm
from open_r1.generation.vllm_here import VllmHere, VllmModel

logger = logging.getLogger(__name__)

SERVED = "served_models.json"  # names under which servers served the model, beside the completions
# (requests, number of them at most, journal): completes what the journal doesn't have.
Ask = Callable[[Iterator[Request], int, Journal], None]


class StoppedError(RuntimeError):
    """A signal ended the asking; what had come is kept."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"Stopped by {number.name}; the same command goes on.")
        self.number = number


def ask_servers(parameters: PassRateParameters, sampling: Sampling, *, model: str | None = None) -> Ask:
    """Return what asks `parameters.server`; it notes under which names it was served (`read_served`).

    Args:
        parameters: Servers, and the name to ask for.
        sampling: How completions are drawn.
        model: Whose completions are wanted: another name at the servers is warned of. None: the name is known.

    Raises:
        ValueError: An address is none, or is given twice.
    """
    client = Client(
        parameters.server or [],
        model=parameters.server_model,
        api_key=os.environ.get(parameters.server_api_key_env),
        patience=Patience(retries=parameters.retries),
    )

    def ask(requests: Iterator[Request], num_requests: int, journal: Journal) -> None:
        def on_model(served: ServedModel) -> None:
            _note_served(journal.path.with_name(SERVED), served)
            if model is not None and parameters.server_model is None:
                _compare(model, served)

        async def ask_all() -> Outcome:
            async with client:
                on_model(await client.find_model(max_tokens=sampling.max_tokens))
                return await driver.ask(
                    requests, client.ask_one, journal, max_concurrent=parameters.max_concurrent, total=num_requests
                )

        _report(run(ask_all()))

    return ask


def ask_here(parameters: PassRateParameters, sampling: Sampling, model: VllmModel) -> Ask:
    """Return what completes prompts by vLLM in this process."""

    def ask(requests: Iterator[Request], num_requests: int, journal: Journal) -> None:
        here = VllmHere(model)
        _report(
            run(
                driver.ask(
                    requests, here.ask_one, journal, max_concurrent=parameters.max_concurrent, total=num_requests
                )
            )
        )

    return ask


def ask_served(parameters: PassRateParameters, sampling: Sampling, model: VllmModel) -> Ask:
    """Return what starts `vllm serve`, asks it, and stops it.

    Raises:
        FileNotFoundError: There is no vLLM.
    """
    find_vllm()
    args = [*_arguments(model), *shlex.split(parameters.serve_args)]

    def ask(requests: Iterator[Request], num_requests: int, journal: Journal) -> None:
        with VllmServer(model.name, args=args, log_path=journal.path.parent / "vllm.log") as server:
            asked = copy.copy(parameters)
            asked.server, asked.server_model = [server.url], server.model
            ask_servers(asked, sampling)(requests, num_requests, journal)

    return ask


def read_served(folder: Path) -> list[str]:
    """Return the names under which servers served the model of the completions in a folder, runs before too."""
    path = folder / SERVED
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def _note_served(path: Path, served: ServedModel) -> None:
    names = read_served(path.parent)
    if served.name not in names:
        part = path.with_suffix(".part")
        part.write_text(json.dumps([*names, served.name]), encoding="utf-8")
        part.replace(path)


def _compare(model: str, served: ServedModel) -> None:
    """Warn when a server serves under a name that isn't the model's: it may be another one."""
    wanted = {model, str(Path(model).expanduser().resolve())}
    if not wanted & {served.name, *served.roots}:
        logger.warning(
            "The servers serve %r%s, but `model_name_or_path` is %r, whose tokens and template are sent: make sure "
            "that it is the same model, and say so by --server_model %s.",
            served.name,
            f" ({', '.join(served.roots)})" if served.roots else "",
            model,
            served.name,
        )


def _arguments(model: VllmModel) -> list[str]:
    """Return the model's settings as `vllm serve` takes them."""
    args = [
        "--dtype",
        model.dtype,
        "--tensor-parallel-size",
        str(model.tensor_parallel_size),
        "--gpu-memory-utilization",
        str(model.gpu_memory_utilization),
    ]
    args += ["--revision", model.revision] if model.revision else []
    args += ["--max-model-len", str(model.max_model_len)] if model.max_model_len else []
    args += ["--enforce-eager"] if model.enforce_eager else []
    return args + (["--trust-remote-code"] if model.trust_remote_code else [])


def _report(totals: Outcome) -> None:
    if totals.stopped_by is not None:
        raise StoppedError(totals.stopped_by)
    logger.info(
        "%d completions, %d tokens; %d reached their limit, %d failed.",
        totals.done,
        totals.completion_tokens,
        totals.truncated,
        totals.failed,
    )
    if totals.failed:
        logger.warning("%d requests failed, the last with: %s.", totals.failed, totals.last_error)
