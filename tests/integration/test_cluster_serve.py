# SPDX-License-Identifier: Apache-2.0
"""What serve.slurm, serve_router.slurm and generate.slurm run, and what they refuse before anything starts."""

import json
import runpy
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from open_r1.cluster import generate, serve, serve_router
from open_r1.cluster.allocation import Allocation
from open_r1.cluster.sites import Site

ROOT = Path(__file__).parents[2]


def plan(module, *words, num_nodes=1, gpus=8, rest=()):
    site = Site(root=ROOT, node_python=sys.executable, logs=Path("logs"), gpus_per_node=gpus, vllm=("vllm",))
    arguments = module.make_parser().parse_args([*words, "--dry-run"])
    arguments.rest = list(rest)
    return module.make_plan(arguments, site, Allocation.imagined(site, name="x", num_nodes=num_nodes))


def work_words(step):
    return " ".join(step.command[1:])


def test_router_stands_before_all_replicas():
    made = plan(serve, "--model", "m", "--replicas", "2", "--router", "--router-port", "9000", num_nodes=2)
    router = made.servers[-1]
    assert router.health_urls == ("http://node1:9000/health",)
    assert work_words(router.step).endswith("--worker-urls http://node1:20000 http://node2:20000")
    assert "--router http://node1:9000" in work_words(made.work[0])
    assert made.on_time_limit == "requeue"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "80"], "--port is 80: it must be 1024 to 65535"),
        (["--router-port", "9000"], "--router-port is for --router"),
        (["--router", "--port", "9000", "--router-port", "9000"], "both 9000"),
        (["--deadline", "0"], "--deadline must be more than 0"),
        (["--deadline", "nan"], "--deadline must be more than 0"),
        (["--register-with", "http://"], "--register-with is 'http://': it must look like"),
        (["--register-with", "r:x"], "--register-with is 'r:x'"),
        (["--register-with", "ftp://r:1"], "--register-with is 'ftp://r:1'"),
        (["--health-interval", "0"], "--health-interval must be 1 to 86400"),
    ],
)
def test_settings_of_the_service_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        plan(serve, "--model", "m", *words)


def test_idle_gpus_and_open_doors_are_told():
    notes = "\n".join(plan(serve, "--model", "m", "--tp", "2").notes)
    assert "6 of 8 GPUs stay idle" in notes and "No key" in notes


def test_service_waits_and_watches_as_it_is_told():
    words = ["--model", "m", "--deadline", "77", "--api-key-env", "OUR_KEY", "--register-with", "r:1/"]
    made = plan(serve, *words)
    (watch,) = made.work
    assert made.deadline_s == 77 and watch.gpus == 0
    assert "--api-key-env OUR_KEY" in work_words(watch) and "--register-with http://r:1" in work_words(watch)
    assert [path.name for path in made.short_lived] == ["endpoints.json"]
    assert plan(serve, "--model", "m", "--server-deadline", "66").deadline_s == 66


def test_router_asks_the_nodes_without_a_proxy_and_lets_long_requests_go_on():
    for made in (plan(serve, "--model", "m", "--router"), plan(serve_router, "--deadline", "55")):
        router = made.servers[-1].step
        assert router.env == {"NO_PROXY": "*", "no_proxy": "*"}
        words = dict(pairwise(router.command))
        assert words["--request-timeout-secs"] == "86400" and words["--port"] != words["--prometheus-port"]
    assert made.deadline_s == 55


def test_key_that_is_not_set_is_refused(monkeypatch):
    monkeypatch.delenv("OUR_KEY", raising=False)
    site = Site(root=ROOT, node_python=sys.executable, logs=Path("logs"), gpus_per_node=8, vllm=("vllm",))
    arguments = serve.make_parser().parse_args(["--model", "m", "--api-key-env", "OUR_KEY"])
    with pytest.raises(ValueError, match="names OUR_KEY, which is not set"):
        serve.make_plan(arguments, site, Allocation.imagined(site, name="x"))


