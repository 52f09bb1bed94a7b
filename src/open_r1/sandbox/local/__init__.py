# SPDX-License-Identifier: Apache-2.0
"""Boxes on this machine: one for each submission, two for a communication task, gone afterwards.

`sandbox` the provider · `setup` which isolation holds here, by a probe · `bwrap` with namespaces · `landlock` without
· `seccomp` system calls · `cgroups` memory and processes · `interpreter` what runs programs · `box` one box, one
program · `../harness` what runs inside.

What is covered, by either mechanism, and as root too, who becomes another user first: the network and all sockets;
files outside, to read and to write, but for the system's programs and libraries; the environment, memory, descriptors
and signals of all other processes, the driver's and ours; privileges and namespaces; memory, CPU time, number and
output of a whole tree of processes, and what it writes; what it leaves behind, for the next run or for later. Expected
outputs are never in a box. A program that ends its box has failed; where we lose one, the run is repeated.

What is not, where no control groups can be made (`describe` says so): memory that belongs to no process, such as data
that waits in sockets and shared pages that no process maps at the moment; elsewhere it is limited too. A program's
verdict doesn't depend on that: calls, descriptors and shared memory are the same with and without control groups.

Nor: holes in the kernel (a virtual machine is the answer to those: run the trainer in one, or take a provider
that does); side channels such as timing and shared caches; programs that slow each other down (limits count CPU time);
how the system's folders look, and what `/proc` tells of the machine; what `landlock` says of its own. CPU time of
processes whose parents ignore how they end is seen by ten looks a second only: what short ones burn may go uncounted,
up to the limit on the clock. The interpreter's folder can be read: keep no secrets there.
"""

from open_r1.sandbox.local.sandbox import LocalSandbox

__all__ = ["LocalSandbox"]
