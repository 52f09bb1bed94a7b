# SPDX-License-Identifier: Apache-2.0
"""Boxes on this machine: one for each submission, two for a communication task, gone afterwards.

`sandbox` the provider · `setup` which isolation holds here, by a probe · `bwrap` with namespaces · `landlock` without
· `seccomp` system calls · `cgroups` memory and processes · `interpreter` what runs programs · `box` one box, one
program · `../harness` what runs inside.

What is covered, by either mechanism, and as root too, who becomes another user first:
- the network and all sockets;
- files outside, to read and to write, but for the system's programs and libraries;
- environment, memory, descriptors and signals of all other processes, the driver's and ours;
- privileges and namespaces;
- memory, CPU time, number and output of a whole tree of processes, and what it writes;
- what it leaves behind, for the next run or for later. Expected outputs are never in a box;
- what others do: a program or a driver that is killed from outside, or since the trainer's own group or the machine
  has no memory left, is run once more in a new box, and then a `SandboxError`; a time in which the job was suspended
  doesn't count; a folder for boxes that is full or can't start programs is refused.

What is not covered:
- holes in the kernel (a virtual machine is the answer to those: run the trainer in one, or take a provider that does);
- side channels such as timing and shared caches; programs that slow each other down (limits count CPU time);
- how the system's folders look, and what `/proc` tells of the machine. The interpreter's folder can be read: keep no
  secrets there;
- where no control groups can be made (`describe` says so), memory that belongs to no process, such as data that waits
  in sockets, and up to twice the limit for a twentieth of a second, since a program that starts another shows its
  memory twice for a moment. A verdict doesn't depend on groups: calls, descriptors and shared memory are the same;
- CPU time of processes whose parents ignore how they end, beyond ten looks a second: what short ones burn may go
  uncounted, up to the limit on the clock;
- a program that is killed twice from outside, with memory left: nobody can tell it from one that kills itself, so
  it's a runtime error;
- calls that only slow the machine (`sync`, `ioprio_set`) or watch files (`inotify`);
- after a kill -9 of a trainer, empty control groups and folders named `open_r1_box_*` stay until they are removed;
- what `landlock` says of its own.
"""

from open_r1.sandbox.local.sandbox import LocalSandbox

__all__ = ["LocalSandbox"]