@pytest.mark.parametrize(
    ("config", "words"),
    [({"num_attention_heads": 9}, []), ({"text_config": {"num_attention_heads": 9}}, ["--engine", "sglang"])],
)
def test_gpus_that_heads_cannot_be_split_over_are_refused(tmp_path, config, words):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="has 9 attention heads, which --tp 8 can't share: --tp can be 1, 3; "):
        plan(serve, "--model", str(tmp_path), *words)
    assert plan(serve, "--model", str(tmp_path), "--tp", "3", *words).servers


@pytest.mark.parametrize(("words", "gpus"), [((), 8), (("--tp", "16"), 16), (("--replicas", "3"), 6)])
def test_number_of_gpus_that_nobody_has_said_is_told_and_refuses_nothing(words, gpus):
    made = plan(serve, "--model", "m", *words, gpus=None)
    assert f"{gpus} GPUs a node are assumed" in made.notes[-1]
    assert made.servers[0].step.gpus == gpus
    assert not any("assumed" in note for note in plan(serve, "--model", "m").notes)


def test_router_alone_waits_for_servers_that_register():
    (router,) = plan(serve_router).servers
    assert "--port 39876" in work_words(router.step) and "--worker-urls" not in router.step.command


GENERATE = ["--hf-dataset", "rows.jsonl", "--prompt-column", "problem"]


def test_generation_asks_the_servers_of_its_job():
    made = plan(generate, "--model", "m", "--served-model-name", "short", rest=[*GENERATE, "--temperature", "0.6"])
    look, client = made.work
    assert look.command[-1] == "--once"
    assert work_words(client).split(" ", 1)[1] == (
        "--model short --vllm-server-url http://node1:20000/v1 --hf-dataset rows.jsonl --prompt-column problem "
        "--temperature 0.6"
    )
    assert made.on_time_limit == "requeue"


def test_flags_are_those_of_the_server_or_of_the_client():
    """What both had would be taken for the server's without a word."""
    build = runpy.run_path(str(ROOT / "scripts" / "generate_reasoning.py"))["build_parser"]
    ours = set(generate.make_parser()._option_string_actions)
    assert ours & set(build()._option_string_actions) == {"--model", "--api-key-env", "--help", "-h"}


@pytest.mark.parametrize("before", [[], ["--"]])
def test_revision_and_deadline_of_the_reasoning_client_reach_it(before):
    words = [
        "--dataset-name",
        "rows.jsonl",
        "--prompt-column",
        "problem",
        "--output-dir",
        "out",
        *before,
        "--revision",
        "data-v2",
        "--deadline",
        "60",
    ]
    parser = generate.make_parser()
    ours = ["--model", "m", "--client", "generate_reasoning", "--model-revision", "v1", "--server-deadline", "99"]
    _, rest = parser.parse_known_args([*ours, *words])
    made = plan(generate, *ours, rest=rest)
    assert "--revision v1" in " ".join(made.servers[0].step.command) and made.deadline_s == 99
    assert work_words(made.work[-1]).endswith("--revision data-v2 --deadline 60")


def test_key_of_the_user_for_another_service_stays_at_home():
    assert plan(generate, "--model", "m", rest=GENERATE).work[-1].env == {"OPENAI_API_KEY": ""}
    made = plan(generate, "--model", "m", "--api-key-env", "OUR_KEY", rest=GENERATE)
    assert made.work[-1].env == {} and all("--api-key-env OUR_KEY" in work_words(step) for step in made.work)


@pytest.mark.parametrize("again", ["--overwrite", "--retry-errors"])
def test_finished_output_is_found_unless_it_is_made_again(tmp_path, again):
    (tmp_path / "card.json").touch()
    words = [*GENERATE, "--output-dir", str(tmp_path)]
    assert plan(generate, "--model", "m", rest=words).servers == ()
    assert plan(generate, "--model", "m", rest=[*words, again]).servers


