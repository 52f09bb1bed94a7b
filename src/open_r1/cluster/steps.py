# SPDX-License-Identifier: Apache-2.0
"""A program on some nodes of a job: one `srun`.

1. Output goes to a file of the step; that of the work goes to the job's own log too.
2. `srun` kills its step at once when it gets SIGTERM, so a gentle end goes through `scancel --signal`.
3. Programs may use all CPUs that the job has on a node, and ask its nodes without a proxy.
"""

import logging
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.own_job import ask
from open_r1.cluster.sites import Site
from open_r1.data.secret_names import HIDDEN, hide_secrets, is_secret_name, shell_line

logger = logging.getLogger(__name__)

NODE_RANK = "{node_rank}"  # in a word of a command: the number of the node among the step's nodes, from 0
_ON_NODE = ("bash", "-c", 'exec "${@//"' + NODE_RANK + '"/$SLURM_PROCID}"', "step")
_PATIENT = ("bash", "-c", 'trap "" TERM; exec "$@"', "step")
# SIGTERM is ignored here, so it does not reach the program where Slurm signals a step's own tasks alone
# (proctrack/cgroup), and elsewhere only programs with a handler of their own heed it. It stays in the process group,
# which Slurm may kill as a whole (proctrack/pgid): so no job control, without which bash would let it ignore SIGINT.
_SHIELD = (
    "bash",
    "-c",
    """trap "" TERM; trap 'told=1; kill -INT $! 2>/dev/null' INT; """
    '(trap - INT; exec "$@") & exec 2>/dev/null; '
    'while told=; wait $!; status=$?; [ "$told" ]; do :; done; exit $status',
    "step",
)
# torch's launcher of several processes would heed SIGTERM all the same: end them, and kill those that save after 30 s.
_PATIENCE = {"PET_SIGNALS_TO_HANDLE": "SIGINT,SIGHUP,SIGQUIT"}
_LAST_BYTES = 16384
_REASON_BYTES = 2**20  # a training shows all its settings first
# What launchers put before a line of a process, then the end of a traceback or what argparse says.
_REASON = re.compile(
    r"((?:\d+: |\[default\d+\]:|\[rank\d+\]: ?)*)"
    r"((?:[\w.]+\.)?\w*(?:Error|Exception|Interrupt): \S.*|[\w./-]+: error: .*)"
)
_NO_REASON = re.compile(r"\S*ChildFailedError|srun: error:")  # of launchers: that a process has failed, not why
_TICK_S, _SRUN_S = 0.1, 10.0


