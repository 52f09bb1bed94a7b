# SPDX-License-Identifier: Apache-2.0
"""Every run that cannot work stops before a model loads: the model folder of these tests has no weights to load."""

import json
import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from open_r1.arguments import RecipeParser
from open_r1.configs import GRPOConfig, GRPOScriptArguments, ModelConfig
from open_r1.data.training_rows import get_dataset, to_conversations
from open_r1.models import completion_prefix
from open_r1.preflight import check_grpo_settings, check_ideal_completion, check_weight_dtype
from open_r1.rewards import RewardContext, get_reward_funcs, perfect_reply
from tests.integration.tiny import CHATML, CONTEXT_TOKENS, Tiny, addition_row, build_tiny, build_tokenizer, write_rows

THINKING_TEMPLATE = CHATML.replace("<|im_start|>assistant\n{% endif", "<|im_start|>assistant\n<think>\n{% endif")
CLOSED_THINKING_TEMPLATE = CHATML.replace(
    "<|im_start|>assistant\n{% endif", "<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif"
)
NO_WEIGHTS = r"no file named model\.safetensors"  # all checks were passed, and the model was to be loaded
NEEDS_A_MACHINE_WITHOUT = {"bf16 without a device"}


@pytest.fixture(scope="module")
def weightless(tmp_path_factory) -> Tiny:
    tiny = build_tiny(tmp_path_factory.mktemp("tiny"))
    (tiny.model / "model.safetensors").unlink()
    return tiny


