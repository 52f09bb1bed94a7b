# SPDX-License-Identifier: Apache-2.0
"""The attacks on local boxes: which program, how it may end, whether it can be tried outside of a box as well."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "attacks"
ENDED = frozenset({"ok", "runtime_error", "time_limit", "memory_limit", "output_limit"})


@dataclass(frozen=True)
class Attack:
    """One attack: a submission that is run once for each of its roles, in one box.

    Attributes:
        name: What it's called.
        file: Its program in `attacks/`.
        outcomes: How its runs may end. One that ends well says "CONTAINED", but where its output is a file.
        roles: What each run is told to do.
        compiles: Whether its program may be compiled; None where nothing is.
        is_harmless: Whether it can be tried outside of a box, where it must succeed.
        output_file: As of a `ProgramInput`.
        is_versioned: Whether older versions of Landlock do less against it.
        needs_groups: Whether it is contained only where a control group counts the memory of a box: otherwise what
            processes hold is added up, and these take memory that belongs to none.
        runs_last: Whether it looks for what others have left, or takes processes that others may need: without control
            groups the limit is that of the user whose boxes all are.
        wall_s: Limit of each run in seconds.
        cpu_s: Limit of CPU time, too.
    """

    name: str
    file: str
    outcomes: frozenset[str] = frozenset({"ok"})
    roles: tuple[str, ...] = ("",)
    compiles: bool | None = None
    is_harmless: bool = False
    output_file: str | None = None
    is_versioned: bool = False
    needs_groups: bool = False
    runs_last: bool = False
    wall_s: float = 60.0
    cpu_s: float = 10.0

    @property
    def language(self) -> str:
        """Name of its language."""
        return {".py": "python", ".cpp": "cpp", ".sh": "bash"}[Path(self.file).suffix]


ATTACKS = (
    Attack("network", "network.py", is_harmless=True, is_versioned=True),
    Attack("parent_secrets", "parent_secrets.py", is_harmless=True, is_versioned=True),
    Attack("key_files", "key_files.py", is_harmless=True, is_versioned=True),
    Attack("writing_outside", "writing_outside.py", is_harmless=True, is_versioned=True),
    Attack("foreign_signals", "foreign_signals.py", is_harmless=True, is_versioned=True),
    Attack("result_channel", "result_channel.py", roles=("", ""), is_harmless=True),
    Attack("driver_attack", "driver_attack.py", roles=("", ""), is_versioned=True),
    Attack("next_tests", "next_tests.py", roles=("first", "second")),
    Attack("planting", "planting.py", roles=("plant", "look", "plant", "look")),
    Attack("planted_for_others", "planting.py", roles=("look",), runs_last=True),
    Attack("privileges", "privileges.py"),
    Attack("shell", "planting.sh"),
    Attack("daemons", "daemons.py", roles=("", ""), is_harmless=True),
    Attack("fork_bomb", "fork_bomb.py", ENDED, wall_s=2, cpu_s=1, runs_last=True),
    Attack("thread_bomb", "thread_bomb.py", ENDED, wall_s=2, cpu_s=1),
    Attack("memory_bomb", "memory_bomb.py", frozenset({"ok", "memory_limit"})),
    Attack("memory_tree", "memory_tree.py", frozenset({"ok", "memory_limit", "runtime_error"}), roles=("", "threads")),
    Attack("memory_chain", "memory_chain.cpp", frozenset({"memory_limit"})),
    Attack("memory_in_files", "memory_hidden.py", ENDED, roles=("files", "pipes"), wall_s=8, cpu_s=6),
    Attack(
        "memory_hidden",
        "memory_hidden.py",
        ENDED,
        roles=("shared", "sockets"),
        wall_s=8,
        cpu_s=6,
        needs_groups=True,
    ),
    Attack("cpu_loop", "cpu_loop.py", frozenset({"time_limit"}), cpu_s=1),
    Attack("cpu_children", "cpu_children.py", frozenset({"time_limit"}), cpu_s=1),
    Attack("sleeping", "sleeping.py", frozenset({"time_limit"}), wall_s=0.7),
    Attack("stopping", "sleeping.py", frozenset({"time_limit"}), roles=("stop", "stop"), wall_s=0.7),
    Attack("flood_stdout", "flood.py", frozenset({"output_limit"}), roles=("stdout",)),
    Attack("flood_stderr", "flood.py", roles=("stderr",)),
    Attack(
        "disk",
        "disk.py",
        ENDED,
        roles=("big", "many", "closed", "deep", "deleted", "mapped", "hole", "reserved", "reserved_mapped"),
        wall_s=8,
        cpu_s=1,
    ),
    Attack("many_files", "disk.py", ENDED, roles=("empty",), wall_s=1.5, cpu_s=1),
    Attack(
        "output_file",
        "output_file.py",
        frozenset({"ok", "output_limit"}),
        roles=("link", "driver", "pipe", "folder", "device", "hole"),
        output_file="out.txt",
    ),
    Attack("secret_in_source", "secret_in_source.cpp", compiles=False, is_harmless=True),
    Attack("secret_in_binary", "secret_in_binary.cpp", compiles=False, is_harmless=True),
    Attack("waiting_source", "waiting_source.cpp", compiles=False),
    Attack("idle_source", "idle_source.cpp", compiles=False),
    Attack("template_bomb", "template_bomb.cpp", compiles=False),
    Attack("huge_binary", "huge_binary.cpp", compiles=False),
)
