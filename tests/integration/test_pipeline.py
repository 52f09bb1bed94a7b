# SPDX-License-Identifier: Apache-2.0
"""Pipelines as users run them: what is skipped, refused, resumed, submitted; and the demo's, shortened."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from open_r1.data.manifest import missing_from
from tests.conftest import ROOT
from tests.waiting import wait_until

# A stage that reads files and writes a folder; each call is a line of the file `calls`.
STEP = """import argparse, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("--output_dir", type=pathlib.Path)
parser.add_argument("--input", nargs="*", default=[])
parser.add_argument("--status", type=int, default=0)
parser.add_argument("--seconds", type=float, default=0)
args, _ = parser.parse_known_args()
with open("calls", "a") as calls:
    calls.write(f"{args.output_dir.name}\\n")
time.sleep(args.seconds)
texts = [(path / "text" if path.is_dir() else path).read_text() for path in map(pathlib.Path, args.input)]
args.output_dir.mkdir(parents=True, exist_ok=True)
(args.output_dir / "text").write_text("".join(texts) + args.output_dir.name)
sys.exit(args.status)
"""
SBATCH = """#!/usr/bin/env bash
printf '%s\\n' "$*" >>jobs
if [[ " $* " == *" refused "* ]]; then echo "the queue is full" >&2; exit 1; fi
wc -l <jobs
"""
SQUEUE = """#!/usr/bin/env bash
if [[ -e empty_queue ]]; then exit 1; fi
echo PENDING
"""


def stage(name: str, words: str = "", **keys: object) -> dict:
    run = f"python step.py --output_dir data/{name} {words}"
    return {"name": name, "does": f"make {name}", "run": run, **keys}


def chain() -> list[dict]:
    return [
        stage("one", "--input data/rows.txt"),
        stage("two", "--input data/one --config recipes/two.yaml"),
        stage("three", "--input data/two"),
        stage("aside", "--input data/one", only_named=True),
    ]


@pytest.fixture
def bed(tmp_path, monkeypatch):
    """A folder with a pipeline of cheap stages, and stand-ins for Slurm."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"step.py": STEP, "data/rows.txt": "rows", "recipes/two.yaml": "rate: 1\n"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE}.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    write_stages(chain())
    return tmp_path


def write_stages(stages: list[dict]) -> None:
    Path("pipeline.yaml").write_text(yaml.safe_dump({"output_dir": "data", "stages": stages}))


def command(*words: str, config: str = "pipeline.yaml") -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / "run_pipeline.py"), "--config", config, *words]


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(*words), capture_output=True, text=True, check=False, timeout=60)


def calls(name: str = "calls") -> list[str]:
    return Path(name).read_text().splitlines() if Path(name).exists() else []


def test_finished_stages_are_skipped(bed):
    assert run().returncode == 0
    assert calls() == ["one", "two", "three"]
    assert (bed / "data/three/text").read_text() == "rowsonetwothree"
    assert run().returncode == 0
    assert calls() == ["one", "two", "three"]


def test_time_of_an_input_doesnt_matter_and_its_content_does(bed):
    run()
    os.utime("data/rows.txt", (0, 0))
    assert run().returncode == 0
    Path("data/rows.txt").write_text("others")
    refused = run()
    assert refused.returncode == 1
    assert "one" in refused.stderr and "data/rows.txt" in refused.stderr
    assert calls() == ["one", "two", "three"]


def test_changed_recipe_is_named_and_redo_keeps_what_it_replaces(bed):
    run()
    Path("recipes/two.yaml").write_text("# a comment\nrate: 1\n")
    assert run().returncode == 0
    Path("recipes/two.yaml").write_text("rate: 2\n")
    for words in ((), ("--from", "three"), ("--stage", "three"), ("--dry_run",)):
        refused = run(*words)
        assert refused.returncode == 1
        assert "two" in refused.stderr and "`rate`" in refused.stderr
    assert run("--until", "one").returncode == 0
    assert run("--redo", "two").returncode == 0
    assert calls() == ["one", "two", "three", "two", "three"]
    assert (bed / "data/two.before-1").is_dir() and (bed / "data/three.before-1").is_dir()


