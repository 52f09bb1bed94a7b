# SPDX-License-Identifier: Apache-2.0
"""Process reward models by transformers: each step's chance of being good, from one pass over problem and steps.

| kind          | text                                        | read at                  | score of a step          |
|---------------|---------------------------------------------|--------------------------|--------------------------|
| qwen          | chat; steps with `<extra_0>` behind each    | `<extra_0>`              | softmax of 2 labels, 1   |
| math_shepherd | question; steps with " ки" behind each      | ки                       | softmax of + and -, +    |
| rlhflow       | chat; a step a user's turn, answered by "+" | the token before the "+" | softmax of + and -, +    |
| skywork       | BOS, question, lines; a newline each        | the newline of its last  | logistic of a value head |

Models: Qwen2.5-Math-PRM, math-shepherd-mistral-7b-prm, RLHFlow's Llama3.1-8B-PRM-Deepseek-Data, Skywork-o1-Open-PRM.
Different from their cards:
1. No code that comes with a model runs: heads that transformers doesn't know are built here, from the checkpoint's
   weights; a checkpoint without them is refused.
2. A separator within a step is taken out, since it would be read as one more step.
3. Skywork scores each line, blank ones too: here a step of several lines has the score of its last, and there are no
   blank lines.
4. Only the two rows of a language model's head that count are computed: all of them take gigabytes for a long trace.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
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

from open_r1.models import context_tokens
from open_r1.reward_models import RewardModel, load_reward_model
from open_r1.test_time.methods import Problem
from open_r1.test_time.scorers import Scorer, ScorerError, StepScores
from open_r1.test_time.step_heads import Source, StepHead, built_head, checked_head
from open_r1.test_time.step_layouts import LAYOUTS, SHEPHERD_TAG, single_id

logger = logging.getLogger(__name__)

_TOKENS_AT_ONCE = 16_384
_VALUE_HEAD = "v_head.summary"


@dataclass(frozen=True)
class ProcessModel:
    """Scores steps by a process reward model; see `scorers.Scorer`."""

    name: str
    kind: str
    tokenizer: PreTrainedTokenizerBase
    backbone: nn.Module
    head: StepHead
    max_tokens: int

    def score(
        self, problems: Sequence[Problem], step_texts: Sequence[Sequence[str]], texts: Sequence[str]
    ) -> list[StepScores]:
        """Return the scores; steps beyond the model's context have 0.

        Raises:
            ScorerError: The tokenizer lays out steps in a way that they can't be found again.
        """
        laid = [
            LAYOUTS[self.kind](problem.text, steps, self.tokenizer)
            for problem, steps in zip(problems, step_texts, strict=True)
        ]
        for steps, (_, places) in zip(step_texts, laid, strict=True):
            if len(places) != len(steps):
                raise ScorerError(f"{self.name}: {len(places)} places of scores were found for {len(steps)} steps.")
        num_beyond = sum(place >= self.max_tokens for _, places in laid for place in places)
        if num_beyond:
            logger.warning(
                "%s reads %d tokens: %d of %d steps are beyond them, and have the score 0.",
                self.name,
                self.max_tokens,
                num_beyond,
                sum(len(places) for _, places in laid),
            )
        order = sorted(range(len(laid)), key=lambda row: len(laid[row][0]))
        found: dict[int, StepScores] = {}
        for rows in self._batches(order, [len(ids) for ids, _ in laid]):
            for row, scores in zip(rows, self._forward([laid[row] for row in rows]), strict=True):
                found[row] = StepScores(scores, min(len(laid[row][0]), self.max_tokens))
        return [found[row] for row in range(len(laid))]

    def _batches(self, order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
        """Return rows of similar length together, padded at most `_TOKENS_AT_ONCE` tokens, or one row."""
        batches: list[list[int]] = []
        for row in order:  # the longest of a batch is the last
            longest = min(lengths[row], self.max_tokens)
            if batches and (len(batches[-1]) + 1) * longest <= _TOKENS_AT_ONCE:
                batches[-1].append(row)
            else:
                batches.append([row])
        return batches

    @torch.inference_mode()
    def _forward(self, laid: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, ...]]:
        # Padding stands behind, where a causal model's earlier tokens don't see it.
        device = next(self.backbone.parameters()).device
        rows = [ids[: self.max_tokens] for ids, _ in laid]
        width = max(map(len, rows))
        input_ids = torch.tensor([ids + [0] * (width - len(ids)) for ids in rows], device=device)
        mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids in rows], device=device)
        hidden = self.backbone(input_ids=input_ids, attention_mask=mask, use_cache=False).last_hidden_state
        scores = []
        for row, (_, places) in enumerate(laid):
            read = [place for place in places if place < self.max_tokens]
            values = self.head(hidden[row, read]).tolist() if read else []
            scores.append((*values, *[0.0] * (len(places) - len(read))))
        return scores


@dataclass(frozen=True)
class OutcomeModel:
    """Scores the whole of a candidate by a reward model with one label: the logistic function of its number.

    It reads the conversation that the model was asked, as reward models of chats are trained to.
    """

    name: str
    model: RewardModel
    kind: str = "outcome"

    def score(
        self, problems: Sequence[Problem], step_texts: Sequence[Sequence[str]], texts: Sequence[str]
    ) -> list[StepScores]:
        """Return one score a candidate; 0 for one that the model's context has no room for."""
        prompts = [[dict(message) for message in problem.messages] for problem in problems]
        values = [float("nan") if value is None else value for value in self.model(prompts, list(texts))]
        numbers = torch.tensor(values, dtype=torch.float64)
        num_long = int(numbers.isnan().sum())
        if num_long:
            logger.warning(
                "%s: %d of %d candidates are too long for it, and have the score 0.", self.name, num_long, len(texts)
            )
        ids = self.model.tokens_of(prompts, list(texts))
        counts = [0 if math.isnan(value) else len(one) for value, one in zip(values, ids, strict=True)]
        scores = numbers.sigmoid().nan_to_num(0.0).tolist()
        return [StepScores((score,), count) for score, count in zip(scores, counts, strict=True)]


