# SPDX-License-Identifier: Apache-2.0
"""The arguments of evaluate.slurm, and the server and questions that they come to."""

import argparse
import base64
import json
import shlex
import sys

import pytest

from open_r1.cluster.allocation import Allocation
from open_r1.cluster.evaluate import make_parser, make_plan, with_flags
from open_r1.cluster.evaluation_flags import HANDED_ON
from open_r1.cluster.sites import Site
from open_r1.evaluation.flags import build_parser

# Of scripts/run_benchmarks.py: who is asked, which a job decides by itself, and what is for one run alone.
OF_THE_SCRIPT_ALONE = {
    "list_benchmarks", "slurm", "run_id", "model_id", "model_revision", "backend", "parallel", "num_gpus",
    "url", "served_model", "model_commit", "served_with", "api_key_env", "wait_s",
}  # fmt: skip


@pytest.fixture
def plan_of(tmp_path):
    """Return what makes the plan of a command line, on one node with 8 GPUs.

    With another Python on the nodes, which this one can't speak for, unless `is_tried`: then the script's own code
    reads the words, in a process.
    """

    def plan_of(*words, gpus=8, is_tried=False):
        python = sys.executable if is_tried else "no/such/python"
        site = Site(root=tmp_path, node_python=python, logs=tmp_path / "logs")
        arguments = make_parser().parse_args(with_flags([str(word) for word in words]))
        return make_plan(arguments, site, Allocation.imagined(site, name="evaluate", gpus_per_node=gpus))

    return plan_of


def served(plan):
    return list(plan.servers[0].step.command)


def asked(plan):
    return list(plan.work[0].command)


def test_arguments_by_position_say_the_same_as_flags(plan_of):
    prompt = base64.b64encode('Überlege "gut"; $x'.encode()).decode()
    by_position = plan_of("aime24", "lighteval|aime24|0|0", "me/m", "v1", "False", "True", prompt)
    by_flags = plan_of(
        "--model",
        "me/m",
        "--revision=v1",
        "--tasks",
        "lighteval|aime24|0|0",
        "--tensor-parallel",
        "false",
        "--trust-remote-code",
        "--system-prompt",
        'Überlege "gut"; $x',
    )
    assert served(by_position) == served(by_flags)
    assert asked(by_position) == asked(by_flags)
    assert '--system_prompt=Überlege "gut"; $x' in asked(by_flags)


@pytest.mark.parametrize(("parallel", "gpus"), [("auto", 8), ("4", 8), ("6", 6), ("16", 16)])
def test_number_of_gpus_that_nobody_has_said_is_told_and_refuses_nothing(plan_of, parallel, gpus):
    plan = plan_of("--model", "me/m", "--benchmarks", "aime24", "--tensor_parallel", parallel, gpus=None)
    (note,) = plan.notes
    assert f"{gpus} GPUs a node are assumed: gpus_per_node in slurm/cluster.sh says" in note
    assert plan.servers[0].step.gpus == gpus
    assert not plan_of("--model", "me/m", "--benchmarks", "aime24").notes
    with pytest.raises(ValueError, match="'x': with 8 GPUs"):
        plan_of("--model", "me/m", "--benchmarks", "aime24", "--tensor_parallel", "x", gpus=None)


def test_flags_of_the_submission_may_stand_before_arguments_by_position(plan_of):
    given = ["--nodes", "1", "--sbatch", "--mail-type=ALL", "--dry_run", "--sbatch", "-A x"]
    words = with_flags([*given, "aime24", "lighteval|aime24|0|0", "me/m", "main"])
    assert words == [
        "--benchmarks",
        "lighteval|aime24|0|0",
        "--model=me/m",
        "--revision=main",
        "--nodes",
        "1",
        "--sbatch=--mail-type=ALL",
        "--dry-run",
        "--sbatch=-A x",
    ]


