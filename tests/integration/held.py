# SPDX-License-Identifier: Apache-2.0
"""A script that stops for good in the middle of its work, so that a test can kill it there on any machine.

    process = subprocess.Popen(held(SCRIPT, 3, *words))    # its journal has three lines, and never gets more

What the test waits for is there for as long as it takes to look; by itself the script would be done meanwhile.
"""

import runpy
import sys
import threading
from pathlib import Path


def held(script: Path, num_lines: int, *words: object) -> list[str]:
    """Return the command of a script that does nothing more once its journal has so many lines, its first included."""
    return [sys.executable, __file__, str(script), str(num_lines), *map(str, words)]


def main() -> None:
    from open_r1.generation.journal import Journal

    script, num_lines = sys.argv[1], int(sys.argv[2])
    write = Journal._write

    def write_and_stop(journal, content):
        write(journal, content)
        if journal.path.read_bytes().count(b"\n") >= num_lines:
            threading.Event().wait()

    Journal._write = write_and_stop
    sys.argv = [script, *sys.argv[3:]]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
