# SPDX-License-Identifier: Apache-2.0
"""Handing a script to sbatch, as a list of words, with the site's options and a clean environment."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from open_r1.cluster.sites import Site
from open_r1.data.secret_names import hide_secrets, shell_line

_SHORT = {
    "-A": "account",
    "-q": "qos",
    "-M": "clusters",
    "-p": "partition",
    "-N": "nodes",
    "-d": "dependency",
    "-G": "gpus",
    "-a": "array",
}
_CUT = {"array": "ar", "dependency": "dep"}  # sbatch takes names of which no more than this is written
_FOR_GPUS = ("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket", "gres")
_GPUS = re.compile(r"(gres[:/])?gpu([:=]|$)")  # among the parts of --gres
_COUNT = re.compile(r"(?i)\d+[kmgtp]?")
Kind = Literal["gpu", "cpu"]
_SBATCH_TIMEOUT_S = 120
# "123;cluster" where there are several clusters; a site's own sbatch may say more, or as without --parsable.
_JOB_ID = re.compile(r"^\s*(?:Submitted batch job )?(\d+)(?:;\S+)?\s*$", re.MULTILINE)
# What launchers and trackers of a training give its processes. Names that users set too stay: FSDP_*, DEEPSPEED_*,
# KMP_*, ACCELERATE_LOG_LEVEL. No evaluation asks for them.
_OF_PROCESS = re.compile(
    r"(RANK|LOCAL_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|NODE_RANK|GROUP_(RANK|WORLD_SIZE)|ROLE_(RANK|WORLD_SIZE|NAME)|"
    r"MASTER_ADDR|MASTER_PORT|TORCHELASTIC_.*|PET_.*|ACCELERATE_(?!LOG_LEVEL$).*|PARALLELISM_CONFIG_.*|"
    r"TORCH_NCCL_ASYNC_ERROR_HANDLING|DS_ACCELERATOR|VLLM_HOST_IP|VLLM_SERVER_DEV_MODE|OPEN_R1_STOP_FILE)"
)
# What belongs to the job that submits. Users set where Slurm is and who they are; which of its clusters is meant a job
# knows by itself.
_OF_JOB = re.compile(
    r"(SLURM_(?!(CONF|CLUSTERS|JWT)$).*|SLURMD_.*|SRUN_.*|PMI_.*|PMIX_.*|OMPI_.*|OPEN_R1_(JOB_.*|SITE_.*|NODES)|"
    r"(CUDA|ROCR|ZE)_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|GPU_DEVICE_ORDINAL)"
)
_SUBMITTED = re.compile(r"^(?:Submitted batch job )?(\d+)\b", re.MULTILINE)  # "... 7", "... 7 on cluster c", "7;c"
_TRACKING = ("WANDB_RUN_ID", "WANDB_RESUME")
OWN_TRACKING_VARIABLE = "OPEN_R1_JOB_TRACKING"  # a training has chosen WANDB_RUN_ID, not its user


class SubmissionError(RuntimeError):
    """Slurm did not take a job; the message is sbatch's own."""


@dataclass(frozen=True)
class Option:
    """An option of sbatch, as it was written.

    Args:
        name: Its long name without dashes; "" of short ones that nothing here asks for.
        value: Its value; "" without one.
        words: The words that it is.
    """

    name: str
    value: str
    words: tuple[str, ...]


def read_options(words: Sequence[str]) -> Iterator[Option]:
    """Yield the options that words for sbatch are.

    >>> [(option.name, option.value) for option in read_options(["--nodes", "2", "-p", "gpu", "-N3", "--hold"])]
    [('nodes', '2'), ('partition', 'gpu'), ('nodes', '3'), ('hold', '')]
    """
    position = 0
    while position < len(words):
        word, ends = words[position], position + 1
        name, is_whole, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            name, is_whole, value = _SHORT.get(word[:2], ""), word[2:], word[2:]
        if not is_whole and ends < len(words) and not words[ends].startswith("-"):
            value, ends = words[ends], ends + 1
        name = next((full for full, least in _CUT.items() if full.startswith(name) and name.startswith(least)), name)
        yield Option(name, value, tuple(words[position:ends]))
        position = ends


def site_options(site: Site, kind: Kind) -> tuple[str, ...]:
    """Return the site's words for sbatch for jobs of a kind."""
    return site.gpu_options if kind == "gpu" else site.cpu_options


