# SPDX-License-Identifier: Apache-2.0
"""Look at runs: a page with curves, alarms, settings and rollouts, or groups of completions in the terminal.

    python scripts/show_run.py data/demo/grpo                # writes data/demo/grpo/report.html, which opens offline
    python scripts/show_run.py data/run_1 data/run_2         # drawn over each other, in data/run_1/report.html
    python scripts/show_run.py data/run_1 --watch            # http://127.0.0.1:8765, made anew while the run goes on
    python scripts/show_run.py data/run_1 --terminal         # the worst, the best, and random groups

Reads trainings (SFT, GRPO, distillation), evaluations, and folders of several of them (the demo's, a pipeline's).
"""

import argparse
import random
import sys
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from open_r1.manifest import REPORT_NAME
from open_r1.report.page import write_report
from open_r1.report.runs import Run, read_runs

REFRESH_S = 15


def parse_command_line(words: list[str] | None = None) -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders")
    parser.add_argument("--output", type=Path, help=f"default: {REPORT_NAME} in the first folder")
    parser.add_argument("--terminal", action="store_true", help="print groups of completions instead")
    parser.add_argument("--groups", type=int, default=3, help="of each kind in the terminal (default: 3)")
    parser.add_argument("--watch", action="store_true", help=f"serve the page, made anew every {REFRESH_S} s")
    parser.add_argument("--port", type=int, default=8765, help="of --watch, on 127.0.0.1 (default: 8765)")
    return parser.parse_args(words)


def print_groups(runs: list[Run], number: int, console: Console) -> None:
    """Print the groups with the lowest and the highest rewards, and random ones, of the last step of each run."""
    for run in runs:
        rows = [row for row in run.rollouts if row["mode"] != "eval"] or run.rollouts
        latest = [row for row in rows if row["step"] == rows[-1]["step"]] if rows else []
        groups = [list(group) for _, group in groupby(latest, key=lambda row: row["group"])]
        ranked = sorted(groups, key=_reward_of)
        kinds = {"lowest rewards": ranked[:number], "highest rewards": ranked[::-1][:number]}
        kinds["at random"] = random.Random(0).sample(groups, min(number, len(groups)))
        for kind, chosen in kinds.items():
            for group in chosen:
                console.rule(Text(f"{run.name}, step {group[0]['step']}: {kind}"))
                console.print(Text(group[0]["prompt"]), Text(f"gold: {group[0]['gold']}", style="dim"))
                for row in group:
                    rewards = ", ".join(f"{name} {value}" for name, value in row["rewards"].items())
                    style = "green" if row["verdict"] == "right" else "red"
                    console.print(Text(row["verdict"] or "", style=style), Text(f"{rewards}; {row['length']} tokens"))
                    console.print(Text(row["completion"], style="dim"))


def _reward_of(group: list[dict[str, Any]]) -> float:
    return sum(sum(row["rewards"].values()) for row in group) / len(group)


class _Handler(SimpleHTTPRequestHandler):
    """Answers with the page alone, made anew each time."""

    def __init__(self, *args: Any, folders: list[Path], path: Path, **kwargs: Any) -> None:
        self.folders, self.report = folders, path
        super().__init__(*args, directory=str(path.parent), **kwargs)

    def do_GET(self) -> None:
        """Send it."""
        write_report(read_runs(self.folders), self.report, refresh_s=REFRESH_S)
        self.path = f"/{self.report.name}"
        super().do_GET()


def main(words: list[str] | None = None) -> int:
    """Return the exit status."""
    args = parse_command_line(words)
    path = args.output or args.runs[0] / REPORT_NAME
    try:
        runs = read_runs(args.runs)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if args.terminal:
        print_groups(runs, args.groups, Console())
        return 0
    write_report(runs, path)
    sys.stdout.write(f"{path}\n")
    if args.watch:
        sys.stdout.write(f"http://127.0.0.1:{args.port}\n")
        with HTTPServer(("127.0.0.1", args.port), partial(_Handler, folders=args.runs, path=path)) as server:
            server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
