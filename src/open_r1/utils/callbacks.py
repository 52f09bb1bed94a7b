# SPDX-License-Identifier: Apache-2.0
"""Callbacks under Open R1's import path."""

from open_r1.training.callbacks import CALLBACKS as CALLBACKS
from open_r1.training.callbacks import PushToHubRevisionCallback as PushToHubRevisionCallback
from open_r1.training.callbacks import get_callbacks as get_callbacks
