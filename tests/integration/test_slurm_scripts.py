# SPDX-License-Identifier: Apache-2.0
"""Every script of slurm/ on a machine without Slurm: what a dry run prints, refusals, paths with spaces and quotes.

tests/slurm submits them to a real Slurm.
"""

import functools
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "slurm"
BIN = Path(sys.executable).parent
# Arguments with which a script has something to do, by its path below slurm/.
ARGUMENTS = {
    "compute_pass_rate.slurm": ["--tasks", "4", "--config", "recipes/dataset_filtering/filter_dapo.yaml"],
    "decontaminate.slurm": ["--tasks", "2", "--dataset", "rows.jsonl"],
    "e2b_router.slurm": ["--token_file", "token"],
    "evaluate.slurm": ["--model", "data/a model 7b", "--benchmarks", "math_500"],
    "generate.slurm": ["--model", "m m", "--hf-dataset", "rows.jsonl", "--prompt-column", "problem"],
    "morph_router.slurm": ["--token_file", "token"],
    "piston/launch_single_piston.sh": ["--port", "2000"],
    "piston/piston.slurm": ["--port", "2000"],
    "router.slurm": ["--provider", "local", "--token_file", "token"],
    "serve.slurm": ["--model", "data/a model 7b"],
    "serve_r1.slurm": [],
    "serve_router.slurm": ["--worker", "http://node1:8000"],
    "experimental/serve_r1_vllm.slurm": [],
    "train.slurm": ["--model", "OpenR1-Distill-7B", "--task", "sft", "--config", "distill", "--accelerator", "zero3"],
}
# Open R1's spellings, in which the place of a word has a meaning.
OLD_ARGUMENTS = {
    "compute_pass_rate.slurm": ["recipes/dataset_filtering/filter_dapo.yaml", "0", "200"],
    "evaluate.slurm": ["aime24", "lighteval|aime24|0|0", "me/model-7b", "main", "False", "False"],
    "piston/launch_single_piston.sh": ["2000"],
    "serve_r1.slurm": ["-e", "conda", "-m", "some/model"],
    "experimental/serve_r1_vllm.slurm": ["-m", "some/model", "-e", "conda"],
    "serve_router.slurm": ["-e", "conda", "--worker", "http://node1:8000"],
    "train.slurm": ["OpenR1-Distill-7B", "sft", "distill", "zero3", "--max_steps=10 --seed=1"],
}
CALLS = [*ARGUMENTS.items(), *OLD_ARGUMENTS.items()]
FILES = ("rows.jsonl", "token")
SCRIPTS = sorted(
    str(path.relative_to(SLURM))
    for path in SLURM.rglob("*")
    if path.suffix in (".slurm", ".sh") and "\n#SBATCH" in path.read_text()
)
PROGRAMS = ("sbatch", "srun", "scontrol", "squeue", "scancel", "sacct")
every_script = pytest.mark.parametrize("script", SCRIPTS)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A folder with a site file, and programs of Slurm that write down that they were called."""
    folder = tmp_path_factory.mktemp("a 'machine'")
    for name in PROGRAMS:
        (folder / name).write_text(f"#!/bin/bash\necho {name} >>{shlex.quote(str(folder / 'called'))}\nexit 1\n")
        (folder / name).chmod(0o755)
    for name in ("token", ".sandbox_router_token"):
        (folder / name).write_text("0123456789abcdef" * 3)
        (folder / name).chmod(0o600)
    (folder / "rows.jsonl").write_text('{"problem": "1+1", "prompt": "1+1", "solution": "2"}\n')
    (folder / "site.sh").write_text(
        "gpu_options=(--partition=gpu '--comment=it'\\''s a test') gpus_per_node=8 piston=(piston --limit 'a b')\n"
        f"logs={shlex.quote(str(folder / 'logs'))}\nexport PATH={shlex.quote(str(BIN))}:$PATH\n"
    )
    root = folder / 'it\'s a "clone" of $HOME'
    root.mkdir()
    for name in ("slurm", "src", "recipes", "scripts"):
        (root / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def nothing_called(machine):
    """Fails a test that has called a program of Slurm."""
    (machine / "called").unlink(missing_ok=True)
    yield
    assert not (machine / "called").exists()
    assert not (machine / "logs").exists()


@pytest.fixture(scope="module")
def call(machine):
    """Runs a script as on a login node, from another folder; returns what came of it."""

    @functools.cache
    def run(script: str, *words: str, site: str = "site.sh", root: Path = ROOT, **variables: str):
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("OPEN_R1_", "SLURM_", "SBATCH_"))
        }
        environment |= {
            "HOME": str(machine),
            "OPEN_R1_CLUSTER": str(machine / site),
            "PATH": f"{machine}:{environment['PATH']}",
            **variables,
        }
        return subprocess.run(
            [str(root / "slurm" / script), *words],
            env=environment,
            cwd=machine,
            timeout=120,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


def filled(words: list[str], machine: Path) -> list[str]:
    """Words with files that exist."""
    return [str(machine / word) if word in FILES else word for word in words]


def commands_of(done: subprocess.CompletedProcess) -> list[list[str]]:
    """The words of each command that a dry run has printed."""
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines() if line and not line.startswith("#")]


def program_of(srun: list[str]) -> list[str]:
    """The program that an srun starts on its nodes."""
    assert srun[0] == "srun"
    return srun[srun.index("slurm/on_node.sh") + 1 :]


def test_every_script_is_in_the_table():
    assert set(SCRIPTS) - set(ARGUMENTS) == set(), "add arguments for the new script to ARGUMENTS"


@every_script
def test_help_has_the_flags(call, script):
    done = call(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for flag in (word for word in ARGUMENTS[script] if word.startswith("--")):
        assert flag in done.stdout, flag


@every_script
@pytest.mark.usefixtures("nothing_called")
def test_dry_run_prints_the_commands_and_starts_nothing_also_in_odd_folders(call, machine, script):
    (root,) = machine.glob("it's*")
    submitted, *sruns = commands_of(call(script, *filled(ARGUMENTS[script], machine), "--dry-run", root=root))
    assert submitted[0] == "sbatch" and "--dry-run" not in submitted
    assert f"--chdir={root}" in submitted
    assert submitted[submitted.index("--site") + 1] == str(machine / "site.sh")
    assert any(words[0] == "srun" for words in sruns)


@every_script
@pytest.mark.usefixtures("nothing_called")
def test_unknown_option_is_refused(call, machine, script):
    if re.fullmatch(r"(generate|compute_pass_rate|decontaminate|(e2b_|morph_)?router)\.slurm", script):
        return  # goes to the program behind it, which refuses it in the job
    done = call(script, *filled(ARGUMENTS[script], machine), "--no-such-option", "1")
    assert done.returncode == 2, done.stdout
    assert "no-such-option" in done.stderr.replace("_", "-")


@pytest.mark.parametrize(("script", "words"), CALLS, ids=[f"{script} {words[:1]}" for script, words in CALLS])
@pytest.mark.usefixtures("nothing_called")
def test_flags_of_the_submission_may_stand_in_front(call, machine, script, words):
    """As scripts/submit.py puts them."""
    own = ["--dry-run", "--sbatch=--dependency=afterok:7 --kill-on-invalid-dep=yes", "--sbatch", "--comment=c"]
    done = call(script, *own, *filled(words, machine))
    assert done.returncode == 0, done.stderr
    assert "--dependency=afterok:7 --kill-on-invalid-dep=yes --comment=c" in done.stdout


@every_script
def test_directives_are_those_of_a_job_that_can_resume(script):
    text = (SLURM / script).read_text()
    directives = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", text, re.MULTILINE))
    assert directives["output"] == "logs/%x-%j.log"
    assert directives["open-mode"] == "append"
    assert "requeue" in directives and directives["signal"].startswith("B:USR1@")
    assert "partition" not in directives and "account" not in directives  # facts of a site


# --- train.slurm

SFT = ("--model", "OpenR1-Distill-7B", "--task", "sft", "--config", "distill", "--accelerator", "zero3")
GRPO = ("--model", "Qwen2.5-1.5B-Instruct", "--task", "grpo", "--config", "demo", "--accelerator", "zero2")


def trained(call, *words, **variables) -> list[list[str]]:
    return [program_of(srun) for srun in commands_of(call("train.slurm", "--dry-run", *words, **variables))[1:]]


def test_each_node_launches_its_processes_with_the_recipe(call):
    (_, srun) = commands_of(call("train.slurm", *SFT, "--nodes", "2", "--dry-run"))
    assert {"--nodes=2", "--ntasks=2", "--nodelist=node1,node2", "--gpus-per-node=8", "--kill-on-bad-exit=1"} < {*srun}
    launch = program_of(srun)[2:]
    assert launch[:2] == ["accelerate", "launch"]
    for flag, value in {
        "--config_file": str(ROOT / "recipes/accelerate_configs/zero3.yaml"),
        "--num_machines": "2",
        "--num_processes": "16",
        "--machine_rank": "{rank}",
        "--main_process_ip": "node1",
        "--config": str(ROOT / "recipes/OpenR1-Distill-7B/sft/config_distill.yaml"),
    }.items():
        assert launch[launch.index(flag) + 1] == value
    assert "src/open_r1/sft.py" in launch


def test_sizes_of_a_server_imply_it_and_the_last_node_serves(call):
    words = ("--nodes", "2", *GRPO, "--dp", "4", "--tp", "2")  # as Open R1 documents it
    (_, server, trainer) = commands_of(call("train.slurm", *words, "--dry-run"))
    assert "--nodelist=node2" in server and "--nodelist=node1" in trainer
    server, trainer = program_of(server), program_of(trainer)
    assert server[:3] == ["vllm", "serve", "Qwen/Qwen2.5-1.5B-Instruct"]
    assert server[server.index("--tensor-parallel-size") + 1] == "2"
    assert server[server.index("--data-parallel-size") + 1] == "4"
    assert json.loads(server[server.index("--weight-transfer-config") + 1]) == {"backend": "nccl"}
    assert trainer[trainer.index("--vllm_mode") + 1] == "server"
    assert trainer[trainer.index("--vllm_server_host") + 1] == "node2"
    assert trainer[trainer.index("--vllm_server_port") + 1] == server[server.index("--port") + 1]


def test_server_that_runs_elsewhere_takes_no_node(call):
    arguments = "--vllm_mode server --vllm_server_base_url http://node7:8000"
    (trainer,) = trained(call, *GRPO, "--args", arguments)
    assert trainer[-4:] == arguments.split()


def test_arguments_are_split_as_a_shell_splits_them(call):
    text = r"""--a 'b  c' --d "it's" --e='{"x": [1, 2]}' --f $HOME --g `x`* #1 --h '' "\\b" "\"\$\n" '\\' x\ y"z"''"""
    (trainer,) = trained(call, *SFT, "--args", text, "--args", "--k=1", "--", "--l", "m n")
    behind = ["--a", "b  c", "--d", "it's", '--e={"x": [1, 2]}', "--f", "$HOME", "--g", "`x`*", "#1", "--h", ""]
    behind += [r"\b", r'"$\n', r"\\", "x yz", "--k=1", "--l", "m n"]
    assert trainer[-len(behind) :] == behind


