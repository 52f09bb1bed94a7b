# SPDX-License-Identifier: Apache-2.0
"""The table of benchmarks and its names, names of models in results."""

import pytest

from open_r1.data.benchmarks import SUPPORTED_BENCHMARKS, find_benchmarks
from open_r1.evaluation.flags import build_parser
from open_r1.evaluation.jobs import safe_name
from open_r1.evaluation.settings import EvaluationSettings, label_of
from open_r1.generation.messages import Sampling
from scripts.run_benchmarks import chosen_benchmarks

NAMES = ["math_500", "aime24", "aime25", "gpqa", "lcb", "lcb_v4"]


def test_the_names_that_users_know_are_in_the_table():
    assert list(SUPPORTED_BENCHMARKS) == NAMES


def test_samples_are_those_of_the_published_tables():
    assert [SUPPORTED_BENCHMARKS[name].num_samples for name in NAMES] == [4, 64, 64, 8, 16, 16]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["aime24"], ["aime24"]),
        (["lighteval|aime24|0|0", "lighteval|math_500|0"], ["aime24", "math_500"]),
        (["all"], NAMES),
        (["lighteval|gpqa:diamond|0|0", "extended|lcb:codegeneration_v4|0|0"], ["gpqa", "lcb_v4"]),
        (["gpqa:diamond|0", "aime24|0"], ["gpqa", "aime24"]),
        (["aime24,gpqa, math_500"], ["aime24", "gpqa", "math_500"]),
        ([], []),
    ],
)
def test_benchmarks_are_found(names, found):
    assert [benchmark.name for benchmark in find_benchmarks(names)] == found


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["aime"], "Unknown benchmark 'aime'"),
        (["math500"], "Unknown benchmark 'math500'. Did you mean math_500[?] Known"),
        (["aime24,"], "Unknown benchmark ''"),
        ([""], "Unknown benchmark ''"),
        (["all", "aime24"], "Unknown benchmark 'all'"),
        (["aime24", "lighteval|aime24|0|0"], r"\['aime24'\] are named twice"),
        (["lighteval|aime24|5|0"], "'lighteval.aime24.5.0' asks for '5' solved examples in the prompt"),
        (["gpqa:diamond|3"], "asks for '3' solved examples"),
        (["aime24|"], "asks for '' solved examples"),
        (["lcb", "extended|lcb:codegeneration|0|0"], r"\['lcb'\] are named twice"),
        (["data/no such.jsonl"], "There is no file 'data/no such.jsonl'"),
        (["$(touch x)"], "Unknown benchmark"),
    ],
)
def test_names_that_cannot_be_run_are_refused(names, said):
    with pytest.raises(ValueError, match=said):
        find_benchmarks(names)


def test_a_local_file_is_a_benchmark_by_its_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my rows.v2.jsonl").write_text("{}")
    (benchmark,) = find_benchmarks(["my rows.v2.jsonl"])
    assert (benchmark.name, benchmark.dataset) == ("my_rows.v2", str(tmp_path / "my rows.v2.jsonl"))
    (tmp_path / "a,b.jsonl").write_text("{}")
    assert [benchmark.name for benchmark in find_benchmarks(["a,b.jsonl"])] == ["a_b"]


def test_two_files_of_one_name_are_refused_with_a_way_out(tmp_path):
    paths = [tmp_path / folder / "rows.jsonl" for folder in "ab"]
    for path in paths:
        path.parent.mkdir()
        path.write_text("{}")
    with pytest.raises(ValueError, match="named twice"):
        find_benchmarks([str(path) for path in paths])


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
    settings = EvaluationSettings("a/b", revision="feature/../x", output_dir=tmp_path)
    assert settings.folder("a/b") == tmp_path / "a" / "b" / "feature_.._x"


@pytest.mark.parametrize("revision", ["", " ", ".", "..", "-r"])
def test_revisions_that_name_no_folder_are_refused(revision):
    with pytest.raises(ValueError, match="no branch, tag or commit"):
        EvaluationSettings("a/b", revision=revision)


def test_folders_by_dots_are_called_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert (label_of("."), label_of(".."), label_of("../b")) == ("b", "a", "b")


@pytest.mark.parametrize("model", ["/", ""])
def test_a_model_without_a_name_is_refused(model):
    with pytest.raises(ValueError, match="has no name"):
        EvaluationSettings(model)


@pytest.mark.parametrize("name", ["", "/etc", "a/../b", "..", "a b", ".hidden", "a//b"])
def test_names_in_results_stay_in_their_folder(name):
    with pytest.raises(ValueError, match="model_name is"):
        EvaluationSettings("m", model_name=name)


@pytest.mark.parametrize(("context", "limit"), [(4096, None), (32768, None), (40960, 32768), (None, 32768)])
def test_answers_may_have_the_published_length_or_what_the_context_leaves(context, limit):
    assert EvaluationSettings("m").sampling_by("stub", context).max_tokens == limit


def test_one_sample_is_enough_without_temperature():
    settings = EvaluationSettings("m", sampling=Sampling(temperature=0.0))
    assert settings.samples_of(SUPPORTED_BENCHMARKS["aime24"]) == 1


def test_arguments_of_servers_that_run_already_are_a_record():
    words = ["--model-impl", "vllm", "--port", "1", "--revision", "v1"]
    assert EvaluationSettings("m", servers=["h:1"], serve_args=words).serve_args == words
    assert EvaluationSettings("m", serve_args=words[:2]).serve_args == words[:2]
    with pytest.raises(ValueError, match="--port is not for"):
        EvaluationSettings("m", serve_args=words)


def test_names_of_jobs_hold_nothing_that_lists_and_logs_cannot():
    assert safe_name('or1_aime24_my "model"; rm -rf /') == "or1_aime24_my-model-rm--rf-"


def test_flags_of_columns_are_of_all_local_files(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "1+1", "gold": "2"}\n')
    words = ["--benchmarks", str(path), "aime24", "--prompt_column", "question", "--solution_column", "gold"]
    local, aime = chosen_benchmarks(build_parser("").parse_args([*words, "--kind", "math"]))
    assert (local.prompt_column, local.solution_column, local.kind) == ("question", "gold", "math")
    assert aime.solution_column == "answer"


def test_a_kind_without_a_local_file_is_refused():
    with pytest.raises(ValueError, match="local files"):
        chosen_benchmarks(build_parser("").parse_args(["--benchmarks", "aime24", "--kind", "code"]))
