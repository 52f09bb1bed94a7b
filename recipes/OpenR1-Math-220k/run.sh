#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# OpenR1-Math-220k: problems of NuminaMath-1.5, answered by DeepSeek-R1, correct answers kept, benchmarks taken out.
#
#     vllm serve deepseek-ai/DeepSeek-R1 --tensor-parallel-size 8 --max-model-len 32768 &      # on each node
#     recipes/OpenR1-Math-220k/run.sh node1:8000 node2:8000
#
# Published (card of open-r1/OpenR1-Math-220k): two answers or more to 400,000 problems, at most 16,384 tokens each;
# 225,129 problems with a right one, 93,733 of them in `default`. Not yet run here at this size.
# Kill it at any moment: the same command resumes. SOURCE, OUT and BENCHMARK_FILE replace data, folder and benchmarks.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: $0 SERVER..." >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dataset=${SOURCE:-AI-MO/NuminaMath-1.5}
out=${OUT:-data/OpenR1-Math-220k}
benchmarks=(${BENCHMARK_FILE:+--benchmark_file "$BENCHMARK_FILE"})   # none: AIME 24 and 25, MATH-500, GPQA, LiveCodeBench

# 1. Generate. Status 3: some requests failed, and --retry-errors asks again.
python scripts/generate_reasoning.py --dataset-name "$dataset" --prompt-column problem --num-generations 2 \
    --temperature 0.6 --top-p 0.95 --max-tokens 16384 --output-dir "$out/generations" --api-addr "$@" || [ $? -eq 3 ]

# 2. Decontaminate: 8 words in common with an item of a benchmark.
python scripts/decontaminate.py --dataset "$out/generations" --problem_column problem --cleanup \
    "${benchmarks[@]}" --output_dir "$out/decontaminated"

# 3. Verify and filter: whole answers with reasoning that equal the gold answer; the first one of each problem.
python scripts/curate.py --input "$out/decontaminated" --problem_column problem --gold_column answer \
    --correct_by verifier --max_per_problem 1 --output_dir "$out/sft"
