# SPDX-License-Identifier: Apache-2.0
"""Import paths of Open R1."""

from open_r1.data.training_rows import get_dataset as get_dataset
