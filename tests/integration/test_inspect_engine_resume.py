# SPDX-License-Identifier: Apache-2.0
"""The inspect engine goes on: after kills, signals, torn logs and full disks; and leaves no traces."""

import contextlib
import logging
import os
import resource
import signal

import pytest
from inspect_ai._util import logger as inspect_logger
from inspect_ai.log import read_eval_log

from scripts.run_benchmarks import main
from tests.integration.benchmark_runs import mostly_right, number_of
from tests.integration.fakes.chat_server import ChatServer, Reply
from tests.integration.inspect_runs import folder_of, kept, logs_of, results_of, started, words, write_sums
from tests.waiting import wait_until


@pytest.fixture
def evaluate(tmp_path):
    """Return what runs the script in this process, and gives its exit status."""
    write_sums(tmp_path)
    return lambda server, *more: main(words(tmp_path, server.address, "--num_samples", 4, *more))


def wait_for(condition, process):
    """Wait until a condition holds, while the process, which may take long to start, runs."""

    def holds():
        assert process.poll() is None, process.communicate()
        return condition()

    wait_until(holds, timeout_s=300.0)


def test_a_killed_run_goes_on_where_it_was_and_leaves_one_whole_log(tmp_path):
    write_sums(tmp_path)
    is_open = False

    def behave(body, attempt):
        waits = not is_open and len(server.requests) > 12
        return Reply("\\boxed{1}", delay_s=600.0) if waits else mostly_right(body, attempt)

    with ChatServer(behave) as server:
        process = started(tmp_path, server.address, "--num_samples", "4", "--max_concurrent", "2")
        # The last requests may come a moment after the twelfth answer is in the journal.
        wait_for(lambda: kept(tmp_path) == 12 and len(server.requests) == 14, process)
        process.kill()
        process.communicate()
        assert not (folder_of(tmp_path) / "results.json").exists()
        is_open = True
        again = started(tmp_path, server.address, "--num_samples", "4")
        out, err = again.communicate()
        assert again.returncode == 0, err
        assert len(server.requests) == 16 + 2
    assert "16 of 16 answers to 4 problems" in out
    assert results_of(tmp_path)["metrics"]["avg@4"] == 0.75
    (log,) = logs_of(tmp_path)
    assert (read_eval_log(str(log)).status, len(read_eval_log(str(log)).samples)) == ("success", 16)


def test_a_signal_lets_requests_in_flight_end_and_keeps_what_there_is(evaluate, tmp_path, capsys):
    def behave(body, attempt):
        if len(server.requests) == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return Reply(mostly_right(body, attempt).text, delay_s=0.05)

    with ChatServer(behave) as server:
        assert evaluate(server, "--max_concurrent", 2) == 128 + signal.SIGTERM
        assert "Repeat the command to go on" in capsys.readouterr().err
        asked = len(server.requests)
        assert 6 <= kept(tmp_path) == asked < 16
        assert not (folder_of(tmp_path) / "results.json").exists()
        assert read_eval_log(str(logs_of(tmp_path)[0])).status == "cancelled"
        server.behave = mostly_right
        assert evaluate(server) == 0
        assert len(server.requests) == 16
    assert len(logs_of(tmp_path)) == 1


def test_ctrl_c_ends_the_run_and_says_how_it_goes_on(evaluate, tmp_path, capsys, ctrl_c):
    def behave(body, attempt):
        if len(server.requests) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return mostly_right(body, attempt)

    with ChatServer(behave) as server:
        assert evaluate(server, "--max_concurrent", 1) == 128 + signal.SIGINT
    assert "Stopped by SIGINT" in capsys.readouterr().err
    assert 3 <= kept(tmp_path) < 16


def test_a_second_signal_drops_what_is_in_flight(evaluate, tmp_path):
    def behave(body, attempt):
        if len(server.requests) > 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            return Reply("too late", delay_s=600.0)
        return mostly_right(body, attempt)

    with ChatServer(behave) as server:
        assert evaluate(server, "--max_concurrent", 1) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert kept(tmp_path) == 3


def test_a_finished_run_asks_nothing_and_more_samples_only_for_those(evaluate, tmp_path, capsys):
    with ChatServer(mostly_right) as server:
        evaluate(server)
        evaluate(server)
        assert "(finished earlier)" in capsys.readouterr().out
        assert len(server.requests) == 16
        assert evaluate(server, "--num_samples", 5) == 0
        assert len(server.requests) == 20
    assert results_of(tmp_path)["engine_metrics"]["avg@5"] == results_of(tmp_path)["metrics"]["avg@5"] == 0.8


