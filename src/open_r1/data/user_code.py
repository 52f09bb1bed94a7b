# SPDX-License-Identifier: Apache-2.0
"""Python of the user's own, by its place: `path/to/file.py:name` or `package.module:name` in a recipe or a flag.

It runs in this process with the user's rights. A relative path starts in the working folder.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

Class = TypeVar("Class")


def is_user_place(name: str) -> bool:
    """Whether a name means code of the user's: it holds a colon, or a path of a .py file."""
    return ":" in name or name.endswith(".py")


def load_function(place: str, *, role: str, setting: str) -> tuple[Callable[..., Any], str]:
    """Return the function at a place, and the place with its path made absolute.

    Args:
        place: Module or file, and name.
        role: What it is for, in messages.
        setting: Where the user has named it, in messages.

    Raises:
        ValueError: There is no such file, module or function, its import fails, or it can't be called.
    """
    title = f"The {role} {place!r} in {setting}"
    found, place = _load(place, "function", inspect.isfunction, title)
    if not callable(found) or inspect.isclass(found):
        kind = "class" if inspect.isclass(found) else type(found).__name__
        raise ValueError(f"{title} is not a function but a {kind}: name a function.")
    return found, place


def load_class(place: str, base: type[Class], *, role: str, setting: str) -> type[Class]:
    """Return the class at a place, which must be derived from `base`; else as `load_function`.

    Raises:
        ValueError: There is no such file, module or class, its import fails, or it is of another kind.
    """
    title = f"The {role} {place!r} in {setting}"
    found, _ = _load(place, "class", inspect.isclass, title)
    if not inspect.isclass(found) or not issubclass(found, base):
        raise ValueError(f"{title} is not a subclass of {base.__name__}: name one.")
    return found


def raised_at(error: BaseException) -> str:
    """Return type, message, file and line of an error that code of the user's has raised.

    The line is the last one that belongs neither to this package nor to a library.
    """
    installed = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
    libraries = (str(Path(__file__).parents[1]), *installed, "<")
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(libraries)]
    place = f", {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


def _load(place: str, kind: str, is_kind: Callable[[Any], bool], title: str) -> tuple[Any, str]:
    source, _, name = place.rpartition(":")
    if not source or not name.isidentifier():
        raise ValueError(f"{title} names no {kind}: write path/to/file.py:{kind} or package.module:{kind}.")
    path = Path(source).expanduser().resolve() if source.endswith(".py") else None
    if path is not None and not path.is_file():
        raise ValueError(f"{title}: there is no file {path}.")
    try:
        module = importlib.import_module(source) if path is None else _import_file(path)
    except Exception as error:  # whatever the user's code raises while it loads
        hint = f" For a file, write path/to/file.py:{kind}." if path is None else ""
        verb = "load" if path else "import"
        raise ValueError(f"{title}: {path or source} fails to {verb} ({raised_at(error)}).{hint}") from error
    found = getattr(module, name, None)
    if found is None:
        known = sorted(key for key, value in vars(module).items() if is_kind(value) and key[0] != "_")
        raise ValueError(f"{title}: {source} has no {name!r}. It has: {', '.join(known)}.")
    return found, f"{path or source}:{name}"


def _import_file(path: Path) -> ModuleType:
    # One module a file, under a name that no import statement has.
    name = f"_user_code_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if name in sys.modules or spec is None or spec.loader is None:
        return sys.modules[name]
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # dataclasses and pickle look it up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
