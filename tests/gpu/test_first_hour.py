# SPDX-License-Identifier: Apache-2.0
"""What a first hour with a GPU must show, in the order of worth: after ten minutes the first rows are shown.

Not covered: FSDP2, context parallelism, several nodes, quantised bases, models that fill a GPU. Tolerances are for
bfloat16 arithmetic; those of GPUs alone are not yet measured.
"""

import json

import pandas as pd
import pytest

from open_r1.generation.servers import VllmServer
from tests.gpu.launches import DEVICES, HAS_GPU, Models, Run, grpo, launch, sft
from tests.integration.tiny import write_rows

DIFFERENCE = "sampling/sampling_logp_difference/mean"
ZERO3 = (
    *("-m", "accelerate.commands.launch", "--config_file", "recipes/accelerate_configs/zero3.yaml"),
    *("--num_processes", "1"),
)
NUMBERS = (7, 12, 35, 48, 90)  # copied by SmolLM2, which rarely puts an answer of its own into a box


@pytest.fixture(scope="module")
def plain_sft(models, tmp_path_factory) -> Run:
    """SFT by PyTorch's own attention, without Liger: what others are compared with."""
    return sft(models.smollm2, tmp_path_factory.mktemp("plain") / "out", attn_implementation="sdpa")


def check_against(run: Run, expected: Run) -> str:
    """Assert that a run begins with the loss of another one and learns like it; return the figures."""
    first, of_other = run.steps[0]["loss"], expected.steps[0]["loss"]
    assert first == pytest.approx(of_other, rel=0.02)
    assert run.steps[-1]["loss"] == pytest.approx(expected.steps[-1]["loss"], rel=0.1)
    return f"first loss {first:.4f} beside {of_other:.4f}, {run.speed()} ({expected.speed()})"


def check_grpo(run: Run) -> str:
    """Assert that the policy learned and that vLLM drew with its weights; return the figures."""
    assert min(run.values("grad_norm")) > 0
    # In bf16 on a CPU the steps say 0.044, 0.041, 0.041; where vLLM is given no new weights, 0.044, 0.075, 0.168.
    first, last = run.values(DIFFERENCE)[0], run.values(DIFFERENCE)[-1]
    assert 0 < first < 0.1
    assert last < 2 * first
    return f"|logp of vLLM - of trainer| {first:.4f} at the first step, {last:.4f} at the last, {run.speed()}"


@pytest.mark.gpu
def test_sft_learns(plain_sft, record_property):
    """SFT of SmolLM2: bf16 on a GPU, PyTorch's attention."""
    losses = plain_sft.values("loss")
    assert losses[-1] < 0.9 * losses[0]
    record_property("figures", f"loss {losses[0]:.3f} to {losses[-1]:.3f}, {plain_sft.speed()}")


@pytest.mark.gpu(on_a_cpu="Liger's kernels are Triton's")
def test_sft_with_liger(models, plain_sft, tmp_path, record_property):
    """SFT with Liger."""
    run = sft(models.smollm2, tmp_path / "out", attn_implementation="sdpa", use_liger_kernel="true")
    record_property("figures", check_against(run, plain_sft))


@pytest.mark.gpu(on_a_cpu="flash-attn is for CUDA")
def test_sft_with_flash_attention(models, plain_sft, tmp_path, record_property):
    """SFT with flash attention and Liger."""
    settings = {"attn_implementation": "flash_attention_2", "use_liger_kernel": "true"}
    record_property("figures", check_against(sft(models.smollm2, tmp_path / "out", **settings), plain_sft))


@pytest.mark.gpu(on_a_cpu="tests/serving/test_colocate.py shows it")
def test_grpo_with_vllm_in_its_process(models, tmp_path, record_property):
    """GRPO with vLLM in the same process."""
    record_property("figures", check_grpo(grpo(models.smollm2, tmp_path / "out")))


@pytest.mark.gpu(at_least=2, on_a_cpu="NCCL is for CUDA")
def test_grpo_with_a_server(models, tmp_path, record_property):
    """GRPO with a vLLM server, weights by NCCL (2 GPUs: NCCL takes no two processes on one)."""
    flags = ["--enable-scale-out", "--weight-transfer-config", '{"backend": "nccl"}', "--max-model-len", "1024"]
    flags += ["--logprobs-mode", "processed_logprobs", "--max-logprobs", "-1"]  # as in slurm/train.slurm
    env = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_API_KEY": "", "CUDA_VISIBLE_DEVICES": DEVICES[1]}
    server = VllmServer(str(models.smollm2), args=flags, log_path=tmp_path / "vllm.log", deadline_s=600, env=env)
    with server:
        address = server.url.removesuffix("/v1")
        run = grpo(models.smollm2, tmp_path / "out", vllm_mode="server", vllm_server_base_url=address)
        record_property("figures", check_grpo(run))