def test_words_of_vllm_may_begin_with_a_flag_of_ours(plan_of):
    words = ("--model", "me/m", "--benchmarks", "aime24", "--serve-args", "--seed=1 --max-model-len=4096")
    assert served(plan_of(*words))[-2:] == ["--seed=1", "--max-model-len=4096"]


def test_benchmarks_that_are_named_twice_are_all_run(plan_of):
    words = asked(plan_of("--model", "me/m", "--benchmarks", "aime24", "--seed=1", "--tasks", "math_500", "gpqa"))
    assert words[words.index("--benchmarks") + 1 :][:3] == ["aime24", "math_500", "gpqa"]


@pytest.mark.parametrize("model", ["{folder}/demo/sft", "data/demo/sft", "./sft"])
def test_model_that_an_earlier_job_writes_may_come_later(plan_of, tmp_path, monkeypatch, model):
    words = ("--model", model.format(folder=tmp_path), "--benchmarks", "aime24")
    waiting = "--sbatch=--dependency=afterok:7 --kill-on-invalid-dep=yes"
    folder = str(tmp_path / words[1])
    assert served(plan_of(*words, waiting, is_tried=True))[2] == folder
    with pytest.raises(ValueError, match="there is no folder"):
        plan_of(*words, waiting, "--remove_model_copy")
    monkeypatch.setenv("OPEN_R1_JOB_MODE", "job")
    with pytest.raises(ValueError, match="there is no folder"):
        plan_of(*words)


def test_name_of_a_model_is_the_folder_that_is_there_when_the_job_runs(plan_of, tmp_path, monkeypatch):
    words = ("--model", "data/distill", "--benchmarks", "aime24")
    assert served(plan_of(*words, "--sbatch=-d afterok:7"))[2] == "data/distill"
    monkeypatch.setenv("OPEN_R1_JOB_MODE", "job")
    (tmp_path / "data" / "distill").mkdir(parents=True)
    assert served(plan_of(*words))[2] == str(tmp_path / "data" / "distill")


def test_key_of_the_users_environment_is_none_of_the_server(plan_of):
    assert plan_of("--model", "me/m", "--benchmarks", "aime24").servers[0].step.env["VLLM_API_KEY"] == ""


def test_results_of_a_job_say_how_its_server_was_started(plan_of):
    words = ("--model", "me/m", "--benchmarks", "aime24", "--serve_args=--dtype 'bfloat16'", "--trust_remote_code")
    plan = plan_of(*words)
    assert "--serve_args=--dtype 'bfloat16'" in asked(plan)
    assert "--trust_remote_code=true" in asked(plan)
    (command,) = (word.partition("=")[2] for word in asked(plan) if word.startswith("--served_with="))
    assert shlex.split(command) == served(plan)[-len(shlex.split(command)) :]
    assert "--tensor-parallel-size" in command


def test_a_job_that_overwrites_does_so_once(plan_of):
    words = ("--model", "me/m", "--benchmarks", "aime24")
    assert {"--overwrite", "--run_id=job-<job>"} <= set(asked(plan_of(*words, "--overwrite")))
    assert not any(word.startswith("--run_id") for word in asked(plan_of(*words)))


@pytest.mark.parametrize(
    "flag",
    [
        "--num_samples=0",
        "--limit=-3",
        "--temperature=9",
        "--temperature=nan",
        "--top_p=0",
        "--max_tokens=zzz",
        "--seed=1.5",
    ],
)
def test_values_that_cannot_work_are_refused_before_a_job_waits(plan_of, flag, capsys):
    with pytest.raises(SystemExit, match="2"):
        plan_of("--model", "me/m", "--benchmarks", "aime24", flag)
    assert f"argument {flag.partition('=')[0]}" in capsys.readouterr().err


def test_remote_code_is_trusted_only_when_asked(plan_of):
    assert "--trust-remote-code" not in served(plan_of("--model", "me/m", "--benchmarks", "aime24"))
    assert "--trust-remote-code" in served(plan_of("--model", "me/m", "--benchmarks", "aime24", "--trust_remote_code"))


