# SPDX-License-Identifier: Apache-2.0
"""Finished runs on benchmarks, found by their `results.json`, and the settings in which they differ."""

import json
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from open_r1.evaluation.results import RESULTS_NAME

logger = logging.getLogger(__name__)

_PARTS = {"settings": dict, "counts": dict, "metrics": dict, "benchmark": str}
_OPTIONAL = {"speed": dict, "notes": list, "versions": dict}
_AVERAGE = re.compile(r"avg@(\d{1,9})")
# Settings that decide neither answers nor figures; of the model and the data more than their names says what they are.
_NO_DIFFERENCE = ("servers", "served_with", "served_as", "dataset", "config", "split", "source", "max_model_len")
OF_THE_CHECKPOINT = ("model", "revision", "model_commit", "model_fingerprint")
_PROBLEMS = ("source", "limit")
_VERSIONS = ("open-r1", "math-verify", "transformers")  # of those in the results, what judges and may generate
_MAX_CHARS = 60


@dataclass(frozen=True)
class Run:
    """A finished run on one benchmark.

    Attributes:
        folder: Where its files are.
        results: What is in `results.json`.
    """

    folder: Path
    results: Mapping[str, Any]

    @property
    def benchmark(self) -> str:
        """Name of the benchmark."""
        return printable(self.results["benchmark"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides the answers and the figures, and what describes them."""
        return self.results["settings"]

    @property
    def model(self) -> str:
        """Name of the model, with the revision where that isn't `main`."""
        revision = self.settings.get("revision") or "main"
        name = str(self.settings.get("model") or "?")
        return printable(name if revision == "main" else f"{name}@{revision}")

    @property
    def checkpoint(self) -> str:
        """What tells its weights from others: their hash, their commit, or else their name."""
        return str(self.settings.get("model_fingerprint") or self.settings.get("model_commit") or self.model)

    @property
    def is_checkpoint_known(self) -> bool:
        """Whether more than the name tells which weights it was."""
        return self.checkpoint != self.model

    @property
    def k(self) -> int:
        """Answers a problem, of the problem with the fewest."""
        return max(int(found[1]) for name in self.results["metrics"] if (found := _AVERAGE.fullmatch(name)))

    def metric(self, name: str) -> float | None:
        """Return a metric; None: the run has none of that name."""
        value = self.results["metrics"].get(name)
        return None if value is None or math.isnan(value) else float(value)

    def interval(self, estimate: str) -> tuple[float, float] | None:
        """Return the ends of the interval of avg, pass or maj at the run's k; None: it has none."""
        low, high = (self.metric(f"{estimate}@{self.k}_{end}") for end in ("low", "high"))
        return None if low is None or high is None else (low, high)

    @property
    def is_complete(self) -> bool:
        """Whether no request has failed and no judgement was lost."""
        return self.results.get("is_complete", True)

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens a second of all requests together; None: unknown."""
        speed = self.results.get("speed")
        return None if not speed else speed.get("tokens_per_s")

    @property
    def problems(self) -> list[Any]:
        """What tells its problems from others: the data, and how many of them were asked."""
        return [self.settings.get(name) for name in _PROBLEMS]


def find_runs(places: Iterable[Path]) -> list[Run]:
    """Return the runs below folders, or of the files that are named, in the order of their paths; each once.

    Of folders, files of the same name that are torn, or by other programs, are left out, with a line in the log.

    Raises:
        ValueError: There is no such place, or nothing to be read in it; a file that is named is torn, or another
            program's.
    """
    found: dict[Path, Run] = {}
    for place in places:
        if not place.exists():
            raise ValueError(f"There is no file or folder {place}.")
        paths = sorted(place.rglob(RESULTS_NAME)) if place.is_dir() else [place]
        runs = []
        for path in paths:
            try:
                value = _read(path)
            except ValueError as error:
                if path == place or len(paths) == 1:
                    raise
                logger.warning("It is left out: %s", error)
                continue
            reason = _foreign(value)
            if reason and place.is_dir():
                logger.warning("%s is left out: it has %s, so another program wrote it.", path, reason)
            elif reason:
                raise ValueError(f"{path} has {reason}: it is no {RESULTS_NAME} of run_benchmarks.py.{_hint([path])}")
            else:
                runs.append(Run(path.parent, value))
        if not runs:
            raise ValueError(f"{place} holds no {RESULTS_NAME} of run_benchmarks.py.{_hint(place.rglob('*.json'))}")
        found |= {run.folder.resolve(): run for run in runs if run.folder.resolve() not in found}
    return list(found.values())


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is torn, or no JSON: {error}. Repeat its run, or move it away.") from error


def _foreign(value: Any) -> str:
    """Return what a file lacks that a run of ours has; "": nothing."""
    if not isinstance(value, dict):
        return "no JSON object"
    lacking = [name for name, kind in _PARTS.items() if not isinstance(value.get(name), kind)]
    if lacking:
        return f"no {', '.join(lacking)}"
    damaged = [name for name, kind in _OPTIONAL.items() if not isinstance(value.get(name), kind | None)]
    if damaged:
        return f"something else as its {', '.join(damaged)}"
    averages = [name for name in value["metrics"] if _AVERAGE.fullmatch(name)]
    if len(averages) != 1:
        return f"{len(averages)} avg@k in place of one" if averages else "no avg@k"
    return _wrong_part(value)


def _wrong_part(value: Mapping[str, Any]) -> str:
    """Return which entry of a part is of another kind than ours."""
    for name, entry in value["metrics"].items():
        if not _is_number(entry):
            return f"{short(entry)} as {name} of its metrics, which is no number"
    average = next(name for name in value["metrics"] if _AVERAGE.fullmatch(name))
    if value["metrics"][average] is None or not math.isfinite(value["metrics"][average]):
        return f"{short(value['metrics'][average])} as its {average}"
    speed = (value.get("speed") or {}).get("tokens_per_s")
    if not _is_number(speed):
        return f"{short(speed)} as its tokens_per_s, which is no number"
    return ""


def _is_number(value: Any) -> bool:
    """Whether it is a number, or None, which stands for one that isn't known."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _hint(paths: Iterable[Path]) -> str:
    if any(re.fullmatch(r"results_\d{4}-.*\.json", path.name) for path in paths):
        return " results_<date>.json is lighteval's."
    return ""


@dataclass(frozen=True)
class Difference:
    """A setting in which runs on one benchmark differ.

    Attributes:
        name: Of the setting, as in `results.json`.
        values: By the number of the run; None where a run doesn't have it.
    """

    name: str
    values: Mapping[int, Any]

    def __str__(self) -> str:
        groups: dict[str, list[int]] = {}
        for number, value in self.values.items():
            groups.setdefault(short(value), []).append(number)
        parts = (f"{value} ({', '.join(f'#{number}' for number in numbers)})" for value, numbers in groups.items())
        return f"{self.name}: {', '.join(parts)}"


def differing_settings(runs: Mapping[int, Run]) -> list[Difference]:
    """Return all that differs between runs by number and may change their figures, versions too."""
    described = {number: _described(run) for number, run in runs.items()}
    names = dict.fromkeys(name for values in described.values() for name in values)
    columns = {name: {number: values.get(name) for number, values in described.items()} for name in names}
    return [
        Difference(name, values) for name, values in columns.items() if len({_key(v) for v in values.values()}) > 1
    ]


def differing_problems(runs: Sequence[Run]) -> bool:
    """Whether runs on a benchmark of the same name were asked different problems."""
    return len({_key(run.problems) for run in runs}) > 1


def _described(run: Run) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in run.settings.items():
        if name in _NO_DIFFERENCE:
            continue
        if isinstance(value, dict):
            values |= {f"{name}.{part}": entry for part, entry in value.items()}
        else:
            values[name] = value
    versions = run.results.get("versions")
    if isinstance(versions, dict):
        values |= {f"version of {name}": versions.get(name) for name in _VERSIONS}
    return {**values, "commit of open-r1": run.results.get("commit")}


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def short(value: Any) -> str:
    """Return a value in a line."""
    text = "not set" if value is None else value if isinstance(value, str) else _key(value)
    text = repr(text) if isinstance(value, str) and ("\n" in text or "," in text or not text.strip()) else text
    text = printable(text)
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 20]} ... {text[-15:]}"


def printable(value: Any) -> str:
    r"""Return a text in which nothing moves the cursor of a terminal, or ends the line.

    >>> printable("a\x1b[2J\nb")
    'a\\x1b[2J\\nb'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(value))
