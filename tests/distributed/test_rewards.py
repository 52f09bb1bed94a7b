# SPDX-License-Identifier: Apache-2.0
"""Rewards in two processes: a model whose rows are not shared evenly, and programs that no sandbox can judge."""

import json

import pandas as pd
import pytest

from tests.distributed.launching import NEEDS_DEEPSPEED, launch_forked, launch_words, train
from tests.distributed.trainings import COMMON, GRPO
from tests.integration.coders import OTHER_GOLD, PROBLEM, Outage, build_coder
from tests.integration.routers import serve
from tests.integration.tiny import build_reward_model, build_tiny, write_domains, write_rows

pytestmark = pytest.mark.distributed


@NEEDS_DEEPSPEED  # under ZeRO-3 processes also wait for each other's parts of a model
def test_process_without_rows_of_the_domain_waits_for_nobody(tmp_path):
    tiny = build_tiny(tmp_path)
    model = build_reward_model(tmp_path / "models" / "helpful")
    write_domains(tmp_path / "rows")
    # A process holds one group, so mostly the rows of one domain.
    settings = {
        **COMMON,
        "gradient_accumulation_steps": 1,
        "num_generations": 2,
        "max_steps": 6,
        "eval_strategy": "no",
        "save_strategy": "no",
        "model_name_or_path": str(tiny.model),
        "dataset_name": str(tmp_path / "rows"),
        "dataset_prompt_column": "problem",
        "max_completion_length": 16,
        "log_completions": True,
        "reward_funcs": ["accuracy", str(model), "tag_count"],
        "reward_domains": {"math": ["accuracy"], "chat": [str(model)]},
    }
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps(settings))
    train("zero3", GRPO, recipe, tmp_path / "run")
    rows = pd.concat(map(pd.read_parquet, (tmp_path / "run" / "rollouts").glob("train-*.parquet")))
    golds = rows["solution"].notna()
    assert 0 < golds.sum() < len(rows) == 6 * 4
    assert rows["helpful"].notna().equals(~golds)
    assert rows["accuracy_reward"].notna().equals(golds)


def test_sandbox_that_is_gone_for_both_processes_stops_them_after_two_batches(tmp_path):
    coder = build_coder(tmp_path / "coder")
    data = write_rows(tmp_path / "train.jsonl", [{**PROBLEM, "gold_standard_solution": OTHER_GOLD}] * 32)
    settings = {
        **COMMON, "gradient_accumulation_steps": 1, "per_device_train_batch_size": 4, "num_generations": 4,
        "max_steps": 6, "do_eval": False, "eval_strategy": "no", "eval_greedy": False, "save_strategy": "no",
        "model_name_or_path": str(coder.model), "dataset_name": str(data), "dataset_prompt_column": "problem",
        "max_completion_length": 48, "temperature": 0.5, "log_completions": True, "reward_funcs": ["code", "format"],
        "code_provider": "router",
    }  # fmt: skip
    recipe = tmp_path / "recipe.yaml"
    with serve(Outage(lambda program: OTHER_GOLD not in program)) as address:
        recipe.write_text(json.dumps({**settings, "sandbox_router_url": address}))
        words = launch_words(
            "ddp",
            GRPO,
            "--config",
            recipe,
            "--output_dir",
            tmp_path / "run",
            "--use_cpu",
            "true",
            options=["--num_processes", "2"],
        )
        ended = launch_forked(words)
    assert ended.exit_code != 0
    assert "the last two batches could be judged on any process" in ended.output
    rows = pd.concat(map(pd.read_parquet, (tmp_path / "run" / "rollouts").glob("train-*.parquet")))
    assert len(rows) == 8  # the first batch of both; the second one raised
    assert set(rows["advantage"]) == {0.0}
