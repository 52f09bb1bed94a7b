# SPDX-License-Identifier: Apache-2.0
"""Submitting `slurm/evaluate.slurm`: what is certain when Slurm answers oddly, and what is refused before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from trl import ModelConfig

from open_r1.cluster.evaluate import make_parser
from open_r1.configs import SFTConfig
from open_r1.data.benchmarks import SUPPORTED_BENCHMARKS
from open_r1.evaluation.jobs import SubmissionError, run_benchmark_jobs, submit_evaluation
from scripts.run_benchmarks import main
from tests.conftest import ROOT
from tests.integration.hub_server import Hub
from tests.integration.test_evaluate_checkpoint import Training, without_a_cluster, without_slurm
from tests.waiting import wait_until

WORDS = ("--model", "me/m", "--benchmarks", "aime24")


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    return without_a_cluster(tmp_path, monkeypatch)


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """Return what makes `sbatch` a shell script of these lines; gives the folder that it lies in."""
    without_a_cluster(tmp_path, monkeypatch)

    def put(lines):
        path = tmp_path / "bin" / "sbatch"
        path.write_text(f"#!/bin/bash\n{lines}\n")
        path.chmod(0o755)
        return path.parent

    return put


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "sums.jsonl"
    path.write_text('{"problem": "Compute 1+2", "solution": "3"}\n')
    return path


@pytest.mark.parametrize(
    ("lines", "may_have_job"),
    [
        ("echo 'sbatch: error: Batch job submission failed: Invalid partition' >&2; exit 1", False),
        ("echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1", True),
        ("echo 'Welcome!'", True),
        ("echo 'The queue is long today.' >&2", True),
        ("printf '\\xff\\xfe\\n'", True),
        ("kill -9 $$", True),
        ("echo 12; exit 1", True),
    ],
)
def test_only_a_plain_no_of_slurm_is_certain(sbatch, lines, may_have_job):
    sbatch(lines)
    with pytest.raises(SubmissionError) as caught:
        submit_evaluation(WORDS, job_name="a job")
    assert caught.value.may_have_job == may_have_job


@pytest.mark.parametrize("said", ["7", "7;far", "Submitted batch job 7", "Welcome!\n7"])
def test_a_job_is_known_by_its_number_however_it_is_told(sbatch, said):
    sbatch(f"echo '{said}'")
    assert submit_evaluation(WORDS, job_name="a job") == "7"


def test_a_command_line_that_is_refused_has_no_job(sbatch):
    sbatch("echo 5")
    with pytest.raises(SubmissionError, match="'many' is not a whole number") as caught:
        submit_evaluation([*WORDS, "--num_samples=many"], job_name="a job")
    assert not caught.value.may_have_job


@pytest.mark.parametrize("lines", ["echo 'Welcome!'", "echo 'Socket timed out on send/recv operation' >&2; exit 1"])
def test_a_copy_that_a_job_may_have_stays(sbatch, problems, tmp_path, lines):
    sbatch(lines)
    training = Training(tmp_path, [str(problems)])
    training.save(1)
    training.end()
    assert training.callback.failed == ["checkpoint-1"]
    assert len(training.copies()) == 1


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_an_sbatch_that_hangs_is_ended_with_the_script(sbatch, monkeypatch):
    folder = sbatch('echo $$ > "${0%/*}/pid.new"; mv "${0%/*}/pid.new" "${0%/*}/pid"; sleep 600')

    class Begun(subprocess.Popen):
        def communicate(self, input=None, timeout=None):
            if timeout is not None:
                wait_until((folder / "pid").exists)  # the time begins when sbatch hangs
            return super().communicate(input, timeout)

    monkeypatch.setattr(subprocess, "Popen", Begun)
    with pytest.raises(SubmissionError, match="didn't answer within 1 s") as caught:
        submit_evaluation(WORDS, job_name="a job", timeout_s=1.0)
    assert caught.value.may_have_job
    # Killed with its whole group; a process that was just killed may still be on its way out.
    pid = int((folder / "pid").read_text())
    wait_until(lambda: not is_alive(pid))


def test_a_checkpoint_that_is_pushed_and_evaluated_here_has_one_job(sbatch, problems, tmp_path, monkeypatch):
    folder = sbatch('echo "$@" >> "${0%/*}/calls"; echo 5')
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        settings = {"hub_token": "hf_write", "hub_model_id": "alice/run", "hub_model_revision": "v1"}
        names = ["push_to_hub_revision", "evaluate_checkpoint"]
        for name in names:
            training = Training(tmp_path, [str(problems)], callbacks=names, only=name, **settings)
            training.save(3)
            training.end()
    assert "v1-step-000000003" in hub.repos["alice/run"].branches
    (call,) = (folder / "calls").read_text().splitlines()
    assert "--remove_model_copy" in call


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--num_samples", "0"], "num_samples is 0"),
        (["--limit=-3"], "limit is -3"),
        (["--temperature", "9"], "temperature is 9"),
        (["--prompt_column", "zzz"], "has no columns ['zzz']"),
        (["--serve_args=--api-key x"], "needs no key"),
        (["--serve_args=--revision other"], "--revision is not for the arguments of vLLM"),
        (["--model_revision", ".."], "no branch, tag or commit"),
    ],
)
def test_what_a_job_could_only_refuse_is_not_submitted(sbatch, problems, flags, said, capsys):
    folder = sbatch('touch "${0%/*}/called"; echo 5')
    assert main(["--slurm", "--model_id", "me/m", "--data", str(problems), *flags]) == 1
    assert said in capsys.readouterr().err
    assert not (folder / "called").exists()


def test_a_process_that_crashes_waits_for_no_submission(tmp_path):
    program = (
        "import threading, sys; from pathlib import Path; "
        "from open_r1.training.checkpoint_jobs import Background, Task; "
        "begun = threading.Event(); background = Background('tasks'); "
        "background.add(Task(lambda: (begun.set(), threading.Event().wait()), 'first')); "
        "background.add(Task(print, 'second')); begun.wait(); sys.exit(3)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, timeout=60, check=False)
    assert done.returncode == 3


def test_users_can_submit_all_benchmarks_themselves(slurm, tmp_path):
    submitted = slurm("takes jobs")
    args = SFTConfig(
        output_dir=str(tmp_path),
        hub_model_id="me/m",
        hub_model_revision="v2",
        benchmarks=["all"],
        use_cpu=True,
        report_to="none",
        trust_remote_code=True,
    )
    assert run_benchmark_jobs(args, ModelConfig()) == [str(42 + place) for place in range(len(SUPPORTED_BENCHMARKS))]
    assert all("--trust_remote_code" in words for words, _ in submitted())
    assert [words[words.index("--benchmarks") + 1] for words, _ in submitted()] == list(SUPPORTED_BENCHMARKS)


def test_names_between_commas_are_jobs_of_their_own(slurm, tmp_path):
    submitted = slurm("takes jobs")
    args = SFTConfig(
        output_dir=str(tmp_path),
        hub_model_id="me/m",
        hub_model_revision="v2",
        benchmarks=["aime24,gpqa"],
        use_cpu=True,
        report_to="none",
    )
    assert run_benchmark_jobs(args) == ["42", "43"]
    assert [words[words.index("--benchmarks") + 1] for words, _ in submitted()] == ["aime24", "gpqa"]


def test_the_script_submits_with_paths_that_hold_in_any_folder(slurm, problems, tmp_path, monkeypatch, capsys):
    submitted = slurm("takes jobs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a model").mkdir()
    benchmarks = ["--benchmarks", problems.name, "--num-samples=2", "--benchmarks", "aime24"]
    assert main(["--slurm", "--model_id", "a model", *benchmarks]) == 0
    assert "Submitted batch job 42" in capsys.readouterr().out
    ((words, _),) = submitted()
    arguments = make_parser().parse_args(words[words.index(str(ROOT / "slurm" / "evaluate.slurm")) + 1 :])
    assert arguments.model == str(tmp_path / "a model")
    assert arguments.benchmarks == [str(problems), "aime24"]
    assert arguments.output_dir == str(tmp_path / "eval_results")
    assert arguments.num_samples == "2"
    assert main(["--slurm", "--model_id", "a model", "--data", problems.name, "--wait_s", "3"]) == 1
    assert "unrecognized arguments: --wait_s 3" in capsys.readouterr().err


def test_a_model_without_a_name_and_a_missing_slurm_are_errors(tmp_path, monkeypatch):
    args = SFTConfig(output_dir=str(tmp_path), benchmarks=["aime24"], use_cpu=True, report_to="none")
    with pytest.raises(ValueError, match="hub_model_id"):
        run_benchmark_jobs(args)
    args.hub_model_id = "me/m"
    without_slurm(monkeypatch, tmp_path)
    with pytest.raises(SubmissionError, match="no `sbatch`"):
        run_benchmark_jobs(args)
