# SPDX-License-Identifier: Apache-2.0
"""Runs a session of attacks as root or as an ordinary user, and says what is wrong with what came of an attack."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.integration.attack_table import Attack
from tests.integration.ordinary_user import copy_sources, identity, make_home, reachable_python

PARTS = ("table", "host", "session")
SECRET = f"canary-{secrets.token_hex(16)}"
SESSION_S = 900

Report = dict[str, Any]


def copy_attacks(fallback: Path) -> Path:
    """Copy attacks and sandbox to a new folder that everybody can reach, or below another one; return it."""
    base = Path("/tmp" if Path("/tmp").exists() else fallback)
    folder = base / f"open_r1_attacks_{os.getpid()}"
    copy_sources(folder, ["tests/integration/attacks", *(f"tests/integration/attack_{part}.py" for part in PARTS)])
    return folder


def run_in_process(user: str, mechanism: str, folder: Path, *attacks: str) -> Report:
    """Run the session as a user, all attacks or some, with the sources copied to where everybody can read them."""
    own = folder / f"{user}_{mechanism}"
    environment = make_home(own, is_root=user == "root") | {"OPEN_R1_SECRET_CANARY": SECRET}
    is_other = user == "user" and os.geteuid() == 0
    python = reachable_python() if is_other else sys.executable
    done = subprocess.run(
        [python, "-m", "tests.integration.attack_session", mechanism, str(own), *attacks],
        capture_output=True,
        text=True,
        check=False,
        cwd=own,
        env=environment,
        timeout=SESSION_S,
        **identity() if is_other else {},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def faults_of(attack: Attack, found: dict) -> list[str]:
    """Return everything that isn't as it should be."""
    if "error" in found:
        return [f"the sandbox failed: {found['error']}"]
    runs = [run for run in [found["compile"], *found["runs"]] if run is not None]
    faults = [f"processes {found['left']} are left"] if found["left"] else []
    for run in runs:
        text = run["stdout"] + run["stderr"]
        if "BROKEN" in text or SECRET in text:
            faults.append(text)
        if run["size"] > 1 << 18:
            faults.append(f"{run['size']} bytes of output")
    if attack.compiles is not None:
        return faults if (found["compile"]["outcome"] == "ok") is attack.compiles else [*faults, "it was compiled"]
    for role, run in zip(attack.roles, found["runs"], strict=True):
        if run is None or run["outcome"] not in attack.outcomes:
            faults.append(f"run {role!r}: {run}")
        elif run["outcome"] == "ok" and attack.output_file is None and "CONTAINED" not in run["stdout"]:
            faults.append(f"run {role!r} says nothing: {run}")
    return faults
