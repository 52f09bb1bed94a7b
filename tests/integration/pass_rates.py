# SPDX-License-Identifier: Apache-2.0
"""What the tests of `scripts/compute_pass_rate.py` share: rows, answers as right as a row says, runs."""

import json
import re

from open_r1.data.sources import open_source
from scripts import compute_pass_rate
from tests.conftest import ROOT
from tests.integration.fakes.chat_server import MODEL, Reply
from tests.integration.tiny import build_tiny

SCRIPT = ROOT / "scripts" / "compute_pass_rate.py"
NUM_GENERATIONS, SEED = 4, 42


def build_model(folder):
    """A tiny model with its tokenizer, whose context has room for a system prompt in bytes."""
    model = build_tiny(folder).model
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 2048}))
    return model


def answering(model):
    """The answers: row n is solved by its first n generations, as the seeds of the requests tell them apart."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def behave(body, attempt):
        number = int(re.search(r"Add (\d+)", tokenizer.decode(body["prompt"]))[1])
        is_right = body["seed"] - SEED < number
        return Reply(f"so\n</think>\n\\boxed{{{number + 1 if is_right else 99}}}")

    return behave


def write_rows(path, count, **columns):
    rows = [{"problem": f"Add {n} and 1.", "solution": str(n + 1), **columns} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def words(folder, model, address, *flags, output="out", **settings):
    """The command line; `settings` come over the defaults, None leaves one out."""
    chosen = {
        "model_name_or_path": model,
        "dataset_name": folder / "rows.jsonl",
        "dataset_prompt_column": "problem",
        "reward_funcs": ["accuracy"],
        "num_generations": 4,
        "max_completion_length": 64,
        "seed": SEED,
        "output_dir": folder / output,
        "server": address,
        "server_model": MODEL,
        **settings,
    }
    given = [
        word
        for name, value in chosen.items()
        if value is not None
        for word in (f"--{name}", *map(str, value if isinstance(value, list | tuple) else [value]))
    ]
    return [*given, *flags]


def run(*arguments, **settings):
    return compute_pass_rate.main(words(*arguments, **settings))


def rows_of(path, config=None):
    return list(open_source(str(path), config=config).rows())


def column(path, name, config=None):
    return [row[name] for row in rows_of(path, config)]
