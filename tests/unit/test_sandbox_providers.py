# SPDX-License-Identifier: Apache-2.0
"""Sandboxes by name: what is refused, and who shares one."""

import pytest

from open_r1.sandbox.providers import build_sandbox


def test_an_unknown_provider_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="'docker'; there are local, "):
        build_sandbox("docker")


def test_a_router_needs_its_url():
    with pytest.raises(ValueError, match="`sandbox_router_url`"):
        build_sandbox("router")


@pytest.mark.parametrize("value", [None, ""])
def test_a_token_that_is_named_must_be_there(monkeypatch, value: str | None):
    monkeypatch.delenv("TOKEN_OF_A_TEST", raising=False)
    if value is not None:
        monkeypatch.setenv("TOKEN_OF_A_TEST", value)
    with pytest.raises(ValueError, match="TOKEN_OF_A_TEST"):
        build_sandbox("router", router_url="127.0.0.1:8000", router_token_env="TOKEN_OF_A_TEST")


def test_token_of_a_router_is_found_under_its_usual_name(monkeypatch):
    monkeypatch.setenv("SANDBOX_ROUTER_TOKEN", "not a token\n")  # a router's client refuses it, and so has read it
    with pytest.raises(ValueError, match="The router's token"):
        build_sandbox("e2b", router_url="127.0.0.1:8000")


@pytest.mark.parametrize("patience_s", [0.0, -1.0, float("nan"), float("inf")])
def test_patience_is_a_time(patience_s: float):
    with pytest.raises(ValueError, match="sandbox_patience_s"):
        build_sandbox("router", router_url="127.0.0.1:8000", patience_s=patience_s)
