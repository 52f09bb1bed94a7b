# SPDX-License-Identifier: Apache-2.0
"""On-policy distillation: what the student learns, where it resumes, which teachers are refused."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from open_r1.arguments import RecipeParser
from open_r1.configs import DistillConfig, DistillScriptArguments, ModelConfig
from open_r1.models import get_teacher
from tests.integration.tiny import Tiny, are_identical, build_tiny, build_tokenizer, log_history, weights_of


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def teacher(tiny, tmp_path_factory) -> Path:
    """A teacher that is sure of what it says, with unused rows in its embedding, as Qwen2.5-7B beside 1.5B."""
    folder = tmp_path_factory.mktemp("teacher") / "model"
    shutil.copytree(tiny.model, folder)
    model = AutoModelForCausalLM.from_pretrained(tiny.model)
    torch.manual_seed(1)
    for weight in model.parameters():
        weight.data += 0.3 * torch.randn_like(weight)
    model.resize_token_embeddings(model.config.vocab_size + 8)
    model.save_pretrained(folder)
    return folder


def test_student_comes_nearer_to_its_teacher(tiny, teacher, tmp_path):
    settings = {"max_steps": 30, "learning_rate": 2e-2, "log_completions": True, "save_steps": 30}
    tiny.train("distill", tmp_path, teacher_model_name_or_path=teacher, **settings)
    losses = [entry["loss"] for entry in log_history(tmp_path) if "loss" in entry]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    rollouts = pd.read_parquet(tmp_path / "rollouts")
    assert len(rollouts) == 30 * 8 and {"prompt", "completion", "solution", "num_tokens", "is_truncated"} <= {
        *rollouts
    }
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config.vocab_size == len(build_tokenizer())


def test_teacher_that_is_the_student_teaches_nothing(tiny, tmp_path):
    tiny.train("distill", tmp_path, teacher_model_name_or_path=tiny.model, max_steps=1, beta=1.0)
    assert abs(log_history(tmp_path)[0]["loss"]) < 1e-6


def test_resumed_training_ends_with_the_same_weights(tiny, teacher, tmp_path):
    # 48 prompts are three steps an epoch: the second epoch has an order of its own.
    settings = {"teacher_model_name_or_path": teacher, "gradient_accumulation_steps": 2, "max_steps": 6}
    tiny.train("distill", tmp_path / "whole", **settings)
    tiny.train("distill", tmp_path / "killed", **settings)
    for name in ("model.safetensors", "manifest.json"):
        (tmp_path / "killed" / name).unlink()
    shutil.rmtree(tmp_path / "killed" / "checkpoint-6")
    tiny.train("distill", tmp_path / "killed", **settings)
    assert are_identical(weights_of(tmp_path / "whole"), weights_of(tmp_path / "killed"))


def other_tokens(folder: Path, tiny: Tiny) -> Path:
    shutil.copytree(tiny.model, folder)
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"a":', '"tmp":').replace('"b":', '"a":').replace('"tmp":', '"b":'))
    return folder


def fewer_rows(folder: Path, tiny: Tiny) -> Path:
    shutil.copytree(tiny.model, folder)
    config = Qwen3Config.from_pretrained(tiny.model)
    config.vocab_size -= 2
    Qwen3ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda folder, tiny: None, "teacher_model_name_or_path"),
        (lambda folder, tiny: folder, "no such folder"),
        (other_tokens, "different tokens"),
        (fewer_rows, "vocabulary"),
    ],
    ids=["none", "not there", "different tokens", "fewer rows"],
)
def test_teacher_that_cannot_teach_is_refused(tiny, tmp_path, make, named):
    with pytest.raises(ValueError, match=named):
        tiny.train("distill", tmp_path / "run", teacher_model_name_or_path=make(tmp_path / "teacher", tiny))
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_teacher_takes_its_own_settings(tiny, teacher, tmp_path):
    words = tiny.argv("distill", tmp_path, teacher_model_name_or_path=teacher)
    words += ["--teacher_model_init_kwargs", json.dumps({"dtype": "bfloat16"})]
    _, args, model_args = RecipeParser((DistillScriptArguments, DistillConfig, ModelConfig)).parse(words)
    student = AutoModelForCausalLM.from_pretrained(tiny.model)
    model = get_teacher(args, model_args, student)
    assert (model.dtype, model.config.vocab_size) == (torch.bfloat16, student.config.vocab_size)


def test_check_only_says_what_a_distillation_does(tiny, teacher, tmp_path, capfd):
    words = {"check_only": True, "gradient_accumulation_steps": 2, "max_steps": -1}
    tiny.train("distill", tmp_path, teacher_model_name_or_path=teacher, num_train_epochs=2, **words)
    run, steps, *_ = capfd.readouterr().out.splitlines()
    assert run.startswith("Run: Distillation")
    assert steps.startswith("Steps: 6, ") and "16 completions in 16 groups" in steps
    assert not (tmp_path / "run_manifest.json").exists()
