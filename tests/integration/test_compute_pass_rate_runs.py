# SPDX-License-Identifier: Apache-2.0
"""Runs of `scripts/compute_pass_rate.py` that are repeated, cut into shards, pushed, or killed."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from huggingface_hub import constants

from open_r1.curation.pass_rate import GENERATIONS, SCORES
from open_r1.data.card import read_card
from scripts import compute_pass_rate
from tests.conftest import ROOT
from tests.integration.fakes.chat_server import ChatServer, Reply
from tests.integration.fakes.vllm_executable import read_pids, write_vllm
from tests.integration.hub_server import Hub
from tests.integration.pass_rates import (
    SCRIPT,
    answering,
    build_model,
    column,
    rows_of,
    run,
    words,
    write_rows,
)
from tests.waiting import wait_until


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


def test_a_finished_run_is_not_repeated_and_other_settings_are_refused(folder, model, server, capsys):
    run(folder, model, server.address)
    asked = len(server.requests)
    assert run(folder, model, server.address) == 0
    assert "finished earlier" in capsys.readouterr().out
    assert run(folder, model, server.address, "--pass_rate_max", "0.5") == 2
    assert "bounds [0.1, 0.9] -> [0.1, 0.5]" in capsys.readouterr().err
    assert run(folder, model, server.address, "--pass_rate_max", "0.5", "--overwrite") == 0
    assert column(folder / "out", "pass_rate", "pass_rate") == [0.25, 0.5]
    assert len(server.requests) == asked  # no token is paid for twice


def test_completions_of_other_settings_are_not_mixed(folder, model, server, capsys):
    run(folder, model, server.address)
    asked = len(server.requests)
    assert run(folder, model, server.address, "--temperature", "0.5") == 2
    before = (folder / "out" / GENERATIONS).read_text()
    assert run(folder, model, server.address, "--temperature", "0.5", "--overwrite") == 0
    assert len(server.requests) == 2 * asked
    assert (folder / "out" / "generations.1.jsonl").read_text() == before  # they were paid for


def test_shards_merge_to_what_one_run_writes(folder, model, server, capsys):
    run(folder, model, server.address, output="whole")
    for shard in (("--shard", "0/2"), ("--start", "2", "--end", "4"), ("--start", "4", "--end", "9")):
        assert run(folder, model, server.address, *shard) == 0
    assert compute_pass_rate.main(["--merge", "--output_dir", str(folder / "out")]) == 0
    for config in (None, "pass_rate"):
        assert rows_of(folder / "out", config) == rows_of(folder / "whole", config)
    merged, whole = read_card(folder / "out"), read_card(folder / "whole")
    assert merged.fingerprint() == whole.fingerprint()
    assert merged.steps == whole.steps


def test_shards_and_merge_may_have_one_command_line(folder, model, server, monkeypatch):
    words = ("--push_to_hub", "alice/rates", "--public", "--licence", "mit")
    for shard in ("0/2", "1/2"):
        assert run(folder, model, server.address, *words, "--shard", shard) == 0
    assert run(folder, model, server.address, "--licence", "mit", "--merge") == 0
    assert read_card(folder / "out").licence == "mit"


def test_parts_that_were_made_again_are_merged_again(folder, model, server):
    parts = [("--start", "0", "--end", "2"), ("--start", "2", "--end", "5")]
    merge = ["--merge", "--output_dir", str(folder / "out")]
    for bounds in ((), ("--pass_rate_max", "0.5", "--overwrite")):
        for part in parts:
            assert run(folder, model, server.address, *part, *bounds) == 0
        assert compute_pass_rate.main([*merge, *bounds[2:]]) == 0
    assert column(folder / "out", "pass_rate", "pass_rate") == [0.25, 0.5]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([], "holds no finished part"),
        ([("--end", "2")], "row 2 of 5"),
        ([("--start", "2", "--end", "4")], "row 0 of 5"),
    ],
)
def test_parts_that_are_missing_are_refused(folder, model, server, capsys, parts, said):
    for part in parts:
        assert run(folder, model, server.address, *part) == 0
    assert compute_pass_rate.main(["--merge", "--output_dir", str(folder / "out")]) == 2
    assert said in capsys.readouterr().err


def start(arguments):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


HANGING = """
import pathlib, sys, time
def hanging_reward(completions, solution, **columns):
    if len(completions) > 2 and "6" in solution and not pathlib.Path({flag!r}).exists():
        pathlib.Path({flag!r}).touch()
        print("hangs", file=sys.stderr, flush=True)
        time.sleep(600)
    with open({log!r}, "a") as log:
        log.write("".join(f"{{gold}}\\n" for gold in solution))
    return [float(gold) / 100 for gold in solution]
