# SPDX-License-Identifier: Apache-2.0
"""A run that is started again goes on under the same name in the experiment trackers, a fresh one gets another."""

import json
import os
import sqlite3

import pytest

from open_r1.cluster.submission import OWN_TRACKING_VARIABLE, clean_environment
from open_r1.configs import SFTConfig
from open_r1.manifest import RUN_MANIFEST_NAME
from open_r1.training.tracking import continue_tracking, has_begun
from tests.integration.tiny import Tiny, build_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def _own_variables(monkeypatch):
    for name in ("WANDB_RUN_ID", "WANDB_RESUME", OWN_TRACKING_VARIABLE):
        monkeypatch.setenv(name, "")  # so that it is put back after the test
        monkeypatch.delenv(name)


@pytest.fixture
def begin(tmp_path):
    """Begin a run in a folder as a training does; returns the id and the arguments."""

    def begin(fresh=False, trackers=("wandb", "trackio"), **settings):
        os.environ.pop("WANDB_RUN_ID", None)  # another process
        args = SFTConfig(output_dir=str(tmp_path / "a-run"), bf16=False, use_cpu=True, report_to="none", **settings)
        args.report_to = list(trackers)
        tracking_id = continue_tracking(args, is_fresh_start=fresh)
        path = tmp_path / "a-run" / RUN_MANIFEST_NAME
        path.parent.mkdir(exist_ok=True)
        runs = json.loads(path.read_text())["runs"] if path.exists() else []
        path.write_text(json.dumps({"runs": [*runs, {"settings": {}, "tracking_id": tracking_id}]}))
        return tracking_id, args

    return begin


def test_id_stays_until_a_fresh_start(begin):
    first, _ = begin()
    assert (os.environ["WANDB_RUN_ID"], os.environ["WANDB_RESUME"]) == (first, "allow")
    assert begin()[0] == first
    second, _ = begin(fresh=True)
    assert second != first
    assert begin()[0] == second == os.environ["WANDB_RUN_ID"]


def test_jobs_that_a_training_submits_do_not_write_into_its_run(begin):
    begin()
    assert not {"WANDB_RUN_ID", "WANDB_RESUME"} & clean_environment(os.environ).keys()


def test_second_training_of_a_process_is_a_run_of_its_own(begin, tmp_path):
    first, args = begin()
    args.output_dir = str(tmp_path / "another")
    assert continue_tracking(args, is_fresh_start=False) == os.environ["WANDB_RUN_ID"] != first


def test_id_that_the_user_has_chosen_stays(begin, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    monkeypatch.setenv("WANDB_RESUME", "must")
    args = SFTConfig(output_dir=str(tmp_path), bf16=False, use_cpu=True, report_to="none")
    args.report_to = ["wandb"]
    continue_tracking(args, is_fresh_start=True)
    assert (os.environ["WANDB_RUN_ID"], os.environ["WANDB_RESUME"]) == ("mine", "must")


def test_nothing_is_set_for_trackers_that_nobody_asked_for(begin):
    _, args = begin(trackers=())
    assert "WANDB_RUN_ID" not in os.environ and args.run_name is None


def test_trackio_names_a_run_for_its_folder_unless_the_recipe_does(begin):
    first, args = begin()
    assert args.run_name == f"a-run-{first}" == begin()[1].run_name
    assert begin(fresh=True)[1].run_name not in (None, args.run_name)


def test_trackio_takes_the_name_of_the_recipe(begin):
    assert begin(run_name="mine")[1].run_name == begin(fresh=True, run_name="mine")[1].run_name == "mine"


@pytest.mark.parametrize("text", ["", "{"])
def test_damaged_manifest_gives_a_new_id(begin, tmp_path, text):
    first, args = begin()
    (tmp_path / "a-run" / RUN_MANIFEST_NAME).write_text(text)
    assert continue_tracking(args, is_fresh_start=False) != first


def test_only_a_requeued_job_has_begun(tmp_path, monkeypatch):
    (tmp_path / RUN_MANIFEST_NAME).write_text('{"runs": [{"settings": {}, "slurm_job": "7"}]}')
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert not has_begun(tmp_path)  # the same command twice in an interactive job
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert has_begun(tmp_path)
    assert not has_begun(tmp_path / "elsewhere")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert not has_begun(tmp_path)


def test_wandb_knows_the_run_by_its_id(tiny, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name, value in {"MODE": "offline", "SILENT": "true", "DIR": tmp_path, "CACHE_DIR": tmp_path}.items():
        monkeypatch.setenv(f"WANDB_{name}", str(value))
    tiny.train("sft", tmp_path / "output", max_steps=1, report_to="wandb")
    wandb.finish()
    (run,) = json.loads((tmp_path / "output" / RUN_MANIFEST_NAME).read_text())["runs"]
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert folder.name.endswith(f"-{run['tracking_id']}")


def test_trackio_goes_on_with_the_same_run(tiny, tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    folder = tmp_path / "trackio"
    monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", folder)
    for settings in ({"max_steps": 2}, {"max_steps": 3}, {"max_steps": 1, "resume_from_checkpoint": "false"}):
        tiny.train("sft", tmp_path / "output", **settings, report_to="trackio", project="sums")
    runs = json.loads((tmp_path / "output" / RUN_MANIFEST_NAME).read_text())["runs"]
    first, second, fresh = (f"output-{run['tracking_id']}" for run in runs)
    (database,) = folder.glob("sums*.db")
    with sqlite3.connect(database) as connection:
        rows = connection.execute("select run_id, run_name, metrics from metrics").fetchall()
    steps: dict[tuple[str, str], list[int]] = {}
    for run_id, name, metrics in rows:
        if "train/loss" in (logged := json.loads(metrics)):
            steps.setdefault((run_id, name), []).append(logged["train/global_step"])
    assert first == second != fresh
    assert sorted((name, logged) for (_, name), logged in steps.items()) == sorted([(first, [1, 2, 3]), (fresh, [1])])
