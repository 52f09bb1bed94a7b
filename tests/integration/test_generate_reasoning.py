# SPDX-License-Identifier: Apache-2.0
"""`scripts/generate_reasoning.py` as users run it: what is asked, the output, and what is refused."""

import json
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from open_r1.data.card import read_card
from scripts.generate_reasoning import main
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.reasoning_runs import answers, generate, rows_of, write_rows


@pytest.fixture(scope="module")
def server():
    with ChatServer() as running:
        yield running


@pytest.fixture
def folder(tmp_path):
    """A folder with rows.jsonl, of six problems."""
    write_rows(tmp_path / "rows.jsonl", 6)
    return tmp_path


def test_output_has_a_row_per_problem_in_their_order(folder, server):
    assert generate(folder, server.address) == 0
    rows = rows_of(folder)
    assert [row["uuid"] for row in rows] == [f"id-{n}" for n in range(6)]
    assert [row["solution"] for row in rows] == [str(n + 1) for n in range(6)]
    assert [row["generations"] for row in rows] == [answers(n) for n in range(6)]
    assert rows[0]["finish_reasons"] == ["stop", "stop"]
    metadata = rows[0]["api_metadata"][0]
    assert (metadata["prompt_tokens"], metadata["status"], metadata["attempts"]) == (2, 200, 1)
    assert metadata["server"] == f"{server.url}/v1"
    assert sorted(path.name for path in (folder / "out").iterdir() if not path.name.startswith(".")) == [
        "README.md",
        "card.json",
        "data",
        "generations.jsonl",
    ]


def test_card_says_who_wrote_what_and_how(folder, server):
    generate(folder, server.address, "--temperature", "0.7", "--max-tokens", "99")
    card = read_card(folder / "out")
    assert card.teacher["model"] == MODEL
    assert {"temperature": 0.7, "top_p": 0.95, "max_tokens": 99, "seed": 0}.items() <= card.sampling.items()
    assert card.parents[0].name == str(folder / "rows.jsonl")
    detail = card.steps[0].detail
    assert (detail["requests"], detail["errors"], detail["retries"]) == (12, 0, 0)
    assert detail["completion_tokens"] > 0


def test_open_r1s_command_line_writes_its_json_lines(folder, server):
    argv = ["--dataset-name", str(folder / "rows.jsonl"), "--output-file", str(folder / "made" / "r1.jsonl"),
            "--prompt-column", "problem", "--uuid-column", "uuid", "--api-addr", server.address, "--num-generations",
            "3", "--prompt-template", r"In \boxed{{}}: {prompt}", "--temperature", "0.6", "--top-p", "0.95",
            "--max-tokens", "200", "--max-concurrent", "5"]  # fmt: skip
    server.requests.clear()
    assert main(argv) == 0
    rows = [json.loads(line) for line in (folder / "made" / "r1.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [
        ["uuid", "problem", "solution", "generations", "finish_reasons", "api_metadata"]
    ] * 6
    assert {len(row[name]) for row in rows for name in ("generations", "finish_reasons", "api_metadata")} == {3}
    assert {request["messages"][0]["content"] for request in server.requests} == {
        rf"In \boxed{{}}: Compute {n}+1" for n in range(6)
    }
    assert len(rows_of(folder, "made/r1")) == 6


def test_a_finished_command_asks_nothing_when_it_is_repeated(folder, server, capsys):
    generate(folder, server.address, "--output-file", str(folder / "out.jsonl"))
    before = (len(server.requests), (folder / "out" / "card.json").read_bytes())
    (folder / "out.jsonl").unlink()
    assert generate(folder, server.address, "--output-file", str(folder / "out.jsonl")) == 0
    assert "finished earlier" in capsys.readouterr().out
    assert (len(server.requests), (folder / "out" / "card.json").read_bytes()) == before
    assert len((folder / "out.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--temperature", "0.1"], "temperature 0.6 -> 0.1"),
        (["--num-generations", "3"], "num_generations 2 -> 3"),
        (["--prompt-template", "Q: {prompt}"], "template"),
        (["--limit", "2"], "limit None -> 2"),
    ],
)
def test_other_settings_on_a_finished_output_are_refused(folder, server, flags, said, capsys):
    generate(folder, server.address)
    before = len(server.requests)
    assert generate(folder, server.address, *flags) == 1
    said_all = capsys.readouterr().err
    assert said in said_all
    assert "--overwrite" in said_all
    assert len(server.requests) == before
    assert generate(folder, server.address, *flags, "--overwrite") == 0


