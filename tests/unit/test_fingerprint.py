# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of models' folders, adapters and chat templates; names that nobody has."""

import json

import pytest
from huggingface_hub import constants

from open_r1.evaluation.fingerprint import check_model_name, fingerprint_folder, resolve_commit


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        text = value if isinstance(value, str) else json.dumps(value)
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize("is_offline", [True, False])
def test_a_name_that_is_no_folder_is_refused_where_no_hub_is(is_offline, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", is_offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert resolve_commit("data/nope", "main") is None
    with pytest.raises(ValueError, match="data/nope"):
        resolve_commit("data/nope", "main", is_required=True)
    write(tmp_path / "models--data--nope" / "refs", main="a" * 40)
    assert resolve_commit("data/nope", "main", is_required=True) == "a" * 40
    assert resolve_commit("data/nope", "b" * 40) == "b" * 40


@pytest.mark.parametrize(
    "name",
    [
        "params.json",
        "tekken.json",
        "consolidated.00.pth",
        "qwen.tiktoken",
        "hf_quant_config.json",
        "quantize_config.json",
        "model.safetensors.index.json",
        "m.gguf",
        "model.pt",
        "additional_chat_templates/a.jinja",
        "layers/attention.py",
    ],
)
def test_files_of_other_formats_count(tmp_path, name):
    before = fingerprint_folder(str(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    assert fingerprint_folder(str(tmp_path)) != before


def test_files_of_the_training_do_not_count(tmp_path):
    model = write(tmp_path, config__json={})
    before = fingerprint_folder(model)
    for name in (
        "rng_state.pth",
        "rng_state_0.pth",
        "training_args.bin",
        "optimizer.bin",
        "optimizer.pt",
        "scheduler.pt",
        "rollout_state_0.pt",
        "checkpoint-5/modeling.py",
        ".cache/x.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    assert fingerprint_folder(model) == before
    (tmp_path / "pytorch_model.bin").write_text("1")
    assert fingerprint_folder(model) != before


@pytest.mark.parametrize("name", ["data/demo/no/pe", "./nope", "/nowhere/nope", "~/no/such/model", "a b", "nope/"])
def test_what_is_no_folder_and_no_name_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match="no folder"):
        check_model_name(name)


@pytest.mark.parametrize("config", ["config.json", "adapter_config.json"])
def test_folders_with_a_model_and_names_of_the_hub_go(tmp_path, config):
    (tmp_path / config).write_text("{}")
    for name in (str(tmp_path), "gpt2", "open-r1/OpenR1-Distill-7B"):
        check_model_name(name)


def test_a_folder_without_a_model_is_refused(tmp_path):
    write(tmp_path / "checkpoint-20", config__json={})
    with pytest.raises(ValueError, match="no config"):
        check_model_name(str(tmp_path))
