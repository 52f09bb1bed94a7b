# SPDX-License-Identifier: Apache-2.0
"""Names that users meet in logs and outputs, read from the source as it stands, for `surface.py`.

1. Of an f-string only the constant parts are known: `{…}` stands for the rest.
2. A key is seen where it is a literal or a constant. Not seen are columns that are passed through,
   fields of objects that become dictionaries by `vars`, and what libraries log and write by themselves.
3. Keys are those of functions that write or return a record: some are of what they read, or hand to a server.
4. A text in capitals with an underscore counts as an environment variable, since many are read by functions of ours.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

FILE_NAME = re.compile(r"^[^\s/]*\w(?:\.(?:json|jsonl|parquet|png|md|csv|tsv|ya?ml|txt|log|arrow|part|done|lock))+$")
WRITES = re.compile(r"write\w*\(|json\.dumps?\(|to_parquet\(|asdict\(|pa\.(?:table|schema|field)\(|_column\(")
BUILDS = re.compile(r"\b(?:dict|Mapping|Rows?|Splits)\b")
METRICS = re.compile(r"metrics|logs$")
SAMPLED = re.compile(r"^[^\s/]*(?:avg|pass|maj)@\{…\}\w*$")
NO_KEY = re.compile(r"^(?:\{…\}\w?\w|\{…\}\W\{…\}|\W+|\d+)$")
RECORD = 4  # fewest keys of a record that is built in any other place
COMPOUND = re.compile(r"[/_@]")
VARIABLE = re.compile(r"^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$")
IN_SHELL = re.compile(r"\$\{?([A-Z][A-Z0-9_]+)\b")


class Module:
    """A source file with its constants; literals of it can be read with them."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")
        self.nodes = list(ast.walk(ast.parse(self.text)))
        self.constants = dict(self._own_constants())
        # Names of constants that other modules import, in texts of `__all__`, look like environment variables.
        self.exported = {name for node in self.nodes if isinstance(node, ast.Assign) for name in self._in_all(node)}

    def _own_constants(self) -> Iterator[tuple[str, str]]:
        for node in self.nodes:
            if not isinstance(node, ast.Assign):
                continue
            target, value = node.targets[0], node.value
            is_pair = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            for name, constant in zip(target.elts, value.elts, strict=True) if is_pair else [(target, value)]:
                if isinstance(name, ast.Name) and name.id.isupper() and isinstance(constant, ast.Constant):
                    yield name.id, str(constant.value)

    def _in_all(self, node: ast.Assign) -> Iterator[str]:
        if ast.unparse(node.targets[0]) == "__all__":
            yield from self.names(node.value)

    def read(self, node: ast.AST | None) -> str | None:
        """Return the text of an expression; None where nothing of it is known."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.Name):
            return self.constants.get(node.id)
        if isinstance(node, ast.FormattedValue):
            return self.read(node.value) or "{…}"
        if isinstance(node, ast.JoinedStr):
            return "".join(self.read(part) or "" for part in node.values)
        return None

    def names(self, node: ast.AST | Iterable[ast.AST | None]) -> Iterator[str]:
        """Yield the text of an expression, or those of several."""
        several = node.elts if isinstance(node, ast.Tuple | ast.List) else node
        for entry in [several] if isinstance(several, ast.AST) else several:
            text = self.read(entry)
            if text is not None:
                yield text

    def metrics(self) -> Iterator[str]:
        """Yield names that are logged: by `log_...(name)`, as entries of metrics and logs; avg@k and the like."""
        for node in self.nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("log_"):
                for argument in node.args:
                    yield from self.names(argument)
            elif isinstance(node, ast.Subscript) and METRICS.search(ast.unparse(node.value)):
                yield from filter(COMPOUND.search, self.names(node.slice))
            elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if METRICS.search(ast.unparse(target)):
                    yield from filter(COMPOUND.search, self.names(node.value.keys))
            elif isinstance(node, ast.JoinedStr) and SAMPLED.match(self.read(node) or ""):
                yield from self.names(node)

    def output_keys(self) -> Iterator[str]:
        """Yield keys and columns: of functions that write or build records, schemas, what becomes a dictionary."""
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                is_builder = node.returns is not None and BUILDS.search(ast.unparse(node.returns))
                is_writer = WRITES.search(ast.unparse(node))
                for part in ast.walk(node):
                    if is_builder or is_writer or is_record(part):
                        yield from self._keys_in(part)
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("pa.schema", "pa.struct"):
                for part in ast.walk(node):
                    if isinstance(part, ast.Tuple):
                        yield from self.names(part.elts[0])
            elif isinstance(node, ast.Dict) and any(ast.unparse(value).startswith("pa.") for value in node.values):
                yield from self.names(node.keys)
            elif isinstance(node, ast.ClassDef) and self._becomes_dictionary(node):
                yield from self._fields_of(node)

    def _keys_in(self, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Dict):
            yield from self.names(node.keys)
        elif isinstance(node, ast.DictComp):
            yield from self.names(node.key)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            yield from self.names(node.slice)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("_column"):
            yield from self.names(node.args)

    def _becomes_dictionary(self, node: ast.ClassDef) -> bool:
        return "asdict(" in ast.unparse(node) or f"fields({node.name})" in self.text

    def _fields_of(self, owner: ast.ClassDef) -> Iterator[str]:
        for entry in owner.body:
            if isinstance(entry, ast.AnnAssign):
                yield ast.unparse(entry.target)
                for name in re.findall(r"\w+", ast.unparse(entry.annotation)):
                    for node in self.nodes:
                        if isinstance(node, ast.ClassDef) and node.name == name != owner.name:
                            yield from self._fields_of(node)

    def file_names(self) -> Iterator[str]:
        """Yield names of files."""
        for node in self.nodes:
            if isinstance(node, ast.Constant | ast.JoinedStr):
                text = self.read(node)
                if text is not None and FILE_NAME.match(text):
                    yield text

    def variables(self) -> Iterator[str]:
        """Yield environment variables: names with an underscore; others where the environment is asked for them."""
        for node in self.nodes:
            if isinstance(node, ast.Constant) and VARIABLE.match(str(node.value)):
                yield from {str(node.value)} - self.exported
            elif isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("environ"):
                yield from self.names(node.slice)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("environ.get", "getenv")):
                yield from self.names(node.args[0])

    def outcomes(self) -> Iterator[str]:
        """Yield the values of enumerations of texts."""
        for node in self.nodes:
            if isinstance(node, ast.ClassDef) and "StrEnum" in map(ast.unparse, node.bases):
                for entry in node.body:
                    if isinstance(entry, ast.Assign):
                        yield from self.names(entry.value)


def is_record(node: ast.AST) -> bool:
    """Return whether a literal is a record, whoever writes it: not small, and no table of constants."""
    if not isinstance(node, ast.Dict) or len(node.keys) < RECORD:
        return False
    return not all(isinstance(value, ast.Constant | ast.Lambda) for value in node.values)


def variables_of_shell(path: Path) -> Iterator[str]:
    """Yield the environment variables that a shell script reads and doesn't set before."""
    text = path.read_text(encoding="utf-8")
    for name in IN_SHELL.findall(text):
        if not re.search(rf"\b{name}=", text) and not name.startswith("BASH"):
            yield name


