# SPDX-License-Identifier: Apache-2.0
"""The supervisor of a job with real processes: servers, work, signals and what becomes of them.

Slurm itself is tested in tests/slurm; `job_bed.py` says what stands for it here.
"""

import os
import signal
import socket
import time

import pytest

from open_r1.cluster.supervisor import STOP_FILE_VARIABLE
from open_r1.training import stopping
from tests.integration.job_bed import ASKS, IGNORES, SERVER, TIMEOUT_S, Bed, build_bed, python, server


@pytest.fixture
def bed(tmp_path) -> Bed:
    return build_bed(tmp_path)


@pytest.fixture
def port():
    """A port that only a server of the test listens on: nobody else is given it while it is bound."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def saves(bed) -> dict:
    """A trainer that saves when it is told to end, and all the time that it needs for that."""
    return {"work": bed.trainer(), "grace_s": TIMEOUT_S}


def test_trainer_and_supervisor_agree_on_the_variable():
    assert STOP_FILE_VARIABLE == stopping.STOP_FILE_VARIABLE


def test_time_limit_stops_the_work_and_requeues_the_job(bed):
    assert bed.start_and_signal("training", signal.SIGUSR1, work=bed.trainer()) == 0
    assert bed.requeued and not bed.left
    assert "train has stopped early, at step 5" in bed.log
    assert (bed.folder / "logs" / "a job-7" / "attempt-0" / "train.log").read_text() == "training\nsaved\n"


def test_work_that_ends_by_itself_is_not_requeued(bed):
    ends = (
        "import os, time\nprint('going', flush=True)\nstop = os.environ['OPEN_R1_STOP_FILE']\n"
        "while not os.path.exists(stop): time.sleep(0.02)\n"
        "os.unlink(stop)\ntime.sleep(2)\nassert not os.path.exists(stop)"  # pushes its model for some ticks
    )
    assert bed.start_and_signal("going", signal.SIGUSR1, work=[python("train", ends)]) == 0
    assert not bed.requeued and bed.log.count("asking the work to save and stop") == 1


def test_warning_that_came_before_the_supervisor_is_heeded(bed, monkeypatch):
    monkeypatch.setenv("OPEN_R1_JOB_IS_WARNED", "1")
    assert bed.run(work=bed.trainer()) == 0
    assert bed.requeued and "train has stopped early, at step 5" in bed.log


def test_files_of_another_job_with_the_same_number_are_not_taken_for_its_own(bed):
    folder = bed.folder / "logs" / "a job-7" / "attempt-0"
    folder.mkdir(parents=True)
    for name in ("stop", "stop.done", "no-progress"):
        (folder / name).write_text("{}")
    looks = "import os, sys\nsys.exit(os.path.exists(os.environ['OPEN_R1_STOP_FILE']))"
    assert bed.run(work=[python("train", looks)]) == 0
    assert not bed.requeued and list(folder.iterdir()) == [folder / "train.log"]


@pytest.mark.parametrize(("status", "expected"), [("3", 3), ("kill", 137)])
def test_status_of_the_work_is_that_of_the_job(bed, status, expected):
    fails = "import os, signal, sys\nos.kill(os.getpid(), 9) if sys.argv[1] == 'kill' else sys.exit(int(sys.argv[1]))"
    assert bed.run(work=[python("train", fails, status), python("next", "print('no')")]) == expected
    assert f"train ended with exit status {expected}" in bed.log
    assert "Starting next" not in bed.log and not bed.requeued


def test_deaf_work_is_requeued_before_the_limit_once_without_progress(bed):
    deaf = {"work": [python("train", IGNORES)], "left_s": 4}
    assert bed.start_and_signal("deaf", signal.SIGUSR1, **deaf) == 0
    assert bed.requeued and "has not stopped in time" in bed.log
    assert not bed.left
    (bed.state / "scontrol").unlink()
    (bed.folder / "log").unlink()
    assert bed.start_and_signal("deaf", signal.SIGUSR1, **deaf, restarts=1) == 1
    assert not bed.requeued and "Two attempts in a row" in bed.log


def test_progress_of_deaf_work_is_a_checkpoint_that_was_not_there_before(bed):
    saves = (
        "import pathlib, sys\nfolder = pathlib.Path(sys.argv[1]) / 'checkpoint-2'\nfolder.mkdir(parents=True)\n"
        "(folder / 'manifest.json').touch()\n" + IGNORES
    )
    mark = bed.folder / "logs" / "a job-7" / "attempt-0" / "no-progress"
    mark.parent.mkdir(parents=True)
    mark.touch()
    words = {"work": [python("train", saves, bed.folder / "output")], "restarts": 1, "left_s": 3}
    assert bed.start_and_signal("deaf", signal.SIGUSR1, **words) == 0
    assert bed.requeued
    assert not (bed.folder / "logs" / "a job-7" / "attempt-1" / "no-progress").exists()


def test_job_that_slurm_does_not_take_back_says_so(bed):
    (bed.state / "refuses").touch()
    assert bed.start_and_signal("training", signal.SIGUSR1, work=bed.trainer()) == 1
    assert "could not be requeued: no. Submit the same command again, without resume_from_checkpoint if" in bed.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_cancelled_job_lets_the_work_save_and_is_not_requeued(bed, port, number):
    (bed.state / "state").write_text("COMPLETING\n")
    assert bed.start_and_signal("training", number, servers=[server(port)], **saves(bed)) == 143
    assert "saved" in bed.log and not bed.requeued and not bed.left


def test_work_saves_while_slurm_is_too_busy_to_say_why_the_job_ends(bed):
    process = bed.start(work=bed.trainer(), grace_s=TIMEOUT_S)
    bed.wait_for("training")
    (bed.state / "busy").touch()
    process.send_signal(signal.SIGTERM)
    bed.wait_for("saved")
    (bed.state / "busy").unlink()
    assert process.wait(TIMEOUT_S) == 143


@pytest.mark.parametrize("has_handler", [False, True])  # like vLLM's, where Slurm signals tasks alone
def test_servers_answer_until_work_that_is_told_to_end_has_saved(bed, port, has_handler):
    serves = "import os, signal\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n" * has_handler + SERVER
    url = f"http://127.0.0.1:{port}/health"
    work = python("train", ASKS, bed.folder / "output", url)
    process = bed.start(servers=[[*python("serve", serves, port, 0), [url]]], work=[work], grace_s=TIMEOUT_S)
    bed.wait_for("training")
    for pid in bed.left:  # as Slurm does
        os.kill(pid, signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 143
    assert "saved" in bed.log and "serve ended with exit status" not in bed.log and not bed.left
    assert "Stopping train." not in bed.log or bed.log.index("Stopping train.") < bed.log.index("Stopping serve.")


def test_preempted_job_waits_until_slurm_takes_it_back(bed):
    process = bed.start(work=bed.trainer())
    bed.wait_for("training")
    bed.limit(600)
    (bed.state / "preemption").write_text(f"{int(time.time())}\n")
    process.send_signal(signal.SIGTERM)
    bed.wait_for("saved")
    assert process.poll() is None  # a job that has ended by itself is not requeued by Slurm
    (bed.state / "state").write_text("COMPLETING\n")
    assert process.wait(TIMEOUT_S) == 143
    assert not bed.requeued


@pytest.mark.parametrize("is_told", [False, True])  # Slurm signals the steps first, the supervisor a moment later
@pytest.mark.parametrize("is_server", [False, True])
def test_preempted_job_whose_program_dies_of_sigterm_waits_until_slurm_takes_it_back(bed, port, is_server, is_told):
    dies = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_DFL)\n" + IGNORES
    process = bed.start(
        servers=[server(port)] if is_server else [], on_time_limit="requeue", work=[python("work", dies)]
    )
    bed.wait_for("deaf")
    bed.limit(600)
    (bed.state / "preemption").write_text(f"{int(time.time())}\n")
    os.kill(bed.left[0], signal.SIGTERM)
    if is_told:
        process.send_signal(signal.SIGTERM)
    bed.wait_for("Told to end (SIGTERM)")
    name = "serve" if is_server else "work"
    assert is_told or f"{name} ended with exit status 143. Its log: " in bed.log
    assert process.poll() is None
    (bed.state / "state").write_text("COMPLETING\n")
    assert process.wait(TIMEOUT_S) == 143
    assert not bed.requeued and not bed.left


@pytest.mark.parametrize("is_server", [False, True])
def test_program_that_fails_after_the_job_was_suspended_ends_the_job(bed, port, is_server):
    (bed.state / "preemption").write_text(f"{int(time.time()) - 3600}\n")  # stays; the end is as far as before
    servers = [server(port, 0, 1)] if is_server else []
    work = python("work", IGNORES if is_server else "raise ValueError('bad row')")
    process = bed.start(servers=servers, work=[work])
    assert process.wait(TIMEOUT_S) == (9 if is_server else 1)
    assert ("no memory" if is_server else "work ended with exit status 1: ValueError: bad row") in bed.log
    assert "Told to end" not in bed.log and not bed.left


def test_work_does_not_start_when_the_job_is_told_to_end_as_its_servers_get_ready(bed, port):
    tells = "import psutil\n" + SERVER.replace(
        "self.send_response(200)", "psutil.Process().parents()[2].terminate(); self.send_response(200)"
    )
    url = f"http://127.0.0.1:{port}/health"
    assert bed.run(servers=[[*python("serve", tells, port, 0), [url]]], work=[python("work", IGNORES)]) == 143
    assert "Told to end (SIGTERM)" in bed.log and "Starting work" not in bed.log and not bed.left


def test_job_near_its_limit_that_is_told_to_end_does_not_keep_its_nodes(bed):
    bed.limit(500)
    assert bed.start_and_signal("training", signal.SIGTERM, **saves(bed)) == 143
    assert "saved" in bed.log and not bed.requeued


def test_work_that_slurm_alone_told_to_end_is_no_finished_work(bed):
    process = bed.start(work=bed.trainer())
    bed.wait_for("training")
    (trainer,) = bed.left
    os.kill(trainer, signal.SIGTERM)
    assert process.wait(TIMEOUT_S) == 143
    assert "has stopped early, at step 5" in bed.log and not bed.requeued


def test_work_starts_when_servers_answer_and_they_end_with_it(bed, port):
    assert bed.run(servers=[server(port, 0.5)], work=[python("train", "print('work')")]) == 0
    assert bed.log.index("All servers are ready") < bed.log.index("Starting train")
    assert not bed.left


def test_server_that_dies_ends_the_job_with_its_status_and_words(bed, port):
    assert bed.run(servers=[server(port, 0, 1)], work=[python("train", IGNORES)]) == 9
    assert "serve ended with exit status 9" in bed.log and "no memory" in bed.log
    assert not bed.left


def test_server_that_never_answers_ends_the_job(bed, port):
    assert bed.run(servers=[server(port, 1000)], work=[python("train", IGNORES)], deadline_s=1) == 1
    assert "Not ready after 1 s" in bed.log and "Starting train" not in bed.log
    assert not bed.left


def test_time_limit_before_servers_are_ready_counts_as_no_progress(bed, port):
    slow = {"servers": [server(port, 1000)], "work": [python("train", IGNORES)]}
    assert bed.start_and_signal("Starting serve", signal.SIGUSR1, **slow) == 0
    assert bed.requeued
    (bed.folder / "log").unlink()
    assert bed.start_and_signal("Starting serve", signal.SIGUSR1, **slow, restarts=1) == 1


@pytest.mark.parametrize(("policy", "status", "is_requeued"), [("requeue", 0, True), ("end", 143, False)])
def test_time_limit_of_a_service(bed, port, policy, status, is_requeued):
    service = {"servers": [server(port)], "on_time_limit": policy}
    assert bed.start_and_signal("All servers are ready", signal.SIGUSR1, **service) == status
    assert bed.requeued == is_requeued and not bed.left


def test_servers_that_are_never_ready_in_time_end_the_job_at_last(bed, port):
    loading = [[*python("serve", IGNORES), [f"http://127.0.0.1:{port}/health"]]]
    for restarts in (0, 1):
        (bed.folder / "log").write_text("")
        plan = {"servers": loading, "on_time_limit": "requeue", "restarts": restarts}
        assert bed.start_and_signal("Starting", signal.SIGUSR1, **plan) == restarts
    assert "before all servers were ready: the job is not requeued" in bed.log


def test_work_that_keeps_no_new_answer_is_requeued_once_and_then_given_up(bed):
    folder = bed.folder / "answers"
    folder.mkdir()
    (folder / "generations.jsonl").write_text(f"settings\n{'x' * 99}\n")  # of a job before this one
    plan = {"on_time_limit": "requeue", "answers_in": [str(folder)]}
    begins = "import sys\nopen(sys.argv[1], 'a').write(sys.argv[2])\n" + IGNORES
    adds = [python("generate", begins, folder / "generations.jsonl", "one more\n")]
    adds_nothing = [python("generate", begins, folder / "asking.jsonl", "a run\n")]
    for restarts, (work, status) in enumerate([(adds_nothing, 0), (adds, 0), (adds_nothing, 0), (adds_nothing, 1)]):
        (bed.folder / "log").write_text("")
        (bed.state / "scontrol").unlink(missing_ok=True)
        assert bed.start_and_signal("deaf", signal.SIGUSR1, work=work, restarts=restarts, **plan) == status
        assert bed.requeued == (status == 0) and not bed.left
    assert f"Two attempts in a row have ended without a new answer in {folder}: the job is not requeued" in bed.log
