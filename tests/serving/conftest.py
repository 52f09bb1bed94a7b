# SPDX-License-Identifier: Apache-2.0
"""One real `vllm serve` for all tests here. It takes a minute to start, so nothing may stop or fill it."""

import os
from pathlib import Path

import pytest

from open_r1.generation.servers import VllmServer
from tests.conftest import ROOT

# In bfloat16 an answer may depend on which others are in its batch, where two tokens nearly tie.
VLLM_ARGS = ("--enforce-eager", "--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "16")
SERVED = "SmolLM2"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks for groups
def pytest_collection_modifyitems(items):
    """One worker has the server, and all that ask it; the other one begins with what takes longest."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("server" if "server" in item.fixturenames else item.path.stem))
    items.sort(key=lambda item: (item.path.stem != "test_lighteval", "server" not in item.fixturenames))


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """SmolLM2-135M-Instruct."""
    folder = ROOT / os.environ.get("SMOLLM2", "data/models/SmolLM2-135M-Instruct")
    if not (folder / "config.json").is_file():
        pytest.fail(f"{folder} is not there: run `make model`, or all of it by `make test_serving`")
    return folder


@pytest.fixture(scope="session")
def server(model_folder, tmp_path_factory):
    """The server: `server.url` with /v1, `server.model` the name to ask for."""
    log_path = tmp_path_factory.mktemp("vllm") / "vllm.log"
    args = [*VLLM_ARGS, "--served-model-name", SERVED]
    with VllmServer(str(model_folder), args=args, log_path=log_path, deadline_s=600) as started:
        yield started
