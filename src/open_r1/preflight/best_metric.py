# SPDX-License-Identifier: Apache-2.0
"""`metric_for_best_model`: refused before a model loads where no evaluation measures it, or none that is saved.

What an evaluation of a test split logs comes from transformers, from TRL's trainers, from `estimators.summarize`, and
in GRPO from rewards, which may log more: ours `<name>/<figure>`, functions of the user's own whatever they like.
"""

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from transformers.trainer_utils import SaveStrategy

from open_r1.configs import GRPOConfig, GRPOScriptArguments, SFTConfig, SFTScriptArguments
from open_r1.data.benchmarks import Benchmark
from open_r1.evaluation.during_training import RUNTIME_METRIC, metric_names
from open_r1.evaluation.estimators import PASS_REWARDS
from open_r1.rewards.by_name import is_user_function

_OF_TRANSFORMERS = ("loss", "runtime", "samples_per_second", "steps_per_second", "model_preparation_time")
_OF_MEMORY = ("mem_cpu_alloc_delta", "mem_cpu_peaked_delta", "mem_gpu_alloc_delta", "mem_gpu_peaked_delta")
_OF_SFT = ("entropy", "mean_token_accuracy", "num_tokens", "aux_loss")
_OF_GRPO = (
    "num_tokens", "reward", "reward_std", "frac_reward_zero_std", "rewards/unscorable", "kl", "entropy",
    "entropy_coef", "policy_loss", "aux_loss", "completions/min_length", "completions/max_length",
    "completions/clipped_ratio", "completions/mean_terminated_length", "completions/min_terminated_length",
    "completions/max_terminated_length", "tools/call_frequency", "tools/failure_frequency", "clip_ratio/low_mean",
    "clip_ratio/low_min", "clip_ratio/high_mean", "clip_ratio/high_max", "clip_ratio/region_mean", "cispo_clip_ratio",
    "vespo/phi_seq_mean", "sampling/sampling_logp_difference/mean", "sampling/sampling_logp_difference/max",
    "sampling/importance_sampling_ratio/min", "sampling/importance_sampling_ratio/mean",
    "sampling/importance_sampling_ratio/max",
)  # fmt: skip
_OF_SAMPLES = ("num_problems", "completions/mean_length", "completions/truncated")
_FAMILIES = {name.partition("/")[0] for name in (*_OF_GRPO, *_OF_SAMPLES) if "/" in name}
_FIGURE = re.compile(r"(avg|pass|maj)@\d+(_low|_high)?|greedy")


@dataclass(frozen=True)
class SplitMetrics:
    """Metrics of evaluations of a test split, without `eval_`.

    Attributes:
        common: Of transformers and TRL.
        of_samples: Of sampled completions and their rewards.
        may_have_figures: Whether rewards log `<name>/<figure>` beside them.
        may_have_any: Whether they may log whatever they like.
    """

    common: Sequence[str]
    of_samples: Sequence[str] = ()
    may_have_figures: bool = False
    may_have_any: bool = False

    def __contains__(self, name: str) -> bool:
        """Whether there may be a metric of that name."""
        if name in self.common or name in self.of_samples:
            return True
        owner, slash, figure = name.rpartition("/")
        if slash and _FIGURE.fullmatch(figure):
            return False  # estimates are of rewards, all of which are known
        is_figure = bool(slash) and owner.partition("/")[0] not in _FAMILIES
        return self.may_have_any or (self.may_have_figures and is_figure)


def split_metrics(
    script_args: SFTScriptArguments | GRPOScriptArguments,
    training_args: SFTConfig | GRPOConfig,
    reward_names: Collection[str],
) -> SplitMetrics:
    """Return what evaluations of a test split measure.

    Args:
        script_args: Names the rewards, and of SFT the number of completions.
        training_args: The settings.
        reward_names: Metric keys of the rewards.
    """
    common = [*_OF_TRANSFORMERS, *(() if training_args.skip_memory_metrics else _OF_MEMORY)]
    if isinstance(script_args, SFTScriptArguments):
        k = script_args.eval_num_generations
        of_samples = _of_samples(reward_names, k, training_args.eval_greedy) if reward_names else []
        return SplitMetrics([*common, *_OF_SFT], of_samples)
    assert isinstance(training_args, GRPOConfig)
    k = training_args.num_generations_eval or training_args.num_generations or 1
    of_samples = _of_samples(reward_names, k, training_args.eval_greedy)
    means = [f"rewards/{name}/{figure}" for name in reward_names for figure in ("mean", "std")]
    has_user_function = any(map(is_user_function, script_args.reward_funcs))
    return SplitMetrics([*common, *_OF_GRPO], [*of_samples, *means], True, has_user_function)


def _of_samples(reward_names: Collection[str], k: int, is_greedy: bool) -> list[str]:
    names = []
    for reward in reward_names:
        names += [f"{reward}/avg@{k}", f"{reward}/avg@{k}_low", f"{reward}/avg@{k}_high"]
        names += [f"{reward}/pass@{k}"] if reward in PASS_REWARDS else []
        names += [f"{reward}/greedy"] if is_greedy else []
    return [*names, *_OF_SAMPLES]


