# SPDX-License-Identifier: Apache-2.0
"""Tasks of inspect-ai for benchmarks and local files, scored by our judges; finished runs as logs for its viewer.

    export LOCAL_BASE_URL=http://localhost:8000/v1 LOCAL_API_KEY=none    # any OpenAI-compatible server
    inspect eval src/open_r1/evaluation/inspect_tasks.py@benchmark -T name=aime24 --model openai-api/local/my-model
    inspect eval src/open_r1/evaluation/inspect_tasks.py@local -T data=$PWD/problems.jsonl \\
        -T prompt_column=question -T solution_column=gold --model openai-api/local/my-model
    python scripts/export_inspect_log.py eval_results/grpo/main/sums    # then `inspect view --log-dir` of it

Sampling is that of the task unless a flag of inspect says otherwise (--temperature, --top-p, --max-tokens); what has
no flag for, such as min_p, is left to the server.

1. Each answer to a problem has another seed: inspect sends one for all epochs, and vLLM then gives the same answer to
   all of them.
2. inspect scores each sample by itself: here the judge is asked for many at a time, off the event loop.
3. Figures are those of `run_benchmarks.py`: inspect's own `pass_at` and `stderr` name and bound them otherwise.
"""

import asyncio
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from inspect_ai import Epochs, Task, log, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ModelOutput,
    StopReason,
)
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, ScoreReducer, Target, metric, score_reducer, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from open_r1.evaluation.benchmarks import Benchmark, find_benchmarks, local_benchmark
from open_r1.evaluation.judges import Judge, Judgement, judge_of
from open_r1.evaluation.metrics import avg_at_k, pass_at_k
from open_r1.evaluation.prompts import Problems, load_problems
from open_r1.evaluation.run import ANSWERS_NAME, answers_fit, read_results
from open_r1.evaluation.settings import EvaluationArguments
from open_r1.generation.messages import join_reasoning

PROBLEM = "problem"  # key of a sample's metadata: what tells its problem from others
SCORER = "judged"
_BATCH_ANSWERS = 64
# inspect has no developer, which is the newer name of system.
_MESSAGES: dict[str, type[ChatMessageSystem | ChatMessageUser | ChatMessageAssistant]] = {
    "system": ChatMessageSystem,
    "developer": ChatMessageSystem,
    "user": ChatMessageUser,
    "assistant": ChatMessageAssistant,
}


@task
def benchmark(name: str, **options: Any) -> Task:
    """Return a benchmark of the table as a task.

    Args:
        name: As of `run_benchmarks.py --list_benchmarks`.
        options: Flags of `run_benchmarks.py` for what is asked: num_samples, limit, system_prompt, prompt_template,
            temperature, top_p, max_tokens, seed.

    Raises:
        ValueError: There is no such benchmark, or its data can't be read.
        TypeError: There is no such option.
    """
    (found,) = find_benchmarks([name])
    return _task(found, _arguments(options))


@task
def local(
    data: str,
    prompt_column: str = "problem",
    solution_column: str = "solution",
    split: str = "train",
    kind: str = "auto",
    **options: Any,
) -> Task:
    """Return the problems of a local file as a task.

    Args:
        data: JSON lines, parquet, CSV, or a folder, by its whole path: inspect runs tasks in their own folder.
        prompt_column: Problems, or conversations.
        solution_column: Gold answers, or worked solutions.
        split: Of a folder, or a slice such as train[:100].
        kind: What its answers are: math, choices or code; auto: what the columns say.
        options: As of `benchmark`.

    Raises:
        ValueError: It can't be read, or lacks the columns.
        TypeError: There is no such option.
    """
    arguments, path = _arguments(options), Path(data).expanduser()
    if not path.exists():
        raise ValueError(f"data={data}: there is no such file or folder (in {Path.cwd()}): give the whole path.")
    shape: Any = {"split": split, "prompt_column": prompt_column, "solution_column": solution_column, "kind": kind}
    return _task(local_benchmark(path, **shape), arguments)


