# SPDX-License-Identifier: Apache-2.0
"""Process reward models by transformers: each step's chance of being good, from one pass over problem and steps.

| kind          | text                                        | read at                  | score of a step          |
|---------------|---------------------------------------------|--------------------------|--------------------------|
| qwen          | chat; steps with `<extra_0>` behind each    | `<extra_0>`              | softmax of 2 labels, 1   |
| math_shepherd | question; steps with " ки" behind each      | ки                       | softmax of + and -, +    |
| rlhflow       | chat; a step a user's turn, answered by "+" | the token before the "+" | softmax of + and -, +    |
| skywork       | BOS, question, lines; a newline each        | the newline of its last  | logistic of a value head |

Models: Qwen2.5-Math-PRM, math-shepherd-mistral-7b-prm, RLHFlow's Llama3.1-8B-PRM-Deepseek-Data, Skywork-o1-Open-PRM.
System prompts are the models' own: the policy's is nothing that they know. Different from their cards:
1. No code that comes with a model runs: heads that transformers doesn't know are built here, from the checkpoint's
   weights; a checkpoint without them is refused.
2. A separator within a step is taken out, since it would be read as one more step.
3. Skywork scores each line, blank ones too: here a step of several lines has the score of its last, and there are no
   blank lines.
4. Only the two rows of a language model's head that count are computed: all of them take gigabytes for a long trace.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from open_r1.evaluation.fingerprint import identify
from open_r1.models import context_tokens
from open_r1.reward_models import RewardModel, load_reward_model
from open_r1.test_time.methods import Candidate, StepScores
from open_r1.test_time.scorers import Scorer, ScorerError

logger = logging.getLogger(__name__)

_TOKENS_AT_ONCE = 16_384
_VALUE_HEAD = "v_head.summary."
QWEN_TAG, SHEPHERD_TAG, GOOD = "<extra_0>", "ки", "+"
QWEN_SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."

# Token ids, and the place of the token whose last hidden state gives the score of each step.
LaidOut = tuple[list[int], list[int]]
Head = Callable[[torch.Tensor], torch.Tensor]  # from hidden states (S, H) to scores (S,) in [0, 1]


def single_id(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    """Return the one token that a text is, at the start of a word where there is a choice.

    Raises:
        ValueError: It is several.
    """
    ids = tokenizer.encode(text, add_special_tokens=False)
    # Some tokenizers put the space before a word into a token of its own.
    if not ids or str(tokenizer.decode([ids[-1]])).strip() != text:
        raise ValueError(f"The tokenizer has no single token for {text!r}, which scorers of this kind need.")
    return ids[-1]


def _render(tokenizer: PreTrainedTokenizerBase, turns: Sequence[dict[str, str]], *, is_open: bool = False) -> str:
    return str(tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=is_open))


def _qwen_layout(problem: str, steps: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> LaidOut:
    turns = [
        {"role": "system", "content": QWEN_SYSTEM},
        {"role": "user", "content": problem.replace(QWEN_TAG, "")},
        {"role": "assistant", "content": "".join(step.replace(QWEN_TAG, "") + QWEN_TAG for step in steps)},
    ]
    ids = tokenizer.encode(_render(tokenizer, turns), add_special_tokens=False)
    return ids, _places_of(single_id(tokenizer, QWEN_TAG), ids)


def _math_shepherd_layout(problem: str, steps: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> LaidOut:
    lines = "\n".join(f"{step.replace(SHEPHERD_TAG, '')} {SHEPHERD_TAG}" for step in steps)
    ids = tokenizer.encode(f"{problem.replace(SHEPHERD_TAG, '')} {lines}")
    return ids, _places_of(single_id(tokenizer, SHEPHERD_TAG), ids)


def _places_of(tag: int, ids: Sequence[int]) -> list[int]:
    return [place for place, token in enumerate(ids) if token == tag]


def _rlhflow_layout(problem: str, steps: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> LaidOut:
    """The question stands before the first step."""
    turns: list[dict[str, str]] = []
    ends = []
    for number, step in enumerate(steps):
        turns.append({"role": "user", "content": f"{problem} {step}" if number == 0 else step})
        ends.append(_render(tokenizer, turns, is_open=True).rstrip())
        turns.append({"role": "assistant", "content": GOOD})
    text = _render(tokenizer, turns)
    if any(not text.startswith(end) for end in ends):
        raise ScorerError("The chat template changes earlier turns as a conversation goes on: no step can be scored.")
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    marks = [text.index(GOOD, len(end)) for end in ends]
    spans = found["offset_mapping"]
    places = [next(place for place, (low, high) in enumerate(spans) if low <= mark < high) - 1 for mark in marks]
    return list(found["input_ids"]), places


def _skywork_layout(problem: str, steps: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> LaidOut:
    """The newline is a token of its own: encoded with the line, it would be one with the full stop before it."""
    newline = tokenizer.encode("\n", add_special_tokens=False)[-1]
    ids = tokenizer.encode(f"{tokenizer.bos_token or ''}{problem}\n", add_special_tokens=False)
    places = []
    for step in steps:
        for line in filter(str.strip, step.split("\n")):
            ids += [*tokenizer.encode(line, add_special_tokens=False), newline]
        places.append(len(ids) - 1)
    return ids, places


LAYOUTS: dict[str, Callable[[str, Sequence[str], PreTrainedTokenizerBase], LaidOut]] = {
    "qwen": _qwen_layout,
    "math_shepherd": _math_shepherd_layout,
    "rlhflow": _rlhflow_layout,
    "skywork": _skywork_layout,
}


@dataclass(frozen=True)
class ProcessModel:
    """Scores steps by a process reward model; see `scorers.Scorer`."""

    name: str
    kind: str
    tokenizer: PreTrainedTokenizerBase
    backbone: nn.Module
    head: Head
    max_tokens: int
    identity: Any = None

    def score(self, candidates: Sequence[Candidate], steps: Sequence[Sequence[str]]) -> list[StepScores]:
        """Return the scores; steps beyond the model's context have 0.

        Raises:
            ScorerError: The tokenizer lays out steps in a way that they can't be found again.
        """
        layout = LAYOUTS[self.kind]
        laid = [layout(one.task.text, own, self.tokenizer) for one, own in zip(candidates, steps, strict=True)]
        if any(len(places) != len(own) for own, (_, places) in zip(steps, laid, strict=True)):
            raise ScorerError(f"{self.name}: its tokenizer lays out steps so that they aren't found again.")
        num_beyond = sum(place >= self.max_tokens for _, places in laid for place in places)
        if num_beyond:
            logger.warning("%s reads %d tokens: %d steps beyond have 0.", self.name, self.max_tokens, num_beyond)
        found: dict[int, StepScores] = {}
        order = sorted(range(len(laid)), key=lambda row: len(laid[row][0]))
        while order:
            longest = min(len(laid[order[-1]][0]), self.max_tokens)
            batch = order[-max(1, _TOKENS_AT_ONCE // longest) :]
            del order[-len(batch) :]
            for row, scores in zip(batch, self._forward([laid[row] for row in batch]), strict=True):
                found[row] = StepScores(scores, min(len(laid[row][0]), self.max_tokens))
        return [found[row] for row in range(len(laid))]

    @torch.inference_mode()
    def _forward(self, laid: Sequence[LaidOut]) -> list[tuple[float, ...]]:
        # Padding stands behind, where a causal model's earlier tokens don't see it.
        device = next(self.backbone.parameters()).device
        rows = [torch.tensor(ids[: self.max_tokens], device=device) for ids, _ in laid]
        input_ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        hidden = self.backbone(input_ids=input_ids, attention_mask=mask, use_cache=False).last_hidden_state
        scores = []
        for row, (_, places) in enumerate(laid):
            read = [place for place in places if place < self.max_tokens]
            scores.append((*self.head(hidden[row, read]).tolist(), *[0.0] * (len(places) - len(read))))
        return scores


@dataclass(frozen=True)
class OutcomeModel:
    """Scores the whole of a candidate by a reward model with one label: the logistic function of its number.

    It reads the conversation that the model was asked, as reward models of chats are trained to.
    """

    name: str
    model: RewardModel
    identity: Any = None
    kind: str = "outcome"

    def score(self, candidates: Sequence[Candidate], steps: Sequence[Sequence[str]]) -> list[StepScores]:
        """Return one score a candidate; 0 for one that the model's context has no room for."""
        prompts = [[dict(message) for message in one.task.messages] for one in candidates]
        texts = [one.text for one in candidates]
        values = [math.nan if value is None else value for value in self.model(prompts, texts)]
        num_long = sum(map(math.isnan, values))
        if num_long:
            logger.warning("%s: %d of %d candidates are too long, and have 0.", self.name, num_long, len(texts))
        scores = torch.tensor(values, dtype=torch.float64).sigmoid().nan_to_num(0.0).tolist()
        lengths = map(len, self.model.tokens_of(prompts, texts))
        return [
            StepScores((score,), 0 if math.isnan(value) else length)
            for score, value, length in zip(scores, values, lengths, strict=True)
        ]


