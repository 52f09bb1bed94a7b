# SPDX-License-Identifier: Apache-2.0
"""What train.slurm starts: exact words, on the right nodes."""

import itertools
import json
import socket
from pathlib import Path

import pytest
import yaml

from open_r1.cluster import training_server
from open_r1.cluster.allocation import Allocation
from open_r1.cluster.node_address import host_address, own_address
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import Step
from open_r1.cluster.train import make_parser, make_plan, with_flags
from tests.conftest import ROOT

PYTHON = "/env/bin/python"
SERVER = ("--args", "--vllm_mode server")
DEMO = ("--model", "Qwen2.5-1.5B-Instruct", "--task", "grpo", "--config", "demo", "--accelerator", "zero2")
DISTILL = ("--model", "OpenR1-Distill-7B", "--task", "sft", "--config", "distill", "--accelerator", "zero3")


def plan(*words, num_nodes=1, gpus=8, **settings):
    site = Site(root=ROOT, node_python=PYTHON, logs=ROOT / "logs", gpus_per_node=gpus, **settings)
    allocation = Allocation.imagined(site, name="open_r1", num_nodes=num_nodes)
    return make_plan(make_parser().parse_args([str(word) for word in words]), site, allocation)


def refusal(*words, **settings) -> str:
    with pytest.raises(ValueError) as caught:
        plan(*words, **settings)
    return str(caught.value)


def write_recipe(folder, **settings):
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"model_name_or_path": "org/model", "num_generations": 8, **settings}))
    return path


def words_of(step, script="grpo.py") -> list[str]:
    """Words of the training script."""
    position = next(index for index, word in enumerate(step.command) if word.endswith(script))
    return list(step.command[position + 1 :])


def options_of(step, script="grpo.py") -> dict[str, str]:
    """Options of `accelerate launch` that have a value."""
    command = list(step.command)
    options = command[3 : next(index for index, word in enumerate(command) if word.endswith(script))]
    return dict(itertools.pairwise(options))


def test_one_node_needs_no_meeting_point():
    (step,) = plan(*DISTILL).work
    assert list(step.command) == [
        *(PYTHON, "-m", "accelerate.commands.launch"),
        *("--config_file", f"{ROOT}/recipes/accelerate_configs/zero3.yaml", "--num_machines", "1"),
        *("--num_processes", "8", "--main_process_port", "20000", "--max_restarts", "0", "--tee", "3"),
        *(f"{ROOT}/src/open_r1/sft.py", "--config", f"{ROOT}/recipes/OpenR1-Distill-7B/sft/config_distill.yaml"),
    ]
    assert (step.nodes, step.is_shown, dict(step.env)) == (("node1",), True, {})


def test_nodes_meet_at_the_first_and_know_their_number_on_the_node():
    (step,) = plan(*DISTILL, num_nodes=3, gpus=4).work
    options = options_of(step, "sft.py")
    assert options["--main_process_ip"] == "node1"
    assert options["--machine_rank"] == "{node_rank}"
    assert (options["--num_machines"], options["--num_processes"]) == ("3", "12")
    assert options["--deepspeed_multinode_launcher"] == "standard"
    assert step.nodes == ("node1", "node2", "node3")


def test_time_limit_asks_the_training_to_save():
    assert plan(*DISTILL).on_time_limit == "stop_file"


def test_server_has_the_flags_of_weight_transfer():
    (server,) = plan(*DEMO, *SERVER, "--dp", 4, "--tp", 2, num_nodes=2).servers
    assert list(server.step.command) == [
        *("/env/bin/vllm", "serve", "Qwen/Qwen2.5-1.5B-Instruct", "--revision=main", "--dtype=bfloat16"),
        *("--max-model-len=1536", "--gpu-memory-utilization=0.9", "--tensor-parallel-size=2"),
        *("--data-parallel-size=4", "--enable-scale-out", "--weight-transfer-config", '{"backend": "nccl"}'),
        *("--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1", "--host=node2", "--port=20001"),
    ]
    assert server.step.env["VLLM_SERVER_DEV_MODE"] == "1" and server.step.env["VLLM_API_KEY"] == ""
    assert (server.step.nodes, server.health_urls) == (("node2",), ("http://node2:20001/health",))


