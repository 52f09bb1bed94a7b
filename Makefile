# Thin: each target calls one script. Set-up is part of each and takes a moment when it has been done before.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV ?= .venv
EXTRAS ?=
VENV_SERVING ?= .venv-serving
MODEL ?= data/models/SmolLM2-135M-Instruct
# Processes that test files are shared out to. WORKERS=0 tests in pytest's own process.
WORKERS ?= 2
# Slurms that test_slurm starts: jobs mostly wait, so there are more than cores.
CLUSTERS ?= 4
ARGS ?=

# What else is set on the command line may be misspelt: programs get it in their environment, and nothing here reads it.
ours := VENV EXTRAS VENV_SERVING MODEL RECIPE WORKERS CLUSTERS ARGS TASK PARALLEL NUM_GPUS ENGINE BACKEND
theirs := PYTHON TORCH_INDEX_URL HF_% TOKENIZERS_PARALLELISM OMP_NUM_THREADS CUDA_VISIBLE_DEVICES MAKE% SHELL
given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
$(foreach name,$(filter-out $(ours) $(theirs),$(given)),$(warning nothing here reads $(name); there are $(ours)))

python := "$(VENV)/bin/python"
install := scripts/install.sh "$(VENV)"
sources := src scripts tests setup.py

# What the user's own environment says, before the defaults below: `make evaluate` may ask the hub, and use all cores.
hub_offline := $(HF_HUB_OFFLINE)
threads := $(OMP_NUM_THREADS)
# Nothing here needs the hub, and two CPU cores are busy enough without every library starting threads of its own.
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false
export OMP_NUM_THREADS ?= 1

.PHONY: help install install_serving demo demo_seeds smoke test test_integration test_all test_browser test_distributed test_serving test_slurm model evaluate test_gpu surface style quality check ci bench_training bench_verifier bench_sandbox bench_decontaminate

help: ## this list
	@awk -F ':.*## ' '/^[a-z_]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' Makefile

install: ## an environment in VENV (.venv): make install EXTRAS=train,vllm adds extras of setup.py
	@$(install) "$(EXTRAS)"

install_serving: ## vLLM in an environment of its own (.venv-serving), on a GPU or a CPU
	@scripts/install.sh "$(VENV_SERVING)" "serving,$(EXTRAS)"

demo: ## train a small model from nothing to a verifiably better one, in minutes, without a GPU
	@$(install)
	@$(python) scripts/demo.py $(ARGS)

demo_seeds: ## the demo over several fresh seeds, as a table
	@$(install)
	@$(python) scripts/demo_seeds.py $(ARGS)

smoke: ## every recipe two steps on a CPU, with stand-ins for model and data; RECIPE=path.yaml: only that one
	@$(install) puzzles,zh
	@$(python) scripts/smoke_recipe.py $(RECIPE) $(ARGS)

test: ## unit tests, doctests and the main paths (tests/smoke), in WORKERS processes (2)
	@$(install) test
	@$(python) -m pytest -n $(WORKERS) --dist loadfile tests/smoke tests/unit src $(ARGS)

test_integration: ## all other tests that one environment can run, most of them with real processes
	@$(install) dev
	@$(python) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder tests/integration $(ARGS)

test_all: test test_integration ## test and test_integration

test_browser: ## the page of a run in headless Chromium, which root gets by apt where it is missing
	@$(install) test,browser
	@scripts/test_browser.sh "$(VENV)" $(ARGS)

test_distributed: ## two processes on the CPU: DDP, ZeRO-2, ZeRO-3 (compiles an op for minutes the first time)
	@$(install) deepspeed,dev
	@scripts/test_distributed.sh "$(VENV)" $(ARGS)

test_serving: ## generation and pass rates against a real vLLM with a real small model, on a CPU too
	@scripts/install.sh "$(VENV_SERVING)" "serving,dev,gguf,$(EXTRAS)"
	@SMOLLM2="$(MODEL)" scripts/test_serving.sh "$(VENV_SERVING)" $(ARGS)

