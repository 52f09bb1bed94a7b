# SPDX-License-Identifier: Apache-2.0
"""What a run does, and leaves alone, before its first step."""

import json
import shutil
from types import SimpleNamespace

import pytest
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType
from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env

from open_r1.arguments import RecipeParser
from open_r1.configs import ModelConfig, SFTConfig, SFTScriptArguments
from open_r1.manifest import write_manifest
from open_r1.training.checkpoints import Start, find_start, list_checkpoints, publish
from open_r1.training.run import check_processes, is_refusal
from tests.conftest import ROOT
from tests.integration.tiny import build_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("tiny"))


def test_refused_run_leaves_checkpoints_and_manifest_alone(tiny, tmp_path):
    tiny.train("grpo", tmp_path, max_steps=2)
    before = (tmp_path / "run_manifest.json").read_text(encoding="utf-8")
    for settings in ({"reward_funcs": ["acuracy"]}, {"dataset_prompt_column": "nothing"}):
        with pytest.raises(ValueError, match=r"acuracy|nothing"):
            tiny.train("grpo", tmp_path, resume_from_checkpoint="false", learning_rate=0.5, **settings)
    assert (tmp_path / "checkpoint-2").is_dir()
    assert not (tmp_path / "superseded-1").exists()
    assert (tmp_path / "run_manifest.json").read_text(encoding="utf-8") == before


def save_checkpoint(folder):
    folder.mkdir(parents=True)
    (folder / "rng_state.pth").touch()
    write_manifest(folder)
    return folder


@pytest.mark.parametrize(
    ("starts", "goes_on"),
    [
        ([], False),
        ([None], False),
        (["other/checkpoint-5"], True),
        (["other/checkpoint-5", "other/checkpoint-5", "output/checkpoint-9"], True),
        (["other/checkpoint-5", None, "output/checkpoint-9"], False),
        (["other/checkpoint-5", "third/checkpoint-5"], False),
    ],
)
def test_checkpoint_of_another_folder_is_where_a_run_starts_once(tmp_path, monkeypatch, starts, goes_on):
    monkeypatch.chdir(tmp_path)
    output, given = tmp_path / "output", save_checkpoint(tmp_path / "other" / "checkpoint-5")
    own = save_checkpoint(output / "checkpoint-9")
    runs = [{"settings": {}, "started_from": start} for start in starts]
    (output / "run_manifest.json").write_text(json.dumps({"runs": runs}))
    arguments = SimpleNamespace(output_dir=str(output), resume_from_checkpoint=str(given))
    assert find_start(arguments) == (Start(own) if goes_on else Start(given, superseded_after=-1))
    if goes_on:
        shutil.rmtree(own)  # it had saved nothing yet
        assert find_start(arguments) == Start(given)


def test_run_from_another_folder_puts_the_run_before_aside_and_not_itself(tiny, tmp_path):
    tiny.train("sft", tmp_path / "other", max_steps=1)
    output, settings = tmp_path / "output", {"resume_from_checkpoint": tmp_path / "other" / "checkpoint-1"}
    tiny.train("sft", output, max_steps=4)
    tiny.train("sft", output, max_steps=2, save_total_limit=1, **settings)
    assert [path.name for path in list_checkpoints(output)] == ["checkpoint-2"]
    assert (output / "superseded-1" / "checkpoint-4").is_dir()
    tiny.train("sft", output, max_steps=3, **settings)
    assert [path.name for path in list_checkpoints(output)] == ["checkpoint-2", "checkpoint-3"]
    assert not (output / "superseded-2").exists()


