# SPDX-License-Identifier: Apache-2.0
"""Give modules of today the names that older programs expect; run in the box, in front of a patched program.

`imported` holds the names of the modules that the program imports: no other is touched, since an import takes time.
A name that a module still has stays as it is.
"""

import sys

imported = globals().get("imported", ())
getattr(sys, "set_int_max_str_digits", int)(0)


def add_names(module_name, names):
    """Set names of a module that it lacks, where the program imports it and it's there."""
    if module_name in imported:
        try:
            module = __import__(module_name)
        except ImportError:
            return
        for name, value in names(module).items():
            if name not in dir(module):
                setattr(module, name, value)


def abstract_classes(module):
    """Return what `collections` had of `collections.abc` until Python 3.10."""
    abstract = __import__("collections.abc").abc
    return {name: getattr(abstract, name) for name in abstract.__all__}


def short_argspec(module):
    """Return `inspect.getargspec`, gone since Python 3.11."""
    spec = __import__("collections").namedtuple("ArgSpec", "args varargs keywords defaults")
    return {"getargspec": lambda function: spec(*module.getfullargspec(function)[:4])}


def plain_types(module):
    """Return the names of numpy that meant Python's own types until 1.24."""
    return {kind.__name__: kind for kind in (int, float, object, complex, bool, str)}


if "imp" in imported:
    try:
        __import__("imp")
    except ImportError:  # gone since Python 3.12; most programs want `reload` of it
        sys.modules["imp"] = __import__("importlib")
if "getlogin" in imported:  # nobody has logged in where programs are judged
    setattr(__import__("os"), "getlogin", lambda: "")  # noqa: B010
if "array of c" in imported:  # characters, until Python 3
    plain_array = __import__("array").array

    class Array(plain_array):
        """An array that takes the kind "c" too."""

        def __new__(cls, kind, *items):
            return plain_array.__new__(cls, "b" if kind == "c" else kind, *items)

    setattr(sys.modules["array"], "array", Array)  # noqa: B010
add_names("collections", abstract_classes)
add_names("fractions", lambda module: {"gcd": __import__("math").gcd})
add_names("time", lambda module: {"clock": module.perf_counter})
add_names("inspect", short_argspec)
add_names("asyncio", lambda module: {"async": module.ensure_future})
add_names("numpy", plain_types)
