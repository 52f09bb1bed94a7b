# SPDX-License-Identifier: Apache-2.0
"""Runs the driver in a box without user namespaces: `serve`, with the settings that `landlock.settings` made.

Two processes confine themselves for good and stay: the keeper, which ends whatever is left when the driver has ended
or the provider has gone, and the driver. Each program is confined once more, before it starts: it may neither write
outside of its three folders, nor read other processes, nor send signals to any but its own.
"""

import _signal
import array
import os
import resource
import select
import struct
import time

import driver

# Rights over files, by the bit that Landlock gives them.
EXECUTE, WRITE, READ, LIST = 1, 2, 4, 8
CHANGE_FOLDER = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 12  # remove, make folder, file, pipe and link
TRUNCATE = 1 << 14
ALL_RIGHTS = {3: (1 << 15) - 1, 4: (1 << 15) - 1}  # by version; from 5 on with ioctl on devices
NETWORK = 3  # bind and connect
SCOPES = 3  # abstract sockets and signals
FOLDER_ONLY = LIST | CHANGE_FOLDER
READABLE = EXECUTE | READ | LIST
WRITABLE = READABLE | WRITE | CHANGE_FOLDER | TRUNCATE
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

        result = call_function(dlsym(dlopen(None, 0), name), args)
    except ImportError:
        import ctypes

        result = ctypes.CDLL(None)[name](*args)
    if result < 0:
        raise OSError("%s%r was refused" % (name, args[:2]))
    return result


def restrict(version, rules):
    """Take away every right over files that the rules don't give, the network, and signals to others."""
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
    """Install a filter of system calls, an array of BPF instructions in hexadecimal digits."""
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


class Program:
    """What each program does to itself before it starts."""

    def __init__(self, settings):
        self.settings = settings
        self.most_tasks = settings["tasks"]
        if settings["user"] is None:  # the kernel counts all that this user runs, also outside of boxes
            self.most_tasks += num_tasks(os.getuid())

    def __call__(self):
        """Confine this process."""
        root = self.settings["root"]
        resource.setrlimit(resource.RLIMIT_NPROC, (self.most_tasks, self.most_tasks))
        rules = [(root + "/" + name, WRITABLE) for name in OWN_FOLDERS]
        rules += [("/proc/self", READ | LIST), ("/proc/cpuinfo", READ), ("/proc/meminfo", READ)]
        restrict(self.settings["version"], rules + shared_rules(self.settings))
        if self.settings["program_filter"]:
            filter_calls(self.settings["program_filter"])


def shared_rules(settings):
    """Return the rules for driver and programs."""
    devices = [("/dev/null", READ | WRITE), ("/dev/zero", READ), ("/dev/urandom", READ), ("/dev/random", READ)]
    return devices + [(path, READABLE) for path in settings["readable"]]


def keep(child, control, alive):
    """Wait for the driver's end or the provider's; end whatever is left; return the driver's exit code.

    Args:
        child: Number of the driver.
        control: The driver's socket; it hangs up when the provider has closed its end or has died.
        alive: A pipe that the driver holds open.
    """
    _signal.signal(_signal.SIGTERM, lambda *_: end_descendants() or os._exit(1))
    poll = select.poll()
    poll.register(control, 0)
    poll.register(alive, 0)
    while not poll.poll():
        pass
    patience = time.monotonic() + 0.2  # the driver ends by itself when nobody is there any more
    status = None
    while status is None and time.monotonic() < patience:
        pid, found = os.waitpid(child, os.WNOHANG)
        if pid:
            status = found
        else:
            time.sleep(0.002)
    end_descendants()
    return 1 if status is None or os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def end_descendants():
    """End every process below this one. All are stopped first, so that none starts others meanwhile."""
    stopped = set()
    while True:
        found = descendants()
        if not found:
            return
        new = [pid for pid in found if pid not in stopped]
        for pid in new or found:
            try:
                os.kill(pid, _signal.SIGSTOP if new else _signal.SIGKILL)
            except ProcessLookupError:
                pass
        stopped.update(new)
        if not new:
            reap()


def descendants():
    """Return the numbers of all processes below this one that haven't ended."""
    parents, found = {}, []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]
            except OSError:
                continue  # it has just ended
            if state not in (b"Z", b"X") or int(name) == os.getpid():
                parents.setdefault(int(parent), []).append(int(name))
    waiting = [os.getpid()]
    while waiting:
        below = parents.get(waiting.pop(), [])
        waiting += below
        found += below
    return found


def reap():
    """Take note of the children that have ended."""
    time.sleep(0.001)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def serve(control, settings):
    """Confine this process and run the driver below it.

    Args:
        control: The driver's socket; all other descriptors but the first three are closed.
        settings: See `landlock.settings`.
    """
    os.closerange(3, control)
    os.closerange(control + 1, 4096)
    os.chdir("/")
    become_user(settings["user"])
    call("prctl", SUBREAPER, 1, 0, 0, 0)
    call("prctl", DUMPABLE, 0, 0, 0, 0)
    confine_program = Program(settings)
    rules = [(settings["root"], WRITABLE), ("/proc", READ | LIST)]
    restrict(settings["version"], rules + shared_rules(settings))
    filter_calls(settings["filter"])
    alive, held = os.pipe()
    child = os.fork()
    if child:
        os.close(held)
        os._exit(keep(child, control, alive))
    os.close(alive)
    os.setsid()
    call("prctl", SUBREAPER, 1, 0, 0, 0)  # a fork doesn't inherit it
    driver.serve(control, confine=confine_program)
