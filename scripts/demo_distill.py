# SPDX-License-Identifier: Apache-2.0
"""On-policy distillation beside GRPO and beside SFT on the teacher's samples, on a CPU, from one cold start: a table.

    python scripts/demo_distill.py --seeds 302 --table assets/benchmarks/demo_distill.md

The teacher is the model that GRPO makes of the demo's cold start, and the student that cold start. Each way is judged
by avg@8 on the 400 held-out sums of the demo. CPU seconds count as in demo_seeds.py: loading and training, and for SFT
the teacher's sampling, without evaluations and the start of Python. Finished stages are not run again.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from demo import Stage, is_finished, run_demo, run_stage, stage_command
from demo_report import accuracy, log_history, stage_results
from demo_seeds import watched
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from open_r1.tasks import load_task

IMITATION = Stage("imitation", "SFT on the teacher's samples", "sft", "config_teacher.yaml")
DISTILLATION = Stage("distill", "on-policy distillation", "distill", "config_demo.yaml")
BATCH, MAX_TOKENS = 256, 40
TEST_NAME = "held_out"


def write_samples(folder: Path, teacher_dir: Path, seed: int, count: int) -> float:
    """Write one sampled answer of the teacher to each of so many prompts as rows of SFT; return the CPU seconds."""
    started = time.process_time()
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(teacher_dir)
    teacher = AutoModelForCausalLM.from_pretrained(teacher_dir).eval()
    problems = [str(row["problem"]) for row in load_task("running_sums", "rl", seed)["train"]]
    prompts = [[{"role": "user", "content": problems[place % len(problems)]}] for place in range(count)]
    rows = []
    for start in range(0, count, BATCH):
        batch = prompts[start : start + BATCH]
        inputs = tokenizer.apply_chat_template(
            batch, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            ids = teacher.generate(**inputs, do_sample=True, top_k=0, max_new_tokens=MAX_TOKENS)
        texts = tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        rows += [
            {"prompt": prompt, "completion": [{"role": "assistant", "content": text}]}
            for prompt, text in zip(batch, texts, strict=True)
        ]
    write_lines(folder / "train.jsonl", rows)
    return time.process_time() - started


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def run_seed(folder: Path, seed: int, overrides: list[str]) -> list[dict[str, Any]]:
    """Run all ways of one seed; return a row of the table for each."""
    clocked = watched({}, "main")
    run_demo(folder, "main", seed, clocked, Console())
    start, teacher = folder / "sft", folder / "grpo"
    test_path = folder / f"{TEST_NAME}.jsonl"
    tests = load_task("running_sums", "rl", seed)["test"]
    write_lines(test_path, [{"problem": row["problem"], "answer": row["solution"]} for row in tests])
    common = [*clocked["sft"], "--eval_benchmarks", str(test_path)]
    words = [
        *stage_command(DISTILLATION, start, folder / "distill", seed),
        "--teacher_model_name_or_path",
        str(teacher),
    ]
    run_once(DISTILLATION, folder / "distill", [*words, *common, *overrides])
    count = int(log_history(folder / "distill")[-1]["step"]) * distill_batch(folder / "distill")
    sampling_path = folder / "sampling.json"
    if not sampling_path.is_file():
        sampling_path.write_text(json.dumps(write_samples(folder / "samples", teacher, seed, count)))
    words = [*stage_command(IMITATION, start, folder / "imitation", seed), "--dataset_name", str(folder / "samples")]
    run_once(IMITATION, folder / "imitation", [*words, *common])

    taught = stage_results("", teacher)
    sampling_s = json.loads(sampling_path.read_text())
    return [
        {"way": "cold start", "seed": seed, "cpu_s": None, "answers": 0, **accuracy(taught["start"])},
        {"way": "GRPO, the teacher", "seed": seed, "cpu_s": cpu_s(teacher), "answers": grpo_answers(teacher)}
        | accuracy(taught["end"]),
        {"way": IMITATION.title, "seed": seed, "cpu_s": sampling_s + cpu_s(folder / "imitation"), "answers": count}
        | held_out(folder / "imitation"),
        {"way": DISTILLATION.title, "seed": seed, "cpu_s": cpu_s(folder / "distill"), "answers": count}
        | held_out(folder / "distill"),
    ]


def held_out(folder: Path) -> dict[str, float]:
    """Return avg@8 of a stage on the held-out sums, with its interval."""
    found = json.loads((folder / "eval_results.json").read_text(encoding="utf-8"))
    name = f"eval_{TEST_NAME}/avg@8"
    return {"mean": found[name], "low": found[f"{name}_low"], "high": found[f"{name}_high"]}


def run_once(stage: Stage, folder: Path, words: list[str]) -> None:
    """Run a stage unless it is finished."""
    if not is_finished(folder):
        run_stage(stage, words)
        (folder / "finished").touch()


def cpu_s(folder: Path) -> float:
    """Return the CPU seconds of a stage."""
    return log_history(folder)[-1]["cpu_s"]


def settings_of(folder: Path) -> dict[str, Any]:
    """Return the settings that a stage ran with."""
    return json.loads((folder / "run_manifest.json").read_text(encoding="utf-8"))["runs"][-1]["settings"]


def distill_batch(folder: Path) -> int:
    """Return the answers of a step of distillation."""
    settings = settings_of(folder)
    return settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"]


def grpo_answers(folder: Path) -> int:
    """Return the answers that a GRPO stage has sampled to learn from."""
    return settings_of(folder)["generation_batch_size"] * int(log_history(folder)[-1]["step"])


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table, and a line of means."""
    lines = ["| seed | way from the cold start | avg@8 (95 %) | CPU s | answers sampled |", "|---" * 5 + "|"]
    for row in rows:
        cost = "-" if row["cpu_s"] is None else f"{row['cpu_s']:.0f}"
        score = f"{row['mean']:.3f} ({row['low']:.3f} - {row['high']:.3f})"
        lines.append(f"| {row['seed']} | {row['way']} | {score} | {cost} | {row['answers'] or '-'} |")
    means = []
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        cost = "" if own[0]["cpu_s"] is None else f" in {statistics.mean(row['cpu_s'] for row in own):.0f} CPU s"
        means.append(f"{way} {statistics.mean(row['mean'] for row in own):.3f}{cost}")
    return "\n".join(lines) + f"\n\nMeans: {'; '.join(means)}. 400 held-out sums a seed.\n"


def main() -> None:
    """Run every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[302], help="default: 302")
    add("--output_dir", type=Path, default=Path("data/demo_distill"), help="default: data/demo_distill")
    add("--table", type=Path, help="also write the table to this file")
    add("--override", nargs="+", default=[], metavar="WORD", help="settings of the distillation, as NAME=VALUE")
    args = parser.parse_args()
    overrides = [word for setting in args.override for word in (f"--{setting.split('=')[0]}", setting.split("=")[1])]
    rows = [row for seed in args.seeds for row in run_seed(args.output_dir / str(seed), seed, overrides)]
    table = markdown_table(rows)
    print(table)
    if args.table is not None:
        args.table.write_text(f"Made by `python {' '.join(sys.argv)}`.\n\n{table}", encoding="utf-8")


if __name__ == "__main__":
    main()
