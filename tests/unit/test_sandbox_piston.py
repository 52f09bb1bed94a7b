# SPDX-License-Identifier: Apache-2.0
"""Piston without a server: places and turns of the pool, and answers of both versions read as outcomes."""

import asyncio
import math
from unittest import mock

import pytest

from open_r1.sandbox import COMPILE_LIMITS, Limits, Outcome, SandboxError, piston_pool
from open_r1.sandbox.piston_packages import read_package_run
from open_r1.sandbox.piston_pool import PistonPool, backoff_s
from open_r1.sandbox.piston_replies import Reply, outcome_of, program_run, read_stage

PYTHON = ("python",)
LIMITS = Limits(cpu_s=2, memory_mb=100, output_bytes=1000)


class Cluster:
    """Endpoints by URL with what they have; those without anything refuse."""

    def __init__(self, **runtimes):
        self.runtimes, self.asked = runtimes, []

    async def ask(self, url):
        self.asked.append(url)
        if not self.runtimes[url]:
            raise ConnectionError("refused")
        return frozenset(self.runtimes[url])

    def pool(self, places_each=1, max_outage_s=20.0, **settings):
        settings |= {"max_outage_s": max_outage_s, "first_delay_s": 0.01}
        return PistonPool(list(self.runtimes), places_each, self.ask, **settings)


def in_a_loop(test):
    """Runs a test that is a coroutine."""

    def run():
        asyncio.run(asyncio.wait_for(test(), 60))

    run.__name__ = test.__name__
    return run


@in_a_loop
async def test_who_waits_is_served_in_turn():
    pool, order = Cluster(a=PYTHON).pool(), []

    async def job(number):
        async with pool.place(PYTHON):
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(job(number) for number in range(20)))
    assert order == list(range(20)) and pool.endpoints[0].free == 1
    await pool.aclose()


@in_a_loop
async def test_job_for_a_busy_runtime_does_not_hold_up_the_others():
    pool = Cluster(a=("python",), b=("bash",)).pool()
    async with pool.place(("python",)):
        waiting = asyncio.create_task(pool.place(("python",)).__aenter__())
        await asyncio.sleep(0)
        async with pool.place(("bash",)) as endpoint:
            assert endpoint.url == "b" and not waiting.done()
    assert (await waiting).url == "a"
    await pool.aclose()


@in_a_loop
async def test_free_endpoints_share_the_jobs_and_the_avoided_one_comes_last():
    pool = Cluster(a=PYTHON, b=PYTHON, c=PYTHON).pool(places_each=2)
    await pool.runtimes()
    async with pool.place(PYTHON) as one, pool.place(PYTHON) as two, pool.place(PYTHON, {"c"}) as three:
        assert [one.url, two.url, three.url] == ["a", "b", "a"]
        async with pool.place(PYTHON, {"a", "b", "c"}) as anyhow:
            assert anyhow.url == "c"
    await pool.aclose()


@pytest.mark.parametrize(("share", "order"), [(0.0, "abcd"), (0.25, "bcda"), (0.5, "cdab"), (0.99, "dabc")])
def test_processes_start_at_different_endpoints_of_the_same_list(share, order):
    async def endpoints():
        pool = Cluster(**dict.fromkeys("abcd", PYTHON)).pool(share=share)
        await pool.aclose()
        return "".join(endpoint.url for endpoint in pool.endpoints)

    assert asyncio.run(endpoints()) == order


@in_a_loop
async def test_place_is_kept_for_the_next_when_who_waits_is_cancelled_as_his_turn_comes():
    pool = Cluster(a=PYTHON).pool()
    holder = pool.place(PYTHON)
    await holder.__aenter__()
    waiting = asyncio.create_task(pool.place(PYTHON).__aenter__())
    await asyncio.sleep(0)
    await holder.__aexit__(None, None, None)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pool.endpoints[0].free == 1
    async with pool.place(PYTHON):
        assert pool.endpoints[0].free == 0
    await pool.aclose()


