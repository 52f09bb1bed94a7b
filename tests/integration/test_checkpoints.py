# SPDX-License-Identifier: Apache-2.0
"""A folder counts as whole only when it is, whatever happened while it was written."""

import json
import logging
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from open_r1.manifest import MANIFEST_NAME, missing_from, write_manifest
from open_r1.training.checkpoints import (
    archive,
    last_complete_checkpoint,
    list_checkpoints,
    publish,
    rotate_checkpoints,
)

SOURCE = Path(__file__).resolve().parents[2] / "src"
NUM_KILLS = 20


def make_checkpoint(folder: Path, *, complete: bool = True, text: str = "weights") -> Path:
    (folder / "sub").mkdir(parents=True)
    (folder / "model.safetensors").write_text(text)
    (folder / "sub" / "optimizer.bin").write_text(text * 2)
    if complete:
        write_manifest(folder)
    return folder


def make_run(folder: Path, complete: list[int], incomplete: list[int] = ()) -> Path:
    for step in complete:
        make_checkpoint(folder / f"checkpoint-{step}")
    for step in incomplete:
        make_checkpoint(folder / f"checkpoint-{step}", complete=False)
    return folder


def steps_in(folder: Path) -> list[int]:
    return [int(path.name.split("-")[1]) for path in list_checkpoints(folder)]


def test_whole_folder_is_complete(tmp_path):
    assert missing_from(make_checkpoint(tmp_path / "c")) is None


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / MANIFEST_NAME).unlink(), "no manifest.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "sub" / "optimizer.bin").unlink(), "sub/optimizer.bin is missing"),
        (lambda folder: os.truncate(folder / "model.safetensors", 3), "has 3 bytes instead of 7"),
        (lambda folder: os.truncate(folder / "model.safetensors", 0), "has 0 bytes instead of 7"),
        (lambda folder: (folder / "model.safetensors").write_text("weights and more"), "bytes instead of 7"),
    ],
)
def test_damaged_folder_is_not_complete(tmp_path, damage, reason):
    folder = make_checkpoint(tmp_path / "c")
    damage(folder)
    assert reason in missing_from(folder)


def test_folder_that_took_the_place_of_a_file_is_not_complete(tmp_path):
    folder = make_checkpoint(tmp_path / "c")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    assert "model.safetensors is missing" in missing_from(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[]", b"7", b'"files"', b"{}", b'{"files": null}', b'{"files": ["model.safetensors"]}',
        b'{"files": {}}', b'{"version": 1, "files": {"model.safetensors": 7', b"\xff\xfe\x00", b"[" * 100_000,
        b"\x00" * 64, b'{"files": {"model.safetensors": "7"}}', b'{"files": {"model.safetensors": null}}',
    ],
    ids=lambda content: repr(content[:30]),
)  # fmt: skip
def test_damaged_manifest_is_not_complete(tmp_path, content):
    folder = make_checkpoint(tmp_path / "c")
    (folder / MANIFEST_NAME).write_bytes(content)
    assert missing_from(folder) is not None


def test_folder_that_does_not_exist_is_not_complete(tmp_path):
    assert missing_from(tmp_path / "none") is not None


def test_file_that_was_added_later_does_not_matter(tmp_path):
    folder = make_checkpoint(tmp_path / "c")
    (folder / "README.md").write_text("card")
    assert missing_from(folder) is None


def test_manifest_names_sizes_of_all_files_but_itself(tmp_path):
    folder = make_checkpoint(tmp_path / "c")
    (folder / "large.bin").write_bytes(bytes(5 * 2**20))
    write_manifest(folder)
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    assert manifest["files"] == {"large.bin": 5 * 2**20, "model.safetensors": 7, "sub/optimizer.bin": 14}


def test_header_of_large_weights_is_read(tmp_path):
    save_file({"weight": np.zeros(2**21, dtype=np.float32)}, tmp_path / "model.safetensors")
    write_manifest(tmp_path)
    assert missing_from(tmp_path) is None
    with (tmp_path / "model.safetensors").open("r+b") as stream:
        stream.seek(12)
        stream.write(b"\0")
    assert "model.safetensors is damaged" in missing_from(tmp_path)


def test_manifest_cut_short_by_a_kill_does_not_spoil_the_next_save(tmp_path):
    folder = make_checkpoint(tmp_path / "c", complete=False)
    (folder / f".{MANIFEST_NAME}.tmp").write_text('{"files"')
    write_manifest(folder)
    assert missing_from(folder) is None


def test_last_complete_checkpoint_passes_over_the_others_and_says_so(tmp_path, caplog):
    make_run(tmp_path, complete=[5, 10], incomplete=[15, 100])
    with caplog.at_level(logging.WARNING):
        assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    "make", [lambda folder: None, lambda folder: folder.mkdir(), lambda folder: make_run(folder, [], [5])]
)
def test_run_without_a_complete_checkpoint_has_none(tmp_path, make):
    make(tmp_path / "run")
    assert last_complete_checkpoint(tmp_path / "run") is None


def test_steps_are_ordered_as_numbers_and_other_names_are_no_checkpoints(tmp_path):
    make_run(tmp_path, complete=[9, 10, 100])
    for name in ("checkpoint-", "checkpoint-x", "checkpoint-5.tmp", "old-checkpoint-5", "checkpoint--1"):
        make_checkpoint(tmp_path / name)
    (tmp_path / "checkpoint-200").write_text("a file")
    assert steps_in(tmp_path) == [9, 10, 100]


