# SPDX-License-Identifier: Apache-2.0
"""Mistyped folders of models are told by one clear message, without the hub."""

import pytest

from open_r1.evaluation.model_names import check_model_name


@pytest.mark.parametrize("name", ["data/demo/nope", "./nope", "/nowhere/nope", "~/no/such/model", "a b", "nope/"])
def test_what_is_no_folder_and_no_name_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=f"There is no folder '{name}'.*owner/name"):
        check_model_name(name)


def test_a_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.touch()
    with pytest.raises(ValueError, match="is a file; name the folder"):
        check_model_name(str(path))


@pytest.mark.parametrize("config", ["config.json", "adapter_config.json"])
def test_folders_with_a_model_and_names_of_the_hub_go(tmp_path, config):
    (tmp_path / config).write_text("{}")
    for name in (str(tmp_path), "gpt2", "open-r1/OpenR1-Distill-7B"):
        check_model_name(name)


def test_a_folder_without_a_model_is_refused_with_the_checkpoints_in_it(tmp_path):
    with pytest.raises(ValueError, match=r"no adapter_config\.json\.$"):
        check_model_name(str(tmp_path))
    (tmp_path / "tokenizer_config.json").touch()
    check_model_name(str(tmp_path), is_tokenizer_enough=True)
    for name in ("checkpoint-20", "runs"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-20" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"/checkpoint-20\.$"):
        check_model_name(str(tmp_path))
