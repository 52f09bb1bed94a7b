# SPDX-License-Identifier: Apache-2.0
"""Many requests at a time: bounded, balanced over servers that die and come back, kept, stopped by signals."""

import json
import os
import signal
import threading
import time

import pytest
from aiohttp import web

from open_r1.generation.client import Client, Patience
from open_r1.generation.driver import ask, run
from open_r1.generation.journal import Journal
from open_r1.generation.messages import Request, Sampling, ServersDownError
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply, answer_of

QUICK = Patience(retries=3, first_delay_s=0.01, outage_s=20.0)
SAMPLING = Sampling(seed=0)


def question(number=0, index=0):
    return Request(f"key-{number}", index, [{"role": "user", "content": f"Compute {number}+1"}], sampling=SAMPLING)


def ask_journal(folder, addresses, requests, *, patience=QUICK, **options):
    """The outcome of a run, and what the journal holds then."""

    async def main():
        async with Client(addresses, model=MODEL, patience=patience) as client:
            with Journal(folder / "generations.jsonl", {}) as journal:
                outcome = await ask(requests, client.ask_one, journal, **options)
                return outcome, [*map(json.loads, journal.path.read_text().splitlines()[1:])]

    return run(main())


def test_requests_go_where_the_fewest_are_in_flight(tmp_path):
    with (
        ChatServer(lambda body, attempt: Reply("8", delay_s=2.0)) as slow,
        ChatServer(lambda body, attempt: Reply("8", delay_s=0.01)) as quick,
    ):
        requests = (question(number) for number in range(120))
        ask_journal(tmp_path, [slow.address, quick.address], requests, max_concurrent=12)
        assert len(slow.requests) + len(quick.requests) == 120
        assert len(quick.requests) > 2 * len(slow.requests)
        assert slow.most_in_flight <= 7


class Mute(ChatServer):
    """It doesn't tell its models, as it is asked to before it gets requests again."""

    async def _list_models(self, request):
        return web.json_response({}, status=503)


def test_a_server_that_fails_at_once_doesnt_draw_all_requests(tmp_path):
    with Mute(lambda body, attempt: Reply(status=500)) as broken, ChatServer() as sound:
        requests = (question(number) for number in range(200))
        outcome, _ = ask_journal(tmp_path, [broken.address, sound.address], requests, max_concurrent=8)
        assert outcome.failed == 0
        assert len(broken.requests) < 20


def test_a_server_that_dies_is_left_and_found_again(tmp_path):
    dying, sound = ChatServer(lambda body, attempt: Reply("8", delay_s=0.005)), ChatServer()
    came_back = []

    def requests():
        for number in range(4000):
            if number == 50:
                dying.stop()
            if number == 100:
                dying.start()
                came_back.append(len(dying.requests))
            if number > 100 and len(dying.requests) > came_back[0]:
                return
            yield question(number)

    with sound:
        sound.behave = lambda body, attempt: Reply("8", delay_s=0.005)
        dying.start()
        outcome, records = ask_journal(tmp_path, [dying.address, sound.address], requests(), max_concurrent=8)
        dying.stop()
    assert outcome.failed == 0
    assert len(dying.requests) > came_back[0]
    assert len({entry["key"] for entry in records}) == outcome.done


def test_requests_in_flight_are_bounded_and_made_when_there_is_a_place(tmp_path):
    made = []

    def requests():
        for number in range(300):
            made.append(number)
            yield question(number)

    def behave(body, attempt):
        ahead.append(len(made) - server.answered)
        return Reply("8", delay_s=0.01 if server.most_in_flight == 16 else 3.0)  # the first wait for the others

    ahead = []
    with ChatServer(behave) as server:
        outcome, _ = ask_journal(tmp_path, [server.address], requests(), max_concurrent=16)
        assert server.most_in_flight == 16
    assert max(ahead) <= 2 * 16
    assert outcome.done == 300


