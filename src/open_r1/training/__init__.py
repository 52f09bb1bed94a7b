# SPDX-License-Identifier: Apache-2.0
"""A run from start to end: trainers, checkpoints, callbacks, trackers, the hub."""
