# SPDX-License-Identifier: Apache-2.0
"""The settings of `command.run`: what `scripts/test_time_compute.py` makes of its flags."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from open_r1.evaluation.benchmarks import Benchmark
from open_r1.evaluation.settings import EvaluationArguments
from open_r1.test_time.backends import BackendSettings
from open_r1.test_time.methods import DEFAULT_TEMPERATURE, MethodOptions

# vLLM reads -1 as no seed. Repeats, candidates and waits add to a seed, and what comes of it stays below 2^31.
MOST_SEED = 2**30
_SUFFIX = "-test-time"  # of folders: without it they are those of run_benchmarks.py, whose files have the same names


@dataclass(frozen=True)
class RunSettings:
    """A whole run.

    Attributes:
        benchmark: Where the problems are.
        evaluation: Of them model, revision, name, output folder, prompt template, system prompt and limit count here.
        backend: Who is asked.
        methods: Names of methods.
        options: What the methods are made of.
        num_repeats: How often each problem is solved at each setting, with other seeds.
        seed: Of the first repeat, from 0 to `MOST_SEED`.
        overwrite: Put aside what is there, and begin anew.
    """

    benchmark: Benchmark
    evaluation: EvaluationArguments
    backend: BackendSettings
    methods: Sequence[str]
    options: MethodOptions
    num_repeats: int = 1
    seed: int = 0
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.num_repeats < 1:
            raise ValueError(f"num_repeats is {self.num_repeats}; it must be at least 1.")
        if not 0 <= self.seed <= MOST_SEED:
            raise ValueError(f"seed is {self.seed}; it must be from 0 to {MOST_SEED}.")
        twice = sorted({name for name in self.methods if list(self.methods).count(name) > 1})
        if not self.methods or twice:
            raise ValueError(f"Methods are named once each: {list(self.methods)}.")
        for name in ("budgets", "num_waits", "n", "aggregations", "choices"):
            values = list(getattr(self.options, name))
            if len(set(values)) < len(values):
                raise ValueError(f"--{name}: each is named once: {', '.join(map(str, values))}.")

    def folder_of(self, model: str) -> Path:
        """Return the folder of a model's results on the benchmark, which `run_benchmarks.py` doesn't write into."""
        return self.evaluation.folder(model) / f"{self.benchmark.name}{_SUFFIX}"

    def repeats_of(self, method: str) -> int:
        """Return how often a method solves each problem: once, where it would do the same again."""
        return 1 if self.temperature_of(method) == 0 else self.num_repeats

    def temperature_of(self, method: str) -> float:
        """Return the temperature that a method samples at; 0: it is greedy."""
        if method == "greedy":
            return 0.0
        own = 0.0 if method == "budget_forcing" else DEFAULT_TEMPERATURE
        return own if self.options.temperature is None else self.options.temperature
