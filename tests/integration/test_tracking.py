# SPDX-License-Identifier: Apache-2.0
"""The record of a run: complete, without secrets, and never in the way of the run itself."""

import json
import logging

import pytest

from open_r1.configs import (
    GRPOConfig,
    GRPOScriptArguments,
    ModelConfig,
)
from open_r1.manifest import RUN_MANIFEST_NAME
from open_r1.training.tracking import describe_run, init_wandb_training, write_run_manifest


@pytest.fixture
def describe(tmp_path):
    def build(mixture=None, model="a", **settings):
        data = {"dataset_name": "some_data"} if mixture is None else {"dataset_mixture": mixture}
        return describe_run(
            GRPOScriptArguments(**data),
            GRPOConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, **settings),
            ModelConfig(model_name_or_path=model),
        )

    return build


def runs_in(folder):
    return json.loads((folder / RUN_MANIFEST_NAME).read_text(encoding="utf-8"))["runs"]


def test_run_is_recorded_with_its_settings_versions_and_machine(describe, tmp_path):
    write_run_manifest(tmp_path, describe(learning_rate=0.5, system_prompt="denke"))
    (run,) = runs_in(tmp_path)
    assert run["settings"]["learning_rate"] == 0.5
    assert run["settings"]["system_prompt"] == "denke"
    assert run["settings"]["dataset_name"] == "some_data"
    assert run["settings"]["model_name_or_path"] == "a"
    assert run["settings"]["world_size"] == 1
    assert {"torch", "transformers", "trl"} <= set(run["versions"])
    assert run["python"].startswith("3.")


def test_secrets_are_left_out(describe, tmp_path):
    secret = {"token": "hf_secret", "HF_TOKEN": "hf_secret", "revision": "main"}
    write_run_manifest(tmp_path, describe(hub_token="hf_secret", model_init_kwargs=secret))
    text = (tmp_path / RUN_MANIFEST_NAME).read_text()
    assert "hf_secret" not in text
    assert runs_in(tmp_path)[0]["settings"]["model_init_kwargs"] == {"revision": "main"}


def test_every_run_in_a_folder_is_kept(describe, tmp_path):
    for seed in (1, 2, 3):
        write_run_manifest(tmp_path / "new" / "folder", describe(seed=seed))
    assert [run["settings"]["seed"] for run in runs_in(tmp_path / "new" / "folder")] == [1, 2, 3]


def our_messages(caplog):
    """Other libraries log too, as loudly as an earlier test of the same process told them to."""
    return [record.message for record in caplog.records if record.name.startswith("open_r1")]


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ({"learning_rate": 0.5}, {"learning_rate": 0.25}, "learning_rate: 0.5 -> 0.25"),
        ({"model": "a"}, {"model": "b"}, "model_name_or_path: 'a' -> 'b'"),
        ({"system_prompt": None}, {"system_prompt": "think"}, "system_prompt: None -> 'think'"),
        ({"mixture": {"datasets": [{"id": "a"}]}}, {"mixture": {"datasets": [{"id": "b"}]}}, "dataset_mixture"),
    ],
)
def test_going_on_with_other_settings_is_warned_of(describe, tmp_path, caplog, before, after, named):
    write_run_manifest(tmp_path, describe(**before))
    with caplog.at_level(logging.WARNING, logger="open_r1"):
        write_run_manifest(tmp_path, describe(**after))
    assert named in caplog.text
    assert len(our_messages(caplog)) == 1


@pytest.mark.parametrize("settings", [{}, {"mixture": {"datasets": [{"id": "a", "columns": ["x"]}]}, "max_steps": 5}])
def test_going_on_with_the_same_settings_is_silent(describe, tmp_path, caplog, settings):
    write_run_manifest(tmp_path, describe(**settings))
    with caplog.at_level(logging.WARNING, logger="open_r1"):
        write_run_manifest(tmp_path, describe(**settings, run_name="again"))  # changes nothing that is learned
    assert our_messages(caplog) == []


def test_wandb_fields_reach_the_environment_and_unset_ones_do_not(tmp_path, environment):
    for name in ("WANDB_ENTITY", "WANDB_PROJECT", "WANDB_RUN_GROUP"):
        environment.pop(name, None)
    init_wandb_training(
        GRPOConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, wandb_project="p", wandb_run_group="g")
    )
    assert (environment["WANDB_PROJECT"], environment["WANDB_RUN_GROUP"]) == ("p", "g")
    assert "WANDB_ENTITY" not in environment
