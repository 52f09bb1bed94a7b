# SPDX-License-Identifier: Apache-2.0
"""Fingerprints of weights: a hash of a model folder's files, or the commit of a repository on the hub.

    identify("data/grpo", "main")        {"model_commit": None, "model_fingerprint": "8894...d173"}
    identify("Qwen/Qwen3-8B", "main")    {"model_commit": "9c92...", "model_fingerprint": None}

A name alone doesn't tell models apart: a training may write another into the same folder, and a branch moves.
"""

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import xxhash
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import validate_repo_id

if TYPE_CHECKING:
    from open_r1.generation.client import ServedModel

logger = logging.getLogger(__name__)

_HASH_BYTES = 1 << 22
_HUB_TIMEOUT_S = 10.0
_ADAPTER = "adapter_config.json"
# Files that say how weights are to be read: of transformers, of PEFT, of Mistral's own format, which vLLM takes too.
_CONFIGS = ("config.json", _ADAPTER, "params.json")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Code too: with `trust_remote_code` it decides what the weights do.
_OF_THE_ANSWERS = (
    "config.json", "generation_config.json", "*.safetensors", "*.bin", _ADAPTER, "tokenizer*", "*.jinja",
    "chat_template*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model",
    "params.json", "tekken.json", "consolidated*.pth", "*.tiktoken", "hf_quant_config.json", "quantize_config.json",
    "*.index.json", "*.gguf", "*.pt", "additional_chat_templates/*", "**/*.py",
)  # fmt: skip
# A checkpoint may lose them or get others, and folders of checkpoints in it.
_OF_THE_TRAINING = re.compile(r"training_args\.bin|(optimizer|scheduler|scaler|rollout_state_\d+)\.(bin|pt)")
_OTHER_FOLDERS = re.compile(r"(\.|checkpoint-|global_step)")


def identify(model: str | None, revision: str, *, is_loaded: bool = False) -> dict[str, str | None]:
    """Return commit and hash of a model, a folder here or a name on the hub; reads all files of a folder.

    Args:
        model: None: nothing is known of it.
        revision: Branch, tag or commit on the hub.
        is_loaded: Whether it is to be loaded here, so that it must be one.

    Raises:
        ValueError: It can't be loaded here.
    """
    if is_loaded and model is not None:
        check_model_name(model)
    fingerprint = None if model is None else fingerprint_folder(model)
    commit = None if model is None or fingerprint else resolve_commit(model, revision, is_required=is_loaded)
    return {"model_commit": commit, "model_fingerprint": fingerprint}


def identify_served(served: "ServedModel") -> dict[str, str | None]:
    """Return the same of the model of servers that each name its folder, if that is on this machine."""
    folders = {name for name in (served.name, *served.roots) if Path(name).is_absolute()}
    prints = {found for folder in folders if (found := fingerprint_folder(folder)) is not None}
    return {"model_commit": None, "model_fingerprint": "+".join(sorted(prints)) or None}


def note_of_unknown(name: str) -> str:
    """Return what users must know of a model that nothing identifies but its name."""
    return (
        f"Nothing tells which weights {name} serves but the name: after it has changed, --overwrite asks again. "
        "--model_id with its folder on this machine, or with a name on the hub and its --model_revision, tells"
    )


def check_model_name(model: str) -> None:
    """Refuse what is neither a folder with a model nor written as names on the hub are; the hub isn't asked.

    Raises:
        ValueError: See above.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if not any((path / name).is_file() for name in _CONFIGS):
            raise ValueError(f"The folder {path} holds no model: no {', no '.join(_CONFIGS)}.")
        return
    try:
        validate_repo_id(model)
    except HFValidationError as error:
        raise ValueError(
            f"There is no folder {model!r} (seen from {Path.cwd()}), nor is it a name on the hub."
        ) from error


def fingerprint_folder(model: str) -> str | None:
    """Return a hash of the files of a local model that its answers depend on; None: it is no folder here.

    Of an adapter it is that of the adapter, with the name of the model that it changes.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return None
    digest = xxhash.xxh3_128()
    for path in sorted({path for pattern in _OF_THE_ANSWERS for path in folder.glob(pattern) if path.is_file()}):
        name = path.relative_to(folder)
        if _OF_THE_TRAINING.fullmatch(path.name) or any(map(_OTHER_FOLDERS.match, name.parts[:-1])):
            continue
        digest.update(f"{name.as_posix()}:{path.stat().st_size}:".encode())
        with path.open("rb") as file:
            while block := file.read(_HASH_BYTES):
                digest.update(block)
    return digest.hexdigest()[:16]


def resolve_commit(model: str, revision: str, *, is_required: bool = False) -> str | None:
    """Return the commit that a revision of a model on the hub is; None: nobody says.

    The hub is asked; where it can't be, what it has told before is in its cache on this machine.

    Raises:
        ValueError: `is_required`, the hub can't be reached, and there is nothing in its cache.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    reason: Exception | None = None
    try:
        return HfApi().model_info(model, revision=revision, timeout=_HUB_TIMEOUT_S).sha
    except HfHubHTTPError:  # no such model, or no right to it: what loads the model tells what the hub says
        pass
    except (httpx.HTTPError, OSError, ValueError) as error:  # no network, no name
        reason = error
    cache = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model, repo_type="model")
    try:
        commit = (cache / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = ""
    if is_required and reason is not None and not _COMMIT.fullmatch(commit):
        raise ValueError(
            f"There is no folder {model!r} (seen from {Path.cwd()}), and the hub can't be reached "
            f"({type(reason).__name__}), nor is revision {revision} of such a model in its cache."
        )
    return commit if _COMMIT.fullmatch(commit) else None
