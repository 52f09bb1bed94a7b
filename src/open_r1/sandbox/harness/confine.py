# SPDX-License-Identifier: Apache-2.0
"""Driver of a local box that takes every right away from itself first: `serve`, with the settings of a mechanism.

In a namespace it is the first process, with which everything in the box ends, and only a filter of system calls is
missing. Elsewhere two processes confine themselves for good by Landlock: the driver, and above it one that waits for
its end and ends what it may have left. There each program is confined once more, before it starts: it may neither
write outside of its three folders, nor read other processes, nor send signals to any but its own.
"""

import os
import resource

import driver
from driver import DUMPABLE, SUBREAPER, call
from processes import limit
from watching import end_all, words_of

# Rights over files, by the bit that Landlock gives them.
EXECUTE, WRITE, READ, LIST = 1, 2, 4, 8
# Remove, make folder, file, pipe and link, move from one folder to another.
CHANGE_FOLDER = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 12 | 1 << 13
TRUNCATE = 1 << 14
ALL_RIGHTS = {3: (1 << 15) - 1, 4: (1 << 15) - 1}  # by version; from 5 on with ioctl on devices
NETWORK = 3  # bind and connect
SCOPES = 3  # abstract sockets and signals
FOLDER_ONLY = LIST | CHANGE_FOLDER
READABLE = EXECUTE | READ | LIST
WRITABLE = READ | LIST | WRITE | CHANGE_FOLDER | TRUNCATE
OF_ITSELF = ("fd", "maps", "stat", "statm", "status")  # below /proc/self, where its network is that of the machine
DEVICES = {"null": READ | WRITE, "urandom": READ, "random": READ}  # shared, `zero` would be memory that nobody counts

SECCOMP, NO_NEW_PRIVILEGES, AMBIENT = 22, 38, 47  # of `prctl`
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
CAPSET = {"x86_64": 126, "aarch64": 91}
MORE_TASKS = 1024  # by so much the number of the user's other processes and threads may rise while a box runs


def numbers(*values):
    """Return numbers as the kernel's structures have them, in 64 bits each."""
    return b"".join(value.to_bytes(8, "little") for value in values)


def restrict(version, rules):
    """Take away every right over files that the rules don't give, the network, and signals to others."""
    if not version:  # the container is the box
        return
    rights = ALL_RIGHTS.get(version, (1 << 16) - 1)
    attributes = numbers(rights, NETWORK, SCOPES)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = call("syscall", CREATE_RULESET, attributes, len(attributes), 0)
    for path, allowed in rules:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # this machine has no such file
        if not os.path.isdir(path):
            allowed &= ~FOLDER_ONLY
        call("syscall", ADD_RULE, ruleset, 1, numbers(allowed & rights, fd), 0)
        os.close(fd)
    call("syscall", RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def filter_calls(program):
    """Install a filter of system calls, an array of BPF instructions in hexadecimal digits; none if it's empty."""
    if program:
        instructions = bytes.fromhex(program)
        # Where CPython keeps the content of `bytes`; to import `array`, which could say it, takes 2 ms.
        address = id(instructions) + bytes.__basicsize__ - 1
        call("prctl", SECCOMP, 2, numbers(len(instructions) // 8, address), 0, 0)


def become_user(user):
    """Become a user without any privilege, or stay who we are without any; for good."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    call("prctl", AMBIENT, 4, 0, 0, 0)
    call("syscall", CAPSET[os.uname().machine], numbers(0x20080522), bytes(24))
    call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def confine_program(settings, shared_rules, most_tasks):
    """Confine this process, which is about to become a program."""
    # The kernel counts all that a user runs: this only keeps a bomb from taking the machine between two looks.
    limit(resource.RLIMIT_NPROC, most_tasks)
    for name in (resource.RLIMIT_SIGPENDING, resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE):
        limit(name, 0)  # what the user's other processes would miss
    root = settings["root"]
    # Its input is a file without a name in the box's folder, which it may open anew by /dev/stdin.
    rules = [(root, READ), ("/proc/cpuinfo", READ), ("/proc/meminfo", READ)]
    rules += [(root + name, WRITABLE) for name in ("/work", "/tmp", "/shm")]
    rules += [("/proc/self/" + name, READ | LIST) for name in OF_ITSELF]
    # Nothing that it makes itself can be started: a program that may not be read hides what it has open.
    rules += [(file.path, EXECUTE | READ) for file in os.scandir(root + "/work") if os.access(file.path, os.X_OK)]
    restrict(settings["version"], rules + shared_rules)
    filter_calls(settings["program_filter"])


def serve(control, settings):
    """Confine this process and run the driver, in a process below where this isn't the first of a namespace.

    Args:
        control: The driver's socket; all other descriptors but the first three are closed.
        settings: `root`, the box's folder; `user` to become, or None; `filter`. Of Landlock also `version`,
            `readable`, `program_filter`, and `disk_bytes` as of `Box`.
    """
    os.closerange(3, control)
    os.closerange(control + 1, 4096)
    os.chdir("/")
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # when memory runs out, boxes go before the trainer
            file.write("1000")
    except OSError:
        pass  # not ours to change: then the kernel goes by size alone
    root, user = settings["root"], settings["user"]
    if user is not None:
        os.chown(root, user, user)
    become_user(user)
    if os.getpid() == 1:
        filter_calls(settings["filter"])
        driver.serve(control)
    call("prctl", SUBREAPER, 1, 0, 0, 0)
    call("prctl", DUMPABLE, 0, 0, 0, 0)
    most_tasks = int(words_of("/proc/loadavg")[3].partition(b"/")[2]) + MORE_TASKS
    shared = [("/dev/" + name, allowed) for name, allowed in DEVICES.items()]
    shared += [(path, READABLE) for path in settings["readable"]]
    rules = [(root, WRITABLE | EXECUTE), ("/proc", READ | LIST), *shared]
    restrict(settings["version"], rules)
    filter_calls(settings["filter"])
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        end_all()
        os._exit(0)
    os.setsid()
    restrict(settings["version"], rules)  # once more: its signals don't reach its parent
    call("prctl", SUBREAPER, 1, 0, 0, 0)  # a fork doesn't inherit it
    driver.serve(
        control,
        confine=lambda: confine_program(settings, shared, most_tasks),
        disk_bytes=settings["disk_bytes"],
    )
