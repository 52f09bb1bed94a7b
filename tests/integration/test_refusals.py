# SPDX-License-Identifier: Apache-2.0
"""A refusal ends sft.py and grpo.py with its sentence and status 1; an error in the training keeps its traceback."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import TrainerCallback

from open_r1 import sft
from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.data.sources import load_source
from open_r1.evaluation.settings import build_parser
from open_r1.training.callbacks import CALLBACKS
from open_r1.training.run import evaluation_command, run_script
from tests.integration.tiny import build_tiny

ROOT = Path(__file__).resolve().parents[2]
MISSING = "'/nowhere/rows'"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def run(tiny, tmp_path, monkeypatch):
    """Return the function that runs a main as the script does, with the settings of a short training."""

    def run_main(main, kind="sft", **settings):
        classes = {"sft": (SFTScriptArguments, SFTConfig), "grpo": (GRPOScriptArguments, GRPOConfig)}[kind]
        output_dir = settings.pop("output_dir", tmp_path / "out")
        monkeypatch.setattr(sys, "argv", [f"{kind}.py", *tiny.argv(kind, output_dir, **settings)])
        run_script(main, *classes, "")

    return run_main


def raises(error):
    def main(*arguments):
        raise error

    return main


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("sft", {"dataset_name": "/nowhere/rows"}, ["/nowhere/rows"]),
        ("grpo", {"reward_funcs": ["acuracy"]}, ["reward_funcs", "'acuracy'", "'accuracy'"]),
    ],
)
def test_script_ends_with_the_sentence_alone(tiny, tmp_path, kind, settings, named):
    words = [sys.executable, f"src/open_r1/{kind}.py", *tiny.argv(kind, tmp_path / "out", **settings)]
    environment = {**os.environ, "PYTHONPATH": "src", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith("ValueError: ") and ended.stderr.count("\n") == 1, ended.stderr
    assert [name for name in named if name not in ended.stderr] == []
    assert "Traceback" not in ended.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"output_dir": "{file}"}, ["`output_dir`", "{file} is a file"]),
        ({"output_dir": "{file}/below"}, ["`output_dir`", "{file}/below", "{file} is a file"]),
        ({"model_name_or_path": "nobody/nothing"}, ["`model_name_or_path`", "'nobody/nothing'"]),
        ({"model_name_or_path": "no/such/folder"}, ["`model_name_or_path`", "'no/such/folder'"]),
        ({"resume_from_checkpoint": "{file}"}, ["`resume_from_checkpoint`", "{file}"]),
        ({"max_length": 3}, ["EOS", "48"]),
    ],
)
def test_refusals_of_any_step_before_the_training(run, tmp_path, capsys, settings, named):
    file = tmp_path / "file"
    file.touch()
    settings = {name: value.format(file=file) if isinstance(value, str) else value for name, value in settings.items()}
    with pytest.raises(SystemExit) as ended:
        run(sft.main, **settings)
    assert ended.value.code == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ValueError: ")
    assert [name for name in named if name.format(file=file) not in last] == []


def test_several_processes_say_who_they_are(run, capsys, monkeypatch):
    def refuse(*arguments):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "1")
        load_source("/nowhere/rows")

    with pytest.raises(SystemExit):
        run(refuse)
    said = capsys.readouterr().err
    assert said.startswith("[rank1]: ValueError: ") and MISSING in said


def test_errors_of_other_kinds_keep_their_traceback(run):
    with pytest.raises(KeyError):
        run(raises(KeyError("of anybody")))


def test_refusal_inside_the_training_keeps_its_traceback(run, monkeypatch):
    class Refuse(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            load_source("/nowhere/rows")

    monkeypatch.setitem(CALLBACKS, "refuse", Refuse)
    with pytest.raises(ValueError, match=MISSING):
        run(sft.main, callbacks=["refuse"])


def test_training_ends_with_status_0_and_says_where_the_model_is(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        run(sft.main, max_steps=1, save_strategy="no", log_level="warning", report=True)
    assert ended.value.code == 0
    assert (tmp_path / "out" / "model.safetensors").is_file()
    said = capsys.readouterr().out.splitlines()
    assert f"The model is in {tmp_path}/out" in said
    assert f"look at:  {tmp_path}/out/report.html" in said and (tmp_path / "out" / "report.html").is_file()


ASKED = {"eval_benchmarks_num_samples": 2, "eval_benchmarks_template": "{prompt}", "system_prompt": "Go"}
# What a recipe names, and words of the command that evaluates its model.
EVALUATIONS = {
    "nothing": ({}, False, ["--benchmarks", "math_500"]),
    "benchmarks of jobs": ({"benchmarks": ["aime24"]}, True, ["--benchmarks", "aime24"]),
    "own benchmark": ({"eval_benchmarks": ["s.jsonl"], **ASKED}, True,
        ["--benchmarks", "s.jsonl", "--prompt_template", "{prompt}", "--num_samples", "2", "--system_prompt", "Go"]),
    "local test split": ({"dataset_name": ".", "dataset_solution_column": "gold"}, True,
        ["--data", ".", "--split", "test", "--solution_column", "gold"]),
    "generated test split": ({"dataset_name": "tasks/countdown"}, True, None),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "has_split", "words"), EVALUATIONS.values(), ids=EVALUATIONS)
def test_command_to_evaluate_asks_what_the_recipe_names(tmp_path, settings, has_split, words):
    of_data = {name: value for name, value in settings.items() if name.startswith("dataset_")}
    args = GRPOConfig(
        output_dir=str(tmp_path), use_cpu=True, report_to="none", **{k: settings[k] for k in settings.keys() - of_data}
    )
    command = evaluation_command(args, GRPOScriptArguments(**{"dataset_name": "x/y", **of_data}), has_split=has_split)
    if words is None:
        assert command is None
    else:
        said, asked = (build_parser().parse_args(flags) for flags in (shlex.split(command)[2:], words))
        names = {word.removeprefix("--") for word in words if word.startswith("--")}
        assert {name: getattr(said, name) for name in names} == {name: getattr(asked, name) for name in names}


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"save_strategy": "no"}, "no checkpoint"),
        ({"save_strategy": "steps", "save_steps": 1}, "{tmp_path}/out/checkpoint-1"),
    ],
)
def test_ctrl_c_says_what_is_kept(run, tmp_path, monkeypatch, capsys, settings, kept):
    class Interrupt(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 1:
                raise KeyboardInterrupt

    monkeypatch.setitem(CALLBACKS, "interrupt", Interrupt)
    with pytest.raises(SystemExit) as ended:
        run(sft.main, callbacks=["interrupt"], max_steps=3, **settings)
    assert ended.value.code == 130
    said = capsys.readouterr().err
    assert kept.format(tmp_path=tmp_path) in said.splitlines()[-1] and "Traceback" not in said
