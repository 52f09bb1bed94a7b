# SPDX-License-Identifier: Apache-2.0
"""What settings and flags of an evaluation share; light to import, since --help reads it."""

from open_r1.sandbox import Limits

BACKENDS = ("auto", "vllm", "transformers")
# As in the tables of DeepSeek-R1 and Open R1; where the context is shorter, what it leaves.
DEFAULT_MAX_TOKENS = 32768
# Of one answer, twice what `generation.client.Patience` has: so many tokens take 6,600 s at the 5 tokens/s that a
# server with many requests in flight may give to each.
ANSWER_TIMEOUT_S = 7200.0
# Of each test of a program: seconds as of LiveCodeBench's own judge.
PROGRAM_LIMITS = Limits(cpu_s=6.0, memory_mb=2048)
