# SPDX-License-Identifier: Apache-2.0
"""Who completes the prompts: servers, or vLLM in this process."""

import logging
import os
import signal
from collections.abc import Callable, Iterator

from open_r1.curation.pass_rate.parameters import PassRateParameters
from open_r1.generation.client import Patience
from open_r1.generation.completions import CompletionClient, complete_all
from open_r1.generation.engine import Totals, run
from open_r1.generation.journal import Journal
from open_r1.generation.offline import OfflineModel, complete_offline
from open_r1.generation.requests import ChatRequest, Sampling

logger = logging.getLogger(__name__)

# (requests, number of them at most, journal): completes what the journal doesn't have.
Ask = Callable[[Iterator[ChatRequest], int, Journal], None]


class StoppedError(RuntimeError):
    """A signal ended the asking; what had come is kept."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"Stopped by {number.name}; the same command goes on.")
        self.number = number


def ask_servers(parameters: PassRateParameters, sampling: Sampling) -> Ask:
    """Return what asks `parameters.server`.

    Raises:
        ValueError: An address is none, or is given twice.
    """
    client = CompletionClient(
        parameters.server or [],
        sampling,
        model=parameters.server_model,
        api_key=os.environ.get(parameters.server_api_key_env),
        patience=Patience(retries=parameters.retries),
    )

    def ask(requests: Iterator[ChatRequest], num_requests: int, journal: Journal) -> None:
        outcome = run(complete_all(requests, num_requests, journal, client, max_concurrent=parameters.max_concurrent))
        if outcome.stopped_by is not None:
            raise StoppedError(outcome.stopped_by)
        _report(outcome.totals)

    return ask


def ask_here(parameters: PassRateParameters, sampling: Sampling, model: OfflineModel) -> Ask:
    """Return what completes prompts by vLLM in this process."""

    def ask(requests: Iterator[ChatRequest], num_requests: int, journal: Journal) -> None:
        totals = complete_offline(
            requests, num_requests, journal, model, sampling, max_concurrent=parameters.max_concurrent
        )
        _report(totals)

    return ask


def _report(totals: Totals) -> None:
    logger.info("%d completions, %d tokens; %d reached their limit, %d failed.", totals.done, totals.completion_tokens,
                totals.truncated, totals.failed)  # fmt: skip
    if totals.failed:
        logger.warning("%d requests failed, the last with: %s. --overwrite asks for them again.", totals.failed,
                       totals.last_error)  # fmt: skip