@in_a_loop
async def test_failures_side_by_side_count_once_and_others_go_on():
    pool = Cluster(a=PYTHON, b=PYTHON).pool(places_each=5)
    await pool.runtimes()
    first = pool.endpoints[0]
    for _ in range(5):
        pool.set_aside(first, "died")
    assert (first.failures, first.is_healthy, first.trouble) == (1, False, "died")
    async with pool.place(PYTHON) as endpoint:
        assert endpoint.url == "b"
    await pool.aclose()


@in_a_loop
async def test_dead_endpoint_is_asked_again_alone_until_it_answers():
    cluster = Cluster(a=(), b=PYTHON)
    pool = cluster.pool()
    assert await pool.runtimes() == frozenset(PYTHON)
    while cluster.asked.count("a") < 4:
        await asyncio.sleep(0.005)
    assert cluster.asked.count("b") == 1
    cluster.runtimes["a"] = ("bash",)
    async with pool.place(("bash",)) as endpoint:
        assert endpoint.url == "a"
    await pool.aclose()


@in_a_loop
async def test_endpoint_that_was_started_elsewhere_is_found_when_one_fails():
    cluster = Cluster(a=())
    pool = cluster.pool(find_endpoints=lambda: ["a", "b"])
    cluster.runtimes["b"] = PYTHON
    async with pool.place(PYTHON) as endpoint:
        assert (endpoint.url, endpoint.free) == ("b", 0)
    await pool.aclose()


@in_a_loop
async def test_dead_endpoint_that_is_not_found_again_is_forgotten():
    cluster = Cluster(a=(), b=PYTHON)
    pool = cluster.pool(find_endpoints=lambda: ["b", "c"])
    cluster.runtimes["c"] = PYTHON
    while [endpoint.url for endpoint in pool.endpoints] != ["b", "c"]:
        await asyncio.sleep(0.005)
    num_asked = cluster.asked.count("a")
    async with pool.place(PYTHON), pool.place(PYTHON):
        await asyncio.sleep(0.1)
    assert cluster.asked.count("a") == num_asked
    await pool.aclose()


@in_a_loop
async def test_endpoint_that_answers_stays_though_it_is_not_found():
    cluster = Cluster(a=(), b=PYTHON)
    pool = cluster.pool(find_endpoints=lambda: ["c"])
    cluster.runtimes["c"] = PYTHON
    while "c" not in cluster.asked:
        await asyncio.sleep(0.005)
    assert {"b", "c"} == {endpoint.url for endpoint in pool.endpoints}
    await pool.aclose()


@in_a_loop
async def test_endpoints_are_looked_for_until_there_are_some():
    answers = [SandboxError("squeue is busy"), ["a", "b"]]

    def find():
        answer = answers.pop(0)
        if isinstance(answer, SandboxError):
            raise answer
        return answer

    cluster = Cluster()
    with mock.patch.object(piston_pool, "LOOK_AGAIN_S", 0.05):
        pool = cluster.pool(find_endpoints=find)
        cluster.runtimes.update(a=PYTHON, b=PYTHON)
        with pytest.raises(SandboxError, match="squeue is busy"):
            await pool.runtimes()
        while not pool.endpoints:
            await asyncio.sleep(0.005)
    assert await pool.runtimes() == {"python"}
    await pool.aclose()


@in_a_loop
async def test_failing_search_for_endpoints_leaves_those_there_are():
    def fail():
        raise SandboxError("squeue failed")

    cluster = Cluster(a=(), b=PYTHON)
    pool = cluster.pool(find_endpoints=fail)
    while cluster.asked.count("a") < 3:
        await asyncio.sleep(0.005)
    assert [endpoint.url for endpoint in pool.endpoints] == ["a", "b"]
    await pool.aclose()


@in_a_loop
async def test_waiting_for_a_busy_endpoint_that_is_well_goes_on():
    pool = Cluster(a=PYTHON).pool(max_outage_s=0.05)
    async with pool.place(PYTHON):
        waiting = asyncio.create_task(pool.place(PYTHON).__aenter__())
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
    assert (await waiting).url == "a"
    await pool.aclose()