def test_generation_knows_where_its_answers_are_kept():
    assert plan(generate, "--model", "m", rest=GENERATE).answers_in == (ROOT / "data" / "rows_generated",)
    reasoning = ["--dataset-name", "rows.jsonl", "--prompt-column", "problem", "--output-file", "out/rows.jsonl"]
    made = plan(generate, "--model", "m", "--client", "generate_reasoning", rest=reasoning)
    assert made.answers_in == (ROOT / "out" / "rows",)
    assert plan(serve, "--model", "m").answers_in is None


@pytest.mark.parametrize("client", list(generate.CLIENTS))
def test_answers_in_the_home_folder_are_found_there(tmp_path, monkeypatch, client):
    monkeypatch.setenv("HOME", str(tmp_path))
    name = "--hf-dataset" if client == "generate" else "--dataset-name"
    rest = [name, "rows.jsonl", "--prompt-column", "problem", "--output-dir=~/rows"]
    made = plan(generate, "--model", "m", "--client", client, rest=rest)
    assert made.answers_in == (tmp_path / "rows",)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "card.json").touch()
    assert plan(generate, "--model", "m", "--client", client, rest=rest).servers == ()


def test_template_stays_one_word_whatever_is_in_it():
    template = 'it\'s "so": $(rm) `x`\n{{ instruction }}'
    made = plan(generate, "--model", "m", rest=[*GENERATE, "--prompt-template", template])
    assert template in made.work[-1].command


DEMO = ["--hf-dataset", "assets/demo/sums.jsonl", "--prompt-column", "problem", "--output-dir", "out"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (DEMO, "refuses its flags: The rows have columns .*'generations'.*--drop-columns"),
        (["--hf-dataset", DEMO[1], "--prompt-column", "probelm", "--output-dir", "out"], "has no columns .*probelm"),
        ([*DEMO, "--drop-columns", "generation"], "has no columns .*'generation'.*--drop-columns"),
    ],
)
def test_columns_that_cannot_work_are_refused_before_anything_is_served(words, message):
    reasoning = [word.replace("--hf-dataset", "--dataset-name") for word in words]
    with pytest.raises(ValueError, match=message):
        plan(generate, "--model", "m", rest=words)
    with pytest.raises(ValueError, match=message):
        plan(generate, "--model", "m", "--client", "generate_reasoning", rest=reasoning)


def test_columns_that_are_dropped_collide_with_nothing():
    made = plan(generate, "--model", "m", rest=[*DEMO, "--drop-columns", "generations", "finish_reasons"])
    assert "--drop-columns generations finish_reasons" in work_words(made.work[-1])


def test_reasoning_client_asks_all_replicas():
    rest = ["--dataset-name", "rows.jsonl", "--prompt-column", "problem", "--output-dir", "out"]
    words = ["--model", "m", "--replicas", "2", "--client", "generate_reasoning"]
    client = plan(generate, *words, num_nodes=2, rest=rest).work[-1]
    assert "--api-addr http://node1:20000/v1,http://node2:20000/v1" in work_words(client)


@pytest.mark.parametrize(
    ("words", "rest", "message"),
    [
        ([], ["--temperature", "9"], "generate.py refuses its flags: temperature is 9.0"),
        ([], ["--tempratur", "1"], "did you mean --temperature"),
        ([], ["--vllm-server-url=http://x"], "--vllm-server-url is set by this script"),
        (["--replicas", "2"], [], "2 replicas: add --router"),
        (["--serve-args", "'x"], [], "--serve-args can't be split"),
        (["--max-model-len", "4096"], [], "--max-new-tokens is 8192 and --max-model-len, .* 4096"),
        ([], ["--revision=x"], "--revision is called --model-revision here"),
    ],
)
def test_generation_that_cannot_work_is_refused_before_anything_is_served(words, rest, message):
    with pytest.raises(ValueError, match=message):
        plan(generate, "--model", "m", *words, num_nodes=2, rest=[*GENERATE, *rest])
