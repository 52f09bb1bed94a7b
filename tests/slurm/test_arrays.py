# SPDX-License-Identifier: Apache-2.0
"""Job arrays on a real Slurm: pass rates with a task that fails and is run again alone, decontamination in parts."""

import json
import os
import re
import socket

import pytest
import yaml

from open_r1.data.card import read_card
from open_r1.data.sources import open_source
from tests.conftest import ROOT
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.pass_rates import SEED, answering, build_model, write_rows
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


def address_for_nodes(cluster):
    """The address of this machine that nodes reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((cluster.nodes[0], 9))
        return probe.getsockname()[0]


def rows_of(path, config=None):
    return list(open_source(str(path), config=config).rows())


@pytest.fixture
def server(cluster, tmp_path):
    """A server that refuses rows from 2 on while `is_broken`; `model` is what it completes for."""
    model = build_model(tmp_path / "model")
    answers = answering(model)

    def behave(body, attempt):
        reply = answers(body, attempt)
        number = int(re.search(r"\\boxed\{(\d+)\}", answers({**body, "seed": SEED - 1}, 0).text)[1]) - 1
        return Reply(status=401, error="no such key") if number >= 2 and running.is_broken else reply

    with ChatServer(behave, host=address_for_nodes(cluster)) as running:
        running.model, running.is_broken = model, True
        yield running


@pytest.fixture
def recipe(folder, server):
    write_rows(folder.parent / "rows.jsonl", 5)
    settings = {
        "model_name_or_path": str(server.model),
        "dataset_name": str(folder.parent / "rows.jsonl"),
        "dataset_prompt_column": "problem",
        "reward_funcs": ["accuracy"],
        "num_generations": 4,
        "max_completion_length": 64,
        "seed": SEED,
        "server": [server.address],
        "server_model": MODEL,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def test_failed_task_is_run_again_alone_and_the_merge_equals_one_run(cluster, site, folder, recipe, server):
    script, cut = "slurm/compute_pass_rate.slurm", ("--config", recipe, "--output_dir", folder / "out", "--tasks", 2)
    array, merge = submitted(cluster, script, *cut, site=site)
    array.wait()
    states = {record["ArrayTaskId"]: record["JobState"] for record in array.records()}
    assert states == {"0": "COMPLETED", "1": "FAILED"}
    assert "--array 1 runs it again alone" in array.tasks[1].log
    assert merge.wait() == "CANCELLED"  # by Slurm: what it depends on can't be met any more

    (early,) = submitted(cluster, script, "--merge", "--output_dir", folder / "out", site=site)
    assert early.wait() == "FAILED"
    assert "part-0000000002-0000000005 is not finished" in early.log

    server.is_broken = False
    whole = cluster.submit(script, recipe, "--output_dir", folder / "whole", site=site, sbatch=["--gpus-per-node=0"])
    array, merge = submitted(cluster, script, *cut, "--array", 1, site=site)
    assert merge.wait() == "COMPLETED"
    assert list(array.tasks) == [1]
    assert whole.wait() == "COMPLETED"
    for config in (None, "pass_rate"):
        assert rows_of(folder / "out", config) == rows_of(folder / "whole", config)
    merged, single = read_card(folder / "out"), read_card(folder / "whole")
    assert (merged.fingerprint(), merged.steps) == (single.fingerprint(), single.steps)


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


def test_array_without_its_number_of_tasks_is_refused(cluster, site, decontaminated):
    job = cluster.submit("slurm/decontaminate.slurm", *decontaminated, sbatch=["--array=0-1"], site=site)
    assert job.wait() == "FAILED"
    assert all("say --tasks N, the number of all" in task.log for task in job.tasks.values())


def test_task_near_its_time_limit_is_requeued_alone(cluster, tmp_path):
    program = tmp_path / "python"
    program.write_text(
        '#!/bin/bash\n[[ "$*" != *"--shard 1/2"* || $SLURM_RESTART_COUNT -gt 0 ]] || '
        "{ echo waits; exec sleep 3000; }\necho done\n"
    )
    program.chmod(0o755)
    words = ("--dataset", "rows", "--tasks", 2)
    site = cluster.site(environment=[f"PATH={tmp_path}:{os.environ['PATH']}"])
    array, merge = submitted(cluster, "slurm/decontaminate.slurm", *words, site=site)
    eventually(lambda: 1 in array.tasks and "\nwaits" in array.tasks[1].log, "the second task waits")
    eventually(lambda: {"COMPLETED", "RUNNING"} == set(array.state.split(",")), "the first task is done")
    # The number of the last task is that of the array too: a requeue by it would be one of all tasks.
    assert array.tasks[1].job_id == array.job_id
    cluster.command("scancel", "--batch", "--signal=USR1", f"{array.job_id}_1")
    assert merge.wait() == "COMPLETED"
    assert {record["ArrayTaskId"]: record["Restarts"] for record in array.records()} == {"0": "0", "1": "1"}


def test_task_that_keeps_nothing_is_requeued_once(cluster, tmp_path):
    """Decontamination writes at the end of a part alone: with too little time it would begin anew for ever."""
    program = tmp_path / "python"
    program.write_text("#!/bin/bash\necho waits\nexec sleep 3000\n")
    program.chmod(0o755)
    site = cluster.site(environment=[f"PATH={tmp_path}:{os.environ['PATH']}"])
    array, merge = submitted(cluster, "slurm/decontaminate.slurm", "--dataset", "rows", "--tasks", 1, site=site)
    for attempt in (1, 2):
        eventually(lambda count=attempt: 0 in array.tasks and array.tasks[0].log.count("\nwaits") == count, "it waits")
        cluster.command("scancel", "--batch", "--signal=USR1", f"{array.job_id}_0")
    assert array.wait() == "FAILED"
    assert "two attempts in a row made no progress (in a part that is not finished)" in array.tasks[0].log
    assert merge.wait() == "CANCELLED"
