# Every task of a user. `make` alone lists them. Each one first makes the environment where it is missing.

VENV    ?= .venv
PROFILE ?= short
DATASET ?= modelnet40
OPTIONS ?=
# Of `make torture`: how long, the seed of its faults, and the index of the one fault or the kind to repeat.
MINUTES ?= 10
SEED    ?= 0
INDEX   ?=
KIND    ?=
EXPERIMENT ?=
# Of what there are committed results: experiments/PAPER/results/NAME.jsonl is PAPER/NAME.
RECORDED = $(patsubst experiments/%.jsonl,%,$(subst /results/,/,$(wildcard experiments/*/results/*.jsonl)))
PYTHON   = $(VENV)/bin/python
TIGHTFIT = $(PYTHON) -m tightfit

# For setup.sh: the Python to build on, and the index torch comes from when the one chosen there is not wanted,
# e.g. https://download.pytorch.org/whl/cu128 for an older driver.
PY              ?=
TORCH_INDEX_URL ?=
# What is installed beside the small set: a run of images needs none of these (make setup EXTRAS=), language models lm.
EXTRAS          ?= dev,lm,fast,export,privacy,quantised,slurm,oracles
export PY TORCH_INDEX_URL EXTRAS

.DEFAULT_GOAL := help
.PHONY: help setup demo data test test-fast torture lint protocol format bench gpu-check reproduce reproduce-table1 reproduce-table2 reproduce-budgets \
        reproduce-modelnet40 reproduce-on-device reproduce-mobizo reproduce-noise reproduce-zo-shelf trials-shelf reproduce-shelf reproduce-kb256 reproduce-memory \
        reproduce-memory-grid reproduce-step-time report docs figures results clean

help:  ## list these targets
	@echo "make TARGET [PROFILE=short|paper|smoke]"
	@sed -n 's/^\([a-z0-9-]*\):.*  ## /\1|/p' $(firstword $(MAKEFILE_LIST)) | \
	    while IFS='|' read -r target meaning; do printf '  %-20s %s\n' "$$target" "$$meaning"; done

setup: $(VENV)/.stamp  ## make the environment in .venv from the pinned set

# The stamp comes last, so a set-up that was interrupted is taken up again.
$(VENV)/.stamp: pyproject.toml constraints.txt setup.sh
	@sh setup.sh $(VENV)
	@touch $@

demo: setup  ## a first minute: one network trained in three ways, and a picture of what that gave
	$(TIGHTFIT) demo

data: setup  ## fetch and check the data sets
	$(TIGHTFIT) data mnist fashion_mnist

test: setup  ## run every test (two at a time, one thread each)
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist worksteal

test-fast: setup  ## run the unit tests only
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 -m "not slow"

torture: setup  ## kill runs, damage their files, fill their disk, and see that they end as if nothing had been (MINUTES=10 SEED=0)
	OMP_NUM_THREADS=1 $(PYTHON) -m tests.torture --minutes $(MINUTES) --seed $(SEED) $(if $(INDEX),--index $(INDEX)) \
	    $(if $(KIND),--kind "$(KIND)")

lint: setup  ## check style, types and the direction of imports
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m ty check --python $(VENV)
	$(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

protocol: setup  ## check that the committed results keep to experiments/PROTOCOL.md
	$(PYTHON) -m tightfit.launch.protocol

format: setup  ## put the code into its one form
	$(PYTHON) -m ruff check --fix
	$(PYTHON) -m ruff format

SHELF = $(filter shelf=true --shelf,$(OPTIONS))
LOAD = $(filter load=true --load,$(OPTIONS))

# The first prints within ten minutes; the others take as long as they need.
bench: setup  ## measure what a step costs on this machine beside its targets (OPTIONS=full=true: all other benches too; shelf=true: the zeroth-order methods; load=true: tables of 10,000 runs)
	$(if $(LOAD),$(TIGHTFIT) bench part=load $(filter-out $(LOAD),$(OPTIONS)),$(if $(SHELF),$(TIGHTFIT) bench part=shelf $(filter-out $(SHELF),$(OPTIONS)),$(TIGHTFIT) bench))
	$(if $(LOAD)$(SHELF),,$(if $(OPTIONS),$(TIGHTFIT) bench part=language $(OPTIONS)))
	$(if $(filter full=true --full,$(OPTIONS)),$(TIGHTFIT) bench part=steps)
	$(if $(filter full=true --full,$(OPTIONS)),$(TIGHTFIT) bench part=programs full=true)

REPRODUCE = $(TIGHTFIT) reproduce profile=$(PROFILE) $(OPTIONS)

reproduce: setup  ## run an experiment from data to table (EXPERIMENT=elasticzo/table2, or several)
	$(REPRODUCE) $(EXPERIMENT)

gpu-check: setup  ## on a machine with a GPU: every test and measurement that needs one, in five minutes, into a file
	$(PYTHON) -m tightfit.bench.gpu

reproduce-table1: setup  ## ElasticZO, Table 1: data, training, table
	$(REPRODUCE) elasticzo/table1 elasticzo/table1_int8 elasticzo/table1_int8_star

reproduce-modelnet40: setup  ## ElasticZO, Table 1 and Fig. 6: PointNet (OPTIONS=dataset.folder=…, or DATASET=mnist_points)
	$(REPRODUCE) elasticzo/table1_modelnet40 elasticzo/memory_pointnet dataset=$(DATASET)

reproduce-table2: setup  ## ElasticZO, Table 2: fine-tuning on rotated images
	$(REPRODUCE) elasticzo/table2 elasticzo/table2_int8

reproduce-budgets: setup  ## accuracy against training seconds at fixed memory budgets
	$(REPRODUCE) elasticzo/budgets

reproduce-on-device: setup  ## language models fine-tuned at fixed memory budgets
	$(REPRODUCE) on_device_mezo/one_budget on_device_mezo/fine_tuning

reproduce-mobizo: setup  ## directions in a batch: speed, memory, accuracy (leave the machine alone meanwhile)
	$(REPRODUCE) mobizo/speed mobizo/queries jobs=1

reproduce-noise: setup  ## zeroth-order training by Gaussian and by cheaper random directions
	$(REPRODUCE) noise/lenet5 noise/language

reproduce-zo-shelf: setup  ## the zeroth-order family at equal work: LeNet-5 on MNIST, MiniLM and SmolLM2 on film sentences
	$(REPRODUCE) zo_shelf/lenet5 zo_shelf/minilm_l6 zo_shelf/smollm2_135m jobs=1

trials-shelf: setup  ## the trials that the settings of reproduce-shelf and reproduce-kb256 are chosen by
	$(TIGHTFIT) reproduce $(addprefix shelf/tuning/,lenet5 vit_tiny lru minilm_l6 smollm2_135m_lora smollm2_135m kb256) jobs=1 $(OPTIONS)

reproduce-shelf: setup  ## all methods of both shelves at three budgets each: images, sequences, film sentences
	$(REPRODUCE) shelf/lenet5 shelf/vit_tiny shelf/lru shelf/minilm_l6 shelf/smollm2_135m_lora shelf/smollm2_135m jobs=1

reproduce-kb256: setup  ## training within 256 KiB: the chosen sparse update against last layers and biases
	$(REPRODUCE) shelf/kb256

reproduce-memory: setup  ## bytes each method holds, analytic and measured
	$(REPRODUCE) elasticzo/memory elasticzo/memory_int8

reproduce-memory-grid: setup  ## memory predicted without data against memory measured, every method (OPTIONS=device=cuda)
	$(TIGHTFIT) reproduce profile=paper $(OPTIONS) memory_grid/lenet5 memory_grid/lenet5_int8 memory_grid/pointnet \
	    memory_grid/llama_10m memory_grid/llama_10m_lora memory_grid/smollm2 memory_grid/smollm2_lora memory_grid/minilm

reproduce-step-time: setup  ## where a step's time goes (leave the machine alone meanwhile)
	$(REPRODUCE) elasticzo/step_time elasticzo/step_time_b256 jobs=1

docs: setup  ## the documentation as a site that opens from disk, into site/
	$(PYTHON) -m mkdocs build --quiet --strict --config-file docs/mkdocs.yml

report: setup  ## one page of all answers and every run behind them, from the committed results, into report/
	$(TIGHTFIT) report $(OPTIONS)

figures: setup  ## draw every figure and table in figures/ from runs/, or from the committed results
	$(PYTHON) -m analysis.figures

results: setup  ## collect runs/ into the committed results of each experiment (a new one: EXPERIMENT=…)
	$(PYTHON) -m analysis.collect $(or $(EXPERIMENT),$(RECORDED))

clean:  ## remove the environment and caches; runs/ and downloaded data stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache build src/*.egg-info
	find src analysis tests -name __pycache__ -type d -prune -exec rm -rf {} +
