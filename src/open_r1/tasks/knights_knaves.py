# SPDX-License-Identifier: Apache-2.0
r"""Knights and knaves: who tells the truth and who lies, the task of Logic-RL; 2 to 8 people.

A row, its texts shortened:
    {"problem": "... You meet 2 of them: Zoey and Noah. Zoey says: \"Noah is a knave.\" Noah says: ...",
     "quiz": the puzzle without what the answer must look like, "names": ["Zoey", "Noah"],
     "statements": "[[\"knave\", 1], [\"same\", 0, 1]]", "solution_text_format": "(1) Zoey is a knight\n(2) ...",
     "solution": the same text, "domain": "knights_knaves"}

`quiz`, `names` and `solution_text_format` are columns of Logic-RL's data. `statements` holds, as JSON, what each
person says: `["knight", i]`, `["knave", i]`, `["same", i, j]`, `["different", i, j]`, `["not", s]`, `["and", s, s]`,
and as this `or`, `if`, `iff`; i and j are places of people. Every puzzle has exactly one solution: all 2^n are tried.

Configs: `3to7` (default, the sizes Logic-RL trains on), `2ppl` to `8ppl`, and options: `3ppl,num_train=900`.
    min_people, max_people      all sizes equally often
    num_train, num_test         rows
    prompt                      `tags`: the problem asks for <think> and <answer>; `task`: it doesn't, for recipes with
                                a system prompt. Both say what the answer looks like.

Disjointness: the SHA-256 of the statements, whoever the people are, puts a puzzle into the pool `train` (9/10) or
`test` (1/10), whatever the config and the seed. The order of the parts of a statement doesn't matter, with 2 or 3
people neither does theirs. Not covered: statements that say the same by other means.
"""

import itertools
import json
import random
from dataclasses import dataclass

from open_r1.tasks.options import read_options
from open_r1.tasks.pools import choose_pool

DOMAIN = "knights_knaves"
POOLS = ("test", *["train"] * 9)
"""Shares of the pools, in tenths."""
MAX_DRAWS_PER_ROW = 20_000
"""Draws without a new puzzle after which the pool counts as exhausted."""
MAX_PEOPLE_IN_ANY_ORDER = 3

NAMES = (
    "Abigail", "Aiden", "Amelia", "Aria", "Ava", "Benjamin", "Charlotte", "Chloe", "Daniel", "David", "Elizabeth",
    "Ella", "Emily", "Ethan", "Evelyn", "Grace", "Henry", "Isabella", "Jack", "Jacob", "James", "Joseph", "Lily",
    "Logan", "Lucas", "Luke", "Mason", "Michael", "Mia", "Noah", "Oliver", "Olivia", "Owen", "Penelope", "Riley",
    "Samuel", "Scarlett", "Sebastian", "Sofia", "Sophia", "Theodore", "Victoria", "William", "Zoey",
)  # fmt: skip

ISLAND = (
    "On an island live two kinds of people: knights, whose statements are all true, and knaves, whose statements are "
    "all false. You meet {count} of them: {names}. {speeches} Who is a knight and who is a knave?"
)
LAYOUT = (
    " Write your reasoning inside <think> </think> tags and then the kind of every person inside <answer> </answer> "
    "tags, numbered and one on a line, for example <answer> (1) Ann is a knight\n(2) Bob is a knave </answer>."
)
LINES = (
    " Answer with the kind of every person, numbered and one on a line, for example:\n(1) Ann is a knight\n"
    "(2) Bob is a knave"
)
PROMPTS = {"tags": LAYOUT, "task": LINES}

Row = dict[str, object]
Statement = tuple  # ("knight", 0), ("not", statement), ("and", statement, statement), ...
Puzzle = tuple[Statement, ...]


@dataclass(frozen=True)
class KnightsKnavesOptions:
    """What a config may set; the module's docstring says what each means."""

    min_people: int = 3
    max_people: int = 7
    num_train: int = 4_500
    num_test: int = 500
    prompt: str = "tags"

    def __post_init__(self) -> None:
        if not 2 <= self.min_people <= self.max_people <= 8:
            raise ValueError("tasks/knights_knaves takes 2 <= min_people <= max_people <= 8.")
        if self.prompt not in PROMPTS:
            raise ValueError(f"tasks/knights_knaves takes prompt={', '.join(PROMPTS)}; got {self.prompt!r}.")


