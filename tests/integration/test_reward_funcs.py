# SPDX-License-Identifier: Apache-2.0
"""Rewards of every kind in real runs: a reward model, a function of one's own, summaries, the router."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import Qwen3ForCausalLM, Qwen3ForSequenceClassification

from open_r1.configs import GRPOConfig
from open_r1.reward_models import check_reward_model, load_reward_model
from open_r1.rewards.user import load_user_reward
from tests.integration.tiny import (
    CONTEXT_TOKENS,
    Tiny,
    build_reward_model,
    build_tiny,
    build_tokenizer,
    log_history,
    write_domains,
)

OWN_CODE = """
async def brevity(completions, *, log_extra, **columns):
    lengths = [float(len(completion[0]["content"])) for completion in completions]
    log_extra("chars", lengths)
    return [-length for length in lengths]
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory) -> Path:
    return build_reward_model(tmp_path_factory.mktemp("models") / "helpful")


@pytest.fixture
def on_cpu(tmp_path) -> GRPOConfig:
    return GRPOConfig(output_dir=str(tmp_path / "output"), use_cpu=True, bf16=False)


def write_recipe(path: Path, **settings) -> Path:
    path.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return path


def test_one_run_with_rewards_of_every_kind(tiny, tmp_path, reward_model):
    code = tmp_path / "own.py"
    code.write_text(OWN_CODE)
    names = {"tag_count": 0.5, "accuracy": 1.0, f"summary_only({reward_model})": 1.0, f"{code}:brevity": 0.1}
    _, gold, taste, brevity = names
    recipe = write_recipe(
        tmp_path / "recipe.yaml",
        reward_funcs=list(names),
        reward_weights=list(names.values()),
        reward_domains={"math": [gold], "chat": [taste, brevity]},
    )
    data = write_domains(tmp_path / "data")
    metrics = tiny.train(
        "grpo",
        tmp_path / "run",
        config=recipe,
        reward_funcs=None,
        dataset_name=data,
        max_steps=4,
        learning_rate=1e-3,
        log_completions=True,
        do_eval=True,
    )

    rows = pd.concat(map(pd.read_parquet, sorted((tmp_path / "run" / "rollouts").glob("*.parquet"))))
    golds = rows["solution"].notna()
    assert 0 < golds.sum() < len(rows)
    columns = {
        "tag_count_reward": [True, True],
        "accuracy_reward": [True, False],
        "summary_only_helpful": [False, True],
        "brevity": [False, True],
    }
    for column, (in_math, in_chat) in columns.items():
        assert rows[column].notna()[golds].eq(in_math).all(), column
        assert rows[column].notna()[~golds].eq(in_chat).all(), column
    assert rows["accuracy_reward/verdict"].notna().equals(golds)
    assert rows["chars"].eq(-rows["brevity"])[~golds].all()
    weighted = sum(weight * rows[column].fillna(0) for column, weight in zip(columns, names.values(), strict=True))
    for _, group in (
        rows[rows["advantage"].notna()].assign(weighted=weighted).groupby(["step", rows["prompt"].astype(str)])
    ):
        assert (
            group["weighted"].corr(group["advantage"]) == pytest.approx(1, abs=1e-3) or group["weighted"].std() < 1e-4
        )
    first = log_history(tmp_path / "run")[0]
    assert set(columns) <= {name.split("/")[1] for name in first if name.startswith("rewards/")}
    assert first["rewards/unscorable"] == 0
    assert {"eval_brevity/avg@4", "eval_summary_only_helpful/avg@4", "eval_accuracy_reward/avg@4"} <= set(metrics)


def test_tensor_is_as_good_as_a_list(tmp_path):
    code = tmp_path / "tensors.py"
    code.write_text(
        "import torch\ndef ones(completions, **columns): return torch.ones(len(completions))\n"
        "def square(completions, **columns): return torch.ones(len(completions), 2)\n"
    )
    assert load_user_reward(f"{code}:ones")(completions=["a", "b"]) == [1.0, 1.0]
    with pytest.raises(TypeError, match="square"):
        load_user_reward(f"{code}:square")(completions=["a", "b"])


