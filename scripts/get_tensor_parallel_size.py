#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Print over how many GPUs vLLM can split each layer of a model: the number alone, for $(...) in a shell.

    TP=$(python scripts/get_tensor_parallel_size.py --model_name Qwen/Qwen2.5-1.5B-Instruct --default_tp 8)

The largest number that divides --default_tp and the model's attention heads, and goes into its key-value heads or is a
multiple of them. Only the model's configuration is read: a local folder without the hub, else from the hub's cache or
the hub. Warnings go to stderr.

1. Upstream looks at the attention heads alone, runs code of the model unasked, prints warnings among the numbers, and
   the default where there is no such model: that ends with status 1 and without a number here.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from open_r1.data.flags import FlagParser, respelled


def main(argv: Sequence[str] | None = None) -> int:
    """Print the number; return the exit status."""
    args = build_parser().parse_args(respelled(sys.argv[1:] if argv is None else argv, "_"))
    try:
        heads = read_heads(args.model_name, args.revision, trust_remote_code=args.trust_remote_code)
    except (OSError, ValueError) as error:
        print(f"get_tensor_parallel_size.py: no configuration of {args.model_name}: {error}", file=sys.stderr)
        return 1
    size = args.default_tp
    if heads is None:
        print(f"{args.model_name} names no attention heads: {size} is not checked.", file=sys.stderr)
    else:
        size = tensor_parallel_size(*heads, args.default_tp)
        if size < args.default_tp:
            print(
                f"{args.model_name} has {heads[0]} attention and {heads[1]} key-value heads: {size} GPUs instead of "
                f"{args.default_tp}.",
                file=sys.stderr,
            )
    print(size)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    parser.add_argument("--model_name", required=True, help="folder of a model, or its name on the hub")
    parser.add_argument("--revision", default="main", help="branch, tag or commit on the hub (default: %(default)s)")
    parser.add_argument("--default_tp", type=positive, default=8, help="GPUs that are there (default: %(default)s)")
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="run code that comes with the model (default: off)"
    )
    return parser


def positive(text: str) -> int:
    """Return a whole number above 0."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of GPUs: 1, 2, 4, ...")
    return int(text)


def read_heads(model_name: str, revision: str, *, trust_remote_code: bool) -> tuple[int, int] | None:
    """Return the numbers of attention heads and of key-value heads, or None for a model without any.

    Raises:
        OSError: There is no such model, or the hub cannot be reached.
        ValueError: Its configuration is broken, or of a kind that transformers does not know.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig  # seconds of imports, after the refusals

    name = str(Path(model_name).expanduser()) if Path(model_name).expanduser().is_dir() else model_name
    try:
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=trust_remote_code)
    except (StrictDataclassError, TypeError) as error:  # a value of the wrong type; no object at all
        raise ValueError(f"it is broken: {error}") from error
    text = config.get_text_config()
    if not hasattr(text, "num_attention_heads"):  # by whatever name the model's own file has it
        return None
    fewer = [name for name in ("num_key_value_heads", "num_kv_heads") if getattr(text, name, None)]
    return text.num_attention_heads, getattr(text, fewer[0]) if fewer else text.num_attention_heads


def tensor_parallel_size(num_heads: int, num_kv_heads: int, num_gpus: int) -> int:
    """Return the largest divisor of `num_gpus` over which the heads of a layer can be split evenly.

    >>> tensor_parallel_size(32, 8, 8), tensor_parallel_size(14, 2, 8), tensor_parallel_size(32, 8, 16)
    (8, 2, 16)
    """
    return max(
        size
        for size in range(1, num_gpus + 1)
        if num_gpus % size == 0
        and num_heads % size == 0
        and (num_kv_heads % size == 0 or size % num_kv_heads == 0)  # vLLM copies key-value heads that are too few
    )


if __name__ == "__main__":
    sys.exit(main())
