# SPDX-License-Identifier: Apache-2.0
"""Cost of the training scripts beside bare TRL, and speed of training.

    python scripts/bench_training.py --table assets/benchmarks/training.md       # as `make bench_training`
    python scripts/bench_training.py --sections throughput --model qwen2.5-1.5b  # on a GPU, random weights

overhead     sft.py and grpo.py against TRL's trainers with the same settings, data and rewards: both train in one
             process and take turns step by step, so that what drifts on the machine touches both alike; CPU seconds
             of a step, median of the paired differences with a 95 % bootstrap interval.
packing      old log-probs and gradients of given completions, by GRPOTrainer of open_r1 beside TRL's: tokens per CPU
             second of steps in turns, the median of their ratios with a 95 % bootstrap interval, what that makes of a
             whole step, and the memory of a step.
throughput   tokens/s, peak memory and, on a GPU, model FLOPs utilisation (6 x parameters x tokens/s over the peak).
"""

import argparse
import ctypes
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
import trl
from datasets import disable_progress_bars
from make_tiny_model import build_model, build_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen2ForCausalLM, TrainerCallback
from transformers.utils import logging as transformers_logging

from open_r1 import grpo, sft
from open_r1.arguments import parse_args
from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.data.training_rows import build_prompt, get_dataset
from open_r1.rewards import RewardContext, get_reward_funcs
from open_r1.training.callbacks import CALLBACKS
from open_r1.training.trainer import GRPOTrainer

# Shapes of published models; weights are random, so only speed and memory mean anything.
SHAPES: dict[str, dict[str, int]] = {
    "demo": {},
    "qwen2.5-0.5b": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
                     "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936},
    "qwen2.5-1.5b": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
                     "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936},
    "qwen2.5-7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
                   "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064},
}  # fmt: skip
# Dense bf16 peak in FLOP/s by a part of the device's name, from the data sheets.
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
# Rows of an optimizer step and of a micro-batch, and the longest completion in tokens, of the section packing.
NUM_ROWS, MICRO_BATCH_ROWS, LIMIT_TOKENS = 64, 8, 512
# Lengths of completions, and how many times bare TRL's tokens/s is to be reached.
LENGTHS = {
    "log-normal": 3.2,
    "log-normal, a tenth at the limit": 3.2,
    "equal": 1.0,
}
# What log-probs and gradients are of a step of bare TRL in the demo; the rest is generation and rewards.
UPDATE_SHARE = 0.44


def parse_command_line() -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    sections = ["overhead", "packing", "throughput"]
    parser.add_argument("--sections", nargs="+", choices=sections, default=sections, help="default: all")
    parser.add_argument("--pairs", type=int, default=300, help="overhead: pairs of steps per script (default: 300)")
    parser.add_argument("--rounds", type=int, default=10, help="packing: pairs of steps a line (default: 10)")
    parser.add_argument("--policy", type=Path, help="packing: a model's folder (default: the demo model)")
    parser.add_argument("--scale", type=int, default=1, help="packing: rows and tokens are divided by it (default: 1)")
    parser.add_argument("--steps", type=int, default=40, help="throughput: optimizer steps of a run (default: 40)")
    parser.add_argument("--model", choices=sorted(SHAPES), default="demo", help="throughput: shape (default: demo)")
    parser.add_argument("--batch_size", type=int, default=16, help="throughput: sequences per device (default: 16)")
    parser.add_argument("--max_length", type=int, default=256, help="throughput: tokens per sequence (default: 256)")
    parser.add_argument("--table", type=Path, help="also write the tables to this Markdown file")
    return parser.parse_args()


