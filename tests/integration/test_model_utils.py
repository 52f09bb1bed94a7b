# SPDX-License-Identifier: Apache-2.0
"""Chat template, end-of-turn token and padding agree, and only whole models are loaded."""

import os
import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM

from open_r1.configs import GRPOConfig, ModelConfig, SFTConfig
from open_r1.manifest import STAGING_NAME, write_manifest
from open_r1.models import end_of_turn_token, end_token_ids, get_model, get_tokenizer, read_template
from open_r1.preflight.model_and_data import check_vocabulary

ROOT = Path(__file__).resolve().parents[2]
CHATML_PATH = "recipes/templates/chatml.jinja"
CHATML = (ROOT / CHATML_PATH).read_text(encoding="utf-8")
IM = ("<|im_start|>", "<|im_end|>")


@pytest.fixture
def arguments(tmp_path):
    def build(folder, config_class=SFTConfig, **settings):
        config = config_class(output_dir=str(tmp_path / "out"), bf16=False, use_cpu=True, **settings)
        return ModelConfig(model_name_or_path=None if folder is None else str(folder)), config

    return build


def load_model(model_args, training_args):
    return get_model(model_args, training_args, get_tokenizer(model_args, training_args))


@pytest.fixture
def settle(make_model_folder, arguments):
    """Saves a tokenizer with the given special tokens and loads it as a run would."""

    def load(
        *special_tokens, chat_template=None, config_class=SFTConfig, eos_token_argument=None, **tokenizer_settings
    ):
        folder = make_model_folder(*special_tokens, **tokenizer_settings)
        extra = {} if eos_token_argument is None else {"eos_token": eos_token_argument}
        return get_tokenizer(*arguments(folder, config_class, chat_template=chat_template, **extra))

    return load


@pytest.mark.parametrize("config_class", [SFTConfig, GRPOConfig])
def test_tokenizer_without_a_template_gets_chatml_and_its_tokens(settle, config_class):
    tokenizer = settle("<|endoftext|>", eos_token="<|endoftext|>", config_class=config_class)
    assert tokenizer.chat_template == CHATML
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert len(tokenizer("<|im_start|><|im_end|>")["input_ids"]) == 2
    assert tokenizer.decode(tokenizer("a<|im_end|>")["input_ids"], skip_special_tokens=True) == "a"


def test_chatml_does_not_unmake_other_special_tokens(settle):
    tokenizer = settle("<s>", "</s>", "<tool>", bos_token="<s>", eos_token="</s>", extra_special_tokens=["<tool>"])
    assert tokenizer.decode(tokenizer("a<tool>")["input_ids"], skip_special_tokens=True) == "a"


def test_chatml_tokens_that_are_there_are_not_added_again(settle):
    tokenizer = settle("<|endoftext|>", *IM, eos_token="<|endoftext|>")
    assert len(tokenizer) == 256 + 3


@pytest.mark.parametrize("template", [CHATML_PATH, CHATML])
def test_template_is_taken_from_a_path_or_as_text_and_eos_follows_it(settle, template):
    tokenizer = settle("<|endoftext|>", *IM, eos_token="<|endoftext|>", chat_template=template)
    assert tokenizer.chat_template == CHATML
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")


def test_template_of_the_run_replaces_that_of_the_tokenizer(make_model_folder, arguments):
    folder = make_model_folder(
        "</s>",
        "<pad>",
        *IM,
        eos_token="</s>",
        pad_token="<pad>",
        chat_template="{% for m in messages %}{{ m.content }}</s>{% endfor %}",
    )
    assert get_tokenizer(*arguments(folder)).eos_token == "</s>"
    assert get_tokenizer(*arguments(folder, chat_template=CHATML)).eos_token == "<|im_end|>"


