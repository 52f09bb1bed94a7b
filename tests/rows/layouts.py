# SPDX-License-Identifier: Apache-2.0
"""Three rows of our own in each layout, with what they must become."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.rows.layout_items import CODE, MATH, PUZZLES, SCIENCE, Item

Row = dict[str, Any]
THINK = "<think>\n{reasoning}\n</think>\n\n{answer}"
MARKERS = (
    "<|begin_of_thought|>\n\n{reasoning}\n\n<|end_of_thought|>\n\n"
    "<|begin_of_solution|>\n\n{answer}\n\n<|end_of_solution|>"
)
MARKERS_PROMPT = "Think between <|begin_of_thought|> and <|end_of_thought|>, then give the solution."
DAPO_HEAD = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\n"
)
DAPO_TAIL = '\n\nRemember to put your answer on its own line after "Answer:".'


@dataclass(frozen=True)
class Case:
    """A row and what its layout makes of it.

    Attributes:
        row: As the data set has it.
        item: What it was made of; its question, reasoning, answer and gold are expected.
        prompt: Messages before the reply where they are more than the question.
    """

    row: Row
    item: Item
    prompt: list[Row] | None = None

    @property
    def messages(self) -> list[Row]:
        """The expected conversation."""
        prompt = self.prompt or [{"role": "user", "content": self.item.question}]
        return [*prompt, {"role": "assistant", "content": write(THINK, self.item)}]


def write(template: str, item: Item) -> str:
    return template.format(reasoning=item.reasoning, answer=item.answer)


def chat(item: Item, reply: str) -> list[Row]:
    return [{"role": "user", "content": item.question}, {"role": "assistant", "content": reply}]


def cases(build: Callable[[Item], Row], items: tuple[Item, ...]) -> tuple[Case, ...]:
    return tuple(Case(build(item), item) for item in items)


def _turns(names: tuple[str, str], template: str) -> Callable[[Item], Row]:
    def build(item: Item) -> Row:
        values = (item.question, write(template, item))
        turns = [{"from": name, "value": value} for name, value in zip(names, values, strict=True)]
        return {"system": MARKERS_PROMPT, "conversations": turns}

    return build


def _openthoughts(item: Item) -> Row:
    tests = {"inputs": [given for given, _ in item.tests], "outputs": [output for _, output in item.tests]}
    return {
        "problem": item.question,
        "deepseek_reasoning": item.reasoning,
        "deepseek_solution": item.answer,
        "ground_truth_solution": item.program or item.gold,
        "domain": "code" if item.tests else "math",
        "source": "ours",
        "test_cases": json.dumps(tests) if item.tests else None,
        "starter_code": None,
    }


def _s1k_1_1(item: Item) -> Row:
    return {
        "question": item.question,
        "solution": item.gold,
        "cot_type": "math",
        "source_type": "ours",
        "metadata": "{'level': 1}",
        "gemini_thinking_trajectory": "Other thoughts.",
        "gemini_attempt": "Another.",
        "deepseek_thinking_trajectory": item.reasoning,
        "deepseek_attempt": item.answer,
    }


def _s1k(item: Item) -> Row:
    return {
        "question": item.question,
        "solution": item.gold,
        "cot_type": "science",
        "source_type": "ours",
        "metadata": "{}",
        "cot": None,
        "thinking_trajectories": [item.reasoning],
        "attempt": item.answer,
    }


def _limo(item: Item) -> Case:
    item = replace(item, answer=f"**Final Answer**\n\n{item.answer}")
    return Case(
        {"question": item.question, "solution": f"{item.reasoning}\n\n{item.answer}", "answer": item.gold}, item
    )


def tests_of(item: Item) -> list[Row]:
    """The tests of a program, as PrimeIntellect writes them."""
    return [
        {"type": "stdin_stdout", "fn_name": None, "input": given, "output": output} for given, output in item.tests
    ]


def openr1_row(item: Item, texts: list[str | None], math_verify: list[bool | None], **columns: Any) -> Row:
    """A row of OpenR1-Math-220k."""
    return {
        "problem": item.question,
        "solution": f"It is {item.gold}.",
        "answer": item.gold,
        "uuid": "u",
        "problem_type": "Algebra",
        "question_type": "math-word-problem",
        "source": "ours",
        "is_reasoning_complete": [True] * len(texts),
        "generations": texts,
        "correctness_math_verify": math_verify,
        "correctness_llama": None,
        "finish_reasons": None,
        "correctness_count": sum(map(bool, math_verify)),
        "messages": None,
    } | columns


def _openr1_math() -> tuple[Case, ...]:
    first, second, third = MATH[3], MATH[4], MATH[8]
    wrong, cut = "<think>\nA guess.\n</think>\n\n\\boxed{1}", "<think>\nNo end"
    published = openr1_row(first, [wrong, write(THINK, first)], [False, True])
    published["messages"] = chat(first, write(THINK, first))
    chosen = openr1_row(
        second, [cut, wrong, write(THINK, second)], [True, False, True], is_reasoning_complete=[False, True, True]
    )
    judged = openr1_row(third, [wrong, write(THINK, third)], [False, False], correctness_llama=[False, True])
    return Case(published, first), Case(chosen, second), Case(judged, third)


def _cots(item: Item) -> Row:
    return {
        "id": "1/A",
        "title": "Ours",
        "prompt": item.question,
        "generation": write(THINK, item),
        "finish_reason": "stop",
        "messages": chat(item, write(THINK, item)),
    }


def _simplerl(item: Item) -> Row:
    templated = f"<|im_start|>user\n{item.question}<|im_end|>\n<|im_start|>assistant\n"
    return {
        "question": item.question,
        "answer": item.gold,
        "gt_answer": item.gold,
        "subject": "Algebra",
        "level": 3,
        "prompt": [{"role": "user", "content": templated}],
        "target": item.gold,
        "reward_model": {"ground_truth": item.gold, "style": "rule"},
    }


def _dapo(item: Item) -> Row:
    text = DAPO_HEAD + item.question + DAPO_TAIL
    return {
        "data_source": "math_dapo",
        "prompt": [{"role": "user", "content": text}],
        "ability": "MATH",
        "reward_model": {"ground_truth": item.gold, "style": "rule"},
        "extra_info": {"index": "0"},
    }


def _numina_1_5(item: Item) -> Row:
    kind = "MCQ" if item.gold in list("ABCD") else "math-word-problem"
    return {
        "problem": item.question,
        "solution": item.answer,
        "answer": item.gold,
        "problem_type": "Algebra",
        "question_type": kind,
        "problem_is_valid": "Yes",
        "solution_is_valid": "Yes",
        "source": "ours",
        "synthetic": False,
    }


def _numina_tir(item: Item) -> Row:
    solution = f"{item.reasoning}\n```python\nprint(1)\n```\n```output\n1\n```\nAs $\\boxed{{0}}$ fails, {item.answer}"
    return {"problem": item.question, "solution": solution, "messages": chat(item, solution)}


def _verifiable(column: str, info: Callable[[Row], Any]) -> Callable[[Item], Row]:
    def build(item: Item) -> Row:
        tests = info({"language": "python", "test_cases": tests_of(item)})
        return {
            "source": "ours",
            "task_type": "verifiable_code",
            "in_source_id": "1",
            column: item.question,
            "gold_standard_solution": item.fenced,
            "problem_id": "vcp_1",
            "verification_info": tests,
            "metadata": "{}",
        }

    return build


def _codeforces(item: Item) -> Row:
    return {
        "id": "1/A",
        "title": "Ours",
        "description": item.question,
        "prompt": item.question,
        "language": "python",
        "official_tests": [{"input": given, "output": output} for given, output in item.tests],
        "official_tests_complete": True,
        "input_mode": "stdio",
        "generated_checker": None,
    }


def _ioi(item: Item) -> Row:
    return {
        "year": 2021,
        "id": "ours",
        "subtask": "01-small",
        "problem": item.question,
        "test_names": ["1-01"],
        "grader_files": [["grader.cpp", ""]],
    }


def _generations(item: Item) -> Row:
    texts = [None, "<think>\nno end", write(THINK, item)]
    return {
        "problem": item.question,
        "answer": item.gold,
        "generations": texts,
        "finish_reasons": ["error", "length", "stop"],
        "api_metadata": [{"error": "status 500"}, {"error": None}, {"error": None}],
    }


def _pass_rate(item: Item) -> Row:
    texts = ["<think>\nno end", "<think>\nA guess.\n</think>\n\n\\boxed{1}", write(THINK, item)]
    return {
        "problem": item.question,
        "solution": item.gold,
        "pass_rate": 1 / 3,
        "pass_rate_generations": texts,
        "pass_rate_finish_reasons": ["length", "stop", "stop"],
        "pass_rate_rewards": [0.0, 1.0, 2.0],
        "pass_rate_rewards_format": [0.0, 1.0, 1.0],
        "pass_rate_rewards_accuracy": [None, 0.0, 1.0],
    }


CASES: dict[str, tuple[Case, ...]] = {
    "thought_turns": (
        *cases(_turns(("user", "assistant"), MARKERS), (MATH[0], CODE[0])),
        *cases(_turns(("human", "gpt"), THINK), (SCIENCE[0],)),
    ),
    "openthoughts": cases(_openthoughts, (MATH[1], CODE[1], SCIENCE[2])),
    "s1k_1.1": cases(_s1k_1_1, (MATH[2], SCIENCE[1], PUZZLES[0])),
    "s1k": cases(_s1k, (MATH[6], SCIENCE[0], PUZZLES[2])),
    "limo": tuple(_limo(item) for item in MATH[4:7]),
    "numina_qwq": cases(
        lambda item: {"problem_id": 1, "prompt": item.question, "response": f"{item.reasoning}\n\n{item.answer}",
                      "ground_truth": item.gold, "correct": True}, MATH[6:9]),
    "openr1_math": _openr1_math(),
    "codeforces_cots": cases(_cots, CODE),
    "problem_answer": cases(
        lambda item: {"problem": item.question, "answer": item.gold, "solution": item.answer}, MATH[1:4]),
    "simplerl": cases(_simplerl, MATH[3:6]),
    "dapo": cases(_dapo, (MATH[0], MATH[5], MATH[7])),
    "dapo_processed": cases(
        lambda item: {"prompt": item.question, "solution": item.gold, "data_source": "math_dapo"}, MATH[5:8]),
    "numina_1.5": cases(_numina_1_5, (MATH[2], MATH[4], MATH[8])),
    "numina_tir": cases(_numina_tir, (MATH[1], MATH[6], MATH[7])),
    "countdown": tuple(
        Case({"target": target, "nums": nums}, Item(str(nums), "", expression, None))
        for nums, target, expression in (([19, 36, 55, 7], 65, "55 + 36 - 7 - 19"), ([3, 5, 9], 42, "(9 + 5) * 3"),
                                         ([50, 8, 2], 29, "(50 + 8) / 2"))),
    "primeintellect_code": cases(_verifiable("prompt", repr), CODE),
    "open_r1_code": cases(_verifiable("problem_statement", dict), CODE),
    "codeforces": cases(_codeforces, CODE),
    "ioi": cases(_ioi, CODE),
    "generations": cases(_generations, (MATH[0], SCIENCE[1], PUZZLES[2])),
    "pass_rate": cases(_pass_rate, (MATH[2], MATH[5], SCIENCE[0])),
    "messages": cases(
        lambda item: {"messages": chat(item, write(THINK, item)), "num_tokens": 9, "source": "ours"},
        (MATH[7], SCIENCE[2], PUZZLES[0])),
}  # fmt: skip
