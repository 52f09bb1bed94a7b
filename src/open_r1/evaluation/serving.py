# SPDX-License-Identifier: Apache-2.0
"""Who answers an evaluation: servers of the settings, a `vllm serve` started here, or transformers in this process."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import ProxyHandler, Request, build_opener

from open_r1.evaluation.defaults import DEFAULT_MAX_TOKENS
from open_r1.evaluation.identity import Identity, fingerprint_folder, identify_served
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.generation.client import ServedModel, refuse_another, server_url
from open_r1.generation.messages import ServersDownError
from open_r1.generation.servers import VllmServer, find_vllm

if TYPE_CHECKING:
    from open_r1.generation.transformers_here import TransformersHere

logger = logging.getLogger(__name__)

_ASK_S = 5.0
_MOST_BYTES = 1 << 24


@dataclass(frozen=True)
class Serving:
    """Who answers.

    Attributes:
        addresses: Of the servers; empty: `here` answers.
        here: A model in this process.
    """

    addresses: Sequence[str] = ()
    here: "TransformersHere | None" = None


@contextmanager
def serving(settings: EvaluationSettings, identity: Identity) -> Iterator[Serving]:
    """Yield the servers to ask: as given, or one that is started here and stopped at the end.

    Raises:
        FileNotFoundError: vLLM is asked for, and there is none.
        ServersDownError: A server of our own doesn't start, or died.
        OSError: transformers can't load the model.
    """
    if settings.servers or settings.model is None:
        yield Serving(settings.servers)
    elif choose_backend(settings) == "vllm":
        with _by_vllm(settings, settings.model, identity) as served:
            yield served
    else:
        from open_r1.generation.transformers_here import TransformersHere  # torch takes seconds to import

        yield Serving(
            here=TransformersHere.load(
                settings.model,
                revision=identity.commit or settings.revision,
                trust_remote_code=settings.trust_remote_code,
            )
        )


def engine_of(settings: EvaluationSettings, served: ServedModel | None = None) -> str | None:
    """Return what serves: vllm, transformers, or what servers say of themselves.

    Args:
        settings: Of the evaluation.
        served: What servers have told; None: not asked yet, which those of `settings.servers` must be.

    Returns:
        "unknown" of servers that don't tell; None of those that weren't asked.
    """
    if settings.servers:
        return None if served is None else "+".join(served.owners) or "unknown"
    if settings.backend != "auto":
        return settings.backend
    if settings.serve_args:
        return "vllm"
    try:
        find_vllm()
    except FileNotFoundError:
        return "transformers"
    return "vllm"


def choose_backend(settings: EvaluationSettings) -> str:
    """Return what serves the model: vllm or transformers.

    Raises:
        FileNotFoundError: vLLM is asked for, by name or by arguments for it, and there is none.
    """
    if settings.backend == "transformers":
        return settings.backend
    try:
        find_vllm()
    except FileNotFoundError as error:
        if settings.backend == "vllm":
            raise
        if settings.serve_args:
            words = " ".join(settings.serve_args)
            raise FileNotFoundError(
                f"{words!r}, of --serve_args, --parallel or --num_gpus, are for vLLM; leave them "
                f"out, and transformers answers. {error}"
            ) from error
        logger.info("transformers answers in this process, which is slower than vLLM: %s", error)
        return "transformers"
    return "vllm"


@contextmanager
def _by_vllm(settings: EvaluationSettings, model: str, identity: Identity) -> Iterator[Serving]:
    path = Path(model).expanduser()
    # What the model's repository proposes for sampling isn't mixed with ours, unless it is asked for.
    args = [] if settings.takes_generation_config else ["--generation-config", "vllm"]
    args += [] if path.exists() else ["--revision", identity.commit or settings.revision]
    args += ["--trust-remote-code"] if settings.trust_remote_code else []
    log_path = settings.folder(model) / "vllm.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    env = {} if settings.api_key else {"VLLM_API_KEY": ""}  # vLLM demands the key that it finds there
    with VllmServer(
        str(path) if path.exists() else model, args=[*args, *settings.serve_args], log_path=log_path, env=env
    ) as server:
        try:
            yield Serving([server.url])
        except ServersDownError:
            server.check()  # tells why, where the server has ended
            raise


class Weights:
    """Tells once for all benchmarks which weights answer."""

    def __init__(self, settings: EvaluationSettings, identity: Identity) -> None:
        self._settings, self._identity = settings, identity
        self._is_served_known = settings.model is not None
        self._fingerprint = cache(fingerprint_folder)  # reads all weights

    def check(self, served: ServedModel) -> None:
        """Refuse servers of which answers would be mixed up; one of our own serves what it was started with.

        Raises:
            ValueError: They serve another model, or several, or answers would have limits that differ.
        """
        settings = self._settings
        if not settings.servers:
            return
        refuse_another(settings.model, served, settings.served_model, self._fingerprint)
        if settings.sampling.max_tokens is not None or len(served.contexts) < 2:
            return
        if served.max_model_len is not None and served.max_model_len <= DEFAULT_MAX_TOKENS:
            told = ", ".join("not told" if tokens is None else str(tokens) for tokens in served.contexts)
            raise ValueError(
                f"The servers' contexts differ ({told}, in tokens), and each answer would be cut off where that of "
                "its server ends: name one limit by --max_tokens, or serve all with the same context."
            )

    def identify(self, served: ServedModel) -> Identity:
        """Return what identifies the model that is served; warn where nothing does."""
        if not self._is_served_known:
            self._is_served_known = True
            self._identity = identify_served(served, self._fingerprint)
        for note in self._identity.notes(served.name):
            logger.warning("%s.", note)
        return self._identity


def describe_servers(addresses: Sequence[str], api_key: str | None) -> list[dict[str, Any]]:
    """Return by what servers serve, each kind once: `engine` and `version`, None where they don't tell.

    vLLM tells its version at /version, and its name among its models.
    """
    found: list[dict[str, Any]] = []
    for address in addresses:
        url = server_url(address)
        models = _get(f"{url}/models", api_key).get("data")
        told = _get(f"{url.removesuffix('/v1')}/version", api_key)
        first = models[0] if isinstance(models, list) and models and isinstance(models[0], dict) else {}
        kind = {"engine": first.get("owned_by"), "version": None}
        kind |= {name: value for name, value in told.items() if isinstance(value, str)}
        if kind not in found:
            found.append(kind)
    return [kind for kind in found if any(kind.values())] or found  # one may just be away


def _get(url: str, api_key: str | None) -> dict[str, Any]:
    request = Request(url, headers={} if api_key is None else {"Authorization": f"Bearer {api_key}"})
    # The proxy of the environment is for servers beyond the cluster alone.
    opener = build_opener() if url.startswith("https:") else build_opener(ProxyHandler({}))
    try:
        with opener.open(request, timeout=_ASK_S) as reply:
            value = json.loads(reply.read(_MOST_BYTES))
    except (OSError, HTTPException, ValueError) as error:
        logger.debug("%s tells nothing: %s", url, error)
        return {}
    return value if isinstance(value, dict) else {}
