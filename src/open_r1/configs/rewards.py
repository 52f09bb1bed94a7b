# SPDX-License-Identifier: Apache-2.0
"""Script arguments of the rewards: the one home of their defaults and units."""

from dataclasses import dataclass
from typing import Any, Literal

from open_r1.configs.fields import setting
from open_r1.sandbox.providers import Provider


@dataclass
class RewardParameters:
    """Parameters of the rewards; each is read by the reward it names."""

    reward_domains: dict[str, Any] | None = setting(
        None,
        "Which rewards judge which rows (YAML only): {domain: [name, ...]}, by the column `domain`. A "
        "reward that is not listed judges every row.",
    )
    verifier: Literal["open_r1", "math_verify"] = setting(
        "open_r1",
        "accuracy, length, cosine, demystify_cosine: who judges answers. math_verify judges as TRL and "
        "Open R1 do, for numbers to compare with theirs.",
    )
    cosine_min_value_wrong: float = setting(-1.0, "cosine: reward of a wrong answer of length 0.")
    cosine_max_value_wrong: float = setting(
        -0.5, "cosine: reward of a wrong answer of length `cosine_max_len` or more."
    )
    cosine_min_value_correct: float = setting(
        0.5, "cosine: reward of a right answer of length `cosine_max_len` or more."
    )
    cosine_max_value_correct: float = setting(1.0, "cosine: reward of a right answer of length 0.")
    cosine_max_len: int = setting(1000, "cosine: length in tokens at which the curve ends.")
    repetition_n_grams: int = setting(3, "repetition_penalty: words per n-gram.")
    repetition_max_penalty: float = setting(-1.0, "repetition_penalty: reward of a text of one repeated n-gram, <= 0.")
    repetition_language: Literal["en", "zh"] = setting(
        "en", "repetition_penalty: how text is cut into words (zh needs the extra `zh`)."
    )
    token_repetition_n_grams: int = setting(40, "token_repetition: tokens per n-gram.")
    token_repetition_max_penalty: float = setting(
        -1.0, "token_repetition: reward of a completion of one repeated n-gram, <= 0."
    )
    rubric: str | None = setting(
        None, "rubric: instructions for the judge model: what to assess, and what earns 0, 1 and the scores between."
    )
    rubric_url: str | None = setting(None, "rubric: OpenAI-compatible server of the judge model, host:port or URL.")
    rubric_model: str | None = setting(None, "rubric: name of the judge model on that server.")
    rubric_key_env: str | None = setting(None, "rubric: environment variable with the API key.")
    target_language: str = setting(
        "en", "language_consistency: ISO 639-1 code, where the row has no `target_language`."
    )
    demystify_correct_at_zero: float = setting(2.0, "demystify_cosine: reward of a right answer of length 0.")
    demystify_correct_at_max_len: float = setting(
        1.0, "demystify_cosine: reward of a right answer of length `demystify_max_len`."
    )
    demystify_wrong_at_zero: float = setting(-10.0, "demystify_cosine: reward of a wrong answer of length 0.")
    demystify_wrong_at_max_len: float = setting(
        0.0, "demystify_cosine: reward of a wrong answer of length `demystify_max_len`."
    )
    demystify_exceed_length: float = setting(
        -10.0, "demystify_cosine: reward from 16 tokens below `demystify_max_len` on."
    )
    demystify_max_len: int = setting(14336, "demystify_cosine: length in tokens that counts as cut off (less 16).")
    countdown_mode: Literal["tinyzero", "mini_r1"] = setting(
        "tinyzero", "countdown: tinyzero (0, 0.1 for a wrong answer, 1) or mini_r1 (layout 1 + equation 1)."
    )
    code_language: Literal["python", "javascript", "r", "java", "bash", "cpp"] = setting(
        "python", "code_format: language of the fence when the row has no `language`."
    )
    max_completion_len: int = setting(16384, "soft_overlong_punishment: tokens from which on the reward is -1.")
    soft_punish_cache: int = setting(
        4096, "soft_overlong_punishment: tokens over which the reward falls from 0 to -1."
    )


