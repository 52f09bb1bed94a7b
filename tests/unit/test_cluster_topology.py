# SPDX-License-Identifier: Apache-2.0
"""Which nodes train and which serve; what cannot work is refused with what would."""

import re

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


@pytest.mark.parametrize("name", ["vllm_server_host", "vllm_server_base_url"])
def test_server_that_runs_elsewhere_takes_no_node(name):
    assert plan(2, 8, SERVER, overrides={name: "node7"}).num_serving == 0
    assert plan(1, 8, SERVER | {name: "node7"}).num_training == 1


def test_tensor_parallel_of_colocated_vllm_is_not_the_servers():
    assert plan(2, 8, SERVER | {"vllm_tensor_parallel_size": 2}, tensor_parallel=2).tensor_parallel == 2


FAR = SERVER | {"vllm_server_base_url": "http://n7:8000"}


# Nodes, GPUs of a node, recipe, flags, and what the message must hold: the flag or key, or the values that would work.
@pytest.mark.parametrize(
    ("num_nodes", "gpus", "recipe", "wanted", "names"),
    [
        (1, 8, SERVER, {}, "--nodes 2"),
        (3, 8, SERVER, {"num_serving": 3}, "--nodes 4"),
        (2, 8, SERVER, {"num_serving": 0}, "--vllm-nodes 0"),
        (2, 8, SERVER | {"vllm_tensor_parallel_size": 2}, {}, "--tp 2"),
        # More than 8 GPUs; nothing for the second node; half a copy on each node; a CPU node serves one copy.
        (4, 8, SERVER, {"copies": 4, "tensor_parallel": 4}, "--dp 4 x --tp 4"),
        (4, 8, SERVER, {"num_serving": 2}, "--dp 1 x --tp 1"),
        (4, 8, SERVER, {"num_serving": 2, "copies": 3, "tensor_parallel": 2}, "--dp 3 x --tp 2"),
        (4, 0, SERVER, {"copies": 2}, "--dp 2 x --tp 1"),
        # Flags of a server that nobody starts.
        (2, 8, COLOCATE, {"copies": 8}, "--dp 8"),
        (2, 8, FAR, {"tensor_parallel": 2}, "--tp 2"),
        (1, 8, {}, {"processes_per_node": 9}, "--processes-per-node"),
        # Batches without whole groups: 2 x 3 x 1 = 6 completions; the server's node has no processes.
        (1, 3, SIX, {}, "num_generations 4"),
        (1, 8, {"num_generations": 0}, {}, "num_generations 0"),
        (1, 8, {"steps_per_generation": 3, "num_generations": 256}, {}, "384"),
        (1, 8, {"generation_batch_size": 256, "num_generations": 96}, {}, "256"),
        (1, 8, {"per_device_train_batch_size": 0}, {}, "per_device_train_batch_size"),
        (1, 8, {"steps_per_generation": 0}, {}, "per_device_train_batch_size"),
        (1, 8, {"steps_per_generation": 4, "generation_batch_size": 512}, {}, "steps_per_generation"),
        (1, 3, {**COLOCATE, "vllm_tensor_parallel_size": 2, "num_generations": 4}, {}, "vllm_tensor_parallel_size"),
    ],
)
def test_what_cannot_work_is_refused_with_what_would(num_nodes, gpus, recipe, wanted, names):
    with pytest.raises(ValueError, match=re.escape(names)) as caught:
        plan(num_nodes, gpus, recipe, **wanted)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "recipe",
    [
        {**COLOCATE, "vllm_tensor_parallel_size": 4},
        {"generation_batch_size": 256},
    ],
)
def test_batches_of_whole_groups_are_taken(recipe):
    assert plan(1, 8, recipe).num_processes == 8


def test_sft_has_no_groups_and_no_vllm():
    assert plan(1, 3, {"per_device_train_batch_size": 1}, task="sft").num_processes == 3
    for recipe in ({"use_vllm": True}, {"vllm_mode": "server"}):
        with pytest.raises(ValueError, match="vllm"):
            plan(2, 8, recipe, task="sft")
