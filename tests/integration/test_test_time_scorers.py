# SPDX-License-Identifier: Apache-2.0
"""Process reward models with random weights: scores are those of a direct computation; what can't score is refused."""

import json
import logging
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import (
    AutoTokenizer,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
    Qwen2ForTokenClassification,
    Qwen2Model,
    Qwen2PreTrainedModel,
)

from open_r1.test_time.methods import Candidate, Task
from open_r1.test_time.process_models import QWEN_SYSTEM, load_model_scorer
from open_r1.test_time.scorers import ScorerError, score_all
from scripts.stand_ins import byte_tokenizer
from scripts.test_time_compute import main
from tests.integration.tiny import CHATML, addition_rows, build_tiny, write_rows

CONTEXT_TOKENS = 400
# The policy is asked for more than the problem, which alone is what process reward models read.
POLICY = ({"role": "system", "content": "Be terse."}, {"role": "user", "content": "Solve the problem: what is it?"})
PROBLEMS = [
    Task(row, POLICY, (1,), text) for row, text in enumerate(("What is 2+2?", "And 3+1, then? ки <extra_0> + -", "1"))
]
STEPS = [
    ["First, 2 + 2.", "That is 4.", "So \\boxed{4}."],
    ["It is ки 4 <extra_0> + or -."],
    ["Ein Schritt für\nzwei Zeilen", "+", "-", "+ +"],
]


class Qwen2ForProcessRewardModel(Qwen2PreTrainedModel):
    """As the checkpoints of Qwen2.5-Math-PRM have it."""

    def __init__(self, config):
        super().__init__(config)
        self.model = Qwen2Model(config)
        self.score = nn.Sequential(
            nn.Linear(config.hidden_size, config.hidden_size), nn.ReLU(), nn.Linear(config.hidden_size, 2)
        )
        self.post_init()


class Qwen2ForPrmModel(Qwen2ForCausalLM):
    """As the checkpoints of Skywork-o1-Open-PRM have it, a value head beside the language model's."""

    def __init__(self, config):
        super().__init__(config)
        self.v_head = nn.Module()
        self.v_head.summary = nn.Linear(config.hidden_size, 1)
        self.post_init()


def write_model(folder, kind=Qwen2ForTokenClassification, *, tags=True, chat_template=CHATML, **more):
    """Write a model with random weights, large enough that its scores differ."""
    tokenizer = byte_tokenizer(chat_template, "<|im_end|>")
    if tags:
        tokenizer.add_special_tokens({"additional_special_tokens": ["<extra_0>"]}, replace_extra_special_tokens=False)
        tokenizer.add_tokens(["ки"])
    torch.manual_seed(3)
    config = Qwen2Config(
        **{
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": CONTEXT_TOKENS,
            "initializer_range": 1.0,
            "num_labels": 2,
            "tie_word_embeddings": False,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **more,
        }
    )
    model = kind(config).eval()
    model.save_pretrained(folder, max_shard_size="10KB")
    tokenizer.save_pretrained(folder)
    return model


def score(scorer, problems, step_texts):
    """Score candidates that are their steps, with blank lines in between."""
    texts = ["\n\n".join(steps) for steps in step_texts]
    candidates = [Candidate(problem, text) for problem, text in zip(problems, texts, strict=True)]
    return score_all(scorer, candidates, "\n\n")


def chat(turns):
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


def clean(text):
    return text.replace("<extra_0>", "")


def hidden_of(model, ids):
    return model.base_model(torch.tensor([ids])).last_hidden_state[0]


