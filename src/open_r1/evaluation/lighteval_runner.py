# SPDX-License-Identifier: Apache-2.0
"""Runs lighteval 0.13: what its tasks ask, and how its metrics score. A program for lighteval's own environment.

    python -I lighteval_runner.py prompts JOB.json    a line {"id", "messages", "gold"} for each problem of a task
    python -I lighteval_runner.py score JOB.json      lighteval's results and details of answers that were recorded,
                                                      and a line {"id", "answers": [{"score", "extracted"}]} for each

JOB.json is written by `lighteval_engine.py` and `lighteval_environment.py`; nothing of open_r1 is imported here.

1. lighteval imports all of its tasks to run one, and three of them can't be without the network or with today's hub
   library: those are left out, and named.
2. Answers are not lighteval's to ask for: it sends one request with one seed for all samples of a problem, keeps no
   finish reason, and caches answers by the name of the model. Its pipeline runs on what is recorded.
3. Figures are named by the samples that there are: lighteval calls 64 samples of aime24 `avg@n:n=1`.
4. An answer on which lighteval's scorer fails counts as wrong, with the error beside it; lighteval ends the run.
"""

import functools
import importlib
import importlib.util
import json
import logging
import os
import random
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from importlib.metadata import version
from pathlib import Path
from typing import Any

# What code of others is known to raise: at the import of a task, and from parsers of answers.
_FAILURES = (
    ImportError,
    OSError,
    TypeError,
    AttributeError,
    ValueError,
    RuntimeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    SyntaxError,
    AssertionError,
)
_PACKAGES = ("lighteval", "latex2sympy2_extended", "math-verify", "sympy", "datasets", "transformers")
LOCAL_TASK = "local"
_LETTERED = re.compile(r"^\(?([A-J])\)", re.MULTILINE)  # choices below a question
_REASONING = [("<think>", "</think>")]  # lighteval's default, too
_SEED = 1234  # lighteval's; it decides the order of the choices of GPQA


class RunnerError(Exception):
    """What is told in one line."""


def leave_out_broken_tasks(*, is_local: bool) -> dict[str, str]:
    """Make the registry leave out modules that can't be imported; return these, with the reason, as it finds them.

    Args:
        is_local: Whether no task of lighteval's is wanted at all.
    """
    from lighteval.tasks.registry import Registry

    left_out: dict[str, str] = {}

    def load(names: Iterable[str]) -> dict[str, Any]:
        configs = {}
        for name in names if not is_local else ():
            try:
                module = importlib.import_module(name)
            except _FAILURES as error:
                left_out[name.removeprefix("lighteval.tasks.tasks.")] = f"{type(error).__name__}: {error}"[:300]
            else:
                configs.update(Registry._extract_configs(module))
        return configs

    Registry._load_from_files = staticmethod(lambda files, prefix: load(f"{prefix}.{file.stem}" for file in files))
    Registry._load_from_subdirs = staticmethod(
        lambda folders: load(f"lighteval.tasks.tasks.{folder.name}.main" for folder in folders)
    )
    return left_out


def write_prompts(job: Mapping[str, Any]) -> None:
    """Write what a task asks: messages and gold of each problem, by the number of its row.

    Raises:
        RunnerError: There is no such task, or no data.
    """
    import numpy as np
    from lighteval.tasks.lighteval_task import LightevalTask
    from lighteval.tasks.prompt_manager import PromptManager
    from lighteval.tasks.registry import Registry

    left_out = leave_out_broken_tasks(is_local=False)
    random.seed(_SEED)
    np.random.seed(_SEED)
    try:
        tasks = Registry(tasks=job["task"]).load_tasks()
        LightevalTask.load_datasets(tasks)
        docs = [doc for task in tasks.values() for doc in task.get_docs()]
    except _FAILURES as error:
        raise RunnerError(f"{type(error).__name__}: {error}{_told(left_out)}") from error
    manager = PromptManager(use_chat_template=True, system_prompt=job["system_prompt"])
    lines = []
    for doc in sorted(docs, key=lambda doc: int(doc.id)):
        if doc.stop_sequences:
            raise RunnerError(f"{job['task']} ends answers at {list(doc.stop_sequences)}, which isn't supported here")
        golds = doc.get_golds()
        lines.append({"id": doc.id, "messages": manager.prepare_prompt_api(doc), "gold": golds[0] if golds else None})
    _write(job, lines, {"left_out": left_out})


