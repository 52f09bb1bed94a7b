# SPDX-License-Identifier: Apache-2.0
"""Runs of `scripts/compute_pass_rate.py` that are repeated with other completions, or with failures that last."""

import json

import pytest

from open_r1.curation.pass_rate import GENERATIONS, SCORES
from tests.integration.fakes.chat_server import ChatServer, Reply
from tests.integration.pass_rates import SEED, answering, build_model, column, run, write_rows

RIGHT_ROW = 2  # "Add 2 and 1."


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def answers(model):
    return answering(model)


@pytest.fixture
def server(answers):
    with ChatServer(answers) as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    """A folder with rows.jsonl, of five problems: solved never, in 1, 2, 3 and 4 of 4 generations."""
    write_rows(tmp_path / "rows.jsonl", 5)
    return tmp_path


def all_say_three(body, attempt):
    """What is right for one row alone."""
    return Reply("so\n</think>\n\\boxed{3}")


# --- completions that are drawn anew


def test_new_completions_get_new_rewards(folder, model, server):
    run(folder, model, server.address)
    (folder / "out" / GENERATIONS).unlink()
    server.behave = all_say_three
    assert run(folder, model, server.address, "--overwrite") == 0
    assert column(folder / "out", "pass_rate") == [0.0, 0.0, 1.0, 0.0, 0.0]


def test_one_new_completion_has_its_row_judged_again(folder, model, server):
    run(folder, model, server.address)
    path = folder / "out" / GENERATIONS
    lines = path.read_text().splitlines(keepends=True)
    gone = [line for line in lines[1:] if (json.loads(line)["key"], json.loads(line)["index"]) == (str(RIGHT_ROW), 3)]
    path.write_text("".join(line for line in lines if line not in gone))
    server.behave = all_say_three
    before = len((folder / "out" / SCORES).read_text().splitlines())
    assert run(folder, model, server.address, "--overwrite") == 0
    assert column(folder / "out", "pass_rate") == [0.0, 0.25, 0.75, 0.75, 1.0]
    assert len((folder / "out" / SCORES).read_text().splitlines()) == before + 1


def test_rows_without_completions_keep_no_reward_of_those_before(folder, model, server):
    run(folder, model, server.address)
    path = folder / "out" / GENERATIONS
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], *(line for line in lines[1:] if json.loads(line)["key"] != "2")]))
    server.behave = lambda body, attempt: Reply(status=400)
    assert run(folder, model, server.address, "--overwrite") == 0
    assert column(folder / "out", "pass_rate") == [0.0, 0.25, None, 0.75, 1.0]
    assert column(folder / "out", "pass_rate_status")[2] == "no completion"


# --- failures that last


@pytest.mark.parametrize("status", [400, 413, 422])
def test_requests_that_were_refused_are_not_sent_again_but_by_overwriting(folder, model, answers, capsys, status):
    is_refused = True

    def behave(body, attempt):
        return Reply(status=status) if is_refused and body["seed"] == SEED else answers(body, attempt)

    with ChatServer(behave) as server:
        assert run(folder, model, server.address) == 0
        card = (folder / "out" / "card.json").read_text()
        asked = len(server.requests)
        capsys.readouterr()
        assert run(folder, model, "localhost:9") == 0  # nobody is asked
        assert "finished earlier" in capsys.readouterr().out
        assert ((folder / "out" / "card.json").read_text(), len(server.requests)) == (card, asked)
        is_refused = False
        assert run(folder, model, server.address, "--overwrite") == 0
        assert len(server.requests) == asked + 5
    assert column(folder / "out", "pass_rate") == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_completions_that_came_before_a_kill_are_published(folder, model, answers):
    def behave(body, attempt):
        return Reply(status=400) if body["seed"] == SEED else answers(body, attempt)

    with ChatServer(behave) as server:
        run(folder, model, server.address)
    # As a run leaves it that asked once more and was killed before it published.
    path = folder / "out" / GENERATIONS
    failed = [record for line in path.read_text().splitlines()[1:] if (record := json.loads(line))["text"] is None]
    with path.open("a") as file:
        for record in failed:
            come = {"text": "\\boxed{3}", "finish_reason": "stop", "status": 200}
            file.write(json.dumps({**record, **come}) + "\n")
    assert run(folder, model, "localhost:9") == 0
    assert column(folder / "out", "pass_rate") == [0.0, 0.0, 0.5, 0.5, 0.75]


# --- licence
