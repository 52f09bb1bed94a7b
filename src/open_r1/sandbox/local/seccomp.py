# SPDX-License-Identifier: Apache-2.0
"""Filter of system calls for programs in local boxes, as an array of BPF instructions: one table of what is refused.

It takes away what no solution to a problem needs, and what an ordinary user may do that reaches other processes or in
which the kernel's holes are found; what needs a privilege (mounts, modules, the clock) the kernel refuses by itself. A
refused call fails with EPERM, so that programs which only probe go on; calls that this table is too old to know, x32
and other foreign calls fail with ENOSYS. Memory that no process has mapped (memfd, System V segments, message queues)
is refused as well: a limit on a tree of processes would not see it, and it would outlive the box.
"""

import errno
import functools
import platform
import re
import struct

# A call, its numbers on x86_64 and on aarch64 (where it has one), and what its arguments must be for it to be allowed,
# in hexadecimal digits: `1&F=1` argument 1, masked by 0xF, is 1; `1!5412` argument 1 isn't 0x5412. Or how it fails.
_ALWAYS = """
socket             41  198
connect            42  203
accept             43  202
bind               49  200
listen             50  201
accept4           288  242
socketpair         53  199  0=1 1&F=1               UNIX streams, for asyncio; a datagram pair could send to any socket
sendmsg            46  211                          a descriptor under way is in no process and in no folder
sendmmsg          307  269
ptrace            101  117
process_vm_readv  310  270
process_vm_writev 311  271
pidfd_getfd       438  438
prlimit64         302  261  0=0                     of other processes, be they one's own children
setpriority       141  140  0=0 1=0
sched_setaffinity 203  122  0=0
sched_setparam    142  118  0=0
sched_setscheduler 144 119  0=0
sched_setattr     314  274  0=0
add_key           248  217
request_key       249  218
keyctl            250  219
bpf               321  280
perf_event_open   298  241
io_uring_setup    425  425
userfaultfd       323  282
syslog            103  116
unshare           272   97                          who has a namespace of one's own is root in it
setns             308  268
clone              56  220  0&7E020000=0
clone3            435  435  ENOSYS                  its flags are in memory; the C library then takes clone
memfd_create      319  279
shmget             29  194
shmat              30  196
shmctl             31  195
semget             64  190
semctl             66  191
semop              65  193
semtimedop        220  192
msgget             68  186
msgsnd             69  189
msgrcv             70  188
msgctl             71  187
mq_open           240  180
mq_unlink         241  181
vmsplice          278   75                          pages wait in pipes that their owner has no more
ioctl              16   29  1!5412 1!541C           puts characters into a terminal
fcntl              72   25  1!407                   larger pipes
"""
# Of files, which need no right that Landlock knows of; taking much of a disk at once; hiding from a look at /proc.
_WITHOUT_MOUNTS = """
ioctl              16   29  1&FFFFFF00=5400 1!5412 1!541C
prctl             157  167  0!4
fallocate         285   47  EOPNOTSUPP
chmod              90
fchmod             91   52
fchmodat          268   53
fchmodat2         452  452
chown              92
fchown             93   55
lchown             94
fchownat          260   54
utime             132
utimes            235
futimesat         261
utimensat         280   88
setxattr          188    5
lsetxattr         189    6
fsetxattr         190    7
setxattrat        463  463
removexattr       197   14
lremovexattr      198   15
fremovexattr      199   16
removexattrat     466  466
file_setattr      469  469
"""
_SIGNALS = """
kill               62  129  0=0
tkill             200  130
tgkill            234  131
rt_sigqueueinfo   129  138
rt_tgsigqueueinfo 297  240
pidfd_send_signal 424  424
fcntl              72   25  1!407 1!8 1!A 1!F       who gets which signal for a file
"""
_ROW = re.compile(r"(\w+) +(\d+) *(\d+)? *((?:\d[&=!]\S+ ?)*|E[A-Z]+)(?:  .*)?")
_CONDITION = re.compile(r"(\d)(?:&(\w+))?([=!])(\w+)")
_MACHINES = {"x86_64": (2, 0xC000003E), "aarch64": (3, 0xC00000B7)}
_LAST_KNOWN_CALL = 469  # file_setattr of Linux 6.17; x32 calls have numbers from 1 << 30

_LOAD, _AND, _IF_EQUAL, _IF_GREATER, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


@functools.cache
def filter_program(
    machine: str | None = None, *, without_mounts: bool = False, confines_signals: bool = False
) -> bytes:
    """Return the filter as an array of `struct sock_filter`, as `PR_SET_SECCOMP` takes it.

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
    program: list[Instruction] = [
        (_LOAD, 0, 0, 4),  # the architecture
        (_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
        (_LOAD, 0, 0, 0),  # the number
        (_IF_GREATER, 0, 1, _LAST_KNOWN_CALL),
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
    ]
    # The first row of a call decides.
    table = (_SIGNALS if confines_signals else "") + (_WITHOUT_MOUNTS if without_mounts else "") + _ALWAYS
    for line in filter(None, table.splitlines()):
        row = _ROW.fullmatch(line)
        assert row is not None, line
        if row[column]:
            block = _block(row[4])
            program += [(_IF_EQUAL, 0, len(block), int(row[column])), *block]
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _block(rule: str) -> list[Instruction]:
    """Return the instructions for a call: it's allowed if all conditions hold, if there are any.

    The kernel reads these arguments as 32-bit numbers, so the lower half of each says everything; both machines are
    little-endian.
    """
    if not _CONDITION.match(rule):
        return [(_RETURN, 0, 0, _FAIL | getattr(errno, rule or "EPERM"))]
    block: list[Instruction] = []
    for index, mask, sign, value in _CONDITION.findall(rule):
        holds, fails = (1, 0) if sign == "=" else (0, 1)
        block += [
            (_LOAD, 0, 0, 16 + 8 * int(index)),
            (_AND, 0, 0, int(mask or "FFFFFFFF", 16)),
            (_IF_EQUAL, holds, fails, int(value, 16)),
            (_RETURN, 0, 0, _FAIL | errno.EPERM),
        ]
    return [*block, (_RETURN, 0, 0, _ALLOW)]
