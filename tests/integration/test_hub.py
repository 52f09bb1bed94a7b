# SPDX-License-Identifier: Apache-2.0
"""Pushing to the hub: the hub's real client talks to a server on this machine that follows its wire contract."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants
from transformers import Qwen3Config, Qwen3ForCausalLM, TrainerControl, TrainerState

from open_r1.configs import SFTConfig
from open_r1.manifest import write_manifest
from open_r1.training.callbacks import get_callbacks
from open_r1.training.hub import (
    UPLOADS_NAME,
    check_hub_revision_exists,
    link_tree,
    push_finished_model,
    push_to_hub_revision,
)
from scripts.stand_ins import byte_tokenizer
from tests.integration.hub_server import FIRST_COMMIT, Branch, Hub, Repo

REPOSITORY = Path(__file__).resolve().parents[2]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
FILE_URL = "/{repo_id}/resolve/{revision}/{filename}"
MODEL_FILES = {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "trainer_state.json"}
LOCAL_FILES = {
    "optimizer.pt",
    "optimizer.bin",
    "scheduler.pt",
    "rng_state_0.pth",
    "rollout_state_0.pt",
    "reference.pt",
    "training_args.bin",
    "manifest.json",
    "latest",
    "zero_to_fp32.py",
    "global_step3/mp_rank_00_model_states.pt",
    "pytorch_model_fsdp_0/__0_0.distcp",
    "pytorch_model_fsdp_0/.metadata",
}
RUN_FILES = {
    "checkpoint-1/model.safetensors",
    "superseded-1/checkpoint-1/model.safetensors",
    "rollouts/train-000001-0.parquet",
    ".model-staging/model.safetensors",
    ".uploads/checkpoint-1/model.safetensors",
    "run_manifest.json",
    ".evaluations/checkpoint-1-0a/model.safetensors",
    "eval_results/checkpoint-1/main/aime24/config.json",
    "completions/completions_00001.parquet",
    "runs/events.out.tfevents.1",
    "wandb/run-1/files/output.log",
}


@pytest.fixture
def hub(monkeypatch):
    with Hub() as server:
        # What HF_ENDPOINT sets when the library is imported; the test of a whole training sets the variable itself.
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + FILE_URL)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield server


def config(tmp_path, **settings):
    defaults = {
        "hub_model_id": "alice/run",
        "hub_token": "hf_write",
        "hub_model_revision": "v1",
        "use_cpu": True,
        "report_to": "none",
    }
    return SFTConfig(output_dir=str(tmp_path / "out"), **{**defaults, **settings})


def write_files(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")


class Training:
    """What the trainer does with the callback, without the minutes in between."""

    def __init__(self, tmp_path, **settings):
        self.args = config(tmp_path, push_to_hub_revision=True, **settings)
        (self.callback,) = get_callbacks(self.args)
        self.event("on_train_begin", 0)

    def event(self, name, step, is_main=True):
        state = TrainerState(global_step=step, is_world_process_zero=is_main)
        getattr(self.callback, name)(self.args, state, TrainerControl())

    def save(self, step, is_main=True):
        folder = Path(self.args.output_dir) / f"checkpoint-{step}"
        write_files(folder, MODEL_FILES | LOCAL_FILES)
        self.event("on_save", step, is_main)
        return folder


@pytest.mark.parametrize("uses_lfs", [False, True])
def test_model_is_pushed_to_a_branch_from_the_first_commit(hub, tmp_path, monkeypatch, uses_lfs):
    hub.uses_lfs = uses_lfs
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", uses_lfs)
    write_files(tmp_path / "out", MODEL_FILES | LOCAL_FILES | RUN_FILES | {"notes.md"})

    push_to_hub_revision(config(tmp_path), extra_ignore_patterns=["*.md"]).result()

    assert hub.repos["alice/run"].private
    branch = hub.repos["alice/run"].branches["v1"]
    assert branch.start == FIRST_COMMIT
    assert branch.files == {name: f"content of {name}".encode() for name in MODEL_FILES}
    assert all("v1" in message for message in branch.messages)
    assert not hub.repos["alice/run"].branches["main"].files
    push_to_hub_revision(config(tmp_path)).result()  # the branch is there already


def test_repository_is_public_only_when_told(hub, tmp_path):
    write_files(tmp_path / "out", ["config.json"])
    push_to_hub_revision(config(tmp_path, hub_private_repo=False, hub_model_id=None)).result()
    assert not hub.repos["alice/out"].private  # the name of the output folder, in the user's namespace


def test_checkpoint_deleted_during_its_upload_arrives_whole(hub, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="open_r1")
    training = Training(tmp_path)
    hub.gate.clear()
    folder = training.save(120)
    assert hub.preupload_seen.wait(120), "the upload has not begun"
    shutil.rmtree(folder)
    assert "Pushed" not in caplog.text
    hub.gate.set()
    training.event("on_train_end", 120)

    branch = hub.repos["alice/run"].branches["v1-step-000000120"]
    assert branch.start == FIRST_COMMIT
    assert branch.files == {name: f"content of {name}".encode() for name in MODEL_FILES}
    assert "Pushed v1-step-000000120" in caplog.text
    assert not (tmp_path / "out" / UPLOADS_NAME).exists()


def test_every_save_goes_to_the_branch_of_the_model_too(hub, tmp_path):
    training = Training(tmp_path, push_to_hub=True, hub_strategy="every_save")
    training.save(1)
    training.event("on_train_end", 1)
    branches = hub.repos["alice/run"].branches
    assert set(branches["v1"].files) == set(branches["v1-step-000000001"].files) == MODEL_FILES
    assert len(get_callbacks(config(tmp_path, push_to_hub=True))) == 1
    assert get_callbacks(config(tmp_path, push_to_hub=True, hub_strategy="end")) == []


def test_finished_model_that_cannot_be_pushed_is_an_error_with_the_way_out(hub, tmp_path):
    write_files(tmp_path / "out", MODEL_FILES)
    push_finished_model(config(tmp_path))
    hub.refuse = {"v1"}
    (tmp_path / "out" / "config.json").write_text("changed")
    with pytest.raises(RuntimeError, match="hf upload alice/run"):
        push_finished_model(config(tmp_path))


def test_refused_push_is_a_warning_with_its_reason(hub, tmp_path, caplog):
    hub.refuse = {"v1-step-000000001"}
    training = Training(tmp_path)
    training.save(1)
    training.save(2)
    training.event("on_train_end", 2)
    assert "v1-step-000000001 was not pushed to the hub" in caplog.text
    assert "Storage limit reached" in caplog.text
    assert "Not pushed to the hub: v1-step-000000001." in caplog.text
    assert set(hub.repos["alice/run"].branches["v1-step-000000002"].files) == MODEL_FILES


def test_hub_out_of_reach_is_a_warning(hub, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    training = Training(tmp_path)
    training.save(1)
    training.event("on_train_end", 1)
    assert training.callback.undone == ["v1-step-000000001"]
    assert "ConnectError" in caplog.text


def test_missing_checkpoint_folder_is_a_warning(hub, tmp_path, caplog):
    training = Training(tmp_path)
    training.event("on_save", 7)
    training.event("on_train_end", 7)
    assert "there is no folder" in caplog.text
    assert hub.requests == []


def test_only_the_main_process_pushes(hub, tmp_path):
    training = Training(tmp_path)
    training.save(1, is_main=False)
    training.event("on_train_end", 1, is_main=False)
    assert hub.requests == []


def test_leftovers_of_a_killed_run_are_removed(hub, tmp_path):
    write_files(tmp_path / "out" / UPLOADS_NAME / "checkpoint-5", ["config.json"])
    Training(tmp_path)
    assert not (tmp_path / "out" / UPLOADS_NAME).exists()


def test_links_share_the_disk_space_and_copies_replace_them_across_file_systems(tmp_path):
    write_files(tmp_path / "checkpoint-1", MODEL_FILES | LOCAL_FILES)
    link_tree(tmp_path / "checkpoint-1", tmp_path / "links")
    assert {path.name for path in (tmp_path / "links").rglob("*")} == MODEL_FILES
    assert (tmp_path / "links" / "config.json").samefile(tmp_path / "checkpoint-1" / "config.json")

    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        return
    target = memory / f"open-r1-links-{os.getpid()}"
    try:
        link_tree(tmp_path / "checkpoint-1", target)
        assert (target / "config.json").read_text() == "content of config.json"
    finally:
        shutil.rmtree(target)


def test_nothing_is_contacted_unless_a_push_is_requested(hub, tmp_path):
    check_hub_revision_exists(config(tmp_path))
    assert hub.requests == []
    assert get_callbacks(config(tmp_path)) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hub_token": "hf_wrong"}, "Invalid user token"),
        ({"hub_token": "hf_read"}, "may only read"),
        ({"hub_model_id": "strangers/run"}, "strangers"),
        ({"hub_model_id": "readers/run"}, "'read' in readers"),
        ({"hub_model_id": "alice/run/v1"}, "Repo id"),
        ({"hub_model_revision": "done"}, "already holds a model in done"),
        ({"push_to_hub": True, "hub_strategy": "checkpoint"}, "would push optimizer states"),
        ({"hub_model_revision": "adapter"}, "already holds a model in adapter"),
        ({"hub_model_revision": "old"}, "already holds a model in old-step-000000010"),
    ],
)
def test_run_that_could_not_push_is_refused(hub, tmp_path, settings, message):
    files = {"main": [], "done": ["README.md"], "adapter": ["adapter_config.json"], "old-step-000000010": []}
    branches = {name: Branch(FIRST_COMMIT, dict.fromkeys(names, b"")) for name, names in files.items()}
    hub.repos["alice/run"] = Repo(private=True, branches=branches)
    with pytest.raises(ValueError, match=message):
        check_hub_revision_exists(config(tmp_path, push_to_hub_revision=True, **settings))


def test_run_that_can_push_is_let_through(hub, tmp_path, monkeypatch):
    check_hub_revision_exists(config(tmp_path, push_to_hub=True))
    hub.repos["team/run"] = Repo(private=True, branches={"v1": Branch(FIRST_COMMIT, {"README.md": b"#"})})
    taken = {"push_to_hub": True, "hub_model_id": "team/run"}
    with pytest.raises(ValueError, match="overwrite_hub_revision"):
        check_hub_revision_exists(config(tmp_path, **taken))
    check_hub_revision_exists(config(tmp_path, **taken, overwrite_hub_revision=True))

    for folder in ("out", "other"):
        write_files(tmp_path / folder / "checkpoint-1", ["model.safetensors", "rng_state.pth"])
        write_manifest(tmp_path / folder / "checkpoint-1")
    check_hub_revision_exists(config(tmp_path, **taken))  # the run goes on, to the branch that it began
    for another_course in ("false", str(tmp_path / "other" / "checkpoint-1")):
        with pytest.raises(ValueError, match="overwrite_hub_revision"):
            check_hub_revision_exists(config(tmp_path, **taken, resume_from_checkpoint=another_course))
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    (tmp_path / "out" / "run_manifest.json").write_text('{"runs": [{"settings": {}, "slurm_job": "77"}]}')
    check_hub_revision_exists(config(tmp_path, **taken, resume_from_checkpoint="false"))  # requeued, it goes on


def test_login_and_network_are_checked_before_a_model_loads(hub, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(ValueError, match="nobody is logged in"):
        check_hub_revision_exists(config(tmp_path, push_to_hub=True, hub_token=None))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE"):
        check_hub_revision_exists(config(tmp_path, push_to_hub=True))


def test_training_pushes_its_checkpoints_and_survives_a_refusal(tmp_path):
    tokenizer = byte_tokenizer(TEMPLATE, eos_token="<|im_end|>")
    tokenizer.save_pretrained(tmp_path / "base")
    Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
        )
    ).save_pretrained(tmp_path / "base")
    row = {"messages": [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]}
    (tmp_path / "train.jsonl").write_text(f"{json.dumps(row)}\n" * 8)
    settings = {
        "model_name_or_path": tmp_path / "base", "dataset_name": tmp_path / "train.jsonl",
        "output_dir": tmp_path / "out", "max_steps": 2, "per_device_train_batch_size": 2,
        "save_strategy": "steps", "save_steps": 1, "save_total_limit": 1, "use_peft": "true",
        "lora_target_modules": "all-linear", "report_to": "none", "use_cpu": "true",
        "gradient_checkpointing": "false", "push_to_hub_revision": "true", "push_to_hub": "true",
        "hub_strategy": "end", "hub_model_id": "alice/run", "hub_model_revision": "v1",
    }  # fmt: skip
    command = [sys.executable, str(REPOSITORY / "src/open_r1/sft.py")]
    command += [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    with Hub() as hub:
        hub.repos["alice/run"] = Repo(
            private=True, branches={"main": Branch(FIRST_COMMIT), "v1": Branch(FIRST_COMMIT)}
        )
        hub.refuse = {"v1-step-000000001"}
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": "hf_write",
            "HF_HUB_OFFLINE": "0",
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(REPOSITORY / "src"),
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    assert "v1-step-000000001 was not pushed to the hub" in output
    assert "Not pushed to the hub: v1-step-000000001." in output
    pushed = set(hub.repos["alice/run"].branches["v1-step-000000002"].files)
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "chat_template.jinja"} <= pushed
    assert not pushed & {"optimizer.pt", "training_args.bin", "manifest.json", "README.md"}
    assert [path.name for path in (tmp_path / "out").glob("checkpoint-*")] == ["checkpoint-2"]
    final = set(hub.repos["alice/run"].branches["v1"].files)
    assert {"adapter_model.safetensors", "tokenizer.json", "README.md"} <= final
    assert not any(name.startswith(("checkpoint-", "training_args", ".")) for name in final)
    assert set(hub.repos["alice/run"].branches) == {"main", "v1", "v1-step-000000001", "v1-step-000000002"}
