# SPDX-License-Identifier: Apache-2.0
"""Sandbox router and Piston workers as plans: where they listen, who may know the token, refusals."""

import os
import sys
from dataclasses import replace

import pytest

from open_r1.cluster import piston, router
from open_r1.cluster.allocation import Allocation
from open_r1.cluster.sites import Site
from tests.conftest import ROOT

SECRET = "a secret of the tests"


@pytest.fixture(autouse=True)
def project(tmp_path, environment):
    """The environment of a script that is run where it lies."""
    foreign = ("SLURM_", "OPEN_R1_", "SANDBOX_", "PISTON_", "PORT")
    for name in [name for name in os.environ if name.startswith(foreign)]:
        del os.environ[name]
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    os.environ.update(
        OPEN_R1_ROOT=str(tmp_path),
        OPEN_R1_SITE_NODE_PYTHON=sys.executable,
        OPEN_R1_SITE_LOGS=str(tmp_path / "logs"),
        OPEN_R1_JOB_MODE="submit",
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )
    return tmp_path


# --- router


def router_plan(*words, written=None, restarts=0):
    arguments, arguments.rest = router.build_parser().parse_known_args(["--provider", "local", *words])
    site = Site.from_environment()
    allocation = replace(Allocation.imagined(site, name="router"), restarts=restarts)
    return router.make_plan(arguments, site, allocation, written=[] if written is None else written), site, allocation


def test_token_of_a_router_is_in_no_word_and_no_line_that_is_shown():
    os.environ[router.TOKEN_VARIABLE] = SECRET
    plan, site, allocation = router_plan("--max_parallel", "4")
    (server,) = plan.servers
    assert server.health_urls == ("http://node1:8000/health",)
    assert (server.step.gpus, plan.on_time_limit) == (0, "requeue")
    assert server.step.command[-8:] == (
        "--provider",
        "local",
        "--host",
        "node1",
        "--port",
        "8000",
        "--max_parallel",
        "4",
    )
    assert SECRET not in server.step.shell_line(site, allocation)
    assert SECRET not in "".join(plan.notes)


def test_router_without_its_packages_is_refused_before_submission(monkeypatch):
    os.environ[router.TOKEN_VARIABLE] = SECRET
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ValueError, match="make install EXTRAS=code"):
        router_plan()


def test_router_of_another_python_needs_no_packages_here(monkeypatch):
    os.environ[router.TOKEN_VARIABLE] = SECRET
    os.environ["OPEN_R1_SITE_NODE_PYTHON"] = "/usr/bin/python3"
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    plan, _, _ = router_plan("--max_parallel", "4")
    assert plan.servers[0].step.command[0] == "/usr/bin/python3"


@pytest.mark.parametrize(
    ("mode", "text", "message"),
    [
        *((mode, SECRET, "can be read or changed by others") for mode in (0o644, 0o640, 0o620, 0o604, 0o602)),
        (0o600, "\n", "is empty"),
        (None, "", "can't be read"),
    ],
)
def test_token_files_that_keep_no_secret_are_refused(project, mode, text, message):
    if mode is not None:
        (project / "token").write_text(text)
        (project / "token").chmod(mode)
    with pytest.raises(ValueError, match=message):
        router_plan("--token_file", "token")


def test_router_on_all_addresses_is_asked_by_its_nodes_name():
    os.environ[router.TOKEN_VARIABLE] = SECRET
    plan, _, _ = router_plan("--host", "0.0.0.0", "--port", "9")
    assert plan.servers[0].health_urls == ("http://node1:9/health",)


def test_router_on_an_address_with_colons_is_asked_in_brackets():
    os.environ[router.TOKEN_VARIABLE] = SECRET
    plan, _, _ = router_plan("--host", "fd00::1")
    assert plan.servers[0].health_urls == ("http://[fd00::1]:8000/health",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--max_paralel", "4"), "sandbox_router.py refuses its flags: unrecognized arguments: --max_paralel 4"),
        (("--api_key", "k"), "set MORPH_API_KEY"),
        (("--api_key=k",), "set MORPH_API_KEY"),
    ],
)
def test_flags_that_the_router_does_not_take_are_refused(words, message):
    os.environ[router.TOKEN_VARIABLE] = SECRET
    with pytest.raises(ValueError, match=message):
        router_plan(*words)


