# SPDX-License-Identifier: Apache-2.0
"""What is handed to sbatch, and what is made of its answer."""

from pathlib import Path

import pytest

from open_r1.cluster.sites import Site
from open_r1.cluster.submission import (
    SubmissionError,
    directive,
    sbatch_command,
    submit,
    without_gpus,
)

SITE = Site(
    root=Path("/a project"),
    node_python="python3",
    logs=Path("/l"),
    gpu_options=("--partition=gpu",),
    cpu_options=("--partition=cpu", "--comment=a b"),
)
HOSTILE = ["--args", '--x {"a": "b c"}', "it's", "", "$HOME", "--", "-N"]


@pytest.fixture
def sbatch(tmp_path):
    """Writes a program that answers as given and writes its environment down; returns its path."""

    def write(answer: str, status: int = 0) -> str:
        path = tmp_path / "sbatch"
        path.write_text(f"#!/bin/bash\nenv >'{tmp_path}/environment'\n{answer}\nexit {status}\n")
        path.chmod(0o755)
        return str(path)

    return write


def test_options_of_the_site_come_before_those_of_the_user():
    command = sbatch_command(SITE, Path("/a project/slurm/x.slurm"), "gpu", HOSTILE, ["--partition=other"])
    assert command[:3] == ["sbatch", "--parsable", "--chdir=/a project"]
    assert command[3:] == ["--partition=gpu", "--partition=other", "/a project/slurm/x.slurm", *HOSTILE]


def test_jobs_without_gpus_have_options_of_their_own():
    command = sbatch_command(SITE, Path("x.slurm"), "cpu", [])
    assert command[3:] == ["--partition=cpu", "--comment=a b", "x.slurm"]


@pytest.mark.parametrize("answer", ["echo 123", "echo '123;cluster2'", "echo warning >&2; echo 123"])
def test_id_of_the_job_is_returned(sbatch, answer):
    assert submit([sbatch(answer)]) == "123"


@pytest.mark.parametrize(
    ("answer", "status", "complaint"),
    [
        ("echo 'sbatch: error: invalid partition' >&2", 1, "failed with status 1: sbatch: error: invalid partition"),
        ("echo 123", 1, "status 1"),
        ("", 0, "status 0: nothing"),
        ("echo 'Submitted'", 0, "status 0: Submitted"),
        ("head -c 100000 /dev/zero | tr '\\0' x >&2", 1, "xxx"),
    ],
)
def test_refusal_is_told_in_the_words_of_sbatch(sbatch, answer, status, complaint):
    with pytest.raises(SubmissionError, match=complaint) as caught:
        submit([sbatch(answer, status), "a b"])
    assert "'a b'" in str(caught.value) and len(str(caught.value)) < 3000


def test_refusal_has_no_secrets(sbatch):
    with pytest.raises(SubmissionError) as caught:
        submit([sbatch("echo 'no way to http://me:s3cret@host' >&2", 1), "--args", "--hub_token s3cret --seed 1"])
    assert "s3cret" not in str(caught.value) and "--hub_token *** --seed 1" in str(caught.value)


def test_machine_without_slurm_says_where_to_submit(tmp_path):
    with pytest.raises(SubmissionError, match="submit on a login node"):
        submit([str(tmp_path / "sbatch")])


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["--gres=gpu:h100"], "h100:"),
        (["--gres=gpu:1g.5gb:2"], "1g.5gb:"),
        (["--gpus=4g.20gb:2"], "4g.20gb:"),
        (["--gres=gpu:tesla:no_consume:2"], "tesla:"),
        (["--gres=gpu:no_consume:2"], ""),
        (["--gres=gres/gpu:h100=2"], "h100:"),
        (["--gres", "gpu:2"], ""),
        (["-G", "a100:2"], "a100:"),
        (["--gpus-per-node=2"], ""),
    ],
)
def test_type_of_gpus_is_found_however_it_is_written(words, kind):
    assert without_gpus(words) == ((), kind)


def test_directives_of_a_script_are_read(tmp_path):
    script = tmp_path / "x.slurm"
    script.write_text("#!/bin/bash\n#SBATCH --job-name=a\n#SBATCH   --nodes 2 # two\necho '#SBATCH --time=1'\n")
    assert [directive(script, name) for name in ("job-name", "nodes", "time")] == ["a", "2", None]
