#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Upload rows of an evaluation (questions, completions, scores) to a private data set on the hub.

    python scripts/upload_details.py --data_files eval_results/m/main/aime24/answers.parquet \\
        --hub_repo_id you/details-m --config_name main.aime24

JSON lines, JSON and parquet files may be mixed; their rows come one after the other, and a column that only some files
have is null in the others. The rows stand on the hub as a configuration of their own beside those that are there:
`load_dataset("you/details-m", "main.aime24")`. The files here stay, whatever happens; the same command tries again.

1. Upstream reads JSON beside JSON lines as parquet, and fails. What is readable by everybody gets no rows here.
2. No configuration is called `default`: it would take the place of the whole card, and of what lies in `data`.
"""

import argparse
import logging
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from open_r1.data.card import DataCard, Step
from open_r1.data.cli import STOPPED, FlagParser, respelled
from open_r1.data.folder import DatasetFolder, unify
from open_r1.data.push import check_push, push_folder
from open_r1.data.sources import open_source

KINDS = (".json", ".jsonl", ".parquet")
CONFIG_NAME = re.compile(r"(?!(default|data)$)\w[\w.-]*", re.ASCII)


def main(argv: Sequence[str] | None = None) -> int:
    """Upload as the command line says; return the exit status."""
    args = build_parser().parse_args(respelled(sys.argv[1:] if argv is None else argv, "_"))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        check_files(args.data_files)
        if not CONFIG_NAME.fullmatch(args.config_name):
            raise ValueError(
                f"--config_name is {args.config_name!r}: letters, digits, _ - and . go, not `default` and `data`."
            )
        check_push(args.hub_repo_id, setting="--hub_repo_id")
        with tempfile.TemporaryDirectory(prefix="upload_details_") as folder:
            num_rows = gather(args.data_files, Path(folder) / "rows", args.hub_repo_id)
            address = push_folder(Path(folder) / "rows", args.hub_repo_id, config=args.config_name)
    except (ValueError, OSError, RuntimeError) as error:
        print(f"upload_details.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("upload_details.py: Stopped; the same command begins again.", file=sys.stderr)
        return STOPPED
    print(f"{num_rows} rows of {len(args.data_files)} files: {address}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    files = f"files to upload, {', '.join(KINDS)}, any mixture"
    parser.add_argument("--data_files", nargs="+", required=True, type=Path, metavar="FILE", help=files)
    parser.add_argument("--hub_repo_id", required=True, help="the data set: owner/name; made, privately, if missing")
    name = "name of the rows there: those of an earlier upload with this name are replaced (default: %(default)s)"
    parser.add_argument("--config_name", default="details", help=name)
    return parser


def check_files(files: Sequence[Path]) -> None:
    """Refuse what is no file or of no kind that is known, and a file that is named twice.

    Raises:
        ValueError: See the message.
    """
    for file in files:
        if not file.is_file():
            raise ValueError(f"--data_files names {file}, which is no file.")
        if file.suffix.lower() not in KINDS:
            raise ValueError(f"--data_files names {file}; what can be read is {', '.join(KINDS)}.")
    names = [file.resolve() for file in files]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"--data_files names a file twice: {', '.join(twice)}.")


def gather(files: Sequence[Path], folder: Path, name: str) -> int:
    """Write the rows of all files into a data folder and return their number.

    Raises:
        ValueError: A file cannot be read, has no rows, or a column of another type than the files before it.
    """
    sources = [open_source(file) for file in files]
    card = DataCard(name, {"files": [file.name for file in files]}, [source.parent() for source in sources])
    try:
        schema = unify(source.schema for source in sources)
    except ValueError as error:
        names = ", ".join(map(str, files))
        raise ValueError(f"{names}: {error} Upload them with a --config_name each.") from error
    with DatasetFolder(folder, card, schema=schema) as written:
        for source in sources:
            for batch in source.batches():
                written.write(batch)
        num_rows = sum(source.num_rows for source in sources)
        card.steps.append(Step("put the files together", num_rows, num_rows, {"files": len(files)}))
    return num_rows


if __name__ == "__main__":
    sys.exit(main())
