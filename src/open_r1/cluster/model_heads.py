# SPDX-License-Identifier: Apache-2.0
"""Whether the layers of a model can be split over so many GPUs: each holds as many attention heads as the others.

Engines refuse what doesn't fit too, hours later, when the job has got its nodes.
"""

import json
from pathlib import Path

from open_r1.cluster.serving_layout import Serving, plan_layout


def check_heads(serving: Serving, root: Path, num_nodes: int, gpus_per_node: int) -> None:
    """Refuse a model folder whose heads can't be split as planned; models on the hub are left to the engine.

    Args:
        serving: What is served.
        root: Folder that relative paths are below.
        num_nodes: 1 and more.
        gpus_per_node: 0 for CPU nodes.

    Raises:
        ValueError: They can't; the message has the numbers of GPUs that fit.
    """
    heads = read_heads(root / serving.model)
    layout = plan_layout(serving, num_nodes, gpus_per_node)
    if heads is None or heads % layout.tp == 0:
        return
    fitting = [number for number in range(1, layout.tp) if heads % number == 0]
    raise ValueError(
        f"{serving.model} has {heads} attention heads, which --tp {layout.tp} can't share: --tp can be "
        f"{', '.join(map(str, fitting))}; --replicas or --pp use more GPUs"
    )


def read_heads(folder: Path) -> int | None:
    """Return the number of attention heads that a model's config.json has, None without one."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # no folder, or one that the engine refuses with its own words
    for part in (config, config.get("text_config")) if isinstance(config, dict) else ():
        heads = part.get("num_attention_heads") if isinstance(part, dict) else None
        if isinstance(heads, int) and heads > 0:
            return heads
    return None
