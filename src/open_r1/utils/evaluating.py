# SPDX-License-Identifier: Apache-2.0
"""What is evaluated during a training, and when: the test split, benchmarks (`eval_benchmarks`), or both.

1. Benchmarks are measured inside `evaluate`, not by a callback. What `evaluate` returns is one entry of the log
   history and of the trackers, and it is there when transformers compares with the best checkpoint: a callback hears
   of an evaluation only after that, and could only log. A callback does no more here than ask for an evaluation at
   steps of its own (`eval_benchmarks_steps`).
2. Without a test split `evaluate` measures the benchmarks alone; transformers refuses to evaluate without one.
3. Evaluation has a random state of its own and leaves that of the training alone.
4. An evaluation that had no reason to measure `metric_for_best_model`, or could judge too little for it, says nothing
   about the best checkpoint; transformers would end the training. It still does where the metric is nothing that was
   measured.
"""

import logging
import re
import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput, IntervalStrategy, TrainOutput

logger = logging.getLogger(__name__)

_ESTIMATE = re.compile(r"/((avg|pass)@\d+(_low|_high)?|greedy)$")  # left out where no answer could be judged


class PolicyBenchmarks(Protocol):
    """Measures the policy in training."""

    @property
    def metric_names(self) -> Collection[str]:
        """Names of the metrics, as they are logged."""
        ...

    def measure(self, trainer: Any, step: int) -> dict[str, float]:
        """Return the metrics, the same on every process; all processes of a training call it together.

        A metric that nothing could be said about is left out.

        Args:
            trainer: Has the policy.
            step: Optimizer steps that have made it.
        """
        ...