@pytest.mark.parametrize(
    ("script", "words", "name"),
    [
        ("compute_pass_rate.slurm", ["--config", "RECIPE", "--tasks", "2"], "tensor_parallel_size"),
        ("compute_pass_rate.slurm", ["--config", "RECIPE"], "tensor_parallel_size"),
        ("compute_pass_rate.slurm", ["--output_dir", "x", "--tensor_parallel_size", "CODE"], "tensor_parallel_size"),
        ("serve.slurm", ["--model", "m", "--nodes", "2", "--port", "CODE"], "port"),
        ("serve.slurm", ["--model", "m", "--deadline", "CODE"], "deadline"),
    ],
)
@pytest.mark.usefixtures("nothing_called")
def test_shell_code_in_a_number_is_refused_and_not_run(call, machine, script, words, name):
    code = 'a[$(touch${IFS}"$HOME/ran")]'
    (machine / "code.yaml").write_text(f"output_dir: rates\ntensor_parallel_size: {code}\n")
    values = {"RECIPE": str(machine / "code.yaml"), "CODE": code}
    for own in ((), ("--dry-run",)):
        done = call(script, *(values.get(word, word) for word in words), *own)
        assert done.returncode == 2 and "srun" not in done.stdout
        assert name in done.stderr
        assert not (machine / "ran").exists()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("evaluate.slurm", ["--benchmarks", "aime24"]),
        ("generate.slurm", ["--nodes", "1", "--client", "generate_reasoning"]),
    ],
)
def test_server_of_a_job_wants_a_key_that_its_client_has(call, script, words):
    _, server, client = (shlex.join(words) for words in commands_of(call(script, "--model", "m", *words, "--dry-run")))
    assert re.search(r"--api.key.env[ =]OPEN_R1_SERVER_KEY", client)
    assert "--host node1" in server