def test_accepted_change_runs_nothing(bed):
    run()
    Path("recipes/two.yaml").write_text("rate: 2\n")
    assert run("--accept", "two").returncode == 0
    assert calls() == ["one", "two", "three"]


def test_override_counts_as_a_change(bed):
    run()
    refused = run("--override", "three:seconds=0")
    assert refused.returncode == 1
    assert "three" in refused.stderr
    assert run("--override", "four:seconds=0").returncode == 1


def test_missing_input_is_named_before_anything_runs(bed):
    write_stages([*chain(), stage("four", "--input data/three assets/nowhere.jsonl")])
    refused = run()
    assert refused.returncode == 1
    assert "four" in refused.stderr and "assets/nowhere.jsonl" in refused.stderr
    assert calls() == []


@pytest.mark.parametrize("words", ["", "--config recipes/nowhere.yaml"])
def test_training_without_recipe_is_named_before_anything_runs(bed, words):
    train = {"name": "train", "does": "train", "run": f"python src/open_r1/sft.py --output_dir data/model {words}"}
    write_stages([*chain(), train])
    refused = run()
    assert refused.returncode == 1
    assert "train" in refused.stderr
    assert calls() == []


def test_stage_that_reads_a_later_one_is_refused(bed):
    write_stages(list(reversed(chain())))
    assert run().returncode == 1
    assert calls() == []


def test_from_needs_what_comes_before(bed):
    refused = run("--from", "two")
    assert refused.returncode == 1
    assert "stage one" in refused.stderr
    assert run("--until", "one").returncode == 0
    assert run("--from", "two").returncode == 0
    assert calls() == ["one", "two", "three"]


def test_stage_that_only_runs_when_named(bed):
    assert run("--stage", "one", "aside").returncode == 0
    assert calls() == ["one", "aside"]


def test_failed_stage_ends_the_pipeline_and_is_run_again(bed):
    write_stages([stage("one", "--input data/rows.txt"), stage("two", "--input data/one --status 3"), stage("three")])
    failed = run()
    assert failed.returncode == 1
    assert "two" in failed.stderr and "3" in failed.stderr
    assert calls() == ["one", "two"]
    run()
    assert calls() == ["one", "two", "two"]


def test_training_that_left_no_whole_model_is_unfinished(bed):
    Path("sft.py").write_text(STEP)
    write_stages([{"name": "a", "does": "a", "run": "python sft.py --config recipes/two.yaml --output_dir data/a"}])
    assert run().returncode == 1
    assert calls() == ["a"]


def test_server_that_ends_ends_its_stage(bed):
    server = f"{sys.executable} -c 'raise SystemExit(1)' --port 1"
    write_stages([stage("one", server=server)])
    failed = run()
    assert failed.returncode == 1
    assert "one.server.log" in failed.stderr
    assert calls() == []


def test_a_second_pipeline_in_the_folder_is_refused_also_beside_a_stage_left_behind(bed):
    write_stages([stage("one", "--seconds 60")])
    with subprocess.Popen(command()) as first:
        wait_until(lambda: calls() == ["one"])
        assert run().returncode == 1
        first.kill()
    wait_until(lambda: "works in" not in run("--until", "one", "--override", "one:seconds=0").stderr)
    assert calls()[:2] == ["one", "one"]  # the first was ended with its pipeline


def test_jobs_wait_for_those_whose_output_they_read(bed):
    write_stages([*chain(), stage("four", "--input data/one data/three", slurm="slurm/x.slurm --given {args}")])
    assert run("--slurm").returncode == 0
    assert calls() == []
    jobs = calls("jobs")
    assert [re.findall(r"--job-name=(\w+)", job) for job in jobs] == [["one"], ["two"], ["three"], ["four"]]
    assert [re.findall(r"--dependency=(\S+)", job) for job in jobs] == [
        [],
        ["afterok:1"],
        ["afterok:2"],
        ["afterok:1:3"],
    ]
    assert jobs[3].endswith("slurm/x.slurm --given --output_dir data/four --input data/one data/three")
    assert "python step.py --output_dir data/one --input data/rows.txt" in jobs[0]


