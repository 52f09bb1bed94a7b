# SPDX-License-Identifier: Apache-2.0
"""Call a function of a submission and hand out its result: the main program of function tests, run in the box.

Standard input holds a word that only this run knows, then JSON {"function": ..., "arguments": [...]}. The answer is
one line on what standard output was at the start: the word, a blank, JSON of the result. Before the submission is
loaded, standard output is turned to nowhere and standard input is emptied: what it prints or reads doesn't matter. It
can still find the word and write such a line itself: the line's value is compared like any other, outside.

The submission is `submission.py` beside this file. Names that the sites' own starting code imports (`List`, `deque`,
`gcd`, ...) are there where it uses them without importing them, as far as they're in the standard library.
Arguments are what JSON makes of them: no list becomes a linked list or a tree, and what a function changes in place
without returning it isn't its result. A method of `Solution` needs its `self`; `input()` finds the end of the file.

Results as JSON: tuples, ranges, iterators, deques, arrays and the like become lists, sets sorted lists, numbers of
numpy, decimal and fractions plain numbers, linked lists (`val`, `next`) lists of values, binary trees (`val`, `left`,
`right`) lists by level with None for a missing child. Anything else is an error.
"""

import builtins
import json
import os
import sys

RECURSION_LIMIT = 100000  # of calls in Python; those through C (`lru_cache`) Python 3.12 and later limit themselves

# Module -> names of it that solutions use without importing them; the modules' own names too.
NAMES = {
    "bisect": "bisect_left bisect_right insort insort_left insort_right",
    "collections": "Counter OrderedDict defaultdict deque namedtuple ChainMap",
    "copy": "deepcopy",
    "datetime": "timedelta",
    "decimal": "Decimal getcontext",
    "fractions": "Fraction",
    "functools": "cache cached_property cmp_to_key lru_cache partial reduce",
    "heapq": "heapify heappop heappush heappushpop heapreplace merge nlargest nsmallest",
    "io": "BytesIO StringIO",
    "itertools": "accumulate chain combinations combinations_with_replacement compress count cycle dropwhile groupby"
    " islice pairwise permutations product repeat starmap takewhile tee zip_longest",
    "json": "",
    "math": "ceil comb cos dist e exp factorial fabs floor gcd hypot inf isqrt lcm log log10 log2 nan perm pi prod sin"
    " sqrt tan trunc",
    "operator": "add and_ attrgetter itemgetter mul or_ sub xor",
    "os": "",
    "random": "choice randint randrange shuffle",
    "re": "",
    "statistics": "mean median mode",
    "string": "ascii_letters ascii_lowercase ascii_uppercase digits punctuation",
    "sys": "maxsize stdin stdout setrecursionlimit",
    "time": "",
    "typing": "Any Callable DefaultDict Deque Dict FrozenSet Generator Generic Iterable Iterator List Literal"
    " NamedTuple NoReturn Optional Self Sequence Set Tuple Type TypeVar Union",
}


class ListNode:
    """A node of a linked list, as the sites define it."""

    def __init__(self, val=0, next=None):
        self.val, self.next = val, next


class TreeNode:
    """A node of a binary tree, as the sites define it."""

    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right = val, left, right


def starting_names(code):
    """Return the values of the names that a code object may use without importing them."""
    used, waiting = set(), [code]
    for current in waiting:
        used.update(current.co_names)
        waiting += [item for item in current.co_consts if hasattr(item, "co_names")]
    found = {}
    found.update(ListNode=ListNode, TreeNode=TreeNode)
    for module_name, names in NAMES.items():
        wanted = used.intersection(names.split())
        if wanted or module_name in used:
            module = found[module_name] = __import__(module_name)
            found.update((name, getattr(module, name)) for name in wanted if hasattr(module, name))
    return {name: value for name, value in found.items() if not hasattr(builtins, name)}


def load(path):
    """Return the names that the submission defines."""
    with open(path, encoding="utf-8") as file:
        code = compile(file.read(), path, "exec")
    # Classes and functions find the module of their definition by its name: dataclasses, pickle and typing do.
    module = sys.modules["submission"] = type(sys)("submission")
    module.__dict__.update(starting_names(code), __file__=path)
    exec(code, module.__dict__)
    return module.__dict__


def find_function(names, wanted):
    """Return the function of this name: a method of the class `Solution`, else a plain function."""
    solution = names.get("Solution")
    if isinstance(solution, type) and hasattr(solution, wanted):
        return getattr(solution(), wanted)
    if not callable(names.get(wanted)):
        raise NameError("The submission has no function " + repr(wanted))
    return names[wanted]


def list_of_nodes(node):
    """Return the values of a linked list."""
    values = []
    while node is not None:
        values.append(node.val)
        node = node.next
    return values


def list_of_tree(root):
    """Return the values of a binary tree level by level, None for a missing child, none behind the last value."""
    nodes = [root]
    for node in nodes:
        nodes += () if node is None else (node.left, node.right)
    while nodes[-1] is None:
        nodes.pop()
    return [None if node is None else node.val for node in nodes]


def plain_value(value):
    """Return what stands in JSON for a value of another type than JSON's."""
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=lambda item: ("" if isinstance(item, tuple) else str(type(item)), item))
    if hasattr(value, "tolist"):  # arrays and numbers of numpy
        return value.tolist()
    if hasattr(value, "val") and hasattr(value, "next"):
        return list_of_nodes(value)
    if hasattr(value, "val") and hasattr(value, "left"):
        return list_of_tree(value)
    if not isinstance(value, (bytes, bytearray, type)):
        for name, convert in (("__index__", int), ("__float__", float), ("__iter__", list)):
            if hasattr(type(value), name):
                return convert(value)
    raise TypeError("A result of type %s can't be compared" % type(value).__name__)


def answer(request):
    """Load the submission, call its function and return JSON of the result."""
    names = load(os.path.join(os.path.dirname(os.path.abspath(__file__)), "submission.py"))
    function = find_function(names, request["function"])
    return json.dumps(function(*request["arguments"]), default=plain_value)


def report(error):
    """Write an exception as the interpreter does and return the exit code that belongs to it."""
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        return (error.code or 0) & 255
    sys.__excepthook__(type(error), error, error.__traceback__)
    return 1


def main():
    """Answer the request on standard input, and end at once, whatever the submission has left running."""
    word, _, request = sys.stdin.buffer.read().decode("utf-8").partition("\n")
    request = json.loads(request)
    private = os.fdopen(os.dup(1), "wb")  # not inherited by children
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    sys.setrecursionlimit(RECURSION_LIMIT)
    end = os._exit
    try:
        private.write((word + " " + answer(request) + "\n").encode("ascii"))
        private.flush()
    except BaseException as error:  # noqa: BLE001 - whatever the submission raised, its run ends here
        end(report(error))
    end(0)


if __name__ == "__main__":
    main()