@dataclass(frozen=True)
class _Here:
    device: torch.device
    trust_remote_code: bool = False


def load_model_scorer(name: str, kind: str = "auto") -> Scorer:
    """Load a reward model, of steps or of the whole, onto the GPU where there is one.

    Args:
        name: Folder, id on the hub, or `id@revision`.
        kind: One of `LAYOUTS`, outcome, or auto.

    Raises:
        ValueError: There is no such model, it is of no kind that we know, or weights are missing.
    """
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        folder, (base, _, revision) = Path(name).expanduser(), name.partition("@")
        identity = identify(str(folder) if folder.is_dir() else base, revision or "main")
        if not folder.is_dir():
            folder = Path(snapshot_download(base, revision=revision or None))
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"--scorer {name}: not a loadable model ({reason}).") from error
    try:
        chosen = _find_kind(name, config, folder, tokenizer) if kind == "auto" else kind
        logger.info("The scorer %s is of the kind %s, on %s.", name, chosen, where)
        if chosen == "outcome":
            return OutcomeModel(name, load_reward_model(str(folder), _Here(where)), identity)
        backbone, head = _load(chosen, config, folder, tokenizer, where)
    except ValueError as error:
        raise ValueError(f"--scorer {name}: {error}") from error
    limit = context_tokens(config) or tokenizer.model_max_length
    return ProcessModel(name, chosen, tokenizer, backbone, head, limit, identity)


