#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# CodeForces-CoTs: problems of open-r1/codeforces, answered by DeepSeek-R1 in C++ and Python, benchmarks taken out.
#
#     vllm serve deepseek-ai/DeepSeek-R1 --tensor-parallel-size 8 --max-model-len 32768 &      # on each node
#     recipes/CodeForces-CoTs/run.sh node1:8000 node2:8000
#
# Published (card of open-r1/codeforces-cots): 47,800 answers in C++ (`solutions`; 40,700 decontaminated) and 9,560 in
# Python, none judged by tests. Here each prompt gets five. Not yet run at this size.
# Kill it at any moment: the same command resumes. SOURCE, OUT and BENCHMARK_FILE replace data, folder and benchmarks.
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: $0 SERVER..." >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dataset=${SOURCE:-open-r1/codeforces}
out=${OUT:-data/CodeForces-CoTs}
benchmarks=(${BENCHMARK_FILE:+--benchmark_file "$BENCHMARK_FILE"})   # none: AIME 24 and 25, MATH-500, GPQA, LiveCodeBench

# 1. Generate. Status 3: some requests failed, and --retry-errors asks again.
python scripts/generate_reasoning.py --dataset-name "$dataset" --config verifiable-prompts --prompt-column prompt \
    --prompt-template '{prompt}' --num-generations 5 --temperature 0.6 --top-p 0.95 --max-tokens 16384 \
    --output-dir "$out/generations" --api-addr "$@" || [ $? -eq 3 ]

# 2. Decontaminate: 8 words in common with an item of a benchmark.
python scripts/decontaminate.py --dataset "$out/generations" --problem_column prompt --cleanup \
    "${benchmarks[@]}" --output_dir "$out/decontaminated"

# 3. Filter: whole answers with reasoning, equal ones once.
python scripts/curate.py --input "$out/decontaminated" --problem_column prompt --correct_by none \
    --duplicates exact_completions --output_dir "$out/sft"
