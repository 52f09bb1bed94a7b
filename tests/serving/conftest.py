# SPDX-License-Identifier: Apache-2.0
"""One real `vllm serve` for all tests here. It takes a minute to start, so nothing may stop or fill it."""

import os
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

from open_r1.generation.servers import VllmServer
from tests.conftest import ROOT

# In bfloat16 an answer may depend on which others are in its batch, where two tokens nearly tie.
VLLM_ARGS = ("--enforce-eager", "--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "16")
SERVED = "SmolLM2"
WITHOUT_SERVER = ("test_lighteval", "test_colocate", "test_server_of_the_command")


class ByServer(LoadFileScheduling):
    """One worker has the server, and all that ask it; the other one has the rest."""

    def _split_scope(self, nodeid: str) -> str:
        return next((name for name in WITHOUT_SERVER if name in nodeid), "server")


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    return ByServer(config, log)


def pytest_collection_modifyitems(items):
    # What takes longest comes first.
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
