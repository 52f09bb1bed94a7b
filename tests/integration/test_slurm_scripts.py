# SPDX-License-Identifier: Apache-2.0
"""Every script of slurm/ on a machine without Slurm: help, dry run, refusals, paths with spaces and quotes.

tests/slurm submits them to a real Slurm.
"""

import functools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "slurm"
# Arguments with which a script has something to do, by its path below slurm/.
ARGUMENTS = {
    "compute_pass_rate.slurm": ["--tasks", "4", "--config", "recipes/dataset_filtering/filter_dapo.yaml"],
    "decontaminate.slurm": ["--tasks", "2", "--dataset", "rows.jsonl"],
    "e2b_router.slurm": ["--token_file", "token"],
    "evaluate.slurm": ["--model", "data/a model", "--benchmarks", "math_500"],
    "generate.slurm": [
        "--model",
        "m m",
        "--hf-dataset",
        "rows.jsonl",
        "--prompt-column",
        "problem",
        "--output-dir",
        "o",
    ],
    "morph_router.slurm": ["--token_file", "token"],
    "piston/launch_single_piston.sh": ["--port", "2000"],
    "piston/piston.slurm": ["--port", "2000"],
    "router.slurm": ["--provider", "local", "--token_file", "token"],
    "serve.slurm": ["--model", "data/a model"],
    "serve_r1.slurm": [],
    "serve_router.slurm": ["--worker", "http://node1:8000"],
    "experimental/serve_r1_vllm.slurm": [],
    "train.slurm": ["--model", "OpenR1-Distill-7B", "--task", "sft", "--config", "distill", "--accelerator", "zero3"],
}
# Open R1's spellings, in which the place of a word has a meaning.
OLD_ARGUMENTS = {
    "compute_pass_rate.slurm": ["recipes/dataset_filtering/filter_dapo.yaml", "0", "200"],
    "evaluate.slurm": ["aime24", "lighteval|aime24|0|0", "me/model", "main", "False", "False"],
    "piston/launch_single_piston.sh": ["2000"],
    "serve_r1.slurm": ["-e", "conda", "-m", "some/model"],
    "experimental/serve_r1_vllm.slurm": ["-m", "some/model", "-e", "conda"],
    "serve_router.slurm": ["-e", "conda", "--worker", "http://node1:8000"],
    "train.slurm": ["OpenR1-Distill-7B", "sft", "distill", "zero3", "--max_steps=10 --seed=1"],
}
CALLS = [*ARGUMENTS.items(), *OLD_ARGUMENTS.items()]
# Files that the examples of --help name -> those that stand in for them.
FILES = {"rows.jsonl": "rows.jsonl", "problems.jsonl": "rows.jsonl", "token": "token"}
RECIPES = {"my/grpo/recipe.yaml": "recipes/Qwen2.5-1.5B-Instruct/grpo/config_demo.yaml"}
SCRIPTS = sorted(
    str(path.relative_to(SLURM))
    for path in SLURM.rglob("*")
    if path.suffix in (".slurm", ".sh") and "\n#SBATCH" in path.read_text()
)
PROGRAMS = ("sbatch", "srun", "scontrol", "squeue", "scancel", "sinfo", "sacct")
every_script = pytest.mark.parametrize("script", SCRIPTS)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A folder with a site file, and programs of Slurm that write down that they were called."""
    folder = tmp_path_factory.mktemp("a 'machine'")
    for name in PROGRAMS:
        (folder / name).write_text(f"#!/bin/bash\necho {name} >>{shlex.quote(str(folder / 'called'))}\nexit 1\n")
        (folder / name).chmod(0o755)
    for name in ("token", ".sandbox_router_token"):
        (folder / name).write_text("0123456789abcdef" * 3)
        (folder / name).chmod(0o600)
    (folder / "rows.jsonl").write_text('{"problem": "1+1", "prompt": "1+1", "solution": "2"}\n')
    settings = {"venv": sys.prefix, "logs": str(folder / "logs"), "gpus_per_node": "8"}
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
    lines += ["gpu_options=(--partition=gpu '--comment=it'\\''s a test')\n", "piston=(piston --limit 'a b')\n"]
    (folder / "site.sh").write_text("".join(lines))
    root = folder / 'it\'s a "clone" of $HOME'
    root.mkdir()
    for name in ("slurm", "src", "recipes", "scripts"):
        (root / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def nothing_called(machine):
    """Fails a test that has called a program of Slurm."""
    (machine / "called").unlink(missing_ok=True)
    yield
    assert not (machine / "called").exists()
    assert not (machine / "logs").exists()


@pytest.fixture(scope="module")
def call(machine):
    """Runs a script as on a login node, from another folder; returns what came of it."""

    @functools.cache
    def run(script: str, *words: str, site: str = "site.sh", root: Path = ROOT) -> subprocess.CompletedProcess:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("OPEN_R1_", "SLURM_", "SBATCH_"))
        }
        environment |= {
            "HOME": str(machine),
            "OPEN_R1_CLUSTER": str(machine / site),
            "PATH": f"{machine}:{environment['PATH']}",
        }
        return subprocess.run(
            [str(root / "slurm" / script), *words],
            env=environment,
            cwd=machine,
            timeout=120,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


def filled(words: list[str], machine: Path) -> list[str]:
    """Words with files that are there."""
    return [str(machine / FILES[word]) if word in FILES else RECIPES.get(word, word) for word in words]


def test_every_script_is_in_the_table():
    assert set(SCRIPTS) - set(ARGUMENTS) == set(), "add arguments for the new script to ARGUMENTS"


@every_script
def test_help_says_what_there_is(call, script):
    done = call(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for flag in ("--dry-run", "--nodes", "--sbatch", *(word for word in ARGUMENTS[script] if word.startswith("--"))):
        assert flag in done.stdout, flag


@every_script
@pytest.mark.usefixtures("nothing_called")
def test_examples_of_the_help_work(call, machine, script):
    text = call(script, "--help").stdout.replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("  slurm/")]
    for path, *words in lines:
        if "..." in words or not path.endswith(".slurm"):
            continue
        done = call(path.removeprefix("slurm/"), "--dry-run", *filled(words, machine))
        assert done.returncode == 0, f"{shlex.join([path, *words])}: {done.stderr}"


@every_script
@pytest.mark.usefixtures("nothing_called")
def test_dry_run_prints_the_commands_and_starts_nothing_also_in_odd_folders(call, machine, script):
    (root,) = machine.glob("it's*")
    done = call(script, *filled(ARGUMENTS[script], machine), "--dry-run", root=root)
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line) for line in done.stdout.splitlines() if line and not line.startswith("#")]
    submitted = lines[0]
    assert submitted[0] == "sbatch" and "--dry-run" not in submitted
    assert f"--chdir={root}" in submitted and str(root / "slurm" / script) in submitted
    assert any("srun" in line for line in lines)


@every_script
@pytest.mark.usefixtures("nothing_called")
def test_unknown_option_is_refused(call, machine, script):
    words = filled(ARGUMENTS[script], machine)
    done = call(script, *words, "--no-such-option", "1")
    assert done.returncode == 2, done.stdout
    assert "no-such-option" in done.stderr.replace("_", "-")


@pytest.mark.parametrize(("script", "words"), CALLS, ids=[f"{script} {words[:1]}" for script, words in CALLS])
@pytest.mark.usefixtures("nothing_called")
def test_flags_of_the_submission_may_stand_in_front(call, machine, script, words):
    """As scripts/submit.py puts them."""
    own = [
        "--dry-run",
        "--sbatch=--dependency=afterok:7 --kill-on-invalid-dep=yes",
        "--sbatch",
        "--comment=c",
        "--nodes",
        "1",
    ]
    words = filled(words, machine)
    front, behind = call(script, *own, *words), call(script, *words, *own)
    assert front.returncode == 0, front.stderr
    assert "--dependency=afterok:7 --kill-on-invalid-dep=yes --comment=c" in front.stdout.replace("'", "")
    assert front.stdout == behind.stdout
    if script in OLD_ARGUMENTS:
        assert front.stderr == behind.stderr


@pytest.mark.usefixtures("nothing_called")
def test_model_of_an_earlier_stage_may_come_later(machine):
    models = (f"{machine}/a model", "data/no such/folder")
    words = ["--stage", "train", *ARGUMENTS["train.slurm"], "--args", f"--output_dir {shlex.quote(models[0])}"]
    for model in models:
        words += ["--stage", "evaluate", "--model", model, "--benchmarks", "aime24"]
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "submit.py", "--dry-run", *words],
        env=os.environ | {"OPEN_R1_CLUSTER": str(machine / "site.sh")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    commands = [shlex.split(line) for line in done.stdout.splitlines() if " serve " in line]
    assert [words[words.index("serve") + 1] for words in commands] == [models[0], f"{ROOT}/{models[1]}"]


@every_script
def test_machine_without_an_environment_says_how_to_make_one(call, machine, script):
    (machine / "no_venv.sh").write_text("venv=/nowhere/venv\n")
    done = call(script, "--dry-run", *filled(ARGUMENTS[script], machine), site="no_venv.sh")
    assert done.returncode == 2
    assert "no environment in /nowhere/venv: run `make install` there, or set venv in" in done.stderr


@pytest.mark.usefixtures("nothing_called")
def test_site_file_may_have_variables_and_options_of_its_own(call, machine):
    names = ("root", "mode", "script", "kind", "here", "self", "folder", "words", "name", "setting")
    (machine / "own.sh").write_text(
        (machine / "site.sh").read_text() + "".join(f"{name}=mine\n" for name in names) + "set +eu\nIFS=/\n"
    )
    words = filled(ARGUMENTS["decontaminate.slurm"], machine)
    done = call("decontaminate.slurm", *words, "--dry-run", site="own.sh")
    assert done.returncode == 0, done.stderr
    assert done.stdout == call("decontaminate.slurm", *words, "--dry-run").stdout


@pytest.mark.usefixtures("nothing_called")
def test_link_to_a_script_is_the_script(call, machine):
    root = machine / "links"
    (root / "slurm").mkdir(parents=True)
    for name in ("decontaminate.slurm", "piston/piston.slurm"):
        (root / "slurm" / Path(name).name).symlink_to(SLURM / name)
        words = [*filled(ARGUMENTS[name], machine), "--dry-run"]
        assert call(Path(name).name, *words, root=root).stdout == call(name, *words).stdout


@every_script
def test_directives_are_those_of_a_job_that_can_go_on(script):
    text = (SLURM / script).read_text()
    directives = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", text, re.MULTILINE))
    assert directives["output"] == "logs/%x-%j.log"
    assert directives["open-mode"] == "append"
    assert "requeue" in directives and directives["signal"].startswith("B:USR1@")
    assert "partition" not in directives and "account" not in directives  # facts of a site


def test_logs_of_slurm_have_a_folder_in_a_fresh_clone():
    tracked = subprocess.run(["git", "ls-files", "logs"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert tracked.stdout.split() == ["logs/.gitignore"]
