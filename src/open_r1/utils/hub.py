# SPDX-License-Identifier: Apache-2.0
"""Where Open R1's users import pushes to the hub from."""

from open_r1.training.hub import check_hub_revision_exists as check_hub_revision_exists
from open_r1.training.hub import push_to_hub_revision as push_to_hub_revision
