# SPDX-License-Identifier: Apache-2.0
"""Trainers of TRL, made restartable and measurable. `GRPOTrainer` is subclassed here and nowhere else.

What differs from TRL, and why:
1. A checkpoint gets a manifest, written last; older ones are deleted only after that (TRL deletes first, so a kill in
   between could leave none). GRPO also saves the rollouts that are still in use, so that a resumed run is exact when
   one generation serves several optimizer steps; it draws the order of prompts of every epoch from its number.
2. A row that a reward could not judge for reasons of infrastructure (`UNSCORABLE`, NaN), or because it is too long for
   a reward model, carries no advantage. TRL would count it as 0 beside other rewards, so that an outage would punish
   the policy.
3. A loss or gradient that is not finite stops the run before it reaches a checkpoint, and (but for DeepSpeed in fp32,
   which takes its step within the backward pass) before it reaches the weights.
4. Tokens per second, and the split of a step into generate, reward and update, stand in the log history.
5. Evaluation samples with a seed of its own and leaves the random state of the training alone; it reports avg@k with
   an interval, pass@k and (on request) greedy decoding. A vLLM server has a random state of its own, which no seed of
   ours reaches. Every batch of rollouts is kept in rollouts/ when `log_completions` is on.
6. vLLM stops at the same end tokens as transformers. `stop_strings` end a completion with both; an EOS token is put
   behind the text then, which nothing learns from, so that all who ask for the last token see a completion as ended.
7. TRL's warning of a row without any reward quotes all its columns: it's cut, since tests of programs are megabytes.
   Its warning that it ignores `model_init_kwargs` is left out: it loads the reference with them.
8. The rows of a micro-batch are packed (`packing.py`), with the gradients of TRL. Where the loss is a sum over rows,
   the rows of an optimizer step are dealt to its micro-batches so that their tokens are balanced, and
   `max_tokens_per_micro_batch` splits a micro-batch further.
9. A recipe may name a loss and an advantage (`losses.py`), have groups replaced that teach nothing
   (`dynamic_sampling.py`), and change lengths, groups, data and rewards between two generations (`stages.py`).
10. A rollout whose environment `is_lost` has no reward. With tools, rollouts/ has the text as the policy saw it.
"""

import copy
import logging
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import trl
from accelerate.utils import DistributedType, gather_object, is_peft_model
from datasets import Dataset
from torch.utils.data import Sampler
from transformers.trainer_utils import EvalLoopOutput
from trl.trainer.utils import split_tensor_dict

from open_r1.configs.evaluation import ROLLOUTS_NAME
from open_r1.evaluation.metrics import reward_metric_names, reward_metrics
from open_r1.generation.vllm_here import stopping_kwargs, vllm_settings
from open_r1.models import end_token_ids
from open_r1.reward_models import TOO_LONG
from open_r1.rewards import Reward, is_unscorable
from open_r1.rewards.wrappers import Ask, wrap
from open_r1.training.base import TrainingMixin
from open_r1.training.dynamic_sampling import (
    MEANS_OVER_ROWS,
    Round,
    informative_groups,
    num_prompts_of_round,
    refill,
)
from open_r1.training.losses import compute_own_loss, load_advantage, load_loss, replace_advantages
from open_r1.training.packing import deal, is_exact, log_probs_of_pack, num_packs
from open_r1.training.prompts import PromptStream
from open_r1.training.stages import Curriculum, PreparedStage
from open_r1.training.tools import end_sessions

logger = logging.getLogger(__name__)

_MAX_WARNING_CHARS = 2000
_ROLLOUT_STATE = "rollout_state_{rank}.pt"
# The CPU's generator takes 32 bits of a seed; TRL's sampler shuffles epoch k with `seed` + k.
_REFILL_SEED_OFFSET = 1_000_000
# Losses that are sums over rows, so that these may meet in any micro-batch; the others have means over a micro-batch.
SUMS_OVER_ROWS = (*MEANS_OVER_ROWS, "dapo", "cispo", "vespo")


def write_rollouts(output_dir: Path, mode: str, step: int, number: int, rows: Sequence[dict[str, Any]]) -> None:
    """Write one batch of completions to `rollouts/<mode>-<step>-<number>.parquet`, whole or not at all."""
    folder = output_dir / ROLLOUTS_NAME
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{mode}-{step:06d}-{number}.parquet"
    temporary = path.with_suffix(".tmp")
    pd.DataFrame(rows).assign(step=step).to_parquet(temporary)
    temporary.replace(path)


