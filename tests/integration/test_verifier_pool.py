# SPDX-License-Identifier: Apache-2.0
"""The verifier's worker processes, with judges that hang, crash, eat memory, print or get killed from outside."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from open_r1.rewards.verifier import pool as module_of_pools
from open_r1.rewards.verifier.pool import WorkerPool
from open_r1.rewards.verifier.schedule import Job, Queue
from open_r1.rewards.verifier.verdict import Verdict
from tests.distributed.launching import launch_command, run
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PYTHONPATH = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
JUDGES = "tests.integration.verifier_judges"
RIGHT, WRONG, TIMEOUT, CRASH = Verdict.RIGHT, Verdict.WRONG, Verdict.TIMEOUT, Verdict.CRASH
# Each with what becomes of an answer that does it; a gold that does it is unparsable, or None where None stands here.
DEATHS = {
    "burn 9": TIMEOUT,
    "sleep 90": TIMEOUT,
    "power": TIMEOUT,
    "eat 900": CRASH,
    "recurse": CRASH,
    "raise hello": CRASH,
    "raise \udc80\0": CRASH,
    "exit 0": CRASH,
    "exit 3": CRASH,
    "leave 0": CRASH,
    "kill SIGSEGV": CRASH,
    "kill SIGABRT": CRASH,
    "kill SIGFPE": CRASH,
    "kill SIGKILL": None,
    "kill SIGTERM": None,
}
GOOD = [("7", "7"), ("7", "8"), ("8", "8")]
# CPU seconds where a pair has to reach its limit: three times as long on the clock are enough for good ones beside it.
SHORT_S = 2.0


def make_pool(judge: str = "obey", warm_up: str = "prepare", **settings) -> WorkerPool:
    settings = {"num_workers": 2, "memory_mb": 64, **settings}
    return WorkerPool(judge=f"{JUDGES}:{judge}", warm_up=f"{JUDGES}:{warm_up}", **settings)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with contextlib.closing(make_pool()) as pool:
        yield pool


@pytest.fixture
def judge(pool) -> Callable[..., list[Verdict | None]]:
    return lambda *pairs, timeout_s=20, deadline_s=90: pool.judge(pairs, timeout_s=timeout_s, deadline_s=deadline_s)


def is_running(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def servers() -> list[psutil.Process]:
    """Return the servers with the judges of these tests; those of other tests may live as well."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended, or is a zombie
            found += [child] if is_running(child.pid) and JUDGES in str(child.cmdline()) else []
    return found


def workers() -> list[psutil.Process]:
    return [worker for server in servers() for worker in server.children()]


