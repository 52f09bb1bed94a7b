# SPDX-License-Identifier: Apache-2.0
"""The best setting for each difficulty and budget of tokens, from a finished run of test_time_compute.py.

    python scripts/compute_optimal.py test_time_results/sft/main/sums-test-time

    | budget | bin | problems | best setting | accuracy (95 %) | tokens |
    | 32 | medium | ... | budget_forcing budget=16 num_waits=0 | ... | ... |

It reads answers.parquet of the run. Source: arXiv 2502.06703. Differences:

1. Difficulty is the share of plain samples (`cot`, or a pool with n=1) that are right, in half of their repeats; the
   other half is compared. This is oracle difficulty: a new problem needs its gold, and these samples are in no budget.
2. The setting of a bin is chosen on half of its problems, and its accuracy taken on the others, both ways round in 20
   divisions: the best of many settings looks better than it is on the problems that it was chosen by.
3. "as by bin" holds the choices of all bins; the line below it has the best single setting.

Left out are upper bounds (the scorer `oracle`), and problems on which some setting could not be judged.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from open_r1.evaluation.intervals import mean_interval
from open_r1.evaluation.run import ANSWERS_NAME

BINS = {"hard": (0.0, 0.1), "medium": (0.1, 0.5), "easy": (0.5, 1.01)}  # pass@1 from, below
_NUM_DIVISIONS = 20
Attempts = dict[int, dict[int, tuple[float, float]]]  # score and tokens by row and repeat


def read_attempts(folder: Path) -> dict[str, Attempts]:
    """Return the attempts of a run by setting."""
    columns = ["setting", "row", "repeat", "score", "total_tokens"]
    found: dict[str, Attempts] = {}
    for label, row, repeat, score, tokens in zip(
        *(pq.read_table(folder / ANSWERS_NAME, columns=columns)[name].to_pylist() for name in columns), strict=True
    ):
        if not label.endswith("(upper bound)"):
            found.setdefault(label, {}).setdefault(row, {})[repeat] = (score, tokens)
    return found


def best_settings(attempts: dict[str, Attempts]) -> list[str]:
    """Return the lines of the table.

    Raises:
        ValueError: There are no plain samples in two repeats, or fewer than two problems judged at each setting.
    """
    pools = ("majority n=1 ", "best_of_n n=1 ", "weighted n=1 ")
    plain = next((label for label in attempts if label == "cot" or label.startswith(pools)), None)
    repeats = sorted({repeat for by_row in attempts.get(plain or "", {}).values() for repeat in by_row})
    if plain is None or len(repeats) < 2:
        raise ValueError("Difficulty needs plain samples: cot, or majority with 1 among --n, and --num_repeats 4.")
    measuring = set(repeats[: len(repeats) // 2])
    rates = {row: _mean(by_repeat, measuring)[0] for row, by_repeat in attempts[plain].items()}
    cells = {  # what is solved once is greedy, and shares no sample with those that measure
        label: {row: _mean(one, one.keys() - measuring or set(one)) for row, one in by_row.items()}
        for label, by_row in attempts.items()
    }
    rows = [row for row in rates if not any(math.isnan(by_row[row][0]) for by_row in cells.values())]
    rows = [row for row in rows if not math.isnan(rates[row])]
    if len(rows) < 2:
        raise ValueError(f"{len(rows)} problems were judged at each setting; two halves need at least 2.")
    values_SPV = np.array([[by_row[row] for row in rows] for by_row in cells.values()])  # V: score, tokens
    bins = {name: [p for p, row in enumerate(rows) if low <= rates[row] < high] for name, (low, high) in BINS.items()}
    means = values_SPV[:, :, 1].mean(axis=1)
    lines = ["| budget | bin | problems | best setting | accuracy (95 %) | tokens |", "|---|---|---|---|---|---|"]
    for power in range(math.ceil(math.log2(max(1, means.min()))), math.ceil(math.log2(max(1, means.max()))) + 1):
        parts = {name: _choose(values_SPV, places, 2**power) for name, places in bins.items() if places}
        fixed = _choose(values_SPV, list(range(len(rows))), 2**power)
        shown = [(name, list(cells)[part[0]], part[1]) for name, part in parts.items() if part is not None]
        if len(shown) == len(parts):
            shown.append(("all", "as by bin", np.concatenate([values for _, _, values in shown])))
        if fixed is not None:
            shown.append(("all", list(cells)[fixed[0]], fixed[1]))
        lines += [f"| {2**power} | {name} | {len(one)} | {best} | {_figures(one)} |" for name, best, one in shown]
    return lines


def _mean(by_repeat: dict[int, tuple[float, float]], repeats: set[int]) -> list[float]:
    """Return mean score and tokens of some repeats, NaN where none of them was judged."""
    judged = [pair for repeat, pair in by_repeat.items() if repeat in repeats and not math.isnan(pair[0])]
    return np.mean(judged, axis=0).tolist() if judged else [math.nan, math.nan]


def _choose(values_SPV: np.ndarray, places: list[int], budget: int) -> tuple[int, np.ndarray] | None:
    """Return the best setting on all of some problems, and score and tokens of each by the choice of other halves."""
    best, generator, found = _best(values_SPV[:, places], budget), np.random.default_rng(0), []
    for _ in range(_NUM_DIVISIONS if best is not None and len(places) > 1 else 0):
        order = generator.permutation(places)
        values = np.full((values_SPV.shape[1], 2), np.nan)
        for by, reported in ((order[::2], order[1::2]), (order[1::2], order[::2])):
            chosen = _best(values_SPV[:, by], budget)
            values[reported] = np.nan if chosen is None else values_SPV[chosen, reported]
        found.append(values[places])
    return None if best is None or not found or np.isnan(found).any() else (best, np.mean(found, axis=0))


def _best(values_SPV: np.ndarray, budget: int) -> int | None:
    """Return the setting of the highest accuracy within the budget; of equals the one with the fewest tokens."""
    means = values_SPV.mean(axis=1).tolist()
    found = [(-round(score, 12), tokens, place) for place, (score, tokens) in enumerate(means) if tokens <= budget]
    return min(found)[2] if found else None


def _figures(values_PV: np.ndarray) -> str:
    found = mean_interval(values_PV[:, 0].tolist(), is_bounded=True)
    return f"{found.mean:.3f} ({found.low:.3f}-{found.high:.3f}) | {values_PV[:, 1].mean():.0f}"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder with answers.parquet")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print the table; a refusal is one message and exit code 1."""
    try:
        print("\n".join(best_settings(read_attempts(build_parser().parse_args(argv).folder))))
    except (ValueError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