def section_source(root: Path) -> dict[str, Iterable[str]]:
    """Return the sections of what is read from the source.

    Args:
        root: The project's folder.
    """
    paths = sorted([*(root / "src").rglob("*.py"), *(root / "scripts").rglob("*.py")])
    ours = {"surface", Path(__file__).stem}
    modules = {path: Module(path) for path in paths if "harness" not in path.parts and path.stem not in ours}
    values: dict[str, set[str]] = {}
    for name, text in (item for module in modules.values() for item in module.constants.items()):
        values.setdefault(name, set()).add(text)
    for module in modules.values():  # constants that it may have imported
        module.constants = {name: min(texts) for name, texts in values.items() if len(texts) == 1} | module.constants
    package = [module for path, module in modules.items() if path.is_relative_to(root / "src")]
    # What stands in requests and replies of sandboxes is no output, and what scripts print is for people.
    writing = [module for path, module in modules.items() if module in package and "sandbox" not in path.parts]
    shell = [path for folder in ("scripts", "slurm") for path in (root / folder).rglob("*") if is_shell(path)]
    keys = {name for module in writing for name in module.output_keys()}
    variables = {name for module in modules.values() for name in module.variables()}
    return {
        "Metrics": [name for module in package for name in module.metrics()],
        "Verdicts and other outcomes": [name for module in package for name in module.outcomes()],
        "Keys and columns of outputs": {name for name in keys - variables if not NO_KEY.match(name)},
        "File names": [name for module in modules.values() for name in module.file_names()],
        "Environment variables": variables.union(*map(variables_of_shell, shell)),
    }


def is_shell(path: Path) -> bool:
    """Return whether a file is a shell script."""
    return path.suffix in (".sh", ".slurm")
