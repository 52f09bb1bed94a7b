# SPDX-License-Identifier: Apache-2.0
"""The cache of rows: damaged and foreign files first; then one maker among several processes."""

import gzip
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from open_r1.tasks.row_cache import Splits, load_or_make

KEY = {"task": "gcd", "seed": 0}
ROWS: Splits = {"train": [{"problem": "é \ud800", "n": 1}], "test": []}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("OPEN_R1_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tasks"


class Maker:
    """Makes rows and counts how often."""

    def __init__(self, rows: Splits) -> None:
        self.rows, self.num_calls = rows, 0

    def __call__(self) -> Splits:
        self.num_calls += 1
        return self.rows


def num_made(key: dict = KEY) -> int:
    """Load under a key; return how often rows had to be made."""
    maker = Maker(ROWS)
    assert load_or_make("tasks/x", key, maker) == ROWS
    return maker.num_calls


def the_file(folder: Path) -> Path:
    (path,) = folder.glob("*.json.gz")
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1f\x8b",
        b"no gzip at all",
        gzip.compress(b"", mtime=0),
        gzip.compress(b"null\n{}", mtime=0),
        gzip.compress(b"[1]", mtime=0),
        gzip.compress(b'{"key": "another"}\n{"train": []}', mtime=0),
        gzip.compress(b"\xff\xfe\n{}", mtime=0),
        gzip.compress(b"[" * 100_000, mtime=0),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_file_that_is_none_of_ours_is_made_anew(content: bytes, folder: Path):
    num_made()
    the_file(folder).write_bytes(content)
    assert (num_made(), num_made()) == (1, 0)


def test_a_file_that_was_changed_or_cut_is_made_anew(folder: Path):
    num_made()
    whole = the_file(folder).read_bytes()
    for changed in (whole[:-9], whole[: len(whole) // 2], gzip.compress(gzip.decompress(whole).replace(b"1}", b"2}"))):
        the_file(folder).write_bytes(changed)
        assert num_made() == 1


def test_a_file_with_the_rows_of_another_key_is_made_anew(folder: Path):
    num_made({"task": "lcm"})
    foreign = the_file(folder)
    num_made()
    (own,) = set(folder.glob("*.json.gz")) - {foreign}
    own.write_bytes(foreign.read_bytes())
    assert num_made() == 1


def test_a_folder_in_the_place_of_the_file_costs_the_time_again(folder: Path):
    num_made()
    path = the_file(folder)
    path.unlink()
    path.mkdir()
    assert (num_made(), num_made()) == (1, 1)
    assert not list(folder.glob("*.tmp"))


def test_a_folder_that_cannot_be_written_to_is_said_and_does_without(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("OPEN_R1_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.INFO, logger="open_r1"):
        assert (num_made(), num_made()) == (1, 1)
    assert f"{tmp_path / 'file' / 'tasks'}" in caplog.text


def test_rows_are_made_once_for_every_key(folder: Path):
    assert [num_made(), num_made(), num_made({**KEY, "seed": 1}), num_made({"seed": 0, "task": "gcd"})] == [1, 0, 1, 0]


def test_a_failure_to_make_rows_is_not_kept(folder: Path):
    def fail() -> Splits:
        raise OSError("the library fails")

    with pytest.raises(OSError, match="the library fails"):
        load_or_make("tasks/x", KEY, fail)
    assert num_made() == 1


def test_of_several_processes_one_makes_the_rows(folder: Path, tmp_path: Path):
    trace = tmp_path / "trace"
    code = f"""
import os, time
from open_r1.tasks.row_cache import load_or_make
def make():
    with open({str(trace)!r}, "a") as file:
        file.write("made\\n")
    time.sleep(0.5)
    return {{"train": [{{"a": 1}}]}}
assert load_or_make("tasks/x", {{"a": 1}}, make) == {{"train": [{{"a": 1}}]}}
"""
    processes = [subprocess.Popen([sys.executable, "-c", code], env=dict(os.environ)) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert trace.read_text() == "made\n"