@pytest.mark.parametrize(
    ("words", "copies", "size"),
    [
        (("--dp", 4, "--tp", 2), 4, 2),
        (("--dp", 8, "--tp", 1), 8, 1),
        (("--tp", 2), 1, 2),
        (("--vllm-nodes", 1), 1, 1),
        (("--dp", 4, "--args", "--vllm_mode server"), 4, 1),
    ],
)
def test_sizes_of_a_server_ask_for_one(words, copies, size):
    made = plan(*DEMO, *words, num_nodes=2)
    (server,) = made.servers
    assert {f"--tensor-parallel-size={size}", f"--data-parallel-size={copies}"} <= set(server.step.command)
    assert words_of(made.work[0])[2:6] == ["--vllm_mode", "server", "--vllm_server_host", "node2"]


def test_sizes_of_one_ask_for_no_server():
    assert plan(*DEMO, "--dp", 1, "--tp", 1, num_nodes=2).servers == ()


def test_arguments_by_position_are_those_of_the_flags():
    named = [f"{flag}={value}" for flag, value in zip(DISTILL[::2], DISTILL[1::2], strict=True)]
    assert with_flags(DISTILL[1::2]) == named


@pytest.mark.parametrize(
    "behind", [["--dry-run"], ["--args=--seed 1"], ["--args", "--seed 1"], ["--", "--seed", "1"], ["--dry-rn"]]
)
def test_flags_stay_behind_arguments_by_position(behind):
    assert with_flags([*DISTILL[1::2], *behind])[4:] == behind
    assert with_flags(["--nodes", "2", *DISTILL[1::2], *behind])[:2] == ["--nodes", "2"]


@pytest.mark.parametrize("words", ["--seed=1", "--seed 1 --max_steps 2"])
def test_fifth_argument_by_position_is_for_the_trainer(words):
    assert with_flags([*DISTILL[1::2], words, "--dry-run"])[4:] == [f"--args={words}", "--dry-run"]


@pytest.mark.parametrize("number", [1, 3, 6])
def test_other_numbers_of_arguments_by_position_are_refused(number):
    with pytest.raises(ValueError, match="accelerator"):
        with_flags(["word"] * number)


def test_trainer_is_told_where_the_server_is():
    made = plan(*DEMO, *SERVER, "--port", 9000, num_nodes=2)
    expected = ["--vllm_server_host", "node2", "--vllm_server_port", "9000", "--vllm_group_port", "20002"]
    assert words_of(made.work[0])[-6:] == expected
    assert made.servers[0].health_urls == ("http://node2:9000/health",)
    assert made.work[0].nodes == ("node1",)


@pytest.mark.parametrize("dp, tp", [(16, 1), (2, 8), (1, 16)])
def test_several_nodes_are_one_server(dp, tp):
    made = plan(*DEMO, *SERVER, "--vllm-nodes", 2, "--dp", dp, "--tp", tp, num_nodes=3)
    head, other = (list(server.step.command) for server in made.servers)
    shared = ["--nnodes=2", "--master-addr=node2", "--master-port=20003", "--data-parallel-rpc-port=20004"]
    assert [word for word in shared if word not in head or word not in other] == []
    assert "--node-rank=0" in head and "--host=node2" in head and "--headless" not in head
    assert "--node-rank=1" in other and "--headless" in other and "--host=node2" not in other
    assert [server.health_urls for server in made.servers] == [("http://node2:20001/health",), ()]
    assert [server.step.name for server in made.servers] == ["vllm", "vllm-1"]


def test_overrides_reach_trainer_and_server():
    value = '{"a": "b c=d", "ü": \'it\'}'
    arguments = "--vllm_mode=server --model-name-or-path '/a model/ü' --model_revision v1=2 --torch_dtype float16"
    made = plan(*DEMO, "--args", arguments, "--", "--model_init_kwargs", value, num_nodes=2)
    given = [
        "--vllm_mode=server",
        "--model-name-or-path",
        "/a model/ü",
        "--model_revision",
        "v1=2",
        "--torch_dtype",
        "float16",
        "--model_init_kwargs",
        value,
    ]
    assert words_of(made.work[0])[2:-6] == given
    assert list(made.servers[0].step.command[2:5]) == ["/a model/ü", "--revision=v1=2", "--dtype=float16"]


