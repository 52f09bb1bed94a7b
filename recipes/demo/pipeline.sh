#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All stages of DeepSeek-R1 with a model of half a million parameters: minutes on a CPU, no GPU, no hub.
#
#   recipes/demo/pipeline.sh             # the same command resumes after a kill; finished stages end at once
#   DRY_RUN=1 recipes/demo/pipeline.sh   # prints the commands; SLURM=1 submits them as a chain of jobs (recipes/stages.sh)
#   ZERO=1 recipes/demo/pipeline.sh      # GRPO straight from the base too, which nothing else needs
#
# What each stage is for, and the same at full size: recipes/DeepSeek-R1/README.md. Results: assets/benchmarks/pipeline.md.
# Words behind it go to every training: recipes/demo/pipeline.sh --max_steps 10.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=recipes/stages.sh
source recipes/stages.sh

out=data/demo_pipeline accelerator=cpu processes=(--processes-per-node 1) launch=(python)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} HF_HUB_OFFLINE=1
base_words=(--save_strategy steps --save_steps 200 --save_total_limit 1)

# Base models: DeepSeek had one, here they are made: random weights, then plain texts of sums.
stage init python scripts/make_tiny_model.py --output_dir $out/init --seed 1
train base sft recipes/demo/sft/config_zero_base.yaml \
    --model_name_or_path $out/init --output_dir $out/base "${base_words[@]}" "$@"

# R1-Zero: no examples at all.
if [[ ${ZERO:-} ]]; then
    train r1_zero grpo recipes/demo/grpo/config_zero.yaml --model_name_or_path $out/base --output_dir $out/r1_zero \
        --do_eval false --eval_on_start false --eval_benchmarks assets/demo/sums.jsonl \
        --eval_benchmarks_solution_column answer --eval_benchmarks_num_samples 8 --eval_benchmarks_max_tokens 48 \
        --eval_benchmarks_temperature 1.0 --eval_benchmarks_top_p 1.0 --eval_benchmarks_template '{prompt}' "$@"
fi

# 1. Cold start: SFT on worked sums whose thoughts are in two languages.
train cold_start sft recipes/demo/sft/config_pipeline_cold_start.yaml "$@"
# 2. GRPO for right answers, the layout, and thoughts in one language.
train reasoning_rl grpo recipes/demo/grpo/config_pipeline_reasoning.yaml "$@"

# 3. Rejection sampling: four answers of the policy to each problem, of which the right and readable ones stay.
server=(python scripts/serve_transformers.py --model_id "$out/reasoning_rl" --port "$port" --max_batch_size 256)
generate samples $out/reasoning_rl $out/samples --dataset-name tasks/running_sums --config rl --prompt-column problem \
    --prompt-template '{prompt}' --num-generations 4 --temperature 1.0 --top-p 1.0 --max-tokens 48 --seed 0
stage decontaminated python scripts/decontaminate.py --dataset $out/samples --problem_column problem --cleanup \
    --benchmark_file assets/demo/sums.jsonl --output_dir $out/decontaminated
stage reasoning_data python scripts/curate.py --input $out/decontaminated --readability no_words mixed_language \
    --language en --order random --max_per_problem 2 --output_dir $out/reasoning_data
# SFT of the base, not of the policy, on these and on chats.
train sft sft recipes/demo/sft/config_pipeline_sft.yaml "$@"

# 4. GRPO on sums and chats, each with rewards of its own.
train rl_all grpo recipes/demo/grpo/config_pipeline_all.yaml "$@"

# Distillation: the data of stage 3, and no GRPO. The student has three fifths of the parameters.
stage student_init python scripts/make_tiny_model.py --output_dir $out/student_init --seed 1 --hidden_size 96
train student_base sft recipes/demo/sft/config_zero_base.yaml \
    --model_name_or_path $out/student_init --output_dir $out/student_base "${base_words[@]}" "$@"
train distill sft recipes/demo/sft/config_pipeline_sft.yaml \
    --model_name_or_path $out/student_base --output_dir $out/distill "$@"

stage report python scripts/pipeline_report.py $out/{r1_zero,cold_start,reasoning_rl,sft,rl_all,distill} \
    --table $out/report.md --picture $out/report.png