@pytest.mark.parametrize(
    ("model", "value", "gpus", "words"),
    [
        ("me/m-7b", "auto", 8, ["--tensor-parallel-size", "1", "--data-parallel-size", "8"]),
        ("me/m-70B-it", "auto", 8, ["--tensor-parallel-size", "8"]),
        ("me/moe-8x7b", "auto", 2, ["--tensor-parallel-size", "2"]),
        ("me/m", "4", 8, ["--tensor-parallel-size", "4", "--data-parallel-size", "2"]),
        ("me/m", "True", 4, ["--tensor-parallel-size", "4"]),
        ("me/m", "True", 0, []),
        ("me/m", "auto", 1, ["--tensor-parallel-size", "1"]),
    ],
)
def test_copies_of_the_model_use_all_gpus(plan_of, model, value, gpus, words):
    plan = plan_of("--model", model, "--benchmarks", "aime24", "--tensor_parallel", value, gpus=gpus)
    command = served(plan)
    assert command[command.index("--revision") + 2 :] == words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["aime24", "aime24", "me/m"], "got 3 arguments before the flags"),
        (["a", "aime24", "me/m", "main", "False", "False", "", "x"], "got 8 arguments"),
        (["a", "aime24", "me/m", "main", "False", "False", "no base64!"], "is no base64"),
        (["a", "aime24", "me/m", "main", "3"], r"with 8 GPUs it must be one of \[1, 2, 4, 8\]"),
        (["a", "aime24", "me/m", "main", "False", "perhaps"], "--trust_remote_code is 'perhaps'"),
        (["a", "aime26", "me/m", "main"], "Unknown benchmark 'aime26'"),
        (["--model", "me/m"], "name --benchmarks, or a local file by --data"),
        (["--model", "me/m", "--data", "gone.jsonl"], "gone.jsonl: there is no such file"),
        (["--model", "./gone", "--benchmarks", "aime24"], "there is no folder"),
        (["--model", "me/m", "--benchmarks", "aime24", "--remove_model_copy"], "there is no folder"),
        (["--model=-x/y", "--benchmarks", "aime24"], "there is no folder"),
        (["--model", "me/m", "--benchmarks", "aime24", "--revision=-r"], "no branch, tag or commit"),
        *(
            (
                ["--model", "me/m", "--benchmarks", "aime24", f"--serve_args={words}"],
                "is not for the arguments of vLLM",
            )
            for words in (
                "--api-key x",
                "--hf-tok=x",
                "--revision other",
                "--rev=other",
                "--model o",
                "--config f",
                "--host h",
                "--port=1",
                "--uds s",
                "--ssl_keyfile k",
                "--root-path /x",
            )
        ),
    ],
)
def test_command_lines_that_cannot_work_are_refused(plan_of, words, said):
    with pytest.raises(ValueError, match=said):
        plan_of(*words)


def test_no_model_is_removed_but_a_copy_of_a_checkpoint(plan_of, tmp_path):
    checkpoint, copy = tmp_path / "checkpoint-1", tmp_path / ".evaluations" / "checkpoint-1-0a"
    for folder in (checkpoint, copy):
        folder.mkdir(parents=True)
    words = ("--benchmarks", "aime24", "--remove_model_copy")
    with pytest.raises(ValueError, match=r"checkpoint-1 .*evaluations"):
        plan_of("--model", checkpoint, *words)
    assert plan_of("--model", copy, *words).work[-1].command == ("rm", "-r", "--", str(copy))


