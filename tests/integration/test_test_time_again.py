# SPDX-License-Identifier: Apache-2.0
"""Later commands in a folder of `scripts/test_time_compute.py`: another verifier, other code, other data, a server.

And what `scripts/run_benchmarks.py` has in common with it: the names of files, and notes.
"""

import json
import shutil

import pytest

from open_r1.data.card import source_commit
from scripts import run_benchmarks
from scripts.test_time_compute import main
from tests.integration.fakes.token_server import TokenServer
from tests.integration.time_compute_runs import command_line, folder_of, num_lines, records_of, results_of
from tests.integration.tiny import addition_rows, build_tiny, write_rows

NUM_ROWS = 4
BEFORE = "of an earlier verifier"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def words(tiny, tmp_path):
    path = write_rows(tmp_path / "sums.jsonl", addition_rows(NUM_ROWS))
    return lambda *flags, data=path: command_line(tiny.model, data, tmp_path / "out", *flags)


def rewrite(folder, header=None, **more):
    """Write the journal as an earlier run had, with other settings in its first line or more in each record."""
    path = folder / "journal.jsonl"
    first, *lines = map(json.loads, path.read_text().splitlines())
    first["settings"] |= header or {}
    records = [{**line, **more} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in (first, *records)))


def test_answers_are_judged_again_and_votes_taken_again_by_another_verifier(words, tmp_path, caplog):
    assert main(words("--methods", "greedy", "majority", "--n", 1, 2)) == 0
    before = results_of(tmp_path)
    rewrite(folder_of(tmp_path), judged_by=BEFORE, score=1.0)
    caplog.clear()
    assert main(words("--methods", "greedy")) == 0
    results = results_of(tmp_path)
    assert results["points"] == before["points"][:1]
    (note,) = [note for note in results["notes"] if "the journal has not all" in note]
    assert note.startswith("majority n=1 pool=2, majority n=2 pool=2:")
    assert "or by another verifier or sandbox" in note
    assert f"{2 * NUM_ROWS} attempts were chosen by another verifier" in caplog.text
    assert "Loading" not in caplog.text
    assert num_lines(tmp_path) == 1 + 3 * NUM_ROWS + NUM_ROWS
    assert main(words("--methods", "greedy", "majority", "--n", 1, 2)) == 0
    assert results_of(tmp_path)["points"] == before["points"]
    assert num_lines(tmp_path) == 1 + 3 * NUM_ROWS + 3 * NUM_ROWS
    caplog.clear()
    assert main(words("--methods", "greedy", "majority", "--n", 1, 2)) == 0
    assert num_lines(tmp_path) == 1 + 3 * NUM_ROWS + 3 * NUM_ROWS
    assert "another verifier" not in caplog.text


def test_overwriting_that_was_killed_goes_on(words, tmp_path):
    assert main(words("--methods", "greedy")) == 0
    folder = folder_of(tmp_path)
    (folder / "results.json").unlink()
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text("".join(lines[:-1]))
    assert main(words("--methods", "greedy", "--overwrite")) == 0
    assert [path.name for path in folder.parent.iterdir()] == ["sums-test-time"]
    assert num_lines(tmp_path) == 1 + NUM_ROWS
    assert main(words("--methods", "greedy", "--overwrite")) == 0  # now it is finished
    assert {path.name for path in folder.parent.iterdir()} == {"sums-test-time", "sums-test-time.1"}


def test_code_and_engines_of_all_commands_are_in_the_results(words, tmp_path):
    assert main(words("--methods", "greedy")) == 0
    path = folder_of(tmp_path) / "asking.jsonl"
    (line,) = map(json.loads, path.read_text().splitlines())
    (now,) = line["served_by"]
    before = {**now, "torch": "2.0.0"}
    path.write_text(json.dumps({"served_by": [before], "commit": "c0ffee"}) + "\n")
    assert main(words("--methods", "greedy")) == 0
    assert results_of(tmp_path)["settings"]["engine_versions"] == [before]
    assert main(words("--methods", "cot")) == 0
    results = results_of(tmp_path)
    assert results["settings"]["engine_versions"] == [before, now]
    assert results["commits"] == ["c0ffee", source_commit()]
    assert any(note.startswith("several engines, or versions of them") for note in results["notes"])


