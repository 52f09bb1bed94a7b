# SPDX-License-Identifier: Apache-2.0
"""Jobs for saved and for pushed checkpoints, with programs in place of Slurm's: they note, refuse, hang or babble.

`tests/slurm/test_evaluate.py` has the same with a real Slurm.
"""

import json
import logging
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest
from huggingface_hub import constants
from transformers import TrainerControl, TrainerState
from trl import ModelConfig

from open_r1.cluster.evaluate import make_parser
from open_r1.configs import SFTConfig
from open_r1.preflight.benchmarks import check_benchmarks
from open_r1.training.callbacks import PushToHubRevisionCallback, get_callbacks
from open_r1.training.checkpoint_jobs import EvaluateCheckpointCallback
from open_r1.utils import evaluate_checkpoint, evaluation_jobs
from tests.conftest import ROOT
from tests.integration.hub_server import Hub
from tests.integration.tiny import build_tiny
from tests.waiting import wait_until

NOTES = """#!{python}
import json, os, sys
with open({notes!r}, "a") as notes:
    notes.write(json.dumps([sys.argv[1:], sorted(os.environ)]) + "\\n")
"""
SBATCHES = {
    "takes jobs": "print(41 + sum(1 for _ in open({notes!r})))\n",
    "refuses": "sys.exit('sbatch: error: QOSMaxSubmitJobPerUserLimit: the queue is full')\n",
    "babbles": "print('Welcome to the cluster!')\n",
    "hangs": "import time\nwhile not os.path.exists({notes!r} + '.end'): time.sleep(0.05)\n",
}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    yield without_a_cluster(tmp_path, monkeypatch)
    # Else a submission that hangs is ended, and logged, within another test.
    (tmp_path / "notes.jsonl.end").touch()
    while Training.begun:
        Training.begun.pop().callback._background.finish(120)


def without_a_cluster(tmp_path, monkeypatch):
    """Return what puts an `sbatch` of some kind on the PATH; it gives the function that reads what it was given."""
    folder, notes = tmp_path / "bin", tmp_path / "notes.jsonl"
    folder.mkdir()
    site = tmp_path / "site.sh"
    site.write_text(f"venv={sys.prefix}\nlogs={tmp_path}/logs\ngpu_options=(--partition='one gpu')\ngpus_per_node=1\n")
    monkeypatch.setenv("OPEN_R1_CLUSTER", str(site))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # the training is a job itself
    monkeypatch.setattr(evaluate_checkpoint, "END_S", 600.0)  # a healthy Slurm on a slow machine

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
    """What the trainer does with the callback, without the minutes in between."""

    begun: ClassVar[list["Training"]] = []  # whose submissions may be under way

    def __init__(self, tmp_path, benchmarks, only=None, **settings):
        values = {"callbacks": ["evaluate_checkpoint"], "use_cpu": True, "report_to": "none", **settings}
        self.output = tmp_path / "a run"
        self.args = SFTConfig(output_dir=str(self.output), benchmarks=benchmarks, **values)
        known = {"push_to_hub_revision": PushToHubRevisionCallback, "evaluate_checkpoint": EvaluateCheckpointCallback}
        found = get_callbacks(self.args, ModelConfig())
        (self.callback,) = (entry for entry in found if only is None or isinstance(entry, known[only]))
        if isinstance(self.callback, EvaluateCheckpointCallback):
            self.begun.append(self)
        self.event("on_train_begin", 0)

    def event(self, name, step, is_main=True, max_steps=0):
        state = TrainerState(global_step=step, max_steps=max_steps, is_world_process_zero=is_main)
        getattr(self.callback, name)(self.args, state, TrainerControl())

    def save(self, step, is_main=True, names=("config.json", "model.safetensors", "optimizer.pt")):
        folder = self.output / f"checkpoint-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / name).write_text(f"{name} of step {step}")
        self.event("on_save", step, is_main)
        return folder

    def end(self):
        self.event("on_train_end", 9)

    def copies(self):
        return sorted(path for path in (self.output / ".evaluations").glob("*"))


def flag(words, name):
    return words[words.index(name) + 1]


