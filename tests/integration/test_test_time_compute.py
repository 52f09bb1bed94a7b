# SPDX-License-Identifier: Apache-2.0
"""`scripts/test_time_compute.py` with a real tiny model of transformers: results, kills, refusals, servers.

`test_time_golden.jsonl` has what 200 attempts were before methods were rewritten on requests and replies.
"""

import json
import os
import signal
import subprocess
import threading
import zlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scripts import compute_optimal
from scripts.test_time_compute import main
from tests.integration.fakes.chat_server import ChatServer
from tests.integration.fakes.token_server import TokenServer
from tests.integration.held import held
from tests.integration.tiny import addition_rows, build_tiny, write_rows
from tests.waiting import wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "test_time_compute.py"
GOLDEN = Path(__file__).with_name("test_time_golden.jsonl")
NUM_ROWS = 4
FORCED = ("--methods", "greedy", "budget_forcing", "--budgets", 0, 4, 9, "--num_waits", 0, 2)


def by_text(problems, steps, **more):
    """A number from 0 to 1 for each step that follows from its text and its problem."""
    return [
        [zlib.crc32(f"{problem}|{step}".encode()) % 1000 / 1000 for step in trace]
        for problem, trace in zip(problems, steps, strict=True)
    ]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model that thinks between tags, as far as its tokenizer goes."""
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def words(tiny, tmp_path):
    """Return the command line of a short run, with more flags."""
    path = write_rows(tmp_path / "sums.jsonl", addition_rows(NUM_ROWS))

    def words(*flags, model=tiny.model, data=path):
        named = [] if model is None else ["--model_id", model] + ([] if "--url" in flags else HERE)
        given = ["--prompt_template", "{prompt}=", "--max_tokens", 6, "--output_dir", tmp_path / "out", *flags]
        return [str(word) for word in [*named, "--data", data, *given]]

    return words


HERE = ["--backend", "transformers"]


def folder_of(tmp_path, name="sums"):
    (folder,) = tmp_path.glob(f"out/*/main/{name}-test-time")
    return folder


def results_of(tmp_path, name="sums"):
    return json.loads((folder_of(tmp_path, name) / "results.json").read_text())


def attempts_in(folder):
    """Return the attempts of a run by setting without its scorer, row and repeat."""
    return {
        (row["setting"], row["row"], row["repeat"]): row
        for row in pq.read_table(folder / "answers.parquet").to_pylist()
    }


def num_lines(tmp_path):
    return sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("out/*/main/sums-test-time/journal.jsonl"))


SCORED = ("--scorer", f"{__file__}:by_text", "--aggregations", "min", "product", "--step_separator", "e")
SEARCHED = ("--n", 2, 4, "--beam_width", 2, "--max_steps", 3, "--max_step_tokens", 6, "--lookahead", 1)
BETWEEN = ("--temperature", 1, "--thinking_start", "<think>", "--thinking_end", "e", "--num_repeats", 2)
RUNS = {
    "greedy": (*FORCED[:4], 0, 4, 9, 90, "--num_waits", 0, 2),
    "sampled": ("--methods", "cot", "budget_forcing", "--budgets", 9, 90, "--num_waits", 0, 2, *BETWEEN),
    "pools": ("--max_tokens", 12, "--methods", "majority", "best_of_n", "weighted", "--n", 1, 2, 4, *SCORED),
    "search": ("--max_tokens", 24, "--methods", "beam_search", "dvts", *SEARCHED, *SCORED),
}


@pytest.mark.parametrize("name", RUNS)
def test_texts_and_tokens_are_those_of_the_golden_run(name, words, tmp_path):
    assert main(words(*RUNS[name])) == 0
    found = {}
    for (label, row, repeat), attempt in attempts_in(folder_of(tmp_path)).items():
        method, *values = label.split()
        decisive = {"n", "budget", "num_waits", "aggregation", "choice"}
        key = (method, *sorted(value for value in values if value.partition("=")[0] in decisive), row, repeat)
        found[key] = [attempt[column] for column in ("answer", "thinking_tokens", "total_tokens", "finish_reason")]
    expected = {}
    for run, method, values, row, repeat, *attempt in map(json.loads, GOLDEN.read_text(encoding="utf-8").splitlines()):
        if run == name:
            expected[method, *sorted(f"{one}={value}" for one, value in values.items()), row, repeat] = attempt
    assert expected
    assert found == expected


def test_results_hold_points_and_all_that_decides_them(words, tmp_path, capsys):
    assert main(words(*FORCED)) == 0
    results, folder = results_of(tmp_path), folder_of(tmp_path)
    assert [(point["method"], point["values"]) for point in results["points"]] == [
        ("greedy", {}),
        *(("budget_forcing", {"budget": b, "num_waits": n}) for b in (0, 4, 9) for n in (0, 2)),
    ]
    for point in results["points"]:
        assert 0 <= point["accuracy_low"] <= point["accuracy"] <= point["accuracy_high"] <= 1
        assert point["problems"] == point["attempts"] == NUM_ROWS
    settings = results["settings"]
    assert (settings["served_engine"], settings["seed"], settings["max_model_len"]) == ("transformers", 0, 256)
    assert len(settings["verifier"]) == len(settings["model_fingerprint"]) == len(settings["source"][0]) == 16
    assert settings["served_by"][0]["dtype"] == "float32"
    assert [entry["control"] for entry in results["forcing"]] == [None, 1.0, 1.0]
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in folder.iterdir()} == {
        "settings.json", "journal.jsonl", "answers.parquet", "results.json", "curve.png"
    }  # fmt: skip
    assert "budget_forcing budget=9 num_waits=2: accuracy" in capsys.readouterr().out


def test_a_second_run_asks_nothing_and_says_the_same(words, tmp_path, monkeypatch):
    assert main(words(*FORCED)) == 0
    before, journal = results_of(tmp_path)["points"], (folder_of(tmp_path) / "journal.jsonl").read_bytes()
    monkeypatch.setattr("open_r1.test_time.run.serving", None)  # no model is loaded
    assert main(words(*FORCED)) == 0
    assert results_of(tmp_path)["points"] == before
    assert (folder_of(tmp_path) / "journal.jsonl").read_bytes() == journal


def test_methods_share_samples_and_larger_pools_pay_for_what_is_new_alone(words, tmp_path):
    assert main(words("--methods", "cot", "majority", "--n", 1, 2)) == 0
    assert num_lines(tmp_path) == 1 + 2 * NUM_ROWS
    assert main(words("--methods", "majority", "best_of_n", "--scorer", "oracle", "--n", 2, 3)) == 0
    replies = [json.loads(line) for line in (folder_of(tmp_path) / "journal.jsonl").read_text().splitlines()[1:]]
    assert sum("text" in reply for reply in replies) == 3 * NUM_ROWS
    assert main(words("--methods", "greedy", "cot", "--limit", 2, "--num_repeats", 2)) == 0
    points = {point["method"]: point["attempts"] for point in results_of(tmp_path)["points"]}
    assert points == {"greedy": 2, "cot": 4}


def test_the_compute_optimal_script_reads_a_finished_run(words, tmp_path, capsys):
    assert main(words("--methods", "greedy", "majority", "--n", 1, 2, "--num_repeats", 2)) == 0
    capsys.readouterr()
    assert compute_optimal.main([str(folder_of(tmp_path))]) == 0
    assert f" all | {NUM_ROWS} | as by bin |" in capsys.readouterr().out


def test_other_settings_are_refused_with_both_values_or_archived(words, tmp_path, capsys):
    assert main(words("--methods", "greedy")) == 0
    assert main(words("--methods", "greedy", "--system_prompt", "Be brief.")) == 1
    assert "system_prompt was None and is now 'Be brief.'" in capsys.readouterr().err
    assert main(words("--methods", "greedy", "--system_prompt", "Be brief.", "--overwrite")) == 0
    assert {path.name for path in folder_of(tmp_path).parent.iterdir()} == {"sums-test-time", "sums-test-time.1"}


@pytest.mark.parametrize("num_kept", [2, 9, 20])
def test_a_killed_run_resumes_and_ends_as_one_that_was_not_killed(words, tmp_path, num_kept):
    flags = words(*FORCED, "--max_concurrent", 2)
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1] / "src")}
    process = subprocess.Popen(
        held(SCRIPT, num_kept, *flags), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: num_lines(tmp_path) >= num_kept or process.poll() is not None, timeout_s=300)
    finally:
        process.kill()
        _, errors = process.communicate()
    kept = (folder_of(tmp_path) / "journal.jsonl").read_bytes()
    assert kept.count(b"\n") >= num_kept, errors
    assert main(flags) == 0
    lines = (folder_of(tmp_path) / "journal.jsonl").read_bytes().splitlines()
    assert lines[: kept.count(b"\n")] == kept.splitlines()
    names = [(record["key"], record["index"]) for record in map(json.loads, lines[1:])]
    assert len(set(names)) == len(names)
    resumed = attempts_in(folder_of(tmp_path))
    assert main([*flags, "--overwrite"]) == 0
    assert attempts_in(folder_of(tmp_path)) == resumed


def test_a_signal_ends_it_with_what_to_do(words, tmp_path, capsys):
    is_over = threading.Event()

    def stop():
        wait_until(lambda: num_lines(tmp_path) >= 2 or is_over.is_set())
        if not is_over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    flags = words("--methods", "budget_forcing", "--budgets", *range(1, 200), "--max_concurrent", 1)
    try:
        assert main(flags) == 128 + signal.SIGTERM
    finally:
        is_over.set()
        thread.join()
    assert "what was done is kept" in capsys.readouterr().err
    assert num_lines(tmp_path) >= 2


def test_prompts_that_are_too_long_are_left_out(words, tmp_path):
    rows = [*addition_rows(2), *({"problem": "1" * length, "solution": "1"} for length in range(90, 250, 4))]
    data = write_rows(tmp_path / "long.jsonl", rows)
    assert main(words("--methods", "budget_forcing", "--budgets", 4, "--num_waits", 2, data=data)) == 0
    counts = results_of(tmp_path, "long")["counts"]
    assert 2 < counts["problems"] == counts["attempts"] == len(rows) - counts["rows_left_out"] < len(rows)
    assert any("too long" in note for note in results_of(tmp_path, "long")["notes"])


PROGRAMS = [{"problem": "Print the sum", "verification_info": {"language": "python", "test_cases": [
    {"input": "1 2", "output": "3", "type": "stdin_stdout"}]}}]  # fmt: skip


@pytest.mark.parametrize("flags", [("majority",), ("weighted", "--scorer", "oracle"), ("dvts", "--scorer", "oracle")])
def test_programs_do_not_vote(words, tmp_path, capsys, flags):
    data = write_rows(tmp_path / "code.jsonl", PROGRAMS)
    assert main(words("--methods", *flags, data=data)) == 1
    assert "can't vote" in capsys.readouterr().err


def test_results_on_programs_name_the_sandbox_and_keep_verdicts(words, tmp_path):
    data = write_rows(tmp_path / "code.jsonl", PROGRAMS)
    assert main(words("--methods", "greedy", "--answer_reserve_tokens", 4, "--code_memory_mb", 300, data=data)) == 0
    settings = results_of(tmp_path, "code")["settings"]
    assert (settings["sandbox"]["provider"], settings["test_memory_mb"]) == ("local", 300)
    assert (folder_of(tmp_path, "code") / "verdicts.jsonl").exists()


REFUSED = {
    "no_such_model": ([], "nowhere/at-all", "nowhere/at-all"),
    "two_sources": (["--benchmark", "aime24"], "", "--benchmark"),
    "no_room": (["--answer_reserve_tokens", "255", "--max_model_len", "256"], "", "--answer_reserve_tokens"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_come_before_a_model_is_loaded(name, words, tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("open_r1.generation.transformers_here.TransformersHere.load", None)
    flags, model, message = REFUSED[name]
    assert main(words(*flags, model=tiny.model if model == "" else model)) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("out/**/journal.jsonl"))


def test_a_server_gives_what_the_model_does_in_this_process(words, tiny, tmp_path):
    flags = RUNS["sampled"]
    assert main(words(*flags)) == 0
    with TokenServer(str(tiny.model)) as server:
        assert main(words(*flags, "--url", server.url, "--model_name", "served", model=None)) == 0
    here, there = (tmp_path / "out" / name / "main" / "sums-test-time" for name in ("model", "served"))
    assert attempts_in(here) == attempts_in(there)
    settings = json.loads((there / "results.json").read_text())["settings"]
    assert (settings["model"], settings["served_engine"]) == (str(tiny.model), "transformers")


def test_a_server_that_gives_no_token_ids_back_is_refused_and_gets_neutral_sampling(words, tiny, capsys):
    """`vllm serve` takes fields that a request lacks from generation_config.json: greedy had a repetition penalty."""
    with ChatServer() as server:
        flags = (
            "--methods",
            "greedy",
            "--max_model_len",
            256,
            "--url",
            server.address,
            "--served_model",
            "stub/model",
        )
        assert main(words(*flags)) == 1
        body = server.requests[-1]
    assert "without token ids" in capsys.readouterr().err
    assert {name: body[name] for name in ("temperature", "top_k", "min_p", "repetition_penalty")} == {
        "temperature": 0, "top_k": -1, "min_p": 0, "repetition_penalty": 1
    }  # fmt: skip
