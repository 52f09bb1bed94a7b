# SPDX-License-Identifier: Apache-2.0
"""Uploading rows of an evaluation: the hub's real client talks to a server on this machine."""

import json
import os
import subprocess
import sys

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard

from scripts.upload_details import main
from tests.conftest import ROOT
from tests.integration.hub_server import Branch, Hub, Repo, use_hub

DETAILS = "datasets/alice/details"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with Hub() as server:
        use_hub(server, monkeypatch, tmp_path / "hub_cache")
        yield server


@pytest.fixture
def files(tmp_path):
    """One file of each kind, and a JSON file that holds lines."""
    rows = [{"question": f"q{number}", "score": 1.0} for number in range(5)]
    (tmp_path / "a.jsonl").write_text(json.dumps(rows[0]) + "\n")
    (tmp_path / "b.json").write_text(json.dumps(rows[1:3], indent=1))
    (tmp_path / "lines.json").write_text(json.dumps(rows[3]) + "\n")
    pq.write_table(pa.Table.from_pylist([{**rows[4], "tokens": 7}]), tmp_path / "c d.parquet")
    return [str(tmp_path / name) for name in ("a.jsonl", "b.json", "lines.json", "c d.parquet")]


def upload(files, *words, config="main.aime24", repo="details"):
    return main(["--data_files", *files, "--hub_repo_id", repo, "--config_name", config, *words])


def arrived(hub, folder, config, repo=DETAILS):
    for name, content in hub.repos[repo].branches["main"].files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return datasets.load_dataset(str(folder), config, split="train").to_list()


def test_files_of_all_kinds_arrive_in_one_private_configuration(hub, files, tmp_path, capsys):
    assert upload(files) == 0
    assert hub.repos[DETAILS].private
    rows = arrived(hub, tmp_path / "arrived", "main.aime24")
    assert [row["question"] for row in rows] == ["q0", "q1", "q2", "q3", "q4"]
    assert [row["tokens"] for row in rows] == [None, None, None, None, 7]
    assert "5 rows of 4 files: http" in capsys.readouterr().out


def test_nothing_here_is_deleted_or_changed(hub, files, tmp_path):
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert upload(files) == 0
    hub.refuse = {"main"}
    assert upload(files, config="later") == 1
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_configurations_of_earlier_uploads_stay(hub, files, tmp_path):
    upload(files[:1], config="main.aime24")
    upload(files[1:2], config="main.math_500")
    upload(files[2:3], config="main.aime24")
    assert [row["question"] for row in arrived(hub, tmp_path / "there", "main.aime24")] == ["q3"]
    assert len(arrived(hub, tmp_path / "there", "main.math_500")) == 2
    readme = hub.repos[DETAILS].branches["main"].files["README.md"].decode()
    assert {entry["config_name"] for entry in DatasetCard(readme).data.to_dict()["configs"]} == {
        "main.aime24",
        "main.math_500",
    }


def test_upload_that_failed_can_be_repeated(hub, files, capsys):
    hub.refuse = {"main"}
    assert upload(files) == 1
    assert "could not be pushed to alice/details" in capsys.readouterr().err
    hub.refuse = set()
    assert upload(files) == 0


def test_public_data_set_gets_no_rows(hub, files, capsys):
    hub.repos[DETAILS] = Repo(private=False, branches={"main": Branch("1" * 40)})
    assert upload(files) == 1
    assert "exists and is public" in capsys.readouterr().err
    assert hub.repos[DETAILS].branches["main"].files == {}


def test_torn_line_is_refused_with_file_and_number(hub, tmp_path, capsys):
    path = tmp_path / "torn.jsonl"
    path.write_text('{"question": "q"}\n{"question": "to')
    assert upload([str(path)]) == 1
    assert "torn.jsonl, line 2" in capsys.readouterr().err


def test_columns_of_two_types_are_refused_by_file(hub, tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"score": 1.0}\n')
    (tmp_path / "b.jsonl").write_text('{"score": {"avg": 1.0}}\n')
    assert upload([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]) == 1
    error = capsys.readouterr().err
    assert "b.jsonl" in error and "score" in error and "--config_name" in error
    assert not hub.repos


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": ["gone.jsonl"]}, "gone.jsonl, which is no file"),
        ({"files": [str(ROOT / "README.md")]}, "what can be read is .json, .jsonl, .parquet"),
        ({"twice": True}, "names a file twice"),
        ({"config": "default"}, "--config_name is 'default'"),
        ({"config": "data"}, "--config_name is 'data'"),
        ({"config": "../up"}, "--config_name is '../up'"),
        ({"config": ""}, "--config_name is ''"),
        ({"repo": "bob/details"}, "bob/details"),
        ({"repo": "a b"}, "Repo id must"),
    ],
)
def test_refusal_says_why_and_sends_nothing(hub, files, capsys, change, message):
    change = dict(change)
    chosen = files[:1] * 2 if change.pop("twice", False) else change.pop("files", files)
    assert upload(chosen, **change) == 1
    assert message in capsys.readouterr().err
    assert not hub.repos


@pytest.mark.parametrize("text", ["", "\n\n", "not json"])
def test_file_without_rows_is_refused(hub, tmp_path, capsys, text):
    path = tmp_path / "empty.jsonl"
    path.write_text(text)
    assert upload([str(path)]) == 1
    assert "empty.jsonl" in capsys.readouterr().err
    assert not hub.repos


def test_offline_it_says_so_at_once(files, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", "HF_TOKEN": "hf_write"}
    words = [sys.executable, ROOT / "scripts" / "upload_details.py", "--data-files", *files, "--hub-repo-id", "me/x"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "OfflineModeIsEnabled" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--data_files", "a.json"],
        ["--hub_repo_id", "me/x"],
        ["--data_files", "a.json", "--hub_repo_id", "me/x", "--public"],
    ],
)
def test_command_line_that_cannot_work_is_refused(words):
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    assert exit_info.value.code == 2
