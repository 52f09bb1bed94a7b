# SPDX-License-Identifier: Apache-2.0
"""A job without Slurm for tests of the supervisor, with real processes.

Small programs on the PATH stand for Slurm's commands: `srun` runs the command on this machine, `scancel` sends the
signal, `squeue` says what a file says, once there is no file `busy`, `scontrol` notes what it is asked.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120
_FAR_S = 90_000
COMMANDS = {
    "srun": """
for word; do
    case $word in
        --job-name=*) name=${word#*=} ;;
        -*) ;;
        *) break ;;
    esac
    shift
done
trap 'pkill -KILL -P "$!"; kill -KILL "$!"; wait; exit 143' TERM # as the real one does
( # known as a step before its program can say anything; shells let it ignore SIGINT
    echo "$BASHPID $name" >>"$BED_STATE/steps"
    SLURM_PROCID=0 exec env --default-signal=INT "$@"
) &
wait $! || status=$?
exit "${status:-0}"
""",
    "squeue": """
while [[ -e $BED_STATE/busy ]]; do sleep 0.05; done
case $* in
    *%i*) cat "$BED_STATE/steps" ;;
    *JobID*) echo 7 7 N/A 0 $(cat "$BED_STATE"/{state,start,end,preemption}) ;;
esac
""",
    "scancel": 'kill -"${2#--signal=}" "$3"',
    "scontrol": 'echo "$*" >>"$BED_STATE/scontrol"; [[ ! -e $BED_STATE/refuses ]] || { echo no >&2; exit 1; }',
}
# argv: a plan as JSON. Its words "{python}" stand for this Python.
PROGRAM = """
import json, logging, os, sys
from pathlib import Path
from open_r1.cluster.allocation import Allocation
from open_r1.cluster.own_job import look_up
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import Step
from open_r1.cluster.supervisor import Plan, Server, Supervisor

logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
given = json.loads(sys.argv[1])
logs = Path(given["logs"])
site = Site(root=Path(given["root"]), node_python=sys.executable, logs=logs)
allocation = Allocation("7", "a job", ("here",), 0, given["restarts"], "7", logs, record=look_up("7"))
step = lambda name, command, **more: Step(name, tuple(command), ("here",), is_shown=True, **more)
plan = Plan(
    servers=tuple(
        Server(step(name, command, ends_on_int=given["on_time_limit"] == "stop_file"), tuple(urls))
        for name, command, urls in given["servers"]
    ),
    work=tuple(step(name, command, saves_on_term=True) for name, command in given["work"]),
    on_time_limit=given["on_time_limit"], deadline_s=given["deadline_s"], output_dir=Path(given["output_dir"]),
    answers_in=None if given["answers_in"] is None else tuple(map(Path, given["answers_in"])),
    grace_s=given["grace_s"],
)
sys.exit(Supervisor(site, allocation, plan).run())
"""
# What the trainer does: waits for the stop file, saves, answers.
TRAINER = """
import json, os, pathlib, signal, sys, time
stop = pathlib.Path(os.environ["OPEN_R1_STOP_FILE"])
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
print("training", flush=True)
while not stop.exists() and not told:
    time.sleep(0.02)
checkpoint = pathlib.Path(sys.argv[1]) / "checkpoint-5"
checkpoint.mkdir(parents=True)
(checkpoint / "manifest.json").touch()
pathlib.Path(f"{stop}.done").write_text(json.dumps({"step": 5, "checkpoint": str(checkpoint)}))
print("saved", flush=True)
"""
SERVER = """
import http.server, sys, time
time.sleep(float(sys.argv[2]))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *words): pass
print("a server", flush=True)
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
if len(sys.argv) > 3:
    for _ in range(int(sys.argv[3])): server.handle_request()
    print("no memory", flush=True)
    sys.exit(9)
server.serve_forever()
"""
ASKING = """
import urllib.request
for _ in range(20):
    urllib.request.urlopen(sys.argv[2], timeout=60).close()
    time.sleep(0.1)