class EvaluationMixin(Trainer):
    """Evaluation of both trainers.

    Args:
        benchmarks: Measured beside the test split, or alone where there is no `eval_dataset`.
    """

    args: Any  # `SFTConfig` or `GRPOConfig`

    _paused_s: float = 0.0  # what the clock of the training leaves out

    def __init__(self, *args: Any, benchmarks: PolicyBenchmarks | None = None, **kwargs: Any) -> None:
        self.benchmarks = benchmarks
        self._measured: dict[int, dict[str, float]] = {}  # by the optimizer step
        self._loaded_step: int | None = None  # of the weights, where the best ones were loaded
        self._has_split_figures = False  # the last evaluation
        is_alone = benchmarks is not None and kwargs.get("eval_dataset") is None
        with _no_strategy(kwargs["args"]) if is_alone else nullcontext():
            super().__init__(*args, **kwargs)
        if benchmarks is not None and self.args.eval_benchmarks_steps is not None:
            self.add_callback(_EverySteps(self.args.eval_benchmarks_steps))

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train; what was measured before counts no more."""
        self._measured, self._loaded_step = {}, None
        output = super().train(*args, **kwargs)
        is_done = self.state.global_step >= self.state.max_steps
        if self.args.load_best_model_at_end and is_done and self.state.best_global_step is None:
            logger.warning(
                "`load_best_model_at_end`: no evaluation has measured `metric_for_best_model: %s`, so the "
                "model is the last one, not the best.",
                self.args.metric_for_best_model,
            )
        return output

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Evaluate what is due; at the end of the training, and before its first step, that is all."""
        if self.benchmarks is None or eval_dataset is not None:
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        has_split, needs_split = self.eval_dataset is not None, self._is_split_due()
        self._has_split_figures = has_split and needs_split
        if self._has_split_figures:
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        return self._evaluate_benchmarks_alone()

    def _evaluate_benchmarks_alone(self) -> dict[str, float]:
        if not self._are_benchmarks_due():
            return {}  # `eval_strategy` asks for a test split that there isn't
        was_training = self.model.training
        self.model.eval()  # TRL logs what belongs to the mode of the model
        with self._apart():
            metrics = self._measure()
        self.log(metrics)
        self.model.train(was_training)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> EvalLoopOutput:
        """Evaluate with a random state of its own; add the metrics of the benchmarks that are due."""
        with self._apart():
            output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
            self._extend_evaluation(output, args, metric_key_prefix, kwargs)
            if self.benchmarks is not None and metric_key_prefix == "eval" and self._are_benchmarks_due():
                output.metrics.update(self._measure())
        return output

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Keep an evaluation out of the random state and of the clock of the training."""
        started = time.perf_counter()
        with self._isolated():
            yield
        self._paused_s += time.perf_counter() - started

    def _isolated(self) -> AbstractContextManager[None]:
        return isolated_seed(self.args.seed + self._sampling_group())

    def _measure(self) -> dict[str, float]:
        """Return the benchmarks' metrics, measured once for a step: the end of a training repeats an earlier one."""
        if self.benchmarks is None:
            raise ValueError("There are no benchmarks to measure.")
        step = self.state.global_step if self._loaded_step is None else self._loaded_step
        if step not in self._measured:
            with self._isolated():  # whether or not the test split was evaluated before
                self._measured[step] = self.benchmarks.measure(self, step)
        return dict(self._measured[step])

    def _are_benchmarks_due(self) -> bool:
        step, every = self.state.global_step, self.args.eval_benchmarks_steps
        return not self.is_in_train or step == 0 or every is None or step % every == 0

    def _is_split_due(self) -> bool:
        """Whether `eval_strategy` asks for an evaluation now; it's due before the first step and after the last."""
        args, step, epoch = self.args, self.state.global_step, self.state.epoch or 0.0
        if not self.is_in_train or step == 0:
            return True
        if args.eval_strategy == IntervalStrategy.STEPS:
            return step >= args.eval_delay and (step % self.state.eval_steps == 0 or step >= self.state.max_steps)
        return args.eval_strategy == IntervalStrategy.EPOCH and epoch >= args.eval_delay and epoch == int(epoch)

    def _evaluate_belatedly(self, trial: Any, ignore_keys_for_eval: list[str] | None, **kwargs: Any) -> None:
        """Run the evaluation that was due at the step of the checkpoint, if a stop file left it out."""
        step = self.state.global_step
        if step == 0 or any(entry["step"] == step and _is_evaluation(entry) for entry in self.state.log_history):
            return
        has_steps = self.benchmarks is not None and self.args.eval_benchmarks_steps is not None
        if (has_steps and self._are_benchmarks_due()) or self._is_split_due():
            metrics = self._evaluate(trial, ignore_keys_for_eval)
            self._determine_best_metric(metrics=metrics, trial=trial)

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        name = self.args.metric_for_best_model
        if self.benchmarks is not None and name is not None:
            name = name if name.startswith("eval_") else f"eval_{name}"
            is_of_split = name not in self.benchmarks.metric_names
            if name not in metrics and not (is_of_split and self._has_split_figures):
                return False
        if name is not None and _ESTIMATE.search(name) and f"eval_{name.removeprefix('eval_')}" not in metrics:
            logger.warning(
                "Nothing could be judged of `metric_for_best_model: %s` at step %d, which says nothing "
                "about the best checkpoint.",
                name,
                self.state.global_step,
            )
            return False
        return super()._determine_best_metric(metrics=metrics, trial=trial)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self._loaded_step = self.state.best_global_step

    def _sampling_group(self) -> int:
        """Return the number of the group of processes that sample the same completions together."""
        return self.args.process_index

    def _extend_evaluation(self, output: EvalLoopOutput, args: tuple, prefix: str, kwargs: dict[str, Any]) -> None:
        raise NotImplementedError


class _EverySteps(TrainerCallback):
    """Asks for an evaluation every so many optimizer steps, whatever `eval_strategy` asks for beside it."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Ask for it."""
        if state.global_step % self._steps == 0:
            control.should_evaluate = True


@contextmanager
def _no_strategy(args: TrainingArguments) -> Iterator[None]:
    """Let a trainer be built that evaluates without a test split."""
    strategy, args.eval_strategy = args.eval_strategy, IntervalStrategy.NO
    try:
        yield
    finally:
        args.eval_strategy = strategy


def _is_evaluation(entry: dict[str, float]) -> bool:
    return any(name.startswith("eval_") for name in entry)


@contextmanager
def isolated_seed(seed: int) -> Iterator[None]:
    """Seed torch for a block and give the old random state back afterwards."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