OWN_CODE = """
def graded(completions, grade, **columns): return [0.0] * len(completions)
def fails(completions, **columns): raise KeyError("color")
async def fails_later(completions, solution, **columns): return [1 / 0]
def one(completions, **columns): return [1.0]
def text(completions, **columns): return ["1.0"] * len(completions)

def watchful(prompts, completions, completion_ids, solution, trainer_state, log_extra, log_metric, **columns):
    assert trainer_state.global_step == 0
    assert isinstance(completions[0][0]["content"], str) and isinstance(prompts[0][0]["content"], str)
    assert len(completion_ids) == len(solution) == len(prompts)
    assert "prompt" not in columns
    log_extra("seen", [1] * len(completions))
    log_metric("seen", 1.0)
    return [None] * len(completions)
"""
REFUSED = {
    "unknown reward": ("grpo", {"reward_funcs": ["acuracy"]}, r"(?s)acuracy.*accuracy"),
    "number of weights": (
        "grpo", {"reward_weights": [1.0, 2.0]}, r"`reward_weights` \[1.0, 2.0\].*'format'"),
    "group does not divide the batch": ("grpo", {"num_generations": 3}, r"(?s)num_generations.*3.*\[2, 4, 8\]"),
    "group does not divide the evaluation batch": (
        "grpo", {"do_eval": True, "per_device_eval_batch_size": 6}, r"groups of 4 .* a batch has 6 completions"),
    "code rewards": ("grpo", {"reward_funcs": ["code"]}, r"code"),
    "function that is not there": ("grpo", {"reward_funcs": ["nowhere.py:brevity"]}, r"there is no file .*nowhere.py"),
    "reward model that is not there": ("grpo", {"reward_funcs": ["org/model"]}, r"'org/model' .* can't be loaded"),
    "reward model that is a policy": ("grpo", {"reward_funcs": ["MODEL"]}, r"not a reward model.*Qwen3ForCausalLM"),
    "column of a function": ("grpo", {"reward_funcs": ["OWN:graded"]}, r"Missing columns \['grade'\].*needed by"),
    "function that fails": (
        "grpo", {"reward_funcs": ["OWN:fails"]}, r"own.py:fails' in .* a trial call .*KeyError.*own.py, line \d"),
    "async function that fails": (
        "grpo", {"reward_funcs": ["OWN:fails_later"]}, r"fails_later' .*trial call .*ZeroDivision.*own.py, line \d+"),
    "function that gives one value": (
        "grpo", {"reward_funcs": ["OWN:one"]}, r"trial call .*4 completions, got 1"),
    "columns of a puzzle": ("grpo", {"reward_funcs": ["countdown"]}, r"Missing columns \['nums', 'target'\]"),
    "layouts that exclude each other": (
        "grpo", {"reward_funcs": ["format", "think_format", "accuracy"]},
        r"(?s) format: 0.0 instead of 1.0 \(row \d+ from 0, no answer tags\).*think_format: 0.0"),
    "domains without their column": (
        "grpo", {"reward_domains": {"math": ["accuracy"]}}, r"Missing columns \['domain'\].*`reward_domains` chooses"),
    "domains of rewards that are not there": (
        "grpo", {"reward_domains": {"math": ["length"]}}, r"`reward_domains.math` lists 'length', which is not in"),
    "domain that no reward judges": (
        "grpo", {"dataset_name": "DOMAINS", "reward_funcs": ["accuracy"], "reward_domains": {"math": ["accuracy"]}},
        r"\['chat'\].*`reward_domains` has \['math'\].*'train' are of {'math': 2, 'chat': 2}"),
    "domain that no row is of": (
        "grpo", {"dataset_name": "DOMAINS", "reward_funcs": ["accuracy", "format"],
                 "reward_domains": {"maths": ["accuracy"]}},
        r"\['accuracy'\].*`reward_domains` has \['maths'\].*{'math': 2, 'chat': 2}.*'math'\?.*`domain: <name>`"),
    "domain whose rows all lack their gold": (
        "grpo", {"dataset_name": "DOMAINS", "reward_funcs": ["accuracy", "format"],
                 "reward_domains": {"chat": ["accuracy"]}}, r"\['accuracy'\].*has \['chat'\].*{'math': 2}"),
    "benchmarks": ("grpo", {"benchmarks": ["math_500"], "save_strategy": "no"}, r"benchmarks.*save_strategy"),
    "reference that moves": ("grpo", {"beta": 0.1, "sync_ref_model": True}, r"sync_ref_model"),
    "unknown callback": ("grpo", {"callbacks": ["push"]}, r"push.*push_to_hub_revision"),
    "missing test split": (
        "grpo", {"do_eval": True, "dataset_name": "TRAIN"}, r"No split 'test' for evaluation.*train"),
    "missing prompt column": (
        "grpo", {"dataset_prompt_column": "question"}, r"'question'.*\['problem', 'solution', 'messages'\]"),
    "missing column of a reward": ("grpo", {"dataset_name": "UNSOLVED"}, r"'solution'.*accuracy.*\['problem'"),
    "missing columns of SFT": ("sft", {"dataset_name": "UNSOLVED"}, r"'messages'.*\['problem'\]"),
    "bf16 without a device": ("sft", {"bf16": True, "use_cpu": False}, r"bf16"),
    "prompt and completion beyond the context": ("grpo", {"max_prompt_length": 250}, r"250.*exceed.*256"),
    "AdamW on bf16 weights": ("sft", {"dtype": "bfloat16"}, r"bfloat16.*--dtype float32 --bf16 true.*use_peft.*zero2"),
    "rows of SFT beyond the context": ("sft", {"max_length": 257}, r"max_length.*257.*256"),
    "module of LoRA that is not there": (
        "grpo", {"use_peft": True, "lora_target_modules": ["q_proj", "v_porj"]}, r"'v_porj'.*'v_proj'"),
    "pattern of LoRA that matches nothing": (
        "sft", {"use_peft": True, "lora_target_modules": ["q_proj"]}, r"'q_proj'.*'v_proj'"),
    "saved module of LoRA that is not there": (
        "sft", {"use_peft": True, "lora_modules_to_save": ["embed_token"]}, r"'embed_token'.*'embed_tokens'"),
    "every prompt too long": ("grpo", {"max_prompt_length": 3}, r"Every prompt of split 'train'.*shortest has \d+"),
    "rewards that the template puts out of reach": (
        "grpo", {"chat_template": CLOSED_THINKING_TEMPLATE}, r"(?s)ideal completion cannot earn.*format"),
    "no end of turn": (
        "grpo", {"chat_template": "{% for m in messages %}{{ m.content }} {% endfor %}"}, r"never stop"),
    "template that fails": ("sft", {"chat_template": "{{ raise_exception('no') }}"}, r"template fails.*no"),
    "template file that is missing": ("sft", {"chat_template": "nowhere/chat.jinja"}, r"nowhere/chat.jinja"),
    "rows all null": ("grpo", {"dataset_name": "NULL"}, r"No row of split 'train' has all"),
    "fewer prompts than a generation takes": (
        "grpo", {"dataset_name": "ONE"}, r"has 1 prompts, .* takes 2 .*nothing would be trained"),
    "no rows": ("sft", {"dataset_name": "EMPTY"}, r"empty|no rows"),
    "no such model": ("sft", {"model_name_or_path": "/nowhere/model"}, r"no such folder"),
    "checkpoint that is not there": ("sft", {"resume_from_checkpoint": "/nowhere"}, r"not a complete checkpoint"),
    "no checkpoint to go on from": ("sft", {"resume_from_checkpoint": True}, r"holds no complete checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_run_that_cannot_work_stops_before_the_model_loads(weightless, tmp_path, case):
    if case in NEEDS_A_MACHINE_WITHOUT and torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    kind, settings, message = REFUSED[case]
    files = {
        "TRAIN": weightless.data / "train.jsonl",
        "UNSOLVED": write_rows(tmp_path / "unsolved" / "train.jsonl", [{"problem": "1+1"}]),
        "NULL": write_rows(tmp_path / "null" / "train.jsonl", [{"problem": None, "solution": "1"}] * 2),
        "UNGRADED": tmp_path / "ungraded",
        "ONE": write_rows(tmp_path / "one" / "train.jsonl", [addition_row(1, 1)]),
        "EMPTY": write_rows(tmp_path / "empty" / "train.jsonl", []),
        "DOMAINS": write_domains(tmp_path / "domains"),
    }
    own = tmp_path / "own.py"
    own.write_text(OWN_CODE)
    places = {"MODEL": str(weightless.model)}
    if "reward_funcs" in settings:
        named = [places.get(place, place).replace("OWN:", f"{own}:") for place in settings["reward_funcs"]]
        settings = {**settings, "reward_funcs": named}
    if "reward_domains" in settings:  # YAML only
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(json.dumps({"reward_domains": settings["reward_domains"]}))
        settings = {**settings, "config": recipe, "reward_domains": None}
    for split in ("train", "test"):
        ungraded = {name: value for name, value in addition_row(1, 1).items() if name != "solution"}
        write_rows(files["UNGRADED"] / f"{split}.jsonl", [ungraded])
    settings = {name: files.get(value, value) if name == "dataset_name" else value for name, value in settings.items()}
    with pytest.raises(ValueError, match=message):
        weightless.train(kind, tmp_path / "output", **settings)


def write_domains(folder: Path) -> Path:
    """Write two rows of math and two of chat, which have no solution."""
    rows = [{**addition_row(1, 1), "domain": "math"}, {**addition_row(1, 2), "domain": "chat", "solution": None}] * 2
    return write_rows(folder / "train.jsonl", rows)


def grpo_arguments(tiny: Tiny, output: Path, **settings) -> tuple[GRPOScriptArguments, GRPOConfig, ModelConfig]:
    return RecipeParser((GRPOScriptArguments, GRPOConfig, ModelConfig)).parse(tiny.argv("grpo", output, **settings))


def test_no_reward_at_all_is_refused(weightless, tmp_path):
    script_args, training_args, model_args = grpo_arguments(weightless, tmp_path)
    script_args.reward_funcs = []
    with pytest.raises(ValueError, match="`reward_funcs` is empty"):
        check_grpo_settings(script_args, training_args, model_args)


def test_reward_over_groups_needs_whole_groups_in_each_process(weightless, tmp_path):
    script_args, training_args, model_args = grpo_arguments(weightless, tmp_path, reward_funcs=["length"])
    training_args.per_device_train_batch_size = 2  # as on two processes, where only the global batch is divisible
    with pytest.raises(ValueError, match="num_generations 4"):
        check_grpo_settings(script_args, training_args, model_args)


@pytest.mark.parametrize(("name", "kind", "beside"), [("max_length", "sft", 0), ("max_prompt_length", "grpo", 8)])
def test_stretched_context_may_be_used_to_its_end(weightless, tmp_path, name, kind, beside):
    model = shutil.copytree(weightless.model, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": CONTEXT_TOKENS, "rope_theta": 1e4}
    (model / "config.json").write_text(json.dumps(config | {"rope_parameters": yarn}))
    for length, error, message in ((1024 - beside, OSError, NO_WEIGHTS), (1025 - beside, ValueError, "1024")):
        with pytest.raises(error, match=message):
            weightless.train(kind, tmp_path / "output", model_name_or_path=model, **{name: length})


def test_template_that_opens_the_thinking_is_scored_with_what_it_opened(weightless, tmp_path):
    rewards = ["format", "tag_count", "accuracy"]
    script_args, *_ = grpo_arguments(weightless, tmp_path, reward_funcs=rewards)
    tokenizer = build_tokenizer(THINKING_TEMPLATE)
    rows = to_conversations(get_dataset(script_args)["train"], script_args, None)
    context = RewardContext(completion_prefix=completion_prefix(tokenizer, rows[0]["prompt"]))
    assert context.completion_prefix == "<think>\n"

    built = get_reward_funcs(script_args, context)
    check_ideal_completion(built, script_args, rows, tokenizer, context)
    completion = perfect_reply(script_args, rows[0], context)
    assert "<think>" not in completion
    for reward in built:
        assert reward(completions=[completion], completion_ids=[[1]], solution=[rows[0]["solution"]]) == [1.0]


BF16 = {"dtype": "bfloat16"}
LORA = {"use_peft": True, "lora_target_modules": "all-linear"}
# Settings, the dtype in the model's config, variables of the launcher, and whether AdamW would lose its steps.
WEIGHTS = {
    "asked for": (BF16, "float32", {}, True),
    "of the config": ({"dtype": "auto"}, "bfloat16", {}, True),
    "in other words": ({"model_init_kwargs": BF16}, "float32", {}, True),
    "float32": ({}, "bfloat16", {}, False),
    "float32 by the config": ({"dtype": "auto"}, "float32", {}, False),
    "config without a word": ({"dtype": "auto"}, None, {}, False),  # `get_model` looks at the weights
    "LoRA": ({**BF16, **LORA}, "float32", {}, False),
    "8 bits": ({**BF16, "optim": "adamw_8bit"}, "float32", {}, False),
    "ZeRO": (BF16, "float32", {"ACCELERATE_USE_DEEPSPEED": "true"}, False),
    "FSDP": (BF16, "float32", {"ACCELERATE_USE_FSDP": "true"}, False),
    "DDP": (BF16, "float32", {"ACCELERATE_USE_DEEPSPEED": "false"}, True),
}


@pytest.mark.parametrize(("settings", "of_config", "variables", "is_refused"), WEIGHTS.values(), ids=WEIGHTS)
def test_adamw_on_16_bit_weights_is_refused(
    weightless, tmp_path, environment, settings, of_config, variables, is_refused
):
    model = shutil.copytree(weightless.model, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"dtype": of_config}))
    *_, training_args, model_args = grpo_arguments(weightless, tmp_path, model_name_or_path=model, **settings)
    environment.update(variables)
    with pytest.raises(ValueError, match="float16") if is_refused else nullcontext():
        check_weight_dtype(training_args, model_args)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_config_that_is_silent_about_the_dtype_leaves_it_to_the_weights(tmp_path, dtype):
    tiny = build_tiny(tmp_path)
    AutoModelForCausalLM.from_pretrained(tiny.model, dtype=dtype).save_pretrained(tiny.model)
    config = json.loads((tiny.model / "config.json").read_text())
    del config["dtype"]
    (tiny.model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="bfloat16") if dtype == torch.bfloat16 else nullcontext():
        tiny.train("sft", tmp_path / "output", dtype="auto", max_steps=1)


@pytest.mark.parametrize(
    "setting", [{"chat_template_path": "a.jinja"}, {"dataset_kwargs": {"skip_prepare_dataset": True}}]
)
def test_setting_of_trl_that_would_go_past_the_checks_is_refused(weightless, tmp_path, setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        weightless.train("sft", tmp_path, **setting)


def test_word_think_in_the_problem_is_no_prefix(weightless):
    prompt = [{"role": "user", "content": "Explain the tag <think> to me"}]
    assert completion_prefix(build_tokenizer(), prompt) == ""


def test_long_prompts_are_dropped_with_their_number(weightless, tmp_path, caplog):
    long = {**addition_row(1, 1), "problem": "1+" * CONTEXT_TOKENS + "1"}
    data = write_rows(tmp_path / "data" / "train.jsonl", [addition_row(1, 1), long, addition_row(2, 2)])
    with pytest.raises(OSError, match=NO_WEIGHTS):
        weightless.train("grpo", tmp_path / "output", dataset_name=data)
    room = CONTEXT_TOKENS - 8
    assert f"Dropped 1 of 3 prompts of split 'train' longer than {room} tokens" in caplog.text


def test_prompts_are_counted_as_the_template_renders_them_for_the_training(weightless, tmp_path):
    template = CHATML.replace("assistant\n{% endif", "assistant\n{% if brief %}Be brief.{% endif %}{% endif")
    settings = {"chat_template": template, "chat_template_kwargs": {"brief": True}, "dataset_name": tmp_path / "rows"}
    write_rows(tmp_path / "rows" / "train.jsonl", [addition_row(1, 1), addition_row(2, 2)])
    tokenizer = build_tokenizer(template)
    question = [{"role": "user", "content": "1+1"}]
    plain, brief = (
        len(tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=False, brief=brief))
        for brief in (False, True)
    )
    for limit, error, message in ((brief, OSError, NO_WEIGHTS), (plain, ValueError, f"shortest has {brief}")):
        with pytest.raises(error, match=message):
            weightless.train("grpo", tmp_path / "output", max_prompt_length=limit, **settings)


def train_with_domains(tiny: Tiny, tmp_path: Path, *names: str, **domains: list[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({"reward_funcs": names, "reward_domains": domains}))
    data = write_domains(tmp_path / "domains")
    with pytest.raises(OSError, match=NO_WEIGHTS):
        tiny.train("grpo", tmp_path / "output", config=recipe, reward_funcs=None, dataset_name=data)


def test_row_may_lack_what_only_other_domains_need(weightless, tmp_path, caplog):
    train_with_domains(weightless, tmp_path, "accuracy", "think_format", math=["accuracy"], chat=["think_format"])
    assert "Dropped" not in caplog.text
    assert "domain" not in caplog.text.replace("reward_domains={", "")


def test_row_that_lacks_what_its_domain_needs_is_dropped(weightless, tmp_path, caplog):
    train_with_domains(weightless, tmp_path, "accuracy", "format", chat=["accuracy"], math=["accuracy"])
    assert "Dropped 2 of 4 rows of split 'train': one of ['solution']" in caplog.text
    assert re.search(r"WARNING.*\['chat'\].*`reward_domains` has \['chat', 'math'\].*{'math': 2}", caplog.text)


def test_domain_that_is_misspelt_for_one_of_many_is_a_warning_with_the_nearest(weightless, tmp_path, caplog):
    train_with_domains(weightless, tmp_path, "accuracy", "format", math=["accuracy"], maths=["accuracy"])
    assert re.search(r"WARNING.*\['maths'\].*{'math': 2, 'chat': 2}.*'math'\?", caplog.text)


def test_function_is_tried_with_what_the_trainer_passes(weightless, tmp_path):
    own = tmp_path / "own.py"
    own.write_text(OWN_CODE)
    with pytest.raises(OSError, match=NO_WEIGHTS):
        weightless.train("grpo", tmp_path / "output", reward_funcs=[f"{own}:watchful", "format"])


def train_puzzles(tiny: Tiny, tmp_path: Path, nums: list[list[int] | None]) -> None:
    rows = [{"problem": f"Reach 5 with {found}", "nums": found, "target": 5, "solution": "2 + 3"} for found in nums]
    data = write_rows(tmp_path / "puzzles" / "train.jsonl", rows)
    tiny.train("grpo", tmp_path / "output", dataset_name=data, reward_funcs=["countdown", "format"])


def test_reward_whose_first_row_comes_late_is_no_error(weightless, tmp_path):
    with pytest.raises(OSError, match=NO_WEIGHTS):
        train_puzzles(weightless, tmp_path, [None] * 40 + [[2, 3]])


def test_reward_whose_columns_are_empty_in_every_row_is_refused(weightless, tmp_path):
    with pytest.raises(ValueError, match=r"\['nums', 'target'\]"):
        train_puzzles(weightless, tmp_path, [None] * 40)


def test_reward_whose_golds_can_all_not_be_judged_is_refused(weightless, tmp_path):
    rows = [{**addition_row(1, 1), "solution": r"\frac{1}{"}] * 40
    data = write_rows(tmp_path / "unparsable" / "train.jsonl", rows)
    with pytest.raises(ValueError, match="none of the rows"):
        weightless.train("grpo", tmp_path / "output", dataset_name=data, reward_funcs=["accuracy", "format"])


DAMAGE = {
    "weights cut short": lambda model: (model / "model.safetensors").write_bytes(b"\x10\x00"),
    "weights that are no weights": lambda model: (model / "model.safetensors").write_text("version https://git-lfs"),
    "no config": lambda model: (model / "config.json").unlink(),
    "config that is no JSON": lambda model: (model / "config.json").write_text("{"),
    "no tokenizer": lambda model: [path.unlink() for path in model.glob("tokenizer*")],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_model_folder_is_named_in_the_error(tmp_path, damage):
    tiny = build_tiny(tmp_path)
    DAMAGE[damage](tiny.model)
    with pytest.raises((ValueError, OSError), match=str(tiny.model)):
        tiny.train("sft", tmp_path / "output")


def test_half_of_a_safetensors_file_is_named_in_the_error(tmp_path):
    tiny = build_tiny(tmp_path)
    weights = tiny.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(ValueError, match=str(tiny.model)):
        tiny.train("sft", tmp_path / "output")