@pytest.mark.parametrize(
    ("complete", "incomplete", "limit", "keep", "left"),
    [
        ([1, 2, 3], [], 2, None, [2, 3]),
        ([1, 2, 3], [], 1, None, [3]),
        ([1, 2, 3], [], 1, 1, [1, 3]),  # the best one stays
        ([1, 2, 3], [], 2, 1, [1, 3]),
        ([1, 2, 3], [], 5, None, [1, 2, 3]),
        ([1, 2, 3], [], None, None, [1, 2, 3]),
        ([1, 2, 3], [], 0, None, [1, 2, 3]),
        ([2, 4], [1, 3], None, None, [2, 4]),  # unfinished ones that will never be finished
        ([1], [2], 1, None, [1, 2]),  # the one being written
        ([1, 2], [3], 1, None, [2, 3]),
        ([], [1, 2], 1, None, [1, 2]),
        ([], [], 1, None, []),
    ],
)
def test_rotation_leaves(tmp_path, complete, incomplete, limit, keep, left):
    make_run(tmp_path, complete, incomplete)
    rotate_checkpoints(tmp_path, limit, None if keep is None else tmp_path / f"checkpoint-{keep}")
    assert steps_in(tmp_path) == left


@pytest.mark.parametrize("limit", [None, 0, 1, 2, 3])
@pytest.mark.parametrize("seed", range(2))
def test_rotation_never_deletes_the_last_complete_checkpoint(tmp_path, limit, seed):
    steps = random.Random(seed).sample(range(1, 50), 6)
    make_run(tmp_path, complete=steps[:3], incomplete=steps[3:])
    rotate_checkpoints(tmp_path, limit)
    assert last_complete_checkpoint(tmp_path).name == f"checkpoint-{max(steps[:3])}"


def test_archived_checkpoints_are_kept_whole_and_out_of_the_way(tmp_path):
    for number in (1, 2):
        make_run(tmp_path, complete=[5, 10], incomplete=[15])
        archive(tmp_path)
        assert list_checkpoints(tmp_path) == []
        assert steps_in(tmp_path / f"superseded-{number}") == [5, 10, 15]
        assert last_complete_checkpoint(tmp_path / f"superseded-{number}").name == "checkpoint-10"


def test_archiving_nothing_makes_no_folder(tmp_path):
    archive(tmp_path)
    archive(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_published_model_replaces_the_older_one(tmp_path):
    for text in ("old", "newer"):
        publish(make_checkpoint(tmp_path / "staging", complete=False, text=text), tmp_path / "out")
        assert missing_from(tmp_path / "out") is None
        assert (tmp_path / "out" / "model.safetensors").read_text() == text
        assert not (tmp_path / "staging").exists()


def test_shards_and_adapters_of_an_older_model_do_not_stay_beside_the_new_one(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in (
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "adapter_config.json",
        "notes.txt",
    ):
        (out / name).write_text("old")
    make_run(out, complete=[5])
    publish(make_checkpoint(tmp_path / "staging", complete=False), out)
    assert sorted(path.name for path in out.iterdir()) == [
        "checkpoint-5",
        "manifest.json",
        "model.safetensors",
        "notes.txt",
        "sub",
    ]
    assert missing_from(out / "checkpoint-5") is None


def test_checkpoints_do_not_belong_to_the_model_published_beside_them(tmp_path):
    make_run(tmp_path / "out", complete=[5])
    publish(make_checkpoint(tmp_path / "staging", complete=False), tmp_path / "out")
    rotate_checkpoints(tmp_path / "out", 1)
    (tmp_path / "out" / "checkpoint-5" / "model.safetensors").unlink()
    assert missing_from(tmp_path / "out") is None


FILL_UP = """
import resource, sys
from pathlib import Path
from open_r1.manifest import write_manifest
from open_r1.training.checkpoints import publish

resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))  # the manifest needs more
try:
    write_manifest(Path(sys.argv[1])) if len(sys.argv) == 2 else publish(Path(sys.argv[1]), Path(sys.argv[2]))
except OSError as error:
    print(type(error).__name__, error.errno)
"""


def run_with_full_disk(*folders: Path) -> str:
    words = [sys.executable, "-c", FILL_UP, *map(str, folders)]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout


def fill(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number in range(20):
        (folder / f"a_long_name_{number}.safetensors").write_text("x")
    return folder


def test_checkpoint_whose_manifest_does_not_fit_on_the_disk_is_not_complete(tmp_path):
    folder = fill(tmp_path / "checkpoint-5")
    assert run_with_full_disk(folder).startswith("OSError")
    assert "no manifest.json" in missing_from(folder)


def test_model_whose_manifest_does_not_fit_on_the_disk_does_not_pass_for_the_older_one(tmp_path):
    publish(fill(tmp_path / "first"), tmp_path / "out")
    assert missing_from(tmp_path / "out") is None
    assert run_with_full_disk(fill(tmp_path / "second"), tmp_path / "out").startswith("OSError")
    assert "no manifest.json" in missing_from(tmp_path / "out")
    publish(fill(tmp_path / "third"), tmp_path / "out")  # the same command, when there is space again
    assert missing_from(tmp_path / "out") is None
