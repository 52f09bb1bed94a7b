# SPDX-License-Identifier: Apache-2.0
"""The journey of a row: files whose functions run from a recipe to the rewards of the demo's first GRPO step."""

import sys
import threading
from pathlib import Path

import open_r1
from open_r1 import grpo
from open_r1.arguments import parse_args
from open_r1.configs import GRPOConfig, GRPOScriptArguments
from tests.integration.tiny import build_tiny

ROOT = f"{Path(open_r1.__file__).parent}/"
RECIPE = Path(__file__).parents[2] / "recipes" / "demo" / "grpo" / "config_demo.yaml"
ROWS = "data/training_rows.py"


def test_row_reaches_its_reward_through_few_files(tmp_path):
    files: set[str] = set()
    entered: list[str] = []  # functions of ROWS that other files call

    def note(frame, event, argument):
        path = frame.f_code.co_filename
        if not path.startswith(ROOT):
            return
        function = frame.f_code.co_name
        if event == "return" and function == "_calculate_rewards":
            sys.setprofile(None)
            threading.setprofile(None)
        if event != "call" or function == "<module>":
            return
        files.add(path.removeprefix(ROOT))
        caller = frame.f_back.f_code.co_filename if frame.f_back else ""
        if path == ROOT + ROWS and caller.startswith(ROOT) and caller != path:
            entered.append(function)

    words = ["--config", str(RECIPE), "--model_name_or_path", str(build_tiny(tmp_path).model)]
    words += ["--output_dir", str(tmp_path / "out"), "--dataset_train_split", "train[:16]", "--max_steps", "1"]
    words += ["--per_device_train_batch_size", "8", "--gradient_accumulation_steps", "1"]
    words += ["--max_completion_length", "8", "--do_eval", "false", "--eval_on_start", "false", "--report", "false"]
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        grpo.main(*parse_args(GRPOScriptArguments, GRPOConfig, words))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert {"arguments.py", ROWS, "rewards/table.py", "rewards/math_rewards.py"} <= files
    assert len([name for name in files if not name.startswith("rewards/verifier/")]) <= 45
    assert entered == [
        "get_dataset",
        "require_split",
        "to_conversations",
        "drop_null_rows",
        "drop_null_rows",
        "drop_long_prompts",
    ]
