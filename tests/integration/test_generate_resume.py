# SPDX-License-Identifier: Apache-2.0
"""generate.py through kills, hangs and outages; and its pipeline in the hands of others."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter

import pytest

from open_r1.generate import main
from open_r1.generation.distil_shards import ShardError, ShardRunner
from open_r1.generation.journal import Journal
from tests.conftest import ROOT
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply, chat_server_process
from tests.integration.generate_runs import processes_of, read, started, words, write_rows
from tests.waiting import wait_until


def test_killed_run_goes_on_without_loss_or_doubles(tmp_path):
    """The second shard is in flight when the kill comes: of its requests alone may any come twice."""
    with ChatServer(lambda body, attempt: Reply("4", delay_s=0.0 if "early" in str(body) else 600.0)) as server:
        prompts = [f"early {number}" for number in range(4)] + [f"late {number}" for number in range(6)]
        output = tmp_path / "out"
        command = words(
            write_rows(tmp_path, prompts), output, server.url, "--shard-size", "4", "--input-batch-size", "4"
        )
        with started(command) as process:
            wait_until(lambda: any("late" in str(body) for body in server.requests))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            wait_until(lambda: not processes_of(tmp_path))
        assert len((output / "generations.jsonl").read_text().splitlines()) == 1 + 4
        server.behave = lambda body, attempt: Reply("4")
        assert main(command) == 0
        rows = read(output)
        asked = Counter(body["messages"][-1]["content"] for body in server.requests)
        assert [row["generations"] for row in rows.values()] == [["4"]] * 10
        assert [asked[f"early {number}"] for number in range(4)] == [1] * 4
        assert set(asked.values()) <= {1, 2}
        assert not (output / "generations.jsonl").exists()


def test_interrupted_run_says_so_and_leaves_no_process(tmp_path):
    with chat_server_process("--latency-s", "600") as address:

        def is_asked():
            with urllib.request.urlopen(f"http://{address}/health", timeout=60) as reply:
                return json.loads(reply.read())["most_in_flight"] > 0

        command = words(write_rows(tmp_path, ["a"]), tmp_path / "out", f"http://{address}")
        with started(command) as process:
            wait_until(is_asked)
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=120)
            assert (process.returncode, output) == (130, "")
            assert "the same command goes on" in errors
            wait_until(lambda: not processes_of(tmp_path))


def shard_runner(tmp_path, server, **settings):
    pipeline = {
        "model": MODEL,
        "base_url": f"{server.url}/v1",
        "timeout": 60,
        "retries": 0,
        "input_batch_size": 64,
        "num_generations": 1,
        "use_ray": False,
    }
    return ShardRunner(pipeline, tmp_path / "work", lambda: None, **settings)


def test_servers_of_the_cluster_are_asked_without_a_proxy(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "mine")
    for base_url, hosts in (("http://node1:20000/v1", ",node1"), ("https://api.elsewhere.org/v1", "")):
        runner = ShardRunner({"base_url": base_url}, tmp_path, lambda: None, stall_s=1.0)
        environment = runner._environment()
        assert environment["NO_PROXY"] == environment["no_proxy"] == f"localhost,127.0.0.1{hosts},mine"


def requests(count):
    return [{"key": f"row {number}", "index": 0, "instruction": f"say {number}"} for number in range(count)]


def test_hung_shard_is_killed_and_run_again(tmp_path, caplog):
    """A server that gives a byte now and then keeps a request going for ever, whatever its time limit."""
    patience = {"starts": 600.0, "has asked": 2.0}  # its start is no silence of a server, however long it takes

    def trickle_first(body, attempt):
        if len(server.requests) == 2:
            runner.stall_s = patience["has asked"]
        return Reply("4", trickle_s=0.0 if attempt else 1.0)

    with ChatServer(trickle_first) as server, Journal(tmp_path / "journal", {}) as journal:
        runner = shard_runner(tmp_path, server, stall_s=patience["starts"])
        runner.check = lambda: setattr(runner, "stall_s", patience["starts"])
        records = list(runner.run(requests(2), journal))
        assert [record["text"] for record in records] == ["4", "4"]
        assert "said nothing for" in caplog.text
        assert [len(server.requests), len(journal.finished)] == [4, 2]


def test_server_that_fails_always_ends_the_run_and_nothing_is_kept(tmp_path):
    with ChatServer(lambda body, attempt: Reply(status=500)) as server, Journal(tmp_path / "journal", {}) as journal:
        with pytest.raises(ShardError, match="20 requests failed, 20 of them with: HTTP 500: out of order"):
            list(shard_runner(tmp_path, server, attempts=1).run(requests(20), journal))
        assert len(journal.finished) == 0


def test_server_that_refuses_the_key_ends_the_run_at_once_and_no_row_has_failed(tmp_path):
    def behave(body, attempt):
        return Reply("4") if "say 0" in str(body) else Reply(status=401, error="no such key")

    with ChatServer(behave) as server, Journal(tmp_path / "journal", {}) as journal:
        with pytest.raises(ShardError, match=r"4 requests failed, .* HTTP 401: no such key.*mend the key"):
            list(shard_runner(tmp_path, server).run(requests(5), journal))
        assert [record["text"] for record in journal.records()] == ["4"]
        assert len(server.requests) == 5


def test_prompt_that_a_gateway_refuses_is_its_own_failure(tmp_path):
    def behave(body, attempt):
        return Reply(status=403, raw=b"<html>blocked</html>") if "say 1" in str(body) else Reply("4")

    with ChatServer(behave) as server, Journal(tmp_path / "journal", {}) as journal:
        records = list(shard_runner(tmp_path, server).run(requests(4), journal))
        assert sorted(str(record["error"]) for record in records) == ["HTTP 403: <html>blocked</html>", *["None"] * 3]
        assert len(server.requests) == 4


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
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert run.returncode == 0, run.stderr
        rows = json.loads(run.stdout.partition("RESULT")[2])
        bodies = server.requests
    assert [(row["problem"], row["other"], len(row["generation"])) for row in rows] == [
        ("p0", 0, 2),
        ("p1", 1, 2),
        ("p2", 2, 2),
    ]
    assert rows[0]["distilabel_metadata"][0]["statistics_text_generation_0"]["finish_reason"] == "stop"
    assert Counter(body["messages"][0]["content"] for body in bodies)["Solve: p1"] == 2
    assert (bodies[0]["top_p"], bodies[0]["max_tokens"], "temperature" in bodies[0]) == (0.9, 64, False)
