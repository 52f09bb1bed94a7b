# SPDX-License-Identifier: Apache-2.0
"""A tiny model and a few rows that stand in for what a recipe names: made in a moment, nothing is downloaded.

Rows have the columns that a recipe's settings and rewards ask for, and right answers, so that the preflight's ideal
completion earns what it would on real data.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import trl
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma3TextConfig,
    OlmoeConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from open_r1.rewards import get_reward_spec
from open_r1.rewards.table import RewardSpec
from open_r1.tasks import load_task

Row = dict[str, Any]

PAD_TOKEN = "<|endoftext|>"
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>")
R1_TOKENS = ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>")
GEMMA_TOKENS = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
LLAMA_TOKENS = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "<|finetune_right_pad_id|>",
)
# OLMo's turns, as a template writes them.
OLMO_TEMPLATE = (
    "{%- for message in messages %}{{ '<|' + message.role + '|>\n' + message.content }}"
    "{%- if message.role == 'assistant' %}{{ eos_token }}{%- endif %}{{ '' if loop.last else '\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '\n<|assistant|>\n' }}{%- endif %}"
)
SPECIAL_TOKENS = (PAD_TOKEN, *CHATML_TOKENS, *R1_TOKENS)
CONTEXT_TOKENS = 32768


def byte_tokenizer(
    chat_template: str | None,
    eos_token: str,
    special_tokens: Sequence[str] = SPECIAL_TOKENS,
    *,
    bos_token: str | None = None,
) -> PreTrainedTokenizerFast:
    """Return a tokenizer with one token a byte: it needs no vocabulary of its own and loses nothing."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos_token, eos_token=eos_token, pad_token=PAD_TOKEN
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(special_tokens)})
    tokenizer.chat_template = chat_template
    return tokenizer


