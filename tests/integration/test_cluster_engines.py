# SPDX-License-Identifier: Apache-2.0
"""Which programs serve a model on which node, word by word, and what is refused before anything starts."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from open_r1.cluster.engines import Launchers, Ports, plan_programs
from open_r1.cluster.serving_layout import Serving, plan_layout

LAUNCHERS = Launchers(vllm=("vllm",), sglang=("python", "-m", "sglang.launch_server"), ray="ray", python="py")
PORTS = Ports(requests=8000, meeting=8001, ray=8002)
NAMES = ("a", "b", "c", "d")
ROOT = Path(__file__).parents[2]


def programs(serving, num_nodes, gpus=8, launchers=LAUNCHERS):
    return plan_programs(serving, NAMES[:num_nodes], gpus, launchers=launchers, ports=PORTS)


def commands(serving, num_nodes, gpus=8):
    """(node, command, whether it answers requests) of each program."""
    found = programs(serving, num_nodes, gpus)
    return [(one.node, " ".join(behind_address(one)), one.url is not None) for one in found]


def behind_address(program):
    """The words of a program, without the seven that find its node's address."""
    return program.words[7:] if program.words[3] == "address" else program.words


def vllm(serve_words):
    return f"vllm serve m {serve_words} --disable-uvicorn-access-log"


def sglang(words):
    return f"python -m sglang.launch_server --model-path m {words}"


