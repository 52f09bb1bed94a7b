# SPDX-License-Identifier: Apache-2.0
"""Make the tables of benchmark results, docs/results.md, from one file, assets/results.json.

    python scripts/make_results_tables.py                                  # write it
    python scripts/make_results_tables.py --add data/evals/me/model/main/aime24/results.json \\
        --command "make evaluate MODEL=me/model TASK=aime24"

Figures of ours come from the results of a finished run alone: with the answers a problem, the 95 % interval, the
commit and the command.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from open_r1.data.cli import FlagParser
from open_r1.evaluation.prompts import TEMPLATES

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "assets" / "results.json"
NONE = "-"
_OF_A_RUN = ("model", "revision", "weights", "benchmark", "command")  # what tells runs of ours apart
# What the published figures are of; a run with others is no figure beside them.
SETTINGS = {"temperature": 0.6, "top_p": 0.95, "max_tokens": 32768, "system_prompt": None}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    add = parser.add_argument
    add(
        "--add",
        type=Path,
        metavar="FILE",
        help="results.json of a run of ours, added to the data, in place of one by the same command",
    )
    add("--command", metavar="TEXT", help="with --add: what was typed")
    return parser


def read_data() -> dict[str, Any]:
    """Return what is published, and what was run."""
    return json.loads(DATA.read_text(encoding="utf-8"))


def figure_of(path: Path, command: str, benchmarks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figure of a run for the data.

    Args:
        path: `results.json` of the run.
        command: What was typed for it.
        benchmarks: Those of the tables: `name`, answers a problem `k`, and number of `problems`.

    Raises:
        ValueError: It isn't on all of a benchmark that the tables have, or was asked otherwise than they say.
    """
    results = json.loads(path.read_text(encoding="utf-8"))
    name, settings = results["benchmark"], results["settings"]
    known = {entry["name"]: entry for entry in benchmarks}
    if name not in known:
        raise ValueError(f"{path} is of {name!r}; the tables have {', '.join(sorted(known))}.")
    counts = results["counts"]
    (key,) = (key for key in results["metrics"] if key.startswith("avg@") and key.removeprefix("avg@").isdigit())
    k = int(key.removeprefix("avg@"))
    found = {"is_complete": results["is_complete"], "answers a problem": k, "problems": counts["problems"]}
    wanted = {"is_complete": True, "answers a problem": known[name]["k"], "problems": known[name]["problems"]}
    found |= {"limit": settings["limit"], "left out or lost": counts["rows_left_out"] + counts["problems_lost"]}
    wanted |= {"limit": None, "left out or lost": 0}
    found |= {key: settings[key] for key in (*SETTINGS, "template")}
    wanted |= {**SETTINGS, "template": TEMPLATES[settings["kind"]]}
    if settings["context_tokens"] == SETTINGS["max_tokens"] and settings["max_tokens"] is None:
        del wanted["max_tokens"]  # prompt and answer together
    other = [f"{key} is {found[key]!r}, not {value!r}" for key, value in wanted.items() if found[key] != value]
    if other:
        raise ValueError(f"{path} is no figure for the tables: {'; '.join(other)}; {results['notes']}.")
    low, high = results["metrics"][f"{key}_low"], results["metrics"][f"{key}_high"]
    return {
        "model": settings["model"],
        "revision": settings["revision"],
        "weights": settings["model_commit"] or settings["model_fingerprint"],
        "benchmark": name,
        "k": k,
        "percent": round(100 * results["metrics"][key], 1),
        "low": round(100 * low, 1),
        "high": round(100 * high, 1),
        "commit": results["commit"],
        "command": command,
    }


