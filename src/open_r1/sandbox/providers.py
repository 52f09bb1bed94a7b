# SPDX-License-Identifier: Apache-2.0
"""Sandboxes by the name of their provider; one for all who ask with the same settings, in each process."""

import math
import os
import threading
from dataclasses import dataclass
from typing import Literal, get_args

from open_r1.sandbox.base import Sandbox

# A new provider has its name here and its line in `_build`; settings, flags and tests take the names from here.
Provider = Literal["local", "piston", "e2b", "morph", "fusion", "router"]
PROVIDERS: tuple[str, ...] = get_args(Provider)
ROUTER_PROVIDERS = ("router", "e2b", "morph")  # those that a router's URL may be of


@dataclass(frozen=True)
class _Settings:
    """What a sandbox is built from: the key by which it's found again."""

    provider: str
    router_url: str | None
    token: str | None
    patience_s: float
    python: str | None


_LOCK = threading.Lock()
_SANDBOXES: dict[_Settings, Sandbox] = {}


def _forget_parent() -> None:
    """Drop what a fork has copied: connections and locks are the parent's, and the lock may be held."""
    global _LOCK
    _LOCK = threading.Lock()
    _SANDBOXES.clear()


os.register_at_fork(after_in_child=_forget_parent)


def build_sandbox(
    provider: str,
    *,
    router_url: str | None = None,
    router_token_env: str | None = None,
    patience_s: float = 120.0,
    sandbox_python: str | None = None,
) -> Sandbox:
    """Return the sandbox of a provider; asked again with the same settings, the same one. Asks nobody yet.

    Args:
        provider: One of `PROVIDERS`. `e2b` and `morph` with a `router_url` are a router in front of them.
        router_url: Where the router listens: `host:port` or a URL.
        router_token_env: Name of the environment variable that holds the router's token; None: SANDBOX_ROUTER_TOKEN,
            if it's set.
        patience_s: Seconds for which a program waits while no router, Piston endpoint (PISTON_MAX_OUTAGE_S, where it's
            set, for these) or SandboxFusion server answers.
        sandbox_python: The interpreter for Python programs in local boxes (None: chosen by a probe).

    Raises:
        ValueError: The provider is unknown; a router has no URL, or no token where one is named; or what the provider
            needs isn't there (a key, endpoints, the packages of the extra `code`).
    """
    if provider not in PROVIDERS:
        raise ValueError(f"Unknown sandbox provider {provider!r}; there are {', '.join(PROVIDERS)}.")
    if provider == "router" and not router_url:
        raise ValueError("The provider 'router' needs its URL: set `sandbox_router_url`.")
    is_routed = provider == "router" or (provider in ROUTER_PROVIDERS and router_url is not None)
    if not (math.isfinite(patience_s) and patience_s > 0):
        raise ValueError(f"sandbox_patience_s must be positive, got {patience_s}.")
    settings = _Settings(
        provider="router" if is_routed else provider,
        router_url=router_url if is_routed else None,
        token=_token(router_token_env) if is_routed else None,
        patience_s=patience_s if is_routed or provider in ("piston", "fusion") else 0.0,
        python=sandbox_python if provider == "local" else None,
    )
    with _LOCK:
        if settings not in _SANDBOXES:
            _SANDBOXES[settings] = _build(settings)
        return _SANDBOXES[settings]


def _token(name: str | None) -> str | None:
    if name is None:
        from open_r1.sandbox.router import TOKEN_VARIABLE

        return os.environ.get(TOKEN_VARIABLE) or None
    token = os.environ.get(name)
    if not token:
        raise ValueError(f"The router's token is to stand in the environment variable {name}, which isn't set.")
    return token


def _build(settings: _Settings) -> Sandbox:
    """Import what one provider needs and build its sandbox."""
    if settings.provider == "local":
        from open_r1.sandbox.local import LocalSandbox

        return LocalSandbox(python=settings.python)
    if settings.provider == "piston":
        from open_r1.sandbox.piston import PistonSandbox

        return PistonSandbox.from_environment(patience_s=settings.patience_s)
    if settings.provider == "fusion":
        from open_r1.sandbox.fusion import FusionSandbox

        return FusionSandbox(patience_s=settings.patience_s)
    if settings.provider == "e2b":
        from open_r1.sandbox.e2b import E2BSandbox

        return E2BSandbox()
    if settings.provider == "morph":
        from open_r1.sandbox.morph import MorphSandbox

        return MorphSandbox()
    from open_r1.sandbox.router import RouterSandbox

    assert settings.router_url is not None
    return RouterSandbox(settings.router_url, token=settings.token, patience_s=settings.patience_s)
