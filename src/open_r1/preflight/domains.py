# SPDX-License-Identifier: Apache-2.0
"""Has every row what its rewards need, and is there a reward for it? The router makes that a question per domain."""

import logging
from collections import Counter

from datasets import Dataset

from open_r1.configs import GRPOScriptArguments, SFTScriptArguments
from open_r1.rewards import DOMAIN_COLUMN, names_for_domain, needed_columns, reward_domains_of
from open_r1.utils.data import drop_null_rows, require_columns

logger = logging.getLogger(__name__)


def drop_unjudgeable_rows(rows: Dataset, script_args: GRPOScriptArguments | SFTScriptArguments, split: str) -> Dataset:
    """Drop rows that lack what a reward for them needs, with a count.

    A column that only the rewards of a domain need may be empty in the rows of others.

    Raises:
        ValueError: A column is missing, or no row is left.
    """
    names, domains = script_args.reward_funcs, reward_domains_of(script_args)
    where = f"split {split!r}, needed by the rewards {names}"
    require_columns(rows, list(needed_columns(names)), f"{where} (`dataset_solution_column` names the gold answers)")
    general = [name for name in names if name not in domains]
    rows = drop_null_rows(rows, list(needed_columns(general, in_every_row=True)), split)
    if not domains:
        return rows
    require_columns(
        rows,
        [DOMAIN_COLUMN],
        f"split {split!r}: `reward_domains` chooses the rewards of a row by it ({list(domains)})",
    )
    for domain in sorted({domain for listed in domains.values() for domain in listed}):
        members = {row for row, found in enumerate(rows[DOMAIN_COLUMN]) if found == domain}
        here = needed_columns(names_for_domain(script_args, domain), in_every_row=True)
        rows = drop_null_rows(rows, list(here), split, members)
    return rows


def check_domains(rows: Dataset, script_args: GRPOScriptArguments | SFTScriptArguments, split: str) -> None:
    """Refuse rows that no reward judges; warn of domains that `reward_domains` or the rows alone know.

    Raises:
        ValueError: There are such rows: their completions would all be worth nothing.
    """
    domains = reward_domains_of(script_args)
    if not domains:
        return
    known = {domain for listed in domains.values() for domain in listed}
    counts = Counter(rows[DOMAIN_COLUMN])
    unknown = {domain: count for domain, count in counts.items() if domain not in known}
    general = names_for_domain(script_args, None)
    found = ", ".join(f"{domain!r} ({count} rows)" for domain, count in unknown.items())
    if unknown and not general:
        raise ValueError(
            f"No reward judges the rows of split {split!r} with {DOMAIN_COLUMN} {found}: `reward_domains` has "
            f"{sorted(known)}. Add these domains, drop the rows, or take a reward out of `reward_domains`."
        )
    if unknown:
        logger.warning("Rows of split %r with %s %s are judged by %s alone: `reward_domains` doesn't list them.",
                       split, DOMAIN_COLUMN, found, general)  # fmt: skip
    missing = sorted(known - counts.keys())
    if missing:
        logger.warning("No row of split %r is of the domains %s in `reward_domains`; there are %s.",
                       split, missing, sorted(map(str, counts)))  # fmt: skip
