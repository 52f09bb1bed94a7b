# SPDX-License-Identifier: Apache-2.0
"""Boxes on this machine: one for each submission, two for a communication task, gone afterwards.

    sandbox = LocalSandbox()
    run_all([RunRequest("python", {"main.py": "print(int(input()) + 1)"}, (ProgramInput("1"),))], sandbox)

`box` the provider: starts boxes, talks to them, ends them · `setup` finds which isolation holds here, by a probe ·
`session` keeps a box for the calls of a tool · `bwrap` with namespaces · `landlock` without · `seccomp` system calls ·
`cgroups` memory and processes · `interpreter` what runs programs · `../harness` what runs inside.

What is covered, by either mechanism, as root (who becomes another user first) and as an ordinary user. Names are those
of attacks in tests/integration/attack_table.py, each of which has to succeed outside of a box, or of tests:
- the network and all sockets: `network`;
- files outside, to read and to write, but for the system's programs and libraries: `key_files`, `writing_outside`,
  `secret_in_source`, `secret_in_binary`, `output_file`;
- environment, memory, descriptors and signals of all other processes, the driver's and ours: `parent_secrets`,
  `foreign_signals`, `driver_attack`, `result_channel`;
- privileges and namespaces: `privileges`;
- memory of a whole tree of processes: `memory_bomb`, `memory_tree`, `memory_chain`, `memory_in_files`;
- CPU time of a whole tree, and of compilers: `cpu_loop`, `cpu_children`, `template_bomb`; time in which it waits:
  `sleeping`, `stopping`, `waiting_source`, `idle_source`;
- CPU time of a whole submission, compilers too, as `RunRequest.total_cpu_s` says:
  `test_all_runs_of_a_submission_share_its_cpu_seconds`;
- number of processes: `fork_bomb`, `thread_bomb`; output, files: `flood_stdout`, `disk`, `many_files`, `huge_binary`;
- what it leaves behind, for the next run or for later: `next_tests`, `planting`, `daemons`. Expected outputs are never
  in a box;
- the end of the trainer: `test_a_killed_parent_leaves_no_process`;
- what others do (tests/integration/test_sandbox_outages.py): a program or a driver that is killed from outside, or
  since the trainer's own group or the machine has no memory left, is run once more in a new box, and then a
  `SandboxError`; a time in which the job was suspended doesn't count; a folder for boxes that is full or can't start
  programs is refused.

What is not covered:
- holes in the kernel (a virtual machine is the answer to those: run the trainer in one, or take a provider that does);
- side channels such as timing and shared caches; programs that slow each other down (limits count CPU time);
- how the system's folders look, and what `/proc` tells of the machine. The interpreter's folder can be read: keep no
  secrets there;
- where no control groups can be made (`describe` says so), memory that belongs to no process, such as data that waits
  in sockets (`memory_hidden`) or in files, up to 256 MiB; and up to twice the limit for a twentieth of a second, since
  a program that starts another shows its memory twice for a moment;
- more than twice the CPU limit and a second of processes whose parents ignore how they end: the kernel counts those
  for nobody, and they are estimated ten times a second;
- attributes and times of the box's own folder, by which a run can leave a mark for the next one of its submission;
- a program that is killed twice from outside, with memory left: nobody can tell it from one that kills itself, so
  it's a runtime error;
- calls that only slow the machine (`sync`, `ioprio_set`) or watch files (`inotify`);
- after a kill -9 of a trainer, empty control groups and folders named `open_r1_box_*` stay until they are removed;
- what `landlock` says of its own.
"""

from open_r1.sandbox.local.box import LocalSandbox

__all__ = ["LocalSandbox"]
