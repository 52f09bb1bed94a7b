# SPDX-License-Identifier: Apache-2.0
"""Pushing data folders: the hub's real client talks to a server on this machine that follows its wire contract."""

import datasets
import pytest
from huggingface_hub import DatasetCard, constants

from open_r1.data.card import DataCard
from open_r1.data.folder import DatasetFolder
from open_r1.data.push import check_push, push_folder
from open_r1.data.sources import load_source
from tests.integration.hub_server import Hub, use_hub


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with Hub() as server:
        use_hub(server, monkeypatch, tmp_path / "hub_cache")
        yield server


def make_folder(path, values, **splits):
    with DatasetFolder(path, DataCard("numbers", {"values": values}), overwrite=True) as folder:
        folder.write([{"n": value} for value in values])
        folder.write_text("report.json", "{}")
        for split, more in splits.items():
            folder.write([{"n": value} for value in more], split=split)
    return path


def files_of(hub, name="datasets/alice/numbers", branch="main"):
    return hub.repos[name].branches[branch].files


@pytest.mark.parametrize("uses_lfs", [False, True])
def test_folder_goes_to_a_private_repository_and_loads_from_there(hub, tmp_path, monkeypatch, uses_lfs):
    hub.uses_lfs = uses_lfs
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", uses_lfs)
    folder = make_folder(tmp_path / "out", [1, 2], test=[3])
    (folder / "notes.txt").write_text("not ours to push")
    (folder / "generations.jsonl").write_text("{}")
    address = push_folder(folder, "numbers")
    assert "alice/numbers/commit" in address
    assert hub.repos["datasets/alice/numbers"].private
    assert set(files_of(hub)) == {
        "README.md",
        "card.json",
        "report.json",
        "data/train-00000-of-00001.parquet",
        "data/test-00000-of-00001.parquet",
    }
    arrived = tmp_path / "arrived"
    for name, content in files_of(hub).items():
        (arrived / name).parent.mkdir(parents=True, exist_ok=True)
        (arrived / name).write_bytes(content)
    assert datasets.load_dataset(str(arrived))["test"]["n"][:] == [3]
    assert load_source(str(arrived))["train"]["n"][:] == [1, 2]


def test_second_push_leaves_no_shard_of_the_first(hub, tmp_path):
    push_folder(make_folder(tmp_path / "out", [1], test=[2]), "alice/numbers")
    push_folder(make_folder(tmp_path / "out", [5]), "alice/numbers")
    assert "data/train-00000-of-00001.parquet" in files_of(hub)
    assert "data/test-00000-of-00001.parquet" not in files_of(hub)


def test_configurations_stand_beside_each_other(hub, tmp_path):
    for config, value in (("gen-0-10", 1), ("gen-10-20", 2), ("gen-0-10", 3)):
        push_folder(make_folder(tmp_path / config, [value]), "team/numbers", config=config)
    files = files_of(hub, "datasets/team/numbers")
    configs = DatasetCard(files["README.md"].decode()).data.to_dict()["configs"]
    assert {entry["config_name"] for entry in configs} == {"gen-10-20", "gen-0-10"}
    assert {"gen-0-10/card.json", "gen-10-20/report.json", "gen-10-20/data/train-00000-of-00001.parquet"} <= set(files)


def test_push_that_is_refused_says_that_the_folder_is_whole(hub, tmp_path):
    hub.refuse = {"main"}
    folder = make_folder(tmp_path / "out", [1])
    with pytest.raises(RuntimeError, match=r"is whole in .*out"):
        push_folder(folder, "alice/numbers")


def test_private_push_never_goes_into_a_public_repository(hub, tmp_path):
    folder = make_folder(tmp_path / "out", [1])
    push_folder(folder, "alice/numbers", private=False)
    assert not hub.repos["datasets/alice/numbers"].private
    with pytest.raises(ValueError, match="exists and is public"):
        check_push("alice/numbers")
    assert check_push("alice/numbers", private=False) == "alice/numbers"


@pytest.mark.parametrize(
    ("token", "name", "offline", "reason"),
    [
        ("", "alice/numbers", False, "logged in"),
        ("hf_read", "alice/numbers", False, "may only read"),
        ("hf_write", "bob/numbers", False, "bob/numbers"),
        ("hf_write", "readers/numbers", False, "'read' in readers"),
        ("hf_write", "alice/numbers", True, "OfflineModeIsEnabled"),
        ("hf_write", "a/b/c", False, "a/b/c"),
        ("hf_other", "alice/numbers", False, "--to"),
    ],
)
def test_push_that_cannot_be_is_refused_before_the_work(hub, monkeypatch, token, name, offline, reason):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ValueError, match=reason):
        check_push(name, setting="--to")
    assert not hub.repos


def test_unfinished_folder_is_not_pushed(hub, tmp_path):
    with pytest.raises(ValueError, match="no finished data folder"):
        push_folder(tmp_path, "alice/numbers")
    assert not hub.requests


def test_rows_and_contamination_report_of_an_earlier_push_go(hub, tmp_path):
    with DatasetFolder(tmp_path / "out", DataCard("numbers", {})) as folder:
        folder.write([{"n": 1}])
        folder.write([{"n": 1}], config="pass_rate")
        folder.write_text("contamination_report.json", "{}")
    push_folder(folder.path, "numbers")
    files_of(hub)["notes.md"] = b"of the user"
    push_folder(make_folder(tmp_path / "out", [2]), "numbers")
    assert set(files_of(hub)) == {
        "README.md",
        "card.json",
        "report.json",
        "notes.md",
        "data/train-00000-of-00001.parquet",
    }
