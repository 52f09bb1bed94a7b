# SPDX-License-Identifier: Apache-2.0
"""Over how many GPUs a copy of a model goes: from its folder, and from its name where there is nothing else."""

import json

import pytest

from open_r1.cluster.gpus import ModelSize, allowed_sizes
from scripts.get_tensor_parallel_size import main


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path):
    """Writes a model's folder: its configuration, and how large its weights are in 10**9 bytes."""

    def write(config: dict | str, weights_gb: float | None = None) -> str:
        text = config if isinstance(config, str) else json.dumps(config)
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        if weights_gb is not None:
            index = {"metadata": {"total_size": weights_gb * 1e9}}
            (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
        return str(tmp_path)

    return write


def heads(number, kv_number):
    return {"num_attention_heads": number, "num_key_value_heads": kv_number}


@pytest.mark.parametrize(
    ("num_heads", "num_kv_heads", "num_gpus", "largest"),
    [
        (32, 8, 8, 8),
        (14, 2, 8, 2),  # Qwen2.5-0.5B
        (12, 2, 8, 4),  # Qwen2.5-1.5B: two GPUs share a key-value head
        (28, 4, 8, 4),
        (9, 3, 8, 1),
        (64, 8, 16, 16),
        (64, 6, 4, 2),  # 4 GPUs would split neither 6 heads nor copy them
        (40, 8, 5, 1),
        (71, 1, 8, 1),
        (1, 1, 1, 1),
    ],
)
def test_largest_size_splits_the_heads(num_heads, num_kv_heads, num_gpus, largest):
    assert allowed_sizes(ModelSize(num_heads, num_kv_heads), num_gpus)[-1] == largest


@pytest.mark.parametrize(
    ("config", "weights_gb", "flags", "printed"),
    [
        (heads(28, 4), 15.2, ["--gpus", "8"], "1 8"),  # Qwen2.5-7B: never 8 of a copy, which 28 heads refuse
        (heads(28, 4), 15.2, ["--gpus", "8", "--gpu_memory_gb", "24"], "2 4"),
        (heads(40, 8), 65.5, ["--gpus", "8"], "2 4"),  # 32B on 80 GB: one GPU would have no room for answers
        (heads(64, 8), 145.4, ["--gpus", "8"], "4 2"),
        (heads(96, 8), 245.2, ["--gpus", "8"], "8 1"),  # Mistral-Large: 123B
        (heads(96, 8), 213.4, ["--gpus", "8"], "8 1"),  # GLM-4.5-Air: 106B
        ({"text_config": heads(40, 8)}, 217.3, ["--gpus", "8"], "8 1"),  # Llama-4-Scout: 109B
        (heads(64, 4), 470.2, ["--gpus", "8"], "8 1"),  # 235B: little room, but it goes
        (heads(28, 4), 15.2, ["--gpus", "8", "--tp", "4"], "4 2"),
        ({"n_head": 12}, 0.5, ["--gpus", "4"], "1 4"),
        (heads(28, 4), None, ["--gpus", "8"], "4 2"),  # no weights there yet, and no size in its name
    ],
)
def test_copy_goes_over_as_few_gpus_as_hold_it(folder, capsys, config, weights_gb, flags, printed):
    assert main(["--model_name", folder(config, weights_gb), *flags]) == 0
    assert capsys.readouterr().out == f"{printed}\n"


@pytest.mark.parametrize(
    ("config", "weights_gb", "flags"),
    [
        (heads(28, 4), 15.2, ["--gpus", "8", "--tp", "8"]),
        (heads(28, 4), 15.2, ["--gpus", "8", "--tp", "3"]),
        (heads(128, 128), 688.6, ["--gpus", "8"]),  # DeepSeek-R1: more than a node of 80 GB
        (heads(9, 3), 300.0, ["--gpus", "8"]),
    ],
)
def test_what_cannot_work_is_refused_without_a_number(folder, capsys, config, weights_gb, flags):
    assert main(["--model_name", folder(config, weights_gb), *flags]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("Qwen/Qwen2.5-7B", "1 8"),
        ("Qwen/Qwen3-32B", "2 4"),
        ("Qwen/Qwen3-30B-A3B", "2 4"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "8 1"),
        ("mistralai/Mistral-Large-Instruct-2411", "8 1"),  # no size in the name: one copy over all of them
        ("zai-org/GLM-4.5-Air", "8 1"),
        ("/nowhere/a folder", "8 1"),
        ("runs/checkpoint-3-c70b56a5", "8 1"),  # no size
        ("me/Large-1000B", "8 1"),  # a name is no reason to refuse
    ],
)
def test_name_tells_the_size_at_last_and_that_is_said(capsys, name, printed):
    assert main(["--model_name", name, "--gpus", "8"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{printed}\n" and name in err


@pytest.mark.parametrize("default_tp", ["8", "4"])
def test_most_that_heads_allow_needs_no_size(folder, capsys, default_tp):
    assert main(["--model_name", folder(heads(28, 4)), "--default-tp", default_tp]) == 0
    assert capsys.readouterr() == ("4\n", "")


def test_model_without_heads_takes_the_default_with_a_warning(folder, capsys):
    assert main(["--model_name", folder({"model_type": "mamba"})]) == 0
    out, err = capsys.readouterr()
    assert out == "8\n" and err


@pytest.mark.parametrize(
    ("text", "words", "status"),
    [
        ("{", [], 1),
        ("[]", [], 1),
        ('{"num_attention_heads": "x"}', [], 1),
        (None, ["--model_name", "nobody/nothing"], 1),
        (None, [], 2),
        (None, ["--model_name", "m", "--default_tp", "0"], 2),
        (None, ["--model_name", "m", "--gpus", "²"], 2),
        (None, ["--model", "m"], 2),
    ],
)
def test_what_cannot_work_prints_no_number(folder, capsys, text, words, status):
    try:
        found = main([*words, "--model_name", folder(text)] if text else words)
    except SystemExit as ended:
        found = ended.code
    assert (found, capsys.readouterr().out) == (status, "")
