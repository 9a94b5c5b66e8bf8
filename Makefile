# make demo    train, evaluate before and after, merge and ask a small Llama on this machine: no GPU, no Slurm
# make test    all tests, a real Slurm included (Debian's packages, installed where that is allowed)
# make lint    ruff, mypy, import-linter
# make faults  every fault on a throwaway Slurm, for real: some 20 minutes; prints what each cost
# make verdicts   what `why` says of some 850 failure logs, then what the report says of a training slowed in many ways: some 8 minutes
# make walkthroughs  the pipelines of examples/, whole, with small models on a throwaway Slurm: some 3 minutes
# make deepspeed   DeepSpeed's ZeRO-3 on two CPU ranks, trained, saved and gone on with: some minutes, most of them its build
# make fuzz    hostile run folders and checkpoints against all that reads them: FUZZ_SECONDS, by default ten minutes
# make models  what each architecture can do, tried on tiny models: docs/evidence/models.md, some minutes
# make bench   benchmarks, by hand: start-up, steps, why, checkpoints, stopping and going on, sampling, watch, plan
# make payoff  (an hour) two nodes over a slow link: the plan's step times, and its layout against the origin's
# make docs    the pages as a site, in build/docs; a broken link is an error
# make lock    pin every package, direct and transitive, with hashes (after a change of pyproject.toml; needs uv)
# make audit   known weaknesses of what is pinned, by pip-audit, where it reaches its data
# make generated   write accelerate_configs/ and sbatch/ anew

# A Python that was built without optimizations, as pyenv and Spack build it, makes the tests a fifth longer: Linux's own goes before it.
PLAIN = import sys, sysconfig; sys.exit("--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS")))
FIT = import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell python3 -c '$(PLAIN)' && /usr/bin/python3 -c '$(FIT)' 2>/dev/null && echo /usr/bin/python3 || echo python3)
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/pip install --disable-pip-version-check -c constraints.txt
LOCKED = $(BIN)/pip install --disable-pip-version-check --no-deps --require-hashes
RUN ?= demo-$(shell date +%Y%m%d-%H%M%S)

FUZZ_SECONDS ?= 600

.PHONY: demo test models faults verdicts walkthroughs deepspeed fuzz lint docs bench payoff generated lock audit clean

demo: $(VENV)/.eval
	$(BIN)/hpclaunch local --name $(RUN)
	$(BIN)/hpclaunch eval runs/$(RUN) --tasks cluster_questions --tasks-dir examples/own-tasks --chat
	$(BIN)/hpclaunch report runs/$(RUN)
	$(BIN)/hpclaunch merge runs/$(RUN)
	$(BIN)/hpclaunch generate runs/$(RUN)-merge --prompt "What is a node?"
	$(BIN)/python -P -m hpclaunch.train.sample runs/$(RUN) --next

test: $(VENV)/.dev
	bash tests/slurm/install.sh
	$(BIN)/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder --durations=20 -m "not alone"; \
	beside=$$?; [ $$beside -le 1 ] || exit $$beside; \
	$(BIN)/python -m pytest -m alone tests/slurm/verdicts && exit $$beside

faults: $(VENV)/.dev
	bash tests/slurm/install.sh
	$(BIN)/python -m pytest -q tests/slurm/faults tests/slurm/test_hang.py tests/slurm/test_links.py

walkthroughs: $(VENV)/.dev
	bash tests/slurm/install.sh
	$(BIN)/python -m pytest -q -s -m faults tests/slurm/test_walkthroughs.py

# No wheel of it is published, and it compiles what it needs at its first start: not in the lock.
deepspeed: $(VENV)/.dev
	DS_BUILD_OPS=0 $(PIP) -q --no-build-isolation --no-deps --upgrade --target $(VENV)/deepspeed \
		deepspeed==0.19.8 hjson==3.1.0 py-cpuinfo==9.0.0 einops==0.8.2 msgpack==1.2.4 ninja==1.13.2
	$(BIN)/python -m pytest -q -s tests/train/test_deepspeed.py

verdicts: $(VENV)/.dev
	$(BIN)/python -m tests.diagnose.verdicts
	bash tests/slurm/install.sh
	$(BIN)/python -m pytest -q tests/slurm/verdicts -m "train or faults"

models: $(VENV)/.dev
	$(BIN)/python -m tests.models

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# mkdocs counts warnings only where it prints them: with --quiet, --strict lets them pass.
docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz $(FUZZ_SECONDS)

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.startup
	$(BIN)/python -m tests.benchmarks.steps
	$(BIN)/python -m tests.benchmarks.why
	$(BIN)/python -m tests.benchmarks.checkpoints
	$(BIN)/python -m tests.benchmarks.survive
	$(BIN)/python -m tests.benchmarks.monitors
	$(BIN)/python -m tests.benchmarks.exports
	$(BIN)/python -m tests.benchmarks.disturbed
	$(BIN)/python -m tests.benchmarks.watch
	$(BIN)/python -m tests.benchmarks.packing
	$(BIN)/python -m tests.benchmarks.plan

payoff: $(VENV)/.dev
	bash tests/slurm/install.sh
	$(BIN)/python -m tests.benchmarks.layouts
	$(BIN)/python -m tests.benchmarks.payoff

generated: $(VENV)/.dev
	$(BIN)/python -m hpclaunch.render.catalogue

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	@touch $@

# PyTorch comes by its version alone: which of its builds is right depends on the machine.
$(VENV)/.train: $(VENV)/.venv pyproject.toml requirements.lock constraints.txt
	@echo "installing hpclaunch[train] into $(VENV) (some minutes at first)"
	$(LOCKED) -r requirements.lock
	$(PIP) torch
	$(PIP) --no-deps -e .
	@touch $@

$(VENV)/.eval: $(VENV)/.train
	$(PIP) lm_eval
	@touch $@

$(VENV)/.dev: $(VENV)/.train requirements-dev.lock
	$(LOCKED) -r requirements-dev.lock
	@touch $@

lock: $(VENV)/.venv
	$(BIN)/python -m tests.lock $(LOCK_FLAGS)

audit: $(VENV)/.venv
	@$(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install -q --disable-pip-version-check pip-audit
	@$(BIN)/python -m tests.audit $(VENV)/audit/bin/pip-audit

clean:
	rm -rf $(VENV)