def test_benchmark_that_a_node_cannot_load_ends_the_job_before_it_serves(plan_of, tmp_path, monkeypatch):
    (tmp_path / "torn.jsonl").write_text("no object\n")
    (tmp_path / "good.jsonl").write_text('{"problem": "1+1", "solution": "2"}\n')
    plan_of("--model", "me/m", "--benchmarks", "aime24", is_tried=True)  # where it's submitted, the hub isn't asked
    monkeypatch.setenv("OPEN_R1_JOB_MODE", "job")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for words in (["--benchmarks", "good.jsonl", "torn.jsonl"], ["--data", "torn.jsonl"]):
        with pytest.raises(ValueError, match=r"benchmarks can't be loaded on this node: .*torn"):
            plan_of("--model", "me/m", *words, is_tried=True)
    with pytest.raises(ValueError, match=r"benchmarks can't be loaded on this node: .*aime24 .*can't be loaded"):
        plan_of("--model", "me/m", "--benchmarks", "aime24", is_tried=True)
    assert served(plan_of("--model", "me/m", "--benchmarks", tmp_path / "good.jsonl", is_tried=True))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ["eval_results/me/m/main/rows", "eval_results/me/m/main/more"]),
        (
            ["--engine=inspect", "--output_dir=out", "--model_name=short", "--revision=v1"],
            ["out/short/v1/rows-inspect", "out/short/v1/more-inspect"],
        ),
    ],
)
def test_job_knows_where_its_answers_are_kept(plan_of, tmp_path, monkeypatch, words, names):
    for name in ("rows", "more"):
        (tmp_path / f"{name}.jsonl").write_text('{"problem": "1+1", "solution": "2"}\n')
    given = ("--model", "me/m", "--benchmarks", "rows.jsonl", "more.jsonl", *words)
    assert plan_of(*given).answers_in is None  # where it is submitted, or by another Python, nobody says
    monkeypatch.setenv("OPEN_R1_JOB_MODE", "job")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert plan_of(*given, is_tried=True).answers_in == tuple(tmp_path / name for name in names)


CHOICES = {"question": "2+2?", "choices": ["3", "4"]}
PROGRAM = {
    "problem": "Add.",
    "verification_info": {"language": "python", "test_cases": [{"input": "", "output": "1"}]},
}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "choices.jsonl"], "has no columns .*solution"),
        (["--benchmarks", "choices.jsonl"], "has no columns .*solution"),
        (["--data", "programs.jsonl", "--engine", "lighteval"], "lighteval has no metric beyond LiveCodeBench"),
        (["--benchmarks", "lcb", "--engine=lighteval", "--prompt_template={prompt}"], "lighteval's own prompt"),
        (["--benchmarks", "aime24", "--prompt_template=no place"], r"The prompt template has no \{prompt\}"),
        (["--benchmarks", "aime24", "--temperature=0", "--num_samples=4"], "num_samples must be 1"),
        (["--benchmarks", "aime24", "--model_name=../../etc"], "it names a folder in"),
    ],
)
def test_what_the_script_can_only_refuse_is_refused_before_a_job_waits(plan_of, tmp_path, words, said):
    (tmp_path / "choices.jsonl").write_text(json.dumps(CHOICES) + "\n")
    (tmp_path / "programs.jsonl").write_text(json.dumps(PROGRAM) + "\n")
    with pytest.raises(ValueError, match=said):
        plan_of("--model", "me/m", *words, is_tried=True)


def test_flags_of_the_script_are_those_of_jobs():
    of_jobs = {action.dest for action in make_parser()._actions}
    of_the_script = {action.dest for action in build_parser(None)._actions}
    assert of_the_script - of_jobs == OF_THE_SCRIPT_ALONE
    assert set(HANDED_ON) <= of_the_script


def test_words_that_the_script_takes_are_taken_of_jobs():
    for action in build_parser(None)._actions:
        if action.choices is not None and action.dest in HANDED_ON:
            assert [HANDED_ON[action.dest](word) for word in action.choices] == list(action.choices)
            with pytest.raises(argparse.ArgumentTypeError, match="'no such' is none of"):
                HANDED_ON[action.dest]("no such")


def test_engine_kind_and_sandbox_are_handed_on(plan_of, tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}\n")
    words = [
        "--engine=inspect",
        "--kind=code",
        "--code_provider=local",
        "--parallel_code_exec_per_proc=8",
        "--code_test_timeout_s=3",
    ]
    assert set(words) <= set(asked(plan_of("--model", "me/m", "--data", "rows.jsonl", *words)))