def _find_kind(name: str, config: PreTrainedConfig, folder: Path, tokenizer: PreTrainedTokenizerBase) -> str:
    """A language model that answers + or - looks like any other: these are known by their names alone."""
    architecture, lowered = (config.architectures or [""])[0], name.lower()
    has_separator, is_causal = QWEN_TAG in tokenizer.get_vocab(), architecture.endswith("ForCausalLM")
    is_of_steps = architecture.endswith(("ForProcessRewardModel", "ForTokenClassification"))
    is_of_kind = {
        "qwen": has_separator and config.num_labels == 2 and is_of_steps,
        "outcome": architecture.endswith("ForSequenceClassification") and config.num_labels == 1,
        "skywork": bool(_tensors(folder, _VALUE_HEAD)),
        "math_shepherd": is_causal and "shepherd" in lowered,
        "rlhflow": is_causal and ("rlhflow" in lowered or "prm-" in lowered),
    }
    found = next((kind for kind, is_it in is_of_kind.items() if is_it), None)
    if found is None:
        raise ValueError(
            f"its kind is not recognised from its architecture ({architecture}, {config.num_labels} labels; <extra_0> "
            f"is {'' if has_separator else 'not '}in its vocabulary) and name. Say so by --scorer_kind: "
            f"{', '.join(is_of_kind)}."
        )
    return found


def _load(
    kind: str, config: PreTrainedConfig, folder: Path, tokenizer: PreTrainedTokenizerBase, where: torch.device
) -> tuple[nn.Module, Head]:
    """Return the model without its head, and the head."""
    if kind in ("math_shepherd", "rlhflow"):
        if kind == "math_shepherd":
            single_id(tokenizer, SHEPHERD_TAG)
        model = _from_pretrained(AutoModelForCausalLM, folder, where)
        weight = model.get_output_embeddings().weight[[single_id(tokenizer, GOOD), single_id(tokenizer, "-")]]
        return model.base_model, lambda hidden: (hidden @ weight.T).float().softmax(-1)[:, 0]
    if kind == "qwen" and (config.architectures or [""])[0].endswith("ForTokenClassification"):
        model = _from_pretrained(AutoModelForTokenClassification, folder, where)
        module, backbone = model.score if hasattr(model, "score") else model.classifier, model.base_model
    else:
        module = _built_head(folder, "score." if kind == "qwen" else _VALUE_HEAD)
        backbone = _from_pretrained(AutoModel, folder, where)
    module.requires_grad_(False).to(where)
    *_, last = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    if last.out_features != (num_outputs := 2 if kind == "qwen" else 1):
        raise ValueError(f"its head gives {last.out_features} numbers a step, not {num_outputs}: another kind.")

    def head(hidden: torch.Tensor) -> torch.Tensor:
        logits = module(hidden.to(last.weight.dtype)).float()  # heads may be kept in float32 beside bfloat16
        return logits.softmax(-1)[:, 1] if kind == "qwen" else logits[:, 0].sigmoid()

    return backbone, head


def _from_pretrained(auto_class: Any, folder: Path, where: torch.device) -> Any:
    model, loading = auto_class.from_pretrained(
        folder, dtype="auto", trust_remote_code=False, output_loading_info=True
    )
    if loading["missing_keys"]:
        raise ValueError(
            f"its checkpoint lacks weights, which would be random: {sorted(loading['missing_keys'])[:3]}."
        )
    return model.requires_grad_(False).eval().to(where)


def _built_head(folder: Path, prefix: str) -> nn.Module:
    """Return a head of linear layers with ReLU between them, as the checkpoint has it: `0.weight`, `2.weight`, ..."""
    tensors = _tensors(folder, prefix)
    names = sorted(key.removesuffix("weight") for key in tensors if key.endswith("weight"))
    if not names:
        raise ValueError(
            f"its checkpoint has no weights {prefix}*, so its scores would be random. It is of another kind "
            "(--scorer_kind), or saved without its head."
        )
    layers: list[nn.Module] = []
    for layer in names:
        weight, bias = tensors[f"{layer}weight"], tensors.get(f"{layer}bias")
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, dtype=weight.dtype)
        linear.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
        layers += [nn.ReLU(), linear] if layers else [linear]
    return nn.Sequential(*layers)


def _tensors(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
    """Return the checkpoint's tensors whose names begin so, by the rest of their names."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefix)}  # noqa: SIM118
    for path in [] if found else sorted(folder.glob("pytorch_model*.bin")):
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        found |= {name: tensor.clone() for name, tensor in tensors.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): tensor for name, tensor in found.items()}
