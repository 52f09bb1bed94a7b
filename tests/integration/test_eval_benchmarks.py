# SPDX-License-Identifier: Apache-2.0
"""`eval_benchmarks`: the policy in training answers, what it earns is logged, and the best model kept by it."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from open_r1.evaluation.training import answer_of_tokens
from open_r1.generation.messages import Request, Sampling
from open_r1.generation.transformers_here import Sampler
from open_r1.training import callbacks
from open_r1.training.checkpoints import list_checkpoints
from open_r1.training.stopping import STOP_FILE_VARIABLE
from tests.integration.tiny import (
    Tiny,
    addition_row,
    are_identical,
    build_tiny,
    log_history,
    weights_of,
    write_rows,
)

KINDS = ["sft", "grpo"]
EVERY = 15
STEPS = [number * EVERY for number in range(1, 6)]
MAX_TOKENS = 24
ANSWER = "\\boxed{7}"
AVERAGE = "eval_sevens/avg@3"
# Lengths of random completions differ, so the policy of GRPO learns something.
LEARNS = {
    "sft": {"gradient_checkpointing": True},
    "grpo": {"reward_funcs": ["cosine"], "cosine_max_len": 24, "max_completion_length": 24, "learning_rate": 1e-3},
}


@dataclass(frozen=True)
class Bench:
    """A tiny model, data without a test split that all have the same answer, and a benchmark of the same kind."""

    tiny: Tiny
    data: Path
    sevens: Path

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Return settings of a training that answers the benchmark."""
        return {
            "eval_benchmarks": self.sevens,
            "eval_benchmarks_num_samples": 3,
            "eval_benchmarks_max_tokens": MAX_TOKENS,
            "eval_benchmarks_template": "{prompt}",
            "eval_benchmarks_temperature": 1.0,
            "eval_benchmarks_top_p": 1.0,
            **changes,
        }


class Toucher(TrainerCallback):
    """Makes a file while a step runs."""

    def __init__(self, path: Path, step: int) -> None:
        self.path, self.step = path, step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step - 1:
            self.path.touch()


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    tiny = build_tiny(folder)
    rows = [addition_row(a, b) for a in range(8) for b in range(8)]
    for row in rows:
        row["messages"][-1]["content"] = ANSWER
    data = write_rows(folder / "sevens-data" / "train.jsonl", rows)
    sevens = write_rows(folder / "sevens.jsonl", [{"problem": f"{a}+{7 - a}", "solution": "7"} for a in range(5)])
    return Bench(tiny, data.parent, sevens)


@pytest.fixture(scope="module")
def kept(bench, tmp_path_factory) -> Path:
    """SFT that learns the one answer; its best checkpoint is the one to be loaded at the end. Tests only read it."""
    output = tmp_path_factory.mktemp("kept") / "run"
    bench.tiny.train("sft", output, **learning(bench), eval_benchmarks_log_answers=True)
    return output


def learning(bench: Bench) -> dict[str, Any]:
    return bench.settings(
        dataset_name=bench.data,
        max_steps=STEPS[-1],
        save_steps=EVERY,
        save_total_limit=1,
        eval_strategy="steps",
        eval_steps=EVERY,
        load_best_model_at_end=True,
        metric_for_best_model=AVERAGE,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
    )


def evaluations(output: Path) -> dict[int, dict[str, float]]:
    """Return what was logged of benchmarks, by step."""
    found = {}
    for entry in log_history(output):
        figures = {name: value for name, value in entry.items() if name.startswith("eval_") and "/" in name}
        if figures:
            assert entry["step"] not in found or found[entry["step"]] == figures
            found[entry["step"]] = figures
    return found


def test_metrics_of_each_evaluation_are_logged(kept):
    found = evaluations(kept)
    assert list(found) == STEPS
    for figures in found.values():
        ends = {"avg@3", "avg@3_low", "avg@3_high", "pass@3", "maj@3", "truncated", "no_answer", "mean_length_tokens"}
        assert set(figures) == {f"eval_sevens/{name}" for name in ends}
        assert figures[f"{AVERAGE}_low"] <= figures[AVERAGE] <= figures[f"{AVERAGE}_high"]
        assert figures[AVERAGE] <= figures["eval_sevens/pass@3"] <= 1
    averages = [figures[AVERAGE] for figures in found.values()]
    assert averages[0] < 0.5 < max(averages), "nothing was learned, so the rest says little"


