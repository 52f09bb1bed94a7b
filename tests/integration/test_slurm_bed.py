# SPDX-License-Identifier: Apache-2.0
"""What `tests/slurm/up.sh` and `down.sh` leave alone: folders of other people, and names that can't be."""

import os
import subprocess
from pathlib import Path

import pytest

BED = Path(__file__).parents[1] / "slurm"
UNUSED_PORT = "51100"  # the highest that there is


def call(script: str, *words: object) -> subprocess.CompletedProcess:
    """Run a script of the bed."""
    return subprocess.run([BED / script, *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def work(tmp_path):
    """A file of somebody's, in a folder that is no cluster's."""
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "thesis.txt"
    path.touch()
    return path


@pytest.mark.parametrize("mark", [None, "base_port", ".open-r1-slurm"])
def test_folder_that_is_no_clusters_is_not_deleted(work, mark):
    if mark is not None:
        (work.parent / mark).write_text("18900\n")  # with the mark: that of another cluster
    done = call("down.sh", "-d", work.parent, "-p", UNUSED_PORT)
    assert done.returncode == 1
    assert "nothing is done" in done.stderr
    assert work.exists()


def test_folder_without_a_mark_is_no_cluster(work):
    (work.parent / "base_port").write_text("18900\n")
    assert "there is no cluster in" in call("down.sh", "-d", work.parent).stderr
    assert work.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="/run is for root")
def test_folder_made_anew_after_its_cluster_is_not_deleted_with_the_rest_of_it(work):
    claim = Path(f"/run/open-r1-slurm-{UNUSED_PORT}")
    claim.mkdir()
    (claim / "folder").write_text(f"{work.parent}\n")
    done = call("down.sh", "-d", work.parent, "-p", UNUSED_PORT)
    assert done.returncode == 0, done.stderr
    assert "is left as it is" in done.stderr
    assert work.exists() and not claim.exists()


@pytest.mark.parametrize("name", ["a folder", "it's", "x" * 91])
def test_folders_that_slurm_cannot_have_are_refused(tmp_path, name):
    done = call("up.sh", "-d", tmp_path / name)
    assert done.returncode == 2
    assert not (tmp_path / name).exists()
