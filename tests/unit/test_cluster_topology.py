# SPDX-License-Identifier: Apache-2.0
"""Which nodes train and which serve; what cannot work is refused with what would."""

import pytest

from open_r1.cluster.recipe_values import RecipeValues
from open_r1.cluster.topology import Wanted, plan_topology

COLOCATE = {"use_vllm": True, "vllm_mode": "colocate"}
SERVER = {"use_vllm": True, "vllm_mode": "server"}
SIX = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "num_generations": 4}  # on 3 GPUs
BATCH = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 4, "num_generations": 16}


def plan(num_nodes, gpus, recipe, *, task="grpo", overrides=None, **wanted):
    values = RecipeValues({**BATCH, **recipe}, overrides or {})
    return plan_topology(num_nodes, gpus, values, Wanted(**wanted), task=task)


def refusal(*arguments, **settings) -> str:
    with pytest.raises(ValueError) as caught:
        plan(*arguments, **settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("num_nodes", "gpus", "recipe", "wanted", "trains", "serves", "num_processes"),
    [
        (1, 8, {}, {}, 1, 0, 8),
        (1, 8, COLOCATE, {}, 1, 0, 8),
        (3, 4, COLOCATE, {}, 3, 0, 12),
        (2, 8, SERVER, {}, 1, 1, 8),
        (4, 8, SERVER, {"num_serving": 2, "copies": 16}, 2, 2, 16),
        (3, 8, SERVER, {"num_serving": 2, "tensor_parallel": 16}, 1, 2, 8),
        (2, 0, {}, {}, 2, 0, 2),
        (2, 0, {}, {"processes_per_node": 4}, 2, 0, 8),
        (2, 0, SERVER, {}, 1, 1, 1),
        (1, 8, {}, {"processes_per_node": 2}, 1, 0, 2),
        # Upstream's commands say --dp 1 --tp 1 everywhere.
        (1, 8, {}, {"copies": 1, "tensor_parallel": 1}, 1, 0, 8),
        # use_vllm decides, not the mode alone.
        (2, 8, {"vllm_mode": "server"}, {}, 2, 0, 16),
    ],
)
def test_last_nodes_serve_and_the_others_train(num_nodes, gpus, recipe, wanted, trains, serves, num_processes):
    topology = plan(num_nodes, gpus, recipe, **wanted)
    assert (topology.num_training, topology.num_serving) == (trains, serves)
    assert topology.num_processes == num_processes


def test_overrides_decide_whether_a_server_runs():
    assert plan(2, 8, COLOCATE, overrides={"vllm_mode": "server"}).num_serving == 1
    assert plan(2, 8, SERVER, overrides={"use_vllm": "false"}).num_serving == 0


def test_one_node_cannot_train_and_serve():
    message = refusal(1, 8, SERVER)
    assert "--nodes 2 or more" in message and "'--vllm_mode colocate'" in message


def test_some_nodes_are_left_to_train():
    message = refusal(3, 8, SERVER, num_serving=3)
    assert "has 3" in message and "--nodes 4" in message and "--vllm-nodes 1 to 2" in message


@pytest.mark.parametrize("count", [0, -1])
def test_server_needs_a_node(count):
    assert f"--vllm-nodes {count}" in refusal(2, 8, SERVER, num_serving=count)


@pytest.mark.parametrize(
    ("num_serving", "gpus", "dp", "tp", "valid"),
    [
        (1, 8, 4, 4, "--tp 4 with --dp 1 2"),  # more than 8 GPUs
        (1, 8, 1, 16, "--tp 8 with --dp 1"),
        (1, 8, 0, 1, "--tp 1 with --dp 1 2 3 4 5 6 7 8"),
        (1, 8, 1, -2, "--tp 1 with --dp 1 2 3 4 5 6 7 8"),
        (2, 8, 1, 1, "--tp 1 with --dp 2 4 6 8 10 12 14 16"),  # nothing for the second node
        (2, 8, 3, 2, "--tp 2 with --dp 1 2 4 6 8"),  # a copy that is half on each node
        (2, 8, 2, 16, "--tp 16 with --dp 1"),
        (1, 0, 2, 1, "Valid: --tp 1 with --dp 1"),  # a CPU node serves one copy
    ],
)
def test_server_that_does_not_fit_is_refused(num_serving, gpus, dp, tp, valid):
    message = refusal(4, gpus, SERVER, num_serving=num_serving, copies=dp, tensor_parallel=tp, task="grpo")
    assert f"--dp {dp} x --tp {tp}" in message and valid in message


