# SPDX-License-Identifier: Apache-2.0
"""A step: how it is started; output that can't be written does not stop its program; why a program failed."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from requests.utils import get_environ_proxies

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import RunningStep, Step, _copy, find_reason


def test_full_disk_does_not_stop_the_work(tmp_path, caplog):
    read, write = os.pipe()
    with (
        os.fdopen(read, "rb") as source,
        Path("/dev/full").open("wb", buffering=0) as full,
        (tmp_path / "log").open("wb") as log,
    ):
        copying = threading.Thread(target=_copy, args=(source, {"full": full.fileno(), "log": log.fileno()}))
        copying.start()
        for _ in range(40):
            os.write(write, b"x" * 65536)  # more than a pipe holds: blocks when nobody reads
        os.close(write)
        copying.join(60)
        assert not copying.is_alive()
    assert (tmp_path / "log").stat().st_size == 40 * 65536
    assert caplog.text.count("full can't be written, so output of the work is missing in it") == 1


LAUNCHER = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \nsrun: error: node1: task 0: Exited\n"


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("[default0]:[rank0]: ValueError: Too long: 4.\nmax_steps=3\n" + LAUNCHER, "ValueError: Too long: 4."),
        ("ValueError: a\n\nDuring handling\nopen_r1.x.LostError: b\n", "open_r1.x.LostError: b"),
        ("1: OSError: no space\n0: RuntimeError: a peer is gone\n" + LAUNCHER, "OSError: no space"),
        (
            "[default0]:sft.py: error: Unknown arguments:\n[default0]:  learning_rat\n" + LAUNCHER,
            "sft.py: error: Unknown arguments: learning_rat",
        ),
        ("sft.py: error: Unknown arguments:", "sft.py: error: Unknown arguments:"),
        ("ValueError: a\nsubprocess.CalledProcessError: Command '['sft.py']' returned 1.\n", "ValueError: a"),
        (
            "subprocess.CalledProcessError: Command 'ninja' returned 1.\n",
            "subprocess.CalledProcessError: Command 'ninja' returned 1.",
        ),
        ("no ValueError: here\n{'loss': 3}\n" + LAUNCHER, None),
        ("", None),
    ],
)
def test_reason_of_a_failure_is_that_of_the_first_process(log, reason):
    assert find_reason(log) == reason


def test_prints_and_errors_of_a_program_come_in_their_order(tmp_path, monkeypatch):
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/bash\nwhile [[ $1 == -* ]]; do shift; done\nexec "$@"\n')
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    site = Site(root=tmp_path, node_python=sys.executable, logs=tmp_path)
    allocation = Allocation("7", "job", ("here",), 0, 0, "7", tmp_path)
    allocation.attempt_folder.mkdir(parents=True)
    program = "import sys; print('first'); sys.stderr.write('second\\n'); print('third')"
    running = RunningStep(Step("work", (sys.executable, "-c", program), ("here",)), site, allocation, {})
    assert running.wait(60) == 0
    assert running.tail() == "first\nsecond\nthird"


PROXIES = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")
NODES = ("node1", "node2")


def variables(monkeypatch, given, *, env=None, **settings) -> dict[str, str]:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    site = Site(root=Path("/r"), node_python="python", logs=Path("/l"), **settings)
    step = Step("train", ("true",), NODES[:1], env=env or {})
    return step.variables(site, Allocation("7", "job", NODES, 0, 0, "7", Path("/l")))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, None),
        ({"NO_PROXY": "mine"}, None),
        ({"https_proxy": "http://proxy"}, None),  # nodes are asked without TLS
        ({"http_proxy": "http://proxy"}, "localhost,127.0.0.1,node1,node2"),
        ({"ALL_PROXY": "http://proxy", "NO_PROXY": ".mine, node2"}, ".mine,node2,localhost,127.0.0.1,node1"),
        ({"HTTP_PROXY": "http://proxy", "no_proxy": "a", "NO_PROXY": "b"}, "a,b,localhost,127.0.0.1,node1,node2"),
        ({"http_proxy": "http://proxy", "no_proxy": "*"}, "*"),
    ],
)
def test_programs_ask_the_nodes_of_the_job_without_a_proxy(monkeypatch, given, names):
    found = variables(monkeypatch, given)
    assert found.get("NO_PROXY") == found.get("no_proxy") == names


def test_requests_passes_the_proxy_by_for_nodes_alone(monkeypatch):
    found = variables(monkeypatch, {"http_proxy": "http://proxy"})
    monkeypatch.setenv("no_proxy", found["no_proxy"])
    assert get_environ_proxies("http://node2:20001/health") == {}  # as TRL's client asks
    assert get_environ_proxies("http://hub.example/")["http"] == "http://proxy"


def test_proxies_of_the_site_count_and_the_step_has_the_last_word(monkeypatch):
    settings = {"environment": {"http_proxy": "http://proxy", "no_proxy": ".site"}}
    assert variables(monkeypatch, {}, **settings)["NO_PROXY"] == ".site,localhost,127.0.0.1,node1,node2"
    assert variables(monkeypatch, {}, env={"NO_PROXY": "*", "no_proxy": "*"}, **settings)["no_proxy"] == "*"


def test_shown_line_has_no_secrets(monkeypatch):
    monkeypatch.setenv("OUR_SERVICE_TOKEN", "t0ken-of-ours")
    variables = {"http_proxy": "http://user:s3cret@proxy:3128", "HUB_TOKEN": "t0ken", "HF_HOME": "/h"}
    site = Site(root=Path("/r"), node_python="python", logs=Path("/l"), environment=variables)
    command = ("ask", "--url=http://user:s3cret@host", "--key", "t0ken-of-ours")
    line = Step("train", command, NODES).shell_line(site, Allocation("7", "job", NODES, 0, 0, "7", Path("/l")))
    assert "s3cret" not in line and "t0ken" not in line
    assert "http_proxy='http://***@proxy:3128' HUB_TOKEN=*** HF_HOME=/h " in line
    assert line.endswith("ask '--url=http://***@host' --key ***")


SHIELDED = """
import os, signal, sys, time
try:
    print(os.getpid(), flush=True)
    while True:
        time.sleep(0.1)
