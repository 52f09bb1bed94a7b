# SPDX-License-Identifier: Apache-2.0
"""The filter of system calls, decided by an interpreter of its instructions; the real kernel has it in integration."""

import errno
import struct

import pytest

from open_r1.sandbox.local.seccomp import filter_program

X86, ARM, X86_32 = 0xC000003E, 0xC00000B7, 0x40000003
ALLOWED, REFUSED, UNKNOWN, UNSUPPORTED = "allowed", "EPERM", "ENOSYS", "EOPNOTSUPP"
UNIX, INTERNET, STREAM, DATAGRAM, CLOSE_ON_EXEC = 1, 2, 1, 2, 0o2000000


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
            errors = {errno.EPERM: REFUSED, errno.ENOSYS: UNKNOWN, errno.EOPNOTSUPP: UNSUPPORTED}
            return ALLOWED if constant == 0x7FFF0000 else errors[constant - 0x50000]
        else:
            truths = {0x15: accumulator == constant, 0x25: accumulator > constant, 0x45: bool(accumulator & constant)}
            place += if_true if truths[code] else if_false


@pytest.mark.parametrize(
    ("number", "arguments", "expected"),
    [
        (0, (), ALLOWED),  # read
        (59, (), ALLOWED),  # execve
        (202, (), ALLOWED),  # futex
        (41, (UNIX, STREAM), REFUSED),  # socket
        (42, (), REFUSED),  # connect
        (53, (UNIX, STREAM), ALLOWED),  # socketpair
        (53, (UNIX, STREAM | CLOSE_ON_EXEC), ALLOWED),
        (53, (UNIX, DATAGRAM), REFUSED),
        (53, (UNIX, DATAGRAM | CLOSE_ON_EXEC), REFUSED),
        (53, (INTERNET, STREAM), REFUSED),
        (101, (), REFUSED),  # ptrace
        (250, (), REFUSED),  # keyctl
        (70, (), REFUSED),  # msgrcv
        (65, (), REFUSED),  # semop
        (319, (), REFUSED),  # memfd_create
        (56, (0x11,), ALLOWED),  # clone as fork does
        (56, (0x3D0F00,), ALLOWED),  # clone as a thread does
        (56, (0x10000011,), REFUSED),  # with CLONE_NEWUSER
        (56, (0x40000011,), REFUSED),  # with CLONE_NEWNET
        (56, (0x00020011,), REFUSED),  # with CLONE_NEWNS
        (435, (), UNKNOWN),  # clone3
        (16, (0, 0x5401), ALLOWED),  # ioctl TCGETS
        (16, (0, 0x5412), REFUSED),  # TIOCSTI
        (16, (0, 0x100005412), REFUSED),  # TIOCSTI for a kernel that looks at 32 bits
        (302, (0, 7), ALLOWED),  # prlimit64 of one's own
        (302, (1, 7), REFUSED),
        (141, (0, 0, 5), ALLOWED),  # setpriority of one's own
        (141, (0, 7, 5), REFUSED),
        (141, (2, 0, 5), REFUSED),  # of all processes of the user
        (62, (7, 9), ALLOWED),  # kill
        (54, (3, 1, 7), ALLOWED),  # setsockopt SO_SNDBUF
        (278, (), REFUSED),  # vmsplice
        (9, (0, 4096, 3, 0x21), ALLOWED),  # mmap, shared without a file
        (285, (), ALLOWED),  # fallocate
        (72, (3, 4), ALLOWED),  # fcntl F_SETFL
        (72, (3, 1031), REFUSED),  # F_SETPIPE_SZ
        (470, (), UNKNOWN),
        (0x40000000 | 41, (UNIX, STREAM), UNKNOWN),  # socket of x32
        (-1, (), UNKNOWN),
    ],
)
def test_call_on_x86_64_is_decided_by_its_number_and_arguments(
    number: int, arguments: tuple[int, ...], expected: str
) -> None:
    assert decide(filter_program("x86_64"), X86, number, *arguments) == expected


@pytest.mark.parametrize(
    ("number", "arguments", "expected"),
    [
        (63, (), ALLOWED),  # read
        (198, (UNIX, STREAM), REFUSED),  # socket
        (199, (UNIX, STREAM), ALLOWED),  # socketpair
        (199, (UNIX, DATAGRAM), REFUSED),
        (117, (), REFUSED),  # ptrace
        (220, (0x11,), ALLOWED),  # clone
        (220, (0x10000011,), REFUSED),
        (435, (), UNKNOWN),  # clone3
        (172, (), ALLOWED),  # getpid, which is iopl on x86_64
    ],
)
def test_call_on_aarch64_is_decided_by_its_number_and_arguments(
    number: int, arguments: tuple[int, ...], expected: str
) -> None:
    assert decide(filter_program("aarch64"), ARM, number, *arguments) == expected


@pytest.mark.parametrize(("machine", "foreign"), [("x86_64", X86_32), ("x86_64", ARM), ("aarch64", X86)])
def test_foreign_architecture_has_no_calls(machine: str, foreign: int) -> None:
    assert decide(filter_program(machine), foreign, 0) == UNKNOWN


@pytest.mark.parametrize(
    ("number", "arguments", "expected"),
    [
        (62, (0, 15), ALLOWED),  # kill one's own group
        (62, (7, 15), REFUSED),
        (62, (-1, 9), REFUSED),
        (234, (7, 7, 9), REFUSED),  # tgkill
        (424, (), REFUSED),  # pidfd_send_signal
        (72, (3, 4), ALLOWED),  # fcntl F_SETFL
        (72, (3, 8, 7), REFUSED),  # F_SETOWN
    ],
)
def test_signals_to_others_are_refused_where_the_filter_must_confine_them(
    number: int, arguments: tuple[int, ...], expected: str
) -> None:
    assert decide(filter_program("x86_64", confines_signals=True), X86, number, *arguments) == expected


@pytest.mark.parametrize(
    ("number", "arguments", "expected"),
    [
        (90, (), REFUSED),  # chmod
        (260, (), REFUSED),  # fchownat
        (280, (), REFUSED),  # utimensat
        (188, (), REFUSED),  # setxattr
        (16, (0, 0x5401), ALLOWED),  # ioctl TCGETS
        (16, (0, 0x541B), ALLOWED),  # FIONREAD
        (16, (0, 0x5412), REFUSED),  # TIOCSTI
        (16, (0, 0x40086602), REFUSED),  # FS_IOC_SETFLAGS
        (157, (4, 0), REFUSED),  # prctl PR_SET_DUMPABLE
        (157, (15, 0), ALLOWED),  # PR_SET_NAME
        (285, (), UNSUPPORTED),  # fallocate: the C library then writes
        (87, (), ALLOWED),  # unlink, of which Landlock knows
    ],
)
def test_attributes_of_files_are_left_alone_where_no_mounts_hide_others(
    number: int, arguments: tuple[int, ...], expected: str
) -> None:
    assert decide(filter_program("x86_64", without_mounts=True), X86, number, *arguments) == expected
    assert decide(filter_program("x86_64", without_mounts=True, confines_signals=True), X86, 62, -1, 9) == REFUSED


def test_machine_without_numbers_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="'riscv64'"):
        filter_program("riscv64")
