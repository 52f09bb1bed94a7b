# SPDX-License-Identifier: Apache-2.0
"""What job scripts (slurm/) can't say in bash: whether a recipe fits the nodes, GPUs of a copy, submission.

1. Nothing here needs torch, so that a job begins in a moment.
"""