def check_best_metric(
    training_args: SFTConfig | GRPOConfig, benchmarks: Sequence[Benchmark], split: SplitMetrics | None
) -> None:
    """Refuse a `metric_for_best_model` that will not be measured, or not where a checkpoint is saved.

    Args:
        training_args: The settings.
        benchmarks: What is answered.
        split: What is measured on a test split; None: none is evaluated during the training.

    Raises:
        ValueError: See above.
    """
    name = training_args.metric_for_best_model
    if name is None:
        if not training_args.load_best_model_at_end or split is not None:
            return
        name = "loss"
    wanted = name.removeprefix("eval_")
    known = _known_of(training_args, benchmarks)
    if wanted in known:
        _check_saved(training_args, name)
        return
    is_of_a_benchmark = wanted.rpartition("/")[0] in {benchmark.name for benchmark in benchmarks}
    is_of_a_benchmark |= f"eval_{wanted}" == RUNTIME_METRIC
    if split is None or is_of_a_benchmark or wanted not in split:
        raise ValueError(
            f"`metric_for_best_model: {name}` is nothing that this run measures.{_suggested(wanted, known, split)}"
        )


def check_best_metric_of_kinds(training_args: SFTConfig | GRPOConfig, benchmarks: Sequence[Benchmark]) -> None:
    """Refuse a `metric_for_best_model` that a benchmark of its kind doesn't have, once the data have told the kinds.

    Raises:
        ValueError: See above.
    """
    name = training_args.metric_for_best_model or ""
    wanted = name.removeprefix("eval_")
    own = [benchmark for benchmark in benchmarks if benchmark.name == wanted.rpartition("/")[0]]
    known = _known_of(training_args, own)
    if own and wanted not in known:
        raise ValueError(
            f"`metric_for_best_model: {name}` is nothing that this run measures: {own[0].name} is of the kind "
            f"{own[0].kind}, and of it there are {_listed(known)}."
        )


def _known_of(training_args: SFTConfig | GRPOConfig, benchmarks: Sequence[Benchmark]) -> list[str]:
    return [
        f"{benchmark.name}/{metric}"
        for benchmark in benchmarks
        for metric in metric_names(training_args.eval_benchmarks_num_samples, benchmark.kind)
    ]


def _suggested(wanted: str, known: Sequence[str], split: SplitMetrics | None) -> str:
    """Return what may have been meant, and what there is."""
    of_split = [] if split is None else [*split.common, *split.of_samples]
    close = difflib.get_close_matches(wanted, [*known, *of_split], n=3)
    parts = [f"of `eval_benchmarks` there are {_listed(known)}"] if known else []
    if split is None:
        parts.append("no test split is evaluated during the training (by `eval_strategy`)")
    else:
        parts.append(f"of the test split there are {_listed(['loss', *split.of_samples])}, and what TRL logs")
    there_are = "; ".join(parts)
    meant = f" Did you mean {' or '.join(f'eval_{name}' for name in close)}?" if close else ""
    return f"{meant} {there_are[0].upper()}{there_are[1:]}."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"eval_{name}" for name in names)


def _check_saved(training_args: SFTConfig | GRPOConfig, name: str) -> None:
    args = training_args
    steps = args.eval_benchmarks_steps
    every = args.eval_steps if steps is None and args.eval_strategy == "steps" else steps
    is_by_epoch = steps is None and args.eval_strategy == "epoch"
    if every is None and not is_by_epoch:
        raise ValueError(
            f"`metric_for_best_model: {name}` is measured at the end alone: set `eval_benchmarks_steps`, or "
            "`eval_strategy: steps` with `eval_steps`, to the steps after which checkpoints are saved."
        )
    if args.save_strategy == "best" or (is_by_epoch and args.save_strategy == "epoch"):
        return
    if every is None or args.save_strategy != "steps" or not _is_multiple(every, args.save_steps):
        strategy = SaveStrategy(args.save_strategy).value
        saved = f"every {args.save_steps:g} steps" if strategy == "steps" else f"by `save_strategy: {strategy}`"
        raise ValueError(
            f"`metric_for_best_model: {name}` is measured every {every or 'epoch'}{' steps' if every else ''}, and "
            f"checkpoints are saved {saved}: the best one could be one that isn't saved. Save wherever it is measured "
            "(the steps of measuring a multiple of `save_steps`), or set `save_strategy: best`."
        )


def _is_multiple(every: float, save_steps: float) -> bool:
    """Whether the first counts a multiple of the second; below 1 they are shares of the training."""
    if (every < 1) != (save_steps < 1) or save_steps <= 0:
        return False
    ratio = every / save_steps
    return round(ratio) >= 1 and abs(ratio - round(ratio)) < 1e-6
