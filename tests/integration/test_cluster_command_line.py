# SPDX-License-Identifier: Apache-2.0
"""What every script of slurm/ does with a command line: submit itself, run as a job, or say what it would do."""

import os
import shlex
from pathlib import Path

import pytest

from open_r1.cluster import evaluate, generate, train
from open_r1.cluster.allocation import Allocation
from open_r1.cluster.command_line import build_parser, own_words, run
from open_r1.cluster.sites import Site
from open_r1.cluster.steps import Step
from open_r1.cluster.supervisor import Plan, Server
from open_r1.evaluation import flags

SCRIPT = "#!/bin/bash\n#SBATCH --job-name=greeter\n#SBATCH --nodes=2\n"
SBATCH = """#!/bin/bash
printf '%s\\0' "$@" >"${0%/*}/called"
[[ -z ${REFUSES:-} ]] || { echo "sbatch: error: $REFUSES" >&2; exit 1; }
echo 77
"""
HOSTILE = ["it's", "a b", "$HOME", '{"a": "b c"}', "", "ä"]


@pytest.fixture
def site(tmp_path, environment):
    """The environment of a script that is run where it lies, on a machine with a program called sbatch."""
    for name, text in {"greet.slurm": SCRIPT, "sbatch": SBATCH}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OPEN_R1_"))]:
        del os.environ[name]
    os.environ.update(
        OPEN_R1_ROOT=str(tmp_path),
        OPEN_R1_CLUSTER="site.sh",
        OPEN_R1_SITE_NODE_PYTHON="python3",
        OPEN_R1_SITE_LOGS=str(tmp_path / "logs"),
        OPEN_R1_SITE_GPU_OPTIONS="--partition=gpu\n--comment=a b\n",
        OPEN_R1_SITE_GPUS_PER_NODE="0",
        OPEN_R1_JOB_MODE="submit",
        OPEN_R1_JOB_KIND="gpu",
        OPEN_R1_JOB_SCRIPT=str(tmp_path / "greet.slurm"),
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        PYTHONPATH="",
    )
    return tmp_path


def greet(*argv: str) -> int:
    """A script that greets its names from each of its nodes, beside a server."""
    parser = build_parser("greet", "Greet everybody.", "example: slurm/greet.slurm --name Ada")
    parser.add_argument("--name", action="append", default=[], help="whom to greet")

    def plan(arguments, site, allocation):
        if "nobody" in arguments.name:
            raise ValueError("nobody can't be greeted: name somebody")
        work = Step("greet", ("echo", *arguments.name), allocation.nodes)
        server = Server(Step("serve", ("serve",), allocation.nodes[-1:]), ("http://node2:1/health",))
        return Plan(servers=(server,), work=(work,), notes=("greets",))

    return run(parser, plan, argv)


def call(capsys, *argv: str) -> tuple[int, str, str]:
    try:
        status = greet(*argv)
    except SystemExit as stopped:
        status = stopped.code
    said = capsys.readouterr()
    return status, said.out, said.err


def called(site: Path) -> list[str] | None:
    path = site / "called"
    return path.read_text().split("\0")[:-1] if path.exists() else None


def test_script_submits_itself_with_the_words_as_they_are(site, capsys):
    names = [word for name in HOSTILE for word in ("--name", name)]
    assert call(capsys, *names) == (0, "Submitted batch job 77\n", "")
    assert called(site) == [
        "--parsable",
        f"--chdir={site}",
        "--partition=gpu",
        "--comment=a b",
        str(site / "greet.slurm"),
        *names,
    ]


def test_options_for_sbatch_are_not_passed_on(site, capsys):
    call(capsys, "--nodes", "3", "--name", "Ada", "--sbatch=--time=5 --comment='c d'", "--sbatch=--hold")
    *_, script, name, ada = called(site)
    assert (script, name, ada) == (str(site / "greet.slurm"), "--name", "Ada")
    assert called(site)[4:-3] == ["--time=5", "--comment=c d", "--hold", "--nodes=3"]