def test_answers_are_kept_with_their_verdicts(kept):
    for step, figures in evaluations(kept).items():
        rows = pd.read_parquet(kept / "eval_benchmarks" / "sevens" / f"step-{step:06d}.parquet")
        assert len(rows) == 5 * 3
        assert (rows["verdict"] == "right").mean() == pytest.approx(figures[AVERAGE])
        assert (rows["finish_reason"] == "length").mean() == pytest.approx(figures["eval_sevens/truncated"])
        assert rows["num_tokens"].mean() == pytest.approx(figures["eval_sevens/mean_length_tokens"])
        assert (rows["num_tokens"] <= MAX_TOKENS).all()
    assert len(list((kept / "eval_benchmarks" / "sevens").iterdir())) == len(STEPS)


def test_best_checkpoint_survives_rotation_and_becomes_the_model(kept):
    averages = {step: figures[AVERAGE] for step, figures in evaluations(kept).items()}
    best = max(averages, key=averages.__getitem__)  # the first of those that are equal
    assert best < STEPS[-1], "the last is the best: it would be kept in any case"
    state = json.loads((kept / "trainer_state.json").read_text())
    assert (state["best_global_step"], state["best_metric"]) == (best, averages[best])
    assert [path.name for path in list_checkpoints(kept)] == [f"checkpoint-{best}", f"checkpoint-{STEPS[-1]}"]
    assert are_identical(weights_of(kept / f"checkpoint-{best}"), weights_of(kept))
    assert not are_identical(weights_of(kept / f"checkpoint-{STEPS[-1]}"), weights_of(kept))


def test_results_at_the_end_are_those_of_the_model_that_is_left(kept):
    results = json.loads((kept / "eval_results.json").read_text())
    figures = evaluations(kept)
    best = json.loads((kept / "trainer_state.json").read_text())["best_global_step"]
    assert {name: results[name] for name in figures[best]} == figures[best]
    assert "eval_samples" not in results and "eval_loss" not in results
    assert results["eval_benchmarks_runtime_s"] > 0


def test_saved_checkpoint_answers_as_the_policy_did(kept, bench):
    step = STEPS[-1]
    model = AutoModelForCausalLM.from_pretrained(kept / f"checkpoint-{step}")
    tokenizer = AutoTokenizer.from_pretrained(kept)
    rows = pd.read_parquet(kept / "eval_benchmarks" / "sevens" / f"step-{step:06d}.parquet")
    requests = [
        Request(
            "",
            row["index"],
            [{"role": "user", "content": row["problem"]}],
            sampling=Sampling(max_tokens=MAX_TOKENS, seed=0),
        )
        for row in rows.to_dict("records")
    ]
    answers = Sampler(model, tokenizer, max_batch_size=4).sample(requests)
    assert [answer.text for answer in answers] == list(rows["answer"])


def test_resumed_run_logs_the_same_and_keeps_the_same(kept, bench, tmp_path):
    bench.tiny.train("sft", tmp_path / "first", **learning(bench) | {"save_total_limit": 5})
    whole = evaluations(tmp_path / "first")
    assert whole == evaluations(kept)
    for checkpoint in list_checkpoints(tmp_path / "first")[2:]:
        shutil.rmtree(checkpoint)
    bench.tiny.train("sft", tmp_path / "first", **learning(bench))
    assert evaluations(tmp_path / "first") == whole
    assert are_identical(weights_of(kept), weights_of(tmp_path / "first"))


