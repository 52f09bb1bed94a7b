# SPDX-License-Identifier: Apache-2.0
"""From the names in `reward_funcs` to rewards.

| name in a recipe                            | what it is                                                 |
|---------------------------------------------|------------------------------------------------------------|
| `accuracy`                                  | a row of the table                                         |
| `path/to/file.py:function`, `module:function` | a function of the user's own (`user`)                    |
| `org/model`, `org/model@revision`, `./folder` | a reward model, which the training scripts load          |
| `summary_only(<any of these>)`              | the same, judging only what follows the reasoning          |

Rewards that `reward_domains` lists judge the rows of their domains alone (`wrappers`).
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from open_r1.configs.rewards import RewardArguments
from open_r1.data.user_code import is_user_place
from open_r1.rewards.base import DEFAULT_CONTEXT, Reward, RewardContext, did_you_mean
from open_r1.rewards.spec import RewardSpec
from open_r1.rewards.table import REWARDS
from open_r1.rewards.user import load_user_reward, reads_tokens, required_columns
from open_r1.rewards.wrappers import DomainReward, NamedReward, SummaryOnlyReward, domains_by_reward

logger = logging.getLogger(__name__)

LoadRewardModel = Callable[[str], Reward]

_SUMMARY_ONLY = re.compile(r"summary_only\((.*)\)")


def get_reward_spec(name: str, load_reward_model: LoadRewardModel | None = None) -> RewardSpec:
    """Return what is known of the reward that a name in `reward_funcs` means.

    Args:
        name: The name, as a recipe has it.
        load_reward_model: Makes a reward of the name of a reward model; without it such a reward can't be built.

    Raises:
        ValueError: The name is unknown, or its function can't be loaded.
    """
    if name in REWARDS:
        return REWARDS[name]
    match = _SUMMARY_ONLY.fullmatch(name)
    if match:
        return _spec_of_summary(match[1].strip(), load_reward_model)
    if is_user_place(name):
        return _spec_of_user(name)
    if "/" in name:
        return _spec_of_model(name, load_reward_model)
    raise ValueError(_unknown(name))


def is_user_function(name: str) -> bool:
    """Whether a name means a function of the user's own, alone or in `summary_only`."""
    match = _SUMMARY_ONLY.fullmatch(name)
    return is_user_place(match[1].strip() if match else name)


def _unknown(name: str) -> str:
    return (
        f"Unknown reward {name!r} in reward_funcs.{did_you_mean(name, REWARDS)} Available: "
        f"{', '.join(sorted(REWARDS))}; summary_only(<reward>); a function of your own (path/to/file.py:function); a "
        "reward model (org/model, ./folder)."
    )


def _spec_of_model(name: str, load_reward_model: LoadRewardModel | None) -> RewardSpec:
    def build(script_args: RewardArguments, context: RewardContext) -> Reward:
        if load_reward_model is None:
            raise ValueError(
                f"{name!r} in reward_funcs is a reward model, and nothing was given to load it with "
                "(get_reward_funcs(..., load_reward_model=...), as grpo.py and sft.py do)."
            )
        return load_reward_model(name)

    return RewardSpec(build=build, is_external=True)


def _spec_of_user(place: str) -> RewardSpec:
    reward = load_user_reward(place)
    return RewardSpec(
        build=lambda script_args, context: replace(reward, timeout_s=script_args.reward_timeout_s),
        columns=required_columns(reward.reward),
        reads_tokens=reads_tokens(reward.reward),
        is_external=True,
    )


def _spec_of_summary(inner: str, load_reward_model: LoadRewardModel | None) -> RewardSpec:
    if _SUMMARY_ONLY.fullmatch(inner):
        raise ValueError(f"summary_only({inner}) cuts the reasoning off twice: write {inner}.")
    spec = get_reward_spec(inner, load_reward_model)
    if spec.reads_tokens:
        raise ValueError(
            f"summary_only({inner}) can't work: {inner} judges the tokens of the whole completion, reasoning included."
        )

    def build(script_args: RewardArguments, context: RewardContext) -> Reward:
        # In a summary the prompt has opened nothing.
        return SummaryOnlyReward(spec.build(script_args, replace(context, completion_prefix="")), context)

    return replace(spec, build=build)


def needed_columns(names: Sequence[str], *, in_every_row: bool = False) -> tuple[str, ...]:
    """Return the dataset columns that these rewards can't do without, or those that no row may leave empty."""
    specs = [get_reward_spec(name) for name in names]
    chosen = [spec for spec in specs if not (in_every_row and spec.skips_empty)]
    return tuple(sorted({column for spec in chosen for column in spec.columns}))


def reward_domains_of(script_args: RewardArguments) -> dict[str, list[str]]:
    """Return the domains of every reward that `reward_domains` lists; the others judge every row.

    Raises:
        ValueError: `reward_domains` is malformed or lists a name that `reward_funcs` doesn't.
    """
    return domains_by_reward(script_args.reward_funcs, script_args.reward_domains)


def names_for_domain(script_args: RewardArguments, domain: object) -> list[str]:
    """Return the rewards of `reward_funcs` that judge a row of this domain."""
    domains = reward_domains_of(script_args)
    return [name for name in script_args.reward_funcs if name not in domains or domain in domains[name]]


def get_reward_funcs(
    script_args: RewardArguments,
    context: RewardContext | None = None,
    *,
    load_reward_model: LoadRewardModel | None = None,
) -> list[Reward]:
    """Build the rewards that `script_args.reward_funcs` names, in that order, and no others.

    Raises:
        ValueError: A name is unknown or listed twice, a parameter of a reward is out of range, a function can't be
            loaded, or there is a reward model and nothing to load it with.
    """
    names: Sequence[str] = script_args.reward_funcs
    specs = [get_reward_spec(name, load_reward_model) for name in names]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"reward_funcs lists {', '.join(repeated)} more than once; raise its reward weight instead.")
    domains = reward_domains_of(script_args)
    rewards: list[Reward] = []
    for name, spec in zip(names, specs, strict=True):
        reward = spec.build(script_args, context or DEFAULT_CONTEXT)
        warning = spec.no_effect(script_args, context or DEFAULT_CONTEXT)
        if warning is not None:
            logger.warning(warning)
        rewards.append(DomainReward(reward, tuple(domains[name])) if name in domains else reward)
    return _with_distinct_names(rewards)


def _with_distinct_names(rewards: Sequence[Reward]) -> list[Reward]:
    """Number the metric keys that several rewards would share: `brevity`, `brevity_2`."""
    distinct: list[Reward] = []
    taken: set[str] = set()
    for reward in rewards:
        name, number = reward.__name__, 1
        while name in taken:
            number += 1
            name = f"{reward.__name__}_{number}"
        taken.add(name)
        distinct.append(reward if number == 1 else NamedReward(reward, name))
    return distinct