@pytest.mark.parametrize("tail", ["", "\n", "\n\n", "  "])
def test_white_space_behind_the_end_of_a_turn_does_not_hide_it(make_tokenizer, tail):
    template = "{% for m in messages %}{{ m.content + '<|im_end|>' }}{% endfor %}{{ TAIL }}".replace(
        "TAIL", repr(tail)
    )
    assert end_of_turn_token(make_tokenizer(*IM, chat_template=template)) == "<|im_end|>"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", "does not end an assistant turn"),
        ("{% for m in messages %}<|im_end|>{{ m.content }}{% endfor %}", "does not end an assistant turn"),
        (
            "{% for m in messages %}{{ m.content }}</s>{% endfor %}",
            "does not end an assistant turn",
        ),  # not in the vocabulary
        ("{{ '<|im_end|>' }}", "drops the content of messages"),
        ("{{ messages[0].content + '<|im_end|>' }}", "drops the content of messages"),
        ("", "drops the content of messages"),
        ("path/of/a/template.txt", "drops the content of messages"),
        ("{% for m in %}", "fails on a plain conversation"),
        ("{{ raise_exception('no') }}", "fails on a plain conversation: no"),
        ("{{ messages[5].content }}", "fails on a plain conversation"),
        ("missing.jinja", "names the file missing.jinja, which is neither in"),
    ],
)
def test_template_that_teaches_no_end_is_refused(settle, template, message):
    with pytest.raises(ValueError, match=message):
        settle("<|endoftext|>", *IM, eos_token="<|im_end|>", chat_template=template)


def test_template_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "binary.jinja").write_bytes(b"\xff\xfe\x00{{")
    with pytest.raises(ValueError, match="cannot be read"):
        read_template(str(tmp_path / "binary.jinja"))


def test_template_of_the_working_folder_goes_before_that_of_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_template(CHATML_PATH) == CHATML
    (tmp_path / "recipes" / "templates").mkdir(parents=True)
    (tmp_path / CHATML_PATH).write_text("{{ mine }}")
    assert read_template(CHATML_PATH) == "{{ mine }}"


def test_text_that_ends_like_a_path_is_text():
    assert read_template("{{ messages }}.jinja") == "{{ messages }}.jinja"


def test_eos_token_of_the_recipe_is_taken(settle):
    tokenizer = settle(
        *IM,
        "<pad>",
        eos_token="<|im_start|>",
        pad_token="<pad>",
        chat_template=CHATML,
        eos_token_argument="<|im_end|>",
    )
    assert tokenizer.eos_token == "<|im_end|>"


def test_eos_token_that_is_not_in_the_vocabulary_is_refused(settle):
    with pytest.raises(ValueError, match="<nope>"):
        settle(*IM, eos_token="<|im_end|>", chat_template=CHATML, eos_token_argument="<nope>")


@pytest.mark.parametrize(
    ("special_tokens", "settings", "pad_token"),
    [
        (["<|endoftext|>", *IM, "<pad>"], {"pad_token": "<pad>"}, "<pad>"),  # its own
        (["<|endoftext|>", *IM], {"pad_token": "<|im_end|>"}, "<|endoftext|>"),  # pad was EOS
        (["<|endoftext|>", *IM, "<|vision_pad|>"], {}, "<|vision_pad|>"),
        (["<s>", "</s>", "<unk>", *IM], {"bos_token": "<s>", "unk_token": "<unk>"}, "<unk>"),
        (["<s>", "</s>", *IM], {"bos_token": "<s>"}, "</s>"),  # ends no turn any more
        (["<|endoftext|>", *IM], {"bos_token": "<|endoftext|>"}, "<|endoftext|>"),  # GPT-2, SmolLM2
        (["<|reserved_0|>", "<|tool|>", *IM], {}, "<|reserved_0|>"),
    ],
)
def test_padding_token_is_never_eos(settle, special_tokens, settings, pad_token):
    tokenizer = settle(*special_tokens, eos_token="<|im_end|>", chat_template=CHATML, **settings)
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", pad_token)
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


@pytest.mark.parametrize("settings", [{}, {"pad_token": "</s>"}])
def test_tokenizer_with_no_token_for_padding_is_refused(settle, settings):
    with pytest.raises(ValueError, match=r"no other special token can serve. .*\['</s>'\]"):
        settle(
            "</s>",
            eos_token="</s>",
            chat_template="{% for m in messages %}{{ m.content }}</s>{% endfor %}",
            **settings,
        )


