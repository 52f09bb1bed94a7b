# SPDX-License-Identifier: Apache-2.0
"""Who may import whom. The reasons are in CONTRIBUTING.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "open_r1"
MODULES = sorted(PACKAGE.rglob("*.py"))

# A room imports any room on a floor below it, none on its own floor or above; entry scripts import everything.
FLOORS = [
    {"secret_names", "manifest"},
    {"recipes", "sandbox", "literals"},
    {"configs", "arguments", "tasks"},
    {"grading", "data"},
    {"rewards", "models", "cluster"},
    {"generation", "reward_models"},
    {"evaluation"},
    {"curation"},
    {"training", "test_time"},
    {"preflight", "report"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# What job scripts ask starts in a moment and needs no more than Python and yaml.
CLUSTER = {"cluster", "data", "recipes", "secret_names"}
ENTRY_SCRIPTS = {"sft", "grpo", "distill", "generate"}
TORCH_FREE = {"rewards", "grading", "sandbox", "tasks", "data", "generation", "curation", "cluster", "report"}
HEAVY = {"torch", "transformers", "trl"}
# Of a room that works without them, what reads the recipe of a training or runs a model; the rest doesn't import it.
NEEDS_TORCH = {
    "curation/pass_rate_recipe.py",
    "generation/transformers_here.py",
}
# Old public import paths that hand on to where the code lives now.
RE_EXPORTS = {path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "utils").glob("*.py")}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def nodes_that_run(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`, which cost nothing at run time."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from nodes_that_run(child)


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in nodes_that_run(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "open_r1":
            names.update(f"open_r1.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names.add(node.module)
    return names


def may_import(part: str, ours: str) -> bool:
    room = ours.split(".")[0]
    if part == "cluster":
        return ours in CLUSTER or room in CLUSTER
    return room == part or FLOOR_OF.get(room, len(FLOORS)) < FLOOR_OF[part]


def offences(path: Path) -> Iterator[str]:
    """What a module imports and may not, a line each."""
    part = part_of(path)
    name = str(path.relative_to(PACKAGE))
    if part in ENTRY_SCRIPTS or name in RE_EXPORTS or part == "__init__":
        return
    if part not in FLOOR_OF and part != "cluster":
        yield f"{name}: put the new room {part!r} on a floor, and into CONTRIBUTING.md"
        return
    for module in imported_modules(path):
        ours = module.removeprefix("open_r1.")
        if module.startswith("open_r1.") and not may_import(part, ours):
            yield f"{name}: {part} may not import {ours}"
        if part in TORCH_FREE and name not in NEEDS_TORCH and module.split(".")[0] in HEAVY:
            yield f"{name}: {part} must work without {module}"


def test_modules_import_only_what_their_part_may():
    assert [line for path in MODULES for line in offences(path)] == []


def test_nothing_imports_an_entry_script():
    entries = {f"open_r1.{name}" for name in ENTRY_SCRIPTS}
    offenders = {path.name for path in MODULES if imported_modules(path) & entries}
    assert not offenders
