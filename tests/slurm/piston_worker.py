# SPDX-License-Identifier: Apache-2.0
"""A Piston worker as `piston` in cluster.sh may start it: the tests' own server, with settings of the environment."""

import os
import signal
from pathlib import Path

from tests.integration.fakes.piston_server import PistonServer


def main() -> None:
    host, _, port = os.environ["PISTON_BIND_ADDRESS"].rpartition(":")
    assert port == os.environ["PORT"]
    assert os.environ["PISTON_DISABLE_NETWORKING"] == "true"
    assert os.environ["PISTON_BODY_LIMIT"] == "512mb"
    assert Path(os.environ["PISTON_DATA_DIRECTORY"]).is_dir()
    configured = {
        name: int(os.environ[f"PISTON_{name.upper()}"])
        for name in ("run_timeout", "compile_timeout", "run_cpu_time", "compile_cpu_time")
    }
    with PistonServer(
        host=host, port=int(port), configured=configured, output_max_size=int(os.environ["PISTON_OUTPUT_MAX_SIZE"])
    ):
        print(f"listening on {host}:{port}", flush=True)
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # before threads start, which inherit it
    main()
