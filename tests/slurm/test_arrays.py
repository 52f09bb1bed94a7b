# SPDX-License-Identifier: Apache-2.0
"""Job arrays on a real Slurm: pass rates with a task that fails and is run again alone, decontamination in parts."""

import json
import os
import re

import pytest

from open_r1.data.card import read_card
from open_r1.data.sources import open_source
from tests.conftest import ROOT
from tests.rows.planted import benchmark_items, clean_rows, contaminated_rows
from tests.slurm.cluster_bed import eventually

ONE_THREAD = ["OMP_NUM_THREADS=1", "TOKENIZERS_PARALLELISM=false", "HF_HUB_OFFLINE=1"]
# Spaces and quotes on the way to every program; no variable that is set, which `datasets` would put in.
NAME = 'it\'s a "folder" $UNSET'


@pytest.fixture(scope="module")
def site(cluster):
    return cluster.site(environment=ONE_THREAD)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / NAME
    path.mkdir()
    return path


def submitted(cluster, script, *words, site):
    """Have a script submit itself; return its jobs: array and merge, or the merge alone."""
    said = cluster.command(str(ROOT / script), *map(str, words), site=site).stdout
    return [cluster.job(job_id) for job_id in re.findall(r"Submitted batch job (\d+)", said)]


def rows_of(path, config=None):
    return list(open_source(str(path), config=config).rows())


@pytest.fixture
def stub(cluster, tmp_path):
    """Return the function that makes a site whose `python` is a few lines of bash."""

    def site_of(*lines: str):
        program = tmp_path / "python"
        program.write_text("\n".join(("#!/bin/bash", *lines)) + "\n")
        program.chmod(0o755)
        return cluster.site(environment=[f"PATH={tmp_path}:{os.environ['PATH']}"])

    return site_of


def test_failed_task_is_run_again_alone_and_merged(cluster, stub, tmp_path):
    mended = tmp_path / "mended"
    site = stub(f'echo "$*"; [[ "$*" != *"--shard 1/2"* || -e {mended} ]]')
    script, cut = "slurm/compute_pass_rate.slurm", ("--config", "recipe.yaml", "--tasks", 2)
    array, merge = submitted(cluster, script, *cut, site=site)
    array.wait()
    states = {record["ArrayTaskId"]: record["JobState"] for record in array.records()}
    assert states == {"0": "COMPLETED", "1": "FAILED"}
    assert "--array 1 runs it again alone" in array.tasks[1].log
    assert merge.wait() == "CANCELLED"  # by Slurm: what it depends on can't be met any more

    mended.touch()
    array, merge = submitted(cluster, script, *cut, "--array", 1, site=site)
    assert merge.wait() == "COMPLETED"
    assert list(array.tasks) == [1]
    assert "--config recipe.yaml --merge\n" in merge.log


@pytest.fixture
def decontaminated(folder):
    """Words for `scripts/decontaminate.py`: rows, every fourth of which shares text with the items, and the items."""
    texts = [
        text
        for pair in zip(
            [row.text for row in clean_rows(60)], [row.text for row in contaminated_rows()][:60], strict=True
        )
        for text in pair
    ]
    lines = [json.dumps({"problem": text, "id": number}) for number, text in enumerate(texts)]
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    items = [json.dumps({"question": item}) for item in benchmark_items()]
    (folder / "items.jsonl").write_text("\n".join(items), encoding="utf-8")
    return ("--dataset", folder / "rows.jsonl", "--benchmark-file", folder / "items.jsonl", "--cleanup")


def test_decontaminated_parts_merge_to_what_one_job_writes(cluster, site, folder, decontaminated):
    script = "slurm/decontaminate.slurm"
    whole = cluster.submit(script, *decontaminated, "--output_dir", folder / "whole", "--deduplicate", "1", site=site)
    words = (*decontaminated, "--output_dir", folder / "out", "--deduplicate", "1", "--tasks", 3)
    array, merge = submitted(cluster, script, *words, site=site)
    assert merge.wait() == "COMPLETED"
    assert sorted(array.tasks) == [0, 1, 2]
    assert whole.wait() == "COMPLETED"
    assert rows_of(folder / "out") == rows_of(folder / "whole")
    assert 0 < len(rows_of(folder / "out")) < 120
    assert read_card(folder / "out").fingerprint() == read_card(folder / "whole").fingerprint()

    array, merge = submitted(cluster, script, *words, site=site)
    assert merge.wait() == "COMPLETED"
    assert all("was finished earlier" in job.log for job in (*array.tasks.values(), merge))


def test_array_without_its_number_of_tasks_is_refused(cluster):
    job = cluster.submit("slurm/decontaminate.slurm", "--dataset", "rows", sbatch=["--array=0-1"])
    assert job.wait() == "FAILED"
    assert all("--tasks N" in task.log for task in job.tasks.values())


def test_task_near_its_time_limit_is_requeued_alone(cluster, stub):
    waits = '[[ "$*" != *"--shard 1/2"* || $SLURM_RESTART_COUNT -gt 0 ]] || { echo waits; exec sleep 3000; }'
    site = stub(waits, "echo done")
    words = ("--dataset", "rows", "--tasks", 2)
    array, merge = submitted(cluster, "slurm/decontaminate.slurm", *words, site=site)
    eventually(lambda: 1 in array.tasks and "\nwaits" in array.tasks[1].log, "the second task waits")
    eventually(lambda: {"COMPLETED", "RUNNING"} == set(array.state.split(",")), "the first task is done")
    # The number of the last task is that of the array too: a requeue by it would be one of all tasks.
    assert array.tasks[1].job_id == array.job_id
    cluster.command("scancel", "--batch", "--signal=USR1", f"{array.job_id}_1")
    assert merge.wait() == "COMPLETED"
    assert {record["ArrayTaskId"]: record["Restarts"] for record in array.records()} == {"0": "0", "1": "1"}


def test_task_that_keeps_nothing_is_requeued_once(cluster, stub):
    """Decontamination writes at the end of a part alone: with too little time it would begin anew for ever."""
    site = stub("echo waits", "exec sleep 3000")
    array, merge = submitted(cluster, "slurm/decontaminate.slurm", "--dataset", "rows", "--tasks", 1, site=site)
    for attempt in (1, 2):
        eventually(lambda count=attempt: 0 in array.tasks and array.tasks[0].log.count("\nwaits") == count, "it waits")
        cluster.command("scancel", "--batch", "--signal=USR1", f"{array.job_id}_0")
    assert array.wait() == "FAILED"
    assert "two attempts in a row made no progress (in a part that is not finished)" in array.tasks[0].log
    assert merge.wait() == "CANCELLED"