def test_what_the_journal_has_is_not_asked_for_again(tmp_path):
    with ChatServer() as server:
        ask_journal(tmp_path, [server.address], [question(n, i) for n in range(10) for i in range(3)])
        again = [question(n, i) for n in range(12) for i in range(4)]
        outcome, records = ask_journal(tmp_path, [server.address], again)
        assert len(server.requests) == 48
    assert (outcome.skipped, outcome.done) == (30, 18)
    assert {(entry["key"], entry["index"]): entry["text"] for entry in records} == {
        (request.key, request.index): answer_of(request.messages, request.index) for request in again
    }


def test_a_run_in_which_all_fails_stops(tmp_path):
    with ChatServer(lambda body, attempt: Reply(status=400, error="no such parameter")) as server:
        with pytest.raises(ServersDownError, match="no such parameter"):
            requests = (question(n) for n in range(1000))
            ask_journal(tmp_path, [server.address], requests, stop_after_errors=20)
        assert len(server.requests) < 600


def test_a_generator_that_fails_ends_the_run_and_keeps_what_was_done(tmp_path):
    def requests():
        yield from (question(number) for number in range(20))
        raise OSError("the disk of the source is gone")

    with ChatServer() as server, pytest.raises(OSError, match="the source is gone"):
        ask_journal(tmp_path, [server.address], requests(), max_concurrent=2)
    with Journal(tmp_path / "generations.jsonl", None) as journal:
        assert len(journal) >= 18


def test_a_server_that_refuses_all_leaves_requests_at_others_their_grace(tmp_path):
    def slowly(body, attempt):
        return Reply("8", delay_s=0.3)

    with ChatServer(lambda body, attempt: Reply(status=401)) as refusing, ChatServer(slowly) as sound:
        addresses = [refusing.address, sound.address]
        with pytest.raises(ServersDownError, match="401"):
            ask_journal(tmp_path, addresses, (question(number) for number in range(1000)), max_concurrent=4)
        num_asked = len(sound.requests)
    with Journal(tmp_path / "generations.jsonl", None) as journal:
        assert [json.loads(line)["text"] for line in journal.path.read_text().splitlines()[1:]] == ["8"] * num_asked
    assert 0 < num_asked <= 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_requests_in_flight_end(tmp_path, number):
    handlers = [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)]

    def behave(body, attempt):
        if len(server.requests) == 20:
            os.kill(os.getpid(), number)
        return Reply("8", delay_s=0.05)

    with ChatServer(behave) as server:
        outcome, records = ask_journal(
            tmp_path, [server.address], (question(n) for n in range(1000)), max_concurrent=4
        )
    assert (outcome.stopped_by, outcome.cut_off) == (number, 0)
    assert 20 <= len(records) == outcome.done <= 28
    assert [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)] == handlers


def test_requests_in_flight_are_dropped_after_the_grace(tmp_path):
    def behave(body, attempt):
        if len(server.requests) == 5:  # so the first is done
            os.kill(os.getpid(), signal.SIGTERM)
        return Reply("8", delay_s=0.0 if len(server.requests) == 1 else 60.0)

    with ChatServer(behave) as server:
        requests = (question(n) for n in range(1000))
        outcome, records = ask_journal(tmp_path, [server.address], requests, max_concurrent=4, grace_s=0.1)
    assert outcome.stopped_by == signal.SIGTERM
    assert (len(records), outcome.cut_off) == (1, 4)


def test_the_first_signal_says_how_long_it_takes_and_the_second_ends_at_once(tmp_path, caplog):
    def interrupt_twice():
        os.kill(os.getpid(), signal.SIGINT)
        while "Stopping" not in caplog.text:  # of two that come before the first is seen, one is lost
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    def behave(body, attempt):
        if len(server.requests) == 4:
            threading.Thread(target=interrupt_twice).start()
        return Reply("8", delay_s=600.0)

    with ChatServer(behave) as server:
        outcome, _ = ask_journal(
            tmp_path, [server.address], (question(n) for n in range(4)), max_concurrent=4, grace_s=590.0
        )
    assert outcome.stopped_by == signal.SIGINT
    (said,) = [record.message for record in caplog.records if "Stopping" in record.message]
    assert "590 s" in said
