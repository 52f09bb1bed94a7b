# SPDX-License-Identifier: Apache-2.0
"""`scripts/submit.py`: what becomes of the jobs of a chain when one succeeds, fails, is requeued or is not taken."""

import re
import sys

import pytest

from tests.slurm.cluster_bed import HERE, ROOT, Job

STAGE = str(HERE / "stage.sh")
FAIL_SECOND_TASK = ("--sbatch=--array=0-1", "bash", "-c", "exit $SLURM_ARRAY_TASK_ID")
IS_FIRST_RUN = "[[ -z ${SLURM_RESTART_COUNT:-} ]]"
REQUEUE_ONCE = (
    "--sbatch=--requeue",
    "bash",
    "-c",
    f'if {IS_FIRST_RUN}; then scontrol requeue "$SLURM_JOB_ID"; sleep 3000; fi; date +%s.%N',
)


@pytest.fixture
def submit(cluster):
    """Submits stages, each a list of words for stage.sh; returns the jobs by stage, status and complaint."""

    def run(*stages, script: str = STAGE) -> tuple[list[list[Job]], int, str]:
        words = [word for stage in stages for word in ("--stage", script, *stage)]
        done = cluster.command(
            sys.executable, ROOT / "scripts" / "submit.py", *words, check=False, env={"PYTHONPATH": str(ROOT / "src")}
        )
        lines = re.findall(r"^[\w-]+: ([\d ]+)$", done.stdout, re.MULTILINE)
        return [[cluster.job(job_id) for job_id in line.split()] for line in lines], done.returncode, done.stderr

    return run


def test_stages_run_one_after_the_other(submit, tmp_path):
    path = tmp_path / "it's a file"
    jobs, status, _ = submit(*(["bash", "-c", 'echo "$1" >>"$0"', str(path), text] for text in ("a b", "c", "d")))
    assert status == 0 and len(jobs) == 3
    assert [job.wait() for (job,) in jobs] == ["COMPLETED"] * 3
    assert path.read_text() == "a b\nc\nd\n"


@pytest.mark.parametrize("first", [["false"], FAIL_SECOND_TASK], ids=["a job", "one task of an array"])
def test_what_waits_for_a_failed_stage_leaves_the_queue(submit, tmp_path, first):
    jobs, _, _ = submit(first, ["touch", str(tmp_path / "second")], ["touch", str(tmp_path / "third")])
    ((failed,), (second,), (third,)) = jobs
    assert "FAILED" in failed.wait()
    assert (second.wait(), third.wait()) == ("CANCELLED", "CANCELLED")
    assert list(tmp_path.iterdir()) == []


def test_stage_waits_for_a_job_that_was_requeued(submit):
    jobs, _, _ = submit(REQUEUE_ONCE, ["date", "+%s.%N"])
    ((first,), (second,)) = jobs
    assert (first.wait(), second.wait()) == ("COMPLETED", "COMPLETED")
    assert first.restarts == 1
    assert float(first.log.splitlines()[-1]) < float(second.log)