@contextlib.contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Runs `act` in a thread beside the body and hands on what it raises."""
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(act)
        yield
        future.result()


def kill_server_once(path: Path, number: int = signal.SIGKILL) -> None:
    """Sends a signal to the only server, once a judge has created the file."""
    wait_until(path.exists)
    [server] = servers()
    server.send_signal(number)


def kill_who_wrote(path: Path) -> None:
    """Kills the worker whose judge has written its number into the file."""
    wait_until(lambda: path.exists() and path.read_text())
    os.kill(int(path.read_text()), signal.SIGKILL)


# --- one bad pair among good ones


@pytest.mark.parametrize("command", DEATHS)
def test_only_the_pair_that_kills_its_worker_is_lost(judge, command):
    limit = {"timeout_s": SHORT_S} if DEATHS[command] is TIMEOUT else {}
    assert judge(GOOD[0], ("1", command), *GOOD[1:], **limit) == [RIGHT, DEATHS[command], WRONG, RIGHT]


@pytest.mark.parametrize("command", DEATHS)
def test_a_gold_that_kills_its_worker_is_unparsable(judge, command):
    expected = DEATHS[command] and Verdict.UNPARSABLE_GOLD
    limit = {"timeout_s": SHORT_S} if DEATHS[command] is TIMEOUT else {}
    assert judge(GOOD[0], (command, "1"), *GOOD[1:], **limit) == [RIGHT, expected, WRONG, RIGHT]


def test_what_a_judge_prints_reaches_neither_the_results_nor_the_terminal(judge, capfd):
    assert judge(("1", "print"), ("1", "print && right"), ("print", "1")) == [WRONG, RIGHT, WRONG]
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_ran_out_of_memory_does_not_spoil_the_next_pair(judge):
    for _ in range(3):
        assert judge(("1", "eat 900")) == [CRASH]
        assert judge(("1", "eat 30 && right")) == [RIGHT]


def test_a_failing_judge_is_logged_once_per_batch(judge, caplog):
    with caplog.at_level(logging.INFO, logger="open_r1"):
        judge(*((str(row), "raise hello") for row in range(5)))
    assert [record.getMessage() for record in caplog.records] == [
        "The algebra failed on some of 5 pairs: 5 x ValueError: hello"
    ]


@pytest.mark.parametrize("limits", [(0, 1), (-1, 1), (float("nan"), 1), (float("inf"), 1), (1, -1), (1, float("nan"))])
def test_limits_that_are_none_are_refused(judge, limits):
    with pytest.raises(ValueError, match="limits must be positive"):
        judge(("1", "1"), timeout_s=limits[0], deadline_s=limits[1])


def test_no_pairs_start_no_process(judge):
    assert judge() == []
    assert servers() == []


# --- killed or stopped from outside


def test_a_pair_whose_worker_is_killed_from_outside_is_judged_by_another(judge, tmp_path, caplog):
    started = tmp_path / "started"
    pairs = [("1", f"hang_once {tmp_path / 'hung'} && count {started} && right"), *GOOD]
    with meanwhile(lambda: kill_who_wrote(tmp_path / "hung")):
        assert judge(*pairs, timeout_s=60) == [RIGHT, RIGHT, WRONG, RIGHT]
    assert started.read_bytes() == b"x"
    assert [record.getMessage() for record in caplog.records] == [
        "Workers of the verifier were lost (1 x SIGKILL); pairs given up: 0 of 4"
    ]


def test_pairs_whose_workers_die_twice_are_given_up_and_logged_once(judge, caplog):
    assert judge(*((str(row), "kill SIGKILL") for row in range(4)), *GOOD) == [None] * 4 + [RIGHT, WRONG, RIGHT]
    assert [record.getMessage() for record in caplog.records] == [
        "Workers of the verifier were lost (8 x SIGKILL); pairs given up: 4 of 7"
    ]


def test_a_batch_goes_on_with_another_server_when_its_own_is_killed(judge, tmp_path, caplog):
    started = tmp_path / "started"
    pairs = [("1", f"hang_once {started} && right"), *GOOD]
    with meanwhile(lambda: kill_server_once(started)):
        assert judge(*pairs, timeout_s=60) == [RIGHT, RIGHT, WRONG, RIGHT]
    assert [record.getMessage() for record in caplog.records] == [
        "Workers of the verifier were lost (server ended with -9); pairs given up: 0 of 4"
    ]
    wait_until(lambda: len(servers()) == 1 and len(workers()) <= 2)


def test_pairs_that_kill_two_servers_are_given_up(judge):
    assert judge(("1", "kill_server"))[0] is None
    assert judge(*GOOD) == [RIGHT, WRONG, RIGHT]


def test_a_server_or_worker_killed_while_idle_is_replaced(judge, caplog):
    for find in (servers, workers, servers):
        judge(*GOOD)
        killed = find()[0].pid
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda killed=killed: not is_running(killed))
        assert judge(*GOOD) == [RIGHT, WRONG, RIGHT]
    assert caplog.records == []


def test_a_stopped_server_costs_the_batch_its_deadline_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(module_of_pools, "GRACE_S", 0.5)
    started = tmp_path / "started"
    start = time.monotonic()
    # One worker: the pair that hangs comes when all others have their verdicts.
    with contextlib.closing(make_pool(num_workers=1)) as pool:
        with meanwhile(lambda: kill_server_once(started, signal.SIGSTOP)):
            verdicts = pool.judge([*GOOD, ("1", f"hang_once {started}")], timeout_s=3, deadline_s=12)
        assert verdicts == [RIGHT, WRONG, RIGHT, TIMEOUT]
        assert time.monotonic() - start < 120
        assert pool.judge(GOOD, timeout_s=20, deadline_s=90) == [RIGHT, WRONG, RIGHT]
        assert len(servers()) == 1


def test_a_server_that_is_held_up_at_the_deadline_is_not_lost(judge, tmp_path, caplog):
    judge(GOOD[0])
    before = servers()
    started = tmp_path / "started"
    start = time.monotonic()

    def hold_up():
        wait_until(started.exists)
        before[0].send_signal(signal.SIGSTOP)
        time.sleep(max(start + 4.0 - time.monotonic(), 0.0))  # twice as long as the batch may take
        before[0].send_signal(signal.SIGCONT)

    with meanwhile(hold_up):
        assert judge(("1", f"count {started} && sleep 300"), timeout_s=300, deadline_s=2.0) == [TIMEOUT]
    assert caplog.messages == []
    assert servers() == before


def test_a_stopped_worker_counts_as_busy(judge):
    assert judge(("1", "kill SIGSTOP"), *GOOD, timeout_s=SHORT_S) == [TIMEOUT, RIGHT, WRONG, RIGHT]


def test_a_server_that_cannot_start_gives_no_verdict_and_says_why(caplog):
    with contextlib.closing(make_pool(warm_up="fail_to_start")) as pool:
        assert pool.judge(GOOD, timeout_s=1, deadline_s=90) == [None] * 3
    assert servers() == []
    assert "RuntimeError: no algebra system on this machine" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_a_batch_is_handed_on_and_leaves_the_pool_usable(judge, tmp_path):
    started = tmp_path / "started"
    judge(GOOD[0])

    def interrupt():
        wait_until(started.exists)
        os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(interrupt), pytest.raises(KeyboardInterrupt):
        judge(("1", f"hang_once {started}"), timeout_s=60)
    assert servers() == []
    assert judge(*GOOD) == [RIGHT, WRONG, RIGHT]


# --- time


def test_a_batch_ends_at_its_deadline_when_workers_only_sleep(judge):
    judge(GOOD[0])
    start = time.monotonic()
    assert judge(*((str(row), "sleep 300") for row in range(8)), timeout_s=300, deadline_s=0.5) == [TIMEOUT] * 8
    assert 0.5 <= time.monotonic() - start < 120
    assert judge(*GOOD) == [RIGHT, WRONG, RIGHT]


def test_hostile_pairs_do_not_keep_good_ones_from_being_judged(judge):
    hostile = [(f"h{row}", "burn 90" if row % 2 else "power") for row in range(4)]
    good = [(str(row), str(row)) for row in range(12)]
    # Two workers would be busy with the limits of the first two for longer than the batch may take.
    assert judge(*hostile, *good, timeout_s=60, deadline_s=8) == [TIMEOUT] * 4 + [RIGHT] * 12


def test_a_gold_that_hangs_costs_its_time_once_and_not_once_per_answer(judge, tmp_path):
    tries = tmp_path / "tries"
    pairs = [(f"count {tries} && burn 9", str(answer)) for answer in range(16)]
    assert judge(*pairs, timeout_s=0.6) == [Verdict.UNPARSABLE_GOLD] * 16
    assert len(tries.read_bytes()) <= 4


def test_equal_pairs_are_judged_once(judge, tmp_path):
    tries = tmp_path / "tries"
    assert judge(*[("1", f"count {tries} && right")] * 8) == [RIGHT] * 8
    assert tries.read_bytes() == b"x"


def test_the_limit_counts_cpu_seconds_and_not_those_without_a_core(judge):
    work = "burn 0.2 && sleep 6 && right"  # longer than the limit, but for a busy machine not too long
    assert judge(("1", work), ("2", work), timeout_s=5) == [RIGHT, RIGHT]


def test_the_limit_does_not_count_what_earlier_pairs_took(judge):
    for row in range(4):
        assert judge((str(row), "burn 0.8 && right"), timeout_s=3) == [RIGHT]


def test_a_worker_keeps_the_gold_it_knows():
    queue = filled_queue(b"a", b"b", b"c", b"a", b"b", b"a")
    asked = [(None, set()), (b"a", {b"b"}), (b"c", {b"a"}), (None, {b"a", b"b"}), (None, {b"a", b"b"})]
    taken = [queue.take(last_gold, elsewhere, time_left_s=15)[0] for last_gold, elsewhere in asked]
    assert [job.number for job in taken] == [0, 3, 2, 1, 5]
    assert queue.num_waiting == 1


def test_slices_grow_until_there_is_time_for_the_whole_limit():
    queue = filled_queue(*(str(row).encode() for row in range(32)))
    slices_s = []
    for _ in range(3 * 32):
        job, is_last = queue.take(None, set(), time_left_s=15)
        assert not is_last
        slices_s.append(job.slice_s)
        queue.put_back(job, with_gold=False)
    assert slices_s == [0.25] * 32 + [0.5] * 32 + [1.0] * 32
    few = filled_queue(b"a", b"b", b"c")
    job, is_last = few.take(None, set(), time_left_s=15)
    assert (job.slice_s, is_last) == (5, True)


def filled_queue(*golds: bytes) -> Queue:
    queue = Queue(timeout_s=5, num_workers=2)
    for number, gold in enumerate(golds):
        queue.put(Job(number, gold, b""))
    return queue


# --- where it is called from


def test_threads_judge_at_once_and_get_their_own_verdicts(judge):
    def rows(thread: int) -> list[Verdict | None]:
        return judge((f"{thread}", f"{thread}"), (f"{thread}", "sleep 0.2"), ("1", f"raise {thread}"), *GOOD)

    # More than there may be servers.
    with ThreadPoolExecutor(6) as executor:
        assert list(executor.map(rows, range(12))) == [[RIGHT, WRONG, CRASH, RIGHT, WRONG, RIGHT]] * 12
    assert len(servers()) <= 4
    assert len(workers()) <= 8


def test_a_running_event_loop_is_no_obstacle(judge):
    async def ask() -> list[Verdict | None]:
        return judge(*GOOD, ("1", "burn 9"), timeout_s=SHORT_S)

    assert asyncio.run(ask()) == [RIGHT, WRONG, RIGHT, TIMEOUT]


def test_a_thread_that_blocks_every_signal_gets_its_time_limits(judge):
    def ask() -> list[Verdict | None]:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        return judge(("1", "power"), ("1", "kill SIGSEGV"), timeout_s=SHORT_S)

    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(ask).result() == [TIMEOUT, CRASH]


@pytest.mark.parametrize("name", ["SIGCHLD", "SIGPROF", "SIGINT", "SIGPIPE"])
def test_signals_that_the_parent_ignores_make_no_difference(judge, name):
    before = signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        assert judge(("1", "kill_server")) == [None]
        assert judge(("1", "power"), *GOOD, timeout_s=SHORT_S) == [TIMEOUT, RIGHT, WRONG, RIGHT]
    finally:
        signal.signal(getattr(signal, name), before)


def test_a_process_with_more_files_than_select_can_watch(judge):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_000), max(hard, 2_000)))
    with contextlib.ExitStack() as stack:
        for _ in range(1_100):
            stack.enter_context(Path(os.devnull).open("rb"))
        assert judge(*GOOD) == [RIGHT, WRONG, RIGHT]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def in_fork(act: Callable[[], bool]) -> bool:
    """Return whether `act` returned true in a forked child."""
    child = os.fork()
    if child == 0:
        is_true = False
        try:
            is_true = act()
        finally:
            os._exit(0 if is_true else 1)
    return os.waitpid(child, 0)[1] == 0


def test_a_forked_child_starts_its_own_server_and_leaves_its_parents_alone(judge):
    judge(*GOOD)
    [server] = servers()

    def ask() -> bool:
        verdicts = judge(*GOOD, ("1", "burn 9"), timeout_s=SHORT_S)
        return verdicts == [RIGHT, WRONG, RIGHT, TIMEOUT] and len(servers()) == 1

    assert in_fork(ask)
    assert judge(*GOOD) == [RIGHT, WRONG, RIGHT]
    assert servers() == [server]


def test_a_child_forked_while_another_thread_judges_is_not_locked_out(judge, tmp_path):
    started = tmp_path / "started"

    def fork_and_ask() -> bool:
        wait_until(started.exists)
        return in_fork(lambda: judge(*GOOD) == [RIGHT, WRONG, RIGHT])

    with ThreadPoolExecutor(1) as executor:
        answer = executor.submit(fork_and_ask)
        assert judge(("1", f"count {started} && sleep 0.5 && right")) == [RIGHT]
        assert answer.result()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    """What two ranks of an `accelerate launch` found."""
    folder = tmp_path_factory.mktemp("ranks")
    script = Path(__file__).with_name("verifier_ranks.py")
    words = launch_command("ddp", str(script), folder, options=["--num_processes", "2"])
    ended = run(words, PYTHONPATH=PYTHONPATH)
    assert ended.exit_code == 0, ended.output
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


EXPECTED_OF_RANKS = ["right", "wrong", "timeout", "crash", "right"]


def test_every_rank_of_a_launch_judges(ranks):
    assert [rank["num_ranks"] for rank in ranks] == [2, 2]
    assert [rank[call] for rank in ranks for call in ("own", "own_again")] == [EXPECTED_OF_RANKS] * 4


def test_a_forked_data_loader_worker_judges(ranks):
    assert [rank["loaded"] for rank in ranks] == [[EXPECTED_OF_RANKS] * 2] * 2
    assert all(own != worker for own, worker in (rank["pids"] for rank in ranks))


def test_no_rank_leaves_a_process_behind(ranks):
    assert all(2 <= len(rank["processes"]) <= 3 for rank in ranks)
    wait_until(lambda: not any(is_running(pid) for rank in ranks for pid in rank["processes"]))


def test_ranks_share_the_cores(environment):
    environment["LOCAL_WORLD_SIZE"] = "1000"
    with contextlib.closing(make_pool(num_workers=None)) as pool:
        pool.judge([(str(row), "sleep 0.05") for row in range(8)], timeout_s=10, deadline_s=90)
        assert len(workers()) == 2


# --- what is left behind


def run_parent(*words: str) -> tuple[subprocess.Popen, list[int]]:
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", Path(__file__).with_name("verifier_parent.py"), *words],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ids = [int(word) for word in process.stdout.readline().split()]
    assert ids, process.communicate()[1]
    return process, ids


@pytest.mark.parametrize(
    "words", ["idle", "busy burn 30", "busy power", "busy sleep 30", "fork burn 30", "fork sleep 30"]
)
def test_no_process_is_left_when_the_parent_is_killed(words):
    process, ids = run_parent(*words.split())
    time.sleep(0.1)
    sibling = ids.pop(0) if words.startswith("fork") else None
    process.kill()
    wait_until(lambda: not any(is_running(pid) for pid in ids))
    assert sibling is None or is_running(sibling)
    if sibling is not None:
        os.kill(sibling, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("words", ["exit", "daemon sleep 30", "daemon power"])
def test_a_program_that_ends_leaves_no_process_and_prints_nothing(words):
    process, ids = run_parent(*words.split())
    assert process.communicate(timeout=120) == ("", "")
    assert process.returncode == 0
    wait_until(lambda: not any(is_running(pid) for pid in ids))


def test_two_hundred_batches_leave_nothing_behind(judge):
    def count() -> tuple[int, int, int]:
        gc.collect()
        # Zombies count as well.
        return len(psutil.Process().children(recursive=True)), psutil.Process().num_fds(), sum_memory_mb()

    def sum_memory_mb() -> int:
        # Without the pages of files, which come and go with the machine's free memory.
        found = [process.memory_info() for process in (psutil.Process(), *servers())]
        return sum(memory.rss - memory.shared for memory in found) // 2**20

    def run(batches: range) -> None:
        for batch in batches:
            bad = ["raise x", "kill SIGSEGV", "kill SIGKILL", "exit 1"][batch % 4]
            pairs = [("7", str(batch)), ("8", "x" * 100_000), *GOOD] + ([("1", bad)] if batch % 2 else [])
            judge(*pairs, timeout_s=2)
            if batch % 50 == 49:
                judge(("1", "burn 9"), timeout_s=0.05)
                servers()[0].kill()

    run(range(50))
    judge(*GOOD)
    processes, files, memory_mb = count()
    run(range(50, 250))
    judge(*GOOD)
    processes_after, files_after, memory_after_mb = count()
    assert (processes_after, files_after) == (processes, files)
    assert memory_after_mb <= memory_mb + 8


def test_a_closed_pool_leaves_nothing_and_can_be_used_again():
    gc.collect()  # files that earlier tests have left open
    files = psutil.Process().num_fds()
    pool = make_pool()
    for _ in range(2):
        assert pool.judge(GOOD, timeout_s=10, deadline_s=90) == [RIGHT, WRONG, RIGHT]
        pool.close()
        assert servers() == []
        assert psutil.Process().num_fds() == files


def test_servers_have_one_thread_no_torch_and_sympy_only_for_calculus(caplog):
    real = {"judge": f"{JUDGES}:describe_process", "warm_up": "open_r1.rewards.verifier.judge:warm_up"}
    with contextlib.closing(WorkerPool(**real)) as pool, caplog.at_level(logging.INFO, logger="open_r1"):
        pool.judge([("1", "1")], timeout_s=10, deadline_s=90)
        assert "threads=1 torch=False sympy=False" in caplog.text
        pool.judge([("1", r"\int_0^1 x dx")], timeout_s=10, deadline_s=90)
        assert "threads=1 torch=False sympy=True" in caplog.text


# --- texts


TEXTS = {
    "surrogates": "\ud83d\ude00 \udcff \ud800",
    "null bytes": "\0" * 100,
    "line ends": "a\r\nb\n\r\u2028",
    "empty": "",
    "a million characters": "x" * 1_000_000,
    "a million beyond latin": "\U0001f600" * 1_000_000,
    "like a verdict": '\xff\x00END{"index": 4294967294}',
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_reach_the_judge_as_they_are(judge, name):
    text = TEXTS[name]
    pairs = [(text, text), (text, f"{text}x"), ("1", text), (text, "1"), (text, None)]
    assert judge(*pairs, timeout_s=5) == [RIGHT, WRONG, WRONG, WRONG, Verdict.NO_ANSWER]


def test_full_pipes_do_not_block(judge):
    long = [(f"{row}" + "x" * 1_000_000, f"{row}" + "x" * 1_000_000) for row in range(12)]
    many = [(str(row // 4), str(row)) for row in range(8_000)]
    verdicts = judge(*long, *many, timeout_s=5, deadline_s=600)
    assert verdicts[:12] == [RIGHT] * 12
    assert verdicts[12:] == [RIGHT if row // 4 == row else WRONG for row in range(8_000)]
