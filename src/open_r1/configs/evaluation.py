# SPDX-License-Identifier: Apache-2.0
"""Arguments of evaluation, during a training and of what it saves: the one home of their defaults and units."""

from dataclasses import dataclass

from open_r1.configs.fields import setting

# Folders of `output_dir`: completions of the policy with their rewards, and answers to `eval_benchmarks`.
ROLLOUTS_NAME, BENCHMARK_ANSWERS_NAME = "rollouts", "eval_benchmarks"
# Ends of metrics of benchmarks; transformers takes all but losses for the better the greater.
LOWER_IS_BETTER = ("/truncated", "/no_answer", "/mean_length_tokens")


@dataclass
class EvaluationParameters:
    """Training arguments: benchmarks of the policy in training, and of its saved checkpoints."""

    benchmarks: list[str] = setting(
        [],
        "Benchmarks or local files on which a Slurm job evaluates each saved checkpoint; results are "
        "written to <output_dir>/eval_results.",
    )
    eval_benchmarks: list[str] = setting(
        [],
        "Local files, or names of benchmarks, that the policy answers during the training, in the "
        "processes that train; logged as eval_<benchmark>/avg@k and so on, which `metric_for_best_model` can "
        "name. `benchmarks` are run by jobs instead, on what is saved. All processes wait for the slowest one's "
        "answers, and for the judge of the first one: programs and long answers may need a longer `ddp_timeout`.",
    )
    eval_benchmarks_steps: int | None = setting(
        None,
        "Optimizer steps between two evaluations on `eval_benchmarks`. When unset, at each evaluation of "
        "`eval_strategy`. Always at the end, and with `eval_on_start` before the first step.",
    )
    eval_benchmarks_num_samples: int = setting(4, "Answers sampled per problem of `eval_benchmarks` (k of avg@k).")
    eval_benchmarks_limit: int | None = setting(None, "Use only the first N problems of each of `eval_benchmarks`.")
    eval_benchmarks_max_tokens: int = setting(2048, "Most tokens per answer to `eval_benchmarks`.")
    eval_benchmarks_temperature: float = setting(
        0.6, "Sampling temperature on `eval_benchmarks`, 0 to 2; 0 needs `eval_benchmarks_num_samples: 1`."
    )
    eval_benchmarks_top_p: float = setting(0.95, "Nucleus sampling on `eval_benchmarks`: above 0, at most 1.")
    eval_benchmarks_seed: int = setting(
        0,
        "Seed of answer 0 to each problem; answer i has seed + i, at every evaluation the same, so that "
        "what differs is the policy. A vLLM in the training process draws by the training's `seed` instead.",
    )
    eval_benchmarks_template: str | None = setting(
        None,
        "Text with {prompt} around each problem of `eval_benchmarks`. When unset: as "
        "scripts/run_benchmarks.py asks by the kind; math: for reasoning step by step, and an answer in \\boxed{}.",
    )
    eval_benchmarks_system_prompt: str | None = setting(
        None, "System message of `eval_benchmarks`. When unset: `system_prompt`; '' sends none."
    )
    eval_benchmarks_prompt_column: str = setting(
        "problem", "Column with the problem in local files of `eval_benchmarks`."
    )
    eval_benchmarks_solution_column: str = setting(
        "solution", "Column with the gold answer in local files of `eval_benchmarks`."
    )
    eval_benchmarks_kind: str = setting(
        "auto",
        "How answers to local files of `eval_benchmarks` are judged: math, choices, code; auto: decided by "
        "the columns. Programs run in the sandbox of `code_provider`.",
    )
    eval_benchmarks_judge: str | None = setting(
        None,
        "Reward that replaces the judge of `eval_benchmarks`: a name from the reward table, or file.py:function.",
    )
    eval_benchmarks_judge_url: str | None = setting(
        None,
        "OpenAI-compatible server (host:port or URL) of a judge model that decides where the verifier abstains. While "
        "it is unreachable, evaluations lack the benchmark's metrics, and the training continues.",
    )
    eval_benchmarks_judge_model: str | None = setting(None, "Name of the judge model on that server.")
    eval_benchmarks_judge_key_env: str | None = setting(None, "Environment variable that holds its API key.")
    eval_benchmarks_split: str = setting(
        "train", "Split of local files of `eval_benchmarks`, or a slice: train[:100]."
    )
    eval_benchmarks_log_answers: bool = setting(
        False, "Keep every answer with its verdict in <output_dir>/eval_benchmarks/<benchmark>/step-<n>.parquet."
    )
