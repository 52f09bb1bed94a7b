# SPDX-License-Identifier: Apache-2.0
"""Where Open R1's users import this from."""

from open_r1.training.tracking import init_wandb_training as init_wandb_training
