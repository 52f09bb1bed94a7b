#!/usr/bin/env python
# SPDX-License-Identifier: Apache-2.0
"""Print over how many GPUs vLLM can split each layer of a model; with --gpus, how many a copy takes and the copies.

    TP=$(python scripts/get_tensor_parallel_size.py --model_name Qwen/Qwen2.5-7B --default_tp 8)             # 4
    sizes=$(python scripts/get_tensor_parallel_size.py --model_name Qwen/Qwen2.5-7B --gpus 8)                # 1 8
    sizes=$(python scripts/get_tensor_parallel_size.py --model_name Qwen/Qwen2.5-7B --gpus 8 --tp 4)         # 4 2
    read -r tp copies <<<"$sizes"

Alone it is Open R1's number, the largest that the heads allow. With --gpus, those of a node, there are two: GPUs of a
copy and copies on the node, vLLM's --tensor-parallel-size and --data-parallel-size. Notes go to stderr; what can't
work ends with status 2 and without a number. A model of which nothing is known goes over all GPUs, and that is said.

1. Open R1 looks at the attention heads alone, runs code of the model unasked, prints warnings among the numbers, and
   the default where there is no such model: that ends with status 1 here.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from open_r1.cluster.gpus import ModelSize, allowed_sizes, gpus_of_copy, read_size, weights_by_name
from open_r1.data.cli import FlagParser, log_to_stderr, respelled


def main(argv: Sequence[str] | None = None) -> int:
    """Print the numbers; return the exit status."""
    args = build_parser().parse_args(respelled(sys.argv[1:] if argv is None else argv, "_"))
    log_to_stderr()
    model, size = args.model_name, ModelSize()
    try:
        size = read_size(model, args.revision)
    except (OSError, ValueError, LookupError, TypeError) as error:
        print(f"There is no configuration of {model} here: {error}", file=sys.stderr)
        if args.gpus is None:
            return 1
    if size.num_heads is None:
        print(f"The attention heads of {model} are not known, and not checked.", file=sys.stderr)
    if args.gpus is None:
        print(allowed_sizes(size, args.default_tp)[-1])
        return 0
    is_guessed = args.tp is None and size.weights_gb is None
    if is_guessed:
        size = replace(size, weights_gb=weights_by_name(model))
        guess = f"{size.weights_gb:g} GB, by its name" if size.weights_gb else "not known: one copy has all GPUs"
        print(f"The size of {model} is {guess}.", file=sys.stderr)
    sizes = allowed_sizes(size, args.gpus)
    try:
        if args.tp is not None and args.tp not in sizes:
            heads = f"{size.num_heads} attention and {size.num_kv_heads} key-value heads"
            raise ValueError(f"{args.tp} of {args.gpus} GPUs can't share {heads}; these can: {sizes}")
        tp = args.tp or gpus_of_copy(size, args.gpus, args.gpu_memory_gb)
    except ValueError as error:
        if is_guessed:  # a name proves nothing
            print(f"{model} may be too large: {error}", file=sys.stderr)
            print(sizes[-1], args.gpus // sizes[-1])
            return 0
        print(f"error: {model}: {error}", file=sys.stderr)
        return 2
    print(tp, args.gpus // tp)
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = FlagParser(description=__doc__)
    parser.add_argument("--model_name", required=True, help="folder of a model, or its name on the hub")
    parser.add_argument("--revision", default="main", help="branch, tag or commit on the hub (default: %(default)s)")
    parser.add_argument(
        "--default_tp", type=_positive, default=8, help="GPUs at most, one copy (default: %(default)s)"
    )
    parser.add_argument("--gpus", type=_positive, help="GPUs of a node, for as many copies as fit")
    parser.add_argument("--tp", type=_positive, help="with --gpus: so many a copy, if its heads allow it")
    parser.add_argument(
        "--gpu_memory_gb", type=float, default=80.0, help="memory of a GPU, in 10**9 bytes (default: %(default)g)"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of GPUs: 1, 2, 4, ...")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
