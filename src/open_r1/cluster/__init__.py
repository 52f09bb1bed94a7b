# SPDX-License-Identifier: Apache-2.0
"""The life of a Slurm job: what it starts on which node, what it waits for, how it ends and goes on.

    slurm/train.slurm       directives, and two lines that hand over to this package
    train.py, serve.py...   what a job runs: from a command line to steps
    supervisor.py           starts and watches them; time limits, signals, requeue

1. Nothing here needs torch: a job's supervisor starts in a moment and costs nothing beside the training.
2. Commands are lists of words from end to end; Open R1's scripts glue them into strings that a shell splits again.
"""
