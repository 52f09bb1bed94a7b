# SPDX-License-Identifier: Apache-2.0
"""JSON lines and lists, csv and tsv: values arrive exactly, wrong lines are refused with their number."""

import bz2
import csv
import gzip
import io
import json
import lzma

import pytest
import zstandard

from open_r1.data import text_files
from open_r1.data.sources import load_source, open_source

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
        (['{"a": [1]}', '{"a": ["x"]}'], ["[1]", '["x"]']),
        (['{"a": [1, "x"]}'], ['[1, "x"]']),
        (['{"a": {"b": 1}}', '{"a": [1]}'], ['{"b": 1}', "[1]"]),
        (['{"a": {"b": 1}}', '{"a": {"b": "é"}}'], ['{"b": 1}', '{"b": "é"}']),
        (['{"a": 1}', '{"a": 0.5}'], [1.0, 0.5]),
        (['{"a": NaN}', '{"a": 1}'], ["nan", 1.0]),
        ([f'{{"a": {BIG}}}'], [BIG]),
        (['{"a": 9223372036854775807}'], [2**63 - 1]),
        ([f'{{"a": {2**100}}}', '{"a": 1}'], [str(2**100), "1"]),
        (['{"a": "2024-01-02"}', '{"a": "2024-01-02 03:04:05"}'], ["2024-01-02", "2024-01-02 03:04:05"]),
        (['{"a": ["2024-01-02"], "b": {"t": "2024-01-02"}}'], [["2024-01-02"]]),
        (['{"a": {}}', '{"a": {"b": 1}}'], [{"b": None}, {"b": 1}]),
        (["{}", '{"a": 1}', "{}"], [None, 1, None]),
        (['{"a": "x\\u0000y\\ud83d\\ude00"}'], ["x\0y😀"]),
        (['{"a": ""}', '{"a": "  "}'], ["", "  "]),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 10**6])
def test_values_of_a_column_come_exactly(read, monkeypatch, lines, values, block_bytes):
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", block_bytes)  # 1: each line is a block
    source = read("\n".join(lines).encode())
    assert [value if value == value else "nan" for value in column(source)] == values


@pytest.mark.parametrize("block_bytes", [1, 10**6])
def test_no_digit_is_lost_beside_a_fraction(read, monkeypatch, block_bytes):
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", block_bytes)
    try:
        assert column(read(f'{{"a": {BIG}}}\n{{"a": 0.5}}\n'.encode())) == [str(BIG), "0.5"]
    except ValueError as error:
        assert str(BIG) in str(error)


@pytest.mark.parametrize(
    "line",
    [
        b"null",
        b"[1]",
        b'"text"',
        b"not json",
        b'{"a": 1',
        b'{"a": 1}null',
        b'{"a": "\xff"}',
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": "x\x00y"}',
        '{"a": 1}'.encode("utf-16"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_line_that_is_no_object_is_refused_with_file_and_number(read, line):
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 3"):
        read(b'{"a": 1}\n\n' + line + b'\n{"a": 2}\n')


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl", bytes),
        ("a.jsonl.gz", gzip.compress),
        ("a.json.bz2", bz2.compress),
        ("a.jsonl.xz", lzma.compress),
        ("a.jsonl.zst", zstandard.compress),
    ],
)
def test_compressed_lines_with_a_mark_and_blanks(read, name, pack):
    assert column(read(pack(b'\xef\xbb\xbf{"a": 1}\r\n\n\t{"a": 2} '), name)) == [1, 2]


def test_types_of_all_files_and_splits_make_one_schema(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"a": null, "l": []}\n{"b": 1}\n{"a": {"x": 1}, "l": [1]}\n')
    (tmp_path / "test.jsonl").write_text('{"a": {"y": "z"}, "l": [0.5], "b": null}\n')
    found = load_source(str(tmp_path))
    assert found["train"].to_list() == [
        {"a": None, "l": [], "b": None},
        {"a": None, "l": None, "b": 1},
        {"a": {"x": 1, "y": None}, "l": [1.0], "b": None},
    ]
    assert found["test"].features == found["train"].features


def test_lines_larger_than_a_block_come_whole(read, monkeypatch):
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", 1000)
    texts = ["é" * 500_000, "x", "y" * 1_000_000]
    assert column(read("\n".join(json.dumps({"a": text}, ensure_ascii=False) for text in texts).encode())) == texts


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["7", "-12", ""], [7, -12, None]),
        (["0.5", "1.0", "1e-05"], [0.5, 1.0, 1e-05]),
        (["True", "False"], [True, False]),
        (["007", "7"], ["007", "7"]),
        (["NA", "null", "nan", "None", ""], ["NA", "null", "nan", "None", None]),
        (["1", "0.5"], ["1", "0.5"]),
        (["0.50"], ["0.50"]),
        (["3.14159265358979323846"], ["3.14159265358979323846"]),
        ([str(2**63)], [str(2**63)]),
        (["1_000", "+1", " 1"], ["1_000", "+1", " 1"]),
        (["2024-01-02", "1/2"], ["2024-01-02", "1/2"]),
        (["True", "1"], ["True", "1"]),
        (["x" * 200_000, "a\nb", 'say "x, y"', "é"], ["x" * 200_000, "a\nb", 'say "x, y"', "é"]),
    ],
)
@pytest.mark.parametrize(("name", "sep"), [("rows.csv", ","), ("rows.tsv", "\t"), ("rows.csv.gz", ",")])
def test_cells_come_exactly(read, cells, values, name, sep):
    stream = io.StringIO()
    csv.writer(stream, delimiter=sep).writerows([["", "a"], *([number, cell] for number, cell in enumerate(cells))])
    content = stream.getvalue().encode()
    source = read(gzip.compress(content) if name.endswith(".gz") else content, name)
    assert column(source) == values
    assert column(source, "Unnamed: 0") == list(range(len(cells)))


@pytest.mark.parametrize("content", ["a,b\n1,2\n1,2,3\n", "a,b\n1,2,3\n", 'a\n"x\n'])
def test_cells_that_fit_no_column_are_refused(read, content):
    with pytest.raises(ValueError, match=r"rows\.csv"):
        read(content.encode(), "rows.csv")


def test_cells_of_a_folder_come_exactly(tmp_path):
    (tmp_path / "train.csv").write_text("answer\n007\nNA\n")
    assert load_source(str(tmp_path))["train"]["answer"][:] == ["007", "NA"]


def test_columns_of_one_name_are_numbered_as_pandas_does(read):
    assert list(read(b"a,b,a\r\n1,x,2\r\n", "rows.csv").rows()) == [{"a": 1, "b": "x", "a.1": 2}]