def score(job: Mapping[str, Any]) -> None:
    """Run lighteval's pipeline on recorded answers, and write its figures and what it says of each answer.

    Raises:
        RunnerError: There is no such task or data, or it asks something else now.
    """
    from lighteval.logging.evaluation_tracker import EvaluationTracker
    from lighteval.pipeline import ParallelismManager, Pipeline, PipelineParameters

    questions = {question["id"]: question for question in _read_lines(job["questions"])}
    num_samples = min(len(question["texts"]) for question in questions.values())
    is_local = job["task"] is None
    left_out = leave_out_broken_tasks(is_local=is_local)
    parameters = PipelineParameters(
        launcher_type=ParallelismManager.CUSTOM,
        custom_tasks_directory=_local_tasks(job, questions) if is_local else None,
        reasoning_tags=_REASONING,
    )
    tracker = EvaluationTracker(output_dir=job["folder"], save_details=True)
    try:
        pipeline = Pipeline(
            tasks=f"{LOCAL_TASK}|0" if is_local else job["task"],
            pipeline_parameters=parameters,
            evaluation_tracker=tracker,
            model=_build_model(job, questions),
        )
    except _FAILURES as error:
        raise RunnerError(f"{type(error).__name__}: {error}{_told(left_out)}") from error
    docs = _keep_asked(pipeline, questions)
    memory = ScoreMemory()
    (task,) = pipeline.tasks_dict.values()
    for metric in task.metrics:
        fit_metric(metric, num_samples, memory)
    pipeline.evaluate()
    pipeline.save_and_push_results()
    lines = [
        {"id": doc.id, "answers": _judge_each(doc, questions[doc.id]["texts"], task.metrics[0], memory)}
        for doc in docs
    ]
    figures = tracker.metrics_logger.metric_aggregated[task.full_name]
    _write(job, lines, {"left_out": left_out, "metrics": {name: float(value) for name, value in figures.items()}})


