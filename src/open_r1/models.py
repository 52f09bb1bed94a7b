# SPDX-License-Identifier: Apache-2.0
"""Tokenizer and model of a run: chat template, end-of-turn token and padding, end tokens, context, dtype, adapter.

`model_name_or_path` may be a folder with a LoRA adapter: its base is loaded, and the run continues the adapter.
"""

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftConfig, PeftModel
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.training_args import OptimizerNames
from trl import ModelConfig, get_peft_config, get_quantization_config

from open_r1.configs.training import DistillConfig, GRPOConfig, SFTConfig, TrainingConfig
from open_r1.manifest import MANIFEST_NAME, RUN_MANIFEST_NAME, STAGING_NAME, missing_from

logger = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[2]
CHATML_TEMPLATE = "recipes/templates/chatml.jinja"
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "*.tiktoken")
CHATML_TOKENS = ("<|im_start|>", "<|im_end|>")
# They add their steps to the weights themselves, in the dtype of these.
_PLAIN_ADAMW = {
    OptimizerNames.ADAMW_TORCH,
    OptimizerNames.ADAMW_TORCH_FUSED,
    OptimizerNames.ADAMW_TORCH_XLA,
    OptimizerNames.ADAMW_TORCH_NPU_FUSED,
}


def get_tokenizer(model_args: ModelConfig, training_args: TrainingConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer and settle its chat template, end-of-turn token and padding token.

    `training_args.chat_template` replaces the template; a tokenizer without one gets ChatML. The EOS token becomes
    the token that ends an assistant turn of the template, since that is what a trained model must emit to stop.

    Raises:
        ValueError: The folder is an unfinished save or has no tokenizer, the template cannot be rendered or ends a
            turn with plain text, or no padding token other than EOS exists.
    """
    name, revision = find_model(model_args.model_name_or_path), model_args.model_revision
    if adapter_config(model_args) is not None and not _has_tokenizer(name):
        name, revision = base_model(model_args)
    if Path(name).is_dir() and not _has_tokenizer(name):
        # transformers would make up an empty tokenizer from the config.
        raise ValueError(f"The folder {name} holds no tokenizer: copy the tokenizer files of the model there.")
    tokenizer = AutoTokenizer.from_pretrained(
        name, revision=revision, trust_remote_code=training_args.trust_remote_code
    )
    if training_args.chat_template is not None:
        tokenizer.chat_template = read_template(training_args.chat_template)
    elif tokenizer.chat_template is None:
        logger.info("The tokenizer has no chat template: using ChatML (%s).", CHATML_TEMPLATE)
        starts_with_bos = tokenizer.bos_token is not None and tokenizer("")["input_ids"][:1] == [
            tokenizer.bos_token_id
        ]
        tokenizer.chat_template = "{{- bos_token }}" * starts_with_bos + read_template(CHATML_TEMPLATE)
        new = [token for token in CHATML_TOKENS if token not in tokenizer.get_vocab()]
        if new:  # also where the embedding has spare rows for them, which nothing has trained
            refuse_frozen_tokens(model_args, f"ChatML brings {new}, which the tokenizer didn't have")
        # Tokens that are new to the vocabulary get rows in the embedding in `fit_embeddings`.
        tokenizer.add_special_tokens({"additional_special_tokens": new})
    if isinstance(training_args, SFTConfig) and training_args.eos_token is not None:
        if training_args.eos_token not in tokenizer.get_vocab():
            raise ValueError(f"`eos_token` {training_args.eos_token!r} is not in the vocabulary of the tokenizer.")
        tokenizer.eos_token = training_args.eos_token
    else:
        _align_eos(tokenizer)
    _settle_padding(tokenizer)
    return tokenizer


def _has_tokenizer(folder: str) -> bool:
    return any(any(Path(folder).glob(pattern)) for pattern in _TOKENIZER_FILES)


def refuse_frozen_tokens(model_args: ModelConfig, found: str) -> None:
    """Refuse LoRA where tokens that the model has never seen would keep the rows of weights that they happen to have.

    Raises:
        ValueError: `lora_modules_to_save` lacks the embedding or the head.
    """
    lora = lora_config(model_args)
    if lora is not None and not {"embed_tokens", "lm_head"} <= set(lora.modules_to_save or []):
        raise ValueError(
            f"{found}: LoRA would leave them untrained. Set `lora_modules_to_save: [embed_tokens, lm_head]`, or take "
            "a chat template whose tokens the model knows (recipes/templates/question_answer.jinja needs none)."
        )


def adapter_config(model_args: ModelConfig) -> LoraConfig | None:
    """Return the settings of the adapter in the folder `model_name_or_path`; None for a whole model.

    Raises:
        ValueError: It isn't LoRA, or `use_peft` or other settings of the run contradict it.
    """
    folder = find_model(model_args.model_name_or_path)
    if not (Path(folder) / "adapter_config.json").is_file():
        return None
    found = PeftConfig.from_pretrained(folder)
    if not isinstance(found, LoraConfig):
        raise ValueError(f"The adapter in {folder} is of type {found.peft_type}: only LoRA can be continued.")
    if not model_args.use_peft:
        raise ValueError(
            f"`model_name_or_path` {folder} is a LoRA adapter: continue it by `use_peft: true`, or make a model of it "
            f"first, `python scripts/merge_lora.py --adapter {folder} --output_dir <new folder>`."
        )
    asked = vars(model_args)
    names = {name: name for name in ("lora_alpha", "use_rslora", "use_dora")}
    names |= {"lora_r": "r", "lora_target_modules": "target_modules", "lora_modules_to_save": "modules_to_save"}
    names["lora_target_parameters"] = "target_parameters"
    differing = [
        f"`{name}` {asked[name]}, the adapter has {vars(found)[own]}"
        for name, own in names.items()
        if asked[name] not in (None, "all-linear") and _as_set(asked[name]) != _as_set(vars(found)[own])
    ]
    if differing:
        raise ValueError(
            f"The run continues the adapter in {folder}; use the adapter's settings: {'; '.join(differing)}."
        )
    found.lora_dropout = model_args.lora_dropout
    return found


def _as_set(value: Any) -> Any:
    return set(value) if isinstance(value, list) else value


def lora_config(model_args: ModelConfig) -> LoraConfig | None:
    """Return the settings of the adapter that a run trains, a new or a continued one; None without `use_peft`."""
    found = adapter_config(model_args) or get_peft_config(model_args)
    if found is not None:
        found.inference_mode = False  # as it is saved
        found.revision = found.revision or model_args.model_revision  # else merging would take the base at `main`
    return found


def new_adapter(model_args: ModelConfig) -> LoraConfig | None:
    """Return the settings of the adapter that the trainer is to add to the model; None where it has one."""
    return None if adapter_config(model_args) is not None else lora_config(model_args)


def base_model(model_args: ModelConfig) -> tuple[str, str]:
    """Return name and revision of the model whose weights are loaded: of an adapter its base."""
    adapter = adapter_config(model_args)
    if adapter is None:
        return find_model(model_args.model_name_or_path), model_args.model_revision
    return find_model(adapter.base_model_name_or_path), adapter.revision or "main"


def get_model(
    model_args: ModelConfig, training_args: TrainingConfig, tokenizer: PreTrainedTokenizerBase
) -> PreTrainedModel | PeftModel:
    """Load the policy with the dtype, attention and quantisation that the arguments ask for, and the adapter it has.

    Raises:
        ValueError: The weights are damaged, or of a dtype in which they would hardly learn (`refuse_lost_steps`).
    """
    name, revision = base_model(model_args)
    dtype = dtype_asked_for(training_args, model_args)
    options: dict[str, Any] = {
        "revision": revision,
        "trust_remote_code": training_args.trust_remote_code,
        "attn_implementation": model_args.attn_implementation,
        "use_cache": not training_args.gradient_checkpointing,
    }
    given = _model_init_kwargs(training_args)
    options |= {**given, "dtype": dtype or "auto"}
    quantization_config = get_quantization_config(model_args)
    if quantization_config is not None:
        options |= {"quantization_config": quantization_config, "device_map": {"": str(training_args.device)}}
    training_args.model_init_kwargs = None  # TRL would say it ignores them
    if isinstance(training_args, GRPOConfig) and training_args.beta != 0 and not model_args.use_peft:
        # The reference of the KL term is loaded by TRL, which knows no revision but the one given here.
        training_args.model_init_kwargs = {"revision": model_args.model_revision, **given}
    try:
        model = AutoModelForCausalLM.from_pretrained(name, **options)
    except SafetensorError as error:
        raise ValueError(f"The weights in {name} are damaged or cut short ({error}): fetch them again.") from error
    if dtype is None:  # else the preflight has looked; of a config that doesn't say it, the weights say it
        refuse_lost_steps(model.dtype, training_args, model_args)
    fit_embeddings(model, tokenizer)
    if adapter_config(model_args) is None:
        return model
    # As in TRL: ZeRO-3 can't gather weights of several dtypes.
    options = {"autocast_adapter_dtype": quantization_config is not None or not is_deepspeed_zero3_enabled()}
    folder, lora = find_model(model_args.model_name_or_path), lora_config(model_args)
    return PeftModel.from_pretrained(model, folder, is_trainable=True, config=lora, **options)


def get_teacher(training_args: DistillConfig, model_args: ModelConfig, student: PreTrainedModel) -> PreTrainedModel:
    """Load the teacher of a distillation, in the dtype that it was saved in, with as many tokens as the student.

    Models of one family differ in rows of the embedding that no token has (Qwen2.5: 151,936 and 152,064).

    Raises:
        ValueError: It has fewer rows than the student.
    """
    given = cast(dict[str, Any], training_args.teacher_model_init_kwargs or {})
    training_args.teacher_model_init_kwargs = None  # TRL refuses them beside a model
    teacher = AutoModelForCausalLM.from_pretrained(
        find_model(training_args.teacher_model_name_or_path),
        **{
            "revision": training_args.teacher_model_revision,
            "trust_remote_code": training_args.trust_remote_code,
            "attn_implementation": model_args.attn_implementation,
            "dtype": "auto",
            **given,
        },
    )
    rows, wanted = (model.config.get_text_config().vocab_size for model in (teacher, student))
    if rows < wanted:
        raise ValueError(
            f"The teacher's vocabulary has {rows} rows and the student's {wanted}: the student may have fewer alone."
        )
    if rows > wanted:
        teacher.resize_token_embeddings(wanted)
    return teacher


def dtype_asked_for(training_args: TrainingConfig, model_args: ModelConfig) -> torch.dtype | None:
    """Return the dtype that the arguments give the weights; None: the one they were saved in."""
    name = _model_init_kwargs(training_args).get("dtype", model_args.dtype)
    return None if name in ("auto", None) else getattr(torch, name)


def _model_init_kwargs(training_args: TrainingConfig) -> dict[str, Any]:
    return cast(dict[str, Any], training_args.model_init_kwargs or {})  # text was parsed with the arguments


def refuse_lost_steps(dtype: torch.dtype, training_args: TrainingConfig, model_args: ModelConfig) -> None:
    """Refuse AdamW on 16-bit weights that nothing keeps a copy of in fp32: it would lose most of its steps.

    bf16 numbers near 0.02 are 1.2e-4 apart, and AdamW moves a weight by about the learning rate: a step of less than
    half of that changes nothing, and no sum of them ever does. ZeRO and FSDP2 keep the copy, LoRA's weights are fp32.

    Raises:
        ValueError: See above.
    """
    has_copy = training_args.deepspeed or training_args.fsdp or training_args.launch.keeps_fp32
    if dtype not in (torch.bfloat16, torch.float16) or model_args.use_peft or has_copy:
        return
    name, optimizer = str(dtype).removeprefix("torch."), OptimizerNames(training_args.optim)
    if optimizer not in _PLAIN_ADAMW:
        logger.warning(
            "`optim: %s` trains weights in %s: unless it keeps what rounding cuts off, small steps are lost. Compare "
            "with `dtype: float32`.",
            optimizer.value,
            name,
        )
        return
    raise ValueError(
        f"`optim: {optimizer.value}` would train all weights in {name} without a copy in fp32: at the learning rates "
        "of fine-tuning most of its steps are too small to change a 16-bit number, so hardly anything would be "
        "learned. Keep the weights in fp32 and compute in bf16 (`--dtype float32 --bf16 true`), train LoRA "
        "(`--use_peft true`), or let ZeRO keep the copy (`accelerate launch --config_file "
        "recipes/accelerate_configs/zero2.yaml`, also with `--num_processes 1`)."
    )


def fit_embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Grow the embedding when the tokenizer has tokens that the model has no row for."""
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        logger.warning("The tokenizer has new tokens: the embedding grows to %d rows.", len(tokenizer))
        model.resize_token_embeddings(len(tokenizer))


def read_template(template: str) -> str:
    """Return Jinja text as it is, or the contents of a `.jinja` file.

    A relative path is looked up in the working folder, then in the repository.

    Raises:
        ValueError: The path names no file.
    """
    if "{" in template or "\n" in template or not template.endswith((".jinja", ".j2")):
        return template
    for candidate in (Path(template).expanduser(), REPOSITORY / template):
        if candidate.is_file():
            try:
                return candidate.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"`chat_template` names {candidate}, which cannot be read: {error}") from error
    raise ValueError(
        f"`chat_template` names the file {template}, which is neither in {Path.cwd()} nor in {REPOSITORY}."
    )


