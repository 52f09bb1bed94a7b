# SPDX-License-Identifier: Apache-2.0
"""What `slurm/cluster.sh` says of this cluster. `slurm/lib.sh` reads it and hands it over in the environment."""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_PREFIX = "OPEN_R1_SITE_"
SETTINGS = (
    "gpu_options",
    "cpu_options",
    "venv",
    "modules",
    "container",
    "node_python",
    "srun_options",
    "gpus_per_node",
    "network_interface",
    "environment",
    "logs",
    "vllm",
    "sglang",
    "piston",
)
# A letter away from a setting, and ordinary names of a site's own.
_ORDINARY = ("env", "log", "module")


@dataclass(frozen=True)
class Site:
    """A cluster, as its users see it.

    Args:
        root: Folder of the project, on storage that all nodes share.
        node_python: Python on the nodes, inside the container if there is one.
        logs: Folder for the logs of all jobs.
        gpu_options: Words for sbatch, for jobs that train or serve.
        cpu_options: Words for sbatch, for jobs without GPUs.
        container: Words in front of every program on the nodes.
        srun_options: Words for every srun.
        gpus_per_node: GPUs of a node; None: what Slurm gives the job.
        interface: Network interface between the nodes; "": libraries find one.
        environment: Variables for every program.
        vllm: Words that call vLLM on the nodes; (): the program beside `node_python`.
        sglang: Words that start SGLang's server on the nodes; (): its module, by `node_python`.
        piston: Words that start a Piston worker; (): the site has none.
    """

    root: Path
    node_python: str
    logs: Path
    gpu_options: tuple[str, ...] = ()
    cpu_options: tuple[str, ...] = ()
    container: tuple[str, ...] = ()
    srun_options: tuple[str, ...] = ()
    gpus_per_node: int | None = None
    interface: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    vllm: tuple[str, ...] = ()
    sglang: tuple[str, ...] = ()
    piston: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls) -> Self:
        """Return the site that `slurm/lib.sh` has read.

        Raises:
            ValueError: A setting has a value that it can't have, or this was not started by a script of slurm/.
        """
        if "OPEN_R1_ROOT" not in os.environ:
            raise ValueError(
                "OPEN_R1_ROOT is not set: modules of open_r1.cluster are started by the scripts in slurm/"
            )
        _check_names(os.environ.get(_PREFIX + "NAMES", "").split())
        return cls(
            root=Path(os.environ["OPEN_R1_ROOT"]),
            node_python=os.environ[_PREFIX + "NODE_PYTHON"],
            logs=Path(os.environ[_PREFIX + "LOGS"]),
            gpu_options=_options("GPU_OPTIONS"),
            cpu_options=_options("CPU_OPTIONS"),
            container=_words("CONTAINER"),
            srun_options=_options("SRUN_OPTIONS"),
            gpus_per_node=_gpus_per_node(),
            interface=os.environ.get(_PREFIX + "INTERFACE", ""),
            environment=_variables("ENVIRONMENT"),
            vllm=_words("VLLM"),
            sglang=_words("SGLANG"),
            piston=_words("PISTON"),
        )

    def python_command(self, *words: str) -> tuple[str, ...]:
        """Return the words that run Python on a node, container included, with these arguments."""
        return (*self.container, self.node_python, *words)

    def vllm_command(self, *words: str) -> tuple[str, ...]:
        """Return the words that run `vllm` on a node, container included, with these arguments."""
        vllm = self.vllm or (str(Path(self.node_python).with_name("vllm")),)
        return (*self.container, *vllm, *words)

    def step_environment(self) -> dict[str, str]:
        """Return the variables of every program: the site's own, where our package is, the network interface."""
        own = str(self.root / "src")
        more = self.environment.get("PYTHONPATH", os.environ.get("PYTHONPATH", "")).split(os.pathsep)
        variables = {"PYTHONPATH": os.pathsep.join([own, *(part for part in more if part not in ("", own))])}
        if self.interface:
            variables |= {"NCCL_SOCKET_IFNAME": self.interface, "GLOO_SOCKET_IFNAME": self.interface}
        return variables | {name: value for name, value in self.environment.items() if name != "PYTHONPATH"}


def _check_names(names: Sequence[str]) -> None:
    """Refuse variables of a site's file that are almost settings; others are the site's own affair."""
    for name in names:
        is_known = name in SETTINGS or name in _ORDINARY
        near = [] if is_known else difflib.get_close_matches(name, SETTINGS, 1, cutoff=0.85)
        if near:
            raise ValueError(
                f"{_file()} sets {name}, which is no setting: did you mean {near[0]}? (A variable of "
                "your own needs a name that is less like it.)"
            )


def _words(name: str) -> tuple[str, ...]:
    text = os.environ.get(_PREFIX + name, "")
    return tuple(text.removesuffix("\n").split("\n")) if text else ()


def _options(name: str) -> tuple[str, ...]:
    """Return words without empty ones: `"${RES:+--reservation=$RES}"` is one where nothing is to be said."""
    return tuple(filter(None, _words(name)))


def _gpus_per_node() -> int | None:
    text = os.environ.get(_PREFIX + "GPUS_PER_NODE", "").strip()
    if not text:
        return None
    if not text.isdigit():
        raise ValueError(f"gpus_per_node in {_file()} is {text!r}: leave it empty, or give a number, 0 for none")
    return int(text)


def _variables(name: str) -> dict[str, str]:
    pairs = [word.partition("=") for word in _options(name)]
    for key, sign, _ in pairs:
        if not sign or not key.isidentifier():
            raise ValueError(f"environment in {_file()} has {key!r}: its words are NAME=VALUE")
    return {key: value for key, _, value in pairs}


def _file() -> str:
    return os.environ.get("OPEN_R1_CLUSTER", "slurm/cluster.sh")