def command_line(folder: Path, task: str, steps: int, **changes: object) -> list[str]:
    """Return the command line of a run; `changes` replace or add settings."""
    settings: dict[str, object] = {
        "model_name_or_path": folder / "model",
        "output_dir": folder / task,
        "dtype": "float32",
        "max_steps": steps,
        "save_strategy": "no",
        "logging_steps": 1,
        "seed": 1,
        "learning_rate": 1e-4,
        "log_level": "error",
        "gradient_checkpointing": "false",
        "dataloader_pin_memory": "false",
        "dataset_name": "tasks/running_sums",
    }
    settings |= {"bf16": "true"} if torch.cuda.is_available() else {"use_cpu": "true", "bf16": "false"}
    if task == "sft":
        settings |= {"dataset_config": "cold_start", "per_device_train_batch_size": 16, "max_length": 128}
    else:
        settings |= {
            "dataset_config": "rl",
            "dataset_prompt_column": "problem",
            "per_device_train_batch_size": 32,
            "num_generations": 8,
            "max_completion_length": 24,
            "reward_funcs": "accuracy format",
        }
    settings |= changes
    return [word for name, value in settings.items() for word in (f"--{name}", *str(value).split(" "))]


@contextmanager
def silence() -> Iterator[None]:
    """Send what the trainers print for every step to nowhere; both kinds of run print the same way."""
    with Path(os.devnull).open("w", encoding="utf-8") as sink, redirect_stdout(sink), redirect_stderr(sink):
        yield


class StepTimer(TrainerCallback):
    """Notes CPU and wall seconds of every optimizer step, from the end of one to the end of the next.

    With `turns`, a training waits after each step until the other one has done its step.
    """

    def __init__(self, turns: "Turns | None" = None) -> None:
        self.turns = turns
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self._started = (0.0, 0.0)

    def on_train_begin(self, *args: object, **kwargs: object) -> None:
        """Wait for the first turn."""
        self._wait_and_start()

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        """Take the times of the step and pass the turn on."""
        self.cpu.append(time.process_time() - self._started[0])
        self.wall.append(time.perf_counter() - self._started[1])
        self._wait_and_start()

    def _wait_and_start(self) -> None:
        if self.turns is not None:
            self.turns.pass_on()
        self._started = (time.process_time(), time.perf_counter())


class Turns:
    """Two trainings in two threads of a process, of which only one runs at any time."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: list[threading.Thread] = []
        self._threads: list[threading.Thread] = []
        self._active: threading.Thread | None = None
        self._errors: list[BaseException] = []

    def run(self, trainings: list[Callable[[], object]]) -> None:
        """Run the trainings to their ends, setting them up one after the other."""
        for training in trainings:
            thread = threading.Thread(target=self._run_one, args=(training,))
            with self._condition:
                self._threads.append(thread)
                self._active = thread
            thread.start()
            with self._condition:
                self._condition.wait_for(lambda thread=thread: thread in self._waiting or not thread.is_alive())
        with self._condition:
            self._active = self._threads[0]
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def pass_on(self) -> None:
        """Let the other training run; return when it is this one's turn again."""
        me = threading.current_thread()
        with self._condition:
            self._waiting.append(me)
            others = [thread for thread in self._threads if thread is not me]
            if others:
                self._active = others[0]
            self._condition.notify_all()
            self._condition.wait_for(lambda: len(self._threads) == 2 and self._active is me)
            self._waiting.remove(me)

    def _run_one(self, training: Callable[[], object]) -> None:
        try:
            training()
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._errors.append(error)
        finally:
            with self._condition:
                self._active = next((t for t in self._threads if t is not threading.current_thread()), None)
                self._condition.notify_all()


def run_ours(task: str, words: list[str], timer: StepTimer) -> None:
    """Run one of our scripts with the timer among its callbacks."""
    CALLBACKS["step_timer"] = lambda: timer
    words = [*words, "--callbacks", "step_timer"]
    if task == "sft":
        sft.main(*parse_args(SFTScriptArguments, SFTConfig, words))
    else:
        grpo.main(*parse_args(GRPOScriptArguments, GRPOConfig, words))


