# SPDX-License-Identifier: Apache-2.0
"""Commands of Open R1: those of tests/rows/open_r1_commands.txt as they stand, others as docs/migration.md says.

Files and extras must exist, and flags go through the parsers of the programs themselves. Nothing is installed, trained
or submitted, and no server or hub is asked.
"""

import argparse
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import pytest
from accelerate.commands.launch import launch_command_parser
from pip._internal.commands import create_command
from trl import ModelConfig
from trl.scripts.vllm_serve import make_parser as vllm_serve_parser

from open_r1.arguments import RecipeParser
from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.curation.pass_rate_recipe import PassRateConfig, PassRateScriptArguments
from open_r1.evaluation.settings import EvaluationArguments
from tests.conftest import ROOT

DOCUMENT = ROOT / "docs" / "migration.md"
AS_THEY_STAND = (ROOT / "tests" / "rows" / "open_r1_commands.txt").read_text(encoding="utf-8").splitlines()
RECIPE_CLASSES = {
    "sft": (SFTScriptArguments, SFTConfig),
    "grpo": (GRPOScriptArguments, GRPOConfig),
    "compute_pass_rate": (PassRateScriptArguments, PassRateConfig),
}
ON_ANY_MACHINE = ["--use_cpu", "true"]  # the commands were written for machines with GPUs
BIN = Path(sys.executable).parent
# Variables in front and `uv` make no difference to what is checked.
COMMAND = re.compile(
    r"(?:[A-Z_]+=\S+ )*(?:uv )?(?=(pip|make|accelerate|python|sbatch|hf|wandb|trl) \S|(slurm/\S+ \S|scripts/\S+\.sh))"
)