def test_embedding_grows_by_the_new_tokens_and_keeps_the_old_rows(make_model_folder, arguments):
    folder = make_model_folder("<|endoftext|>", eos_token="<|endoftext|>")
    model_args, training_args = arguments(folder)
    before = AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings().weight
    tokenizer = get_tokenizer(model_args, training_args)
    model = get_model(model_args, training_args, tokenizer)
    after = model.get_input_embeddings().weight
    assert (len(before), len(after), model.config.vocab_size) == (257, 259, 259)
    assert torch.equal(after[:257], before)
    assert model(torch.tensor([[tokenizer.eos_token_id]])).logits.shape[-1] == 259


def test_embedding_that_is_large_enough_stays(make_model_folder, arguments):
    folder = make_model_folder("<|endoftext|>", *IM, eos_token="<|endoftext|>")
    model_args, training_args = arguments(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(512)  # padded to a multiple, as published models are
    model.save_pretrained(folder)
    assert load_model(model_args, training_args).get_input_embeddings().num_embeddings == 512


@pytest.mark.parametrize("gradient_checkpointing", [True, False])
def test_model_has_the_asked_dtype_attention_and_cache(make_model_folder, arguments, gradient_checkpointing):
    folder = make_model_folder("<|endoftext|>", eos_token="<|endoftext|>")
    model_args, training_args = arguments(folder, gradient_checkpointing=gradient_checkpointing)
    model_args.dtype, model_args.attn_implementation = "bfloat16", "eager"
    model = load_model(model_args, training_args)
    assert (model.dtype, model.config._attn_implementation) == (torch.bfloat16, "eager")
    assert model.config.use_cache is not gradient_checkpointing


def test_model_init_kwargs_go_before_our_own(make_model_folder, arguments):
    folder = make_model_folder("<|endoftext|>", eos_token="<|endoftext|>")
    model_args, training_args = arguments(
        folder, model_init_kwargs={"dtype": "bfloat16", "attn_implementation": "eager"}
    )
    assert load_model(model_args, training_args).dtype == torch.bfloat16
    assert training_args.model_init_kwargs is None


@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_new_tokens_that_vllm_would_not_know_are_refused(make_model_folder, arguments, mode):
    folder = make_model_folder("<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    model_args, training_args = arguments(folder, GRPOConfig, use_vllm=True, vllm_mode=mode)
    with pytest.raises(ValueError, match="use_vllm: false"):
        check_vocabulary(get_tokenizer(model_args, training_args), training_args, model_args)
    model_args.model_name_or_path = str(make_model_folder("<pad>", *IM, eos_token="<|im_end|>", pad_token="<pad>"))
    check_vocabulary(get_tokenizer(model_args, training_args), training_args, model_args)


def test_whole_model_with_a_manifest_is_loaded(make_model_folder, arguments):
    folder = make_model_folder(*IM, "<pad>", eos_token="<|im_end|>", pad_token="<pad>")
    write_manifest(folder)
    (folder / STAGING_NAME).mkdir()  # killed after the manifest, before the empty folder was removed
    assert load_model(*arguments(folder)) is not None
    assert get_tokenizer(*arguments(folder)) is not None


@pytest.mark.parametrize("configured", [None, 5, [5, 7], []])
def test_end_tokens_are_the_tokenizers_the_models_and_the_recipes(make_model_folder, arguments, configured):
    model_args, training_args = arguments(make_model_folder("<|endoftext|>", eos_token="<|endoftext|>"))
    tokenizer = get_tokenizer(model_args, training_args)
    model = get_model(model_args, training_args, tokenizer)
    model.generation_config.eos_token_id = configured
    extra = [configured] if isinstance(configured, int) else configured or []
    assert end_token_ids(tokenizer, model.generation_config) == (tokenizer.eos_token_id, *extra)
    assert end_token_ids(tokenizer, None, {"stop_token_ids": [9]}) == (tokenizer.eos_token_id, 9)


def cut_weights(folder):
    write_manifest(folder)
    os.truncate(folder / "model.safetensors", 100)


def move_to_checkpoint(folder):
    """A checkpoint of one of our runs that was killed while saving."""
    shutil.copytree(folder, folder / "checkpoint-5")
    (folder / "run_manifest.json").write_text("{}")
    return folder / "checkpoint-5"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_weights, "model.safetensors has 100 bytes instead of"),
        (lambda folder: (folder / STAGING_NAME).mkdir(), "has no manifest.json"),
        (move_to_checkpoint, "has no manifest.json"),
        (lambda folder: (folder / "config.json").unlink(), "holds no model"),
    ],
)
@pytest.mark.parametrize("load", [get_tokenizer, load_model])
def test_unfinished_model_is_refused(make_model_folder, arguments, damage, message, load):
    folder = make_model_folder(*IM, "<pad>", eos_token="<|im_end|>", pad_token="<pad>")
    folder = damage(folder) or folder
    with pytest.raises(ValueError, match=re.escape(message)):
        load(*arguments(folder))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "`model_name_or_path` is missing"),
        ("", "`model_name_or_path` is missing"),
        ("/does/not/exist", "there is no such folder"),
        ("./missing", "there is no such folder"),
        ("~/missing", "there is no such folder"),
        ("data/demo/missing", "there is no such folder"),
    ],
)
@pytest.mark.parametrize("load", [get_tokenizer, load_model])
def test_model_that_is_not_there_is_refused(arguments, name, message, load):
    with pytest.raises(ValueError, match=message):
        load(*arguments(name))


