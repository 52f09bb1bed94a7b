# SPDX-License-Identifier: Apache-2.0
"""The settings of `reasoning.generate_reasoning`: what each generation, and what the whole data set depends on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from open_r1.data.card import Parent
from open_r1.generation.client import Patience
from open_r1.generation.messages import Sampling
from open_r1.generation.prompts import DEFAULT_TEMPLATE, PromptSettings


@dataclass(frozen=True)
class ReasoningSettings:
    """What to generate, from what, and where to.

    Attributes:
        dataset: Source of the rows, as of `open_source`; `config`, `split`, `revision` go with it.
        output_dir: Folder of the data set.
        prompts: Which columns make the prompts, and how.
        servers: Addresses of servers.
        model: Name of the model; None: the one that the servers serve.
        sampling: How completions are drawn.
        num_generations: Generations a row.
        limit: Rows to ask for; None: all.
        shuffle_seed: Seed of the order of asking (and of the choice, with a limit); None: as in the source.
        drop_columns: Columns that the output doesn't have.
        output_file: Also write the rows as JSON lines.
        max_concurrent: Requests in flight.
        patience: How long to go on when requests fail.
        wait_s: Seconds to wait for the first server.
        grace_s: Seconds for requests in flight after a signal.
        stop_after_errors: As of `run_requests`.
        retry_errors: Ask again for generations that failed.
        api_key: Bearer token.
        licence: Of the output; None: that of the source.
        overwrite: Replace what was made with other settings; what was begun with these goes on.
    """

    dataset: str
    output_dir: Path
    prompts: PromptSettings
    servers: Sequence[str]
    sampling: Sampling = field(default_factory=Sampling)
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    model: str | None = None
    num_generations: int = 1
    limit: int | None = None
    shuffle_seed: int | None = None
    drop_columns: Sequence[str] = ()
    output_file: Path | None = None
    max_concurrent: int = 256
    patience: Patience = field(default_factory=Patience)
    wait_s: float = 0.0
    grace_s: float = 10.0
    stop_after_errors: int = 100
    retry_errors: bool = False
    api_key: str | None = field(default=None, repr=False)
    licence: str | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, least in (("num_generations", 1), ("max_concurrent", 1), ("stop_after_errors", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}.")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}; it must be at least 1.")

    def of_a_generation(self, model: str, parent: Parent) -> dict[str, Any]:
        """What each generation depends on: others can't be mixed with it in one journal."""
        return {
            "model": model,
            **asdict(self.prompts),
            "template": self.prompts.template or (DEFAULT_TEMPLATE if self.prompts.prompt_column else None),
            **self.sampling.body(),
            "source": parent.identity(),
        }

    def of_the_rows(self, model: str, parent: Parent) -> dict[str, Any]:
        """What the data set depends on, the source apart, which its card names."""
        settings = self.of_a_generation(model, parent)
        del settings["source"]
        return {
            **settings,
            "num_generations": self.num_generations,
            "limit": self.limit,
            "shuffle_seed": self.shuffle_seed,
            "drop_columns": sorted(self.drop_columns),
        }
