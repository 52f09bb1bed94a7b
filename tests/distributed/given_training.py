# SPDX-License-Identifier: Apache-2.0
"""Two optimizer steps by TRL's trainer or ours, on rollouts that each process makes up for itself.

    accelerate launch ... given_training.py bare|own MODEL OUTPUT_DIR [use_cpu]

Writes the parameters after each step as `record_parameters.py` does.
"""

import sys
from pathlib import Path

from tests.distributed.record_parameters import RecordParameters
from tests.integration.given_rollouts import BareTrainer, OwnTrainer, build_given, make_rollouts

if __name__ == "__main__":
    kind, model, output_dir, *flags = sys.argv[1:]
    trainer = build_given(
        {"bare": BareTrainer, "own": OwnTrainer}[kind],
        Path(model),
        Path(output_dir),
        use_cpu="use_cpu" in flags,
        ddp_backend="gloo",
        loss_type="dapo",
        gradient_accumulation_steps=2,
        steps_per_generation=4,
        max_steps=2,
        max_tokens_per_micro_batch=30,  # of ours alone
        # Adam would blow up the rounding of gradients that are almost 0.
        optim="sgd",
        learning_rate=1.0,
        lr_scheduler_type="constant",
        save_strategy="no",
        disable_tqdm=True,
    )
    rank, num_processes = trainer.accelerator.process_index, trainer.accelerator.num_processes
    trainer.rollouts = make_rollouts(seed=rank) | {
        "num_items_in_batch": sum(make_rollouts(seed=other)["num_items_in_batch"] for other in range(num_processes))
    }
    trainer.add_callback(RecordParameters())
    trainer.train()
    trainer.accelerator.state.destroy_process_group()  # as `run_script` does, since torch may abort without
