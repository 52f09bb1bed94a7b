# SPDX-License-Identifier: Apache-2.0
"""Runs all attacks in boxes of one mechanism as whoever runs this; prints what became of them as JSON.

`python -m tests.integration.attack_session MECHANISM FOLDER [NAME...]`; names choose attacks. "none" runs the harmless
ones outside of boxes, "landlock-3" boxes by what version 3 of Landlock can do, as which this kernel can pose.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from open_r1.sandbox.base import Limits, ProgramInput, ProgramRun, RunRequest, SandboxError
from open_r1.sandbox.local import LocalSandbox, cgroups, landlock
from open_r1.sandbox.running import run_coroutine
from tests.integration.attack_host import Host, left_behind, marked
from tests.integration.attack_table import ATTACKS, FOLDER, Attack

COMPILE_LIMITS = Limits(cpu_s=1.2, wall_s=4, memory_mb=256, output_bytes=1 << 16)
GOOD = "print(sum(map(int, input().split())))"
GOOD_INPUTS = {"1 2 3": "6\n", "40 2": "42\n"}
NUM_PARALLEL = 2


async def go_on_always(first: int, runs: object) -> bool:
    """Run everything, whatever became of the runs before."""
    return True


class Session:
    """Attacks in boxes of one mechanism."""

    def __init__(self, sandbox: LocalSandbox, host: Host, attacks: Sequence[Attack]) -> None:
        self.sandbox, self.host, self.attacks = sandbox, host, attacks
        self.under_way: list[str] = []
        self.neighbours: list[dict[str, object]] = []
        self.are_done = False

    async def run(self) -> dict[str, object]:
        """Run all of them, good submissions beside them all the time."""
        await self.run_good()  # the mechanism's probe belongs to nobody's time
        places = asyncio.Semaphore(NUM_PARALLEL)
        neighbour = asyncio.ensure_future(self.run_good_ones())

        async def run_in_place(attack: Attack) -> dict[str, object]:
            async with places:
                return await self.run_attack(attack)

        found: dict[str, object] = {}
        for is_last in (False, True):
            attacks = [attack for attack in self.attacks if attack.runs_last is is_last]
            results = await asyncio.gather(*map(run_in_place, attacks))
            found |= dict(zip([attack.name for attack in attacks], results, strict=True))
        self.are_done = True
        await neighbour
        self.neighbours.append(await self.run_good())
        return {
            "attacks": found,
            "has_groups": cgroups.find_place() is not None,
            "neighbours": self.neighbours,
            "harm": self.host.harm(),
            "left": self.left(),
        }

    async def run_attack(self, attack: Attack) -> dict[str, object]:
        """Run one attack and look for what it has left running."""
        marker = str(random.randrange(10**9, 10**10))
        self.under_way.append(attack.name)
        started = time.monotonic()
        try:
            result = await self.sandbox.run(request_of(attack, marker, self.host), go_on_always)
        except SandboxError as error:
            return {"error": str(error), "seconds": time.monotonic() - started}
        finally:
            self.under_way.remove(attack.name)
        seconds = time.monotonic() - started
        left = await asyncio.to_thread(left_behind, marker, 60)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return {
            "compile": result.compile and to_record(result.compile),
            "runs": [run and to_record(run) for run in result.tests],
            "left": left,
            "seconds": seconds,
        }

    async def run_good_ones(self) -> None:
        """Run good submissions until the attacks are done."""
        while not self.are_done:
            self.neighbours.append(await self.run_good())
            await asyncio.sleep(0.15)

    async def run_good(self) -> dict[str, object]:
        """Run a good submission; say what it did and which attacks were under way."""
        inputs = tuple(ProgramInput(stdin=text) for text in GOOD_INPUTS)
        beside = list(self.under_way)
        request = RunRequest("python", {"main.py": GOOD}, inputs, limits=Limits(cpu_s=10, wall_s=60, memory_mb=128))
        result = await self.sandbox.run(request)
        is_right = [run and run.stdout for run in result.tests] == list(GOOD_INPUTS.values())
        return {"is_right": is_right, "beside": beside, "runs": [run and to_record(run) for run in result.tests]}

    def left(self) -> list[str]:
        """Return what boxes have left on the machine: folders and control groups."""
        folders = [str(path) for path in Path(os.environ["TMPDIR"]).iterdir()]
        place = cgroups.find_place()
        groups = [] if place is None else [*place[0].glob(f"open_r1_box_{os.getpid()}_*")]
        return [*folders, *map(str, groups)]


def request_of(attack: Attack, marker: str, host: Host) -> RunRequest:
    """Return the submission of an attack."""
    suffix = Path(attack.file).suffix
    name = "main.cpp" if suffix == ".cpp" else f"attack{marker}{suffix}"
    files = {name: source_of(attack, marker, host), "attacking.py": (FOLDER / "attacking.py").read_text()}
    return RunRequest(
        attack.language,
        files if suffix == ".py" else {name: files[name]},
        tuple(
            ProgramInput(json.dumps(told(attack, role, marker, host)), output_file=attack.output_file)
            for role in attack.roles
        ),
        compile_limits=COMPILE_LIMITS,
        limits=Limits(cpu_s=attack.cpu_s, wall_s=attack.wall_s, memory_mb=192, output_bytes=1 << 16, processes=32),
    )


def source_of(attack: Attack, marker: str, host: Host) -> str:
    """Return an attack's program, which compilers can't be told anything but by its text."""
    values = {"@CANARY@": str(host.told["canaries"][1]), "@MARKER@": marker, "@PORT@": str(host.told["tcp_port"])}
    text = (FOLDER / attack.file).read_text()
    for word, value in values.items():
        text = text.replace(word, value)
    return text


def told(attack: Attack, role: str, marker: str, host: Host, *, in_box: bool = True) -> dict[str, object]:
    """Return what one run of an attack is told."""
    found = host.told | {"marker": marker, "role": role, "in_box": in_box}
    return found | {"secret": "NEXT-INPUT"} if role == "second" else found


def to_record(run: ProgramRun) -> dict[str, object]:
    """Return a run for the report."""
    return {
        "outcome": str(run.outcome),
        "stdout": run.stdout[:3000],
        "stderr": run.stderr[-3000:],
        "size": len(run.stdout) + len(run.stderr),
        "status": run.exit_code if run.signal is None else -run.signal,
    }


def run_outside(host: Host) -> dict[str, object]:
    """Run the harmless attacks outside of boxes, where each has to reach its aim."""
    found = {}
    for attack in ATTACKS:
        if attack.is_harmless:
            marker = str(random.randrange(10**9, 10**10))
            output = run_one_outside(attack, marker, host)
            left = []
            while pids := [*marked(marker), *marked(f"{host.folder / attack.name}/")]:  # also who is about to sleep
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                left += pids
            found[attack.name] = {"output": output[-3000:], "left": left}
    return {"attacks": found, "harm": host.harm()}


def run_one_outside(attack: Attack, marker: str, host: Host) -> str:
    """Return what a program, or its compiler, says."""
    folder = host.folder / attack.name
    folder.mkdir()
    main = folder / f"main{Path(attack.file).suffix}"
    main.write_text(source_of(attack, marker, host))
    (folder / "attacking.py").write_text((FOLDER / "attacking.py").read_text())
    commands = [[sys.executable, "-B", str(main)]]
    if attack.language == "cpp":
        commands = [["g++", "-o", "a.out", str(main)], ["./a.out"]]
    with (folder / "output").open("wb") as output:  # a pipe would wait for the processes that are left
        for command in commands:
            given = json.dumps(told(attack, attack.roles[0], marker, host, in_box=False)).encode()
            if subprocess.run(command, cwd=folder, input=given, stdout=output, stderr=output, check=False).returncode:
                break
    return (folder / "output").read_text(errors="replace")


def main() -> None:
    """Run the attacks and report."""
    logging.basicConfig(level=logging.INFO)
    mechanism, folder, *names = sys.argv[1:]
    host = Host(Path(folder) / f"host_{mechanism}", os.environ["OPEN_R1_SECRET_CANARY"])
    host.set_up()
    try:
        if mechanism == "none":
            found = run_outside(host)
        else:
            name, _, version = mechanism.partition("-")
            if version:
                landlock.version = lambda: int(version)
            attacks = [attack for attack in ATTACKS if attack.is_versioned or not version]
            attacks = [attack for attack in attacks if attack.name in names or not names]
            try:
                found = run_coroutine(Session(LocalSandbox(mechanism=name), host, attacks).run)
            except SandboxError as error:
                found = {"refused": str(error)}
    finally:
        host.clear()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