def scores_by_hand(kind, model, tokenizer, problem, steps):
    """Compute the scores of one candidate: one text, all logits, the places found by reading."""
    question = problem.text
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False)  # noqa: E731
    if kind == "qwen":
        answer = "".join(f"{clean(step)}<extra_0>" for step in steps)
        turns = [("system", QWEN_SYSTEM), ("user", clean(question)), ("assistant", answer)]
        ids = encode(chat(turns))
        logits = model.score(hidden_of(model, ids)).softmax(-1)[:, 1]
        return [logits[place] for place, one in enumerate(ids) if one == encode("<extra_0>")[0]]
    if kind == "skywork":
        found, ids = [], encode(f"{question}\n")
        for step in steps:
            ids += encode(f"{step}\n")  # of bytes, no letter is one with the newline
            found.append(model.v_head.summary(hidden_of(model, ids)).sigmoid()[-1, 0])
        return found
    good_bad = encode("+") + encode("-")
    if kind == "math_shepherd":
        lines = "\n".join(step.replace("ки", "") + " ки" for step in steps)
        ids = encode(f"{question.replace('ки', '')} {lines}")
        scores = model(torch.tensor([ids])).logits[0][:, good_bad].softmax(-1)[:, 0]
        return [scores[place] for place, one in enumerate(ids) if one == encode("ки")[0]]
    found = []
    for number in range(len(steps)):
        turns = [("user", f"{question} {steps[0]}")]
        for step in steps[1 : number + 1]:
            turns += [("assistant", "+"), ("user", step)]
        ids = encode(chat(turns) + "<|im_start|>assistant\n")
        found.append(model(torch.tensor([ids])).logits[0, -1, good_bad].softmax(-1)[0])
    return found


KINDS = {
    "qwen tokens": ("qwen", Qwen2ForTokenClassification),
    "qwen head": ("qwen", Qwen2ForProcessRewardModel),
    "math_shepherd": ("math_shepherd", Qwen2ForCausalLM),
    "rlhflow": ("rlhflow", Qwen2ForCausalLM),
    "skywork": ("skywork", Qwen2ForPrmModel),
}
FOLDERS = {"math_shepherd": "math-shepherd-7b-prm", "rlhflow": "Llama-PRM-Deepseek-Data"}


@pytest.fixture(scope="module", params=KINDS)
def prm(request, tmp_path_factory):
    """Return kind, the model in memory, and its folder."""
    torch.set_num_threads(1)
    kind, built = KINDS[request.param]
    folder = tmp_path_factory.mktemp("models") / FOLDERS.get(request.param, "model")
    return kind, write_model(folder, built), folder


@torch.inference_mode()
def test_scores_are_those_of_a_direct_computation(prm):
    kind, model, folder = prm
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scorer = load_model_scorer(str(folder))
    assert scorer.kind == kind
    found = score(scorer, PROBLEMS, STEPS)
    spread = []
    for problem, steps, result in zip(PROBLEMS, STEPS, found, strict=True):
        expected = [float(score) for score in scores_by_hand(kind, model, tokenizer, problem, steps)]
        assert len(expected) == len(steps)
        assert result.scores == pytest.approx(expected, abs=1e-5)
        assert result.num_tokens > 0
        spread += expected
    assert max(spread) - min(spread) > 0.01  # random weights, but not the same number everywhere


def test_candidates_do_not_depend_on_those_beside_them(prm, monkeypatch):
    scorer = load_model_scorer(str(prm[2]))
    alone = [score(scorer, [problem], [steps])[0] for problem, steps in zip(PROBLEMS, STEPS, strict=True)]
    for limit in (1, 300, 100_000):
        monkeypatch.setattr("open_r1.test_time.process_models._TOKENS_AT_ONCE", limit)
        together = score(scorer, PROBLEMS, STEPS)
        for one, other in zip(alone, together, strict=True):
            assert one.scores == pytest.approx(other.scores, abs=1e-5)
            assert one.num_tokens == other.num_tokens


def test_steps_beyond_the_context_score_nothing(prm, caplog):
    scorer = load_model_scorer(str(prm[2]))
    steps = [f"Step {number} of a very long trace, which goes on and on." for number in range(12)]
    with caplog.at_level(logging.WARNING):
        (result,) = score(scorer, PROBLEMS[:1], [steps])
    (shorter,) = score(scorer, PROBLEMS[:1], [steps[:2]])
    assert result.scores[:2] == pytest.approx(shorter.scores, abs=1e-5)
    num_read = sum(score > 0 for score in result.scores)
    assert 2 < num_read < 12
    assert result.scores[num_read:] == (0.0,) * (12 - num_read)
    assert f"{12 - num_read} steps beyond" in caplog.text
    assert result.num_tokens == CONTEXT_TOKENS