def render_turn(tokenizer: PreTrainedTokenizerBase) -> tuple[str, list[int]]:
    """Render one user and one assistant turn.

    Returns:
        The text and its token ids.

    Raises:
        ValueError: The template fails on such a conversation.
    """
    messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False)
    except Exception as error:  # Jinja and template authors raise what they like; the reason goes to the user
        raise ValueError(f"The chat template fails on a plain conversation: {error}") from error
    if "question" not in text or "answer" not in text:
        raise ValueError(f"The chat template drops the content of messages. A turn renders as {text!r}.")
    return text, tokenizer(text, add_special_tokens=False)["input_ids"]


def template_kwargs_of(training_args: GRPOConfig | DistillConfig) -> dict[str, Any]:
    """Return what a training gives the chat template beside a conversation."""
    return cast(dict[str, Any], training_args.chat_template_kwargs or {})  # text was parsed with the arguments


def prompt_token_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Any, template_kwargs: Mapping[str, Any] | None = None
) -> list[int]:
    """Return the token ids of a prompt, up to where the assistant's turn begins."""
    return tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False, **(template_kwargs or {})
    )


def completion_prefix(
    tokenizer: PreTrainedTokenizerBase, prompt: list[dict], template_kwargs: Mapping[str, Any] | None = None
) -> str:
    """Return the text that the generation prompt opens for the assistant, from `<think>` on; "" without one.

    Args:
        tokenizer: Has the template.
        prompt: A conversation.
        template_kwargs: What else the template is given (`template_kwargs_of`).
    """
    given = template_kwargs or {}
    rendered = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False, **given)
    last = prompt[-1]["content"]
    after_prompt = rendered[rendered.rfind(last) + len(last) :] if isinstance(last, str) else rendered
    start = after_prompt.rfind("<think>")
    return after_prompt[start:] if start >= 0 else ""