PRESETS = {
    "3to7": {"min_people": 3, "max_people": 7},
    "2ppl": {"min_people": 2, "max_people": 2, "num_train": 200, "num_test": 20},  # there are few
    **{f"{n}ppl": {"min_people": n, "max_people": n, "num_train": 900, "num_test": 100} for n in range(3, 9)},
}


def knights_in(person: int, num_people: int) -> int:
    """Return the worlds in which a person is a knight, as a set of bits: bit w stands for world w.

    In world w person i is a knight when bit i of w is set.

    >>> f"{knights_in(0, 2):04b}", f"{knights_in(1, 2):04b}"
    ('1010', '1100')
    """
    return sum(1 << world for world in range(2**num_people) if world >> person & 1)


def worlds_of(statement: Statement, num_people: int) -> int:
    """Return the worlds in which a statement is true, as a set of bits."""
    everywhere = (1 << 2**num_people) - 1
    kind, *parts = statement
    if kind in ("knight", "knave"):
        worlds = _KNIGHTS[num_people][parts[0]]
        return worlds if kind == "knight" else everywhere ^ worlds
    if kind in ("same", "different"):
        differing = _KNIGHTS[num_people][parts[0]] ^ _KNIGHTS[num_people][parts[1]]
        return differing if kind == "different" else everywhere ^ differing
    first, *rest = (worlds_of(part, num_people) for part in parts)
    if kind == "not":
        return everywhere ^ first
    return {
        "and": first & rest[0],
        "or": first | rest[0],
        "if": (everywhere ^ first) | rest[0],
        "iff": everywhere ^ first ^ rest[0],
    }[kind]


_KNIGHTS = {count: [knights_in(person, count) for person in range(count)] for count in range(2, 9)}


def solve(puzzle: Puzzle) -> list[tuple[bool, ...]]:
    """Return all solutions of a puzzle, by trying every world; True stands for a knight.

    >>> solve((("knave", 1), ("same", 0, 1)))
    [(True, False)]
    """
    count = len(puzzle)
    everywhere = possible = (1 << 2**count) - 1
    for person, statement in enumerate(puzzle):
        # What a knight says is true and what a knave says is false.
        possible &= everywhere ^ worlds_of(statement, count) ^ _KNIGHTS[count][person]
    return [
        tuple(bool(world >> person & 1) for person in range(count))
        for world in range(2**count)
        if possible >> world & 1
    ]


def pool_of(puzzle: Puzzle) -> str:
    """Return the pool to which a puzzle belongs, whatever the config, the seed and the names."""
    return choose_pool(canonical(puzzle), POOLS)


def canonical(puzzle: Puzzle) -> str:
    """Return one text for all puzzles that differ only in the order of statements' parts or of up to three people."""
    people = tuple(range(len(puzzle)))
    orders = itertools.permutations(people) if len(people) <= MAX_PEOPLE_IN_ANY_ORDER else [people]
    # Person i becomes person order[i], and says so in place order[i].
    return min(
        json.dumps([_renumber(puzzle[old], order) for old in sorted(people, key=order.__getitem__)])
        for order in orders
    )


def _renumber(statement: Statement, order: tuple[int, ...]) -> Statement:
    kind, *parts = statement
    moved = [order[part] if isinstance(part, int) else _renumber(part, order) for part in parts]
    return (kind, *(moved if kind == "if" else sorted(moved)))


def draw_statement(rng: random.Random, speaker: int, count: int) -> Statement:
    """Return a random statement that is neither always true nor about the speaker alone."""
    first, second = rng.sample(range(count), 2)
    if second == speaker:
        first, second = second, first
    kind = rng.choice(("is", "is", "and", "or", "if", "iff", "same", "different", "not"))
    if kind in ("same", "different"):
        return (kind, *sorted((first, second)))
    plain = rng.choice(("knight", "knave"))
    if kind == "is":
        return (plain, second)
    if kind == "not" and rng.random() < 0.5:
        return ("not", (plain, second))
    parts = ((plain, first), (rng.choice(("knight", "knave")), second))
    if kind == "not":
        return ("not", (rng.choice(("and", "or")), *parts))
    return (kind, *(parts if rng.random() < 0.5 else parts[::-1]))