def test_a_training_submits_a_job_for_each_checkpoint_and_keeps_its_files(slurm, problems, tmp_path):
    submitted = slurm("takes jobs")
    tiny = build_tiny(tmp_path / "tiny")
    output, prompt = tmp_path / "a run", 'Say "it\'s" $1;\nrm -rf /'
    tiny.train(
        "sft",
        output,
        callbacks=["evaluate_checkpoint"],
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
        assert flag(words, "--benchmarks") == str(problems)
        assert f"--system_prompt={prompt}" in words
        assert words[words.index("--partition=one gpu") + 1] == f"--job-name=evaluate-a-run-{copy.name}"
        assert str(ROOT / "slurm" / "evaluate.slurm") in words
        assert "--trust_remote_code" not in words
        assert "--overwrite" in words
        assert "SLURM_JOB_ID" not in variables
    assert not (output / "evaluation_copy.json").exists()


def test_the_copy_outlives_its_checkpoint(slurm, problems, tmp_path):
    slurm("takes jobs")
    training = Training(tmp_path, [str(problems)])
    folder = training.save(1)
    shutil.rmtree(folder)
    training.end()
    (copy,) = training.copies()
    assert (copy / "model.safetensors").read_text() == "model.safetensors of step 1"
    assert training.callback.submitted == ["42"]


def test_a_slurm_that_refuses_is_a_warning_and_keeps_no_copy(slurm, problems, tmp_path, caplog):
    slurm("refuses")
    training = Training(tmp_path, [str(problems)])
    training.save(1)
    training.save(2)
    training.end()
    assert "checkpoint-1 is not evaluated" in caplog.text
    assert "QOSMaxSubmitJobPerUserLimit" in caplog.text
    assert "2 checkpoints have no evaluation: checkpoint-1, checkpoint-2" in caplog.text
    assert not (training.output / ".evaluations").exists()


def test_a_slurm_that_hangs_holds_nothing_up_for_long(slurm, problems, tmp_path, caplog, monkeypatch):
    slurm("hangs")
    monkeypatch.setattr(evaluation_jobs, "TIMEOUT_S", 7.0)
    monkeypatch.setattr(evaluate_checkpoint, "END_S", 2.0)
    training = Training(tmp_path, [str(problems)])
    steps = range(10, 22)
    for step in steps:
        training.save(step)  # returns while the first is still being submitted
    assert not training.callback.failed
    wait_until(lambda: training.callback.failed)
    start = time.monotonic()
    training.end()  # the last ones are given up unsubmitted
    assert time.monotonic() - start < 60  # 2 s, not 11 times 7
    assert "checkpoint-10 is not evaluated: Slurm didn't answer within 7 s" in caplog.text
    assert sorted(training.callback.failed) == sorted(f"checkpoint-{step}" for step in steps)
    assert len(training.copies()) == 12  # Slurm may have taken the first; the others are for their commands
    (command,) = (line for line in caplog.text.splitlines() if "checkpoint-21 is not evaluated" in line)
    words = shlex.split(command.partition("Submit it by hand: ")[2])
    assert words[0] == "slurm/evaluate.slurm"
    assert make_parser().parse_args(words[1:]).model == str(training.copies()[-1])


def test_copies_that_are_to_be_submitted_by_hand_outlive_the_next_start(
    slurm, problems, tmp_path, caplog, monkeypatch
):
    submitted = slurm("hangs")
    monkeypatch.setattr(evaluate_checkpoint, "STOPPED_S", 0.2)
    training = Training(tmp_path, [str(problems)])
    for step in (1, 2):
        training.save(step)
    wait_until(submitted)  # the first is under way
    training.event("on_train_end", 2, max_steps=9)
    assert "if it hasn't, submit it by hand" in caplog.text
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "squeue").chmod(0o755)
    caplog.clear()
    copies = training.copies()
    again = Training(tmp_path, [str(problems)])
    again.end()
    assert again.copies() == copies and len(copies) == 2
    for copy, line in zip(copies, (line for line in caplog.text.splitlines() if "by hand" in line), strict=True):
        words = shlex.split(line.partition("submit it by hand: ")[2])
        assert make_parser().parse_args(words[1:]).model == str(copy)


def test_a_training_that_was_told_to_stop_waits_less(slurm, problems, tmp_path, monkeypatch):
    slurm("hangs")
    monkeypatch.setattr(evaluate_checkpoint, "STOPPED_S", 0.2)
    monkeypatch.setattr(evaluate_checkpoint, "END_S", 600.0)
    training = Training(tmp_path, [str(problems)])
    training.save(1)
    start = time.monotonic()
    training.event("on_train_end", 1, max_steps=9)
    assert time.monotonic() - start < 60
    assert training.callback.failed == ["checkpoint-1"]
    assert len(training.copies()) == 1


def test_an_answer_that_names_no_job_is_a_warning(slurm, problems, tmp_path, caplog):
    slurm("babbles")
    training = Training(tmp_path, [str(problems)])
    training.save(1)
    training.end()
    assert "Welcome to the cluster!" in caplog.text
    assert training.callback.failed == ["checkpoint-1"]
    assert len(training.copies()) == 1  # there may be a job


def test_without_slurm_there_is_one_warning(problems, tmp_path, caplog, monkeypatch):
    without_slurm(monkeypatch, tmp_path)
    training = Training(tmp_path, [str(problems)])
    training.save(1)
    training.save(2)
    training.end()
    assert caplog.text.count("there is no `sbatch`") == 1
    assert not training.copies()


def test_a_checkpoint_that_cannot_be_served_is_a_warning(slurm, problems, tmp_path, caplog):
    submitted = slurm("takes jobs")
    training = Training(tmp_path, [str(problems)])
    training.event("on_save", 7)
    training.save(8, names=["adapter_config.json", "adapter_model.safetensors"])
    training.save(9, names=["config.json", "optimizer.pt"])
    training.end()
    assert "checkpoint-7 is not evaluated: there is no folder" in caplog.text
    assert "checkpoint-9 is not evaluated: it has no weights" in caplog.text
    assert "merge it with scripts/merge_lora.py" in caplog.text
    assert not training.copies()
    assert not submitted()


