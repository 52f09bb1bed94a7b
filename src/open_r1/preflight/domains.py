# SPDX-License-Identifier: Apache-2.0
"""Has every row what its rewards need, and is there a reward for it? The router makes that a question per domain."""

import difflib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from datasets import Dataset

from open_r1.configs import GRPOScriptArguments, SFTScriptArguments
from open_r1.data.loading import require_columns
from open_r1.data.training_rows import drop_null_rows
from open_r1.rewards import DOMAIN_COLUMN, get_reward_spec, names_for_domain, needed_columns, reward_domains_of

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
    for name in names:
        _require_any_column(rows, name, split)
    general = [name for name in names if name not in domains]
    rows = drop_null_rows(rows, list(needed_columns(general, in_every_row=True)), split)
    if not domains:
        return rows
    require_columns(
        rows,
        [DOMAIN_COLUMN],
        f"split {split!r}: `reward_domains` chooses the rewards of a row by it ({list(domains)}); in a mixture, "
        "`domain: <name>` in an entry sets it",
    )
    for domain in sorted({domain for listed in domains.values() for domain in listed}):
        members = {row for row, found in enumerate(rows[DOMAIN_COLUMN]) if found == domain}
        here = needed_columns(names_for_domain(script_args, domain), in_every_row=True)
        rows = drop_null_rows(rows, list(here), split, members)
    return rows


def _require_any_column(rows: Dataset, name: str, split: str) -> None:
    """Refuse data that has none of the columns of which a reward needs one."""
    wanted = get_reward_spec(name).any_column
    if wanted and not set(wanted) & set(rows.column_names):
        raise ValueError(
            f"The reward {name!r} needs one of the columns {list(wanted)}; split {split!r} has {rows.column_names}."
        )


def check_domains(
    rows: Dataset, script_args: GRPOScriptArguments | SFTScriptArguments, split: str, *, is_training: bool
) -> None:
    """Refuse rows that no reward judges, and rewards that judge no row; warn of domains that one side alone knows.

    Args:
        rows: The rows, those that can't be judged already dropped.
        script_args: Names the rewards and their domains.
        split: Name of the rows in messages.
        is_training: Whether the rows are trained on; an evaluation may leave a domain out.

    Raises:
        ValueError: There are such rows: their completions would all be worth nothing. Or there are such rewards.
    """
    domains = reward_domains_of(script_args)
    if not domains:
        return
    known = {domain for listed in domains.values() for domain in listed}
    counts = Counter(rows[DOMAIN_COLUMN])
    unknown = _describe({domain: count for domain, count in counts.items() if domain not in known})
    general = names_for_domain(script_args, None)
    if unknown and not general:
        raise ValueError(
            f"No reward judges the rows of split {split!r} with {unknown}: `reward_domains` has {sorted(known)}. Add "
            "these domains, drop the rows, or take a reward out of `reward_domains`."
        )
    idle = [name for name, listed in domains.items() if not counts.keys() & set(listed)] if is_training else []
    if idle:
        raise ValueError(
            f"The reward {idle[0]!r} judges no row of split {split!r}: `reward_domains` gives it {domains[idle[0]]}, "
            f"and the rows have {_describe(counts)}.{_suggest(domains[idle[0]], counts)} Correct the name, or take "
            "the reward out. In a mixture, `domain: <name>` in an entry sets the domain of its rows."
        )
    if unknown:
        logger.warning(
            "Rows of split %r with %s are judged by %s alone: `reward_domains` doesn't list them.",
            split,
            unknown,
            general,
        )
    missing = sorted(known - counts.keys())
    if missing:
        logger.warning(
            "No row of split %r is of the domains %s in `reward_domains`; there are rows with %s.%s",
            split,
            missing,
            _describe(counts),
            _suggest(missing, counts),
        )


def _describe(counts: Mapping[object, int]) -> str:
    """Return the domains of rows as a message says them: `domain 'math' (3 rows), no domain (1 row)`."""
    return ", ".join(
        f"{'no domain' if domain is None else f'{DOMAIN_COLUMN} {domain!r}'} ({count} row{'s' if count > 1 else ''})"
        for domain, count in counts.items()
    )


def _suggest(wanted: Sequence[str], counts: Mapping[object, int]) -> str:
    """Return the domain of the data that is nearest to one of these, as a question; "" where none is near."""
    found = [domain for domain in counts if isinstance(domain, str)]
    near = [close for name in wanted for close in difflib.get_close_matches(name, found, n=1)]
    return f" Did you mean {near[0]!r}?" if near else ""