@pytest.mark.parametrize(
    ("recipe", "arguments", "word"),
    [
        ({}, "", "--gpu-memory-utilization=0.9"),
        # What a recipe leaves to colocated vLLM is not what a server of its own may take.
        ({"vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.3}, "", "--gpu-memory-utilization=0.9"),
        ({"vllm_mode": "server", "vllm_gpu_memory_utilization": 0.7}, "", "--gpu-memory-utilization=0.7"),
        ({"vllm_mode": "colocate"}, "--vllm_gpu_memory_utilization 0.5", "--gpu-memory-utilization=0.5"),
        ({"trust_remote_code": True}, "", "--trust-remote-code"),
        ({"vllm_model_impl": "transformers"}, "", "--model-impl=transformers"),
        ({"dtype": "auto"}, "", "--dtype=auto"),
        # Weights of 32 bits are multiplied in bf16 unless the recipe says otherwise.
        ({"dtype": "float32"}, "", "--dtype=bfloat16"),
        ({"dtype": "float32", "bf16": False}, "", "--dtype=float32"),
    ],
)
def test_server_serves_what_the_recipe_trains(tmp_path, recipe, arguments, word):
    path = write_recipe(tmp_path, use_vllm=True, **recipe)
    mode = "" if recipe.get("vllm_mode") == "server" else "--vllm_mode server "
    words = ("--recipe", path, "--task", "grpo", "--accelerator", "zero2")
    (server,) = plan(*words, "--args", mode + arguments, num_nodes=2).servers
    assert word in server.step.command


def test_remote_code_is_trusted_only_if_the_recipe_does():
    (server,) = plan(*DEMO, *SERVER, num_nodes=2).servers
    assert "--trust-remote-code" not in server.step.command


def test_words_for_vllm_come_last():
    (server,) = plan(*DEMO, *SERVER, "--vllm-args", "--enforce-eager --max-num-seqs 9", num_nodes=2).servers
    assert list(server.step.command[-3:]) == ["--enforce-eager", "--max-num-seqs", "9"]


def test_site_says_how_programs_are_called():
    container = ("apptainer", "exec", "an image.sif")
    made = plan(*DEMO, *SERVER, num_nodes=2, container=container, vllm=("/shared/vllm/bin/vllm",))
    assert list(made.servers[0].step.command[:5]) == [*container, "/shared/vllm/bin/vllm", "serve"]
    assert list(made.work[0].command[:5]) == [*container, PYTHON, "-m"]


@pytest.mark.parametrize(
    ("accelerator", "words", "env"),
    [
        ("ddp", ["--use_cpu", "true", "--bf16", "false"], {"CUDA_VISIBLE_DEVICES": ""}),
        ("zero2", ["--ddp_backend", "gloo", "--bf16", "false"], {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}),
    ],
)
def test_nodes_without_gpus_train_by_gloo(accelerator, words, env):
    (step,) = plan(*DISTILL[:-1], accelerator, num_nodes=2, gpus=0).work
    options = options_of(step, "sft.py")
    assert (options["--mixed_precision"], options["--num_processes"]) == ("no", "2")
    assert words_of(step, "sft.py")[2:] == words
    assert dict(step.env) == env


def test_what_the_user_says_is_not_said_again():
    (step,) = plan(*DISTILL[:-1], "cpu", "--args", "--use-cpu=true --bf16 true", gpus=0).work
    assert words_of(step, "sft.py")[2:] == ["--use-cpu=true", "--bf16", "true"]


def test_server_on_a_node_without_gpus_leaves_its_memory_to_vllm():
    (server,) = plan(*DEMO[:-1], "cpu", *SERVER, num_nodes=2, gpus=0).servers
    assert not [word for word in server.step.command if word.startswith("--gpu-memory")]


def test_recipe_by_path_brings_its_task_along(tmp_path):
    folder = tmp_path / "a user's" / "grpo"
    folder.mkdir(parents=True)
    (step,) = plan("--recipe", write_recipe(folder), "--accelerator", "zero2").work
    assert words_of(step)[:2] == ["--config", str(folder / "recipe.yaml")]


def test_files_are_found_in_the_folder_of_the_submission(tmp_path, monkeypatch):
    write_recipe(tmp_path)
    (tmp_path / "mine.yaml").write_text("distributed_type: MULTI_GPU\n")
    monkeypatch.setenv("SLURM_SUBMIT_DIR", str(tmp_path))
    monkeypatch.setenv("OPEN_R1_JOB_MODE", "job")
    words = ("--recipe", "recipe.yaml", "--task", "sft", "--accelerator", "mine.yaml")
    (step,) = plan(*words).work
    assert words_of(step, "sft.py")[1] == str(tmp_path / "recipe.yaml")
    assert options_of(step, "sft.py")["--config_file"] == str(tmp_path / "mine.yaml")
    monkeypatch.setenv("OPEN_R1_JOB_MODE", "submit")  # within a job that was submitted there
    assert "recipe.yaml: there is no file" in refusal(*words)


def test_training_saves_on_sigterm_and_its_launcher_does_not_hear_it():
    (step,) = plan(*DISTILL, num_nodes=2).work
    site = Site(root=ROOT, node_python=PYTHON, logs=ROOT)
    allocation = Allocation.imagined(site, name="x", num_nodes=2)
    assert 'trap "" TERM; exec "$@"' in step.argv(site, allocation)
    assert "SIGTERM" not in step.variables(site, allocation)["PET_SIGNALS_TO_HANDLE"]


def test_nodes_end_together_but_a_node_that_is_done_waits():
    site = Site(root=ROOT, node_python=PYTHON, logs=ROOT, gpus_per_node=4)
    allocation = Allocation.imagined(site, name="x", num_nodes=2)
    argv = plan(*DISTILL, num_nodes=2).work[0].argv(site, allocation)
    assert {"--kill-on-bad-exit=1", "--wait=0", "--gpus-per-node=4"} <= set(argv)
    assert "--gres=none" in Step("x", ("true",), ("node1",), gpus=0).argv(site, allocation)


def test_checkpoints_are_looked_for_where_the_trainer_writes_them(tmp_path):
    words = ("--task", "sft", "--accelerator", "ddp")
    for written, folder in (("~/x", Path.home() / "x"), ("data/x", ROOT / "data" / "x")):
        assert plan("--recipe", write_recipe(tmp_path, output_dir=written), *words).output_dir == folder


@pytest.mark.parametrize(("version", "has_flag"), [("0.29.1", False), ("0.30.0", True), ("0.31", True), ("1.0", True)])
def test_flag_of_newer_vllm_is_for_newer_vllm(monkeypatch, version, has_flag):
    monkeypatch.setattr(training_server, "version", lambda name: version)
    (server,) = plan(*DEMO, *SERVER, num_nodes=2).servers
    assert ("--enable-scale-out" in server.step.command) == has_flag


def test_processes_are_counted_in_words():
    assert plan(*DISTILL).notes[0].startswith("8 processes train, 8 on each of node1")
    assert plan(*DISTILL, "--processes-per-node", 1).notes[0].startswith("1 process trains, on node1")


def test_own_script_gets_the_same_arguments(tmp_path):
    script = tmp_path / "my trainer.py"
    script.touch()
    (step,) = plan(*DEMO, "--script", script, "--args", "--seed 1").work
    assert words_of(step, "my trainer.py")[2:] == ["--seed", "1"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--accelerator", "ddp"), "--model, --task, --config missing"),
        ((*DEMO[:2], *DEMO[4:]), "--task missing"),
        ((*DEMO[:2], "--task", "ppo", *DEMO[4:]), "--task is ppo: it must be one of sft, grpo"),
        ((*DEMO, "--recipe", "x.yaml"), "leave --model and --config out"),
        (("--recipe", "missing.yaml", "--accelerator", "ddp"), "missing.yaml: there is no file"),
        (("--recipe", "recipes/demo/sft", "--accelerator", "ddp"), "there is no file"),
        ((*DEMO, "--script", "missing.py"), "--script missing.py"),
        ((*DEMO[:-1], "zero4"), "Did you mean zero"),
        ((*DEMO, "--args", "--a 'b"), "not split into words"),
        ((*DEMO, "--args", "--a 1 --a 2"), "`--a` is among the arguments twice"),
        ((*DEMO, "--args", "--a 1", "--", "--a", "2"), "`--a` is among the arguments twice"),
        ((*DEMO, "--args", "--reward_funcs a", "--", "b"), "'b' belongs to no argument"),
        ((*DEMO, "--args", "--config x"), "--recipe PATH"),
        ((*DEMO, "--port", 8000), "--port 8000 is for a vLLM server"),
        ((*DEMO, "--vllm-args", "--seed 1"), "--vllm-args is for a vLLM server"),
        ((*DEMO, "--dp", 8, "--args", "--vllm_mode colocate"), "--dp 8 is for a vLLM server"),
        ((*DEMO, "--dp", 8, "--args", "--use_vllm false"), "--use_vllm true --vllm_mode server"),
        ((*DISTILL, "--dp", 8), "--dp 8 is for a vLLM server"),
        ((*DEMO, "--dp", 4, "--tp", 2), "--dp, --tp and --vllm-nodes ask for `vllm_mode: server`"),
        ((*DEMO, *SERVER), "No node would be left to train"),
        ((*DEMO, "--deadline", 0), "--deadline must be more than 0 seconds, got 0"),
        ((*DEMO, "--deadline", "nan"), "--deadline must be more than 0 seconds, got nan"),
        ((*DEMO[:-1], "cpu"), "is for one process"),
    ],
)
def test_command_lines_that_cannot_work_are_refused(words, says):
    assert says in refusal(*words)


def test_flags_of_vllm_that_the_job_gives_are_refused():
    assert "is set by --tp" in refusal(*DEMO, *SERVER, "--vllm-args=--seed 1 -tp 2", num_nodes=2)


@pytest.mark.parametrize("port", [0, 80, 65536])
def test_ports_that_do_not_exist_are_refused(port):
    assert f"--port is {port}" in refusal(*DEMO, *SERVER, "--port", port, num_nodes=2)


def test_sharding_needs_gpus():
    assert "FSDP needs GPUs" in refusal(*DISTILL[:-1], "fsdp", gpus=0)


@pytest.mark.parametrize("words", [("--args", "--hub_token=t0ken --seed 1"), ("--", "--hub_token", "t0ken")])
def test_token_among_the_arguments_is_refused_with_the_way_to_give_it(words):
    said = refusal(*DISTILL, *words)
    assert "--hub_token can't stand" in said and "Set HF_TOKEN in the environment" in said and "t0ken" not in said


def test_guessed_number_of_gpus_is_said():
    assert "8 GPUs a node are assumed" in refusal(*DEMO, "--args", "--num_generations 7", gpus=None)
    assert any("8 GPUs a node are assumed" in note for note in plan(*DEMO, gpus=None).notes)
    assert not any("assumed" in note for note in plan(*DEMO).notes)


@pytest.mark.parametrize("words", [("--mod", "x"), ("--nodes", "0"), ("--dp", "two"), ("stray",), ("--accelerator",)])
def test_bad_flags_end_with_status_2(words):
    with pytest.raises(SystemExit) as caught:
        make_parser().parse_args([*DEMO, *words] if words != ("stray",) else ["stray", *DEMO, "--", "--a", "1"])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("job_id", "node", "variables"),
    [
        ("12", "10.1.2.3", {"VLLM_HOST_IP": "10.1.2.3"}),
        ("12", "localhost", {}),  # as a node's own name may be read on the node itself
        ("12", "no-such-node.invalid", {}),
        ("0", "10.1.2.3", {}),  # no job's node
    ],
)
def test_vllm_is_told_an_address_that_others_reach(job_id, node, variables):
    allocation = Allocation(job_id, "open_r1", (node,), 8, 0, job_id, ROOT / "logs")
    assert host_address(allocation, node) == variables


