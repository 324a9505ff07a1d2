# ksproxyd: what one needs day to day. `make run` and `make test` are all a newcomer has to know.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STATE ?= state

.PHONY: install vendor run test test-browser test-kube test-golden lint bench clean

install: $(VENV)/.installed

# A plain path entry instead of an import hook: twistd finds plugins by looking through sys.path.
$(VENV)/.installed: setup.cfg pyproject.toml ksproxyd/web/terminal/vendor.json
	$(PYTHON) -c 'import sys; sys.exit("ksproxyd needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -e . --config-settings editable_mode=compat
	-$(BIN)/python -m ksproxyd.web.terminal.vendor
	touch $@

$(VENV)/.tested: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]' --config-settings editable_mode=compat
	touch $@

$(VENV)/.benched: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[bench]' --config-settings editable_mode=compat
	touch $@

# Everybody may do everything here, which is why it listens on loopback only.
run: install
	$(BIN)/ksproxyd run --standalone --demo --authorization AlwaysAllow \
		--listen tcp:9090:interface=127.0.0.1 --state-dir $(STATE)

# What the terminal page needs of npm. `make install` does it too, and goes on where there is no npm.
vendor: $(VENV)/.installed
	$(BIN)/python -m ksproxyd.web.terminal.vendor

lint: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/mypy ksproxyd

test: lint
	$(BIN)/python -m pytest tests --ignore=tests/kube --ignore=tests/browser --ignore=tests/golden -q

# In headless Chromium: needs Debian's chromium and chromium-driver, and a font with Chinese characters. Terminals also
# need what test-kube does.
test-browser: $(VENV)/.tested
	$(BIN)/python -m pytest tests/browser -q -rs

# Against a real kube-apiserver and etcd: KUBEBUILDER_ASSETS, or built from Go modules (once, into a cache folder).
test-kube: $(VENV)/.tested
	$(BIN)/python -m pytest tests/kube -q -rs --timeout=900

# All golden transcripts of ../shared on the same programs; without that folder there is nothing to compare with.
test-golden: $(VENV)/.tested
	$(BIN)/python -m pytest tests/golden -q -rs --timeout=1800

bench: $(VENV)/.benched
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .hypothesis