def test_server_without_a_key_is_a_warning(call):
    assert "WARNING" in call("train.slurm", *GRPO, "--nodes", "2", "--dp", "4", "--dry-run").stdout
    assert "WARNING" in call("serve.slurm", "--model", "m", "--dry-run").stdout
    assert "WARNING" not in call("serve.slurm", "--model", "m", "--api-key-env", "KEY", "--dry-run").stdout


def test_older_form_by_position(call):
    (by_place,) = trained(call, "OpenR1-Distill-7B", "sft", "distill", "zero3", "--max_steps=10 --seed=1")
    assert by_place == trained(call, *SFT, "--args", "--max_steps=10 --seed=1")[0]


def test_nodes_without_gpus_train_on_their_cpus(call, machine):
    (machine / "cpus.sh").write_text((machine / "site.sh").read_text() + "gpus_per_node=0\n")
    words = ("--model", "demo", "--task", "sft", "--config", "base", "--accelerator", "ddp", "--nodes", "2")
    (trainer,) = trained(call, *words, site="cpus.sh")
    assert "CUDA_VISIBLE_DEVICES=" in trainer and trainer[trainer.index("--num_processes") + 1] == "2"


def test_tasks_of_a_sweep_have_their_numbers_in_the_arguments(call):
    words = (*SFT, "--array", "3-5", "--args", "--seed {task} --output_dir data/s{task}")
    submitted, srun = commands_of(call("train.slurm", *words, "--dry-run"))
    assert "--array=3-5" in submitted and "--seed {task} --output_dir data/s{task}" in submitted
    assert srun[-4:] == ["--seed", "3", "--output_dir", "data/s3"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ((*SFT, "--array", "0-3", "--args", "--seed {task}"), ["output_dir"]),
        ((*SFT, "--args", "--a 'b"), ["quote"]),
        ((*SFT, "--args", "--hub_token hf_x"), ["hub_token", "HF_TOKEN"]),
        ((*GRPO, "--dp", "5", "--tp", "2", "--nodes", "2"), ["--tp 2", "--dp"]),
        ((*SFT[:-1], "cpu"), ["--processes-per-node 1"]),
        ((*SFT, "--nodes", "0"), ["--nodes"]),
        ((*SFT, "--model"), ["--model"]),
        ((*SFT, "--site", "x"), ["--site"]),
    ],
)
@pytest.mark.usefixtures("nothing_called")
def test_what_cannot_be_trained_is_refused_before_it_is_submitted(call, words, names):
    done = call("train.slurm", *words)
    assert done.returncode == 2
    assert [name for name in names if name not in done.stderr] == []