@pytest.mark.parametrize(("num_serving", "flags"), [(1, ("host",)), (2, ("host", "master-addr"))])
def test_server_listens_where_others_reach_it_whatever_its_own_name_is_on_its_node(monkeypatch, num_serving, flags):
    """Debian's /etc/hosts has 127.0.1.1 for the name of the machine itself."""
    monkeypatch.setattr(socket, "gethostbyname", {"node2": "10.1.2.3", "node3": "10.1.2.4"}.__getitem__)
    nodes = ("node1", "node2", "node3")[: 1 + num_serving]
    job = Allocation("12", "open_r1", nodes, 8, 0, "12", ROOT / "logs")
    site = Site(root=ROOT, node_python=PYTHON, logs=ROOT / "logs", gpus_per_node=8)
    arguments = make_parser().parse_args([*DEMO, *SERVER, "--vllm-nodes", str(num_serving), "--dp", str(num_serving)])
    head = make_plan(arguments, site, job).servers[0]
    assert {f"--{flag}=10.1.2.3" for flag in flags} <= set(head.step.command)
    assert head.health_urls == (f"http://node2:{job.port(1)}/health",)


def test_trainer_is_told_its_address_as_the_server_sees_it():
    allocation = Allocation("12", "open_r1", ("node1",), 8, 0, "12", ROOT / "logs")
    assert own_address(allocation, "127.0.0.1") == {}
    assert own_address(allocation, "no-such-node.invalid") == {}
    with socket.socket(type=socket.SOCK_DGRAM) as way:
        try:
            way.connect(("10.255.255.1", 9))
            expected = {"VLLM_HOST_IP": way.getsockname()[0]}
        except OSError:  # a machine without a way out
            expected = {}
    assert own_address(allocation, "10.255.255.1") == expected


def test_open_server_is_told():
    told = "No key: everybody who reaches its nodes can ask the server, and change its weights"
    assert any(told in note for note in plan(*DEMO, *SERVER, num_nodes=2).notes)
    assert not any("No key" in note for note in plan(*DEMO).notes)


def test_weight_transfer_is_configured_in_json():
    (server,) = plan(*DEMO, *SERVER, num_nodes=2).servers
    command = list(server.step.command)
    assert json.loads(command[command.index("--weight-transfer-config") + 1]) == {"backend": "nccl"}
