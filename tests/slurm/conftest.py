# SPDX-License-Identifier: Apache-2.0
"""One real Slurm for all tests here: `cluster.submit("slurm/train.slurm", ...)` gives a job to wait for and look at.

What a test submitted is cancelled when it ends, and the jobs' logs are in the report of a test that failed. A fixture
of a wider scope keeps its jobs, and cancels them itself.
"""

import os
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.slurm.cluster_bed import start_cluster, stop_cluster

collect_ignore_glob = ["[!t]*.py"]  # programs that jobs run: what they do on import is no doctest
_CLUSTER = pytest.StashKey()
_FIRST_JOB = pytest.StashKey()


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
    # What takes longest comes first, so that no worker is idle at the end.
    items.sort(key=lambda item: not item.path.stem.startswith("test_restart"))


@pytest.fixture(scope="session")
def cluster(request):
    """The Slurm (`tests/slurm/cluster_bed.py`)."""
    started = start_cluster()
    request.config.stash[_CLUSTER] = started
    yield started
    del request.config.stash[_CLUSTER]
    stop_cluster(started)


@pytest.fixture(autouse=True)
def tidy_cluster(cluster, request):
    """No test leaves jobs or broken nodes to the next one."""
    request.node.stash[_FIRST_JOB] = first = len(cluster.jobs)
    yield
    cluster.tidy(cluster.jobs[first:])


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct."""
    folder = ROOT / os.environ.get("SMOLLM2", "data/models/SmolLM2-135M-Instruct")
    if not (folder / "config.json").is_file():
        pytest.fail(f"{folder} is not there: run `make model`, or all of it by `make test_slurm`")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    running = item.config.stash.get(_CLUSTER, None)
    if report.failed and report.when != "teardown" and running is not None:
        first = item.stash.get(_FIRST_JOB, 0)
        for job in running.jobs[first:]:
            report.sections.append((f"job {job.job_id}", running.report(job)))
    return report
