# SPDX-License-Identifier: Apache-2.0
"""From problems to rows for fine-tuning through the scripts as they are: pass rates, generations, curation."""

import re

import pytest

from open_r1.data.card import read_card
from scripts import compute_pass_rate, curate, generate_reasoning
from tests.integration.fakes.chat_server import MODEL, ChatServer, Reply
from tests.integration.tiny import build_tiny
from tests.rows.generations import rows_of, write_rows

NUM_PROBLEMS, NUM_GENERATIONS = 6, 4


def answer(number: int, is_right: bool, seed: int) -> Reply:
    return Reply(f"<think>\nway {seed}\n</think>\n\n\\boxed{{{number + 1 if is_right else 99}}}")


def number_in(text: str) -> int:
    return int(re.search(r"Add (\d+)", text)[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`problems.jsonl`; `easy`: a small model solves 0 and 1; `strong`: problem n is solved by n generations of 4."""
    folder = tmp_path_factory.mktemp("chain")
    rows = [{"uuid": f"id-{n}", "problem": f"Add {n} and 1.", "solution": str(n + 1)} for n in range(NUM_PROBLEMS)]
    source = write_rows(folder / "problems.jsonl", rows)
    model = build_tiny(folder / "tiny").model
    from transformers import AutoTokenizer

    decode = AutoTokenizer.from_pretrained(model).decode

    def small(body, attempt):
        number = number_in(decode(body["prompt"]))
        return answer(number, number < 2, body["seed"])

    def strong(body, attempt):
        number = number_in(body["messages"][-1]["content"])
        return answer(number, body["seed"] < number, body["seed"])

    with ChatServer(small) as server:
        words = [
            "--dataset_name",
            source,
            "--dataset_prompt_column",
            "problem",
            "--model_name_or_path",
            str(model),
            "--reward_funcs",
            "accuracy",
            "--num_generations",
            "2",
            "--max_completion_length",
            "64",
            "--server",
            server.address,
            "--server_model",
            MODEL,
            "--output_dir",
            str(folder / "easy"),
        ]
        assert compute_pass_rate.main(words) == 0
    with ChatServer(strong) as server:
        words = [
            "--dataset-name",
            source,
            "--prompt-column",
            "problem",
            "--uuid-column",
            "uuid",
            "--api-addr",
            server.address,
            "--num-generations",
            str(NUM_GENERATIONS),
            "--output-dir",
            str(folder / "strong"),
            "--prompt-template",
            "{prompt}",
            "--max-tokens",
            "64",
            "--seed",
            "0",
        ]
        assert generate_reasoning.main(words) == 0
    return folder


def test_what_a_small_model_fails_and_a_strong_one_seldom_solves_is_kept(folder):
    words = [
        "--input",
        str(folder / "strong"),
        "--easy_pass_rate",
        str(folder / "easy"),
        "--hard_pass_rate",
        "generations",
        "--hard_min",
        "1/4",
        "--hard_max",
        "3/4",
        "--max_per_problem",
        "2",
        "--output_dir",
        str(folder / "curated"),
        "--max_tokens",
        "60",
    ]
    assert curate.main(words) == 0
    rows = rows_of(folder / "curated")
    assert [(row["uuid"], row["generation_index"]) for row in rows] == [
        ("id-2", 0),
        ("id-2", 1),
        ("id-3", 0),
        ("id-3", 1),
    ]
    card = read_card(folder / "curated")
    assert [parent.name for parent in card.parents] == [str(folder / "strong"), str(folder / "easy")]
    assert card.teacher["model"] == "stub/model"
    assert card.sampling["max_tokens"] == 64


def test_completions_of_a_pass_rate_run_are_an_input_too(folder):
    words = [
        "--input",
        str(folder / "easy"),
        "--correct_by",
        "column",
        "--correct_column",
        "pass_rate_rewards_accuracy",
        "--hard_pass_rate",
        "column:pass_rate",
        "--hard_min",
        "1/2",
        "--hard_max",
        "1",
        "--output_dir",
        str(folder / "of_pass_rates"),
    ]
    assert curate.main(words) == 0
    assert [row["problem"] for row in rows_of(folder / "of_pass_rates")] == ["Add 0 and 1."] * 2 + ["Add 1 and 1."] * 2
