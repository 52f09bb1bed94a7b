# SPDX-License-Identifier: Apache-2.0
"""Arguments of `scripts/compute_pass_rate.py` beside those of a GRPO recipe: the one home of their defaults."""

import logging
import math
import re
from dataclasses import dataclass

from open_r1.configs.fields import setting

logger = logging.getLogger(__name__)


@dataclass
class PassRateParameters:
    """Which rows are asked, by whom, and which are kept; all may stand in the recipe."""

    output_dataset_name: str | None = setting(
        None,
        "Name of the data set on the hub (for --push_to_hub); without --output_dir its last part names "
        "the folder below data/. Default: <dataset>-<model>-<revision>-gen.",
    )
    pass_rate_min: float = setting(0.1, "Keep rows with at least this pass rate.")
    pass_rate_max: float = setting(0.9, "Keep rows with at most this pass rate.")
    pass_rate_reward: str | None = setting(
        None,
        "The reward that the bounds act on, as `reward_funcs` names it; default: all, combined by "
        "`reward_weights` as in training.",
    )
    dataset_start_index: int | None = setting(None, "First row of this shard, from 0.", aliases=["--start"])
    dataset_end_index: int | None = setting(None, "Row behind the last one of this shard.", aliases=["--end"])
    dataset_shard: str | None = setting(
        None,
        "I/N: one of N equal shards, in place of --start and --end: 0/8 is the first of eight.",
        aliases=["--shard"],
    )
    dataset_split: str | None = setting(
        None, "Split, or slice of one, to ask; default: the recipe's `dataset_train_split` (train)."
    )
    server: list[str] | None = setting(
        None,
        "OpenAI-compatible servers that complete token ids (vllm serve), host:port or URL, several are "
        "balanced. Default: vLLM in this process.",
    )
    serve: bool = setting(False, "Start `vllm serve` here (from .venv-serving, if need be), and stop it.")
    serve_args: str = setting("", "With `serve`: more arguments for vLLM, as one text: '--max-num-seqs 512'.")
    server_model: str | None = setting(
        None, "Name under which the servers serve the model; default: the one they serve."
    )
    server_api_key_env: str = setting("OPENAI_API_KEY", "Environment variable with the key of the servers, if any.")
    max_concurrent: int = setting(256, "Requests in flight, to all servers or within vLLM in this process.")
    retries: int = setting(9, "How often a failed request is sent to the servers again.")
    gpu_memory_utilization: float = setting(
        0.9, "vLLM here, served or in this process: share of the GPU's memory, in (0, 1]."
    )
    tensor_parallel_size: int = setting(1, "vLLM here: GPUs for one model.")
    max_model_len: int | None = setting(
        None, "Tokens of prompt and completion together; longer prompts aren't asked. Default: the model's."
    )
    enforce_eager: bool = setting(False, "vLLM here: start sooner, without compiling.")

    def check(self) -> None:
        """Raise a ValueError where a value is out of its range."""
        for name in ("pass_rate_min", "pass_rate_max"):
            if not math.isfinite(vars(self)[name]):
                raise ValueError(f"`{name}` is {vars(self)[name]}: it must be a number.")
        if self.pass_rate_min > self.pass_rate_max:
            raise ValueError(
                f"`pass_rate_min` {self.pass_rate_min} is above `pass_rate_max` {self.pass_rate_max}: no row could be "
                "kept."
            )
        if self.serve and self.server is not None:
            raise ValueError("`serve` starts a server here, and `server` names others: leave one of them out.")
        if self.serve_args and not self.serve:
            raise ValueError("`serve_args` is for `serve`.")
        start, end = self.dataset_start_index or 0, self.dataset_end_index
        if start < 0 or (end is not None and end <= start):
            raise ValueError(
                f"Rows {start} to {end} (--start, --end) are none: count from 0, the end is behind the last."
            )
        if self.dataset_shard is not None:
            if (self.dataset_start_index, self.dataset_end_index) != (None, None):
                raise ValueError("--shard and --start, --end all choose rows: give one of them.")
            _number_of(self.dataset_shard)
        for name, lowest in (("max_concurrent", 1), ("tensor_parallel_size", 1), ("retries", 0), ("max_model_len", 2)):
            value = vars(self)[name]
            if value is not None and value < lowest:
                raise ValueError(f"`{name}` is {value}: it must be at least {lowest}.")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ValueError(f"`gpu_memory_utilization` is {self.gpu_memory_utilization}: it is a share, in (0, 1].")

    def rows(self, num_rows: int) -> tuple[int, int]:
        """Return the first row of this shard, and the row behind its last one.

        Args:
            num_rows: Rows of the whole split.

        Raises:
            ValueError: None of them is in the shard.
        """
        if self.dataset_shard is not None:
            number, count = _number_of(self.dataset_shard)
            if count > num_rows:
                raise ValueError(f"--shard is {self.dataset_shard}, but the split has only {num_rows} rows.")
            return num_rows * number // count, num_rows * (number + 1) // count
        start, end = self.dataset_start_index or 0, self.dataset_end_index
        if start >= num_rows:
            raise ValueError(f"--start is {start}, but the split has {num_rows} rows, counted from 0.")
        if end is not None and end > num_rows:
            logger.info("The last shard ends with the last row, %d instead of %d.", num_rows, end)
        return start, min(num_rows, end if end is not None else num_rows)


def _number_of(shard: str) -> tuple[int, int]:
    """Return number and count of a shard `i/n`."""
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if match is None or not int(match[1]) < int(match[2]):
        raise ValueError(f"--shard is {shard!r}: write 0/8 for the first of eight, 7/8 for the last.")
    return int(match[1]), int(match[2])