def test_rows_without_a_prompt_are_kept_and_counted(folder, server, caplog):
    with (folder / "rows.jsonl").open("a") as lines:
        lines.write('{"uuid": "id-6", "problem": null}\n{"uuid": "id-7", "problem": " "}\n')
    assert generate(folder, server.address) == 0
    rows = rows_of(folder)
    assert [row["uuid"] for row in rows[6:]] == ["id-6", "id-7"]
    assert rows[6]["generations"] == [None, None]
    assert rows[6]["finish_reasons"] == ["error", "error"]
    assert rows[6]["api_metadata"][0]["error"] == "prompt is null"
    assert rows[7]["api_metadata"][1]["error"] == "prompt is empty"
    assert "row 6: prompt is null" in caplog.text
    detail = read_card(folder / "out").steps[-1].detail
    assert (detail["rows"], detail["rows_without_prompt"], detail["requests"]) == (8, 2, 12)


def test_flags_reach_the_request(folder, server, environment):
    environment["MY_KEY"] = "secret"
    server.requests.clear()
    server.headers.clear()
    flags = [
        "--model",
        MODEL,
        "--api-key-env",
        "MY_KEY",
        "--top-k",
        "20",
        "--min-p",
        "0.1",
        "--max-tokens",
        "50",
        "--extra-body",
        '{"repetition_penalty": 1.1}',
    ]
    assert generate(folder, server.address, *flags) == 0
    asked = {name: value for name, value in server.requests[0].items() if name not in {"messages", "seed"}}
    assert asked == {
        "model": MODEL,
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 20,
        "min_p": 0.1,
        "max_tokens": 50,
        "repetition_penalty": 1.1,
    }
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert all(b"secret" not in path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file())


def test_columns_that_json_cannot_hold_are_converted(folder, server):
    table = pa.table(
        {
            "problem": ["1+1"],
            "made": [datetime(2026, 1, 2, 3, 4, 5)],
            "price": [Decimal("1.50")],
            "score": pa.array([float("nan")]),
            "raw": [b"\x00"],
        }
    )
    pq.write_table(table, folder / "rows.parquet")
    flags = ["--output-file", str(folder / "out.jsonl"), "--drop-columns", "raw"]
    assert generate(folder, server.address, *flags, source="rows.parquet", prompt=("--prompt-column", "problem")) == 0
    (row,) = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert (row["made"], row["price"], row["score"]) == ("2026-01-02T03:04:05.000", "1.50", None)
    assert "raw" not in row


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--uuid-column", "id"], "'id'"),
        (["--extra-body", '{"messages": []}'], "'messages'"),
        (["--api-key-env", "OPEN_R1_NO_SUCH_KEY"], "OPEN_R1_NO_SUCH_KEY"),
        (["--max-tokens", "32768"], "max_tokens"),
        (["--model", "other"], "'other'"),
        (["--split", "test"], "test"),
        (["generations"], "'generations'"),
    ],
)
def test_a_command_that_cannot_work_is_refused_before_the_first_request(folder, server, flags, said, capsys):
    if flags == ["generations"]:
        write_rows(folder / "rows.jsonl", 6, generations=["old"])
        flags = []
    before = len(server.requests)
    assert generate(folder, server.address, *flags) == 1
    assert said in capsys.readouterr().err
    assert len(server.requests) == before
    assert not (folder / "out" / "card.json").exists()


def test_a_key_that_a_server_repeats_is_in_no_file(folder, environment):
    environment["MY_KEY"] = "sk-0123456789"

    def behave(body, attempt):
        is_bad = "3+1" in body["messages"][0]["content"]
        return Reply(status=400, error="bad key sk-0123456789, also-secret") if is_bad else Reply("8")

    with ChatServer(behave) as server:
        body = ("--extra-body", '{"headers": {"api_key": "also-secret"}}')
        address = f"http://{server.address}/0123456789abcdefghij/v1"
        assert generate(folder, address, "--api-key-env", "MY_KEY", *body) == 3
    assert rows_of(folder)[3]["api_metadata"][0]["error"] == "HTTP 400: bad key ***, ***"
    assert rows_of(folder)[0]["api_metadata"][0]["server"] == f"http://{server.address}/***/v1"
    for path in (path for path in (folder / "out").rglob("*") if path.is_file()):
        assert not any(secret in path.read_bytes() for secret in (b"sk-0", b"also-secret", b"0123456789abcdefghij"))
