# SPDX-License-Identifier: Apache-2.0
"""Pushes of models to branches of a hub repository; what could not be pushed is refused early.

Nothing here contacts the hub unless `push_to_hub` or `push_to_hub_revision` is set.

1. Repositories are created private unless `hub_private_repo: false` says otherwise.
2. A branch starts at the first commit of the repository, so it holds the files of one model and nothing else.
3. Only what a reader of the model needs is pushed (`PUSHED_PATTERNS`). What resuming needs, completions, trackers'
   files and `training_args.bin`, a pickle that contains `hub_token`, stay on this machine.
4. The card that PEFT puts into a checkpoint stays too: the hub refuses one whose base is a path of this machine.
"""

import logging
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path

import httpx
from huggingface_hub import CommitInfo, HfApi
from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import filter_repo_objects, validate_repo_id
from transformers.trainer_utils import HubStrategy

from open_r1.configs.training import TrainingConfig
from open_r1.data.push import check_rights, describe
from open_r1.manifest import STAGING_NAME
from open_r1.training.checkpoints import resumes_own_checkpoint

logger = logging.getLogger(__name__)

UPLOADS_NAME, EVALUATIONS_NAME = ".uploads", ".evaluations"
DEFAULT_BRANCH = "main"
# What a reader of the model needs, and nothing else: fnmatch patterns on the path inside the folder, in which `*` also
# crosses "/", so that the folders of the run have to be named as well.
PUSHED_PATTERNS = (
    "README.md", "config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json",
    "pytorch_model*.bin", "pytorch_model*.bin.index.json", "adapter_config.json", "adapter_model*",
    "tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model",
    "chat_template*", "*.jinja", "preprocessor_config.json", "processor_config.json",
    "configuration_*.py", "modeling_*.py", "*_results.json", "trainer_state.json",
)  # fmt: skip
IGNORED_PATTERNS = (
    "checkpoint-*",
    "superseded-*",
    f"{STAGING_NAME}/*",
    f"{UPLOADS_NAME}/*",
    f"{EVALUATIONS_NAME}/*",
    "eval_results/*",
    "rollouts/*",
    "completions/*",
    "global_step*/*",
)

_SIGNS_OF_A_MODEL = ("README.md", "config.json", "adapter_config.json")


def is_checkpoint_push_requested(training_args: TrainingConfig) -> bool:
    """Say whether every checkpoint goes to a branch of its own; the setting of this name adds the callback."""
    return "push_to_hub_revision" in training_args.callbacks


def checkpoint_revisions(training_args: TrainingConfig, step: int) -> list[str]:
    """Return the branches to which the checkpoint at an optimizer step goes.

    `<hub_model_revision>-step-<9 digits>` with `push_to_hub_revision`; `hub_model_revision` itself with `push_to_hub`
    and `hub_strategy: every_save`.
    """
    revision = training_args.hub_model_revision or DEFAULT_BRANCH
    revisions = [f"{revision}-step-{step:09d}"] if is_checkpoint_push_requested(training_args) else []
    if training_args.push_to_hub and training_args.hub_strategy == HubStrategy.EVERY_SAVE:
        revisions.append(revision)
    return revisions


def create_hub_revision(training_args: TrainingConfig, revision: str) -> str:
    """Create the repository (private) and a branch from its first commit, where they are missing.

    Returns:
        Id of the repository with its namespace.
    """
    api = HfApi(token=training_args.hub_token)
    private = training_args.hub_private_repo is not False
    repo_id = api.create_repo(_repo_name(training_args), private=private, exist_ok=True).repo_id
    if revision != DEFAULT_BRANCH:
        first_commit = api.list_repo_commits(repo_id)[-1]
        api.create_branch(repo_id, branch=revision, revision=first_commit.commit_id, exist_ok=True)
    return repo_id


def push_folder(
    training_args: TrainingConfig, folder: Path, revision: str, extra_ignore_patterns: Iterable[str] = ()
) -> CommitInfo:
    """Upload the model files of a folder to a branch and return the commit; blocks until the upload is done.

    Raises:
        httpx.HTTPError: The hub refuses (HfHubHTTPError) or cannot be reached.
        OfflineModeIsEnabled: HF_HUB_OFFLINE is set.
    """
    repo_id = create_hub_revision(training_args, revision)
    return HfApi(token=training_args.hub_token).upload_folder(
        repo_id=repo_id,
        folder_path=folder,
        revision=revision,
        commit_message=f"Add {revision} checkpoint",
        allow_patterns=list(PUSHED_PATTERNS),
        ignore_patterns=[*IGNORED_PATTERNS, *extra_ignore_patterns],
    )