def without_gpus(options: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return words for sbatch without those that ask for GPUs, and the type of these as `h100:`, "" without one.

    >>> without_gpus(["--partition=gpu", "--gres=nvme:1,gpu:h100:8"])
    (('--partition=gpu', '--gres=nvme:1'), 'h100:')
    """
    kept: list[str] = []
    kind = ""
    for option in read_options(options):
        if option.name not in _FOR_GPUS:
            kept += option.words
            continue
        parts = option.value.split(",")
        gpus = [part for part in parts if option.name != "gres" or _GPUS.match(part)]
        others = [part for part in parts if part not in gpus]
        kept += [f"--gres={','.join(others)}"] if others else []
        for part in gpus:
            fields = re.split("[:=]", re.sub("^gres[:/]", "", part))[option.name == "gres" :]
            named = [field for field in fields if field not in ("", "no_consume") and not _COUNT.fullmatch(field)]
            kind = f"{named[0]}:" if named else kind
    return tuple(kept), kind


def asks_for_gpus(options: Sequence[str]) -> bool:
    """Say whether words for sbatch ask for GPUs, or for none; `--gres=nvme:1` doesn't."""
    return any(
        option.name in _FOR_GPUS and (option.name != "gres" or any(map(_GPUS.match, option.value.split(","))))
        for option in read_options(options)
    )


def count_nodes(script: Path, options: Sequence[str]) -> int:
    """Return how many nodes a job of a script gets at least: as the last option says, else the script itself.

    Raises:
        ValueError: An option gives no number of nodes.
    """
    said = [option.value for option in read_options(options) if option.name == "nodes"]
    text = said[-1] if said else directive(script, "nodes") or "1"
    least = re.match(r"0*[1-9]\d*", text)
    if least is None:
        raise ValueError(f"the options for sbatch say --nodes={text}, which is no number of nodes")
    return int(least[0])


def sbatch_command(
    site: Site, script: Path, kind: Kind, words: Sequence[str], options: Sequence[str] = ()
) -> list[str]:
    """Return the words that submit a script of slurm/.

    Args:
        site: The cluster: its options come first, so that `options` win.
        script: The script.
        kind: Which of the site's options: jobs with GPUs, or without.
        words: Arguments of the script.
        options: More words for sbatch.
    """
    chosen = [*site_options(site, kind), *options]
    return ["sbatch", "--parsable", f"--chdir={site.root}", *chosen, str(script), *words]


def submit(command: Sequence[str]) -> str:
    """Run an sbatch command (`sbatch_command`) and return the id of the job.

    Raises:
        SubmissionError: Slurm refuses, is not there, or does not answer within two minutes.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SBATCH_TIMEOUT_S,
            check=False,
            env=clean_environment(os.environ),
        )
    except FileNotFoundError as error:
        raise SubmissionError(
            f"there is no program {command[0]} here: submit on a login node of the cluster"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SubmissionError(f"sbatch did not answer within {_SBATCH_TIMEOUT_S} s") from error
    job_ids = _JOB_ID.findall(done.stdout)
    if done.returncode != 0 or not job_ids:
        said = hide_secrets(done.stderr.strip() or done.stdout.strip() or "nothing")[-2000:]
        raise SubmissionError(f"`{shell_line(command)}` failed with status {done.returncode}: {said}")
    return job_ids[-1]


def submit_script(command: Sequence[str], *, folder: Path, timeout_s: float = 100.0) -> list[str]:
    """Run a script of slurm/, which submits itself, and return the numbers of its jobs.

    Args:
        command: The script and its arguments.
        folder: Where it is run.
        timeout_s: How long Slurm may take to answer.

    Raises:
        TimeoutError: It did not answer: it may have taken the job.
        RuntimeError: The script refuses its arguments, or Slurm takes no job.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=clean_environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{command[0]} did not answer within {timeout_s:.0f} s") from None
    job_ids = _SUBMITTED.findall(done.stdout)
    if done.returncode != 0 or not job_ids:
        said = " ".join((done.stderr.strip() or done.stdout).split())
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}: {hide_secrets(said)[-1000:]}")
    return job_ids


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what belongs to the job or training process that submits.

    >>> clean_environment({"RANK": "1", "SLURM_JOB_ID": "7", "FSDP_VERSION": "2", "HF_HOME": "/h"})
    {'FSDP_VERSION': '2', 'HF_HOME': '/h'}
    """
    foreign = _TRACKING if OWN_TRACKING_VARIABLE in environment else ()
    if "SLURM_JOB_ID" in environment:
        foreign = (*foreign, "SLURM_CLUSTERS")
    return {
        name: value
        for name, value in environment.items()
        if name not in foreign and not _OF_JOB.fullmatch(name) and not _OF_PROCESS.fullmatch(name)
    }


def directive(script: Path, name: str) -> str | None:
    """Return the value of an #SBATCH directive of a script (`#SBATCH --nodes=2`), None if it has none."""
    found = re.search(rf"^#SBATCH\s+--{name}[=\s]+(\S+)", script.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None
