# SPDX-License-Identifier: Apache-2.0
"""The filter of system calls, decided by an interpreter of its instructions; the real kernel has it in integration."""

import errno
import struct

import pytest

from open_r1.sandbox.local.seccomp import filter_program

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "x86_32": 0x40000003}
MODES = {
    "driver": {},
    "without_mounts": {"without_mounts": True},
    "without_signals": {"confines_signals": True},
    "without_both": {"without_mounts": True, "confines_signals": True},
}
# Number and arguments of a call, what becomes of it, its name.
CALLS = {
    ("x86_64", "driver"): """
        0                    allowed     read
        59                   allowed     execve
        202                  allowed     futex
        41 1 1               EPERM       socket
        42                   EPERM       connect
        53 1 1               allowed     socketpair of streams
        53 1 0x80001         allowed     socketpair of streams, closed on exec
        53 1 2               EPERM       socketpair of datagrams
        53 1 0x80002         EPERM       socketpair of datagrams, closed on exec
        53 2 1               EPERM       socketpair of the internet
        101                  EPERM       ptrace
        250                  EPERM       keyctl
        70                   EPERM       msgrcv
        65                   EPERM       semop
        319                  EPERM       memfd_create
        56 0x11              allowed     clone as fork does
        56 0x3D0F00          allowed     clone as a thread does
        56 0x10000011        EPERM       clone with CLONE_NEWUSER
        56 0x40000011        EPERM       clone with CLONE_NEWNET
        56 0x00020011        EPERM       clone with CLONE_NEWNS
        435                  ENOSYS      clone3
        16 0 0x5401          allowed     ioctl TCGETS
        16 0 0x5412          EPERM       ioctl TIOCSTI
        16 0 0x100005412     EPERM       ioctl TIOCSTI for a kernel that looks at 32 bits
        302 0 7              allowed     prlimit64 of one's own
        302 1 7              EPERM       prlimit64 of another
        141 0 0 5            allowed     setpriority of one's own
        141 0 7 5            EPERM       setpriority of another
        141 2 0 5            EPERM       setpriority of all processes of the user
        62 7 9               allowed     kill
        54 3 1 7             allowed     setsockopt SO_SNDBUF
        278                  EPERM       vmsplice
        9 0 4096 3 0x21      allowed     mmap, shared without a file
        285                  allowed     fallocate
        72 3 4               allowed     fcntl F_SETFL
        72 3 1031            EPERM       fcntl F_SETPIPE_SZ
        470                  ENOSYS      one that the table is too old for
        0x40000029 1 1       ENOSYS      socket of x32
        -1                   ENOSYS      none
    """,
    ("aarch64", "driver"): """
        63                   allowed     read
        198 1 1              EPERM       socket
        199 1 1              allowed     socketpair of streams
        199 1 2              EPERM       socketpair of datagrams
        117                  EPERM       ptrace
        220 0x11             allowed     clone
        220 0x10000011       EPERM       clone with CLONE_NEWUSER
        435                  ENOSYS      clone3
        172                  allowed     getpid, which is iopl on x86_64
    """,
    ("x86_64", "without_signals"): """
        62 0 15              allowed     kill one's own group
        62 7 15              EPERM       kill another
        62 -1 9              EPERM       kill all
        234 7 7 9            EPERM       tgkill
        424                  EPERM       pidfd_send_signal
        72 3 4               allowed     fcntl F_SETFL
        72 3 8 7             EPERM       fcntl F_SETOWN
    """,
    ("x86_64", "without_mounts"): """
        90                   EPERM       chmod
        260                  EPERM       fchownat
        280                  EPERM       utimensat
        188                  EPERM       setxattr
        16 0 0x5401          allowed     ioctl TCGETS
        16 0 0x541B          allowed     ioctl FIONREAD
        16 0 0x5412          EPERM       ioctl TIOCSTI
        16 0 0x40086602      EPERM       ioctl FS_IOC_SETFLAGS
        157 4 0              EPERM       prctl PR_SET_DUMPABLE
        157 15 0             allowed     prctl PR_SET_NAME
        285                  ENOTSUP     fallocate: the C library then writes
        87                   allowed     unlink, of which Landlock knows
    """,
    ("x86_64", "without_both"): "62 -1 9  EPERM  kill all",
}
ROWS = [(*key, line) for key, text in CALLS.items() for line in filter(None, map(str.strip, text.splitlines()))]


def decide(program: bytes, architecture: int, number: int, *arguments: int) -> str:
    """Run the instructions on one call as the kernel does; none may lead out of the program."""
    arguments += (0,) * (6 - len(arguments))
    call = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *(word & (1 << 64) - 1 for word in arguments))
    instructions = list(struct.iter_unpack("=HBBI", program))
    place = accumulator = 0
    while True:
        code, if_true, if_false, constant = instructions[place]
        place += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", call, constant)
        elif code == 0x54:
            accumulator &= constant
        elif code == 0x06:
            return "allowed" if constant == 0x7FFF0000 else errno.errorcode[constant - 0x50000]
        else:
            truths = {0x15: accumulator == constant, 0x25: accumulator > constant}
            place += if_true if truths[code] else if_false


@pytest.mark.parametrize(("machine", "mode", "row"), ROWS)
def test_call_is_decided_by_its_number_and_arguments(machine: str, mode: str, row: str) -> None:
    words = row.split()
    place = next(place for place, word in enumerate(words) if word.isalpha())
    numbers = [int(word, 0) for word in words[:place]]

    assert decide(filter_program(machine, **MODES[mode]), ARCHITECTURES[machine], *numbers) == words[place]


@pytest.mark.parametrize(("machine", "foreign"), [("x86_64", "x86_32"), ("x86_64", "aarch64"), ("aarch64", "x86_64")])
def test_foreign_architecture_has_no_calls(machine: str, foreign: str) -> None:
    assert decide(filter_program(machine), ARCHITECTURES[foreign], 0) == "ENOSYS"


def test_machine_without_numbers_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="'riscv64'"):
        filter_program("riscv64")
