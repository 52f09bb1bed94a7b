# SPDX-License-Identifier: Apache-2.0
"""`slurm/cluster.sh` through `slurm/lib.sh` to Python: nothing of what a site writes is lost or split on the way."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from open_r1.cluster.sites import SETTINGS, Site

ROOT = Path(__file__).parents[2]
# Reads the site as the scripts do, then prints what Python makes of it.
PROGRAM = """
set -euo pipefail
here=$1/slurm
source "$here/lib.sh"
load_site
exec "$2" -c 'import json, dataclasses; from open_r1.cluster.sites import Site
print(json.dumps(dataclasses.asdict(Site.from_environment()), default=str))'
"""


def read(site: Path | None, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPEN_R1_")}
    environment |= {"PYTHONPATH": str(ROOT / "src"), **variables}
    if site is not None:
        environment["OPEN_R1_CLUSTER"] = str(site)
    return subprocess.run(
        ["bash", "-c", PROGRAM, "read", str(ROOT), sys.executable],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def write_site(folder: Path, **settings: object) -> Path:
    """Settings that are lists become arrays."""
    lines = []
    for name, value in settings.items():
        text = shlex.quote(value) if isinstance(value, str) else f"({' '.join(map(shlex.quote, value))})"
        lines.append(f"{name}={text}\n")
    path = folder / "my cluster.sh"
    path.write_text("".join(lines))
    return path


HOSTILE = ["--comment=a b", "it's", '"quoted"', "$HOME", "`id`", "a\\b", "*", "ä;&|<>", "", "--x=(1)", ""]


@pytest.mark.parametrize(
    "name", ["gpu_options", "cpu_options", "container", "srun_options", "vllm", "sglang", "piston"]
)
def test_words_of_a_site_stay_whole(tmp_path, name):
    done = read(write_site(tmp_path, **{name: HOSTILE}))
    assert done.returncode == 0, done.stderr
    kept = [word for word in HOSTILE if word or not name.endswith("_options")]
    assert json.loads(done.stdout)[name] == kept


def test_word_of_options_that_a_condition_leaves_empty_is_left_out(tmp_path):
    lines = [
        f'{name}=(a=1 "${{NONE:+b=$NONE}}" c=3 "")\n'
        for name in ("gpu_options", "cpu_options", "srun_options", "environment")
    ]
    (tmp_path / "site.sh").write_text(f"NONE=\n{''.join(lines)}")
    done = read(tmp_path / "site.sh")
    assert done.returncode == 0, done.stderr
    site = json.loads(done.stdout)
    assert site["environment"] == {"a": "1", "c": "3"}
    assert [site[name] for name in ("gpu_options", "cpu_options", "srun_options")] == [["a=1", "c=3"]] * 3


def test_variables_of_a_site_stay_whole(tmp_path):
    done = read(write_site(tmp_path, environment=["A=b c", "B=x=y", "C=", "D='$q'"]))
    assert json.loads(done.stdout)["environment"] == {"A": "b c", "B": "x=y", "C": "", "D": "'$q'"}


def test_site_without_settings_has_the_defaults(tmp_path):
    site = json.loads(read(write_site(tmp_path)).stdout)
    assert (site["root"], site["logs"]) == (str(ROOT), str(ROOT / "logs"))
    assert site["node_python"] == str(ROOT / ".venv" / "bin" / "python")
    assert site["gpus_per_node"] is None
    assert site["gpu_options"] == site["container"] == []


def test_project_file_is_read_where_no_other_is_named():
    done = read(None)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["root"] == str(ROOT)


def test_folders_of_a_site_are_below_the_project_or_absolute(tmp_path):
    site = json.loads(read(write_site(tmp_path, venv="envs/a b", logs="/scratch/my logs")).stdout)
    assert site["node_python"] == str(ROOT / "envs" / "a b" / "bin" / "python")
    assert site["logs"] == "/scratch/my logs"


def test_python_in_a_container_is_the_one_that_the_site_names(tmp_path):
    done = read(write_site(tmp_path, node_python="/shared/python"))
    assert json.loads(done.stdout)["node_python"] == "/shared/python"


@pytest.mark.parametrize(("text", "value"), [("", None), ("0", 0), ("8", 8)])
def test_gpus_of_a_node(tmp_path, text, value):
    assert json.loads(read(write_site(tmp_path, gpus_per_node=text)).stdout)["gpus_per_node"] == value


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"gpus_per_node": "eight"}, "gpus_per_node in {file} is 'eight': leave it empty, or give a number"),
        ({"gpus_per_node": "-1"}, "is '-1'"),
        ({"environment": ["HF_HOME"]}, "environment in {file} has 'HF_HOME': its words are NAME=VALUE"),
        ({"environment": ["1A=b"]}, "has '1A'"),
        ({"environment": ["A B=c"]}, "has 'A B'"),
        ({"gpu_options": ["a\nb"]}, "a word of {file} has a line break in it"),
        ({"gpu_options": "--partition=gpu --qos=x"}, "gpu_options in {file} is no list: write gpu_options=()"),
        ({"environment": "A=1 B=2"}, "environment in {file} is no list"),
        ({"logs": "~/x"}, "venv or logs in {file} begins with ~ in quotes: write $HOME"),
        ({"venv": "~/x"}, "begins with ~"),
    ],
)
def test_setting_that_cannot_be_is_refused_with_its_file(tmp_path, settings, complaint):
    path = write_site(tmp_path, **settings)
    done = read(path)
    assert done.returncode != 0
    assert complaint.format(file=path) in done.stderr


@pytest.mark.parametrize("text", ["[[ -d /nowhere ]] && logs=/nowhere\n", "false\n", "exit 3\n"])
def test_site_file_that_fails_is_named(tmp_path, text):
    path = tmp_path / "site.sh"
    path.write_text(text)
    done = read(path)
    assert done.returncode == 2
    assert f"{path} has ended with status {3 if 'exit' in text else 1}" in done.stderr


DEFAULTS = "gpu_options=(--partition=gpu '--comment=a b')\nenvironment=(HF_HOME=/h A=1)\n"


@pytest.fixture
def project(tmp_path):
    """A project whose own cluster.sh has settings; returns it with a function that writes another file of a site."""
    root = tmp_path / "the project"
    (root / "slurm").mkdir(parents=True)
    (root / "slurm" / "lib.sh").symlink_to(ROOT / "slurm" / "lib.sh")
    (root / "slurm" / "cluster.sh").write_text((ROOT / "slurm" / "cluster.sh").read_text() + DEFAULTS)
    return root


def read_project(root: Path, text: str | None, **variables: str) -> subprocess.CompletedProcess:
    if text is not None:
        (root / "site.sh").write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPEN_R1_")}
    environment |= {"PYTHONPATH": str(ROOT / "src"), **variables}
    if text is not None:
        environment["OPEN_R1_CLUSTER"] = str(root / "site.sh")
    return subprocess.run(
        ["bash", "-c", PROGRAM, "read", str(root), sys.executable],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", ["--partition=gpu", "--comment=a b"]),
        ("gpu_options+=(--qos=x '--y=c d')\n", ["--partition=gpu", "--comment=a b", "--qos=x", "--y=c d"]),
        ('gpu_options=("${gpu_options[@]}" --qos=x)\n', ["--partition=gpu", "--comment=a b", "--qos=x"]),
        ('gpu_options=(--qos=x "${gpu_options[@]}")\n', ["--qos=x", "--partition=gpu", "--comment=a b"]),
        ("gpu_options=(--qos=x)\n", ["--qos=x"]),
        ("gpu_options=()\n", []),
        ("gpu_options=()\ngpu_options+=(--qos=x)\n", ["--qos=x"]),
    ],
)
def test_lists_of_the_project_may_be_added_to_or_replaced(project, text, options):
    done = read_project(project, text)
    assert done.returncode == 0, done.stderr
    site = json.loads(done.stdout)
    assert (site["gpu_options"], site["environment"]) == (options, {"HF_HOME": "/h", "A": "1"})


def test_variables_of_the_project_may_be_added_to(project):
    done = read_project(project, "environment+=(WANDB_DIR=/me A=2)\npiston+=(serve)\n")
    assert json.loads(done.stdout)["environment"] == {"HF_HOME": "/h", "A": "2", "WANDB_DIR": "/me"}
    assert json.loads(done.stdout)["piston"] == ["serve"]


@pytest.mark.parametrize("text", ["gpu_options=--qos=x", "gpu_options+=--qos=x", "piston=serve", "piston+=serve"])
def test_text_in_place_of_a_list_is_refused(project, text):
    done = read_project(project, text)
    assert done.returncode == 2
    assert f"{text.partition('=')[0].rstrip('+')} in {project / 'site.sh'} is no list: write" in done.stderr


def test_file_of_the_project_is_read_once_also_where_it_is_named(project):
    with (project / "slurm" / "cluster.sh").open("a") as file:
        file.write("readonly SCRATCH=/scratch\necho read >&2\n")
    done = read_project(project, None, OPEN_R1_CLUSTER=str(project / "slurm" / "cluster.sh"))
    assert (done.returncode, done.stderr) == (0, "read\n")
    assert json.loads(done.stdout)["gpu_options"] == ["--partition=gpu", "--comment=a b"]


def test_site_file_with_an_unbound_variable_ends_in_the_words_of_bash_and_its_name(tmp_path):
    (tmp_path / "site.sh").write_text("logs=$NO_SUCH_SCRATCH/logs\n")
    done = read(tmp_path / "site.sh")
    assert done.returncode != 0
    assert "NO_SUCH_SCRATCH: unbound variable" in done.stderr and "see the line above" in done.stderr


def test_site_file_is_found_again_from_another_folder(tmp_path):
    (tmp_path / "site.sh").write_text("echo $OPEN_R1_CLUSTER >&2\n")
    done = read(Path("site.sh"), cwd=tmp_path, CDPATH=str(ROOT.parent))
    assert done.returncode == 0, done.stderr
    done = subprocess.run(
        ["bash", "-c", f"here={ROOT}/slurm; source $here/lib.sh; load_site; echo $OPEN_R1_CLUSTER"],
        env={**os.environ, "OPEN_R1_CLUSTER": "site.sh"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{tmp_path}/site.sh\n"


def test_warning_during_a_slow_site_file_does_not_end_the_job(tmp_path):
    (tmp_path / "site.sh").write_text("kill -USR1 $$\n")
    program = (
        f"set -euo pipefail; here={ROOT}/slurm; source $here/lib.sh; load_site; echo $mode; "
        "printenv OPEN_R1_JOB_IS_WARNED"
    )
    done = subprocess.run(
        ["bash", "-c", program],
        env={**os.environ, "OPEN_R1_CLUSTER": "site.sh"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "job\n1\n"), done.stderr


def test_folders_are_found_whatever_cdpath_says(tmp_path):
    done = subprocess.run(
        ["bash", "-c", "here=slurm; source slurm/lib.sh; echo $root"],
        cwd=ROOT,
        text=True,
        env={**os.environ, "CDPATH": f"{ROOT}:{ROOT.parent}"},
        capture_output=True,
        check=True,
    )
    assert done.stdout == f"{ROOT}\n"


def test_missing_site_file_is_named(tmp_path):
    done = read(tmp_path / "none.sh")
    assert done.returncode == 2
    assert f"OPEN_R1_CLUSTER is {tmp_path / 'none.sh'}, which is no file" in done.stderr


def test_module_that_no_script_has_started_says_so(environment):
    environment.pop("OPEN_R1_ROOT", None)
    with pytest.raises(ValueError, match=r"started by the scripts in slurm/"):
        Site.from_environment()


SITE = Site(root=Path("/p"), node_python="/v/bin/python", logs=Path("/p/logs"))


def test_programs_run_behind_the_words_of_the_container():
    site = Site(root=Path("/p"), node_python="python3", logs=Path("/l"), container=("apptainer", "exec", "a b.sif"))
    assert site.python_command("-m", "x y") == ("apptainer", "exec", "a b.sif", "python3", "-m", "x y")
    assert site.vllm_command("serve")[:3] == ("apptainer", "exec", "a b.sif")


def test_vllm_is_the_one_beside_python():
    assert SITE.vllm_command("serve", "m") == ("/v/bin/vllm", "serve", "m")


def test_programs_of_a_step_find_the_package_and_the_network(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/p/src:/mine")
    site = Site(
        root=Path("/p"), node_python="python3", logs=Path("/l"), interface="ib0", environment={"HF_HOME": "/h"}
    )
    variables = site.step_environment()
    assert variables["PYTHONPATH"] == "/p/src:/mine"
    assert (variables["NCCL_SOCKET_IFNAME"], variables["GLOO_SOCKET_IFNAME"]) == ("ib0", "ib0")
    assert variables["HF_HOME"] == "/h"


def test_path_of_a_site_is_added_to_that_of_the_package(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/p/src:/mine")
    site = Site(root=Path("/p"), node_python="python3", logs=Path("/l"), environment={"PYTHONPATH": "/theirs"})
    assert site.step_environment() == {"PYTHONPATH": "/p/src:/theirs"}


def test_variables_of_a_site_win():
    site = Site(
        root=Path("/p"),
        node_python="python3",
        logs=Path("/l"),
        interface="ib0",
        environment={"NCCL_SOCKET_IFNAME": "eth1"},
    )
    assert site.step_environment()["NCCL_SOCKET_IFNAME"] == "eth1"


@pytest.mark.parametrize(
    ("name", "meant"),
    [("gpu_per_node", "gpus_per_node"), ("enviroment", "environment"), ("gpu_option", "gpu_options")],
)
def test_misspelt_setting_is_refused_with_the_nearest_name(tmp_path, name, meant):
    done = read(write_site(tmp_path, **{name: "0"}))
    assert done.returncode != 0
    assert f"sets {name}, which is no setting: did you mean {meant}?" in done.stderr


def test_variables_of_a_site_of_its_own_are_left_alone(tmp_path):
    site = write_site(tmp_path, scratch="/scratch", image="/images/a b.sif", logs="/scratch/logs")
    assert read(site, gpu_per_node="of the user's shell").returncode == 0


def test_ordinary_names_that_are_like_settings_are_left_alone(tmp_path):
    (tmp_path / "site.sh").write_text("env=/shared/env\nvenv=$env\nlog=/l\nfor module in a b; do :; done\nIFS=,\n")
    done = read(tmp_path / "site.sh", gpu_per_node="of the user's shell")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["node_python"] == "/shared/env/bin/python"


def test_settings_are_those_of_the_project_file():
    text = (ROOT / "slurm" / "cluster.sh").read_text()
    assert tuple(re.findall(r"^(\w+)=", text, re.MULTILINE)) == SETTINGS
