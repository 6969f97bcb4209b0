# Every task of a user. `make` alone lists them. Each one first makes the environment where it is missing.

VENV    ?= .venv
PROFILE ?= short
DATASET ?= modelnet40
OPTIONS ?=
RECORDED = elasticzo/table1 elasticzo/table2 elasticzo/ablation_p_zero elasticzo/loss_sign elasticzo/budgets \
           elasticzo/memory elasticzo/memory_int8 elasticzo/memory_pointnet elasticzo/step_time \
           elasticzo/step_time_b256 memory_grid/grid on_device_mezo/fine_tuning \
           noise/streams mobizo/queries mobizo/speed
PYTHON   = $(VENV)/bin/python

# For setup.sh: the Python to build on, and the index torch comes from when the one chosen there is not wanted,
# e.g. https://download.pytorch.org/whl/cu128 for an older driver.
PY              ?=
TORCH_INDEX_URL ?=
export PY TORCH_INDEX_URL

.DEFAULT_GOAL := help
.PHONY: help setup data test test-fast lint format bench gpu-check reproduce-table1 reproduce-table2 reproduce-budgets \
        reproduce-modelnet40 reproduce-on-device reproduce-mobizo reproduce-noise reproduce-memory \
        reproduce-memory-grid reproduce-step-time figures results clean

help:  ## list these targets
	@echo "make TARGET [PROFILE=short|paper|smoke]"
	@sed -n 's/^\([a-z0-9-]*\):.*  ## /\1|/p' $(firstword $(MAKEFILE_LIST)) | \
	    while IFS='|' read -r target meaning; do printf '  %-20s %s\n' "$$target" "$$meaning"; done

setup: $(VENV)/.stamp  ## make the environment in .venv from the pinned set

# The stamp comes last, so a set-up that was interrupted is taken up again.
$(VENV)/.stamp: pyproject.toml constraints.txt setup.sh
	@sh setup.sh $(VENV)
	@touch $@

data: setup  ## fetch and check the data sets
	$(PYTHON) -m tightfit.datasets mnist fashion_mnist

test: setup  ## run every test (two at a time, one thread each)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist worksteal

test-fast: setup  ## run the unit tests only
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 -m "not slow"

lint: setup  ## check style, types and the direction of imports
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m ty check --python $(VENV)
	$(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

format: setup  ## put the code into its one form
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

bench: setup  ## measure what a step costs on this machine (OPTIONS=--full: more sizes of language models)
	$(PYTHON) -m tightfit.bench
	$(PYTHON) -m tightfit.bench_language $(OPTIONS)
	$(PYTHON) -m tightfit.bench_device $(filter --full,$(OPTIONS))

gpu-check: setup  ## on a machine with a GPU: every test and measurement that needs one, in five minutes, into a file
	$(PYTHON) -m tightfit.bench.gpu

reproduce-table1: setup  ## ElasticZO, Table 1: data, training, table
	$(PYTHON) -m tightfit.reproduce elasticzo/table1 elasticzo/table1_int8 elasticzo/table1_int8_star profile=$(PROFILE)

reproduce-modelnet40: setup  ## ElasticZO, Table 1 and Fig. 6: PointNet (OPTIONS=dataset.folder=…, or DATASET=mnist_points)
	$(PYTHON) -m tightfit.reproduce elasticzo/table1_modelnet40 elasticzo/memory_pointnet dataset=$(DATASET) \
	    profile=$(PROFILE) $(OPTIONS)

reproduce-table2: setup  ## ElasticZO, Table 2: fine-tuning on rotated images
	$(PYTHON) -m tightfit.reproduce elasticzo/table2 elasticzo/table2_int8 profile=$(PROFILE)

reproduce-budgets: setup  ## accuracy against training seconds at fixed memory budgets
	$(PYTHON) -m tightfit.reproduce elasticzo/budgets profile=$(PROFILE)

# Of the shorter profiles one seed at one budget, scored on fewer sentences: twenty minutes on two cores.
ON_DEVICE_short = seed=0 memory_budget.size=700MB dataset.test_limit=200 training.fraction=0.2
ON_DEVICE_smoke = seed=0 memory_budget.size=700MB

reproduce-on-device: setup  ## language models fine-tuned at fixed memory budgets
	$(PYTHON) -m tightfit.reproduce on_device_mezo/fine_tuning profile=$(PROFILE) $(ON_DEVICE_$(PROFILE)) $(OPTIONS)

# Of the shorter profiles one seed; of its steps enough to time, and fewer sentences to score.
MOBIZO_SPEED_short = seed=0 optimizer.noise=gaussian_fast training.fraction=0.5 training.evaluations=1
MOBIZO_short       = seed=0 training.fraction=0.2 training.evaluations=4 dataset.test_limit=200
MOBIZO_SPEED_smoke = seed=0 optimizer.noise=gaussian_fast
MOBIZO_smoke       = seed=0

reproduce-mobizo: setup  ## directions in a batch: speed, memory, accuracy (leave the machine alone meanwhile)
	$(PYTHON) -m tightfit.reproduce mobizo/speed profile=$(PROFILE) $(MOBIZO_SPEED_$(PROFILE)) $(OPTIONS) --jobs 1
	$(PYTHON) -m tightfit.reproduce mobizo/queries profile=$(PROFILE) $(MOBIZO_$(PROFILE)) $(OPTIONS) --jobs 1

reproduce-noise: setup  ## zeroth-order training by Gaussian and by cheaper random directions
	$(PYTHON) -m tightfit.reproduce noise/lenet5 noise/language profile=$(PROFILE)

reproduce-memory: setup  ## bytes each method holds, analytic and measured
	$(PYTHON) -m tightfit.reproduce elasticzo/memory elasticzo/memory_int8 profile=$(PROFILE)

reproduce-memory-grid: setup  ## memory predicted without data against memory measured, every method (OPTIONS=device=cuda)
	$(PYTHON) -m tightfit.reproduce memory_grid/lenet5 memory_grid/lenet5_int8 memory_grid/pointnet memory_grid/llama_10m \
	    memory_grid/llama_10m_lora profile=paper $(OPTIONS)

reproduce-step-time: setup  ## where a step's time goes (leave the machine alone meanwhile)
	$(PYTHON) -m tightfit.reproduce elasticzo/step_time elasticzo/step_time_b256 profile=$(PROFILE) --jobs 1

figures: setup  ## draw every figure from runs/, or from the committed results
	$(PYTHON) -m analysis.report

results: setup  ## collect runs/ into the committed results of each experiment
	$(PYTHON) -m analysis.collect $(RECORDED)

clean:  ## remove the environment and caches; runs/ and downloaded data stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache src/*.egg-info
	find src analysis tests -name __pycache__ -type d -prune -exec rm -rf {} +