def test_an_outcome_model_scores_the_whole(tmp_path, caplog):
    model = write_model(tmp_path, Qwen2ForSequenceClassification, num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    scorer = load_model_scorer(str(tmp_path))
    turns = [(turn["role"], turn["content"]) for turn in POLICY]
    text = chat([*turns, ("assistant", "\n\n".join(STEPS[0]))])
    ids = tokenizer.encode(text, add_special_tokens=False)
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0, 0].sigmoid()
    long = [["on and on " * 60]]
    with caplog.at_level(logging.WARNING):
        first, second = score(scorer, PROBLEMS[:1] * 2, STEPS[:1] + long)
    assert first.scores == (pytest.approx(float(expected), abs=1e-5),)
    assert second.scores == (0.0,)
    assert (first.num_tokens, second.num_tokens) == (len(ids), 0)  # the conversation, and what it never read
    assert "1 of 2 candidates" in caplog.text


def without_head(folder: Path) -> None:
    """Write a backbone that says it has a head of two labels."""
    write_model(folder, Qwen2Model)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["Qwen2ForTokenClassification"]}))


REFUSED = {
    "no folder": (lambda folder: None, "auto", "not a loadable model"),
    "three labels": (lambda folder: write_model(folder, num_labels=3), "auto", "Say so by --scorer_kind"),
    "no separator": (lambda folder: write_model(folder, tags=False), "auto", "<extra_0> is not in its vocabulary"),
    "any language model": (lambda folder: write_model(folder, Qwen2ForCausalLM), "auto", "is not recognised from"),
    "no tag": (
        lambda folder: write_model(folder, Qwen2ForCausalLM, tags=False),
        "math_shepherd",
        "no single token for 'ки'",
    ),
    "no value head": (lambda folder: write_model(folder, Qwen2ForCausalLM), "skywork", "no weights v_head.summary"),
    "no weights of a head": (without_head, "auto", "lacks weights"),
    "no outcome": (lambda folder: write_model(folder, Qwen2ForCausalLM), "outcome", "random"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_cannot_score_are_refused(name, tmp_path):
    write, kind, message = REFUSED[name]
    write(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        score(load_model_scorer(str(tmp_path / "model"), kind), PROBLEMS[:1], STEPS[:1])


def test_a_template_that_changes_earlier_turns_is_refused(tmp_path):
    template = CHATML.replace("{{ m.content }}", "{{ m.content }}{{ loop.length }}")
    write_model(tmp_path, Qwen2ForCausalLM, chat_template=template)
    with pytest.raises(ScorerError, match="changes earlier turns"):
        score(load_model_scorer(str(tmp_path), "rlhflow"), PROBLEMS[:1], STEPS[:1])


def test_all_methods_run_with_a_process_reward_model(tmp_path):
    """The script, a policy and a process reward model: all real, all tiny."""
    tiny = build_tiny(tmp_path / "tiny")
    write_model(tmp_path / "prm")
    data = write_rows(tmp_path / "sums.jsonl", addition_rows(2))
    words = ["--model_id", tiny.model, "--backend", "transformers", "--data", data, "--prompt_template", "{prompt}=",
             "--max_tokens", 12, "--output_dir", tmp_path / "out", "--methods", "majority", "best_of_n", "weighted",
             "beam_search", "dvts", "--n", 1, 2, 4, "--beam_width", 2, "--max_steps", 3, "--max_step_tokens", 4,
             "--scorer", tmp_path / "prm", "--aggregations", "min", "product", "--lookahead", 1]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    (path,) = tmp_path.glob("out/*/main/sums-test-time/results.json")
    points = json.loads(path.read_text())["points"]
    found = {
        (one["method"], one["values"].get("aggregation"), one["values"].get("choice"), one["values"]["n"])
        for one in points
    }
    kinds = {one["method"]: one["values"].get("scorer_kind") for one in points}
    assert kinds == {"majority": None, **dict.fromkeys(("best_of_n", "weighted", "beam_search", "dvts"), "qwen")}
    assert all((one["scorer_tokens"] > 0) == (one["method"] != "majority") for one in points)
    assert len(found) == len(points) == 3 + 2 * 6 + 2 * 8