def run_bare(task: str, words: list[str], timer: StepTimer) -> None:
    """Run TRL's own trainer with the same model, data, rewards and settings."""
    classes = (SFTScriptArguments, SFTConfig) if task == "sft" else (GRPOScriptArguments, GRPOConfig)
    script_args, training_args, model_args = parse_args(*classes, words)
    tokenizer = AutoTokenizer.from_pretrained(model_args.model_name_or_path)
    model = AutoModelForCausalLM.from_pretrained(model_args.model_name_or_path, dtype=torch.float32)
    rows = get_dataset(script_args)["train"]
    common = {"processing_class": tokenizer, "callbacks": [timer]}
    if task == "sft":
        rows = rows.select_columns(["prompt", "completion"])
        trainer = trl.SFTTrainer(model, training_args, train_dataset=rows, **common)
    else:
        rows = rows.map(lambda row: {"prompt": build_prompt(row["problem"], None)})
        rewards = get_reward_funcs(script_args, RewardContext(num_generations=training_args.num_generations))
        trainer = trl.GRPOTrainer(model, rewards, training_args, train_dataset=rows, **common)
    trainer.train()


def measure_overhead(folder: Path, task: str, pairs: int) -> dict[str, float]:
    """Return CPU milliseconds per step of bare TRL, and what ours adds, with a 95 % interval."""
    warm_up = 5
    turns = Turns()
    bare, ours = StepTimer(turns), StepTimer(turns)
    steps = pairs + warm_up
    with silence():
        turns.run(
            [
                lambda: run_bare(task, command_line(folder, task, steps, output_dir=folder / f"{task}_bare"), bare),
                lambda: run_ours(task, command_line(folder, task, steps), ours),
            ]
        )
    added_ms = 1000 * (np.array(ours.cpu) - np.array(bare.cpu))[warm_up:]
    low, high = interval_of_median(added_ms)
    bare_ms = 1000 * statistics.median(bare.cpu[warm_up:])
    return {"bare_ms": bare_ms, "added_ms": float(np.median(added_ms)), "low_ms": low, "high_ms": high}


