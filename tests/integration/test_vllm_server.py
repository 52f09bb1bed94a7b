# SPDX-License-Identifier: Apache-2.0
"""`vllm serve` as a child of ours: awaited, refused with its own words, and gone when we are, however we go.

The executable is a stub (`fakes/vllm_executable.py`); tests/serving has the real one.
"""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from open_r1.generation import servers
from open_r1.generation.messages import ServersDownError
from open_r1.generation.servers import VllmServer, find_vllm
from tests.conftest import ROOT
from tests.integration.fakes.vllm_executable import read_pids, write_vllm
from tests.waiting import wait_until


def is_gone(pid):
    """Whether a process is no more; zombies count as gone."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def are_gone(folder):
    """Whether the server and its engine have run and are gone."""
    pids = read_pids(folder)
    return len(pids) == 2 and all(map(is_gone, pids))


def serve(folder, trouble="none", **settings):
    settings = {"log_path": folder / "vllm.log", "deadline_s": 60} | settings
    return VllmServer("some/model", vllm=write_vllm(folder, trouble), **settings)


def test_server_is_ready_inside_the_block_and_gone_behind_it(tmp_path):
    with serve(tmp_path) as server:
        with urllib.request.urlopen(f"{server.url}/models", timeout=60) as reply:
            assert b"some/model" in reply.read()
        assert server.model == "some/model"
        server.check()
    wait_until(lambda: are_gone(tmp_path))


def test_variables_of_a_server_come_before_those_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "of the user")
    with serve(tmp_path, env={"VLLM_API_KEY": ""}):
        assert psutil.Process(read_pids(tmp_path)[0]).environ()["VLLM_API_KEY"] == ""


def test_name_that_vllm_serves_under_is_the_models_name(tmp_path):
    with serve(tmp_path, args=["--served-model-name", "short"]) as server:
        assert server.model == "short"


def test_server_that_dies_is_reported_with_the_end_of_its_log(tmp_path):
    with (
        pytest.raises(ServersDownError, match=r"(?s)status 3.*no such model"),
        serve(tmp_path, "dies"),
    ):
        pass
    wait_until(lambda: are_gone(tmp_path))


def test_server_that_is_never_ready_is_given_up(tmp_path, monkeypatch):
    def looks_when_it_runs(url):
        wait_until(lambda: read_pids(tmp_path))
        return False

    monkeypatch.setattr(servers, "answers", looks_when_it_runs)
    said = r"(?s)not ready after 1 s.*serving some/model"
    with pytest.raises(ServersDownError, match=said), serve(tmp_path, "hangs", deadline_s=1):
        pass
    wait_until(lambda: are_gone(tmp_path))


def test_server_that_ends_later_is_noticed(tmp_path):
    with serve(tmp_path, "ends_later") as server:
        (tmp_path / "end").touch()
        with pytest.raises(ServersDownError, match="exit status 5"):
            wait_until(server.check)
    wait_until(lambda: are_gone(tmp_path))


def test_exception_in_the_block_stops_the_server(tmp_path):
    with pytest.raises(KeyError), serve(tmp_path):
        raise KeyError("ours")
    wait_until(lambda: are_gone(tmp_path))


HOLDER = """
import sys, time
from pathlib import Path
from open_r1.generation.servers import VllmServer
with VllmServer("some/model", grace_s=1, vllm=sys.argv[1], log_path=Path(sys.argv[2])) as server:
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("trouble", "number"),
    [
        ("none", signal.SIGKILL),
        ("is_stubborn", signal.SIGKILL),
        ("none", signal.SIGTERM),
        ("none", signal.SIGINT),
    ],
)
def test_server_goes_when_its_parent_is_killed(tmp_path, trouble, number, monkeypatch):
    command = [sys.executable, "-c", HOLDER, str(write_vllm(tmp_path, trouble)), str(tmp_path / "vllm.log")]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    parent = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert parent.stdout.readline() == "ready\n"
        parent.send_signal(number)
        wait_until(lambda: are_gone(tmp_path))
    finally:
        parent.kill()
        parent.communicate()


@pytest.mark.parametrize("words", [["--port", "80"], ["--host=0.0.0.0"]])
def test_address_is_not_for_the_arguments(tmp_path, words):
    with pytest.raises(ValueError, match=words[0].partition("=")[0]):
        serve(tmp_path, args=words)


def test_executable_is_looked_for_in_order(tmp_path, environment):
    environment["PATH"] = str(tmp_path / "empty")
    environment["VENV_SERVING"] = str(tmp_path / "serving")
    if not Path(sys.executable).with_name("vllm").exists():
        with pytest.raises(FileNotFoundError, match="make install_serving"):
            find_vllm()
        expected = write_vllm(tmp_path / "serving" / "bin")
        assert find_vllm() == expected
    with pytest.raises(FileNotFoundError, match="no/such/vllm"):
        find_vllm("no/such/vllm")
