# SPDX-License-Identifier: Apache-2.0
"""Jobs for saved checkpoints, with programs in place of Slurm's: they note, refuse or hang.

`tests/slurm/test_evaluate.py` has the same with a real Slurm.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest
from huggingface_hub import constants
from transformers import TrainerControl, TrainerState
from trl import ModelConfig

from open_r1.configs import SFTConfig
from open_r1.preflight.settings import _check_benchmarks as check_benchmarks
from open_r1.training.callbacks import get_callbacks
from open_r1.training.checkpoint_jobs import EvaluateCheckpointCallback
from tests.conftest import ROOT
from tests.integration.hub_server import Hub
from tests.integration.tiny import build_tiny

NOTES = """#!{python}
import json, os, sys
with open({notes!r}, "a") as notes:
    notes.write(json.dumps([sys.argv[1:], sorted(os.environ)]) + "\\n")
"""
SBATCHES = {
    "takes jobs": "print(41 + sum(1 for _ in open({notes!r})))\n",
    "refuses": "sys.exit('sbatch: error: QOSMaxSubmitJobPerUserLimit: the queue is full')\n",
    # Until the fixture ends; the folder of a test that has passed may then be gone at once.
    "hangs": "import time\nwhile os.path.exists({notes!r}) > os.path.exists({notes!r} + '.end'): time.sleep(0.05)\n",
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    yield without_a_cluster(tmp_path, monkeypatch)
    # Else a submission that hangs is ended, and logged, within another test.
    (tmp_path / "notes.jsonl.end").touch()
    while Training.begun:
        Training.begun.pop().wait()


def without_a_cluster(tmp_path, monkeypatch):
    """Return what puts an `sbatch` of some kind on the PATH; it gives the function that reads what it was given."""
    folder, notes = tmp_path / "bin", tmp_path / "notes.jsonl"
    folder.mkdir()
    site = tmp_path / "site.sh"
    site.write_text(
        f"PATH={sys.prefix}/bin:$PATH\nlogs={tmp_path}/logs\ngpu_options=(--partition='one gpu')\ngpus_per_node=1\n"
    )
    monkeypatch.setenv("OPEN_R1_CLUSTER", str(site))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # the training is a job itself
    monkeypatch.setattr(EvaluateCheckpointCallback, "end_s", 600.0)  # a healthy Slurm on a slow machine

    def put(kind):
        path = folder / "sbatch"
        path.write_text((NOTES + SBATCHES[kind]).format(python=sys.executable, notes=str(notes)))
        path.chmod(0o755)
        return lambda: [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []

    return put


def without_slurm(monkeypatch, tmp_path):
    """Have a PATH without sbatch."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "a user's problems.jsonl"
    path.write_text('{"problem": "Compute 1+2", "solution": "3"}\n')
    return path


class Training:
    """What the trainer does with the callbacks, without the minutes in between."""

    begun: ClassVar[list["Training"]] = []  # whose submissions may be under way

    def __init__(self, tmp_path, benchmarks, **settings):
        self.output = tmp_path / "a run"
        self.args = SFTConfig(
            output_dir=str(self.output), benchmarks=benchmarks, use_cpu=True, report_to="none", **settings
        )
        self.callbacks = get_callbacks(self.args)
        (self.callback,) = (entry for entry in self.callbacks if isinstance(entry, EvaluateCheckpointCallback))
        self.begun.append(self)
        self.event("on_train_begin", 0)

    def event(self, name, step, is_main=True):
        state = TrainerState(global_step=step, is_world_process_zero=is_main)
        for callback in self.callbacks:
            getattr(callback, name)(self.args, state, TrainerControl())

    def save(self, step, is_main=True, names=("config.json", "model.safetensors", "optimizer.pt")):
        folder = self.output / f"checkpoint-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).write_text(f"{name} of step {step}")
        self.event("on_save", step, is_main)
        return folder

    def end(self):
        self.event("on_train_end", 9)

    def wait(self):
        is_done = threading.Event()
        self.callback._tasks.put(is_done.set)
        is_done.wait(120)

    def copies(self):
        return sorted(path for path in (self.output / ".evaluations").glob("*"))


def flag(words, name):
    (value,) = (word.removeprefix(f"{name}=") for word in words if word.startswith(f"{name}="))
    return value


def test_a_training_submits_a_job_for_each_checkpoint_and_keeps_its_files(slurm, problems, tmp_path):
    submitted = slurm("takes jobs")
    tiny = build_tiny(tmp_path / "tiny")
    output, prompt = tmp_path / "a run", 'Say "it\'s" $1;\nrm -rf /'
    tiny.train(
        "sft",
        output,
        benchmarks=[str(problems)],
        max_steps=2,
        save_steps=1,
        save_total_limit=1,
        system_prompt=prompt,
    )
    assert not (output / "checkpoint-1").exists()
    calls = submitted()
    assert len(calls) == 2
    for step, (words, variables) in enumerate(calls, start=1):
        copy = Path(flag(words, "--model"))
        assert copy.parent == output / ".evaluations"
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in copy.iterdir()}
        assert "optimizer.pt" not in {path.name for path in copy.iterdir()}
        assert flag(words, "--model_name") == f"checkpoint-{step}"
        assert flag(words, "--output_dir") == str(output / "eval_results")
        assert words[words.index("--benchmarks") + 1] == str(problems)
        assert f"--system_prompt={prompt}" in words
        assert words[words.index("--partition=one gpu") + 1] == f"--job-name=evaluate-a-run-{copy.name}"
        assert str(ROOT / "slurm" / "evaluate.slurm") in words
        assert "--trust_remote_code" not in words
        assert "--overwrite" in words
        assert "SLURM_JOB_ID" not in variables


