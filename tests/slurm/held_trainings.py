# SPDX-License-Identifier: Apache-2.0
"""Real trainings of a tiny model, as jobs that wait in some of their steps (`held_sft.py`)."""

import re
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.distributed.trainings import write_recipes
from tests.slurm.cluster_bed import HERE, ON_CPUS, Cluster, eventually

SCRIPT = "slurm/train.slurm"
MAX_STEPS = 10
ONE_PROCESS = "--per_device_train_batch_size 8 --gradient_accumulation_steps 1"


@dataclass(frozen=True)
class Trainings:
    """How to submit a training that waits in some steps."""

    cluster: Cluster
    recipe: Path
    grpo: Path
    folder: Path

    def output(self, name: str) -> Path:
        return self.folder / name

    def submit(self, name: str, held_at: str = "", nodes: int = 1, save_steps: int = 100, sbatch=()):
        arguments = f"--do_eval false --eval_strategy no --max_steps {MAX_STEPS} --callbacks hold"
        if nodes == 1:
            arguments += f" {ONE_PROCESS}"
        return self.cluster.submit(
            *(SCRIPT, "--recipe", self.recipe, "--task", "sft", "--accelerator", "cpu" if nodes == 1 else "ddp"),
            *("--script", HERE / "held_sft.py", "--args", arguments, "--"),
            *("--output_dir", self.output(name), "--save_steps", save_steps),
            sbatch=[f"--nodes={nodes}", *sbatch],
            site=self.cluster.site(environment=[*ON_CPUS, f"HELD_AT={held_at}"]),
        )

    def submit_waiting(self, sbatch=()):
        """A program that only waits, for what the job does without its help."""
        words = ("--recipe", self.recipe, "--task", "sft", "--accelerator", "cpu")
        return self.cluster.submit(SCRIPT, *words, "--script", HERE / "stand_in_waiting.py", sbatch=sbatch)


def write_trainings(cluster: Cluster, folder: Path) -> Trainings:
    """Write recipes and a tiny model into a folder."""
    recipes = write_recipes(folder)
    return Trainings(cluster, recipes.sft, recipes.grpo, folder)


def held_process(job, attempt: int = 0) -> psutil.Process:
    """The trainer, as soon as it waits in its step."""

    def find():
        log = job.step_logs().get(f"attempt-{attempt}/train.log", "")
        return re.search(r"held in step \d+ as process (\d+)\n", log)

    return psutil.Process(int(eventually(find, f"the training of job {job.job_id} waits")[1]))
