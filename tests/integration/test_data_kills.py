# SPDX-License-Identifier: Apache-2.0
"""kill -9 while a data folder is written or published, full disks, and memory that does not grow with the file."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from open_r1.data.card import read_card
from open_r1.data.sources import open_source
from tests.integration.data_writer import ROWS, main

WRITER = Path(__file__).with_name("data_writer.py")


def start(*words, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(WRITER), *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def run(*words) -> str:
    with start(*words) as process:
        output = process.communicate(timeout=300)[0]
    assert process.returncode == 0
    return output


def kill_at(point, *words) -> bool:
    """Kill a writer when it has come to a point; False when it ended without coming there."""
    with start(words[0], point, *words[1:]) as process:
        came = process.stdout.readline().strip() == point
        process.kill()
    return came


def numbers_of(path) -> list[int]:
    return [row["n"] for row in open_source(str(path)).rows()]


def check_whole(path, rows) -> None:
    assert numbers_of(path) == list(range(rows))
    assert (path / "report.json").read_text() == str(rows)
    assert read_card(path).counts == {"train": rows}
    assert not (path / ".partial").exists()


def test_killed_while_writing_the_same_command_goes_on(tmp_path):
    assert kill_at("written", tmp_path / "out")
    with pytest.raises(ValueError, match="is not finished"):
        open_source(str(tmp_path / "out"))
    assert run(tmp_path / "out", "none") == "written\n"
    check_whole(tmp_path / "out", ROWS)
    assert run(tmp_path / "out", "none") == "finished earlier\n"


def test_killed_at_any_change_of_names_the_folder_is_old_new_or_unfinished(tmp_path):
    main(tmp_path / "before", "none", overwrite=False)
    found = set()
    for number in range(1, 40):
        out = shutil.copytree(tmp_path / "before", tmp_path / str(number))
        if not kill_at(f"replace:{number}", out, "--overwrite"):
            break
        try:
            found.add(len(numbers_of(out)))
        except ValueError as error:
            assert "is not finished" in str(error)
            found.add(0)
        main(out, "none", overwrite=True)
        check_whole(out, 2 * ROWS)
    assert found == {0, ROWS, 2 * ROWS}


def test_two_processes_do_not_write_one_folder(tmp_path):
    with start(tmp_path / "out", "written") as first:
        assert first.stdout.readline() == "written\n"
        with start(tmp_path / "out", "none", stderr=subprocess.PIPE) as second:
            errors = second.communicate(timeout=300)[1]
        assert "Another process is writing" in errors
        first.communicate("\n", timeout=300)
    check_whole(tmp_path / "out", ROWS)


def test_disk_that_takes_no_more_leaves_the_old_data(tmp_path):
    run(tmp_path / "out", "none")

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    with start(tmp_path / "out", "none", "--overwrite", stderr=subprocess.PIPE, preexec_fn=limit_files) as process:
        errors = process.communicate(timeout=300)[1]
    assert process.returncode == 1
    assert "File too large" in errors
    check_whole(tmp_path / "out", ROWS)


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Reads and writes 400 MB of JSON lines; the data alone would take more than the bound."""
    path = tmp_path / "large.jsonl"
    block = "".join(json.dumps({"id": number, "text": f"{number} " * 150}) + "\n" for number in range(10_000))
    with path.open("w") as file:
        for _ in range(40):
            file.write(block)
    assert path.stat().st_size > 3e8
    program = """
import resource, sys
from open_r1.data.card import DataCard
from open_r1.data.folder import DatasetFolder
from open_r1.data.sources import open_source
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:3]:
    source = open_source(name)
    with DatasetFolder(sys.argv[3], DataCard("x", {"of": name}), overwrite=True) as folder:
        for batch in source.batches():
            folder.write(batch)
    source.fingerprint()
print(source.num_rows, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    (tmp_path / "out.parquet").symlink_to(tmp_path / "out" / "data" / "train-00000-of-00001.parquet")
    words = [str(path), str(tmp_path / "out"), str(tmp_path / "out2")]
    copy = program.replace("sys.argv[1:3]", "[sys.argv[1]]").replace("sys.argv[3]", "sys.argv[2]")
    for text in (copy, program.replace("sys.argv[1:3]", "[sys.argv[2]]")):
        found = subprocess.run([sys.executable, "-c", text, *words], capture_output=True, text=True, check=True)
        rows, grown_mb = map(int, found.stdout.split())
        assert rows == 400_000
        assert grown_mb < 350
