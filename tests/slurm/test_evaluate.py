# SPDX-License-Identifier: Apache-2.0
"""evaluate.slurm on a real Slurm: a served model is asked, a job is requeued, a training submits evaluations.

The server stands in for vLLM (`stand_in_model.py`). What a job does with its server's failures: `test_train.py`.
"""

import base64
import json
import sys

import pytest
import yaml

from tests.integration.tiny import addition_rows, build_tiny, write_rows
from tests.slurm.cluster_bed import HERE, SERVED, eventually

SCRIPT = "slurm/evaluate.slurm"


@pytest.fixture
def problems(tmp_path):
    """Two problems, in a file whose name needs quotes."""
    path = tmp_path / "two problems (it's a test).jsonl"
    path.write_text('{"problem": "Compute 1+2", "solution": "3"}\n{"problem": "Compute 2+2", "solution": "4"}\n')
    return path


def stand_in(cluster, *words, **settings):
    """A site whose `vllm` is the stand-in."""
    words = [sys.executable, str(HERE / "stand_in_model.py"), *(words or ["1000"])]
    return cluster.site(environment=SERVED, vllm=words, **settings)


@pytest.fixture
def model(tmp_path):
    """A model's folder, as far as the stand-in looks at it."""
    folder = tmp_path / "a model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


def read_results(folder):
    return json.loads((folder / "results.json").read_text())


def test_a_model_is_served_and_asked(cluster, model, problems, tmp_path):
    job = cluster.submit(
        SCRIPT,
        "--model",
        model,
        "--data",
        problems,
        "--num_samples",
        2,
        "--max_tokens",
        24,
        "--output_dir",
        tmp_path / "out",
        "--serve_args",
        "--enforce-eager --max-model-len 512",
        "--system_prompt",
        "Say 'it is' and \"$the\" answer.",
        by="script",
        site=stand_in(cluster),
    )
    assert job.wait() == "COMPLETED"
    results = read_results(tmp_path / "out" / "a_model" / "main" / "two_problems_it_s_a_test_")
    assert results["counts"]["returned"] == 4
    assert results["metrics"]["avg@2"] == 0.5
    assert results["settings"]["system_prompt"] == "Say 'it is' and \"$the\" answer."
    assert results["settings"]["max_model_len"] == 2048  # of the server
    assert results["settings"]["serve_args"] == ["--enforce-eager", "--max-model-len", "512"]
    assert len(results["settings"]["model_fingerprint"]) == 16


def test_arguments_by_position_and_a_requeued_job_that_goes_on(cluster, model, problems, tmp_path):
    plain = problems.rename(tmp_path / "plain.jsonl")
    prompt = base64.b64encode(b"Be brief.").decode()
    positions = ("plain", plain, model, "main", "False", "False", prompt)
    job = cluster.submit(SCRIPT, *positions, "--output_dir", tmp_path / "out", site=stand_in(cluster, "3"))
    folder = tmp_path / "out" / "a_model" / "main" / "plain"
    journal = folder / "journal.jsonl"
    eventually(lambda: journal.is_file() and len(journal.read_text().splitlines()) == 1 + 3, "three answers")
    job.signal_batch("USR1")
    assert job.wait() == "COMPLETED"
    assert job.restarts == 1
    assert len(journal.read_text().splitlines()) == 1 + 8  # nothing was asked twice
    results = read_results(folder)
    assert results["metrics"]["avg@4"] == 0.5
    assert results["settings"]["system_prompt"] == "Be brief."


def test_a_job_without_a_new_answer_is_requeued_once_and_then_given_up(cluster, model, problems, tmp_path):
    journal = tmp_path / "out" / "a_model" / "main" / "two_problems_it_s_a_test_" / "journal.jsonl"
    job = cluster.submit(
        SCRIPT,
        "--model",
        model,
        "--data",
        problems,
        "--output_dir",
        tmp_path / "out",
        site=stand_in(cluster, "--every_attempt", "0"),
    )
    for attempt in range(2):
        eventually(lambda n=attempt: job.log.count("; 0 are there.") == n + 1, "the server is asked")
        job.signal_batch("USR1")
    assert (job.wait(), job.exit_status, job.restarts) == ("FAILED", 1, 1)
    assert len(journal.read_text().splitlines()) == 1  # its settings
    assert "two attempts in a row" in job.log and str(journal.parents[1]) in job.log


def test_a_job_whose_problems_have_no_such_column_fails_with_its_reason(cluster, model, problems):
    words = ("--model", model, "--data", problems, "--solution_column", "gold")
    job = cluster.submit(SCRIPT, *words, site=stand_in(cluster))
    assert job.wait() == "FAILED"
    assert job.exit_status == 2  # refused before a model is served
    assert "has no columns ['gold'] (set --prompt_column and --solution_column" in job.log


def train(cluster, folder, site, **settings):
    """Run a training as a job, whose callback submits jobs."""
    recipe = folder / "sft" / "recipe.yaml"
    recipe.parent.mkdir()
    recipe.write_text(yaml.safe_dump(settings))
    job = cluster.submit("slurm/train.slurm", "--recipe", recipe, "--accelerator", "ddp", site=site)
    assert job.wait() == "COMPLETED"


def test_a_checkpoint_is_evaluated_though_the_training_has_deleted_it(cluster, problems, tmp_path, monkeypatch):
    output, tiny = tmp_path / "a run", build_tiny(tmp_path / "tiny")
    rows = write_rows(tmp_path / "rows.jsonl", addition_rows(8))
    # Held: neither evaluation begins before the training has ended.
    site = stand_in(cluster, gpu_options=["--partition=gpu", "--hold"])
    train(
        cluster,
        tmp_path,
        site,
        model_name_or_path=str(tiny.model),
        dataset_name=str(rows),
        dtype="float32",
        output_dir=str(output),
        use_cpu=True,
        bf16=False,
        max_steps=2,
        save_steps=1,
        save_total_limit=1,
        per_device_train_batch_size=2,
        max_length=128,
        benchmarks=[str(problems)],
        report_to="none",
        gradient_checkpointing=False,
    )
    assert not (output / "checkpoint-1").exists()
    held = cluster.command("squeue", "--noheader", "--sort=i", "--format=%A %j").stdout.split()
    first, second = (cluster.job(number) for number in held[::2])
    assert [name.rpartition("-")[0] for name in held[1::2]] == [
        "evaluate-a-run-checkpoint-1",
        "evaluate-a-run-checkpoint-2",
    ]
    cluster.command("scontrol", "release", first.job_id)
    assert first.wait() == "COMPLETED"
    results = read_results(output / "eval_results" / "checkpoint-1" / "main" / "two_problems_it_s_a_test_")
    assert results["metrics"]["avg@4"] == 0.5
    assert [path.name for path in (output / ".evaluations").iterdir()] == [held[-1].removeprefix("evaluate-a-run-")]
    second.cancel()
