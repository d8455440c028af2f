# Two commands do everything on a fresh machine, set-up included: `make book` and `make test`.

VENV := .venv
BIN := $(VENV)/bin
SITE := _build/html
CHAPTERS := $(wildcard book/*.ipynb)

# constraints.txt was resolved on 3.11, and some of its versions want no older one. Asking each candidate skips the shims of
# version managers that lead nowhere, and a Python that cannot make environments.
PROBE := import ensurepip, sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do $$p -c "$(PROBE)" 2>/dev/null && echo $$p && break; done)
NPM := $(shell command -v npm 2>/dev/null)
export CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

.DELETE_ON_ERROR:
.PHONY: help book pdf test units pages chapters asserts fuzz faults packages assets links dist pins lock clean

help:
	@echo "make book    execute the chapters and render the book to $(SITE)"
	@echo "make pdf     print the rendered book as one PDF, with a Chromium, and link it from the first page"
	@echo "make test    run every check: unit tests, the chapters' stored outputs, the built pages in a browser"
	@echo "make units   run the unit tests alone (make units ARGS='-k resize')"
	@echo "make pages   look at the built book: what the pages hold, and what a browser makes of them"
	@echo "make asserts execute the chapters on two threads: does what they say hold there, too? (make asserts ARGS='--threads 3')"
	@echo "make fuzz    read ten thousand bad files and commands (make fuzz ARGS='--inputs 600 --seed 3')"
	@echo "make faults  stop two hundred runs at random moments and go on with them (make faults ARGS='--kills 20')"
	@echo "make links   ask every host that the book links to whether the page is still there"
	@echo "make dist    build the sdist and the wheel"
	@echo "make pins    write constraints.txt anew from $(VENV)"
	@echo "make lock    write the hashes of those versions to requirements-lock.txt"
	@echo "make clean   remove what was built; $(VENV) and node_modules stay"

# ---- the environment -------------------------------------------------------------------------------------------------

# Torch goes first, alone and pinned: as one wish among many, pip may settle on another version. Which build it takes is for
# pip's settings to say, or for TORCH_INDEX, which the README names. Nothing but torch is then sought there, and torch nowhere
# else: beside an *extra* index, whoever has the highest version number wins, on either of the two.
TORCH_INDEX ?=
ONLY_THERE := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX) --no-deps)

# With LOCKED=1, as in the workflows, pip takes only files whose hashes are in the two lock files (Linux on x86-64, Python 3.11).
LOCKED ?=
FROM_LOCK := --quiet --no-deps --only-binary :all: --require-hashes --requirement

$(VENV)/.torch: constraints.txt requirements-torch-lock.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or later with venv found: install one, or say make PYTHON=/path/to/python."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(if $(LOCKED),$(FROM_LOCK) requirements-torch-lock.txt,\
		--quiet $(ONLY_THERE) "$$(grep '^torch==' constraints.txt)")
	@touch $@

# The package itself has no hash; it is built with the setuptools that has one.
$(VENV)/.packages: $(VENV)/.torch pyproject.toml constraints.txt requirements-lock.txt
ifeq ($(LOCKED),)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[book,test,dev]"
else
	$(BIN)/python -m pip install $(FROM_LOCK) requirements-lock.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-index --no-build-isolation --editable .
	$(BIN)/python -m pip check
endif
	@touch $@

packages: $(VENV)/.packages

# Scripts and fonts the pages serve themselves. Without them the book still builds, and its pages ask CDNs instead.
assets:
ifeq ($(NPM),)
	@echo "npm not found: the pages will load MathJax and the widget scripts from CDNs."
else
	@$(MAKE) --no-print-directory node_modules/.installed || \
		echo "npm could not install its packages: the pages will load MathJax and the widget scripts from CDNs."
endif

node_modules/.installed: package.json package-lock.json
	npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# ---- the book --------------------------------------------------------------------------------------------------------

# Rendered from nothing every time: Sphinx would not repeat the warnings of a page it has already read, and a page taken
# out of the book would stay. Executed chapters come from a cache under _build, so a second run takes seconds.
book: packages assets
	rm -rf $(SITE) _build/.doctrees
	$(BIN)/jupyter-book build . --path-output . -W --keep-going -n
	@echo; echo "The book is at $(SITE)/index.html"

# After `make book`. The PDF goes to the site's root.
pdf: packages
	$(BIN)/python book/_scripts/print_book.py $(SITE)

# ---- the checks ------------------------------------------------------------------------------------------------------

SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) # macOS has a make from before it

# Each part runs even when one before it failed, so that one run tells everything. Chapters and unit tests share two cores, a
# thread each; what the chapters made is what the book shows, and the last tests look at the book.
test: packages
	@failed=; \
	$(MAKE) --no-print-directory --keep-going -j2 $(SYNC) chapters units || failed="$$failed chapters-or-units"; \
	$(MAKE) --no-print-directory --keep-going book pages || failed="$$failed book-or-pages"; \
	if [ -n "$$failed" ]; then echo "FAILED:$$failed"; exit 1; else echo "All checks passed."; fi

# One thread: several also count the time they wait for one another, and how long that is depends on what else is running.
units chapters: export OMP_NUM_THREADS ?= 1

units: packages
	$(BIN)/python -m pytest -m "not pages" $(ARGS)

pages: packages
	@test -n "$(CHROMIUM)" || echo "No Chromium found (set CHROMIUM=/path/to/it): the browser tests are skipped."
	$(BIN)/python -m pytest -m pages $(ARGS)

# Runs every cell; compares the stored output of those tagged nbval-check-output; fails where a chapter costs too much; hands
# what was executed to the book.
chapters: packages
	$(BIN)/python -m pytest -p tests.book.budget -p tests.book.executed --keep-executed --nbval-lax --nbval-current-env \
		--nbval-cell-timeout 600 --nbval-sanitize-with tests/book/nbval_sanitize.cfg $(CHAPTERS)

# On another number of threads sums round differently, and a chapter's words must hold all the same.
asserts: packages
	$(BIN)/python tests/book/asserts.py $(ARGS)

# A sample of both is among the unit tests.
fuzz faults: export OMP_NUM_THREADS ?= 1

fuzz: packages
	$(BIN)/python tests/fuzz/fuzz.py $(ARGS)

faults: packages
	$(BIN)/python tests/faults/faults.py $(ARGS)

# Sphinx's own checker: it reads the executed chapters, from the cache where `make book` has filled it.
links: packages
	$(BIN)/jupyter-book build . --path-output . --builder linkcheck

# ---- housekeeping ----------------------------------------------------------------------------------------------------

# A local label such as +cpu names a build, not a version, and pip on another machine would look for it in vain.
pins: packages
	{ sed -n '/^#/p' constraints.txt; \
	  $(BIN)/python -m pip list --format=freeze | grep -viE '^(pip|dfkd)==' | sed -E 's/\+[A-Za-z0-9.]+$$//' | LC_ALL=C sort -f; \
	} > constraints.new && mv constraints.new constraints.txt

# The file that pip takes for each version in constraints.txt, with its SHA-256. Of a release with a file for every platform only
# this machine's is listed, so make it where the workflows run: Linux on x86-64, Python 3.11.
LOOK_UP := --quiet --dry-run --ignore-installed --no-deps --only-binary :all: --report
lock: packages
	mkdir -p _build
	$(BIN)/python -m pip install $(LOOK_UP) _build/torch.json $(ONLY_THERE) "$$(grep '^torch==' constraints.txt)"
	grep -v '^torch==' constraints.txt > _build/others.txt
	$(BIN)/python -m pip install $(LOOK_UP) _build/others.json --requirement _build/others.txt
	$(BIN)/python .github/write_locks.py _build/torch.json _build/others.json

# Without build isolation: with the setuptools of the environment, and no look at an index.
dist: packages
	rm -rf build dist
	$(BIN)/python -c "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"

clean:
	rm -rf _build build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find dfkd tests book -name __pycache__ -type d -prune -exec rm -rf {} +
