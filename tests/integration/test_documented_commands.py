# SPDX-License-Identifier: Apache-2.0
"""Every command in README.md, docs/ and recipes/ is taken by the parser of the script that it starts.

Those of slurm/ are in test_slurm_documents.py, which plans their jobs.
"""

import re
import shlex
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser
from trl import ModelConfig

from open_r1.arguments import RecipeParser
from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.curation.pass_rate_recipe import PassRateConfig, PassRateScriptArguments
from open_r1.data.cli import respelled
from open_r1.evaluation.settings import parse
from open_r1.test_time.methods import TestTimeArguments
from scripts import compute_pass_rate, curate, decontaminate, generate_reasoning, merge_lora
from tests.conftest import ROOT

STARTS = re.compile(r"(?:[A-Z_]+=\S+ )*(?:accelerate launch|python) ")


def find_commands(document: Path) -> list[str]:
    """Return the indented or fenced command lines, with their continuations."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.partition("  #")[0].strip() for line in text.splitlines() if STARTS.match(line.strip())]


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "recipes").rglob("*.md"))]


def parse_training(task: str, words: list[str]) -> None:
    classes = {"sft": (SFTScriptArguments, SFTConfig), "grpo": (GRPOScriptArguments, GRPOConfig)}[task]
    RecipeParser((*classes, ModelConfig)).parse([*words, "--use_cpu", "true"])


def parse_pass_rate(words: list[str]) -> None:
    _, settings = compute_pass_rate.build_parser().parse_args_into_dataclasses(words, return_remaining_strings=True)
    RecipeParser((PassRateScriptArguments, PassRateConfig, ModelConfig)).parse(settings)


def parse_evaluation(words: list[str]) -> None:
    assert parse(words).chosen()


PARSERS = {
    "src/open_r1/sft.py": lambda words: parse_training("sft", words),
    "src/open_r1/grpo.py": lambda words: parse_training("grpo", words),
    "scripts/compute_pass_rate.py": parse_pass_rate,
    "scripts/curate.py": lambda words: curate.parse_command_line(words),
    "scripts/decontaminate.py": lambda words: decontaminate.parse_command_line(words),
    "scripts/generate_reasoning.py": lambda words: generate_reasoning.build_parser().parse_args(respelled(words, "-")),
    "scripts/merge_lora.py": lambda words: merge_lora.build_parser().parse_args(words),
    "scripts/run_benchmarks.py": parse_evaluation,
    "scripts/test_time_compute.py": lambda words: parse(words, kind=TestTimeArguments).chosen(),
}


COMMANDS = [
    pytest.param(command, id=f"{document.relative_to(ROOT).with_suffix('')}-{number}")
    for document in DOCUMENTS
    for number, command in enumerate(find_commands(document), 1)
    if any(script in command for script in PARSERS) and not re.search(r"<|\.\.\.", command)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_taken_by_its_script(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(command.replace("$RANK", "0"))  # of each node
    words = words[next(place for place, word in enumerate(words) if "=" not in word) :]
    if words[0] == "accelerate":
        launched = launch_command_parser().parse_args(words[2:])
        assert Path(launched.config_file).is_file()
        words = ["python", launched.training_script, *launched.training_script_args]
    PARSERS[words[1]](words[2:])


def test_documents_have_commands():
    assert len(COMMANDS) >= 50


def test_every_reproduced_system_has_a_page():
    folders = {path.parents[1] for kind in ("sft", "grpo") for path in (ROOT / "recipes").glob(f"*/{kind}/*.yaml")}
    # Named after a model: recipes of Open R1 and of small hardware, which recipes/README.md explains.
    systems = [
        folder
        for folder in folders
        if not folder.name.startswith(("Qwen", "Gemma", "OLMoE", "SmolLM2", "DeepSeek-R1-Distill", "demo"))
    ]
    assert sorted(folder.name for folder in systems if not (folder / "README.md").is_file()) == []
