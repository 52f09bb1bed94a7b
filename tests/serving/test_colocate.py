# SPDX-License-Identifier: Apache-2.0
"""grpo.py with vLLM in the process that trains: it samples by the weights of now, and stops where the policy ends.

On a CPU, with `vllm_cpu_shim.py` to keep vLLM's weights where they can be replaced; tests/gpu does it on a GPU.
"""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.conftest import ROOT
from tests.gpu.launches import Models, grpo
from tests.integration.fork_driver import ForkDriver
from tests.integration.tiny import write_rows

pytestmark = pytest.mark.serving
NUM_STEPS = 3
TEXT = "Compute 12+3. Let us see: 12+3 = 15, so the Answer is 15."
# Rewards of random weights must differ within a group, or there is nothing to learn from.
REWARD = """
def variety_reward(completions, **columns):
    return [len(set(completion[0]["content"])) / 10 for completion in completions]

def odd_sums_reward(completions, solution, **columns):
    return [int(s) % 2 * value for s, value in zip(solution, variety_reward(completions))]
"""
SETTINGS = [
    "--dataset_name", "tasks/running_sums", "--dataset_config", "rl", "--dataset_prompt_column", "problem",
    "--use_cpu", "true", "--bf16", "false", "--dtype", "float32", "--gradient_checkpointing", "false",
    "--per_device_train_batch_size", "8", "--num_generations", "4", "--max_completion_length", "16",
    "--max_steps", str(NUM_STEPS), "--logging_steps", "1", "--log_completions", "true",
    "--learning_rate", "1e-2", "--lr_scheduler_type", "constant", "--use_vllm", "true", "--vllm_mode", "colocate",
]  # fmt: skip
EVALUATION = [
    "--do_eval",
    "true",
    "--eval_greedy",
    "true",
    "--dataset_test_split",
    "test[:4]",
    "--num_generations_eval",
    "2",
]
BENCHMARK = [
    "--eval_benchmarks",
    "sums.jsonl",
    "--eval_benchmarks_steps",
    "1",
    "--eval_benchmarks_num_samples",
    "2",
    "--eval_benchmarks_max_tokens",
    "24",
    "--eval_benchmarks_log_answers",
    "true",
    "--eval_benchmarks_template",
    "{prompt}",
    "--eval_benchmarks_temperature",
    "1.0",
]
SUMS = [{"problem": f"Compute {a}+{b}", "solution": str(a + b)} for a, b in ((12, 3), (4, 5), (20, 30))]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    script = ROOT / "scripts" / "make_tiny_model.py"
    # Heads of 32 numbers are the narrowest that vLLM takes on a CPU.
    sizes = ["--hidden_size", "64", "--num_heads", "2"]
    subprocess.run([sys.executable, script, "--output_dir", folder, *sizes], check=True)
    return folder


@pytest.fixture(scope="module")
def train(model):
    """Return the function that runs grpo.py in a process of its own, forked from one that has imported vLLM."""
    modules = ["open_r1.grpo", "vllm.entrypoints.llm", "vllm.v1.engine.llm_engine", "trl.generation.vllm_generation"]
    driver = ForkDriver({}, modules)
    yield partial(run_training, driver, model)
    driver.close()