def test_only_the_main_process_submits(slurm, problems, tmp_path):
    submitted = slurm("takes jobs")
    training = Training(tmp_path, [str(problems)])
    training.save(1, is_main=False)
    training.event("on_train_end", 1, is_main=False)
    assert not submitted()
    assert not training.copies()


@pytest.mark.parametrize("squeue", ["echo evaluate-a-former-name-checkpoint-1-aa", "exit 1", None])
def test_copies_of_a_killed_run_go_unless_a_job_may_need_them(slurm, problems, tmp_path, caplog, monkeypatch, squeue):
    slurm("takes jobs")
    copies = tmp_path / "a run" / ".evaluations"
    for name in ("checkpoint-1-aa", "checkpoint-2-bb"):
        (copies / name).mkdir(parents=True)
        note = {"job_name": f"evaluate-a-former-name-{name}"}
        (copies / name / "evaluation_copy.json").write_text(json.dumps(note))
    (copies / "notes").mkdir()
    if squeue is not None:
        monkeypatch.setenv("SQUEUE_STATES", "RUNNING")  # of the user, who asks for other jobs
        (tmp_path / "bin" / "squeue").write_text(f'#!/bin/sh\n[ "$SQUEUE_STATES" ] && exit\n{squeue}\n')
        (tmp_path / "bin" / "squeue").chmod(0o755)
    else:
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    Training(tmp_path, [str(problems)]).end()
    left = {path.name for path in copies.iterdir()} - {"notes"}
    assert (copies / "notes").is_dir()
    assert left == ({"checkpoint-1-aa"} if squeue and "echo" in squeue else {"checkpoint-1-aa", "checkpoint-2-bb"})
    assert ("removed" if squeue and "echo" in squeue else "it isn't known whether jobs need them") in caplog.text


def test_benchmarks_run_on_what_was_pushed(slurm, tmp_path, monkeypatch):
    submitted = slurm("takes jobs")
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        training = Training(
            tmp_path,
            ["aime24", "math_500"],
            callbacks=["push_to_hub_revision"],
            hub_token="hf_write",
            hub_model_id="alice/run",
            hub_model_revision="v1",
            system_prompt="--think",
        )
        training.save(3)
        training.end()
        assert "v1-step-000000003" in hub.repos["alice/run"].branches
    jobs = [words for words, _ in submitted()]
    assert [flag(words, "--benchmarks") for words in jobs] == ["aime24", "math_500"]
    for words in jobs:
        # The commit: a branch may have moved before the job begins. The results bear the branch's name.
        assert {"--model=alice/run", f"--revision={'3' * 40}"} <= set(words)
        assert "--model_name=alice/run/v1-step-000000003" in words
        assert "--system_prompt=--think" in words
        assert "--remove_model_copy" not in words
        assert make_parser().parse_args(words[words.index(str(ROOT / "slurm" / "evaluate.slurm")) + 1 :]).model


def test_nothing_is_submitted_for_a_push_that_failed(slurm, tmp_path, monkeypatch):
    submitted = slurm("takes jobs")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    training = Training(tmp_path, ["aime24"], callbacks=["push_to_hub_revision"], hub_token="hf_write")
    training.save(1)
    training.end()
    assert training.callback.failed
    assert not submitted()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"callbacks": ["evaluate_checkpoint"]}, "set `benchmarks`"),
        ({"benchmarks": ["aime24"]}, "nothing asks for that: add `callbacks: .evaluate_checkpoint.`"),
        ({"benchmarks": ["aime42"]}, "Unknown benchmark 'aime42'"),
        ({"benchmarks": ["both.jsonl"]}, "say which decide, math or code"),
        ({"benchmarks": ["questions.jsonl"]}, r"has no columns \['problem', 'solution'\]"),
        ({"benchmarks": ["aime24"], "callbacks": ["evaluate_checkpoint"], "save_strategy": "no"}, "saves none"),
    ],
)
def test_settings_without_effect_are_refused(slurm, tmp_path, monkeypatch, settings, said):
    slurm("takes jobs")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "questions.jsonl").write_text('{"question": "1+2", "answer": "3"}\n')
    (tmp_path / "both.jsonl").write_text('{"problem": "1+2", "solution": "3", "test_cases": "[]"}\n')
    args = SFTConfig(output_dir=str(tmp_path), use_cpu=True, report_to="none", **settings)
    with pytest.raises(ValueError, match=said):
        check_benchmarks(args, ModelConfig())


def test_adapters_and_machines_without_slurm_are_refused(slurm, tmp_path, monkeypatch):
    slurm("takes jobs")
    args = SFTConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        report_to="none",
        benchmarks=["aime24"],
        callbacks=["evaluate_checkpoint"],
    )
    check_benchmarks(args, ModelConfig())
    with pytest.raises(ValueError, match="are adapters"):
        check_benchmarks(args, ModelConfig(use_peft=True))
    without_slurm(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match="there is no `sbatch` on the PATH"):
        check_benchmarks(args, ModelConfig())


@pytest.fixture(autouse=True)
def all_is_said(caplog):
    caplog.set_level(logging.INFO, logger="open_r1")