def tokenizer_like(name: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer with the kind of template and the special tokens that a model of this name has.

    The prompt of R1's distilled models opens `<think>`; Qwen3 switches thoughts off. Llama's base models have no
    template and none of ChatML's tokens. Others count as Qwen2.5's, whose base models have a template too.
    """
    name = name.lower()
    if "qwen3" in name:
        return byte_tokenizer(_published_template("qwen3"), CHATML_TOKENS[1])
    if "olmo" in name:
        return byte_tokenizer(OLMO_TEMPLATE, PAD_TOKEN)
    if "gemma" in name:
        tokens = (PAD_TOKEN, *GEMMA_TOKENS)
        return byte_tokenizer(_published_template("gemma3"), "<end_of_turn>", tokens, bos_token="<bos>")
    if "r1-distill" in name:
        return byte_tokenizer(_published_template("deepseek_r1_distill"), R1_TOKENS[-1], bos_token=R1_TOKENS[0])
    if "llama" in name:
        is_instruct = "instruct" in name
        return byte_tokenizer(
            _published_template("llama3") if is_instruct else None,
            "<|eot_id|>" if is_instruct else "<|end_of_text|>",
            (PAD_TOKEN, *LLAMA_TOKENS),
            bos_token="<|begin_of_text|>",
        )
    return byte_tokenizer(_published_template("qwen2_5"), PAD_TOKEN)


def _published_template(name: str) -> str:
    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def save_model_like(name: str, folder: Path, *, is_reward_model: bool = False) -> None:
    """Save two narrow layers of this model's kind with the tokenizer that stands in for its own.

    Args:
        name: Of the model that it stands in for.
        folder: Where it goes.
        is_reward_model: A classifier with one label instead of a language model.
    """
    tokenizer = tokenizer_like(name)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    kinds = {"qwen3": Qwen3Config, "gemma-3": Gemma3TextConfig, "olmoe": OlmoeConfig}
    kind = next((config for part, config in kinds.items() if part in name.lower()), Qwen2Config)
    config = kind(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
        pad_token_id=tokenizer.pad_token_id,
    )
    if is_reward_model:
        config.num_labels = 1
    model_class = AutoModelForSequenceClassification if is_reward_model else AutoModelForCausalLM
    model_class.from_config(config).save_pretrained(folder)


# A row for each reward that runs programs, with the columns of its data set and a right program.
_ADD = "a, b = map(int, input().split())\nprint(a + b)\n"
_TESTS = [("1 2\n", "3\n"), ("10 -4\n", "6\n"), ("0 0\n", "0\n")]
_GRADER = """#include <cstdio>
long long add(long long a, long long b);
int main() { long long a, b; std::scanf("%lld %lld", &a, &b); std::printf("%lld\\n", add(a, b)); }
"""

CODE: Row = {
    "problem_statement": "Read two integers and print their sum.",
    "gold_standard_solution": f"```python\n{_ADD}```",
    "verification_info": {
        "language": "python",
        "test_cases": [
            {"type": "stdin_stdout", "fn_name": None, "input": given, "output": wanted} for given, wanted in _TESTS
        ],
    },
}
IOI: Row = {
    "problem": "Write the function add(a, b), which returns the sum of two integers.",
    "gold_standard_solution": "long long add(long long a, long long b) { return a + b; }\n",
    "year": 2020,
    "id": "sums",
    "subtask": "01-all",
    "score": 10,
    "score_precision": 2,
    "time_limit": 2.0,
    "memory_limit": 256 << 20,
    "test_names": ["01", "02", "03"],
    "test_cases": [list(test) for test in _TESTS],
    "grader_files": [["graders/grader.cpp", _GRADER], ["graders/sums.h", "long long add(long long, long long);\n"]],
}
CODEFORCES: Row = {
    "prompt": "Read two integers and print their sum. Answer in Python.",
    "gold_standard_solution": _ADD,
    "id": "1/A",
    "language": "python",
    "time_limit": 2.0,
    "memory_limit": 256.0,
    "input_mode": "stdio",
    "official_tests": [{"input": given, "output": wanted} for given, wanted in _TESTS],
    "official_tests_complete": True,
    "generated_checker": None,
}
_TEXT_COLUMNS = ("problem", "prompt", "problem_statement")


def build_row(number: int, rewards: Sequence[str], *, prompt_column: str, solution_column: str) -> Row:
    """Return a row from which completions are sampled, with all columns that these rewards need.

    Args:
        number: Rows of different numbers differ, but for programs.
        rewards: Names in `reward_funcs`.
        prompt_column: Gets the prompt as text.
        solution_column: Gets the gold answer.

    Raises:
        ValueError: There is no such reward.
    """
    specs = [get_reward_spec(name) for name in rewards]
    found: Row = {}
    for spec in specs:
        found |= _source_of(spec, number) if spec.any_column or set(spec.columns) - {"solution"} else {}
    found = found or _sum(number)
    found.pop("domain", None)  # the task's; that of the recipe counts
    answer = found.get("solution", _sum(number)["solution"])  # programs have none
    # What a reward of the user's own asks for is text: nothing tells its type.
    row = {column: answer for spec in specs for column in spec.columns} | found
    row[prompt_column] = next(found[name] for name in _TEXT_COLUMNS if name in found)
    if solution_column != "solution":
        row[solution_column] = answer
    return row


def _source_of(spec: RewardSpec, number: int) -> Row:
    """Return the first row with the columns that a reward needs; an empty one where none has them."""
    for row in (CODE, IOI, CODEFORCES, _puzzle("countdown", number), _puzzle("knights_knaves", number)):
        if set(spec.columns) <= row.keys() and (not spec.any_column or row.keys() & set(spec.any_column)):
            return row
    return {}


def _sum(number: int) -> Row:
    return {"problem": f"What is {number}+{number}?", "solution": str(2 * number)}


def _puzzle(task: str, number: int) -> Row:
    puzzles = _puzzles(task)
    return dict(puzzles[number % len(puzzles)])


@cache
def _puzzles(task: str) -> list[dict[str, object]]:
    return load_task(task, "num_train=8,num_test=1,prompt=task")["train"]


def build_conversation(number: int, shape: Sequence[str]) -> Row:
    """Return a worked answer in the columns of `shape`: messages; prompt and completion; or any one, of text."""
    question, answer = (str(value) for value in _sum(number).values())
    user = [{"role": "user", "content": question}]
    assistant = [{"role": "assistant", "content": f"<think>\n{number} twice\n</think>\n\nIt is \\boxed{{{answer}}}."}]
    known: Mapping[str, object] = {"messages": user + assistant, "prompt": user, "completion": assistant}
    return {column: known.get(column, f"{question}\n{number} twice is {answer}.") for column in shape}