def draw_puzzle(rng: random.Random, count: int) -> Puzzle | None:
    """Return a random puzzle with exactly one solution, or None when the draw has none or several."""
    puzzle = tuple(draw_statement(rng, speaker, count) for speaker in range(count))
    return puzzle if len(solve(puzzle)) == 1 else None


def draw_distinct(pool: str, options: KnightsKnavesOptions, seed: int, num_rows: int) -> list[Puzzle]:
    """Return that many different puzzles of one pool, all sizes equally often.

    Raises:
        ValueError: There are fewer; the message says how many were found.
    """
    rng = random.Random(f"knights_knaves {pool} {seed}")
    puzzles: dict[str, Puzzle] = {}
    sizes = itertools.cycle(range(options.min_people, options.max_people + 1))
    for count in itertools.islice(sizes, num_rows):
        for _ in range(MAX_DRAWS_PER_ROW):
            puzzle = draw_puzzle(rng, count)
            if puzzle is not None and pool_of(puzzle) == pool and (key := canonical(puzzle)) not in puzzles:
                puzzles[key] = puzzle
                break
        else:
            raise ValueError(
                f"tasks/knights_knaves found {len(puzzles)} different puzzles for its {pool} split, not {num_rows}: "
                f"there are few with {count} people; ask for fewer rows or more people."
            )
    return list(puzzles.values())


def write_statement(statement: Statement, names: list[str], speaker: int) -> str:
    """Return a statement in English, the speaker as "I"."""
    kind, *parts = statement
    if kind in ("knight", "knave"):
        return f"{_subject(parts[0], names, speaker)} a {kind}"
    if kind in ("same", "different"):
        first, second = (names[part] for part in parts)
        return f"{first} and {second} are of {'the same kind' if kind == 'same' else 'different kinds'}"
    if kind == "not":
        if parts[0][0] in ("knight", "knave"):
            return f"{_subject(parts[0][1], names, speaker)} not a {parts[0][0]}"
        return f"it is not true that {write_statement(parts[0], names, speaker)}"
    first, second = (write_statement(part, names, speaker) for part in parts)
    return {
        "and": f"{first} and {second}",
        "or": f"{first} or {second}",
        "if": f"if {first}, then {second}",
        "iff": f"{first} if and only if {second}",
    }[kind]


def _subject(person: int, names: list[str], speaker: int) -> str:
    return "I am" if person == speaker else f"{names[person]} is"


def write_solution(solution: tuple[bool, ...], names: list[str]) -> str:
    """Return the answer in the published form: `(1) Zoey is a knight`, one person a line."""
    kinds = ["knight" if is_knight else "knave" for is_knight in solution]
    return "\n".join(
        f"({place}) {name} is a {kind}" for place, (name, kind) in enumerate(zip(names, kinds, strict=True), 1)
    )


def to_row(puzzle: Puzzle, names: list[str], prompt: str) -> Row:
    """Return the row that GRPO trains on."""
    claims = [write_statement(statement, names, speaker) for speaker, statement in enumerate(puzzle)]
    speeches = " ".join(
        f'{name} says: "{claim[0].upper()}{claim[1:]}."' for name, claim in zip(names, claims, strict=True)
    )
    people = f"{', '.join(names[:-1])} and {names[-1]}"
    quiz = ISLAND.format(count=len(names), names=people, speeches=speeches)
    solution = write_solution(solve(puzzle)[0], names)
    return {
        "problem": quiz + PROMPTS[prompt],
        "quiz": quiz,
        "names": names,
        "statements": json.dumps(puzzle),
        "solution_text_format": solution,
        "solution": solution,
        "domain": DOMAIN,
    }


def load(config: str | None = None, seed: int = 0) -> dict[str, list[Row]]:
    """Return the splits `train` and `test` of a config; None means `3to7`.

    Raises:
        ValueError: The config is unknown or cannot be met; the message says what there is.
    """
    options = read_options(config, KnightsKnavesOptions(), PRESETS, "tasks/knights_knaves")
    splits = {}
    for split, num_rows in (("train", options.num_train), ("test", options.num_test)):
        rng = random.Random(f"knights_knaves names {split} {seed}")
        puzzles = draw_distinct(split, options, seed, num_rows)
        splits[split] = [to_row(puzzle, rng.sample(NAMES, len(puzzle)), options.prompt) for puzzle in puzzles]
    return splits
