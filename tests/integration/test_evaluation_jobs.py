# SPDX-License-Identifier: Apache-2.0
"""Submitting `slurm/evaluate.slurm`: which answers of Slurm are a job, and what is refused before."""

import pytest
from trl import ModelConfig

from open_r1.cluster.submission import submit_script
from open_r1.configs import SFTConfig
from open_r1.evaluation.benchmarks import SUPPORTED_BENCHMARKS, each_of
from open_r1.evaluation.jobs import submit_evaluation
from open_r1.utils.evaluation import run_benchmark_jobs
from scripts.run_benchmarks import main
from tests.integration.test_evaluate_checkpoint import without_a_cluster, without_slurm

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
    ("lines", "said"),
    [
        ("echo 'sbatch: error: Batch job submission failed: Invalid partition' >&2; exit 1", "Invalid partition"),
        ("echo 'Welcome!'", "Welcome!"),
        ("printf '\\xff\\xfe\\n'", "status 0"),
        ("echo 12; exit 1", "status 1"),
    ],
)
def test_what_names_no_job_is_an_error_with_what_slurm_said(sbatch, lines, said):
    sbatch(lines)
    with pytest.raises(RuntimeError, match=said):
        submit_evaluation(WORDS, job_name="a job")


@pytest.mark.parametrize(
    "said", ["7", "7;far", "Submitted batch job 7", "Submitted batch job 7 on cluster c", "Welcome!\n7"]
)
def test_a_job_is_known_by_its_number_however_it_is_told(sbatch, said):
    sbatch(f"echo '{said}'")
    assert submit_evaluation(WORDS, job_name="a job") == "7"


def test_a_slurm_that_does_not_answer_may_have_taken_the_job(tmp_path):
    with pytest.raises(TimeoutError):
        submit_script(["sleep", "60"], folder=tmp_path, timeout_s=0.1)


def test_a_command_line_that_is_refused_has_no_job(sbatch):
    folder = sbatch('touch "${0%/*}/called"; echo 5')
    with pytest.raises(RuntimeError, match=r"num_samples.*many"):
        submit_evaluation([*WORDS, "--num_samples=many"], job_name="a job")
    assert not (folder / "called").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--num_samples", "0"], "num_samples is 0"),
        (["--limit=-3"], "limit is -3"),
        (["--prompt_column", "zzz"], "has no columns ['zzz']"),
        (["--serve_args=--api-key x"], "--api-key"),
        (["--serve_args=--revision other"], "--revision is not for the arguments of vLLM"),
    ],
)
def test_what_a_job_could_only_refuse_is_not_submitted(sbatch, problems, flags, said, capsys):
    folder = sbatch('touch "${0%/*}/called"; echo 5')
    assert main(["--slurm", "--model_id", "me/m", "--data", str(problems), *flags]) == 1
    assert said in capsys.readouterr().err
    assert not (folder / "called").exists()


def test_users_can_submit_all_benchmarks_themselves(slurm, tmp_path, monkeypatch):
    assert each_of(["all"]) == list(SUPPORTED_BENCHMARKS)
    monkeypatch.setattr("open_r1.evaluation.benchmarks.benchmark_names", lambda: ["aime24", "gpqa"])  # 3 s each
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
    assert run_benchmark_jobs(args, ModelConfig()) == ["42", "43"]
    assert all("--trust_remote_code" in words for words, _ in submitted())
    assert [words[words.index("--benchmarks") + 1] for words, _ in submitted()] == ["aime24", "gpqa"]


def test_the_script_submits_with_paths_that_hold_in_any_folder(slurm, problems, tmp_path, monkeypatch, capsys):
    submitted = slurm("takes jobs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a model").mkdir()
    benchmarks = ["--benchmarks", problems.name, "--num-samples=2", "--benchmarks", "aime24"]
    assert main(["--slurm", "--model_id", "a model", *benchmarks]) == 0
    assert "Submitted batch job 42" in capsys.readouterr().out
    ((words, _),) = submitted()
    assert {f"--model={tmp_path / 'a model'}", f"--output_dir={tmp_path / 'eval_results'}", "--num_samples=2"} < {
        *words
    }
    assert words[words.index("--benchmarks") + 1 :] == [str(problems), "aime24"]


def test_a_model_without_a_name_and_a_missing_slurm_are_errors(tmp_path, monkeypatch):
    args = SFTConfig(output_dir=str(tmp_path), benchmarks=["aime24"], use_cpu=True, report_to="none")
    with pytest.raises(ValueError, match="hub_model_id"):
        run_benchmark_jobs(args)
    args.hub_model_id = "me/m"
    without_slurm(monkeypatch, tmp_path)
    with pytest.raises(RuntimeError):
        run_benchmark_jobs(args)
