# SPDX-License-Identifier: Apache-2.0
"""The commands and the sites of the documents work: each is tried with --dry-run, without Slurm."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

DOCUMENTS = [ROOT / "README.md", *(ROOT / "recipes").rglob("*.md"), *(ROOT / "slurm").rglob("*.md")]
PROGRAMS = re.compile(r"slurm/\S+\.(slurm|sh)\b|python scripts/submit\.py ")


def find_commands(document: Path) -> list[str]:
    """Indented or fenced command lines that start a job, with their continuations."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.partition("  #")[0].strip() for line in text.splitlines()]
    return [" ".join(line.split()) for line in lines if PROGRAMS.match(line)]


def find_sites() -> list[str]:
    """The examples of cluster.sh."""
    text = (ROOT / "slurm" / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


COMMANDS = sorted({command for document in DOCUMENTS for command in find_commands(document)})
SITES = find_sites()


@pytest.fixture
def run(tmp_path):
    """Runs a command line at a site that adds lines to the usual one; HOME has a token for routers."""
    token = tmp_path / ".sandbox_router_token"
    token.write_text("0123456789abcdef")
    token.chmod(0o600)

    def run_command(words: list[str], site: str) -> subprocess.CompletedProcess:
        file = tmp_path / "site.sh"
        file.write_text(
            f"{site}\nlogs={shlex.quote(str(tmp_path / 'logs'))}\nPATH={shlex.quote(sys.prefix)}/bin:$PATH\n"
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        environment |= {"HOME": str(tmp_path), "OPEN_R1_CLUSTER": str(file), "BASH_FUNC_module%%": "() { :; }"}
        return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    return run_command


def test_documents_have_commands_and_sites():
    assert len({command.split()[0] for command in COMMANDS}) >= 8
    assert len(SITES) == 4


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_a_document_works(run, command):
    before, dashes, behind = command.removesuffix("--dry-run").partition(" -- ")
    script, _, words = before.partition(".py ") if before.startswith("python") else (before, "", "")
    line = f"{script}.py --dry-run {words}" if words else f"{script} --dry-run{dashes}{behind}"
    done = run(
        ["bash", "-c", line.replace("python", shlex.quote(sys.executable), 1)], "gpus_per_node=8\npiston=(true)"
    )
    assert done.returncode == 0, done.stderr
    assert "srun " in done.stdout


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.splitlines()[1].partition("=")[0])
def test_site_of_a_document_works(run, site):
    words = ["slurm/train.slurm", "--model", "demo", "--task", "sft", "--config", "cold_start", "--accelerator", "ddp"]
    done = run([*words, "--dry-run"], site)
    assert done.returncode == 0, done.stderr
    used = re.sub(r"cpu_options=.*", "", site)
    words = r"--(?:partition|account|container-image)=[\w./-]+|apptainer"
    for word in re.findall(words, used):
        assert word in done.stdout
