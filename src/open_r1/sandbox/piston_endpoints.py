# SPDX-License-Identifier: Apache-2.0
"""Where Piston is: a list in the environment, or the user's own running Slurm jobs."""

import os
import re
import subprocess
from urllib.parse import urlsplit

from open_r1.sandbox.base import SandboxError

WORKER_NAME = re.compile(r"piston-worker-(\d{1,5})")
SQUEUE_TIMEOUT_S = 60


def endpoints_from_environment() -> tuple[str, ...]:
    """Return the base URLs of `PISTON_ENDPOINTS`: a comma-separated list, or "slurm" for running workers.

    Raises:
        ValueError: The variable isn't set, or has something else in it.
        SandboxError: Slurm can't be asked, or runs no worker of ours.
    """
    text = os.environ.get("PISTON_ENDPOINTS", "").strip()
    if not text:
        raise ValueError(
            "Set PISTON_ENDPOINTS to the base URLs of your Piston servers, separated by commas "
            "(http://node1:2000/api/v2), or to `slurm` for running jobs named piston-worker-<port>."
        )
    if text.lower() == "slurm":
        return slurm_endpoints()
    urls = [part.strip().rstrip("/") for part in text.split(",") if part.strip()]
    for url in urls:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and parts.hostname
        if not is_web or not parts.path.endswith("/api/v2") or re.search(r"\s", url):
            raise ValueError(
                f"PISTON_ENDPOINTS has {url!r}; a base URL is like http://node1:2000/api/v2, "
                "and several are separated by commas."
            )
    return tuple(dict.fromkeys(urls))


def slurm_endpoints() -> tuple[str, ...]:
    """Return a base URL for each of the user's running jobs named `piston-worker-<port>`, sorted.

    Raises:
        SandboxError: squeue is missing or fails, or there's no such job.
    """
    user = str(os.getuid())
    command = ["squeue", "--noheader", "--states=RUNNING", f"--user={user}", "--format=%U|%T|%N|%j"]
    # The user's SQUEUE_PARTITION and the like would hide workers.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SQUEUE_TIMEOUT_S, check=False, env=variables
        )
    except FileNotFoundError:
        raise SandboxError(
            "PISTON_ENDPOINTS=slurm needs `squeue` on the PATH of this machine; "
            "without Slurm set PISTON_ENDPOINTS to a list of base URLs."
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"squeue could not be asked for Piston workers: {error}") from error
    if done.returncode != 0:
        raise SandboxError(f"squeue failed with code {done.returncode}: {done.stderr.strip()[-500:] or 'no message'}")
    urls = {url for line in done.stdout.splitlines() if (url := _worker_url(line, user))}
    if not urls:
        raise SandboxError(
            "Slurm runs no job of yours named piston-worker-<port>: start Piston in jobs of this name "
            "(sbatch --job-name=piston-worker-2000 ...) and wait until squeue shows them as RUNNING."
        )
    return tuple(sorted(urls))


def _worker_url(line: str, user: str) -> str | None:
    owner, _, rest = line.strip().partition("|")
    state, _, rest = rest.partition("|")
    node, _, name = rest.partition("|")
    worker = WORKER_NAME.fullmatch(name.strip())
    # A worker is on one node; a list such as node[1-2] belongs to something else of the same name.
    is_ours = owner.strip() == user and state.strip() == "RUNNING" and re.fullmatch(r"[\w.-]+", node.strip())
    return f"http://{node.strip()}:{worker[1]}/api/v2" if worker and is_ours else None
