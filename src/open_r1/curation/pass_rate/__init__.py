# SPDX-License-Identifier: Apache-2.0
"""How often a model solves each row: k completions, the rewards of a GRPO recipe, rows between two bounds.

Merging and `--help` need no torch; `arguments` and `recipe`, which read a GRPO recipe, do.

What differs from upstream's compute_pass_rate:
1. Values of several rewards stay apart and are combined with the recipe's weights; upstream reshapes them into one
   another and ignores the weights.
2. Bounds are inclusive. A reward's None (it doesn't apply) is left out of the mean; a failure of ours (NaN) is tried
   again and makes the row unscorable, never a 0.
3. No row is lost: the data set has all rows, with the reason where one could not be asked or judged. The kept ones
   are its configuration `pass_rate`, which has the rates without the texts of the completions.
4. Prompts reach the model as token ids of the recipe's template, so that no BOS is doubled.
"""

from open_r1.curation.pass_rate.merging import merge_shards, shard_folder
from open_r1.curation.pass_rate.parameters import PassRateParameters
from open_r1.curation.pass_rate.rates import Rates, Status
from open_r1.curation.pass_rate.run import PassRateRun, run_pass_rate

__all__ = ["PassRateParameters", "PassRateRun", "Rates", "Status", "merge_shards", "run_pass_rate", "shard_folder"]
