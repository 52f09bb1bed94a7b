# SPDX-License-Identifier: Apache-2.0
"""Layouts of process reward models by a tokenizer that makes one token of ".\\n", as Qwen's does."""

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from open_r1.test_time.process_models import LAYOUTS
from tests.unit.scripted_model import CHATML

# Of Qwen 2: what follows a sign of punctuation takes the newlines behind it along.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MERGES = [(".", "Ċ"), ("?", "Ċ"), ("Ċ", "Ċ")]


@pytest.fixture(scope="module")
def tokenizer():
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]
    backend = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(alphabet)}, merges=MERGES))
    words = pre_tokenizers.Split(Regex(WORDS), "isolated")
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    backend.decoder = decoders.ByteLevel()
    built = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", chat_template=CHATML)
    built.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<extra_0>"]})
    built.add_tokens(["ки"])
    assert len(built.encode(".\n")) == 1
    return built


def test_skywork_reads_lines_on_their_own_with_a_newline_that_is_a_token_of_its_own(tokenizer):
    """What its card's `prepare_input` makes of the problem, and of the lines of the response."""
    ids, places = LAYOUTS["skywork"]("1+1?", ["Add.\n\nSo.", "It is 2."], tokenizer)
    assert " ".join(tokenizer.convert_ids_to_tokens(ids)) == "1 + 1 ?Ċ A d d . Ċ S o . Ċ I t Ġ i s Ġ 2 . Ċ"
    assert places == [12, 21]  # behind "So." and "2."


def test_skywork_begins_with_bos_where_there_is_one(tokenizer):
    tokenizer.bos_token = "<extra_0>"
    ids, _ = LAYOUTS["skywork"]("1", ["2"], tokenizer)
    tokenizer.bos_token = None
    assert tokenizer.convert_ids_to_tokens(ids) == ["<extra_0>", "1", "Ċ", "2", "Ċ"]


# Which token is scored, and which stands behind it.
READ = {
    "qwen": [("<extra_0>", "I"), ("<extra_0>", "<|im_end|>")],
    "math_shepherd": [("ки", "Ċ"), ("ки", None)],
    "rlhflow": [("Ċ", "+"), ("Ċ", "+")],
}


@pytest.mark.parametrize("kind", READ)
def test_no_letter_of_a_step_is_one_with_what_is_scored(kind, tokenizer):
    ids, places = LAYOUTS[kind]("1+1?", ["Add.", "It is 2."], tokenizer)
    tokens = [*tokenizer.convert_ids_to_tokens(ids), None]
    assert [(tokens[place], tokens[place + 1]) for place in places] == READ[kind]
    assert ".Ċ" not in tokens
