# SPDX-License-Identifier: Apache-2.0
"""generate.py's command line, its journal, and what counts as an answer; distilabel itself is not run."""

import inspect
import json
from pathlib import Path

import pytest

from open_r1.data.card import DataCard, Parent, Step
from open_r1.data.folder import DatasetFolder
from open_r1.generate import build_distilabel_pipeline
from open_r1.generation.distil_arguments import deciding_settings, parse_args, pipeline_settings
from open_r1.generation.distil_shards import close_journal, has_failures, is_lasting, longest_silence_s, open_journal
from open_r1.generation.journal import JournalError
from open_r1.generation.outputs import JOURNAL_NAME

NEEDED = ["--hf-dataset", "owner/data", "--model", "m"]
# Upstream's flags and defaults; its --timeout is 600 here and 900 in its function.
UPSTREAM = {"hf_dataset_config": None, "hf_dataset_split": "train", "prompt_column": "prompt",
            "prompt_template": "{{ instruction }}", "vllm_server_url": "http://localhost:8000/v1", "temperature": None,
            "top_p": None, "max_new_tokens": 8192, "num_generations": 1, "input_batch_size": 64, "client_replicas": 1,
            "timeout": 900, "retries": 0, "hf_output_dataset": None, "private": False}  # fmt: skip


def test_upstreams_flags_have_its_defaults():
    args = vars(parse_args(NEEDED, ""))
    assert {name: args[name] for name in UPSTREAM} == UPSTREAM


def test_upstreams_function_has_its_signature():
    parameters = inspect.signature(build_distilabel_pipeline).parameters.values()
    ordered = [(entry.name, entry.default) for entry in parameters if entry.kind is not entry.KEYWORD_ONLY]
    assert ordered == [
        ("model", inspect.Parameter.empty),
        ("base_url", "http://localhost:8000/v1"),
        ("prompt_column", None),
        ("prompt_template", "{{ instruction }}"),
        ("temperature", None),
        ("top_p", None),
        ("max_new_tokens", 8192),
        ("num_generations", 1),
        ("input_batch_size", 64),
        ("client_replicas", 1),
        ("timeout", 900),
        ("retries", 0),
    ]


def test_every_setting_of_the_pipeline_is_one_of_the_function():
    settings = pipeline_settings(parse_args(NEEDED, ""), "http://h/v1", "m")
    assert set(settings) <= set(inspect.signature(build_distilabel_pipeline).parameters)


def test_batches_of_rows_are_batches_of_generations_for_distilabel():
    args = parse_args([*NEEDED, "--num-generations", "3", "--input-batch-size", "10", "--client-replicas", "2"], "")
    settings = pipeline_settings(args, "http://h/v1", "m")
    assert (settings["input_batch_size"], settings["num_generations"], args.shard_size) == (30, 1, 4 * 10 * 2 * 3)


@pytest.mark.parametrize(
    ("dataset", "folder"),
    [
        ("AI-MO/NuminaMath-TIR", "data/NuminaMath-TIR_generated"),
        ("rows.jsonl", "data/rows_generated"),
        ("/some/folder/", "data/folder_generated"),
        ("tasks/countdown", "data/countdown_generated"),
    ],
)
def test_output_folder_is_named_after_the_data(dataset, folder):
    assert parse_args(["--hf-dataset", dataset, "--model", "m"], "").output_dir == Path(folder)


REFUSED = {
    "no model": (["--hf-dataset", "d"], "--model"),
    "unknown flag": ([*NEEDED, "--revision", "v1"], "--revision"),
    "abbreviated flag": ([*NEEDED, "--temp", "1"], "--temp"),
    "template without prompt": ([*NEEDED, "--prompt-template", "Solve it"], "must show {{ instruction }}"),
    "template of format": ([*NEEDED, "--prompt-template", "Solve {instruction}"], "must show {{ instruction }}"),
    "broken template": ([*NEEDED, "--prompt-template", "{{ instruction"], "no Jinja template"),
    "template over a column": ([*NEEDED, "--prompt-template", "{{ instruction }} {{ hint }}"], "'hint' is undefined"),
    "hot": ([*NEEDED, "--temperature", "3"], "temperature is 3.0; allowed is 0 to 2"),
    "no nucleus": ([*NEEDED, "--top-p", "0"], "top_p is 0.0"),
    "no tokens": ([*NEEDED, "--max-new-tokens", "0"], "max_tokens is 0"),
    "no generations": ([*NEEDED, "--num-generations", "0"], "--num-generations must be at least 1, got 0"),
    "no time": ([*NEEDED, "--timeout", "0"], "--timeout must be at least 1"),
    "negative retries": ([*NEEDED, "--retries", "-1"], "--retries"),
    "arguments of no server": ([*NEEDED, "--serve-args=--seed 1"], "--serve-args is for --serve"),
    "public and private": ([*NEEDED, "--public", "--private"], "not allowed with"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_command_line_is_refused(case, capsys):
    command, said = REFUSED[case]
    with pytest.raises(SystemExit) as exit:
        parse_args(command, "")
    assert exit.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"finish_reason": "stop"}, True),
        ({"finish_reason": "length"}, True),
        ({"finish_reason": "error", "is_final": True}, True),
        ({"finish_reason": "error", "is_final": False}, False),
        ({"finish_reason": "error"}, False),
    ],
)
def test_only_failures_that_may_pass_are_asked_again(record, expected):
    assert is_lasting(record) is expected


