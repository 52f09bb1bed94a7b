# SPDX-License-Identifier: Apache-2.0
"""Chains of jobs: what is refused before anything is submitted, what each stage waits for, what a failure leaves.

The stages here are scripts of a user's own, which write down their calls; tests/slurm/test_chains.py has Slurm.
"""

import json
import os
from pathlib import Path

import pytest
import yaml

from open_r1.cluster.chains import stages_of_words
from scripts.submit import SCRIPTS, main

STAGE = """#!/usr/bin/env bash
# Takes what a script of slurm/ takes; the number of its job is that of its call.
record() { printf '%s\\0' "${0##*/}" "$@" >>"$CALLS"; printf '\\n' >>"$CALLS"; }
if [[ " $* " == *" bad "* ]]; then echo "there is no flag bad" >&2; exit 2; fi
for word in "$@"; do
    if [[ $word == --dry-run ]]; then echo "would run ${*: -1}"; exit 0; fi
done
record "$@"
number=$(wc -l <"$CALLS")
for word in "$@"; do
    if [[ $word == array ]]; then echo "Submitted batch job ${number}00 (tasks 0-3)"; fi
    if [[ $word == full ]]; then echo "sbatch: error: the queue is full" >&2; exit 1; fi
done
echo "Submitted batch job $number"
"""
SCANCEL = """#!/usr/bin/env bash
printf '%s\\0' scancel "$@" >>"$CALLS"; printf '\\n' >>"$CALLS"
exit "${SCANCEL_STATUS:-0}"
"""