def test_the_copy_outlives_its_checkpoint(slurm, problems, tmp_path):
    slurm("takes jobs")
    training = Training(tmp_path, [str(problems)])
    folder = training.save(1)
    shutil.rmtree(folder)
    training.end()
    (copy,) = training.copies()
    assert (copy / "model.safetensors").read_text() == "model.safetensors of step 1"
    assert training.callback.undone == []


def test_a_slurm_that_refuses_is_a_warning_and_keeps_no_copy(slurm, problems, tmp_path, caplog):
    slurm("refuses")
    training = Training(tmp_path, [str(problems)])
    training.save(1)
    training.save(2)
    training.end()
    assert "QOSMaxSubmitJobPerUserLimit" in caplog.text
    assert "checkpoint-1, checkpoint-2" in caplog.text
    assert training.callback.undone == ["checkpoint-1", "checkpoint-2"]
    assert not (training.output / ".evaluations").exists()


def test_a_slurm_that_hangs_holds_nothing_up_for_long(slurm, problems, tmp_path, caplog, monkeypatch):
    slurm("hangs")
    monkeypatch.setattr(EvaluateCheckpointCallback, "end_s", 0.5)
    training = Training(tmp_path, [str(problems)])
    start = time.monotonic()
    for step in (1, 2):
        training.save(step)
    training.end()
    assert time.monotonic() - start < 30  # the sbatch never answers
    assert "checkpoint-1, checkpoint-2" in caplog.text
    assert training.callback.undone == ["checkpoint-1", "checkpoint-2"]
    assert len(training.copies()) == 2  # Slurm may have taken them


def test_a_process_that_crashes_waits_for_no_submission(slurm, problems, tmp_path):
    slurm("hangs")
    program = (
        "import sys; from pathlib import Path; "
        "from tests.integration.test_evaluate_checkpoint import Training; "
        "Training(Path(sys.argv[1]), [sys.argv[2]]).save(1); sys.exit(3)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    words = [sys.executable, "-c", program, str(tmp_path), str(problems)]
    done = subprocess.run(words, env=environment, timeout=120, check=False)
    assert done.returncode == 3


def test_a_checkpoint_that_cannot_be_served_is_a_warning(slurm, problems, tmp_path, caplog):
    submitted = slurm("takes jobs")
    training = Training(tmp_path, [str(problems)])
    training.event("on_save", 7)
    training.save(9, names=["config.json", "optimizer.pt"])
    training.end()
    assert training.callback.undone == ["checkpoint-7", "checkpoint-9"]
    assert not training.copies()
    assert not submitted()


def test_only_the_main_process_submits(slurm, problems, tmp_path):
    submitted = slurm("takes jobs")
    training = Training(tmp_path, [str(problems)])
    training.save(1, is_main=False)
    training.event("on_train_end", 1, is_main=False)
    assert not submitted()
    assert not training.copies()


def test_a_checkpoint_that_is_pushed_too_has_one_job_on_its_files_here(slurm, problems, tmp_path, monkeypatch):
    submitted = slurm("takes jobs")
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        training = Training(
            tmp_path,
            [str(problems)],
            callbacks=["push_to_hub_revision", "evaluate_checkpoint"],
            hub_token="hf_write",
            hub_model_id="alice/run",
            hub_model_revision="v1",
            system_prompt="--think",
            trust_remote_code=True,
        )
        training.save(3)
        training.end()
        assert "v1-step-000000003" in hub.repos["alice/run"].branches
    ((words, _),) = submitted()
    assert Path(flag(words, "--model")).parent == training.output / ".evaluations"
    assert flag(words, "--model_name") == "checkpoint-3"
    assert "--system_prompt=--think" in words and "--trust_remote_code" in words


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"benchmarks": ["questions.jsonl"]}, r"has no columns \['problem', 'solution'\]"),
        ({"benchmarks": ["aime24"], "save_strategy": "no"}, "save_strategy: no"),
    ],
)
def test_settings_without_effect_are_refused(slurm, tmp_path, monkeypatch, settings, said):
    slurm("takes jobs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions.jsonl").write_text('{"sum": "1+2", "result": "3"}\n')
    args = SFTConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none", **settings)
    with pytest.raises(ValueError, match=said):
        check_benchmarks(args, ModelConfig())


def test_adapters_and_machines_without_slurm_are_refused(slurm, tmp_path, monkeypatch):
    slurm("takes jobs")
    args = SFTConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none", benchmarks=["aime24"])
    check_benchmarks(args, ModelConfig())
    with pytest.raises(ValueError, match="use_peft"):
        check_benchmarks(args, ModelConfig(use_peft=True))
    without_slurm(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match="there is no `sbatch`"):
        check_benchmarks(args, ModelConfig())


@pytest.fixture(autouse=True)
def all_is_said(caplog):
    caplog.set_level(logging.INFO, logger="open_r1")
