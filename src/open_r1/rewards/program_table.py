# SPDX-License-Identifier: Apache-2.0
"""The rows of the table for rewards that run programs."""

import math
from collections.abc import Mapping
from functools import partial

from open_r1.configs.rewards import RewardArguments
from open_r1.grading.batch import Limits, SandboxSettings
from open_r1.grading.cases import read_verification_info
from open_r1.grading.programs import Budget
from open_r1.rewards.base import Reward, RewardContext
from open_r1.rewards.contest_rewards import CF_COLUMNS, IOI_COLUMNS, CfCodeReward, IoiCodeReward
from open_r1.rewards.program_rewards import TEST_COLUMNS, CodeReward
from open_r1.rewards.spec import ProgramSpec, RewardSpec

# A row's own right program, fenced or not.
GOLD_COLUMNS = ("gold_standard_solution",)

# Over these it's a slip of the unit (milliseconds, bytes), which would let one program hold up a step or a machine.
MOST_TIMEOUT_S, MOST_MEMORY_MB = 3600, 1 << 20


def code_sandbox(script_args: RewardArguments) -> SandboxSettings:
    """Return where `code` and `binary_code` run programs: at the provider, or at the one router whose URL is set.

    Raises:
        ValueError: There are several URLs, or one that isn't the provider's.
    """
    contests = (script_args.ioi_provider, script_args.cf_provider) if script_args.code_provider else ()
    urls = {owner: url for owner, url in _router_urls(script_args).items() if url and owner not in contests}
    provider = script_args.code_provider or next(iter(urls), "local")
    for owner, url in urls.items():
        if owner != provider:
            since = "" if script_args.code_provider else f", since there is {_URL_SETTINGS[provider]} too"
            raise ValueError(
                f"Programs can't run in two places: {_URL_SETTINGS[owner]} is {url!r}, and code_provider is "
                f"{provider!r}{since}. Leave one out, or set `code_provider: {owner}`."
            )
    return _sandbox(script_args, provider)


_URL_SETTINGS = {"router": "sandbox_router_url", "e2b": "e2b_router_url", "morph": "morph_router_url"}


def _router_urls(script_args: RewardArguments) -> dict[str, str | None]:
    return {
        "router": script_args.sandbox_router_url,
        "e2b": script_args.e2b_router_url,
        "morph": script_args.morph_router_url,
    }


def _sandbox(script_args: RewardArguments, provider: str) -> SandboxSettings:
    router_url = _router_urls(script_args).get(provider)
    num_parallel = script_args.parallel_code_exec_per_proc
    if num_parallel is not None and num_parallel < 1:
        raise ValueError(f"parallel_code_exec_per_proc must be at least 1, got {num_parallel}.")
    if not (math.isfinite(script_args.sandbox_patience_s) and script_args.sandbox_patience_s > 0):
        raise ValueError(f"sandbox_patience_s must be positive, got {script_args.sandbox_patience_s}.")
    if provider == "router" and not router_url:
        raise ValueError("The provider router needs `sandbox_router_url`: host:port or URL of the router.")
    return SandboxSettings(
        provider=provider,
        num_parallel=num_parallel,
        router_url=router_url or None,
        router_token_env=script_args.sandbox_router_token_env if router_url is not None else None,
        patience_s=script_args.sandbox_patience_s,
        python=script_args.sandbox_python if provider == "local" else None,
    )


def _max_tests(script_args: RewardArguments) -> int | None:
    if script_args.code_max_tests is not None and script_args.code_max_tests < 1:
        raise ValueError(f"code_max_tests must be at least 1, got {script_args.code_max_tests}.")
    return script_args.code_max_tests


def _budget(script_args: RewardArguments) -> Budget:
    max_timeouts, extra_s = script_args.code_max_timeouts, script_args.code_extra_time_s
    if not (max_timeouts >= 0 and extra_s >= 0):
        raise ValueError(
            f"code_max_timeouts and code_extra_time_s must be 0 (no limit) or more, got {max_timeouts} and {extra_s}."
        )
    return Budget(max_timeouts or None, extra_s or None)


