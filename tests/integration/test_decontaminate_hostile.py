# SPDX-License-Identifier: Apache-2.0
"""`scripts/decontaminate.py` on rows that nobody asked for: empty, mixed, broken, very long, nested."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from open_r1.curation.decontamination.checking import BATCH_BYTES, check_rows
from open_r1.curation.decontamination.index import Benchmark, build_index, make_rule
from open_r1.data.sources import open_source
from scripts.decontaminate import main
from tests.rows.planted import benchmark_items

SCRIPT = Path(__file__).parents[2] / "scripts" / "decontaminate.py"
ITEMS = benchmark_items()


def run(arguments, capsys):
    """Return exit status, what was printed, and the errors."""
    status = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def ids(folder):
    return [row["id"] for row in open_source(str(folder)).rows(["id"])]


def report_of(folder):
    return json.loads((folder / "contamination_report.json").read_text())


def test_long_rows_come_in_small_batches(tmp_path):
    pq.write_table(pa.table({"problem": ["x " * 100_000] * 200 + [ITEMS[0]]}), tmp_path / "rows.parquet")
    source = open_source(str(tmp_path / "rows.parquet"))
    index = build_index([Benchmark("planted", ITEMS)], make_rule(8, "default"))
    batches = list(check_rows(source, ["problem"], index))
    assert sum(batch.rows.num_rows for batch in batches) == 201
    assert max(batch.rows.nbytes for batch in batches) <= BATCH_BYTES
    assert [batch.first_row for batch in batches] == sorted({batch.first_row for batch in batches})
    assert batches[-1].flags.tolist()[-1] == [True]


def test_rows_without_text_are_counted_and_stay(tmp_path, capsys, caplog):
    texts = [ITEMS[0], None, "", 7, ["a"], {"b": 1}, "x " * 500_000 + ITEMS[1], "\ufffd\u0000 \ud7a3", "fine"]
    lines = [json.dumps({"problem": text, "id": number}) for number, text in enumerate(texts)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    (tmp_path / "items.jsonl").write_text("".join(json.dumps({"problem": item}) + "\n" for item in [*ITEMS, None, ""]))
    flags = ["--dataset", tmp_path / "rows.jsonl", "--benchmark_file", tmp_path / "items.jsonl"]
    assert run([*flags, "--output_dir", tmp_path / "out"], capsys)[0] == 0
    rows = list(open_source(str(tmp_path / "out")).rows())
    assert [row["id"] for row in rows] == list(range(len(texts)))
    assert [row["contaminated_items"] for row in rows] == [number in (0, 6) for number in range(len(texts))]
    assert report_of(tmp_path / "out")["rows_without_text"] == {
        "problem": {"empty": {"rows": 1, "first_row": 2}, "null": {"rows": 1, "first_row": 1}}
    }
    assert "1 rows of column 'problem' are null (first: row 1)" in caplog.text
    assert "2 items of" in caplog.text


@pytest.mark.parametrize("line", ['{"problem": ' + "[" * 3_000 + "]" * 3_000 + "}", '{"problem": "to', "[1]"])
@pytest.mark.parametrize("name", ["rows.jsonl", "items.jsonl"])
def test_line_that_is_no_row_is_refused_with_file_and_number(tmp_path, capsys, line, name):
    for file in ("rows.jsonl", "items.jsonl"):
        texts = [json.dumps({"problem": ITEMS[0]}), *([line] if file == name else [])]
        (tmp_path / file).write_text("\n".join(texts))
    flags = ["--dataset", tmp_path / "rows.jsonl", "--benchmark_file", tmp_path / "items.jsonl"]
    status, _, errors = run([*flags, "--output_dir", tmp_path / "out"], capsys)
    assert status == 2
    assert f"{name}, line 2" in errors


@pytest.mark.parametrize("normalization", ["none", "default"])
@pytest.mark.parametrize("flags", [[], ["--cleanup", "--deduplicate", "1"], ["--near_duplicates"]], ids=" ".join)
def test_bytes_that_are_no_utf8_are_counted_in_rows_and_items(flags, normalization, tmp_path, capsys, caplog):
    raw = [b"\xff " + ITEMS[11].encode(), b"fine", "h\u00e9".encode()]
    broken = pa.Array.from_buffers(pa.string(), 3, pa.array(raw).buffers())
    pq.write_table(pa.table({"problem": broken, "id": [0, 1, 2]}), tmp_path / "rows.parquet")
    pq.write_table(pa.table({"problem": broken}).slice(0, 1), tmp_path / "items.parquet")
    common = ["--dataset", tmp_path / "rows.parquet", "--benchmark_file", tmp_path / "items.parquet"]
    assert run([*common, "--output_dir", tmp_path / "out", "--normalization", normalization, *flags], capsys)[0] == 0
    assert ids(tmp_path / "out") == ([1, 2] if "--cleanup" in flags else [0, 1, 2])
    report = report_of(tmp_path / "out")
    assert report["rows_without_text"] == {"problem": {"not UTF-8": {"rows": 1, "first_row": 0}}}
    [entry] = report["evidence"]
    text = raw[0].decode("utf-8", "replace")
    assert text[entry["start"] : entry["end"]] == entry["matched"] and ITEMS[11][:30] in entry["matched"]
    assert "1 items of" in caplog.text and "are not UTF-8 in column 'problem' (first: item 0)" in caplog.text


@pytest.mark.parametrize("words, copies", [(3000, 8192), (15_000, 1500)])
def test_memory_is_bounded_whatever_rows_come_behind_short_ones(words, copies, tmp_path):
    pool = [" ".join(f"w{(7 * place * place + seed) % 5000}" for place in range(words)) for seed in range(20)]
    texts = pa.array(["short row"] * 64 + [pool[number % 20] for number in range(copies)], pa.large_string())
    pq.write_table(pa.table({"problem": texts}), tmp_path / "rows.parquet", row_group_size=100_000)
    pq.write_table(pa.table({"problem": ITEMS}), tmp_path / "items.parquet")
    code = (
        f"from scripts.decontaminate import main\n"
        f"main(['--dataset', {str(tmp_path / 'rows.parquet')!r}, '--benchmark_file', "
        f"{str(tmp_path / 'items.parquet')!r}, '--output_dir', {str(tmp_path / 'out')!r}, '--num_workers', '2'])\n"
        "print([line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line][0])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SCRIPT.parents[1],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": "src"},
        check=True,
    )
    assert int(finished.stdout.splitlines()[-1]) < 600 * 1024
