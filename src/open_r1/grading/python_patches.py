# SPDX-License-Identifier: Apache-2.0
"""Names that have moved or gone since a Python program was written, and the limit on the digits of integers as text.

Different from Open R1, which edits the text with regular expressions:
1. the program is read by `ast`: strings stay, and so do names that the program uses for something else;
2. what doesn't parse, before or after, is returned unchanged; `asyncio.async`, today a syntax error, is mended first;
3. an import is replaced where it stands; added lines stand behind docstring and `__future__` imports, none twice.
"""

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

_ABSTRACT = (
    "AsyncGenerator", "AsyncIterable", "AsyncIterator", "Awaitable", "ByteString", "Callable", "Collection",
    "Container", "Coroutine", "Generator", "Hashable", "ItemsView", "Iterable", "Iterator", "KeysView", "Mapping",
    "MappingView", "MutableMapping", "MutableSequence", "MutableSet", "Reversible", "Sequence", "Set", "Sized",
    "ValuesView",
)  # fmt: skip
# (module, name) -> (module, name) of today.
_MOVED = {
    **{("collections", name): ("collections.abc", name) for name in _ABSTRACT},
    ("fractions", "gcd"): ("math", "gcd"),
    ("inspect", "getargspec"): ("inspect", "getfullargspec"),
    ("time", "clock"): ("time", "perf_counter"),
    ("imp", "reload"): ("importlib", "reload"),
}
# Modules that are gone -> those that have what most programs want of them.
_MODULES = {"imp": "importlib"}
# Names of numpy that meant Python's own types.
_PLAIN_TYPES = {"int", "float", "object", "complex", "bool", "str"}
_ARRAY = "array.array"
_NO_DIGIT_LIMIT = 'getattr(__import__("sys"), "set_int_max_str_digits", int)(0)'


@dataclass(frozen=True)
class _Edit:
    """Put a text in the place of the bytes from start to end."""

    start: int
    end: int
    text: str