@pytest.mark.parametrize(
    ("recipe", "wanted", "says"),
    [
        (COLOCATE, {"copies": 8}, "--dp 8"),
        (COLOCATE, {"tensor_parallel": 2}, "--tp 2"),
        (COLOCATE, {"num_serving": 2}, "--vllm-nodes 2"),
        (SERVER | {"vllm_server_base_url": "http://n7:8000"}, {"tensor_parallel": 2}, "--tp 2"),
        ({}, {"copies": 8, "tensor_parallel": 2}, "--dp 8 --tp 2"),
    ],
)
def test_flags_of_a_server_that_nobody_starts_are_refused(recipe, wanted, says):
    message = refusal(2, 8, recipe, **wanted)
    assert says in message


@pytest.mark.parametrize("name", ["vllm_server_host", "vllm_server_base_url"])
def test_server_that_runs_elsewhere_takes_no_node(name):
    assert plan(2, 8, SERVER, overrides={name: "node7"}).num_serving == 0
    assert plan(1, 8, SERVER | {name: "node7"}).num_training == 1


def test_tensor_parallel_of_colocated_vllm_is_not_the_servers():
    assert "--tp 2" in refusal(2, 8, SERVER | {"vllm_tensor_parallel_size": 2})
    assert plan(2, 8, SERVER | {"vllm_tensor_parallel_size": 2}, tensor_parallel=2).tensor_parallel == 2


@pytest.mark.parametrize(("gpus", "count"), [(8, 0), (8, 9), (0, 0), (0, -1)])
def test_impossible_numbers_of_processes_are_refused(gpus, count):
    assert f"--processes-per-node is {count}" in refusal(1, gpus, {}, processes_per_node=count)


@pytest.mark.parametrize(
    ("num_nodes", "gpus", "recipe", "says"),
    [
        # 2 x 3 x 1 = 6 completions
        (
            1,
            3,
            SIX,
            ["has 6 completions", "2 x 3 processes on 1 training node", "num_generations 2, 3, 6", "--nodes 2, 4, 6"],
        ),
        # The server's node counts among the nodes, and not among the processes.
        (2, 3, SERVER | SIX, ["has 6 completions", "--nodes 3, 5, 7"]),
        (1, 8, {"num_generations": 1}, ["num_generations 2, 4, 8"]),
        (1, 8, {"num_generations": 0}, ["groups of num_generations 0"]),
        (1, 8, {"steps_per_generation": 3, "num_generations": 256}, ["has 384", "x 3 steps per generation"]),
        (1, 8, {"generation_batch_size": 100}, ["100", "no multiple of the 128"]),
        (1, 8, {"generation_batch_size": 256, "num_generations": 96}, ["has 256 completions (generation_batch_size)"]),
        (1, 8, {"per_device_train_batch_size": 0}, ["must be 1 or more"]),
        (1, 8, {"steps_per_generation": 0}, ["must be 1 or more"]),
        (1, 8, {"steps_per_generation": 4, "generation_batch_size": 512}, ["leave one out"]),
        (
            1,
            8,
            {"eval_strategy": "steps", "per_device_eval_batch_size": 1},
            ["An evaluation batch has 8 completions", "groups of 16", "num_generations_eval 1, 2, 4, 8"],
        ),
        (1, 3, {**COLOCATE, "vllm_tensor_parallel_size": 2, "num_generations": 4}, ["3 processes", "Valid: 1, 3"]),
    ],
)
def test_batches_without_whole_groups_are_refused(num_nodes, gpus, recipe, says):
    message = refusal(num_nodes, gpus, recipe)
    assert [text for text in says if text not in message] == []


@pytest.mark.parametrize(
    "recipe",
    [
        {"eval_strategy": "steps", "per_device_eval_batch_size": 1, "num_generations_eval": 8},
        {"eval_strategy": False, "per_device_eval_batch_size": 1},  # a bare `no` in YAML
        {"eval_strategy": "no", "per_device_eval_batch_size": 1},
        {**COLOCATE, "vllm_tensor_parallel_size": 4},
        {"generation_batch_size": 256},
    ],
)
def test_batches_of_whole_groups_are_taken(recipe):
    assert plan(1, 8, recipe).num_processes == 8


@pytest.mark.parametrize("recipe", [{"use_vllm": True}, SERVER, {"vllm_mode": "server"}])
def test_settings_of_vllm_are_not_for_sft(recipe):
    assert "for --task grpo" in refusal(2, 8, recipe, task="sft")


def test_long_lists_are_shortened():
    message = refusal(1, 8, {"per_device_train_batch_size": 1260, "num_generations": 11})
    assert "..." in message and len(message) < 500


def test_batches_of_other_tasks_need_no_groups():
    assert plan(1, 3, {"per_device_train_batch_size": 1}, task="sft").num_processes == 3