def link_tree(source: Path, target: Path) -> None:
    """Hard-link the model's files of a checkpoint below `target`; copy where links are impossible.

    Raises:
        OSError: `source` is missing, or `target` cannot be written.
    """
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    if not source.is_dir():
        raise FileNotFoundError(f"there is no folder {source}")
    names = [str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()]
    ignored = [*IGNORED_PATTERNS, "README.md"]
    pushed = filter_repo_objects(names, allow_patterns=list(PUSHED_PATTERNS), ignore_patterns=ignored)
    for name in pushed:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source / name, path)
        except OSError:
            shutil.copy2(source / name, path)  # a file system without hard links


def push_to_hub_revision(
    training_args: TrainingConfig, extra_ignore_patterns: Iterable[str] = ()
) -> "Future[CommitInfo]":
    """Push the model in `output_dir` to the branch `hub_model_revision` in the background.

    The future holds the commit, or the error: read its `result()`. Files must stay in place until it is done.

    Args:
        training_args: `output_dir`, `hub_model_id` and `hub_model_revision` say what goes where.
        extra_ignore_patterns: fnmatch patterns of further files to leave out.
    """
    revision = training_args.hub_model_revision or DEFAULT_BRANCH
    patterns = tuple(extra_ignore_patterns)
    return HfApi().run_as_future(push_folder, training_args, Path(training_args.output_dir), revision, patterns)


def push_finished_model(training_args: TrainingConfig) -> None:
    """Push the saved model of a finished run to `hub_model_revision` and wait for the upload.

    Raises:
        RuntimeError: It could not be pushed; the model on this machine is whole.
    """
    revision = training_args.hub_model_revision or DEFAULT_BRANCH
    try:
        commit = push_folder(training_args, Path(training_args.output_dir), revision)
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise RuntimeError(
            f"The finished model is whole in {training_args.output_dir}, but could not be pushed to the hub: "
            f"{describe(error)}. Push it by hand: `hf upload {_repo_name(training_args)} {training_args.output_dir} "
            f"--revision {revision}`."
        ) from error
    logger.info("Pushed %s to the hub: %s", revision, commit.commit_url)


def check_hub_revision_exists(training_args: TrainingConfig) -> None:
    """Refuse a run whose model could not be pushed, or would be mixed with one that is already there.

    Does nothing unless a push is requested; only the main process asks the hub. A run that resumes from a checkpoint
    of its own may push to its branch again.

    Raises:
        ValueError: Not logged in, no right to write, hub out of reach, a wrong repository name, a `hub_strategy`
            that cannot be followed, or a branch that holds a model while `overwrite_hub_revision` is off.
    """
    is_requested = training_args.push_to_hub or is_checkpoint_push_requested(training_args)
    if not is_requested or training_args.process_index != 0:
        return
    if training_args.push_to_hub and training_args.hub_strategy not in (HubStrategy.END, HubStrategy.EVERY_SAVE):
        raise ValueError(
            f"`hub_strategy: {training_args.hub_strategy.value}` would push optimizer states, which stay on this "
            "machine here: use `end`, `every_save`, or `push_to_hub_revision: true` (a branch for each checkpoint)."
        )
    api = HfApi(token=training_args.hub_token)
    try:
        repo_id = check_rights(api, _repo_name(training_args), "hub_model_id")
        if training_args.overwrite_hub_revision or resumes_own_checkpoint(training_args):
            return
        taken = _taken_branches(api, repo_id, training_args)
    except LocalTokenNotFoundError as error:
        raise ValueError(
            "A push to the hub is requested, but nobody is logged in: run `hf auth login`, set HF_TOKEN, or turn "
            "`push_to_hub` and `push_to_hub_revision` off."
        ) from error
    except (OfflineModeIsEnabled, httpx.HTTPError) as error:
        raise ValueError(
            f"A push to the hub is requested, but {api.endpoint} refuses it: {describe(error)}. Check the token "
            "and the network (HF_HUB_OFFLINE, HF_ENDPOINT), or turn `push_to_hub` and `push_to_hub_revision` off."
        ) from error
    if taken:
        raise ValueError(
            f"{repo_id} already holds a model in {', '.join(taken)}. Choose another `hub_model_revision`, or set "
            "`overwrite_hub_revision: true` to push over it."
        )


def _repo_name(training_args: TrainingConfig) -> str:
    """Return `hub_model_id`, or the name of the output folder, which goes to the user's own namespace."""
    name = training_args.hub_model_id or Path(training_args.output_dir).absolute().name
    validate_repo_id(name)
    return name


def _taken_branches(api: HfApi, repo_id: str, training_args: TrainingConfig) -> list[str]:
    """Return the branches this run would push to that hold a model already; at most three of its checkpoints."""
    revision = training_args.hub_model_revision or DEFAULT_BRANCH
    branches = {ref.name for ref in api.list_repo_refs(repo_id).branches} if api.repo_exists(repo_id) else set()
    taken = sorted(name for name in branches if name.startswith(f"{revision}-step-"))[:3]
    if not is_checkpoint_push_requested(training_args):
        taken = []
    if revision in branches and any(api.file_exists(repo_id, name, revision=revision) for name in _SIGNS_OF_A_MODEL):
        taken.insert(0, revision)
    return taken
