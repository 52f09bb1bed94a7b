# SPDX-License-Identifier: Apache-2.0
"""The filter of system calls that every program in a local box runs under, as an array of BPF instructions.

It takes away what no solution to a problem needs, and what an ordinary user may do that reaches other processes or in
which the kernel's holes are found; what needs a privilege (mounts, modules, the clock) the kernel refuses by itself. A
refused call fails with EPERM, so that programs which only probe go on; calls that this table is too old to know, x32
and other foreign calls fail with ENOSYS. Memory that no process has mapped (memfd, System V segments, message queues)
is refused as well: a limit on a tree of processes would not see it, and it would outlive the box.

1. A stream `socketpair` stays, for asyncio and for children's pipes. A datagram pair could send to any socket by name.
2. `clone3` is ENOSYS: its flags stand in memory, where a filter can't look; the C library falls back to `clone`.
3. Calls that change other processes (limits, priority, affinity) are refused even for a program's own children.
"""

import errno
import platform
import struct
from collections.abc import Iterable

# Numbers on x86_64 and on aarch64, None where a machine has no such call.
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # Sockets; what is inherited or comes from `socketpair` can't be connected to anything else.
    "socket": (41, 198),
    "connect": (42, 203),
    "accept": (43, 202),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept4": (288, 242),
    # Carry descriptors: a file that is under way between two sockets is in no process and in no folder.
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    # Other processes.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    # Keyrings.
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Large parts of the kernel.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "syslog": (103, 116),
    # Namespaces: who has one of its own is root in it.
    "unshare": (272, 97),
    "setns": (308, 268),
    # Memory that belongs to no process, and what the user's other processes have of it.
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semctl": (66, 191),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    # Lets pages wait in pipes, large ones too, that their owner then has no more.
    "vmsplice": (278, 75),
}
# To other processes; see `filter_program`.
_SIGNALS: dict[str, tuple[int | None, int | None]] = {
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
# Of files, which need no right that Landlock knows of.
_FILE_ATTRIBUTES: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
# Calls whose arguments decide, or that fail in a way of their own.
_CHECKED: dict[str, tuple[int, int]] = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "socketpair": (53, 199),
    "fallocate": (285, 47),
    "ioctl": (16, 29),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    "sched_setaffinity": (203, 122),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "prctl": (157, 167),
    "kill": (62, 129),
    "fcntl": (72, 25),
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LAST_KNOWN_CALL = 469  # file_setattr of Linux 6.17; x32 calls have numbers from 1 << 30

_NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX put characters into a terminal
_PLAIN_IOCTLS = 0x5400  # and 255 more: of terminals, and such as FIONREAD; those of file systems change files
_HIDING = (4,)  # PR_SET_DUMPABLE: whose memory and files the box can't look into, it can't limit
_SIGNAL_OWNER = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: who gets which signal for a file
_PIPE_SIZE = (1031,)  # F_SETPIPE_SZ

_LOAD, _AND = 0x20, 0x54
_IF_EQUAL, _IF_GREATER, _IF_ANY_BIT = 0x15, 0x25, 0x45
_RETURN = 0x06
_ALLOW = 0x7FFF0000
_EPERM, _ENOSYS, _EOPNOTSUPP = (0x00050000 | number for number in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP))

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def filter_program(
    machine: str | None = None,
    *,
    without_mounts: bool = False,
    confines_signals: bool = False,
) -> bytes:
    """Return the filter as an array of `struct sock_filter`, as `bwrap --seccomp` and `PR_SET_SECCOMP` take it.

    Args:
        machine: "x86_64" or "aarch64"; None for this one.
        without_mounts: Refuse to change the mode, owner, times and further attributes of files, to take much of a
            disk at once, and to hide a process from its user's other processes. For programs in a box that shares its
            file system with others, and whose limits are kept by somebody who looks; not for the driver.
        confines_signals: Refuse signals to any process but one's own group. For boxes that share a user with processes
            outside of them where the kernel can't tell these apart (Landlock before version 6). `abort` and `raise`
            then end a program in another way, and it can't stop its children.

    Raises:
        NotImplementedError: The system calls of this machine aren't known here.
    """
    machine = machine or platform.machine()
    if machine not in _MACHINES:
        raise NotImplementedError(
            f"The filter of system calls is written for {' and '.join(_MACHINES)}, not for {machine!r}."
        )
    column, architecture = _MACHINES[machine]
    refused = _REFUSED | (_FILE_ATTRIBUTES if without_mounts else {}) | (_SIGNALS if confines_signals else {})
    numbers = [known[column] for known in refused.values()]
    program: list[Instruction] = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _ENOSYS),
        (_LOAD, 0, 0, 0),  # the number
        (_IF_GREATER, 0, 1, _LAST_KNOWN_CALL),
        (_RETURN, 0, 0, _ENOSYS),
    ]
    checks = _checks(without_mounts, confines_signals)
    files = (*_PIPE_SIZE, *(_SIGNAL_OWNER if confines_signals else ()))
    checks["fcntl"] = _refused_if(1, files)
    for name, block in checks.items():
        program += [(_IF_EQUAL, 0, len(block), _CHECKED[name][column]), *block]
    program += _refuse([number for number in numbers if number is not None])
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _refuse(numbers: list[int]) -> list[Instruction]:
    """Return what ends the program: EPERM for these calls, and all others allowed."""
    jumps = [(_IF_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    return [*jumps, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _EPERM)]


def _checks(without_mounts: bool, confines_signals: bool) -> dict[str, list[Instruction]]:
    """Return the instructions for each call whose arguments decide; all of them end in a return.

    The kernel reads these arguments as 32-bit numbers, so the lower half of each says everything.
    """
    itself = _allowed_if(0, (0,))
    checks = {
        "clone": [(_LOAD, 0, 0, _argument(0)), (_IF_ANY_BIT, 0, 1, _NAMESPACE_FLAGS), *_either(_EPERM, _ALLOW)],
        "clone3": [(_RETURN, 0, 0, _ENOSYS)],
        "socketpair": [
            (_LOAD, 0, 0, _argument(0)),
            (_IF_EQUAL, 1, 0, 1),  # AF_UNIX
            (_RETURN, 0, 0, _EPERM),
            (_LOAD, 0, 0, _argument(1)),
            (_AND, 0, 0, 0xF),  # without SOCK_CLOEXEC and SOCK_NONBLOCK
            (_IF_EQUAL, 0, 1, 1),  # SOCK_STREAM
            *_either(_ALLOW, _EPERM),
        ],
        "ioctl": _refused_if(1, _TERMINAL_INPUT),
        "prlimit64": itself,
        "setpriority": [
            (_LOAD, 0, 0, _argument(0)),
            (_IF_EQUAL, 1, 0, 0),  # PRIO_PROCESS
            (_RETURN, 0, 0, _EPERM),
            *_allowed_if(1, (0,)),
        ],
        "sched_setaffinity": itself,
        "sched_setparam": itself,
        "sched_setscheduler": itself,
        "sched_setattr": itself,
    }
    if without_mounts:
        checks["prctl"] = _refused_if(0, _HIDING)
        checks["fallocate"] = [(_RETURN, 0, 0, _EOPNOTSUPP)]
        checks["ioctl"] = [
            (_LOAD, 0, 0, _argument(1)),
            *(step for command in _TERMINAL_INPUT for step in ((_IF_EQUAL, 0, 1, command), (_RETURN, 0, 0, _EPERM))),
            (_AND, 0, 0, 0xFFFFFF00),
            (_IF_EQUAL, 0, 1, _PLAIN_IOCTLS),
            *_either(_ALLOW, _EPERM),
        ]
    if confines_signals:
        checks["kill"] = itself
    return checks


def _argument(index: int) -> int:
    """Return where the lower half of an argument stands in `struct seccomp_data`; both machines are little-endian."""
    return 16 + 8 * index


def _either(if_true: int, if_false: int) -> list[Instruction]:
    return [(_RETURN, 0, 0, if_true), (_RETURN, 0, 0, if_false)]


def _allowed_if(index: int, values: Iterable[int]) -> list[Instruction]:
    """Allow a call if an argument is one of the values."""
    return _decided_by(index, tuple(values), _ALLOW, _EPERM)


def _refused_if(index: int, values: Iterable[int]) -> list[Instruction]:
    """Refuse a call if an argument is one of the values."""
    return _decided_by(index, tuple(values), _EPERM, _ALLOW)


def _decided_by(index: int, values: tuple[int, ...], if_listed: int, otherwise: int) -> list[Instruction]:
    jumps = [(_IF_EQUAL, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [(_LOAD, 0, 0, _argument(index)), *jumps, *_either(otherwise, if_listed)]