@pytest.mark.gpu(on_a_cpu="tests/serving/test_colocate.py shows it")
def test_vllm_ends_a_turn_where_the_template_does(models, tmp_path, record_property):
    """A base model under vLLM stops at the end of turn of its template."""
    run = grpo(models.build_base(), tmp_path / "out", learning_rate=1e-7)
    rows = pd.concat([pd.read_parquet(path) for path in (run.output_dir / "rollouts").glob("train-*.parquet")])
    length, share = rows["num_tokens"].mean(), rows["is_truncated"].mean()
    record_property("figures", f"{length:.1f} tokens on average, about 10 expected; {share:.0%} cut off at 64")
    assert len(rows) == len(run.steps) * 16
    assert length < 32  # on a CPU: 14 tokens on average, 6 % cut off
    assert share < 0.25


@pytest.mark.gpu(on_a_cpu="tests/serving/test_colocate.py shows it")
def test_grpo_of_an_adapter(models, tmp_path, record_property):
    """GRPO of a LoRA adapter with vLLM in the same process."""
    adapter = {"use_peft": "true", "lora_r": 16, "lora_target_modules": "all-linear", "learning_rate": 1e-3}
    run = grpo(models.smollm2, tmp_path / "out", **adapter)
    assert (run.output_dir / "adapter_model.safetensors").is_file()
    record_property("figures", check_grpo(run))


@pytest.mark.gpu(on_a_cpu="tests/distributed shows it, by two processes")
def test_sft_with_zero3(models, plain_sft, tmp_path, record_property):
    """SFT with ZeRO-3 on one device, weights in bfloat16."""
    run = sft(models.smollm2, tmp_path / "out", launcher=ZERO3, dtype="bfloat16")
    record_property("figures", check_against(run, plain_sft))


@pytest.mark.gpu(on_a_cpu="tests/distributed shows it without vLLM")
def test_grpo_with_zero3(models, tmp_path, record_property):
    """GRPO with ZeRO-3 on one device, vLLM in the same process."""
    run = grpo(models.smollm2, tmp_path / "out", launcher=ZERO3, dtype="bfloat16")
    record_property("figures", check_grpo(run))


@pytest.mark.gpu
def test_benchmark(models: Models, tmp_path, record_property):
    """A benchmark of SmolLM2, by vLLM on a GPU and transformers on a CPU."""
    text = "Copy this text: The answer is \\boxed{{{number}}}."
    rows = [{"problem": text.format(number=number), "solution": str(number)} for number in NUMBERS]
    write_rows(tmp_path / "numbers.jsonl", rows)
    num_samples = 16 if HAS_GPU else 1
    words = [
        *("scripts/run_benchmarks.py", "--model_id", models.smollm2, "--data", tmp_path / "numbers.jsonl"),
        *("--prompt_template", "{prompt}", "--output_dir", tmp_path / "out"),
        *("--num_samples", num_samples, "--max_tokens", "24", "--temperature", "0.6"),
        *("--backend", "vllm" if HAS_GPU else "transformers"),
    ]
    peak_gb = launch(words)
    (path,) = (tmp_path / "out").rglob("results.json")
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["is_complete"]
    accuracy = results["metrics"][f"avg@{num_samples}"]
    record_property("figures", f"{accuracy:.0%} right of {len(rows)} problems, peak {peak_gb:.1f} GB")
    assert accuracy >= 0.4


@pytest.mark.gpu
def test_bench_training(tmp_path, record_property):
    """`make bench_training`: tokens/s, memory and utilisation (model: shape of Qwen2.5-0.5B; on a CPU the demo's)."""
    table = tmp_path / "table.md"
    shape = "qwen2.5-0.5b" if HAS_GPU else "demo"
    words = ["--sections", "throughput", "--model", shape, "--steps", "6", "--table", table]
    launch(["scripts/bench_training.py", *words])
    rows = [line for line in table.read_text(encoding="utf-8").splitlines() if line.startswith(("| sft", "| grpo"))]
    speeds = [float(row.split("|")[3].replace(",", "")) for row in rows]
    assert len(speeds) == 2
    assert min(speeds) > 0
    utilisation = rows[0].split("|")[5].strip()
    assert utilisation.endswith("%") == HAS_GPU
    record_property("figures", f"sft.py {speeds[0]:,.0f} tokens/s, grpo.py {speeds[1]:,.0f}; MFU {utilisation}")