def test_batch_of_all_processes_is_printed(call):
    for nodes in ("1", "2"):
        printed = call("train.slurm", *SFT, "--nodes", nodes, "--dry-run").stdout
        assert f"A step: {128 * int(nodes)} rows" in printed and f"{32768 * 128 * int(nodes):,} tokens" in printed


# --- Nodes and GPUs


@pytest.mark.parametrize(("gres", "gpus"), [("gpu:h100:4(S:0-1)", 4), ("gpu:2", 2), ("(null)", 0), (None, 8)])
def test_gpus_of_a_node_come_from_slurm_or_8_are_assumed(call, machine, gres, gpus):
    folder = machine / f"sinfo {gpus}"
    folder.mkdir()
    (folder / "sinfo").write_text("exit 1\n" if gres is None else f"#!/bin/bash\necho '{gres}'\n")
    (folder / "sinfo").chmod(0o755)
    (machine / "open.sh").write_text((machine / "site.sh").read_text() + "gpus_per_node=\n")
    path = f"{folder}:{machine}:{os.environ['PATH']}"
    done = call("serve.slurm", "--model", "x-7b", "--dry-run", site="open.sh", PATH=path)
    (_, srun) = commands_of(done)
    assert ([word for word in srun if word.startswith("--gpus-per-node")] or ["=0"])[0].endswith(f"={gpus}")
    assert ("8 GPUs" in done.stderr) == (gres is None)


