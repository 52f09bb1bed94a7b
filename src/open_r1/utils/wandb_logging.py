# SPDX-License-Identifier: Apache-2.0
"""Import paths of Open R1."""

from open_r1.training.tracking import init_wandb_training as init_wandb_training
