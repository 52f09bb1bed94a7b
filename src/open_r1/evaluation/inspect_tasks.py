# SPDX-License-Identifier: Apache-2.0
"""Benchmarks, and local files of problems, as tasks of inspect-ai; the verifier or the code judge scores them.

    export LOCAL_BASE_URL=http://localhost:8000/v1 LOCAL_API_KEY=none    # any OpenAI-compatible server
    inspect eval src/open_r1/evaluation/inspect_tasks.py@benchmark -T name=aime24 --model openai-api/local/my-model
    inspect eval src/open_r1/evaluation/inspect_tasks.py@local -T data=$PWD/problems.jsonl \\
        -T prompt_column=question -T solution_column=gold --model openai-api/local/my-model
    inspect view --log-dir logs

Sampling is that of the task unless a flag of inspect says otherwise (--temperature, --top-p, --max-tokens); what has
no flag for, such as min_p, is left to the server. `scripts/export_inspect_log.py` makes a log for inspect's viewer of
a finished run of `scripts/run_benchmarks.py`.

1. Each answer to a problem has a seed of its own: inspect sends one for all epochs, and vLLM then gives the same
   answer to all of them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
)
from inspect_ai.solver import Generate, Solver, TaskState, solver

from open_r1.data.benchmarks import AUTO, Benchmark, find_benchmarks, local_benchmark
from open_r1.evaluation.defaults import DEFAULT_MAX_TOKENS
from open_r1.evaluation.inspect_scoring import PROBLEM, Grader, answers, judged
from open_r1.evaluation.judging import judge_of
from open_r1.evaluation.problems import Problems, load_problems
from open_r1.evaluation.settings import EvaluationSettings
from open_r1.evaluation.tally import problem_key
from open_r1.generation.messages import Message, Sampling

# All roles that prompts may have; inspect has no developer, which is the newer name of system.
_MESSAGES: dict[str, type[ChatMessageSystem | ChatMessageUser | ChatMessageAssistant | ChatMessageTool]] = {
    "system": ChatMessageSystem,
    "developer": ChatMessageSystem,
    "user": ChatMessageUser,
    "assistant": ChatMessageAssistant,
    "tool": ChatMessageTool,
}


@dataclass(frozen=True)
class TaskOptions:
    """What both tasks take by `-T`, beside what they are of.

    Attributes:
        num_samples: Answers a problem; None: the benchmark's, 1 at temperature 0.
        limit: The first so many problems; None: all.
        system_prompt: First message of each conversation.
        prompt_template: Text with `{prompt}`; None: asks for steps, and for a boxed answer, a boxed letter or a block
            of code.
        temperature: 0 to 2.
        top_p: Above 0, at most 1.
        max_tokens: Most tokens of one answer, reasoning included.
        seed: Of the first answer to a problem; the next have seed + 1, ...
    """

    num_samples: int | None = None
    limit: int | None = None
    system_prompt: str | None = None
    prompt_template: str | None = None
    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int = DEFAULT_MAX_TOKENS
    seed: int = 0

    def settings(self) -> EvaluationSettings:
        """Return them as settings of a run, for models of inspect's own."""
        sampling = Sampling(self.temperature, self.top_p, max_tokens=self.max_tokens, seed=self.seed)
        return EvaluationSettings(
            model="inspect's own",
            num_samples=self.num_samples,
            limit=self.limit,
            template=self.prompt_template,
            system_prompt=self.system_prompt,
            sampling=sampling,
        )


@task
def benchmark(name: str, **options: Any) -> Task:
    """Return a benchmark of the table as a task.

    Args:
        name: As of `run_benchmarks.py --list_benchmarks`.
        options: As of `TaskOptions`.

    Raises:
        ValueError: There is no such benchmark, or its data can't be read.
        TypeError: There is no such option.
    """
    settings = TaskOptions(**options).settings()
    (found,) = find_benchmarks([name])
    return _plain_task(found, settings)


@task
def local(
    data: str,
    prompt_column: str = "problem",
    solution_column: str = "solution",
    split: str = "train",
    kind: str = AUTO,
    **options: Any,
) -> Task:
    """Return the problems of a local file as a task.

    Args:
        data: JSON lines, parquet, CSV, or a folder, by its whole path: inspect runs tasks in their own folder.
        prompt_column: Problems, or conversations.
        solution_column: Gold answers, or worked solutions.
        split: Of a folder, or a slice such as train[:100].
        kind: What its answers are: math, choices or code; auto: what the columns say.
        options: As of `TaskOptions`.

    Raises:
        ValueError: It can't be read, or lacks the columns.
        TypeError: There is no such option.
    """
    settings = TaskOptions(**options).settings()
    path = Path(data).expanduser()
    if not path.exists():
        raise ValueError(
            f"data={data}: there is no such file or folder (in {Path.cwd()}: inspect runs tasks in their own folder, "
            "so give the whole path)."
        )
    found = local_benchmark(path, split=split, prompt_column=prompt_column, solution_column=solution_column, kind=kind)
    return _plain_task(found, settings)


def _plain_task(benchmark: Benchmark, settings: EvaluationSettings) -> Task:
    """Return a task: a sample a row, an epoch an answer, the judge for a scorer."""
    problems, sampling = load_problems(benchmark, settings), settings.sampling
    judge = judge_of(problems)
    judge.check()
    samples = [_sample_of(problems, row) for row in problems.golds]
    return Task(
        dataset=MemoryDataset(samples, name=problems.benchmark.name, location=problems.benchmark.dataset),
        solver=ask(sampling.seed),
        scorer=judged(Grader(judge, problems.golds)),
        epochs=Epochs(settings.samples_of(benchmark), answers()),
        config=GenerateConfig(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=sampling.max_tokens,
        ),
        fail_on_error=False,
        name=problems.benchmark.name,
    )


def _sample_of(problems: Problems, row: int) -> Sample:
    _, messages, _ = problems.prompts.get(row)
    return Sample(
        input=[_message_of(message) for message in messages],
        target=problems.golds[row],
        id=row,
        metadata={PROBLEM: problem_key(problems, row)},
    )


def _message_of(message: Message) -> ChatMessage:
    return _MESSAGES[message["role"]](content=message["content"])


@solver
def ask(seed: int | None) -> Solver:
    """Return the solver: one request, with the seed of this epoch."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await generate(state) if seed is None else await generate(state, seed=seed + state.epoch - 1)

    return solve
