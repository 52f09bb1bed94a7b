# SPDX-License-Identifier: Apache-2.0
"""Recipes of Open R1 keep its values, or say beside the key why not."""

import shutil
from pathlib import Path

import pytest
import yaml

from open_r1.recipes import load_recipe
from scripts.upstream_differences import BEGIN, END, differences, main, reason_beside

ROOT = Path(__file__).resolve().parents[2]
DEMO = "Qwen2.5-1.5B-Instruct/grpo/config_demo.yaml"


@pytest.fixture
def recipes(tmp_path) -> Path:
    """A folder with one recipe, what Open R1 set in it, and a page without a table."""
    upstream = load_recipe(ROOT / "recipes" / "upstream.yaml")
    upstream["recipes"] = {DEMO: upstream["recipes"][DEMO]}
    (tmp_path / "upstream.yaml").write_text(yaml.safe_dump(upstream), encoding="utf-8")
    (tmp_path / DEMO).parent.mkdir(parents=True)
    shutil.copy(ROOT / "recipes" / DEMO, tmp_path / DEMO)
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\n{END}\nafter\n", encoding="utf-8")
    return tmp_path


def test_table_of_differences_is_current():
    assert main(["--check"]) == 0


def test_table_is_written_between_its_marks_and_checked(recipes):
    assert main(["--check"], recipes) == 1
    assert main(["--write"], recipes) == 0
    assert main(["--check"], recipes) == 0
    page = (recipes / "README.md").read_text(encoding="utf-8")
    assert page.startswith(f"before\n{BEGIN}\n")
    assert page.endswith(f"\n{END}\nafter\n")
    assert "| `learning_rate` | `2.0e-05` | `1.0e-06` |" in page


def test_difference_without_a_comment_is_refused(recipes, capsys):
    path = recipes / DEMO
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("epsilon: 0.2\n", "epsilon: 0.3\n"), encoding="utf-8")
    assert main([], recipes) == 1
    output = capsys.readouterr()
    assert f"{DEMO}: epsilon" in output.err
    assert output.out == ""


def test_recipe_of_open_r1_that_is_missing_is_refused(recipes, capsys):
    (recipes / DEMO).unlink()
    assert main([], recipes) == 1
    assert DEMO in capsys.readouterr().err


def test_key_that_the_recipe_leaves_out_is_a_difference(recipes, capsys):
    path = recipes / DEMO
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("num_train_epochs: 1\n", ""), encoding="utf-8")
    assert main([], recipes) == 1
    assert f"{DEMO}: num_train_epochs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"warmup_ratio": 0.1}, {"warmup_steps": 0.1}),
        ({"torch_dtype": "bfloat16"}, {"dtype": "bfloat16"}),
        ({"overwrite_output_dir": True, "vllm_device": "auto"}, {}),
        ({"scale_rewards": False}, {"scale_rewards": "none"}),
        ({"report_to": ["wandb"]}, {"report_to": "wandb"}),
        ({"num_generations": 16}, {"num_generations": 16.0}),
    ],
)
def test_other_spelling_is_no_difference(old, new):
    upstream = {"by_default": {"grpo": {}}, "common": {"grpo": {}}, "recipes": {"a/grpo/b.yaml": old}}
    assert differences(upstream, "a/grpo/b.yaml", new) == []


def test_default_of_then_counts_also_where_the_recipe_leaves_it_out():
    # Left out, a key would take the default of today.
    upstream = {"by_default": {"grpo": {"beta": 0.04}}, "common": {"grpo": {}}, "recipes": {"a/grpo/b.yaml": {}}}
    assert differences(upstream, "a/grpo/b.yaml", {"beta": 0.04}) == []
    assert [key for key, _, _ in differences(upstream, "a/grpo/b.yaml", {})] == ["beta"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\nbeta: 0  # beside\n", "beside"),
        ("\nseed: 1\n# two\n# lines\nbeta: 0\n", "two lines"),
        ("\n# Heading\n# above\nbeta: 0\n", "above"),
        ("\n# Heading\nbeta: 0\n", ""),
        ("\nseed: 1  # of the seed\nbeta: 0\n", ""),
    ],
)
def test_reason_is_the_comment_beside_or_above(text, reason):
    assert reason_beside("beta", text) == reason
