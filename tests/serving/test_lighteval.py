# SPDX-License-Identifier: Apache-2.0
"""`scripts/lighteval.sh` in lighteval's own environment, made here once; by transformers, which needs no GPU."""

import json
import os
import subprocess

import pytest

from tests.conftest import ROOT
from tests.integration.tiny import build_tiny

pytestmark = pytest.mark.serving

TASKS = """
from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

TASKS_TABLE = [
    LightevalTaskConfig(
        name="sums",
        prompt_function=lambda line, task_name: Doc(line["problem"], [line["answer"]], 0, task_name=task_name),
        hf_repo="rows",
        hf_subset="default",
        hf_avail_splits=["test"],
        evaluation_splits=["test"],
        metrics=[Metrics.exact_match],
    )
]
"""


def test_lighteval_answers_a_task_and_writes_its_results(tmp_path):
    model = build_tiny(tmp_path / "tiny").model
    settings = model / "tokenizer_config.json"  # lighteval has transformers 4, which knows no TokenizersBackend
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "rows").mkdir()
    rows = [{"problem": f"{number}+1=", "answer": str(number + 1)} for number in range(3)]
    (tmp_path / "rows" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run(
        [ROOT / "scripts" / "lighteval.sh", model, "sums", "--custom-tasks", "tasks.py", "--save-details"],
        cwd=tmp_path,
        env=os.environ | {"BACKEND": "accelerate", "MAX_TOKENS": "8", "HF_HUB_OFFLINE": "1"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (results,) = (tmp_path / "data" / "evals").rglob("results_*.json")
    assert 0 <= json.loads(results.read_text())["results"]["sums|0"]["em"] <= 1
    assert len(list((tmp_path / "data" / "evals").rglob("details_*.parquet"))) == 1