def _arguments(options: dict[str, Any]) -> EvaluationArguments:
    seed: Any = {"seed": [options.pop("seed", 0)]}
    return EvaluationArguments(model_id=["inspect's own"], **seed, **options)


def _task(benchmark: Benchmark, args: EvaluationArguments) -> Task:
    """Return a task: a sample a row, an epoch an answer, the judge for a scorer."""
    problems = load_problems(
        benchmark, template=args.prompt_template, system_prompt=args.system_prompt, limit=args.limit, code=args
    )
    sampling, judge = args.sampling(), judge_of(problems)
    judge.check()
    samples = [
        Sample(
            input=[_message_of(message) for message in problem.messages],
            target=problem.gold,
            id=row,
            metadata={PROBLEM: problems.cluster_of(row)},
        )
        for row, problem in problems.by_row.items()
    ]
    config = {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k", "max_tokens")}
    return Task(
        dataset=MemoryDataset(samples, name=benchmark.name, location=benchmark.dataset),
        solver=ask(args.seed[0]),
        scorer=judged(Grader(judge, problems)),
        epochs=Epochs(args.samples_of(benchmark), answers()),
        config=GenerateConfig(**config),
        fail_on_error=False,
        name=benchmark.name,
    )


def _message_of(message: Any) -> ChatMessage:
    return _MESSAGES[message["role"]](content=message["content"])


@solver
def ask(seed: int) -> Solver:
    """Return the solver: one request, with the seed of this epoch."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await generate(state, seed=seed + state.epoch - 1)

    return solve


def text_of(state: TaskState) -> str:
    """Return the answer of a sample as one text, its reasoning in think tags as servers without a parser give it."""
    content = state.output.message.content if state.output.choices else ""
    if isinstance(content, str):
        return content
    reasoning = "\n".join(part.reasoning for part in content if isinstance(part, ContentReasoning))
    text = "".join(part.text for part in content if isinstance(part, ContentText))
    return join_reasoning(reasoning, text, is_cut=state.output.stop_reason == "max_tokens")


class Grader:
    """Grades samples: asks a judge for all answers that wait, one batch after the other, on a thread.

    Args:
        judge: Says which answers are right.
        problems: By the number of the row, which is the sample's id.
    """

    def __init__(self, judge: Judge, problems: Problems) -> None:
        self._judge, self._problems = judge, problems
        self._waiting: list[tuple[int, str, asyncio.Future[Judgement]]] = []
        self._work: asyncio.Task[None] | None = None

    async def grade(self, state: TaskState) -> Score:
        """Return the score of a sample: 1 right, 0 not, NaN where nobody can say."""
        row, text = int(state.sample_id), text_of(state)
        future: asyncio.Future[Judgement] = asyncio.get_running_loop().create_future()
        self._waiting.append((row, text, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._judge_all())
        found = await future
        gold = self._problems.by_row[row].gold
        said = f"{found.verdict} {found.note}: found {found.extracted!r}, the solution is {gold!r}."
        metadata = {"verdict": found.verdict} | ({"note": found.note} if found.note else {})
        return Score(value=found.score, answer=found.extracted, metadata=metadata, explanation=said)

    async def _judge_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_BATCH_ANSWERS], self._waiting[_BATCH_ANSWERS:]
            asked = asyncio.to_thread(self._judge.judge, [row for row, _, _ in batch], [text for _, text, _ in batch])
            (found,) = await asyncio.gather(asked, return_exceptions=True)
            for place, (_, _, future) in enumerate(batch):
                if future.done():  # its sample was cancelled
                    continue
                if isinstance(found, BaseException):
                    future.set_exception(found)
                else:
                    future.set_result(found[place])


@metric
def figures() -> Metric:
    """Return the metric: avg@k with its 95 % interval over problems, and unbiased pass@k.

    k is the number of judged answers of the problem with the fewest. Samples of equal `PROBLEM` are one problem.
    """

    def measure(scores: list[SampleScore]) -> dict[str, str | int | float | bool | None]:
        rows = [
            ([value for value in (sample.score.metadata or {}).get("scores", [sample.score.as_float()])
              if not math.isnan(value)], (sample.sample_metadata or {}).get(PROBLEM, place))
            for place, sample in enumerate(scores)
        ]  # fmt: skip
        rows = [(values, problem) for values, problem in rows if values]
        if not rows:
            return {}
        k, scores_PG = min(len(values) for values, _ in rows), [values for values, _ in rows]
        average = avg_at_k(scores_PG, [problem for _, problem in rows])
        chances = [pass_at_k(len(row), row.count(1.0), k) for row in scores_PG]
        ends = {f"avg@{k}_low": average.low, f"avg@{k}_high": average.high}
        return {f"avg@{k}": average.mean, **ends, f"pass@{k}": math.fsum(chances) / len(chances)}

    return measure


@score_reducer
def answers() -> ScoreReducer:
    """Return the reducer: the mean score of a problem's answers, with each of them for `figures`."""

    def reduce(scores: list[Score]) -> Score:
        values = [score.as_float() for score in scores]
        known = [value for value in values if not math.isnan(value)]
        mean = math.fsum(known) / len(known) if known else math.nan
        return Score(value=mean, metadata={"scores": values})

    return reduce


@scorer(metrics=[figures()])
def judged(grader: Grader) -> Scorer:
    """Return the scorer; a log names its arguments, so they are one object and not all golds."""

    async def score(state: TaskState, target: Target) -> Score:
        return await grader.grade(state)

    return score


def export(folder: Path) -> Path:
    """Write `<benchmark>.eval` into the folder of a finished run, and return its path; asks no model.

    A sample is a row, an epoch one of its answers, with the run's score. Of a conversation the last message is shown.

    Raises:
        ValueError: The folder has no finished run, or answers of another one.
    """
    results = read_results(folder)
    if results is None or not answers_fit(folder, results):
        raise ValueError(f"{folder} has no results.json of run_benchmarks.py, or not the answers of it.")
    settings, name = results["settings"], results["benchmark"]
    samples = [_sample_of(row, settings["model"]) for row in pq.read_table(folder / ANSWERS_NAME).to_pylist()]
    metrics = {key: log.EvalMetric(name=key, value=value) for key, value in results["metrics"].items()}
    written = log.EvalLog(
        status="success",
        eval=log.EvalSpec(
            created=results["date"],
            task=name,
            dataset=log.EvalDataset(name=name, location=settings["dataset"], samples=results["counts"]["problems"]),
            model=settings["model"],
            config=log.EvalConfig(epochs=settings["num_samples"]),
            metadata={"settings": settings, "counts": results["counts"]},
        ),
        results=log.EvalResults(
            total_samples=len(samples),
            completed_samples=len(samples),
            scores=[log.EvalScore(name=SCORER, scorer=SCORER, metrics=metrics)],
        ),
        samples=samples,
    )
    path = folder / f"{name}.eval"
    log.write_eval_log(written, str(path), format="eval")
    return path


def _sample_of(row: dict[str, Any], model: str) -> log.EvalSample:
    reasons: dict[str, StopReason] = {"stop": "stop", "length": "max_tokens"}
    reason = reasons.get(row["finish_reason"], "unknown")
    score = math.nan if row["score"] is None else row["score"]
    return log.EvalSample(
        id=row["row"],
        epoch=row["index"] + 1,
        input=row["problem"],
        target=row["solution"],
        output=ModelOutput.from_content(model, row["answer"] or "", reason, row["error"]),
        scores={SCORER: Score(value=score, answer=row["extracted"], metadata={"verdict": row["verdict"]})},
    )
