# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters as models to start from: SFT, GRPO that continues its adapter, kill and resume, merge, evaluate."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftConfig, PeftModel
from transformers import AutoModelForCausalLM

from open_r1.manifest import MANIFEST_NAME, missing_from
from open_r1.training.checkpoints import last_complete_checkpoint
from scripts.merge_lora import main as merge
from scripts.run_benchmarks import main as run_benchmarks
from tests.integration.fork_driver import ForkDriver
from tests.integration.tiny import Tiny, are_identical, build_tiny, log_history, weights_of

ADAPTER = "adapter_model.safetensors"
LORA = {"use_peft": True, "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0}
GRPO = {
    **LORA,
    "reward_funcs": ["cosine", "format"],  # with random weights the lengths of completions vary
    "cosine_max_len": 24,
    "max_completion_length": 24,
    "learning_rate": 1e-3,
    "beta": 0.1,
    "num_iterations": 2,  # so that the advantages of the first step meet a ratio that is not 1
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return build_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tuned(tiny, tmp_path_factory) -> Path:
    """The adapter of an SFT run."""
    output = tmp_path_factory.mktemp("sft") / "adapter"
    tiny.train("sft", output, **LORA, lora_target_modules=["q_proj", "v_proj"])
    return output


@pytest.fixture(scope="module")
def continued(tiny, tuned, tmp_path_factory) -> Path:
    """The same adapter after GRPO with a KL penalty."""
    output = tmp_path_factory.mktemp("grpo") / "adapter"
    tiny.train("grpo", output, **GRPO, model_name_or_path=tuned)
    return output


def adapted(tiny: Tiny, folder: Path) -> PeftModel:
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny.model), folder).eval()


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor([[5, 20, 30, 7]])).logits


def test_grpo_continues_the_adapter_of_sft(tiny, tuned, continued):
    first, last = weights_of(tuned, ADAPTER), weights_of(continued, ADAPTER)
    assert first.keys() == last.keys() and not are_identical(first, last)
    before, after = (PeftConfig.from_pretrained(folder) for folder in (tuned, continued))
    assert (after.r, after.lora_alpha, after.target_modules) == (4, 8, {"q_proj", "v_proj"})
    assert after.base_model_name_or_path == before.base_model_name_or_path == str(tiny.model)
    assert not list(continued.rglob("ref"))  # the reference of the penalty


def test_reference_of_the_penalty_is_the_adapter_that_the_run_started_from(continued):
    entries = [entry for entry in log_history(continued) if "kl" in entry]
    assert entries[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert entries[-1]["kl"] > 1e-7


def test_killed_run_resumes_the_adapter_exactly(tiny, tuned, continued, tmp_path):
    output, log = tmp_path / "killed", tmp_path / "log"
    argv = tiny.argv("grpo", output, **GRPO, model_name_or_path=tuned)
    driver = ForkDriver({})
    try:
        assert driver.start("grpo", argv, log).kill_when(lambda: last_complete_checkpoint(output) is not None)
        assert driver.start("grpo", argv, log).wait() == 0, log.read_text()[-3000:]
    finally:
        driver.close()
    assert "Resuming from" in log.read_text()
    assert are_identical(weights_of(continued, ADAPTER), weights_of(output, ADAPTER))


def test_merged_adapter_is_evaluated(tiny, continued, tmp_path):
    assert merge(["--adapter", str(continued), "--output_dir", str(tmp_path / "merged")]) == 0
    assert missing_from(tmp_path / "merged") is None
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(model), logits(adapted(tiny, continued)), rtol=1e-4, atol=1e-5)
    words = ["--data", str(tiny.data / "test.jsonl"), "--backend", "transformers", "--max_tokens", "8"]
    found = []
    for name in (continued, tmp_path / "merged"):
        output = tmp_path / f"results-{name.name}"
        assert run_benchmarks(["--model_id", str(name), *words, "--output_dir", str(output)]) == 0
        (path,) = output.rglob("results.json")
        found.append(json.loads(path.read_text())["counts"]["returned"])
    assert found == [24, 24]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_peft": False}, "use_peft: true.*merge_lora"),
        ({"lora_r": 32}, "`lora_r` 32.* 4"),
        ({"lora_alpha": None}, "`lora_alpha` 32.* 8"),  # left out: the library's default
        ({"lora_target_modules": ["q_proj", "o_proj"]}, "o_proj.*v_proj"),
        ({"use_dora": True}, "use_dora"),
    ],
)
def test_settings_that_contradict_the_adapter_are_refused(tiny, tuned, tmp_path, settings, named):
    with pytest.raises(ValueError, match=named):
        tiny.train("grpo", tmp_path / "output", **{**GRPO, **settings}, model_name_or_path=tuned)


def test_adapter_whose_base_is_gone_is_refused(tiny, tuned, tmp_path):
    shutil.copytree(tuned, tmp_path / "adapter")
    (tmp_path / "adapter" / MANIFEST_NAME).unlink()
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": "/gone/base"}))
    with pytest.raises(ValueError, match="/gone/base"):
        tiny.train("sft", tmp_path / "output", **LORA, model_name_or_path=tmp_path / "adapter")