def test_benchmarks_that_a_stop_has_left_out_are_answered_when_the_run_goes_on(bench, tmp_path, monkeypatch):
    settings = bench.settings(eval_benchmarks_steps=2, dataset_name=bench.data)
    bench.tiny.train("sft", tmp_path / "whole", **settings)
    monkeypatch.setenv(STOP_FILE_VARIABLE, str(tmp_path / "stop"))
    toucher = Toucher(tmp_path / "stop", 2)
    monkeypatch.setitem(callbacks.CALLBACKS, "toucher", lambda: toucher)
    assert bench.tiny.train("sft", tmp_path / "stopped", **settings, callbacks=["toucher"]) == {}
    assert evaluations(tmp_path / "stopped" / "checkpoint-2") == {}
    bench.tiny.train("sft", tmp_path / "stopped", **settings)
    assert list(evaluations(tmp_path / "whole")) == [2, 4]
    assert evaluations(tmp_path / "stopped") == evaluations(tmp_path / "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_the_same_with_and_without_benchmarks(bench, tmp_path, kind):
    bench.tiny.train(kind, tmp_path / "alone", **LEARNS[kind])
    settings = bench.settings(**LEARNS[kind], eval_benchmarks_steps=1, eval_on_start=True)
    bench.tiny.train(kind, tmp_path / "with", **settings)
    assert are_identical(weights_of(tmp_path / "alone"), weights_of(tmp_path / "with"))
    losses = [
        [entry["loss"] for entry in log_history(tmp_path / name) if "loss" in entry] for name in ("alone", "with")
    ]
    assert losses[0] == losses[1]
    assert list(evaluations(tmp_path / "with")) == [0, 1, 2, 3, 4]
    assert not (tmp_path / "with" / "eval_benchmarks").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_test_split_and_benchmarks_have_steps_of_their_own(bench, tmp_path, kind):
    settings = bench.settings(
        **LEARNS[kind],
        eval_strategy="steps",
        eval_steps=2,
        eval_benchmarks_steps=3,
        max_steps=6,
        save_steps=3,
        metric_for_best_model=f"{AVERAGE}_low",
    )
    metrics = bench.tiny.train(kind, tmp_path, **settings)
    by_step = {entry["step"]: entry for entry in log_history(tmp_path) if "eval_loss" in entry or AVERAGE in entry}
    assert {step: ("eval_loss" in entry, AVERAGE in entry) for step, entry in by_step.items()} == {
        2: (True, False),
        3: (False, True),
        4: (True, False),
        6: (True, True),
    }
    assert AVERAGE in metrics and "eval_loss" in metrics and metrics["eval_samples"] == 6
    assert json.loads((tmp_path / "trainer_state.json").read_text())["best_global_step"] == 3


def test_lora_answers_benchmarks_at_the_end_alone(bench, tmp_path):
    lora = {"use_peft": True, "lora_r": 4, "lora_target_modules": "all-linear"}
    metrics = bench.tiny.train("grpo", tmp_path, **bench.settings(**LEARNS["grpo"], **lora, max_steps=1))
    assert evaluations(tmp_path) == {}
    assert json.loads((tmp_path / "eval_results.json").read_text())[AVERAGE] == metrics[AVERAGE]
    assert metrics["eval_sevens/mean_length_tokens"] > 0


@pytest.mark.parametrize("narrow", [{"eval_benchmarks_temperature": 1e-4}, {"eval_benchmarks_top_p": 1e-6}])
def test_answers_are_drawn_as_the_settings_say(bench, tmp_path, narrow):
    differ = {}
    for name, changes in (("wide", {}), ("narrow", narrow)):
        settings = bench.settings(max_steps=1, eval_benchmarks_log_answers=True, **changes)
        bench.tiny.train("sft", tmp_path / name, **settings)
        (path,) = (tmp_path / name / "eval_benchmarks" / "sevens").iterdir()
        differ[name] = pd.read_parquet(path).groupby("row")["answer"].nunique().max() > 1
    assert differ == {"wide": True, "narrow": False}


def test_answers_end_at_the_stop_texts_of_rollouts(bench, tmp_path):
    stop = ("A", "B", "8")
    settings = bench.settings(max_steps=1, eval_benchmarks_log_answers=True, stop_strings=stop)
    bench.tiny.train("grpo", tmp_path, **LEARNS["grpo"], **settings)
    (path,) = (tmp_path / "eval_benchmarks" / "sevens").iterdir()
    answers = pd.read_parquet(path)
    is_stopped = answers["answer"].str.endswith(stop)
    assert is_stopped.any()
    assert (answers["finish_reason"][is_stopped] == "stop").all()
    assert not answers["answer"].str.slice(stop=-1).str.contains("|".join(stop)).any()


def test_answers_of_a_vllm_are_without_the_token_that_ended_them(bench):
    tokenizer = AutoTokenizer.from_pretrained(bench.tiny.model)
    ids = tokenizer("17<")["input_ids"]
    ended = answer_of_tokens(ids, {ids[-1]}, tokenizer)
    assert (ended.text, ended.finish_reason, ended.token_ids) == (tokenizer.decode(ids[:-1]), "stop", ids)
    assert answer_of_tokens(ids, {0}, tokenizer).text == "17<"
    assert answer_of_tokens([], {0}, tokenizer).finish_reason == "length"