def test_delays_double_up_to_half_a_minute():
    delays = [backoff_s(failures, 0.5) for failures in range(30)]
    assert delays[:2] == [0, 0] and 0.375 <= delays[2] <= 0.625 and 0.75 <= delays[3] <= 1.25
    assert all(22.5 <= delay <= 37.5 for delay in delays[10:]) and len(set(delays[10:])) > 1


def stage(stdout="", stderr="", code=0, signal=None, **measured):
    return {"stdout": stdout, "stderr": stderr, "code": code, "signal": signal, **measured}


KILLED = {"code": None, "signal": "SIGKILL"}
MEASURED = {"cpu_time": 100, "wall_time": 200, "memory": 5_000_000, "status": None}
OUTCOMES = [
    (stage("1\n"), False, Outcome.OK),
    (stage(code=1), False, Outcome.RUNTIME_ERROR),
    (stage(code=139, stderr="Segmentation fault"), False, Outcome.RUNTIME_ERROR),
    (stage(**KILLED), True, Outcome.TIME_LIMIT),
    (stage(**KILLED), False, Outcome.RUNTIME_ERROR),
    (stage("x" * 1001, **KILLED), True, Outcome.OUTPUT_LIMIT),
    (stage("é" * 501), False, Outcome.OUTPUT_LIMIT),
    (stage(stderr="x" * 2000), False, Outcome.OK),
    (stage(stderr="x" * 2000, **KILLED), False, Outcome.OUTPUT_LIMIT),
    (stage(stderr="...\nMemoryError", code=1), False, Outcome.MEMORY_LIMIT),
    (stage(stderr="what():  std::bad_alloc", code=134), False, Outcome.MEMORY_LIMIT),
    (stage("MemoryError", code=1), False, Outcome.RUNTIME_ERROR),
    (stage(stderr="MemoryError"), False, Outcome.OK),
    (stage("1\n", **MEASURED), True, Outcome.OK),
    (stage(**KILLED, **{**MEASURED, "status": "TO"}), False, Outcome.TIME_LIMIT),
    (stage("1\n", **{**MEASURED, "cpu_time": 2001}), False, Outcome.TIME_LIMIT),
    (stage(**KILLED, **{**MEASURED, "status": "OL"}), False, Outcome.OUTPUT_LIMIT),
    (stage(**KILLED, **{**MEASURED, "status": "EL"}), False, Outcome.OUTPUT_LIMIT),
    (stage(code=3, **{**MEASURED, "status": "RE"}), True, Outcome.RUNTIME_ERROR),
    (stage(**KILLED, **{**MEASURED, "status": "SG"}), True, Outcome.RUNTIME_ERROR),
    (stage(**KILLED, **{**MEASURED, "status": "SG", "memory": 102_400_000}), False, Outcome.MEMORY_LIMIT),
    (stage(code=1, **{**MEASURED, "status": "RE", "memory": 102_400_000}), False, Outcome.RUNTIME_ERROR),
    (stage("1\n", **{**MEASURED, "memory": 200 << 20}), False, Outcome.MEMORY_LIMIT),
]


@pytest.mark.parametrize(("value", "is_overtime", "outcome"), OUTCOMES)
def test_outcome_is_read_from_the_answers_of_both_versions(value, is_overtime, outcome):
    assert outcome_of(read_stage(value), LIMITS, is_overtime) is outcome


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "x",
        {},
        {"stdout": "1"},
        stage(code="0"),
        stage(signal=9),
        stage(code=None),
    ],
)
def test_answer_that_is_none_is_refused(value):
    with pytest.raises(ValueError):
        read_stage(value)


def test_run_has_what_the_endpoint_measured_and_nan_where_it_does_not():
    known = program_run(read_stage(stage("ab", **MEASURED)), LIMITS, is_overtime=False)
    assert (known.cpu_s, known.wall_s, known.peak_memory_mb) == (0.1, 0.2, 5_000_000 / 2**20)
    unknown = program_run(read_stage(stage("é" * 600, "x" * 2000, code=139)), LIMITS, is_overtime=False)
    assert math.isnan(unknown.cpu_s) and math.isnan(unknown.peak_memory_mb)
    assert (unknown.exit_code, unknown.signal) == (None, 11)
    assert (len(unknown.stdout), len(unknown.stderr)) == (500, 1000)


