# SPDX-License-Identifier: Apache-2.0
"""Which weights stand behind a model's name: a hash of a folder's files, or a commit of a repository on the hub.

A name alone doesn't tell models apart: a training may write another into the same folder, and a branch moves. Beside
it, hashes of the chat template and of the prompt, which tell at a glance whether two runs have asked the same.
"""

import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import xxhash
from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.file_download import repo_folder_name

if TYPE_CHECKING:
    from open_r1.generation.client import ServedModel

logger = logging.getLogger(__name__)

_HASH_BYTES = 1 << 22
_HUB_TIMEOUT_S = 10.0
_ADAPTER = "adapter_config.json"
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


@dataclass(frozen=True)
class Identity:
    """What identifies a model's weights; nothing does where both are None.

    Attributes:
        commit: Of its repository on the hub.
        fingerprint: Of its folder on this machine.
    """

    commit: str | None = None
    fingerprint: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether another model under the same name would be noticed."""
        return self.commit is not None or self.fingerprint is not None

    def notes(self, name: str) -> list[str]:
        """Return what users of a model must know; empty: another under its name would be noticed."""
        if self.is_known:
            return []
        return [
            f"Nothing tells which weights {name} serves but the name: after the model has changed, --overwrite "
            "asks again. --model_id with its folder on this machine, or with a name on the hub and its "
            "--model_revision, tells"
        ]

    def as_settings(self) -> dict[str, str | None]:
        """Return it as settings of a run."""
        return {"model_commit": self.commit, "model_fingerprint": self.fingerprint}


def identify(model: str | None, revision: str) -> Identity:
    """Return what identifies a model, a folder here or a name on the hub; reads all files of a folder."""
    if model is None:
        return Identity()
    fingerprint = fingerprint_folder(model)
    return Identity(fingerprint=fingerprint) if fingerprint is not None else Identity(resolve_commit(model, revision))


def identify_served(
    served: "ServedModel", fingerprint: Callable[[str], str | None] = lambda folder: fingerprint_folder(folder)
) -> Identity:
    """Return what identifies the model of servers that each name its folder, if that is on this machine.

    Args:
        served: What the servers say.
        fingerprint: `fingerprint_folder`, or what remembers its answers: it reads all weights.
    """
    names = [served.name, *(served.roots if served.are_roots_told else ())]
    folders = [name for name in dict.fromkeys(names) if Path(name).is_absolute()]
    prints = [found for found in map(fingerprint, folders) if found is not None]
    return Identity(fingerprint="+".join(dict.fromkeys(prints)) or None)


def fingerprint_folder(model: str) -> str | None:
    """Return a hash of the files of a local model that its answers depend on; None: it is no folder here.

    An adapter's has the model that it changes in it, as that is now.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return None
    digest = xxhash.xxh3_128()
    _add_files(digest, folder)
    if (base := adapter_base(folder)) is not None:
        digest.update(_hash_of_base(*base).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:16]


def _add_files(digest: xxhash.xxh3_128, folder: Path) -> None:
    found = {path for pattern in _OF_THE_ANSWERS for path in folder.glob(pattern) if path.is_file()}
    names = {path.relative_to(folder): path for path in found if not _OF_THE_TRAINING.fullmatch(path.name)}
    for name, path in sorted(names.items()):
        if any(_OTHER_FOLDERS.match(part) for part in name.parts[:-1]):
            continue
        digest.update(f"{name.as_posix()}:{path.stat().st_size}:".encode())
        with path.open("rb") as file:
            while block := file.read(_HASH_BYTES):
                digest.update(block)


def adapter_base(folder: Path) -> tuple[str, str] | None:
    """Return name and revision of the model that an adapter's folder changes; None: it is none, or names no model."""
    if not (folder / _ADAPTER).is_file():
        return None
    settings = _read_json((folder / _ADAPTER).read_text(encoding="utf-8"))
    base, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    if not isinstance(base, str) or not base:
        return None
    return base, revision if isinstance(revision, str) and revision else "main"


def _hash_of_base(base: str, revision: str) -> str:
    """Return what identifies the model that an adapter changes; "": nothing does but the name in its files."""
    path = Path(base).expanduser()
    if not path.is_dir():
        return resolve_commit(base, revision) or ""
    digest = xxhash.xxh3_128()
    _add_files(digest, path)
    return digest.hexdigest()


