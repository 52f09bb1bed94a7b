# SPDX-License-Identifier: Apache-2.0
"""Where Open R1's users import the callbacks from."""

from open_r1.training.callbacks import CALLBACKS as CALLBACKS
from open_r1.training.callbacks import PushToHubRevisionCallback as PushToHubRevisionCallback
from open_r1.training.callbacks import get_callbacks as get_callbacks
