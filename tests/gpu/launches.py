# SPDX-License-Identifier: Apache-2.0
"""Trainings as a user starts them, on one GPU or, as stand-ins, on a CPU: what they log, the memory that they take."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from scripts.make_tiny_model import PAD_TOKEN, build_tokenizer
from tests.conftest import ROOT
from tests.distributed.launching import kill_tree

HAS_GPU = torch.cuda.is_available()
TIMEOUT_S = 900
END_OF_TURN = "<|im_end|>"
SHIM = ("tests/serving/vllm_cpu_shim.py", os.devnull, "Compute 1+2")  # lets vLLM on a CPU take new weights
# Of those that this process may use: a trainer takes the first, a server the second.
DEVICES = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1").split(",")
# Rewards must differ within a group, or there is nothing to learn from.
REWARD = """
def variety_reward(completions, **columns):
    return [len(set(completion[0]["content"])) / 10 for completion in completions]
"""
_COMMON = {
    "dataset_name": "tasks/running_sums",
    "logging_steps": 1,
    "save_strategy": "no",
    "seed": 1,
    "learning_rate": 1e-4,
    "lr_scheduler_type": "constant",
    **({"bf16": "true"} if HAS_GPU else {"bf16": "false", "use_cpu": "true"}),
}
SFT = {
    **_COMMON,
    "dataset_config": "cold_start",
    "max_length": 128,
    "max_steps": 10 if HAS_GPU else 3,
    "per_device_train_batch_size": 16 if HAS_GPU else 2,
}
# At this learning rate a policy leaves the weights that vLLM has loaded within a step or two.
GRPO = {
    **_COMMON,
    "dataset_config": "rl",
    "dataset_prompt_column": "problem",
    "max_steps": 5 if HAS_GPU else 2,
    "per_device_train_batch_size": 16 if HAS_GPU else 8,
    "num_generations": 8,
    "max_completion_length": 64,
    "log_completions": "true",
    "use_vllm": "true",
    "vllm_mode": "colocate",
    "vllm_gpu_memory_utilization": 0.2,
}


@dataclass(frozen=True)
class Run:
    """A training that has ended well.

    Attributes:
        output_dir: Where it wrote.
        steps: What it logged at each optimizer step.
        peak_gb: The most that was taken at once: of the GPU, or on a CPU by all its processes.
    """

    output_dir: Path
    steps: list[dict[str, Any]]
    peak_gb: float

    def values(self, name: str) -> list[float]:
        """Return a figure at each step."""
        return [step[name] for step in self.steps]

    def speed(self) -> str:
        """Return tokens per second behind the first steps, and memory."""
        per_second = statistics.median(self.values("tokens_per_second")[1:])
        return f"{per_second:,.0f} tokens/s, peak {self.peak_gb:.1f} GB"


@dataclass(frozen=True)
class Models:
    """SmolLM2 as it came from its wheel, and a folder for models that are built from their configs."""

    smollm2: Path
    folder: Path

    def build_base(self) -> Path:
        """Save a model that ends one token in ten with the template's end of turn, which its own files do not name.

        So do base models: the files of Qwen2.5-0.5B say <|endoftext|>, its chat template ends turns with <|im_end|>.
        """
        tokenizer = build_tokenizer()
        tokenizer.eos_token = tokenizer.pad_token = PAD_TOKEN
        # The shape of Qwen2.5-0.5B; on a CPU heads of 32 numbers are the narrowest that vLLM takes.
        large = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}
        small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = Qwen2Config(
            **(large if HAS_GPU else small),
            num_key_value_heads=2,
            vocab_size=len(tokenizer),
            max_position_embeddings=512,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        torch.manual_seed(1)
        model = Qwen2ForCausalLM(config)
        with torch.no_grad():
            # The first number of every hidden state becomes about the same, and so a bias of the head.
            model.model.embed_tokens.weight[:, 0] = 5.0
            bias = model.model(torch.arange(len(tokenizer))[:, None]).last_hidden_state[..., 0].mean()
            model.lm_head.weight[:, 0] = 0.0
            end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
            model.lm_head.weight[end, 0] = torch.log(torch.tensor(len(tokenizer) / 9)) / bias
        model.save_pretrained(self.folder / "base")
        tokenizer.save_pretrained(self.folder / "base")
        return self.folder / "base"


def sft(model: Path, output_dir: Path, launcher: Sequence[str] = (), **settings: object) -> Run:
    """Run sft.py; `launcher` are the words between Python and the script."""
    return train([*launcher, "src/open_r1/sft.py"], model, output_dir, SFT | settings)


def grpo(model: Path, output_dir: Path, launcher: Sequence[str] = (), **settings: object) -> Run:
    """Run grpo.py with vLLM and a reward by which some completions of a group are better than others."""
    reward = output_dir.parent / "reward.py"
    reward.write_text(REWARD, encoding="utf-8")
    script = [*launcher, *(() if HAS_GPU else SHIM), "src/open_r1/grpo.py"]
    return train(script, model, output_dir, GRPO | {"reward_funcs": f"{reward}:variety_reward"} | settings)


def train(script: Sequence[str], model: Path, output_dir: Path, settings: Mapping[str, object]) -> Run:
    """Run a training script, with its launcher before it; return what it logged. A setting of None is left out."""
    settings = {"model_name_or_path": model, "output_dir": output_dir} | settings
    given: list[object] = []
    for name, value in settings.items():
        if value is not None:
            given += [f"--{name}", *(value if isinstance(value, list) else [value])]
    peak_gb = launch([*script, *given])
    history = json.loads((output_dir / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return Run(output_dir, [entry for entry in history if "loss" in entry], peak_gb)


def launch(words: Sequence[object]) -> float:
    """Run Python with these words on one GPU to its end; return the most memory taken, in GB.

    Raises:
        RuntimeError: It has ended badly, or was killed after `TIMEOUT_S`.
    """
    # NOTE: in one process with several devices transformers would split each batch over them (DataParallel).
    fixed = {"CUDA_VISIBLE_DEVICES": DEVICES[0] if HAS_GPU else "", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "MASTER_"))}
    command, peak = [sys.executable, *map(str, words)], 0.0
    deadline = time.monotonic() + TIMEOUT_S
    with tempfile.TemporaryFile() as output:
        environment = clean | fixed
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            while process.poll() is None and time.monotonic() < deadline:
                peak = max(peak, taken_gb(process.pid))
                time.sleep(0.5)
        finally:
            if process.poll() is None:
                kill_tree(process.pid)
            process.wait()
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode:
        # Its last words come first: the table has room for no more.
        last = said.rstrip().rpartition("\n")[2]
        raise RuntimeError(f"{last}\n{' '.join(command)} ended with {process.returncode}:\n{said[-6000:]}")
    return peak


def ask_driver(name: str) -> str:
    """Return a property of the first device, by nvidia-smi: PyTorch would take memory of it for this process."""
    query = ["nvidia-smi", f"--query-gpu={name}", "--format=csv,noheader", f"--id={DEVICES[0]}"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()


def taken_gb(pid: int) -> float:
    """Return the memory that is taken now: of the GPU by whomever, or on a CPU by a process and its children."""
    if HAS_GPU:
        return float(ask_driver("memory.used").split()[0]) / 1e3
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
    return total / 1e9