@pytest.fixture(scope="module")
def model_of(machine):
    """Returns a folder with the config of a model and weights of so many gigabytes."""

    def make(heads: int, size_gb: int) -> str:
        folder = machine / f"model {heads} {size_gb}"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"num_attention_heads": heads, "num_key_value_heads": heads}))
        index = {"metadata": {"total_size": size_gb * 10**9}, "weight_map": {}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return str(folder)

    return make


@pytest.mark.parametrize(
    ("script", "words"), [("serve.slurm", []), ("evaluate.slurm", ["--benchmarks", "aime24"]), ("generate.slurm", [])]
)
@pytest.mark.parametrize(("heads", "size_gb", "tp", "copies"), [(28, 15, 1, 8), (64, 146, 4, 2), (96, 246, 8, 1)])
def test_copies_are_as_small_as_hold_the_model(call, model_of, script, words, heads, size_gb, tp, copies):
    nodes = [] if script == "evaluate.slurm" else ["--nodes", "1"]
    commands = commands_of(call(script, "--model", model_of(heads, size_gb), *words, *nodes, "--dry-run"))
    server = program_of(commands[1])
    assert server[server.index("--tensor-parallel-size") + 1] == str(tp)
    assert server[server.index("--data-parallel-size") + 1] == str(copies)


@pytest.mark.parametrize(
    ("script", "num_servers", "words"),
    [
        ("serve_r1.slurm", 1, ["--tp-size 16", "--nnodes 2", "--node-rank {rank}", "--port 39877"]),
        (
            "experimental/serve_r1_vllm.slurm",
            4,
            ["--pipeline-parallel-size 4", "--nnodes 4", "--tensor-parallel-size 8"],
        ),
    ],
)
def test_model_that_is_larger_than_a_node_goes_over_all_nodes(call, script, num_servers, words):
    sruns = commands_of(call(script, "-m", "me/large", "-e", "conda", "--dry-run"))[1:]
    assert len(sruns) == num_servers
    for number, srun in enumerate(sruns):
        assert "me/large" in srun
        assert [text for text in words if text not in shlex.join(srun).replace("'", "")] == []
        assert ("--headless" in srun) == (number > 0)


def test_evaluation_by_position(call):
    prompt = "U2F5ICdoaScu"  # Say 'hi'.
    words = ("aime24", "aime24,math_500", "me/model-7b", "v2", "True", "True", prompt, "--dry-run")
    (_, server, asking) = commands_of(call("evaluate.slurm", *words))
    server, asking = program_of(server), program_of(asking)
    assert server[2] == "me/model-7b" and "--trust-remote-code" in server
    assert server[server.index("--revision") + 1] == "v2"
    assert server[server.index("--tensor-parallel-size") + 1] == "8"
    assert asking[asking.index("--benchmarks") + 1 :][:2] == ["aime24", "math_500"]
    assert "--system_prompt=Say 'hi'." in asking and "--model_id=me/model-7b" in asking


# --- Arrays and services

FILTER = ("--config", "recipes/dataset_filtering/filter_dapo.yaml")
GPUS = {"compute_pass_rate.slurm": ["--gpus-per-node=0"], "decontaminate.slurm": []}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("compute_pass_rate.slurm", (*FILTER, "--push_to_hub")),
        ("decontaminate.slurm", ("--dataset", "a b", "--cleanup")),
    ],
)
def test_array_and_its_merge_have_one_command_line(call, script, words):
    own = ("--sbatch", "--account=me --time=1 --gres=gpu:a:1", "--tasks", "10", "--array", "3,5%1", "--dry-run")
    array, task, merge, merging = commands_of(call(script, *words, *own))
    start = array.index("--array=3,5%1")
    assert array[start + 1] == "--output=logs/%x-%A_%a.log" and "--account=me" in array and "--time=1" in array
    name = script.removesuffix(".slurm")
    options = merge[2 : merge.index(str(SLURM / script))]
    chain = ["--account=me", "--dependency=afterok:ARRAY", "--kill-on-invalid-dep=yes"]
    assert options == [f"--job-name={name}-merge", *GPUS[script], *chain]
    assert program_of(task) == ["python", f"scripts/{name}.py", *words, "--shard", "3/10"]
    assert program_of(merging) == ["python", f"scripts/{name}.py", *words, "--merge"]
    assert array[array.index("--site") + 2 :] == [*words, "--tasks", "10"]
    assert merge[merge.index("--site") + 2 :] == ["--merge", *words, "--tasks", "10"]


