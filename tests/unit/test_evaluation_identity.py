# SPDX-License-Identifier: Apache-2.0
"""Hashes of chat templates, from folders, the hub's cache and vLLM's arguments; of prompts; names that nobody has."""

import json

import pytest
from huggingface_hub import constants

from open_r1.evaluation.identity import (
    check_is_there,
    fingerprint_folder,
    fingerprint_named_template,
    fingerprint_prompt,
    fingerprint_template,
)


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        text = value if isinstance(value, str) else json.dumps(value)
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return str(folder)


def test_a_template_has_the_same_hash_wherever_it_is_kept(tmp_path):
    places = [
        write(tmp_path / "a", chat_template__jinja="{{ x }}"),
        write(tmp_path / "b", tokenizer_config__json={"chat_template": "{{ x }}"}),
        write(tmp_path / "c", chat_template__json={"chat_template": "{{ x }}"}, tokenizer_config__json={}),
        write(tmp_path / "d", chat_template__jinja="{{ x }}", tokenizer_config__json={"chat_template": "old"}),
    ]
    (found,) = {fingerprint_template(place, "main") for place in places}
    assert found is not None and len(found) == 16
    assert fingerprint_template(write(tmp_path / "e", chat_template__jinja="{{ y }}"), "main") != found


def test_several_templates_with_names_are_one_hash(tmp_path):
    named = [{"name": "default", "template": "x"}, {"name": "tools", "template": "y"}]
    first = fingerprint_template(write(tmp_path / "a", tokenizer_config__json={"chat_template": named}), "main")
    other = fingerprint_template(write(tmp_path / "b", tokenizer_config__json={"chat_template": named[:1]}), "main")
    assert None not in (first, other) and first != other


@pytest.mark.parametrize(
    "files", [{}, {"tokenizer_config__json": {}}, {"tokenizer_config__json": "{"}, {"tokenizer_config__json": "[]"}]
)
def test_no_template_is_none(tmp_path, files):
    assert fingerprint_template(write(tmp_path / "m", **files), "main") is None


@pytest.mark.parametrize("name", ["nobody/has-this", "a name that is none", "too/many/parts"])
def test_what_is_not_on_this_machine_is_none(name):
    assert fingerprint_template(name, "main") is None


@pytest.mark.parametrize(
    "words", [["--chat-template", "{}"], ["--chat-template={}"], ["--x", "--chat_template", "{}"]]
)
def test_the_template_among_the_arguments_of_vllm_counts(tmp_path, words):
    other = tmp_path / "other.jinja"
    other.write_text("{{ y }}", encoding="utf-8")
    model = write(tmp_path / "a", chat_template__jinja="{{ x }}")
    expected = fingerprint_template(write(tmp_path / "b", chat_template__jinja="{{ y }}"), "main")
    assert fingerprint_template(model, "main", [word.format(other) for word in words]) == expected


def test_prompts_are_told_apart_by_template_and_system_prompt():
    prompts = [("a {prompt}", None), ("a {prompt}", "b"), ("b {prompt}", None), (None, "a {prompt}")]
    assert len({fingerprint_prompt(*prompt) for prompt in prompts}) == len(prompts)
    assert fingerprint_prompt("a", None) == fingerprint_prompt("a", None)


@pytest.mark.parametrize("text", ["{{ x }}" * 60, "{{ x }}" * 2000, "~nobody-of-that-name {{ x }}"])
def test_a_template_that_is_given_as_text_is_no_path(text):
    found = fingerprint_named_template(["--chat-template", text])
    assert found is not None
    assert found == fingerprint_named_template([f"--chat_template={text}"])
    assert found != fingerprint_named_template(["--chat-template", f"{text} "])


@pytest.mark.parametrize("is_offline", [True, False])
def test_a_name_that_is_no_folder_is_refused_where_no_hub_is(is_offline, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", is_offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"data/nope.*revision main"):
        check_is_there("data/nope", "main")


@pytest.mark.parametrize("revision", ["main", "a" * 40])
def test_folders_and_what_the_cache_has_need_no_hub(revision, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    cache = tmp_path / "models--me--model"
    write(cache / "refs", main="a" * 40)
    with pytest.raises(ValueError, match="nor is revision"):
        check_is_there("me/model", revision)  # known, and not downloaded
    write(cache / "snapshots" / ("a" * 40), config__json={})
    check_is_there("me/model", revision)
    check_is_there(str(tmp_path), revision)


def test_an_adapter_is_known_by_its_base_too(tmp_path, monkeypatch):
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    write(base, model__safetensors="a")
    write(adapter, adapter_config__json={"base_model_name_or_path": str(base)})
    first = fingerprint_folder(str(adapter))
    write(base, model__safetensors="b")
    second = fingerprint_folder(str(adapter))
    assert first != second == fingerprint_folder(str(adapter))

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    write(adapter, adapter_config__json={"base_model_name_or_path": "me/base", "revision": "v1"})
    found = [fingerprint_folder(str(adapter))]
    for commit in ("1" * 40, "2" * 40):
        write(tmp_path / "models--me--base" / "refs", v1=commit)
        found.append(fingerprint_folder(str(adapter)))
    assert len({*found}) == 3


@pytest.mark.parametrize(
    "name",
    [
        "params.json",
        "tekken.json",
        "consolidated.00.pth",
        "qwen.tiktoken",
        "hf_quant_config.json",
        "quantize_config.json",
        "model.safetensors.index.json",
        "m.gguf",
        "model.pt",
        "additional_chat_templates/a.jinja",
        "layers/attention.py",
    ],
)
def test_files_of_other_formats_count(tmp_path, name):
    before = fingerprint_folder(str(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    assert fingerprint_folder(str(tmp_path)) != before


def test_files_of_the_training_do_not_count(tmp_path):
    model = write(tmp_path, config__json={})
    before = fingerprint_folder(model)
    for name in (
        "rng_state.pth",
        "rng_state_0.pth",
        "training_args.bin",
        "optimizer.bin",
        "optimizer.pt",
        "scheduler.pt",
        "rollout_state_0.pt",
        "checkpoint-5/modeling.py",
        ".cache/x.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    assert fingerprint_folder(model) == before
    (tmp_path / "pytorch_model.bin").write_text("1")
    assert fingerprint_folder(model) != before
