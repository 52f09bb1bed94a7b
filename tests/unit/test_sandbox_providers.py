# SPDX-License-Identifier: Apache-2.0
"""Sandboxes by name: what is refused, and who shares one."""

import pytest

from open_r1.sandbox.providers import build_sandbox

ROUTER = {"provider": "router", "router_url": "127.0.0.1:8000"}
REFUSED = [
    ({"provider": "docker"}, "'docker'"),
    ({"provider": "router"}, "sandbox_router_url"),
    ({**ROUTER, "router_url": "ftp://a:1"}, "ftp://a:1"),
    ({**ROUTER, "router_url": "a:99999"}, "99999|out of range"),
    ({**ROUTER, "router_token_env": "TOKEN_OF_A_TEST"}, "TOKEN_OF_A_TEST"),
    *(({**ROUTER, "patience_s": value}, "patience_s") for value in (0.0, -1.0, float("nan"), float("inf"))),
]


@pytest.mark.parametrize(("settings", "said"), REFUSED)
def test_unusable_settings_are_refused(monkeypatch, settings, said):
    monkeypatch.setenv("TOKEN_OF_A_TEST", "")
    with pytest.raises(ValueError, match=said):
        build_sandbox(**settings)


def test_same_settings_are_the_same_sandbox():
    one = build_sandbox(**ROUTER)
    assert build_sandbox(**ROUTER, num_parallel=7) is one
    assert build_sandbox(**ROUTER, patience_s=7.0) is not one
    assert build_sandbox("e2b", router_url="127.0.0.1:8000").url == one.url == "http://127.0.0.1:8000"
