# SPDX-License-Identifier: Apache-2.0
"""The router: a reward that judges only the rows of its domains (`reward_domains` in a recipe)."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from open_r1.rewards.base import Completion, LogExtra, LogMetric, Reward, require_rows

DOMAIN_COLUMN = "domain"


@dataclass
class DomainReward:
    """Return what the inner reward gives the rows of its domains, and None for the others.

    Range as the inner reward has it; None also where the inner reward gives it. The inner reward sees its rows alone:
    of every column, `prompts` and `completion_ids` too. Columns it logs are filled up with None, numbers it logs are
    over its rows. Rows of one prompt share a domain, so groups stay whole.
    Source: the mixed rewards of DeepSeek-R1 (arXiv 2501.12948, section 2.3.4).
    """

    reward: Reward
    domains: tuple[str, ...]
    # TRL keeps the last values of a column until new ones come: what was logged once is logged in every call.
    _logged: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @property
    def __name__(self) -> str:
        """Metric key."""
        return self.reward.__name__

    def __call__(
        self,
        completions: Sequence[Completion],
        *,
        domain: Sequence[object] | None = None,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **columns: object,
    ) -> list[float | None]:
        num_rows = len(completions)
        if domain is None:
            raise ValueError(
                f"{self.__name__} judges rows of {list(self.domains)}: pass the column {DOMAIN_COLUMN!r}."
            )
        require_rows(self.__name__, num_rows, domain=domain)
        rows = [row for row, name in enumerate(domain) if name in self.domains]
        columns_here: dict[str, list] = {}
        values: list[float | None] = []
        if rows:
            values = self.reward(
                completions=_take(completions, rows, num_rows),
                domain=_take(domain, rows, num_rows),
                log_extra=columns_here.__setitem__,
                log_metric=log_metric,
                **{name: _take(column, rows, num_rows) for name, column in columns.items()},
            )
            self._logged |= columns_here.keys()
        if log_extra is not None:
            for name in sorted(self._logged):
                log_extra(name, _scatter(columns_here.get(name, [None] * len(rows)), rows, num_rows))
        return _scatter(values, rows, num_rows)


def _take(column: object, rows: Sequence[int], num_rows: int) -> object:
    """Return these rows of a column; what is no column (`trainer_state`) passes through."""
    is_column = isinstance(column, Sequence) and not isinstance(column, str) and len(column) == num_rows
    return [column[row] for row in rows] if is_column else column


def _scatter(values: Sequence, rows: Sequence[int], num_rows: int) -> list:
    scattered: list = [None] * num_rows
    for row, value in zip(rows, values, strict=True):
        scattered[row] = value
    return scattered


def domains_by_reward(
    names: Sequence[str], reward_domains: Mapping[str, Sequence[str]] | None
) -> dict[str, list[str]]:
    """Turn `reward_domains` of a recipe (domain -> rewards) round: reward -> domains. Others judge every row.

    >>> domains_by_reward(["accuracy", "format", "countdown"], {"math": ["accuracy"], "puzzle": ["countdown"]})
    {'accuracy': ['math'], 'countdown': ['puzzle']}

    Raises:
        ValueError: It is no mapping of domains to lists of names, or a name isn't in `reward_funcs`.
    """
    if reward_domains is None:
        return {}
    if not isinstance(reward_domains, Mapping):
        raise ValueError(f"`reward_domains` must be a mapping {{domain: [reward, ...]}}, got {reward_domains!r}.")
    found: dict[str, list[str]] = {}
    for domain, listed in reward_domains.items():
        if not isinstance(domain, str):
            raise ValueError(f"The domain {domain!r} in `reward_domains` must be text: put it in quotes.")
        if isinstance(listed, str) or not isinstance(listed, Sequence) or not listed:
            raise ValueError(f"`reward_domains.{domain}` must be a list of names in `reward_funcs`, got {listed!r}.")
        for name in listed:
            if name not in names:
                close = difflib.get_close_matches(str(name), names, n=1)
                suggestion = f" Did you mean {close[0]!r}?" if close else ""
                raise ValueError(
                    f"`reward_domains.{domain}` lists {name!r}, which is not in `reward_funcs` {list(names)}."
                    f"{suggestion}"
                )
            domains = found.setdefault(name, [])
            if domain not in domains:
                domains.append(domain)
    return found
