# SPDX-License-Identifier: Apache-2.0
"""Sandboxes by the name of their provider; one for all who ask with the same settings, in each process.

SandboxSettings("piston", patience_s=60.0).build()   # PistonSandbox, by PISTON_ENDPOINTS
"""

import importlib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, get_args

from open_r1.sandbox.base import Sandbox, UnsupportedLanguageError
from open_r1.sandbox.languages import find_language
from open_r1.sandbox.running import run_coroutine

# A new provider has its name here, and its class with the settings that it takes below.
Provider = Literal["local", "piston", "e2b", "morph", "fusion", "router"]
_CLASSES: dict[str, tuple[str, ...]] = {
    "local": ("LocalSandbox", "python"),
    "piston": ("PistonSandbox", "patience_s"),
    "e2b": ("E2BSandbox",),
    "morph": ("MorphSandbox",),
    "fusion": ("FusionSandbox", "patience_s"),
    "router": ("RouterSandbox", "url", "token", "patience_s"),
}
PROVIDERS: tuple[str, ...] = get_args(Provider)
ROUTER_PROVIDERS = ("router", "e2b", "morph")  # those that a router's URL may be of
TOKEN_VARIABLE = "SANDBOX_ROUTER_TOKEN"  # where routers and clients look for it unless another one is named
_PLACES_ELSEWHERE = 2


@dataclass(frozen=True)
class SandboxSettings:
    """Which sandbox runs programs; the sandbox itself is built at first use, in the process that uses it.

    Attributes:
        provider: One of `PROVIDERS`. `e2b` and `morph` with a `router_url` are a router in front of them.
        num_parallel: Submissions that are judged at a time; None: on this machine as many as this process has cores
            for itself, elsewhere 2.
        router_url: Where the router listens: `host:port` or a URL.
        router_token_env: Name of the environment variable that holds the router's token; None: SANDBOX_ROUTER_TOKEN,
            if it's set.
        patience_s: Seconds for which a program waits while no router, Piston endpoint or SandboxFusion server answers.
        python: The interpreter for Python programs in local boxes (None: chosen by a probe).
    """

    provider: str = "local"
    num_parallel: int | None = None
    router_url: str | None = None
    router_token_env: str | None = None
    patience_s: float = 120.0
    python: str | None = None

    @property
    def num_places(self) -> int:
        """Return how many submissions are judged at a time, in the process that asks."""
        if self.num_parallel is not None:
            return self.num_parallel
        if self.provider != "local":
            return _PLACES_ELSEWHERE
        num_processes = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
        return max(1, len(os.sched_getaffinity(0)) // num_processes)

    def build(self) -> Sandbox:
        """Return the sandbox; asked again with the same settings, the same one. Asks nobody yet.

        Raises:
            ValueError: The provider is unknown; a router has no URL, or no token where one is named; or what the
                provider needs isn't there (a key, endpoints).
            ImportError: Packages of the extra `code` aren't there.
        """
        if self.provider not in PROVIDERS:
            raise ValueError(f"Unknown sandbox provider {self.provider!r}; there are {', '.join(PROVIDERS)}.")
        if self.provider == "router" and not self.router_url:
            raise ValueError("The provider 'router' needs its URL: set `sandbox_router_url`.")
        if not (math.isfinite(self.patience_s) and self.patience_s > 0):
            raise ValueError(f"sandbox_patience_s must be positive, got {self.patience_s}.")
        is_router = self.provider in ROUTER_PROVIDERS and self.router_url is not None
        token = os.environ.get(self.router_token_env or TOKEN_VARIABLE) or None
        if is_router and token is None and self.router_token_env is not None:
            raise ValueError(
                f"The router's token is to stand in the environment variable {self.router_token_env}, which isn't set."
            )
        key = replace(self, num_parallel=None, provider="router" if is_router else self.provider)
        return _build(key, token, os.getpid())

    def check(self, languages: Iterable[str]) -> str:
        """Ask the sandbox whether it's there and has these languages; return its line for the log.

        That may take minutes where a machine has to be made first.

        Raises:
            ValueError: See `build`.
            UnsupportedLanguageError: It hasn't one of them, or nobody knows it.
            SandboxError: It can't be reached, or can't isolate programs.
        """
        sandbox = self.build()
        there = run_coroutine(sandbox.languages)
        missing = sorted({name for name in languages if find_language(name).name not in there})
        if missing:
            raise UnsupportedLanguageError(
                f"{sandbox.describe()} can't run {', '.join(missing)}; it has {', '.join(there)}."
            )
        return f"{sandbox.describe()}; languages: {', '.join(there)}"


@cache
def _build(settings: SandboxSettings, token: str | None, process_id: int) -> Sandbox:
    """Import and build a sandbox, once a process: connections and locks of a parent are of no use in a fork."""
    name, *options = _CLASSES[settings.provider]
    given = {**vars(settings), "url": settings.router_url, "token": token}
    module = importlib.import_module(f"open_r1.sandbox.{settings.provider}")
    return getattr(module, name)(**{option: given[option] for option in options})


def build_sandbox(provider: str, **settings: Any) -> Sandbox:
    """Return the sandbox of `SandboxSettings`."""
    return SandboxSettings(provider, **settings).build()
