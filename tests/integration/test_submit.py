# SPDX-License-Identifier: Apache-2.0
"""Chains of jobs: what is refused before anything is submitted, what each stage waits for, what a failure leaves.

The stages here are scripts of a user's own, which write down their calls; tests/slurm/test_chains.py has Slurm.
"""

import os
from pathlib import Path

import pytest

from scripts.submit import find_script, main
from tests.conftest import ROOT

STAGE = """#!/usr/bin/env bash
# Takes what a script of slurm/ takes; the number of its job is that of its call.
if [[ " $* " == *" bad "* ]]; then echo "there is no flag bad" >&2; exit 2; fi
if [[ ${1:-} == --dry-run ]]; then echo "would run ${*: -1}"; exit 0; fi
printf '%s\\0' "${0##*/}" "$@" >>"$CALLS"; printf '\\n' >>"$CALLS"
number=$(wc -l <"$CALLS")
for word in "$@"; do
    if [[ $word == array ]]; then echo "Submitted batch job ${number}00"; fi
    if [[ $word == full ]]; then echo "sbatch: error: the queue is full" >&2; exit 1; fi
done
echo "Submitted batch job $number"
"""
SCANCEL = """#!/usr/bin/env bash
printf '%s\\0' scancel "$@" >>"$CALLS"; printf '\\n' >>"$CALLS"
"""


@pytest.fixture
def script(tmp_path, monkeypatch) -> Path:
    """A stage, in a folder with a space in its name."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    for name, text in {"stage.sh": STAGE, "scancel": SCANCEL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("CALLS", str(folder / "calls"))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "stage.sh"


def calls(script: Path) -> list[list[str]]:
    path = script.parent / "calls"
    return [line.split("\0")[:-1] for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def run(*words: object):
    try:
        return main([str(word) for word in words])
    except SystemExit as stopped:
        return stopped.code


def waits_for(*ids: str) -> str:
    return f"--sbatch=--dependency=afterok:{':'.join(ids)} --kill-on-invalid-dep=yes"


def test_each_stage_waits_for_the_one_before(script, capsys):
    assert run("--stage", script, "a", "--stage", script, "b", "--stage", script, "c") == 0
    assert capsys.readouterr().out == "stage: 1\nstage: 2\nstage: 3\n"
    assert calls(script) == [["stage.sh", "a"], ["stage.sh", waits_for("1"), "b"], ["stage.sh", waits_for("2"), "c"]]


def test_stage_waits_for_all_jobs_of_an_array_with_its_merge(script):
    assert run("--stage", script, "array", "--stage", script, "b") == 0
    assert calls(script)[1] == ["stage.sh", waits_for("100", "1"), "b"]


def test_words_reach_a_stage_as_they_are(script):
    hostile = ["--args", '--chat_template_kwargs {"a": "b c"}', "it's", "", "$HOME; rm -rf x", "ä\nb", "--", "--nodes"]
    run("--stage", script, *hostile)
    raw = (script.parent / "calls").read_text().removesuffix("\0\n").split("\0")
    assert raw == ["stage.sh", *hostile]


def test_nothing_is_submitted_when_a_later_stage_cannot_work(script, capsys):
    assert run("--stage", script, "a", "--stage", script, "bad") == 2
    assert calls(script) == [] and "there is no flag bad" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--dry-run", "--dry_run"])
@pytest.mark.parametrize("place", [0, 3, 6])
def test_dry_run_anywhere_shows_each_stage_and_submits_nothing(script, capsys, flag, place):
    words = ["--stage", script, "a", "--stage", script, "b c"]
    assert run(*words[:place], flag, *words[place:]) == 0
    out = capsys.readouterr().out
    assert calls(script) == [] and "would run a\n" in out and "would run b c\n" in out


def test_failed_submission_cancels_the_jobs_before_it(script, capsys):
    assert run("--stage", script, "array", "--stage", script, "full", "--stage", script, "c") == 1
    assert calls(script)[-1] == ["scancel", "100", "1"] and len(calls(script)) == 3
    out, err = capsys.readouterr()
    assert out == "stage: 100 1\n" and "the queue is full" in err


@pytest.mark.parametrize("words", [[], ["chain.yaml"], ["--stage"], ["--stage", "train", "--stage"], ["train"]])
def test_command_line_without_stages_is_refused(capsys, words):
    assert run(*words) == 2
    assert capsys.readouterr().out == ""


def test_names_of_scripts_are_those_in_slurm():
    assert find_script("train") == str(ROOT / "slurm" / "train.slurm")
