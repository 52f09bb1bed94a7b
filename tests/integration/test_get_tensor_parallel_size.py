# SPDX-License-Identifier: Apache-2.0
"""The number of GPUs for vLLM: a number on stdout and nothing else, from a folder, without the hub."""

import json
import os
import subprocess
import sys

import pytest
from transformers import Gemma3Config, GPT2Config, MambaConfig, Qwen3Config

from scripts.get_tensor_parallel_size import main, tensor_parallel_size
from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "get_tensor_parallel_size.py"


def save(folder, heads, kv_heads):
    Qwen3Config(num_attention_heads=heads, num_key_value_heads=kv_heads).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "num_gpus", "size"),
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
def test_size_splits_the_heads(heads, kv_heads, num_gpus, size):
    assert tensor_parallel_size(heads, kv_heads, num_gpus) == size


def test_shell_gets_the_number_alone(tmp_path):
    """In a process of its own, as in $(...), with the hub switched off."""
    model = save(tmp_path / "my model", 14, 2)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, SCRIPT, "--model_name", model, "--default_tp", "8"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "2\n"
    assert "14 attention and 2 key-value heads: 2 GPUs instead of 8" in done.stderr


def test_fitting_default_says_nothing(tmp_path, capsys):
    assert main(["--model_name", save(tmp_path, 32, 8), "--default-tp", "4"]) == 0
    assert capsys.readouterr() == ("4\n", "")


@pytest.mark.parametrize(("config", "size"), [(GPT2Config(n_head=12), "4"), (Gemma3Config(), "8")])
def test_other_names_of_heads_are_known(tmp_path, capsys, config, size):
    config.save_pretrained(tmp_path)
    assert main(["--model_name", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{size}\n"


def test_model_without_heads_takes_the_default_with_a_warning(tmp_path, capsys):
    MambaConfig().save_pretrained(tmp_path)
    assert main(["--model_name", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out == "8\n" and "names no attention heads" in err


def test_code_of_the_model_does_not_run_unless_asked(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "cache"))
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "configuration_mine.MyConfig"}})
    )
    (tmp_path / "configuration_mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise ValueError('ran')\n")
    assert main(["--model_name", str(tmp_path)]) == 1
    assert not (tmp_path / "ran").exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"model_type": "nobody-knows"}', '{"model_type": "qwen3", "num_attention_heads": "x"}']
)
def test_broken_configuration_ends_without_a_number(tmp_path, capsys, text):
    (tmp_path / "config.json").write_text(text)
    assert main(["--model_name", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and str(tmp_path) in err


def test_model_that_is_nowhere_ends_without_a_number(capsys):
    assert main(["--model_name", "nobody/nothing"]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--model_name", "m", "--default_tp", "0"],
        ["--model_name", "m", "--default_tp", "-8"],
        ["--model_name", "m", "--default_tp", "8.0"],
        ["--model_name", "m", "--default_tp", "²"],
        ["--model", "m"],
        ["--model_name", "m", "--tp", "8"],
    ],
)
def test_command_line_that_cannot_work_is_refused(capsys, words):
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    assert exit_info.value.code == 2
    assert capsys.readouterr().out == ""
