# The environment of the host (torch) and that of the device (neither torch nor onnx) stay apart, as they do in use.
PYTHON ?= python3
HOST := .venv/host
DEVICE := .venv/device
TENSORRT := .venv/tensorrt
DEBIAN := build/debian
CASES := build/kernel-cases
AARCH64 := build/aarch64
PIP_INSTALL := -m pip install --quiet
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help setup test lint demo bench tensorrt debian test-aarch64 test-sanitizers

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(HOST)/.ready $(DEVICE)/.ready ## Make .venv/host and .venv/device (PYTHON=python3.11 chooses the Python)

test: setup ## Run the tests (ARGS="-k NAME" for some of them)
	$(HOST)/bin/python -m pytest $(ARGS)

lint: $(HOST)/.ready ## Check style, types and imports
	@failed=0; for check in "ruff check" "ruff format --check" mypy lint-imports; do \
	    echo "$$check"; $(HOST)/bin/$$check || failed=1; done; exit $$failed

demo: setup ## Build a bundle and adapt it, start to end
	$(HOST)/bin/python -m benchmarks.demo $(ARGS)

bench: setup ## Measure time and memory, and write the tables
	$(HOST)/bin/python -m benchmarks.bench --device-python $(DEVICE)/bin/python $(ARGS)

tensorrt: $(TENSORRT)/.ready ## Install TensorRT's parser and interface, so that `make test` checks against them

debian: $(DEBIAN)/.ready ## Fetch what the next two and the tests of deploy need from Debian, into build/

test-aarch64: $(CASES)/.ready $(DEBIAN)/.ready $(AARCH64)/.ready ## Run the kernels' cases and a bundle on an emulated aarch64 machine
	$(HOST)/bin/python -m tests.kernels.replay aarch64 $(CASES) $(DEBIAN)
	TOOLCHAIN_AARCH64=$(abspath $(AARCH64)) $(HOST)/bin/python -m pytest tests/end_to_end/test_aarch64.py

test-sanitizers: $(CASES)/.ready $(DEBIAN)/.ready ## Run them where errors of memory, of C and of threads show
	$(HOST)/bin/python -m tests.kernels.replay sanitizers $(CASES) $(DEBIAN)

$(DEBIAN)/.ready: .ci/fetch_debian.sh
	.ci/fetch_debian.sh $(DEBIAN)
	@touch $@

# What a board with JetPack 5 installs, but for its Python, which is 3.8.
$(AARCH64)/.ready: $(HOST)/.ready
	@rm -rf $(AARCH64)
	@$(HOST)/bin/python $(PIP_INSTALL) --target $(AARCH64) --no-deps --only-binary :all: --python-version 3.9 \
	    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
	    numpy==1.24.4 onnxruntime==1.19.2
	@touch $@

# The cases are the same in every run that finds the same tests.
$(CASES)/.ready: $(HOST)/.ready $(wildcard graphs/kernels/*.[ch] tests/kernels/*.py)
	@rm -rf $(CASES)
	TOOLCHAIN_RECORD_CASES=$(CASES) $(HOST)/bin/python -m pytest --quiet --hypothesis-seed=0 tests/kernels
	@touch $@

# torch comes first and alone, so that nothing that needs it can choose another build.
$(HOST)/.ready: pyproject.toml constraints.txt
	$(check-python)
	@echo "$(HOST): torch and what the compiler needs, 6 GB ..."
	@$(PYTHON) -m venv $(HOST)
	@$(HOST)/bin/python $(PIP_INSTALL) --constraint constraints.txt torch torchvision
	@$(HOST)/bin/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[host,models,evaluate,sweep,deploy,dev]'
	@touch $@

# The newest onnxruntime; the oldest that a board has, 1.19.2, is the host's.
$(DEVICE)/.ready:
	$(check-python)
	@echo "$(DEVICE): what a device needs, 0.2 GB ..."
	@$(PYTHON) -m venv $(DEVICE)
	@$(DEVICE)/bin/python $(PIP_INSTALL) numpy onnxruntime pillow
	@touch $@

# TensorRT for RTX parses and builds without a GPU, and CUDA's library says that there is none. Of TensorRT 8.6 and 10.3
# only the Python interface can be had without one; that of 8.6.1 was never published for Python 3.12.
$(TENSORRT)/.ready:
	$(check-python)
	@echo "$(TENSORRT): TensorRT for RTX, and the interface of TensorRT, 0.3 GB ..."
	@$(PYTHON) -m venv $(TENSORRT)
	@$(TENSORRT)/bin/python $(PIP_INSTALL) numpy tensorrt-rtx-cu12==1.7.1.116 cuda-bindings==12.9.4
	@for runtime in cu11==11.8.89 cu12==12.6.77; do \
	    $(TENSORRT)/bin/python $(PIP_INSTALL) --no-deps --target $(TENSORRT)/cudart-$${runtime%==*} \
	    nvidia-cuda-runtime-$$runtime; done
	@$(TENSORRT)/bin/python $(PIP_INSTALL) --no-deps --target $(TENSORRT)/10.3.0 tensorrt-cu12-bindings==10.3.0
	@$(TENSORRT)/bin/python $(PIP_INSTALL) --no-deps --target $(TENSORRT)/8.6.1 tensorrt-bindings==8.6.1 || \
	    echo "$(TENSORRT): there is no TensorRT 8.6.1 for this Python; its tests are skipped"
	@touch $@

define check-python
@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 10) <= v <= (3, 12) or sys.exit("error: $(PYTHON) is \
Python %d.%d and toolchain needs 3.10, 3.11 or 3.12; choose one: make setup PYTHON=python3.11" % v)'
endef