def run_training(
    driver: ForkDriver,
    model: Path,
    folder: Path,
    *words: str,
    reward: str = "variety_reward",
    save_strategy: str = "no",
) -> list[dict[str, np.ndarray]]:
    """Run grpo.py; return what was recorded at each weight sync."""
    (folder / "reward.py").write_text(REWARD, encoding="utf-8")
    write_rows(folder / "sums.jsonl", SUMS)
    words = tuple(str(folder / word) if word == "sums.jsonl" else word for word in words)
    argv = [
        "tests/serving/vllm_cpu_shim.py",
        folder / "syncs.jsonl",
        TEXT,
        "src/open_r1/grpo.py",
        "--model_name_or_path",
        model,
        "--output_dir",
        folder / "out",
        "--reward_funcs",
        f"{folder / 'reward.py'}:{reward}",
        "--save_strategy",
        save_strategy,
        *SETTINGS,
        *words,
    ]
    training = driver.start_program(list(map(str, argv)), folder / "log")
    assert training.wait() == 0, training.log.read_text(errors="replace")[-5000:]
    lines = (folder / "syncs.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: np.array(values) for name, values in json.loads(line).items()} for line in lines]


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference of log-probabilities."""
    return float(np.abs(first - second).mean())


@pytest.mark.parametrize(
    "words",
    [[*EVALUATION, *BENCHMARK], ["--use_peft", "true", "--lora_target_modules", "all-linear"]],
    ids=["whole", "lora"],
)
def test_vllm_follows_the_policy(train, tmp_path, words):
    syncs = train(tmp_path, *words)
    assert len(syncs) == NUM_STEPS + ("--do_eval" in words)
    # Both start with the weights on disk: what is between them is bfloat16 in vLLM and float32 in the trainer.
    noise = distance(syncs[0]["before"], syncs[0]["policy"])
    assert 0 < noise < 0.02
    for sync in syncs[1:]:
        assert distance(sync["before"], sync["policy"]) > 10 * noise, "without the sync it agrees too"
        assert distance(sync["after"], sync["policy"]) < 3 * noise
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    steps = [entry for entry in history if "loss" in entry]
    assert [entry["step"] for entry in steps] == [1, 2, 3]
    assert max(entry["sampling/sampling_logp_difference/mean"] for entry in steps) < 0.1
    assert min(entry["grad_norm"] for entry in steps) > 0
    if "--do_eval" in words:
        rows = pd.concat([pd.read_parquet(path) for path in (tmp_path / "out" / "rollouts").glob("eval-*.parquet")])
        assert rows["is_greedy"].sum() == 4
        check_benchmark(tmp_path / "out", history)


def test_groups_that_teach_nothing_are_drawn_anew(train, tmp_path):
    # Two steps share a generation, so that checkpoints of odd ones hold it. This loss sums ratios over padding too.
    words = ["--dynamic_sampling_rounds", "2", "--steps_per_generation", "2", "--save_steps", "1"]
    words += ["--loss_type", "vespo", "--vllm_importance_sampling_mode", "token_truncate"]
    train(tmp_path, *words, reward="odd_sums_reward", save_strategy="steps")
    output = tmp_path / "out"
    history = json.loads((output / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    first, _, last = [entry for entry in history if "loss" in entry]
    assert min(entry["grad_norm"] for entry in (first, last)) > 0
    num_rounds = [entry["dynamic_sampling/rounds"] for entry in (first, last)]
    assert max(num_rounds) > 0
    assert len(list((output / "rollouts").glob("train-*.parquet"))) == sum(num_rounds) + 2
    for step in (1, 3):
        state = torch.load(output / f"checkpoint-{step}" / "rollout_state_0.pt", weights_only=True)
        for batch in state["buffered_inputs"]:
            is_token, ratio = batch["completion_mask"].bool(), batch["importance_sampling_ratio"]
            assert (ratio > 0).all() and (ratio[~is_token] == 1).all()
            assert (batch["advantages"][~is_token.any(dim=1)] == 0).all()


def test_vllm_follows_the_stages(train, tmp_path):
    stages = [{"until": {"steps": 1}}, {"max_completion_length": 24, "num_generations": 2}]
    (tmp_path / "stages.yaml").write_text(json.dumps({"stages": stages}), encoding="utf-8")
    train(tmp_path, "--config", str(tmp_path / "stages.yaml"))
    batches = [pd.read_parquet(path) for path in sorted((tmp_path / "out" / "rollouts").glob("train-*.parquet"))]
    assert [batch["num_tokens"].max() for batch in batches] == [16, 24, 24]
    assert [batch["prompt"].astype(str).nunique() for batch in batches] == [2, 4, 4]


def check_benchmark(output: Path, history: list[dict[str, Any]]) -> None:
    """Assert that vLLM has answered the benchmark at every step, each time with other weights."""
    figures = {entry["step"]: entry for entry in history if "eval_sums/avg@2" in entry}
    assert list(figures) == [1, 2, 3]
    texts = []
    for step in figures:
        answers = pd.read_parquet(output / "eval_benchmarks" / "sums" / f"step-{step:06d}.parquet")
        assert list(zip(answers["row"], answers["index"], strict=True)) == [
            (row, i) for row in range(3) for i in (0, 1)
        ]
        assert answers["num_tokens"].between(1, 24).all()
        assert ((answers["finish_reason"] == "length") == (answers["num_tokens"] == 24)).mean() > 0.8
        texts.append(list(answers["answer"]))
    assert len(set(texts[0])) > 3, "the answers to a problem are drawn alike"
    assert texts[0] != texts[1] != texts[2]


def test_completions_end_where_the_policy_ends_them(tmp_path):
    """At the template's end of turn, which the model's files don't name, and at texts that the recipe gives."""
    stop = list("BDEFGHIJKMNOPQTUVXYZ")  # each is a token, and part of no other one
    benchmark = {
        "eval_benchmarks": write_rows(tmp_path / "sums.jsonl", SUMS),
        "eval_benchmarks_steps": 1,
        "eval_benchmarks_num_samples": 8,
        "eval_benchmarks_max_tokens": 64,
        "eval_benchmarks_log_answers": "true",
        "eval_benchmarks_template": "{prompt}",
        "eval_benchmarks_temperature": 1.0,
        "eval_benchmarks_top_p": 1.0,
    }
    base = Models(smollm2=tmp_path, folder=tmp_path).build_base()
    run = grpo(base, tmp_path / "out", learning_rate=1e-7, stop_strings=stop, **benchmark)
    rows = pd.concat([pd.read_parquet(path) for path in (run.output_dir / "rollouts").glob("train-*.parquet")])
    assert run.values("completions/clipped_ratio") == list(rows.groupby("step")["is_truncated"].mean())
    files = (run.output_dir / "eval_benchmarks" / "sums").iterdir()
    answers = pd.concat([pd.read_parquet(path) for path in files]).rename(columns={"answer": "completion"})
    answers["is_truncated"] = answers["finish_reason"] == "length"
    for found in (rows, answers):
        is_stopped = found["completion"].str.endswith(tuple(stop))
        assert 0.1 < is_stopped.mean() < 0.9
        assert not found["is_truncated"][is_stopped].any()
        assert found["is_truncated"].mean() < 0.2
        assert found["num_tokens"].mean() < 24
        assert not found["completion"].str.slice(stop=-1).str.contains(f"[{''.join(stop)}]").any()
