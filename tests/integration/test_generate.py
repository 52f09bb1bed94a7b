# SPDX-License-Identifier: Apache-2.0
"""generate.py as users run it: real distilabel, real processes, the stub server in place of a model."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest

from open_r1.dataio.card import read_card
from open_r1.dataio.folder import load_columns
from open_r1.generate import main
from open_r1.generation.distil_shards import ShardError, ShardRunner
from open_r1.generation.journal import Journal
from tests.conftest import ROOT
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.fakes.vllm_executable import read_pids, write_vllm

COLUMNS = ("generations", "finish_reasons", "api_metadata")
LONG = "x" * 1_000_000
PROMPTS = ["first", "twice", "twice", None, "", "is refused", "passes later", LONG, "braces {{ y }} \\boxed{3}"]


def write_rows(folder, prompts, **columns):
    path = folder / "rows.jsonl"
    rows = [{"id": number, "prompt": prompt} | columns for number, prompt in enumerate(prompts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def words(rows, output, server, *more):
    return ["--hf-dataset", str(rows), "--output-dir", str(output), "--model", MODEL, "--vllm-server-url",
            f"{server.url}/v1", *more]  # fmt: skip


def read(folder):
    """The rows of a finished folder by id."""
    rows = load_columns(folder, ["id", "prompt", *COLUMNS]).to_pylist()
    return {row["id"]: row for row in rows}


def echo(body, attempt):
    prompt = body["messages"][-1]["content"]
    if prompt == "is refused":
        return Reply(status=400, error="too long")
    if prompt == "passes later" and attempt == 0:
        return Reply(status=503)
    return Reply(f"about {prompt[:20]}", reasoning="hm")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two generations of hostile rows, by a server that wants a key: its requests, the rows, the folder, the words."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch, ChatServer(echo, api_key="secret") as server:
        patch.setenv("MY_KEY", "secret")
        more = [
            "--num-generations",
            "2",
            "--temperature",
            "0.6",
            "--api-key-env",
            "MY_KEY",
            "--client-replicas",
            "2",
            "--input-batch-size",
            "4",
            "--prompt-template",
            "{{ instruction }}",
            "--system-prompt",
            "Be brief.",
        ]
        command = words(write_rows(folder, PROMPTS), folder / "out", server, *more)  # fmt: skip
        assert main(command) == 0
        yield server, read(folder / "out"), folder / "out", command


def test_every_row_comes_out_in_order(finished):
    _, rows, _, _ = finished
    assert [rows[number]["prompt"] for number in sorted(rows)] == PROMPTS


def test_generations_carry_their_reasoning(finished):
    _, rows, _, _ = finished
    assert rows[0]["generations"] == ["<think>\nhm\n</think>\n\nabout first"] * 2
    assert rows[0]["finish_reasons"] == ["stop", "stop"]
    assert rows[0]["api_metadata"][1]["prompt_tokens"] > 0


def test_rows_of_one_prompt_are_told_apart(finished):
    server, rows, _, _ = finished
    asked = Counter(body["messages"][-1]["content"] for body in server.requests)
    assert (asked["twice"], len(rows[1]["generations"]), len(rows[2]["generations"])) == (4, 2, 2)


@pytest.mark.parametrize(("number", "reason"), [(3, "null"), (4, "empty")])
def test_row_without_a_prompt_is_kept_and_not_asked(finished, number, reason):
    _, rows, _, _ = finished
    assert rows[number]["generations"] == [None, None]
    assert reason in rows[number]["api_metadata"][0]["error"]


def test_refused_request_is_null_and_does_not_take_its_batch_along(finished):
    server, rows, _, _ = finished
    assert (rows[5]["generations"], rows[5]["finish_reasons"]) == ([None, None], ["error", "error"])
    assert "too long" in rows[5]["api_metadata"][0]["error"]
    assert sum(body["messages"][-1]["content"] == "is refused" for body in server.requests) == 2


def test_request_that_failed_for_the_moment_is_asked_again(finished):
    _, rows, _, _ = finished
    assert rows[6]["finish_reasons"] == ["stop", "stop"]


def test_megabyte_and_braces_reach_the_server_as_they_are(finished):
    server, rows, _, _ = finished
    asked = {body["messages"][-1]["content"] for body in server.requests}
    assert {LONG, PROMPTS[-1]} <= asked
    assert rows[7]["finish_reasons"] == rows[8]["finish_reasons"] == ["stop", "stop"]


def test_only_what_was_set_is_sent(finished):
    server, _, _, _ = finished
    assert all(set(body) == {"model", "messages", "max_tokens", "temperature"} for body in server.requests)
    assert server.requests[0]["messages"][0] == {"role": "system", "content": "Be brief."}


def test_card_counts_failures_and_names_teacher_and_parent(finished):
    _, _, folder, _ = finished
    card = read_card(folder)
    [step] = card.steps
    assert (card.teacher["model"], card.sampling["temperature"]) == (MODEL, 0.6)
    assert card.parents[0].num_rows == len(PROMPTS)
    assert (step.detail["errors"], step.detail["rows_without_prompt"], step.detail["requests"]) == (2, 2, 14)


def test_nothing_but_the_result_is_left(finished):
    _, _, folder, _ = finished
    assert not (folder / ".distilabel").exists()
    assert not psutil.Process().children()


def test_finished_command_is_not_run_again(finished, caplog):
    server, _, _, command = finished
    before = len(server.requests)
    with caplog.at_level("INFO"):
        assert main(command) == 0
    assert "finished earlier" in caplog.text
    assert len(server.requests) == before


def test_other_settings_are_refused_with_what_differs(finished, caplog):
    _, _, _, command = finished
    assert main([*command, "--top-p", "0.5"]) == 1
    assert "top_p None -> 0.5" in caplog.text
    assert "--overwrite" in caplog.text


def test_failures_of_a_finished_output_are_asked_again_when_told_to(finished, caplog):
    """The last test on `finished`: it changes it."""
    server, rows, folder, command = finished
    before = len(server.requests)
    server.behave = lambda body, attempt: Reply("after all")
    assert main([*command, "--retry-errors"]) == 0
    assert len(server.requests) == before + 2
    assert read(folder)[5]["generations"] == ["after all"] * 2
    assert read(folder)[0] == rows[0]
    assert main([*command, "--retry-errors"]) == 1
    assert "nothing to retry" in caplog.text


@contextlib.contextmanager
def started(command):
    """The script in a process of its own; killed with its children at the end."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    script = [sys.executable, str(ROOT / "src" / "open_r1" / "generate.py"), *command]
    process = subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(condition, timeout_s=90.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


def processes_of(folder):
    """Processes whose command line names a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(folder) in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def test_killed_run_goes_on_without_loss_or_doubles(tmp_path):
    """The second shard is in flight when the kill comes: of its requests alone may any come twice."""
    with ChatServer(lambda body, attempt: Reply("4", delay_s=0.0 if "early" in str(body) else 1.0)) as server:
        prompts = [f"early {number}" for number in range(4)] + [f"late {number}" for number in range(6)]
        output = tmp_path / "out"
        command = words(write_rows(tmp_path, prompts), output, server, "--shard-size", "4", "--input-batch-size", "4")
        with started(command) as process:
            wait_until(lambda: any("late" in str(body) for body in server.requests))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            wait_until(lambda: not processes_of(tmp_path), timeout_s=10)
        assert len((output / "generations.jsonl").read_text().splitlines()) == 1 + 4
        assert main(command) == 0
        rows = read(output)
        asked = Counter(body["messages"][-1]["content"] for body in server.requests)
        assert [row["generations"] for row in rows.values()] == [["4"]] * 10
        assert [asked[f"early {number}"] for number in range(4)] == [1] * 4
        assert set(asked.values()) <= {1, 2}
        assert not (output / "generations.jsonl").exists()


def test_interrupted_run_says_so_and_leaves_no_process(tmp_path):
    with ChatServer(lambda body, attempt: Reply("4", delay_s=8)) as server:
        command = words(write_rows(tmp_path, ["a"]), tmp_path / "out", server)
        with started(command) as process:
            wait_until(lambda: server.requests)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=20)
            assert (process.returncode, output) == (130, "")
            assert "the same command goes on" in errors
            wait_until(lambda: not processes_of(tmp_path), timeout_s=10)


def shard_runner(tmp_path, server, **settings):
    pipeline = {"model": MODEL, "base_url": f"{server.url}/v1", "timeout": 60, "retries": 0, "input_batch_size": 64,
                "num_generations": 1, "use_ray": False}  # fmt: skip
    return ShardRunner(pipeline, tmp_path / "work", lambda: None, **settings)


def requests(count):
    return [{"key": f"row {number}", "index": 0, "instruction": f"say {number}"} for number in range(count)]


def test_hung_shard_is_killed_and_run_again(tmp_path, caplog):
    """A server that gives a byte now and then keeps a request going for ever, whatever its time limit."""

    def trickle_first(body, attempt):
        return Reply("4", trickle_s=0.0 if attempt else 1.0)

    with ChatServer(trickle_first) as server, Journal(tmp_path / "journal", {}) as journal:
        records = list(shard_runner(tmp_path, server, stall_s=6.0).run(requests(2), journal))
        assert [record["text"] for record in records] == ["4", "4"]
        assert "said nothing for" in caplog.text
        assert [len(server.requests), len(journal.finished)] == [4, 2]


def test_server_that_fails_always_ends_the_run_and_nothing_is_kept(tmp_path):
    with ChatServer(lambda body, attempt: Reply(status=500)) as server, Journal(tmp_path / "journal", {}) as journal:
        with pytest.raises(ShardError, match="20 requests failed, 20 of them with: HTTP 500: out of order"):
            list(shard_runner(tmp_path, server, attempts=1).run(requests(20), journal))
        assert len(journal.finished) == 0


def test_server_of_its_own_is_started_and_gone_at_the_end(tmp_path):
    rows = write_rows(tmp_path, ["a"], generations="an older column")
    command = ["--hf-dataset", str(rows), "--output-dir", str(tmp_path / "out"), "--model", "some/model", "--serve",
               "--serve-args=--served-model-name short", "--vllm", str(write_vllm(tmp_path / "bin")),
               "--drop-columns", "generations"]  # fmt: skip
    assert main(command) == 0
    assert read(tmp_path / "out")[0]["finish_reasons"] == ["stop"]
    assert not any(psutil.pid_exists(pid) for pid in read_pids(tmp_path / "bin"))


def test_result_is_pushed_when_named_and_refused_before_the_work(tmp_path, caplog):
    with ChatServer() as server:
        command = words(write_rows(tmp_path, ["a"]), tmp_path / "out", server, "--hf-output-dataset", "name/space/x")
        assert main(command) == 1
        assert "name/space/x" in caplog.text
        assert not server.requests


PIPELINE = """
import json, sys
from open_r1.generate import build_distilabel_pipeline
from distilabel.pipeline import Pipeline, RayPipeline
ray = build_distilabel_pipeline("m", use_ray=True)
pipeline = build_distilabel_pipeline(sys.argv[1], sys.argv[2], "problem", "Solve: {{ instruction }}", None, 0.9, 64, 2)
assert type(pipeline) is Pipeline and type(ray) is RayPipeline and "ray" not in sys.modules
distiset = pipeline.run(dataset=[{"problem": f"p{i}", "other": i} for i in range(3)], use_cache=False)
print("RESULT", json.dumps(distiset["default"]["train"].to_list()))
"""


def test_pipeline_is_distilabels_for_those_who_run_it_themselves(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "DISTILABEL_CACHE_DIR": str(tmp_path / "cache")}
    with ChatServer() as server:
        command = [sys.executable, "-c", PIPELINE, MODEL, f"{server.url}/v1"]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert run.returncode == 0, run.stderr
        rows = json.loads(run.stdout.partition("RESULT")[2])
        bodies = server.requests
    assert [(row["problem"], row["other"], len(row["generation"])) for row in rows] == [("p0", 0, 2), ("p1", 1, 2),
                                                                                       ("p2", 2, 2)]  # fmt: skip
    assert rows[0]["distilabel_metadata"][0]["statistics_text_generation_0"]["finish_reason"] == "stop"
    assert Counter(body["messages"][0]["content"] for body in bodies)["Solve: p1"] == 2
    assert (bodies[0]["top_p"], bodies[0]["max_tokens"], "temperature" in bodies[0]) == (0.9, 64, False)