def test_silence_allows_for_every_retry_and_for_waiting_connections():
    once = longest_silence_s(timeout=900, retries=0, input_batch_size=64, num_generations=1)
    assert once > 900
    assert longest_silence_s(900, 2, 64, 1) > once + 2 * 900
    assert longest_silence_s(900, 0, 500, 4) >= once + 900


RECORD = {"key": "a", "index": 0, "text": "t", "finish_reason": "stop"}


def folder_of(path, *, overwrite=False, parents=(), **settings):
    settings = deciding_settings(parse_args(NEEDED, "")) | settings
    return DatasetFolder(path, DataCard("name", settings, [*parents]), overwrite=overwrite)


def test_journal_goes_on_with_the_same_settings(tmp_path):
    with open_journal(folder_of(tmp_path), retry_errors=False) as journal:
        journal.append(RECORD)
    with open_journal(folder_of(tmp_path), retry_errors=False) as journal:
        assert ("a", 0) in journal.finished


def test_journal_of_other_settings_is_refused(tmp_path):
    with open_journal(folder_of(tmp_path), retry_errors=False) as journal:
        journal.append(RECORD)
    with pytest.raises(JournalError, match=r"temperature was None and is now 0\.5"):
        open_journal(folder_of(tmp_path, temperature=0.5), retry_errors=False)


def test_overwriting_begins_anew_once_and_then_goes_on(tmp_path):
    with open_journal(folder_of(tmp_path), retry_errors=False) as journal:
        journal.append(RECORD)
    with open_journal(folder_of(tmp_path, overwrite=True, temperature=0.5), retry_errors=False) as journal:
        assert len(journal.finished) == 0
        journal.append(RECORD)
    with open_journal(folder_of(tmp_path, overwrite=True, temperature=0.5), retry_errors=False) as journal:
        assert ("a", 0) in journal.finished


@pytest.mark.parametrize("has_failures", [True, False])
def test_overwriting_a_finished_output_does_not_take_its_journal(tmp_path, has_failures):
    with open_journal(folder_of(tmp_path), retry_errors=False) as journal:
        journal.append(RECORD)
        close_journal(journal, has_failures=has_failures)
    with open_journal(folder_of(tmp_path, overwrite=True), retry_errors=False) as journal:
        assert len(journal.finished) == 0


def test_retrying_takes_up_the_journal_of_a_finished_output(tmp_path):
    with open_journal(folder_of(tmp_path), retry_errors=False) as journal:
        journal.append(RECORD)
        close_journal(journal, has_failures=True)
    with open_journal(folder_of(tmp_path), retry_errors=True) as journal:
        assert ("a", 0) in journal.finished
        close_journal(journal, has_failures=False)
    assert list(tmp_path.iterdir()) == []


def test_retrying_takes_it_up_from_behind_a_journal_without_a_generation(tmp_path):
    with open_journal(folder_of(tmp_path), retry_errors=False) as journal:
        journal.append(RECORD)
        close_journal(journal, has_failures=True)
    open_journal(folder_of(tmp_path, overwrite=True, temperature=0.5), retry_errors=False).close()
    with open_journal(folder_of(tmp_path), retry_errors=True) as journal:
        assert ("a", 0) in journal.finished


def test_failures_cannot_be_retried_without_the_journal(tmp_path):
    with folder_of(tmp_path) as folder:
        folder.write([{"a": 1}])
        folder.card.steps.append(Step("generate", 1, 1, {"errors": 1}))
    open_journal(folder_of(tmp_path), retry_errors=False).close()
    with pytest.raises(ValueError, match="is gone: all would be asked for again"):
        has_failures(folder_of(tmp_path))


def test_a_finished_output_without_failures_leaves_no_journal_of_before(tmp_path):
    with open_journal(folder_of(tmp_path), retry_errors=False) as journal:
        journal.append(RECORD)
        close_journal(journal, has_failures=True)
    with open_journal(folder_of(tmp_path, temperature=0.5), retry_errors=False) as journal:
        close_journal(journal, has_failures=False)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_is_of_the_rows_however_their_place_is_spelled_and_licensed(tmp_path):
    for parent in (Parent("a.jsonl", fingerprint="f"), Parent("./a.jsonl", fingerprint="f", licence="mit")):
        with open_journal(folder_of(tmp_path, parents=[parent]), retry_errors=False) as journal:
            assert (("a", 0) in journal.finished) == (parent.licence == "mit")
            if parent.licence is None:
                journal.append(RECORD)


def test_retrying_asks_again_for_failures_of_every_kind(tmp_path):
    failed = RECORD | {"text": None, "finish_reason": "error", "is_final": True}
    with open_journal(folder_of(tmp_path), retry_errors=False) as journal:
        journal.append(failed)
    with open_journal(folder_of(tmp_path), retry_errors=False) as journal:
        assert ("a", 0) in journal.finished
    with open_journal(folder_of(tmp_path), retry_errors=True) as journal:
        assert ("a", 0) not in journal.finished


def test_file_that_is_no_journal_is_not_removed(tmp_path):
    (tmp_path / JOURNAL_NAME).write_text(json.dumps({"problem": "mine"}) + "\n")
    with pytest.raises(JournalError):
        open_journal(folder_of(tmp_path, overwrite=True), retry_errors=False)
    assert (tmp_path / JOURNAL_NAME).exists()


def test_generate_takes_underscores_too():
    words = ["--hf_dataset", "a_b.jsonl", "--model", "m", "--prompt_column=my_column", "--max_new_tokens", "8"]
    args = parse_args(words, "")
    assert (args.hf_dataset, args.prompt_column, args.max_new_tokens) == ("a_b.jsonl", "my_column", 8)