def test_dry_run_shows_commands_that_a_shell_reads_as_meant(site, capsys):
    status, out, _ = call(capsys, "--dry-run", *(word for name in HOSTILE for word in ("--name", name)))
    assert (status, called(site)) == (0, None)
    lines = [shlex.split(line) for line in out.splitlines() if not line.startswith("#")]
    sbatch, server, work = lines
    assert sbatch[0] == "sbatch" and sbatch[-1] == HOSTILE[-1] and "--dry-run" not in sbatch
    assert "srun" in server and server[-1] == "serve"
    assert work[-len(HOSTILE) :] == HOSTILE
    assert "--nodelist=node1,node2" in work
    assert "# greets\n" in out and "200 comes from http://node2:1/health" in out


@pytest.mark.parametrize(
    ("words", "of_site", "num_nodes"),
    [
        (["--sbatch=--nodes=3"], "", 3),
        (["--sbatch", "--time=30 --nodes=3"], "", 3),
        (["--sbatch=--nodes 3 --comment -N4"], "", 4),
        (["--sbatch=-N 3-4"], "", 3),
        (["--sbatch=-N3", "--nodes", "1"], "", 1),
        ([], "--nodes=3\n", 3),
        (["--sbatch=-N1"], "--nodes=3\n", 1),
        (["--sbatch=--nodelist=a,b,c"], "", 2),
    ],
)
def test_plan_is_of_the_nodes_that_sbatch_is_told(site, capsys, words, of_site, num_nodes):
    os.environ["OPEN_R1_SITE_GPU_OPTIONS"] = of_site
    _, out, _ = call(capsys, *words, "--dry-run")
    nodes = ",".join(f"node{number}" for number in range(1, num_nodes + 1))
    assert f"--nodelist={nodes} " in out.rpartition("srun")[2]


@pytest.mark.parametrize("text", ["two", "0"])
def test_nodes_that_cannot_be_are_refused_also_among_the_words_for_sbatch(site, capsys, text):
    status, _, err = call(capsys, f"--sbatch=--nodes={text}")
    assert (status, called(site)) == (2, None)
    assert f"--nodes={text}, which is no number of nodes" in err


@pytest.mark.parametrize("words", ["--array=0-1", "--hold -a0-1"])
def test_array_that_would_do_the_same_several_times_is_refused(site, capsys, words):
    status, _, err = call(capsys, f"--sbatch={words}")
    assert (status, called(site)) == (2, None)
    assert "all tasks of an array would do the same work in the same place: submit without --array" in err


def test_dry_run_needs_no_slurm(site, capsys):
    (site / "sbatch").unlink()
    os.environ["PATH"] = str(site)
    assert call(capsys, "--dry-run")[0] == 0


def test_dry_run_writes_no_logs(site, capsys):
    call(capsys, "--dry-run")
    assert not (site / "logs").exists()


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--name", "nobody"], "slurm/greet.slurm: error: nobody can't be greeted: name somebody"),
        (["--nam", "Ada"], "unrecognized arguments: --nam Ada"),
        (["Ada"], "unrecognized arguments: Ada"),
        (["--nodes", "0"], "--nodes: it must be one number, 1 or more, got '0'"),
        (["--nodes", "2-4"], "--nodes: it must be one number, 1 or more, got '2-4'"),
        (["--nodes", "two"], "two"),
        (["--nodes"], "expected one argument"),
    ],
)
def test_command_line_that_cannot_be_is_refused_before_anything_starts(site, capsys, argv, complaint):
    status, out, err = call(capsys, *argv)
    assert (status, out, called(site)) == (2, "", None)
    assert complaint in err


@pytest.mark.parametrize("words", ["--comment='a", "--comment=\\"])
def test_words_for_sbatch_with_an_open_quote_are_refused(site, capsys, words):
    status, _, err = call(capsys, f"--sbatch={words}")
    assert (status, called(site)) == (2, None)
    assert "No closing quotation" in err or "No escaped character" in err


