# SPDX-License-Identifier: Apache-2.0
"""`scripts/compute_pass_rate.py` against a server whose answers are right as often as the row's number says."""

import json

import pytest
from transformers import AutoTokenizer

from open_r1.data.card import read_card
from tests.conftest import ROOT
from tests.integration.fakes.chat_server import ChatServer, Reply
from tests.integration.pass_rates import (
    NUM_GENERATIONS,
    SEED,
    answering,
    build_model,
    column,
    rows_of,
    run,
    write_rows,
)

THINK_TEMPLATE = (
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


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


# --- rates


def test_rates_are_exact_and_both_bounds_are_kept(folder, model, server):
    assert run(folder, model, server.address, "--pass_rate_min", "0.25", "--pass_rate_max", "0.75") == 0
    out = folder / "out"
    assert column(out, "pass_rate") == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert column(out, "pass_rate_status") == ["too hard", "kept", "kept", "kept", "too easy"]
    assert rows_of(out)[2]["pass_rate_rewards_accuracy"] == [1.0, 1.0, 0.0, 0.0]
    assert [row["problem"] for row in rows_of(out, "pass_rate")] == [f"Add {n} and 1." for n in (1, 2, 3)]
    assert "pass_rate_generations" not in rows_of(out, "pass_rate")[0]
    assert len(server.requests) == 5 * NUM_GENERATIONS


def test_the_card_says_who_was_asked_and_why_rows_went(folder, model, server):
    run(folder, model, server.address)
    card = read_card(folder / "out")
    assert card.teacher["model"] == str(model)
    assert card.sampling["max_completion_length"] == 64
    assert card.sampling["num_generations"] == NUM_GENERATIONS
    assert card.settings["bounds"] == [0.1, 0.9]
    assert [(step.rows_before, step.rows_after) for step in card.steps] == [(5, 3)]
    assert card.steps[-1].detail == {"lowest": 0.1, "highest": 0.9, "too hard": 1, "kept": 3, "too easy": 1}
    assert card.counts == {"train": 5, "pass_rate/train": 3}


def test_servers_of_another_model_are_refused_unless_the_user_vouches_for_them(folder, model, answers, capsys):
    with ChatServer(answers, models=["another/model"]) as server:
        assert run(folder, model, server.address, server_model=None) == 2
        assert "another/model" in capsys.readouterr().err
        assert not server.requests
        assert run(folder, model, server.address, server_model="another/model") == 0


def test_the_trainers_read_both_configurations(folder, model, server):
    from open_r1.configs import GRPOScriptArguments
    from open_r1.data.training_rows import get_dataset

    run(folder, model, server.address)
    everything = get_dataset(GRPOScriptArguments(dataset_name=str(folder / "out")))["train"]
    kept = get_dataset(GRPOScriptArguments(dataset_name=str(folder / "out"), dataset_config="pass_rate"))["train"]
    assert (len(everything), len(kept)) == (5, 3)


def test_prompts_are_the_templates_tokens_and_sampling_is_the_recipes(folder, model, server):
    run(folder, model, server.address, "--system_prompt", "Be brief.", "--temperature", "0.7", "--top_k", "20")
    body = server.requests[0]
    assert AutoTokenizer.from_pretrained(model).decode(body["prompt"]) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nAdd 0 and 1.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (body["temperature"], body["top_k"], body["top_p"], body["max_tokens"]) == (0.7, 20, 1.0, 64)


def test_what_a_recipe_gives_template_and_sampling_beside_is_passed_on(folder, model, server):
    template = THINK_TEMPLATE.replace("<think>", "{% if not no_think %}<think>{% endif %}")
    flags = (
        "--chat_template",
        template,
        "--chat_template_kwargs",
        '{"no_think": true}',
        "--generation_kwargs",
        '{"stop": ["X"], "frequency_penalty": 1.0, "temperature": 0.3}',
    )
    assert run(folder, model, server.address, *flags) == 0
    body = server.requests[0]
    assert AutoTokenizer.from_pretrained(model).decode(body["prompt"]).rstrip().endswith("assistant")
    assert (body["stop"], body["frequency_penalty"], body["temperature"]) == (["X"], 1.0, 0.3)
    settings = read_card(folder / "out").settings
    assert settings["completion_prefix"] == ""
    assert settings["chat_template_kwargs"] == {"no_think": True}
    assert run(folder, model, server.address, *flags[:2]) == 2


def test_completions_end_where_they_do_in_training(folder, model, server):
    flags = ("--stop_strings", "</answer>", "--generation_kwargs", '{"stop": "X", "stop_token_ids": [9]}')
    assert run(folder, model, server.address, *flags) == 0
    body = server.requests[0]
    assert body["stop"] == ["X", "</answer>"]
    assert body["include_stop_str_in_output"] is True
    assert body["stop_token_ids"] == [AutoTokenizer.from_pretrained(model).eos_token_id, 9]
    assert run(folder, model, server.address, *flags[2:]) == 2  # other completions


def test_a_think_tag_that_the_template_opens_counts_for_the_rewards(folder, model, server):
    # What is sampled has no opening tag; with the template's, it has the layout of `think_format`.
    run(folder, model, server.address, "--chat_template", THINK_TEMPLATE, reward_funcs=("think_format",))
    assert set(column(folder / "out", "pass_rate")) == {1.0}


def test_two_rewards_keep_apart_and_are_weighted(folder, model, server):
    flags = ("--reward_weights", "0.75", "0.25", "--chat_template", THINK_TEMPLATE)
    assert run(folder, model, server.address, *flags, reward_funcs=("accuracy", "think_format")) == 0
    row = rows_of(folder / "out")[1]
    assert row["pass_rate_rewards_accuracy"] == [1.0, 0.0, 0.0, 0.0]
    assert row["pass_rate_rewards_think_format"] == [1.0] * 4
    assert row["pass_rate_rewards"] == [1.0, 0.25, 0.25, 0.25]
    assert (row["pass_rate_accuracy"], row["pass_rate_think_format"], row["pass_rate"]) == (0.25, 1.0, 0.4375)


def test_a_second_judge_speaks_where_the_verifier_abstains_and_another_one_judges_again(folder, model):
    judging = ChatServer(lambda body, attempt: Reply(f"Verdict: {body['model']}"), models=["right", "wrong"])
    with ChatServer(lambda body, attempt: Reply("no idea")) as server, judging as judge:

        def rates(*flags):
            assert run(folder, model, server.address, *flags) == 0
            return column(folder / "out", "pass_rate"), read_card(folder / "out").notes

        flags = ("--judge_url", judge.address, "--judge_model")
        assert rates()[0] == [0.0] * 5
        found, notes = rates(*flags, "right", "--overwrite")
        assert found == [1.0] * 5
        assert any("of 20 answers on which the verifier abstains 20 are right" in note for note in notes)
        assert rates(*flags, "wrong", "--overwrite")[0] == [0.0] * 5
        prompts = [line for line in (folder / "out" / "judge.jsonl").read_text().splitlines() if line]
        assert len(prompts) == len(judge.requests) == 2 * 5  # equal answers of a row are one question
        assert len(server.requests) == 5 * NUM_GENERATIONS


# --- rows that are not as they should be


def test_rows_that_cannot_be_asked_or_judged_stay(folder, model, server, caplog):
    rows = [
        {"problem": "Add 1 and 1.", "solution": "2"},
        {"problem": None, "solution": "2"},
        {"problem": " ", "solution": "2"},
        {"problem": "Add 2 and 1.", "solution": None},
        {"problem": "Add 3 and 1. " + "x" * 1_000_000, "solution": "4"},
        {"problem": "Add 3 and 1.", "solution": "4"},
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(folder, model, server.address, "--max_prompt_length", "64") == 0
    statuses = ["kept", *["not asked"] * 4, "kept"]
    assert column(folder / "out", "pass_rate_status") == statuses
    assert column(folder / "out", "pass_rate") == [0.25, None, None, None, None, 0.75]
    assert len(server.requests) == 2 * NUM_GENERATIONS
    assert read_card(folder / "out").steps[0].detail["not asked"] == 4
    assert "Dropped 2 of 6 rows" in caplog.text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--pass_rate_min", "0.9", "--pass_rate_max", "0.1"), "pass_rate_min"),
        (("--judge_url", "h:1"), "--judge_model"),
        (("--reward_weights", "1", "2"), "reward_weights"),
        (("--start", "5"), "--start 5"),
        (("--push_to_hub",), "--push_to_hub"),
        (("--push_to_hub", "true"), "--push_to_hub"),
        (("--public",), "--public"),
        (("--pass_rate_mim", "0.1"), "`pass_rate_min`"),
        (("--dataset_solution_column", "answer"), "['answer']"),
        (("--generation_kwargs", '{"n": 2}'), "['n']"),
    ],
)
def test_settings_that_cannot_work_are_refused(folder, model, server, capsys, flags, message):
    try:
        status = run(folder, model, server.address, *flags)
    except SystemExit as end:  # as the training scripts refuse what they cannot parse
        status = end.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert not server.requests