def test_queued_jobs_are_not_submitted_again_and_finished_ones_are_skipped(bed):
    run("--slurm")
    assert run("--slurm").returncode == 0
    assert len(calls("jobs")) == 3
    assert run().returncode == 1  # not beside the queue
    Path("empty_queue").touch()
    subprocess.run([sys.executable, "step.py", "--output_dir", "data/one", "--input", "data/rows.txt"], check=True)
    assert run("--slurm").returncode == 0
    jobs = calls("jobs")
    assert [re.findall(r"--job-name=(\w+)", job)[0] for job in jobs[3:]] == ["two", "three"]
    assert "--dependency" not in jobs[3] and "afterok:4" in jobs[4]
    assert json.loads(Path("data/pipeline/one.json").read_text())["state"] == "finished"


def test_refused_submission_is_said(bed):
    write_stages([stage("one", slurm="slurm/x.slurm refused")])
    refused = run("--slurm")
    assert refused.returncode == 1
    assert "the queue is full" in refused.stderr


def test_launched_stage_without_a_slurm_line_is_refused(bed):
    write_stages([{"name": "a", "does": "a", "run": "accelerate launch step.py --output_dir data/a"}])
    assert run("--slurm").returncode == 1
    assert calls("jobs") == []


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which the project's files are, but nothing that was made before."""
    for name in ("recipes", "scripts", "src", "assets", "slurm"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_plan_of_the_full_pipeline(project):
    names = "cold_start_data chat cold_start reasoning_rl samples decontaminated reasoning_data sft rl_all distill"
    for words in ((), ("--slurm",)):
        done = subprocess.run(
            command("--dry_run", *words, config="recipes/DeepSeek-R1/pipeline.yaml"),
            capture_output=True,
            text=True,
            check=True,
        )
        assert re.findall(r"^# (\w+):", done.stdout, re.MULTILINE) == names.split()
        assert "#   in   data/DeepSeek-R1/reasoning_data (of reasoning_data)" in done.stdout
        assert done.stdout.count("#   out  data/DeepSeek-R1/") == 10
    assert not (project / "data").exists()


def test_r1_zero_is_a_stage_of_the_same_file(project):
    words = command("--dry_run", "--stage", "r1_zero", config="recipes/DeepSeek-R1/pipeline.yaml")
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert re.findall(r"^# (\w+):", done.stdout, re.MULTILINE) == ["r1_zero"]


TUNED = {"max_steps": 60, "eval_benchmarks_limit": 8}
REINFORCED = {"max_steps": 1, "per_device_train_batch_size": 32, "eval_benchmarks_limit": 8}
SHORTER = {
    "base": {"max_steps": 240, "save_steps": 80},
    "cold_start": TUNED,
    "reasoning_rl": REINFORCED,
    "samples": {"limit": 300},
    "sft": TUNED,
    "rl_all": REINFORCED,
    "student_base": {"max_steps": 40, "save_steps": 40},
    "distill": TUNED,
}


def test_demo_is_killed_resumes_inside_the_stage_and_is_skipped_when_finished(project, monkeypatch):
    """All stages of the demo, shortened: about 80 CPU seconds, most of them for starting the scripts."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    overrides = [f"{name}:{key}={value}" for name, keys in SHORTER.items() for key, value in keys.items()]
    flags = [part for text in overrides for part in ("--override", text)]
    words = command(*flags, config="recipes/demo/pipeline.yaml")
    base = project / "data/demo_pipeline/base"
    with subprocess.Popen(
        words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as first:
        wait_until(lambda: missing_from(base / "checkpoint-80") is None)
        os.killpg(first.pid, signal.SIGKILL)
    second = subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)
    assert second.returncode == 0, second.stdout[-2000:] + second.stderr[-4000:]
    assert json.loads((base / "run_manifest.json").read_text())["runs"][-1]["started_from"].endswith("checkpoint-80")
    records = {path.stem: path.read_text() for path in (project / "data/demo_pipeline/pipeline").glob("*.json")}
    assert len(records) == 12
    third = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert third.stdout.count("skipped") == 12
    assert {
        path.stem: path.read_text() for path in (project / "data/demo_pipeline/pipeline").glob("*.json")
    } == records
    assert re.search(r"^distill .*sums/avg@8 0\.\d{3}", third.stdout, re.MULTILINE)