@dataclass(frozen=True)
class Step:
    """What one srun starts: a task on each of its nodes.

    Args:
        name: Name of the step and of its log file; unique in a job.
        command: Words of the program, container included (`Site.python_command`); `{node_rank}` in them becomes the
            number of the node, on the node itself.
        nodes: Names of the nodes.
        gpus: GPUs of each node that it sees; None for all that the job has.
        env: Variables besides those of the site.
        is_shown: Its output goes to the job's own log too.
        saves_on_term: SIGTERM makes the program save and end, and is ignored by the launcher around it, which would
            end at once and take the program with it.
        ends_on_int: SIGTERM, which Slurm sends to all steps at once, is kept from the program, which others need until
            they have saved: SIGINT ends it.
    """

    name: str
    command: tuple[str, ...]
    nodes: tuple[str, ...]
    gpus: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    is_shown: bool = False
    saves_on_term: bool = False
    ends_on_int: bool = False

    def argv(self, site: Site, allocation: Allocation) -> list[str]:
        """Return the words that start it."""
        count = len(self.nodes)
        words = [
            "srun",
            f"--job-name={self.name}",
            f"--nodes={count}",
            f"--ntasks={count}",
            "--ntasks-per-node=1",
            f"--nodelist={','.join(self.nodes)}",
            "--overlap",
            "--export=ALL",
        ]
        if allocation.gpus_per_node:
            gpus = allocation.gpus_per_node if self.gpus is None else self.gpus
            words.append(f"--gpus-per-node={gpus}" if gpus else "--gres=none")
        if not _is_binding_chosen(site):
            # Else a task may be bound to one CPU (autobind=cores). A Slurm that binds nothing says so in the log.
            words.append("--cpu-bind=none")
        if count > 1:
            # One node that fails ends all; one that is done waits for the others, however long they push a model.
            words += ["--kill-on-bad-exit=1", "--wait=0", "--label"]
        ranks = _ON_NODE if any(NODE_RANK in word for word in self.command) else ()
        patience = _PATIENT if self.saves_on_term else _SHIELD if self.ends_on_int else ()
        return [*words, *site.srun_options, *patience, *ranks, *self.command]

    def variables(self, site: Site, allocation: Allocation) -> dict[str, str]:
        """Return the variables that it gets besides those of the job."""
        given = site.step_environment()
        direct = _without_proxy({**os.environ, **given}, allocation.nodes)
        return {**given, **direct, **(_PATIENCE if self.saves_on_term else {}), **self.env}

    def shell_line(self, site: Site, allocation: Allocation) -> str:
        """Return what starts it as a line for a shell, for people to read and repeat; values of secrets are hidden."""
        variables = [
            f"{name}={HIDDEN if value and is_secret_name(name) else shlex.quote(hide_secrets(value))}"
            for name, value in self.variables(site, allocation).items()
        ]
        return " ".join([*variables, shell_line(self.argv(site, allocation))])


class RunningStep:
    """A step that was started.

    Attributes:
        step: What it is.
        log_path: Where its output goes.
    """

    def __init__(self, step: Step, site: Site, allocation: Allocation, env: Mapping[str, str]) -> None:
        """Start it.

        Args:
            step: What to start.
            site: The cluster.
            allocation: The job.
            env: Variables that the supervisor adds.
        """
        self.step = step
        self.log_path = allocation.attempt_folder / f"{step.name}.log"
        self._label = allocation.label
        # Else what is printed comes long after what is logged, or never.
        variables = {"PYTHONUNBUFFERED": "1", **os.environ, **step.variables(site, allocation), **env}
        self._log = self.log_path.open("ab", buffering=0)
        output = subprocess.PIPE if step.is_shown else self._log
        self._srun = subprocess.Popen(
            step.argv(site, allocation),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=variables,
        )
        self._copying: threading.Thread | None = None
        if self._srun.stdout is not None:
            sinks = {str(self.log_path): self._log.fileno(), "the job's own log": sys.stdout.fileno()}
            self._copying = threading.Thread(target=_copy, args=(self._srun.stdout, sinks), daemon=True)
            self._copying.start()

    def poll(self) -> int | None:
        """Return its exit status as a shell would say it, None while it runs."""
        status = self._srun.poll()
        if status is None:
            return None
        if self._copying is not None:
            self._copying.join()
        return status if status >= 0 else 128 - status

    def wait(self, timeout_s: float) -> int | None:
        """Return its exit status, None if it still runs after `timeout_s` seconds."""
        end = time.monotonic() + timeout_s
        while (status := self.poll()) is None and time.monotonic() < end:
            time.sleep(_TICK_S)
        return status

    def ask_to_end(self) -> None:
        """Send SIGTERM, or SIGINT to a step that `ends_on_int`, to its programs, on their nodes."""
        if self.poll() is not None:
            return
        logger.info("Stopping %s.", self.step.name)
        signal = "INT" if self.step.ends_on_int else "TERM"
        shown = ask("squeue", "--steps", "--noheader", f"--job={self._label}", "--format=%i %j")
        for line in shown.splitlines():
            step_id, _, step_name = line.strip().partition(" ")
            if step_name.strip() == self.step.name:
                # It may have ended meanwhile; and nodes of the job that it has no part on are asked too, and complain.
                ask("scancel", "--quiet", f"--signal={signal}", step_id, expected="Invalid job id specified")

    def kill(self) -> None:
        """End it now, on all its nodes."""
        for end in (self._srun.terminate, self._srun.kill):
            if self.poll() is None:
                end()
                self.wait(_SRUN_S)

    def tail(self, lines: int = 20) -> str:
        """Return the last lines that it wrote, at most 16 KiB of them."""
        return "\n".join(self._read_end(_LAST_BYTES).rstrip().splitlines()[-lines:])

    def reason(self) -> str | None:
        """Return why it failed, in its own words, None if they don't say; see `find_reason`."""
        return find_reason(self._read_end(_REASON_BYTES))

    def _read_end(self, num_bytes: int) -> str:
        with self.log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - num_bytes))
            return log.read().decode("utf-8", errors="replace")


