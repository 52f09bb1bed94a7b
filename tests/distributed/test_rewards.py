# SPDX-License-Identifier: Apache-2.0
"""A reward model behind the router, where the processes have different numbers of rows for it."""

import json

import pandas as pd
import pytest

from tests.distributed.launching import NEEDS_DEEPSPEED, train
from tests.distributed.trainings import COMMON, GRPO
from tests.integration.tiny import build_reward_model, build_tiny, write_domains

pytestmark = pytest.mark.distributed


@pytest.mark.parametrize("config", ["ddp", pytest.param("zero3", marks=NEEDS_DEEPSPEED)])
def test_process_without_rows_of_the_domain_waits_for_nobody(config, tmp_path):
    tiny = build_tiny(tmp_path)
    model = build_reward_model(tmp_path / "models" / "helpful")
    write_domains(tmp_path / "rows")
    # A process holds one group, so mostly the rows of one domain.
    settings = {
        **COMMON, "gradient_accumulation_steps": 1, "num_generations": 2, "max_steps": 6, "eval_strategy": "no",
        "save_strategy": "no", "model_name_or_path": str(tiny.model), "dataset_name": str(tmp_path / "rows"),
        "dataset_prompt_column": "problem", "max_completion_length": 16, "log_completions": True,
        "reward_funcs": ["accuracy", str(model), "tag_count"],
        "reward_domains": {"math": ["accuracy"], "chat": [str(model)]},
    }  # fmt: skip
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(settings))
    train(config, GRPO, recipe, tmp_path / "run")
    rows = pd.concat(map(pd.read_parquet, (tmp_path / "run" / "rollouts").glob("train-*.parquet")))
    golds = rows["solution"].notna()
    assert 0 < golds.sum() < len(rows) == 6 * 4
    assert rows["helpful"].notna().equals(~golds)
    assert rows["accuracy_reward"].notna().equals(golds)