def test_rows_with_failed_requests_have_no_rate_and_are_asked_again(folder, model, answers):
    is_broken = True

    def behave(body, attempt):
        is_failing = is_broken and body["seed"] == SEED and "Add 2" in tokenizer.decode(body["prompt"])
        return Reply(status=400) if is_failing else answers(body, attempt)

    tokenizer = AutoTokenizer.from_pretrained(model)
    with ChatServer(behave) as server:
        assert run(folder, model, server.address) == 0
        row = rows_of(folder / "out")[2]
        assert (row["pass_rate_finish_reasons"][0], row["pass_rate_generations"][0]) == ("error", None)
        assert (row["pass_rate"], row["pass_rate_accuracy"], row["pass_rate_rewards"]) == (None, None, None)
        assert column(folder / "out", "pass_rate_status")[2] == "incomplete"
        is_broken = False
        asked = len(server.requests)
        assert run(folder, model, server.address) == 0
        assert len(server.requests) == asked  # it is finished
        assert run(folder, model, server.address, "--overwrite") == 0
        assert len(server.requests) == asked + 1
    assert column(folder / "out", "pass_rate") == [0.0, 0.25, 0.5, 0.75, 1.0]


FLAKY = """
import math, pathlib
def flaky_reward(completions, solution, **columns):
    is_down = pathlib.Path({flag!r}).exists()
    return [math.nan if is_down and gold == "3" else float(gold) / 5 for gold in solution]
"""