"""


def test_a_run_killed_while_judging_judges_what_is_missing_only(folder, model, server):
    write_rows(folder / "rows.jsonl", 40)
    flag, log = folder / "hangs", folder / "judged.txt"
    (folder / "hanging.py").write_text(HANGING.format(flag=str(flag), log=str(log)).replace('"6"', '"30"'))
    given = words(folder, model, server.address, reward_funcs=(f"{folder}/hanging.py:hanging_reward",))
    process = start(given)
    line = ""
    while not flag.exists() and process.poll() is None:
        line = process.stderr.readline()
    assert flag.exists(), line
    process.send_signal(signal.SIGKILL)
    process.communicate()
    judged = len((folder / "out" / SCORES).read_text().splitlines()) - 1
    assert 0 < judged < 40
    log.unlink()
    asked = len(server.requests)
    assert compute_pass_rate.main(given) == 0
    assert len(server.requests) == asked
    again = {int(gold) for gold in log.read_text().splitlines()}
    assert again - {1} == set(range(judged + 1, 41))  # row 0 serves the trial call before the run
    assert column(folder / "out", "pass_rate") == [(n + 1) / 100 for n in range(40)]


def test_open_r1s_place_of_the_script_hands_on_without_loading_torch():
    old = ROOT / "scripts" / "pass_rate_filtering" / "compute_pass_rate.py"
    program = f"import runpy, sys; sys.argv = ['x', '--help']\ntry: runpy.run_path({str(old)!r}, run_name='__main__')"
    program += "\nfinally: print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], text=True, capture_output=True, check=True)
    assert "--pass_rate_min" in found.stdout
    assert found.stdout.endswith("False\n")


def test_an_outage_publishes_nothing(folder, model, answers, capsys):
    with ChatServer(lambda body, attempt: Reply(status=400)) as server:
        assert run(folder, model, server.address) == 1
        assert "incomplete" in capsys.readouterr().err
        assert not (folder / "out" / "card.json").exists()
        server.behave = answers
        assert run(folder, model, server.address) == 0


def test_rows_of_an_earlier_run_get_new_rates(folder, model, server, caplog):
    run(folder, model, server.address)
    caplog.clear()
    source = {"dataset_name": folder / "out", "dataset_config": "pass_rate", "output": "again"}
    assert run(folder, model, server.address, **source, num_generations=2) == 0
    assert column(folder / "again", "pass_rate") == [0.5, 1.0, 1.0]
    source |= {"dataset_name": folder / "again", "output": "other", "reward_funcs": ("length",)}
    assert run(folder, model, server.address, **source, num_generations=2) == 0
    assert column(folder / "other", "pass_rate_accuracy") == [0.5]
    assert read_card(folder / "again").parents[0].config == "pass_rate"


def test_a_mixture_is_asked_in_its_order(folder, model, server):
    recipe = folder / "recipe.yaml"
    recipe.write_text(f"dataset_mixture:\n  seed: 1\n  datasets:\n  - id: {folder}/rows.jsonl\n    weight: 0.8\n")
    assert run(folder, model, server.address, "--config", str(recipe), dataset_name=None) == 0
    found = rows_of(folder / "out")
    assert len(found) == 4
    assert [row["pass_rate"] for row in found] == [(int(row["solution"]) - 1) / 4 for row in found]


def test_recipes_of_filters_are_read():
    from open_r1.arguments import parse_args
    from open_r1.curation.pass_rate_recipe import PassRateConfig, PassRateScriptArguments

    # Bounds and the most tokens of a completion, as Open R1 has them.
    values = {
        "config_demo": (0.2, 0.8, 2048),
        "filter_dapo": (0.1, 0.6, 32000),
        "filter_python": (0.1, 0.6, 16000),
    }
    recipes = sorted((ROOT / "recipes" / "dataset_filtering").glob("*.yaml"))
    assert {recipe.stem for recipe in recipes} == set(values)
    for recipe in recipes:
        script_args, training_args, _ = parse_args(PassRateScriptArguments, PassRateConfig, ["--config", str(recipe)])
        found = (script_args.pass_rate_min, script_args.pass_rate_max, training_args.max_completion_length)
        assert found == values[recipe.stem]
        assert script_args.dataset_train_split == script_args.dataset_split == "train"
        assert training_args.num_generations == 8


def test_a_server_of_its_own_is_started_asked_and_stopped(folder, model, monkeypatch):
    vllm = write_vllm(folder / "bin")
    monkeypatch.setenv("PATH", f"{vllm.parent}:{os.environ['PATH']}")
    flags = ("--serve_args=--served-model-name short", "--max_model_len", "512")
    assert run(folder, model, None, *flags, server=None, server_model=None) == 0
    assert column(folder / "out", "pass_rate_status") == ["too hard"] * 5  # the stub answers no sum
    wait_until(lambda: not any(psutil.pid_exists(pid) for pid in read_pids(vllm.parent)))


def test_nothing_is_pushed_but_by_name_and_then_privately(folder, model, server, monkeypatch):
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        recipe = folder / "recipe.yaml"
        recipe.write_text("push_to_hub: true\noutput_dataset_name: alice/rates\n")
        run(folder, model, server.address, "--config", str(recipe))
        assert not hub.repos
        run(folder, model, server.address, "--config", str(recipe), "--push_to_hub")
        found = hub.repos["datasets/alice/rates"]
    assert found.private
    files = found.branches["main"].files
    assert {"README.md", "card.json", "pass_rate/train-00000-of-00001.parquet"} <= set(files)
    assert not [name for name in files if name.endswith(".jsonl")]


def test_new_completions_get_new_rewards(folder, model, server):
    run(folder, model, server.address)
    (folder / "out" / GENERATIONS).unlink()
    server.behave = lambda body, attempt: Reply("so\n</think>\n\\boxed{3}")  # right for row 2 alone
    assert run(folder, model, server.address, "--overwrite") == 0
    assert column(folder / "out", "pass_rate") == [0.0, 0.0, 1.0, 0.0, 0.0]