class _Source:
    """A text, addressed as `ast` does it: by line, and by bytes of UTF-8 within."""

    def __init__(self, text: str) -> None:
        self.data = text.encode("utf-8")
        self.starts = [0, *(match.end() for match in re.finditer(rb"\r\n|\r|\n", self.data))]

    def span(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        """Return the indices of a node's first byte and of the one behind it."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def replace(self, node: ast.stmt | ast.expr, text: str, only_if: str | None = None) -> Iterator[_Edit]:
        """Yield the edit that replaces a node; none if it doesn't read as expected."""
        start, end = self.span(node)
        if only_if is None or self.data[start:end] == only_if.encode():
            yield _Edit(start, end, text)

    def with_edits(self, edits: list[_Edit]) -> str:
        """Return the text with edits that don't overlap."""
        pieces, end = [], 0
        for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
            pieces += [self.data[end : edit.start], edit.text.encode("utf-8")]
            end = edit.end
        return b"".join([*pieces, self.data[end:]]).decode("utf-8")


def patch_python(text: str) -> str:
    r"""Return a Python program mended, or as it is where it doesn't parse before or after.

    >>> print(patch_python("from collections import Mapping, deque\n"))
    getattr(__import__("sys"), "set_int_max_str_digits", int)(0)
    from collections import deque; from collections.abc import Mapping
    """
    if (tree := _parse(text)) is not None:
        mended = text
    else:
        mended = _without_async_attribute(text)
        if (tree := _parse(mended)) is None:
            return text
    source = _Source(mended)
    modules = _modules_of(tree)
    edits = [edit for node in ast.walk(tree) for edit in _edits_of(node, source, modules)]
    edits += _added_lines(tree, source, needs_math=any(edit.text == "math.gcd" for edit in edits))
    patched = source.with_edits(edits)
    return text if _parse(patched) is None else patched


def _parse(text: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of "\d" and the like in other people's programs
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _without_async_attribute(text: str) -> str:
    """Return a text whose `asyncio.async` is `asyncio.ensure_future`, as the function was called later."""
    if "asyncio" not in text:
        return text
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError, ValueError):
        return text
    lines = list(io.StringIO(text))  # the lines that the tokens count
    for module, dot, name in reversed(list(zip(tokens, tokens[1:], tokens[2:], strict=False))):
        if (module.string, dot.string, name.string) == ("asyncio", ".", "async") and len(lines) >= name.end[0]:
            (row, start), (_, end) = name.start, name.end
            line = lines[row - 1]
            lines[row - 1] = f"{line[:start]}ensure_future{line[end:]}"
    return "".join(lines)


def _modules_of(tree: ast.Module) -> dict[str, str]:
    """Return the names that mean a module, or `array.array`, and nothing else in the whole program."""
    modules: dict[str, str] = {}
    others: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.split(".")[0]
                module = alias.name if alias.asname else name
                if modules.setdefault(name, module) != module:
                    others.add(name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = alias.asname or alias.name
                if (node.module, alias.name) != ("array", "array") or modules.setdefault(name, _ARRAY) != _ARRAY:
                    others.add(name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            others.add(node.id)
        elif isinstance(node, ast.arg):
            others.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            others.add(node.name)
    return {name: module for name, module in modules.items() if name not in others}


def _edits_of(node: ast.AST, source: _Source, modules: dict[str, str]) -> Iterator[_Edit]:
    if isinstance(node, ast.Import):
        yield from _edits_of_import(node, source)
    elif isinstance(node, ast.ImportFrom):
        yield from _edits_of_import_from(node, source)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Load):
        yield from _edits_of_attribute(node, node.value.id, source, modules)
    elif isinstance(node, ast.Call):
        yield from _edits_of_call(node, source, modules)


def _edits_of_import(node: ast.Import, source: _Source) -> Iterator[_Edit]:
    if not any(alias.name in _MODULES for alias in node.names):
        return
    names = [
        f"{_MODULES[alias.name]} as {alias.asname or alias.name}" if alias.name in _MODULES else ast.unparse(alias)
        for alias in node.names
    ]
    yield from source.replace(node, f"import {', '.join(names)}")


def _edits_of_import_from(node: ast.ImportFrom, source: _Source) -> Iterator[_Edit]:
    """Yield the edit of `from a import x, y` into one import for each module of today."""
    module = node.module or ""
    if node.level or not any((module, alias.name) in _MOVED for alias in node.names):
        return
    parts: dict[str, list[str]] = {}
    for alias in sorted(node.names, key=lambda alias: (module, alias.name) in _MOVED):
        new_module, new_name = _MOVED.get((module, alias.name), (module, alias.name))
        bound = alias.asname or alias.name
        parts.setdefault(new_module, []).append(new_name if bound == new_name else f"{new_name} as {bound}")
    lines = [f"from {new_module} import {', '.join(names)}" for new_module, names in parts.items()]
    yield from source.replace(node, "; ".join(lines))


def _edits_of_attribute(node: ast.Attribute, owner: str, source: _Source, modules: dict[str, str]) -> Iterator[_Edit]:
    module = modules.get(owner, "")
    new_text = None
    if (module, node.attr) in _MOVED:
        new_module, new_name = _MOVED[module, node.attr]
        if new_module == module or new_module.startswith(f"{module}."):
            new_text = f"{owner}{new_module.removeprefix(module)}.{new_name}"
        elif module not in _MODULES:  # a module that is imported under its old name has the name
            new_text = f"{new_module}.{new_name}"
    elif module == "numpy" and node.attr in _PLAIN_TYPES:
        new_text = node.attr
    if new_text is not None:
        yield from source.replace(node, new_text, only_if=f"{owner}.{node.attr}")


def _edits_of_call(node: ast.Call, source: _Source, modules: dict[str, str]) -> Iterator[_Edit]:
    called = _name_of_function(node.func, modules)
    if called == "os.getlogin" and not node.args:
        yield from source.replace(node, "False")  # nobody has logged in where programs are judged
    elif called == _ARRAY and node.args:
        kind = node.args[0]
        if isinstance(kind, ast.Constant) and kind.value == "c":
            yield from source.replace(kind, '"b"')


def _name_of_function(function: ast.expr, modules: dict[str, str]) -> str | None:
    """Return `module.name` of a called function, None for one of no module."""
    if isinstance(function, ast.Name):
        return modules.get(function.id)
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{modules.get(function.value.id)}.{function.attr}"
    return None


def _added_lines(tree: ast.Module, source: _Source, needs_math: bool) -> Iterator[_Edit]:
    """Yield the edit that puts lines in front of the first statement that may have any in front of it."""
    rest = [node for index, node in enumerate(tree.body) if not _comes_first(node, index)]
    if not rest:
        return
    first = rest[0]
    lines = [] if b"set_int_max_str_digits" in source.data else [_NO_DIGIT_LIMIT]
    if needs_math and not any(isinstance(node, ast.Import) and "math" in _bound_names(node) for node in tree.body):
        lines.append("import math")
    decorators = getattr(first, "decorator_list", [])
    line = min(node.lineno for node in (first, *decorators))
    start = source.starts[line - 1]
    if lines and (decorators or first.col_offset == 0):
        yield _Edit(start, start, "".join(f"{text}\n" for text in lines))
    elif lines:
        start += first.col_offset
        yield _Edit(start, start, "".join(f"{text}; " for text in lines))


def _comes_first(node: ast.stmt, index: int) -> bool:
    """Whether a statement is the docstring or an import from `__future__`."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "__future__"
    return index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _bound_names(node: ast.Import) -> list[str]:
    return [alias.asname or alias.name for alias in node.names]
