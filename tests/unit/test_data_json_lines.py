# SPDX-License-Identifier: Apache-2.0
"""JSON lines of every kind come as rows, or are refused with their number; none ends the process."""

import json

import pytest

from open_r1.data import json_lines
from open_r1.data.loading import load_source
from open_r1.data.sources import open_source

BIG = 2**53 + 1


@pytest.fixture
def read(tmp_path):
    def read_bytes(content: bytes, name: str = "rows.jsonl"):
        path = tmp_path / name
        path.write_bytes(content)
        return open_source(str(path))

    return read_bytes


def column(source, name="a"):
    return [row[name] for row in source.rows()]


@pytest.mark.parametrize(
    ("lines", "values"),
    [
        (['{"a": 1}', '{"a": "x"}', '{"a": null}'], ["1", "x", None]),
        (['{"a": "x"}', '{"a": 0.5}'], ["x", "0.5"]),
        (['{"a": true}', '{"a": 1}'], ["true", "1"]),
        (['{"a": true}', '{"a": "true"}'], ["true", "true"]),
        (['{"a": [1]}', '{"a": ["x"]}'], ["[1]", '["x"]']),
        (['{"a": [1, "x"]}'], ['[1, "x"]']),
        (['{"a": {"b": 1}}', '{"a": [1]}'], ['{"b": 1}', "[1]"]),
        (['{"a": {"b": 1}}', '{"a": {"b": "é"}}'], ['{"b": 1}', '{"b": "é"}']),
        (['{"a": 1}', '{"a": 0.5}'], [1.0, 0.5]),
        (['{"a": NaN}', '{"a": 1}'], ["nan", 1.0]),
        (['{"a": 1e400}'], [float("inf")]),
        (['{"a": -0.0}'], [-0.0]),
        ([f'{{"a": {BIG}}}'], [BIG]),
        (['{"a": 9223372036854775807}'], [2**63 - 1]),
        (['{"a": -9223372036854775808}', '{"a": 1}'], [-(2**63), 1]),
        ([f'{{"a": "{2**100} [{2**100}, {2**100}]"}}'], [f"{2**100} [{2**100}, {2**100}]"]),
        (['{"a": 12345678901234567890.5}', '{"a": 1}'], [12345678901234567890.5, 1.0]),
        (['{"a": "2024-01-02"}', '{"a": "2024-01-02 03:04:05"}'], ["2024-01-02", "2024-01-02 03:04:05"]),
        (['{"a": ["2024-01-02"], "b": {"t": "2024-01-02"}}'], [["2024-01-02"]]),
        (['{"a": 1, "a": 2}'], [2]),
        (['{"a": {}}', '{"a": {"b": 1}}'], [{"b": None}, {"b": 1}]),
        (["{}", '{"a": 1}', "{}"], [None, 1, None]),
        (['{"a": "x\\u0000y"}'], ["x\0y"]),
        (['{"a": "\\ud83d\\ude00"}'], ["😀"]),
        (['{"a": ""}', '{"a": "  "}'], ["", "  "]),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 10**6])
def test_values_of_a_column_come_exactly(read, monkeypatch, lines, values, block_bytes):
    monkeypatch.setattr(json_lines, "_BLOCK_BYTES", block_bytes)  # 1: each line is a block
    source = read("\n".join(lines).encode())
    assert [value if value == value else "nan" for value in column(source)] == values


@pytest.mark.parametrize(
    "line",
    [
        b"null",
        b"[1]",
        b'"text"',
        b"1",
        b"not json",
        b'{"a": 1',
        b'{"a": 1}null',
        b"{'a': 1}",
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"[" * 3_000 + b"]" * 3_000 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"[" * 100_000,
        b'{"a": "x\x00y"}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": 9223372036854775808}',
        b'{"a": -9223372036854775809}',
        b'{"a": %d}' % (2**100),
        b'{"a": ' + b"1" * 5_000 + b"}",
        b'{"a": 1, "b": {"c": [0.5, %d]}}' % (2**100),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("load", [open_source, load_source])
def test_line_that_is_no_object_is_refused_with_file_and_number(tmp_path, line, load):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n\n' + line + b'\n{"a": 2}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 3"):
        load(str(path))


@pytest.mark.parametrize("load", [open_source, load_source])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_deep_first_line_and_lone_null_lines_do_not_crash(tmp_path, load, name):
    for content in (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"null\nnull\n"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="line 1"):
            load(str(tmp_path / name))


def test_brackets_in_text_are_no_nesting(read):
    text = "[{" * 10_000 + '\\"'
    assert column(read(json.dumps({"a": text}).encode())) == [text]
    assert column(read(json.dumps({"a": [[1]] * 1_000}).encode())) == [[[1]] * 1_000]


@pytest.mark.parametrize("content", [b"", b"\n\n \n"])
def test_empty_file_is_refused(read, content):
    with pytest.raises(ValueError, match="has no rows in 'train'"):
        read(content)


def test_rows_without_columns_are_refused(read):
    with pytest.raises(ValueError, match="names of their own"):
        read(b"{}\n{}\n")


@pytest.mark.parametrize(
    "content", [b'\xef\xbb\xbf{"a": 1}\r\n{"a": 2}\r\n', b'{"a": 1}\n{"a": 2}', b'\n {"a": 1} \n\n\t{"a": 2}']
)
def test_marks_line_ends_and_blanks_do_not_matter(read, content):
    source = read(content)
    assert column(source) == [1, 2]


def test_lines_larger_than_a_block_come_whole(read, monkeypatch):
    monkeypatch.setattr(json_lines, "_BLOCK_BYTES", 1000)
    texts = ["é" * 500_000, "x", "y" * 1_000_000]
    assert column(read("\n".join(json.dumps({"a": text}, ensure_ascii=False) for text in texts).encode())) == texts


def test_types_of_all_blocks_make_one_schema(read, monkeypatch):
    monkeypatch.setattr(json_lines, "_BLOCK_BYTES", 1)
    source = read(
        b'{"a": null, "l": []}\n{"b": 1}\n{"a": {"x": 1}, "l": [1]}\n{"a": {"y": "z"}, "l": [0.5], "b": null}\n'
    )
    assert {batch.schema for batch in source.batches()} == {source.schema}
    assert list(source.rows()) == [
        {"a": None, "l": [], "b": None},
        {"a": None, "l": None, "b": 1},
        {"a": {"x": 1, "y": None}, "l": [1.0], "b": None},
        {"a": {"x": None, "y": "z"}, "l": [0.5], "b": None},
    ]


def test_file_that_changes_while_it_is_read_is_an_error(read, tmp_path):
    source = read(b'{"a": 1}\n{"a": 2}\n')
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": 1}\n')
    with pytest.raises(ValueError, match="changed while it was read"):
        list(source.rows())


def test_rows_far_into_a_file_are_read_without_those_before(read, monkeypatch):
    monkeypatch.setattr(json_lines, "_BLOCK_BYTES", 100)
    source = read(b"".join(b'{"a": %d}\n' % number for number in range(10_000)))
    parsed = []
    parse = json_lines._parse
    monkeypatch.setattr(json_lines, "_parse", lambda lines, schema: parsed.append(len(lines)) or parse(lines, schema))
    assert [row["a"] for row in source.rows(start=9_990, end=9_993)] == [9_990, 9_991, 9_992]
    assert sum(parsed) < 100
