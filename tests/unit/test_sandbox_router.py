# SPDX-License-Identifier: Apache-2.0
"""Parts of the router that need no server: addresses, the command line."""

import pytest

from open_r1.sandbox.router import router_base_url
from scripts.sandbox_router import build_parser, is_loopback, normalised

ADDRESSES = {
    "127.0.0.1:8000": "http://127.0.0.1:8000",
    " node-3:8000 ": "http://node-3:8000",
    "http://node-3:8000/": "http://node-3:8000",
    "https://router.example/team": "https://router.example/team",
    "http://[::1]:8000": "http://[::1]:8000",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_address_with_or_without_scheme(address):
    assert router_base_url(address) == ADDRESSES[address]


@pytest.mark.parametrize("address", ["", ":8000", "ftp://a:1", "http://", "a:b", "a:99999", "a:0"])
def test_unusable_address_is_refused(address):
    with pytest.raises(ValueError):
        router_base_url(address)


def test_loopback_is_what_no_network_reaches():
    assert [is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "node-3", "")] == [False] * 5


def test_options_may_have_hyphens_or_underscores():
    parser = build_parser("local", 8000)
    for words in (["--max-body-mb", "1"], ["--max_body_mb=1"], ["--max-num-sandboxes", "3", "--max-body-mb=1"]):
        assert parser.parse_args([normalised(word) for word in words]).max_body_mb == 1
    assert normalised("--sandbox-python=/usr/bin/my-python") == "--sandbox_python=/usr/bin/my-python"
    assert parser.parse_args(["--max_num_sandboxes", "3"]).max_parallel == 3