test_slurm: ## all of slurm/ on a real Slurm of three nodes on this machine; as root (installs Slurm by apt)
	@scripts/install.sh "$(VENV_SERVING)" "serving,dev,gguf,$(EXTRAS)"
	@SMOLLM2="$(MODEL)" CLUSTERS="$(CLUSTERS)" scripts/test_slurm.sh "$(VENV_SERVING)" $(ARGS)

model: ## SmolLM2-135M-Instruct, a real model for trials without the hub, in MODEL (data/models/)
	@$(install) gguf
	@$(python) scripts/make_smollm2.py --output_dir "$(MODEL)"

evaluate: ## a benchmark: make evaluate MODEL=... TASK=aime24 [PARALLEL=data|tensor NUM_GPUS=8 ENGINE=lighteval ARGS=...]
	$(if $(filter file,$(origin MODEL)),$(error Name the model: make evaluate MODEL=folder-or-name TASK=aime24))
	$(if $(TASK),,$(error Name the task: make evaluate MODEL=$(MODEL) TASK=aime24, or a local file; several by commas))
	$(if $(and $(PARALLEL),$(findstring --serve,$(ARGS))),$(error Give PARALLEL and NUM_GPUS, or --serve_args in ARGS with all that vLLM needs))
	$(if $(filter-out lighteval,$(ENGINE)),$(error ENGINE is $(ENGINE): it can be lighteval))
	$(if $(ENGINE),,@$(install) "$(EXTRAS)")
	@export HF_HUB_OFFLINE="$(or $(hub_offline),0)"; $(if $(threads),,unset OMP_NUM_THREADS;) \
	$(if $(ENGINE),PARALLEL="$(PARALLEL)" NUM_GPUS="$(NUM_GPUS)" BACKEND="$(BACKEND)" scripts/lighteval.sh "$(MODEL)" "$(TASK)", \
		$(python) scripts/run_benchmarks.py --model_id "$(MODEL)" --benchmarks "$(TASK)" \
		$(if $(PARALLEL),--serve_args="--$(PARALLEL)-parallel-size $(NUM_GPUS)") \
		$(if $(BACKEND),--backend "$(BACKEND)") --output_dir data/evals) $(ARGS)

# Of the environments it is the one with vLLM. Without a GPU it stops before anything is installed.
test_gpu: ## what a first hour with a GPU must show, in the order of worth, as one table; ARGS=--stand-ins: on a CPU
	@scripts/test_gpu.sh --check $(filter --stand-ins,$(ARGS))
	@scripts/install.sh "$(VENV_SERVING)" "serving,dev,gguf,$(if $(filter --stand-ins,$(ARGS)),,train),$(EXTRAS)"
	@SMOLLM2="$(MODEL)" scripts/test_gpu.sh "$(VENV_SERVING)" $(ARGS)

surface: ## names that users depend on, for the diff of a change: assets/surface.txt
	@$(install) dev
	@$(python) scripts/surface.py --output assets/surface.txt $(ARGS)

style: ## format the code and mend what the linter can mend
	@$(install) quality
	@$(python) -m ruff check --fix-only --quiet $(sources)
	@$(python) -m ruff format $(sources)

quality: ## format, lint, types, shell scripts: what CI checks
	@$(install) quality
	@scripts/quality.sh "$(VENV)" $(sources)

check: quality test ## quality and test

ci: ## all that CI runs
	@bash .ci/run

bench_training: ## cost of the training scripts beside bare TRL, tokens/s, memory
	@$(install)
	@$(python) scripts/bench_training.py $(ARGS)

bench_verifier: ## our verifier beside math-verify and TRL: accuracy, echoed questions, 512 rows, hostile rows
	@$(install) dev
	@$(python) scripts/bench_verifier.py --table assets/benchmarks/verifier.md $(ARGS)

bench_sandbox: ## the local sandbox beside bare subprocess: submissions/s, ms a run, 50 tests
	@$(install) dev
	@$(python) scripts/bench_sandbox.py --table assets/benchmarks/sandbox.md $(ARGS)

bench_decontaminate: ## decontaminate.py beside the published algorithm, 200k and 2 million rows: time, memory
	@$(install) dev
	@$(python) scripts/bench_decontaminate.py --table assets/benchmarks/decontamination.md $(ARGS)
