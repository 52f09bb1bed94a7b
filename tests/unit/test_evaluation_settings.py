# SPDX-License-Identifier: Apache-2.0
"""Arguments of `run_benchmarks.py`: what is refused, names of models in results, samples and lengths of answers."""

import pytest

from open_r1.evaluation.benchmarks import SUPPORTED_BENCHMARKS
from open_r1.evaluation.jobs import safe_name
from open_r1.evaluation.settings import EvaluationArguments, label_of, parse


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("", "--model_id"),
        ("--model_id /", "--model_name"),
        ("--model_id m --judge_url h:1", "--judge_model"),
        ("--model_id m --backend vllm --url h:1", "--url"),
        ("--model_id m --backend transformers --serve_args=--x", "--serve_args"),
        ("--model_id m --serve_args=--port=1", "--port"),
        ("--model_id a b --model_name c", "--model_name"),
        ("--model_id m --temperature 0 --num_samples 2", "--temperature"),
        ("--model_id m --top_p 95", "top_p"),
        ("--model_id m --limit 0", "--limit"),
        ("--model_id m --num_samples 0", "--num_samples"),
    ],
)
def test_arguments_that_cannot_work_are_refused_by_name(flags, named):
    with pytest.raises(ValueError) as refused:
        parse(flags.split())
    assert named in str(refused.value)


@pytest.mark.parametrize("flags", ["--no_such_flag 1", "--limit few", "--backend ours", "--code_provider nowhere"])
def test_flags_that_are_unknown_end_the_command_with_status_2(flags, capsys):
    with pytest.raises(SystemExit) as refused:
        parse(["--model_id", "m", *flags.split()])
    assert refused.value.code == 2


def test_flags_take_dashes_lists_and_words_that_look_like_flags():
    words = [
        "--model-id",
        "a",
        "b",
        "--benchmarks",
        "aime24",
        "--benchmarks",
        "gpqa",
        "--trust_remote_code",
        "--seed",
        "0",
        "8",
    ]
    args = parse([*words, "--serve-args", "--max-num-seqs 8"])
    assert (args.model_id, args.benchmarks, args.trust_remote_code) == (["a", "b"], ["aime24", "gpqa"], True)
    assert (args.seed, args.serve_words) == ([0, 8], ["--max-num-seqs", "8"])


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("gpt2", "gpt2"),
        ("/data/models/my model/", "my_model"),
        ("/runs/a/checkpoint-20", "a/checkpoint-20"),
        ("../../etc", "etc"),
        ("./data/x/y", "y"),
    ],
)
def test_models_have_names_that_are_folders(model, label):
    assert label_of(model) == label


def test_revisions_are_one_folder_each(tmp_path):
    settings = EvaluationArguments(model_id=["a/b"], model_revision="feature/../x", output_dir=str(tmp_path))
    assert settings.folder("a/b") == tmp_path / "a" / "b" / "feature_.._x"
    settings.model_name = "/../me/c d"
    assert settings.folder("a/b") == tmp_path / "me" / "c_d" / "feature_.._x"


def test_folders_by_dots_are_called_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert (label_of("."), label_of(".."), label_of("../b")) == ("b", "a", "b")


@pytest.mark.parametrize(("context", "limit"), [(4096, None), (32768, None), (40960, 32768), (None, 32768)])
def test_answers_may_have_the_published_length_or_what_the_context_leaves(context, limit):
    assert EvaluationArguments(model_id=["m"]).sampling("stub", context).max_tokens == limit


def test_samples_are_the_benchmarks_and_seeds_of_several_runs_share_none():
    aime = SUPPORTED_BENCHMARKS["aime24"]
    assert EvaluationArguments(model_id=["m"], temperature=0.0).samples_of(aime) == 1
    assert EvaluationArguments(model_id=["m"], seed=[0, 64]).samples_of(aime) == 64
    with pytest.raises(ValueError, match="64 apart"):
        EvaluationArguments(model_id=["m"], seed=[0, 1]).samples_of(aime)


def test_names_of_jobs_hold_nothing_that_lists_and_logs_cannot():
    assert safe_name('or1_aime24_my "model"; rm -rf /') == "or1_aime24_my-model-rm--rf-"


def test_flags_of_columns_are_of_all_local_files(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "1+1", "gold": "2"}\n')
    shape = {"prompt_column": "question", "solution_column": "gold", "kind": "math"}
    local, aime = EvaluationArguments(model_id=["m"], benchmarks=[str(path), "aime24"], **shape).chosen()
    assert (local.prompt_column, local.solution_column, local.kind) == ("question", "gold", "math")
    assert aime.solution_column == "answer"
