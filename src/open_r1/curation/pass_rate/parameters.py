# SPDX-License-Identifier: Apache-2.0
"""Arguments of `scripts/compute_pass_rate.py` beside those of a GRPO recipe: the one home of their defaults."""

import math
from dataclasses import dataclass, field


@dataclass
class PassRateParameters:
    """Which rows are asked, by whom, and which are kept; all may stand in the recipe."""

    output_dataset_name: str | None = field(
        default=None,
        metadata={
            "help": "Name of the data set on the hub (for --push_to_hub); without --output_dir its last part names "
            "the folder below data/. Default: <dataset>-<model>-<revision>-gen."
        },
    )
    pass_rate_min: float = field(default=0.1, metadata={"help": "Keep rows with at least this pass rate."})
    pass_rate_max: float = field(default=0.9, metadata={"help": "Keep rows with at most this pass rate."})
    pass_rate_reward: str | None = field(
        default=None,
        metadata={
            "help": "The reward that the bounds act on, as `reward_funcs` names it; default: all, combined by "
            "`reward_weights` as in training."
        },
    )
    dataset_start_index: int | None = field(
        default=None, metadata={"aliases": ["--start"], "help": "First row of this shard, from 0."}
    )
    dataset_end_index: int | None = field(
        default=None, metadata={"aliases": ["--end"], "help": "Row behind the last one of this shard."}
    )
    dataset_split: str | None = field(
        default=None,
        metadata={"help": "Split, or slice of one, to ask; default: the recipe's `dataset_train_split` (train)."},
    )
    server: list[str] | None = field(
        default=None,
        metadata={
            "help": "OpenAI-compatible servers that complete token ids (vllm serve), host:port or URL, several are "
            "balanced. Default: vLLM in this process."
        },
    )
    serve: bool = field(
        default=False, metadata={"help": "Start `vllm serve` here (from .venv-serving, if need be), and stop it."}
    )
    serve_args: str = field(
        default="", metadata={"help": "With `serve`: more arguments for vLLM, as one text: '--max-num-seqs 512'."}
    )
    server_model: str | None = field(
        default=None, metadata={"help": "Name under which the servers serve the model; default: the one they serve."}
    )
    server_api_key_env: str = field(
        default="OPENAI_API_KEY", metadata={"help": "Environment variable with the key of the servers, if any."}
    )
    max_concurrent: int = field(
        default=256, metadata={"help": "Requests in flight, to all servers or within vLLM in this process."}
    )
    retries: int = field(default=9, metadata={"help": "How often a failed request is sent to the servers again."})
    gpu_memory_utilization: float = field(
        default=0.9, metadata={"help": "vLLM here, served or in this process: share of the GPU's memory, in (0, 1]."}
    )
    tensor_parallel_size: int = field(default=1, metadata={"help": "vLLM here: GPUs for one model."})
    max_model_len: int | None = field(
        default=None,
        metadata={
            "help": "Tokens of prompt and completion together; longer prompts aren't asked. Default: the model's."
        },
    )
    enforce_eager: bool = field(default=False, metadata={"help": "vLLM here: start sooner, without compiling."})

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
        for name, lowest in (("max_concurrent", 1), ("tensor_parallel_size", 1), ("retries", 0), ("max_model_len", 2)):
            value = vars(self)[name]
            if value is not None and value < lowest:
                raise ValueError(f"`{name}` is {value}: it must be at least {lowest}.")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ValueError(f"`gpu_memory_utilization` is {self.gpu_memory_utilization}: it is a share, in (0, 1].")