@pytest.fixture
def bed(tmp_path, monkeypatch):
    """A folder with a space in its name, a stage script in it, and the calls so far."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    for name, text in {"stage.sh": STAGE, "scancel": SCANCEL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("CALLS", str(folder / "calls"))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def calls(bed: Path) -> list[list[str]]:
    path = bed / "calls"
    return [line.split("\0")[:-1] for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def run(capsys, *words: object) -> tuple[int, str, str]:
    try:
        status = main([str(word) for word in words])
    except SystemExit as stopped:
        status = stopped.code
    said = capsys.readouterr()
    return status, said.out, said.err


def write_chain(bed: Path, stages: object) -> Path:
    path = bed / "chain.yaml"
    path.write_text(yaml.safe_dump(stages) if not isinstance(stages, str) else stages)
    return path


def waits_for(*ids: str) -> str:
    return f"--sbatch=--dependency=afterok:{':'.join(ids)} --kill-on-invalid-dep=yes"


def test_each_stage_waits_for_the_one_before(bed, capsys):
    script = bed / "stage.sh"
    status, out, _ = run(capsys, "--stage", script, "a", "--stage", script, "b", "--stage", script, "c")
    assert status == 0
    assert out == "stage: 1\nstage-2: 2, after stage\nstage-3: 3, after stage-2\n"
    assert calls(bed) == [["stage.sh", "a"], ["stage.sh", waits_for("1"), "b"], ["stage.sh", waits_for("2"), "c"]]


def test_stage_waits_for_all_jobs_of_an_array_with_its_merge(bed, capsys):
    run(capsys, "--stage", bed / "stage.sh", "array", "--stage", bed / "stage.sh", "b")
    assert calls(bed)[1] == ["stage.sh", waits_for("100", "1"), "b"]


def test_words_reach_a_stage_as_they_are(bed, capsys):
    hostile = ["--args", '--chat_template_kwargs {"a": "b c"}', "it's", "", "$HOME; rm -rf x", "ä\nb", "--", "--nodes"]
    run(capsys, "--stage", bed / "stage.sh", *hostile)
    raw = (bed / "calls").read_text().removesuffix("\0\n").split("\0")
    assert raw == ["stage.sh", *hostile]


def test_nothing_is_submitted_when_a_later_stage_cannot_work(bed, capsys):
    status, out, err = run(capsys, "--stage", bed / "stage.sh", "a", "--stage", bed / "stage.sh", "bad")
    assert (status, out, calls(bed)) == (2, "", [])
    assert "stage stage-2 can't work:\n    there is no flag bad\nnothing was submitted" in err


def test_all_stages_that_cannot_work_are_named_at_once(bed, capsys):
    _, _, err = run(capsys, "--stage", bed / "stage.sh", "bad", "--stage", bed / "stage.sh", "bad")
    assert err.count("there is no flag bad") == 2


def test_dry_run_shows_each_stage_and_submits_nothing(bed, capsys):
    status, out, _ = run(capsys, "--dry-run", "--stage", bed / "stage.sh", "a", "--stage", bed / "stage.sh", "b c")
    assert (status, calls(bed)) == (0, [])
    assert "would run a\n" in out and "would run b c\n" in out
    assert "afterok:JOB_OF_stage --kill-on-invalid-dep=yes' 'b c'" in out


def test_failed_submission_cancels_the_jobs_before_it(bed, capsys):
    script = bed / "stage.sh"
    status, out, err = run(capsys, "--stage", script, "array", "--stage", script, "full", "--stage", script, "c")
    assert (status, out) == (1, "stage: 100 1\n")
    assert calls(bed)[-1] == ["scancel", "100", "1"] and len(calls(bed)) == 3
    assert "stage stage-2 was not taken:\n    sbatch: error: the queue is full" in err
    assert "cancelled what was submitted before: 100 1" in err


def test_array_without_its_merge_is_cancelled_too(bed, capsys):
    _, _, err = run(capsys, "--stage", bed / "stage.sh", "array", "full")
    assert "cancelled what was submitted before: 100" in err


def test_jobs_that_cannot_be_cancelled_are_named(bed, capsys, monkeypatch):
    monkeypatch.setenv("SCANCEL_STATUS", "1")
    status, _, err = run(capsys, "--stage", bed / "stage.sh", "a", "--stage", bed / "stage.sh", "full")
    assert status == 1 and "these jobs are queued: 1; scancel could not cancel them" in err


def test_file_says_what_waits_for_what(bed, capsys):
    script = str(bed / "stage.sh")
    stages = [
        {"script": script, "name": "sft", "args": ["--nodes", 2, "--lr", 1e-5, "--flag", True]},
        {"script": script, "name": "base", "after": [], "args": ["b c"]},
        {"script": script, "name": "both", "after": ["sft", "base"]},
    ]
    status, _, _ = run(capsys, write_chain(bed, {"stages": stages}))
    assert status == 0
    assert calls(bed) == [
        ["stage.sh", "--nodes", "2", "--lr", "1e-05", "--flag", "true"],
        ["stage.sh", "b c"],
        ["stage.sh", waits_for("1", "2")],
    ]


def test_stages_of_a_file_that_says_no_more_run_one_after_the_other(bed, capsys):
    script = str(bed / "stage.sh")
    names = ("first", "second", "third")
    run(capsys, write_chain(bed, {"stages": [{"script": script, "name": name} for name in names]}))
    assert calls(bed) == [["stage.sh"], ["stage.sh", waits_for("1")], ["stage.sh", waits_for("2")]]


@pytest.mark.parametrize("flag", ["--dry-run", "--dry_run"])
@pytest.mark.parametrize("place", [3, 5])
def test_dry_run_of_one_stage_is_one_of_the_chain(bed, capsys, flag, place):
    words = ["--stage", bed / "stage.sh", "a", "--stage", bed / "stage.sh", "b"]
    status, out, _ = run(capsys, *words[:place], flag, *words[place:])
    assert status == 0 and calls(bed) == []
    assert out.count("# stage ") == 2


def test_flag_without_its_value_does_not_take_the_dry_run_for_it(bed, capsys):
    run(capsys, "--dry-run", "--stage", bed / "stage.sh", "--args")
    assert calls(bed) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--sbatch=--dependency=afterok:99"],
        ["--sbatch", "--time=1 --dependency afterok:99"],
        ["--sbatch=-d afterok:99"],
        ["--sbatch=-dsingleton"],
        ["--sbatch=--hold", "--sbatch=--dep=singleton"],
    ],
)
def test_stage_that_would_lose_its_place_in_the_chain_is_refused(bed, capsys, words):
    script = bed / "stage.sh"
    status, _, err = run(capsys, "--stage", script, *words, "--stage", script, *words)
    assert (status, calls(bed)) == (2, [])
    assert "stage stage-2 waits for stage, and sbatch takes one --dependency: leave out -" in err
    stages = [{"script": str(script), "name": name, "args": words} for name in ("first", "second")]
    assert "stage second waits for first" in run(capsys, write_chain(bed, {"stages": stages}))[2]


def test_stage_that_waits_for_no_other_may_wait_for_a_job(bed, capsys):
    script = bed / "stage.sh"
    words = ["--sbatch=--dependency=afterok:99", "--", "--sbatch=-d x"]
    status, _, _ = run(capsys, "--stage", script, *words, "--stage", script, "--", *words)
    assert (status, calls(bed)) == (0, [["stage.sh", *words], ["stage.sh", waits_for("1"), "--", *words]])


@pytest.mark.parametrize(
    ("stages", "complaint"),
    [
        ({"stages": []}, "at least one stage"),
        ({"stages": [], "more": 1}, "must have one key, stages"),
        ("- a\n- b\n", "mapping"),
        ("stages: [", "not valid YAML"),
        ({"stages": ["train"]}, "a stage has script"),
        ({"stages": [{"script": "SCRIPT", "arg": []}]}, "a stage has script and perhaps after, args, name"),
        ({"stages": [{"script": "SCRIPT", "args": "--a b"}]}, "must be a list of words"),
        ({"stages": [{"script": "SCRIPT", "args": [None]}]}, "None is no word: put it in quotes"),
        ({"stages": [{"script": "SCRIPT", "args": [{"a": 1}]}]}, "is no word: put it in quotes"),
        ({"stages": [{"script": "SCRIPT"}, {"script": "SCRIPT"}]}, "an earlier stage is called 'stage' too"),
        ({"stages": [{"script": "SCRIPT", "after": ["later"]}]}, "after has later; the stages above are -"),
        ({"stages": [{"script": "SCRIPT", "name": "own", "after": ["own"]}]}, "after has own"),
        ({"stages": [{"script": "trian"}]}, "'trian' is no script to submit: give a path, or one of"),
    ],
)
def test_file_that_cannot_be_is_refused(bed, capsys, stages, complaint):
    text = stages if isinstance(stages, str) else json.dumps(stages).replace("SCRIPT", str(bed / "stage.sh"))
    status, out, err = run(capsys, write_chain(bed, text))
    assert (status, out, calls(bed)) == (2, "", [])
    assert complaint in err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "give either a FILE with stages or --stage"),
        (["chain.yaml", "--stage", "train"], "give either a FILE with stages or --stage"),
        (["--stage"], "--stage needs the name of a script"),
        (["--stage", "train", "--stage"], "--stage needs the name of a script"),
        (["missing.yaml"], "Cannot read"),
        (["--dryrun", "--stage", "train"], "did you mean --dry-run instead of --dryrun?"),
    ],
)
def test_command_line_that_cannot_be_is_refused(capsys, words, complaint):
    status, _, err = run(capsys, *words)
    assert status == 2 and complaint in err


def test_names_of_scripts_are_those_in_slurm():
    (stage,) = stages_of_words(["--stage", "train", "--model", "m"], SCRIPTS)
    assert stage.script.parts[-2:] == ("slurm", "train.slurm") and stage.words == ("--model", "m")
