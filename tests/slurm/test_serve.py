# SPDX-License-Identifier: Apache-2.0
"""serve.slurm on a real Slurm: a real vLLM over two nodes; replicas, routers and failures with stand-ins."""

import json
import subprocess
import sys

import psutil
import pytest

from tests.conftest import ROOT
from tests.slurm.cluster_bed import BEHIND_A_PROXY, HERE, eventually

SCRIPT = "slurm/serve.slurm"
IS_SERVED = "is served; for our clients"
NAME = 'it\'s "tiny"'
KEY = "not-for-anybody's-eyes"
# Runs on a node: url, model, perhaps a key, and how often to ask -> status and text, a line for each.
ASK = """import json, sys, urllib.error, urllib.request
url, model, key, times = sys.argv[1:]
request = urllib.request.Request(f"{url}/completions", json.dumps({"model": model, "prompt": "1+2", "max_tokens": 4,
    "temperature": 0}).encode(), {"Content-Type": "application/json", "Authorization": f"Bearer {key}"})
for _ in range(int(times)):
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=300) as reply:
            print(reply.status, json.load(reply)["choices"][0]["text"])
    except urllib.error.HTTPError as error:
        print(error.code)
"""


@pytest.fixture
def serve_stand_in(cluster):
    """Return the function that serves a stand-in (`stand_in_replica.py`)."""

    def serve(kind: str, *words: str, nodes: int = 1, **settings: str):
        stand_in = [sys.executable, str(HERE / "stand_in_replica.py"), kind]
        site = cluster.site(environment=BEHIND_A_PROXY, vllm=stand_in, **settings)
        return cluster.submit(SCRIPT, "--model", "some/model", *words, sbatch=[f"--nodes={nodes}"], site=site)

    return serve


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A model whose heads two nodes can share."""
    folder = tmp_path_factory.mktemp("served") / "a tiny model"
    words = [ROOT / "scripts" / "make_tiny_model.py", "--output_dir", folder, "--num_heads", "4"]
    subprocess.run([sys.executable, *words], check=True, capture_output=True, timeout=300)
    return folder


def ask_from(cluster, node, url, model, key="", times=1):
    """What a program on another node gets: status and text, a line each time."""
    words = ["srun", "--partition=gpu", f"--nodelist={node}", "--time=20", sys.executable, "-c", ASK, url, model, key]
    return cluster.command(*words, str(times)).stdout.strip()


def other_node(cluster, job):
    return next(node for node in cluster.nodes if node not in job.nodes)


def endpoints_path(cluster, job):
    return cluster.logs / f"{job.field('JobName')}-{job.job_id}" / "endpoints.json"


def words_of_processes():
    return [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]


def test_model_over_two_nodes_answers_a_third_that_has_the_key(cluster, tiny_model):
    site = cluster.site(environment=BEHIND_A_PROXY)
    job = cluster.submit(
        SCRIPT,
        "--model",
        tiny_model,
        "--served-model-name",
        NAME,
        "--max-model-len",
        "128",
        "--api-key-env",
        "OUR_KEY",
        "--",
        "--enforce-eager",
        "--max-num-seqs",
        "4",
        sbatch=["--nodes=2"],
        site=site,
        env={"OUR_KEY": KEY},
    )
    job.wait_for_log(IS_SERVED)
    path, node = endpoints_path(cluster, job), other_node(cluster, job)
    told = json.loads(path.read_text(encoding="utf-8"))
    assert (told["model"], told["job_id"]) == (NAME, job.job_id)
    url = told["url"]
    assert f"http://{job.nodes[0]}:" in url
    assert "--tensor-parallel-size 2" in job.log and "--headless" in job.log
    assert ask_from(cluster, node, url, NAME, KEY).startswith("200 ")
    assert ask_from(cluster, node, url, NAME) == "401"
    seen = [job.log, *job.step_logs().values(), *words_of_processes()]
    assert not any(KEY in text for text in seen), "the key can be read"
    job.cancel()
    assert job.wait() == "CANCELLED"
    eventually(lambda: not any(str(tiny_model) in words for words in words_of_processes()), "no process is left")
    assert not path.exists()


@pytest.mark.parametrize("how", ["break", "hang"])
def test_server_that_says_it_is_healthy_and_completes_nothing_ends_the_job(cluster, serve_stand_in, how):
    job = serve_stand_in("answers", "--health-interval", "1", watch_patience="2")
    job.wait_for_log(IS_SERVED)
    url = json.loads(endpoints_path(cluster, job).read_text(encoding="utf-8"))["url"].removesuffix("/v1")
    posting = "import sys, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(sys.argv[1], b'')"
    node = other_node(cluster, job)
    cluster.command("srun", "--partition=gpu", f"--nodelist={node}", sys.executable, "-c", posting, f"{url}/{how}")
    assert job.wait() == "FAILED"
    assert job.log.count("completes nothing") == 3
    assert not endpoints_path(cluster, job).exists()


def test_server_that_cannot_complete_ends_the_job_with_its_words(serve_stand_in):
    job = serve_stand_in("mute")
    assert job.wait() == "FAILED"
    assert "status 500" in job.log and "ümlauts" in job.log and IS_SERVED not in job.log


def test_service_goes_back_to_the_queue_before_its_time_limit(cluster, serve_stand_in):
    job = serve_stand_in("answers")
    job.wait_for_log(IS_SERVED)
    job.signal_batch("USR1")
    eventually(lambda: job.log.count(IS_SERVED) == 2, "it is served again")
    assert job.restarts == 1
    assert endpoints_path(cluster, job).exists()


def test_servers_register_with_a_router_of_another_job(cluster, serve_stand_in):
    router = cluster.submit("slurm/serve_router.slurm", by="script", site=cluster.site(environment=BEHIND_A_PROXY))
    router.wait_for_log("router answers at")
    url = f"http://{router.nodes[0]}:39876"
    job = serve_stand_in("answers", "--register-with", url)
    job.wait_for_log(IS_SERVED)
    assert f"the router at {url} knows of http://{job.nodes[0]}:" in job.log
    node = next(name for name in cluster.nodes if name not in (*router.nodes, *job.nodes))
    assert ask_from(cluster, node, f"{url}/v1", "some/model") == f"200 {job.nodes[0]}"
    job.cancel()
    job.wait()
    assert ask_from(cluster, node, f"{url}/v1", "some/model") != f"200 {job.nodes[0]}"