def test_rows_cut_before_the_answer_ends_are_refused(tiny, tmp_path):
    # The user's turn still ends in EOS, and its label counts: that proves nothing.
    row = {"messages": [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2" * 200}]}
    data = tmp_path / "long.jsonl"
    data.write_text("\n".join([json.dumps(row)] * 8), encoding="utf-8")
    with pytest.raises(ValueError, match="ends in the EOS token"):
        tiny.train("sft", tmp_path / "out", dataset_name=data, max_length=64)
    tiny.train("sft", tmp_path / "out", dataset_name=data, max_length=256, max_steps=1)


def test_packed_rows_may_end_in_any_of_their_documents(tiny, tmp_path):
    tiny.train("sft", tmp_path / "out", packing=True, max_length=100, max_steps=1, per_device_train_batch_size=1)


def test_several_gpus_in_one_process_are_refused(tiny, tmp_path):
    _, training_args, _ = RecipeParser((SFTScriptArguments, SFTConfig, ModelConfig)).parse(tiny.argv("sft", tmp_path))
    check_processes(training_args)
    training_args._n_gpu = 2  # what transformers finds on a machine with two GPUs and no launcher
    with pytest.raises(RuntimeError, match="DataParallel"):
        check_processes(training_args)


def variables_of_launcher(*words):
    """What `accelerate launch` with these words hands to its processes, by its own functions."""
    command = ["--main_process_port", "0", *words, "script.py"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(command))
    if arguments.use_fsdp or arguments.multi_gpu:
        return prepare_multi_gpu_env(arguments) | {"WORLD_SIZE": arguments.nproc_per_node}  # torchrun's
    return prepare_simple_launcher_cmd_env(arguments)[1]


@pytest.fixture
def check_launch(tiny, tmp_path, environment):
    """Return the function that checks an SFT run in a process which the launcher's words, or variables, start."""

    def check(words, num_joined, kind):
        """Let the process be one of `num_joined` that accelerate counts, which it runs as a kind of training."""
        parse = RecipeParser((SFTScriptArguments, SFTConfig, ModelConfig)).parse
        _, training_args, _ = parse(tiny.argv("sft", tmp_path))
        environment.update(words if isinstance(words, dict) else variables_of_launcher(*words))
        training_args.distributed_state = SimpleNamespace(num_processes=num_joined, distributed_type=kind)
        check_processes(training_args)

    return check


def config(name):
    return ["--config_file", str(ROOT / "recipes" / "accelerate_configs" / f"{name}.yaml")]


# Words for the launcher, or its variables; how many processes accelerate then counted on a machine without GPUs, and
# as what it ran them. `tests/distributed/test_launches.py` has a real launch.
ALONE, ONE_STARTED, NO_FSDP = "would train alone", "started only this one", "The launcher asks for FSDP"
FSDP = [*config("fsdp"), "--num_processes", "2"]
REFUSED = {
    "zero2 without gloo": ({"WORLD_SIZE": "2"}, 1, DistributedType.DEEPSPEED, ALONE),
    "fsdp": (FSDP, 1, DistributedType.NO, ALONE),
    "fsdp by gloo, which would not share gradients": (FSDP, 2, DistributedType.NO, ALONE),
    "fsdp with use_cpu, which would be DDP": (FSDP, 2, DistributedType.MULTI_CPU, NO_FSDP),
    "two on a config that starts one": ([*config("cpu"), "--num_processes", "2"], 1, DistributedType.NO, ONE_STARTED),
    "no launcher, but a world size": ({"WORLD_SIZE": "2"}, 1, DistributedType.NO, ALONE),
}
TAKEN = {
    "no launcher": ({}, 1, DistributedType.NO),
    "one on the CPU": (config("cpu"), 1, DistributedType.NO),
    "ddp with use_cpu": ([*config("ddp"), "--num_processes", "2"], 2, DistributedType.MULTI_CPU),
    "zero2 by gloo": ({"WORLD_SIZE": "2"}, 2, DistributedType.DEEPSPEED),
    "fsdp on GPUs": (FSDP, 2, DistributedType.FSDP),
}


@pytest.mark.parametrize(("words", "num_joined", "kind", "reason"), REFUSED.values(), ids=REFUSED)
def test_processes_that_would_not_train_together_are_refused(check_launch, words, num_joined, kind, reason):
    with pytest.raises(RuntimeError, match=reason):
        check_launch(words, num_joined, kind)


@pytest.mark.parametrize(("words", "num_joined", "kind"), TAKEN.values(), ids=TAKEN)
def test_processes_that_train_together_are_taken(check_launch, words, num_joined, kind):
    check_launch(words, num_joined, kind)


def test_multi_cpu_config_is_refused(check_launch, tmp_path):
    text = (ROOT / "recipes" / "accelerate_configs" / "ddp.yaml").read_text(encoding="utf-8")
    path = tmp_path / "multi_cpu.yaml"
    path.write_text(text.replace("MULTI_GPU", "MULTI_CPU").replace("num_processes: 8", "num_processes: 2"))
    with pytest.raises(RuntimeError, match=ONE_STARTED):
        check_launch(["--config_file", str(path)], 1, DistributedType.NO)


def test_publishing_without_weights_leaves_the_older_model_alone(tmp_path):
    for name, files in (("old", ["config.json", "model.safetensors"]), ("new", ["config.json", "tokenizer.json"])):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_text(name, encoding="utf-8")
    publish(tmp_path / "old", tmp_path / "out")
    with pytest.raises(ValueError, match="no weights"):
        publish(tmp_path / "new", tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_text(encoding="utf-8") == "old"
    assert (tmp_path / "out" / "manifest.json").is_file()


@pytest.mark.parametrize(("first", "second"), [("sft", "grpo"), ("grpo", "sft")])
def test_no_training_goes_on_from_a_checkpoint_of_the_other_script(tiny, tmp_path, first, second):
    tiny.train(first, tmp_path, max_steps=2)
    message = rf"checkpoint-2 was saved by {first}\.py, and no other training can resume from it"
    for settings in ({}, {"output_dir": tmp_path / "new", "resume_from_checkpoint": tmp_path / "checkpoint-2"}):
        with pytest.raises(ValueError, match=message) as refused:
            tiny.train(second, **{"output_dir": tmp_path, "max_steps": 4, **settings})
        assert is_refusal(refused.value)
    assert not (tmp_path / "new").exists()
    tiny.train(second, tmp_path, max_steps=2, resume_from_checkpoint="false")
    assert (tmp_path / "superseded-1" / "checkpoint-2").is_dir()
