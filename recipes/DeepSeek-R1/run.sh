#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# All stages of DeepSeek-R1 at 7 B, on one node of 8 GPUs of 80 GB. Not yet run; recipes/demo/pipeline.sh is, on a CPU.
#
#   recipes/DeepSeek-R1/run.sh             # the same command resumes after a kill; finished stages end at once
#   DRY_RUN=1 recipes/DeepSeek-R1/run.sh   # prints the commands
#   SLURM=1 recipes/DeepSeek-R1/run.sh     # submits them as a chain of jobs (recipes/stages.sh)
#   ZERO=1 recipes/DeepSeek-R1/run.sh      # R1-Zero too, the base by GRPO alone, which nothing else needs
#
# Sources of the numbers stand in the recipes; what differs from the paper, in README.md beside this file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=recipes/stages.sh
source recipes/stages.sh

recipes=recipes/DeepSeek-R1 out=data/DeepSeek-R1
if [[ ${ZERO:-} ]]; then
    train r1_zero grpo recipes/DeepSeek-R1-Zero/grpo/config_qwen2.5_7b.yaml
fi

# Data of stages 1 and 3: 5,000 right and readable chains of thought, 200,000 rows without reasoning.
stage cold_start_data python scripts/curate.py --config $recipes/curation/config_cold_start.yaml
stage chat python scripts/curate.py --config $recipes/curation/config_chat.yaml

# 1. Cold start: SFT of the base on the chains.
train cold_start sft $recipes/sft/config_cold_start.yaml
# 2. GRPO for right answers in one language.
train reasoning_rl grpo $recipes/grpo/config_reasoning.yaml

# 3. Rejection sampling: eight answers of the policy to each of 94,000 problems, of which the right and readable ones stay.
system_prompt='Where a question needs thought, think first: try ideas, check every step and correct mistakes, all of it between
<think> and </think>. Then answer. The result of a problem in mathematics stands in \boxed{}, a program in one fenced
block.'
server=(vllm serve "$out/reasoning_rl" --port "$port" --data-parallel-size 8 --max-model-len 10240)
served=(--max-model-len 10240)
generate samples $out/reasoning_rl $out/samples --dataset-name open-r1/OpenR1-Math-220k --config default \
    --prompt-column problem --uuid-column uuid --drop-columns generations finish_reasons messages \
    --prompt-template '{prompt}' --system-prompt "$system_prompt" --num-generations 8 --temperature 1.0 --top-p 1.0 \
    --max-tokens 8192
stage decontaminated python scripts/decontaminate.py --dataset $out/samples --problem_column problem --cleanup \
    --output_dir $out/decontaminated
stage reasoning_data python scripts/curate.py --config $recipes/curation/config_rejection_sampling.yaml
# SFT of the base, not of the policy, on these and on chats.
train sft sft $recipes/sft/config_mixed.yaml

# 4. GRPO with rules for reasoning and preferences for chats.
train rl_all grpo $recipes/grpo/config_all_scenarios.yaml

# Distillation: SFT of a smaller base on the data of stage 3.
train distill sft $recipes/sft/config_distill.yaml