"""
# Asks its server to the end of the step in which it is told to stop.
ASKS = TRAINER.replace("checkpoint = ", f"{ASKING.strip()}\ncheckpoint = ", 1)
IGNORES = "import time; print('deaf', flush=True)\nwhile True: time.sleep(0.1)"


@dataclass
class Bed:
    """A job without Slurm."""

    folder: Path
    state: Path

    def start(
        self,
        *,
        work=(),
        servers=(),
        on_time_limit="stop_file",
        restarts=0,
        deadline_s=60.0,
        answers_in=None,
        grace_s=2.0,
    ):
        """Start the job. Work that saves when it is told to end has a `grace_s` that it can't miss."""
        plan = {
            "logs": str(self.folder / "logs"),
            "root": str(ROOT),
            "work": work,
            "servers": servers,
            "restarts": restarts,
            "on_time_limit": on_time_limit,
            "deadline_s": deadline_s,
            "output_dir": str(self.folder / "output"),
            "answers_in": answers_in,
            "grace_s": grace_s,
        }
        (self.state / "steps").write_text("")
        variables = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "BED_STATE": str(self.state),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
        }
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", PROGRAM, json.dumps(plan)], env=variables, stdout=log, stderr=log
            )

    def run(self, **plan) -> int:
        return self.start(**plan).wait(TIMEOUT_S)

    def start_and_signal(self, text: str, number: int, *, left_s: float | None = None, **plan) -> int:
        """Start, send a signal as soon as the log has a text, and return the exit status.

        Args:
            text: What the work writes when it is as far as the test needs it.
            number: The signal.
            left_s: Seconds that the job has left from then on, however long it took.
            plan: As for `start`.
        """
        if left_s is not None:
            self.limit(_FAR_S)
        process = self.start(**plan)
        self.wait_for(text)
        if left_s is not None:
            self.limit(left_s)
        process.send_signal(number)
        return process.wait(TIMEOUT_S)

    def wait_for(self, text: str) -> None:
        """Wait for a line that begins with a text; the commands of programs are in the log as well."""
        end = time.monotonic() + TIMEOUT_S
        while not any(line.startswith(text) for line in self.log.splitlines()):
            assert time.monotonic() < end, f"{text!r} is not in the log:\n{self.log}"
            time.sleep(0.02)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    @property
    def requeued(self) -> bool:
        path = self.state / "scontrol"
        return path.exists() and "requeue 7" in path.read_text().splitlines()

    @property
    def left(self) -> list[int]:
        """Programs of the job that still run."""
        pids = [int(line.split()[0]) for line in (self.state / "steps").read_text().splitlines()]
        return [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    def trainer(self) -> list:
        return [["train", [sys.executable, "-c", TRAINER, str(self.folder / "output")]]]

    def limit(self, seconds: float, *, ago_s: float = 100_000) -> None:
        """Let the job have a time of which some seconds are left."""
        (self.state / "start").write_text(f"{int(time.time() - ago_s)}\n")
        (self.state / "end").write_text(f"{int(time.time() + seconds)}\n")


def build_bed(folder: Path) -> Bed:
    """Return a job that runs, without a time limit that is near, in an empty folder."""
    bed = Bed(folder, folder / "state")
    (folder / "bin").mkdir()
    bed.state.mkdir()
    for name, text in COMMANDS.items():
        path = folder / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{text.strip()}\n")
        path.chmod(0o755)
    (bed.state / "state").write_text("RUNNING\n")
    (bed.state / "preemption").write_text("N/A\n")
    bed.limit(_FAR_S)
    return bed


def python(name: str, program: str, *words: object) -> list:
    return [name, [sys.executable, "-c", program, *map(str, words)]]


def server(port: int, *words: object) -> list:
    return [*python("serve", SERVER, port, *(words or ["0"])), [f"http://127.0.0.1:{port}/health"]]
