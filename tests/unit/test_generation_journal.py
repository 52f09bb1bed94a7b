# SPDX-License-Identifier: Apache-2.0
"""The journal of generations: whole lines only, whatever happens to the process, the disk or the file."""

import json
import logging
import resource
from contextlib import contextmanager

import pytest

from open_r1.generation.journal import Journal, JournalError, read_settings
from open_r1.generation.messages import Reply, Request

SETTINGS = {"model": "m", "temperature": 0.6, "stop": ["a"]}


def records_of(journal):
    return [json.loads(line) for line in journal.path.read_bytes().split(b"\n")[1:] if line]


def record(number, text="8", index=0):
    return {"key": f"key-{number}", "index": index, "text": text}


def written(path, count=3):
    """A journal with some records, closed; its bytes."""
    with Journal(path, SETTINGS) as journal:
        for number in range(count):
            journal.append(record(number))
    return path.read_bytes()


@contextmanager
def file_size_limit(size):
    """Let files of this process grow to `size` bytes: as a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_journal_cut_anywhere_keeps_its_whole_lines(tmp_path):
    path = tmp_path / "generations.jsonl"
    content = written(path)
    whole = [place + 1 for place, byte in enumerate(content) if byte == ord("\n")]
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        with Journal(path, SETTINGS) as journal:
            num_whole = sum(end <= size for end in whole)
            assert [entry["key"] for entry in records_of(journal)] == [
                f"key-{n}" for n in range(max(0, num_whole - 1))
            ]
            assert len(journal) == max(0, num_whole - 1)
            journal.append(record(9))
        assert json.loads(path.read_bytes().splitlines()[-1])["key"] == "key-9"


def test_a_torn_line_longer_than_a_block_is_cut(tmp_path, caplog):
    path = tmp_path / "generations.jsonl"
    content = written(path)
    path.write_bytes(content + b'{"key": "' + b"x" * 3_000_000)
    with caplog.at_level(logging.WARNING, logger="open_r1"), Journal(path, SETTINGS) as journal:
        assert len(journal) == 3
    assert path.read_bytes() == content
    assert "half a line" in caplog.text


@pytest.mark.parametrize(
    "text", ["line\nbreak\r\n\u2028\x00", "é中👍", "\ud800 half a pair", '"}\\', "", None, "x" * 1_000_000]
)
def test_any_text_is_one_line(tmp_path, text):
    with Journal(tmp_path / "generations.jsonl", SETTINGS) as journal:
        journal.append(record(0, text))
        journal.append(record(1))
        assert (tmp_path / "generations.jsonl").read_bytes().count(b"\n") == 3
        expected = text if text is None else text.replace("\ud800", "?")
        assert [entry["text"] for entry in records_of(journal)] == [expected, "8"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "other"}, "model was 'm' .*'other'"),
        ({"temperature": None}, "temperature was 0.6 .*None"),
        ({"top_p": 0.9}, "top_p was None .*0.9"),
    ],
)
def test_other_settings_are_refused_with_what_differs(tmp_path, change, said):
    path = tmp_path / "generations.jsonl"
    content = written(path)
    with pytest.raises(JournalError, match=said):
        Journal(path, SETTINGS | change)
    assert path.read_bytes() == content


def test_settings_without_a_generation_bind_nobody(tmp_path):
    path = tmp_path / "generations.jsonl"
    with Journal(path, SETTINGS):
        pass
    with Journal(path, {**SETTINGS, "model": "other"}) as journal:
        assert journal.settings["model"] == "other"


@pytest.mark.parametrize(
    "content",
    [
        b"hello\n",
        b'{"key": "a", "index": 0}\n',
        b'{"journal": 99, "settings": {}}\n',
        b'{"mine": "one line"}',
        b'{"journal": 2, "settings": {"model": "m',
    ],
)
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / "generations.jsonl"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="not a journal"):
        Journal(path, SETTINGS)
    assert path.read_bytes() == content


@pytest.mark.parametrize("line", [b"garbage", b"{}", b'{"key": "a"}', b""])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "generations.jsonl"
    lines = written(path).splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], line + b"\n", *lines[2:]]))
    with pytest.raises(JournalError, match="line 3"):
        Journal(path, SETTINGS)


def test_a_second_opening_is_refused_until_the_first_is_closed(tmp_path):
    path = tmp_path / "generations.jsonl"
    with Journal(path, SETTINGS) as journal:
        journal.append(record(0))
        with pytest.raises(JournalError, match="in use"):
            Journal(path, SETTINGS)
    with pytest.raises(JournalError):
        Journal(path, {"model": "other"})
    Journal(path, None).close()


def test_a_full_disk_leaves_whole_lines_and_goes_on_when_there_is_room(tmp_path):
    path = tmp_path / "generations.jsonl"
    with Journal(path, SETTINGS) as journal:
        journal.append(record(0))
        before = path.read_bytes()
        with (
            file_size_limit(len(before) + 20),
            pytest.raises(JournalError, match="make room"),
        ):
            journal.append(record(1, "x" * 1000))
        assert path.read_bytes() == before
        assert ("key-1", 0) not in journal
        journal.append(record(1))
        assert [entry["key"] for entry in records_of(journal)] == ["key-0", "key-1"]


def test_records_that_are_not_final_are_asked_for_again(tmp_path):
    path = tmp_path / "generations.jsonl"
    with Journal(path, SETTINGS) as journal:
        journal.append(record(0, None))
        journal.append(record(1))
    with Journal(path, SETTINGS, is_final=lambda entry: entry["text"] is not None) as journal:
        assert ("key-0", 0) not in journal
        assert ("key-1", 0) in journal
        journal.append(record(0, "now"))
        assert ("key-0", 0) in journal


def test_a_reply_is_found_by_key_and_index_and_the_last_one_counts(tmp_path):
    path = tmp_path / "generations.jsonl"
    replies = [Reply(f"text {n}", "stop", {"completion_tokens": n}, 200, server="a") for n in range(3)]
    with Journal(path, SETTINGS) as journal:
        for number, reply in enumerate(replies):
            journal.append(reply.record(Request("a", number % 2)))
        assert (journal["a", 0], journal["a", 1], journal["a", 2]) == (replies[2], replies[1], None)
    with Journal(path, SETTINGS) as journal:
        assert (journal["a", 0], len(journal)) == (replies[2], 2)
        assert ("a", 2) not in journal


def test_overwriting_keeps_a_journal_of_other_settings_beside(tmp_path):
    path = tmp_path / "generations.jsonl"
    content = written(path)
    for name in ("other", "third"):
        with Journal(path, {**SETTINGS, "model": name}, overwrite=True) as journal:
            journal.append(record(7))
            assert len(journal) == 1
    assert (tmp_path / "generations.1.jsonl").read_bytes() == content
    assert (tmp_path / "generations.2.jsonl").exists()


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        (None, {}),
        (b"", {}),
        (b'{"journal": 1, "settings": {"a": 1}}', {}),
        (b'{"journal": 1, "settings": {"a": 1}}\n{"key": "a", "in', {}),
        (b'{"journal": 1, "settings": {"a": 1}}\n{"key": "a", "index": 0}\n', {"a": 1}),
        (b'{"mine": 1}\n{"mine": 2}\n', {}),
    ],
)
def test_settings_are_of_a_journal_with_a_generation(tmp_path, content, settings):
    path = tmp_path / "generations.jsonl"
    if content is not None:
        path.write_bytes(content)
    assert read_settings(path) == settings
