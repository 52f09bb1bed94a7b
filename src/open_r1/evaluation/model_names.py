# SPDX-License-Identifier: Apache-2.0
"""Whether what names a model can be one: a folder that holds one, or a name on the hub."""

from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

# What tells how weights are to be read: of transformers, of PEFT, of Mistral's own format, which vLLM takes too.
_CONFIGS = ("config.json", "adapter_config.json", "params.json")


def check_model_name(model: str, *, is_tokenizer_enough: bool = False) -> None:
    """Refuse what is neither a folder with a model nor written as names on the hub are; the hub isn't asked.

    Args:
        model: Folder or name.
        is_tokenizer_enough: Whether a folder may hold a tokenizer alone.

    Raises:
        ValueError: See the message.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if not (is_tokenizer_enough and (path / "tokenizer_config.json").is_file()):
            _check_folder(path)
        return
    if path.is_file():
        raise ValueError(f"The model {model!r} is a file; name the folder that holds it, with its config.json.")
    try:
        validate_repo_id(model)
    except HFValidationError as error:
        raise ValueError(
            f"There is no folder {model!r} (seen from {Path.cwd()}), and a name on the hub it isn't either: these are "
            "written name, or owner/name."
        ) from error


def _check_folder(folder: Path) -> None:
    if _holds_model(folder):
        return
    found = sorted(entry for entry in folder.iterdir() if entry.is_dir() and _holds_model(entry))
    hint = f" These in it do: {', '.join(map(str, found))}." if found else ""
    raise ValueError(f"The folder {folder} holds no model: no config.json, no adapter_config.json.{hint}")


def _holds_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _CONFIGS)