@pytest.fixture
def queue(machine):
    """A folder with an sbatch that writes its words down and numbers jobs from 41 on, and these words so far."""
    folder = machine / "queue"
    folder.mkdir(exist_ok=True)
    (folder / "said").unlink(missing_ok=True)
    (folder / "sbatch").write_text(
        '#!/bin/bash\nprintf "%s " "$@" >>"${0%/*}/said"; echo >>"${0%/*}/said"\n'
        'echo "Submitted batch job $((40 + $(wc -l <"${0%/*}/said"))) on cluster c"\n'
    )
    (folder / "sbatch").chmod(0o755)
    path = f"{folder}:{machine}:{os.environ['PATH']}"
    return path, lambda: (folder / "said").read_text().splitlines()


def test_merge_waits_for_the_array_whatever_else_the_array_waits_for(call, queue):
    path, said = queue
    words = ("--sbatch=--dependency=afterok:7", "--dataset", "rows", "--tasks", "2")
    assert call("decontaminate.slurm", *words, PATH=path).returncode == 0
    array, merge = said()
    assert "--array=0-1" in array and "--dependency=afterok:7" in array
    assert "--dependency=afterok:41 " in merge and "afterok:7" not in merge.partition("--site")[0]


@pytest.mark.parametrize(
    ("words", "gpus", "partition"),
    [
        (FILTER, "1", "gpu"),
        ((*FILTER, "--tensor_parallel_size", "4"), "4", "gpu"),
        ((*FILTER, "--server", "node1:8000", "node2:8000"), "0", None),
        (("--merge", "--output_dir", "x"), "0", None),
        ((FILTER[1], "0", "200"), "1", "gpu"),
    ],
)
def test_tasks_have_the_gpus_that_their_model_needs(call, words, gpus, partition):
    submitted, srun = commands_of(call("compute_pass_rate.slurm", *words, "--dry-run"))
    assert f"--gpus-per-node={gpus}" in submitted
    assert (f"--gpus-per-node={gpus}" in srun) == (gpus != "0")
    assert ("--partition=gpu" in submitted) == (partition == "gpu")


