# SPDX-License-Identifier: Apache-2.0
"""Import paths of Open R1."""

from open_r1.evaluation.benchmarks import SUPPORTED_BENCHMARKS as SUPPORTED_BENCHMARKS
from open_r1.evaluation.jobs import run_benchmark_jobs as run_benchmark_jobs