@dataclass
class CodeExecutionParameters:
    """Where the programs of completions run, and how they are judged; read by the rewards that run programs."""

    code_provider: Provider | None = setting(
        None,
        "code, binary_code: the sandbox. local needs no key; piston PISTON_ENDPOINTS; e2b E2B_API_KEY; "
        "morph MORPH_API_KEY; fusion SANDBOX_FUSION_URL; router `sandbox_router_url`. None: the router whose URL "
        "is set, else local.",
    )
    ioi_provider: Provider = setting(
        "local", "ioi_code: the sandbox, as `code_provider`. Communication tasks need local."
    )
    cf_provider: Provider = setting("local", "cf_code: the sandbox, as `code_provider`.")
    sandbox_router_url: str | None = setting(
        None, "Address of scripts/sandbox_router.py, host:port or URL; `code_provider` is then router by default."
    )
    e2b_router_url: str | None = setting(
        None, "Address of a router to E2B that holds the key; `code_provider` is then e2b by default."
    )
    morph_router_url: str | None = setting(
        None, "Address of a router to Morph that holds the key; `code_provider` is then morph by default."
    )
    sandbox_router_token_env: str | None = setting(
        None, "Environment variable that holds the router's token. Default: SANDBOX_ROUTER_TOKEN where set."
    )
    sandbox_patience_s: float = setting(
        120.0,
        "router, piston, fusion, rubric: seconds to wait for an unreachable service.",
    )
    sandbox_python: str | None = setting(
        None,
        "local: Python interpreter for the programs. Default: this one or the system's, whichever works in the box.",
    )
    parallel_code_exec_per_proc: int | None = setting(
        None,
        "Programs judged concurrently by each training process. Default: 2; in local boxes the cores "
        "divided by the processes on this machine.",
    )
    code_eval_test_batch_size: int = setting(
        1, "binary_code, ioi_code, cf_code: tests to run before checking whether to stop; below 1, all tests run."
    )
    code_eval_scoring_mode: Literal["pass_fail", "partial", "weighted_sum"] = setting(
        "weighted_sum",
        "cf_code: pass_fail is 1 if all tests pass, partial the share of passed tests, weighted_sum "
        "pass_fail plus a tenth of partial.",
    )
    code_test_timeout_s: float = setting(
        5.0, "code, binary_code: CPU seconds per test; rows of ioi_code and cf_code carry their limits."
    )
    code_memory_mb: int = setting(
        512, "code, binary_code: memory per test in MiB; rows of ioi_code and cf_code carry their limits."
    )
    code_max_tests: int | None = setting(
        None, "code, binary_code, cf_code: most tests per row; a fixed sample of the row's tests is used."
    )
    code_max_timeouts: int = setting(
        2,
        "code, binary_code, cf_code: timeouts after which the remaining tests count as failed without being"
        " run. 0: no limit.",
    )
    code_total_cpu_s: float = setting(
        600.0,
        "code, binary_code, cf_code, except on piston and fusion: CPU seconds for compiling a program and "
        "running all its tests; tests beyond that count as timeouts. 0: no limit.",
    )
    patch_code: bool = setting(
        False, "code, binary_code, cf_code: patch constructs that current compilers and Python reject."
    )


@dataclass
class RewardArguments(CodeExecutionParameters, RewardParameters):
    """All that rewards read; each reads only its own."""

    reward_funcs: list[str] = setting(
        ["accuracy", "format", "tag_count"],
        "Names in the reward table (`open_r1.rewards.REWARDS`), functions (path/to/file.py:function, "
        "package.module:function), reward models (org/model, ./folder), and summary_only(<any of these>).",
    )
    reward_timeout_s: float = setting(
        1800.0,
        "Your own reward functions: seconds per batch before the run ends with an error (suspended time counts).",
    )