PACKAGES = [
    ("cms_ioi", stage("0.5", "partly"), 0.5, Outcome.OK, "partly"),
    ("cms_ioi", stage("1\n", "Output is correct"), 1, Outcome.OK, "Output is correct"),
    ("cms_ioi", stage("0", "Output isn't correct"), 0, Outcome.OK, "Output isn't correct"),
    ("cms_ioi", stage("0", "Time limit exceeded"), 0, Outcome.TIME_LIMIT, "Time limit exceeded"),
    ("cms_ioi", stage(**KILLED), 0, Outcome.TIME_LIMIT, "Time limit exceeded"),
    ("cms_ioi", stage("", "MemoryError", code=1), 0, Outcome.MEMORY_LIMIT, "Memory limit exceeded"),
    ("c++17", stage("1", "Output is correct (diff)"), 1, Outcome.OK, "Output is correct (diff)"),
    ("c++17", stage("1", "odd", code=1), 0, Outcome.OK, "odd"),
    ("c++17", stage("0", "Output isn't correct (checker)"), 0, Outcome.OK, "Output isn't correct (checker)"),
    ("c++17", stage("", "Time limit exceeded (1s)", code=124), 0, Outcome.TIME_LIMIT, "Time limit exceeded (1s)"),
    ("c++17", stage(**KILLED), 0, Outcome.TIME_LIMIT, "Time limit exceeded"),
    ("c++17", stage("", "oops", code=3), 0, Outcome.RUNTIME_ERROR, "Runtime error with exit code 3\noops"),
]


def read_package(package, value):
    reply = Reply(read_stage(value), None, 5.0, "http://a", 5.0)
    return read_package_run(package, reply, LIMITS, COMPILE_LIMITS)


@pytest.mark.parametrize(("package", "value", "score", "outcome", "feedback"), PACKAGES)
def test_package_says_score_and_reason(package, value, score, outcome, feedback):
    said = read_package(package, value)
    assert (said.score, said.run.outcome, said.feedback) == (score, outcome, feedback)


@pytest.mark.parametrize(
    ("package", "value"),
    [
        ("cms_ioi", stage()),
        ("cms_ioi", stage("", "cp: cannot stat", code=1)),
        ("cms_ioi", stage("2.0")),
        ("cms_ioi", stage("nan")),
        ("cms_ioi", stage("hello")),
        ("c++17", stage()),
        ("c++17", stage("hello")),
        ("c++17", stage("", "fork: Resource temporarily unavailable", code=1)),
    ],
)
def test_package_that_does_not_follow_its_protocol_is_an_error(package, value):
    with pytest.raises(SandboxError, match="http://a"):
        read_package(package, value)


@in_a_loop
@mock.patch.object(piston_pool, "START_PATIENCE_S", 0.2)
async def test_endpoints_that_have_never_answered_are_missed_within_seconds():
    pool = Cluster(a=(), b=()).pool(max_outage_s=1000.0)
    with pytest.raises(SandboxError, match=r"No Piston endpoint has answered for 0\.2 s; is PISTON_ENDPOINTS right\?"):
        await pool.runtimes()
    await pool.aclose()


def test_outage_of_an_endpoint_is_two_warnings(caplog):
    async def lose_it_and_get_it_back():
        cluster = Cluster(a=PYTHON)
        pool = cluster.pool()
        await pool.runtimes()
        cluster.runtimes["a"] = ()
        pool.set_aside(pool.endpoints[0], "refused")
        while cluster.asked.count("a") < 4:
            await asyncio.sleep(0.005)
        cluster.runtimes["a"] = PYTHON
        async with pool.place(PYTHON):
            pass
        await pool.aclose()

    asyncio.run(asyncio.wait_for(lose_it_and_get_it_back(), 60))
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "Piston at a is set aside (no other answers, jobs wait for 20 s): refused",
        "Piston at a is back.",
    ]
