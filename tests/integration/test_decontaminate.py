# SPDX-License-Identifier: Apache-2.0
"""`scripts/decontaminate.py` on files: what is written, what is refused, parts and merge."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from open_r1.curation.decontaminate import texts_of
from open_r1.data.card import read_card
from open_r1.data.sources import open_source
from scripts.decontaminate import main
from tests.integration.hub_server import Hub
from tests.rows.planted import benchmark_items, clean_rows, contaminated_rows

SCRIPT = Path(__file__).parents[2] / "scripts" / "decontaminate.py"
ITEMS = benchmark_items()
CLEAN = [row.text for row in clean_rows(300)]
BAD = [row.text for row in contaminated_rows()][::40]
TEXTS = [text for number in range(20) for text in [*CLEAN[number::20], *BAD[number::20]]]
NUM_BAD = len(BAD)


@pytest.fixture
def files(tmp_path):
    """Rows, and two benchmarks: all items, and the first 100 of them again."""
    rows, one, two = tmp_path / "rows.parquet", tmp_path / "planted.jsonl", tmp_path / "half.parquet"
    pq.write_table(pa.table({"problem": TEXTS, "id": range(len(TEXTS))}), rows, row_group_size=50)
    one.write_text("".join(json.dumps({"question": item}) + "\n" for item in ITEMS))
    pq.write_table(pa.table({"Question": ITEMS[:100]}), two)
    return ["--dataset", str(rows), "--benchmark_file", str(one), "--benchmark_file", f"{two}:Question"]


@pytest.fixture
def hub(monkeypatch):
    with Hub() as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        yield server


def run(arguments, capsys):
    """Return exit status, what was printed, and the errors."""
    status = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def ids(folder):
    return [row["id"] for row in open_source(str(folder)).rows(["id"])]


def report_of(folder):
    return json.loads((folder / "contamination_report.json").read_text())


def test_rows_are_flagged_by_benchmark_with_evidence_and_a_card(files, tmp_path, capsys):
    output = tmp_path / "out"
    status, printed, _ = run([*files, "--output_dir", output], capsys)
    assert status == 0
    rows = list(open_source(str(output)).rows())
    assert [row["problem"] for row in rows] == TEXTS
    flagged = [row["contaminated_planted"] for row in rows]
    assert flagged == [text in set(BAD) for text in TEXTS]
    assert 0 < sum(row["contaminated_half"] for row in rows) < NUM_BAD
    report = report_of(output)
    assert report["flagged_rows"] == NUM_BAD
    assert f"planted: {NUM_BAD} rows flagged" in printed
    for entry in report["evidence"]:
        text = TEXTS[entry["row"]]
        assert text[entry["start"] : entry["end"]] == entry["matched"]
        assert entry["benchmark"] in {"planted", "half"}
    card = read_card(output)
    assert card.contamination["benchmarks"]["planted"]["flagged_rows"] == NUM_BAD
    assert card.parents[0].num_rows == len(TEXTS)


def test_cleanup_removes_flagged_rows_and_counts_them(files, tmp_path, capsys):
    output = tmp_path / "out"
    status, printed, _ = run([*files, "--output_dir", output, "--cleanup"], capsys)
    assert status == 0
    assert ids(output) == [number for number, text in enumerate(TEXTS) if text not in set(BAD)]
    assert f"remove contaminated rows: {len(TEXTS)} -> {len(TEXTS) - NUM_BAD} rows" in printed
    assert [(step.rows_before, step.rows_after) for step in read_card(output).steps] == [
        (len(TEXTS), len(TEXTS) - NUM_BAD)
    ]


def test_the_same_command_again_does_nothing_and_other_settings_are_refused(files, tmp_path, capsys):
    output = tmp_path / "out"
    assert run([*files, "--output-dir", output], capsys)[0] == 0
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.is_file()}
    status, printed, _ = run([*files, "--output-dir", output, "--processes", "1"], capsys)
    assert status == 0
    assert "finished earlier" in printed
    assert {path: path.stat().st_mtime_ns for path in before} == before
    status, _, errors = run([*files, "--output-dir", output, "--ngram-size", "9"], capsys)
    assert status == 2
    assert "ngram_size 8 -> 9" in errors
    assert run([*files, "--output-dir", output, "--ngram-size", "9", "--overwrite"], capsys)[0] == 0


def test_output_is_named_after_the_data_set(files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(files, capsys)[0] == 0
    assert read_card(tmp_path / "data" / "rows_decontaminated").name == "rows_decontaminated"


def test_parts_and_merge_make_what_one_run_makes(files, tmp_path, capsys):
    whole, merged = tmp_path / "whole", tmp_path / "merged"
    assert run([*files, "--output_dir", whole, "--cleanup", "--max_evidence", 20], capsys)[0] == 0
    common = [*files, "--output_dir", merged, "--cleanup", "--max_evidence", 20]
    for part in (["--shard", "2/3"], ["--shard", "0/3"]):
        assert run([*common, *part], capsys)[0] == 0
    status, _, errors = run([*common, "--merge"], capsys)
    assert status == 2
    assert f"no part with row {len(TEXTS) // 3}" in errors
    assert run([*common, "--start", len(TEXTS) // 3, "--end", len(TEXTS) * 2 // 3], capsys)[0] == 0
    assert run([*common, "--merge"], capsys)[0] == 0
    assert ids(merged) == ids(whole)
    assert report_of(merged) == report_of(whole)
    assert "finished earlier" in run([*common, "--merge"], capsys)[1]
    assert "cleanup" in run([*common[:-3], "--output_dir", merged, "--merge", "--overwrite"], capsys)[2]


def test_processes_find_what_one_finds(files, tmp_path, capsys):
    pq.write_table(pa.table({"problem": TEXTS * 5, "id": range(5 * len(TEXTS))}), tmp_path / "rows.parquet")
    for processes in ("1", "2"):
        words = [*files, "--output_dir", tmp_path / processes, "--cleanup", "--processes", processes]
        assert run(words, capsys)[0] == 0
    assert report_of(tmp_path / "1") == report_of(tmp_path / "2")
    assert ids(tmp_path / "1") == ids(tmp_path / "2")
    assert len(ids(tmp_path / "1")) == 5 * (len(TEXTS) - NUM_BAD)


def test_part_without_rows_is_merged_and_a_whole_without_rows_is_refused(tmp_path, capsys):
    pq.write_table(pa.table({"problem": [ITEMS[0]] * 2 + ["other"] * 2, "id": range(4)}), tmp_path / "rows.parquet")
    pq.write_table(pa.table({"problem": ITEMS}), tmp_path / "items.parquet")
    flags = ["--dataset", tmp_path / "rows.parquet", "--benchmark_file", tmp_path / "items.parquet", "--cleanup"]
    for part in (["--shard", "0/2"], ["--shard", "1/2"], ["--merge"]):
        assert run([*flags, "--output_dir", tmp_path / "out", *part], capsys)[0] == 0
    assert ids(tmp_path / "out") == [2, 3]
    assert report_of(tmp_path / "out")["flagged_rows"] == 2
    flags[1] = f"{tmp_path / 'rows.parquet'}"
    status, _, errors = run([*flags, "--split", "train[:2]", "--output_dir", tmp_path / "none"], capsys)
    assert status == 2
    assert "all 2 rows of" in errors


def test_evidence_is_bounded_and_the_rest_counted(files, tmp_path, capsys):
    assert run([*files, "--output_dir", tmp_path / "out", "--max_evidence", "3"], capsys)[0] == 0
    report = report_of(tmp_path / "out")
    assert len(report["evidence"]) == 6
    assert report["evidence_left_out"] == sum(b["flagged_rows"] for b in report["benchmarks"].values()) - 6


def test_duplicates_are_dropped_when_asked(tmp_path, capsys):
    one, two, three = ITEMS[11], ITEMS[22], ITEMS[202]
    texts = [one, two, one.replace(" ", "  "), f"Well. {two}", three, None, None, ITEMS[0]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"id": n, "text": t}) + "\n" for n, t in enumerate(texts)))
    (tmp_path / "items.csv").write_text("problem\n" + json.dumps(ITEMS[0]) + "\n")
    flags = [
        "--dataset",
        tmp_path / "rows.jsonl",
        "--benchmark_file",
        tmp_path / "items.csv",
        "--problem_column",
        "text",
    ]
    assert run([*flags, "--output_dir", tmp_path / "exact", "--deduplicate", "1"], capsys)[0] == 0
    assert ids(tmp_path / "exact") == [0, 1, 3, 4, 5, 6, 7]
    assert run([*flags, "--output_dir", tmp_path / "near", "--deduplicate", "--cleanup"], capsys)[0] == 0
    assert ids(tmp_path / "near") == [0, 1, 4, 5, 6]
    steps = [(step.name, step.rows_before, step.rows_after) for step in read_card(tmp_path / "near").steps]
    assert steps == [("remove contaminated rows", 8, 7), ("remove duplicates", 7, 5)]


def test_several_columns_are_checked(tmp_path, capsys):
    turns = [
        [{"role": "user", "content": "x"}],
        [{"role": "user", "content": "y"}, {"role": "assistant", "content": ITEMS[3]}],
    ]
    pq.write_table(pa.table({"problem": [ITEMS[0], "z"], "messages": turns, "id": [0, 1]}), tmp_path / "rows.parquet")
    pq.write_table(pa.table({"problem": ITEMS}), tmp_path / "items.parquet")
    flags = ["--dataset", tmp_path / "rows.parquet", "--benchmark_file", tmp_path / "items.parquet"]
    assert run([*flags, "--problem_column", "problem,messages", "--output_dir", tmp_path / "out"], capsys)[0] == 0
    assert [entry["column"] for entry in report_of(tmp_path / "out")["evidence"]] == ["problem", "messages"]


def test_duplicates_of_removed_rows_stay_in_one_run_and_in_parts(tmp_path, capsys):
    other = " ".join(f"word{number}" for number in range(60))
    texts = [f"{other} {ITEMS[11]}", f"{other} yes", "another text", f"{other} yes"]
    pq.write_table(pa.table({"problem": texts, "id": range(4)}), tmp_path / "rows.parquet")
    pq.write_table(pa.table({"problem": ITEMS}), tmp_path / "items.parquet")
    common = ["--dataset", tmp_path / "rows.parquet", "--benchmark_file", tmp_path / "items.parquet", "--cleanup"]
    assert run([*common, "--output_dir", tmp_path / "whole", "--deduplicate", "0.5"], capsys)[0] == 0
    for shard in ("0/2", "1/2"):
        assert run([*common, "--output_dir", tmp_path / "parts", "--shard", shard], capsys)[0] == 0
    assert run([*common, "--output_dir", tmp_path / "parts", "--merge", "--deduplicate", "0.5"], capsys)[0] == 0
    assert ids(tmp_path / "whole") == ids(tmp_path / "parts") == [1, 2]
    assert report_of(tmp_path / "whole") == report_of(tmp_path / "parts")


@pytest.mark.parametrize(
    "flags, named",
    [
        (["--problem_column", ","], "--problem_column"),
        (["--problem_column", "text"], "'text'"),
        (["--problem_column", "id"], "holds 0, which is no text"),
        (["--benchmark_file", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--benchmark_file", "{folder}/planted.jsonl:answer"], "one name"),
        (["--benchmark_file", "other={folder}/planted.jsonl:answer"], "'answer'"),
        (["--benchmark_file", "ids={folder}/rows.parquet:id"], "no text"),
        (["--benchmarks", "aime_1999"], "known are ['aime24', 'aime25', 'aime26'"),
        (["--ngram_size", "0"], "--ngram_size"),
        (["--boilerplate_items", "1"], "--boilerplate_items"),
        (["--deduplicate", "1.5"], "--deduplicate"),
        (["--shard", "3/3"], "--shard '3/3'"),
        (["--shard", "0/2", "--start", "1"], "--shard and --start"),
        (["--start", "9999"], "--start 9999"),
        (["--shard", "0/2", "--merge"], "--merge"),
        (["--merge"], "no part with row 0"),
        (["--public"], "--public"),
        (["--push_to_hub"], "--new_dataset_name"),
        (["--split", "test"], "test"),
        (["--num_proc", "8"], "--num_proc"),
    ],
)
def test_refusals_name_the_flag(flags, named, files, tmp_path, capsys):
    flags = [flag.replace("{folder}", str(tmp_path)) for flag in flags]
    try:
        status = main([*files, "--output_dir", str(tmp_path / "out"), *flags])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "out" / "card.json").exists()


def test_flag_columns_that_exist_are_refused(files, tmp_path, capsys):
    assert run([*files, "--output_dir", tmp_path / "out"], capsys)[0] == 0
    again = ["--dataset", tmp_path / "out", *files[2:], "--output_dir", tmp_path / "again"]
    status, _, errors = run(again, capsys)
    assert status == 2
    assert "['contaminated_half', 'contaminated_planted']" in errors


def test_known_benchmark_is_replaced_by_a_local_file_and_offline_says_so(files, tmp_path, capsys, monkeypatch):
    local = [flag.replace(str(tmp_path / "planted.jsonl"), f"gpqa={tmp_path / 'planted.jsonl'}") for flag in files]
    assert run([*local, "--benchmarks", "gpqa", "--output_dir", tmp_path / "out"], capsys)[0] == 0
    assert "contaminated_gpqa" in open_source(str(tmp_path / "out")).column_names
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    status, _, errors = run([*files, "--benchmarks", "lcb", "--output_dir", tmp_path / "other"], capsys)
    assert status == 2
    assert "--benchmark_file lcb=<file>:question_content" in errors


def test_nothing_is_pushed_unless_named(files, tmp_path, capsys, hub):
    assert run([*files, "--output_dir", tmp_path / "out"], capsys)[0] == 0
    assert hub.requests == []


def test_named_data_set_is_pushed_privately(files, tmp_path, capsys, hub, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, printed, _ = run([*files, "--new_dataset_name", "alice/clean", "--cleanup"], capsys)
    assert status == 0
    assert read_card(tmp_path / "data" / "clean") is not None
    assert "Pushed: " in printed
    assert hub.repos["datasets/alice/clean"].private
    assert {"card.json", "contamination_report.json", "data/train-00000-of-00001.parquet"} <= set(
        hub.repos["datasets/alice/clean"].branches["main"].files
    )


@pytest.mark.parametrize(
    "column",
    [
        pa.array([ITEMS[0], None, "b"], pa.string()),
        pa.array(["x", ITEMS[0], None, "b"], pa.large_string())[1:],
        pa.array([["first", ITEMS[0]], None, ["b"]]),
        pa.array([[{"role": "user", "content": ITEMS[0]}, {"role": "assistant", "content": None}], None, []]),
        pa.array([[{"from": "human", "value": ITEMS[0]}], None, []]),
        pa.array([[{"role": "user", "content": [{"type": "text", "text": ITEMS[0]}]}], None, []]),
    ],
    ids=lambda column: str(column.type)[:50],
)
def test_text_of_columns(column):
    texts = texts_of(column).to_pylist()
    assert [ITEMS[0] in text for text in texts] == [True, False, False]
    assert texts[1] == ""


def test_rows_without_text_are_counted_and_stay(tmp_path, capsys, caplog):
    texts = [ITEMS[0], None, "", "x " * 100_000 + ITEMS[1], "\u0000 \ud7a3", "fine"]
    pq.write_table(pa.table({"problem": texts, "id": range(6)}), tmp_path / "rows.parquet")
    pq.write_table(pa.table({"problem": [*ITEMS, None, ""]}), tmp_path / "items.parquet")
    flags = ["--dataset", tmp_path / "rows.parquet", "--benchmark_file", tmp_path / "items.parquet"]
    assert run([*flags, "--output_dir", tmp_path / "out"], capsys)[0] == 0
    rows = list(open_source(str(tmp_path / "out")).rows())
    assert [row["id"] for row in rows if row["contaminated_items"]] == [0, 3]
    assert len(rows) == 6
    assert report_of(tmp_path / "out")["rows_without_text"] == {"problem": {"rows": 2, "first_row": 1}}
    assert "'problem'" in caplog.text


def test_memory_is_bounded_whatever_rows_come_behind_short_ones(tmp_path):
    pool = [" ".join(f"w{(7 * place * place + seed) % 5000}" for place in range(15_000)) for seed in range(5)]
    texts = pa.array(["short row"] * 64 + [pool[number % 5] for number in range(600)], pa.large_string())
    pq.write_table(pa.table({"problem": texts}), tmp_path / "rows.parquet", row_group_size=1000)
    pq.write_table(pa.table({"problem": ITEMS}), tmp_path / "items.parquet")
    files = ["--dataset", str(tmp_path / "rows.parquet"), "--benchmark_file", str(tmp_path / "items.parquet")]
    code = (
        f"from scripts.decontaminate import main\n"
        f"main({[*files, '--output_dir', str(tmp_path / 'out'), '--processes', '1']!r})\n"
        "print([line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line][0])"
    )
    environment = os.environ | {"PYTHONPATH": "src"}
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SCRIPT.parents[1],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert int(finished.stdout.splitlines()[-1]) < 600 * 1024


def test_help_comes_without_heavy_imports():
    code = (
        "import sys; from scripts.decontaminate import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "import open_r1.curation.decontaminate\n"
        "print({'torch', 'datasets', 'transformers', 'pandas', 'datasketch'} & set(sys.modules))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SCRIPT.parents[1],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": "src"},
        check=True,
    )
    assert "--benchmark_file" in finished.stdout
    assert finished.stdout.strip().endswith("set()")
