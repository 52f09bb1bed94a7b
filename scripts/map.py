# SPDX-License-Identifier: Apache-2.0
"""Print the map of the code: each folder and file with the first line of its docstring.

python scripts/map.py                     # src/open_r1, the folders alone and the files beside them
python scripts/map.py src/open_r1/rewards # everything below a folder
"""

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "open_r1"


def first_line(path: Path) -> str:
    """Return the first line of a module's docstring, or nothing.

    >>> first_line(Path(__file__))
    'Print the map of the code: each folder and file with the first line of its docstring.'
    """
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def map_lines(folder: Path, *, is_deep: bool) -> Iterator[str]:
    """Yield a line for each file and folder in a folder, with those below it if the map is deep."""
    entries = [path for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    for path in sorted(entries, key=lambda path: (path.is_file(), path.name)):
        if path.name == "__init__.py":
            continue
        module = path / "__init__.py" if path.is_dir() else path
        name = f"{path.relative_to(ROOT)}/" if path.is_dir() else str(path.relative_to(ROOT))
        yield f"{name:<56} {first_line(module)}"
        if path.is_dir() and is_deep:
            yield from map_lines(path, is_deep=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="print everything below this folder")
    folder = parser.parse_args().folder
    if folder is not None and not folder.is_dir():
        parser.error(f"{folder} is no folder")
    print("\n".join(map_lines((folder or PACKAGE).resolve(), is_deep=folder is not None)))


if __name__ == "__main__":
    main()
