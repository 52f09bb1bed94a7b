# An image for machines with NVIDIA GPUs. Built so far on Debian 12 in place of the base below, which could not be fetched,
# with the default extras (CUDA builds of PyTorch and vLLM included); not yet run on a GPU.
#
#   docker build -t open-r1 .
#   docker run --gpus all --ipc host --security-opt seccomp=unconfined -v "$PWD/data:/open-r1/data" -it open-r1
#
# The option on seccomp lets the local sandbox make namespaces; without it, it takes Landlock where the kernel has it.
# flash-attn needs the compiler of the devel image: pip install flash-attn --no-build-isolation
ARG BASE=nvidia/cuda:13.0.1-devel-ubuntu24.04
FROM ${BASE}

ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv python3-dev build-essential git make ca-certificates \
    && rm -rf /var/lib/apt/lists/*

# The number that most first users have, so that files in data/ belong to them.
RUN mkdir /open-r1 && chown 1000:1000 /open-r1
USER 1000:1000
ENV HOME=/open-r1
WORKDIR /open-r1

# The environment depends on these alone, so that a change of the source doesn't build it again. `make install` would take
# the CPU build of PyTorch, since no GPU shows itself during a build.
COPY --chown=1000:1000 setup.py pyproject.toml constraints.txt README.md ./
COPY --chown=1000:1000 src/open_r1/__init__.py src/open_r1/
ARG EXTRAS=train,vllm
RUN python3 -m venv .venv && .venv/bin/pip install --no-cache-dir -c constraints.txt -e ".[${EXTRAS}]"
ENV PATH=/open-r1/.venv/bin:${PATH}
COPY --chown=1000:1000 . .
CMD ["bash"]
