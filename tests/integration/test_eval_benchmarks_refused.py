# SPDX-License-Identifier: Apache-2.0
"""`eval_benchmarks` that can't work stop a run before its model loads: the model of these tests has no weights."""

from pathlib import Path

import pytest

from open_r1.configs import GRPOConfig, SFTConfig
from tests.integration.tiny import CONTEXT_TOKENS, Tiny, addition_rows, build_tiny, write_rows

CPU = {"bf16": False, "use_cpu": True}
NO_WEIGHTS = r"no file named model\.safetensors"  # all checks were passed, and the model was to be loaded
SHORT = {"eval_benchmarks_max_tokens": 16, "eval_benchmarks_template": "{prompt}"}
BEST = {"metric_for_best_model": "eval_sums/avg@4", "save_steps": 2}
ALONE = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2}

REFUSED = {
    "unknown name": ({"eval_benchmarks": "aime2024"}, r"aime2024"),
    "column that is missing": (
        {"eval_benchmarks_solution_column": "gold"}, r"\['gold'\].*'messages'"),
    "no room in the context": (
        {"eval_benchmarks_max_tokens": CONTEXT_TOKENS},
        r"`eval_benchmarks_max_tokens` is 256, and the longest prompt of sums has \d+ tokens: .* context of 256"),
    "metric of another k": (
        {**BEST, "eval_benchmarks_num_samples": 2, "eval_benchmarks_steps": 2}, r"eval_sums/avg@4.*eval_sums/avg@2, "),
    "benchmark misspelt": (
        {**BEST, "metric_for_best_model": "eval_sum/avg@4", "eval_benchmarks_steps": 2}, r"eval_sum/avg@4"),
    "loss without a test split": (
        {**ALONE, "dataset_name": "ALONE"}, r"`metric_for_best_model: eval_loss`.*eval_sums/avg@4"),
    "loss, and the test split at the end alone": (
        {**BEST, "metric_for_best_model": "loss", "eval_benchmarks_steps": 2, "do_eval": True},
        r"`metric_for_best_model: eval_loss`"),
    "metric of the end alone": (BEST, r"save_strategy: best"),
    "steps that aren't saved": (
        {**BEST, "eval_benchmarks_steps": 3}, r"save_strategy: best"),
    "nothing is saved": (
        {**BEST, "eval_benchmarks_steps": 2, "save_strategy": "no"}, r"save_strategy: best"),
    "test split that is named": (
        {"dataset_test_split": "validation", "do_eval": True}, r"No split 'validation' for evaluation"),
}  # fmt: skip
ACCEPTED = {
    "by steps of its own": {**BEST, "eval_benchmarks_steps": 4, "load_best_model_at_end": True},
    "saved when it is best": {**BEST, "eval_benchmarks_steps": 3, "save_strategy": "best"},
    "at the end of epochs": {**BEST, "eval_strategy": "epoch", "save_strategy": "epoch"},
    "shares of the training": {**BEST, "eval_strategy": "steps", "eval_steps": 0.3, "save_steps": 0.1},
    "benchmarks alone": {**ALONE, "dataset_name": "ALONE", "metric_for_best_model": "sums/avg@4_low"},
}

PROGRAM_ROW = {
    "problem": "Add.",
    "verification_info": {
        "language": "python",
        "test_cases": [{"input": "1 2", "output": "3", "type": "stdin_stdout"}],
    },
}


@pytest.fixture(scope="module")
def weightless(tmp_path_factory) -> Tiny:
    tiny = build_tiny(tmp_path_factory.mktemp("tiny"))
    (tiny.model / "model.safetensors").unlink()
    return tiny


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, Path]:
    """The benchmark, and data without a test split."""
    folder = tmp_path_factory.mktemp("places")
    write_rows(folder / "alone" / "train.jsonl", addition_rows(8))
    return {"SUMS": write_rows(folder / "sums.jsonl", addition_rows(4)), "ALONE": folder / "alone"}


def filled(settings: dict, places: dict[str, Path]) -> dict:
    def fill(value):
        return [fill(entry) for entry in value] if isinstance(value, list) else places.get(value, value)

    return {name: fill(value) for name, value in {"eval_benchmarks": "SUMS", **SHORT, **settings}.items()}


@pytest.mark.parametrize(("settings", "message"), REFUSED.values(), ids=REFUSED)
def test_setting_that_cannot_work_is_refused(weightless, places, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        weightless.train("sft", tmp_path, **filled(settings, places))


@pytest.mark.parametrize("settings", ACCEPTED.values(), ids=ACCEPTED)
def test_setting_that_works_is_taken(weightless, places, tmp_path, settings):
    with pytest.raises(OSError, match=NO_WEIGHTS):
        weightless.train("sft", tmp_path, **filled(settings, places))


def test_prompt_must_fit_into_the_context_of_vllm(weightless, places, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    settings = {
        "use_vllm": True,
        "vllm_max_model_length": 24,
        "eval_benchmarks_max_tokens": 16,
        "max_completion_length": 8,
    }
    with pytest.raises(ValueError, match=r"together more than the context of 24"):
        weightless.train("grpo", tmp_path, **filled(settings, places))


def test_programs_need_a_sandbox(weightless, places, tmp_path, monkeypatch):
    monkeypatch.delenv("PISTON_ENDPOINTS", raising=False)
    code = write_rows(tmp_path / "code.jsonl", [PROGRAM_ROW])
    with pytest.raises(ValueError, match=r"PISTON_ENDPOINTS"):
        weightless.train(
            "sft", tmp_path / "out", **filled({"eval_benchmarks": code, "code_provider": "piston"}, places)
        )


def test_majority_of_programs_is_refused(weightless, places, tmp_path):
    code = write_rows(tmp_path / "code.jsonl", [PROGRAM_ROW])
    settings = {**BEST, "metric_for_best_model": "eval_code/maj@4", "eval_benchmarks_steps": 2}
    with pytest.raises(ValueError, match=r"eval_code/maj@4`.* eval_code/pass@4"):
        weightless.train("sft", tmp_path / "out", **filled({**settings, "eval_benchmarks": code}, places))


@pytest.mark.parametrize("config_class", [SFTConfig, GRPOConfig])
@pytest.mark.parametrize("name", ["avg@4", "maj@4", "truncated", "no_answer", "mean_length_tokens"])
def test_greater_is_better_of_all_but_shares_and_lengths(config_class, name, tmp_path):
    config = config_class(output_dir=str(tmp_path), metric_for_best_model=f"eval_sums/{name}", **CPU)
    assert config.greater_is_better == ("@" in name)
    told = config_class(output_dir=str(tmp_path), metric_for_best_model=f"sums/{name}", greater_is_better=True, **CPU)
    assert told.greater_is_better


def test_best_model_is_loaded_by_benchmarks_without_an_eval_strategy(tmp_path):
    settings = {"output_dir": str(tmp_path), "load_best_model_at_end": True, "eval_benchmarks_steps": 2, **CPU}
    config = SFTConfig(eval_benchmarks=["sums.jsonl"], **settings)
    assert config.load_best_model_at_end and config.eval_strategy == "no" and not config.do_eval
    with pytest.raises(ValueError, match="save and eval strategy to match"):
        SFTConfig(**settings)