def test_results_on_programs_name_the_sandbox_and_the_limits_of_tests(words, tmp_path):
    tests = {"language": "python", "test_cases": [{"input": "1 2", "output": "3", "type": "stdin_stdout"}]}
    rows = [{"problem": "Print the sum", "verification_info": tests}]
    path = write_rows(tmp_path / "code.jsonl", rows)
    limits = ("--code_test_timeout_s", 7, "--code_memory_mb", 300)
    assert main(words("--methods", "greedy", "--answer_reserve_tokens", 4, *limits, data=path)) == 0
    settings = results_of(tmp_path, "code")["settings"]
    assert settings["sandbox"]["provider"] == "local"
    assert (settings["test_timeout_s"], settings["test_memory_mb"]) == (7, 300)


def test_servers_of_unknown_weights_are_noted_and_of_another_engine_refused(
    words, tiny, tmp_path, monkeypatch, capsys
):
    shutil.copytree(tiny.model, tmp_path / "org" / "model")
    monkeypatch.chdir(tmp_path)  # a name that is no path from the root may be a folder elsewhere
    with TokenServer("org/model") as server:
        flags = [*words("--methods", "greedy")[4:], "--url", server.url]
        assert main(flags) == 0
        (path,) = tmp_path.glob("out/**/results.json")
        notes = json.loads(path.read_text())["notes"]
        assert any(note.startswith("Nothing tells which weights org/model serves") for note in notes)
        rewrite(path.parent, {"served_engine": "vllm"})
        assert main(flags) == 1
    assert "served_engine was 'vllm' and is now 'transformers'" in capsys.readouterr().err
    assert len(records_of(path.parent)) == NUM_ROWS


def evaluated(tiny, data, tmp_path):
    """Run `run_benchmarks.py` on the same model and data, with the same output folder, and return its results."""
    with TokenServer(str(tiny.model)) as server:
        words = [
            "--model_id",
            tiny.model,
            "--url",
            server.url,
            "--data",
            data,
            "--output_dir",
            tmp_path / "out",
            "--prompt_template",
            "{prompt}=",
            "--num_samples",
            1,
            "--max_tokens",
            6,
        ]
        assert run_benchmarks.main(list(map(str, words))) == 0
    (path,) = tmp_path.glob(f"out/*/main/{data.stem}/results.json")
    return path


def test_it_and_benchmarks_leave_each_other_alone_in_one_output_folder(words, tiny, tmp_path):
    data = tmp_path / "sums.jsonl"
    assert main(words("--methods", "greedy")) == 0
    mine = results_of(tmp_path)
    path = evaluated(tiny, data, tmp_path)
    assert path.parent != folder_of(tmp_path)
    theirs = path.read_bytes()
    assert results_of(tmp_path) == mine
    assert main(words("--methods", "greedy", "cot")) == 0
    assert (path.read_bytes(), len(results_of(tmp_path)["points"])) == (theirs, 2)
    assert (folder_of(tmp_path) / "asking.jsonl").read_text().count("served_by") == 2


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
@pytest.mark.parametrize("kept", ["results.json", "answers.parquet", "settings.json"])
def test_a_folder_of_another_program_is_refused_before_a_model_loads(words, tiny, tmp_path, capsys, flags, kept):
    """A benchmark may be named as folders are here."""
    folder = evaluated(tiny, write_rows(tmp_path / "sums-test-time.jsonl", addition_rows(1)), tmp_path).parent
    for name in {path.name for path in folder.iterdir()} - {kept}:
        (folder / name).unlink()
    before = (folder / kept).read_bytes()
    capsys.readouterr()
    assert main(words("--methods", "greedy", "--dtype", "bfloat16", *flags)) == 1
    said = capsys.readouterr().err
    assert f"sums-test-time has {kept}, which test_time_compute.py hasn't written: name another --output_dir" in said
    assert "Loading" not in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {kept: before}