def test_what_could_not_be_judged_is_no_zero_and_is_judged_again(folder, model, server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    (folder / "flaky.py").write_text(FLAKY.format(flag=str(folder / "down")))
    reward_funcs = (f"{folder}/flaky.py:flaky_reward",)
    (folder / "down").touch()
    run(folder, model, server.address, reward_funcs=reward_funcs)
    assert column(folder / "out", "pass_rate_status")[2] == "unscorable"
    assert column(folder / "out", "pass_rate") == [0.2, 0.4, None, 0.8, 1.0]
    (folder / "down").unlink()
    asked = len(server.requests)
    run(folder, model, server.address, "--overwrite", reward_funcs=reward_funcs)
    assert column(folder / "out", "pass_rate")[2] == 0.6
    assert len(server.requests) == asked


def test_a_recipe_works_as_it_is(folder, model, server):
    # bf16, vLLM and batches of a GPU machine, three rewards with weights, a system prompt, a template.
    recipe = ROOT / "recipes" / "Qwen2.5-1.5B-Instruct" / "grpo" / "config_demo.yaml"
    kept = dict.fromkeys(("dataset_prompt_column", "reward_funcs", "seed"))
    flags = ("--config", str(recipe), "--model_revision", "main")
    status = run(folder, model, server.address, *flags, **kept, dataset_solution_column="solution")
    assert status == 0
    assert column(folder / "out", "pass_rate_accuracy") == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert not (folder / "data").exists()
