# SPDX-License-Identifier: Apache-2.0
"""A process that writes a data folder and says on standard output when it has come to a point; it waits there.

    python data_writer.py <folder> <point> [--overwrite]

Points: `written` (rows are on disk, the block is open), `replace:<n>` (before the n-th change of names in the folder),
`none`. The rows are the numbers 0 to 29,999, twice that with --overwrite.
"""

import sys
from pathlib import Path

from open_r1.data.card import DataCard
from open_r1.data.folder import DatasetFolder

ROWS = 30_000
# What `open`, `os.rename` and the like are called when a folder is published: audited by Python itself.
CHANGES = {"os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def wait_at(point: str) -> None:
    print(point, flush=True)
    sys.stdin.readline()


def main(path: Path, point: str, overwrite: bool) -> None:
    rows = ROWS * (2 if overwrite else 1)
    folder = DatasetFolder(path, DataCard("numbers", {"rows": rows}, command="test"), overwrite=overwrite)
    if folder.is_done():
        print("finished earlier", flush=True)
        return
    changes = 0

    def count(event: str, arguments: tuple) -> None:
        nonlocal changes
        if event in CHANGES and str(path) in str(arguments[0]):
            changes += 1
            if point == f"replace:{changes}":
                wait_at(point)

    with folder:
        folder.write([{"n": number} for number in range(rows)])
        folder.write_text("report.json", str(rows))
        if point == "written":
            wait_at(point)
        if point.startswith("replace"):
            sys.addaudithook(count)
    print("written", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], "--overwrite" in sys.argv)
