# SPDX-License-Identifier: Apache-2.0
"""Reward models by model id or folder: a classifier with one label that scores prompt and completion together.

Differences from TRL, which also takes a model id in `reward_funcs`:
1. The score head must come from the checkpoint. TRL would train on that of a random one.
2. Every process holds the whole model, also under ZeRO-3 and FSDP, so that processes may score different numbers of
   rows: the router and `summary_only` work. 14 GB a GPU for 7B parameters in bf16.
3. Rows are scored a few at a time; a conversation beyond the model's context is not judged (NaN), instead of failing.
   A None would count as 0 beside other rewards, which may be more than what the model gives.
"""

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations import deepspeed

from open_r1.models import context_tokens

logger = logging.getLogger(__name__)

TOO_LONG = "too_long"  # the verdict on a row that carries no advantage, though nothing has failed
_ROWS_AT_ONCE = 8
_PATH_PREFIXES = ("/", "./", "../", "~")  # no id on the hub starts so


@dataclass(frozen=True)
class RewardModel:
    """Return the score of the model for every prompt with its completion.

    Range: any number, as the model was trained; NaN for a conversation longer than `max_tokens`, of which the column
    `<name>/verdict` says `too_long` (else `scored`) and the metric `<name>/too_long` the share. Conversations are
    rendered by the chat template of the reward model.
    Source: `AutoModelForSequenceClassification` with one label, as TRL's RewardTrainer makes it.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    max_tokens: int | None

    @property
    def __name__(self) -> str:
        """Metric key."""
        return metric_key(self.name)

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        *,
        log_extra: Callable[..., None] | None = None,
        log_metric: Callable[..., None] | None = None,
        **columns: object,
    ) -> list[float | None]:
        ids = self.tokens_of(prompts, completions)
        fits = [self.max_tokens is None or len(tokens) <= self.max_tokens for tokens in ids]
        fitting = [row for row, is_fitting in enumerate(fits) if is_fitting]
        if log_metric is not None and ids:
            log_metric(f"{self.__name__}/too_long", 1 - len(fitting) / len(ids))
        if log_extra is not None:
            log_extra(f"{self.__name__}/verdict", ["scored" if is_fitting else TOO_LONG for is_fitting in fits])
        scores: list[float | None] = [math.nan] * len(ids)
        for start in range(0, len(fitting), _ROWS_AT_ONCE):
            rows = fitting[start : start + _ROWS_AT_ONCE]
            for row, score in zip(rows, self._score([ids[row] for row in rows]), strict=True):
                scores[row] = score
        return scores

    def tokens_of(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[list[int]]:
        """Return the token ids of each conversation, also of those that are too long."""
        texts = [self._render(prompt, completion) for prompt, completion in zip(prompts, completions, strict=True)]
        return [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]

    def _render(self, prompt: Any, completion: Any) -> str:
        if isinstance(prompt, str):
            return prompt + completion
        # `summary_only` and tool calls leave messages, plain completions text.
        answer = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else list(completion)
        return self.tokenizer.apply_chat_template([*prompt, *answer], tokenize=False)

    def _score(self, ids: list[list[int]]) -> list[float]:
        # Padded on the right, since the model reads the score at the last token that is not padding.
        inputs = self.tokenizer.pad({"input_ids": ids}, padding_side="right", return_tensors="pt")
        with torch.inference_mode():
            return self.model(**inputs.to(self.model.device)).logits[:, 0].float().tolist()


class RewardModels:
    """The reward models of a run: rewards are built with them, and their weights loaded when all else was checked.

    Args:
        training_args: Their `device`, and `trust_remote_code`: whether code of the models' own may run.
    """

    def __init__(self, training_args: Any) -> None:
        self._training_args = training_args
        self._models: dict[str, RewardModel | None] = {}

    def __call__(self, name: str) -> Callable[..., list[float | None]]:
        """Return the reward of a model that `load` will load.

        Raises:
            ValueError: See `check_reward_model`.
        """
        check_reward_model(name, self._training_args)
        self._models.setdefault(name, None)

        def reward(**columns: Any) -> list[float | None]:
            model = self._models[name]
            assert model is not None, f"{name} is not loaded"
            return model(**columns)

        reward.__name__ = metric_key(name)
        return reward

    def load(self) -> None:
        """Load all of them.

        Raises:
            ValueError: Weights are missing in a checkpoint.
        """
        for name in self._models:
            self._models[name] = load_reward_model(name, self._training_args)


def metric_key(name: str) -> str:
    """Return the metric key of a reward model: the last part of the id, as in TRL."""
    return Path(_split_revision(name)[0]).resolve().name


def check_reward_model(name: str, training_args: Any) -> PreTrainedConfig:
    """Refuse a reward model that can't be found or can't score, before any weights are loaded.

    Raises:
        ValueError: There is no such folder or model, it is no classifier with one label, or its tokenizer can't render
            a conversation.
    """
    source, revision = _split_revision(name)
    if name.startswith(_PATH_PREFIXES) and not Path(source).is_dir():
        raise ValueError(f"The reward model {name!r} in reward_funcs: there is no folder {Path(source).resolve()}.")
    options = {"revision": revision, "trust_remote_code": training_args.trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(source, **options)
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"The reward model {name!r} in reward_funcs can't be loaded ({reason}). Its name has a slash, so it is "
            f"read as a model on the hub or a folder (in {Path.cwd()})."
        ) from error
    architectures = config.architectures or []
    is_classifier = any(kind.endswith("ForSequenceClassification") for kind in architectures)
    if not is_classifier and "AutoModelForSequenceClassification" not in (config.to_dict().get("auto_map") or {}):
        raise ValueError(
            f"{name!r} in reward_funcs is not a reward model: its architecture is {architectures}, so its score would "
            "be random. It must be a ...ForSequenceClassification with one label."
        )
    if config.num_labels != 1:
        raise ValueError(
            f"{name!r} in reward_funcs has {config.num_labels} labels: a reward model has one, its score. Write a "
            "function of your own (path/to/file.py:function) that makes one number of them."
        )
    if tokenizer.chat_template is None:
        raise ValueError(f"The tokenizer of the reward model {name!r} has no chat template to render a conversation.")
    return config


def load_reward_model(name: str, training_args: Any) -> RewardModel:
    """Load a reward model onto this process's device, in the dtype of its checkpoint.

    Args:
        name: Model id, `id@revision`, or a folder.
        training_args: Its `device`, and `trust_remote_code`: whether code of the model's own may run.

    Raises:
        ValueError: See `check_reward_model`; or weights are missing in the checkpoint.
    """
    config = check_reward_model(name, training_args)
    source, revision = _split_revision(name)
    options = {"revision": revision, "trust_remote_code": training_args.trust_remote_code}
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    with _whole_on_every_process():
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            source, dtype="auto", output_loading_info=True, **options
        )
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])[:3]
        raise ValueError(
            f"The checkpoint of the reward model {name!r} lacks weights, which would be random: {missing}."
        )
    # A batch is scored at its last token that is no padding: the model must know which token that is.
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model.requires_grad_(False).eval().to(training_args.device)
    logger.info("Reward model %s on %s (%s).", name, training_args.device, model.dtype)
    return RewardModel(name, model, tokenizer, context_tokens(config))


def _split_revision(name: str) -> tuple[str, str | None]:
    """Return (id, revision) of `id@revision`, or the folder of that very name.

    >>> _split_revision("org/model@v1.0"), _split_revision("org/model")
    (('org/model', 'v1.0'), ('org/model', None))
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder), None
    source, _, revision = name.partition("@")
    return source, revision or None


@contextmanager
def _whole_on_every_process() -> Iterator[None]:
    """Load a model as if there were one process: neither sharded (ZeRO-3) nor filled on rank 0 alone (FSDP)."""
    reference = deepspeed._hf_deepspeed_config_weak_ref  # alive as long as the training arguments
    name = "FSDP_CPU_RAM_EFFICIENT_LOADING"
    setting = os.environ.get(name)
    deepspeed.unset_hf_deepspeed_config()
    if setting is not None:
        os.environ[name] = "false"
    try:
        yield
    finally:
        config = None if reference is None else reference()
        if config is not None:
            deepspeed.set_hf_deepspeed_config(config)
        if setting is not None:
            os.environ[name] = setting
