# SPDX-License-Identifier: Apache-2.0
"""JSON lines of every kind come as rows, or as malformed lines; none is lost and none ends the process."""

import json
import logging
import random

import pyarrow as pa
import pytest

from open_r1.data import json_lines
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
        ([f'{{"a": {BIG}}}', '{"a": 0.5}'], [str(BIG), "0.5"]),
        ([f'{{"a": [{BIG}, 0.5]}}'], [f"[{BIG}, 0.5]"]),
        (['{"a": 9223372036854775807}'], [2**63 - 1]),
        (['{"a": 9223372036854775808}'], [str(2**63)]),
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
    assert not source.malformed


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"null", "a JSON null, no object"),
        (b"[1]", "a JSON array, no object"),
        (b'"text"', "a JSON string, no object"),
        (b"1", "a JSON number, no object"),
        (b"not json", "Expecting value"),
        (b'{"a": 1', "Expecting ',' delimiter"),
        (b'{"a": 1}{"a": 2}', "Extra data"),
        (b'{"a": 1}null', "Extra data"),
        (b'{"a": 1},', "Extra data"),
        (b"{'a': 1}", "Expecting property name"),
        (b'{"a": "\xff"}', "no UTF-8"),
        (b'{"a": "\\ud800"}', "half a surrogate pair"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
        (b'{"a": "x\x00y"}', "Invalid control character"),
        ('{"a": 1}'.encode("utf-16"), "no UTF-8"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_line_that_is_no_object_is_set_aside(read, caplog, line, reason):
    with caplog.at_level(logging.WARNING, logger="open_r1"):
        source = read(b'{"a": 1}\n\n' + line + b'\n{"a": 2}\n')
    assert column(source) == [1, 2]
    (found,) = source.malformed
    assert found.number == 3
    assert reason in found.reason
    assert found.text == line.decode("utf-8", "backslashreplace")
    assert "1 lines are no JSON objects and are left out (first: line 3" in caplog.text


def test_only_null_lines_do_not_crash(read):
    with pytest.raises(ValueError, match="no rows in 'train': the split has 0, and 2 lines that are no JSON objects"):
        read(b"null\nnull\n")


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
    assert not source.malformed


def test_torn_last_line_is_the_only_one_missing(read):
    content = b"".join(b'{"a": %d}\n' % number for number in range(1000))
    source = read(content[:-4])
    assert column(source) == list(range(999))
    assert [line.number for line in source.malformed] == [1000]


def test_lines_larger_than_a_block_come_whole(read, monkeypatch):
    monkeypatch.setattr(json_lines, "_BLOCK_BYTES", 1000)
    texts = ["é" * 500_000, "x", "y" * 1_000_000]
    assert column(read("\n".join(json.dumps({"a": text}, ensure_ascii=False) for text in texts).encode())) == texts


def test_malformed_lines_of_many_blocks_keep_their_numbers(read, monkeypatch):
    monkeypatch.setattr(json_lines, "_BLOCK_BYTES", 50)
    lines = ["broken" if number % 7 == 3 else json.dumps({"a": number}) for number in range(1, 500)]
    source = read("\r\n".join(lines).encode())
    assert [line.number for line in source.malformed] == [n for n in range(1, 500) if n % 7 == 3]
    assert {line.text for line in source.malformed} == {"broken"}
    assert source.malformed[-1].number == [n for n in range(1, 500) if n % 7 == 3][-1]
    assert len(source.malformed[1:3]) == 2
    assert column(source) == [n for n in range(1, 500) if n % 7 != 3]


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


def test_large_whole_numbers_beside_others_fractions_stay_numbers(read):
    source = read(b'{"id": %d, "score": 1}\n{"id": %d, "score": 0.5}\n' % (BIG, BIG + 2))
    assert column(source, "id") == [BIG, BIG + 2]
    assert column(source, "score") == [1.0, 0.5]


@pytest.mark.parametrize("seed", range(20))
def test_any_rows_come_back_as_python_reads_them(read, monkeypatch, seed):
    generator = random.Random(seed)

    def value(depth=0):
        kinds = [
            None,
            True,
            generator.randrange(-10, 10),
            generator.randrange(2**60),
            generator.random(),
            "x",
            "2024-01-02",
        ]
        if depth < 2 and generator.random() < 0.3:
            return [value(depth + 1) for _ in range(generator.randrange(3))]
        if depth < 2 and generator.random() < 0.2:
            return {name: value(depth + 1) for name in generator.sample("xyz", 2)}
        return generator.choice(kinds[: generator.randrange(1, 8)])

    rows = [{name: value() for name in generator.sample("abcd", generator.randrange(1, 5))} for _ in range(60)]
    monkeypatch.setattr(json_lines, "_BLOCK_BYTES", generator.choice([1, 100, 10_000]))
    source = read("\n".join(map(json.dumps, rows)).encode())
    for row, found in zip(rows, source.rows(), strict=True):
        for name, kind in zip(source.schema.names, source.schema.types, strict=True):
            assert agrees(row.get(name), found[name], kind), (row, found, kind)


def agrees(wanted, found, kind):
    """Say whether a value is the one in the file, or its JSON text in a column of text."""
    if isinstance(wanted, dict):
        if isinstance(found, dict):
            return all(agrees(wanted.get(name), found[name], kind.field(name).type) for name in found)
        return isinstance(found, str) and json.loads(found) == wanted
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(
            agrees(w, f, kind.value_type) for w, f in zip(wanted, found, strict=True)
        )
    if pa.types.is_string(kind) and wanted is not None and not isinstance(wanted, str):
        return json.loads(found) == wanted
    return wanted == found and isinstance(wanted, bool) == isinstance(found, bool)


@pytest.mark.parametrize("block_bytes", [10, 2**23])
@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (b'{"a": 0.5}\n{"a": false}\n', ["0.5", "false"]),
        (b'{"a": [0.5, true]}\n', ["[0.5, true]"]),
        (b'{"a": {"b": 0.5}}\n{"a": {"b": true}}\n', ['{"b": 0.5}', '{"b": true}']),
    ],
)
def test_booleans_beside_fractions_stay_booleans(read, monkeypatch, caplog, lines, wanted, block_bytes):
    monkeypatch.setattr(json_lines, "_BLOCK_BYTES", block_bytes)
    assert [row["a"] for row in read(lines).rows()] == wanted
    assert "columns ['a'] mix types" in caplog.text


def test_file_that_changes_while_it_is_read_is_an_error(read, tmp_path):
    source = read(b'{"a": 1}\n{"a": 2}\n')
    (tmp_path / "rows.jsonl").write_bytes(b'{"a": 1}\nbroken  \n')
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
