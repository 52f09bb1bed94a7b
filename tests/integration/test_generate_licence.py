# SPDX-License-Identifier: Apache-2.0
"""The licence of finished generations, by repeated commands."""

import pytest

from open_r1.data.card import read_card
from tests.integration.fakes.chat_server import ChatServer
from tests.integration.reasoning_runs import generate, write_rows


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_licence_changes_where_it_is_asked_for_alone(tmp_path, flags):
    write_rows(tmp_path / "rows.jsonl", 2)
    with ChatServer() as server:
        assert generate(tmp_path, server.address, "--licence", "mit") == 0
        asked = len(server.requests)
        for words, licence in (((), "mit"), (("--licence", "unknown"), "unknown")):  # the last would be inherited
            assert generate(tmp_path, server.address, *flags, *words) == 0
            assert read_card(tmp_path / "out").licence == licence
        assert len(server.requests) == asked