@pytest.mark.parametrize(
    ("mode", "restarts", "now", "is_there"),
    [
        ("job", 1, "node1:8000", False),
        ("job", 1, "node9:8000", True),  # a router that was started since
        ("job", 0, "node1:8000", True),
        ("submit", 1, "node1:8000", True),
    ],
)
def test_only_its_own_address_is_removed_when_a_router_starts_again(project, mode, restarts, now, is_there):
    os.environ.update({router.TOKEN_VARIABLE: SECRET, "OPEN_R1_JOB_MODE": mode})
    plan, _, _ = router_plan("--address_file", "address")
    plan.on_ready()
    assert (project / "address").read_text() == "node1:8000\n"
    (project / "address").write_text(f"{now}\n")
    router_plan("--address_file", "address", restarts=restarts)
    assert (project / "address").exists() == is_there


def test_file_that_no_router_has_written_is_left_alone(project):
    os.environ.update({router.TOKEN_VARIABLE: SECRET, "OPEN_R1_JOB_MODE": "job"})
    (project / "address").write_bytes(b"\xff")
    router_plan("--address_file", "address", restarts=1)
    assert (project / "address").exists()


@pytest.mark.parametrize(("now", "is_there"), [("node1:8000", False), ("node9:8000", True)])
def test_only_its_own_address_is_removed_when_a_router_ends(project, now, is_there):
    os.environ[router.TOKEN_VARIABLE] = SECRET
    written = []
    plan, _, _ = router_plan("--address_file", "address", written=written)
    plan.on_ready()
    (project / "address").write_text(f"{now}\n")
    router.forget_addresses(written)
    assert (project / "address").exists() == is_there
    assert not list(project.glob("logs/*/own_address"))


# --- Piston


def piston_plan(*words):
    arguments = piston.build_parser().parse_args(list(words))
    site = Site.from_environment()
    return piston.make_plan(arguments, site, Allocation.imagined(site, name="piston"))


def test_piston_gets_its_settings_by_the_environment_and_yours_win(project):
    os.environ.update(
        OPEN_R1_SITE_PISTON="apptainer\nexec\nan image.sif\nnode", PISTON_RUN_TIMEOUT="9000", PORT="2000"
    )
    (server,) = piston_plan().servers
    assert server.step.command == ("apptainer", "exec", "an image.sif", "node")
    assert server.health_urls == ("http://node1:2000/api/v2/runtimes",)
    expected = {
        "PORT": "2000",
        "PISTON_BIND_ADDRESS": "node1:2000",
        "PISTON_RUN_TIMEOUT": "9000",
        "PISTON_COMPILE_TIMEOUT": "60000",
        "PISTON_OUTPUT_MAX_SIZE": "40000000",
        "PISTON_DATA_DIRECTORY": str(project / "data/piston"),
    }
    assert expected.items() <= dict(server.step.env).items()


def test_worker_that_starts_is_found_by_nobody(project):
    (project / "scontrol").write_text('#!/bin/bash\necho "$*" >>"${0%/*}/called"\n')
    (project / "scontrol").chmod(0o755)
    os.environ.update(OPEN_R1_SITE_PISTON="node", OPEN_R1_JOB_MODE="job")
    plan = piston_plan("--port", "2000", "--packages", "packages")
    assert (project / "called").read_text() == "update JobId=<job> JobName=piston-starting\n"
    plan.on_ready()
    assert (project / "called").read_text().endswith("update JobId=<job> JobName=piston-worker-2000\n")


@pytest.mark.parametrize("port", ["0", "65536"])
def test_piston_ports_that_there_are_not_are_refused(port):
    os.environ["OPEN_R1_SITE_PISTON"] = "node"
    with pytest.raises(ValueError, match="must be 1 to 65535"):
        piston_plan("--port", port)


def test_site_without_piston_is_told_what_to_set():
    with pytest.raises(ValueError, match=r"`piston` in cluster.sh is empty"):
        piston_plan()
