# SPDX-License-Identifier: Apache-2.0
"""Pushing a finished data folder to the hub: card, reports and parquet files, private unless told otherwise.

Call `check_push` before the work begins and `push_folder` when it is done. The same command pushes again what did not
arrive: files that stand on the hub already are not sent twice.

1. Upstream pushes rows, without saying where they come from. Here the card goes with them.
2. A private push never goes into a repository that everybody can read.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from open_r1.data.card import CARD_NAME, README_NAME, DataCard, read_card
from open_r1.data.licences import read_header, without_header
from open_r1.data.published import DEFAULT_CONFIG, data_folder_name, published_files, splits_by_config

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

_REPO_TYPE = "dataset"
_MAIN = "main"
_ATTEMPTS = 5
_FIRST_WAIT_S = 2.0
_STATUS_TO_RETRY = {408, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class _Upload:
    """What goes where: files by their place in the repository, and patterns of older files to delete there."""

    files: dict[str, Path | bytes]
    outdated: list[str]


def check_push(repo_id: str, *, private: bool = True, setting: str = "repo_id") -> str:
    """Return the full id of the data set's repository, after asking the hub whether we may push there.

    Args:
        repo_id: `<namespace>/<name>`, or a name in the user's own namespace.
        private: Whether the push is to be private.
        setting: What the user calls the name, for the message.

    Raises:
        ValueError: Nobody is logged in, no right to write, offline, hub out of reach, a name that the hub would not
            take, or a repository that everybody can read while the push is private.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import validate_repo_id

    from open_r1.data.hub_rights import check_rights, describe

    api = HfApi()
    try:
        validate_repo_id(repo_id)
        full_id = check_rights(api, repo_id, setting)
        _refuse_public(api, full_id, private)
    except LocalTokenNotFoundError as error:
        raise ValueError(
            f"A push to {repo_id} is requested, but nobody is logged in: run `hf auth login`, set HF_TOKEN, or leave "
            f"`{setting}` out."
        ) from error
    except (OfflineModeIsEnabled, httpx.HTTPError) as error:
        raise ValueError(
            f"A push to {repo_id} is requested, but {api.endpoint} does not let us: {describe(error)}. Check the "
            f"token and the network (HF_HUB_OFFLINE, HF_ENDPOINT), or leave `{setting}` out."
        ) from error
    return full_id


def push_folder(
    path: Path | str, repo_id: str, *, private: bool = True, revision: str | None = None, config: str | None = None
) -> str:
    """Push a finished data folder and return the address of the commit; blocks until it stands on the hub.

    Args:
        path: A finished data folder of ours.
        repo_id: `<namespace>/<name>`, or a name in the user's own namespace; made where it is missing.
        private: Make the repository private, and refuse one that is not.
        revision: Branch; made where it is missing. The default one when None.
        config: Push the folder's default configuration under this name, beside other ones that are there already.

    Raises:
        ValueError: The folder is not finished, or what `check_push` refuses.
        RuntimeError: The hub failed again and again; the folder on this machine is whole.
    """
    import httpx
    from huggingface_hub import HfApi

    from open_r1.data.hub_rights import describe

    path = Path(path).expanduser()
    card = read_card(path)
    if card is None:
        raise ValueError(f"{path} is no finished data folder: it has no {CARD_NAME}.")
    full_id = check_push(repo_id, private=private)
    api = HfApi()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            address = _push_once(api, path, card, full_id, private, revision or _MAIN, config)
        except (httpx.HTTPError, OSError) as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
            if attempt == _ATTEMPTS or (status is not None and status not in _STATUS_TO_RETRY):
                raise RuntimeError(
                    f"The data set is whole in {path}, but could not be pushed to {full_id}: {describe(error)}. The "
                    "same command pushes again what did not arrive."
                ) from error
            wait_s = _FIRST_WAIT_S * 2 ** (attempt - 1)
            logger.warning("Pushing to %s failed (%s); again in %.0f s.", full_id, describe(error), wait_s)
            time.sleep(wait_s)
        else:
            logger.info("Pushed %s to the hub: %s", path, address)
            return address
    raise AssertionError("unreachable")