def _keep_asked(pipeline: Any, questions: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Leave the problems that were asked, and only those, in a pipeline; return them."""
    (method,) = pipeline.sampling_docs
    docs = [doc for doc in pipeline.sampling_docs[method] if doc.id in questions]
    missing = sorted(set(questions) - {doc.id for doc in docs})
    if missing:
        raise RunnerError(f"the task has no problem {missing[0]} any more")
    for doc in docs:
        asked, wanted = questions[doc.id]["messages"][-1]["content"], pipeline.model.manager.prepare_prompt_api(doc)
        if wanted[-1]["content"] != asked:
            raise RunnerError(f"the task asks something else of problem {doc.id} than was asked")
        doc.num_samples = len(questions[doc.id]["texts"])
    pipeline.sampling_docs[method] = docs
    pipeline.documents_dict = dict.fromkeys(pipeline.documents_dict, docs)
    return docs


def _local_tasks(job: Mapping[str, Any], questions: Mapping[str, Any]) -> types.ModuleType:
    """Return a module with the task that rows of ours are: their prompts as they are, and a metric of lighteval's."""
    from lighteval.metrics.metrics import Metrics
    from lighteval.tasks.lighteval_task import LightevalTaskConfig
    from lighteval.tasks.requests import Doc

    metrics = {
        "math": [Metrics.pass_at_k_math(sample_params={"k": 1}), Metrics.avg_at_n_math(sample_params={"n": 1})],
        "choices": [Metrics.gpqa_instruct_pass_at_k(sample_params={"k": 1})],
    }
    if job["kind"] not in metrics:
        raise RunnerError(f"there is no metric for {job['kind']} of local rows, only for {', '.join(metrics)}")

    def prompt(line: Mapping[str, Any], task_name: str) -> Doc:
        # The texts needn't go through lighteval's data set, whose files stay in its cache.
        question = questions[str(line["__index"])]
        query, gold = question["messages"][-1]["content"], question["gold"]
        if job["kind"] == "choices":
            letters = sorted({*_LETTERED.findall(query), gold})
            return Doc(query=query, choices=letters, gold_index=letters.index(gold), task_name=task_name)
        return Doc(query=query, choices=[gold], gold_index=0, task_name=task_name)

    folder = Path(job["work"]) / LOCAL_TASK
    folder.mkdir()
    _write_lines(folder / "test.jsonl", [{"id": name} for name in questions])
    config = LightevalTaskConfig(
        name=LOCAL_TASK,
        prompt_function=prompt,
        hf_repo=str(folder),
        hf_subset="default",
        metrics=metrics[job["kind"]],
        hf_avail_splits=["test"],
        evaluation_splits=["test"],
    )
    module = types.ModuleType("local_tasks")
    module.__dict__["TASKS_TABLE"] = [config]
    return module


def _build_model(job: Mapping[str, Any], questions: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return a model for lighteval's pipeline that answers what is recorded."""
    from lighteval.models.abstract_model import LightevalModel, ModelConfig
    from lighteval.models.model_input import GenerationParameters
    from lighteval.models.model_output import ModelResponse
    from lighteval.tasks.prompt_manager import PromptManager

    class Recorded(LightevalModel):
        tokenizer, add_special_tokens, max_length = None, False, None

        def __init__(self) -> None:
            parameters = GenerationParameters(**job["sampling"])
            self.config = ModelConfig(
                model_name=job["model"],
                generation_parameters=parameters,
                system_prompt=job["system_prompt"],
                cache_dir=job["work"],
            )
            self.manager = PromptManager(use_chat_template=True, system_prompt=job["system_prompt"])
            # Of lighteval's cache the pipeline wants to tell it the tasks; there is none.
            self._cache = types.SimpleNamespace(_init_registry=lambda registry: None)

        def greedy_until(self, docs: list[Any]) -> list[ModelResponse]:
            recorded = (questions[doc.id] for doc in docs)
            return [ModelResponse(input=question["messages"], text=question["texts"]) for question in recorded]

        def loglikelihood(self, docs: list[Any]) -> list[ModelResponse]:
            raise RunnerError("the task wants probabilities of tokens, which aren't recorded")

        loglikelihood_rolling = loglikelihood

    return Recorded()


class ScoreMemory:
    """Scores an answer once, however many metrics ask, and knows what was found in it.

    Attributes:
        last: What was found in the answer that was asked for last: score, extracted, and error where there is one.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], dict[str, Any]] = {}
        self.last: dict[str, Any] = {}

    def of(self, compute: Callable[..., float]) -> Callable[..., float]:
        """Return a scorer of lighteval's that remembers."""

        @functools.wraps(compute)
        def scored(doc: Any, model_response: Any) -> float:
            key = (doc.query, tuple(doc.choices or ()), str(doc.gold_index), model_response.final_text[0])
            if key not in self._found:
                self._found[key] = _score(compute, doc, model_response)
            self.last = self._found[key]
            return self.last["score"]

        return scored


def _score(compute: Callable[..., float], doc: Any, model_response: Any) -> dict[str, Any]:
    try:
        value = compute(doc=doc, model_response=model_response)
    except _FAILURES as error:
        return {"score": 0.0, "extracted": [], "error": f"{type(error).__name__}: {error}"[:300]}
    return {"score": float(value), "extracted": list((doc.specific or {}).get("extracted_predictions", []))}


def fit_metric(metric: Any, num_samples: int, memory: ScoreMemory) -> None:
    """Set a metric to the samples that there are, name it so, and have it remember what it says of each answer."""
    from lighteval.metrics.metrics_sample import SamplingMetric

    function, (base, _, _) = metric.sample_level_fn, metric.metric_name.partition(":")
    if isinstance(function, SamplingMetric):
        function.n = num_samples
        k = f"k={function.k}&" if hasattr(function, "k") else ""
        metric.metric_name = f"{base}:{k}n={num_samples}"
        function.compute_score = memory.of(function.compute_score)
    else:  # the programs of LiveCodeBench
        metric.metric_name = f"{base}:{num_samples}"
        function.compute = _mean_of(memory.of(function.compute))


def _mean_of(compute: Callable[..., float]) -> Callable[..., float]:
    """Return a scorer of several answers that asks one of single ones."""
    from lighteval.models.model_output import ModelResponse

    def averaged(doc: Any, model_response: Any, **_: Any) -> float:
        scores = [compute(doc=doc, model_response=ModelResponse(text=[text])) for text in model_response.final_text]
        return sum(scores) / len(scores)

    return averaged


def _judge_each(doc: Any, texts: list[str], metric: Any, memory: ScoreMemory) -> list[dict[str, Any]]:
    """Return what a metric says of each answer to a problem, as it does in the pipeline."""
    from lighteval.models.model_output import ModelResponse
    from lighteval.utils.utils import remove_reasoning_tags

    function, found = copy(metric.sample_level_fn), []
    if hasattr(function, "n"):
        function.n = 1
    for text in texts:
        final = remove_reasoning_tags(text=text, tag_pairs=_REASONING)
        function.compute(doc=doc, model_response=ModelResponse(text=[text], text_post_processed=[final]))
        found.append(memory.last)
    return found


def _told(left_out: Mapping[str, str]) -> str:
    return f" (tasks of lighteval that can't be imported here: {', '.join(left_out)})" if left_out else ""


def _read_lines(path: str) -> list[dict[str, Any]]:
    with Path(path).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _write(job: Mapping[str, Any], lines: Iterable[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    """Write lines, then, as the sign that they are whole, what there is to say of all."""
    _write_lines(Path(job["out"]), lines)
    part = Path(job["about"] + ".part")
    part.write_text(json.dumps({**about, "versions": versions()}), encoding="utf-8")
    part.replace(job["about"])


def versions() -> dict[str, str]:
    """Return the versions of what decides prompts and scores."""
    return {name: version(name) for name in _PACKAGES if importlib.util.find_spec(name.replace("-", "_"))}


def main(argv: list[str]) -> int:
    """Do one job; what can't be done is one line, and status 3."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    # It writes down each answer without an extractable one, whole.
    logging.getLogger("lighteval.metrics").setLevel(logging.ERROR)
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # lighteval imports GitPython, which wants a git
    modes = {"prompts": write_prompts, "score": score}
    if len(argv) != 2 or argv[0] not in modes:
        sys.stderr.write(__doc__ or "")
        return 2
    job = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    try:
        modes[argv[0]](job)
    except RunnerError as error:
        sys.stderr.write(f"RunnerError: {' '.join(str(error).split())}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
