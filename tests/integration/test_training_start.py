# SPDX-License-Identifier: Apache-2.0
"""What a run does, and leaves alone, before its first step."""

import json
import shutil

import pytest

from open_r1.configs import ModelConfig, SFTConfig, SFTScriptArguments
from open_r1.utils.arguments import RecipeParser
from open_r1.utils.checkpoints import publish
from open_r1.utils.training import check_processes
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


def test_grpo_of_two_processes_is_not_resumed_by_one(tiny, tmp_path):
    tiny.train("grpo", tmp_path, max_steps=2)
    shutil.copy(tmp_path / "checkpoint-2/rollout_state_0.pt", tmp_path / "checkpoint-2/rollout_state_1.pt")
    with pytest.raises(ValueError, match="saved by 2 processes, and now 1"):
        tiny.train("grpo", tmp_path, max_steps=4)
