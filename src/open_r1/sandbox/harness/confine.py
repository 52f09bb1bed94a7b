# SPDX-License-Identifier: Apache-2.0
"""Runs the driver in a box without user namespaces: `serve`, with the settings that `Landlock.settings` made.

Two processes confine themselves for good: the driver, and above it one that waits for its end and ends what it may
have left. Each program is confined once more, before it starts: it may neither write outside of its three folders, nor
read other processes, nor send signals to any but its own.
"""

import array
import os
import resource
import struct

import driver
from watching import end_all

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
OWN_FOLDERS = ("work", "tmp", "shm")

DUMPABLE, SECCOMP, SUBREAPER, NO_NEW_PRIVILEGES, AMBIENT = 4, 22, 36, 38, 47  # of `prctl`
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
CAPSET = {"x86_64": 126, "aarch64": 91}
O_PATH = os.O_PATH | os.O_CLOEXEC


def call(name, *args):
    """Call a function of the C library on numbers of 32 bits and on bytes.

    Raises:
        OSError: It returned a negative number.
    """
    try:  # the half of `ctypes` that is written in C: the other takes longer to import than all else here
        from _ctypes import call_function, dlopen, dlsym

        result = call_function(dlsym(dlopen(None, 0), name), args)  # type: ignore[arg-type]
    except ImportError:
        import ctypes

        result = ctypes.CDLL(None)[name](*args)
    if result < 0:
        raise OSError("%s%r was refused" % (name, args[:2]))
    return result


def restrict(version, rules):
    """Take away every right over files that the rules don't give, the network, and signals to others."""
    if not version:  # the container is the box
        return
    rights = ALL_RIGHTS.get(version, (1 << 16) - 1)
    attributes = struct.pack("=QQQ", rights, NETWORK, SCOPES)[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = call("syscall", CREATE_RULESET, attributes, len(attributes), 0)
    for path, allowed in rules:
        try:
            fd = os.open(path, O_PATH)
        except OSError:
            continue  # this machine has no such file
        if not os.path.isdir(path):
            allowed &= ~FOLDER_ONLY
        call("syscall", ADD_RULE, ruleset, 1, struct.pack("=Qi", allowed & rights, fd), 0)
        os.close(fd)
    call("syscall", RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def filter_calls(program):
    """Install a filter of system calls, an array of BPF instructions in hexadecimal digits; none if it's empty."""
    if not program:
        return
    instructions = array.array("B", bytes.fromhex(program))
    address, size = instructions.buffer_info()
    call("prctl", SECCOMP, 2, struct.pack("=HxxxxxxQ", size // 8, address), 0, 0)


def become_user(user):
    """Become a user without any privilege, or stay who we are without any; for good."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    call("prctl", AMBIENT, 4, 0, 0, 0)
    call("syscall", CAPSET[os.uname().machine], struct.pack("=Ii", 0x20080522, 0), bytes(24))
    call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def num_tasks(user):
    """Return how many processes and threads the user has."""
    count = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat("/proc/" + name).st_uid == user:
                count += len(os.listdir("/proc/%s/task" % name))
        except OSError:
            pass  # it has just ended
    return count


class Confinement:
    """What each program does to itself before it starts."""

    def __init__(self, settings):
        self.settings = settings
        # The kernel counts all that a user runs: this only keeps a bomb from taking the machine between two looks.
        self.most_tasks = settings["more_tasks"] + num_tasks(os.getuid())

    def __call__(self):
        """Confine this process."""
        root, most = self.settings["root"], resource.getrlimit(resource.RLIMIT_NPROC)[1]
        most = self.most_tasks if most == resource.RLIM_INFINITY else min(most, self.most_tasks)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
        for name in (resource.RLIMIT_SIGPENDING, resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE):
            resource.setrlimit(name, (0, 0))  # what the user's other processes would miss
        # Its input is a file without a name in the box's folder, which it may open anew by /dev/stdin.
        rules = [(root, READ), *((root + "/" + name, WRITABLE) for name in OWN_FOLDERS)]
        rules += [("/proc/self/" + name, READ | LIST) for name in OF_ITSELF]
        rules += [("/proc/cpuinfo", READ), ("/proc/meminfo", READ)]
        # Nothing that it makes itself can be started: a program that may not be read hides what it has open.
        rules += [(file.path, EXECUTE | READ) for file in os.scandir(root + "/work") if os.access(file.path, os.X_OK)]
        restrict(self.settings["version"], rules + shared_rules(self.settings))
        filter_calls(self.settings["program_filter"])


def shared_rules(settings):
    """Return the rules for driver and programs; mapped by several, `/dev/zero` would be memory that nobody counts."""
    devices = [("/dev/null", READ | WRITE), ("/dev/urandom", READ), ("/dev/random", READ)]
    return devices + [(path, READABLE) for path in settings["readable"]]


def serve_as(user, root, control):
    """Run the driver as another user, who gets the box's folder; for a box with namespaces that root has made."""
    rank = driver.open_rank()  # another user may not open it
    os.chown(root, user, user)
    become_user(user)
    driver.serve(control, rank=rank)


def serve(control, settings):
    """Confine this process and run the driver below it.

    Args:
        control: The driver's socket; all other descriptors but the first three are closed.
        settings: See `Landlock.settings`.
    """
    os.closerange(3, control)
    os.closerange(control + 1, 4096)
    os.chdir("/")
    become_user(settings["user"])
    call("prctl", SUBREAPER, 1, 0, 0, 0)
    call("prctl", DUMPABLE, 0, 0, 0, 0)
    confinement = Confinement(settings)
    rules = [(settings["root"], WRITABLE | EXECUTE), ("/proc", READ | LIST)]
    restrict(settings["version"], rules + shared_rules(settings))
    filter_calls(settings["filter"])
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        end_all(settings["is_alone"])
        os._exit(0)
    os.setsid()
    restrict(settings["version"], rules + shared_rules(settings))  # once more: its signals don't reach its parent
    call("prctl", SUBREAPER, 1, 0, 0, 0)  # a fork doesn't inherit it
    driver.serve(control, confine=confinement, disk_bytes=settings["disk_bytes"], is_alone=settings["is_alone"])
