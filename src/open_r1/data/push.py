# SPDX-License-Identifier: Apache-2.0
"""Pushes of finished data folders to the hub: parquet files, reports and the card, private by default.

    check_push("numbers")                    # before the work begins: "alice/numbers"
    push_folder("out", "alice/numbers")      # when it is done: the address of the commit

A private push never goes into a repository that everybody can read. Upstream pushes rows without their card.
"""

import logging
from pathlib import Path

import httpx
from huggingface_hub import DatasetCard, HfApi
from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from open_r1.data.card import CARD_NAME, README_NAME, read_card
from open_r1.data.folder import DEFAULT_CONFIG, patterns_by_config

logger = logging.getLogger(__name__)

_REPO_TYPE = "dataset"


def check_push(repo_id: str, *, private: bool = True, setting: str = "repo_id") -> str:
    """Return the full id of the data set's repository, after asking the hub whether the token may push there.

    Args:
        repo_id: `<namespace>/<name>`, or a name in the user's own namespace.
        private: Whether the push is to be private.
        setting: What the user calls the name, for the message.

    Raises:
        ValueError: Nobody is logged in, no right to write, offline, hub out of reach, a name that the hub would not
            take, or a repository that everybody can read while the push is private.
    """
    api = HfApi()
    try:
        validate_repo_id(repo_id)
        full_id = check_rights(api, repo_id, setting)
        _refuse_public(api, full_id, private)
    except LocalTokenNotFoundError as error:
        raise ValueError(f"`{setting}`: nobody is logged in. Run `hf auth login`, or set HF_TOKEN.") from error
    except (OfflineModeIsEnabled, httpx.HTTPError) as error:
        raise ValueError(f"`{setting}`: {api.endpoint} refuses the push: {describe(error)}") from error
    return full_id


def push_folder(path: Path | str, repo_id: str, *, private: bool = True, config: str | None = None) -> str:
    """Push a finished data folder and return the address of the commit.

    Args:
        path: A finished data folder.
        repo_id: `<namespace>/<name>`, or a name in the user's own namespace; made where it is missing.
        private: Make the repository private, and refuse one that is not.
        config: Push the folder's default configuration under this name, beside others that are there already.

    Raises:
        ValueError: The folder is not finished, or what `check_push` refuses.
        RuntimeError: The hub failed; the folder on this machine is whole.
    """
    path = Path(path).expanduser()
    card = read_card(path)
    if card is None:
        raise ValueError(f"{path} is no finished data folder: it has no {CARD_NAME}.")
    full_id = check_push(repo_id, private=private)
    api = HfApi()
    is_part = config not in (None, DEFAULT_CONFIG)
    patterns = patterns_by_config(card)
    files = [pattern for splits in patterns.values() for pattern in splits.values()]
    try:
        api.create_repo(full_id, repo_type=_REPO_TYPE, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=full_id,
            repo_type=_REPO_TYPE,
            folder_path=path,
            path_in_repo=config if is_part else None,
            allow_patterns=[CARD_NAME, *card.reports, *files, *(() if is_part else (README_NAME,))],
            delete_patterns=["*.parquet", "contamination_report.*"],  # of an earlier push
            commit_message=f"Add {config if is_part else card.name}",
        )
        if is_part:
            _add_config(api, full_id, str(config), patterns[DEFAULT_CONFIG])
    except (httpx.HTTPError, OSError) as error:
        raise RuntimeError(
            f"The data set is whole in {path}, but could not be pushed to {full_id}: {describe(error)}. The same "
            "command pushes it again."
        ) from error
    logger.info("Pushed %s to the hub: %s", path, commit.commit_url)
    return commit.commit_url


def _add_config(api: HfApi, repo_id: str, config: str, patterns: dict[str, str]) -> None:
    """Name a configuration's files in the README of a repository."""
    readme = DatasetCard(f"---\nconfigs: []\n---\n# {repo_id.split('/')[-1]}\n")
    if api.file_exists(repo_id, README_NAME, repo_type=_REPO_TYPE):
        readme = DatasetCard.load(repo_id)
    others = [entry for entry in readme.data.to_dict().get("configs", []) if entry["config_name"] != config]
    files = [{"split": split, "path": f"{config}/{pattern}"} for split, pattern in patterns.items()]
    readme.data["configs"] = [*others, {"config_name": config, "data_files": files}]
    api.upload_file(
        path_or_fileobj=str(readme).encode(), path_in_repo=README_NAME, repo_id=repo_id, repo_type=_REPO_TYPE
    )


def check_rights(api: HfApi, name: str, setting: str) -> str:
    """Return the full id of a repository, of models or data, that the token may write to.

    Args:
        api: Client with the token.
        name: Name of the repository, with or without a namespace.
        setting: What the user calls the name, for the message.

    Raises:
        ValueError: The token may only read, or the namespace is not the user's.
        LocalTokenNotFoundError, OfflineModeIsEnabled, httpx.HTTPError: The hub could not be asked.
    """
    account = api.whoami()
    if account.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise ValueError(f"`{setting}`: the token of {account['name']} may only read: make one with write access.")
    if "/" not in name:
        return f"{account['name']}/{name}"
    namespace = name.split("/")[0]
    roles = {org["name"]: org.get("roleInOrg") for org in account.get("orgs", [])} | {account["name"]: "admin"}
    if roles.get(namespace, "no role") not in (None, "admin", "write", "contributor"):
        raise ValueError(
            f"`{setting}` is {name}, but {account['name']} is logged in, with {roles.get(namespace, 'no role')!r} in "
            f"{namespace}. Use one of {sorted(roles)}, or log in as someone else."
        )
    return name


def describe(error: Exception) -> str:
    """Return the kind and the message of an error on one line; the hub's messages span several."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _refuse_public(api: HfApi, repo_id: str, private: bool) -> None:
    is_there = private and api.repo_exists(repo_id, repo_type=_REPO_TYPE)
    if is_there and not api.repo_info(repo_id, repo_type=_REPO_TYPE).private:
        raise ValueError(f"{repo_id} exists and is public: push with --public, or to another name.")