def _push_once(
    api: "HfApi", path: Path, card: DataCard, repo_id: str, private: bool, revision: str, config: str | None
) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api.create_repo(repo_id, repo_type=_REPO_TYPE, private=private, exist_ok=True)
    _refuse_public(api, repo_id, private)
    if revision != _MAIN:
        api.create_branch(repo_id, repo_type=_REPO_TYPE, branch=revision, exist_ok=True)
    there = api.list_repo_files(repo_id, repo_type=_REPO_TYPE, revision=revision)
    if config in (None, DEFAULT_CONFIG):
        upload = _whole_folder(path, card)
        if CARD_NAME in there:  # what an earlier push had beside the data, and this one has not
            pushed = api.hf_hub_download(repo_id, CARD_NAME, repo_type=_REPO_TYPE, revision=revision)
            upload.outdated.extend(_places_of(Path(pushed)))
    else:
        readme = None
        if README_NAME in there:
            found = api.hf_hub_download(repo_id, README_NAME, repo_type=_REPO_TYPE, revision=revision)
            readme = Path(found).read_text(encoding="utf-8")
        upload = _one_config(path, card, config, readme, repo_id)
    operations: list[Any] = [CommitOperationAdd(place, content) for place, content in upload.files.items()]
    operations += [
        CommitOperationDelete(place)
        for place in there
        if place not in upload.files
        and any(place == old or (old.endswith("/") and place.startswith(old)) for old in upload.outdated)
    ]
    message = f"Add {card.name}" + (f" ({config})" if config else "")
    return api.create_commit(
        repo_id, operations, commit_message=message, repo_type=_REPO_TYPE, revision=revision
    ).commit_url


def _places_of(card_file: Path) -> list[str]:
    """Return the folders of the configurations and the reports that a card names; none of one that is not ours."""
    try:
        card = read_card(card_file.parent)
    except ValueError as error:
        logger.warning("What an earlier push left stays on the hub, whose card cannot be read: %s", error)
        return []
    if card is None:
        return []
    return [*(f"{data_folder_name(config)}/" for config in splits_by_config(card)), *card.reports]


def _whole_folder(path: Path, card: DataCard) -> _Upload:
    files: dict[str, Path | bytes] = {name: path / name for name in (README_NAME, CARD_NAME, *card.reports)}
    configs = splits_by_config(card)
    for config in configs:
        for found in published_files(path, card, config).values():
            files |= {f"{data_folder_name(config)}/{file.name}": file for file in found}
    return _Upload(files, [f"{data_folder_name(config)}/" for config in configs])


def _one_config(path: Path, card: DataCard, config: str, readme: str | None, repo_id: str) -> _Upload:
    """Put the default configuration into a folder named as `config`, with its own card, and name it in the README."""
    splits = published_files(path, card, DEFAULT_CONFIG)
    files: dict[str, Path | bytes] = {f"{config}/{name}": path / name for name in (CARD_NAME, *card.reports)}
    own_readme = (path / README_NAME).read_text(encoding="utf-8")
    files[f"{config}/{README_NAME}"] = without_header(own_readme).encode()  # a header counts in the root only
    for found in splits.values():
        files |= {f"{config}/{file.name}": file for file in found}
    header = read_header(readme or "")
    others = [entry for entry in header.get("configs", []) if entry.get("config_name") != config]
    data_files = [{"split": split, "path": [f"{config}/{split}-*.parquet"]} for split in splits]
    header |= {"configs": [*others, {"config_name": config, "data_files": data_files}]}
    body = without_header(readme) if readme else f"# {repo_id.split('/')[-1]}\n"
    line = f"- [{config}]({config}/{README_NAME})"
    if line not in body.splitlines():
        body = f"{body.rstrip()}\n{line}\n"
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    files[README_NAME] = f"---\n{text}---\n\n{body.lstrip()}".encode()
    return _Upload(files, [f"{config}/"])


def _refuse_public(api: "HfApi", repo_id: str, private: bool) -> None:
    """Raise a ValueError when a private push would go into a repository that everybody can read."""
    is_there = private and api.repo_exists(repo_id, repo_type=_REPO_TYPE)
    if is_there and not api.repo_info(repo_id, repo_type=_REPO_TYPE).private:
        raise ValueError(f"{repo_id} exists and is public: push with --public, or to another name.")