def _is_binding_chosen(site: Site) -> bool:
    """Say whether the user or the site says which CPUs tasks get: srun would mix two answers, or drop a hint."""
    is_option = any(word.startswith(("--cpu-bind", "--cpu_bind", "--hint")) for word in site.srun_options)
    return is_option or not {"SLURM_CPU_BIND", "SLURM_HINT"}.isdisjoint({**os.environ, **site.environment})


def _without_proxy(environment: Mapping[str, str], nodes: Sequence[str]) -> dict[str, str]:
    """Return what lets programs ask a job's nodes directly, {} where no proxy is set for such requests.

    Named twice, since programs differ in which spelling they read.
    """
    if not any(environment.get(name) for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")):
        return {}
    known = f"{environment.get('no_proxy', '')},{environment.get('NO_PROXY', '')}".replace(" ", "").split(",")
    direct = dict.fromkeys(name for name in (*known, "localhost", "127.0.0.1", *nodes) if name)
    names = "*" if "*" in direct else ",".join(direct)
    return {"NO_PROXY": names, "no_proxy": names}


def find_reason(log: str) -> str | None:
    """Return the error that ended a program, from its output: the last one of the process that failed first.

    >>> find_reason("[default1]:[rank1]: OSError: no space\\n[default0]:[rank0]: RuntimeError: a peer is gone\\n")
    'OSError: no space'
    """
    first, reason = None, None
    lines = log.splitlines()
    for number, line in enumerate(lines):
        found = _REASON.match(line)
        if found is None or _NO_REASON.match(found[2]) or (first is not None and found[1] != first):
            continue
        if reason is not None and found[2].startswith("subprocess.CalledProcessError:"):
            continue  # of accelerate's launcher of one process, which has said why
        first, reason = found[1], found[2].rstrip()
        if reason.endswith(":") and number + 1 < len(lines):  # the words stand in the next line
            reason += f" {lines[number + 1].removeprefix(found[1]).strip()}"
    return reason


def stop_all(steps: Sequence[RunningStep], grace_s: float) -> None:
    """End steps: `ask_to_end` to all, and SIGKILL to those that still run after `grace_s` seconds."""
    for running in steps:
        running.ask_to_end()
    end = time.monotonic() + grace_s
    for running in steps:
        running.wait(max(0.0, end - time.monotonic()))
        running.kill()


def _copy(source: IO[bytes], sinks: Mapping[str, int]) -> None:
    """Copy a pipe to file descriptors to its end. What can't be written is lost: nobody else reads the pipe."""
    has_failed: set[str] = set()
    while chunk := os.read(source.fileno(), 65536):
        for name, sink in sinks.items():
            try:
                _write(sink, chunk)
            except OSError as error:
                if name not in has_failed:
                    has_failed.add(name)
                    logger.warning("%s can't be written, so output of the work is missing in it: %s", name, error)


def _write(sink: int, chunk: bytes) -> None:
    while chunk:
        chunk = chunk[os.write(sink, chunk) :]
