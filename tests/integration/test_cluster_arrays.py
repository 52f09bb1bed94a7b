# SPDX-License-Identifier: Apache-2.0
"""Job arrays as plans: rows of tasks, what a command line is cut into, what the merge is told, refusals."""

import os
import subprocess
import sys

import pytest

from open_r1.cluster import decontaminate, pass_rate
from open_r1.cluster.script_flags import check_flags, has_packages_of_nodes
from open_r1.cluster.sites import Site
from tests.conftest import ROOT

RECIPE = "recipe's.yaml"


@pytest.fixture(autouse=True)
def project(tmp_path, environment):
    """The environment of a script that is run where it lies, on a machine whose sbatch says 41, 42, ..."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OPEN_R1_"))]:
        del os.environ[name]
    (tmp_path / RECIPE).write_text("output_dataset_name: me/rates\n", encoding="utf-8")
    (tmp_path / "sbatch").write_text(
        '#!/bin/bash\nprintf "%s " "$@" >>"${0%/*}/called"; echo >>"${0%/*}/called"\n'
        'echo $((40 + $(wc -l <"${0%/*}/called")))\n'
    )
    (tmp_path / "sbatch").chmod(0o755)
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (tmp_path / "rates.slurm").write_text("#!/bin/bash\n#SBATCH --job-name=rates\n")
    os.environ.update(
        OPEN_R1_ROOT=str(tmp_path),
        OPEN_R1_SITE_NODE_PYTHON=sys.executable,
        OPEN_R1_SITE_LOGS=str(tmp_path / "logs"),
        OPEN_R1_SITE_GPU_OPTIONS="--partition=gpu",
        OPEN_R1_SITE_CPU_OPTIONS="--partition=cpu",
        OPEN_R1_JOB_MODE="submit",
        OPEN_R1_JOB_SCRIPT=str(tmp_path / "rates.slurm"),
        OPEN_R1_JOB_KIND="gpu",
        PATH=f"{tmp_path}:{os.environ['PATH']}",
    )
    return tmp_path


@pytest.fixture
def called(project):
    """Return what sbatch was called with, a line a call, without the words that all calls have."""
    head = f"--parsable --chdir={project} "
    return lambda: [line.strip().removeprefix(head) for line in (project / "called").read_text().splitlines()]


def work_of(module, *words):
    """Return what a command line is cut into."""
    given = pass_rate.with_flags(words) if module is pass_rate else words
    arguments, arguments.rest = module.build_parser().parse_known_args(given)
    return module.make_work(arguments, Site.from_environment())


@pytest.mark.parametrize(("num_rows", "chunk"), [(17_398, 200), (400, 200), (1, 200), (7, 3)])
def test_chunks_hold_every_row_once(num_rows, chunk):
    work = work_of(pass_rate, "--config", RECIPE, "--chunk", str(chunk), "--num_rows", str(num_rows))
    words = [work.of_task(task) for task in range(work.num_tasks)]
    ranges = [range(int(task[task.index("--start") + 1]), int(task[task.index("--end") + 1])) for task in words]
    assert [row for rows in ranges for row in rows] == list(range(num_rows))


def test_tasks_are_shards_and_flags_of_the_script_reach_them_as_they_are():
    work = work_of(pass_rate, "--config", RECIPE, "--tasks", "3", "--push_to_hub", "--system_prompt", 'a "b" c')
    assert work.of_task(2) == (
        "--config",
        RECIPE,
        "--system_prompt",
        'a "b" c',
        "--output_dir",
        "data/rates",
        "--shard",
        "2/3",
    )
    assert work.merge == ("--merge", "--output_dir", "data/rates", "--push_to_hub", "me/rates")


def test_old_positional_arguments_are_a_range_of_rows():
    work = work_of(pass_rate, RECIPE, "200", "400", "--retries", "3")
    assert work.of_task is None
    assert work.whole == (
        "--config",
        RECIPE,
        "--retries",
        "3",
        "--output_dir",
        "data/rates",
        "--start",
        "200",
        "--end",
        "400",
    )


@pytest.mark.parametrize(
    ("words", "kind", "gpus"),
    [
        ((), "gpu", 1),
        (("--tensor_parallel_size", "4"), "gpu", 4),
        (("--serve", "true"), "gpu", 1),
        (("--server", "node1:8000", "node2:8000"), "cpu", 0),
    ],
)
def test_tasks_have_the_gpus_that_their_model_needs(words, kind, gpus):
    work = work_of(pass_rate, "--config", RECIPE, *words)
    assert (work.kind, work.gpus) == (kind, gpus)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tasks", "2", "--chunk", "9"), "give one of them"),
        (("--tasks", "2", "--start", "1"), "leave --start, --end and --shard out"),
        (("--tasks", "2", "--shard", "0/2"), "leave --start, --end and --shard out"),
        (("--chunk", "0"), "must be 1 or more"),
        (("--num_rows", "9"), "is for --chunk"),
        (("--public",), "add --push_to_hub NAME"),
        (("--merge", "--temperature", "1"), "it does not take --temperature 1"),
    ],
)
def test_rows_that_cannot_be_cut_so_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        work_of(pass_rate, "--config", RECIPE, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tasks", "2"), "give --output_dir FOLDER"),
        (("--tasks", "0", "--output_dir", "x"), "must be 1 to"),
        (("--tasks", "2", "--output_dir", "x", "--array", "2"), "there is no task 2: the 2 tasks are 0 to 1"),
        (("--tasks", "2", "--output_dir", "x", "--array", "0;ls"), "write 3 or 3,7"),
        (("--tasks", "9", "--output_dir", "x", "--array", "3-1"), "write 3 or 3,7"),
        (("--tasks", "9", "--output_dir", "x", "--array", "0-9:3"), "there is no task 9"),
        (("--output_dir", "x", "--merge", "--array", "2"), "give one of them"),
        (("--tasks", "2", RECIPE, "0", "200"), "what has no flag comes first"),
        (("--chunk", "5", "--output_dir", "x"), "say which ones to run"),
        (("--array", "1"), "say the number of all"),
        (("--tasks", "2", "--nodes", "2"), "each task runs on one node"),
        (("--tasks", "2", "--output_dir", "x", "--sbatch=-N 2"), "each task runs on one node"),
        (("--tasks", "4", "--output_dir", "x", "--sbatch=--array=0-1"), "--array is not for --sbatch here"),
        (("--tasks", "4", "--output_dir", "x", "--sbatch", "--time=1 -a 0-1"), "--array is not for --sbatch here"),
        (("--tasks", "4", "--output_dir", "x", "--sbatch=--arr 0-1"), "--array is not for --sbatch here"),
        (("a", "0", "1", "2"), "CONFIG START END are the most"),
        ((RECIPE, "200", "0"), "rows 200 to 0: the first is 0 or more, and the end is the row behind the last one"),
        (("--config", "nope.yaml"), "Cannot read the recipe"),
    ],
)
def test_arrays_that_cannot_run_are_refused_before_anything_is_submitted(project, capsys, words, message):
    with pytest.raises(SystemExit) as end:
        pass_rate.main(words)
    assert end.value.code == 2
    assert message in capsys.readouterr().err
    assert not (project / "called").exists()


def test_array_and_merge_are_submitted_in_a_chain(project, called, capsys):
    words = ["--config", RECIPE, "--tasks", "10", "--output-dir=x"]
    assert pass_rate.main([*words, "--sbatch=--time=1:00:00"]) == 0
    script = f"{project}/rates.slurm"
    given = f"--config {RECIPE} --tasks 10 --output_dir=x"
    assert called() == [
        f"--partition=gpu --array=0-9 --gpus-per-node=1 --output=logs/%x-%A_%a.log --time=1:00:00 {script} {given}",
        "--partition=cpu --job-name=rates-merge --gpus-per-node=0 --dependency=afterok:41 --kill-on-invalid-dep=yes "
        f"{script} --merge {given}",
    ]
    assert capsys.readouterr().out == "Submitted batch job 41 (tasks 0-9)\nSubmitted batch job 42 (merge)\n"


@pytest.mark.parametrize(
    ("asked", "kept", "kind"),
    [
        ("--gres=gpu:8", "", ""),
        ("--gres=gpu:a100:8,nvme:1", "--gres=nvme:1 ", "a100:"),
        ("-G8", "", ""),
        ("--gpus\nh100:8", "", "h100:"),
        ("--gpus-per-node=8", "", ""),
        ("--gres\ngpu", "", ""),
        ("--gres=nvme:1", "--gres=nvme:1 ", ""),
    ],
)
def test_tasks_have_their_own_gpus_in_place_of_those_of_a_site(called, asked, kept, kind):
    os.environ["OPEN_R1_SITE_GPU_OPTIONS"] = f"--partition=gpu\n{asked}"
    pass_rate.main(["--config", RECIPE, "--tasks", "2"])
    assert called()[0].startswith(f"--partition=gpu {kept}--array=0-1 --gpus-per-node={kind}1 --output")


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("--gres=gpu:a100:2", "--gres=gpu:a100:2"),
        ("--gres nvme:1", "--gpus-per-node=h100:1 --gres nvme:1"),
        ("-G 2 --mem=1", "-G 2 --mem=1"),
        ("--gres=nvme:1,gpu", "--gres=nvme:1,gpu"),
    ],
)
def test_gpus_that_the_user_asks_for_take_the_place_of_those_of_a_task(called, given, asked):
    os.environ["OPEN_R1_SITE_GPU_OPTIONS"] = "--partition=gpu\n--gres=gpu:h100:8"
    pass_rate.main(["--config", RECIPE, "--tasks", "2", f"--sbatch={given}"])
    array, merge = called()
    words = array.replace("--output=logs/%x-%A_%a.log ", "")
    assert words.startswith(f"--partition=gpu --array=0-1 {asked} /")
    assert "--gpus-per-node=0 --dependency" in merge


def test_one_task_is_submitted_again_alone_and_a_merge_behind_it(called):
    pass_rate.main(["--config", RECIPE, "--tasks", "10", "--array", "3,5%1"])
    assert [line.partition(" /")[0] for line in called()] == [
        "--partition=gpu --array=3,5%1 --gpus-per-node=1 --output=logs/%x-%A_%a.log",
        "--partition=cpu --job-name=rates-merge --gpus-per-node=0 --dependency=afterok:41 --kill-on-invalid-dep=yes",
    ]
    assert all("--array 3" not in line for line in called())


@pytest.mark.parametrize(
    ("words", "of_merge"),
    [
        (("--sbatch=--account=me", "--sbatch", "--qos=high"), "--account=me --qos=high"),
        (
            (
                "--sbatch",
                "--mail-user=a@b --time=5 -A me",
            ),
            "--mail-user=a@b -A me",
        ),
        (("--sbatch", "--mail-type=END"), "--mail-type=END"),
        (("--sbatch=--account me --mem 4G -qhigh",), "--account me -qhigh"),
        (("--sbatch=--partition=big", "--sbatch=--exclusive"), ""),
        (("--sbatch=--dependency=afterok:7 --kill-on-invalid-dep=yes",), ""),
    ],
)
def test_who_pays_for_an_array_pays_for_its_merge(called, words, of_merge):
    pass_rate.main(["--config", RECIPE, "--tasks", "2", *words])
    array, merge = called()
    for word in words[0].partition("=")[2].split():
        assert word in array
    gpus, _, chain = merge.partition("--gpus-per-node=0 ")[2].partition("--dependency=afterok:41")
    assert (gpus.strip(), chain.split()[0]) == (of_merge, "--kill-on-invalid-dep=yes")


def test_partition_of_tasks_without_gpus_is_that_of_the_merge(called):
    decontaminate.main(["--dataset", "rows", "--tasks", "2", "--sbatch=-p big"])
    assert all("-p big" in line for line in called())


def test_flags_of_the_submission_may_stand_before_old_positional_arguments():
    assert pass_rate.with_flags(["--dry-run", "--sbatch=--time=5", "--sbatch", "-A x", RECIPE, "0", "200"])[4:] == [
        "--config",
        RECIPE,
        "--start",
        "0",
        "--end",
        "200",
    ]


def test_flags_behind_a_bare_dash_are_read_as_everywhere(called):
    decontaminate.main(["--dataset", "rows", "--tasks", "3", "--", "--array", "1"])
    array, merge = called()
    assert "--array=1 " in array and "--array" not in merge and " -- " not in array
    assert "--array 1" not in array


@pytest.mark.parametrize("words", [("--task", "5"), ("--arary", "3"), ("--ngram_size", "many"), ("--shard", "9")])
def test_what_the_script_does_not_take_is_refused_before_anything_is_submitted(project, capsys, words):
    with pytest.raises(SystemExit) as end:
        decontaminate.main(["--dataset", "rows", *words, *(["--start", "1"] if words[0] == "--shard" else [])])
    assert end.value.code == 2
    assert "scripts/decontaminate.py refuses its flags: " in capsys.readouterr().err
    assert not (project / "called").exists()


def test_script_in_a_container_reads_its_flags_in_the_job(called):
    os.environ["OPEN_R1_SITE_CONTAINER"] = "apptainer\nexec\nimage"
    decontaminate.main(["--dataset", "rows", "--of_the_image", "1"])
    assert len(called()) == 1


def test_script_of_another_python_reads_its_flags_in_the_job(called):
    """With pyxis the container is in srun_options, and this Python may have PyYAML alone."""
    os.environ["OPEN_R1_SITE_NODE_PYTHON"] = "/usr/bin/python3"
    decontaminate.main(["--dataset", "rows", "--of_the_image", "1"])
    assert len(called()) == 1


@pytest.mark.parametrize(
    ("settings", "is_so"),
    [({}, True), ({"NODE_PYTHON": "/usr/bin/python3"}, False), ({"CONTAINER": "apptainer\nexec"}, False)],
)
def test_packages_are_those_of_the_nodes_where_they_have_this_python(settings, is_so):
    os.environ.update({f"OPEN_R1_SITE_{name}": value for name, value in settings.items()})
    assert has_packages_of_nodes(Site.from_environment()) is is_so


@pytest.mark.parametrize("fault", ["import no_such_package", "raise ImportError('libcuda.so.1: cannot open')"])
def test_script_that_lacks_packages_here_reads_its_flags_in_the_job(fault):
    check_flags(Site.from_environment(), "scripts/x.py", fault, ["--any", "1"])


def test_environment_without_packages_submits_where_the_nodes_have_them():
    """As on a site whose supervisor has PyYAML alone: nothing but the standard library is imported."""
    program = (
        "import importlib.abc, sys\n"
        "class Slim(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.partition('.')[0] in ('numpy', 'torch', 'trl', 'transformers', 'datasets'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Slim())\n"
        "from open_r1.cluster import pass_rate\n"
        "sys.exit(pass_rate.main(sys.argv[1:]))\n"
    )
    os.environ["OPEN_R1_SITE_NODE_PYTHON"] = "/usr/bin/python3"
    done = subprocess.run(
        [sys.executable, "-c", program, "--config", RECIPE, "--tasks", "2", "--dry-run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "/usr/bin/python3" in done.stdout


def test_dry_run_of_an_array_submits_nothing(project, capsys):
    assert pass_rate.main(["--config", RECIPE, "--tasks", "2", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "--shard 0/2" in shown
    assert "--merge --output_dir data/rates" in shown
    assert not (project / "called").exists()


def test_duplicates_and_pushes_are_for_the_merge_of_decontaminated_parts():
    work = work_of(
        decontaminate,
        "--dataset",
        "a b",
        "--tasks",
        "2",
        "--cleanup",
        "--deduplicate",
        "0.9",
        "--new_dataset_name",
        "me/clean",
        "--report",
        "r.md",
    )
    part = ("--dataset", "a b", "--output_dir", "data/clean", "--cleanup")
    assert work.of_task(1) == (*part, "--shard", "1/2")
    end = ("--deduplicate", "0.9", "--report", "r.md", "--new_dataset_name", "me/clean")
    assert work.merge == (*part, *end, "--merge")