MEETS = "--master-addr a --master-port 8001"
CASES = {
    "one node": (Serving("m"), 1, [("a", vllm("--host a --port 8000 --tensor-parallel-size 8"), True)]),
    "two nodes": (Serving("m"), 2, [
        ("a", vllm(f"--host a --port 8000 --nnodes 2 --node-rank 0 {MEETS} --tensor-parallel-size 8 "
                   "--pipeline-parallel-size 2"), True),
        ("b", vllm(f"--nnodes 2 --node-rank 1 {MEETS} --headless --tensor-parallel-size 8 "
                   "--pipeline-parallel-size 2"), False),
    ]),
    "tensor parallel over two nodes": (Serving("m", tp=16), 2, [
        ("a", vllm(f"--host a --port 8000 --nnodes 2 --node-rank 0 {MEETS} --tensor-parallel-size 16"), True),
        ("b", vllm(f"--nnodes 2 --node-rank 1 {MEETS} --headless --tensor-parallel-size 16"), False),
    ]),
    "replicas on a node": (Serving("m", replicas=4), 1, [
        ("a", vllm("--host a --port 8000 --tensor-parallel-size 2 --data-parallel-size 4"), True),
    ]),
    "replicas on four nodes": (Serving("m", replicas=2, tp=8), 4, [
        ("a", vllm(f"--host a --port 8000 --nnodes 2 --node-rank 0 {MEETS} --tensor-parallel-size 8 "
                   "--pipeline-parallel-size 2"), True),
        ("b", vllm(f"--nnodes 2 --node-rank 1 {MEETS} --headless --tensor-parallel-size 8 "
                   "--pipeline-parallel-size 2"), False),
        ("c", vllm("--host c --port 8000 --nnodes 2 --node-rank 0 --master-addr c --master-port 8001 "
                   "--tensor-parallel-size 8 --pipeline-parallel-size 2"), True),
        ("d", vllm("--nnodes 2 --node-rank 1 --master-addr c --master-port 8001 --headless "
                   "--tensor-parallel-size 8 --pipeline-parallel-size 2"), False),
    ]),
    "all settings": (
        Serving("m", revision="a b", served_model_name="short", max_model_len=99, gpu_memory_utilization=0.5,
                trust_remote_code=True, host="0.0.0.0", tp=1, extra=("--seed", "3")), 1, [
            ("a", "vllm serve m --host 0.0.0.0 --port 8000 --tensor-parallel-size 1 --revision a b "
                  "--served-model-name short --max-model-len 99 --gpu-memory-utilization 0.5 --trust-remote-code "
                  "--disable-uvicorn-access-log --seed 3", True),
        ]),
    "sglang on one node": (Serving("m", engine="sglang", max_model_len=99, gpu_memory_utilization=0.5), 1, [
        ("a", sglang("--host a --port 8000 --tensor-parallel-size 8 --context-length 99 --mem-fraction-static 0.5"),
         True),
    ]),
    "sglang on two nodes": (Serving("m", engine="sglang"), 2, [
        ("a", sglang("--host a --port 8000 --nnodes 2 --node-rank 0 --dist-init-addr a:8001 "
                     "--tensor-parallel-size 16"), True),
        ("b", sglang("--host b --port 8000 --nnodes 2 --node-rank 1 --dist-init-addr a:8001 "
                     "--tensor-parallel-size 16"), False),
    ]),
    "sglang in stages": (Serving("m", engine="sglang", pp=4), 4, [
        (node, sglang(f"--host {node} --port 8000 --nnodes 4 --node-rank {rank} --dist-init-addr a:8001 "
                      "--tensor-parallel-size 8 --pipeline-parallel-size 4"), rank == 0)
        for rank, node in enumerate("abcd")
    ]),
}  # fmt: skip
REFUSED = {
    "replicas that don't divide the nodes": (Serving("m", replicas=3), 4, 8, "--replicas 3 .* 1, 2, 4"),
    "replicas that don't divide the GPUs": (Serving("m", replicas=6), 2, 8, "--replicas 6 .* 4, 8, 16"),
    "replicas that share CPUs": (Serving("m", replicas=2), 1, 0, "--replicas 2 .* it can be 1, or"),
    "no replica": (Serving("m", replicas=0), 1, 8, "--replicas must be 1 or more, got 0"),
    "more GPUs than there are": (Serving("m", tp=16), 1, 8, "--tp 16 .* --tp can be 1, 2, 3, 4, 5, 6, 7, 8 with"),
    "nodes that would hold unequal parts": (Serving("m", tp=3, pp=3), 2, 8, "--tp 3 .* --tp can be 2, 4 with --pp 3"),
    "stages without a GPU": (Serving("m", pp=9), 1, 8, "--pp 9 doesn't divide .* 1, 2, 4, 8"),
    "no GPU for a layer": (Serving("m", tp=0), 1, 8, "--tp must be 1 or more, got 0"),
    "stages of vLLM on CPUs": (Serving("m", tp=1, pp=2), 2, 0, "without GPUs can't split a model by layers"),
    "ray on one node": (Serving("m", executor="ray"), 1, 8, "--executor ray is for a model on the GPUs"),
    "ray for sglang": (Serving("m", engine="sglang", executor="ray"), 2, 8, "ray only for vllm"),
    "ray on CPUs": (Serving("m", tp=2, executor="ray"), 2, 0, "--executor ray is for a model on the GPUs of several"),
    "stages of sglang that nodes can't share": (
        Serving("m", engine="sglang", pp=2),
        3,
        8,
        "--pp 2 over 3 nodes: with --tp 12, --pp can be 1",
    ),
    "parts of sglang's stages that nodes can't share": (
        Serving("m", engine="sglang", tp=2, pp=3),
        2,
        8,
        "--pp 3 over 2 nodes: with --tp 2, --pp can be 1, 2, 4, 6, 8",
    ),
    "another engine": (Serving("m", engine="tgi"), 1, 8, "'tgi': it can be vllm, sglang"),
    "a flag as a model": (Serving("--port"), 1, 8, "--model is '--port'"),
    "no memory": (Serving("m", gpu_memory_utilization=0.0), 1, 8, "above 0 and at most 1, got 0"),
    "no context": (Serving("m", max_model_len=0), 1, 8, "--max-model-len must be 1 or more"),
    "a key where its name belongs": (Serving("m", api_key_env="sk-1"), 1, 8, "the name of an environment variable"),
    "a key in the command line": (Serving("m", extra=("--api-key=sk-1",)), 1, 8, "is set by --api-key-env"),
    "a port behind --": (Serving("m", extra=("--port", "1")), 1, 8, "--port behind -- is set by --port"),
    "another spelling": (Serving("m", extra=("--tensor_parallel_size=2",)), 1, 8, "is set by --tp"),
    "the beginning of a flag": (
        Serving("m", extra=("--api-k", "sk-1")),
        1,
        8,
        "--api-k behind -- is set by --api-key",
    ),
    "a short flag with its value": (Serving("m", extra=("-tp2",)), 1, 8, "-tp2 behind -- is set by --tp"),
    "a short flag of nodes": (Serving("m", extra=("-n=2",)), 1, 8, "-n behind -- is set by --nodes"),
    "a name behind --": (Serving("m", extra=("--served-model-name", "x")), 1, 8, "is set by --served-model-name"),
    "a file of settings": (
        Serving("m", extra=("--config", "f.yaml")),
        1,
        8,
        "--config can't stand behind --: its file",
    ),
    "https": (Serving("m", extra=("--ssl-keyfile=k",)), 1, 8, "--ssl-keyfile can't stand behind --: .* http"),
    "copies behind --": (Serving("m", extra=("--data_parallel_size_local=2",)), 1, 8, "is set by --replicas"),
    "a short flag of copies": (Serving("m", extra=("-dpl=2",)), 1, 8, "-dpl behind -- is set by --replicas"),
    "a token behind --": (
        Serving("m", extra=("--hf_tok=x",)),
        1,
        8,
        "--hf_tok can't stand behind --: .* set HF_TOKEN",
    ),
    "a path before all others": (Serving("m", extra=("--root-path", "/x")), 1, 8, "--root-path can't stand"),
    "a flag as a name": (Serving("m", served_model_name="-x"), 1, 8, "--served-model-name is '-x'"),
    "a flag as a revision": (Serving("m", revision="-x"), 1, 8, "--revision is '-x'"),
    "a word of no flag": (Serving("m", extra=("more",)), 1, 8, "'more' belongs to no flag"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_node_gets_its_own_command(case):
    serving, num_nodes, expected = CASES[case]
    assert commands(serving, num_nodes) == expected


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_is_refused_with_what_can(case):
    serving, num_nodes, gpus, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        programs(serving, num_nodes, gpus)


def test_nodes_find_their_own_address_as_the_others_see_it(tmp_path):
    """Not by a way to the internet, nor by their own name: nodes may have no way out, and 127.0.1.1 for a name."""
    first, second = programs(Serving("m"), 2)
    assert (first.words[6], second.words[6]) == ("b", "a")
    words = [
        *first.words[:4],
        sys.executable,
        first.words[5],
        "127.0.0.1",
        "bash",
        "-c",
        'echo "$VLLM_HOST_IP $HOST_IP"',
    ]
    assert run(words).stdout.split() == ["127.0.0.1", "127.0.0.1"]
    assert run([*words[:6], "no.such.node.invalid", "echo", "started"]).stdout == ""


def test_ray_runs_on_every_node_and_vllm_behind_it_on_the_first():
    head, worker, server = programs(Serving("m", executor="ray"), 2)
    assert [one.node for one in (head, worker, server)] == ["a", "b", "a"]
    assert "ray start --head --port=8002" in " ".join(head.words)
    assert "ray start --address=a:8002" in " ".join(worker.words)
    words = behind_address(server)
    assert words[:6] == ("bash", "-c", words[2], "ray", "ray", "a:8002")
    assert " ".join(words[6:]) == vllm(
        "--host a --port 8000 --distributed-executor-backend ray --tensor-parallel-size 8 --pipeline-parallel-size 2"
    )
    assert (head.url, worker.url, server.url) == (None, None, "http://a:8000")
    assert server.env["RAY_ADDRESS"] == "a:8002" and head.env["RAY_AUTH_MODE"] == "token"


def test_nodes_without_gpus_share_the_layers_of_vllm():
    layout = plan_layout(Serving("m"), 2, 0)
    assert (layout.tp, layout.pp) == (2, 1)


def run(words, **variables):
    return subprocess.run(
        words, env={"PATH": "/usr/bin:/bin", **variables}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_key_reaches_the_engine_and_stands_in_no_command_line(engine, tmp_path):
    """The engine is a program that shows what it gets: its words, its variable, and its configuration."""
    shown = tmp_path / "engine.py"
    shown.write_text(
        "import os, sys\n"
        "print('words', sys.argv[1:])\n"
        "print('variable', os.environ.get('VLLM_API_KEY'))\n"
        "if '--config' in sys.argv:\n"
        "    import yaml\n"
        "    path = sys.argv[sys.argv.index('--config') + 1]\n"
        "    print('file', yaml.safe_load(open(path)), oct(os.stat(path).st_mode & 0o77))\n"
        "sys.exit(5)\n"
    )
    key = "s'e\"c $r`e:t"
    words = (sys.executable, str(shown))
    launchers = Launchers(vllm=words, sglang=words, ray="ray", python="py")
    (program,) = programs(Serving("m", engine=engine, api_key_env="OUR_KEY"), 1, launchers=launchers)
    assert not any(key in word for word in program.words) and key not in program.env.values()
    done = run(program.words, OUR_KEY=key)
    assert done.returncode == 5, done.stderr
    told = f"variable {key}" if engine == "vllm" else "file " + str({"api-key": key}) + " 0o0"
    assert told in done.stdout and key not in done.stdout.splitlines()[0]
    assert run(program.words).returncode != 5, "it was started without a key"


def test_key_that_sglang_writes_stays_out_of_its_log():
    launchers = Launchers(
        vllm=(), sglang=("bash", "-c", 'cat "${@: -1}"; echo no newline >&2; printf end', "x"), ray="ray", python="py"
    )
    (program,) = programs(Serving("m", engine="sglang", api_key_env="OUR_KEY"), 1, launchers=launchers)
    done = run(program.words, OUR_KEY="k*e[y]")
    assert (done.stdout, done.returncode) == ("api-key: '***'\nno newline\nend\n", 0)


# bash reads it first, and is slow from then on with its handler of SIGTERM, or behind a wait.
SLOW_SHELL = """trap 'case $BASH_COMMAND in {at}) sleep 1;; esac' DEBUG"""


@pytest.mark.parametrize("slow_at", ["nothing", 'trap*" TERM INT"', "status=\\$\\?"])
def test_sglang_with_a_key_ends_by_itself_when_it_is_told_to(tmp_path, tmp_path_factory, slow_at):
    """The shell that hides the key hands SIGTERM on, waits, and leaves no file with the key."""
    ready = tmp_path / "ready"
    program = f"trap 'sleep 0.3; echo saved; exit 7' TERM; echo >'{ready}'; while :; do sleep 0.05; done"
    launchers = Launchers(vllm=(), sglang=("bash", "-c", program, "x"), ray="ray", python="py")
    (made,) = programs(Serving("m", engine="sglang", api_key_env="OUR_KEY"), 1, launchers=launchers)
    slow_shell = tmp_path_factory.mktemp("shell") / "slow.sh"
    slow_shell.write_text(SLOW_SHELL.format(at=slow_at))
    environment = {"PATH": "/usr/bin:/bin", "OUR_KEY": "secret", "TMPDIR": str(tmp_path), "BASH_ENV": str(slow_shell)}
    with subprocess.Popen(made.words, env=environment, stdout=subprocess.PIPE, text=True) as started:
        while not ready.exists():
            assert started.poll() is None
            time.sleep(0.01)
        started.terminate()
        said, _ = started.communicate(timeout=120)
    assert (said, started.returncode) == ("saved\n", 7)
    assert list(tmp_path.iterdir()) == [ready]


def test_key_of_the_user_is_not_demanded_by_a_server_without_one():
    assert all(one.env["VLLM_API_KEY"] == "" for one in programs(Serving("m"), 2))
    assert "VLLM_API_KEY" not in programs(Serving("m", api_key_env="K"), 1)[0].env


def test_node_without_ray_ends_at_once():
    launchers = Launchers(vllm=("vllm",), sglang=(), ray="no-such-ray", python=sys.executable)
    for program in programs(Serving("m", executor="ray"), 2, launchers=launchers):
        words = ["127.0.0.1" if word in NAMES else word for word in program.words]
        done = run(words)
        assert done.returncode == 1 and "no program no-such-ray" in done.stderr


def test_ray_of_a_worker_waits_for_the_head_and_then_runs_once(tmp_path):
    ray = tmp_path / "ray"
    ray.write_text('#!/bin/bash\necho "$@" >>"${0%/*}/calls"\n[[ $1 != start ]] || exit 3\n')
    ray.chmod(0o755)
    launchers = Launchers(vllm=("vllm",), sglang=(), ray=str(ray), python=sys.executable)
    worker = programs(Serving("m", executor="ray"), 2, launchers=launchers)[1]
    done = run([word.replace("a:8002", "h:8002") if word != "a" else "127.0.0.1" for word in worker.words])
    assert done.returncode == 3, "a Ray that ends was started again"
    first, second = (tmp_path / "calls").read_text().splitlines()
    assert first == "health-check --address=h:8002"
    assert second == "start --address=h:8002 --disable-usage-stats --block --node-ip-address=127.0.0.1"


def test_words_of_a_container_come_first():
    launchers = Launchers(vllm=("vllm",), sglang=(), ray="ray", python="py", container=("apptainer", "exec", "x.sif"))
    for executor in ("mp", "ray"):
        for program in programs(Serving("m", executor=executor, api_key_env="K"), 2, launchers=launchers):
            assert program.words[:3] == launchers.container and "apptainer" not in program.words[3:]