def with_figure(ours: Sequence[dict[str, Any]], figure: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the figures of ours with one more, in place of that of the same command, model and benchmark."""
    same = {name: figure.get(name) for name in _OF_A_RUN}
    return [*(one for one in ours if {name: one.get(name) for name in _OF_A_RUN} != same), figure]


def page(data: dict[str, Any]) -> str:
    """Return docs/results.md: what each publisher has measured, by model and benchmark, and the runs here."""
    benchmarks = data["benchmarks"]
    heads = [f"{entry['title']} (k={entry['k']})" for entry in benchmarks]
    lines = [
        "# Results on benchmarks",
        "",
        "Right answers in percent, mean of k answers to each problem (avg@k, also called pass@1), as published by",
        "DeepSeek / by Open R1; a third number in a cell is this project's, with its 95 % interval. One cell is",
        "measured by `make evaluate MODEL=<model> TASK=<aime24, math_500, gpqa or lcb>`: temperature 0.6, top_p 0.95,",
        "at most 32768 tokens, the benchmark's own prompt.",
        "",
        f"| {' | '.join(['model', *heads])} |",
        "|---" * (1 + len(heads)) + "|",
    ]
    for model in models_of(data):
        cells = [" / ".join(figures_of(data, model, entry["name"])) for entry in benchmarks]
        lines.append(f"| {model.rpartition('/')[2]} | {' | '.join(cells)} |")
    lines += ["", *(f"- {by}: {source}." for by, source in data["sources"].items())]
    lines += [
        "",
        "Made by `python scripts/make_results_tables.py` from [results.json](../assets/results.json); `--add` adds a",
        "run.",
        "",
        "## Runs of this project",
        "",
    ]
    rows = []
    for one in data["ours"]:
        title = next(entry["title"] for entry in benchmarks if entry["name"] == one["benchmark"])
        weights = f"{one.get('revision') or 'main'}, {one.get('weights') or 'nothing tells which weights'}"
        command = f"`{in_a_cell(one['command'])}`, commit {one['commit']}; model: {weights}"
        rows.append(f"| {one['model']} | {title} | {one['k']} | {with_interval(one)} | {command} |")
    lines += (
        ["| model | benchmark | k | percent | command |", "|---|---|---|---|---|", *rows] if rows else ["None yet."]
    )
    return "\n".join(lines) + "\n"


def models_of(data: dict[str, Any]) -> list[str]:
    """Return all models, in the order in which they come."""
    return list(dict.fromkeys(one["model"] for one in [*data["published"], *data["ours"]]))


def figures_of(data: dict[str, Any], model: str, benchmark: str) -> list[str]:
    """Return the figure of each publisher, then ours if there is one, for one model and benchmark."""
    published = {(one["by"], one["model"]): str(one["percent"][benchmark]) for one in data["published"]}
    own = [one for one in data["ours"] if (one["model"], one["benchmark"]) == (model, benchmark)]
    return [*(published.get((by, model), NONE) for by in data["sources"]), *map(with_interval, own[-1:])]


def with_interval(figure: dict[str, Any]) -> str:
    """Return a figure of ours with its interval.

    >>> with_interval({"percent": 30.0, "low": 20.5, "high": 41.0})
    '30.0 [20.5, 41.0]'
    """
    return f"{figure['percent']} [{figure['low']}, {figure['high']}]"


def in_a_cell(text: str) -> str:
    r"""Return a text that ends no cell and no line of a table.

    >>> in_a_cell("make evaluate \\\n  MODEL=me/model | tee log")
    'make evaluate MODEL=me/model \\| tee log'
    """
    lines = text.replace("\\\n", "\n").splitlines()
    return " ".join(line.strip() for line in lines).replace("|", r"\|")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; refusals are one message and exit status 1."""
    args = build_parser().parse_args(argv)
    try:
        data = read_data()
        if (args.add is None) != (args.command is None):
            raise ValueError("--add and --command go together: the run, and what was typed for it.")
        if args.add is not None:
            data["ours"] = with_figure(data["ours"], figure_of(args.add, args.command, data["benchmarks"]))
            DATA.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (ROOT / "docs" / "results.md").write_text(page(data), encoding="utf-8")
    except (ValueError, OSError, KeyError) as error:
        print(f"make_results_tables.py: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