def test_refusal_of_slurm_is_told_with_status_one(site, capsys):
    os.environ["REFUSES"] = "invalid partition specified: gpu"
    status, out, err = call(capsys)
    assert (status, out) == (1, "")
    assert "sbatch: error: invalid partition specified: gpu" in err


@pytest.mark.parametrize("argv", [["--nodes", "2"], ["--sbatch=--time=1"]])
def test_job_refuses_what_is_for_the_submission(site, capsys, argv):
    os.environ["OPEN_R1_JOB_MODE"] = "job"
    status, _, err = call(capsys, *argv)
    assert status == 2
    assert "sbatch --nodes=2 slurm/NAME.slurm" in err


def test_help_has_every_flag_and_the_examples(site, capsys):
    status, out, _ = call(capsys, "--help")
    assert status == 0
    for text in ("--name", "--nodes N", "--sbatch WORDS", "--dry-run", "Greet everybody.", "greet.slurm --name Ada"):
        assert text in out


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--nodes", "2", "a"], ["a"]),
        (["--nodes=2", "--sbatch=x", "--dry-run", "a"], ["a"]),
        (["--sbatch", "x y", "a"], ["a"]),
        (["a", "--", "--nodes", "2", "--dry-run"], ["a", "--", "--nodes", "2", "--dry-run"]),
        (["--nodesx", "2"], ["--nodesx", "2"]),
        ([], []),
    ],
)
def test_words_for_the_submission_alone_are_left_out(words, kept):
    assert own_words(words) == kept


@pytest.mark.parametrize(
    "words",
    [("--args", "--a=1"), ("--args=--a=1",), ("--args", "--a 1"), ("--args", "-x"), ("--args", "--nodes=2 --a 1")],
)
def test_words_that_look_like_flags_are_values(site, capsys, words):
    """`--args "--a=1"` is how Open R1's users override one setting."""
    parser = build_parser("greet", "Greet everybody.")
    parser.add_argument("--args", metavar="WORDS", default="")
    parser.add_argument("words", nargs="*")

    def plan(arguments, site, allocation):
        assert (arguments.args, arguments.words) == (words[-1].removeprefix("--args="), ["--args", "--b"])
        return Plan(work=(Step("greet", ("echo",), allocation.nodes),))

    assert run(parser, plan, [*words, "--dry-run", "--", "--args", "--b"]) == 0
    assert "--args" in shlex.split(capsys.readouterr().out.partition("greet.slurm ")[2])[0]


FLAGS_WITH_WORDS = [
    (train.make_parser, "--args"),
    (train.make_parser, "--vllm-args"),
    (generate.make_parser, "--serve-args"),
    (evaluate.make_parser, "--serve_args"),
    (lambda: flags.build_parser(None), "--serve_args"),
]


@pytest.mark.parametrize(("make", "flag"), FLAGS_WITH_WORDS)
def test_words_of_a_flag_that_is_given_twice_all_count(make, flag, capsys):
    parser = make()
    for action in parser._actions:
        action.required = False
    name = flag.lstrip("-").replace("-", "_")
    assert vars(parser.parse_args([f"{flag}=--a 'b c'", f"{flag}=--d=1"]))[name] == "--a 'b c' --d=1"
    assert vars(parser.parse_args([]))[name] == ""
    with pytest.raises(SystemExit):
        parser.parse_args([f"{flag}=--a 'b", f"{flag}=c'"])
    assert "No closing quotation" in capsys.readouterr().err


def test_secrets_of_the_environment_are_shown_to_nobody(site):
    where = Site(root=site, node_python="python3", logs=site, environment={"HF_TOKEN": "hf_1", "HF_HOME": "/h"})
    step = Step("greet", ("echo",), ("node1",), env={"VLLM_API_KEY": ""})
    line = step.shell_line(where, Allocation.imagined(where, name="x"))
    assert "HF_TOKEN=*** HF_HOME=/h VLLM_API_KEY='' srun" in line and "hf_1" not in line
