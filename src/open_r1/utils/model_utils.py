# SPDX-License-Identifier: Apache-2.0
"""Import paths of Open R1."""

from open_r1.models import get_model as get_model
from open_r1.models import get_tokenizer as get_tokenizer