def test_score_is_that_of_the_model_on_prompt_and_completion(reward_model, on_cpu):
    reward = load_reward_model(str(reward_model), on_cpu)
    prompts = [[{"role": "user", "content": f"{number}+1"}] for number in range(11)]
    completions = [[{"role": "assistant", "content": "so " * number}] for number in range(11)]
    values = reward(prompts=prompts, completions=completions, solution=["1"] * 11)

    tokenizer, model = build_tokenizer(), Qwen3ForSequenceClassification.from_pretrained(reward_model).eval()
    for prompt, completion, value in zip(prompts, completions, values, strict=True):
        inputs = tokenizer.apply_chat_template([*prompt, *completion], return_tensors="pt", return_dict=True)
        with torch.no_grad():
            assert value == pytest.approx(model(**inputs).logits.item(), abs=1e-5)
    assert len(set(values)) == 11
    assert reward.__name__ == "helpful"
    assert not any(parameter.requires_grad for parameter in reward.model.parameters())


def test_plain_text_is_put_together(reward_model, on_cpu):
    reward = load_reward_model(str(reward_model), on_cpu)
    assert reward(prompts=["1+1"], completions=["=2"]) == pytest.approx(reward(prompts=["1+"], completions=["1=2"]))


def test_conversation_beyond_the_context_is_not_judged(reward_model, on_cpu):
    reward = load_reward_model(str(reward_model), on_cpu)
    metrics, columns = {}, {}
    log = {"log_metric": metrics.__setitem__, "log_extra": columns.__setitem__}
    values = reward(prompts=["1+1"] * 2, completions=["=2", "=" * CONTEXT_TOKENS], **log)
    assert math.isfinite(values[0]) and math.isnan(values[1])
    assert metrics == {"helpful/too_long": 0.5}
    assert columns == {"helpful/verdict": ["scored", "too_long"]}


def test_stretched_reward_model_judges_as_far_as_it_is_stretched(tmp_path, on_cpu):
    yarn = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": CONTEXT_TOKENS, "rope_theta": 1e4}
    reward = load_reward_model(str(build_reward_model(tmp_path / "model", rope_parameters=yarn)), on_cpu)
    fits, not_ = reward(prompts=["1+1"] * 2, completions=["=" * CONTEXT_TOKENS, "=" * 2 * CONTEXT_TOKENS])
    assert math.isfinite(fits) and math.isnan(not_)


def test_tokenizer_without_padding_pads_with_eos(tmp_path, on_cpu):
    folder = build_reward_model(tmp_path / "model", pad_token_id=None)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    reward = load_reward_model(str(folder), on_cpu)
    one, other = reward(prompts=["1+1", "1+1"], completions=["=2", "=2, I am sure"])
    assert one == pytest.approx(reward(prompts=["1+1"], completions=["=2"])[0])
    assert one != other


REFUSED = {
    "no such folder": (lambda folder: "./nowhere/model", r"'./nowhere/model' .*there is no folder .*nowhere/model"),
    "no such folder from the root": (lambda folder: str(folder), r"there is no folder /"),
    "no such folder at home": (lambda folder: "~/nowhere-at-all", r"there is no folder /.*nowhere-at-all"),
    "no such model": (lambda folder: "org/model@v1", r"'org/model@v1' in reward_funcs can't be loaded"),
    "a model that writes": (
        lambda folder: build_reward_model(folder, Qwen3ForCausalLM),
        r"not a reward model.*Qwen3ForCausalLM.*random",
    ),
    "two labels": (lambda folder: build_reward_model(folder, num_labels=2), r"has 2 labels.*function of your own"),
    "no chat template": (lambda folder: without_template(build_reward_model(folder)), r"has no chat template"),
}


def without_template(folder: Path) -> Path:
    (folder / "chat_template.jinja").unlink()
    return folder


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_reward_model_is_refused_before_weights_are_loaded(case, tmp_path, on_cpu):
    build, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        check_reward_model(str(build(tmp_path / "model")), on_cpu)


def test_score_head_that_is_missing_is_refused(tmp_path, on_cpu):
    folder = build_reward_model(tmp_path / "model", Qwen3ForCausalLM)
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["Qwen3ForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"lacks weights, which would be random: \['score.weight'\]"):
        load_reward_model(str(folder), on_cpu)
