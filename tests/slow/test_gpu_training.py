# SPDX-License-Identifier: Apache-2.0
"""Training on a CUDA device: bf16, vLLM on the training GPU, DeepSpeed. `make slow_test` on a GPU machine."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
COMMON = [
    "--dtype",
    "bfloat16",
    "--bf16",
    "true",
    "--max_steps",
    "3",
    "--logging_steps",
    "1",
    "--save_steps",
    "2",
    "--dataset_name",
    "tasks/running_sums",
    "--gradient_checkpointing",
    "true",
]
GRPO = [
    "--dataset_config",
    "rl",
    "--dataset_prompt_column",
    "problem",
    "--per_device_train_batch_size",
    "16",
    "--num_generations",
    "8",
    "--max_completion_length",
    "32",
    "--reward_funcs",
    "accuracy",
    "format",
]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    subprocess.run([sys.executable, REPOSITORY / "scripts/make_tiny_model.py", "--output_dir", folder], check=True)
    return folder


def train(task, model, output_dir, *words):
    """Run a training script and return its log history."""
    command = [sys.executable, REPOSITORY / f"src/open_r1/{task}.py", "--model_name_or_path", model, "--output_dir"]
    subprocess.run([*command, output_dir, *COMMON, *words], check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return json.loads((output_dir / "trainer_state.json").read_text())["log_history"]


def test_sft_trains_in_bf16(tiny_model, tmp_path):
    history = train("sft", tiny_model, tmp_path / "out", "--dataset_config", "cold_start")
    assert [line["step"] for line in history if "loss" in line] == [1, 2, 3]


def test_grpo_trains_with_transformers_generation(tiny_model, tmp_path):
    history = train("grpo", tiny_model, tmp_path / "out", "--dataset_config", "rl", *GRPO[2:])
    assert all(line["tokens_per_second"] > 0 for line in history if "loss" in line)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="needs the extra vllm")
def test_grpo_trains_with_vllm_on_the_training_gpu(tiny_model, tmp_path):
    words = [*GRPO, "--use_vllm", "true", "--vllm_mode", "colocate", "--vllm_gpu_memory_utilization", "0.2"]
    history = train("grpo", tiny_model, tmp_path / "out", *words)
    differences = [line["sampling/sampling_logp_difference/mean"] for line in history if "loss" in line]
    assert max(differences) < 0.1  # vLLM holds the weights of the policy


def test_the_benchmark_reports_utilisation(tmp_path):
    table = tmp_path / "table.md"
    subprocess.run(
        [
            sys.executable,
            REPOSITORY / "scripts/bench_training.py",
            "--sections",
            "throughput",
            "--model",
            "qwen2.5-0.5b",
            "--steps",
            "6",
            "--table",
            table,
        ],
        check=True,
    )
    assert "%" in table.read_text().splitlines()[-2]