def test_results_that_are_lost_are_made_from_the_log_that_is_there(evaluate, tmp_path):
    with ChatServer(mostly_right) as server:
        evaluate(server)
        before = results_of(tmp_path)
        (folder_of(tmp_path) / "results.json").unlink()
        assert evaluate(server) == 0
        assert len(server.requests) == 16
    assert len(logs_of(tmp_path)) == 1
    assert results_of(tmp_path)["engine_metrics"] == before["engine_metrics"]


def test_a_torn_log_is_made_anew_without_a_request(evaluate, tmp_path, caplog):
    with ChatServer(mostly_right) as server:
        evaluate(server)
        (torn,) = logs_of(tmp_path)
        torn.write_bytes(torn.read_bytes()[:2000])
        (folder_of(tmp_path) / "results.json").unlink()
        assert evaluate(server) == 0
        assert len(server.requests) == 16
    assert f"{torn} can't be read" in caplog.text
    whole = next(log for log in logs_of(tmp_path) if log != torn)
    assert read_eval_log(str(whole)).status == "success"
    assert results_of(tmp_path)["engine_metrics"]["avg@4"] == 0.75


def test_other_golds_are_scored_anew_without_a_request(evaluate, tmp_path):
    with ChatServer(mostly_right) as server:
        evaluate(server, "--num_samples", 1)
        rows = [f'{{"problem": "Compute {n}+1", "solution": "{n + 1}", "gold": "{n}"}}\n' for n in range(4)]
        (tmp_path / "sums.jsonl").write_text("".join(rows))
        evaluate(server, "--num_samples", 1, "--solution_column", "gold", "--overwrite")
    assert results_of(tmp_path)["metrics"]["avg@1"] == results_of(tmp_path)["engine_metrics"]["avg@1"] == 0.0


def test_other_settings_are_refused_or_put_aside(evaluate, tmp_path, capsys):
    with ChatServer(mostly_right) as server:
        evaluate(server, "--num_samples", 1)
        assert evaluate(server, "--num_samples", 1, "--temperature", 0.2) == 1
        assert "temperature was 0.6 and is now 0.2" in capsys.readouterr().err
        assert evaluate(server, "--num_samples", 1, "--temperature", 0.2, "--overwrite") == 0
    assert len(logs_of(tmp_path)) == len(list((tmp_path / "out").rglob("sums-inspect.1/inspect/*.eval"))) == 1


@pytest.mark.parametrize(
    ("padding", "most_bytes", "said"),
    [(5_000, 30_000, "Cannot write to"), (0, 12_000, "A full disk is the usual reason")],
    ids=["journal", "log"],
)
def test_a_disk_that_is_full_is_named_and_the_run_goes_on_when_there_is_room(
    evaluate, tmp_path, capsys, monkeypatch, padding, most_bytes, said
):
    # A process has one log of inspect's errors, of its first run: that of an earlier test, whose folder is gone.
    monkeypatch.setitem(inspect_logger._logHandler, "handler", None)
    monkeypatch.setattr(logging.getLogger("inspect_ai"), "handlers", [])

    def behave(body, attempt):
        return Reply("." * padding + mostly_right(body, attempt).text)

    with ChatServer(behave) as server:
        with files_of_at_most(most_bytes):
            assert evaluate(server, "--max_concurrent", 1) == 1
        assert said in capsys.readouterr().err.splitlines()[-1]
        left, asked = 16 - kept(tmp_path), len(server.requests)
        assert left < 16
        assert evaluate(server) == 0
        assert len(server.requests) == asked + left
    assert results_of(tmp_path)["metrics"]["avg@4"] == 0.75


@contextlib.contextmanager
def files_of_at_most(most_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_nothing_is_written_outside_the_output_nor_shown_but_lines(tmp_path):
    write_sums(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    hostile = {
        "HOME": str(home),
        "INSPECT_TELEMETRY": "no.such_module",
        "INSPECT_LOG_DIR": str(home / "logs"),
        "INSPECT_DISPLAY": "full",
        "XDG_DATA_HOME": str(home / "data"),
    }
    with ChatServer(mostly_right) as server:
        process = started(tmp_path, server.address, "--num_samples", "1", **hostile)
        out, err = process.communicate()
    assert process.returncode == 0, err
    assert not list(home.iterdir())
    assert len(out.splitlines()) <= 4
    assert all(line.partition(":")[0] in {"INFO", "WARNING"} for line in err.splitlines()), err
    assert not [path for path in tmp_path.iterdir() if path.name not in {"home", "out", "sums.jsonl"}]


def test_answers_in_flight_are_judged_once_all_have_come(evaluate, tmp_path):
    """A slow answer keeps no other from being judged: the run ends with it."""

    def behave(body, attempt):
        return Reply(mostly_right(body, attempt).text, delay_s=0.5 if number_of(body) == 3 else 0.0)

    with ChatServer(behave) as server:
        assert evaluate(server) == 0
    assert results_of(tmp_path)["metrics"]["avg@4"] == 0.75
