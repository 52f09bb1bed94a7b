# SPDX-License-Identifier: Apache-2.0
"""Where Open R1's users import this from."""

from open_r1.data.training_rows import get_dataset as get_dataset
