# The one list of tasks. CI calls the same ones (see .ci/run).

CARGO ?= cargo
# Kills per database in `make torture`; the normal tests do three.
ROUNDS ?= 30

.DEFAULT_GOAL := help
.PHONY: help run test test-programs lint deny bench torture docs

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## run the daemon in dev mode: no config, SQLite, loopback only
	$(CARGO) run --locked

test: test-programs ## install what the tests need, then run every test on SQLite and PostgreSQL
	$(CARGO) test --workspace --locked

test-programs: ## install the programs that the tests start (Debian, as root or with sudo)
	@scripts/install-test-programs

lint: ## formatting, clippy with warnings as errors, cargo-deny when it is installed
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	@scripts/check-dependencies

deny: ## install cargo-deny and check licences, bans and sources
	$(CARGO) install --locked cargo-deny
	$(CARGO) deny --locked check bans licenses sources

bench: ## the measurements that docs/ quotes, in release mode
	@scripts/bench

torture: test-programs ## kill -9 the daemon and PostgreSQL ROUNDS times each under load
	HOOKONCE_TORTURE_ROUNDS=$(ROUNDS) $(CARGO) test --locked --test it -- torture --nocapture --test-threads=1

docs: ## build the library's documentation, warnings as errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