def _build_code(script_args: RewardArguments, context: RewardContext, *, is_binary: bool) -> Reward:
    timeout_s, memory_mb = script_args.code_test_timeout_s, script_args.code_memory_mb
    if not 0 < timeout_s <= MOST_TIMEOUT_S:
        raise ValueError(f"code_test_timeout_s must be positive and at most {MOST_TIMEOUT_S} s, got {timeout_s}.")
    if not 1 <= memory_mb <= MOST_MEMORY_MB:
        raise ValueError(f"code_memory_mb must be at least 1 and at most {MOST_MEMORY_MB} MiB, got {memory_mb}.")
    return CodeReward(
        is_binary=is_binary,
        settings=code_sandbox(script_args),
        limits=Limits(cpu_s=timeout_s, memory_mb=memory_mb),
        batch_size=script_args.code_eval_test_batch_size,
        enforce_same_language=script_args.enforce_same_language,
        patch_code=script_args.patch_code,
        context=context,
        max_tests=_max_tests(script_args),
        budget=_budget(script_args),
    )


def _build_ioi_code(script_args: RewardArguments, context: RewardContext) -> Reward:
    return IoiCodeReward(
        settings=_sandbox(script_args, script_args.ioi_provider),
        batch_size=script_args.code_eval_test_batch_size,
        context=context,
    )


def _build_cf_code(script_args: RewardArguments, context: RewardContext) -> Reward:
    return CfCodeReward(
        settings=_sandbox(script_args, script_args.cf_provider),
        batch_size=script_args.code_eval_test_batch_size,
        scoring_mode=script_args.code_eval_scoring_mode,
        patch_code=script_args.patch_code,
        context=context,
        max_tests=_max_tests(script_args),
        budget=_budget(script_args),
    )


def language_of_row(row: Mapping[str, object]) -> str | None:
    """Return the language of a row's programs as its tests (also as text) or its column have it, or None."""
    info = row.get("verification_info")
    found = (info.get("language") if isinstance(info, Mapping) else _language_of_text(info), row.get("language"))
    return next((language for language in found if isinstance(language, str) and language), None)


def _language_of_text(info: object) -> str | None:
    if not isinstance(info, str):
        return None
    try:
        return read_verification_info(info, language="").language
    except ValueError:  # the row is unusable: no language is asked for it
        return None


def _best_of_codeforces(script_args: RewardArguments) -> float:
    return 1.1 if script_args.code_eval_scoring_mode == "weighted_sum" else 1.0


_GOLD = "the program is the solution of the row"

PROGRAM_REWARDS: dict[str, RewardSpec] = {
    name: RewardSpec(
        build=partial(_build_code, is_binary=name == "binary_code"),
        ideal=lambda script_args: 1.0,
        ideal_reason=_GOLD,
        any_column=TEST_COLUMNS,
        skips_empty=True,
        answer_columns=GOLD_COLUMNS,
        programs=ProgramSpec(code_sandbox, language_of_row, CodeReward.unusable),
    )
    for name in ("code", "binary_code")
} | {
    "ioi_code": RewardSpec(
        build=_build_ioi_code,
        ideal=lambda script_args: 1.0,
        ideal_reason=_GOLD,
        columns=IOI_COLUMNS,
        skips_empty=True,
        answer_columns=GOLD_COLUMNS,
        programs=ProgramSpec(
            lambda script_args: _sandbox(script_args, script_args.ioi_provider),
            lambda row: "cpp",
            IoiCodeReward.unusable,
        ),
    ),
    "cf_code": RewardSpec(
        build=_build_cf_code,
        ideal=_best_of_codeforces,
        ideal_reason=_GOLD,
        columns=CF_COLUMNS,
        skips_empty=True,
        answer_columns=GOLD_COLUMNS,
        programs=ProgramSpec(
            lambda script_args: _sandbox(script_args, script_args.cf_provider), language_of_row, CfCodeReward.unusable
        ),
    ),
}
