# SPDX-License-Identifier: Apache-2.0
"""Flags that a launcher hands on, tried by the script itself before a job is submitted that could only refuse them."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from open_r1.cluster.command_line import is_job
from open_r1.cluster.sites import Site
from open_r1.data.secret_names import is_secret_name

_TIMEOUT_S = 300  # reading a recipe's flags takes trl and torch: ten seconds, more from a network disk


def has_packages_of_nodes(site: Site) -> bool:
    """Return whether this Python is that of the nodes; in front of a container it may have PyYAML alone."""
    return not site.container and Path(site.node_python) == Path(sys.executable)


def check_no_secrets(words: Sequence[str], place: str) -> None:
    """Refuse flags whose values are secret; the environment of the submission reaches the job without being shown.

    Args:
        words: Flags and their values.
        place: Where they stand.

    Raises:
        ValueError: There is such a flag. The message has its name alone.
    """
    for word in words:
        flag = word.partition("=")[0]
        if flag.startswith("-") and is_secret_name(flag):
            instead = "HF_TOKEN" if flag.endswith("token") else "a variable"
            raise ValueError(
                f"{flag} can't stand {place}: everybody on the nodes would see its value. Set {instead} "
                "in the environment instead, which jobs get from where they are submitted"
            )


def check_flags(site: Site, script: str, program: str, words: Sequence[str]) -> None:
    """Have a script read a command line, on the login node; a job's script reads it itself.

    Args:
        site: The cluster. Where the nodes have another Python nothing is tried: it may have what this one lacks.
        script: Its path below the project, for the message.
        program: Python that reads `sys.argv[1:]` as the script does, run in the project's folder.
        words: The command line.

    Raises:
        ValueError: The script refuses it, with its message.
    """
    if is_job() or not has_packages_of_nodes(site):
        return
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=site.root,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{script} has not read its flags within {_TIMEOUT_S} s") from error
    if done.returncode != 0:
        said = done.stderr.strip() or "it gives no reason"
        if said.splitlines()[-1].startswith(("ModuleNotFoundError: ", "ImportError: ")):
            return  # this says nothing of the flags: a login node may lack what nodes have, libcuda.so
        reason = said.rpartition("error: ")[2] if "error: " in said else said.splitlines()[-1]
        raise ValueError(f"{script} refuses its flags: {reason.partition('All names are listed')[0].strip()}")
