# SPDX-License-Identifier: Apache-2.0
"""`scripts/test_time_compute.py` with a real tiny model of transformers: results, kills, refusals, servers."""

import contextlib
import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from open_r1.data.card import source_commit
from open_r1.evaluation.benchmarks import local_benchmark
from open_r1.evaluation.prompts import load_problems
from open_r1.test_time.backends import BackendError, Model
from open_r1.test_time.local_backends import context_of
from open_r1.test_time.methods import MethodOptions, get_method
from open_r1.test_time.openai_backend import OpenAIBackend
from open_r1.test_time.rendering import render_problems
from open_r1.test_time.results import from_record, to_record
from scripts import compute_optimal
from scripts.test_time_compute import main
from tests.integration.fakes.chat_server import ChatServer
from tests.integration.fakes.token_server import TokenServer
from tests.integration.held import held
from tests.integration.time_compute_runs import command_line, folder_of, num_lines, records_of, results_of
from tests.integration.tiny import addition_rows, build_tiny, write_rows
from tests.unit.scripted_model import ScriptedModel
from tests.waiting import wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "test_time_compute.py"
NUM_ROWS = 4


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model that thinks between tags, as far as its tokenizer goes."""
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def data(tmp_path):
    return write_rows(tmp_path / "sums.jsonl", addition_rows(NUM_ROWS))


@pytest.fixture
def words(tiny, tmp_path):
    """Return the command line of a short run, with more flags."""
    write_rows(tmp_path / "sums.jsonl", addition_rows(NUM_ROWS))

    def words(*flags, model=tiny.model, data=tmp_path / "sums.jsonl"):
        return command_line(model, data, tmp_path / "out", *flags)

    return words


FORCED = ("--methods", "greedy", "budget_forcing", "--budgets", 0, 4, 9, "--num_waits", 0, 2)


def test_each_setting_is_a_point_with_all_that_decides_it(words, tmp_path, capsys):
    assert main(words(*FORCED)) == 0
    results = results_of(tmp_path)
    assert [(point["method"], point["values"]) for point in results["points"]] == [
        ("greedy", {}),
        *(("budget_forcing", {"budget": b, "num_waits": n}) for b in (0, 4, 9) for n in (0, 2)),
    ]
    for point in results["points"]:
        assert 0 <= point["accuracy_low"] <= point["accuracy"] <= point["accuracy_high"] <= 1
        assert point["problems"] == point["attempts"] == NUM_ROWS
        assert point["thinking_tokens"] <= point["values"].get("budget", 6)
    settings = results["settings"]
    assert (settings["backend"], settings["seed"], settings["max_model_len"]) == ("transformers", 0, 256)
    assert (results["commit"], results["commits"]) == (source_commit(), [source_commit()])
    assert len(settings["verifier"]) == 16
    assert len(settings["model_fingerprint"]) == len(settings["chat_template"]) == len(settings["source"][0]) == 16
    assert settings["dtype"] == "float32"  # not None, which is another on a GPU
    assert (settings["template"], settings["max_tokens"]) == ("{prompt}=", 6)
    assert [set(kind) for kind in settings["engine_versions"]] == [{"engine", "torch", "transformers"}]
    assert "python" in results["versions"]
    assert [entry["control"] for entry in results["forcing"]] == [None, 1.0, 1.0]
    assert (folder_of(tmp_path) / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "budget_forcing budget=9 num_waits=2: accuracy" in capsys.readouterr().out


def test_records_tell_how_each_thinking_went(words, tmp_path):
    # Of random weights: an end that is one of 103 tokens comes now and then.
    sampled = ("--temperature", 1, "--thinking_start", "<think>", "--thinking_end", "e")
    assert main(words("--methods", "budget_forcing", "--budgets", 90, "--num_waits", 2, *sampled)) == 0
    records = records_of(folder_of(tmp_path))
    for record in records:
        details = record["details"]
        assert record["thinking_tokens"] == sum(details["segment_tokens"]) <= 90
        assert record["total_tokens"] == record["thinking_tokens"] + details["answer_tokens"]
        assert record["text"].count("Wait") == details["waits"] == len(details["segment_tokens"]) - 1
        assert ("Final Answer:" in record["text"]) == (details["ended_by"] == "budget")
    assert len({(record["details"]["waits"], record["details"]["ended_by"]) for record in records}) > 1


def test_a_second_run_asks_nothing_and_says_the_same(words, tmp_path, caplog):
    assert main(words(*FORCED)) == 0
    before, journal = results_of(tmp_path)["points"], (folder_of(tmp_path) / "journal.jsonl").read_bytes()
    caplog.clear()
    assert main(words(*FORCED)) == 0
    assert results_of(tmp_path)["points"] == before
    assert (folder_of(tmp_path) / "journal.jsonl").read_bytes() == journal
    assert "Loading" not in caplog.text


def test_more_settings_problems_and_repeats_pay_for_what_is_new_alone(words, tmp_path):
    cot = ("--methods", "cot", "greedy")
    assert main(words(*cot, "--limit", 2)) == 0
    assert num_lines(tmp_path) == 1 + 4
    assert main(words(*cot, "--limit", 3, "--num_repeats", 2)) == 0
    assert num_lines(tmp_path) == 1 + 3 + 6
    points = {point["method"]: point for point in results_of(tmp_path)["points"]}
    assert (points["cot"]["attempts"], points["cot"]["problems"], points["greedy"]["attempts"]) == (6, 3, 3)
    texts = {
        (record["row"], record["index"]): record["text"]
        for record in records_of(folder_of(tmp_path))
        if record["method"] == "cot"
    }
    assert len(set(texts.values())) > 3


def test_the_curve_of_a_folder_grows_whatever_the_order_of_commands(words, tmp_path, capsys):
    assert main(words("--methods", "greedy", "budget_forcing", "--budgets", 4)) == 0
    assert main(words("--methods", "budget_forcing", "majority", "--budgets", 9, "--n", 1, 2)) == 0
    results = results_of(tmp_path)
    found = [(point["method"], point["values"].get("budget"), point["values"].get("n")) for point in results["points"]]
    assert found == [
        ("budget_forcing", 9, None),
        ("majority", None, 1),
        ("majority", None, 2),
        ("greedy", None, None),
        ("budget_forcing", 4, None),
    ]
    assert results["settings"]["temperature"] == {"budget_forcing": 0, "majority": 0.8, "greedy": 0}
    assert results["counts"]["attempts"] == 5 * NUM_ROWS
    assert next(curve for curve in results["forcing"] if curve["curve"].startswith("budget_forcing"))["points"] == 2
    capsys.readouterr()
    assert main(words("--methods", "majority", "--n", 1, 2, "--num_repeats", 2)) == 0
    assert len(results_of(tmp_path)["points"]) == 5
    assert main(words("--methods", "cot", "--num_repeats", 3)) == 0
    (note,) = [note for note in results_of(tmp_path)["notes"] if "the journal has not all" in note]
    assert note.startswith("majority n=1 pool=2, majority n=2 pool=2:")
    assert [point["method"] for point in results_of(tmp_path)["points"]].count("majority") == 0


def test_a_larger_pool_is_another_setting(words, tmp_path):
    assert main(words("--methods", "majority", "--n", 1, 2)) == 0
    assert main(words("--methods", "majority", "--n", 2, 3)) == 0
    values = [point["values"] for point in results_of(tmp_path)["points"]]
    assert values == [{"n": 2, "pool": 3}, {"n": 3, "pool": 3}, {"n": 1, "pool": 2}, {"n": 2, "pool": 2}]
    assert {curve["curve"] for curve in results_of(tmp_path)["forcing"]} == {"majority pool=2", "majority pool=3"}


def test_the_compute_optimal_script_reads_a_finished_run(words, tmp_path, capsys):
    assert main(words("--methods", "greedy", "majority", "--n", 1, 2, "--num_repeats", 2)) == 0
    assert [point["values"].get("n") for point in results_of(tmp_path)["points"]] == [None, 1, 2]
    capsys.readouterr()
    assert compute_optimal.main([str(folder_of(tmp_path))]) == 0
    said = capsys.readouterr().out
    assert f" all | {NUM_ROWS} | as by bin |" in said


def test_other_settings_are_refused_and_put_aside_when_that_is_asked_for(words, tmp_path, capsys):
    assert main(words("--methods", "greedy")) == 0
    assert main(words("--methods", "greedy", "--system_prompt", "Be brief.")) == 1
    assert "system_prompt was None and is now 'Be brief.'" in capsys.readouterr().err
    assert main(words("--methods", "greedy", "--system_prompt", "Be brief.", "--overwrite")) == 0
    assert {path.name for path in folder_of(tmp_path).parent.iterdir()} == {"sums-test-time", "sums-test-time.1"}


def test_what_would_do_the_same_again_is_not_repeated(words, tmp_path):
    flags = ("--methods", "greedy", "cot", "majority", "--n", 1, "--num_repeats", 3, "--temperature", 0)
    assert main(words(*flags)) == 0
    results = results_of(tmp_path)
    assert [point["attempts"] for point in results["points"]] == [NUM_ROWS] * 3


def test_a_killed_run_goes_on_where_it_was(words, tmp_path):
    flags = words(*FORCED, "--batch_size", 1)
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1] / "src")}
    process = subprocess.Popen(
        held(SCRIPT, 3, *flags), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_until(lambda: num_lines(tmp_path) >= 3 or process.poll() is not None, timeout_s=300)
    finally:
        process.kill()
        _, errors = process.communicate()
    kept = (folder_of(tmp_path) / "journal.jsonl").read_bytes()
    whole = kept[: kept.rindex(b"\n") + 1]
    assert 3 <= whole.count(b"\n") < 1 + 7 * NUM_ROWS, errors
    assert main(flags) == 0
    after = (folder_of(tmp_path) / "journal.jsonl").read_bytes()
    assert after.startswith(whole)
    names = [(record["key"], record["index"]) for record in records_of(folder_of(tmp_path))]
    assert len(set(names)) == len(names) == 7 * NUM_ROWS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_what_to_do(words, tmp_path, capsys, number):
    handler, is_over = signal.getsignal(number), threading.Event()

    def stop():
        wait_until(lambda: num_lines(tmp_path) >= 2 or is_over.is_set())
        if not is_over.is_set():
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=stop)
    thread.start()
    flags = words("--methods", "budget_forcing", "--budgets", *range(1, 40), "--batch_size", 1)
    try:
        assert main(flags) == 128 + number
    finally:
        is_over.set()
        thread.join()
    assert f"Stopped by {number.name}; what was done is kept" in capsys.readouterr().err
    assert num_lines(tmp_path) >= 2
    assert signal.getsignal(number) is handler


def test_prompts_that_are_too_long_are_left_out(words, tmp_path, caplog):
    rows = [*addition_rows(2), {"problem": "1" * 300, "solution": "1"}]
    assert main(words("--methods", "greedy", data=write_rows(tmp_path / "long.jsonl", rows))) == 0
    results = json.loads((folder_of(tmp_path, "long") / "results.json").read_text())
    assert results["counts"] == {
        "problems": 2,
        "problems_repeated": 0,
        "attempts": 2,
        "rows_left_out": 1,
    }
    assert "1 of 3 prompts are too long" in caplog.text
    (note, _) = results["notes"]
    assert (
        note == "1 of 3 prompts are too long for the context of 256 tokens: all accuracies are of the other problems"
    )


@pytest.mark.parametrize("length", range(150, 250, 3))
def test_every_prompt_that_is_asked_leaves_room_for_what_forcing_adds(length, tiny, tmp_path):
    """A prompt with room for an answer alone ended the run, after hours."""
    rows = [*addition_rows(1), {"problem": "1" * length, "solution": "1"}]
    path = write_rows(tmp_path / f"long{length}.jsonl", rows)
    backend = SmallBackend(AutoTokenizer.from_pretrained(tiny.model), 256)
    options = MethodOptions(budgets=(4,), num_waits=(0, 2), answer_reserve_tokens=20)
    method = get_method("budget_forcing", options)
    problems = load_problems(local_benchmark(path), template="{prompt}=")
    asked = render_problems(problems, backend, 20, method.room_tokens(backend))
    for group in method.groups():
        assert len(list(method.solve(asked, backend, group, 0))) == len(asked)
    assert len(asked) == 2 or length > 150


class SmallBackend(ScriptedModel):
    """A model that says the same for ever."""

    def __init__(self, tokenizer, max_model_len):
        super().__init__(tokenizer, lambda _: tokenizer.encode("1") * 300, max_model_len)


PROGRAM_ROWS = [
    {
        "problem": f"Print the sum of two numbers, {row}",
        "verification_info": {
            "language": "python",
            "test_cases": [{"input": "1 2", "output": "3", "type": "stdin_stdout"}],
        },
    }
    for row in range(2)
]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--methods", "cot", "majority"), "leave out majority"),
        (("--methods", "weighted", "--scorer", "oracle"), "leave out weighted"),
        (("--methods", "dvts", "--scorer", "oracle", "--n", 4), "--choices max"),
    ],
)
def test_programs_do_not_vote(words, tmp_path, capsys, flags, message):
    assert main(words(*flags, data=write_rows(tmp_path / "code.jsonl", PROGRAM_ROWS))) == 1
    assert message in capsys.readouterr().err


def test_choices_of_a_pool_that_could_not_be_judged_are_judged_in_the_next_run(words, tmp_path, capsys):
    flags = words("--methods", "greedy", "majority", "--n", 1, 2)
    assert main(flags) == 0
    before = results_of(tmp_path)["points"]
    path = folder_of(tmp_path) / "journal.jsonl"
    lines = path.read_text().splitlines()
    lost = [as_lost(json.loads(line)) for line in lines[1:]]
    path.write_text("\n".join([lines[0], *map(json.dumps, lost)]) + "\n")
    assert main(flags) == 0
    after = results_of(tmp_path)["points"]
    assert [point["lost"] for point in after] == [0, 0, 0]
    assert [point["attempts"] for point in after] == [point["attempts"] for point in before]


def as_lost(record):
    """Return a record as a run writes it whose judge lost its workers; a pool of texts of which each is wrong."""
    attempt = dataclasses.replace(from_record(record), score=math.nan)
    if attempt.setting.method == "majority":
        attempt = dataclasses.replace(attempt, chances=((attempt.text, 0.5), ("nothing", 0.5)))
    return json.loads(json.dumps({**record, **to_record(attempt, record["index"])}))


def without_data(words):
    place = words.index("--data")
    return words[:place] + words[place + 2 :]


def test_a_file_that_benchmark_names_is_read_as_the_flags_say(words, tmp_path):
    rows = [{"question": row["problem"], "result": row["solution"]} for row in addition_rows(NUM_ROWS)]
    path = write_rows(tmp_path / "renamed.jsonl", rows)
    flags = (
        "--methods",
        "greedy",
        "--prompt_column",
        "question",
        "--solution_column",
        "result",
        "--split",
        "train[:2]",
        "--benchmark",
        path,
    )
    assert main(without_data(words(*flags))) == 0
    results = json.loads((folder_of(tmp_path, "renamed") / "results.json").read_text())
    assert results["counts"]["problems"] == 2
    assert results["settings"]["solution_column"] == "result"


REFUSED = {
    "no_model": (["--methods", "greedy"], None, "Name the model by --model_id, or a server"),
    "no_such_model": ([], "nowhere/at-all", "There is no folder 'nowhere/at-all'"),
    "two_sources": (["--benchmark", "aime24"], "", "Name a --benchmark, or a local file by --data: one of the two"),
    "no_such_file": (["--data", "missing.jsonl"], "", "--data missing.jsonl: there is no such file"),
    "no_such_column": (["--prompt_column", "question"], "", "question"),
    "not_of_this_kind": (["--kind", "code"], "", "verification_info"),
    "bad_template": (["--prompt_template", "no place"], "", "The prompt template has no {prompt}"),
    "openai_without_url": (["--backend", "openai"], "", "The backend openai asks servers: name one by --url"),
    "url_and_transformers": (["--url", "localhost:1"], "", "--url names servers, and the backend is transformers"),
    "half_of_the_delimiters": (["--thinking_start", "<a>"], "", "--thinking_start and --thinking_end go together"),
    "no_repeats": (["--num_repeats", "0"], "", "num_repeats is 0"),
    "too_large_a_seed": (["--seed", str(2**31)], "", "it must be from 0 to"),
    "no_tokens": (["--max_tokens", "0"], "", "max_tokens is 0"),
    "method_twice": (["--methods", "greedy", "greedy"], "", "Methods are named once each"),
    "no_room": (["--answer_reserve_tokens", "255"], "", "All prompts are too long|leaves nothing beside"),
    "too_long_a_context": (["--max_model_len", "257"], "", "has a context of 256 tokens: lower it"),
    "key_not_set": (["--api_key_env", "NO_SUCH_VARIABLE"], "", "NO_SUCH_VARIABLE, named by --api_key_env, is not set"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_come_before_a_model_is_loaded(name, words, tiny, tmp_path, capsys, caplog):
    flags, model, message = REFUSED[name]
    given = words(*flags, model=tiny.model if model == "" else model)
    if "--data" in flags:
        given = without_data(given)
    assert main(given) == 1
    said = capsys.readouterr().err
    assert any(part in said for part in message.split("|"))
    assert "Loading" not in caplog.text
    assert not list(tmp_path.glob("out/**/journal.jsonl"))


def test_a_server_gives_what_the_model_does_in_this_process(words, tiny, tmp_path):
    flags = (
        "--methods",
        "greedy",
        "budget_forcing",
        "cot",
        "--budgets",
        5,
        90,
        "--num_waits",
        2,
        "--temperature",
        1,
        "--thinking_start",
        "<think>",
        "--thinking_end",
        "e",
    )
    assert main(words(*flags)) == 0
    with TokenServer(str(tiny.model)) as server:
        assert main([*words(*flags, model=None), "--url", server.url, "--model_name", "served"]) == 0
    here, there = (records_of(tmp_path / "out" / name / "main" / "sums-test-time") for name in ("model", "served"))
    assert here == there
    settings = json.loads((tmp_path / "out" / "served" / "main" / "sums-test-time" / "results.json").read_text())[
        "settings"
    ]
    assert (settings["backend"], settings["model"]) == ("openai", str(tiny.model))
    assert settings["served_engine"] == "transformers"
    assert settings["engine_versions"][0]["engine"] == "transformers"
    assert len(settings["model_fingerprint"]) == 16


def test_a_run_whose_server_dies_goes_on_with_another(words, tiny, tmp_path, capsys):
    flags = [
        *words("--methods", "budget_forcing", "--budgets", *range(1, 13), "--batch_size", 1, model=None),
        "--model_name",
        "served",
        "--patience",
        "0.5",
    ]
    server = TokenServer(str(tiny.model))
    is_over = threading.Event()

    def die():
        wait_until(lambda: num_lines(tmp_path) >= 3 or is_over.is_set())
        server.stop()

    with contextlib.ExitStack() as stack:
        server.start()
        thread = threading.Thread(target=die)
        stack.callback(thread.join)
        stack.callback(is_over.set)
        thread.start()
        assert main([*flags, "--url", server.url]) == 1
    assert "ServersDownError: " in capsys.readouterr().err
    before = (folder_of(tmp_path) / "journal.jsonl").read_bytes()
    assert 3 <= before.count(b"\n") < 1 + 12 * NUM_ROWS
    with TokenServer(str(tiny.model)) as again:
        assert main([*flags, "--url", again.url]) == 0
    assert (folder_of(tmp_path) / "journal.jsonl").read_bytes().startswith(before)
    assert results_of(tmp_path)["counts"]["attempts"] == 12 * NUM_ROWS


def test_a_server_that_gives_no_token_ids_back_is_refused(words, tiny, capsys):
    with ChatServer() as server:
        flags = words("--methods", "greedy", model=None)
        flags += ["--url", server.address, "--model_id", str(tiny.model), "--served_model", "stub/model"]
        assert main(flags) == 1
    assert "gives back text alone, without token ids" in capsys.readouterr().err


def test_a_stretched_context_is_the_stretched_one(tiny, tmp_path):
    folder = shutil.copytree(tiny.model, tmp_path / "stretched")
    config = json.loads((folder / "config.json").read_text())
    yarn = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 256, "rope_theta": 10000.0}
    (folder / "config.json").write_text(json.dumps({**config, "rope_parameters": yarn}))
    assert context_of(Model(str(folder))) == 512
    assert context_of(Model(str(folder), max_model_len=512)) == 512
    with pytest.raises(ValueError, match="has a context of 512 tokens"):
        context_of(Model(str(folder), max_model_len=513))


def test_no_sampling_field_is_left_to_the_model_that_is_served():
    """`vllm serve` takes those that a request lacks from generation_config.json: greedy had a repetition penalty."""
    with ChatServer() as server, contextlib.closing(OpenAIBackend([server.address])) as backend:
        with pytest.raises(BackendError, match="no token ids"):
            backend.complete([[1, 2]], max_tokens=3, temperature=0, top_p=1, seeds=[0])
        (body,) = server.requests
    assert {name: body[name] for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")} == {
        "temperature": 0,
        "top_p": 1,
        "top_k": -1,
        "min_p": 0,
        "repetition_penalty": 1,
    }


def test_a_server_of_another_model_is_refused(words, tiny, capsys):
    with ChatServer() as server:
        assert main([*words(model=None), "--url", server.address, "--model_id", str(tiny.model)]) == 1
    assert "The servers serve 'stub/model', but --model_id is" in capsys.readouterr().err