except KeyboardInterrupt:
    sys.exit(5)
"""


# bash reads it first, and is slow from then on at what lies around a start or behind a wait.
SLOW_SHELL = """trap 'case $BASH_COMMAND in *"kill -INT"*|status=*) sleep 1;; esac' DEBUG"""


@pytest.fixture(params=[False, True])
def shielded(request, tmp_path):
    """A program behind the shield, in a session of its own as Slurm starts tasks, and its process id."""
    (tmp_path / "slow.sh").write_text(SLOW_SHELL if request.param else "")
    site = Site(root=Path("/r"), node_python="python", logs=Path("/l"))
    step = Step("serve", (sys.executable, "-c", SHIELDED), NODES[:1], ends_on_int=True)
    words = step.argv(site, Allocation("7", "job", NODES, 0, 0, "7", Path("/l")))
    command = ["env", "--default-signal=INT", f"BASH_ENV={tmp_path / 'slow.sh'}", *words[words.index("bash") :]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    yield process, pid
    for number in (process.pid, pid):
        if Path(f"/proc/{number}").exists():
            os.kill(number, signal.SIGKILL)
    process.stdout.close()
    process.wait(60)


def test_shielded_program_ends_when_its_process_group_is_killed(shielded):
    process, _ = shielded
    os.killpg(process.pid, signal.SIGKILL)
    assert process.communicate(timeout=60)[0] == ""  # the pipe is open as long as the program lives
    assert process.wait(60) == -signal.SIGKILL


@pytest.mark.parametrize("tells", [os.kill, os.killpg])  # as Slurm does with cgroups, and without
def test_shielded_program_hears_sigint_alone_and_says_how_it_ended(shielded, tells):
    process, _ = shielded
    tells(process.pid, signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 5


def test_programs_have_all_cpus_unless_somebody_chooses(monkeypatch):
    def words(**settings) -> list[str]:
        site = Site(root=Path("/r"), node_python="python", logs=Path("/l"), **settings)
        return Step("train", ("true",), NODES).argv(site, Allocation("7", "job", NODES, 0, 0, "7", Path("/l")))

    choices = {"SLURM_CPU_BIND": "cores", "SLURM_HINT": "nomultithread"}  # `sbatch --hint` sets the latter
    for name in choices:
        monkeypatch.delenv(name, raising=False)
    assert "--cpu-bind=none" in words()
    assert "--cpu-bind=none" not in words(srun_options=("--cpu-bind=cores",))
    assert "--cpu-bind=none" not in words(srun_options=("--hint=nomultithread",))
    for name, value in choices.items():
        assert "--cpu-bind=none" not in words(environment={name: value})
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert "--cpu-bind=none" not in words()
