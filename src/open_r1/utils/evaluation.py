# SPDX-License-Identifier: Apache-2.0
"""Where Open R1's users import these from."""

from open_r1.evaluation.benchmarks import SUPPORTED_BENCHMARKS as SUPPORTED_BENCHMARKS
from open_r1.evaluation.jobs import run_benchmark_jobs as run_benchmark_jobs