def test_home_folder_is_expanded(make_model_folder, arguments, monkeypatch):
    folder = make_model_folder(*IM, "<pad>", eos_token="<|im_end|>", pad_token="<pad>")
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load_model(*arguments("~/model")) is not None


@pytest.mark.parametrize("num_rows", [257, 512], ids=["no spare rows", "spare rows"])
@pytest.mark.parametrize(
    ("modules", "is_refused"), [(None, True), (["lm_head"], True), (["embed_tokens", "lm_head"], False)]
)
def test_new_tokens_that_lora_would_not_train_are_refused(make_model_folder, arguments, modules, is_refused, num_rows):
    folder = make_model_folder("<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    model_args, training_args = arguments(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(num_rows)
    model.save_pretrained(folder)
    model_args.use_peft, model_args.lora_modules_to_save = True, modules
    with pytest.raises(ValueError, match="lora_modules_to_save") if is_refused else nullcontext():
        check_vocabulary(get_tokenizer(model_args, training_args), training_args, model_args)


def test_tokens_that_the_tokenizer_came_with_may_stay_frozen(make_model_folder, arguments):
    model_args, training_args = arguments(make_model_folder("<pad>", *IM, eos_token="<|im_end|>", pad_token="<pad>"))
    model_args.use_peft = True
    check_vocabulary(get_tokenizer(model_args, training_args), training_args, model_args)


def test_default_template_begins_with_the_bos_that_the_tokenizer_begins_with(
    make_tokenizer, make_model_folder, arguments
):
    folder = make_model_folder("<s>", "</s>", bos_token="<s>", eos_token="</s>")
    backend = make_tokenizer("<s>", "</s>", bos_token="<s>", eos_token="</s>")
    messages = [{"role": "user", "content": "1+1"}]
    plain = get_tokenizer(*arguments(folder))  # names a BOS, but puts it before nothing
    assert plain.apply_chat_template(messages, tokenize=False).startswith("<|im_start|>user")
    backend._tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    backend.save_pretrained(folder)
    tokenizer = get_tokenizer(*arguments(folder))
    ids = tokenizer.apply_chat_template(messages, return_dict=False)
    assert ids[:2] == [tokenizer.bos_token_id, tokenizer.vocab["<|im_start|>"]]
    assert end_of_turn_token(tokenizer) == "<|im_end|>"


@pytest.mark.parametrize(("beta", "is_refused"), [(0.04, True), (0.0, False)])
def test_new_tokens_beside_a_reference_model_are_refused(make_model_folder, arguments, beta, is_refused):
    folder = make_model_folder("<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    model_args, training_args = arguments(folder, GRPOConfig, beta=beta)
    tokenizer = get_tokenizer(model_args, training_args)
    with pytest.raises(ValueError, match="Run SFT with this template first") if is_refused else nullcontext():
        check_vocabulary(tokenizer, training_args, model_args)
