# SPDX-License-Identifier: Apache-2.0
"""No test reaches the network or the user's caches; tokenizers and models are built in memory."""

import logging
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import no_skips, second_tries
from tests.switches import is_on

# The same examples each time, so that a change fails for what it changes; `--hypothesis-profile=drawn` draws others.
# Without a deadline: how long an example takes depends on what else the machine does.
settings.register_profile("drawn", database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeated", settings.get_profile("drawn"), derandomize=True)
settings.load_profile("repeated")

ROOT = Path(__file__).resolve().parents[1]
_CACHE = tempfile.mkdtemp(prefix="open_r1_tests_")
# Libraries read these when they are imported, so before any test module is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_CACHE"] = _CACHE
for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS", "WORKERS"):
    os.environ.pop(name, None)  # a `make` in a test is none within the one that runs the tests
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # A worker ignores Ctrl-C, and so would programs that tests start: unlike a handler, that is inherited.
    signal.signal(signal.SIGINT, lambda *_: None)


def pytest_configure(config):
    for plugin in (no_skips, second_tries):
        if is_on(plugin.VARIABLE, plugin.EFFECT):  # as a plugin it holds for the doctests in src too
            config.pluginmanager.register(plugin)


def pytest_unconfigure():
    shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture
def environment():
    """The environment variables, put back after the test."""
    before = dict(os.environ)
    yield os.environ
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def levels_of_loggers():
    """Forget what a training in this process has set, a fixture's too: `caplog` would miss lines, or hear too many."""
    logging.getLogger("open_r1").setLevel(logging.NOTSET)
    for library in ("datasets", "transformers"):
        logging.getLogger(library).setLevel(logging.WARNING)


@pytest.fixture
def ctrl_c():
    """SIGINT raises KeyboardInterrupt in this process, as in any Python but that of a test worker."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def make_tokenizer():
    """Builds a byte-level tokenizer with the given special tokens: one token per byte, nothing trained."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    def make(*special_tokens: str, **settings):
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        tokenizer = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(alphabet)}, merges=[]))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special_tokens])
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings)

    return make


@pytest.fixture
def make_model_folder(tmp_path, make_tokenizer):
    """Saves a tokenizer with the given special tokens and a Qwen3 model of a few thousand parameters."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    def make(*special_tokens: str, name: str = "model", **settings) -> Path:
        tokenizer = make_tokenizer(*special_tokens, **settings)
        config = Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
        )
        tokenizer.save_pretrained(tmp_path / name)
        Qwen3ForCausalLM(config).save_pretrained(tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def parse(tmp_path, caplog):
    """Parses recipe text (None: no recipe) and words; returns all values in one mapping, warnings under `warnings`."""

    from trl import ModelConfig

    from open_r1.arguments import RecipeParser
    from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments

    classes = {"sft": (SFTScriptArguments, SFTConfig), "grpo": (GRPOScriptArguments, GRPOConfig)}

    def parse_task(text: str | None, *words: str, task: str = "grpo") -> dict:
        argv = ["--output_dir", str(tmp_path / "out"), *words]
        if "dataset" not in (text or ""):
            argv += ["--dataset_name", "some_data"]
        if "use_cpu" not in (text or "") and "cuda" not in f"{text} {words}":
            argv += ["--use_cpu", "true"]
        if text is not None:
            (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
            argv += ["--config", str(tmp_path / "recipe.yaml")]
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="open_r1"):
            objects = RecipeParser((*classes[task], ModelConfig)).parse(argv)
        merged = {name: value for entry in objects for name, value in vars(entry).items()}
        return merged | {"warnings": list(caplog.messages)}

    return parse_task