def read_rows() -> list[tuple[str, str]]:
    """The rows of the first table: a command of Open R1, and what is said of it."""
    table = DOCUMENT.read_text(encoding="utf-8").partition("|---|---|\n")[2].partition("\n\n")[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
    rows = [(left.strip(), right.strip()) for left, right in cells]
    return [row for row in rows if not row[0].startswith("**")]


def commands_of(cell: str) -> list[str]:
    """The commands in a cell; other spans are names of files and flags."""
    spans = [span.replace("\\|", "|") for span in re.findall(r"`([^`]+)`", cell)]
    return [span for span in spans if COMMAND.match(span)]


def check_pip(words: list[str]) -> None:
    options, packages = create_command("install").parse_args(words[2:])
    extras = re.findall(r'^    "(\w+)": ', (ROOT / "setup.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert options.requirements or options.editables or packages
    assert all((ROOT / name).is_file() for name in (*options.requirements, *options.constraints))
    for editable in options.editables:
        folder, _, named = editable.removesuffix("]").partition("[")
        assert folder == "." and set(filter(None, named.split(","))) <= set(extras)


def check_make(words: list[str]) -> None:
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    script = "scripts/run_benchmarks.py"
    if script in done.stdout:
        check_python(["python", *shlex.split(done.stdout[done.stdout.index(script) :].replace("\\\n", " "))])


def check_launch(words: list[str]) -> None:
    launched = launch_command_parser().parse_args(words[2:])
    assert (ROOT / launched.config_file).is_file()
    check_python(["python", launched.training_script, *launched.training_script_args])


def check_python(words: list[str]) -> None:
    path, flags = ROOT / words[1], words[2:]
    assert path.is_file()
    if path.stem in RECIPE_CLASSES:
        RecipeParser((*RECIPE_CLASSES[path.stem], ModelConfig)).parse([*flags, *ON_ANY_MACHINE])
        return
    args = parsed_by(path, flags)
    if path.stem == "run_benchmarks" and not args.list_benchmarks:
        assert EvaluationArguments(**vars(args)).chosen()


class Parsed(BaseException):
    """A program has read its command line; no program catches this."""


def parsed_by(path: Path, flags: list[str]) -> argparse.Namespace:
    """Run a script up to where it has parsed its command line."""
    parse, found = argparse.ArgumentParser.parse_args, []

    def stop(parser, *args, **kwargs):
        found.append(parse(parser, *args, **kwargs))
        raise Parsed

    with (
        patch.object(argparse.ArgumentParser, "parse_args", stop),
        patch.object(sys, "argv", [str(path), *flags]),
        patch.object(sys, "path", [str(path.parent), *sys.path]),
        suppress(Parsed),
    ):
        runpy.run_path(str(path), run_name="__main__")
    return found[0]


def check_job(words: list[str]) -> None:
    """Have a job script print what it would run; options of sbatch go to it by --sbatch."""
    begin = next(number for number, word in enumerate(words) if word.startswith(("slurm/", "scripts/")))
    options = [f"--sbatch={word}" for word in words[1:begin]]
    variables = {name: text for name, text in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    words, given = words[begin:], words[1:begin]
    done = subprocess.run(
        [*words, "--dry-run", *options], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "srun " in done.stdout and all(word in done.stdout for word in given)


def check_help(words: list[str]) -> None:
    """Programs made with click read all their flags before they print their help."""
    done = subprocess.run([BIN / words[0], *words[1:], "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


CHECKS: dict[str, Callable[[list[str]], object]] = {
    "pip": check_pip,
    "make": check_make,
    "accelerate": check_launch,
    "python": check_python,
    "sbatch": check_job,
    "hf": check_help,
    "wandb": check_help,
    "trl": lambda words: vllm_serve_parser().parse_args(words[2:]),
}
ROWS = read_rows()
COMMANDS = [*AS_THEY_STAND, *(command for _, right in ROWS for command in commands_of(right))]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A cluster of nodes with 8 GPUs, a token for routers, a chat template; the project is the working folder."""
    (tmp_path / "site.sh").write_text(
        f"gpus_per_node=8 piston=(true) logs={shlex.quote(str(tmp_path / 'logs'))}\n"
        f"PATH={shlex.quote(sys.prefix)}/bin:$PATH\n"
    )
    token = tmp_path / ".sandbox_router_token"
    token.write_text("0123456789abcdef")
    token.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OPEN_R1_CLUSTER", str(tmp_path / "site.sh"))
    monkeypatch.chdir(ROOT)


def test_every_row_has_a_command_that_works():
    assert len(ROWS) > 15 and len(AS_THEY_STAND) > 40
    assert [left for left, right in ROWS if not commands_of(right)] == []


@pytest.mark.parametrize("command", COMMANDS, ids=range(len(COMMANDS)))
@pytest.mark.usefixtures("machine")
def test_command_works(command):
    found = COMMAND.match(command)
    assert found is not None
    words = [word.replace("~", os.environ["HOME"]) for word in shlex.split(command[found.end() :])]
    CHECKS.get(found[1], check_job)(words)


def test_requirements_are_the_tested_lock():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["-c constraints.txt", "-e ."]
    assert (ROOT / "constraints.txt").is_file()


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("configs", ["DatasetConfig", "DatasetMixtureConfig", "ScriptArguments", "GRPOScriptArguments", "GRPOConfig"]),
        (
            "rewards",
            ["accuracy_reward", "get_reward_funcs", "code_reward", "get_cosine_scaled_reward", "extract_code"],
        ),
        ("utils", ["get_dataset", "get_model", "get_tokenizer", "is_e2b_available", "is_morph_available"]),
        ("utils.callbacks", ["CALLBACKS", "PushToHubRevisionCallback", "get_callbacks"]),
        ("utils.code_providers", ["CodeExecutionProvider", "get_provider"]),
        ("utils.data", ["get_dataset"]),
        ("utils.evaluation", ["SUPPORTED_BENCHMARKS", "run_benchmark_jobs"]),
        ("utils.hub", ["check_hub_revision_exists", "push_to_hub_revision"]),
        ("utils.import_utils", ["is_e2b_available", "is_morph_available"]),
        ("utils.model_utils", ["get_model", "get_tokenizer"]),
        ("utils.wandb_logging", ["init_wandb_training"]),
    ],
)
def test_what_users_import_is_where_open_r1_has_it(module, names):
    found = import_module(f"open_r1.{module}")
    assert [name for name in names if not hasattr(found, name)] == []