def resolve_commit(model: str, revision: str) -> str | None:
    """Return the commit that a revision of a model on the hub is; None: nobody says.

    The hub is asked; where it can't be, what it has told before is in its cache on this machine.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    try:
        return HfApi().model_info(model, revision=revision, timeout=_HUB_TIMEOUT_S).sha
    except (httpx.HTTPError, OSError, ValueError) as error:  # no such model, no right to it, no network, no name
        logger.info(
            "The hub doesn't say which commit %s of %s is (%s); looking into its cache.",
            revision,
            model,
            type(error).__name__,
        )
    return _cached_commit(model, revision)


def check_is_there(model: str, revision: str) -> None:
    """Refuse a model that is no folder here and in no cache while the hub can't be reached.

    What would load it tries for most of a minute, and then speaks of the connection alone.

    Args:
        model: Folder, or a name as the hub has them.
        revision: Branch, tag or commit on the hub.

    Raises:
        ValueError: It can't be loaded here.
    """
    if Path(model).expanduser().is_dir():
        return
    commit = revision if _COMMIT.fullmatch(revision) else _cached_commit(model, revision)
    if commit is not None and (_cache_of(model) / "snapshots" / commit).is_dir():
        return
    try:
        HfApi().model_info(model, revision=revision, timeout=_HUB_TIMEOUT_S)
    except HfHubHTTPError:
        return  # the hub is there: what loads the model tells what it says
    except (httpx.TransportError, OfflineModeIsEnabled) as error:
        raise ValueError(
            f"There is no folder {model!r} (seen from {Path.cwd()}), and the hub can't be reached "
            f"({type(error).__name__}), nor is revision {revision} of such a model in its cache."
        ) from error


def _cache_of(model: str) -> Path:
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=model, repo_type="model")


def _cached_commit(model: str, revision: str) -> str | None:
    try:
        commit = (_cache_of(model) / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def fingerprint_template(model: str, revision: str, words: Sequence[str] = ()) -> str | None:
    """Return a hash of a model's chat template; None: it has none, or nothing on this machine tells.

    Args:
        model: Folder, or name on the hub, of which the cache on this machine is read.
        revision: Branch, tag or commit on the hub.
        words: Arguments of vLLM, which may name another template.
    """
    named = fingerprint_named_template(words)
    if named is not None:
        return named
    text = _read_text(model, revision, "chat_template.jinja")
    if text is not None:
        return _hash(text)
    for name in ("tokenizer_config.json", "chat_template.json"):
        settings = _read_json(_read_text(model, revision, name))
        if settings.get("chat_template"):
            value = settings["chat_template"]  # a text, or several with names
            return _hash(value if isinstance(value, str) else json.dumps(value, sort_keys=True))
    return None


def fingerprint_named_template(words: Sequence[str]) -> str | None:
    """Return a hash of the chat template that arguments of vLLM name, a file or a text; None: the model's own."""
    named = _named_template(words)
    if named is None:
        return None
    try:
        path = Path(named).expanduser()
        is_file = path.is_file()
    except (OSError, RuntimeError):  # too long for a path, or nobody's home: it is a template itself
        return _hash(named)
    return _hash(path.read_text(encoding="utf-8", errors="replace") if is_file else named)


def fingerprint_prompt(template: str | None, system_prompt: str | None) -> str:
    """Return a hash of what is put around a problem."""
    return _hash(json.dumps([template, system_prompt]))


def _named_template(words: Sequence[str]) -> str | None:
    found = None
    for word, following in pairwise([*words, ""]):
        name, sign, value = word.partition("=")
        if name.replace("_", "-") == "--chat-template":
            found = value if sign else following
    return found


def _read_text(model: str, revision: str, name: str) -> str | None:
    folder = Path(model).expanduser()
    if folder.is_dir():
        path = folder / name
    else:
        try:
            cached = try_to_load_from_cache(model, name, revision=revision)
        except ValueError:  # no name on the hub
            return None
        if not isinstance(cached, str):
            return None
        path = Path(cached)
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _read_json(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _hash(text: str) -> str:
    return xxhash.xxh3_128(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