@dataclass(frozen=True)
class _Here:
    device: torch.device
    trust_remote_code: bool = False


def load_model_scorer(name: str, kind: str = "auto") -> Scorer:
    """Load a reward model, of steps or of the whole, onto the GPU where there is one.

    Args:
        name: Folder, id on the hub, or `id@revision`.
        kind: One of `scorers.KINDS`.

    Raises:
        ValueError: There is no such model, it is of no kind that we know, or weights are missing.
    """
    source = _source_of(name)
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        config = AutoConfig.from_pretrained(source.name, revision=source.revision, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(source.name, revision=source.revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"--scorer {name}: it is no model that can be loaded ({reason}).") from error
    chosen = find_kind(name, config, source, tokenizer) if kind == "auto" else kind
    logger.info("The scorer %s is of the kind %s, on %s.", name, chosen, where)
    if chosen == "outcome":
        try:
            return OutcomeModel(name, load_reward_model(name, _Here(where)))
        except ValueError as error:
            raise ValueError(f"--scorer {name}, read as a reward model: {error}") from error
    backbone, head = _load(name, chosen, config, source, tokenizer)
    for module in (backbone, head):
        module.requires_grad_(False).eval().to(where)
    limit = context_tokens(config) or tokenizer.model_max_length
    return ProcessModel(name, chosen, tokenizer, backbone, head, limit)


def _source_of(name: str) -> Source:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Source(str(folder), None)
    if name.startswith(("/", "./", "../", "~")):
        raise ValueError(f"--scorer {name}: there is no folder {folder.resolve()}.")
    base, _, revision = name.partition("@")
    return Source(base, revision or None)


def find_kind(name: str, config: PreTrainedConfig, source: Source, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the kind of a model.

    A language model that answers + or - looks like any other: these are known by their names alone.

    Raises:
        ValueError: It is of none.
    """
    architecture = (config.architectures or [""])[0]
    has_separator = "<extra_0>" in tokenizer.get_vocab()
    if (
        has_separator
        and config.num_labels == 2
        and architecture.endswith(("ForProcessRewardModel", "ForTokenClassification"))
    ):
        return "qwen"
    if architecture.endswith("ForSequenceClassification") and config.num_labels == 1:
        return "outcome"
    if source.weights(_VALUE_HEAD):
        return "skywork"
    lowered = name.lower()
    if architecture.endswith("ForCausalLM") and "shepherd" in lowered:
        return "math_shepherd"
    if architecture.endswith("ForCausalLM") and ("rlhflow" in lowered or "prm-" in lowered):
        return "rlhflow"
    raise ValueError(
        f"--scorer {name}: what kind of reward model it is can't be told from its architecture ({architecture}, "
        f"{config.num_labels} labels; <extra_0> is {'' if has_separator else 'not '}in its vocabulary) and name. Say "
        f"so by --scorer_kind: {', '.join(LAYOUTS)}, outcome."
    )


def _load(
    name: str, kind: str, config: PreTrainedConfig, source: Source, tokenizer: PreTrainedTokenizerBase
) -> tuple[nn.Module, StepHead]:
    architecture = (config.architectures or [""])[0]
    if kind == "qwen" and architecture.endswith("ForTokenClassification"):
        model = _from_pretrained(AutoModelForTokenClassification, name, source)
        head = model.score if hasattr(model, "score") else model.classifier
        return model.base_model, StepHead(checked_head(name, head, 2))
    if kind == "qwen":
        head = checked_head(name, built_head(name, source, "score."), 2)
        return _from_pretrained(AutoModel, name, source), StepHead(head)
    if kind == "skywork":
        head = checked_head(name, built_head(name, source, f"{_VALUE_HEAD}."), 1)
        return _from_pretrained(AutoModel, name, source), StepHead(head)
    model = _from_pretrained(AutoModelForCausalLM, name, source)
    if kind == "math_shepherd":
        single_id(tokenizer, SHEPHERD_TAG)
    return model.base_model, StepHead(
        model.get_output_embeddings(), [single_id(tokenizer, "+"), single_id(tokenizer, "-")]
    )


def _from_pretrained(auto_class: Any, name: str, source: Source) -> Any:
    model, loading = auto_class.from_pretrained(
        source.name, revision=source.revision, dtype="auto", trust_remote_code=False, output_loading_info=True
    )
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])[:3]
        raise ValueError(f"--scorer {name}: its checkpoint lacks weights, which would be random: {missing}.")
    return model
