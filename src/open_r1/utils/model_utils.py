# SPDX-License-Identifier: Apache-2.0
"""Where Open R1's users import these from."""

from open_r1.models import get_model as get_model
from open_r1.models import get_tokenizer as get_tokenizer
