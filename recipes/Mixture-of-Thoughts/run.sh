#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Mixture-of-Thoughts: mathematics, programs and science in one data set of conversations.
#
#     recipes/OpenR1-Math-220k/run.sh node1:8000 && recipes/CodeForces-CoTs/run.sh node1:8000
#     recipes/Mixture-of-Thoughts/run.sh data/OpenR1-Math-220k/sft data/CodeForces-CoTs/sft SCIENCE
#
# SCIENCE has `messages`: published is the science part of nvidia/Llama-Nemotron-Post-Training-Dataset.
# Published (card of open-r1/Mixture-of-Thoughts): 93,733 + 83,070 + 172,514 = 349,317 rows. Not yet run here at this size.
# OUT and BENCHMARK_FILE replace folder and benchmarks. To train on it:
#
#     accelerate launch --config_file recipes/accelerate_configs/zero3.yaml src/open_r1/sft.py \
#         --config recipes/OpenR1-Distill-7B/sft/config_distill.yaml --dataset_name data/Mixture-of-Thoughts/all \
#         --dataset_config default
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: $0 DATASET..." >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${OUT:-data/Mixture-of-Thoughts}
benchmarks=(${BENCHMARK_FILE:+--benchmark_file "$BENCHMARK_FILE"})   # none: AIME 24 and 25, MATH-500, GPQA, LiveCodeBench

# 1. Decontaminate each part, also one that came from elsewhere.
parts=()
for part in "$@"; do
    parts+=("$out/parts/${#parts[@]}")
    python scripts/decontaminate.py --dataset "$part" --problem_column messages --cleanup \
        "${benchmarks[@]}" --output_dir "${parts[-1]}"
done

# 2. Mix: whole conversations with reasoning, equal problems once.
python scripts/curate.py --input "${parts[@]}" --correct_by none --duplicates exact_problems --output_dir "$out/all"