def test_rows_by_position(call):
    submitted, srun = commands_of(
        call("compute_pass_rate.slurm", FILTER[1], "200", "400", "--retries", "3", "--dry-run")
    )
    assert submitted[-5:] == [FILTER[1], "200", "400", "--retries", "3"]
    assert program_of(srun)[2:] == [*FILTER, "--start", "200", "--end", "400", "--retries", "3"]


@pytest.mark.parametrize(
    "words",
    [
        ("--tasks", "0"),
        ("--tasks", "2", "--array", "2"),
        ("--tasks", "9", "--array", "0-9:3"),
        ("--array", "1"),
        ("--tasks", "2", "--merge", "--array", "1"),
        ("--tasks", "2", "--nodes", "2"),
    ],
)
@pytest.mark.usefixtures("nothing_called")
def test_arrays_that_cannot_run_are_refused(call, words):
    assert call("decontaminate.slurm", "--dataset", "rows", *words).returncode == 2


def test_launch_filtering_is_an_array_as_large_as_the_loop_of_open_r1(call):
    array, task, *_ = commands_of(call("../scripts/pass_rate_filtering/launch_filtering.sh", "--dry-run"))
    assert "--array=0-86" in array and program_of(task)[2:] == [*FILTER, "--shard", "0/87"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("router.slurm", ["--provider", "piston", "--host", "node1", "--port", "8000"]),
        ("e2b_router.slurm", ["--provider", "e2b", "--host", "node1", "--port", "8000"]),
        ("morph_router.slurm", ["--provider", "morph", "--host", "node1", "--port", "8001"]),
    ],
)
def test_routers_have_their_provider_and_no_token_in_words(call, script, words):
    own = ["--provider", "piston"] if script == "router.slurm" else []
    done = call(script, *own, "--max_parallel", "3", "--dry-run", SANDBOX_ROUTER_TOKEN="a secret")
    submitted, srun = commands_of(done)
    router = program_of(srun)
    assert router[2 : 2 + len(words)] == words
    assert router[-2:] == ["--max_parallel", "3"]
    assert submitted[submitted.index("--site") + 2 :] == [*own, "--max_parallel", "3"]
    assert "a secret" not in done.stdout


@pytest.mark.parametrize("words", [(), ("--token_file", "public"), ("--token_file", "nowhere"), ("--api_key", "k")])
@pytest.mark.usefixtures("nothing_called")
def test_router_without_a_token_of_its_own_is_refused(call, machine, words):
    (machine / "public").write_text("0123456789abcdef")
    (machine / "public").chmod(0o644)
    words = [str(machine / word) if word == "public" else word for word in words]
    assert call("e2b_router.slurm", *words).returncode == 2


def test_router_of_servers_is_as_open_r1_starts_it(call):
    workers = ("--worker", "http://a:1", "--worker", "http://b:2")
    router = program_of(commands_of(call("serve_router.slurm", "-e", "conda", *workers, "--dry-run"))[1])
    assert router[router.index("--port") + 1] == "39876"
    assert router[-3:] == ["--worker-urls", "http://a:1", "http://b:2"]


def test_piston_has_a_container_of_its_own(call, machine):
    (machine / "pyxis.sh").write_text(
        (machine / "site.sh").read_text()
        + "container=(apptainer exec x)\npiston=(--container-image=/p --container-mounts=/s bash start.sh)\n"
    )
    (_, srun) = commands_of(call("piston/piston.slurm", "--dry-run", site="pyxis.sh"))
    assert program_of(srun) == ["bash", "start.sh"]
    assert {"--container-image=/p", "--container-mounts=/s"} < {*srun}
