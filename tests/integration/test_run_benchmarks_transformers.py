# SPDX-License-Identifier: Apache-2.0
"""`scripts/run_benchmarks.py --backend transformers` with a real tiny model: results, kills, a model that breaks."""

import functools
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from transformers import Qwen3ForCausalLM

import open_r1
from open_r1.evaluation.run import engine_of
from open_r1.evaluation.settings import EvaluationArguments
from scripts.run_benchmarks import main
from tests.integration.tiny import build_tiny

PACKAGE = Path(open_r1.__file__).parent
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "run_benchmarks.py"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    torch.set_num_threads(1)
    return build_tiny(tmp_path_factory.mktemp("tiny"))


def words_of(tiny, output, *flags):
    return [
        "--model_id",
        str(tiny.model),
        "--data",
        str(tiny.data / "test.jsonl"),
        "--backend",
        "transformers",
        "--output_dir",
        str(output),
        "--max_tokens",
        "64",
        "--num_samples",
        "3",
        *map(str, flags),
    ]


def folder_of(output):
    return output / "model" / "main" / "test"


def results_of(output):
    return json.loads((folder_of(output) / "results.json").read_text())


def answers_of(output):
    return pq.read_table(folder_of(output) / "answers.parquet", columns=["row", "index", "answer"]).to_pylist()


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """The folder of a run that nothing has disturbed."""
    output = tmp_path_factory.mktemp("finished")
    assert main(words_of(tiny, output)) == 0
    return output


def test_benchmark_reaches_its_table_through_few_files(finished, tiny, tmp_path):
    files: set[str] = set()  # of which functions are called; all modules are imported by now

    def note(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if event == "call" and frame.f_code.co_name != "<module>" and path.is_relative_to(PACKAGE):
            files.add(str(path.relative_to(PACKAGE)))

    sys.setprofile(note)
    try:
        assert main(words_of(tiny, tmp_path)) == 0
    finally:
        sys.setprofile(None)
    assert {"evaluation/run.py", "evaluation/judges.py", "generation/transformers_here.py"} <= files
    own = sorted(name for name in files if not name.startswith("rewards/verifier/"))
    assert len(own) <= 24, own


def test_results_tell_what_served_the_model(finished, tiny):
    results = results_of(finished)
    assert results["counts"]["returned"] == 18
    settings = results["settings"]
    (served_by,) = settings["served_by"]
    assert (served_by["engine"], served_by["dtype"], served_by["device"]) == ("transformers", "float32", "cpu")


def test_answers_of_one_problem_differ_and_the_same_run_gives_the_same(finished, tiny, tmp_path):
    assert len({row["answer"] for row in answers_of(finished)}) == 18
    assert main(words_of(tiny, tmp_path, "--max_concurrent", 5)) == 0
    assert answers_of(tmp_path) == answers_of(finished)


def test_a_model_that_breaks_ends_the_run_with_the_reason_and_it_goes_on_later(
    finished, tiny, tmp_path, monkeypatch, capsys
):
    forward, calls = Qwen3ForCausalLM.forward, iter(range(10**6))

    def forward_until_broken(self, *args, **settings):
        if next(calls) > 100:
            raise torch.AcceleratorError("device-side assert triggered")
        return forward(self, *args, **settings)

    functools.update_wrapper(forward_until_broken, forward)
    words = words_of(tiny, tmp_path, "--max_concurrent", 1, "--patience", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Qwen3ForCausalLM, "forward", forward_until_broken)
        assert main(words) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert "AcceleratorError: device-side assert" in message
    assert not (folder_of(tmp_path) / "results.json").exists()
    assert main(words) == 0
    assert answers_of(tmp_path) == answers_of(finished)


def test_other_settings_are_refused_before_a_model_loads(finished, tiny, capsys, monkeypatch):
    monkeypatch.setattr(Qwen3ForCausalLM, "from_pretrained", None)
    assert main(words_of(tiny, finished, "--temperature", 0.2)) == 1
    assert "temperature was 0.6 and is now 0.2" in capsys.readouterr().err


@pytest.fixture
def no_vllm(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VENV_SERVING", str(tmp_path))


def test_auto_is_vllm_where_there_is_one_and_else_transformers(no_vllm, tmp_path, caplog):
    caplog.set_level("INFO")
    assert engine_of(EvaluationArguments(model_id=["m"])) == "transformers"
    assert "transformers answers in this process" in caplog.text
    for settings in ({"backend": "vllm"}, {"serve_args": "--dtype half"}):
        with pytest.raises(FileNotFoundError, match="install_serving"):
            engine_of(EvaluationArguments(model_id=["m"], **settings))
    (tmp_path / "vllm").write_text("#!/bin/sh\n")
    (tmp_path / "vllm").chmod(0o755)
    assert engine_of(EvaluationArguments(model_id=["m"])) == "vllm"
    assert engine_of(EvaluationArguments(model_id=["m"], backend="transformers")) == "transformers"