def end_of_turn_token(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the token that closes an assistant turn, or None when the template closes it with plain text."""
    _, ids = render_turn(tokenizer)
    added = tokenizer.added_tokens_decoder
    while ids and not tokenizer.decode(ids[-1]).strip():
        ids = ids[:-1]
    return tokenizer.convert_ids_to_tokens(ids[-1]) if ids and ids[-1] in added else None


def get_generation_config(model_args: ModelConfig) -> GenerationConfig | None:
    """Return the generation config of a model without loading it; None where it has none."""
    for name, revision in (
        (find_model(model_args.model_name_or_path), model_args.model_revision),
        base_model(model_args),
    ):
        with suppress(OSError):  # a model needs to have none, nor a checkpoint of an adapter
            return GenerationConfig.from_pretrained(name, revision=revision)
    return None


def end_token_ids(
    tokenizer: PreTrainedTokenizerBase,
    generation_config: GenerationConfig | None,
    generation_kwargs: dict[str, Any] | str | None = None,
) -> tuple[int, ...]:
    """Return the ids that end a completion: every back end stops at them, and one that ends in such a token is whole.

    They are the tokenizer's EOS, those of the model's generation config, and the `stop_token_ids` that a recipe gives
    to vLLM in `generation_kwargs`.
    """
    configured = None if generation_config is None else generation_config.eos_token_id
    of_model = configured if isinstance(configured, list) else [configured]
    given = generation_kwargs if isinstance(generation_kwargs, dict) else {}  # TRL has made one of text
    found = dict.fromkeys([tokenizer.eos_token_id, *of_model, *(given.get("stop_token_ids") or [])])
    return tuple(token for token in found if token is not None)


def _align_eos(tokenizer: PreTrainedTokenizerBase) -> None:
    token = end_of_turn_token(tokenizer)
    if token is None:
        text, _ = render_turn(tokenizer)
        raise ValueError(
            "The chat template does not end an assistant turn with a special token of this tokenizer, so a trained "
            f"model could never stop. A turn renders as {text!r}. Let it end in a token of the tokenizer, or take a "
            "model whose tokenizer has the template's tokens."
        )
    if token != tokenizer.eos_token:
        logger.info("EOS is %r, the token that ends a turn of the template (it was %r).", token, tokenizer.eos_token)
        tokenizer.eos_token = token


def _settle_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    """Choose a padding token that is not EOS, since EOS must never be masked as padding."""
    if tokenizer.pad_token is not None and tokenizer.pad_token != tokenizer.eos_token:
        return
    specials = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    specials.sort(key=lambda token: token == tokenizer.bos_token)  # at last BOS
    taken = {tokenizer.eos_token, *CHATML_TOKENS}
    # Prefer tokens that are meant for it, then the end of a document, which never stands inside a conversation.
    preferred = [
        token
        for key in ("pad", "endoftext", "reserved", "unk", "")
        for token in specials
        if key in token.lower() and token not in taken
    ]
    if not preferred:
        raise ValueError(
            f"The padding token is {tokenizer.pad_token!r}, the same as EOS or none, and no other special token can "
            f"serve. Set `pad_token` in the tokenizer of the model; its special tokens are {specials}."
        )
    logger.info("Padding token is %r (it was %r).", preferred[0], tokenizer.pad_token)
    tokenizer.pad_token = preferred[0]


def find_model(name: str | None) -> str:
    """Return the name of a hub model, or the folder of a whole local one."""
    if not name:
        raise ValueError("`model_name_or_path` is missing: name a model on the hub or a local folder.")
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if folder.is_absolute() or name.startswith((".", "data/")):
            raise ValueError(f"`model_name_or_path` is {name}, but there is no such folder.")
        return name
    is_own_checkpoint = folder.name.startswith("checkpoint-") and (folder.parent / RUN_MANIFEST_NAME).is_file()
    if (folder / MANIFEST_NAME).is_file() or (folder / STAGING_NAME).exists() or is_own_checkpoint:
        reason = missing_from(folder)
        if reason is not None:
            raise ValueError(f"The model in {folder} is incomplete: {reason}. Run the command that writes it again.")
    elif not ((folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()):
        raise ValueError(f"The folder {folder} holds no model (no config.json): was its training finished?")
    return str(folder)


def context_tokens(configuration: PretrainedConfig) -> int | None:
    """Return the most tokens of prompt and answer together, None where a model's configuration doesn't say.

    YaRN's factor counts from the length that it stretches, as in vLLM.
    """
    config = configuration.get_text_config(decoder=True).to_dict()
    length = config.get("max_position_embeddings", config.get("n_positions"))
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type") == "yarn" and length is not None:
        length = max(length, int(rope["factor"] * rope.get("original_max_position_embeddings", length)))
    return length


def context_length(training_args: TrainingConfig, model_args: ModelConfig) -> int | None:
    """Return the context of the model in tokens, or None when its config does not say."""
    return context_tokens(load_config(training_args, model_args))


def load_config(training_args: TrainingConfig, model_args: ModelConfig) -> PretrainedConfig:
    """Return the config of the model.

    Raises:
        ValueError: The name is a folder without a whole model, or nothing that can be loaded.
    """
    name, revision = base_model(model_args)
    is_folder = Path(name).is_dir()
    try:
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=training_args.trust_remote_code)
    except (OSError, ValueError) as error:  # transformers' words for what is missing, damaged, unknown or private
        reason = " ".join(str(error).split())[:500]
        if is_folder:
            raise ValueError(f"The model in {name} can't be loaded: {reason}") from error
        raise ValueError(
            f"Cannot load the model {name!r} (`model_name_or_path`): no local folder has this name, and from the hub "
            f"it could not be loaded ({reason}). Offline, name a local folder."
        ) from error