class SFTTrainer(TrainingMixin, trl.SFTTrainer):
    """TRL's SFT trainer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.eos_token_ids = list(end_token_ids(self.processing_class, self.model.generation_config))

    def _count_tokens(self) -> float:
        return self._total_train_tokens

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        if self.args.include_num_input_tokens_seen == "no":  # else transformers counts in it, in its own way
            self.state.num_input_tokens_seen = self._total_train_tokens
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.args.include_num_input_tokens_seen == "no":
            self._total_train_tokens = self.state.num_input_tokens_seen


class SamplingMixin(TrainingMixin):
    """What the trainers share that learn from completions of the policy: order of prompts, tokens, rollouts/."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._num_rollout_batches: Counter[tuple[str, int]] = Counter()
        super().__init__(*args, **kwargs)

    def _count_tokens(self) -> float:
        return self.state.num_input_tokens_seen

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Sampler:
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler

    def _run_epoch(self, *args: Any, epoch: int, **kwargs: Any) -> None:
        # TRL seeds its order of prompts once: resumed in the second epoch, it would draw that of the first again.
        if self.shuffle_dataset:
            # pyrefly: ignore[missing-attribute]
            self._train_sampler.generator.manual_seed(self.args.seed + epoch)
        super()._run_epoch(*args, epoch=epoch, **kwargs)

    def _keep_rollouts(self, columns: dict[str, list]) -> list[dict[str, Any]]:
        """Return the rows of all processes; keep them in rollouts/ where that was asked for."""
        rows = gather_object([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
        if self.log_completions and self.accelerator.is_main_process:
            mode, step = "train" if self.model.training else "eval", self.state.global_step
            step += mode == "train"  # as in the log: the step that learns from them first
            number = self._num_rollout_batches[mode, step]
            self._num_rollout_batches[mode, step] += 1
            write_rollouts(Path(self.args.output_dir), mode, step, number, rows)
        return rows

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log; TRL writes completions into a folder that it makes before earlier runs are archived."""
        if self.log_completions and self.accelerator.is_main_process:
            (Path(self.args.output_dir) / "completions").mkdir(parents=True, exist_ok=True)
        super().log(logs, start_time)


class DistillationTrainer(SamplingMixin, trl.DistillationTrainer):
    """TRL's trainer of on-policy distillation: the student samples, and learns the teacher's next tokens there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = self.args.generation_kwargs
        self.eos_token_ids = list(end_token_ids(self.processing_class, self.model.generation_config, given))
        self.generation_config.eos_token_id = self.eos_token_ids
        if self.use_vllm:
            self.vllm_generation.generation_kwargs = stopping_kwargs(given, self.eos_token_ids, None)

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        if self.log_completions:
            masks = output["completion_mask"].bool()
            ids = [own[mask].tolist() for own, mask in zip(output["completion_ids"], masks, strict=True)]
            self._keep_rollouts(
                {
                    "prompt": [row["prompt"] for row in inputs],
                    "completion": self.processing_class.batch_decode(ids, skip_special_tokens=True),
                    "solution": [row.get("solution") for row in inputs],
                    "num_tokens": [len(own) for own in ids],
                    "is_truncated": [own[-1] not in self.eos_token_ids for own in ids],
                }
            )
        return output


class GRPOTrainer(SamplingMixin, trl.GRPOTrainer):
    """TRL's GRPO trainer with the differences listed at the top of this file."""

    def __init__(
        self, *args: Any, reward_funcs: list[Callable], curriculum: Curriculum | None = None, **kwargs: Any
    ) -> None:
        logging.getLogger(trl.GRPOTrainer.__module__).addFilter(_tidy_message)
        self._failed_batches = 0
        self._is_greedy = False
        self._evaluated: list[dict[str, Any]] = []
        self._rollout: dict[str, list] = {}
        self._seconds = {"generate": 0.0, "reward": 0.0, "step": 0.0}
        super().__init__(*args, reward_funcs=[*reward_funcs], **kwargs)
        self._environment_rewards: list[Any] = self.reward_funcs[len(reward_funcs) :]  # `get_reward`, if there is one
        self.replace_rewards(reward_funcs)
        self.own_loss, self.own_advantage = load_loss(self.args.loss), load_advantage(self.args.advantage)
        self._has_stop_text: list[bool] = []
        self._micro_batches: list[list[int]] = []  # the rows of each, of the generation batch that is being made
        self._refills = PromptStream(self.train_dataset, self.args.seed + _REFILL_SEED_OFFSET)
        self._is_refilling = False
        stop_strings = self.args.stop_strings
        if self.use_vllm:
            given = self.args.generation_kwargs
            self.eos_token_ids = list(end_token_ids(self.processing_class, self.model.generation_config, given))
            self.vllm_generation.generation_kwargs = stopping_kwargs(given, self.eos_token_ids, stop_strings)
        elif stop_strings:
            self.generation_config.stop_strings = stop_strings
            # TRL passes no tokenizer, without which transformers can't look for texts.
            self.model.generate = partial(self.model.generate, tokenizer=self.processing_class)
        self.curriculum = curriculum
        if curriculum is not None:
            self._enter(curriculum.enter(1))

    @property
    def prompt_stream(self) -> PromptStream:
        """The prompts that are drawn beside TRL's sampler: those of the stage, or refills."""
        return self._refills if self.curriculum is None else self.curriculum.stream

    def replace_rewards(self, reward_funcs: Sequence[Callable]) -> None:
        """Judge by other functions from now on, whose names and order are those of the first ones."""
        self.reward_funcs = self._watch([*reward_funcs, *self._environment_rewards])

    def _enter(self, stage: PreparedStage) -> None:
        """Generate, judge and learn as a stage of the curriculum says."""
        length = stage.args.max_completion_length
        self.args.num_generations = self.num_generations = stage.args.num_generations
        self.args.max_completion_length = self.max_completion_length = length
        if self.use_vllm:
            self.vllm_generation.max_completion_length = length  # pyrefly: ignore[bad-assignment]
        else:
            self.generation_config.max_new_tokens = self.generation_kwargs["max_new_tokens"] = length
        self.replace_rewards(stage.rewards)

    def _draw_rows(self, prompts: list[dict[str, Any]], group: int) -> list[dict[str, Any]]:
        """Return this process's rows of prompts, each `group` times in a row as TRL's sampler deals them."""
        rows = [dict(prompt) for prompt in prompts for _ in range(group)]
        share, rank = len(rows) // self.accelerator.num_processes, self.accelerator.process_index
        return rows[rank * share : (rank + 1) * share]

    def _watch(self, reward_funcs: Sequence[Reward]) -> list[Reward]:
        """Return rewards that remember which rows of their last batch failed for reasons of infrastructure."""
        self._failed: list[list[bool]] = [[] for _ in reward_funcs]

        async def judge(number: int, ask: Ask, **columns: Any) -> list[float | None]:
            values = await ask(**columns)
            self._failed[number] = [is_unscorable(value) for value in values]
            return values

        return [wrap(reward, partial(judge, number)) for number, reward in enumerate(reward_funcs)]

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        with self._timed("step"):
            loss = super().training_step(*args, **kwargs)
        if self._step % self.current_gradient_accumulation_steps == 0:
            seconds, self._seconds = self._seconds, dict.fromkeys(self._seconds, 0.0)
            seconds["update"] = seconds.pop("step") - seconds["generate"] - seconds["reward"]
            for name, value in seconds.items():
                self._metrics["train"][f"time/{name}_s"].append(value)
        return loss

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        is_due = self._step % (self.args.steps_per_generation * self.num_iterations) == 0
        if not (self.args.pack and self.model.training and (is_due or self._buffered_inputs is None)):
            return super()._prepare_inputs(generation_batch)
        self._micro_batches = []
        batch = self._generate_and_score_completions(generation_batch)
        micro_batches = self._micro_batches or self._draw_micro_batches(lengths_of(batch))
        torch.randperm(len(batch["completion_ids"]))  # here TRL draws its order
        self._buffered_inputs = split_tensor_dict(rows_of(batch, [*chain(*micro_batches)]), len(micro_batches))
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _draw_micro_batches(self, lengths: list[int]) -> list[list[int]]:
        """Return the rows of each micro-batch: those that TRL draws for an optimizer step, balanced by tokens."""
        with torch.random.fork_rng(devices=[]):  # what is sampled later doesn't depend on when this is drawn
            order = torch.randperm(len(lengths)).tolist()
        number = self.args.steps_per_generation
        window = min(self.args.gradient_accumulation_steps, number) if self.can_deal else 1
        most_rows = len(order) // number
        size = most_rows * window
        windows = [order[start : start + size] for start in range(0, len(order), size)]
        return [part for rows in windows for part in deal(rows, lengths, window, most_rows)]

    @property
    def can_deal(self) -> bool:
        """Whether rows are packed, and gradients don't depend on which rows of an optimizer step share a pack."""
        accumulated, per_generation = self.args.gradient_accumulation_steps, self.args.steps_per_generation
        return (
            self.is_packed
            and self.loss_type in SUMS_OVER_ROWS
            and (self.own_loss is None or self.own_loss.is_row_separable)
            and not (self._entropy_bonus_enabled or self.aux_loss_enabled)
            and self.top_entropy_quantile == 1.0
            and 0 in (per_generation % accumulated, accumulated % per_generation)
        )

    @cached_property
    def is_packed(self) -> bool:
        """Whether rows are packed: it was asked for, and doesn't change what this model makes of them."""
        if not self.args.pack:
            return False
        settings, is_training = self.model.config.get_text_config().to_dict(), self.model.training
        if settings.get("attention_chunk_size"):  # chunks would be counted from the start of a pack
            return False
        self.model.eval()  # without dropout
        with torch.no_grad():
            found = is_exact(
                lambda *rows: trl.GRPOTrainer._get_per_token_logps_and_entropies(self, self.model, *rows)[0],
                lambda *rows: self._log_probs_of_pack(self.model, *rows)[0],
                settings["vocab_size"],
                self.accelerator.device,
            )
        self.model.train(is_training)
        if not found:
            logger.warning("Rows are not packed: in a pack, this model would let one row see another.")
        return found

    def _log_probs_of_pack(self, model: torch.nn.Module, *rows: Any, compute_aux_loss: bool = False) -> tuple:
        base = self.accelerator.unwrap_model(model)
        base = base.get_base_model() if is_peft_model(base) else base
        forward = partial(log_probs_of_pack, output_router_logits=True) if compute_aux_loss else log_probs_of_pack
        with self.accelerator.autocast():
            return forward(model, base, *rows)

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **images: Any,
    ) -> tuple:
        if not self.is_packed:
            rows = input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, compute_aux_loss
            return super()._get_per_token_logps_and_entropies(model, *rows)
        lengths, size = attention_mask.sum(1).tolist(), batch_size or len(input_ids)
        packs = [list(range(len(lengths)))[start : start + size] for start in range(0, len(lengths), size)]
        if batch_size is not None and self.model.training and not self._is_refilling:
            # The policy that sampled, or the reference.
            self._micro_batches = self._micro_batches or self._draw_micro_batches(lengths)
            packs = [pack for rows in self._micro_batches for pack in self._packs_of(rows, lengths)]
        found = [
            self._log_probs_of_pack(
                model, input_ids[rows], attention_mask[rows], logits_to_keep, compute_aux_loss=compute_aux_loss
            )
            for rows in packs
        ]
        log_probs, entropies, aux_losses = zip(*found, strict=True)
        back = torch.tensor([*chain(*packs)], device=input_ids.device).argsort()
        return (
            torch.cat(log_probs)[back],
            torch.cat(entropies)[back] if compute_entropy else None,
            torch.stack(aux_losses).mean() if compute_aux_loss else None,
        )

    def _renew_old_log_probs(self, batch: dict[str, torch.Tensor]) -> None:
        """Compute old log-probs again in the packs of the update, after rows of a generation batch were replaced."""
        self._micro_batches = []
        if "old_per_token_logps" in batch and self.is_packed:
            ids, mask = (
                torch.cat([batch[f"prompt_{part}"], batch[f"completion_{part}"]], 1) for part in ("ids", "mask")
            )
            with torch.no_grad():
                batch["old_per_token_logps"] = self._get_per_token_logps_and_entropies(
                    self.model, ids, mask, batch["completion_ids"].size(1), self.args.per_device_train_batch_size
                )[0]

    def _packs_of(self, rows: list[int], lengths: list[int]) -> list[list[int]]:
        """Return the packs that the rows of a micro-batch are split into; as many on each process."""
        most_tokens = self.args.max_tokens_per_micro_batch
        if most_tokens is None or not self.can_deal:
            return [rows]
        number = torch.tensor(num_packs(rows, lengths, most_tokens), device=self.accelerator.device)
        return deal(rows, lengths, int(self.accelerator.gather(number).max()), len(rows))

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the loss of a micro-batch; of several packs all but the last have then been through the backward."""
        lengths, total = lengths_of(inputs), 0.0
        packs = self._packs_of(list(range(len(lengths))), lengths) if torch.is_grad_enabled() else [[]]
        if len(packs) == 1:
            return self._loss_of(model, inputs)
        state, is_boundary = self.accelerator.gradient_state, self.accelerator.sync_gradients
        backward = self.accelerator.backward
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED:
            backward = partial(backward, scale_wrt_gas=False)  # as in transformers
        for rows in packs[:-1]:
            state._set_sync_gradients(False)  # else DeepSpeed would take its step
            with self.accelerator.no_sync(model):
                loss = self._loss_of(model, rows_of(inputs, rows), len(rows) / len(lengths))
                backward(loss)
            total += loss.detach()
            state._set_sync_gradients(is_boundary)
        return self._loss_of(model, rows_of(inputs, packs[-1]), len(packs[-1]) / len(lengths)) + total

    def _loss_of(self, model: torch.nn.Module, inputs: dict[str, Any], share: float = 1.0) -> torch.Tensor:
        """Return the loss of the groups that were kept."""
        scale = inputs.get("loss_scale", 1.0)
        # The auxiliary loss of experts is a mean over all rows, those that were left out included.
        coef, self.router_aux_loss_coef = self.router_aux_loss_coef, self.router_aux_loss_coef / scale
        loss = super().compute_loss(model, inputs) * scale
        self.router_aux_loss_coef = coef
        return loss * share if self.loss_type in MEANS_OVER_ROWS else loss

    def _generate(self, prompts: list) -> tuple:
        try:
            with self._timed("generate"):
                output = super()._generate(prompts)
        except RuntimeError as error:
            if "probability tensor" in str(error):  # the weights are finite, but so large that the logits are not
                raise self._divergence("The probabilities of the next token are NaN") from error
            raise
        finally:
            end_sessions(self.environments)
        if not self.args.stop_strings:
            return output
        prompt_ids, completion_ids, _, *rest = output
        # What TRL calls the mask of tools: 0 for tokens that are not the policy's own.
        masks = [
            [1] * (len(ids) - has_stop_text) + [0] * has_stop_text
            for ids, has_stop_text in zip(completion_ids, self._has_stop_text, strict=True)
        ]
        return prompt_ids, completion_ids, masks, *rest

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> tuple:
        completion_ids, logprobs = super()._generate_single_turn(prompt_ids, *args, **kwargs)
        if not self.args.stop_strings:
            return completion_ids, logprobs
        self._has_stop_text = [False] * len(completion_ids)
        for row, ids in enumerate(completion_ids):
            # transformers pads a completion that ends before others, and looks for texts across the prompt's end.
            before = [] if self.use_vllm else prompt_ids[row]
            own = ids if self.use_vllm else without_padding(ids, self.processing_class.pad_token_id)
            if own[-1] in self.eos_token_ids or not self._ends_with_stop_text(before + own):
                continue
            self._has_stop_text[row] = True
            completion_ids[row] = [*own, self.processing_class.eos_token_id]
            if logprobs is not None:
                logprobs[row] = [*logprobs[row], 0.0]
        return completion_ids, logprobs

    def _ends_with_stop_text(self, ids: list[int]) -> bool:
        text, before = self.processing_class.decode(ids), self.processing_class.decode(ids[:-1])
        return any(text.count(stop) > before.count(stop) for stop in self.args.stop_strings)

    def _calculate_rewards(
        self, inputs: list[dict], prompts: list, completions: list, completion_ids_list: list
    ) -> torch.Tensor:
        with self._timed("reward"):
            rewards_per_func = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        unscorable, lost = self._unscorable_rows(len(prompts))
        rewards_per_func[unscorable] = torch.nan
        self.rewards_per_func = rewards_per_func
        self._metrics["train" if self.model.training else "eval"]["rewards/unscorable"].append(
            unscorable.float().mean().item()
        )
        if not self._is_refilling:
            self._note_failed_batch(is_empty=bool(unscorable.all()), is_outage=bool(lost.any()))
        start = self.accelerator.process_index * len(prompts)
        self._rollout = {
            "prompt": prompts,
            "completion": (
                self.processing_class.batch_decode(completion_ids_list)  # with calls and roles
                if self.tools or self.rollout_func
                else [text_of(completion) for completion in completions]
            ),
            "solution": [row.get("solution") for row in inputs],
            "num_tokens": [len(ids) for ids in completion_ids_list],
            "is_truncated": [ids[-1] not in self.eos_token_ids for ids in completion_ids_list],
            "is_greedy": [self._is_greedy] * len(prompts),
            **{
                name: rewards_per_func[start : start + len(prompts), column].tolist()
                for column, name in enumerate(self.reward_func_names)
            },
            **{name: values for name, values in self._pending_extra_logs.items() if len(values) == len(prompts)},
        }
        if self.curriculum is not None and self.model.training and not self._is_refilling:
            truncated = torch.tensor(
                self._rollout["is_truncated"], dtype=torch.float32, device=rewards_per_func.device
            )
            share = self.accelerator.gather(truncated).mean().item()
            self.curriculum.note(share, rewards_per_func[:, 0].nanmean().item())
        return rewards_per_func

    def weighted_rewards(self) -> torch.Tensor:
        """Return the reward of each completion that was judged last, on all processes; NaN for one without any."""
        rewards = (self.rewards_per_func * self.reward_weights.to(self.rewards_per_func.device)).nansum(dim=1)
        rewards[self.rewards_per_func.isnan().all(dim=1)] = torch.nan
        return rewards

    def _unscorable_rows(self, num_rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return for the rows of all processes whether a reward has failed, and whether because of an outage."""
        failed, lost = torch.zeros(2, num_rows, dtype=torch.bool, device=self.accelerator.device)
        rewards = zip(self.reward_func_names, self._failed, self.reward_weights.tolist(), strict=True)
        for name, failed_rows, weight in rewards:
            if weight == 0:
                continue  # only watched: its failure takes nothing away from the sum
            verdicts = self._pending_extra_logs.get(f"{name}/verdict", [])
            too_long = [len(verdicts) == num_rows and verdicts[row] == TOO_LONG for row in range(num_rows)]
            has_failed = torch.tensor(failed_rows, dtype=torch.bool, device=failed.device)
            failed |= has_failed
            lost |= has_failed & ~torch.tensor(too_long, device=failed.device)
        for row, environment in enumerate(self.environments or ()):
            failed[row] |= (is_lost := getattr(environment, "is_lost", False))
            lost[row] |= is_lost
        return self.accelerator.gather(failed), self.accelerator.gather(lost)

    def _note_failed_batch(self, *, is_empty: bool, is_outage: bool) -> None:
        """Stop after two batches that taught nothing because of an outage; warn where the rows were too long."""
        self._failed_batches = self._failed_batches + 1 if is_empty and is_outage else 0
        if self._failed_batches == 2:
            raise RuntimeError(
                "No completion of the last two batches could be judged on any process: the service that a reward "
                "needs is down. No reward was learned from; run the same command again when it is back."
            )
        if is_empty and not is_outage:
            logger.warning(
                "Step %d: every completion of a batch is too long for a reward model, so it teaches nothing. "
                "Lower `max_completion_length`, or take a reward model with a longer context.",
                self.state.global_step + 1,
            )

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict[str, torch.Tensor]:
        if self.curriculum is not None and self.model.training:
            stage = self.curriculum.advance(self.state.global_step)
            if stage is not None:
                self._enter(stage)
            group = self.num_generations or 1
            prompts = self.curriculum.stream.take((self.args.generation_batch_size or 0) // group)
            inputs = self._draw_rows(prompts, group)
        is_refilled = self.model.training and self.args.dynamic_sampling_rounds > 0
        return self._generate_informative(inputs) if is_refilled else self.generate_round(inputs)

    def _generate_informative(self, inputs: list[dict]) -> dict[str, torch.Tensor]:
        """Generate and score a batch; put groups with other prompts in the place of those that teach nothing."""
        rounds, group = self.args.dynamic_sampling_rounds, self.num_generations or 1

        def draw(num_missing: int) -> Round:
            number = num_prompts_of_round(
                num_missing, group, self.accelerator.num_processes, are_whole=len(inputs) % group == 0
            )
            return self._generate_groups(self._draw_rows(self.prompt_stream.take(number), group))

        batch = self._generate_groups(inputs)
        with self._refilling():
            figures = refill(
                batch,
                draw,
                self.accelerator,
                max_rounds=rounds,
                pad_token_id=self.processing_class.pad_token_id,
                loss_type=self.loss_type,
            )
        if not batch.is_informative_P.all():
            self._renew_old_log_probs(batch.rows)
        metrics = self._metrics["train"]
        for name, value in figures.items():
            metrics[f"dynamic_sampling/{name}"].append(value)
        metrics["num_tokens"] = [self.state.num_input_tokens_seen]
        if figures["missing_groups"] == 1:
            logger.warning(
                "Step %d: the rewards of each group are all equal, also after `dynamic_sampling_rounds: %d`, so the "
                "batch teaches nothing. Are the problems too hard or too easy for the model?",
                self.state.global_step + 1,
                rounds,
            )
        return batch.rows

    def _generate_groups(self, inputs: list[dict]) -> Round:
        """Generate and score a round, and say which of its groups teach something."""
        rows = self.generate_round(inputs)
        lengths = torch.tensor(self._rollout["num_tokens"], device=self.accelerator.device)
        lengths_PG = self.accelerator.gather(lengths).cpu().view(-1, self.num_generations or 1)
        is_informative_P = informative_groups(self.weighted_rewards().cpu().view_as(lengths_PG))
        metric = self.args.dynamic_sampling_metric
        if metric in self.reward_func_names:
            column = self.rewards_per_func[:, self.reward_func_names.index(metric)]
            values_PG = column.cpu().view_as(lengths_PG)
            is_informative_P &= informative_groups(values_PG) | values_PG.isnan().all(dim=1)
        return Round(rows, is_informative_P, lengths_PG)

    @contextmanager
    def _refilling(self) -> Iterator[None]:
        """Keep rounds of refills out of the figures of the batch, and out of what stops a run in an outage."""
        metrics, self._metrics["train"] = self._metrics["train"], defaultdict(list)
        # TRL's table of completions has the rows of a whole batch: a column that a refill logs first would have fewer.
        table, self._logs = self._logs, copy.deepcopy(self._logs)
        self._is_refilling = True
        try:
            yield
        finally:
            self._metrics["train"], self._logs, self._is_refilling = metrics, table, False

    def generate_round(self, inputs: list[dict]) -> dict[str, torch.Tensor]:
        """Generate and score completions of these rows, and keep them in rollouts/ where that was asked for."""
        output = super()._generate_and_score_completions(inputs)
        if self.own_advantage is not None:
            replace_advantages(self, output)
        if not self.model.training or self.log_completions:
            rows = self._keep_rollouts({**self._rollout, "advantage": output["advantages"].tolist()})
            if not self.model.training:
                self._evaluated += [{**row, "is_greedy": self._is_greedy} for row in rows]
        return output

    def _compute_loss(self, model: torch.nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        if self.own_loss is not None:
            return compute_own_loss(self, super()._compute_loss, model, inputs)
        return super()._compute_loss(model, inputs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with the stage of a curriculum."""
        if self.curriculum is not None:
            logs["stage"] = self.curriculum.number
        super().log(logs, start_time)

    def _extend_evaluation(self, output: EvalLoopOutput, args: tuple, prefix: str, kwargs: dict[str, Any]) -> None:
        if self.args.eval_greedy:
            with self._greedy():
                loader = self.get_eval_dataloader(args[0].dataset)
                trl.GRPOTrainer.evaluation_loop(self, loader, *args[1:], metric_key_prefix=prefix, **kwargs)
        summary = reward_metrics(self._evaluated, self.reward_func_names, self.num_generations_eval, prefix)
        self._evaluated = []
        output.metrics.update(summary)
        # TRL averages the means of batches, though the last one is smaller; its numbers would replace the exact ones.
        for name, value in summary.items():
            self._metrics["eval"].pop(name.removeprefix(f"{prefix}_"), None)
            if name.endswith(f"/avg@{self.num_generations_eval}"):
                reward = name.removeprefix(f"{prefix}_").rpartition("/")[0]
                self._metrics["eval"][f"rewards/{reward}/mean"] = [value]
        # An evaluation that is repeated at this step replaces the files of this one.
        self._num_rollout_batches.pop(("eval", self.state.global_step), None)

    def _estimates_of_split(self) -> list[str]:
        return reward_metric_names(
            self.reward_func_names, self.num_generations_eval, with_greedy=self.args.eval_greedy
        )

    @contextmanager
    def _greedy(self) -> Iterator[None]:
        """Decode each prompt once and greedily; the averages of the sampled completions stay untouched."""
        generations, self.num_generations_eval, self._is_greedy = self.num_generations_eval, 1, True
        metrics, self._metrics["eval"] = self._metrics["eval"], type(self._metrics["eval"])(list)
        try:
            with vllm_settings(self.vllm_generation, temperature=0.0) if self.use_vllm else self._without_sampling():
                yield
        finally:
            self.num_generations_eval, self._is_greedy = generations, False
            self._metrics["eval"] = metrics

    @contextmanager
    def _without_sampling(self) -> Iterator[None]:
        config = self.generation_config
        options = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "min_p": None}
        self.generation_config = type(config).from_dict({**config.to_dict(), **options})
        try:
            yield
        finally:
            self.generation_config = config

    def _load_best_model(self) -> None:
        super()._load_best_model()
        if self.use_vllm:
            self._last_loaded_step = -1  # what vLLM has are other weights of the same step

    def _sampling_group(self) -> int:
        # The processes of a tensor-parallel group must draw the same tokens.
        is_colocated = self.use_vllm and self.args.vllm_mode == "colocate"
        return self.args.process_index // (self.args.vllm_tensor_parallel_size if is_colocated else 1)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if self.model.training:
            self._seconds[name] += time.perf_counter() - started

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        # TRL's copy of the adapter that the run started from: resuming, transformers would load nothing beside it.
        shutil.rmtree(Path(output_dir or self.args.output_dir) / "ref", ignore_errors=True)

    def _save_rollout_state(self, checkpoint: Path) -> None:
        if self.args.save_only_model:
            return  # nothing can resume from such a checkpoint
        checkpoint.mkdir(parents=True, exist_ok=True)  # a rank that saves nothing else may be the first
        state = {"step": self._step, "buffered_inputs": self._buffered_inputs, "refills": self._refills.position}
        state["shape"] = self._shape_of_generations()
        if self._step % (self.args.steps_per_generation * self.num_iterations) == 0:
            state["buffered_inputs"] = None  # used up: the next step generates anew
        if self.curriculum is not None:
            state["curriculum"] = self.curriculum.state()
        torch.save(state, checkpoint / _ROLLOUT_STATE.format(rank=self.accelerator.process_index))

    def _shape_of_generations(self) -> list[int | None]:
        args = self.args
        shape = [args.per_device_train_batch_size, args.gradient_accumulation_steps, args.steps_per_generation]
        return [self.accelerator.num_processes, self.num_iterations, *shape]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / _ROLLOUT_STATE.format(rank=self.accelerator.process_index)
        if not path.is_file():  # fewer processes saved it; all but the rollouts is the same for all of them
            path = path.with_name(_ROLLOUT_STATE.format(rank=0))
        state = torch.load(path, map_location=self.accelerator.device, weights_only=True)
        if state.get("shape") == self._shape_of_generations():
            self._step, self._buffered_inputs = state["step"], state["buffered_inputs"]
        else:  # TRL's own 0 and None: it generates first
            logger.warning(
                "Batches or processes differ from those of %s: the run resumes at the next generation%s.",
                checkpoint,
                "" if state["buffered_inputs"] is None else ", and the rollouts in use are dropped",
            )
        self._refills.position = state.get("refills", 0)
        if self.curriculum is not None:
            self._enter(self.curriculum.load(state.get("curriculum")))


def _tidy_message(record: logging.LogRecord) -> bool:
    """Shorten what TRL logs, and leave out what isn't so: a filter of its logger."""
    message = record.getMessage()
    if "`model_init_kwargs` will be ignored" in message:
        return False
    if len(message) > _MAX_WARNING_CHARS:
        record.msg, record.args = f"{message[:_MAX_WARNING_CHARS]} ... ({len(message)} characters)", ()
    return True


def lengths_of(batch: dict[str, Any]) -> list[int]:
    """Return the tokens of each row, prompt and completion."""
    return (batch["prompt_mask"].sum(1) + batch["completion_mask"].sum(1)).tolist()


def rows_of(batch: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """Return these rows of tensors and lists of rows; numbers of the whole batch stay."""

    def take(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value[rows] if value.ndim else value
        return [value[row] for row in rows] if isinstance(value, list) else value

    return {name: take(value) for name, value in batch.items()}


def without_padding(ids: list[int], pad_token_id: int) -> list[int]:
    """Return the ids without padding behind them; at least one id is left."""
    end = len(ids)
    while end > 1 and ids[end - 1] == pad_token_id:
        end -= 1
    return ids[:end]


def text_of(completion: str | list[dict[str, Any]]) -> str:
    """Return the text of a completion: plain, or the messages' contents one after the other."""
    if isinstance(completion, str):
        return completion
    return "\n".join(str(message.get("content") or "") for message in completion)