def interval_of_median(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the median."""
    generator = np.random.default_rng(0)
    medians = np.median(generator.choice(values, size=(5000, len(values))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def overhead_table(folder: Path, args: argparse.Namespace) -> list[str]:
    """Return the overhead section as Markdown lines."""
    lines = [
        f"{args.pairs} pairs of optimizer steps, one of each kind in turn; CPU milliseconds per step.",
        "",
        "| script | bare TRL | ours adds (median, 95 %) | upper end | reach |",
        "|---|---|---|---|---|",
    ]
    for task in ("sft", "grpo"):
        found = measure_overhead(folder, task, args.pairs)
        share = 100 * found["high_ms"] / found["bare_ms"]
        reach = "<= 5 ms (step < 250 ms)" if found["bare_ms"] < 250 else "<= 2 %"
        lines.append(
            f"| {task}.py | {found['bare_ms']:.1f} | {found['added_ms']:+.2f} ({found['low_ms']:+.2f} to "
            f"{found['high_ms']:+.2f}) | {found['high_ms']:+.2f} ms, {share:+.1f} % | {reach} |"
        )
    return lines


# NOTE: a base for type checkers only; the real ones below have it from the second of theirs.
_Trainer = trl.GRPOTrainer if TYPE_CHECKING else object


class GivenCompletions(_Trainer):
    """In place of a trainer's generation and rewards: random tokens in given lengths, whose log-probs are computed."""

    lengths: str
    scale: int

    def _generate_and_score_completions(self, inputs: list) -> dict[str, torch.Tensor]:
        rows = random_rollouts(self.lengths, self.scale, seed=self._step)
        ids, mask = (
            torch.cat([rows[f"prompt_{part}"], rows[f"completion_{part}"]], dim=1) for part in ("ids", "mask")
        )
        width = rows["completion_ids"].size(1)
        with torch.no_grad():
            rows["old_per_token_logps"], *_ = self._get_per_token_logps_and_entropies(
                self.model, ids, mask, width, batch_size=self.args.per_device_train_batch_size
            )
        return rows


class BareTrainer(GivenCompletions, trl.GRPOTrainer):
    """TRL's trainer with given completions."""


class OwnTrainer(GivenCompletions, GRPOTrainer):
    """The trainer of this project with given completions."""


def random_rollouts(lengths: str, scale: int, seed: int) -> dict[str, torch.Tensor]:
    """Return rollouts as TRL's generation leaves them; prompts of 16 to 48 tokens, completions by `LENGTHS`."""
    num_rows, limit = NUM_ROWS // scale, LIMIT_TOKENS // scale
    generator = np.random.default_rng(seed)
    drawn = generator.lognormal(np.log(limit / 8), 0.8, num_rows).astype(int)
    if "limit" in lengths:
        drawn[: max(1, num_rows // 10)] = limit
    if lengths == "equal":
        drawn[:] = limit // 4
    completion = torch.tensor(drawn.clip(1, limit)).unsqueeze(1)
    prompt = torch.tensor(generator.integers(16 // scale, 48 // scale + 1, num_rows)).unsqueeze(1)
    if lengths == "equal":
        prompt[:] = 32 // scale
    completion_mask = (torch.arange(int(completion.max())) < completion).long()
    prompt_mask = (torch.arange(int(prompt.max())) >= prompt.max() - prompt).long()
    return {
        "prompt_ids": prompt_mask * torch.tensor(generator.integers(10, 200, prompt_mask.shape)),
        "prompt_mask": prompt_mask,
        "completion_ids": completion_mask * torch.tensor(generator.integers(10, 200, completion_mask.shape)),
        "completion_mask": completion_mask,
        "advantages": torch.tensor(generator.standard_normal(num_rows), dtype=torch.float32),
        "num_items_in_batch": completion_mask.sum(),
    }


def build_given(trainer_class: type, folder: Path, lengths: str, args: argparse.Namespace) -> trl.GRPOTrainer:
    """Return a trainer with completions of these lengths."""
    words = command_line(
        folder,
        "grpo",
        1,
        model_name_or_path=args.policy or folder / "model",
        per_device_train_batch_size=MICRO_BATCH_ROWS // min(args.scale, 2),
        gradient_accumulation_steps=num_micro_batches(args),
        max_completion_length=LIMIT_TOKENS,
        num_generations=4,
    )
    script_args, training_args, model_args = parse_args(GRPOScriptArguments, GRPOConfig, words)
    trainer = trainer_class(
        AutoModelForCausalLM.from_pretrained(model_args.model_name_or_path, dtype=torch.float32),
        reward_funcs=[lambda completions, **columns: [0.0] * len(completions)],
        args=training_args,
        train_dataset=get_dataset(script_args)["train"].rename_column("problem", "prompt"),
        processing_class=AutoTokenizer.from_pretrained(model_args.model_name_or_path),
    )
    trainer.lengths, trainer.scale = lengths, args.scale
    trainer.current_gradient_accumulation_steps = training_args.gradient_accumulation_steps
    trainer.num_computed = 0
    trainer.model.get_input_embeddings().register_forward_pre_hook(lambda _, ids: count_tokens(trainer, ids[0]))
    trainer.model.train()
    return trainer


def num_micro_batches(args: argparse.Namespace) -> int:
    """Return the micro-batches of a step."""
    return NUM_ROWS // args.scale // (MICRO_BATCH_ROWS // min(args.scale, 2))


def count_tokens(trainer: Any, ids: torch.Tensor) -> None:
    """Count what goes through the model."""
    trainer.num_computed += ids.numel()


def cost_of_step(trainer: Any) -> tuple[float, float]:
    """Return the CPU seconds and the memory in MB of old log-probs and the gradients of a step; weights stay."""
    ctypes.CDLL(None).malloc_trim(0)
    reset_peak_memory()
    before_gb, started = peak_memory_gb(), time.process_time()
    for _ in range(trainer.args.gradient_accumulation_steps):
        trainer.training_step(trainer.model, [], None)
    seconds = time.process_time() - started
    trainer.model.zero_grad()
    return seconds, 1000 * (peak_memory_gb() - before_gb)


def packing_lines(folder: Path, lengths: str, args: argparse.Namespace) -> str:
    """Return a row of the section of packing."""
    with silence():
        trainers = [build_given(kind, folder, lengths, args) for kind in (BareTrainer, OwnTrainer)]
        costs = np.zeros((args.rounds + 1, 2, 2))
        for number in range(args.rounds + 1):  # who comes first changes each time
            for which in (0, 1) if number % 2 else (1, 0):
                costs[number, which] = cost_of_step(trainers[which])
    masks = [
        torch.cat([rows["prompt_mask"], rows["completion_mask"]], dim=1).numpy()
        for number in range(args.rounds + 1)
        for rows in [random_rollouts(lengths, args.scale, number * num_micro_batches(args))]
    ]
    tokens = np.array([mask.sum() for mask in masks])
    speeds = tokens[1:, None] / costs[1:, :, 0]
    ratios = speeds[:, 1] / speeds[:, 0]
    low, high = interval_of_median(ratios)
    bare, ours = np.median(speeds, axis=0)
    bare_mb, our_mb = costs[1:, :, 1].max(axis=0)
    ratio = float(np.median(ratios))
    # Old log-probs and the update; the trainer's test of the model has 92 tokens.
    computed = (trainers[1].num_computed - 92) / (2 * tokens.sum())
    return (
        f"| {lengths} | {100 * (1 - np.mean([mask.mean() for mask in masks])):.0f} % | {computed:.3f} | {bare:,.0f} | "
        f"{ours:,.0f} | {ratio:.2f} ({low:.2f} to {high:.2f}) | >= {LENGTHS[lengths]} | "
        f"{1 / (1 - UPDATE_SHARE + UPDATE_SHARE / ratio):.2f} | {bare_mb:.0f} | {our_mb:.0f} |"
    )


def packing_table(folder: Path, args: argparse.Namespace) -> list[str]:
    """Return the section of packing as Markdown lines."""
    save_random_model(folder / "model", "demo")
    limit = LIMIT_TOKENS // args.scale
    return [
        f"{args.policy.name if args.policy else 'Demo model'} in fp32; {NUM_ROWS // args.scale} rows in "
        f"{num_micro_batches(args)} micro-batches; prompts of {16 // args.scale} to {48 // args.scale} tokens, "
        f"completions of at most {limit}: log-normal with median {limit // 8} and sigma 0.8, or (equal) all of "
        f"{limit // 4}. {args.rounds} pairs of steps a line. Whole step: where TRL spends {UPDATE_SHARE:.0%} of it in "
        "old log-probs and gradients, and the rest stays. Memory: what a step adds to the process at its peak.",
        "",
        "| lengths | padding in TRL's batch | computed / tokens of rows | bare TRL, tokens per CPU second | ours | "
        "ratio (95 %) | reach | whole step | TRL's memory, MB | ours |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(packing_lines(folder, lengths, args) for lengths in LENGTHS),
    ]


def throughput_table(folder: Path, args: argparse.Namespace) -> list[str]:
    """Return tokens/s, peak memory and MFU of SFT, and tokens/s of GRPO, as Markdown lines."""
    parameters = save_random_model(folder / "model", args.model)
    data = folder / "texts.jsonl"
    generator = random.Random(0)
    row = " ".join(str(generator.randrange(100)) for _ in range(args.max_length // 2))
    data.write_text(f'{{"text": "{row}"}}\n' * 4 * args.batch_size, encoding="utf-8")
    words = command_line(
        folder,
        "sft",
        args.steps,
        output_dir=folder / "sft_throughput",
        dataset_name=data,
        dataset_config="default",
        gradient_checkpointing="true",
        per_device_train_batch_size=args.batch_size,
        max_length=args.max_length,
    )
    reset_peak_memory()
    timer = StepTimer()
    with silence():
        run_ours("sft", words, timer)
    memory = peak_memory_gb()
    tokens = args.batch_size * args.max_length
    per_second = tokens / statistics.median(timer.wall[3:])
    device = describe_device()
    peak = next((flops for name, flops in PEAK_FLOPS.items() if name in device), None)
    mfu = f"{100 * 6 * parameters * per_second / peak:.1f} %" if peak else "- (no GPU)"
    return [
        f"{device}; {args.model}, {parameters / 1e6:.1f} M parameters with random weights.",
        "",
        "| run | sequences x tokens | tokens/s | peak memory | MFU |",
        "|---|---|---|---|---|",
        f"| sft.py | {args.batch_size} x {args.max_length} | {per_second:,.0f} | {memory:.2f} GB | {mfu} |",
        *grpo_throughput(folder, args),
    ]


def grpo_throughput(folder: Path, args: argparse.Namespace) -> list[str]:
    """Return the row of GRPO with transformers generation: tokens of prompts and completions per second."""
    length = min(args.max_length, 128)
    reset_peak_memory()
    timer = StepTimer()
    output_dir = folder / "grpo_throughput"
    changes = {"max_completion_length": length, "output_dir": output_dir}
    with silence():
        run_ours("grpo", command_line(folder, "grpo", max(6, args.steps // 3), **changes), timer)
    state = (output_dir / "trainer_state.json").read_text(encoding="utf-8")
    history = [line for line in json.loads(state)["log_history"] if "tokens_per_second" in line]
    speed = statistics.median(line["tokens_per_second"] for line in history[2:])
    split = {
        name: statistics.median(line[f"time/{name}_s"] for line in history[2:])
        for name in ("generate", "reward", "update")
    }
    total = statistics.median(timer.wall[3:])
    shares = ", ".join(f"{name} {100 * value / total:.0f} %" for name, value in split.items())
    return [f"| grpo.py ({shares}) | 32 completions of <= {length} | {speed:,.0f} | {peak_memory_gb():.2f} GB | - |"]


def describe_device() -> str:
    """Return the device's name."""
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} thread"


def reset_peak_memory() -> None:
    """Let the peak of a run count from here; on a CPU by Linux' own switch."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_gb() -> float:
    """Return the peak since the reset in GB: allocated on the GPU, or resident on a CPU (libraries included)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1e6


def save_random_model(folder: Path, name: str) -> int:
    """Save a model of the given shape with random weights; return its number of parameters."""
    tokenizer = build_tokenizer()
    if name == "demo":
        model = build_model(tokenizer, seed=1)
    else:
        config = Qwen2Config(
            **SHAPES[name],
            max_position_embeddings=32768,
            tie_word_embeddings=name != "qwen2.5-7b",
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.num_parameters()


def main() -> None:
    """Run the chosen sections and print Markdown."""
    args = parse_command_line()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    sections: dict[str, Any] = {
        "overhead": overhead_table,
        "packing": packing_table,
        "throughput": throughput_table,
    }
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    versions = f"torch {torch.__version__}, trl {trl.__version__}, {os.cpu_count()} cores, OMP_NUM_THREADS={threads}"
    lines = ["# Training benchmark", "", f"Made by `python {' '.join(sys.argv)}`; {versions}."]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_random_model(folder / "model", "demo")
        for section in args.sections:
            lines += ["", f"## {section.capitalize().replace('_', '-')}", "", *sections[section](folder, args)]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.table is not None:
        args.table.parent.mkdir(parents=True, exist_ok=True)
        args.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
